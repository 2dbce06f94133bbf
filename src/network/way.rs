// SPDX-License-Identifier: BSD-3-Clause
//! The way from an address to the world: asked of the kernel, which has the rules, tables, nexthop
//! objects and metrics that decide.
//!
//! For IPv4 the entry of the table that a bound subflow finds is the answer. For IPv6 the kernel
//! takes the device of a question with a source for a hint only. Where it answers by another one,
//! two questions tell in which the device is binding: the one without source, and, for routes and
//! rules that go by the source, that for a link-local address to which none but default routes lead.

use core::net::{IpAddr, Ipv6Addr};

use super::route::{TABLE_DEFAULT, TABLE_MAIN, UNICAST};
use crate::netlink::IfIndex;
use crate::netlink::prefix::contains;
use crate::netlink::route::{Family, Hop, Route, RouteQuery};

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
    /// Which source address the kernel chooses for that way itself (IPv4).
    Source = 8,
    /// Where the first answer does not tell it: whether what comes from the address has a default
    /// route by the interface (IPv6).
    Default = 16,
}

/// A link-local address outside fe80::/64, which is all of fe80::/10 that interfaces have routes to.
const BEYOND: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfebf, 0, 0, 0, 0, 0, 0, 1));

/// Whether a way is for an address, or for another one of the same interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// The gateway is in the address's subnet, or any address will do.
    Yes,
    /// The kernel chooses the address itself, for want of a better one.
    Chosen,
    /// The kernel chooses another one.
    No,
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
            destination: match self.ask {
                Ask::Default => BEYOND,
                _ => self.destination,
            },
            source: match self.ask {
                Ask::Source => None,
                Ask::Device if !ipv4 => None,
                _ => Some(self.source),
            },
            oif: if bound { self.holder } else { IfIndex::NONE },
            fib_match: self.holder == IfIndex::NONE
                || (ipv4 && matches!(self.ask, Ask::Bound | Ask::Free)),
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
    /// Where what comes from the address leaves by if it is not bound to an interface.
    pub(super) free: IfIndex,
    /// A rule of others sends it there.
    pub(super) by_rule: bool,
    /// The next hop; `None` is on the link, or not known.
    pub(super) gateway: Option<IpAddr>,
    /// Whether that is the gateway of such an address.
    pub(super) fit: Fit,
    /// The table that has the way by the interface.
    table: u32,
    #[cfg(feature = "quality")]
    pub(super) metric: u32,
    /// Gateway or metric have changed since plugins were told.
    #[cfg(feature = "quality")]
    pub(super) changed: bool,
}

impl Way {
    pub(super) const UNKNOWN: Self = Self {
        due: Ask::Bound as u8 | Ask::Free as u8,
        sent: 0,
        target: 0,
        direct: false,
        free: IfIndex::NONE,
        by_rule: false,
        gateway: None,
        fit: Fit::Yes,
        table: TABLE_MAIN,
        #[cfg(feature = "quality")]
        metric: 0,
        #[cfg(feature = "quality")]
        changed: false,
    };

    /// Has everything asked again; what was known counts until it is answered.
    pub(super) fn doubt(&mut self) {
        (self.due, self.sent, self.target) = (Self::UNKNOWN.due, 0, 0);
    }

    /// Returns what is to be asked next, and notes that it is.
    pub(super) fn next(&mut self) -> Option<Ask> {
        use Ask::*;
        let mut all = [Bound, Free, Device, Source, Default].into_iter();
        let next = all.find(|ask| self.due & *ask as u8 != 0)?;
        self.due &= !(next as u8);
        self.sent |= next as u8;
        Some(next)
    }

    /// The answer to `ask` was lost.
    pub(super) fn again(&mut self, ask: Ask) {
        self.due |= self.sent & ask as u8;
    }

    /// Takes in the answer to `question` about an address of `subnet`, unless that is to be asked
    /// anew: a route, or that there is none. `has_more` says that another destination may stand for
    /// the world.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        subnet: Subnet<'_>,
        route: Option<&Route>,
        has_more: bool,
    ) {
        let ask = question.ask as u8;
        if self.sent & ask == 0 {
            return;
        }
        self.sent &= !ask;
        let target = self.target;
        let ipv4 = question.source.is_ipv4();
        let route = route.filter(|route| route.kind == UNICAST);
        let hops: &[Hop] = route.map_or(&[], |route| &route.hops);
        let on_holder = |hop: &&Hop| hop.oif == question.holder;
        let near =
            |hop: &&Hop| on_holder(hop) && hop.gateway.as_ref().is_some_and(|ip| subnet.holds(ip));
        let hop = hops.iter().find(near);
        let hop = hop.or_else(|| hops.iter().find(on_holder));
        let preferred = route.and_then(|route| route.preferred_source.as_ref());
        let table = route.map_or(TABLE_MAIN, |route| route.table);
        if question.ask == Ask::Bound {
            self.table = table;
        }
        match question.ask {
            Ask::Free => {
                let hop = hop.or_else(|| hops.first());
                self.free = hop.map_or(IfIndex::NONE, |hop| hop.oif);
                self.by_rule = ![TABLE_MAIN, TABLE_DEFAULT].contains(&table);
                if !self.direct {
                    self.leave_by(hop, route);
                }
                return;
            }
            // Another interface, or a nexthop object, which does not show its own.
            Ask::Bound if hop.is_none() && route.is_some_and(|r| !ipv4 || r.hops.is_empty()) => {
                self.direct = ipv4;
                #[cfg(feature = "quality")]
                self.set_metric(route);
                self.due |= Ask::Device as u8;
                if !ipv4 {
                    self.due |= Ask::Default as u8;
                }
                return;
            }
            Ask::Device if ipv4 => {}
            Ask::Device | Ask::Default if self.direct => return,
            Ask::Bound | Ask::Device | Ask::Default => self.direct = hop.is_some(),
            Ask::Source => {
                // Where a rule gives the address a table of its own, that is its way.
                let rivals = route.filter(|route| route.table == self.table);
                let chosen = rivals.and_then(|route| route.preferred_source);
                self.fit = match chosen.is_some_and(|ip| ip != question.source) {
                    true => Fit::No,
                    false => Fit::Chosen,
                };
                return;
            }
        }
        if self.direct {
            // Of IPv4 the answer by the device does not show the metric.
            let route = route.filter(|_| !ipv4 || question.ask == Ask::Bound);
            self.leave_by(hop, route);
            if !ipv4 || subnet.suits(self.gateway.as_ref(), preferred) {
                self.fit = Fit::Yes;
            } else {
                // Until the kernel has said more it counts as before.
                self.due |= Ask::Source as u8;
            }
        } else if has_more && question.ask != Ask::Device {
            self.doubt();
            self.target = target.saturating_add(1);
        }
    }

    /// Notes the next hop and, as far as the route tells it, the metric.
    fn leave_by(&mut self, hop: Option<&Hop>, route: Option<&Route>) {
        let gateway = hop.and_then(|hop| hop.gateway);
        #[cfg(feature = "quality")]
        {
            self.changed |= self.gateway != gateway;
            self.set_metric(route);
        }
        let _ = route;
        self.gateway = gateway;
    }

    #[cfg(feature = "quality")]
    fn set_metric(&mut self, route: Option<&Route>) {
        let metric = route.map_or(self.metric, |route| route.metric);
        self.changed |= core::mem::replace(&mut self.metric, metric) != metric;
    }
}

/// What an address takes to be on its link.
#[derive(Clone, Copy)]
pub(super) struct Subnet<'a> {
    pub(super) address: &'a IpAddr,
    /// On a point-to-point link the prefix is the peer's.
    pub(super) neighbour: &'a IpAddr,
    pub(super) len: u8,
}

impl Subnet<'_> {
    /// Returns whether it holds the address.
    pub(super) fn holds(&self, address: &IpAddr) -> bool {
        contains(self.neighbour, self.len, address)
    }

    /// Returns whether a route by this gateway, which prefers this source, is for the address. One that
    /// has no subnet is routed to the host; and a route that names neither is for all.
    pub(super) fn suits(&self, gateway: Option<&IpAddr>, preferred: Option<&IpAddr>) -> bool {
        self.len == Family::of(*self.address).width()
            || preferred == Some(self.address)
            || match gateway {
                Some(gateway) => self.holds(gateway),
                None => preferred.is_none(),
            }
    }
}
