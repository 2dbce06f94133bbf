// SPDX-License-Identifier: BSD-3-Clause
//! The endpoints that plugins want, in the order in which the kernel's slots go to them.

use core::net::IpAddr;

use super::Endpoints;
use crate::capacity;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::EndpointFlags;
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
}

const _: () = assert!(size_of::<Ranked>() <= 36);

impl Ranked {
    fn place(&self) -> (IpAddr, u16) {
        (self.want.address, self.want.port)
    }
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

    /// Returns those for which the kernel has a slot so far as is known, after [`Self::settle`].
    pub fn fits(&self) -> impl Iterator<Item = &Want> {
        self.iter().take(self.fits)
    }

    /// Returns how many wants the kernel has no slot for, after [`Self::settle`].
    pub fn waiting(&self) -> usize {
        self.wants.len().saturating_sub(self.fits)
    }

    /// Orders the wants, leaves one for each address and port, and chooses.
    pub fn settle(&mut self, endpoints: &Endpoints) {
        self.sort(true);
        let place = Ranked::place;
        let mut last = None;
        self.wants
            .retain(|r| last.replace(place(r)) != Some(place(r)));
        for Ranked {
            want,
            foreign,
            held,
        } in self.wants.iter_mut()
        {
            *foreign = endpoints.foreign(want.address, want.port);
            *held = endpoints.holds(want.address, want.port);
        }
        // A want whose endpoint exists keeps its slot from others of the same priority, and an
        // endpoint that somebody else made takes no slot of ours.
        self.sort(false);
        let foreign = self.wants.iter().take_while(|r| r.foreign).count();
        let with = |limit: usize| {
            let room = limit.saturating_sub(endpoints.others.len());
            foreign.saturating_add(room).min(self.wants.len())
        };
        let capacity = &endpoints.capacity;
        (self.chosen, self.fits) = (with(capacity.limit()), with(capacity.fits()));
    }

    /// Sorts by rank, those of a place together if `by_place`: one copy of the sorting for both.
    fn sort(&mut self, by_place: bool) {
        let rank = |r: &Ranked| (!r.foreign, r.want.priority, !r.held, r.want.sequence);
        self.wants.sort_unstable_by(|a, b| {
            let places = by_place.then(|| a.place().cmp(&b.place()));
            let by_rank = || rank(a).cmp(&rank(b));
            places.filter(|order| order.is_ne()).unwrap_or_else(by_rank)
        });
    }
}
