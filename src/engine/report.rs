// SPDX-License-Identifier: BSD-3-Clause
//! What the engine tells of itself: the dump of its state, how often what happened, and what the
//! log has been told, so that it is told once.

use super::Engine;
#[cfg(feature = "control")]
use super::{joins::Joins, news::Reporter};
use crate::config::flags::AddressFlags;
use crate::logging;
#[cfg(all(feature = "control", feature = "health"))]
use crate::netlink::IfIndex;
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

/// What has been told, and is yet to be told.
pub(super) struct Report {
    pub counters: Counters,
    #[cfg(feature = "control")]
    pub news: Reporter,
    #[cfg(feature = "control")]
    pub joins: Joins,
    /// To which uplinks new connections are steered.
    #[cfg(all(feature = "control", feature = "health"))]
    pub steered: [IfIndex; 2],
    network_overflow: bool,
    /// Addresses without source routing.
    unrouted: u32,
    /// errno of the last refused route or rule.
    routing: i32,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            counters: Counters::default(),
            #[cfg(feature = "control")]
            news: Reporter::new(),
            #[cfg(feature = "control")]
            joins: Joins::new(),
            #[cfg(all(feature = "control", feature = "health"))]
            steered: [IfIndex::default(); 2],
            network_overflow: false,
            unrouted: 0,
            routing: 0,
        }
    }

    /// The network has been judged. While it is being read again nobody knows whether all of it
    /// has room.
    pub(super) fn on_evaluated(&mut self, short: bool, reading: bool) {
        if short && !self.network_overflow {
            logging::warn!("too many interfaces, addresses or routes: some are ignored");
        }
        self.network_overflow = short || (self.network_overflow && reading);
    }

    /// So many addresses are left without source routing.
    pub(super) fn on_routed(&mut self, unrouted: u32) {
        if unrouted > 0 && self.unrouted == 0 {
            logging::warn!("source routing has no table or priority left for {unrouted} addresses");
        }
        self.unrouted = unrouted;
    }

    /// Every route and rule that is wanted is there.
    pub(super) fn on_routes_complete(&mut self) {
        self.routing = 0;
    }

    /// Notes why a route or rule was refused. Returns whether the last one was for another reason.
    pub(super) fn note_refusal(&mut self, errno: i32) -> bool {
        core::mem::replace(&mut self.routing, errno) != errno
    }
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
        let routes = self.network.routes();
        routes.show_ours(&mut |ours| line(format_args!("our {ours}")));
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
                    ", as it is for connections without another path"
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
        let c = &self.report.counters;
        let network = u64::from(self.network.refused());
        let queue = u64::from(self.plugins.queue.refused());
        for (first, one, second, other) in [
            ("events", c.events, "overflows", c.overflows),
            ("commands", c.commands, "refused", c.refusals),
            ("tables-full", network, "queue-full", queue),
        ] {
            line(format_args!("counters {first} {one} {second} {other}"));
        }
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
