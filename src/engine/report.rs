// SPDX-License-Identifier: BSD-3-Clause
//! What the engine tells of itself: the dump of its state, and how often what happened.

use super::Engine;
use crate::config::flags::AddressFlags;
use crate::network::IFF_LOOPBACK;
use crate::sys::errno::Errno;
use core::fmt;

/// What happened, counted since the start; shown with the state.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    /// Events of rtnetlink.
    pub events: u64,
    pub commands: u64,
    pub refusals: u64,
    /// How often events were lost.
    pub overflows: u64,
    /// Events of mptcp_pm.
    pub connection_events: u64,
}

impl Engine {
    /// Writes the whole state, a line at a time.
    pub fn describe(&self, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for name in self.plugin_names() {
            line(format_args!("plugin {name}"));
        }
        for interface in self.network.interfaces() {
            let state = match interface.flags & IFF_LOOPBACK {
                0 if interface.is_up() => "up",
                0 => "down",
                _ => "loopback",
            };
            line(format_args!(
                "interface {} ({}): {state}",
                interface.name, interface.index.0
            ));
        }
        for address in self.network.addresses() {
            let name = self
                .network
                .interface(address.index)
                .map_or("?", |i| i.name.as_str());
            line(format_args!(
                "address {} on {name}: {}",
                address.address, address.verdict
            ));
        }
        self.describe_endpoints(line);
        for rule in self.network.routes().our_rules() {
            line(format_args!("our {rule}"));
        }
        for path in self.network.routes().ours() {
            line(format_args!("our {path}"));
        }
        if let Some(limits) = self.endpoints.limits().current() {
            line(format_args!("{limits}"));
        }
        self.describe_counters(line);
    }

    fn describe_endpoints(&self, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for want in self.endpoints.wanted().iter() {
            line(format_args!(
                "wanted {} flags {}",
                want.address,
                AddressFlags(want.flags)
            ));
        }
        let endpoints = self.endpoints.endpoints();
        for slot in endpoints.ours() {
            let state = match () {
                () if slot.is_deleting() => ", being deleted",
                () if slot.is_kept() && slot.has_path() => {
                    ", with its old flags for connections without another path"
                }
                () if slot.is_kept() => ", kept for connections without another path",
                () => "",
            };
            line(format_args!("{}: ours{state}", slot.endpoint));
        }
        for endpoint in endpoints.others() {
            line(format_args!("{endpoint}: not ours"));
        }
        for (address, errno) in endpoints.refusals() {
            let cause = Errno(errno);
            line(format_args!("endpoint {address}: refused: {cause}"));
        }
    }

    fn describe_counters(&self, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        let c = &self.counters;
        line(format_args!(
            "counters events {} overflows {}",
            c.events, c.overflows
        ));
        line(format_args!(
            "counters commands {} refused {}",
            c.commands, c.refusals
        ));
        let network = self.network.refused();
        let queue = self.plugins.queue.refused();
        line(format_args!(
            "counters tables-full {network} queue-full {queue}"
        ));
        line(format_args!(
            "counters connection-events {}",
            c.connection_events
        ));
        let connections = self.connections.table();
        line(format_args!(
            "connections {} unmanaged {} subflows-and-addresses-dropped {}",
            connections.len(),
            connections.refused(),
            connections.refused_parts()
        ));
    }
}
