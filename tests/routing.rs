// SPDX-License-Identifier: BSD-3-Clause
//! Source routing: traffic from an uplink's address leaves by that uplink, whatever the main table
//! prefers. Judged by `ip rule`, `ip route`, and what arrives at the other end.
#![cfg(feature = "source-routing")]

#[macro_use]
mod support;

use support::peer::Peer;
use support::routes::{
    Changes, FAR, FAR6, Tunnel, foreign, our_routes, our_rules, uplinks, version, way,
};
use support::{Daemon, Lab, Namespace, skip, until};

const NONE: [&str; 0] = [];
const ON: &str = "[core]\nsource-routing = yes\n";
const REMOVE: &str = "[core]\nsource-routing = yes\non-exit = remove\n";

/// The table that our rules select for a source, if there are all three and they are in order.
fn table_of(at: &Namespace, source: &str) -> Option<u32> {
    let text = at.out(&format!("ip {} rule show", version(source)));
    let from = format!("from {source} fwmark 0/0x40000000 lookup ");
    let ours = text.lines().filter(|line| line.contains("proto 30"));
    let lookups: Vec<_> = ours
        .filter_map(|line| line.split_once(&from))
        .map(|(_, rest)| rest.trim_end_matches(" proto 30").trim())
        .collect();
    let [first, main, last] = lookups[..] else {
        return None;
    };
    let is_right = main == "main suppress_prefixlength 0"
        && first == format!("{last} suppress_prefixlength 0");
    last.parse().ok().filter(|_| is_right)
}

/// What is in the table that our rules select for a source, in the words of `ip route`.
fn routes(at: &Namespace, source: &str) -> Vec<String> {
    let Some(table) = table_of(at, source) else {
        return vec![];
    };
    let text = at.out(&format!("ip {} route show table {table}", version(source)));
    let words = [
        "proto 30",
        "onlink",
        "metric 1024",
        "pref medium",
        "scope link",
    ];
    let plain = |line: &str| {
        let line = words
            .iter()
            .fold(line.to_owned(), |line, word| line.replace(word, ""));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut all: Vec<_> = text.lines().map(plain).collect();
    all.sort();
    all
}

/// Waits until the source has its rules and exactly these routes; none means no rules at all.
#[track_caller]
fn expect(lab: &Lab, daemon: &Daemon, source: &str, wanted: &[&str]) {
    let mut seen = vec![];
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let holds = until(|| {
        seen = routes(&lab.host, source);
        let rules = our_rules(&lab.host);
        let from = format!("from {source} ");
        let any = rules.iter().any(|rule| rule.contains(&from));
        seen == wanted && any != wanted.is_empty()
    });
    assert!(
        holds,
        "from {source}: {seen:#?}, not {wanted:#?}\n{:#?}\n{}",
        our_rules(&lab.host),
        daemon.log()
    );
}

#[test]
fn each_address_leaves_by_its_own_uplink() {
    let Some(lab) = uplinks() else { return };
    // What is on the LAN and what lies behind it.
    lab.link("lan");
    lab.host.ip(
        "addr add 192.168.0.1/24 dev lan; route add 172.16.0.0/12 via 192.168.0.2
         addr add fd00::1/64 dev lan",
    );
    assert_eq!(
        way(&lab.host, "10.0.2.1", FAR),
        "via 10.0.1.2 dev wan1",
        "the control"
    );
    let daemon = lab.daemon(ON);
    for n in [1, 2] {
        expect(
            &lab,
            &daemon,
            &format!("10.0.{n}.1"),
            &[
                &format!("default via 10.0.{n}.2 dev wan{n}"),
                &format!("10.0.{n}.0/24 dev wan{n}"),
            ],
        );
        expect(
            &lab,
            &daemon,
            &format!("2001:db8:{n}::1"),
            &[
                &format!("default via fe80::2 dev wan{n}"),
                &format!("2001:db8:{n}::/64 dev wan{n}"),
            ],
        );
        let [v4, v6] = [format!("10.0.{n}.1"), format!("2001:db8:{n}::1")];
        assert_eq!(
            way(&lab.host, &v4, FAR),
            format!("via 10.0.{n}.2 dev wan{n}")
        );
        assert_eq!(way(&lab.host, &v6, FAR6), format!("via fe80::2 dev wan{n}"));
        // Neighbours are reached directly, and the LAN hears from the router's every address.
        assert_eq!(
            way(&lab.host, &v4, &format!("10.0.{n}.77")),
            format!("dev wan{n}")
        );
        assert_eq!(way(&lab.host, &v4, "192.168.0.9"), "dev lan");
        assert_eq!(way(&lab.host, &v4, "172.16.1.1"), "via 192.168.0.2 dev lan");
        assert_eq!(way(&lab.host, &v6, "fd00::9"), "dev lan");
    }
    // Nobody else's traffic changes its way, and the LAN's addresses need no rule.
    assert_eq!(way(&lab.host, "192.168.0.1", FAR), "via 10.0.1.2 dev wan1");
    assert_eq!(
        our_rules(&lab.host).len(),
        12,
        "{:#?}",
        our_rules(&lab.host)
    );
    assert_eq!(
        our_routes(&lab.host).len(),
        8,
        "{:#?}",
        our_routes(&lab.host)
    );
    // The daemon is asked what it made of it.
    daemon.catch_up();
    daemon.says(&["our rule", "from 10.0.2.1 lookup"]);
    daemon.says(&["our route", "default via 10.0.2.2 table"]);
}

#[test]
fn off_by_default_and_for_one_interface() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon("");
    lab.expect_still(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 subflow dev wan2",
        "2001:db8:1::1 subflow dev wan1",
        "2001:db8:2::1 subflow dev wan2",
    ]);
    assert_eq!(
        (our_rules(&lab.host).len(), our_routes(&lab.host).len()),
        (0, 0)
    );
    let wan2 = ["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"];
    lab.reload(
        &daemon,
        "[interface wan2]\nsource-routing = yes\nfamilies = ipv4\n",
    );
    expect(&lab, &daemon, "10.0.2.1", &wan2);
    lab.settle();
    assert_eq!(
        (our_rules(&lab.host).len(), our_routes(&lab.host).len()),
        (3, 2)
    );
    // An address that is not used has no rule; one that stands by has none until it is needed.
    lab.reload(
        &daemon,
        "[core]\nsource-routing = yes\n[interface wan2]\nuse = standby\n",
    );
    expect(&lab, &daemon, "10.0.2.1", &NONE);
    lab.unplug("wan1");
    expect(&lab, &daemon, "10.0.2.1", &wan2);
    lab.plug("wan1");
    expect(&lab, &daemon, "10.0.2.1", &NONE);
    // Off means off, even where routes are of no interest any more.
    lab.reload(&daemon, "[core]\nnotify-flags = existing\n");
    let none = || our_rules(&lab.host).is_empty() && our_routes(&lab.host).is_empty();
    assert!(until(none), "{:#?}", our_rules(&lab.host));
}

/// Two radios in the same network with the same gateway.
#[test]
fn two_interfaces_in_the_same_network() {
    let lab = lab!();
    for name in ["wifi1", "wifi2"] {
        lab.link(name);
    }
    if !lab
        .outside
        .run("ip link add br0 type bridge")
        .status
        .success()
    {
        return skip("bridge", "this kernel has no bridge");
    }
    lab.outside.ip(&format!(
        "link set wifi1 master br0; link set wifi2 master br0; link set br0 up
         addr add 10.0.0.254/24 dev br0; addr add 2001:db8::254/64 dev br0
         addr add {FAR}/32 dev lo; addr add {FAR6}/128 dev lo"
    ));
    for n in [1, 2] {
        // Who is asked for an address answers for that interface's only.
        lab.host.sysctl(&format!("ipv4/conf/wifi{n}/arp_ignore"), 1);
        lab.host.ip(&format!(
            "addr add 10.0.0.{n}/24 dev wifi{n}; addr add 2001:db8::{n}/64 dev wifi{n}
             route add default via 10.0.0.254 dev wifi{n} metric {n}
             route add ::/0 via 2001:db8::254 dev wifi{n} metric {n}"
        ));
    }
    for at in [&lab.host, &lab.outside] {
        at.ip("mptcp limits set add_addr_accepted 8 subflows 8");
    }
    assert_eq!(
        way(&lab.host, "10.0.0.2", FAR),
        "via 10.0.0.254 dev wifi1",
        "the control"
    );
    let daemon = lab.daemon("[core]\nsource-routing = yes\naddr-flags = signal\n");
    for n in [1, 2] {
        let [v4, v6] = [format!("10.0.0.{n}"), format!("2001:db8::{n}")];
        expect(
            &lab,
            &daemon,
            &v4,
            &[
                &format!("default via 10.0.0.254 dev wifi{n}"),
                &format!("10.0.0.0/24 dev wifi{n}"),
            ],
        );
        expect(
            &lab,
            &daemon,
            &v6,
            &[
                &format!("default via 2001:db8::254 dev wifi{n}"),
                &format!("2001:db8::/64 dev wifi{n}"),
            ],
        );
        assert_eq!(
            way(&lab.host, &v4, FAR),
            format!("via 10.0.0.254 dev wifi{n}")
        );
        assert_eq!(
            way(&lab.host, &v6, FAR6),
            format!("via 2001:db8::254 dev wifi{n}")
        );
        assert_eq!(way(&lab.host, &v4, "10.0.0.77"), format!("dev wifi{n}"));
        assert_eq!(way(&lab.host, &v6, "2001:db8::77"), format!("dev wifi{n}"));
    }
    // A server here, whose answers know of no device, only of the address that was called.
    for n in [1, 2] {
        let server = Peer::listening(&lab.host, &["server", "0.0.0.0:5000", "4000000"]);
        lab.reload(
            &daemon,
            "[core]\nsource-routing = yes\ninterfaces = wifi*\naddr-flags =\n",
        );
        let received = |n: usize| lab.outside.traffic(&format!("wifi{n}")).1;
        let before = [1, 2].map(received);
        let address = format!("10.0.0.{n}:5000");
        let client = Peer::start(&lab.outside, &["client", &address, "4000000"]);
        assert_eq!(client.result(), server.result());
        let after = [1, 2].map(received);
        let grown = |n: usize| after[n - 1] - before[n - 1];
        let (right, wrong) = (grown(n), grown(3 - n));
        assert!(
            right > 10 * wrong,
            "{right} bytes by wifi{n}, {wrong} by the other"
        );
    }
}

/// What a DHCP client does, in all the orders there are.
#[test]
fn the_gateway_changes() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon(ON);
    let net = "10.0.2.0/24 dev wan2";
    let by = |gateway: &str| format!("default via {gateway} dev wan2");
    expect(&lab, &daemon, "10.0.2.1", &[&by("10.0.2.2"), net]);
    let endpoints = lab.host.endpoints_with_ids();
    for (step, gateway) in [
        (
            "route replace default via 10.0.2.3 dev wan2 metric 21",
            "10.0.2.3",
        ),
        (
            "route add default via 10.0.2.4 dev wan2 metric 5",
            "10.0.2.4",
        ),
        (
            "route del default via 10.0.2.4 dev wan2 metric 5",
            "10.0.2.3",
        ),
        (
            "route add default via 10.0.2.5 dev wan2 metric 500",
            "10.0.2.3",
        ),
        (
            "route del default via 10.0.2.3 dev wan2 metric 21",
            "10.0.2.5",
        ),
        (
            "route replace default via inet6 fe80::2 dev wan2 metric 500",
            "inet6 fe80::2",
        ),
        (
            "route replace default via 10.0.2.2 dev wan2 metric 500",
            "10.0.2.2",
        ),
        // A gateway outside the network, as at some providers.
        (
            "route replace default via 100.64.0.1 dev wan2 onlink metric 500",
            "100.64.0.1",
        ),
        (
            "route replace default via 10.0.2.2 dev wan2 metric 500 src 10.0.2.1",
            "10.0.2.2",
        ),
    ] {
        lab.host.out(&format!("ip -4 {step}"));
        expect(&lab, &daemon, "10.0.2.1", &[&by(gateway), net]);
    }
    lab.host.ip("route replace default dev wan2 metric 500");
    expect(&lab, &daemon, "10.0.2.1", &["default dev wan2", net]);
    lab.host
        .ip("route replace default via 10.0.2.2 dev wan2 metric 500");
    expect(&lab, &daemon, "10.0.2.1", &[&by("10.0.2.2"), net]);
    assert_eq!(
        lab.host.endpoints_with_ids(),
        endpoints,
        "no endpoint was touched"
    );
    // One route with two hops, and a nexthop object.
    lab.host.ip("route flush default");
    expect(&lab, &daemon, "10.0.2.1", &NONE);
    lab.host
        .ip("route add default nexthop via 10.0.1.2 dev wan1 nexthop via 10.0.2.3 dev wan2");
    expect(&lab, &daemon, "10.0.2.1", &[&by("10.0.2.3"), net]);
    expect(
        &lab,
        &daemon,
        "10.0.1.1",
        &["default via 10.0.1.2 dev wan1", "10.0.1.0/24 dev wan1"],
    );
    // A nexthop object's route hides worse ones from sockets that are bound to another device.
    lab.host
        .ip("route del default; nexthop add id 7 via 10.0.2.2 dev wan2; route add default nhid 7 metric 10000");
    expect(&lab, &daemon, "10.0.2.1", &[&by("10.0.2.2"), net]);
    // IPv6, with a route for this uplink's sources only, as netifd makes it.
    let net6 = "2001:db8:2::/64 dev wan2";
    lab.host.ip("route del ::/0 dev wan2 metric 21");
    expect(&lab, &daemon, "2001:db8:2::1", &NONE);
    if lab
        .host
        .run("ip -6 route add default from 2001:db8:9::/48 via fe80::3 dev wan2 metric 3")
        .status
        .success()
    {
        lab.settle();
        expect(&lab, &daemon, "2001:db8:2::1", &NONE);
        lab.host
            .out("ip -6 route add default from 2001:db8:2::/48 via fe80::4 dev wan2 metric 9");
        expect(
            &lab,
            &daemon,
            "2001:db8:2::1",
            &["default via fe80::4 dev wan2", net6],
        );
        assert!(
            lab.host.id("2001:db8:2::1").is_some(),
            "check_route is satisfied"
        );
    } else {
        skip("source-routes", "this kernel has no routes with a source");
    }
    // Nor does a better one for all sources take the place of one for this source.
    lab.host.ip("route add ::/0 via fe80::2 dev wan2 metric 1");
    lab.settle();
    let by_source = lab.host.out("ip -6 route show default").contains("from");
    let gateway = if by_source { "fe80::4" } else { "fe80::2" };
    let default = format!("default via {gateway} dev wan2");
    expect(&lab, &daemon, "2001:db8:2::1", &[&default, net6]);
}

/// Without a main route nothing says where the gateway is: the path counts as dead, and our own
/// route must not keep it alive.
#[test]
fn the_main_route_goes_and_returns() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon("[core]\nsource-routing = yes\n[interface *]\nfamilies = ipv4\n");
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    let wan2 = ["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"];
    lab.expect(&[one, two]);
    for step in [
        "route del default dev wan2",
        // The kernel drops the route without a word.
        "link set wan2 down; link set wan2 up",
        "addr flush dev wan2; addr add 10.0.2.1/24 dev wan2",
        "addr add 10.0.9.1/24 dev wan2; route replace default via 10.0.2.2 dev wan2 metric 21 src 10.0.9.1
         addr del 10.0.9.1/24 dev wan2",
    ] {
        lab.host.ip(step);
        lab.expect_still(&[one]);
        expect(&lab, &daemon, "10.0.2.1", &NONE);
        assert_eq!(our_routes(&lab.host).len(), 2, "{step}: {:#?}", our_routes(&lab.host));
        lab.route(2);
        lab.expect(&[one, two]);
        expect(&lab, &daemon, "10.0.2.1", &wan2);
    }
    // The link goes and the route stays.
    for sysctl in [0, 1] {
        lab.host
            .sysctl("ipv4/conf/wan2/ignore_routes_with_linkdown", sysctl);
        lab.unplug("wan2");
        lab.expect(&[one]);
        expect(&lab, &daemon, "10.0.2.1", &NONE);
        // Something has the routes read again meanwhile.
        lab.settle();
        lab.plug("wan2");
        lab.expect(&[one, two]);
        expect(&lab, &daemon, "10.0.2.1", &wan2);
    }
    lab.host.ip("link del wan2");
    lab.expect(&[one]);
    let left = || our_rules(&lab.host).len() == 3 && our_routes(&lab.host).len() == 2;
    assert!(until(left), "{:#?}", our_rules(&lab.host));
}

#[test]
fn several_addresses_on_one_interface() {
    let Some(lab) = uplinks() else { return };
    // Some of them are aliases without a gateway.
    let daemon = lab.daemon(
        "[core]\nsource-routing = yes\nnotify-flags = existing,skip_link_local,skip_loopback
         [interface *]\nfamilies = ipv4\n",
    );
    lab.host.ip("addr add 10.0.2.7/24 dev wan2; addr add 10.0.77.1/26 dev wan2; addr add 10.0.78.1/32 dev wan2
         addr add 10.0.79.0/31 dev wan2");
    let all = [
        "default via 10.0.2.2 dev wan2",
        "10.0.2.0/24 dev wan2",
        "10.0.77.0/26 dev wan2",
        "10.0.79.0/31 dev wan2",
    ];
    for source in [
        "10.0.2.1",
        "10.0.2.7",
        "10.0.77.1",
        "10.0.78.1",
        "10.0.79.0",
    ] {
        expect(&lab, &daemon, source, &all);
    }
    // One goes; what its neighbour needs stays.
    lab.host
        .ip("addr del 10.0.2.1/24 dev wan2; addr del 10.0.79.0/31 dev wan2");
    expect(&lab, &daemon, "10.0.2.1", &NONE);
    expect(&lab, &daemon, "10.0.2.7", &all[..3]);
    // A new prefix length, a new address, and a wider network in which the gateway lies.
    lab.host
        .ip("addr add 10.0.77.1/25 dev wan2; addr del 10.0.77.1/26 dev wan2");
    expect(
        &lab,
        &daemon,
        "10.0.77.1",
        &[all[0], all[1], "10.0.77.0/25 dev wan2"],
    );
    lab.host
        .ip("addr add 10.0.2.7/16 dev wan2; addr del 10.0.2.7/24 dev wan2");
    expect(
        &lab,
        &daemon,
        "10.0.2.7",
        &[all[0], "10.0.0.0/16 dev wan2", "10.0.77.0/25 dev wan2"],
    );
    // The same address on the other uplink, too: it is routed where its endpoint is.
    lab.host.ip("addr add 10.0.77.1/25 dev wan1");
    lab.settle();
    expect(
        &lab,
        &daemon,
        "10.0.77.1",
        &[all[0], "10.0.0.0/16 dev wan2", "10.0.77.0/25 dev wan2"],
    );
    lab.host.ip("addr del 10.0.77.1/25 dev wan2");
    expect(
        &lab,
        &daemon,
        "10.0.77.1",
        &[
            "default via 10.0.1.2 dev wan1",
            "10.0.1.0/24 dev wan1",
            "10.0.77.0/25 dev wan1",
        ],
    );
    assert!(
        lab.host
            .endpoints()
            .contains(&"10.0.77.1 subflow dev wan1".to_owned())
    );
}

/// As three modems behind a switch, whichever way the addresses tell whose gateway is whose.
#[test]
fn several_gateways_on_one_interface() {
    let Some(lab) = uplinks() else { return };
    lab.host
        .ip("addr add 10.0.12.1/24 dev wan2; addr add 10.0.13.1/24 dev wan2; addr add 10.0.14.1/32 dev wan2
             route add default via 10.0.12.2 dev wan2 metric 31
             route add default via 10.0.2.9 dev wan2 metric 32 src 10.0.13.1
             route add default via 10.0.13.2 dev wan2 metric 33");
    let daemon = lab.daemon("[core]\nsource-routing = yes\n");
    let ways = [
        ("10.0.2.1", "via 10.0.2.2 dev wan2"),
        ("10.0.12.1", "via 10.0.12.2 dev wan2"),
        ("10.0.13.1", "via 10.0.2.9 dev wan2"),
        ("10.0.14.1", "via 10.0.2.2 dev wan2"),
        ("10.0.1.1", "via 10.0.1.2 dev wan1"),
    ];
    let holds = |ways: &[(&str, &str)]| {
        let holds = until(|| {
            ways.iter()
                .all(|(source, way_)| way(&lab.host, source, FAR) == *way_)
        });
        assert!(
            holds,
            "{ways:?}\n{}\n{}",
            our_rules(&lab.host).join("\n"),
            daemon.log()
        );
    };
    holds(&ways);
    lab.settle();
    holds(&ways);
    let before = table_of(&lab.host, "10.0.12.1");
    assert!(before.is_some() && before != table_of(&lab.host, "10.0.2.1"));
    // One goes, and the others keep their tables; one gets another gateway.
    lab.host.ip(
        "addr del 10.0.2.1/24 dev wan2; route replace default via 10.0.12.9 dev wan2 metric 31",
    );
    holds(&[
        ("10.0.12.1", "via 10.0.12.9 dev wan2"),
        ("10.0.13.1", "via 10.0.2.9 dev wan2"),
        ("10.0.1.1", "via 10.0.1.2 dev wan1"),
    ]);
    assert_eq!(table_of(&lab.host, "10.0.12.1"), before);
    // A next hop of a route with several counts as well.
    lab.host.ip(
        "route del default dev wan2 metric 31; route del default dev wan2 metric 32; route del default dev wan2 metric 33
         route add default metric 34 nexthop via 10.0.13.3 dev wan2 nexthop via 10.0.12.3 dev wan2",
    );
    holds(&[
        ("10.0.12.1", "via 10.0.12.3 dev wan2"),
        ("10.0.13.1", "via 10.0.13.3 dev wan2"),
    ]);
    // All use of a table ends with its last address.
    lab.host
        .ip("addr del 10.0.12.1/24 dev wan2; addr del 10.0.13.1/24 dev wan2");
    expect(&lab, &daemon, "10.0.12.1", &NONE);
    expect(&lab, &daemon, "10.0.13.1", &NONE);
}

#[test]
fn several_gateways_for_sources_of_ipv6() {
    let Some(lab) = uplinks() else { return };
    lab.host
        .ip("addr add 2001:db8:a::1/64 dev wan2; addr add 2001:db8:b::1/64 dev wan2");
    let add = "ip -6 route add default from 2001:db8:a::/48 via fe80::a dev wan2 metric 500";
    if !lab.host.run(add).status.success() {
        return support::skip("source-routes", "no IPv6 routes with a source");
    }
    lab.host
        .ip("route add ::/0 from 2001:db8:b::/48 via fe80::b dev wan2 metric 100");
    let daemon = lab.daemon("[core]\nsource-routing = yes\n");
    for (source, gateway) in [
        ("2001:db8:a::1", "fe80::a"),
        ("2001:db8:b::1", "fe80::b"),
        ("2001:db8:2::1", "fe80::2"),
    ] {
        let wanted = format!("default via {gateway} dev wan2");
        let holds = until(|| routes(&lab.host, source).contains(&wanted));
        assert!(
            holds,
            "{source}\n{}\n{}",
            our_rules(&lab.host).join("\n"),
            daemon.log()
        );
    }
    expect(
        &lab,
        &daemon,
        "10.0.2.1",
        &["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"],
    );
}

/// A rule of the administrator's that has an address leave by its uplink is the answer, wherever it
/// stands.
#[test]
fn a_rule_of_others_for_an_address_is_left_to_do_its_work() {
    let Some(lab) = uplinks() else { return };
    lab.host
        .ip("route add default via 10.0.2.9 dev wan2 table 300; route add 192.0.2.0/24 via 10.0.2.8 dev wan2 table 300");
    let daemon = lab.daemon("[core]\nsource-routing = yes\n[interface *]\nfamilies = ipv4\n");
    let ours = ["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"];
    expect(&lab, &daemon, "10.0.2.1", &ours);
    for rule in [
        "from 10.0.2.1 pref 30000",
        "from 10.0.2.0/24 pref 32765",
        "from 10.0.2.1 ipproto tcp pref 100",
    ] {
        lab.host.ip(&format!("rule add {rule} lookup 300"));
        expect(&lab, &daemon, "10.0.2.1", &NONE);
        if !rule.contains("tcp") {
            assert_eq!(way(&lab.host, "10.0.2.1", FAR), "via 10.0.2.8 dev wan2");
        }
        lab.host.ip(&format!("rule del {rule} lookup 300"));
        expect(&lab, &daemon, "10.0.2.1", &ours);
    }
    // One that leads elsewhere is not.
    lab.host.ip("rule add from 10.0.2.1 pref 30000 lookup 301; route add default via 10.0.1.9 dev wan1 table 301");
    lab.settle();
    expect(&lab, &daemon, "10.0.2.1", &ours);
}

/// Whoever takes something of ours away gives it back by that very event.
#[test]
fn what_is_lost_is_restored() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon("[core]\nsource-routing = yes\nresync-interval = 0\n");
    let v4 = ["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"];
    let v6 = ["default via fe80::2 dev wan2", "2001:db8:2::/64 dev wan2"];
    expect(&lab, &daemon, "10.0.2.1", &v4);
    expect(&lab, &daemon, "2001:db8:2::1", &v6);
    let table = table_of(&lab.host, "10.0.2.1").expect("rules");
    for step in [
        "ip rule del from 10.0.2.1 lookup main",
        "ip rule del from 10.0.2.1",
        "ip -6 rule del from 2001:db8:2::1",
        "ip -4 rule flush proto 30",
        "ip -6 rule flush proto 30",
        "ip route flush table {}",
        "ip -6 route flush table {}",
        "ip route del default table {}",
        "ip route del 10.0.2.0/24 table {}",
        "ip -6 route del ::/0 table {}",
        "ip -6 route del 2001:db8:2::/64 table {}",
        "ip route replace default via 10.0.2.9 dev wan2 onlink table {} proto 30",
    ] {
        lab.host.out(&step.replace("{}", &table.to_string()));
        expect(&lab, &daemon, "10.0.2.1", &v4);
        expect(&lab, &daemon, "2001:db8:2::1", &v6);
        assert_eq!(table_of(&lab.host, "10.0.2.1"), Some(table), "{step}");
    }
    assert_eq!(
        our_rules(&lab.host).len(),
        12,
        "{:#?}",
        our_rules(&lab.host)
    );
    assert_eq!(daemon.lines(&["warn"]), 0, "{}", daemon.log());
}

#[test]
fn what_others_made_is_never_touched() {
    let Some(lab) = uplinks() else { return };
    // Find out where we would go, and be there first, each time in another way.
    let probe = lab.daemon(REMOVE);
    expect(
        &lab,
        &probe,
        "10.0.2.1",
        &["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"],
    );
    let table = table_of(&lab.host, "10.0.2.1").expect("rules");
    let rule = our_rules(&lab.host)
        .into_iter()
        .find(|rule| rule.contains("10.0.2.1 ") && rule.contains("lookup main"));
    let priority = rule
        .expect("a rule")
        .split(':')
        .next()
        .expect("a priority")
        .to_owned();
    probe.stop();
    for (made, undone) in [
        (
            "ip route add default via 10.0.1.2 table T metric 5",
            "ip route flush table T",
        ),
        (
            "ip route add 198.51.100.0/24 via 10.0.1.2 table T",
            "ip route flush table T",
        ),
        (
            "ip -6 route add unreachable ::/0 table T metric 5",
            "ip -6 route flush table T",
        ),
        (
            "ip rule add from 198.51.100.1 lookup T priority 99",
            "ip rule del priority 99",
        ),
        (
            "ip rule add from all iif wan1 lookup T priority 98",
            "ip rule del priority 98",
        ),
        (
            "ip -6 rule add from all lookup main priority P",
            "ip -6 rule del priority P",
        ),
        (
            "ip rule add from 10.0.2.1 lookup 77 priority P",
            "ip rule del priority P",
        ),
    ] {
        let run = |step: &str| {
            let step = step
                .replace('T', &table.to_string())
                .replace('P', &priority);
            lab.host.out(&step);
        };
        let wanted = ["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"];
        // There before us, ...
        run(made);
        let before = foreign(&lab.host);
        let daemon = lab.daemon(REMOVE);
        expect(&lab, &daemon, "10.0.2.1", &wanted);
        let other = table_of(&lab.host, "10.0.2.1").expect("rules");
        assert_ne!(other, table, "{made}");
        assert_eq!(foreign(&lab.host), before, "{made}");
        daemon.stop();
        assert_eq!(foreign(&lab.host), before, "{made}");
        run(undone);
        // ... and after us: we give way.
        let daemon = lab.daemon(REMOVE);
        expect(&lab, &daemon, "10.0.2.1", &wanted);
        assert_eq!(table_of(&lab.host, "10.0.2.1"), Some(table), "{undone}");
        run(made);
        // A route that is no default route makes no event that reaches us.
        lab.reload(&daemon, REMOVE);
        let moved = || table_of(&lab.host, "10.0.2.1").is_some_and(|now| now != table);
        assert!(
            until(moved),
            "{made}: {:#?}\n{}",
            our_rules(&lab.host),
            daemon.log()
        );
        expect(&lab, &daemon, "10.0.2.1", &wanted);
        assert_eq!(foreign(&lab.host), before, "{made}");
        run(undone);
        daemon.stop();
        assert_eq!(
            (our_rules(&lab.host).len(), our_routes(&lab.host).len()),
            (0, 0)
        );
    }
}

#[test]
fn the_ranges_are_kept() {
    let Some(lab) = uplinks() else { return };
    lab.wan(3);
    let config = |tables: &str, priorities: &str| {
        format!(
            "{ON}source-routing-tables = {tables}\nsource-routing-priorities = {priorities}\n\
             [interface *]\nfamilies = ipv4\n"
        )
    };
    let daemon = lab.daemon(&config("700-702", "100-200"));
    let within = |tables: std::ops::RangeInclusive<u32>,
                  priorities: std::ops::RangeInclusive<u32>,
                  count| {
        let seen = || {
            let rules = our_rules(&lab.host);
            let sources = [1, 2, 3].map(|n| table_of(&lab.host, &format!("10.0.{n}.1")));
            let priority = |rule: &String| rule.split(':').next().and_then(|p| p.parse().ok());
            sources
                .iter()
                .flatten()
                .filter(|t| tables.contains(t))
                .count()
                == count
                && rules.len() == 3 * count
                && rules
                    .iter()
                    .filter_map(priority)
                    .all(|p: u32| priorities.contains(&p))
                && our_routes(&lab.host).len() == 2 * count
        };
        assert!(until(seen), "{:#?}\n{}", our_rules(&lab.host), daemon.log());
    };
    within(700..=702, 100..=200, 3);
    // Others, and then too few: the first come are served.
    lab.reload(&daemon, &config("4000000000-4000000100", "31000-31010"));
    within(4_000_000_000..=4_000_000_100, 31_000..=31_010, 3);
    lab.reload(&daemon, &config("800-801", "31000-31010"));
    within(800..=801, 31_000..=31_010, 2);
    daemon.says(&["warn", "source routing has no table", "1 addresses"]);
    lab.reload(&daemon, &config("800-900", "7-9"));
    within(800..=900, 7..=9, 1);
    // An uplink without a table is an uplink all the same.
    lab.expect(&[1, 2, 3].map(|n| format!("10.0.{n}.1 subflow dev wan{n}")));
    lab.reload(&daemon, "");
    assert!(until(
        || our_rules(&lab.host).is_empty() && our_routes(&lab.host).is_empty()
    ));
}

/// Two tables for three uplinks: an interface that has no use for its table any more gives it back.
#[test]
fn tables_go_to_those_who_need_them() {
    let Some(lab) = uplinks() else { return };
    lab.wan(3);
    let config = "[core]\nsource-routing = yes\nsource-routing-tables = 300-301\n\
                  [interface *]\nfamilies = ipv4\n[interface settle]\nuse = no\n";
    lab.host.ip("addr del 10.0.3.1/24 dev wan3");
    let daemon = lab.daemon(&config.replace("[interface *]\nfamilies = ipv4\n", ""));
    let by = |n: u8| {
        let default = format!("default via 10.0.{n}.2 dev wan{n}");
        [default, format!("10.0.{n}.0/24 dev wan{n}")]
    };
    for n in [1, 2] {
        let [default, net] = by(n);
        expect(&lab, &daemon, &format!("10.0.{n}.1"), &[&default, &net]);
    }
    lab.host
        .ip("addr flush dev wan1; addr flush dev wan2; addr add 10.0.3.1/24 dev wan3");
    lab.route(3);
    let [default, net] = by(3);
    expect(&lab, &daemon, "10.0.3.1", &[&default, &net]);
}

/// At the end, and after an end that gave no time for that.
#[test]
fn what_is_left_behind_is_found_again() {
    let Some(lab) = uplinks() else { return };
    let wan2 = ["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"];
    let state = || (our_rules(&lab.host), our_routes(&lab.host));
    let none = || state() == (vec![], vec![]);
    // Like endpoints, on-exit decides.
    let daemon = lab.daemon(ON);
    expect(&lab, &daemon, "10.0.2.1", &wan2);
    lab.settle();
    let before = state();
    daemon.stop();
    assert_eq!(state(), before, "on-exit = keep");
    // The next one takes it over without touching it, as does one after a crash.
    let changes = Changes::start(&lab);
    for politely in [true, false] {
        let daemon = lab.daemon(ON);
        daemon.says(&["watching"]);
        daemon.catch_up();
        lab.settle();
        if politely {
            daemon.stop();
        } else {
            daemon.kill();
        }
        assert_eq!(state(), before);
    }
    let ours: Vec<_> = changes
        .heard()
        .lines()
        .filter(|l| l.contains("10.0.2.1 lookup") || l.contains("table 52"))
        .map(str::to_owned)
        .collect();
    assert!(ours.iter().all(|line| line.contains("settle")), "{ours:#?}");
    // What has no use any more goes, whatever the configuration is interested in now.
    lab.host.ip("link del wan1; addr flush dev wan2");
    lab.wan(1);
    lab.host.ip("addr add 10.0.2.9/24 dev wan2");
    lab.route(2);
    let daemon = lab.daemon(ON);
    expect(&lab, &daemon, "10.0.2.9", &wan2);
    expect(&lab, &daemon, "10.0.2.1", &NONE);
    lab.settle();
    assert_eq!(our_rules(&lab.host).len(), 6, "{:#?}", our_rules(&lab.host));
    daemon.kill();
    assert!(!none());
    let daemon = lab.daemon("[core]\nnotify-flags = existing\n");
    assert!(until(none), "{:#?}\n{}", state(), daemon.log());
    daemon.stop();
    // SIGTERM takes all of it where it takes the endpoints.
    let daemon = lab.daemon(REMOVE);
    expect(&lab, &daemon, "10.0.2.9", &wan2);
    daemon.stop();
    assert!(none(), "{:#?}", state());
    assert_eq!(lab.host.endpoints(), NONE);
}

/// The second uplink's packets are those that a strict filter drops. Where we see to the way
/// back, it need not.
#[test]
fn a_strict_reverse_path_filter() {
    let Some(lab) = uplinks() else { return };
    for n in [1, 2] {
        lab.host.sysctl(&format!("ipv4/conf/wan{n}/rp_filter"), 1);
    }
    let server = format!("{FAR}:5000");
    let transfer = || {
        let listening = Peer::listening(&lab.outside, &["server", &server, "3000000"]);
        let client = Peer::start(&lab.host, &["client", &server, "3000000", "1500000"]);
        assert_eq!(client.result(), listening.result());
    };
    let counters = || {
        ["TcpExtIPReversePathFilter", "MPTcpExtMPJoinSynAckRx"].map(|name| lab.host.counter(name))
    };
    let config = "[interface *]\nfamilies = ipv4\n";
    let daemon = lab.daemon(config);
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    transfer();
    let [filtered, joined] = counters();
    assert!(
        filtered > 0 && joined == 0,
        "{filtered} filtered, {joined} joined"
    );
    daemon.says(&["warn", "wan2", "rp_filter"]);
    assert_eq!(daemon.lines(&["wan1", "rp_filter"]), 0, "{}", daemon.log());
    lab.reload(&daemon, &format!("{ON}{config}"));
    expect(
        &lab,
        &daemon,
        "10.0.2.1",
        &["default via 10.0.2.2 dev wan2", "10.0.2.0/24 dev wan2"],
    );
    transfer();
    assert_eq!(counters(), [filtered, 1], "source routing helps");
    assert_eq!(
        daemon.lines(&["warn", "rp_filter"]),
        1,
        "once is enough\n{}",
        daemon.log()
    );
    daemon.stop();
    // No cause for complaint: a loose filter, which also beats a strict one for all; source
    // routing; somebody else's rules.
    for (wan2, all, config, rule) in [
        (0, 0, config.to_owned(), false),
        (2, 1, config.to_owned(), false),
        (1, 0, format!("{ON}{config}"), false),
        (1, 0, config.to_owned(), true),
    ] {
        lab.host.sysctl("ipv4/conf/wan2/rp_filter", wan2);
        lab.host.sysctl("ipv4/conf/all/rp_filter", all);
        if rule {
            lab.host
                .ip("route add default via 10.0.2.2 dev wan2 table 9");
            lab.host.out("ip rule add from 10.0.2.0/24 lookup 9");
        }
        let daemon = lab.daemon(&config);
        daemon.says(&["watching"]);
        lab.expect_still(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
        assert_eq!(daemon.lines(&["wan2", "rp_filter"]), 0, "{}", daemon.log());
    }
    // Strict for all is strict for each, also for one that comes later.
    lab.host.out("ip rule del from 10.0.2.0/24");
    lab.host.sysctl("ipv4/conf/wan2/rp_filter", 0);
    lab.host.sysctl("ipv4/conf/all/rp_filter", 1);
    lab.host.ip("link set wan2 down");
    let daemon = lab.daemon(config);
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    lab.host.ip("link set wan2 up");
    lab.route(2);
    daemon.says(&["warn", "wan2", "rp_filter"]);
}

/// Where no route is asked for, a PPP session needs no default route in the main table: the link
/// itself is the way.
#[test]
fn point_to_point_links() {
    let Some(lab) = uplinks() else { return };
    let Some(_tunnel) = Tunnel::ppp0(&lab) else {
        return;
    };
    lab.host.ip("link del wan2");
    let wan = [
        "10.0.1.1 subflow dev wan1",
        "2001:db8:1::1 subflow dev wan1",
    ];
    let [four, six] = [
        "10.0.0.1 subflow dev ppp0",
        "2001:db8:5::1 subflow dev ppp0",
    ];
    let daemon = lab.daemon("");
    lab.expect_still(&wan);
    // One switch does not change the meaning of another.
    lab.reload(&daemon, "[interface ppp*]\nsource-routing = yes\n");
    lab.expect_still(&wan);
    lab.reload(
        &daemon,
        "[interface ppp*]\nsource-routing = yes\nnotify-flags = existing,skip_link_local\n",
    );
    lab.expect(&[four, wan[0], wan[1], six]);
    expect(&lab, &daemon, "10.0.0.1", &["default dev ppp0"]);
    expect(&lab, &daemon, "2001:db8:5::1", &["default dev ppp0"]);
    for (source, far, peer) in [
        ("10.0.0.1", FAR, "10.0.0.2"),
        ("2001:db8:5::1", FAR6, "2001:db8:5::2"),
    ] {
        assert_eq!(way(&lab.host, source, far), "dev ppp0");
        assert_eq!(way(&lab.host, source, peer), "dev ppp0");
    }
    // The data go over it, though the main table knows no way there.
    let bytes = "4000000";
    let server = Peer::listening(&lab.outside, &["server", &format!("{FAR}:5000"), bytes]);
    let client = Peer::start(
        &lab.host,
        &["client", &format!("{FAR}:5000"), bytes, "1500000"],
    );
    let joined = || lab.host.joins() == 1;
    assert!(until(joined), "no second subflow\n{}", daemon.log());
    lab.unplug("wan1");
    assert_eq!(client.result(), server.result());
    let arrived = lab.outside.traffic("ppp0").1;
    assert!(arrived > 1_000_000, "{arrived} bytes over ppp0");
    lab.plug("wan1");
    // A main route changes nothing: the link is still the way.
    let endpoints = |at: &Namespace| {
        let mut all = at.endpoints_with_ids();
        all.retain(|(_, text)| text.contains("ppp0"));
        all
    };
    let before = endpoints(&lab.host);
    lab.host.ip("route add default dev ppp0 metric 5");
    lab.settle();
    expect(&lab, &daemon, "10.0.0.1", &["default dev ppp0"]);
    lab.host.ip("route del default dev ppp0 metric 5");
    lab.settle();
    expect(&lab, &daemon, "10.0.0.1", &["default dev ppp0"]);
    assert_eq!(endpoints(&lab.host), before);
    // The network behind a peer is the peer's.
    lab.host.ip("addr add 10.9.0.1 peer 10.8.0.9/24 dev ppp0");
    expect(
        &lab,
        &daemon,
        "10.9.0.1",
        &["default dev ppp0", "10.8.0.0/24 dev ppp0"],
    );
    lab.host.ip("link set ppp0 down");
    lab.expect(&wan);
    expect(&lab, &daemon, "10.0.0.1", &NONE);
    expect(&lab, &daemon, "2001:db8:5::1", &NONE);
    assert_eq!(
        (our_rules(&lab.host), our_routes(&lab.host)),
        (vec![], vec![])
    );
}

/// The packets of a subflow leave by the link of its address and by that link's gateway, and only
/// so: judged at the other end, and by whose hardware address was asked for.
#[test]
fn subflows_take_their_own_gateway() {
    for config in ["", ON] {
        let Some(lab) = uplinks() else { return };
        lab.host
            .ip("route replace default via 10.0.2.3 dev wan2 metric 21");
        let daemon = lab.daemon(&format!("{config}[interface *]\nfamilies = ipv4\n"));
        lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
        if config == ON {
            expect(
                &lab,
                &daemon,
                "10.0.2.1",
                &["default via 10.0.2.3 dev wan2", "10.0.2.0/24 dev wan2"],
            );
        }
        let server = format!("{FAR}:5000");
        let listening = Peer::listening(&lab.outside, &["server", &server, "4000000"]);
        let client = Peer::start(&lab.host, &["client", &server, "4000000", "1500000"]);
        assert!(until(|| lab.host.joins() == 1), "{}", daemon.log());
        lab.unplug("wan1");
        assert_eq!(client.result(), listening.result());
        let arrived = lab.outside.traffic("wan2").1;
        assert!(arrived > 1_000_000, "{arrived} bytes over wan2");
        let neighbours = lab.host.out("ip -4 neigh show dev wan2");
        assert!(neighbours.contains("10.0.2.3 "), "{neighbours}");
        assert!(!neighbours.contains("10.0.2.2 "), "{neighbours}");
    }
}
