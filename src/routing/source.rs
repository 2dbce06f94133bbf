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
//! With the last one alone, hosts on the LAN would not hear from the router's WAN address.

use super::owned::Owned;
use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::IfIndex;
use crate::netlink::route::{Family, PROTOCOL, Rule};
use crate::network::route::{Gateway, Path, TABLE_MAIN, TO_TABLE, gateway, prefix};
use crate::network::{Interface, LocalAddress, Network};
use crate::table::Table;

pub(super) struct SourceRouter {
    /// Interface and slot: which of the tables, and of the triples of priorities, it has.
    slots: Table<(IfIndex, u32)>,
    /// How many addresses go without, because the ranges or our tables are too small.
    pub(super) unrouted: u32,
}

/// Rules for each address.
const RULES: u32 = 3;

impl Default for SourceRouter {
    fn default() -> Self {
        Self {
            slots: Table::new(capacity::OWN_RULES),
            unrouted: 0,
        }
    }
}

impl SourceRouter {
    /// Wants what the addresses in use need.
    pub(super) fn want(&mut self, network: &Network, config: &SourceRouting, owned: &mut Owned) {
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
                want_paths(address, gateway, config.first_table + slot, owned)
                    && want_rules(address, slot, config, owned)
            });
            self.unrouted += u32::from(!is_routed);
        }
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

fn want_rules(
    address: &LocalAddress,
    slot: u32,
    config: &SourceRouting,
    owned: &mut Owned,
) -> bool {
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
    // An address may be there with several prefixes, and has its rules once.
    rules.iter().all(|rule| owned.want_rule(*rule))
}

fn want_paths(address: &LocalAddress, gateway: Gateway, table: u32, owned: &mut Owned) -> bool {
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
    owned.want_path(default) && (!has_prefix || owned.want_path(connected))
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
