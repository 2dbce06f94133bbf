// SPDX-License-Identifier: BSD-3-Clause
//! Every callback, with its exact arguments.

use std::cell::RefCell;

use mptcpd::internal::capacity;
use mptcpd::internal::config::Config;
use mptcpd::internal::engine::{Engine, Input};
use mptcpd::internal::plugin::{Context, Entry, Plugin};
use mptcpd::internal::time::{Duration, Instant};

use crate::pair::{DUAL_STACK, IPV4, IPV6, Pair, Probe, Way, field, lab, port_of};
use crate::support::peer::Peer;
use crate::support::until;

/// A connection with a second subflow: all that can be told of it is told.
#[track_caller]
fn a_life(way: &Way) {
    let Some(lab) = lab() else { return };
    let Way { from, to, .. } = way;
    let pair = Pair::connect(&lab, way);
    let (client, server, client_token, server_token) = pair.sides();
    let (local, remote) = (pair.local, pair.remote);
    for (side, token, ends, flags) in [
        (
            client,
            client_token,
            format!("local={local} remote={remote}"),
            "server_side=false",
        ),
        (
            server,
            server_token,
            format!("local={remote} remote={local}"),
            "server_side=true",
        ),
    ] {
        for callback in ["new_connection", "connection_established"] {
            side.hears(&format!(
                "{callback} token={token} {ends} {flags} deny_join_id0=false"
            ));
        }
    }

    server
        .probe
        .ok(&format!("announce {server_token} {to},id=7"));
    client.hears(&format!("new_address token={client_token} id=7"));

    client.probe.ok(&format!(
        "create {client_token} {from},id=5 {to},port=5000,id=7"
    ));
    let rest = "backup=false ifindex=0 error=0 reset_reason=none reset_flags=0";
    let made = client.hears(&format!(
        "new_subflow token={client_token} local_id=5 remote_id=7 {rest}"
    ));
    let (near, far) = (field(&made, "local"), field(&made, "remote"));
    server.hears(&format!(
        "new_subflow token={server_token} local={far} remote={near} local_id=7 remote_id=5 {rest}"
    ));

    assert!(client.has(near, far), "{}", client.at.out("ss -tn"));
    assert!(server.has(far, near), "{}", server.at.out("ss -tn"));

    let port = port_of(near);
    let here = format!("{client_token} {from},port={port} {to},port=5000");
    let there = format!("{server_token} {to},port=5000 {from},port={port}");
    for (word, backup) in [("yes", true), ("no", false)] {
        client.probe.ok(&format!("backup {here} {word}"));
        server.hears(&format!(
            "subflow_priority token={server_token} local={far} remote={near} local_id=7 \
             remote_id=5 backup={backup}"
        ));
        server.probe.ok(&format!("backup {there} {word}"));
        client.hears(&format!(
            "subflow_priority token={client_token} local={near} remote={far} local_id=5 \
             remote_id=7 backup={backup}"
        ));
    }
    client.probe.ok(&format!("destroy {here}"));
    client.hears(&format!(
        "subflow_closed token={client_token} local={near} remote={far}"
    ));
    server.hears(&format!(
        "subflow_closed token={server_token} local={far} remote={near}"
    ));

    server.probe.ok(&format!("remove {server_token} 7"));
    client.hears(&format!("address_removed token={client_token} id=7"));

    // The other side can end a subflow, too.
    client
        .probe
        .ok(&format!("create {client_token} {from},id=6 {to},port=5000"));
    let made = client.hears(&format!("new_subflow token={client_token} local_id=6"));
    let (near, far) = (field(&made, "local"), field(&made, "remote"));
    server.hears(&format!(
        "new_subflow local={far} remote={near} remote_id=6"
    ));
    let port = port_of(near);
    server.probe.ok(&format!(
        "destroy {server_token} {to},port=5000 {from},port={port}"
    ));
    server.hears(&format!(
        "subflow_closed token={server_token} local={far} remote={near}"
    ));
    client.hears(&format!(
        "subflow_closed token={client_token} local={near} remote={far}"
    ));
    pair.finish();
}

#[test]
fn the_life_of_a_connection_over_ipv4() {
    a_life(&IPV4);
}

#[test]
fn the_life_of_a_connection_over_ipv6() {
    a_life(&IPV6);
}

#[test]
fn the_life_of_a_connection_to_a_dual_stack_server() {
    a_life(&DUAL_STACK);
}

/// The two sides' C flags are their own (RFC 8684, 3.1).
#[test]
fn a_peer_denies_joins_to_its_initial_address() {
    let Some(lab) = lab() else { return };
    lab.outside.sysctl("mptcp/allow_join_initial_addr_port", 0);
    let pair = Pair::ipv4(&lab);
    for callback in ["new_connection", "connection_established"] {
        pair.client
            .hears(&format!("{callback} server_side=false deny_join_id0=true"));
        pair.server
            .hears(&format!("{callback} server_side=true deny_join_id0=false"));
    }
    pair.finish();
}

#[test]
fn a_refused_join_is_told_with_its_error() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, token) = (&pair.client, &pair.client_token);
    client
        .probe
        .ok(&format!("create {token} 10.0.2.1,id=5 10.0.2.2,port=6000"));
    client.hears(&format!(
        "subflow_closed token={token} remote=10.0.2.2:6000 local_id=5 remote_id=0 error=111 \
         reset_reason=none"
    ));
    pair.finish();
}

/// The peer's administrator kills a subflow: its end comes with MP_TCPRST (RFC 8684, 3.6), reason 0.
#[test]
fn a_killed_subflow_is_told_with_its_error() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, server, token, _) = pair.sides();
    client.probe.ok(&format!(
        "create {token} 10.0.2.1,id=5,dev=102 10.0.1.2,port=5000"
    ));
    let made = client.hears(&format!("new_subflow token={token} local_id=5 ifindex=102"));
    server.at.out("ss -K dst 10.0.2.1");
    client.hears(&format!(
        "subflow_closed local={} ifindex=102 error=104 reset_reason=0 reset_flags=0",
        field(&made, "local")
    ));
    server.hears(&format!(
        "subflow_closed remote={} error=103 reset_reason=none",
        field(&made, "local")
    ));
    pair.finish();
}

/// A reset says why (MP_TCPRST), and whether to try again: its flag T.
#[test]
fn a_reset_is_told_with_its_reason() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, server, token, _) = pair.sides();
    for (to, flags, reason) in [("10.0.2.2", "1", "2"), ("10.0.1.2", "0", "6")] {
        client
            .probe
            .ok(&format!("create {token} 10.0.2.1,id=5 {to},port=5000"));
        let made = client.hears(&format!(
            "new_subflow token={token} remote={to}:5000 reset_reason=none"
        ));
        let (near, far) = (field(&made, "local"), field(&made, "remote"));
        let mut reset = Peer::other(server.at, "reset_subflow", &[far, near, flags, reason]);
        reset.says("listening");
        // MP_PRIO makes the client send something.
        let port = port_of(near);
        client.probe.ok(&format!(
            "backup {token} 10.0.2.1,port={port} {to},port=5000 yes"
        ));
        client.hears(&format!(
            "subflow_closed token={token} local={near} error=104 reset_reason={reason} \
             reset_flags={flags}"
        ));
    }
    pair.finish();
}

/// The order of things: first `init`, last `exit`, and what is asked for in it is still sent.
#[test]
fn the_first_and_the_last() {
    let Some(lab) = lab() else { return };
    let Pair {
        client,
        server,
        client_token,
        server_token,
        local,
        held,
        ..
    } = Pair::ipv4(&lab);
    client
        .probe
        .put_off(&format!("announce {client_token} 10.0.2.1,id=9"));
    client.probe.put_off(&format!(
        "create {client_token} 10.0.2.1,id=9 10.0.1.2,port=5000"
    ));
    let lines = client.probe.lines();
    assert_eq!(lines[..2], ["init", "ready"]);
    assert!(
        lines[2].starts_with("new_interface index=101 "),
        "{lines:#?}"
    );
    let told = client.probe.stop();
    assert_eq!(told.last().map(String::as_str), Some("exit"));
    server.hears(&format!(
        "new_address token={server_token} id=9 address=10.0.2.1:{}",
        local.port()
    ));
    server.hears(&format!("new_subflow token={server_token} remote_id=9"));
    drop(held);
}

/// Interfaces and addresses that are there, come, change and go, as `ip` has them.
#[test]
fn the_network_is_told() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    let flags = |name: &str| {
        let text = lab.host.out(&format!("ip -o link show {name}"));
        let names = text.split(['<', '>']).nth(1).expect("flags").split(',');
        names
            .map(|name| IFF.iter().find(|(n, _)| *n == name).expect(name).1)
            .sum::<u32>()
    };
    let is = |callback: &str, index: u32, name: &str| {
        probe.told(&format!(
            "{callback} index={index} name={name} flags={:#x}",
            flags(name)
        ));
    };
    is("new_interface", 101, "wan1");
    is("new_interface", 102, "wan2");
    probe.told("new_local_address index=101 address=10.0.1.1");
    probe.told("new_local_address index=102 address=2001:db8:2::1");

    lab.link("lan");
    lab.host
        .ip("addr add 192.0.2.1/24 dev lan; addr add 2001:db8:77::1/64 dev lan");
    is("new_interface", 103, "lan");
    probe.told("new_local_address index=103 address=192.0.2.1");
    probe.told("new_local_address index=103 address=2001:db8:77::1");
    lab.host.ip("link set lan allmulticast on");
    is("update_interface", 103, "lan");
    lab.host.ip("link set lan name dmz");
    is("update_interface", 103, "dmz");
    lab.host.ip("addr del 192.0.2.1/24 dev dmz");
    probe.told("delete_local_address index=103 address=192.0.2.1");
    lab.host.ip("link set dmz down");
    is("delete_interface", 103, "dmz");
    lab.host.ip("link set dmz up");
    let up = || probe.count("new_interface index=103", "");
    assert!(until(|| up() == 2), "{:#?}", probe.lines());
    lab.host.ip("link del dmz");
    let down = || probe.count("delete_interface index=103", "");
    assert!(until(|| down() == 2), "{:#?}", probe.lines());
    // Addresses come after their interface and go before it.
    let lines = probe.lines();
    let at = |line: &str| lines.iter().position(|l| l.starts_with(line)).expect(line);
    assert!(at("new_interface index=103") < at("new_local_address index=103"));
    assert!(
        at("delete_local_address index=103 address=2001:db8:77::1")
            < at("delete_interface index=103")
    );
    probe.daemon.stop();
}

/// `IFF_*` of linux/if.h by the names that `ip` has for them.
const IFF: [(&str, u32); 6] = [
    ("UP", 0x41), // With IFF_RUNNING, which `ip` leaves unsaid.
    ("BROADCAST", 0x2),
    ("NOARP", 0x80),
    ("ALLMULTI", 0x200),
    ("MULTICAST", 0x1000),
    ("LOWER_UP", 0x1_0000),
];

#[test]
fn listeners_of_other_programs_are_told() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    for address in [
        "10.0.1.1:5001",
        "0.0.0.0:5002",
        "[2001:db8:1::1]:5003",
        "[::]:5004",
    ] {
        let peer = Peer::listening(&lab.host, &["accept", address, "1"]);
        probe.told(&format!("listener_created local={address}"));
        assert!(
            !probe
                .lines()
                .contains(&format!("listener_closed local={address}"))
        );
        drop(peer);
        probe.told(&format!("listener_closed local={address}"));
    }
    probe.daemon.stop();
}

#[test]
fn timers_run_out_in_order() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    probe.tell_all(&[
        "timer 1 400",
        "timer 2 20",
        "timer 3 60",
        "timer 4 40",
        "timer 5 30",
        "cancel 4",
        "timer 2 90",
    ]);
    probe.told("timer 1");
    let mut lines = probe.lines();
    lines.retain(|line| line.starts_with("timer "));
    assert_eq!(lines, ["timer 5", "timer 3", "timer 2", "timer 1"]);

    // One of the table is the probe's own.
    let many: Vec<String> = (0..capacity::TIMERS)
        .map(|n| format!("timer {} 600000", n + 100))
        .collect();
    let first = probe.tell_all(&many);
    let last = first + many.len() as u32 - 1;
    assert_eq!(probe.answer(last - 1).1, "set");
    assert_eq!(probe.answer(last).1, "too many timers");
    assert_eq!(probe.ask("timer 100 0"), "set");
    probe.told("timer 100");
    assert_eq!(probe.ask("timer 200 600000"), "set");
    probe.daemon.stop();
}

thread_local!(static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

/// What a plugin in an engine without a daemon tells its test.
fn note(what: String) {
    TOLD.with_borrow_mut(|told| told.push(what));
}

fn engine(entry: &'static Entry) -> Engine {
    Engine::new(
        Instant(0),
        Config::new(std::slice::from_ref(entry)),
        &[entry],
    )
}

/// The family cannot be made to vanish where it is built into the kernel: this is the engine's
/// part alone.
#[test]
fn the_family_comes_and_goes() {
    struct Watcher;
    impl Plugin for Watcher {
        fn ready(&mut self, cx: &mut Context<'_>) {
            note(format!("ready {}", cx.is_ready()));
        }
        fn not_ready(&mut self, cx: &mut Context<'_>) {
            note(format!("not_ready {}", cx.is_ready()));
        }
    }
    static WATCHER: Entry = Entry::new("watcher", "", || Box::new(Watcher));
    let mut engine = engine(&WATCHER);
    for present in [true, true, false, false, true] {
        engine.handle(Instant(1), Input::PathManager(present));
    }
    assert_eq!(TOLD.take(), ["ready true", "not_ready false", "ready true"]);
}

/// A daemon that comes late to its timers keeps their order, and one that is set again at once
/// does not keep it from all else.
#[test]
fn late_timers_keep_their_order() {
    struct Alarm;
    impl Plugin for Alarm {
        fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
            for timer in [30, 10, 20, 0, 300] {
                cx.set_timer(timer, Duration::from_millis(timer));
            }
            Ok(())
        }
        fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {
            note(timer.to_string());
            if timer == 0 {
                cx.set_timer(0, Duration::from_millis(0));
            }
        }
    }
    static ALARM: Entry = Entry::new("alarm", "", || Box::new(Alarm));
    let mut engine = engine(&ALARM);
    engine.settle(Instant(100));
    let mut told = TOLD.take();
    assert!(told.len() <= 5, "{told:?}");
    told.retain(|timer| timer != "0");
    assert_eq!(told, ["10", "20", "30"]);
    engine.settle(Instant(100));
    assert!(TOLD.take().contains(&"0".to_owned()));
}
