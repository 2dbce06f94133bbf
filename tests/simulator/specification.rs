//! What the kernel should have in the end, computed from the network and the configuration alone.
//! Written from the documentation, apart from `policy.rs`, `endpoint/` and `routing.rs`.

use core::net::IpAddr;
use std::collections::BTreeMap;

use mptcpd::config::{NotifyFlags, Policy, Temporary, Use};
use mptcpd::netlink::mptcp::EndpointFlags;
use mptcpd::netlink::route::{Address, Family, Link, PROTOCOL, Route};
use mptcpd::network::route::TABLE_MAIN;

use super::Simulation;
use super::kernel::{Kernel, Maker};

/// An address that should be an endpoint, and the links that carry it.
struct Want {
    address: IpAddr,
    port: u16,
    /// Priority, interface and flags.
    carriers: Vec<(i8, u32, u32)>,
}

/// Compares the kernel with what it should have.
pub fn check(simulation: &Simulation) -> Result<(), String> {
    let usable = usable(simulation);
    endpoints(simulation, &usable)?;
    source_routing(simulation, &usable)
}

fn endpoints(simulation: &Simulation, usable: &[(&Address, &Link)]) -> Result<(), String> {
    let kernel = &simulation.kernel;
    let mut wants: Vec<Want> = Vec::new();
    for (address, link) in usable {
        let policy = simulation.config().policy(&link.name);
        let carrier = (policy.priority, link.index, policy.flags.0 & kernel.known);
        let same = |w: &&mut Want| w.address == address.local && w.port == policy.port;
        match wants.iter_mut().find(same) {
            Some(want) => want.carriers.push(carrier),
            None => wants.push(Want {
                address: address.local,
                port: policy.port,
                carriers: vec![carrier],
            }),
        }
    }
    for want in &mut wants {
        let best = want.carriers.iter().map(|c| c.0).min();
        want.carriers.retain(|c| Some(c.0) == best);
    }
    let by = |maker| {
        let all = kernel.endpoints.iter();
        all.filter(move |(_, m)| *m == maker).map(|(e, _)| e)
    };
    let at = |w: &Want, maker| by(maker).find(|e| e.address == w.address && e.port == w.port);
    for endpoint in by(Maker::Daemon) {
        let same = |w: &&Want| w.address == endpoint.address && w.port == endpoint.port;
        let Some(want) = wants.iter().find(same) else {
            return Err(format!("nobody wants {endpoint:?}"));
        };
        let of = (endpoint.ifindex, endpoint.flags.0);
        if !want.carriers.iter().any(|c| (c.1, c.2) == of) {
            return Err(format!("{endpoint:?} should be one of {:?}", want.carriers));
        }
    }
    let in_wants = wants
        .iter()
        .filter(|w| at(w, Maker::Other).is_none_or(|e| e.flags.contains(EndpointFlags::IMPLICIT)));
    let (have, lack): (Vec<_>, Vec<_>) = in_wants.partition(|w| at(w, Maker::Daemon).is_some());
    let full = kernel.endpoints.len() >= kernel.room;
    if let Some(want) = lack.iter().min_by_key(|w| w.carriers[0].0) {
        if !full {
            return Err(format!("{} is missing", want.address));
        }
        let worst = have.iter().max_by_key(|w| w.carriers[0].0);
        if worst.is_some_and(|worst| worst.carriers[0].0 > want.carriers[0].0) {
            return Err(format!("{} should go first", want.address));
        }
    }
    limits(simulation, wants.len() - lack.len())
}

fn limits(simulation: &Simulation, endpoints: usize) -> Result<(), String> {
    let kernel = &simulation.kernel;
    let subflows = kernel.limits.subflows;
    let enough = u32::try_from(endpoints + 2).unwrap().min(kernel.most);
    let right = match simulation.config().limit_subflows {
        Some(fixed) => subflows == fixed,
        None if simulation.limits_meddled => subflows >= enough,
        None => subflows == enough,
    };
    if right {
        return Ok(());
    }
    Err(format!(
        "limit of {subflows} subflows for {endpoints} endpoints"
    ))
}

/// The addresses that may be used.
fn usable(simulation: &Simulation) -> Vec<(&Address, &Link)> {
    let kernel = &simulation.kernel;
    let policy = |link: &Link| simulation.config().policy(&link.name);
    let mut fit: Vec<_> = kernel
        .addresses
        .iter()
        .filter_map(|a| Some((a, kernel.links.iter().find(|l| l.index == a.index)?)))
        .filter(|(a, l)| is_fit(simulation, a, l, policy(l)))
        .collect();
    let is_standby = |link: &Link| policy(link).usage == Use::Standby;
    if fit.iter().any(|(_, link)| !is_standby(link)) {
        fit.retain(|(_, link)| !is_standby(link));
    }
    fit
}

fn is_fit(simulation: &Simulation, address: &Address, link: &Link, policy: &Policy) -> bool {
    let (kernel, config) = (&simulation.kernel, simulation.config());
    let ip = address.local;
    let flag = |bit: u32| address.flags & bit != 0;
    // IFF_UP and IFF_RUNNING, not IFF_LOOPBACK.
    let up = link.flags & 0x49 == 0x41;
    let (family, link_local) = match ip {
        IpAddr::V4(ip) => (policy.ipv4, ip.octets()[..2] == [169, 254]),
        IpAddr::V6(ip) => (policy.ipv6, ip.segments()[0] & 0xffc0 == 0xfe80),
    };
    let stable = |other: &&Address| {
        other.index == address.index
            && other.flags & 0x69 == 0
            && other.local.is_ipv6()
            && network(other.local, address.prefix_len) == network(ip, address.prefix_len)
    };
    let temporary = match config.temporary_addresses {
        Temporary::Yes => true,
        Temporary::No => false,
        Temporary::Fallback => !kernel.addresses.iter().any(|other| stable(&other)),
    };
    let skips = |what| policy.notify.contains(what);
    up && policy.usage != Use::No
        && family
        && !ip.is_loopback()
        && !(link_local && skips(NotifyFlags::SKIP_LINK_LOCAL))
        // Tentative, failed duplicate address detection, deprecated.
        && !flag(0x40 | 0x08 | 0x20)
        && (ip.is_ipv4() || !flag(0x01) || temporary)
        && (!skips(NotifyFlags::CHECK_ROUTE)
            || has_route(kernel, link, ip)
            || (policy.source_routing && has_gateway(kernel, link, Family::of(ip))))
}

fn defaults(kernel: &Kernel, index: u32, family: Family) -> impl Iterator<Item = &Route> {
    kernel.routes.iter().filter(move |r| {
        r.protocol != PROTOCOL
            && r.family == family
            && r.destination_len == 0
            && r.hops.iter().any(|hop| hop.oif == index)
    })
}

fn has_route(kernel: &Kernel, link: &Link, source: IpAddr) -> bool {
    defaults(kernel, link.index, Family::of(source)).any(|route| {
        let selects = |rule: &mptcpd::netlink::route::Rule| {
            rule.table == route.table && rule.source.is_some_and(|(ip, _)| ip == source)
        };
        [TABLE_MAIN, 253].contains(&route.table)
            || (link.vrf_table != 0 && route.table == link.vrf_table)
            || kernel.rules.iter().any(selects)
    })
}

fn main_table(link: &Link) -> u32 {
    match link.vrf_table {
        0 => TABLE_MAIN,
        table => table,
    }
}

fn has_gateway(kernel: &Kernel, link: &Link, family: Family) -> bool {
    let point_to_point = link.flags & 0x10 != 0;
    point_to_point
        || defaults(kernel, link.index, family).any(|route| route.table == main_table(link))
}

/// Rules and tables of our own: one rule for each usable address, one table for each interface.
fn source_routing(simulation: &Simulation, usable: &[(&Address, &Link)]) -> Result<(), String> {
    let kernel = &simulation.kernel;
    let config = simulation.config();
    let range = config.source_routing;
    let mut rules: Vec<_> = kernel
        .rules
        .iter()
        .filter(|r| r.protocol == PROTOCOL)
        .collect();
    let mut routes: Vec<_> = kernel
        .routes
        .iter()
        .filter(|r| r.protocol == PROTOCOL)
        .collect();
    let mut tables = BTreeMap::new();
    let mut places: Vec<(u32, Option<IpAddr>, u8, bool)> = Vec::new();
    // A source has one rule for each table; the first interface in line has the lower priority.
    let mut wanted: Vec<(IpAddr, u32)> = Vec::new();
    let mut starved = false;
    for (address, link) in usable {
        let family = Family::of(address.local);
        if !config.policy(&link.name).source_routing || !has_gateway(kernel, link, family) {
            continue;
        }
        let rule = kernel.rules.iter().find(|r| {
            r.protocol == PROTOCOL
                && r.source.is_some_and(|(ip, _)| ip == address.local)
                && kernel.routes.iter().any(|route| {
                    route.protocol == PROTOCOL
                        && route.table == r.table
                        && route.hops[0].oif == link.index
                })
        });
        let Some(rule) = rule else {
            starved = true;
            continue;
        };
        let number = rule.table.wrapping_sub(range.first_table);
        if number > range.last_table - range.first_table
            || rule.priority.wrapping_sub(range.first_priority) != number
        {
            return Err(format!("{rule:?} is out of range"));
        }
        if *tables.entry(link.index).or_insert(rule.table) != rule.table {
            return Err(format!("{rule:?}: the interface has another table"));
        }
        wanted.push((address.local, rule.table));
        places.push((rule.table, None, 0, family == Family::Ipv4));
        let width = if address.local.is_ipv4() { 32 } else { 128 };
        if address.prefix_len < width {
            let prefix = network(address.local, address.prefix_len);
            places.push((rule.table, Some(prefix), address.prefix_len, width == 32));
        }
    }
    // Without a table left an address goes without; the ranges hold four at the least.
    if starved && range.last_table - range.first_table > 8 {
        return Err("an address has no rule".into());
    }
    let mut owners: Vec<u32> = tables.values().copied().collect();
    owners.sort_unstable();
    owners.dedup();
    if owners.len() != tables.len() {
        return Err(format!("interfaces share a table: {tables:?}"));
    }
    rules.retain(|r| !wanted.contains(&(r.source.unwrap().0, r.table)));
    if let Some(rule) = rules.first() {
        return Err(format!("nobody wants {rule:?}"));
    }
    let place = |r: &Route| {
        (
            r.table,
            r.destination,
            r.destination_len,
            r.family == Family::Ipv4,
        )
    };
    if let Some(missing) = places
        .iter()
        .find(|p| !routes.iter().any(|r| place(r) == **p))
    {
        return Err(format!("the route {missing:?} is missing"));
    }
    for route in &routes {
        let owner = tables.iter().find(|(_, table)| **table == route.table);
        let hop = route.hops[0];
        if owner.is_none_or(|(index, _)| *index != hop.oif) || !places.contains(&place(route)) {
            return Err(format!("nobody wants {route:?}"));
        }
        if route.destination_len != 0 {
            continue;
        }
        let link = kernel.links.iter().find(|l| l.index == hop.oif).unwrap();
        let main = defaults(kernel, link.index, route.family)
            .filter(|r| r.table == main_table(link))
            .min_by_key(|r| r.metric);
        if hop.gateway != main.and_then(|main| main.hops[0].gateway) {
            return Err(format!("{route:?} should follow {main:?}"));
        }
    }
    routes.clear();
    Ok(())
}

/// The network of an address.
fn network(ip: IpAddr, len: u8) -> IpAddr {
    let clear = |bits: u128, width: u8| {
        let host = u32::from(width - len);
        bits >> host.min(127) >> host.saturating_sub(127)
            << host.min(127)
            << host.saturating_sub(127)
    };
    match ip {
        IpAddr::V4(ip) => {
            let bits = clear(u32::from(ip).into(), 32);
            IpAddr::V4(u32::try_from(bits).unwrap().into())
        }
        IpAddr::V6(ip) => IpAddr::V6(clear(ip.into(), 128).into()),
    }
}
