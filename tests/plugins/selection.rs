//! Which plugins are loaded, which one manages connections, and who is told what.
//!
//! The probe program has three: `broken` (priority -20), `second` (-1) and `probe` (0).

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal::SIGHUP;

use crate::pair::{Probe, lab};
use crate::support::peer::Peer;
use crate::support::{Lab, until};

fn start<'a>(lab: &'a Lab, core: &str) -> Probe<'a> {
    Probe::with(lab, &lab.host, "host", core, "")
}

/// Has another program listen, and the network change. Answers who was told of the listener.
#[track_caller]
fn who_manages(lab: &Lab, probe: &Probe<'_>) -> &'static str {
    let both = || [probe.lines(), probe.second()];
    let ready = || {
        both()
            .iter()
            .all(|lines| lines.contains(&"ready".to_owned()))
    };
    assert!(until(ready), "{}", probe.daemon.log());
    let _peer = Peer::listening(&lab.host, &["accept", "10.0.1.1:5000", "1"]);
    let listener = "listener_created local=10.0.1.1:5000".to_owned();
    let mut told = [false, false];
    let holds = until(|| {
        told = both().map(|lines| lines.contains(&listener));
        told != [false, false]
    });
    assert!(holds, "{:#?}\n{}", both(), probe.daemon.log());
    // The network is told to all, and later: had the other been told, it would be by now.
    lab.host.ip("addr add 192.0.2.9/24 dev wan2");
    let address = "new_local_address index=102 address=192.0.2.9".to_owned();
    let all = || both().iter().all(|lines| lines.contains(&address));
    assert!(until(all), "{:#?}\n{}", both(), probe.daemon.log());
    assert_eq!(both().map(|lines| lines.contains(&listener)), told);
    match told {
        [true, false] => "probe",
        [false, true] => "second",
        _ => panic!("both are told of listeners"),
    }
}

#[test]
fn the_lowest_priority_manages() {
    let Some(lab) = lab() else { return };
    let probe = start(&lab, "load-plugins = probe,second");
    assert_eq!(who_manages(&lab, &probe), "second");
}

#[test]
fn path_manager_names_who_manages() {
    let Some(lab) = lab() else { return };
    let probe = start(&lab, "load-plugins = second,probe\npath-manager = probe");
    assert_eq!(who_manages(&lab, &probe), "probe");
}

/// The list is the order, and at the end it is reversed.
#[test]
fn load_plugins_picks_and_orders() {
    let Some(lab) = lab() else { return };
    for (list, order) in [
        (
            "probe,second",
            ["probe init", "second init", "second exit", "probe exit"],
        ),
        (
            "second,probe",
            ["second init", "probe init", "probe exit", "second exit"],
        ),
    ] {
        let probe = start(&lab, &format!("load-plugins = {list}"));
        let ready = "ready".to_owned();
        assert!(until(
            || probe.lines().contains(&ready) && probe.second().contains(&ready)
        ));
        assert_eq!(probe.stop_in_order(), order);
    }
    let probe = start(&lab, "load-plugins = second");
    assert!(until(|| probe.second().contains(&"ready".to_owned())));
    assert_eq!(probe.stop_in_order(), ["second init", "second exit"]);
}

/// Without a list all are loaded, by priority. One that fails is not used: neither does it manage
/// though its priority is the lowest, nor does what it asked for become another's business.
#[test]
fn a_plugin_that_fails_is_not_used() {
    let Some(lab) = lab() else { return };
    for core in ["", "path-manager = broken"] {
        let probe = start(&lab, core);
        assert_eq!(who_manages(&lab, &probe), "second");
        assert_eq!(
            probe.daemon.lines(&["error", "broken", "made to fail"]),
            1,
            "{}",
            probe.daemon.log()
        );
        assert_eq!(probe.ask("is-ready"), "true");
        for line in probe.second() {
            assert!(
                !line.starts_with("timer ") && !line.contains("stray"),
                "{line}"
            );
        }
        assert_eq!(
            probe.stop_in_order(),
            [
                "broken init",
                "second init",
                "probe init",
                "probe exit",
                "second exit"
            ]
        );
        lab.host.ip("addr del 192.0.2.9/24 dev wan2");
    }
}

#[test]
fn a_daemon_whose_plugins_all_fail_says_so() {
    let Some(lab) = lab() else { return };
    let probe = start(&lab, "load-plugins = broken");
    probe.daemon.says(&["warn", "no plugins"]);
}

/// How many groups of generic netlink the daemon hears.
fn groups(lab: &Lab, probe: &Probe<'_>) -> u32 {
    let descriptors =
        fs::read_dir(format!("/proc/{}/fd", probe.daemon.pid())).expect("a process of ours");
    let links = descriptors.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.display().to_string()).collect();
    let table = lab.host.out("cat /proc/net/netlink");
    // While sockets come and go the kernel may show one twice.
    let mut masks = BTreeMap::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let own = sockets.contains(&format!("socket:[{}]", columns[9]));
        if own && columns[1] == "16" {
            let mask = u32::from_str_radix(columns[3], 16).expect("a mask");
            masks.insert(columns[9], mask);
        }
    }
    masks.values().map(|mask| mask.count_ones()).sum()
}

/// While nobody wants connections the kernel need not tell of them.
#[test]
fn who_wants_no_connections_does_not_hear_of_them() {
    let Some(lab) = lab() else { return };
    let heard = ["", "connections = no"].map(|own| {
        let probe = Probe::with(&lab, &lab.host, "host", "load-plugins = probe", own);
        probe.told("ready");
        let count = groups(&lab, &probe);
        probe.daemon.stop();
        count
    });
    assert_eq!(heard[0], heard[1] + 1);
}

#[test]
fn a_plugin_has_its_own_section() {
    let Some(lab) = lab() else { return };
    let own = "colour = dark  red";
    let probe = Probe::with(&lab, &lab.host, "host", "load-plugins = probe", own);
    assert_eq!(probe.ask("setting colour"), "dark  red");
    assert_eq!(probe.ask("setting color"), "none");
    // Read again with the rest.
    let file = lab.path("host.conf");
    let text = fs::read_to_string(&file).expect("our own file");
    fs::write(&file, text.replace("dark", "light")).expect("our own file");
    probe.daemon.signal(SIGHUP);
    assert!(
        until(|| probe.ask("setting colour") == "light  red"),
        "{}",
        probe.daemon.log()
    );
}
