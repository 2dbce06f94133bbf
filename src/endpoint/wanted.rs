// SPDX-License-Identifier: BSD-3-Clause
//! The endpoints that plugins want, in the order in which the kernel's slots go to them.

use core::cmp::Ordering;
use core::net::IpAddr;

use super::{Endpoints, is_at};
use crate::capacity;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{Endpoint, EndpointFlags};
use crate::network::is_unique_local;
use crate::table::Table;

/// An endpoint that a plugin wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// The address of the endpoint.
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    /// The flags it is to have.
    pub flags: EndpointFlags,
    /// The interface that its subflows are bound to, if any.
    pub ifindex: IfIndex,
    /// Lower goes first, and gets the slot when there are too few.
    pub priority: i8,
    /// Decides between equals: the order of arrival.
    pub sequence: u32,
}

/// The endpoints that all plugins want together.
pub struct Wanted {
    wants: Table<Ranked>,
    /// How many of them, from the front, have or get a slot.
    chosen: usize,
    /// The same without one that the kernel may refuse.
    fits: usize,
}

/// A want, and what its rank depends on, found once and not at each comparison.
struct Ranked {
    want: Want,
    /// Somebody else has an endpoint for it.
    foreign: bool,
    /// We have one.
    held: bool,
    /// It is one that connections have needed.
    needed: bool,
    /// How many of the same uplink and family go before it.
    round: u8,
}

const _: () = assert!(size_of::<Ranked>() <= 36);

impl Ranked {
    /// Returns what tells it from the wants of other addresses and ports.
    fn place(&self) -> ([u8; 16], bool, u16) {
        let octets = match self.want.address {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        (octets, self.want.address.is_ipv6(), self.want.port)
    }

    fn uplink(&self) -> (IfIndex, bool) {
        (self.want.ifindex, self.want.address.is_ipv6())
    }

    /// Returns what decides who gets a slot; the lesser one does. What counts most comes first.
    #[inline(never)]
    fn rank(&self) -> u64 {
        let private = is_unique_local(self.want.address);
        let priority = (self.want.priority as u8) ^ 0x80;
        let first = u32::from(!self.foreign) << 8 | u32::from(priority);
        let second = u32::from(private) << 8 | u32::from(self.round);
        let third = u32::from(!self.needed) << 1 | u32::from(!self.held);
        let class = first << 16 | second << 4 | third;
        u64::from(class) << 32 | u64::from(self.want.sequence)
    }
}

/// What wants are sorted by.
#[derive(Clone, Copy)]
enum Order {
    Place,
    Uplink,
    Rank,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            wants: Table::new(capacity::ADDRESSES),
            chosen: 0,
            fits: 0,
        }
    }
}

impl Wanted {
    /// Forgets all wants.
    pub fn clear(&mut self) {
        self.wants.clear();
        self.chosen = 0;
        self.fits = 0;
    }

    /// Adds a want.
    pub fn add(&mut self, want: Want) {
        self.wants.push(Ranked {
            want,
            foreign: false,
            held: false,
            needed: false,
            round: 0,
        });
    }

    /// Returns all wants, in order after [`Self::settle`].
    pub fn iter(&self) -> impl Iterator<Item = &Want> {
        self.wants.iter().map(|ranked| &ranked.want)
    }

    /// Returns those that have or get a slot, after [`Self::settle`].
    pub fn chosen(&self) -> impl Iterator<Item = &Want> {
        self.iter().take(self.chosen)
    }

    /// Returns those that neither have nor get a slot, after [`Self::settle`].
    pub fn left_out(&self) -> impl Iterator<Item = &Want> {
        self.iter().skip(self.chosen)
    }

    /// Returns those for which the kernel has a slot so far as is known, after [`Self::settle`].
    pub fn fits(&self) -> impl Iterator<Item = &Want> {
        self.iter().take(self.fits)
    }

    /// Returns how many wants the kernel has no slot for, after [`Self::settle`].
    pub fn waiting(&self) -> usize {
        self.wants.len().saturating_sub(self.fits)
    }

    /// Returns whether some have no slot although they are not too `many`.
    pub(super) fn lacks_room(&self, many: usize) -> bool {
        let foreign = self.wants.iter().filter(|ranked| ranked.foreign).count();
        self.fits < self.wants.len().min(foreign.saturating_add(many))
    }

    /// Returns whether all that are not too `many` have their endpoint.
    pub(super) fn is_met(&self, endpoints: &Endpoints, many: usize) -> bool {
        !self.lacks_room(many) && self.chosen().all(|want| endpoints.has(want))
    }

    /// Returns whether one is wanted in the place of an endpoint.
    pub(super) fn has(&self, endpoint: &Endpoint) -> bool {
        self.iter().any(|w| is_at(endpoint, w.address, w.port))
    }

    /// Orders the wants, leaves one for each address and port, and chooses no more than so `many`.
    pub fn settle(&mut self, endpoints: &Endpoints, many: usize) {
        self.sort(Order::Place);
        let place = Ranked::place;
        let mut last = None;
        self.wants
            .retain(|r| last.replace(place(r)) != Some(place(r)));
        let mut foreign = 0usize;
        for ranked in self.wants.iter_mut() {
            let Want { address, port, .. } = ranked.want;
            ranked.foreign = endpoints.foreign(address, port);
            let ours = endpoints.slot_of(address, port);
            ranked.held = ours.is_some();
            ranked.needed = ours.is_some_and(|slot| slot.needed);
            foreign += usize::from(ranked.foreign);
        }
        // An endpoint that somebody else made takes no slot of ours.
        let taken = endpoints.taken(self);
        let with = |limit: usize| {
            let room = limit.saturating_sub(taken).min(many);
            foreign.saturating_add(room).min(self.wants.len())
        };
        let capacity = &endpoints.capacity;
        (self.chosen, self.fits) = (with(capacity.limit()), with(capacity.fits()));
        if self.fits < self.wants.len() {
            self.share();
        }
        // A want whose endpoint exists keeps its slot from its equals, first one that is needed.
        self.sort(Order::Rank);
    }

    /// Finds the round in which each gets its slot: one for each uplink and family at a time.
    fn share(&mut self) {
        self.sort(Order::Uplink);
        let (mut before, mut round) = (None, 0u8);
        for ranked in self.wants.iter_mut() {
            let again = before.replace(ranked.uplink()) == Some(ranked.uplink());
            round = if again { round.saturating_add(1) } else { 0 };
            ranked.round = round;
        }
    }

    /// Sorts by rank, those of a place or of an uplink together: one copy of the sorting for all.
    fn sort(&mut self, order: Order) {
        self.wants.sort_unstable_by(|a, b| {
            let groups = match order {
                Order::Place => a.place().cmp(&b.place()),
                Order::Uplink => a.uplink().cmp(&b.uplink()),
                Order::Rank => Ordering::Equal,
            };
            groups.then_with(|| a.rank().cmp(&b.rank()))
        });
    }
}
