// SPDX-License-Identifier: BSD-3-Clause
//! Which addresses have a way to the world, whatever tells the kernel so: rules, tables, metrics,
//! nexthop objects. Each case is a pair: what makes the way, and what looks like it and does not.

#[macro_use]
mod support;

use support::routes::Tunnel;
use support::{Daemon, Lab};

const ONE: &str = "10.0.1.1 subflow dev wan1";
const TWO: &str = "10.0.2.1 subflow dev wan2";
const TWO6: &str = "2001:db8:2::1 subflow dev wan2";

/// An uplink, and a second one with addresses and no route yet.
fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.wan(1);
    lab.link("wan2");
    lab.host
        .ip("addr add 10.0.2.1/24 dev wan2; addr add 2001:db8:2::1/64 dev wan2");
    Some(lab)
}

/// Runs commands, undone by others; there is a way to the second uplink meanwhile, or not.
#[track_caller]
fn case(lab: &Lab, more: &[&str], does: &[&str], undoes: &[&str]) {
    does.iter().for_each(|line| drop(lab.host.out(line)));
    let wanted: Vec<_> = [ONE].iter().chain(more).collect();
    lab.expect_still(&wanted);
    undoes.iter().for_each(|line| drop(lab.host.out(line)));
    lab.expect_still(&[ONE]);
}

#[test]
fn rules_that_select_what_a_subflow_sends() {
    let Some(lab) = lab() else { return };
    let _daemon = lab.daemon("");
    lab.expect_still(&[ONE]);
    lab.host
        .ip("route add default via 10.0.2.2 dev wan2 table 102");
    lab.host.ip("route add ::/0 via fe80::2 dev wan2 table 102");
    for (rule, selects) in [
        ("oif wan2", true),
        ("oif wan1", false),
        ("from 10.0.2.0/24", true),
        ("from 10.0.1.1", false),
        ("from 10.0.2.1 oif wan2", true),
        ("iif lo", true),
        ("iif wan1", false),
        ("ipproto tcp", true),
        ("ipproto udp", false),
        // An endpoint is for connections to any port.
        ("dport 443", false),
        ("ipproto tcp dport 443", false),
        ("uidrange 0-0", true),
        ("fwmark 0x1", false),
        ("fwmark 0/0xff", true),
        ("not fwmark 0xca6c", true),
        ("to 198.0.0.0/8", true),
        ("to 10.0.0.0/8", false),
        ("tos 0x10", false),
    ] {
        let [add, del] = ["add", "del"].map(|verb| format!("ip rule {verb} {rule} lookup 102"));
        case(&lab, if selects { &[TWO] } else { &[] }, &[&add], &[&del]);
    }
    for (rule, selects) in [
        ("oif wan2", false),
        ("from 2001:db8:2::/64", true),
        ("from 2001:db8:1::/64", false),
        ("ipproto tcp from 2001:db8:2::1", true),
        ("fwmark 0x1", false),
    ] {
        let [add, del] = ["add", "del"].map(|verb| format!("ip -6 rule {verb} {rule} lookup 102"));
        // The kernel goes by the output interface of IPv6, too.
        let selects = selects || rule.starts_with("oif");
        case(&lab, if selects { &[TWO6] } else { &[] }, &[&add], &[&del]);
    }
}

/// What is bound to a device passes over better routes by others, also in a table of its own and
/// among routes that go by the source.
#[test]
fn a_better_route_by_another_device_for_the_same_source() {
    let Some(lab) = lab() else { return };
    let _daemon = lab.daemon("");
    lab.host
        .ip("addr add 2001:db8:1::1/64 dev wan1; rule add from 10.0.2.0/24 lookup 102");
    lab.host.ip("-6 rule add from 2001:db8:2::/64 lookup 102");
    lab.expect_still(&[ONE]);
    let (by, from) = ("::/0", "from 2001:db8:2::/64 table main");
    let both = "nexthop via fe80::1 dev wan1 nexthop via fe80::2 dev wan2";
    for (better, worse, ways) in [
        (
            "default via 10.0.1.2 dev wan1 metric 1 table 102",
            "default via 10.0.2.2 dev wan2 metric 5 table 102",
            &[TWO][..],
        ),
        (
            &format!("{by} via fe80::1 dev wan1 metric 1 table 102"),
            &format!("{by} via fe80::2 dev wan2 metric 5 table 102"),
            &[TWO6],
        ),
        (
            &format!("{by} {from} via fe80::1 dev wan1 metric 1"),
            &format!("{by} {from} via fe80::2 dev wan2 metric 5"),
            &[TWO6],
        ),
        (
            &format!("{by} via fe80::1 dev wan1 metric 1 table 102"),
            &format!("{by} metric 5 table 102 {both}"),
            &[TWO6],
        ),
        (
            &format!("{by} via fe80::1 dev wan1 metric 1 table 102"),
            &format!("{by} from 2001:db8:9::/64 via fe80::2 dev wan2 metric 5 table 102"),
            &[],
        ),
    ] {
        lab.host.ip(&format!("route add {better}"));
        lab.expect_still(&[ONE]);
        let [add, del] = ["add", "del"].map(|verb| format!("ip route {verb} {worse}"));
        case(&lab, ways, &[&add], &[&del]);
        lab.host.ip(&format!("route del {better}"));
    }
}

#[test]
fn routes_that_lead_to_the_world() {
    let Some(lab) = lab() else { return };
    let _daemon = lab.daemon("");
    lab.expect_still(&[ONE]);
    for (route, ways) in [
        ("default via 10.0.2.2 dev wan2 metric 5", &[TWO][..]),
        ("default dev wan2 metric 5", &[TWO]),
        (
            "default via 10.0.2.2 dev wan2 metric 5 src 10.0.2.1",
            &[TWO],
        ),
        ("default via 198.51.100.9 dev wan2 onlink metric 5", &[TWO]),
        ("default via inet6 fe80::9 dev wan2 metric 5", &[TWO]),
        ("198.0.0.0/7 via 10.0.2.2 dev wan2", &[TWO]),
        ("198.41.0.0/24 via 10.0.2.2 dev wan2", &[TWO]),
        ("198.42.0.0/24 via 10.0.2.2 dev wan2", &[]),
        ("default via 10.0.2.2 dev wan2 table 103", &[]),
        ("::/0 via fe80::9 dev wan2", &[TWO6]),
        ("::/0 from 2001:db8:2::/48 via fe80::9 dev wan2", &[TWO6]),
        ("::/0 from 2001:db8:9::/48 via fe80::9 dev wan2", &[]),
    ] {
        let family = if route.starts_with("::") { 6 } else { 4 };
        let [add, del] = ["add", "del"].map(|verb| format!("ip -{family} route {verb} {route}"));
        case(&lab, ways, &[&add], &[&del]);
    }
    // As OpenVPN does it, to be preferred without taking anything away.
    case(
        &lab,
        &[TWO],
        &[
            "ip route add 0.0.0.0/1 via 10.0.2.2 dev wan2",
            "ip route add 128.0.0.0/1 via 10.0.2.2 dev wan2",
        ],
        &["ip route del 0.0.0.0/1", "ip route del 128.0.0.0/1"],
    );
    case(
        &lab,
        &[TWO6],
        &[
            "ip -6 route add ::/1 via fe80::9 dev wan2",
            "ip -6 route add 8000::/1 via fe80::9 dev wan2",
        ],
        &["ip -6 route del ::/1", "ip -6 route del 8000::/1"],
    );
    let both = "default metric 5 nexthop via 10.0.1.2 dev wan1 nexthop via 10.0.2.2 dev wan2";
    let [add, del] = ["add", "del"].map(|verb| format!("ip route {verb} {both}"));
    case(&lab, &[TWO], &[&add], &[&del]);
    // Another uplink's better route does not take the way of this one.
    lab.wan6(1);
    lab.host.ip(
        "route add ::/0 via fe80::9 dev wan2 metric 999; route add default dev wan2 metric 999",
    );
    lab.expect_still(&[ONE, TWO, "2001:db8:1::1 subflow dev wan1", TWO6]);
}

/// The kernel tells of the new route alone.
#[test]
fn a_route_that_leads_nowhere_takes_the_place_of_another() {
    let Some(lab) = lab() else { return };
    let _daemon = lab.daemon("");
    let route = "default via 10.0.2.2 dev wan2 metric 5";
    let add = format!("route replace {route}");
    for kind in ["unreachable", "blackhole", "prohibit", "throw"] {
        lab.host.ip(&add);
        lab.expect_still(&[ONE, TWO]);
        lab.host
            .ip(&format!("route replace {kind} default metric 5"));
        // What is worse does not count then, but after a throw another table does.
        lab.expect(&[""; 0]);
        lab.host.ip(&format!("route del {kind} default metric 5"));
        lab.expect_still(&[ONE]);
    }
    for kind in ["unreachable", "blackhole", "prohibit"] {
        let [add, del] = ["add", "del"].map(|v| format!("ip rule {v} from 10.0.2.1 {kind}"));
        lab.host
            .ip("route replace default via 10.0.2.2 dev wan2 metric 50");
        lab.expect_still(&[ONE, TWO]);
        lab.host.out(&add);
        lab.expect_still(&[ONE]);
        lab.host.out(&del);
        lab.expect_still(&[ONE, TWO]);
    }
}

/// They go with their link's carrier, and the IPv4 routes with them, and nobody is told.
#[test]
fn nexthop_objects() {
    let Some(lab) = lab() else { return };
    for compatible in [1, 0] {
        lab.host.sysctl("ipv4/nexthop_compat_mode", compatible);
        let _daemon = lab.daemon("");
        lab.host.ip("nexthop add id 5 via 10.0.2.2 dev wan2
             nexthop add id 6 via 10.0.1.2 dev wan1; nexthop add id 10 group 5/6
             nexthop add id 7 via fe80::2 dev wan2");
        lab.expect_still(&[ONE]);
        // Better ones would hide the routes of other devices from sockets that are bound to those.
        for nexthop in [5, 10] {
            let add = format!("ip route add default nhid {nexthop} metric 20000");
            case(
                &lab,
                &[TWO],
                &[&add],
                &["ip route del default metric 20000"],
            );
        }
        let add = "ip -6 route add default nhid 7 metric 5";
        case(&lab, &[TWO6], &[add], &["ip -6 route del default metric 5"]);
        lab.host.ip("route add default nhid 5 metric 20000");
        lab.expect_still(&[ONE, TWO]);
        lab.unplug("wan2");
        lab.expect(&[ONE]);
        lab.plug("wan2");
        lab.expect_still(&[ONE]);
        lab.host.ip_any("nexthop flush");
    }
}

/// A provider may delegate a prefix and give the uplink no address: the router's own one is that of
/// its LAN.
#[test]
fn an_uplink_without_an_address_uses_another_ones() {
    let Some(lab) = lab() else { return };
    lab.link("lan");
    lab.host.ip(
        "addr add 2001:db8:1e00::1/64 dev lan; addr add fd00:1::1/64 dev lan
         addr add 192.168.0.1/24 dev lan; addr del 2001:db8:2::1/64 dev wan2",
    );
    let lent = "2001:db8:1e00::1 subflow dev wan2";
    // The uplink's policy counts, not that of the LAN.
    let _daemon = lab.daemon("[core]\ninterfaces = wan*,settle\n");
    lab.expect_still(&[ONE]);
    for from in ["from 2001:db8:1e00::/48 ", ""] {
        let route = format!("::/0 {from}via fe80::2 dev wan2");
        lab.host.ip(&format!("route add {route}"));
        lab.expect_still(&[ONE, lent]);
        lab.unplug("wan2");
        lab.expect(&[ONE]);
        lab.plug("wan2");
        lab.expect(&[ONE, lent]);
        // Nor is it needed once the uplink has one.
        lab.host.ip("addr add 2001:db8:2::1/64 dev wan2");
        let own: &[&str] = if from.is_empty() {
            &[ONE, TWO6]
        } else {
            &[ONE]
        };
        lab.expect_still(own);
        lab.host.ip("addr del 2001:db8:2::1/64 dev wan2");
        lab.expect_still(&[ONE, lent]);
        lab.host.ip(&format!("route del {route}"));
        lab.expect(&[ONE]);
    }
}

/// busybox udhcpc does it at each renewal.
#[test]
fn a_route_that_is_taken_away_and_put_back_costs_nothing() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let _daemon = lab.daemon("");
    lab.expect(&[ONE, TWO]);
    let before = lab.host.endpoints_with_ids();
    for _ in 0..5 {
        lab.host.ip("route del default dev wan2
             route add default via 10.0.2.2 dev wan2 metric 21");
        lab.expect_still(&[ONE, TWO]);
    }
    assert_eq!(lab.host.endpoints_with_ids(), before);
    lab.host.ip("route del default dev wan2");
    lab.expect(&[ONE]);
}

#[test]
fn the_configuration_says_where_the_world_is() {
    let Some(lab) = lab() else { return };
    let config = |to: &str| {
        format!(
            "[core]\ncheck-route-to = {to}\n[interface settle]\nnotify-flags = existing,skip_link_local\n"
        )
    };
    let daemon = lab.daemon(&config("10.9.0.1, 10.8.0.1"));
    lab.expect_still(&[ONE]);
    for network in ["10.9.0.0/16", "10.8.0.0/24"] {
        let [add, del] =
            ["add", "del"].map(|verb| format!("ip route {verb} {network} via 10.0.2.2 dev wan2"));
        case(&lab, &[TWO], &[&add], &[&del]);
    }
    lab.host
        .ip("route add 10.8.0.0/24 via 10.0.2.2 dev wan2; route del default dev wan1");
    lab.expect(&[TWO]);
    lab.reload(&daemon, &config("10.7.0.1"));
    lab.expect(&[""; 0]);
    lab.host.ip("route add 10.7.0.0/24 via 10.0.2.2 dev wan2");
    lab.expect(&[TWO]);
}

/// Where a network has both, those of fc00::/7 are not for the Internet.
#[test]
fn unique_local_addresses_are_for_want_of_others() {
    let Some(lab) = lab() else { return };
    let _daemon = lab.daemon("");
    lab.host
        .ip("addr add fd00:2::1/64 dev wan2; route add ::/0 via fe80::2 dev wan2");
    lab.expect_still(&[ONE, TWO6]);
    lab.host.ip("addr del 2001:db8:2::1/64 dev wan2");
    lab.expect(&[ONE, "fd00:2::1 subflow dev wan2"]);
}

/// A modem's pages are looked at from an address beside the one that the provider gives.
#[test]
fn aliases_without_a_gateway_are_not_used() {
    let Some(lab) = lab() else { return };
    let _daemon = lab.daemon("");
    lab.host
        .ip("route add default via 10.0.2.2 dev wan2 metric 5");
    lab.expect_still(&[ONE, TWO]);
    for (alias, used) in [
        ("192.168.100.2/24", false),
        ("192.168.100.2/30", false),
        ("192.168.100.2 peer 192.168.100.1/24", false),
        // Routed to the host.
        ("203.0.113.200/32", true),
        ("203.0.113.200 peer 203.0.113.201/32", true),
        // The gateway is in its subnet.
        ("10.0.2.9/24", true),
        ("10.0.2.9/16", true),
        ("192.168.100.2 peer 10.0.2.7/24", true),
    ] {
        let address = alias.split(['/', ' ']).next().unwrap();
        let endpoint = format!("{address} subflow dev wan2");
        let [add, del] = ["add", "del"].map(|verb| format!("ip addr {verb} {alias} dev wan2"));
        let more: &[&str] = if used { &[TWO, &endpoint] } else { &[TWO] };
        lab.host.out(&add);
        lab.expect_still(&[&[ONE], more].concat());
        lab.host.out(&del);
        lab.expect_still(&[ONE, TWO]);
    }
    lab.host.ip("addr add 192.168.100.2/24 dev wan2");
    lab.expect_still(&[ONE, TWO]);
    let alias = "192.168.100.2 subflow dev wan2";
    // What makes it an address like others: a gateway of its own, whatever comes first, or a rule.
    for how in [
        "route ? default via 192.168.100.1 dev wan2 metric 50",
        "route ? default via 10.0.2.2 dev wan2 metric 50 src 192.168.100.2",
        "route ? default metric 50 nexthop via 10.0.2.3 dev wan2 nexthop via 192.168.100.1 dev wan2",
        "route ? default via 192.168.100.1 dev wan2 table 300; rule ? from 192.168.100.2 lookup 300",
        "route ? default via 10.0.2.2 dev wan2 table 300; rule ? from 192.168.100.2 lookup 300",
    ] {
        lab.host.ip(&how.replace('?', "add"));
        lab.expect_still(&[ONE, TWO, alias]);
        lab.host.ip(&how.replace('?', "del"));
        lab.expect_still(&[ONE, TWO]);
    }
    // What does not: routes elsewhere, of others, and for others.
    for how in [
        "route ? 192.168.0.0/16 via 192.168.100.1 dev wan2",
        "route ? default via 10.0.2.2 dev wan2 metric 50 src 10.0.2.1",
        "route ? default via 192.168.100.1 dev wan2 table 300",
    ] {
        lab.host.ip(&how.replace('?', "add"));
        lab.expect_still(&[ONE, TWO]);
        lab.host.ip(&how.replace('?', "del"));
    }
    // The gateway is in nobody's subnet: the kernel's own choice of a source counts, and a gateway of
    // IPv6 or none at all says as little.
    for gateway in [
        "via 198.51.100.9 dev wan2 onlink",
        "via inet6 fe80::9 dev wan2",
    ] {
        let replace = format!("ip -4 route replace default {gateway} metric 5");
        lab.host.out(&replace);
        lab.expect_still(&[ONE, TWO]);
        lab.host.out(&format!("{replace} src 192.168.100.2"));
        lab.expect_still(&[ONE, alias]);
    }
    lab.host.ip("route replace default dev wan2 metric 5");
    lab.expect_still(&[ONE, TWO, alias]);
    // It is all there is.
    lab.host.ip("route replace default via 198.51.100.9 dev wan2 onlink metric 5; addr del 10.0.2.1/24 dev wan2");
    lab.expect_still(&[ONE, alias]);
    // The better one comes later.
    lab.host.ip("addr add 198.51.100.1/24 dev wan2");
    lab.expect_still(&[ONE, "198.51.100.1 subflow dev wan2"]);
}

#[test]
fn the_configuration_chooses_addresses() {
    let Some(lab) = lab() else { return };
    lab.wan6(1);
    lab.host.ip(
        "addr add 10.0.2.8/24 dev wan2; addr add fd00:2::1/64 dev wan2
         route add default via 10.0.2.2 dev wan2 metric 5; route add ::/0 via fe80::2 dev wan2",
    );
    let (one6, two8) = (
        "2001:db8:1::1 subflow dev wan1",
        "10.0.2.8 subflow dev wan2",
    );
    let private = "fd00:2::1 subflow dev wan2";
    let settle = "[interface settle]\naddresses =\n";
    let daemon = lab.daemon(&format!("[core]\naddresses = !10.0.2.8\n{settle}"));
    lab.expect_still(&[ONE, one6, TWO, TWO6]);
    for (section, wanted) in [
        (
            "addresses = fd00::/8, !10.0.0.0/16, 10.0.2.8",
            &[two8, private][..],
        ),
        ("addresses = 10.0.0.0/8, !10.0.2.8", &[ONE, TWO]),
        (
            "addresses =\n[interface wan2]\naddresses = ::/0, !2001:db8:2::1",
            &[ONE, one6, private],
        ),
        (
            "addresses = 10.0.0.0/8\n[interface wan1]\naddresses = ::/0\n[interface wan2]\npriority = 1",
            &[one6, TWO, two8],
        ),
        ("", &[ONE, one6, TWO, two8, TWO6]),
    ] {
        lab.reload(&daemon, &format!("[core]\n{section}\n{settle}"));
        lab.expect_still(wanted);
    }
}

/// A VPN that runs over MPTCP would come to use its own tunnel.
#[test]
fn a_tunnel_that_may_carry_itself_is_named() {
    let lab = lab!();
    lab.wan(1);
    let Some(_tunnel) = Tunnel::start(&lab, "tun0") else {
        return;
    };
    let is_used = "10.8.0.1 subflow dev tun0";
    let warned = |daemon: &Daemon| daemon.lines(&["warn", "tun0 is a tunnel", "use = no"]);
    let daemon = lab.daemon("");
    lab.host
        .ip("link set tun0 up; addr add 10.8.0.1 peer 10.8.0.2 dev tun0");
    lab.expect_still(&[ONE]);
    assert_eq!(warned(&daemon), 0, "it is not used");
    lab.host.ip("route add default dev tun0 metric 1");
    lab.expect_still(&[ONE, is_used]);
    lab.host.ip(
        "link set tun0 mtu 1400; link set tun0 down; link set tun0 up
         route add default dev tun0 metric 1",
    );
    lab.expect_still(&[ONE, is_used]);
    assert_eq!(warned(&daemon), 1, "{}", daemon.log());
    daemon.stop();
    // Whoever has a section for it knows.
    let daemon = lab.daemon("[interface tun*]\nuse = yes\n");
    daemon.says(&["watching"]);
    lab.expect_still(&[ONE, is_used]);
    assert_eq!(warned(&daemon), 0, "{}", daemon.log());
    lab.reload(&daemon, "[interface tun*]\nuse = no\n");
    lab.expect(&[ONE]);
}
