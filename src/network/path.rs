// SPDX-License-Identifier: BSD-3-Clause
//! The way from an address to the world: asked of the kernel, which has the rules, tables, nexthop
//! objects and metrics that decide.
//!
//! For IPv4 the entry of the table that a bound subflow finds is the answer. For IPv6 the kernel
//! takes the device of a question with a source for a hint only, and where it answers by another
//! one, the question without source, in which the device is binding, tells.

use core::net::IpAddr;

use super::route::{TABLE_DEFAULT, TABLE_MAIN, UNICAST};
use crate::netlink::IfIndex;
use crate::netlink::route::{Hop, Route, RouteQuery};

/// What is asked about an address, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// The way of a subflow that is bound to the interface that has the address.
    Bound = 1,
    /// The way of a socket that is bound to the address alone.
    Free = 2,
    /// Where the first answer does not tell it: IPv6, whether there is a way by the interface; IPv4,
    /// by which gateway.
    Device = 4,
}

/// A question for the way from an address to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// The address.
    pub source: IpAddr,
    /// The interface that has it.
    pub holder: IfIndex,
    /// Stands for the world.
    pub destination: IpAddr,
}

impl Question {
    /// Returns what the kernel is asked.
    pub fn query(&self) -> RouteQuery {
        let ipv4 = self.source.is_ipv4();
        let bound = self.ask != Ask::Free;
        RouteQuery {
            destination: self.destination,
            source: Some(self.source).filter(|_| ipv4 || self.ask != Ask::Device),
            oif: if bound { self.holder } else { IfIndex::NONE },
            fib_match: ipv4 && self.ask != Ask::Device,
        }
    }
}

/// What is known of an address's way to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    /// What is to be asked, and what has been and is not answered: bits of [`Ask`].
    due: u8,
    sent: u8,
    /// Which of the destinations that stand for the world is asked for.
    pub(super) target: u8,
    /// There is a way by the interface that has the address.
    pub(super) direct: bool,
    /// A rule of others sends what comes from the address out by its interface.
    pub(super) by_rule: bool,
    /// Where what comes from the address leaves by if it is not bound to an interface.
    pub(super) free: IfIndex,
    /// The next hop; `None` is on the link, or not known.
    pub(super) gateway: Option<IpAddr>,
}

impl Way {
    pub(super) const UNKNOWN: Self = Self {
        due: Ask::Bound as u8 | Ask::Free as u8,
        sent: 0,
        target: 0,
        direct: false,
        by_rule: false,
        free: IfIndex::NONE,
        gateway: None,
    };

    /// Has everything asked again; what was known counts until it is answered.
    pub(super) fn doubt(&mut self) {
        (self.due, self.sent, self.target) = (Self::UNKNOWN.due, 0, 0);
    }

    /// Returns what is to be asked next, and notes that it is.
    pub(super) fn next(&mut self) -> Option<Ask> {
        let all = [Ask::Bound, Ask::Free, Ask::Device];
        let next = all.into_iter().find(|ask| self.due & *ask as u8 != 0)?;
        self.due &= !(next as u8);
        self.sent |= next as u8;
        Some(next)
    }

    /// The answer to `ask` was lost.
    pub(super) fn again(&mut self, ask: Ask) {
        self.due |= self.sent & ask as u8;
    }

    /// Takes in the answer to `question`, unless that is to be asked anew: a route, or that there
    /// is none. `has_more` says that another destination may stand for the world.
    pub(super) fn answer(&mut self, question: &Question, route: Option<&Route>, has_more: bool) {
        let ask = question.ask as u8;
        if self.sent & ask == 0 {
            return;
        }
        self.sent &= !ask;
        let target = self.target;
        let ipv4 = question.source.is_ipv4();
        let route = route.filter(|route| route.kind == UNICAST);
        let mut hops = route.iter().flat_map(|route| route.hops.iter());
        let on_holder = |hop: &&Hop| hop.oif == question.holder;
        let hop = hops.clone().find(on_holder);
        match question.ask {
            Ask::Free => {
                let hop = hop.or_else(|| hops.next());
                self.free = hop.map_or(IfIndex::NONE, |hop| hop.oif);
                let table = route.map_or(TABLE_MAIN, |route| route.table);
                self.by_rule =
                    self.free == question.holder && ![TABLE_MAIN, TABLE_DEFAULT].contains(&table);
                if !self.direct {
                    self.gateway = hop.and_then(|hop| hop.gateway);
                }
                return;
            }
            // Another interface, or a nexthop object, which does not show its own.
            Ask::Bound if hop.is_none() && route.is_some_and(|r| !ipv4 || r.hops.is_empty()) => {
                self.direct = ipv4;
                self.due |= Ask::Device as u8;
                return;
            }
            Ask::Device if ipv4 => {}
            Ask::Bound | Ask::Device => self.direct = hop.is_some(),
        }
        if self.direct {
            self.gateway = hop.and_then(|hop| hop.gateway);
        } else if has_more {
            self.doubt();
            self.target = target.saturating_add(1);
        }
    }
}
