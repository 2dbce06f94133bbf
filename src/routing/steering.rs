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
use crate::netlink::route::Family;
use crate::network::route::{Gateway, TABLE_MAIN, gateway};
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
    let mut default = default_route(address, gateway, table);
    if names_source {
        default.preferred_source = Some(address.address);
    }
    let mut main = lookup(family, PRIORITY - 1, TABLE_MAIN);
    main.suppress = Some(0);
    if !owned.want_path(&default) || !owned.want_rule(&main) {
        return None;
    }
    main.suppress = None;
    let is_bound = |a: &&LocalAddress| {
        Family::of(a.address) == family
            && !is_link_local(a.address)
            && network.is_dead(a.index, family)
    };
    let bound = network.addresses().filter(is_bound);
    let bound = bound.map(|a| (a.address, family.width()));
    let mut sources = bound.chain(network.routes().source_defaults(family));
    let all = sources.all(|source| {
        main.source = Some(source);
        owned.want_rule(&main)
    });
    (all && owned.want_rule(&lookup(family, PRIORITY, table))).then_some(address.index)
}

/// Returns the address of the living uplink that is preferred, and its gateway.
fn best(network: &Network, family: Family) -> Option<(&LocalAddress, Gateway)> {
    let (mut best, mut least) = (None, (i64::MAX, u32::MAX));
    for address in network.usable() {
        let interface = network.interface(address.index);
        let Some(interface) = interface.filter(|i| i.vrf_table == 0) else {
            continue;
        };
        if Family::of(address.address) != family {
            continue;
        }
        let Some(gateway) = gateway(address, interface, network) else {
            continue;
        };
        let mut metric = u32::MAX;
        for path in (network.routes()).main_defaults(address.index, &address.address) {
            metric = metric.min(path.metric);
        }
        let rank = i64::from(interface.policy.priority) << 32 | i64::from(metric);
        if (rank, address.sequence) < least {
            (best, least) = (Some((address, gateway)), (rank, address.sequence));
        }
    }
    best
}
