// SPDX-License-Identifier: BSD-3-Clause
//! SIGHUP: what is unchanged is not touched, what changed is put right, and what is wrong is
//! refused.

#[macro_use]
mod support;

use nix::sys::signal::Signal::SIGHUP;
use support::peer::Transfer;
use support::{Namespace, until};

const NONE: [&str; 0] = [];
const BYTES: &str = "12000000";
const RATE: &str = "1500000";

/// Every subflow with its addresses and ports.
fn subflows(at: &Namespace) -> Vec<String> {
    let text = at.out("ss -tnH state established");
    let mut all: Vec<_> = text
        .lines()
        .map(|line| {
            line.split_whitespace()
                .skip(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_loaded_connection_outlives_ten_reloads() {
    let lab = lab!();
    for n in 1..=3 {
        lab.wan(n);
        lab.outside
            .ip(&format!("addr add 10.0.{n}.2/24 dev wan{n}"));
    }
    lab.outside.ip("addr add 192.0.2.80/32 dev lo");
    lab.outside.ip("mptcp limits set subflows 8");
    let config = |round: usize| {
        // The same policies, written in other words each time; other settings change for real.
        let [first, second] = [
            "[interface wan2]\nsource-routing = yes\n",
            "[interface wan1]\n",
        ];
        let sections = if round.is_multiple_of(2) {
            format!("{first}{second}[interface wan3]\n[interface none{round}]\nuse = no\n")
        } else {
            format!("[interface none{round}]\n[interface *[1]]\n{first}[interface wa*]\n")
        };
        format!(
            "[core]\nresync-interval = {}\nhold-down = {round}\nlog-level = {}\n{sections}",
            300 + round,
            ["info", "debug"][round % 2]
        )
    };
    let daemon = lab.daemon(&config(0));
    let all = [1, 2, 3].map(|n| format!("10.0.{n}.1 subflow dev wan{n}"));
    lab.expect(&all);
    let ids = lab.host.endpoints_with_ids();
    let transfer = Transfer::start(&lab, BYTES, RATE);
    let joined = || lab.host.joins() == 2;
    assert!(until(|| joined() && subflows(&lab.host).len() == 3));
    let before = subflows(&lab.host);
    for round in 1..=10 {
        lab.reload(&daemon, &config(round));
        assert_eq!(subflows(&lab.host), before, "after reload {round}");
    }
    assert_eq!(lab.host.endpoints_with_ids(), ids);
    for counter in ["MPTcpExtRmSubflow", "MPTcpExtRmAddrTx", "MPTcpExtMPPrioTx"] {
        assert_eq!(lab.host.counter(counter), 0, "{counter}");
    }
    assert!(joined(), "a subflow was joined anew");
    transfer.finish();
}

#[test]
fn everything_follows_the_new_configuration() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let daemon = lab.daemon("");
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    lab.expect(&[one, two]);
    let before = lab.host.id("10.0.1.1");
    lab.reload(&daemon, "[interface wan2]\nuse = no\n");
    lab.expect(&[one]);
    lab.reload(&daemon, "[interface wan2]\naddr-flags = signal\n");
    lab.expect(&[one, "10.0.2.1 signal dev wan2"]);
    assert_eq!(lab.host.id("10.0.1.1"), before, "it was not concerned");
    // An empty list allows no interface, and without the line there is no list.
    lab.reload(&daemon, "[core]\ninterfaces =\n");
    lab.expect(&NONE);
    lab.reload(&daemon, "[core]\nlimit-subflows = 6\n");
    lab.expect(&[one, two]);
    assert!(
        until(|| lab.host.limits().1 == 6),
        "{:?}",
        lab.host.limits()
    );
    // Routes that did not matter do now.
    lab.host.ip("route flush default");
    lab.reload(
        &daemon,
        "[core]\nnotify-flags = existing\n[interface lo]\nuse = no\n",
    );
    let local = |at: &Namespace| {
        let text = at.out("ip mptcp endpoint show");
        text.lines().filter(|line| line.starts_with("10.")).count()
    };
    assert!(until(|| local(&lab.host) == 2));
    lab.reload(&daemon, "");
    lab.expect(&NONE);
    lab.route(1);
    lab.expect(&[one]);
    // The file may go altogether: that is an error, and no reason to forget it.
    std::fs::remove_file(lab.path("mptcpd.conf")).expect("our own file");
    daemon.signal(SIGHUP);
    daemon.says(&["mptcpd.conf: no such file"]);
    lab.expect_still(&[one]);
    daemon.stop();
}

/// The log says what `--check` said, the daemon goes on as before, and a good file is taken again.
#[test]
fn a_broken_file_changes_nothing() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let good = "[core]\naddr-flags = signal\n[interface wan2]\naddr-flags = subflow,backup\n";
    let mut daemon = lab.daemon(good);
    let wanted = [
        "10.0.1.1 signal dev wan1",
        "10.0.2.1 backup subflow dev wan2",
    ];
    lab.expect(&wanted);
    let ids = lab.host.endpoints_with_ids();
    let path = lab.path("mptcpd.conf");
    let file = path.to_str().expect("UTF-8");
    let state = lab.path("state");
    let state = state.to_str().expect("UTF-8");
    for (broken, problems) in [
        ("[core]\naddr-flags = nonsense\n", vec![":2: "]),
        (
            "[core]\nhold-down = x\n[interface]\n[interface wan1]\nuse = perhaps\nport = 70000\n",
            vec![":2: ", ":3: ", ":5: ", ":6: "],
        ),
        ("use = yes\n", vec![":1: "]),
        ("[interface wan1\n", vec![":1: "]),
        (
            "[interface wan[1]\nport = 5\n[interface wan1]\nport = 7\n",
            vec![":1: ", ":4: "],
        ),
        ("[core]\nsource-routing-tables = 254\n", vec![":2: "]),
        ("[core]\nlog = \u{0}\n", vec![":2: "]),
    ] {
        lab.write("mptcpd.conf", broken);
        let (code, out, errors) = lab.execute(&["-c", file, "--state-file", state, "--check"]);
        assert_eq!((code, out.as_str()), (Some(78), ""), "{broken}");
        let told: Vec<_> = errors.lines().filter(|line| line.contains(file)).collect();
        for problem in problems {
            let place = format!("{file}{problem}");
            assert!(
                told.iter().any(|line| line.contains(&place)),
                "{broken}{errors}"
            );
        }
        daemon.signal(SIGHUP);
        for line in &told {
            let text = &line[line.find(file).expect("the file")..];
            daemon.says(&["error", text]);
        }
        daemon.catch_up();
        assert_eq!(lab.host.endpoints_with_ids(), ids, "{broken}");
    }
    assert!(
        daemon.lines(&["keeping the current"]) >= 1,
        "{}",
        daemon.log()
    );
    assert!(daemon.running());
    // It is the old configuration that goes on, not half of a new one.
    lab.host
        .ip("addr add 10.0.1.7/24 dev wan1; addr add 10.0.2.7/24 dev wan2");
    let more = [
        "10.0.1.7 signal dev wan1",
        "10.0.2.7 backup subflow dev wan2",
    ];
    lab.expect(&[wanted, more].concat());
    // Others may not write it, at a reload as at the start.
    lab.write("mptcpd.conf", "[core]\n");
    let chmod = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("our own file");
    };
    chmod(0o646);
    daemon.signal(SIGHUP);
    daemon.says(&["chmod o-w"]);
    lab.expect(&[wanted, more].concat());
    chmod(0o644);
    daemon.signal(SIGHUP);
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.1.7 subflow dev wan1",
        "10.0.2.1 subflow dev wan2",
        "10.0.2.7 subflow dev wan2",
    ]);
    daemon.stop();
}

/// What a reload cannot change it says, and warns of what it passes over.
#[test]
fn warnings_come_again() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let text = "[core]\nmax-connections = 5\nunknown = 1\n[interface a]\n[interface a]\n[else]\n";
    lab.reload(&daemon, text);
    for part in [
        ":3: unknown key",
        ":5: section [interface a] is never used",
        ":6: unknown section else",
    ] {
        daemon.says(&["warn", part]);
    }
    daemon.says(&["warn", "need a restart"]);
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
}
