// SPDX-License-Identifier: BSD-3-Clause
//! What events and dumps change of the model.

use core::net::IpAddr;

use super::way::Fit;
use super::{Interface, LocalAddress, Network, Part};
use crate::config::Config;
use crate::netlink::IfIndex;
use crate::netlink::route::{Address, Link, Notification};

impl Network {
    /// Takes in what changed, or an item of a dump.
    pub fn apply(&mut self, notification: &Notification, config: &Config) {
        let routing = config.makes_routes();
        let ranges = config.own_ranges();
        match notification {
            Notification::Link(link) => self.put_link(link, config),
            Notification::LinkGone { index } => self.remove_link(*index),
            Notification::Address(address) => self.put_address(address),
            Notification::AddressGone(address) => self.remove_address(address),
            Notification::Route(route) => {
                let defaults = routing || self.has_aliases;
                self.routes.put(route, ranges, defaults);
            }
            Notification::Rule(rule) => self.routes.put_rule(rule, ranges),
            // Routes and rules that go are found gone by the dump that follows.
            Notification::RouteGone(_) | Notification::RuleGone(_) | Notification::Nexthop => {}
        }
    }

    fn put_link(&mut self, link: &Link, config: &Config) {
        let at = match self.interface_position(link.index) {
            Ok(at) => at,
            Err(at) if self.interfaces.insert(at, Interface::new(link, config)) => at,
            Err(_) => return,
        };
        if let Some(interface) = self.interfaces.get_mut(at) {
            if interface.update(link, config) {
                self.doubt_link(link.index);
            }
        }
    }

    fn remove_link(&mut self, index: IfIndex) {
        if let Ok(at) = self.interface_position(index) {
            if let Some(interface) = self.interfaces.get_mut(at) {
                interface.set_gone(&mut self.addresses);
            }
            self.doubt_link(index);
        }
    }

    /// Has addresses that `is_known` is true of count as new, although they were there before.
    pub fn take_back(&mut self, is_known: &dyn Fn(IpAddr) -> bool) {
        for address in self.addresses.iter_mut() {
            address.existing &= !is_known(address.address);
        }
    }

    fn put_address(&mut self, address: &Address) {
        let at = match self.position(address) {
            Ok(at) => {
                if let Some(old) = self.addresses.get_mut(at) {
                    old.update(address, !self.started);
                }
                self.asked = self.asked.min(at);
                return;
            }
            Err(at) => at,
        };
        let new = LocalAddress::new(address, self.sequence, !self.started);
        if self.addresses.insert(at, new) {
            self.asked = self.asked.min(at);
            self.sequence = self.sequence.wrapping_add(1);
        }
        // The kernel may rather choose the new one.
        let index = address.index;
        self.doubt(&|a| a.holder == index && a.way.fit == Fit::Chosen);
    }

    fn remove_address(&mut self, address: &Address) {
        if let Ok(at) = self.position(address) {
            if let Some(old) = self.addresses.get_mut(at) {
                old.gone = true;
            }
            // With it go, without a word, the routes that prefer it, and those of a link without any.
            let Address { index, local, .. } = *address;
            self.doubt(&|a| a.uses(index) && a.address.is_ipv4() == local.is_ipv4());
        }
    }

    /// Returns where the address stands, or where it belongs.
    fn position(&self, address: &Address) -> Result<usize, usize> {
        let on_link = self.addresses_on(address.local.is_ipv6(), address.index);
        let (start, end) = (on_link.start, on_link.end);
        let mut known = self.addresses.get(on_link).unwrap_or_default().iter();
        let at = known.position(|known| known.is(address));
        at.map_or(Err(end), |at| Ok(start + at))
    }

    /// A dump of `part` begins: what it does not show is gone.
    pub fn begin(&mut self, part: Part) {
        match part {
            Part::Links => self.interfaces.unmark(|_| true),
            Part::Addresses => self.addresses.unmark(|_| true),
            Part::Routes(family) => self.routes.begin(family),
            Part::Rules(family) => self.routes.begin_rules(family),
        }
    }

    /// The dump of `part` is whole. What it did not show stays until [`Self::sweep`].
    pub fn finish(&mut self, part: Part) {
        match part {
            Part::Links => {
                for interface in self.interfaces.iter_mut().filter(|i| !i.marked) {
                    interface.set_gone(&mut self.addresses);
                }
            }
            Part::Addresses => {
                for address in self.addresses.iter_mut() {
                    address.gone |= !address.marked;
                }
            }
            Part::Routes(family) => self.routes.finish(family),
            Part::Rules(family) => self.routes.finish_rules(family),
        }
    }
}
