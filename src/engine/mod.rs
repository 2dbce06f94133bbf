// SPDX-License-Identifier: BSD-3-Clause
//! The engine: what is known, what is wanted, and the commands between them.
//!
//! A pure state machine: it performs no I/O and reads no clock. Whoever drives it calls
//!
//! 1. [`Engine::handle`] with everything that has happened,
//! 2. [`Engine::settle`] once all that has arrived has been handled,
//! 3. [`Engine::poll_command`] until it has nothing more, carrying out each command and handing
//!    its result back to [`Engine::handle`],
//! 4. and waits for the next event, or until [`Engine::deadline`].
//!
//! Before commands that add something are sent, [`Engine::state_to_save`] says whether the run
//! state has to be written. This file is the order of things and nothing else: what is known
//! belongs to the children, which are handed what they need and do not know each other.

mod connection_sync;
mod connections;
mod contract;
mod due;
mod healing;
mod input;
#[cfg(feature = "control")]
mod joins;
#[cfg(feature = "control")]
pub mod news;
mod output;
mod plugins;
#[cfg(feature = "health")]
mod probes;
mod report;
mod schedule;
#[cfg(feature = "control")]
mod status;
mod storm;
mod sync;

use crate::config::{Config, OnExit};
use crate::connection::Connections;
use crate::endpoint::limits::Fixed;
use crate::endpoint::manager::{EndpointManager, Terms};
use crate::endpoint::{Endpoints, Slot};
use crate::features::{HEALING, USERSPACE};
#[cfg(feature = "health")]
use crate::health::Health;
use crate::logging;
use crate::netlink::mptcp::Endpoint;
use crate::network::Network;
use crate::network::route::Change;
use crate::plugin::Entry;
use crate::policy;
use crate::request::{CommandId, Queue, Request};
use crate::routing::Router;
use crate::state::State;
use crate::time::Instant;
use connections::ConnectionManager;
pub use contract::{Command, Incomplete, Input, Source, Subscriptions};
use due::Due;
use healing::Healer;
use plugins::{PluginHost, View, view};
pub use report::Counters;
use report::Report;
use schedule::{Schedule, Use};

/// One field for each child, and what no child owns, since it is between them.
pub struct Engine {
    config: Config,
    network: Network,
    schedule: Schedule,
    plugins: PluginHost,
    connections: ConnectionManager,
    endpoints: EndpointManager,
    healer: Healer,
    router: Router,
    #[cfg(feature = "health")]
    health: Health,
    report: Report,
    /// The kernel's path manager can be talked to.
    pm_available: bool,
    /// Which events are of use to configuration and plugins.
    of_use: Subscriptions,
    /// What the driver has been told to subscribe to.
    subscribed: Option<Subscriptions>,
    /// The last command given out whose failure could still come.
    unacked: Option<CommandId>,
}

impl Engine {
    /// Loads the plugins of `entries`, in order. Callbacks other than `init` begin with the first
    /// settling.
    pub fn new(now: Instant, config: Config, entries: &[&'static Entry]) -> Self {
        let mut engine = Self {
            network: Network::new(),
            schedule: Schedule::new(now),
            plugins: PluginHost::new(entries),
            connections: ConnectionManager::new(0),
            endpoints: EndpointManager::default(),
            healer: Healer::new(),
            router: Router::default(),
            #[cfg(feature = "health")]
            health: Health::new(),
            report: Report::new(),
            pm_available: false,
            of_use: Subscriptions::default(),
            subscribed: None,
            unacked: None,
            config,
        };
        let view = view!(engine, now);
        engine.plugins.init(view, &mut engine.connections.table);
        engine.of_use = Subscriptions {
            routes: engine.config.uses_routes(),
            connections: USERSPACE && engine.plugins.wants_connections(),
        };
        if engine.manages_connections() {
            engine.connections.reserve(engine.config.max_connections);
        }
        let interval = engine.config.resync_interval;
        engine.schedule.schedule_resync(now, interval);
        engine
    }

    /// Has the plugins' random numbers begin at `seed`; without it they are always the same.
    pub fn seed(&mut self, seed: u64) {
        self.plugins.seed(seed);
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn endpoints(&self) -> &Endpoints {
        self.endpoints.endpoints()
    }

    pub fn connections(&self) -> &Connections {
        self.connections.table()
    }

    pub fn counters(&self) -> &Counters {
        &self.report.counters
    }

    /// Returns the plugins in use, the one that manages connections first.
    pub fn plugin_names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.names()
    }

    /// Returns why plugins could not be initialized, a line for each.
    pub fn plugin_problems(&self) -> &[String] {
        &self.plugins.problems
    }

    /// Returns whether a plugin manages connections; else the kernel does.
    pub fn manages_connections(&self) -> bool {
        USERSPACE && self.of_use.connections
    }

    /// Returns what the run state should say, with the endpoints that are ours, if that changed
    /// since the last call.
    pub fn state_to_save(&mut self) -> Option<(State, impl Iterator<Item = Endpoint>)> {
        let state = self.endpoints.state_to_save()?;
        let ours = self.endpoints.endpoints().ours().iter();
        Some((state, ours.map(Slot::remembered)))
    }

    /// Returns when to call [`Self::settle`] even if nothing happens: at once if there is
    /// something to give out, or if the results of commands are waited for.
    pub fn deadline(&self) -> Option<Instant> {
        let awaited = self.plugins.queue.is_awaited() || self.endpoints.awaits();
        if self.plugins.queue.len() > 0
            || (USERSPACE && self.connections.has_commands())
            || (self.unacked.is_some() && awaited)
        {
            return Some(Instant::default());
        }
        let more = USERSPACE && self.connections.table.has_pending();
        let read_at = self.schedule.read_at(self.readable(), more);
        let act_at = match self.schedule.endpoints_due {
            true => Instant::default(),
            false => self.act_at(),
        };
        let mut at = self.schedule.deadline(read_at, act_at);
        if USERSPACE {
            at = at
                .min(self.plugins.deadline())
                .min(self.connections.sync_at);
        }
        if HEALING {
            at = at.min(self.healer.deadline());
        }
        #[cfg(feature = "health")]
        let at = at.min(self.health.deadline());
        #[cfg(feature = "control")]
        let at = at.min(self.report.news.deadline());
        #[cfg(feature = "quality")]
        let at = match self.connections.table.is_empty() {
            true => at,
            false => at.min(self.plugins.measure_at()),
        };
        (at != Instant::NEVER).then_some(at)
    }

    /// Returns what is of use and can be read.
    fn readable(&self) -> Use {
        Use {
            routes: self.of_use.routes,
            own_routes: self.config.makes_routes() || self.network.has_aliases(),
            connections: self.manages_connections(),
            path_manager: self.pm_available,
        }
    }

    /// Returns when to act although there is no news.
    fn act_at(&self) -> Instant {
        if !self.schedule.initial_sync_done {
            return Instant::NEVER;
        }
        if self.schedule.reconcile_due {
            // The queue had no room for all.
            return Instant::default();
        }
        let routing = self.network.deadline().min(self.router.deadline());
        if self.pm_available && !self.schedule.due.any(Due::KERNEL) {
            // When what the kernel refused may be tried again.
            return routing.min(self.endpoints.deadline());
        }
        routing
    }

    /// Acts upon the news. Call it once all that has arrived has been handled.
    pub fn settle(&mut self, now: Instant) {
        if self.schedule.is_resync_due(now) {
            self.resync(now);
        }
        self.schedule.on_time(now);
        #[cfg(feature = "control")]
        self.report.news.on_time(now, &self.network);
        if USERSPACE && self.connections.take_sync(now) {
            self.schedule.due.add(Due::CONNECTIONS);
            self.connections.sync.outdated = true;
        }
        #[cfg(feature = "quality")]
        if !self.connections.table.is_empty() && self.plugins.take_measure(now) {
            self.schedule.due.add(Due::CONNECTIONS);
        }
        if HEALING && self.healer.take_due(now) {
            self.schedule.due.add(Due::SUBFLOWS);
        }
        if USERSPACE {
            let view = view!(self, now);
            self.connections.introduce(view, &mut self.plugins);
            self.plugins.run_timers(view, &mut self.connections.table);
        }
        if self.schedule.take_events(now) {
            self.endpoints.retry_now();
            self.router.retry_now();
        }
        if self.schedule.must_wait(now, self.readable()) {
            return;
        }
        let first = !core::mem::replace(&mut self.schedule.initial_sync_done, true);
        if first {
            // What an earlier run used is used again, whether or not `existing` addresses are.
            let ours = self.endpoints.endpoints().ours();
            self.network
                .take_back(&|ip| ours.iter().any(|slot| slot.endpoint.address == ip));
        }
        let late = self.act_at() <= now;
        if core::mem::take(&mut self.schedule.reconcile_due) || late {
            self.evaluate(now);
            self.schedule.endpoints_due = true;
        }
        if core::mem::take(&mut self.schedule.endpoints_due) {
            self.schedule.reconcile_due = !self.reconcile(now);
        }
        if first {
            let (usable, all) = (
                self.network.usable().count(),
                self.network.addresses().count(),
            );
            logging::info!("watching the network: {usable} of {all} addresses are usable");
        }
    }

    /// Judges the network and tells the plugins what that changes for them.
    fn evaluate(&mut self, now: Instant) {
        policy::evaluate(&mut self.network, now, &self.config);
        #[cfg(feature = "health")]
        self.follow_paths(now);
        self.schedule.rp_filter_check_due = true;
        while let Some(name) = self.network.next_tunnel() {
            // Whoever has a section for it knows.
            if !self.config.names(&name) {
                logging::warn!(
                    "{name} is a tunnel: if a program carries it over MPTCP, it is not to use \
                     itself: exclude it ([interface {name}] use = no)"
                );
            }
        }
        #[cfg(feature = "control")]
        self.report
            .news
            .on_judged(now, &mut self.network, self.endpoints.endpoints());
        self.plugins.notify_network(
            now,
            self.pm_available,
            &mut self.network,
            &self.config,
            &mut self.connections.table,
        );
        self.network.sweep();
        let due = &mut self.schedule.due;
        self.network.take_room(&mut |part| due.add(Due::part(part)));
        let parts = self.schedule.network_parts(self.readable());
        let reading = self.schedule.due.any(parts);
        self.report.on_evaluated(self.network.is_short(), reading);
    }

    /// Brings the kernel in step with the network. Returns whether nothing was left over.
    fn reconcile(&mut self, now: Instant) -> bool {
        let routed = self.reconcile_routes(now);
        if !self.pm_available || self.schedule.due.any(Due::KERNEL) {
            return routed;
        }
        let fixed = Fixed {
            subflows: self.config.limit_subflows,
            add_addr_accepted: self.config.limit_add_addr_accepted,
            accepts: !self.manages_connections() && !self.plugins.is_empty(),
        };
        let network = &self.network;
        let terms = Terms {
            fixed,
            most: self.config.max_endpoints as usize,
            adopt: &self.config.adopt,
            is_local: &|ip| network.addresses().any(|a| a.address == ip),
        };
        let wanted = self.endpoints.clear_wanted();
        self.plugins.endpoints(&self.network, &self.config, wanted);
        let (queue, commands) = (&mut self.plugins.queue, &mut self.report.counters.commands);
        let mut send = |command| {
            let number = queue.push(Queue::ENGINE, Request::Kernel(command));
            *commands += u64::from(number.is_some());
            #[cfg(feature = "control")]
            if number.is_some() {
                self.report.news.on_command(&command);
            }
            number
        };
        let done = self.endpoints.reconcile(now, &terms, &mut send);
        if done.needs_dump {
            self.schedule.due.add(Due::ENDPOINTS);
        }
        self.plugins.report_overflow();
        let mut complete = done.complete && routed;
        let waiting = done.needs_look;
        if self.manages_connections() {
            // Connections of plugins do not depend on endpoints.
            complete &= !waiting || !self.endpoints.decide_departures(now, &mut |_| false);
        } else if HEALING {
            if waiting {
                self.schedule.due.add(Due::SUBFLOWS);
                self.healer.on_departure();
            }
            if done.gained {
                self.healer.on_path_gained(now);
            }
        } else if waiting || self.endpoints().ours().iter().any(Slot::is_kept) {
            self.depart_unseen(now);
        }
        complete
    }

    /// Brings our routes and rules in step with the network. Returns whether every change found
    /// room in the queue.
    fn reconcile_routes(&mut self, now: Instant) -> bool {
        if !self.readable().own_routes && !self.schedule.cleanup_due {
            return true;
        }
        let (due, queue) = (&mut self.schedule.due, &mut self.plugins.queue);
        let mut complete = true;
        let mut send = |change: Change| {
            due.add(Due::part(change.part()));
            let number = queue.push_route(change);
            complete = number.is_some();
            number
        };
        self.router
            .reconcile(now, &self.network, &self.config, &mut send);
        #[cfg(all(feature = "control", feature = "health"))]
        self.report_steering();
        self.report.on_routed(self.router.unrouted());
        if self.router.is_at_rest() && !self.schedule.due.any(Due::ROUTING) {
            self.report.on_routes_complete();
            self.schedule.cleanup_due = false;
        }
        complete
    }

    /// Ends the plugins and, if the configuration says so, takes away what is ours.
    fn stop(&mut self, now: Instant) {
        let view = view!(self, now);
        self.plugins.exit(view, &mut self.connections.table);
        self.schedule.due = Due::NONE;
        self.schedule.rp_filter_check_due = false;
        self.endpoints.mark_state_changed();
        if self.config.on_exit != OnExit::Remove {
            return;
        }
        let queue = &mut self.plugins.queue;
        self.router.remove_all(&self.network, &mut |change| {
            queue.push_route(change);
        });
        if self.pm_available {
            self.endpoints.leave();
        }
    }

    /// Takes away what the last look has shown to be ours.
    fn leave(&mut self) {
        let queue = &mut self.plugins.queue;
        let mut send = |command| queue.push(Queue::ENGINE, Request::Kernel(command));
        self.endpoints.remove_all(&mut send);
    }
}
