// SPDX-License-Identifier: BSD-3-Clause
//! What the kernel should have in the end, computed from the network and the configuration alone.
//! Written from the documentation, apart from `policy.rs`, `endpoint/` and `routing.rs`.

use core::net::IpAddr;
use std::collections::BTreeMap;

use mptcpd::internal::config::{Config, NotifyFlags, Policy, Temporary, Use};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::mptcp::{Endpoint, EndpointFlags};
use mptcpd::internal::netlink::route::{Address, Family, Link, PROTOCOL, Route, RouteQuery, Rule};
use mptcpd::internal::network::route::TABLE_MAIN;

use super::Simulation;
use super::connections::Connection;
use super::kernel::{Kernel, LOOPBACK, Maker};

/// An address that should be an endpoint, and the links that carry it.
struct Want {
    address: IpAddr,
    port: u16,
    /// Priority, interface and flags.
    carriers: Vec<(i8, IfIndex, u32)>,
}

/// Compares the kernel with what it should have.
pub fn check(simulation: &Simulation) -> Result<(), String> {
    let usable = usable(simulation);
    endpoints(simulation, &usable)?;
    source_routing(simulation, &usable)
}

/// Every connection that can have a subflow that works has one, and one from each endpoint that
/// works; and none was lost that could live.
fn connections(simulation: &Simulation) -> Result<(), String> {
    let kernel = &simulation.kernel;
    if !kernel.has_diag() {
        return Ok(());
    }
    for connection in &kernel.connections.all {
        let lacks = |e: &&Endpoint| kernel.is_owed(connection, e);
        if let Some(endpoint) = kernel.ours().find(lacks) {
            return Err(format!("{connection:?} lacks {endpoint:?}"));
        }
    }
    match kernel.connections.lost.first() {
        Some(lost) if !kernel.misled => Err(format!("lost {lost:?}")),
        _ => Ok(()),
    }
}

/// Returns how many commands the daemon may spend in 150 s on peers that refuse joins: to make an
/// endpoint again takes two. It does so once a minute where nobody has a healthy subflow, and else
/// the more seldom the fewer lack one and the more have one.
pub fn attempts_in_vain(simulation: &Simulation) -> u32 {
    let kernel = &simulation.kernel;
    let all = &kernel.connections.all;
    let mut attempts = 0;
    for (endpoint, _) in &kernel.endpoints {
        let address = endpoint.address;
        if endpoint.flags.contains(EndpointFlags::SUBFLOW) {
            let of_family = |c: &&Connection| c.family() == Family::of(address);
            let refusing = all.iter().filter(of_family).filter(|c| c.refuses_joins);
            let refusing = u32::try_from(refusing.count()).unwrap();
            let healthy = all.iter().filter(|c| c.has_from(address)).count();
            let healthy = u32::try_from(healthy).unwrap();
            let most = 3 * refusing;
            let seldom = refusing.min(1) + refusing.checked_div(healthy).unwrap_or(most);
            attempts += 2 * seldom.min(most);
        }
    }
    attempts
}

/// Whether connections need an endpoint that nobody wants.
fn is_needed(kernel: &Kernel, address: IpAddr, unwanted: &dyn Fn(IpAddr) -> bool) -> bool {
    let works = |c: &Connection| {
        let mut others = c.subflows.iter().filter(|s| s.local != address);
        others.any(|s| s.established && kernel.path_works(s.local) && !unwanted(s.local))
    };
    let has = |c: &Connection| {
        let mut all = c.subflows.iter();
        all.any(|s| s.established && s.local == address)
    };
    let mut all = kernel.connections.all.iter();
    all.any(|c| has(c) && !works(c))
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
    let want_of = |e: &Endpoint| {
        wants
            .iter()
            .find(|w| (w.address, w.port) == (e.address, e.port))
    };
    let is_wanted = |e: &Endpoint| {
        let of = (e.ifindex, e.flags.0);
        want_of(e).is_some_and(|w| w.carriers.iter().any(|c| (c.1, c.2) == of))
    };
    // One that is to have other flags works until then.
    let has_path =
        |e: &Endpoint| want_of(e).is_some_and(|w| w.carriers.iter().any(|c| c.1 == e.ifindex));
    let unwanted = |ip| by(Maker::Daemon).any(|e| e.address == ip && !has_path(e));
    connections(simulation)?;
    // Where it cannot be told what connections need, the last that has a path does not go.
    let stays = |endpoint: &Endpoint| match kernel.has_diag() {
        true => is_needed(kernel, endpoint.address, &unwanted),
        false => !by(Maker::Daemon).any(|e| e != endpoint && has_path(e)),
    };
    for endpoint in by(Maker::Daemon).filter(|e| !is_wanted(e)) {
        if !stays(endpoint) {
            let carriers = want_of(endpoint).map(|w| &w.carriers);
            return Err(format!("{endpoint:?} should be one of {carriers:?}"));
        }
    }
    let in_wants = wants
        .iter()
        .filter(|w| at(w, Maker::Other).is_none_or(|e| e.flags.contains(EndpointFlags::IMPLICIT)));
    let (have, lack): (Vec<_>, Vec<_>) = in_wants.partition(|w| at(w, Maker::Daemon).is_some());
    let many = simulation.config().max_endpoints as usize;
    let full = kernel.endpoints.len() >= kernel.room || have.len() >= many;
    if let Some(want) = lack.iter().min_by_key(|w| w.carriers[0].0) {
        if !full {
            return Err(format!("{} is missing", want.address));
        }
        let gives_way = |w: &&&Want| at(w, Maker::Daemon).is_some_and(|e| !stays(e));
        let worst = have.iter().filter(gives_way);
        let worst = worst.max_by_key(|w| w.carriers[0].0);
        if worst.is_some_and(|worst| worst.carriers[0].0 > want.carriers[0].0) {
            return Err(format!("{} should go first", want.address));
        }
        let unused = |e: &&Endpoint| {
            e.flags.contains(EndpointFlags::IMPLICIT)
                && want_of(e).is_none()
                && !is_needed(kernel, e.address, &unwanted)
        };
        let unused = by(Maker::Other).find(unused);
        if let Some(unused) = unused.filter(|_| have.len() < many && kernel.has_diag()) {
            return Err(format!("{unused:?} should give way to {}", want.address));
        }
    }
    // Each uplink has one for each family before any has a second, be it others' who made that, but
    // for one that connections need.
    let is_private = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unique_local());
    let priority = |w: &Want| w.carriers[0].0;
    let mut held: Vec<_> = have
        .iter()
        .filter_map(|w| Some((priority(w), at(w, Maker::Daemon)?)))
        .map(|(priority, e)| (priority, e.ifindex, e.address.is_ipv4(), !stays(e)))
        .collect();
    held.sort_unstable();
    let is_spare = |pair: &&[(i8, IfIndex, bool, bool)]| {
        let [first, second] = pair else { return false };
        (first.0, first.1, first.2) == (second.0, second.1, second.2) && second.3
    };
    // A slot that connections keep from its heir is one less to be shared.
    let ours = simulation.engine.endpoints().ours();
    let kept = ours.iter().any(|slot| slot.is_kept() && slot.has_path());
    let twice = held.windows(2).find(is_spare).filter(|_| !kept);
    let is_theirs = |e: &Endpoint| !e.flags.contains(EndpointFlags::IMPLICIT);
    let theirs = wants
        .iter()
        .filter(|w| at(w, Maker::Other).is_some_and(is_theirs));
    let uplinks = theirs.flat_map(|w| {
        let ipv4 = w.address.is_ipv4();
        w.carriers.iter().map(move |c| (c.1, ipv4))
    });
    let mut served: Vec<_> = held.iter().map(|h| (h.1, h.2)).collect();
    served.extend(uplinks);
    for want in lack.iter().filter(|w| !is_private(w.address)) {
        let ipv4 = want.address.is_ipv4();
        let mut carriers = want.carriers.iter();
        let has = carriers.any(|c| served.contains(&(c.1, ipv4)));
        if let Some(twice) = twice.filter(|twice| !has && twice[0].0 >= priority(want)) {
            return Err(format!("{} before a second of {twice:?}", want.address));
        }
    }
    limits(simulation, wants.len() - lack.len(), lack.len())
}

/// For so many endpoints; and as many may be expected where others' are to give way to them.
fn limits(simulation: &Simulation, endpoints: usize, expected: usize) -> Result<(), String> {
    let kernel = &simulation.kernel;
    let subflows = kernel.limits.subflows;
    let enough = |endpoints| u32::try_from(endpoints + 2).unwrap().min(kernel.most);
    let (least, most) = (enough(endpoints), enough(endpoints + expected));
    let right = match simulation.config().limit_subflows {
        Some(fixed) => subflows == fixed,
        None if simulation.kernel.limits_meddled => subflows >= least,
        None => (least..=most).contains(&subflows),
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
        .filter_map(|a| Some((a, leaves_by(simulation, a)?)))
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
            && other.flags & 0x29 == 0
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
            || link.index != address.index
            || has_route(kernel, link, ip))
        && !(skips(NotifyFlags::CHECK_ROUTE) && is_private(kernel, address))
        && !(skips(NotifyFlags::CHECK_ROUTE) && is_alias(simulation, address))
}

/// No gateway is in its subnet, and the kernel chooses another source for the way by its link.
fn is_alias(simulation: &Simulation, address: &Address) -> bool {
    let (kernel, config) = (&simulation.kernel, simulation.config());
    let (ip, len) = (address.local, address.prefix_len);
    let subnet = network(address.peer.unwrap_or(ip), len);
    let is_near = |route: &Route| {
        let gateway = route.hops[0].gateway;
        gateway.is_some_and(|gateway| network(gateway, len) == subnet)
    };
    let way = |source| kernel.route_for(&query(config, ip, source, address.index));
    let (Some(bound), Some(any)) = (way(Some(ip)), way(None)) else {
        return false;
    };
    let mut main = defaults(kernel, address.index, Family::Ipv4);
    matches!(ip, IpAddr::V4(ip) if !ip.is_link_local())
        && address.scope == 0
        && len < 32
        && bound.hops[0].gateway.is_some()
        && !is_near(bound)
        && bound.table == any.table
        && kernel.source_for(any) != Some(ip)
        && !main.any(|route| route.table == TABLE_MAIN && is_near(route))
}

/// A unique local address beside a global one.
fn is_private(kernel: &Kernel, address: &Address) -> bool {
    let first = |ip: IpAddr| match ip {
        IpAddr::V4(_) => 0,
        IpAddr::V6(ip) => ip.segments()[0],
    };
    let is_global = |a: &Address| {
        let global = first(a.local) & 0xe000 == 0x2000 && a.flags & 0x28 == 0;
        a.index == address.index && global
    };
    first(address.local) & 0xfe00 == 0xfc00 && kernel.addresses.iter().any(is_global)
}

/// The link that has the address or, if that is not on the way to the world, the one that is and
/// has no address.
fn leaves_by<'a>(simulation: &'a Simulation, address: &Address) -> Option<&'a Link> {
    let kernel = &simulation.kernel;
    let ip = address.local;
    let at = |index| kernel.links.iter().find(|l| l.index == index);
    let holder = at(address.index)?;
    let policy = simulation.config().policy(&holder.name);
    let link_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if holder.index == LOOPBACK
        || ip.is_ipv4()
        || link_local(ip)
        || matches!(ip, IpAddr::V6(ip) if ip.is_unique_local())
        || !policy.notify.contains(NotifyFlags::CHECK_ROUTE)
        || has_route(kernel, holder, ip)
    {
        return Some(holder);
    }
    let route = kernel.route_for(&query(simulation.config(), ip, Some(ip), IfIndex::NONE));
    let other = route.map(|route| route.hops[0].oif);
    let is_own = |a: &Address| Some(a.index) == other && a.local.is_ipv6() && !link_local(a.local);
    match other {
        Some(other) if !kernel.addresses.iter().any(is_own) => at(other),
        _ => Some(holder),
    }
}

fn query(config: &Config, ip: IpAddr, source: Option<IpAddr>, oif: IfIndex) -> RouteQuery {
    RouteQuery {
        destination: config.destination(ip.is_ipv4(), 0).unwrap(),
        source,
        oif,
        fib_match: false,
    }
}

fn defaults(kernel: &Kernel, index: IfIndex, family: Family) -> impl Iterator<Item = &Route> {
    kernel.routes.iter().filter(move |r| {
        r.protocol != PROTOCOL
            && r.family == family
            && r.destination_len == 0
            && r.hops.iter().any(|hop| hop.oif == index)
    })
}

fn has_route(kernel: &Kernel, link: &Link, source: IpAddr) -> bool {
    let selects = |rule: &Rule| !rule.unmarked && rule.suppress.is_none() && is_from(rule, source);
    defaults(kernel, link.index, Family::of(source)).any(|route| {
        let selects = |rule: &Rule| rule.table == route.table && selects(rule);
        [TABLE_MAIN, 253].contains(&route.table)
            || (link.vrf_table != 0 && route.table == link.vrf_table)
            || kernel.rules.iter().any(selects)
    })
}

/// Whether a rule of others has what comes from the address leave by the link.
fn is_led_by_rule(kernel: &Kernel, link: &Link, config: &Config, source: IpAddr) -> bool {
    let route = kernel.route_for(&query(config, source, Some(source), IfIndex::NONE));
    route.is_some_and(|r| ![TABLE_MAIN, 253].contains(&r.table) && r.hops[0].oif == link.index)
}

/// A VRF is not source-routed: it has a table of its own.
fn is_source_routed(kernel: &Kernel, link: &Link, config: &Config, source: IpAddr) -> bool {
    let point_to_point = link.flags & 0x10 != 0;
    let main = |route: &Route| route.table == TABLE_MAIN;
    let has_gateway = point_to_point
        || defaults(kernel, link.index, Family::of(source)).any(main)
        || has_route(kernel, link, source);
    config.policy(&link.name).source_routing
        && link.vrf_table == 0
        && has_gateway
        && !is_led_by_rule(kernel, link, config, source)
}

/// Rules and tables of our own: three rules for each usable address, one table for each interface.
fn source_routing(simulation: &Simulation, usable: &[(&Address, &Link)]) -> Result<(), String> {
    let kernel = &simulation.kernel;
    let config = simulation.config();
    let range = config.source_routing;
    let (ours, theirs): (Vec<_>, Vec<_>) =
        kernel.rules.iter().partition(|r| r.protocol == PROTOCOL);
    let (routes, others): (Vec<_>, Vec<_>) =
        kernel.routes.iter().partition(|r| r.protocol == PROTOCOL);
    let mut tables = BTreeMap::new();
    let mut places: Vec<(u32, Option<IpAddr>, u8, bool)> = Vec::new();
    let mut unrouted = false;
    let mut sources: Vec<IpAddr> = usable.iter().map(|(a, _)| a.local).collect();
    sources.sort_unstable();
    sources.dedup();
    for source in &sources {
        // On several interfaces it counts where its endpoint is: one of the best priority.
        let priority = |link: &Link| config.policy(&link.name).priority;
        let mut carriers: Vec<_> = usable.iter().filter(|(a, _)| a.local == *source).collect();
        let best = carriers.iter().map(|(_, link)| priority(link)).min();
        carriers.retain(|(_, link)| Some(priority(link)) == best);
        let routed = |link: &Link| is_source_routed(kernel, link, config, *source);
        let mut mine: Vec<_> = ours.iter().filter(|r| is_from(r, *source)).collect();
        mine.sort_by_key(|r| r.priority);
        let [first, main, last] = mine[..] else {
            if !mine.is_empty() {
                return Err(format!("{} rules from {source}", mine.len()));
            }
            unrouted |= carriers.iter().all(|(_, link)| routed(link));
            continue;
        };
        let number = last.table.wrapping_sub(range.first_table);
        let priorities = [first, main, last].map(|r| r.priority);
        let wanted = [0, 1, 2].map(|n| range.first_priority + 3 * number + n);
        if last.table > range.last_table || wanted != priorities || wanted[2] > range.last_priority
        {
            return Err(format!("{last:?} is out of range"));
        }
        let goes = |r: &Rule| (r.table, r.suppress);
        if [goes(first), goes(main), goes(last)]
            != [
                (last.table, Some(0)),
                (TABLE_MAIN, Some(0)),
                (last.table, None),
            ]
        {
            return Err(format!("{mine:?} are the wrong rules"));
        }
        let is_there = |link: &Link| {
            let mut ours = routes.iter().filter(|r| r.table == last.table);
            routed(link) && ours.any(|r| r.hops[0].oif == link.index)
        };
        let Some((_, link)) = carriers.iter().find(|(_, link)| is_there(link)) else {
            return Err(format!("{last:?} leads nowhere"));
        };
        let mut endpoints = kernel
            .endpoints
            .iter()
            .filter(|(e, maker)| *maker == Maker::Daemon && e.address == *source && e.port == 0);
        if endpoints.any(|(e, _)| e.ifindex != link.index) {
            return Err(format!("the endpoint of {last:?} is elsewhere"));
        }
        if *tables.entry(last.table).or_insert(link.index) != link.index {
            return Err(format!("{last:?}: another interface has that table"));
        }
        places.push((last.table, None, 0, source.is_ipv4()));
        let width = if source.is_ipv4() { 32 } else { 128 };
        for (address, _) in carriers.iter().filter(|(_, l)| l.index == link.index) {
            if address.prefix_len < width {
                let prefix = network(address.peer.unwrap_or(*source), address.prefix_len);
                places.push((last.table, Some(prefix), address.prefix_len, width == 32));
            }
        }
    }
    // Without a table left an address goes without; the ranges hold four at the least.
    if unrouted && range.last_table - range.first_table > 8 {
        return Err("an address has no rule".into());
    }
    let known = |r: &Rule| sources.iter().any(|source| is_from(r, *source));
    if let Some(rule) = ours.iter().find(|r| !known(r)) {
        return Err(format!("nobody wants {rule:?}"));
    }
    if let Some(route) = others.iter().find(|r| tables.contains_key(&r.table)) {
        return Err(format!("the table of {route:?} is not ours"));
    }
    let clash = |r: &Rule| {
        tables.contains_key(&r.table) || ours.iter().any(|own| own.priority == r.priority)
    };
    if let Some(rule) = theirs.iter().find(|r| clash(r)) {
        return Err(format!("the place of {rule:?} is not ours"));
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
        let hop = route.hops[0];
        if tables.get(&route.table) != Some(&hop.oif) || !places.contains(&place(route)) {
            return Err(format!("nobody wants {route:?}"));
        }
        if route.destination_len != 0 {
            continue;
        }
        let twin = |r: &&&Route| {
            let place = |r: &Route| (r.family, r.destination_len, r.hops[0]);
            r.table != route.table && place(r) == place(route)
        };
        if let Some(twin) = routes.iter().find(twin) {
            return Err(format!("{route:?} is there twice: {twin:?}"));
        }
        let leads = |ip: &&IpAddr| {
            let mut rules = ours.iter().filter(|rule| is_from(rule, **ip));
            rules.any(|rule| rule.table == route.table)
        };
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == (route.family == Family::Ipv4);
        for ip in sources.iter().filter(of_family).filter(leads) {
            let near = |gateway: IpAddr| {
                let mut all = kernel.addresses.iter();
                all.any(|a| {
                    let subnet = network(a.peer.unwrap_or(a.local), a.prefix_len);
                    (a.index, a.local) == (hop.oif, *ip) && network(gateway, a.prefix_len) == subnet
                })
            };
            let main = defaults(kernel, hop.oif, route.family)
                .filter(|r| r.table == TABLE_MAIN)
                .min_by_key(|r| (!r.hops[0].gateway.is_some_and(near), r.metric));
            let follows = |other: &Route| other.hops[0].gateway == hop.gateway;
            let by_rule = || {
                let mut others = defaults(kernel, hop.oif, route.family);
                let link = link_of(kernel, hop.oif);
                others.any(|other| follows(other) && has_route(kernel, link, *ip))
            };
            let right = match main {
                Some(main) => follows(main),
                None => hop.gateway.is_none() || by_rule(),
            };
            if !right {
                return Err(format!("{route:?} should follow {main:?}"));
            }
        }
    }
    Ok(())
}

fn link_of(kernel: &Kernel, index: IfIndex) -> &Link {
    kernel.links.iter().find(|l| l.index == index).unwrap()
}

fn is_from(rule: &Rule, source: IpAddr) -> bool {
    rule.source.is_some_and(|(from, _)| from == source)
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
