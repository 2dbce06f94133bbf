// SPDX-License-Identifier: BSD-3-Clause
//! The routes and rules that are ours, and what source routing needs of others': their default
//! routes, and what is in its way.
//!
//! Kept by dumps alone: an event only says that a dump is due, because the kernel drops IPv4
//! routes without a word when a device goes down or an address goes away.

use core::fmt;
use core::net::IpAddr;

use super::{IFF_POINTOPOINT, Interface, LocalAddress, Network};
use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::IfIndex;
use crate::netlink::prefix::contains;
pub use crate::netlink::route::Change as Action;
use crate::netlink::route::{
    Family, Hop, PROTOCOL, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK, Route, Rule,
};
use crate::table::{Mark, Table};

/// `RT_TABLE_DEFAULT` and `RT_TABLE_MAIN` of linux/rtnetlink.h.
pub const TABLE_DEFAULT: u32 = 253;
/// `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;
/// `RTN_UNICAST`.
pub const UNICAST: u8 = 1;
/// `FR_ACT_TO_TBL`.
pub const TO_TABLE: u8 = 1;

/// One next hop of a default route, of a route of ours, or of one that is in our way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The routing table.
    pub table: u32,
    /// `None` with length 0 for a default route.
    pub destination: Option<IpAddr>,
    /// The length of the destination's prefix, in bits.
    pub destination_len: u8,
    /// The only sources it is for, as a prefix (IPv6).
    pub source: Option<(IpAddr, u8)>,
    /// The source address that the route prefers (RTA_PREFSRC).
    pub preferred_source: Option<IpAddr>,
    /// Lower is preferred.
    pub metric: u32,
    /// The interface that it leaves by, if it has one.
    pub oif: IfIndex,
    /// The next hop; `None` is on the link.
    pub gateway: Option<IpAddr>,
    /// Made by this daemon.
    pub ours: bool,
}

/// Roughly what `ip route` shows of it.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination {
            None => f.write_str("route default")?,
            Some(destination) => write!(f, "route {destination}/{}", self.destination_len)?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " table {}", self.table)
    }
}

impl Path {
    /// Returns whether the kernel takes one for the other: same table, destination and metric.
    pub fn has_place(&self, other: &Self) -> bool {
        let key = |p: &Self| {
            (
                p.family,
                p.table,
                p.destination,
                p.destination_len,
                p.source,
                p.metric,
            )
        };
        key(self) == key(other)
    }

    /// Returns the route as the kernel is asked for it. Its protocol is ours.
    pub fn to_route(&self) -> Route {
        let link = self.gateway.is_none();
        let mut hops = heapless::Vec::new();
        // A single hop always fits.
        // The main table says that the gateway is on the link; ours need not.
        let flags = if link { 0 } else { RTNH_F_ONLINK };
        let _ = hops.push(Hop {
            oif: self.oif,
            gateway: self.gateway,
            flags,
        });
        Route {
            family: self.family,
            table: self.table,
            destination: self.destination,
            destination_len: self.destination_len,
            source: None,
            source_len: 0,
            preferred_source: self.preferred_source,
            metric: self.metric,
            protocol: PROTOCOL,
            kind: UNICAST,
            scope: if link && self.family == Family::Ipv4 {
                RT_SCOPE_LINK
            } else {
                RT_SCOPE_UNIVERSE
            },
            hops,
        }
    }
}

/// A route or a rule with its mark.
struct Marked<T> {
    item: T,
    marked: bool,
}

const _: () = assert!(size_of::<Marked<Path>>() <= 88);
const _: () = assert!(size_of::<Marked<Rule>>() <= 44);

impl<T> Mark for Marked<T> {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}

/// Default routes, our own routes, and rules.
pub struct Routes {
    /// By interface.
    paths: Table<Marked<Path>>,
    rules: Table<Marked<Rule>>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            paths: Table::new(capacity::ROUTES),
            rules: Table::new(capacity::RULES),
        }
    }

    pub(super) fn refused(&self) -> u32 {
        self.paths.refused() + self.rules.refused()
    }

    pub(super) fn is_short(&self) -> bool {
        self.paths.is_short() || self.rules.is_short()
    }

    pub(super) fn has_room_again(&mut self) -> [bool; 2] {
        [self.paths.has_room_again(), self.rules.has_room_again()]
    }

    /// A dump begins. What it does not show stays until it proves whole.
    pub(super) fn begin(&mut self, family: Family) {
        self.paths.unmark(|path| path.item.family == family);
    }

    /// The dump is whole.
    pub(super) fn finish(&mut self, family: Family) {
        self.paths.sweep_unmarked(|path| path.item.family == family);
    }

    pub(super) fn begin_rules(&mut self, family: Family) {
        self.rules.unmark(|rule| rule.item.family == family);
    }

    pub(super) fn finish_rules(&mut self, family: Family) {
        self.rules.sweep_unmarked(|rule| rule.item.family == family);
    }

    /// Takes in ours, `defaults` of the main table where these matter and, where there is source
    /// routing, whatever is in a table that we might use.
    pub(super) fn put(&mut self, route: &Route, ranges: Option<&SourceRouting>, defaults: bool) {
        let ours = route.protocol == PROTOCOL;
        let is_default = defaults && is_default(route) && route.table == TABLE_MAIN;
        let in_range =
            ranges.is_some_and(|r| (r.first_table..=r.last_table).contains(&route.table));
        if !ours && !is_default && !in_range {
            return;
        }
        let mut path = Path {
            family: route.family,
            table: route.table,
            destination: match route.destination_len {
                0 => None,
                _ => route.destination,
            },
            destination_len: route.destination_len,
            source: route.source.map(|source| (source, route.source_len)),
            preferred_source: route.preferred_source,
            metric: route.metric,
            oif: IfIndex::NONE,
            gateway: None,
            ours,
        };
        if !ours && !is_default {
            return self.put_path(&path);
        }
        for hop in route.hops.iter().filter(|hop| hop.oif != IfIndex::NONE) {
            path.oif = hop.oif;
            path.gateway = hop.gateway;
            self.put_path(&path);
        }
    }

    #[inline(never)]
    fn put_path(&mut self, path: &Path) {
        let start = self.first_from(path.oif.0);
        let end = self.first_from(path.oif.0.saturating_add(1));
        let of_link = self.paths.get_mut(start..end).unwrap_or_default();
        match of_link.iter_mut().find(|known| known.item == *path) {
            Some(known) => known.marked = true,
            None => {
                let (item, marked) = (*path, true);
                self.paths.insert(end, Marked { item, marked });
            }
        }
    }

    /// Returns where those begin that leave by this interface or one of a higher number.
    #[inline(never)]
    fn first_from(&self, index: u32) -> usize {
        self.paths.partition_point(|p| p.item.oif.0 < index)
    }

    /// Takes in ours and, where there is source routing, what is in the way of ours.
    pub(super) fn put_rule(&mut self, rule: &Rule, ranges: Option<&SourceRouting>) {
        let in_range = ranges.is_some_and(|r| {
            (r.first_table..=r.last_table).contains(&rule.table)
                || (r.first_priority..=r.last_priority).contains(&rule.priority)
        });
        if rule.protocol != PROTOCOL && !in_range {
            return;
        }
        match self.rules.iter_mut().find(|known| known.item == *rule) {
            Some(known) => known.marked = true,
            None => {
                let (item, marked) = (*rule, true);
                self.rules.push(Marked { item, marked });
            }
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(|known| &known.item)
    }

    fn rules(&self) -> impl DoubleEndedIterator<Item = &Rule> {
        self.rules.iter().map(|known| &known.item)
    }

    /// Returns the default routes by which the main table may send traffic from `source` out by the
    /// interface, where these are known: for source routing, and where there may be aliases.
    pub fn main_defaults<'a>(
        &'a self,
        index: IfIndex,
        source: &'a IpAddr,
    ) -> impl Iterator<Item = &'a Path> {
        let family = Family::of(*source);
        let of_link = self.paths.get(self.first_from(index.0)..);
        let of_link = of_link.unwrap_or_default().iter();
        of_link
            .map(|known| &known.item)
            .take_while(move |path| path.oif == index)
            .filter(move |path| path.family == family && !path.ours && path.table == TABLE_MAIN)
            .filter(|path| (path.source).is_none_or(|(prefix, len)| contains(&prefix, len, source)))
    }

    /// Returns the sources for which the main table has a default route of their own (IPv6).
    #[cfg(feature = "health")]
    pub fn source_defaults(&self, family: Family) -> impl Iterator<Item = (IpAddr, u8)> {
        let main = self
            .paths()
            .filter(|path| !path.ours && path.table == TABLE_MAIN);
        main.filter(move |path| path.family == family)
            .filter_map(|path| path.source)
    }

    /// Returns whether somebody else uses the table.
    pub fn is_taken(&self, table: u32) -> bool {
        let mut paths = self.paths().filter(|path| !path.ours);
        let mut rules = self.others_rules();
        paths.any(|path| path.table == table) || rules.any(|rule| rule.table == table)
    }

    /// Returns whether somebody else has a rule with the priority.
    pub fn is_priority_taken(&self, priority: u32) -> bool {
        self.others_rules().any(|rule| rule.priority == priority)
    }

    /// Our own routes.
    pub fn ours(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|path| path.ours)
    }

    /// Our own rules.
    pub fn our_rules(&self) -> impl DoubleEndedIterator<Item = &Rule> {
        self.rules().filter(|rule| rule.protocol == PROTOCOL)
    }

    fn others_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| rule.protocol != PROTOCOL)
    }
}

/// Returns whether the route is a default route that traffic can take.
pub fn is_default(route: &Route) -> bool {
    route.destination_len == 0 && route.kind == UNICAST
}

/// A rule or a route of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// A routing-policy rule.
    Rule(Rule),
    /// A route.
    Route(Path),
}

const _: () = assert!(size_of::<Item>() <= 84);

/// A change of the kernel's routing. A route takes the place of one of ours to the same
/// destination only if the action is [`Action::Replace`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// To what.
    pub item: Item,
}

/// As `ip` would have it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.item {
            Item::Rule(rule) => rule.fmt(f),
            Item::Route(path) => path.fmt(f),
        }
    }
}

/// How source routing leaves by an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gateway {
    /// By a router with this address.
    Router(IpAddr),
    /// Straight onto the link, as on point-to-point ones.
    OnLink,
}

/// Returns the gateway of the interface that the address leaves by: that of the main table's default
/// route for it, or else that of the way that the kernel says, or, on a point-to-point link, the link
/// itself. Of several default routes the most particular source decides, as it does for the kernel,
/// then the preferred source or the address's own subnet, and then the metric.
pub fn gateway(
    address: &LocalAddress,
    interface: &Interface,
    network: &Network,
) -> Option<Gateway> {
    let by = |gateway: Option<IpAddr>| gateway.map_or(Gateway::OnLink, Gateway::Router);
    // An address may be there with several prefixes.
    let is_near = |gateway: IpAddr| {
        let mut all = network.addresses();
        let same = |a: &LocalAddress| (a.index, a.address) == (address.index, address.address);
        all.any(|a| same(a) && a.subnet().holds(gateway))
    };
    let defaults = network
        .routes()
        .main_defaults(address.index, &address.address);
    let (mut main, mut least) = (None, u64::MAX);
    for path in defaults {
        let preferred = path.preferred_source.map(|ip| ip == address.address);
        let fit = match (preferred, path.gateway.is_some_and(is_near)) {
            (Some(true), _) => 0,
            (_, true) => 1,
            (None, false) => 2,
            (Some(false), false) => 3,
        };
        let source_len = path.source.map_or(0, |(_, len)| len);
        let rank = u32::from(!source_len) << 8 | fit;
        let rank = u64::from(rank) << 32 | u64::from(path.metric);
        if rank < least {
            (main, least) = (Some(path), rank);
        }
    }
    if let Some(path) = main {
        return Some(by(path.gateway));
    }
    if address.has_way() {
        return Some(by(address.way.gateway));
    }
    (interface.flags & IFF_POINTOPOINT != 0).then_some(Gateway::OnLink)
}
