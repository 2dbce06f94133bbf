// SPDX-License-Identifier: BSD-3-Clause
//! What people should know of an interface, each said once.

use super::{Interface, LocalAddress, Network};
use crate::netlink::IfIndex;
use crate::netlink::route::Name;

impl Network {
    /// Returns an uplink whose IPv4 traffic the routes answer by another interface, each once.
    pub(crate) fn next_asymmetric_route(&mut self) -> Option<Name> {
        let is_asymmetric = |address: &&LocalAddress| {
            let free = address.way.free;
            self.interface(address.index).is_some_and(|interface| {
                !interface.asymmetric_route
                    && !interface.is_source_routed()
                    && address.has_way()
                    && ![IfIndex::NONE, address.index].contains(&free)
            })
        };
        // The table has IPv4 addresses before all IPv6 ones.
        let index = {
            let mut usable = self.usable().take_while(|a| a.address.is_ipv4());
            usable.find(is_asymmetric)?.index
        };
        let at = self.interfaces.binary_search_by_key(&index, |i| i.index);
        let interface = self.interfaces.get_mut(at.ok()?)?;
        interface.asymmetric_route = true;
        Some(interface.name.clone())
    }

    /// Returns a tunnel that is used and that a program carries, each once.
    pub(crate) fn next_tunnel(&mut self) -> Option<Name> {
        let is_used = |i: &Interface| i.tunnel && self.usable().any(|a| a.index == i.index);
        let at = self.interfaces.iter().position(is_used)?;
        let interface = self.interfaces.get_mut(at)?;
        interface.tunnel = false;
        Some(interface.name.clone())
    }
}
