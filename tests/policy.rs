// SPDX-License-Identifier: BSD-3-Clause
//! Each interface has its own policy: which are used, with which flags, in which order, and which
//! only when nothing else works.

#[macro_use]
mod support;

use support::peer::Transfer;
use support::{Daemon, Lab, until};

const NONE: [&str; 0] = [];
/// Bytes a second, and bytes altogether.
const RATE: &str = "2000000";
const BYTES: &str = "16000000";
/// Bytes that show that a link carries the data, ...
const DATA: u64 = 1_000_000;
/// ... and those that handshakes, acknowledgements, ARP and neighbour discovery need at most.
const OVERHEAD: u64 = 20_000;

fn sent(lab: &Lab, device: &str) -> u64 {
    lab.host.traffic(device).0
}

/// Waits until `busy` has carried data, `bytes` of it, and answers what `idle` sent meanwhile.
#[track_caller]
fn meanwhile(lab: &Lab, busy: &str, bytes: u64, idle: &str, daemon: &Daemon) -> u64 {
    let [start, before] = [busy, idle].map(|device| sent(lab, device));
    assert!(
        until(|| sent(lab, busy) >= start + bytes),
        "{busy} carries no data: {}\n{}",
        lab.host.out("ss -tinm"),
        daemon.log()
    );
    sent(lab, idle) - before
}

/// The interface that costs money: nothing until the other one dies, nothing once it is back.
#[test]
fn a_backup_link_carries_data_only_while_the_other_is_dead() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon("[interface wan2]\naddr-flags = subflow,backup\n");
    let [one, two] = [
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 backup subflow dev wan2",
    ];
    lab.expect(&[one, two]);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| lab.host.joins() == 1), "no backup subflow");
    let idle = meanwhile(&lab, "wan1", 2 * DATA, "wan2", &daemon);
    assert!(idle < OVERHEAD, "the backup link carried {idle} bytes");
    lab.unplug("wan1");
    meanwhile(&lab, "wan2", 2 * DATA, "wan1", &daemon);
    lab.plug("wan1");
    lab.expect(&[one, two]);
    assert!(
        until(|| lab.host.joins() == 2),
        "the first path is not joined"
    );
    // The data have moved back; what was on its way may still have gone over the backup link.
    meanwhile(&lab, "wan1", DATA / 2, "wan2", &daemon);
    let idle = meanwhile(&lab, "wan1", 2 * DATA, "wan2", &daemon);
    assert!(idle < OVERHEAD, "the backup link went on: {idle} bytes");
    transfer.finish();
}

/// The interface that must not even be connected.
#[test]
fn a_standby_link_has_no_endpoint_while_another_works() {
    let Some(lab) = Lab::with_uplinks(3) else {
        return;
    };
    let daemon = lab.daemon("[interface wan3]\nuse = standby\n");
    let [one, two, three] = [1, 2, 3].map(|n| format!("10.0.{n}.1 subflow dev wan{n}"));
    lab.expect_still(&[&one, &two]);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| lab.host.joins() == 1), "no second subflow");
    lab.unplug("wan2");
    lab.expect_still(&[&one]);
    let idle = meanwhile(&lab, "wan1", DATA, "wan3", &daemon);
    assert!(idle < OVERHEAD, "the standby link carried {idle} bytes");
    lab.unplug("wan1");
    lab.expect(&[&three]);
    meanwhile(&lab, "wan3", DATA, "wan1", &daemon);
    lab.plug("wan1");
    lab.expect(&[&one]);
    assert!(until(|| {
        let text = lab.host.out("ss -tnH state established");
        text.lines().count() == 1 && text.contains("10.0.1.1")
    }));
    let idle = meanwhile(&lab, "wan1", DATA, "wan3", &daemon);
    assert!(idle < OVERHEAD, "the standby link went on: {idle} bytes");
    lab.plug("wan2");
    lab.expect_still(&[&one, &two]);
    transfer.finish();
}

#[test]
fn standby_has_more_than_one_reason_to_end() {
    let lab = lab!();
    (1..=3).for_each(|n| lab.wan(n));
    lab.wan6(2);
    let [one, two, two6, three] = [
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 subflow dev wan2",
        "2001:db8:2::1 subflow dev wan2",
        "10.0.3.1 subflow dev wan3",
    ];
    let daemon = lab.daemon("[interface wan[23]]\nuse = standby\n");
    lab.expect_still(&[one]);
    // All that stand by come in, and all go.
    for (dies, returns) in [
        ("link set wan1 down", "link set wan1 up"),
        (
            "addr del 10.0.1.1/24 dev wan1",
            "addr add 10.0.1.1/24 dev wan1",
        ),
        ("route del default dev wan1", ""),
    ] {
        lab.host.ip(dies);
        lab.expect(&[two, two6, three]);
        lab.host.ip(returns);
        lab.route(1);
        lab.expect(&[one]);
    }
    // One whose flags allow it no use is no reason for another to stand by.
    lab.reload(
        &daemon,
        "[interface wan1]\nuse = no\n[interface wan3]\nuse = standby\n",
    );
    lab.expect(&[two, two6]);
    lab.reload(&daemon, "[interface wan3]\nuse = standby\n");
    lab.expect_still(&[one, two, two6]);
    lab.reload(&daemon, "[interface wan*]\nuse = standby\n");
    lab.expect_still(&[one, two, two6, three]);
}

/// No test waits for a long time: a day is never over, and a second soon is.
#[test]
fn an_address_that_returns_is_held_down() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    let held = |seconds: u32| format!("[interface wan2]\nhold-down = {seconds}\n");
    // What is there at the start has been there long enough.
    let daemon = lab.daemon(&held(86_400));
    lab.expect(&[one, two]);
    for (dies, returns) in [
        ("link set wan2 down", "link set wan2 up"),
        (
            "addr del 10.0.2.1/24 dev wan2",
            "addr add 10.0.2.1/24 dev wan2",
        ),
        ("route del default dev wan2", ""),
    ] {
        lab.host.ip(dies);
        lab.expect(&[one]);
        lab.host.ip(returns);
        lab.route(2);
        lab.expect_still(&[one]);
        lab.reload(&daemon, &held(0));
        lab.expect(&[one, two]);
        lab.reload(&daemon, &held(86_400));
        lab.expect_still(&[one, two]);
    }
    // So is one that nobody saw go, because it was back in no time.
    lab.host.ip("link set wan2 down; link set wan2 up");
    lab.route(2);
    lab.expect_still(&[one]);
    // A new one must prove itself, too.
    lab.host.ip("addr add 10.0.2.7/24 dev wan2");
    lab.expect_still(&[one]);
    // It returns by itself, without an event.
    lab.reload(&daemon, &held(1));
    lab.expect(&[one, two, "10.0.2.7 subflow dev wan2"]);
    lab.unplug("wan2");
    lab.expect(&[one]);
    lab.plug("wan2");
    lab.expect(&[one, two, "10.0.2.7 subflow dev wan2"]);
}

#[test]
fn standby_bridges_the_hold_down() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    let config = |seconds: u32| {
        format!(
            "[interface wan1]\nhold-down = {seconds}\n[interface wan2]\nuse = standby\nhold-down = 86400\n"
        )
    };
    let daemon = lab.daemon(&config(86_400));
    lab.expect_still(&[one]);
    // What stood by was fit all the time, and takes over at once.
    lab.unplug("wan1");
    lab.expect(&[two]);
    lab.plug("wan1");
    // (`settle` would be an uplink beside it.)
    daemon.catch_up();
    lab.expect(&[two]);
    lab.reload(&daemon, &config(0));
    lab.expect(&[one]);
}

/// With 12 addresses for 8 slots the priority decides: who is in, and who came first.
#[test]
fn priorities_decide_who_gets_a_slot() {
    let lab = lab!();
    (1..=3).for_each(|n| lab.wan(n));
    let more = |n: u8| (2..=4).map(move |m| format!("addr add 10.0.{n}.{m}/24 dev wan{n}\n"));
    lab.host.ip(&(1..=3).flat_map(more).collect::<String>());
    let of = |n: u8| (1..=4).map(move |m| format!("10.0.{n}.{m} subflow dev wan{n}"));
    let daemon = lab.daemon("[interface wan1]\npriority = 10\n[interface wan2]\npriority = -5\n");
    let best: Vec<_> = of(2).chain(of(3)).collect();
    lab.expect(&best);
    let ids = |n: u8| {
        let all = (1..=4).map(|m| lab.host.id(&format!("10.0.{n}.{m}")).expect("an endpoint"));
        all.collect::<Vec<_>>()
    };
    let (two, three) = (ids(2), ids(3));
    assert!(two.iter().max() < three.iter().min(), "{two:?} {three:?}");
    assert!(two.is_sorted() && three.is_sorted(), "{two:?} {three:?}");
    // A better one goes: the first of the others takes its slot, and gives it back.
    lab.host.ip("addr del 10.0.2.2/24 dev wan2");
    let mut wanted = best.clone();
    wanted.retain(|one| !one.starts_with("10.0.2.2 "));
    wanted.push("10.0.1.1 subflow dev wan1".into());
    lab.expect(&wanted);
    lab.host.ip("addr add 10.0.2.2/24 dev wan2");
    lab.expect(&best);
    assert_eq!(ids(3), three, "the others were touched");
    // Everything changes sides with a reload, and what stays in is not touched.
    lab.reload(
        &daemon,
        "[interface wan1]\npriority = -128\n[interface wan2]\npriority = 127\n",
    );
    lab.expect(&of(1).chain(of(3)).collect::<Vec<_>>());
    assert_eq!(ids(3), three, "the others were touched");
}

#[test]
fn the_first_pattern_that_matches_counts() {
    let lab = lab!();
    (1..=4).for_each(|n| lab.wan(n));
    let table: [(&str, [&str; 4]); 5] = [
        (
            "[interface *]\naddr-flags = signal\n[interface wan1]\nuse = no\n",
            ["signal"; 4],
        ),
        (
            "[interface wan1]\nuse = no\n[interface *]\naddr-flags = signal\n",
            ["", "signal", "signal", "signal"],
        ),
        (
            "[interface wan[!12]]\naddr-flags = backup\n[interface wan[1-3]]\naddr-flags = signal\n",
            ["signal", "signal", "backup", "backup"],
        ),
        (
            "[interface ?an2]\nuse = no\n[interface w*2]\naddr-flags = signal\n[interface an*]\nuse = no\n",
            ["subflow", "", "subflow", "subflow"],
        ),
        // A section is whole: what it does not say comes from [core], not from the next one.
        (
            "[interface wan3]\npriority = 1\n[interface wan*]\naddr-flags = signal\n\
             [core]\naddr-flags = subflow,fullmesh\n",
            ["signal", "signal", "fullmesh subflow", "signal"],
        ),
    ];
    let daemon = lab.daemon("[core]\ninterfaces =\n");
    daemon.says(&["watching"]);
    for (config, flags) in table {
        lab.reload(&daemon, config);
        let wanted: Vec<_> = flags
            .iter()
            .enumerate()
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(at, flags)| format!("10.0.{0}.1 {flags} dev wan{0}", at + 1))
            .collect();
        lab.expect(&wanted);
    }
}

#[test]
fn interfaces_may_stay_out() {
    let lab = lab!();
    (1..=3).for_each(|n| lab.wan(n));
    let [one, two, three] = [1, 2, 3].map(|n| format!("10.0.{n}.1 subflow dev wan{n}"));
    let daemon = lab.daemon("[interface wan2]\nuse = no\n");
    lab.expect_still(&[&one, &three]);
    daemon.says(&["watching", "2 of"]);
    // The allow-list beats any section.
    for (config, wanted) in [
        (
            "[core]\ninterfaces = wan1,wan[3-9]\n[interface wan2]\nuse = yes\n",
            &[&one, &three][..],
        ),
        ("[core]\ninterfaces = wan2\n", &[&two]),
        (
            "[core]\ninterfaces = *\n[interface wan2]\nuse = no\n",
            &[&one, &three],
        ),
        ("[core]\ninterfaces = tun*,ppp?\n", &[]),
        ("[core]\ninterfaces =\n", &[]),
        ("", &[&one, &two, &three]),
    ] {
        lab.reload(&daemon, config);
        lab.expect(wanted);
    }
    lab.reload(&daemon, "[core]\ninterfaces = wan1,settle\n");
    lab.host
        .ip("addr add 10.0.2.7/24 dev wan2; addr add 10.0.1.7/24 dev wan1");
    lab.expect_still(&[&one, "10.0.1.7 subflow dev wan1"]);
    // Only a device that has the name has its policy.
    lab.host.ip(
        "link set wan3 down; link set wan1 down; link set wan1 name wan9; link set wan3 name wan1",
    );
    lab.host
        .ip("link set wan9 up; link set wan1 up; route add default via 10.0.3.2 dev wan1");
    lab.expect_still(&["10.0.3.1 subflow dev wan1"]);
}

#[test]
fn families_ports_and_links_without_a_default_route() {
    let lab = lab!();
    (1..=4).for_each(|n| lab.wan(n));
    (1..=3).for_each(|n| lab.wan6(n));
    lab.link("lan");
    lab.host
        .ip("addr add 192.168.0.1/24 dev lan; addr add fd00::1/64 dev lan");
    let config = "[core]
         [interface wan1]
         families = ipv6
         [interface wan2]
         families = ipv4
         addr-flags = subflow,backup
         [interface wan3]
         families = ipv4,ipv6
         [interface wan4]
         addr-flags = signal
         port = 4711
         [interface lan]
         addr-flags = signal
         notify-flags = existing,skip_link_local,skip_loopback\n";
    let daemon = lab.daemon(config);
    let rest = [
        "2001:db8:1::1 subflow dev wan1",
        "10.0.2.1 backup subflow dev wan2",
        "10.0.3.1 subflow dev wan3",
        "2001:db8:3::1 subflow dev wan3",
        "192.168.0.1 signal dev lan",
        "fd00::1 signal dev lan",
    ];
    let with = |last: &'static str| rest.into_iter().chain([last]).collect::<Vec<_>>();
    lab.expect_still(&with("10.0.4.1 port 4711 signal dev wan4"));
    // The kernel knows an endpoint by address and port: another port is another endpoint.
    let before = lab.host.endpoints_with_ids();
    lab.reload(&daemon, &config.replace("4711", "4712"));
    lab.expect(&with("10.0.4.1 port 4712 signal dev wan4"));
    lab.reload(&daemon, &config.replace("port = 4711", ""));
    lab.expect(&with("10.0.4.1 signal dev wan4"));
    lab.reload(&daemon, config);
    lab.expect(&with("10.0.4.1 port 4711 signal dev wan4"));
    let after = lab.host.endpoints_with_ids();
    let moved = before.iter().filter(|one| !after.contains(one)).count();
    assert_eq!(moved, 1, "{before:?} {after:?}");
    // Nothing of a family is nothing at all.
    lab.reload(&daemon, "[interface *]\nfamilies =\n");
    lab.expect(&NONE);
}

/// Backup and fullmesh change on the endpoint that is there, so that subflows live on; everything
/// else takes another endpoint.
#[test]
fn flags_change_in_place_where_the_kernel_can() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let flags = |flags: &str| format!("[interface wan2]\naddr-flags = {flags}\n");
    let daemon = lab.daemon(&flags("subflow"));
    let expect = |shown: &str| {
        lab.expect(&[
            "10.0.1.1 subflow dev wan1".into(),
            format!("10.0.2.1 {shown} dev wan2"),
        ]);
        lab.host.id("10.0.2.1").expect("an endpoint")
    };
    let id = expect("subflow");
    let transfer = Transfer::start(&lab, BYTES, RATE);
    let second = || {
        let text = lab.host.out("ss -tnH state established");
        let line = text.lines().find(|line| line.contains("10.0.2.1"))?;
        line.split_whitespace().nth(2).map(str::to_owned)
    };
    assert!(until(|| second().is_some()), "no second subflow");
    let before = second();
    for (name, shown) in [("subflow,backup", "backup subflow"), ("subflow", "subflow")] {
        lab.reload(&daemon, &flags(name));
        assert_eq!(expect(shown), id, "{name}");
    }
    assert_eq!(second(), before, "the subflow is another one");
    let told = || lab.host.counter("MPTcpExtMPPrioTx");
    assert!(until(|| told() == 2), "the peer was told {} times", told());
    for (name, shown) in [
        ("subflow,backup,fullmesh", "backup fullmesh subflow"),
        ("subflow,fullmesh", "fullmesh subflow"),
        ("subflow", "subflow"),
    ] {
        lab.reload(&daemon, &flags(name));
        assert_eq!(expect(shown), id, "{name}");
    }
    let mut last = id;
    for (name, shown) in [
        ("signal", "signal"),
        ("subflow", "subflow"),
        ("subflow,signal", "signal subflow"),
    ] {
        lab.reload(&daemon, &flags(name));
        let id = expect(shown);
        assert_ne!(id, last, "{name}");
        last = id;
    }
    transfer.finish();
}
