// SPDX-License-Identifier: BSD-3-Clause
//! Default routes and, with source routing, the routes and rules that are ours or in its way.
//!
//! Kept by dumps alone: an event only says that a dump is due, because the kernel drops IPv4
//! routes without a word when a device goes down or an address goes away.

#[cfg_attr(not(feature = "source-routing"), path = "route/none.rs")]
mod own;

use core::net::IpAddr;

use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::IfIndex;
use crate::netlink::prefix::contains;
use crate::netlink::route::{Family, PROTOCOL, Route, Rule};
use crate::table::{Mark, Table};
pub use own::*;

/// `RT_TABLE_DEFAULT` and `RT_TABLE_MAIN` of linux/rtnetlink.h.
pub const TABLE_DEFAULT: u32 = 253;
/// `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;
/// `RTN_UNICAST`.
pub const UNICAST: u8 = 1;

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

/// A route or a rule with its mark.
struct Marked<T> {
    item: T,
    marked: bool,
}

const _: () = assert!(size_of::<Marked<Path>>() <= 88);

impl<T> Mark for Marked<T> {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}

/// Default routes, our own routes, and rules.
pub struct Routes {
    /// By interface.
    paths: Table<Marked<Path>>,
    rules: Rules,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            paths: Table::new(capacity::ROUTES),
            rules: Rules::new(),
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
        self.rules.begin(family);
    }

    pub(super) fn finish_rules(&mut self, family: Family) {
        self.rules.finish(family);
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

    pub(super) fn put_rule(&mut self, rule: &Rule, ranges: Option<&SourceRouting>) {
        self.rules.put(rule, ranges);
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
}

/// Returns whether the route is a default route that traffic can take.
pub fn is_default(route: &Route) -> bool {
    route.destination_len == 0 && route.kind == UNICAST
}
