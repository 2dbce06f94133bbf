// SPDX-License-Identifier: BSD-3-Clause
//! Steering: while the default route that new connections would take leaves by a dead uplink, they
//! leave by a living one.
//!
//! The living uplink's default route stands in a table of its own. The rules come directly before
//! the one for the main table, and after what others have at the same priority, so that whatever
//! has a rule keeps to it:
//!
//! ```text
//! lookup main suppress_prefixlength 0    the LAN, and all else that has its way
//! from ADDRESS lookup main               what is bound to the dead uplink by its address
//! from PREFIX lookup main                what has a default route for its source (IPv6)
//! lookup TABLE                           everything else
//! ```

use super::owned::{Owned, default_route, lookup};
use crate::netlink::IfIndex;
use crate::netlink::route::{Family, Rule};
use crate::network::route::{Gateway, Path, TABLE_MAIN, gateway};
use crate::network::{LocalAddress, Network, is_link_local};

/// Of the last rule; the main table's is 32766.
const PRIORITY: u32 = 32_765;

/// By which uplinks new connections are sent, by family: IPv4, IPv6.
#[derive(Default)]
pub(super) struct Steering {
    pub(super) by: [IfIndex; 2],
}

impl Steering {
    /// Wants what sends new connections by living uplinks, if they need it and there is a table.
    pub(super) fn want(&mut self, network: &Network, table: Option<u32>, owned: &mut Owned) {
        for (by, family) in self.by.iter_mut().zip([Family::Ipv4, Family::Ipv6]) {
            let table = table.filter(|_| network.is_stranded(family));
            let steered = table.and_then(|table| steer(network, family, table, owned));
            *by = steered.unwrap_or(IfIndex::NONE);
        }
    }
}

/// Returns the uplink that new connections of the family are sent by, if one lives and there is room
/// for all that it takes.
fn steer(network: &Network, family: Family, table: u32, owned: &mut Owned) -> Option<IfIndex> {
    let (address, gateway) = best(network, family)?;
    // IPv6 has its own order of source addresses, where the uplink has any.
    let names_source = family == Family::Ipv4 || address.index != address.holder;
    let default = Path {
        preferred_source: Some(address.address).filter(|_| names_source),
        ..default_route(address, gateway, table)
    };
    let main = lookup(family, PRIORITY - 1, TABLE_MAIN);
    let particular = Rule {
        suppress: Some(0),
        ..main
    };
    let is_bound = |a: &&LocalAddress| {
        Family::of(a.address) == family
            && !is_link_local(a.address)
            && network.is_dead(a.index, family)
    };
    let bound = network.addresses().filter(is_bound);
    let bound = bound.map(|a| (a.address, family.width()));
    let mut sources = bound.chain(network.routes().source_defaults(family));
    let all = owned.want_path(default)
        && owned.want_rule(particular)
        && sources.all(|source| {
            let source = Some(source);
            owned.want_rule(Rule { source, ..main })
        })
        && owned.want_rule(lookup(family, PRIORITY, table));
    all.then_some(address.index)
}

/// Returns the address of the living uplink that is preferred, and its gateway.
fn best(network: &Network, family: Family) -> Option<(&LocalAddress, Gateway)> {
    let of_family = |a: &&LocalAddress| Family::of(a.address) == family;
    let candidates = network.usable().filter(of_family).filter_map(|address| {
        let interface = network.interface(address.index)?;
        let gateway = gateway(address, interface, network)?;
        let routes = network.routes();
        let main = routes.main_defaults(address.index, &address.address);
        let metric = main.map(|path| path.metric).min().unwrap_or(u32::MAX);
        let rank = (interface.policy.priority, metric, address.sequence);
        (interface.vrf_table == 0).then_some((rank, (address, gateway)))
    });
    candidates
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, best)| best)
}
