// SPDX-License-Identifier: BSD-3-Clause
//! The way from an address to the world: asked of the kernel, which has the rules, tables, nexthop
//! objects and metrics that decide.
//!
//! For IPv4 the entry of the table that a bound subflow finds is the answer. For IPv6 the kernel
//! takes the device of a question with a source for a hint only. Where it answers by another one,
//! two questions tell in which the device is binding: the one without source, and, for routes and
//! rules that go by the source, that for a link-local address to which none but default routes lead.

use core::net::{IpAddr, Ipv6Addr};

use super::address::Subnet;
use super::route::{TABLE_DEFAULT, TABLE_MAIN, UNICAST};
use super::{LocalAddress, Network, is_link_local, is_unique_local};
use crate::config::Config;
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
    /// A rule of others sends what comes from the address out by its interface.
    pub(super) by_rule: bool,
    /// Where what comes from the address leaves by if it is not bound to an interface.
    pub(super) free: IfIndex,
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
        by_rule: false,
        free: IfIndex::NONE,
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
        subnet: Subnet,
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
        let mut hops = route.iter().flat_map(|route| route.hops.iter());
        let mut on_holder = hops.clone().filter(|hop| hop.oif == question.holder);
        let near = |hop: &&Hop| hop.gateway.is_some_and(|ip| subnet.holds(ip));
        let hop = on_holder.clone().find(near).or_else(|| on_holder.next());
        let preferred = route.and_then(|route| route.preferred_source);
        let table = route.map_or(TABLE_MAIN, |route| route.table);
        if question.ask == Ask::Bound {
            self.table = table;
        }
        match question.ask {
            Ask::Free => {
                let hop = hop.or_else(|| hops.next());
                self.free = hop.map_or(IfIndex::NONE, |hop| hop.oif);
                self.by_rule =
                    self.free == question.holder && ![TABLE_MAIN, TABLE_DEFAULT].contains(&table);
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
            if !ipv4 || subnet.suits(self.gateway, preferred) {
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

impl Network {
    /// Has the ways of these addresses asked again.
    pub(crate) fn doubt(&mut self, of: &dyn Fn(&LocalAddress) -> bool) {
        for address in self.addresses.iter_mut().filter(|address| of(address)) {
            address.way.doubt();
        }
        self.asked = 0;
        #[cfg(feature = "health")]
        self.unbound.iter_mut().for_each(|way| way.doubt());
    }

    /// The interface is not what it was: neither are the ways by it.
    pub(super) fn doubt_link(&mut self, index: IfIndex) {
        self.doubt(&|a| a.uses(index) || (!a.way.direct && a.way.free == IfIndex::NONE));
    }

    /// Returns what to ask next about the ways of addresses and of new connections.
    pub(crate) fn next_question(&mut self, config: &Config) -> Option<Question> {
        #[cfg(feature = "health")]
        if let Some(question) = self.next_unbound(config) {
            return Some(question);
        }
        while let Some(address) = self.addresses.get_mut(self.asked) {
            let (source, holder) = (address.address, address.holder);
            let leads_nowhere = source.is_loopback() || (source.is_ipv6() && is_link_local(source));
            let target = address.way.target.into();
            let destination = config.destination(source.is_ipv4(), target);
            if let (Some(ask), Some(destination)) = (address.way.next(), destination) {
                if !leads_nowhere && !address.gone {
                    return Some(Question {
                        ask,
                        source,
                        holder,
                        destination,
                    });
                }
            } else {
                self.asked += 1;
            }
        }
        None
    }

    /// Takes in the answer to a question: a route, or that there is none; or else that it was lost.
    pub(crate) fn on_answer(
        &mut self,
        question: &Question,
        answer: Option<Option<&Route>>,
        config: &Config,
    ) {
        let Question { source, holder, .. } = *question;
        #[cfg(feature = "health")]
        if holder == IfIndex::NONE {
            return self.on_unbound(question, answer, config);
        }
        let on_link = self.addresses_on(source.is_ipv6(), holder);
        self.asked = self.asked.min(on_link.start);
        let on_link = self.addresses.get_mut(on_link).unwrap_or_default();
        for address in on_link.iter_mut().filter(|a| a.address == source) {
            let next = usize::from(address.way.target) + 1;
            let has_more = config.destination(source.is_ipv4(), next).is_some();
            match answer {
                Some(route) => {
                    let subnet = address.subnet();
                    address.way.answer(question, subnet, route, has_more);
                    self.has_aliases |= address.way.fit == Fit::No;
                }
                None => address.way.again(question.ask),
            }
        }
    }

    /// Returns whether it is an alias: the kernel chooses another source for its interface's way, and no
    /// default route's gateway is in its subnet. A modem's pages are looked at from such addresses.
    pub(crate) fn is_alias(&self, address: &LocalAddress) -> bool {
        let subnet = address.subnet();
        let mut defaults = self.routes.main_defaults(address.holder, &address.address);
        address.way.direct
            && address.way.fit == Fit::No
            && !defaults.any(|path| {
                let preferred = path.preferred_source;
                (path.gateway.is_some() || preferred.is_some())
                    && subnet.suits(path.gateway, preferred)
            })
    }

    /// Returns whether there may be aliases, which the interface's other default routes tell.
    pub(crate) fn has_aliases(&self) -> bool {
        self.has_aliases
    }

    /// Returns whether the interface has an IPv6 address that means something beyond the link.
    pub(super) fn has_ipv6(&self, index: IfIndex) -> bool {
        let on_link = self.addresses.get(self.addresses_on(true, index));
        let mut on_link = on_link.unwrap_or_default().iter();
        on_link.any(|a| !a.gone && !is_link_local(a.address))
    }

    /// Returns the interface that an address leaves by: its own one or, where that is not on the way
    /// to the world, one that is and has only a link-local IPv6 address, as where a provider
    /// delegates a prefix and nothing else.
    pub(super) fn device_of(&self, address: &LocalAddress) -> IfIndex {
        let (holder, free) = (address.holder, address.way.free);
        let lends = !address.way.direct
            && free != IfIndex::NONE
            && address.address.is_ipv6()
            && !is_link_local(address.address)
            && !is_unique_local(address.address)
            && !self.has_ipv6(free);
        if lends { free } else { holder }
    }
}
