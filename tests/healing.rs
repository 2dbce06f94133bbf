// SPDX-License-Identifier: BSD-3-Clause
//! Connections of the in-kernel path manager live through what happens to their paths, and come
//! to use every path that works.

mod support;

use std::thread::sleep;
use std::time::Duration;

use support::peer::{Held, Transfer};
use support::{Lab, Namespace, SERVER, until};

const BYTES: &str = "6000000";
/// Bytes a second: the transfer lasts long enough for all that happens in it.
const RATE: &str = "1000000";
const ENDPOINTS: [&str; 2] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];

/// Established subflows from an address of this namespace.
fn subflows(at: &Namespace, from: &str) -> usize {
    let text = at.out(&format!("ss -tnH state established src {from}"));
    text.lines().count()
}

/// Waits until a connection has a subflow over each uplink.
#[track_caller]
fn on_all_paths(lab: &Lab, uplinks: u8, connections: usize) {
    for n in 1..=uplinks {
        assert!(
            until(|| subflows(&lab.host, &format!("10.0.{n}.1")) == connections),
            "wan{n}: {}",
            lab.host.out("ss -tniH")
        );
    }
}

/// Data on its way over all uplinks, whose endpoints the daemon has made.
#[track_caller]
fn transfer(lab: &Lab, uplinks: u8) -> Transfer {
    lab.expect(&ENDPOINTS[..uplinks.into()]);
    let transfer = Transfer::start(lab, BYTES, RATE);
    on_all_paths(lab, uplinks, 1);
    transfer
}

/// Nothing is left for the connections but to wait, and that they do.
#[test]
fn all_uplinks_lose_their_carrier() {
    for uplinks in [1, 2] {
        let Some(lab) = Lab::with_uplinks(uplinks) else {
            return;
        };
        let daemon = lab.daemon("");
        let transfer = transfer(&lab, uplinks);
        let each = |how: &dyn Fn(&str)| (1..=uplinks).for_each(|n| how(&format!("wan{n}")));
        each(&|name| lab.unplug(name));
        daemon.says(&["stays without a path"]);
        sleep(Duration::from_secs(3));
        // The first to be lost could go: the other one worked then.
        assert!(!lab.host.endpoints().is_empty());
        each(&|name| lab.plug(name));
        on_all_paths(&lab, uplinks, 1);
        transfer.finish();
        assert_eq!(lab.host.counter("MPTcpExtMPFastcloseRx"), 0);
    }
}

/// Nor does the end of a path end what has not been answered yet: its SYN is sent again.
#[test]
fn a_connection_is_being_opened_when_its_path_goes() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    let daemon = lab.daemon("");
    lab.expect(&ENDPOINTS[..1]);
    lab.outside.ip("route add blackhole 10.0.1.1");
    let transfer = Transfer::start(&lab, "1000", RATE);
    let opening = || lab.host.out("ss -tnH state syn-sent src 10.0.1.1");
    assert!(until(|| !opening().is_empty()));
    lab.unplug("wan1");
    daemon.says(&["10.0.1.1", "stays without a path"]);
    lab.outside.ip("route del blackhole 10.0.1.1");
    lab.plug("wan1");
    transfer.finish();
}

/// The kernel gives up a connection that has no subflow for `close_timeout`.
#[test]
fn an_outage_may_be_longer_than_the_close_timeout() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    for at in [&lab.host, &lab.outside] {
        at.sysctl("mptcp/close_timeout", 1);
    }
    let _daemon = lab.daemon("");
    let transfer = transfer(&lab, 1);
    lab.unplug("wan1");
    sleep(Duration::from_secs(4));
    lab.plug("wan1");
    transfer.finish();
}

/// As a PPPoE session that comes back with another address.
#[test]
fn an_uplink_comes_back_with_another_address() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    for at in [&lab.host, &lab.outside] {
        at.sysctl("mptcp/close_timeout", 1);
    }
    let _daemon = lab.daemon("");
    let transfer = transfer(&lab, 1);
    lab.host.ip("addr flush dev wan1");
    sleep(Duration::from_secs(3));
    lab.host.ip("addr add 10.0.1.9/24 dev wan1");
    lab.route(1);
    assert!(
        until(|| subflows(&lab.host, "10.0.1.9") == 1),
        "{}\n{}",
        _daemon.log(),
        lab.host.out("ss -tni")
    );
    lab.expect(&["10.0.1.9 subflow dev wan1"]);
    transfer.finish();
}

/// A connection that cannot have another path keeps the one it has.
#[test]
fn the_peer_accepts_no_joins() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    lab.outside.ip("mptcp limits set subflows 0");
    let daemon = lab.daemon("");
    lab.expect(&ENDPOINTS);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host, "10.0.1.1") == 1));
    lab.unplug("wan1");
    daemon.says(&["10.0.1.1", "stays without a path"]);
    sleep(Duration::from_secs(2));
    lab.expect(&ENDPOINTS);
    lab.plug("wan1");
    transfer.finish();
    // Nobody needs it any more.
    lab.unplug("wan1");
    lab.expect(&ENDPOINTS[1..]);
}

/// Where another path works the lost one goes at once, and the peer leaves it.
#[test]
fn a_lost_path_is_left_at_once_where_another_works() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let _daemon = lab.daemon("");
    lab.expect(&ENDPOINTS);
    let held = Held::open(&lab.host, SERVER, &lab.outside, SERVER, 20);
    on_all_paths(&lab, 2, 20);
    lab.unplug("wan1");
    lab.expect(&ENDPOINTS[1..]);
    assert!(until(|| subflows(&lab.outside, "192.0.2.80") == 20));
    lab.plug("wan1");
    on_all_paths(&lab, 2, 20);
    held.release();
}

/// The daemon is killed while nothing works, and started again.
#[test]
fn a_crash_in_the_middle_of_an_outage() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon("");
    let transfer = transfer(&lab, 2);
    lab.unplug("wan1");
    lab.unplug("wan2");
    daemon.says(&["stays without a path"]);
    daemon.kill();
    let daemon = lab.daemon("");
    daemon.says(&["stays without a path"]);
    lab.reload(&daemon, "[core]\nhold-down = 0\n");
    sleep(Duration::from_secs(1));
    assert!(!lab.host.endpoints().is_empty());
    lab.plug("wan1");
    lab.plug("wan2");
    on_all_paths(&lab, 2, 1);
    transfer.finish();
}

/// Has the server end a subflow with a reset, as a middlebox does that has forgotten it.
#[track_caller]
fn reset(lab: &Lab, from: &str) {
    let line = format!("ss -tnH state established src {from}");
    let before = lab.host.out(&line);
    let port = before
        .split_whitespace()
        .find_map(|word| word.strip_prefix(from)?.rsplit_once(':'))
        .expect("a subflow")
        .1;
    lab.outside
        .out(&format!("ss -tK dst {from} dport = :{port}"));
    let port = format!(":{port} ");
    assert!(
        until(|| !lab.host.out(&line).contains(&port)),
        "the subflow lives: {}",
        lab.host.out("ss -tni")
    );
}

/// The kernel makes no subflow again that was reset, whether it is the first or a joined one. The peer
/// is told nothing meanwhile, lest it end what is made.
#[test]
fn a_subflow_that_was_reset_is_made_again() {
    for from in ["10.0.1.1", "10.0.2.1"] {
        let Some(lab) = Lab::with_uplinks(2) else {
            return;
        };
        let daemon = lab.daemon("");
        let transfer = transfer(&lab, 2);
        reset(&lab, from);
        on_all_paths(&lab, 2, 1);
        assert_eq!(lab.outside.counter("MPTcpExtRmAddr"), 0, "{}", daemon.log());
        transfer.finish();
    }
}

/// A connection that has lost its only subflow is joined again before the kernel gives it up.
#[test]
fn the_only_subflow_was_reset() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    let _daemon = lab.daemon("");
    let transfer = transfer(&lab, 1);
    reset(&lab, "10.0.1.1");
    on_all_paths(&lab, 1, 1);
    transfer.finish();
}

/// A join to a gateway that does not answer fails, and is tried again until it does.
#[test]
fn a_join_that_failed_is_tried_again() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    lab.outside.ip("addr del 10.0.2.2/24 dev wan2");
    let _daemon = lab.daemon("");
    lab.expect(&ENDPOINTS);
    let held = Held::open(&lab.host, SERVER, &lab.outside, SERVER, 3);
    // Longer than the kernel asks for the gateway.
    sleep(Duration::from_secs(4));
    assert_eq!(subflows(&lab.host, "10.0.2.1"), 0);
    lab.outside.ip("addr add 10.0.2.2/24 dev wan2");
    on_all_paths(&lab, 2, 3);
    held.release();
}

/// For one connection that will never have a second path forty others are not disturbed: not for
/// many seconds, that is, and then no more than a few times.
#[test]
fn what_is_healthy_is_left_alone() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon("");
    lab.expect(&ENDPOINTS);
    let many = Held::open(&lab.host, SERVER, &lab.outside, SERVER, 40);
    on_all_paths(&lab, 2, 40);
    // Joins to this port are never answered.
    lab.outside
        .ip("rule add to 10.0.2.1 ipproto tcp sport 5001 prohibit");
    let other = "192.0.2.80:5001";
    let one = Held::open(&lab.host, other, &lab.outside, other, 1);
    let removed = || lab.host.counter("MPTcpExtRmSubflow");
    let before = removed();
    // A change, after which connections are looked at.
    lab.wan(3);
    lab.outside.ip("addr add 10.0.3.2/24 dev wan3");
    assert!(until(|| subflows(&lab.host, "10.0.3.1") > 0));
    sleep(Duration::from_secs(6));
    assert_eq!(removed(), before, "{}", daemon.log());
    on_all_paths(&lab, 1, 41);
    one.release();
    many.release();
}

/// A DHCP client takes the default route away at each renewal, and puts it back.
#[test]
fn a_renewal_costs_nothing() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let _daemon = lab.daemon("");
    lab.expect(&ENDPOINTS);
    let ids = lab.host.endpoints_with_ids();
    let transfer = Transfer::start(&lab, BYTES, RATE);
    on_all_paths(&lab, 2, 1);
    for _ in 0..3 {
        lab.host.ip("route del default dev wan2");
        sleep(Duration::from_millis(400));
        lab.route(2);
        sleep(Duration::from_millis(400));
    }
    sleep(Duration::from_millis(1500));
    assert_eq!(lab.host.endpoints_with_ids(), ids);
    assert_eq!(lab.host.counter("MPTcpExtRmSubflow"), 0);
    assert_eq!(lab.host.joins(), 1);
    // One that is away for longer is missed.
    lab.host.ip("route del default dev wan2");
    lab.expect(&ENDPOINTS[..1]);
    transfer.finish();
}

/// Other flags end the subflows of an endpoint. That happens to one after the other, as long as a
/// connection has two, and not at all where it has no other path.
#[test]
fn new_flags_wait_for_connections() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon("");
    lab.expect(&ENDPOINTS);
    let held = Held::open(&lab.host, SERVER, &lab.outside, SERVER, 3);
    on_all_paths(&lab, 2, 3);
    lab.reload(&daemon, "[core]\naddr-flags = subflow,signal\n");
    lab.expect(&[1, 2].map(|n| format!("10.0.{n}.1 signal subflow dev wan{n}")));
    on_all_paths(&lab, 2, 3);
    held.release();

    lab.reload(&daemon, "");
    lab.unplug("wan2");
    lab.expect(&ENDPOINTS[..1]);
    lab.outside.ip("mptcp limits set subflows 0");
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host, "10.0.1.1") == 1));
    lab.reload(&daemon, "[core]\naddr-flags = subflow,fullmesh\n");
    daemon.says(&["10.0.1.1", "stays as it is"]);
    transfer.finish();
    lab.expect(&["10.0.1.1 fullmesh subflow dev wan1"]);
}
