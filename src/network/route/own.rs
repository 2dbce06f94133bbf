// SPDX-License-Identifier: BSD-3-Clause
//! Our own routes and rules, what is in the way of them, and changes of them.

use core::fmt;
use core::net::IpAddr;

use super::{Marked, Path, Routes, UNICAST};
use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::Seq;
use crate::netlink::attribute::{Builder, Full};
pub use crate::netlink::route::Change as Action;
use crate::netlink::route::{
    self, Family, Hop, PROTOCOL, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK, Route, Rule,
};
use crate::network::{IFF_POINTOPOINT, Interface, LocalAddress, Network, Part};
use crate::table::Table;

/// `FR_ACT_TO_TBL`.
pub const TO_TABLE: u8 = 1;

const _: () = assert!(size_of::<Marked<Rule>>() <= 44);

/// Our rules and those in the way of them.
pub(super) struct Rules(Table<Marked<Rule>>);

impl Rules {
    pub(super) fn new() -> Self {
        Self(Table::new(capacity::RULES))
    }

    pub(super) fn refused(&self) -> u32 {
        self.0.refused()
    }

    pub(super) fn is_short(&self) -> bool {
        self.0.is_short()
    }

    pub(super) fn has_room_again(&mut self) -> bool {
        self.0.has_room_again()
    }

    pub(super) fn begin(&mut self, family: Family) {
        self.0.unmark(|rule| rule.item.family == family);
    }

    pub(super) fn finish(&mut self, family: Family) {
        self.0.sweep_unmarked(|rule| rule.item.family == family);
    }

    /// Takes in ours and, where there is source routing, what is in the way of ours.
    pub(super) fn put(&mut self, rule: &Rule, ranges: Option<&SourceRouting>) {
        let in_range = ranges.is_some_and(|r| {
            (r.first_table..=r.last_table).contains(&rule.table)
                || (r.first_priority..=r.last_priority).contains(&rule.priority)
        });
        if rule.protocol != PROTOCOL && !in_range {
            return;
        }
        match self.0.iter_mut().find(|known| known.item == *rule) {
            Some(known) => known.marked = true,
            None => {
                let (item, marked) = (*rule, true);
                self.0.push(Marked { item, marked });
            }
        }
    }
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

impl Routes {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(|known| &known.item)
    }

    fn rules(&self) -> impl DoubleEndedIterator<Item = &Rule> {
        self.rules.0.iter().map(|known| &known.item)
    }

    /// Returns the sources for which the main table has a default route of their own (IPv6).
    #[cfg(feature = "health")]
    pub fn source_defaults(&self, family: Family) -> impl Iterator<Item = (IpAddr, u8)> {
        let main = self
            .paths()
            .filter(|path| !path.ours && path.table == super::TABLE_MAIN);
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

    /// Hands over our own rules and routes, for people.
    pub(crate) fn show_ours(&self, show: &mut dyn FnMut(&dyn fmt::Display)) {
        self.our_rules().for_each(|rule| show(rule));
        self.ours().for_each(|path| show(path));
    }

    fn others_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| rule.protocol != PROTOCOL)
    }
}

impl LocalAddress {
    /// Returns whether a rule of others has what comes from it leave by its interface, be that one
    /// which has no address of its own.
    pub(crate) fn is_led_by_rule(&self) -> bool {
        self.way.by_rule && self.way.free == self.index
    }
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

impl Change {
    /// Returns what is done, in a word.
    pub fn word(&self) -> &'static str {
        match self.action {
            Action::Add => "add",
            Action::Replace => "replace",
            Action::Delete => "delete",
        }
    }

    /// Returns what has to be read anew afterwards.
    pub fn part(&self) -> Part {
        match &self.item {
            Item::Rule(rule) => Part::Rules(rule.family),
            Item::Route(path) => Part::Routes(path.family),
        }
    }

    /// Asks for it.
    ///
    /// # Errors
    /// As for all requests of [`route`].
    pub fn encode(&self, out: &mut Builder<'_>, seq: Seq) -> Result<(), Full> {
        match &self.item {
            Item::Rule(rule) => route::change_rule(out, seq, self.action, rule),
            Item::Route(path) => route::change_route(out, seq, self.action, &path.to_route()),
        }
    }
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
    let is_near = |gateway: &IpAddr| {
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
        let fit = match (preferred, path.gateway.as_ref().is_some_and(is_near)) {
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
