// SPDX-License-Identifier: BSD-3-Clause
//! Which plugins are loaded, which one manages connections, and who is told what.
//!
//! The probe program has three: `broken` (priority -20), `second` (-1) and `probe` (0).

use std::fs;

use nix::sys::signal::Signal::{SIGHUP, SIGUSR1};

use crate::pair::{Probe, lab};
use crate::support::peer::{Held, Peer};
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
fn a_daemon_whose_plugins_all_fail_does_not_start() {
    let Some(lab) = lab() else { return };
    let mut probe = start(&lab, "load-plugins = broken");
    probe.daemon.says(&["error", "no plugin is left"]);
    assert_eq!(probe.daemon.wait(), Some(78), "EX_CONFIG");
}

/// While nobody wants connections one that is healthy does not wake the daemon.
#[test]
fn who_wants_no_connections_does_not_hear_of_them() {
    let Some(lab) = lab() else { return };
    let heard = ["", "connections = no"].map(|own| {
        let probe = Probe::with(&lab, &lab.host, "host", "load-plugins = probe", own);
        probe.told("ready");
        Held::open(&lab.host, "10.0.1.2:5000", &lab.outside, "10.0.1.2:5000", 3).release();
        // A change of the network is told after what was told before.
        lab.host.ip("addr add 10.0.1.77/24 dev wan1");
        assert!(until(|| probe
            .lines()
            .iter()
            .any(|l| l.contains("10.0.1.77"))));
        lab.host.ip("addr del 10.0.1.77/24 dev wan1");
        probe.daemon.signal(SIGUSR1);
        probe.daemon.says(&["counters connection-events"]);
        let count = probe.daemon.log().contains("counters connection-events 0");
        probe.daemon.stop();
        count
    });
    assert_eq!(heard, [false, true]);
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
    probe.told("reload");
    assert!(
        until(|| probe.ask("setting colour") == "light  red"),
        "{}",
        probe.daemon.log()
    );
}
