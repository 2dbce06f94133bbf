// SPDX-License-Identifier: BSD-3-Clause
//! The endpoints of the real kernel follow the network.

#[macro_use]
mod support;

use std::time::Duration;

use nix::sys::signal::Signal::{SIGHUP, SIGUSR1};
use support::peer::Held;
use support::{Lab, skip, until};

/// Every address counts as soon as it is there, whatever its route.
const ANY_ROUTE: &str = "[core]\nnotify-flags = existing,skip_link_local,skip_loopback\n";
const REMOVE: &str = "[core]\non-exit = remove\n";

const NONE: [&str; 0] = [];

/// IPv6 addresses that outlive a link that is down are tentative again once it is up, which no
/// event tells: a join from one fails.
#[test]
fn a_kept_address_waits_until_it_is_no_longer_tentative() {
    let lab = lab!();
    lab.wan(1);
    for variable in ["keep_addr_on_down", "accept_dad"] {
        lab.host.sysctl(&format!("ipv6/conf/wan1/{variable}"), 1);
    }
    lab.wan6(1);
    let six = "2001:db8:1::1 subflow dev wan1";
    let _daemon = lab.daemon(ANY_ROUTE);
    lab.expect(&["10.0.1.1 subflow dev wan1", six]);
    lab.host.ip("link set wan1 down");
    lab.expect(&NONE);
    lab.host.ip("link set wan1 up");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let tentative = || lab.host.out("ip -6 -o addr show dev wan1 tentative");
    assert!(tentative().contains("2001:db8:1::1"), "{}", tentative());
    assert!(until(|| {
        let there = lab.host.endpoints().contains(&six.to_owned());
        assert!(!there || !tentative().contains("2001:db8:1::1"));
        there
    }));
}

#[test]
fn addresses_at_start_later_and_gone() {
    let lab = lab!();
    lab.wan(1);
    lab.wan6(1);
    let _daemon = lab.daemon("");
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "2001:db8:1::1 subflow dev wan1",
    ]);
    lab.wan(2);
    lab.wan6(2);
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 subflow dev wan2",
        "2001:db8:1::1 subflow dev wan1",
        "2001:db8:2::1 subflow dev wan2",
    ]);
    lab.host
        .ip("addr del 10.0.1.1/24 dev wan1; addr del 2001:db8:2::1/64 dev wan2");
    lab.expect(&[
        "10.0.2.1 subflow dev wan2",
        "2001:db8:1::1 subflow dev wan1",
    ]);
    // The default routes of IPv4 went with the address; they come back with it.
    lab.host
        .ip("addr add 10.0.1.1/24 dev wan1; addr add 2001:db8:2::1/64 dev wan2");
    lab.route(1);
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 subflow dev wan2",
        "2001:db8:1::1 subflow dev wan1",
        "2001:db8:2::1 subflow dev wan2",
    ]);
}

#[test]
fn every_combination_of_address_flags() {
    let lab = lab!();
    lab.wan(1);
    let table = [
        ("", ""),
        ("subflow", " subflow"),
        ("signal", " signal"),
        ("backup", " backup"),
        ("fullmesh", " fullmesh"),
        ("subflow,signal", " signal subflow"),
        ("subflow,backup", " backup subflow"),
        ("signal,backup", " backup signal"),
        ("subflow,fullmesh", " fullmesh subflow"),
        ("backup,fullmesh", " backup fullmesh"),
        ("subflow , signal , backup", " backup signal subflow"),
        ("subflow,backup,fullmesh", " backup fullmesh subflow"),
    ];
    for (flags, shown) in table {
        let daemon = lab.daemon(&format!("{REMOVE}addr-flags = {flags}\n"));
        lab.expect(&[format!("10.0.1.1{shown} dev wan1")]);
        daemon.stop();
        lab.expect(&NONE);
        // The command line says the same, and wins.
        let arguments = ["--addr-flags", &flags.replace(' ', "")];
        let daemon = lab.daemon_in(
            &lab.host,
            &format!("{REMOVE}addr-flags=signal\n"),
            &arguments,
        );
        lab.expect(&[format!("10.0.1.1{shown} dev wan1")]);
        daemon.stop();
    }
}

#[test]
fn every_notify_flag() {
    let lab = lab!();
    lab.wan(1);
    lab.link("lan");
    lab.host.ip(
        "link set lan down; link set lan address 02:00:00:00:00:01; link set lan up
         addr add 169.254.1.1/16 dev wan1
         addr add 10.1.0.1/24 scope link dev wan1
         addr add 10.2.0.1/24 scope host dev wan1
         addr add 192.168.0.1/24 dev lan",
    );
    let global = "10.0.1.1 subflow dev wan1";
    let lan = "192.168.0.1 subflow dev lan";
    let local = ["10.1.0.1 subflow dev wan1", "169.254.1.1 subflow dev wan1"];
    let own = "10.2.0.1 subflow dev wan1";
    let all = "existing,skip_link_local,skip_loopback,check_route";
    let table: [(&str, &[&str]); 5] = [
        (all, &[global]),
        ("existing,skip_link_local,check_route", &[global, own]),
        (
            "existing,skip_loopback,check_route",
            &[global, local[0], local[1]],
        ),
        ("existing,check_route", &[global, local[0], local[1], own]),
        ("existing,skip_link_local,skip_loopback", &[global, lan]),
    ];
    for (flags, wanted) in table {
        let daemon = lab.daemon(&format!("{REMOVE}notify-flags={flags}\n"));
        lab.expect(wanted);
        lab.expect_still(wanted);
        daemon.stop();
        lab.expect(&NONE);
    }
    // Without `existing` only what comes later counts. (The lan's endpoint tells us that the
    // daemon has seen what exists.)
    let _daemon = lab.daemon(
        "[core]
         notify-flags = skip_link_local,check_route
         [interface lan]
         notify-flags = existing,skip_link_local",
    );
    lab.expect(&[lan]);
    lab.expect_still(&[lan]);
    lab.host.ip("addr add 10.0.1.9/24 dev wan1");
    lab.expect_still(&[lan, "10.0.1.9 subflow dev wan1"]);
}

#[test]
fn link_local_addresses_of_ipv6() {
    let lab = lab!();
    lab.link("lan");
    lab.host.ip(
        "link set lan down; link set lan address 02:00:00:00:00:01; link set lan up
         addr add 192.168.0.1/24 dev lan",
    );
    let [lan, local] = [
        "192.168.0.1 subflow dev lan",
        "fe80::ff:fe00:1 subflow dev lan",
    ];
    for (more, wanted) in [(",skip_link_local", &[lan][..]), ("", &[lan, local])] {
        let daemon = lab.daemon(&format!(
            "{REMOVE}notify-flags = existing,skip_loopback{more}\n"
        ));
        lab.expect(wanted);
        daemon.stop();
    }
}

#[test]
fn the_default_route_decides() {
    let lab = lab!();
    lab.link("wan1");
    lab.link("lan");
    lab.host
        .ip("addr add 10.0.1.1/24 dev wan1; addr add 2001:db8:1::1/64 dev wan1");
    let _daemon = lab.daemon("");
    lab.expect_still(&NONE);
    let [v4, v6] = [
        "10.0.1.1 subflow dev wan1",
        "2001:db8:1::1 subflow dev wan1",
    ];
    // A route to somewhere else is none, nor is one of another device's.
    lab.host.ip("route add 192.0.2.0/24 via 10.0.1.2 dev wan1");
    lab.expect_still(&NONE);
    let steps: [(&str, &[&str]); 9] = [
        ("route add default via 10.0.1.2 dev wan1", &[v4]),
        ("route add ::/0 via fe80::2 dev wan1", &[v4, v6]),
        (
            "route add default via 10.0.1.3 dev wan1 metric 5",
            &[v4, v6],
        ),
        ("route del default via 10.0.1.2 dev wan1", &[v4, v6]),
        ("route del default via 10.0.1.3 dev wan1 metric 5", &[v6]),
        ("route del ::/0 via fe80::2 dev wan1", &[]),
        ("route add default dev wan1 scope link", &[v4]),
        ("route replace default dev lan scope link", &[]),
        ("route add unreachable default metric 10000", &[]),
    ];
    for (step, wanted) in steps {
        lab.host.ip(step);
        lab.expect_still(wanted);
    }
}

#[test]
fn a_rule_may_select_the_table() {
    let lab = lab!();
    lab.link("wan1");
    lab.host
        .ip("addr add 10.0.1.1/24 dev wan1; addr add 2001:db8:1::1/64 dev wan1");
    let _daemon = lab.daemon("");
    let [v4, v6] = [
        "10.0.1.1 subflow dev wan1",
        "2001:db8:1::1 subflow dev wan1",
    ];
    // The table alone, or selected for somebody else, is no way out.
    let steps: [(&str, &[&str]); 8] = [
        ("route add default via 10.0.1.2 dev wan1 table 77", &[]),
        ("rule add from 10.0.9.0/24 table 77 priority 100", &[]),
        ("rule add from 10.0.1.1 table 77 priority 101", &[v4]),
        ("route add ::/0 via fe80::2 dev wan1 table 300", &[v4]),
        (
            "-6 rule add from 2001:db8:1::/48 table 300 priority 102",
            &[v4, v6],
        ),
        ("rule del priority 101", &[v6]),
        ("route del ::/0 table 300", &[]),
        ("rule add from 10.0.1.0/24 table 77 priority 103", &[v4]),
    ];
    for (step, wanted) in steps {
        // A batch knows rules of IPv4 only.
        lab.host.out(&format!("ip {step}"));
        lab.expect_still(wanted);
    }
}

#[test]
fn links_down_and_up() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    let _daemon = lab.daemon("");
    lab.expect(&[one, two]);
    lab.host.ip("link set wan1 down");
    lab.expect_still(&[two]);
    // The kernel keeps the address and says nothing of it; the route comes again.
    lab.host.ip("link set wan1 up");
    lab.expect_still(&[two]);
    lab.route(1);
    lab.expect(&[one, two]);
    // Addresses that change while the link is down.
    lab.host
        .ip("link set wan1 down; addr add 10.0.1.7/24 dev wan1; addr del 10.0.1.1/24 dev wan1");
    lab.expect(&[two]);
    lab.host.ip("link set wan1 up");
    lab.route(1);
    lab.expect(&["10.0.1.7 subflow dev wan1", two]);
}

#[test]
fn carrier_lost_and_back() {
    let lab = lab!();
    lab.wan(1);
    lab.wan6(1);
    lab.wan(2);
    let [one, six, two] = [
        "10.0.1.1 subflow dev wan1",
        "2001:db8:1::1 subflow dev wan1",
        "10.0.2.1 subflow dev wan2",
    ];
    lab.unplug("wan2");
    let _daemon = lab.daemon("");
    lab.expect_still(&[one, six]);
    lab.plug("wan2");
    lab.expect(&[one, six, two]);
    for _ in 0..3 {
        lab.unplug("wan1");
        lab.expect(&[two]);
        lab.plug("wan1");
        lab.expect(&[one, six, two]);
    }
    lab.unplug("wan1");
    lab.host.ip("addr del 10.0.1.1/24 dev wan1");
    lab.plug("wan1");
    lab.expect_still(&[six, two]);
}

#[test]
fn links_deleted_recreated_and_moved() {
    let lab = lab!();
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    lab.wan(1);
    lab.wan(2);
    let _daemon = lab.daemon("");
    lab.expect(&[one, two]);
    // Under the same name with another index: the endpoint must be of the new device.
    lab.host.ip("link del wan1");
    lab.expect(&[two]);
    lab.wan(1);
    lab.expect(&[one, two]);
    // In one go, too.
    lab.host
        .ip("link del wan1; link add wan1 index 300 type veth peer name peer index 400");
    lab.host
        .ip("link set wan1 up; link set peer up; addr add 10.0.1.1/24 dev wan1");
    lab.route(1);
    lab.expect_still(&[one, two]);
    // Into another namespace, and back without its address.
    lab.host
        .ip(&format!("link set wan1 netns {}", lab.outside.pid()));
    lab.expect(&[two]);
    lab.outside.ip(&format!(
        "link set wan1 name back; link set back netns {}",
        lab.host.pid()
    ));
    lab.host.ip("link set back name wan1; link set wan1 up");
    lab.expect_still(&[two]);
    lab.host.ip("addr add 10.0.1.1/24 dev wan1");
    lab.route(1);
    lab.expect(&[one, two]);
}

#[test]
fn links_renamed_while_up() {
    let lab = lab!();
    lab.wan(1);
    let _daemon = lab.daemon("[core]\n[interface lte*]\naddr-flags = subflow,backup\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    // Policy goes by name, so a new name may mean other flags.
    lab.host.ip("link set wan1 name lte0");
    lab.expect(&["10.0.1.1 backup subflow dev lte0"]);
    lab.host.ip("link set lte0 name fifteen-letters");
    lab.expect(&["10.0.1.1 subflow dev fifteen-letters"]);
    lab.host.ip("addr add 10.0.1.8/24 dev fifteen-letters");
    let both = [
        "10.0.1.1 subflow dev fifteen-letters",
        "10.0.1.8 subflow dev fifteen-letters",
    ];
    lab.expect_still(&both);
    lab.host.ip("link set fifteen-letters down");
    lab.expect(&NONE);
}

#[test]
fn links_enslaved_and_released() {
    for (key, kind) in [("bridge", "bridge"), ("vrf", "vrf table 88")] {
        let lab = lab!();
        lab.wan(1);
        if !lab
            .host
            .run(&format!("ip link add master0 type {kind}"))
            .status
            .success()
        {
            skip(key, &format!("this kernel has no {kind}"));
            continue;
        }
        lab.host.ip("link set master0 up");
        let wanted = ["10.0.1.1 subflow dev wan1"];
        let _daemon = lab.daemon(ANY_ROUTE);
        lab.expect(&wanted);
        lab.host.ip("link set wan1 master master0");
        lab.expect_still(&wanted);
        lab.host.ip("link set wan1 nomaster");
        lab.expect_still(&wanted);
        // The master's port is forgotten, not the device.
        lab.host
            .ip("link set wan1 master master0; link set wan1 nomaster");
        lab.host.ip("addr del 10.0.1.1/24 dev wan1");
        lab.expect_still(&NONE);
    }
}

#[test]
fn a_peer_address_is_not_ours() {
    let lab = lab!();
    lab.link("ppp0");
    lab.host.ip(
        "addr add 10.0.0.1 peer 10.0.0.2 dev ppp0; route add default dev ppp0
         addr add 2001:db8::1 peer 2001:db8::2 dev ppp0; route add ::/0 dev ppp0",
    );
    let _daemon = lab.daemon("");
    lab.expect_still(&["10.0.0.1 subflow dev ppp0", "2001:db8::1 subflow dev ppp0"]);
    lab.host.ip("addr add 10.0.0.5 peer 10.0.0.6 dev ppp0");
    lab.host.ip("addr del 10.0.0.1 peer 10.0.0.2 dev ppp0");
    lab.expect_still(&["10.0.0.5 subflow dev ppp0", "2001:db8::1 subflow dev ppp0"]);
    // With IPv6 the peer of an address changes in place.
    lab.host
        .ip("addr change 2001:db8::1 peer 2001:db8::3 dev ppp0");
    lab.expect_still(&["10.0.0.5 subflow dev ppp0", "2001:db8::1 subflow dev ppp0"]);
    lab.host
        .ip("addr del 2001:db8::1 peer 2001:db8::3 dev ppp0");
    lab.expect_still(&["10.0.0.5 subflow dev ppp0"]);
}

#[test]
fn one_address_several_times() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    lab.host.ip("addr flush dev wan1; addr flush dev wan2");
    let [one, two] = ["10.0.0.1 subflow dev wan1", "10.0.0.1 subflow dev wan2"];
    let _daemon = lab.daemon(ANY_ROUTE);
    // Two prefix lengths, removed in either order.
    for [first, last] in [["24", "32"], ["32", "24"]] {
        lab.host
            .ip("addr add 10.0.0.1/24 dev wan1; addr add 10.0.0.1/32 dev wan1");
        lab.expect_still(&[one]);
        lab.host.ip(&format!("addr del 10.0.0.1/{first} dev wan1"));
        lab.expect_still(&[one]);
        lab.host.ip(&format!("addr del 10.0.0.1/{last} dev wan1"));
        lab.expect_still(&NONE);
    }
    // Two links: it lives on the other one.
    lab.host.ip("addr add 10.0.0.1/24 dev wan1");
    lab.expect(&[one]);
    lab.host.ip("addr add 10.0.0.1/24 dev wan2");
    lab.expect_still(&[one]);
    lab.host.ip("addr del 10.0.0.1/24 dev wan1");
    lab.expect_still(&[two]);
    lab.host.ip("addr add 10.0.0.1/24 dev wan1");
    lab.settle();
    lab.unplug("wan2");
    lab.expect_still(&[one]);
    lab.host.ip("addr del 10.0.0.1/24 dev wan1");
    lab.expect_still(&NONE);
}

#[test]
fn ipv6_addresses_must_be_usable() {
    let lab = lab!();
    lab.link("wan1");
    lab.host.ip("route add ::/0 via fe80::2 dev wan1");
    lab.host.sysctl("ipv6/conf/wan1/accept_dad", 1);
    lab.host.sysctl("ipv6/conf/wan1/dad_transmits", 1000);
    let _daemon = lab.daemon("");
    // Tentative for as long as we like.
    lab.host.ip("addr add 2001:db8::1/64 dev wan1");
    lab.expect_still(&NONE);
    lab.host.ip("addr del 2001:db8::1/64 dev wan1");
    lab.host.sysctl("ipv6/conf/wan1/dad_transmits", 1);
    lab.host.ip("addr add 2001:db8::1/64 dev wan1");
    let usable = ["2001:db8::1 subflow dev wan1"];
    lab.expect(&usable);
    // Someone else has it.
    lab.outside.ip("addr add 2001:db8::bad/64 dev wan1");
    lab.host.ip("addr add 2001:db8::bad/64 dev wan1");
    let failed = || {
        lab.host
            .out("ip -6 addr show dev wan1 dadfailed")
            .contains("::bad")
    };
    assert!(until(failed), "the kernel did not find the duplicate");
    lab.expect_still(&usable);
    // Deprecated and back.
    for (lifetime, wanted) in [("0", &usable[..0]), ("forever", &usable)] {
        lab.host.ip(&format!(
            "addr change 2001:db8::1/64 dev wan1 preferred_lft {lifetime}"
        ));
        lab.expect_still(wanted);
    }
    lab.host
        .ip("addr change 2001:db8::1/64 dev wan1 preferred_lft 2 valid_lft 100");
    lab.expect(&NONE);
}

/// Waits for the kernel to make a temporary address on wan1; answers its endpoint.
fn temporary(lab: &Lab) -> String {
    let mut temporary = String::new();
    let found = until(|| {
        let text = lab
            .host
            .out("ip -6 -o addr show dev wan1 temporary -tentative");
        let address = text
            .split_whitespace()
            .skip_while(|word| *word != "inet6")
            .nth(1);
        let address = address.and_then(|address| address.split('/').next());
        temporary = format!("{} subflow dev wan1", address.unwrap_or_default());
        address.is_some()
    });
    assert!(found, "the kernel made no temporary address");
    temporary
}

#[test]
fn temporary_addresses() {
    let lab = lab!();
    lab.link("wan1");
    lab.host.ip("route add ::/0 via fe80::2 dev wan1");
    lab.host.sysctl("ipv6/conf/wan1/use_tempaddr", 2);
    lab.host
        .ip("addr add 2001:db8::1/64 dev wan1 mngtmpaddr valid_lft 1000 preferred_lft 500");
    let temporary = temporary(&lab);
    let stable = "2001:db8::1 subflow dev wan1";
    for (policy, wanted) in [
        ("", vec![stable]),
        ("temporary-addresses = fallback\n", vec![stable]),
        ("temporary-addresses = no\n", vec![stable]),
        ("temporary-addresses = yes\n", vec![stable, &temporary]),
    ] {
        let daemon = lab.daemon(&format!("{REMOVE}{policy}"));
        lab.expect_still(&wanted);
        daemon.stop();
    }
}

/// Somebody else has the stable address of the prefix.
#[test]
fn temporary_addresses_without_a_stable_one() {
    let lab = lab!();
    lab.link("wan1");
    lab.outside.ip("addr add 2001:db8::1/64 dev wan1");
    lab.host.ip("route add ::/0 via fe80::2 dev wan1");
    lab.host.sysctl("ipv6/conf/wan1/use_tempaddr", 2);
    lab.host.sysctl("ipv6/conf/wan1/accept_dad", 1);
    lab.host.ip("addr add 2001:db8::1/64 dev wan1 mngtmpaddr");
    let temporary = temporary(&lab);
    let failed = || {
        let failed = lab.host.out("ip -6 addr show dev wan1 dadfailed");
        failed.contains("2001:db8::1/")
    };
    assert!(until(failed), "the kernel did not find the duplicate");
    for (policy, wanted) in [
        ("", vec![&temporary]),
        ("temporary-addresses = no\n", vec![]),
        ("temporary-addresses = yes\n", vec![&temporary]),
    ] {
        let daemon = lab.daemon(&format!("{REMOVE}{policy}"));
        lab.expect_still(&wanted);
        daemon.stop();
    }
}

/// As many endpoints as this kernel takes.
fn capacity(lab: &Lab) -> usize {
    let at = &lab.outside;
    at.ip_any(
        &(1..=100)
            .map(|n| format!("mptcp endpoint add 192.0.2.{n}\n"))
            .collect::<String>(),
    );
    let capacity = at.endpoints().len();
    at.ip("mptcp endpoint flush");
    capacity
}

#[test]
fn the_surplus_waits_and_moves_up() {
    let lab = lab!();
    let capacity = capacity(&lab);
    lab.wan(1);
    let more: Vec<usize> = (2..=capacity + 4).collect();
    lab.host.ip(&more
        .iter()
        .map(|n| format!("addr add 10.0.1.{n}/24 dev wan1\n"))
        .collect::<String>());
    let endpoint = |n: usize| format!("10.0.1.{n} subflow dev wan1");
    let daemon = lab.daemon("");
    assert!(
        until(|| lab.host.endpoints().len() == capacity),
        "{:?}",
        lab.host.endpoints()
    );
    let first = lab.host.endpoints();
    // One that waits goes: no change. One that is in goes: one that waits takes its place, and
    // the others stay as they are.
    let id = |n: usize| lab.host.id(&format!("10.0.1.{n}"));
    let all = 1..=capacity + 4;
    let (inside, waiting): (Vec<_>, Vec<_>) = all.partition(|n| first.contains(&endpoint(*n)));
    assert_eq!(waiting.len(), 4, "{first:?}");
    let ids: Vec<_> = inside.iter().map(|n| (*n, id(*n))).collect();
    lab.host
        .ip(&format!("addr del 10.0.1.{}/24 dev wan1", waiting[0]));
    let gone = *inside.last().expect("some endpoint");
    lab.host.ip(&format!("addr del 10.0.1.{gone}/24 dev wan1"));
    let mut wanted = first.clone();
    wanted.retain(|one| *one != endpoint(gone));
    wanted.push(endpoint(waiting[1]));
    lab.expect(&wanted);
    for (n, before) in ids.into_iter().filter(|(n, _)| *n != gone) {
        assert_eq!(id(n), before, "10.0.1.{n} was touched");
    }
    // Whoever starts again finds the same order.
    lab.host.ip(&format!("addr add 10.0.1.{gone}/24 dev wan1"));
    assert_eq!(
        daemon.lines(&["8 endpoints", "addresses without one: 4"]),
        1,
        "one line about the surplus:\n{}",
        daemon.log()
    );
    daemon.stop();
    let daemon = lab.daemon("");
    daemon.says(&["watching"]);
    daemon.signal(SIGUSR1);
    daemon.says(&["endpoint"]);
    lab.expect(&wanted);
}

#[test]
fn restart_keeps_what_fits_and_corrects_the_rest() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    for politely in [true, false] {
        let daemon = lab.daemon("");
        lab.expect(&[one, two]);
        let before = lab.host.endpoints_with_ids();
        if politely {
            daemon.stop()
        } else {
            daemon.kill()
        }
        assert_eq!(lab.host.endpoints_with_ids(), before, "on-exit=keep");
        let daemon = lab.daemon("");
        lab.expect_still(&[one, two]);
        let ids = ["10.0.1.1", "10.0.2.1"].map(|address| lab.host.id(address));
        assert!(
            before.iter().all(|(id, _)| ids.contains(&Some(*id))),
            "adopted, not made anew"
        );
        daemon.stop();
    }
    // Other flags, and a network that changed meanwhile.
    lab.host.ip("link del wan2");
    lab.wan(3);
    let daemon = lab.daemon("[core]\naddr-flags = signal,backup\n");
    let corrected = [
        "10.0.1.1 backup signal dev wan1",
        "10.0.3.1 backup signal dev wan3",
    ];
    lab.expect_still(&corrected);
    daemon.kill();
    // The same device name and address, another index.
    lab.host.ip("link del wan3");
    lab.wan(3);
    let daemon = lab.daemon(&format!("{REMOVE}addr-flags = signal,backup\n"));
    lab.expect_still(&corrected);
    daemon.stop();
    lab.expect(&NONE);
}

/// The kernel takes its time to delete an endpoint: all eight are made anew meanwhile.
#[test]
fn none_is_left_where_a_reload_is_under_way() {
    let lab = lab!();
    lab.wan(1);
    for n in 2..9 {
        lab.host.ip(&format!("addr add 10.0.1.{n}/24 dev wan1"));
    }
    let all: Vec<_> = (1..9)
        .map(|n| format!("10.0.1.{n} subflow dev wan1"))
        .collect();
    for milliseconds in [10, 30, 50] {
        let daemon = lab.daemon(REMOVE);
        lab.expect(&all);
        lab.write("mptcpd.conf", format!("{REMOVE}addr-flags = signal\n"));
        daemon.signal(SIGHUP);
        std::thread::sleep(Duration::from_millis(milliseconds));
        daemon.stop();
        assert_eq!(lab.host.endpoints(), NONE, "after {milliseconds} ms");
    }
}

#[test]
fn what_nobody_wants_any_more_is_removed_after_a_crash() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    daemon.kill();
    lab.host.ip("link set wan1 down; addr flush dev wan2");
    let _daemon = lab.daemon("");
    lab.expect(&NONE);
}

#[test]
fn foreign_endpoints_are_left_alone() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    lab.host.ip("mptcp endpoint add 192.0.2.1 id 1 signal
         mptcp endpoint add 10.0.2.1 id 2 subflow backup dev wan2
         mptcp endpoint add 2001:db8:9::1 id 250 subflow fullmesh");
    let foreign = lab.host.endpoints_with_ids();
    let mut wanted: Vec<&str> = foreign.iter().map(|(_, text)| text.as_str()).collect();
    let untouched = || {
        let now = lab.host.endpoints_with_ids();
        assert!(foreign.iter().all(|one| now.contains(one)), "{now:#?}");
    };
    wanted.push("10.0.1.1 subflow dev wan1");
    let daemon = lab.daemon(REMOVE);
    lab.expect_still(&wanted);
    untouched();
    daemon.kill();
    let daemon = lab.daemon(REMOVE);
    lab.expect_still(&wanted);
    // Their address comes and goes: that is theirs to care about.
    lab.host.ip("addr flush dev wan2");
    lab.expect_still(&wanted);
    daemon.stop();
    untouched();
    lab.expect(&wanted[..3]);
}

/// Nothing tells the daemon of others' endpoints: the kernel's refusal does. EEXIST is for the
/// address, EBUSY for the id.
#[test]
fn somebody_else_was_faster() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("[core]\nresync-interval = 0\n");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    lab.host.ip("mptcp endpoint add 10.0.1.5 id 200 signal");
    lab.host.ip("addr add 10.0.1.5/24 dev wan1");
    daemon.says(&["refuses", "File exists"]);
    // Those that come next, whatever was used to settle.
    for id in 2..6 {
        lab.host
            .ip(&format!("mptcp endpoint add 192.0.2.{id} id {id} signal"));
    }
    let foreign = lab.host.endpoints_with_ids();
    lab.host.ip("addr add 10.0.1.6/24 dev wan1");
    daemon.says(&["refuses", "Device or resource busy"]);
    let mut wanted = lab.host.endpoints();
    wanted.retain(|endpoint| !endpoint.starts_with("10.0.1.6 "));
    wanted.push("10.0.1.6 subflow dev wan1".to_owned());
    lab.expect(&wanted);
    daemon.catch_up();
    lab.expect(&wanted);
    let now = lab.host.endpoints_with_ids();
    assert!(foreign.iter().all(|one| now.contains(one)), "{now:#?}");
    assert_eq!(daemon.lines(&["refuses"]), 2, "{}", daemon.log());
}

#[test]
fn somebody_takes_our_endpoints_away() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let wanted = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    let daemon = lab.daemon("");
    lab.expect(&wanted);
    lab.host.ip("mptcp endpoint flush");
    daemon.signal(SIGHUP);
    lab.expect(&wanted);
    // Any event is a reason to look again, or else the time is.
    daemon.stop();
    let _daemon = lab.daemon("[core]\nresync-interval = 1\n");
    lab.expect(&wanted);
    lab.host.ip("mptcp endpoint flush");
    lab.expect(&wanted);
    let id = lab.host.id("10.0.1.1").expect("an endpoint");
    lab.host
        .ip(&format!("mptcp endpoint change id {id} backup"));
    lab.expect(&wanted);
    let (_, subflows) = lab.host.limits();
    lab.host.ip("mptcp limits set subflows 0");
    assert!(
        until(|| lab.host.limits().1 == subflows),
        "{:?}",
        lab.host.limits()
    );
}

/// The kernel tells of the nexthop object alone, not of the routes that go with it.
#[test]
fn a_route_goes_with_its_nexthop() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    lab.host
        .ip("nexthop add id 5 via 10.0.2.2 dev wan2; route replace default nhid 5 metric 102");
    lab.host.ip_any("route del default via 10.0.2.2 dev wan2");
    let both = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    let _daemon = lab.daemon("");
    lab.expect(&both);
    lab.host.ip("nexthop del id 5");
    lab.expect(&both[..1]);
}

/// Every uplink gets one for each family before any gets a second one.
#[test]
fn slots_are_shared_by_the_uplinks() {
    let lab = lab!();
    for n in [1, 2] {
        lab.wan(n);
        lab.wan6(n);
        lab.host.ip(&format!(
            "addr add 2001:db8:{n}::7/64 dev wan{n}; addr add 2001:db8:{n}::8/64 dev wan{n}"
        ));
    }
    let daemon = lab.daemon("");
    assert!(until(|| lab.host.endpoints().len() == 8));
    lab.wan(3);
    lab.wan6(3);
    let firsts = ["10.0.1.1", "10.0.2.1", "10.0.3.1", "2001:db8:3::1"];
    let shared = || {
        let all = lab.host.endpoints();
        let on = |n: u8| {
            all.iter()
                .filter(|e| e.contains(&format!("2001:db8:{n}:")))
                .count()
        };
        let has = |ip: &&str| all.iter().any(|e| e.starts_with(&format!("{ip} ")));
        all.len() == 8 && firsts.iter().all(has) && [on(1), on(2)].iter().all(|n| *n > 0)
    };
    assert!(
        until(shared),
        "{:?}\n{}",
        lab.host.endpoints(),
        daemon.log()
    );
    let before = lab.host.endpoints_with_ids();
    lab.host
        .ip("addr add 2001:db8:3::9/64 dev wan3; addr add 10.0.3.9/24 dev wan3");
    daemon.catch_up();
    assert_eq!(
        lab.host.endpoints_with_ids(),
        before,
        "they keep theirs from equals"
    );
    assert_eq!(
        daemon.lines(&["addresses without one"]),
        1,
        "{}",
        daemon.log()
    );
    // Priorities come first.
    lab.reload(&daemon, "[interface wan1]\npriority = -1\n");
    let of_one = || {
        lab.host
            .endpoints()
            .iter()
            .filter(|e| e.ends_with("wan1"))
            .count()
    };
    assert!(until(|| of_one() == 4), "{:?}", lab.host.endpoints());
    lab.reload(&daemon, "[core]\nmax-endpoints = 3\n");
    let wanted = ["10.0.1.1", "10.0.2.1", "10.0.3.1"];
    let is_one = |e: &String| e.contains("wan");
    assert!(until(|| lab
        .host
        .endpoints()
        .iter()
        .filter(|e| is_one(e))
        .count()
        == wanted.len()));
    // The kernel takes no more than eight, which is told of each number that was asked for.
    for (most, times) in [(20, 1), (20, 1), (30, 2)] {
        lab.reload(&daemon, &format!("[core]\nmax-endpoints = {most}\n"));
        let line = "kernel takes 8 endpoints (max-endpoints is ";
        let told = || daemon.lines(&[line, "without one: 4"]);
        assert!(until(|| told() >= times), "{most}\n{}", daemon.log());
        lab.settle();
        assert_eq!(told(), times, "{most}\n{}", daemon.log());
    }
}

/// Whether `max-endpoints` or the kernel has no more room, which that may not have said before.
#[test]
fn what_waits_for_a_slot_is_not_called_used() {
    for most in [8, 200] {
        let lab = lab!();
        let room = capacity(&lab).min(most);
        lab.wan(1);
        lab.host.ip(&(2..=room)
            .map(|n| format!("addr add 10.0.1.{n}/24 dev wan1\n"))
            .collect::<String>());
        let daemon = lab.daemon(&format!("[core]\nmax-endpoints = {most}\n"));
        assert!(until(|| lab.host.endpoints().len() == room));
        daemon.says(&["watching"]);
        lab.host.ip("addr add 10.0.1.200/24 dev wan1");
        daemon.says(&["wan1: 10.0.1.200 waiting: no slot left"]);
        lab.settle();
        assert_eq!(daemon.lines(&["10.0.1.200 is used"]), 0, "{}", daemon.log());
        let (_, out, _) = lab.execute(&["status", "10.0.1.200"]);
        let [state, reason] = ["waiting", "no slot left (see priority and max-endpoints)"];
        assert!(out.contains(state) && out.contains(reason), "{out}");
        daemon.stop();
    }
}

/// Ten runs without a state file, say: what they have left fills the slots.
#[test]
fn what_is_of_no_use_gives_way() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    lab.host.ip(&(1..=6)
        .map(|n| format!("mptcp endpoint add 10.99.0.{n} dev wan1 subflow\n"))
        .collect::<String>());
    lab.host
        .ip("mptcp endpoint add 10.99.0.7 dev wan1 signal; mptcp endpoint add 10.99.0.8 subflow");
    let daemon = lab.daemon("");
    let has = |ip: &str| lab.host.id(ip).is_some();
    assert!(
        until(|| has("10.0.1.1") && has("10.0.2.1")),
        "{}",
        daemon.log()
    );
    lab.settle();
    assert!(
        has("10.99.0.7") && has("10.99.0.8"),
        "peers and programs may use them"
    );
    assert!(
        daemon.lines(&["10.99.0.", "gives way"]) >= 2,
        "{}",
        daemon.log()
    );
}

/// The kernel has made an endpoint itself where a peer's other address was joined, and that is all
/// the connection has left: it stays, and something else gives way.
#[test]
fn what_a_connection_needs_does_not_give_way() {
    let Some(lab) = Lab::with_uplinks(3) else {
        return;
    };
    lab.outside.ip("mptcp endpoint add 10.0.2.2 signal");
    let held = Held::open(
        &lab.host,
        "192.0.2.80:5001",
        &lab.outside,
        "0.0.0.0:5001",
        1,
    );
    let has = |ip: &str| lab.host.id(ip).is_some();
    assert!(until(|| has("10.0.2.1")), "{:?}", lab.host.endpoints());
    lab.host.ip("link set wan1 down");
    lab.host.ip(&(1..=7)
        .map(|n| format!("mptcp endpoint add 10.99.0.{n} dev wan2 subflow\n"))
        .collect::<String>());
    let daemon = lab.daemon("[interface wan2]\nuse = no\n");
    assert!(until(|| has("10.0.3.1")), "{}", daemon.log());
    daemon.says(&["10.0.2.1", "stays"]);
    daemon.says(&["10.99.0.", "gives way"]);
    // Nobody lacks a slot now, though the connection has another path.
    assert!(until(|| lab.host.joins() == 2), "{}", daemon.log());
    let all = lab.host.endpoints();
    assert!(
        has("10.0.2.1") && all.len() == 8,
        "{all:?}\n{}",
        daemon.log()
    );
    held.release();
}

/// Without a state file the next run could not tell what is ours.
#[test]
fn nothing_is_left_where_nothing_is_remembered() {
    let lab = lab!();
    lab.wan(1);
    let one = ["10.0.1.1 subflow dev wan1"];
    for (config, left) in [
        ("[core]\nstate-file =\n", &NONE[..]),
        ("[core]\nstate-file = /proc/nowhere\n", &NONE),
        ("[core]\nstate-file =\non-exit = keep\n", &one),
        ("", &one),
    ] {
        let daemon = lab.daemon(config);
        lab.expect(&one);
        daemon.says(&["watching"]);
        daemon.stop();
        assert_eq!(lab.host.endpoints(), left, "{config}");
        lab.host.ip("mptcp endpoint flush");
    }
}

#[test]
fn a_limit_that_is_too_high_is_named() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("[core]\nlimit-subflows = 20\n");
    assert!(until(|| lab.host.limits() == (3, 8)));
    daemon.says(&["refuses the limits", "8"]);
}

#[test]
fn limits_are_raised_and_never_lowered() {
    // Before, number of uplinks, configuration; then (add_addr_accepted, subflows).
    let table = [
        ((0, 2), 1, "", (3, 3)),
        ((0, 2), 2, "", (4, 4)),
        ((8, 7), 1, "", (8, 7)),
        ((0, 8), 1, "", (3, 8)),
        // So that the server's addresses are used.
        ((0, 2), 0, "", (2, 2)),
        (
            (0, 2),
            1,
            "limit-subflows = 5\nlimit-add-addr-accepted = 1\n",
            (1, 5),
        ),
    ];
    for ((accepted, subflows), uplinks, config, wanted) in table {
        let lab = lab!();
        (1..=uplinks).for_each(|n| lab.wan(n));
        lab.host.ip(&format!(
            "mptcp limits set add_addr_accepted {accepted} subflows {subflows}"
        ));
        let daemon = lab.daemon(&format!("[core]\n{config}"));
        let seen = || lab.host.limits();
        assert!(
            until(|| seen() == wanted),
            "{config:?}: {:?}, not {wanted:?}\n{}",
            seen(),
            daemon.log()
        );
        // What the administrator lowers is not raised again, but for our own sake.
        if config.is_empty() && wanted.0 < 8 {
            lab.host
                .ip("mptcp limits set add_addr_accepted 8 subflows 8");
            daemon.says(&["watching"]);
            daemon.signal(SIGHUP);
            daemon.catch_up();
            assert_eq!(seen(), (8, 8));
            lab.host
                .ip("mptcp limits set add_addr_accepted 0 subflows 0");
            daemon.signal(SIGHUP);
            assert!(
                until(|| seen() == (wanted.0.min(2 + u32::from(uplinks)), 2 + u32::from(uplinks))),
                "{:?}",
                seen()
            );
            continue;
        }
        // What we raised is not what the administrator wants.
        daemon.says(&["watching"]);
        daemon.stop();
        let _daemon = lab.daemon(&format!("[core]\n{config}"));
        assert!(
            until(|| seen() == wanted),
            "again {config:?}: {:?}, not {wanted:?}",
            seen()
        );
    }
}
