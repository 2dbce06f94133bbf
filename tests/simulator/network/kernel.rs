// SPDX-License-Identifier: BSD-3-Clause
//! The kernel's side: links, addresses, routes, rules, endpoints and limits, with the answers that
//! Linux 6.18 gives. `tests/simulated_kernel.rs` compares it with the real one.

use core::net::IpAddr;

use libc::{EBUSY, EEXIST, EINVAL, ENETDOWN, ENODEV, ENOENT, ERANGE, ESRCH};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::mptcp::{AddressId, Command, Endpoint, EndpointFlags, Limits};
use mptcpd::internal::netlink::prefix::prefix;
use mptcpd::internal::netlink::route::{
    Address, Family, Hop, Link, Name, Notification, PROTOCOL, Route, RouteQuery, Rule,
};
use mptcpd::internal::network::route::{Action, Change as Routing, Item};
use mptcpd::internal::network::route::{Path, TABLE_MAIN, UNICAST};
use mptcpd::internal::network::{IFF_LOOPBACK, IFF_POINTOPOINT, IFF_RUNNING, IFF_UP, Part};

use super::super::events::Events;
use super::connections::Connections;

/// Who made an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    Daemon,
    /// An administrator or another program.
    Other,
}

pub struct Kernel {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    /// Default routes, and those with our protocol number.
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub endpoints: Vec<(Endpoint, Maker)>,
    pub limits: Limits,
    /// The most endpoints.
    pub room: usize,
    /// The highest limit.
    pub most: u32,
    /// The endpoint flags it knows.
    pub known: u32,
    next_id: u8,
    next_index: u32,
    pub events: Events<Notification>,
    /// Something changed that no event tells of: only a look finds it.
    pub silent: bool,
    /// Other programs changed the limits.
    pub limits_meddled: bool,
    /// Other programs changed endpoints or limits, the path manager was away, or there was no room
    /// for another endpoint, as it seemed to the daemon: it cannot have done right by connections.
    pub misled: bool,
    pub connections: Connections,
}

pub const LOOPBACK: IfIndex = IfIndex(1);

impl Kernel {
    pub fn new(room: usize, known: u32) -> Self {
        let mut kernel = Self {
            links: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            endpoints: Vec::new(),
            limits: Limits {
                subflows: 2,
                add_addr_accepted: 0,
            },
            room,
            most: 8,
            known,
            next_id: 1,
            next_index: LOOPBACK.0,
            events: Events::default(),
            silent: false,
            limits_meddled: false,
            misled: false,
            connections: Connections::default(),
        };
        kernel.set_link("lo", IFF_UP | IFF_RUNNING | IFF_LOOPBACK, 0);
        kernel.add_address(Address {
            index: LOOPBACK,
            local: [127, 0, 0, 1].into(),
            peer: None,
            prefix_len: 8,
            flags: 0x80,
            scope: 254,
        });
        kernel
    }

    /// Whether inet_diag shows connections: not in the first kernels with endpoints.
    pub fn has_diag(&self) -> bool {
        self.known & EndpointFlags::FULLMESH.0 != 0
    }

    // Links.

    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Makes a link or changes its flags and its VRF. What goes down loses its routes and its
    /// IPv6 addresses.
    pub fn set_link(&mut self, name: &str, flags: u32, vrf_table: u32) {
        let Some(at) = self.links.iter().position(|link| link.name == name) else {
            let link = Link {
                index: IfIndex(self.next_index),
                flags,
                name: Name::try_from(name).unwrap(),
                vrf_table,
                tunnel: false,
            };
            self.next_index += 1;
            self.links.push(link.clone());
            return self.events.tell(Notification::Link(link));
        };
        let was = self.links[at].flags;
        self.links[at].flags = flags;
        self.links[at].vrf_table = vrf_table;
        self.events.tell(Notification::Link(self.links[at].clone()));
        if was & IFF_UP != 0 && flags & IFF_UP == 0 {
            let index = self.links[at].index;
            self.remove_addresses(|a| a.index == index && a.local.is_ipv6());
            self.remove_routes_of(index, None);
        }
    }

    /// The index that the next new link gets.
    pub fn next_index(&self) -> u32 {
        self.next_index
    }

    pub fn rename_link(&mut self, name: &str, new: &str) {
        if self.link(new).is_some() {
            return;
        }
        if let Some(at) = self.links.iter().position(|link| link.name == name) {
            self.links[at].name = Name::try_from(new).unwrap();
            self.events.tell(Notification::Link(self.links[at].clone()));
        }
    }

    pub fn remove_link(&mut self, name: &str) {
        let Some(at) = self.links.iter().position(|link| link.name == name) else {
            return;
        };
        // As the kernel does: first it goes down, then its addresses go, then the link itself.
        let mut link = self.links[at].clone();
        link.flags &= !(IFF_UP | IFF_RUNNING);
        self.links[at].flags = link.flags;
        let index = link.index;
        self.events.tell(Notification::Link(link));
        self.remove_addresses(|a| a.index == index);
        self.remove_routes_of(index, None);
        self.links.remove(at);
        self.events.tell(Notification::LinkGone { index });
    }

    fn is_up(&self, index: IfIndex) -> bool {
        self.links
            .iter()
            .any(|l| l.index == index && l.flags & IFF_UP != 0)
    }

    // Addresses.

    /// Adds an address, or changes the flags of one that is there.
    pub fn add_address(&mut self, new: Address) {
        let ipv6 = new.local.is_ipv6();
        let same = |a: &&mut Address| {
            a.index == new.index
                && a.local == new.local
                && (ipv6 || (a.prefix_len == new.prefix_len && a.peer == new.peer))
        };
        match self.addresses.iter_mut().find(same) {
            Some(old) => {
                old.flags = new.flags;
                let changed = *old;
                self.events.tell(Notification::Address(changed));
            }
            None => {
                self.addresses.push(new);
                self.events.tell(Notification::Address(new));
            }
        }
    }

    pub fn remove_addresses(&mut self, goes: impl Fn(&Address) -> bool) {
        let (gone, stay): (Vec<_>, Vec<_>) = self.addresses.iter().partition(|a| goes(a));
        self.addresses = stay;
        for address in gone {
            self.events.tell(Notification::AddressGone(address));
            let last = |a: &Address| a.index == address.index && a.local.is_ipv4();
            if address.local.is_ipv4() && !self.addresses.iter().any(last) {
                self.remove_routes_of(address.index, Some(Family::Ipv4));
            }
        }
    }

    // Routes and rules.

    /// IPv4 routes go without a word.
    fn remove_routes_of(&mut self, index: IfIndex, family: Option<Family>) {
        let goes = |r: &Route| {
            r.hops.iter().any(|hop| hop.oif == index) && family.is_none_or(|f| f == r.family)
        };
        let (gone, stay): (Vec<_>, Vec<_>) = self.routes.drain(..).partition(goes);
        self.routes = stay;
        for route in gone.into_iter().filter(|r| r.family == Family::Ipv6) {
            self.events.tell(Notification::RouteGone(route));
        }
    }

    fn route_at(&self, route: &Route) -> Option<usize> {
        let key = |r: &Route| {
            (
                r.family,
                r.table,
                r.destination,
                r.destination_len,
                r.metric,
            )
        };
        self.routes.iter().position(|r| key(r) == key(route))
    }

    fn set_route(&mut self, route: Route) -> Result<(), i32> {
        let Some(hop) = route.hops.first() else {
            return Err(EINVAL);
        };
        if !self.links.iter().any(|l| l.index == hop.oif) {
            return Err(ENODEV);
        }
        if !self.is_up(hop.oif) {
            return Err(ENETDOWN);
        }
        match self.route_at(&route) {
            Some(at) => self.routes[at] = route.clone(),
            None => self.routes.push(route.clone()),
        }
        self.events.tell(Notification::Route(route));
        Ok(())
    }

    fn remove_route(&mut self, route: &Route) -> Result<(), i32> {
        let at = self.route_at(route).ok_or(ESRCH)?;
        let gone = self.routes.remove(at);
        self.events.tell(Notification::RouteGone(gone));
        Ok(())
    }

    fn add_rule(&mut self, rule: Rule) -> Result<(), i32> {
        if self.rules.contains(&rule) {
            return Err(EEXIST);
        }
        self.rules.push(rule);
        self.events.tell(Notification::Rule(rule));
        Ok(())
    }

    fn remove_rule(&mut self, rule: &Rule) -> Result<(), i32> {
        let at = self.rules.iter().position(|r| r == rule).ok_or(ENOENT)?;
        self.rules.remove(at);
        self.events.tell(Notification::RuleGone(*rule));
        Ok(())
    }

    /// Somebody else's default route, if the kernel takes it.
    pub fn set_default_route(
        &mut self,
        index: IfIndex,
        gateway: Option<IpAddr>,
        family: Family,
        table: u32,
        metric: u32,
    ) {
        let mut route = default_route(index, gateway, family, table, metric);
        // Whoever adds a route does not take the place of another.
        if self.route_at(&route).is_none() {
            route.protocol = 4;
            let _ = self.set_route(route);
        }
    }

    pub fn remove_default_route(
        &mut self,
        index: IfIndex,
        family: Family,
        table: u32,
        metric: u32,
    ) {
        let route = default_route(index, None, family, table, metric);
        let at = self.route_at(&route).map(|at| &self.routes[at]);
        if at.is_some_and(|r| r.protocol != PROTOCOL && r.hops[0].oif == index) {
            let _ = self.remove_route(&route);
        }
    }

    /// Another nexthop object takes the place of the one by this interface, or none.
    pub fn replace_nexthop(&mut self, from: IfIndex, to: Option<IfIndex>) {
        let to = to.filter(|to| *to != from && self.is_up(*to));
        let is_by = |r: &Route| r.protocol != PROTOCOL && r.hops[0].oif == from;
        match to {
            Some(to) => {
                for route in self.routes.iter_mut().filter(|r| is_by(r)) {
                    route.hops[0].oif = to;
                }
            }
            None => self.routes.retain(|r| !is_by(r)),
        }
        self.events.tell(Notification::Nexthop);
    }

    pub fn set_source_rule(&mut self, source: IpAddr, table: u32, there: bool) {
        let width = if source.is_ipv4() { 32 } else { 128 };
        let rule = Rule {
            family: Family::of(source),
            // Among ours if its table is.
            priority: if table < 5200 { 1000 } else { 5221 },
            table,
            source: Some((source, width)),
            action: 1,
            protocol: 4,
            suppress: None,
            unmarked: false,
        };
        let _ = if there {
            self.add_rule(rule)
        } else {
            self.remove_rule(&rule)
        };
    }

    /// Somebody deletes one of our rules and routes.
    pub fn pilfer(&mut self, at: usize) {
        let ours = self.rules.iter().filter(|r| r.protocol == PROTOCOL);
        let rules: Vec<_> = ours.copied().collect();
        let ours = self.routes.iter().filter(|r| r.protocol == PROTOCOL);
        let routes: Vec<_> = ours.cloned().collect();
        let at = at % (rules.len() + routes.len()).max(1);
        let _ = match (rules.get(at), routes.get(at.saturating_sub(rules.len()))) {
            (Some(rule), _) => self.remove_rule(rule),
            (None, Some(route)) => self.remove_route(route),
            (None, None) => Ok(()),
        };
    }

    /// A request of the daemon's.
    pub fn change_routing(&mut self, change: &Routing) -> Result<(), i32> {
        let route = |path: &Path| {
            let mut route = path.to_route();
            if route.family == Family::Ipv6 && route.metric == 0 {
                route.metric = 1024;
            }
            route
        };
        let theirs = |protocol| assert_eq!(protocol, PROTOCOL, "not ours: {change:?}");
        match (change.action, &change.item) {
            (Action::Delete, Item::Rule(rule)) => {
                theirs(rule.protocol);
                self.remove_rule(rule)
            }
            (_, Item::Rule(rule)) => self.add_rule(*rule),
            (Action::Add, Item::Route(path)) => match self.route_at(&route(path)) {
                Some(_) => Err(EEXIST),
                None => self.set_route(route(path)),
            },
            (Action::Replace, Item::Route(path)) => {
                if let Some(at) = self.route_at(&route(path)) {
                    theirs(self.routes[at].protocol);
                }
                self.set_route(route(path))
            }
            (Action::Delete, Item::Route(path)) => {
                let route = route(path);
                if let Some(at) = self.route_at(&route) {
                    theirs(self.routes[at].protocol);
                }
                self.remove_route(&route)
            }
        }
    }

    /// The default route by which it answers a question, in which our own rules do not count.
    pub fn route_for(&self, query: &RouteQuery) -> Option<&Route> {
        let family = Family::of(query.destination);
        let is_from = |(from, len): (IpAddr, u8)| {
            let source = query.source.map(|source| prefix(&source, len));
            source == Some(prefix(&from, len))
        };
        let mut rules: Vec<_> = self.rules.iter().filter(|r| r.family == family).collect();
        rules.retain(|r| !r.unmarked && r.suppress.is_none() && r.source.is_none_or(is_from));
        rules.sort_by_key(|r| r.priority);
        let vrf = self.links.iter().find(|l| l.index == query.oif);
        let vrf = vrf.map(|link| link.vrf_table).filter(|table| *table != 0);
        let tables = rules.iter().map(|rule| rule.table);
        // For IPv6 the device is binding only where the source is not given, or the destination is on
        // the link.
        let local = matches!(query.destination, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let binding = family == Family::Ipv4 || query.source.is_none() || local;
        let any = query.oif == IfIndex::NONE || !binding;
        let on = |r: &&Route| any || r.hops.iter().any(|hop| hop.oif == query.oif);
        for table in vrf.into_iter().chain(tables).chain([TABLE_MAIN, 253]) {
            let defaults = self.routes.iter().filter(|r| r.table == table);
            let defaults = defaults.filter(|r| r.family == family && r.destination_len == 0);
            if let Some(route) = defaults.filter(on).min_by_key(|r| r.metric) {
                return Some(route);
            }
        }
        None
    }

    /// The source that it chooses for a route itself: one of the gateway's subnet, or the first.
    pub fn source_for(&self, route: &Route) -> Option<IpAddr> {
        let hop = &route.hops[0];
        let of_link = self.addresses.iter().filter(|a| a.index == hop.oif);
        let of_link = of_link.filter(|a| Family::of(a.local) == route.family);
        let near = |a: &&Address| {
            let (peer, len) = (a.peer.unwrap_or(a.local), a.prefix_len);
            hop.gateway
                .is_some_and(|gateway| prefix(&gateway, len) == prefix(&peer, len))
        };
        let chosen = of_link
            .clone()
            .find(near)
            .or_else(|| of_link.clone().next());
        chosen.map(|a| a.local)
    }

    /// What a dump shows.
    pub fn dump(&self, part: Part) -> Vec<Notification> {
        let family_of = |r: &&Route| matches!(part, Part::Routes(family) if r.family == family);
        match part {
            Part::Links => self.links.iter().cloned().map(Notification::Link).collect(),
            Part::Addresses => self
                .addresses
                .iter()
                .copied()
                .map(Notification::Address)
                .collect(),
            Part::Routes(_) => self
                .routes
                .iter()
                .filter(family_of)
                .cloned()
                .map(Notification::Route)
                .collect(),
            Part::Rules(family) => {
                let rules = self.rules.iter().filter(|rule| rule.family == family);
                rules.copied().map(Notification::Rule).collect()
            }
        }
    }

    // The path manager.

    /// Carries out a command that asks nothing.
    pub fn command(&mut self, command: &Command, maker: Maker) -> Result<(), i32> {
        match command {
            Command::AddEndpoint(endpoint) => self.add_endpoint(*endpoint, maker).map(drop),
            Command::DeleteEndpoint(endpoint) => {
                let at = self.endpoint_at(endpoint.id).ok_or(EINVAL)?;
                let (gone, of) = self.endpoints[at];
                assert!(
                    of == maker
                        || maker == Maker::Other
                        || gone.flags.contains(EndpointFlags::IMPLICIT),
                    "deletes an endpoint of somebody else's: {gone:?}"
                );
                self.endpoints.remove(at);
                self.leave_all(&gone, maker);
                Ok(())
            }
            Command::SetFlags(endpoint) => {
                const MASK: u32 = EndpointFlags::BACKUP.0 | EndpointFlags::FULLMESH.0;
                let same = |(e, _): &&mut (Endpoint, Maker)| {
                    e.address == endpoint.address && (e.port == 0 || e.port == endpoint.port)
                };
                let (found, of) = self.endpoints.iter_mut().find(same).ok_or(EINVAL)?;
                // One that the kernel made itself may have come in place of ours just now.
                let implicit = found.flags.contains(EndpointFlags::IMPLICIT);
                assert!(
                    *of == maker || maker == Maker::Other || implicit,
                    "changes an endpoint of somebody else's: {found:?}"
                );
                let asked = endpoint.flags.0;
                if asked & EndpointFlags::FULLMESH.0 != 0
                    && found.flags.contains(EndpointFlags::SIGNAL)
                {
                    return Err(EINVAL);
                }
                let mask = MASK & self.known;
                let was = found.flags;
                found.flags = EndpointFlags(found.flags.0 & !mask | asked & mask);
                let endpoint = *found;
                if (was.0 ^ endpoint.flags.0) & EndpointFlags::FULLMESH.0 != 0
                    && endpoint.flags.contains(EndpointFlags::SUBFLOW)
                {
                    self.cycle_all(&endpoint, maker);
                }
                Ok(())
            }
            Command::FlushEndpoints => {
                for (gone, _) in core::mem::take(&mut self.endpoints) {
                    self.leave_all(&gone, maker);
                }
                self.next_id = 1;
                Ok(())
            }
            Command::SetLimits(limits) => {
                if limits.subflows.max(limits.add_addr_accepted) > self.most {
                    return Err(EINVAL);
                }
                self.limits = *limits;
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    fn endpoint_at(&self, id: AddressId) -> Option<usize> {
        self.endpoints.iter().position(|(e, _)| e.id == id)
    }

    /// Answers the endpoint's id.
    pub fn add_endpoint(&mut self, mut new: Endpoint, maker: Maker) -> Result<AddressId, i32> {
        use EndpointFlags as Flags;
        let has = |flag| new.flags.contains(flag);
        if new.port != 0 && (!has(Flags::SIGNAL) || has(Flags::SUBFLOW))
            || has(Flags(Flags::SIGNAL.0 | Flags::FULLMESH.0))
            || has(Flags::IMPLICIT)
        {
            return Err(EINVAL);
        }
        if self.endpoints.len() >= self.room {
            self.misled = true;
            return Err(ERANGE);
        }
        if self.endpoint_at(new.id).is_some() {
            return Err(EBUSY);
        }
        let same = |(e, _): &(Endpoint, Maker)| e.address == new.address && e.port == new.port;
        if let Some(at) = self.endpoints.iter().position(same) {
            let (old, _) = self.endpoints[at];
            if !old.flags.contains(Flags::IMPLICIT) {
                return Err(EEXIST);
            }
            if new.id != AddressId::NONE {
                return Err(EINVAL);
            }
            new.id = old.id;
            self.endpoints.remove(at);
        }
        if new.id == AddressId::NONE {
            let free = |id: &AddressId| self.endpoint_at(*id).is_none();
            new.id = (self.next_id..=u8::MAX)
                .map(AddressId)
                .find(free)
                .or_else(|| (1..=u8::MAX).map(AddressId).find(free))
                .ok_or(EINVAL)?;
        }
        self.next_id = self.next_id.max(new.id.0);
        new.flags.0 &= self.known;
        self.endpoints.push((new, maker));
        self.join_all(&new);
        Ok(new.id)
    }

    /// The kernel itself makes an endpoint of an address that a connection uses.
    pub fn make_implicit(&mut self, address: IpAddr, id: AddressId) {
        let endpoint = Endpoint {
            address,
            port: 0,
            id,
            flags: EndpointFlags(0),
            ifindex: IfIndex::NONE,
        };
        if let Ok(id) = self.add_endpoint(endpoint, Maker::Other) {
            let at = self.endpoint_at(id).unwrap();
            self.endpoints[at].0.flags = EndpointFlags::IMPLICIT;
        }
    }

    /// What a dump shows, by id.
    pub fn dump_endpoints(&self) -> Vec<Endpoint> {
        let mut all: Vec<_> = self.endpoints.iter().map(|(e, _)| *e).collect();
        all.sort_by_key(|e| e.id);
        all
    }
}

fn default_route(
    index: IfIndex,
    gateway: Option<IpAddr>,
    family: Family,
    table: u32,
    metric: u32,
) -> Route {
    let hop = Hop {
        oif: index,
        gateway,
        flags: 0,
    };
    Route {
        family,
        table,
        destination: None,
        destination_len: 0,
        source: None,
        source_len: 0,
        preferred_source: None,
        metric,
        protocol: 4,
        kind: UNICAST,
        scope: 0,
        hops: [hop].into_iter().collect(),
    }
}

/// Flags of a link of this name in one of its states: down, up, up without carrier.
pub fn link_flags(name: &str, state: u8) -> u32 {
    let kind = if name.starts_with("ppp") {
        IFF_POINTOPOINT
    } else {
        0
    };
    kind | match state % 3 {
        0 => 0,
        1 => IFF_UP | IFF_RUNNING,
        _ => IFF_UP,
    }
}

pub const TABLES: [u32; 3] = [TABLE_MAIN, 100, 5205];
