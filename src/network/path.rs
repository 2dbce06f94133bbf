// SPDX-License-Identifier: BSD-3-Clause
//! The ways of all addresses: which are asked for, and what follows from the answers.

use super::way::{Fit, Question};
use super::{LocalAddress, Network, is_link_local, is_unique_local};
use crate::config::Config;
use crate::netlink::IfIndex;
use crate::netlink::route::Route;

impl Network {
    /// Has the ways of these addresses asked again.
    #[inline(never)]
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
                    address.answer(question, route, has_more);
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
                let (gateway, preferred) = (path.gateway.as_ref(), path.preferred_source.as_ref());
                (gateway.is_some() || preferred.is_some()) && subnet.suits(gateway, preferred)
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
