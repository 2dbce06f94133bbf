// SPDX-License-Identifier: BSD-3-Clause
//! Source routing: traffic from an uplink's address leaves by that uplink.
//!
//! Each gateway of an interface with `source-routing` has a table with its default route and its
//! addresses' prefixes, one for IPv4 and IPv6 together, and each usable address has three rules, in
//! this order:
//!
//! ```text
//! from ADDRESS lookup TABLE suppress_prefixlength 0    neighbours, on this very interface
//! from ADDRESS lookup main suppress_prefixlength 0     the LAN, and all else that has its way
//! from ADDRESS lookup TABLE                            everything else, by the default route
//! ```
//!
//! With the last one alone, hosts on the LAN would not hear from the router's WAN address. Where a
//! rule of others sends an address's traffic out by its uplink, there are none of ours.

use super::owned::{Owned, default_route, lookup};
use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::IfIndex;
use crate::netlink::prefix::prefix;
use crate::netlink::route::{Family, Rule};
use crate::network::route::{Gateway, TABLE_MAIN, gateway};
use crate::network::{Interface, LocalAddress, Network};
use crate::table::Table;

pub(super) struct SourceRouter {
    leases: Table<Lease>,
    /// How many addresses go without, because the ranges or our tables are too small.
    pub(super) unrouted: u32,
}

/// Which of the tables, and of the triples of priorities, a gateway has.
struct Lease {
    interface: IfIndex,
    family: Family,
    gateway: Gateway,
    slot: u32,
    /// An address uses it.
    claimed: bool,
}

/// Rules for each address.
const RULES: u32 = 3;

impl Default for SourceRouter {
    fn default() -> Self {
        Self {
            leases: Table::new(capacity::OWN_RULES),
            unrouted: 0,
        }
    }
}

impl SourceRouter {
    /// Wants what the addresses in use need.
    pub(super) fn want(&mut self, network: &Network, config: &SourceRouting, owned: &mut Owned) {
        self.lease(network, config);
        let mut unrouted = 0;
        each_source(network, &mut |address, gateway| {
            let slot = self.lease_of(address, gateway).map(|lease| lease.slot);
            let is_routed = slot.is_some_and(|slot| {
                want_paths(address, gateway, config.first_table + slot, owned)
                    && want_rules(address, slot, config, owned)
            });
            unrouted += u32::from(!is_routed);
        });
        self.unrouted = unrouted;
    }

    /// Gives each gateway in use a slot, so far as there are enough.
    fn lease(&mut self, network: &Network, config: &SourceRouting) {
        self.leases.retain(|lease| {
            lease.claimed = false;
            let interface = network.interface(lease.interface);
            interface.is_some_and(Interface::is_source_routed)
                && is_free(lease.slot, network, config)
        });
        // Who has a table keeps it, before a gateway that is new takes over one that is not used.
        each_source(network, &mut |address, gateway| {
            if let Some(lease) = self.lease_of(address, gateway) {
                lease.claimed = true;
            }
        });
        loop {
            let mut lacking = false;
            each_source(network, &mut |address, gateway| {
                lacking |= !self.claim(address, gateway, network, config);
            });
            // A table is given back when nothing uses it, lest another gateway go without.
            let leased = self.leases.len();
            self.leases.retain(|lease| lease.claimed);
            if !lacking || self.leases.len() == leased {
                return;
            }
        }
    }

    fn lease_of(&mut self, address: &LocalAddress, gateway: Gateway) -> Option<&mut Lease> {
        let key = (address.index, Family::of(address.address), gateway);
        let mut leases = self.leases.iter_mut();
        leases.find(|lease| (lease.interface, lease.family, lease.gateway) == key)
    }

    /// Claims a slot for a gateway: for the first one that of the interface's index where that is
    /// free, so that it is the same one after a restart. One that somebody else begins to use is given
    /// up. Returns whether there is one.
    fn claim(
        &mut self,
        address: &LocalAddress,
        gateway: Gateway,
        network: &Network,
        config: &SourceRouting,
    ) -> bool {
        if self.lease_of(address, gateway).is_some() {
            return true;
        }
        let (interface, family) = (address.index, Family::of(address.address));
        let of_family = |lease: &Lease| (lease.interface, lease.family) == (interface, family);
        let mut leases = self.leases.iter_mut();
        if let Some(lease) = leases.find(|lease| of_family(lease) && !lease.claimed) {
            (lease.gateway, lease.claimed) = (gateway, true);
            return true;
        }
        let leases = &self.leases;
        let has_family = |slot: u32| leases.iter().any(|l| of_family(l) && l.slot == slot);
        let mut of_other = leases.iter().filter(|lease| lease.interface == interface);
        let shared = of_other.find(|lease| !has_family(lease.slot));
        let count = slots(config);
        let is_leased = |slot: u32| leases.iter().any(|lease| lease.slot == slot);
        let slot = shared.map(|lease| lease.slot).or_else(|| {
            (0..count)
                .map(|step| (interface.0 % count + step) % count)
                .find(|slot| !is_leased(*slot) && is_free(*slot, network, config))
        });
        slot.is_some_and(|slot| {
            self.leases.push(Lease {
                interface,
                family,
                gateway,
                slot,
                claimed: true,
            })
        })
    }
}

/// Hands over each address that is to be source-routed, with its gateway.
fn each_source(network: &Network, each: &mut dyn FnMut(&LocalAddress, Gateway)) {
    for address in network.usable() {
        let interface = network.interface(address.index);
        let Some(interface) = interface.filter(|interface| interface.is_source_routed()) else {
            continue;
        };
        if address.is_led_by_rule() || is_elsewhere(address, network) {
            continue;
        }
        if let Some(gateway) = gateway(address, interface, network) {
            each(address, gateway);
        }
    }
}

fn want_rules(
    address: &LocalAddress,
    slot: u32,
    config: &SourceRouting,
    owned: &mut Owned,
) -> bool {
    let first = config.first_priority + RULES * slot;
    let table = config.first_table + slot;
    let family = Family::of(address.address);
    let rules = [(table, Some(0)), (TABLE_MAIN, Some(0)), (table, None)];
    // An address may be there with several prefixes, and has its rules once.
    (first..).zip(rules).all(|(priority, (table, suppress))| {
        owned.want_rule(&Rule {
            source: Some((address.address, family.width())),
            suppress,
            ..lookup(family, priority, table)
        })
    })
}

fn want_paths(address: &LocalAddress, gateway: Gateway, table: u32, owned: &mut Owned) -> bool {
    let mut path = default_route(address, gateway, table);
    let len = address.prefix_len;
    if !owned.want_path(&path) {
        return false;
    }
    // On a point-to-point link the prefix is the peer's.
    let neighbour = address.peer.unwrap_or(address.address);
    path.destination = Some(prefix(&neighbour, len));
    path.destination_len = len;
    path.gateway = None;
    len == 0 || len >= path.family.width() || owned.want_path(&path)
}

/// Returns how many gateways the ranges are enough for.
fn slots(config: &SourceRouting) -> u32 {
    let count = |first: u32, last: u32| last.saturating_add(1).saturating_sub(first);
    let tables = count(config.first_table, config.last_table);
    tables.min(count(config.first_priority, config.last_priority) / RULES)
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
    let (mut first, mut least) = (address.index, i64::MAX);
    for other in network.usable().filter(|a| a.address == address.address) {
        let priority = network.interface(other.index).map(|i| i.policy.priority);
        let rank = i64::from(priority.unwrap_or(i8::MIN)) << 32 | i64::from(other.sequence);
        if rank < least {
            (first, least) = (other.index, rank);
        }
    }
    first != address.index
}
