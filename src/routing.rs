// SPDX-License-Identifier: BSD-3-Clause
//! Source routing: traffic from an uplink's address leaves by that uplink.
//!
//! Each interface with `source-routing` has a table with its default route and its addresses'
//! prefixes, and each usable address of it has three rules, in this order:
//!
//! ```text
//! from ADDRESS lookup TABLE suppress_prefixlength 0    neighbours, on this very interface
//! from ADDRESS lookup main suppress_prefixlength 0     the LAN, and all else that has its way
//! from ADDRESS lookup TABLE                            everything else, by the default route
//! ```
//!
//! With the last one alone, hosts on the LAN would not hear from the router's WAN address. All of
//! it carries our protocol number, by which a later run of the daemon knows it again.

mod attempts;

use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::IfIndex;
use crate::netlink::route::{Family, PROTOCOL, Rule};
use crate::network::route::{
    Action, Change, Gateway, Item, Path, Routes, TABLE_MAIN, TO_TABLE, gateway, prefix,
};
use crate::network::{Interface, LocalAddress, Network};
use crate::request::CommandId;
use crate::table::Table;
use crate::time::Instant;
use attempts::Attempts;
pub use attempts::Refused;

pub struct SourceRouter {
    /// What there should be; routes come before the rules that lead to them.
    wanted: Table<Item>,
    /// Interface and slot: which of the tables, and of the triples of priorities, it has.
    slots: Table<(IfIndex, u32)>,
    attempts: Attempts,
    unrouted: u32,
}

/// Rules for each address.
const RULES: u32 = 3;

impl Default for SourceRouter {
    fn default() -> Self {
        Self {
            wanted: Table::new(capacity::OWN_RULES + capacity::OWN_ROUTES),
            slots: Table::new(capacity::OWN_RULES),
            attempts: Attempts::default(),
            unrouted: 0,
        }
    }
}

impl SourceRouter {
    /// Returns how many addresses go without, because the ranges or our tables are too small.
    pub fn unrouted(&self) -> u32 {
        self.unrouted
    }

    /// Returns whether nothing is under way.
    pub fn is_at_rest(&self) -> bool {
        self.attempts.are_done()
    }

    /// Returns when a change may be tried again.
    pub fn deadline(&self) -> Instant {
        self.attempts.deadline()
    }

    /// Compares what should be with what is and gives the changes to `send`, which returns their
    /// number, or `None` when it takes no more for now: call again. Routes come before the rules
    /// that lead to them.
    pub fn reconcile(
        &mut self,
        now: Instant,
        network: &Network,
        config: &SourceRouting,
        send: &mut dyn FnMut(Change) -> Option<CommandId>,
    ) {
        self.want(network, config);
        let Self {
            wanted, attempts, ..
        } = self;
        attempts.begin();
        let mut room = true;
        let mut need = |action, item| {
            let change = Change { action, item };
            room = room && attempts.attempt(now, change, send);
        };
        let routes = network.routes();
        for item in wanted.iter().filter(|item| !has(routes, item)) {
            let replaces = routes.ours().any(|have| is_at(item, have));
            need(
                if replaces {
                    Action::Replace
                } else {
                    Action::Add
                },
                *item,
            );
        }
        each_of_ours(routes, &mut |have| {
            // A route that is replaced goes by itself.
            let stays = |item: &Item| match &have {
                Item::Rule(_) => *item == have,
                Item::Route(path) => is_at(item, path),
            };
            if !wanted.iter().any(stays) {
                need(Action::Delete, have);
            }
        });
        attempts.finish(now);
    }

    /// Takes away everything that is ours, and what we have asked for and not seen yet; rules
    /// before the routes they lead to.
    pub fn remove_all(&self, network: &Network, send: &mut dyn FnMut(Change)) {
        let routes = network.routes();
        for rules in [true, false] {
            let mut remove = |item| {
                if matches!(item, Item::Rule(_)) == rules {
                    let action = Action::Delete;
                    send(Change { action, item });
                }
            };
            each_of_ours(routes, &mut remove);
            for change in self.attempts.unrefused() {
                if change.action != Action::Delete && !has(routes, &change.item) {
                    remove(change.item);
                }
            }
        }
    }

    /// The kernel refused. Returns `None` if the command was not one of ours.
    pub fn failed(&mut self, command: CommandId, errno: i32) -> Option<Refused<'_>> {
        self.attempts.refused(command, errno)
    }

    /// Lets refused changes try again at once, because something changed.
    pub fn retry_now(&mut self) {
        self.attempts.retry_now();
    }

    fn want(&mut self, network: &Network, config: &SourceRouting) {
        self.wanted.clear();
        self.unrouted = 0;
        // A table is given back when nothing uses it, lest another interface go without.
        self.slots.retain(|(index, slot)| {
            let interface = network.interface(*index);
            interface.is_some_and(Interface::is_source_routed)
                && network.usable().any(|a| a.index == *index)
                && is_free(*slot, network, config)
        });
        for address in network.usable() {
            let Some(interface) = network.interface(address.index) else {
                continue;
            };
            if !interface.is_source_routed() || is_elsewhere(address, network) {
                continue;
            }
            let Some(gateway) = gateway(address, interface, network) else {
                continue;
            };
            let slot = self.slot_of(interface.index, network, config);
            let is_routed = slot.is_some_and(|slot| {
                self.want_paths(address, gateway, config.first_table + slot)
                    && self.want_rules(address, slot, config)
            });
            self.unrouted += u32::from(!is_routed);
        }
    }

    fn want_rules(&mut self, address: &LocalAddress, slot: u32, config: &SourceRouting) -> bool {
        let priority = config.first_priority + RULES * slot;
        let table = config.first_table + slot;
        let last = Rule {
            family: Family::of(address.address),
            priority: priority + 2,
            table,
            source: Some((address.address, width(address))),
            action: TO_TABLE,
            protocol: PROTOCOL,
            suppress: None,
            unmarked: true,
        };
        let particular = Rule {
            suppress: Some(0),
            ..last
        };
        let rules = [
            Rule {
                priority,
                ..particular
            },
            Rule {
                priority: priority + 1,
                table: TABLE_MAIN,
                ..particular
            },
            last,
        ];
        // An address may be there with several prefixes.
        self.wanted.contains(&Item::Rule(last))
            || rules.iter().all(|rule| self.wanted.push(Item::Rule(*rule)))
    }

    fn want_paths(&mut self, address: &LocalAddress, gateway: Gateway, table: u32) -> bool {
        let family = Family::of(address.address);
        let path = Path {
            family,
            table,
            destination: None,
            destination_len: 0,
            source: None,
            preferred_source: None,
            metric: metric(family),
            oif: address.index,
            gateway: None,
            ours: true,
        };
        let router = match gateway {
            Gateway::Router(router) => Some(router),
            Gateway::OnLink => None,
        };
        let default = Path {
            gateway: router,
            ..path
        };
        let len = address.prefix_len;
        // On a point-to-point link the prefix is the peer's.
        let neighbour = address.peer.unwrap_or(address.address);
        let connected = Path {
            destination: Some(prefix(&neighbour, len)),
            destination_len: len,
            ..path
        };
        let has_prefix = len > 0 && len < width(address);
        self.want_path(default) && (!has_prefix || self.want_path(connected))
    }

    fn want_path(&mut self, path: Path) -> bool {
        self.wanted.iter().any(|known| is_at(known, &path)) || self.wanted.push(Item::Route(path))
    }

    /// Returns the interface's slot: the one of its index where that is free, so that it is the
    /// same one after a restart. One that somebody else begins to use is given up.
    fn slot_of(
        &mut self,
        index: IfIndex,
        network: &Network,
        config: &SourceRouting,
    ) -> Option<u32> {
        if let Some((_, slot)) = self.slots.iter().find(|(known, _)| *known == index) {
            return Some(*slot);
        }
        let count = slots(config);
        let taken = |slot: u32| self.slots.iter().any(|(_, other)| *other == slot);
        let slot = (0..count)
            .map(|step| (index.0 % count + step) % count)
            .find(|slot| !taken(*slot) && is_free(*slot, network, config))?;
        self.slots.push((index, slot)).then_some(slot)
    }
}

/// Returns whether the kernel has it.
fn has(routes: &Routes, item: &Item) -> bool {
    match item {
        Item::Rule(rule) => routes.our_rules().any(|have| have == rule),
        Item::Route(path) => routes.ours().any(|have| have == path),
    }
}

/// Returns whether it is a route that the kernel takes for this one.
fn is_at(item: &Item, path: &Path) -> bool {
    matches!(item, Item::Route(route) if route.has_place(path))
}

/// What the kernel has of ours, rules first.
fn each_of_ours(routes: &Routes, each: &mut dyn FnMut(Item)) {
    routes.our_rules().for_each(|rule| each(Item::Rule(*rule)));
    routes.ours().for_each(|path| each(Item::Route(*path)));
}

/// Returns how many interfaces the ranges are enough for.
fn slots(config: &SourceRouting) -> u32 {
    let tables = config.last_table.saturating_sub(config.first_table);
    let priorities = config.last_priority.saturating_sub(config.first_priority);
    (tables.saturating_add(1)).min(priorities.saturating_add(1) / RULES)
}

/// Returns whether the slot lies in the ranges and nobody else uses its table or its priorities.
fn is_free(slot: u32, network: &Network, config: &SourceRouting) -> bool {
    let routes = network.routes();
    slot < slots(config)
        && !routes.is_taken(config.first_table + slot)
        && !(0..RULES)
            .any(|rule| routes.is_priority_taken(config.first_priority + RULES * slot + rule))
}

/// Returns whether the address has its endpoint on another interface that carries it too.
fn is_elsewhere(address: &LocalAddress, network: &Network) -> bool {
    let carriers = network
        .usable()
        .filter(|other| other.address == address.address);
    let first = carriers.min_by_key(|other| {
        let carrier = network.interface(other.index);
        (carrier.map(|c| c.policy.priority), other.sequence)
    });
    first.is_some_and(|first| first.index != address.index)
}

/// Bits of the address.
fn width(address: &LocalAddress) -> u8 {
    if address.address.is_ipv4() { 32 } else { 128 }
}

/// Returns the metric that the kernel gives routes without one.
fn metric(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::netlink::route::{Address, Hop, Link, Name, Notification, Route};
    use crate::network::{IFF_RUNNING, IFF_UP, Part};

    const NOW: Instant = Instant(1000);

    /// An uplink at 192.0.2.1/24 with a gateway.
    fn uplink() -> (Network, Config) {
        let mut config = Config::new::<crate::plugin::Entry>(&[]);
        config.default.source_routing = true;
        let mut network = Network::new();
        let link = Link {
            index: IfIndex(7),
            flags: IFF_UP | IFF_RUNNING,
            name: Name::try_from("wan").unwrap(),
            vrf_table: 0,
        };
        let address = Address {
            index: IfIndex(7),
            local: [192, 0, 2, 1].into(),
            peer: None,
            prefix_len: 24,
            flags: 0,
            scope: 0,
        };
        network.apply(&Notification::Link(link), &config);
        network.apply(&Notification::Address(address), &config);
        show(&mut network, &config, &[route(TABLE_MAIN, 4, 254)]);
        let way = route(TABLE_MAIN, 4, 254);
        while let Some(question) = network.next_question(&config) {
            network.on_answer(&question, Some(Some(&way)), &config);
        }
        crate::policy::evaluate(&mut network, NOW, &config);
        (network, config)
    }

    fn route(table: u32, protocol: u8, gateway: u8) -> Route {
        let mut hops = heapless::Vec::new();
        let hop = Hop {
            oif: IfIndex(7),
            gateway: Some([192, 0, 2, gateway].into()),
            flags: 0,
        };
        hops.push(hop).unwrap();
        Route {
            family: Family::Ipv4,
            table,
            destination: None,
            destination_len: 0,
            source: None,
            source_len: 0,
            preferred_source: None,
            metric: 0,
            protocol,
            kind: 1,
            scope: 0,
            hops,
        }
    }

    /// A dump of the routes that shows these.
    fn show(network: &mut Network, config: &Config, routes: &[Route]) {
        network.begin(Part::Routes(Family::Ipv4));
        for route in routes {
            network.apply(&Notification::Route(route.clone()), config);
        }
        network.finish(Part::Routes(Family::Ipv4));
    }

    /// Returns what the router asks for, numbered from 1.
    fn ask(
        router: &mut SourceRouter,
        now: Instant,
        network: &Network,
        config: &Config,
    ) -> Vec<Change> {
        let mut asked = Vec::new();
        router.reconcile(now, network, &config.source_routing, &mut |change| {
            asked.push(change);
            u32::try_from(asked.len()).ok().map(CommandId)
        });
        asked
    }

    #[test]
    fn routes_come_before_the_rules_that_lead_to_them() {
        let (network, config) = uplink();
        let changes = ask(&mut SourceRouter::default(), NOW, &network, &config);
        let text: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "route default via 192.0.2.254 table 5207",
                "route 192.0.2.0/24 table 5207",
                "rule 5221: from 192.0.2.1 lookup 5207 suppress_prefixlength 0",
                "rule 5222: from 192.0.2.1 lookup 254 suppress_prefixlength 0",
                "rule 5223: from 192.0.2.1 lookup 5207",
            ]
        );
        assert!(changes.iter().all(|change| change.action == Action::Add));
    }

    #[test]
    fn what_was_asked_for_and_not_seen_is_taken_away() {
        let (network, config) = uplink();
        let mut router = SourceRouter::default();
        let added = ask(&mut router, NOW, &network, &config);
        router.failed(CommandId(4), 1);
        let mut removed = Vec::new();
        router.remove_all(&network, &mut |change| removed.push(change));
        let of = |change: &Change| Change {
            action: Action::Delete,
            ..*change
        };
        let mut wanted: Vec<_> = added.iter().map(of).collect();
        // What was refused is not there; rules go first.
        wanted.remove(3);
        wanted.rotate_left(2);
        assert_eq!(removed, wanted);
    }

    #[test]
    fn what_is_refused_waits_and_holds_up_nothing_else() {
        let (mut network, config) = uplink();
        let mut router = SourceRouter::default();
        ask(&mut router, NOW, &network, &config);
        let refused = router.failed(CommandId(1), 17).expect("ours");
        assert!(refused.news && !refused.gone);
        assert!(
            router
                .failed(CommandId(1), 17)
                .is_some_and(|again| !again.news)
        );
        assert!(router.failed(CommandId(99), 17).is_none());
        // Neither that nor what is not seen yet is asked for again at once, ...
        assert_eq!(ask(&mut router, NOW, &network, &config), []);
        let retry_at = router.deadline();
        assert!(retry_at > NOW);
        // ... another gateway is, ...
        show(&mut network, &config, &[route(TABLE_MAIN, 4, 253)]);
        let asked = ask(&mut router, NOW, &network, &config);
        assert_eq!(asked.len(), 1);
        assert!(asked[0].to_string().contains("192.0.2.253"));
        // ... and all of it is, later: less and less often.
        let again = ask(&mut router, retry_at, &network, &config).len();
        assert_eq!(again, 5);
        assert_eq!(ask(&mut router, retry_at, &network, &config), []);
        let second = router.deadline();
        assert!(second.0 - retry_at.0 > retry_at.0 - NOW.0);
    }

    #[test]
    fn a_table_that_somebody_else_begins_to_use_is_given_up() {
        let (mut network, config) = uplink();
        let mut router = SourceRouter::default();
        let before = ask(&mut router, NOW, &network, &config);
        let main = route(TABLE_MAIN, 4, 254);
        let theirs = Route {
            metric: 9,
            ..route(5207, 4, 1)
        };
        let ours = Route {
            protocol: PROTOCOL,
            ..route(5207, 4, 254)
        };
        show(&mut network, &config, &[main, theirs, ours]);
        let after = ask(&mut router, NOW, &network, &config);
        assert_eq!(after.len(), before.len() + 1);
        assert!(after[0].to_string().ends_with("table 5208"));
        let last = after[after.len() - 1];
        assert_eq!(last.action, Action::Delete);
        assert!(matches!(last.item, Item::Route(path) if path.table == 5207 && path.ours));
    }
}
