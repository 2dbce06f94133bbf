// SPDX-License-Identifier: BSD-3-Clause
use super::*;
use crate::netlink::IfIndex;
use crate::netlink::route::{Address, Family, Hop, Link, Name, Notification, Route};
use crate::network::{IFF_RUNNING, Part};
use crate::time::{Duration, Instant};
use core::net::IpAddr;

const UP: u32 = IFF_UP | IFF_RUNNING;
const WAN: IfIndex = IfIndex(7);
const OTHER: IfIndex = IfIndex(8);
/// Seconds.
const HOLD_DOWN: u32 = 5;

/// One address of one interface, and the configuration: an uplink's unless a row changes it.
struct Case {
    address: &'static str,
    address_flags: u32,
    scope: u8,
    link_flags: u32,
    /// A stable address of the same prefix.
    neighbor: bool,
    neighbor_flags: u32,
    route: bool,
    /// Judged for the first time only when the daemon runs.
    late: bool,
    config: Config,
}

impl Case {
    fn new() -> Self {
        let mut config = Config::new::<crate::plugin::Entry>(&[]);
        config.default.policy.notify = NotifyFlags(0);
        config.default.policy.hold_down = 0;
        Self {
            address: "192.0.2.1",
            address_flags: 0,
            scope: 0,
            link_flags: UP,
            neighbor: false,
            neighbor_flags: 0,
            route: false,
            late: true,
            config,
        }
    }

    fn address(&self, local: &str) -> Notification {
        Notification::Address(Address {
            index: WAN,
            local: local.parse().unwrap(),
            peer: None,
            prefix_len: if self.address.contains(':') { 64 } else { 24 },
            flags: self.address_flags,
            scope: self.scope,
        })
    }

    /// The network after its first judgement, which finds a loopback interface alone if the
    /// case is late.
    fn network(&self) -> Network {
        let mut network = Network::new();
        if self.late {
            evaluate(&mut network, Instant(0), &self.config);
        }
        let link = Link {
            index: WAN,
            flags: self.link_flags,
            name: Name::try_from("wan").unwrap(),
            vrf_table: 0,
            tunnel: false,
        };
        network.apply(&Notification::Link(link), &self.config);
        network.apply(&self.address(self.address), &self.config);
        if self.neighbor {
            let stable = Self {
                address_flags: self.neighbor_flags,
                ..Self::new()
            };
            let Notification::Address(mut stable) = stable.address("2001:db8::2") else {
                unreachable!()
            };
            stable.prefix_len = 64;
            network.apply(&Notification::Address(stable), &self.config);
        }
        answer(&mut network, &self.config, self.route);
        network
    }

    /// What [`judge`] says of the address by itself.
    fn verdict(&self) -> Verdict {
        let network = self.network();
        let address = network.addresses().find(|a| a.address == self.ip());
        let interface = network.interface(WAN).unwrap();
        judge(address.unwrap(), interface, &network, &self.config)
    }

    fn ip(&self) -> IpAddr {
        self.address.parse().unwrap()
    }
}

/// Answers all questions: there is a default route, or there is none.
fn answer(network: &mut Network, config: &Config, there: bool) {
    let hop = Hop {
        oif: WAN,
        gateway: Some([192, 0, 2, 254].into()),
        flags: 0,
    };
    let route = Route {
        family: Family::Ipv4,
        table: 254,
        destination: None,
        destination_len: 0,
        source: None,
        source_len: 0,
        preferred_source: Some([192, 0, 2, 1].into()),
        metric: 0,
        protocol: 4,
        kind: 1,
        scope: 0,
        hops: [hop].into_iter().collect(),
    };
    network.doubt(&|_| true);
    while let Some(question) = network.next_question(config) {
        network.on_answer(&question, Some(Some(&route).filter(|_| there)), config);
    }
}

/// The verdict on an uplink's address that differs as `change` says.
fn verdict(change: fn(&mut Case)) -> Verdict {
    let mut case = Case::new();
    change(&mut case);
    case.verdict()
}

#[test]
fn each_cause_has_its_verdict() {
    const PRIVACY: &str = "2001:db8::1";
    type Row = (Verdict, &'static str, fn(&mut Case));
    let rows: &[Row] = &[
        (Verdict::Usable, "an uplink", |_| ()),
        (Verdict::NotAllowed, "use = no", |c| {
            c.config.default.policy.usage = Use::No;
        }),
        (Verdict::Family, "no IPv4", |c| {
            c.config.default.policy.ipv4 = false
        }),
        (Verdict::Family, "no IPv6", |c| {
            c.address = PRIVACY;
            c.config.default.policy.ipv6 = false;
        }),
        (Verdict::Loopback, "the device", |c| {
            c.link_flags |= IFF_LOOPBACK;
        }),
        (Verdict::Loopback, "the address", |c| {
            c.address = "127.0.0.2"
        }),
        (Verdict::Usable, "host scope", |c| c.scope = RT_SCOPE_HOST),
        (Verdict::Loopback, "host scope, skipped", |c| {
            c.scope = RT_SCOPE_HOST;
            c.config.default.policy.notify = NotifyFlags::SKIP_LOOPBACK;
        }),
        (Verdict::Down, "down", |c| c.link_flags = 0),
        (Verdict::NoCarrier, "no carrier", |c| c.link_flags = IFF_UP),
        (Verdict::Multicast, "multicast", |c| c.address = "224.0.0.1"),
        (Verdict::Multicast, "unspecified", |c| c.address = "0.0.0.0"),
        (Verdict::Usable, "link-local", |c| c.address = "169.254.0.1"),
        (Verdict::LinkLocal, "link-local, skipped", |c| {
            c.address = "169.254.0.1";
            c.config.default.policy.notify = NotifyFlags::SKIP_LINK_LOCAL;
        }),
        (Verdict::LinkLocal, "link-local IPv6, skipped", |c| {
            c.address = "fe80::1";
            c.config.default.policy.notify = NotifyFlags::SKIP_LINK_LOCAL;
        }),
        (Verdict::LinkLocal, "link scope, skipped", |c| {
            c.scope = RT_SCOPE_LINK;
            c.config.default.policy.notify = NotifyFlags::SKIP_LINK_LOCAL;
        }),
        (Verdict::DuplicateAddress, "duplicate, so tentative", |c| {
            c.address_flags = DADFAILED | TENTATIVE;
        }),
        (Verdict::Tentative, "tentative", |c| {
            c.address_flags = TENTATIVE
        }),
        (Verdict::Deprecated, "deprecated", |c| {
            c.address_flags = DEPRECATED;
        }),
        (Verdict::Usable, "IPv4's second address", |c| {
            c.address_flags = TEMPORARY;
            c.config.temporary_addresses = Temporary::No;
        }),
        (Verdict::Temporary, "temporary = no", |c| {
            (c.address, c.address_flags) = (PRIVACY, TEMPORARY);
            c.config.temporary_addresses = Temporary::No;
        }),
        (Verdict::Usable, "temporary, none stable", |c| {
            (c.address, c.address_flags) = (PRIVACY, TEMPORARY);
        }),
        (Verdict::Temporary, "temporary beside a stable one", |c| {
            (c.address, c.address_flags) = (PRIVACY, TEMPORARY);
            c.neighbor = true;
        }),
        (Verdict::Temporary, "temporary, stable tentative", |c| {
            (c.address, c.address_flags) = (PRIVACY, TEMPORARY);
            (c.neighbor, c.neighbor_flags) = (true, TENTATIVE);
        }),
        (Verdict::Usable, "temporary, stable a duplicate", |c| {
            (c.address, c.address_flags) = (PRIVACY, TEMPORARY);
            (c.neighbor, c.neighbor_flags) = (true, TENTATIVE | DADFAILED);
        }),
        (Verdict::Usable, "temporary = yes", |c| {
            (c.address, c.address_flags) = (PRIVACY, TEMPORARY);
            c.neighbor = true;
            c.config.temporary_addresses = Temporary::Yes;
        }),
        (Verdict::Existing, "older than the daemon", |c| {
            c.late = false
        }),
        (Verdict::Usable, "older, and wanted", |c| {
            c.late = false;
            c.config.default.policy.notify = NotifyFlags::EXISTING;
        }),
        (Verdict::NoRoute, "no route", |c| {
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
        }),
        (Verdict::Usable, "a route", |c| {
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
            c.route = true;
        }),
        (Verdict::Excluded, "among those excluded", |c| {
            c.config.default.addresses = crate::config::Prefixes::new("!192.0.2.0/24").unwrap();
        }),
        (Verdict::Alias, "in no gateway's subnet", |c| {
            (c.address, c.route) = ("198.51.100.1", true);
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
        }),
        (Verdict::Usable, "the same, link-local", |c| {
            (c.address, c.route) = ("169.254.0.1", true);
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
        }),
        (Verdict::Usable, "unique local alone", |c| {
            (c.address, c.route) = ("fd00::1", true);
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
        }),
        (Verdict::UniqueLocal, "beside a global one", |c| {
            (c.address, c.route, c.neighbor) = ("fd00::1", true, true);
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
        }),
        (Verdict::Usable, "unique local, as the world is", |c| {
            (c.address, c.route, c.neighbor) = ("fd00::1", true, true);
            c.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
            c.config.check_route_to = vec!["fd01::1".parse().unwrap()];
        }),
        (Verdict::Standby, "use = standby", |c| {
            c.config.default.policy.usage = Use::Standby;
        }),
    ];
    for (expected, name, change) in rows {
        assert_eq!(verdict(*change), *expected, "{name}");
    }
}

/// The verdicts that depend on time and on other addresses are the network's.
#[test]
fn gone_unjudged_hold_down_and_standby_are_given_by_the_network() {
    let mut case = Case::new();
    case.config.default.policy.hold_down = HOLD_DOWN;
    let mut network = case.network();
    let verdict = |network: &Network| network.addresses().next().map(|a| a.verdict);
    assert_eq!(verdict(&network), Some(Verdict::Unjudged));
    let now = Instant(1000);
    evaluate(&mut network, now, &case.config);
    assert_eq!(verdict(&network), Some(Verdict::HoldDown));
    let end = now + Duration::from_secs(HOLD_DOWN);
    assert_eq!(network.deadline(), end);
    evaluate(&mut network, Instant(end.0 - 1), &case.config);
    assert_eq!(verdict(&network), Some(Verdict::HoldDown));
    evaluate(&mut network, end, &case.config);
    assert_eq!(verdict(&network), Some(Verdict::Usable));
    network.begin(Part::Addresses);
    network.finish(Part::Addresses);
    evaluate(&mut network, end, &case.config);
    assert_eq!(verdict(&network), None);
    let gone = network.address_at(0).map(|a| a.verdict);
    assert_eq!(gone, Some(Verdict::Gone), "until plugins are told");
    network.sweep();
    assert!(network.address_at(0).is_none());
}

#[test]
fn standby_is_used_only_without_an_uplink() {
    let mut case = Case::new();
    case.config.default.policy.usage = Use::Standby;
    let mut network = case.network();
    evaluate(&mut network, Instant(0), &case.config);
    let verdict = |network: &Network| network.addresses().next().map(|a| a.verdict);
    assert_eq!(verdict(&network), Some(Verdict::Usable), "the only one");
    let standby = case.config.default.clone();
    case.config.default.policy.usage = Use::Yes;
    let section = crate::config::InterfaceSection {
        pattern: crate::config::Pattern::new("wan").unwrap(),
        settings: standby,
    };
    case.config.interface.push(section);
    let link = Link {
        index: OTHER,
        flags: UP,
        name: Name::try_from("uplink").unwrap(),
        vrf_table: 0,
        tunnel: false,
    };
    network.apply(&Notification::Link(link), &case.config);
    let Notification::Address(mut address) = case.address("198.51.100.1") else {
        unreachable!()
    };
    address.index = OTHER;
    network.apply(&Notification::Address(address), &case.config);
    evaluate(&mut network, Instant(0), &case.config);
    assert_eq!(verdict(&network), Some(Verdict::Standby));
    assert_eq!(network.usable().count(), 1);
}

/// And where one answers again, the others have a moment; hold-down is for what was not in use.
#[cfg(feature = "health")]
#[test]
fn where_none_answers_all_are_used() {
    let mut case = Case::new();
    case.config.default.policy.hold_down = HOLD_DOWN;
    let mut network = case.network();
    let all = ["192.0.2.1", "198.51.100.1"];
    network.apply(&case.address(all[1]), &case.config);
    let verdicts = |network: &mut Network, now: u64| {
        evaluate(network, Instant(now), &case.config);
        network.addresses().map(|a| a.verdict).collect::<Vec<_>>()
    };
    let set_dead = |network: &mut Network, at: usize, dead: bool| {
        assert!(network.set_dead(WAN, all[at].parse().unwrap(), dead));
    };
    use Verdict::{AllDead, Dead, Usable};
    verdicts(&mut network, 0);
    assert_eq!(verdicts(&mut network, 1_000_000), [Usable; 2]);
    set_dead(&mut network, 0, true);
    assert_eq!(verdicts(&mut network, 1_010_000), [Dead, Usable]);
    set_dead(&mut network, 1, true);
    assert_eq!(verdicts(&mut network, 1_020_000), [AllDead; 2]);
    assert_eq!(network.usable().count(), 2);
    assert_eq!(network.deadline(), Instant::NEVER);
    set_dead(&mut network, 0, false);
    assert_eq!(verdicts(&mut network, 1_091_000), [Usable, AllDead]);
    assert_eq!(network.deadline(), Instant(1_093_000));
    assert_eq!(verdicts(&mut network, 1_093_000), [Usable, Dead]);
}

/// An address in use outlives its route for a while, but neither its link nor its carrier.
#[test]
fn a_route_that_is_away_for_a_moment_is_missed_later() {
    let mut case = Case::new();
    case.config.default.policy.notify = NotifyFlags::CHECK_ROUTE;
    case.route = true;
    let verdict = |network: &Network| network.addresses().next().map(|a| a.verdict);
    let start = Instant(5000);
    let mut network = case.network();
    evaluate(&mut network, start, &case.config);
    assert_eq!(verdict(&network), Some(Verdict::Usable));
    for _ in 0..2 {
        answer(&mut network, &case.config, false);
        evaluate(&mut network, start, &case.config);
        assert_eq!(verdict(&network), Some(Verdict::Usable));
        let end = start + Duration::from_secs(case.config.route_grace);
        assert_eq!(network.deadline(), end);
        // It is back before the time is up, and away again after that.
        answer(&mut network, &case.config, true);
        evaluate(&mut network, Instant(end.0 - 1), &case.config);
        answer(&mut network, &case.config, false);
        evaluate(&mut network, end, &case.config);
        assert_eq!(verdict(&network), Some(Verdict::Usable));
        evaluate(&mut network, Instant(end.0 + 1000), &case.config);
        assert_eq!(verdict(&network), Some(Verdict::NoRoute));
        answer(&mut network, &case.config, true);
        evaluate(&mut network, start, &case.config);
    }
    // Without a carrier in between there is no grace.
    let link = |flags| {
        Notification::Link(Link {
            index: WAN,
            flags,
            name: Name::try_from("wan").unwrap(),
            vrf_table: 0,
            tunnel: false,
        })
    };
    network.apply(&link(IFF_UP), &case.config);
    network.apply(&link(UP), &case.config);
    answer(&mut network, &case.config, false);
    evaluate(&mut network, start, &case.config);
    assert_eq!(verdict(&network), Some(Verdict::NoRoute));
    // Nor where the configuration says so.
    answer(&mut network, &case.config, true);
    evaluate(&mut network, start, &case.config);
    case.config.route_grace = 0;
    answer(&mut network, &case.config, false);
    evaluate(&mut network, start, &case.config);
    assert_eq!(verdict(&network), Some(Verdict::NoRoute));
}
