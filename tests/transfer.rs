// SPDX-License-Identifier: BSD-3-Clause
//! Real connections: what the endpoints are for.

mod support;

use nix::sys::signal::Signal::SIGUSR1;
use support::peer::{Peer, Transfer};
use support::{Lab, Namespace, SERVER, until};

const BYTES: &str = "6000000";
/// Bytes a second: the transfer lasts long enough for a link to die in it.
const RATE: &str = "1500000";

/// How many subflows `ss` shows besides the first.
fn subflows(at: &Namespace) -> usize {
    let text = at.out("ss -M -i -n -H state established");
    let count = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("subflows:"));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The control: it is the daemon that makes the second subflow.
#[test]
fn without_the_daemon_there_is_one_path() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    Transfer::start(&lab, BYTES, "0").finish();
    assert_eq!(lab.host.joins(), 0);
}

/// The ways a path may die, seen from home. The first subflow is the one that dies.
#[test]
fn a_link_dies_and_the_transfer_completes() {
    for death in ["carrier", "link", "address", "device"] {
        let Some(lab) = Lab::with_uplinks(2) else {
            return;
        };
        let _daemon = lab.daemon("");
        let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
        lab.expect(&[one, two]);
        let transfer = Transfer::start(&lab, BYTES, RATE);
        assert!(
            until(|| lab.host.joins() == 1),
            "no second subflow\n{}",
            _daemon.log()
        );
        assert!(
            until(|| subflows(&lab.host) == 1),
            "{}",
            lab.host.out("ss -Mni")
        );
        match death {
            "carrier" => lab.unplug("wan1"),
            "link" => lab.host.ip("link set wan1 down"),
            "address" => lab.host.ip("addr flush dev wan1"),
            _ => lab.host.ip("link del wan1"),
        }
        lab.expect(&[two]);
        transfer.finish();
    }
}

/// The joined subflow's path dies, comes back, and is joined again.
#[test]
fn a_path_returns_in_the_middle() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let _daemon = lab.daemon("");
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    lab.expect(&[one, two]);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(
        until(|| lab.host.joins() == 1),
        "no second subflow: {} joins\n{}\n{}",
        lab.host.joins(),
        lab.host.out("ss -Mni"),
        _daemon.log()
    );
    lab.unplug("wan2");
    lab.expect(&[one]);
    assert!(
        until(|| subflows(&lab.host) == 0),
        "{}",
        lab.host.out("ss -Mni")
    );
    lab.plug("wan2");
    lab.expect(&[one, two]);
    assert!(
        until(|| lab.host.joins() == 2),
        "not joined again: {}",
        lab.host.out("ss -Mni")
    );
    transfer.finish();
}

/// A server announces its second address, and the client joins to it.
#[test]
fn a_server_signals_its_address() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    for n in [1, 2] {
        lab.outside.ip(&format!(
            "route add default via 10.0.{n}.1 dev wan{n} metric {n}"
        ));
    }
    let _daemon = lab.daemon_in(&lab.outside, "[core]\naddr-flags = signal\n", &[]);
    lab.expect_at(
        &lab.outside,
        &["10.0.1.2 signal dev wan1", "10.0.2.2 signal dev wan2"],
    );
    let transfer = Transfer::to(&lab, "0.0.0.0:5000", "10.0.1.2:5000", BYTES, RATE);
    assert!(
        until(|| lab.host.joins() == 1),
        "no second subflow\n{}",
        _daemon.log()
    );
    let second = || lab.host.out("ss -tnH dst 10.0.2.2").contains("10.0.2.1");
    assert!(until(second), "{}", lab.host.out("ss -tni"));
    transfer.finish();
}

/// A restart costs a connection nothing.
#[test]
fn a_restart_keeps_the_subflows() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host) == 1), "no second subflow");
    daemon.stop();
    let begun = |daemon: &support::Daemon| {
        daemon.says(&["watching"]);
        daemon.signal(SIGUSR1);
        daemon.says(&["10.0.2.1"]);
    };
    let daemon = lab.daemon("");
    begun(&daemon);
    daemon.kill();
    let _daemon = lab.daemon("");
    begun(&_daemon);
    assert_eq!(subflows(&lab.host), 1);
    assert_eq!(lab.host.counter("MPTcpExtRmSubflow"), 0);
    transfer.finish();
}

/// While the kernel manages connections the daemon sleeps through a thousand of them.
#[test]
fn connections_do_not_wake_the_daemon() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    let wakeups = || {
        let path = format!("/proc/{}/status", daemon.pid());
        let text = std::fs::read_to_string(path).expect("our own process");
        let line = text.lines().find(|l| l.starts_with("voluntary_ctxt"));
        line.and_then(|line| line.split_whitespace().last()?.parse().ok())
            .unwrap_or(0u64)
    };
    // What the start has left to do is done when nothing has happened for a while.
    assert!(until(|| {
        let before = wakeups();
        std::thread::sleep(std::time::Duration::from_secs(1));
        wakeups() == before
    }));
    let before = wakeups();
    assert_ne!(before, 0);
    let mut server = Peer::listening(&lab.outside, &["serve", SERVER, "1000"]);
    let mut client = Peer::start(&lab.host, &["churn", SERVER, "1000"]);
    client.says("churned 1000");
    server.says("served 1000");
    assert!(lab.host.joins() > 0);
    assert_eq!(wakeups(), before);
    // It would have shown.
    lab.host.ip("addr add 10.0.1.7/24 dev wan1");
    assert!(until(|| wakeups() > before));
}
