// SPDX-License-Identifier: BSD-3-Clause
//! Steering: new connections keep off a dead uplink whose route is still preferred. Judged by
//! `ip route get`, `ss`, and the connections themselves.
#![cfg(feature = "health")]

#[macro_use]
mod support;

use support::outage::{blackhole, prepare, restore};
use support::peer::{Held, Peer};
use support::routes::{Changes, FAR, FAR6, Tunnel, foreign, our_routes, our_rules, uplinks};
use support::{Daemon, Lab, Namespace, skip, until};

const ON: &str = "[core]\nsteer = yes\nresync-interval = 0\n";
const NONE: [&str; 0] = [];

/// Where a question of `ip route get` leads: "dev NAME src ADDRESS".
fn way(at: &Namespace, question: &str) -> String {
    let text = at.out(&format!("ip route get {question}"));
    let words: Vec<_> = text.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|other| *other == word);
        at.and_then(|at| words.get(at + 1)).copied().unwrap_or("")
    };
    format!("dev {} src {}", after("dev"), after("src"))
}

fn by(n: u8) -> [String; 2] {
    [
        format!("dev wan{n} src 10.0.{n}.1"),
        format!("dev wan{n} src 2001:db8:{n}::1"),
    ]
}

/// Waits until new connections of both families leave by this uplink, with its addresses.
#[track_caller]
fn expect(lab: &Lab, daemon: &Daemon, n: u8) {
    let mut seen = [String::new(), String::new()];
    let holds = until(|| {
        seen = [FAR, FAR6].map(|far| way(&lab.host, far));
        seen == by(n)
    });
    let (rules, log) = (our_rules(&lab.host), daemon.log());
    assert!(holds, "{seen:?}, not by wan{n}\n{rules:#?}\n{log}");
}

/// Waits until so many addresses are in use.
#[track_caller]
fn ready(lab: &Lab, daemon: &Daemon, count: usize) {
    let holds = until(|| lab.host.endpoints().len() == count);
    assert!(holds, "{:#?}\n{}", lab.host.endpoints(), daemon.log());
}

/// Waits until nothing of ours is left but so many rules.
#[track_caller]
fn expect_rules(lab: &Lab, daemon: &Daemon, count: usize) {
    let holds = until(|| our_rules(&lab.host).len() == count);
    let rules = our_rules(&lab.host);
    assert!(holds, "not {count} rules: {rules:#?}\n{}", daemon.log());
}

/// Opens a Multipath TCP connection and a plain one, and returns the local address of the first.
#[track_caller]
fn connect(lab: &Lab, from: &Namespace, far: &str) -> String {
    let far = match far.contains(':') {
        true => format!("[{far}]"),
        false => far.to_owned(),
    };
    let tcp = format!("{far}:5001");
    let listening = Peer::listening(&lab.outside, &["accept", &tcp, "1"]);
    let mut knocking = Peer::start(from, &["knock-tcp", &tcp, "1"]);
    knocking.says("knocked 1");
    drop(listening);
    let server = format!("{far}:5000");
    let held = Held::open(from, &server, &lab.outside, &server, 1);
    let text = from.out(&format!(
        "ss -Hnt state established dst {far} dport = :5000"
    ));
    let locals = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    let first = locals.map(|local| local.rsplit_once(':').expect("a port").0);
    let address = first.min().expect("a connection").to_owned();
    held.release();
    address.trim_matches(['[', ']']).to_owned()
}

/// A host on a LAN behind the router, which forwards for it.
fn lan(lab: &Lab) -> Namespace {
    let inside = lab.host.beside();
    lab.host.ip(&format!(
        "link add lan type veth peer name lan netns {}
         link set lan up; addr add 192.168.0.1/24 dev lan; addr add fd00::1/64 dev lan
         route add 172.16.0.0/12 via 192.168.0.2 dev lan",
        inside.pid()
    ));
    inside.ip(
        "link set lan up; addr add 192.168.0.2/24 dev lan; addr add fd00::2/64 dev lan
         route add default via 192.168.0.1; route add ::/0 via fd00::1",
    );
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        lab.host.sysctl(path, 1);
    }
    // The answers come by the second uplink, which forwarding needs to be enabled for.
    lab.outside
        .ip("route add 192.168.0.0/24 via 10.0.2.1; route add fd00::/64 via 2001:db8:2::1");
    inside
}

#[test]
fn new_connections_keep_off_a_dead_uplink() {
    for config in [ON.to_owned(), format!("{ON}source-routing = yes\n")] {
        let Some(lab) = uplinks() else { return };
        let inside = lan(&lab);
        // What is more particular has its way, even where that is dead.
        lab.host
            .ip("route add 203.0.113.0/24 via 10.0.1.2 dev wan1");
        let daemon = lab.daemon(&config);
        ready(&lab, &daemon, 4);
        let own = if config == ON { 0 } else { 12 };
        expect_rules(&lab, &daemon, own);
        expect(&lab, &daemon, 1);
        let before = foreign(&lab.host);
        lab.unplug("wan1");
        expect(&lab, &daemon, 2);
        // Here and behind the router, where nothing got through before.
        assert_eq!(connect(&lab, &lab.host, FAR), "10.0.2.1");
        assert_eq!(connect(&lab, &lab.host, FAR6), "2001:db8:2::1");
        assert_eq!(connect(&lab, &inside, FAR), "192.168.0.2");
        assert_eq!(connect(&lab, &inside, FAR6), "fd00::2");
        // What has a way of its own keeps to it.
        let host = &lab.host;
        assert_eq!(way(host, "172.16.1.1"), "dev lan src 192.168.0.1");
        assert_eq!(way(host, "203.0.113.5"), "dev wan1 src 10.0.1.1");
        for bound in [
            format!("{FAR} from 10.0.1.1"),
            format!("{FAR} oif wan1"),
            format!("{FAR6} from 2001:db8:1::1"),
            format!("{FAR6} oif wan1"),
        ] {
            let taken = way(host, &bound);
            assert!(taken.starts_with("dev wan1"), "{bound}: {taken}");
        }
        assert_eq!(foreign(host), before);
        // The end of it is no slower, and leaves nothing.
        lab.plug("wan1");
        expect(&lab, &daemon, 1);
        expect_rules(&lab, &daemon, own);
        assert_eq!(foreign(host), before);
        for family in ["ipv4", "ipv6"] {
            let here = ["wan2: takes new connections", family];
            assert!(until(|| daemon.lines(&here) == 2), "{}", daemon.log());
        }
        assert_eq!(daemon.lines(&["warn"]), 0, "{}", daemon.log());
    }
}

/// Probes and steering together: the link stays, and leads nowhere.
#[test]
fn new_connections_keep_off_an_uplink_that_leads_nowhere() {
    let Some(lab) = uplinks() else { return };
    prepare(&lab);
    let config = format!("{ON}track = {FAR}, {FAR6}\ntrack-interval = 1\n");
    let daemon = lab.daemon(&config);
    ready(&lab, &daemon, 4);
    expect(&lab, &daemon, 1);
    for _ in 0..2 {
        blackhole(&lab, 1);
        expect(&lab, &daemon, 2);
        assert_eq!(connect(&lab, &lab.host, FAR), "10.0.2.1");
        assert_eq!(connect(&lab, &lab.host, FAR6), "2001:db8:2::1");
        restore(&lab, 1);
        expect(&lab, &daemon, 1);
        expect_rules(&lab, &daemon, 0);
        assert_eq!(connect(&lab, &lab.host, FAR), "10.0.1.1");
        assert_eq!(connect(&lab, &lab.host, FAR6), "2001:db8:1::1");
    }
}

/// A default route by both uplinks at once (ECMP), of which each takes its share.
#[test]
fn no_share_of_new_connections_is_lost() {
    let Some(lab) = uplinks() else { return };
    prepare(&lab);
    let fars: Vec<_> = (1..=8)
        .flat_map(|n| [format!("192.0.2.{n}"), format!("2001:db8:ffff::{n}")])
        .collect();
    for far in &fars {
        lab.outside.ip(&format!("addr add {far} dev lo"));
    }
    for (version, gates) in [("-4", ["10.0.1.2", "10.0.2.2"]), ("-6", ["fe80::2"; 2])] {
        let [one, two] = gates;
        lab.host.out(&format!(
            "ip {version} route add default metric 1 nexthop via {one} dev wan1 nexthop via {two} dev wan2"
        ));
    }
    let config = format!("{ON}track = {FAR}, {FAR6}\ntrack-interval = 1\n");
    let daemon = lab.daemon(&config);
    ready(&lab, &daemon, 4);
    let shares = || {
        let by = |far: &&String| way(&lab.host, far).starts_with("dev wan1 ");
        fars.iter().filter(by).count()
    };
    let before = shares();
    assert!((1..fars.len()).contains(&before), "{before}");
    blackhole(&lab, 1);
    assert!(until(|| shares() == 0), "{}\n{}", shares(), daemon.log());
    for far in &fars {
        connect(&lab, &lab.host, far);
    }
    restore(&lab, 1);
    assert!(until(|| shares() == before), "{}", daemon.log());
    expect_rules(&lab, &daemon, 0);
}

#[test]
fn off_means_off() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon("");
    ready(&lab, &daemon, 4);
    lab.unplug("wan1");
    lab.expect_still(&[
        "10.0.2.1 subflow dev wan2",
        "2001:db8:2::1 subflow dev wan2",
    ]);
    assert_eq!(our_rules(&lab.host), NONE);
    expect(&lab, &daemon, 1);
    // On and off again while it matters; and on without anything else of use.
    for config in [ON, "", "[core]\nsteer = yes\nnotify-flags = existing\n", ""] {
        lab.reload(&daemon, config);
        let steered = config.contains("steer");
        expect(&lab, &daemon, if steered { 2 } else { 1 });
        expect_rules(&lab, &daemon, if steered { 6 } else { 0 });
    }
    assert_eq!(our_routes(&lab.host), NONE);
    daemon.stop();
}

#[test]
fn declared_by_hand_seen_and_told() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon(ON);
    ready(&lab, &daemon, 4);
    let status = |json: &[&str]| lab.execute(&[&["status"], json].concat()).1;
    let none = "\"steering\":{\"ipv4\":null,\"ipv6\":null}";
    assert!(status(&["-j"]).contains(none), "{}", status(&["-j"]));
    assert!(!status(&[]).contains("steering"));
    let run = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(lab.execute(&words).0, Some(0), "{line}");
    };
    run("path wan1 down");
    expect(&lab, &daemon, 2);
    let shown = "\"steering\":{\"ipv4\":\"wan2\",\"ipv6\":\"wan2\"}";
    assert!(status(&["-j"]).contains(shown), "{}", status(&["-j"]));
    let line = "steering: ipv4 by wan2, ipv6 by wan2\n";
    assert!(status(&[]).contains(line), "{}", status(&[]));
    // Its link works: whoever is bound to it hears from the other end.
    for bound in ["wan1", "10.0.1.1"] {
        let ping = format!("ping -c 1 -W 5 -I {bound} {FAR}");
        lab.host.out(&ping);
    }
    // Nobody is left to steer to.
    run("path wan2 down");
    expect_rules(&lab, &daemon, 0);
    expect(&lab, &daemon, 1);
    run("path wan2 auto");
    expect(&lab, &daemon, 2);
    run("path wan1 auto");
    expect(&lab, &daemon, 1);
    expect_rules(&lab, &daemon, 0);
}

/// Who has a rule keeps to it, and what others take away of ours is restored.
#[test]
fn among_others() {
    let Some(lab) = uplinks() else { return };
    // Made by hand, these take the priorities directly before the main table's.
    lab.host.ip(
        "rule add from 192.168.7.1 lookup 77; rule add from 192.168.8.1 lookup 77
         route add default via 10.0.1.2 dev wan1 table 77
         rule add from 192.168.9.1 lookup 77 priority 32764
         route add default via 10.0.1.2 dev wan1 table 5455 metric 5",
    );
    lab.host.ip("addr add 192.168.7.1/32 dev lo; addr add 192.168.8.1/32 dev lo; addr add 192.168.9.1/32 dev lo");
    let before = foreign(&lab.host);
    let daemon = lab.daemon(&format!("{ON}on-exit = remove\n"));
    ready(&lab, &daemon, 4);
    lab.unplug("wan1");
    let check = |step: &str| {
        expect(&lab, &daemon, 2);
        expect_rules(&lab, &daemon, 6);
        for source in ["192.168.7.1", "192.168.8.1", "192.168.9.1", "10.0.1.1"] {
            let taken = way(&lab.host, &format!("{FAR} from {source}"));
            assert!(taken.starts_with("dev wan1"), "{step}: {source} {taken}");
        }
        let way = way(&lab.host, "10.0.1.77");
        assert_eq!(way, "dev wan1 src 10.0.1.1", "{step}");
    };
    check("others first");
    assert_eq!(foreign(&lab.host), before);
    let routes = our_routes(&lab.host);
    assert!(routes.iter().all(|route| route.contains("table 5454")));
    for step in [
        "ip rule del priority 32765 proto 30",
        "ip rule del from 10.0.1.1 lookup main",
        "ip rule flush proto 30",
        "ip -6 rule flush proto 30",
        "ip route flush table 5454",
        "ip -6 route flush table 5454",
        "ip route replace default via 10.0.2.9 dev wan2 onlink table 5454 proto 30",
    ] {
        lab.host.out(step);
        let restored = || our_routes(&lab.host) == routes && our_rules(&lab.host).len() == 6;
        assert!(until(restored), "{step}\n{}", daemon.log());
        check(step);
    }
    // Somebody begins to use our table: we give way.
    lab.host
        .ip("route add default via 10.0.1.2 dev wan1 table 5454 metric 5");
    let moved = || {
        let routes = our_routes(&lab.host);
        routes.len() == 2 && routes.iter().all(|route| route.contains("table 5453"))
    };
    assert!(
        until(moved),
        "{:#?}\n{}",
        our_routes(&lab.host),
        daemon.log()
    );
    check("another table");
    lab.host.ip("route flush table 5454");
    daemon.stop();
    assert_eq!(
        (our_rules(&lab.host).len(), our_routes(&lab.host).len()),
        (0, 0)
    );
    assert_eq!(foreign(&lab.host), before);
}

/// The best by priority and then by metric; and whoever is better later.
#[test]
fn the_best_living_uplink() {
    let Some(lab) = uplinks() else { return };
    for n in [3, 4] {
        lab.wan(n);
        lab.wan6(n);
    }
    let config = format!("{ON}[interface wan4]\npriority = -1\n[interface wan2]\nuse = standby\n");
    let daemon = lab.daemon(&config);
    ready(&lab, &daemon, 6);
    lab.unplug("wan1");
    // By the main table alone it were wan2.
    expect(&lab, &daemon, 4);
    lab.unplug("wan4");
    expect(&lab, &daemon, 3);
    // The gateway of the uplink changes; its address does.
    lab.host
        .ip("route replace default via 10.0.3.9 dev wan3 metric 31");
    let default = |gateway: &str| {
        let default = format!("default via {gateway} dev wan3");
        our_routes(&lab.host)
            .iter()
            .any(|r| r.starts_with(&default))
    };
    assert!(until(|| default("10.0.3.9")));
    lab.host.ip(
        "addr add 10.0.33.1/24 dev wan3; route replace default via 10.0.33.2 dev wan3 metric 31
         addr del 10.0.3.1/24 dev wan3",
    );
    let moved = || way(&lab.host, FAR) == "dev wan3 src 10.0.33.1";
    assert!(
        until(moved),
        "{:#?}\n{}",
        our_routes(&lab.host),
        daemon.log()
    );
    lab.unplug("wan3");
    expect(&lab, &daemon, 2);
    lab.unplug("wan2");
    expect_rules(&lab, &daemon, 0);
    lab.plug("wan4");
    expect(&lab, &daemon, 4);
    // The route goes that leads to the dead uplink: there is nothing to steer.
    lab.host.ip(
        "route del default dev wan1 metric 11; route del ::/0 dev wan1 metric 11
         route del default dev wan2 metric 21; route del ::/0 dev wan2 metric 21
         route del default dev wan3 metric 31; route del ::/0 dev wan3 metric 31",
    );
    expect_rules(&lab, &daemon, 0);
    expect(&lab, &daemon, 4);
}

/// After a restart, and after an end that gave no time, what is there is kept without a change.
#[test]
fn what_is_left_behind_is_found_again() {
    let Some(lab) = uplinks() else { return };
    let daemon = lab.daemon(ON);
    ready(&lab, &daemon, 4);
    lab.unplug("wan1");
    expect(&lab, &daemon, 2);
    expect_rules(&lab, &daemon, 6);
    let before = (our_rules(&lab.host), our_routes(&lab.host));
    daemon.stop();
    assert_eq!((our_rules(&lab.host), our_routes(&lab.host)), before);
    let changes = Changes::start(&lab);
    for politely in [true, false] {
        let daemon = lab.daemon(ON);
        daemon.says(&["wan2: takes new connections off a dead uplink: ipv6"]);
        daemon.catch_up();
        match politely {
            true => daemon.stop(),
            false => daemon.kill(),
        }
    }
    assert_eq!((our_rules(&lab.host), our_routes(&lab.host)), before);
    assert!(!changes.heard().contains("lookup"), "{}", changes.heard());
    // Not needed any more, and not wanted.
    lab.plug("wan1");
    let daemon = lab.daemon(ON);
    expect_rules(&lab, &daemon, 0);
    lab.unplug("wan1");
    expect(&lab, &daemon, 2);
    daemon.kill();
    let daemon = lab.daemon("[core]\non-exit = remove\n");
    expect_rules(&lab, &daemon, 0);
    lab.reload(&daemon, &format!("{ON}on-exit = remove\n"));
    expect(&lab, &daemon, 2);
    daemon.stop();
    assert_eq!(
        (our_rules(&lab.host).len(), our_routes(&lab.host).len()),
        (0, 0)
    );
}

/// Uplinks without gateways, on either side.
#[test]
fn point_to_point_links() {
    let Some(lab) = uplinks() else { return };
    let Some(_tunnel) = Tunnel::ppp0(&lab) else {
        return;
    };
    lab.host.ip("link del wan2
         route add default dev ppp0 metric 50; route add ::/0 dev ppp0 metric 50");
    let daemon = lab.daemon(ON);
    ready(&lab, &daemon, 4);
    lab.unplug("wan1");
    let [four, six] = ["dev ppp0 src 10.0.0.1", "dev ppp0 src 2001:db8:5::1"];
    let steered = || way(&lab.host, FAR) == four && way(&lab.host, FAR6) == six;
    assert!(
        until(steered),
        "{:#?}\n{}",
        our_routes(&lab.host),
        daemon.log()
    );
    assert_eq!(connect(&lab, &lab.host, FAR), "10.0.0.1");
    assert_eq!(connect(&lab, &lab.host, FAR6), "2001:db8:5::1");
    lab.plug("wan1");
    expect(&lab, &daemon, 1);
    // And now the preferred one has no gateway.
    lab.host
        .ip("route add default dev ppp0 metric 5; route add ::/0 dev ppp0 metric 5");
    assert!(until(|| way(&lab.host, FAR) == four));
    assert_eq!(lab.execute(&["path", "ppp0", "down"]).0, Some(0));
    expect(&lab, &daemon, 1);
    for (far, bound) in [(FAR, "10.0.0.1"), (FAR6, "2001:db8:5::1")] {
        let taken = way(&lab.host, &format!("{far} from {bound}"));
        assert!(taken.starts_with("dev ppp0"), "{taken}");
    }
}

/// Two radios in the same network with the same gateway.
#[test]
fn two_uplinks_in_one_subnet() {
    let lab = lab!();
    if !lab
        .outside
        .run("ip link add br0 type bridge")
        .status
        .success()
    {
        return skip("bridge", "this kernel has no bridge");
    }
    lab.outside.ip(&format!(
        "link set br0 up; addr add 10.0.0.254/24 dev br0; addr add 2001:db8::254/64 dev br0
         addr add {FAR}/32 dev lo; addr add {FAR6}/128 dev lo"
    ));
    for n in [1, 2] {
        lab.link(&format!("wifi{n}"));
        lab.outside.ip(&format!("link set wifi{n} master br0"));
        lab.host.sysctl(&format!("ipv4/conf/wifi{n}/arp_ignore"), 1);
        lab.host.ip(&format!(
            "addr add 10.0.0.{n}/24 dev wifi{n}; addr add 2001:db8::{n}/64 dev wifi{n}
             route add default via 10.0.0.254 dev wifi{n} metric {n}
             route add ::/0 via 2001:db8::254 dev wifi{n} metric {n}"
        ));
    }
    let daemon = lab.daemon(ON);
    ready(&lab, &daemon, 4);
    let ways = |n: u8| {
        let wanted = [
            format!("dev wifi{n} src 10.0.0.{n}"),
            format!("dev wifi{n} src 2001:db8::{n}"),
        ];
        until(|| [FAR, FAR6].map(|far| way(&lab.host, far)) == wanted)
    };
    assert!(ways(1));
    lab.unplug("wifi1");
    assert!(ways(2), "{:#?}\n{}", our_rules(&lab.host), daemon.log());
    assert_eq!(connect(&lab, &lab.host, FAR), "10.0.0.2");
    assert_eq!(connect(&lab, &lab.host, FAR6), "2001:db8::2");
    lab.plug("wifi1");
    assert!(ways(1));
    expect_rules(&lab, &daemon, 0);
}
