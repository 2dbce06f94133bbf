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
mod output;
mod plugins;
mod report;
mod schedule;
mod storm;

use core::fmt;

use libc::{ENETDOWN, ENODEV};

use crate::config::{Config, OnExit};
use crate::connection::Connections;
use crate::endpoint::limits::Fixed;
use crate::endpoint::manager::{EndpointManager, Refusal};
use crate::endpoint::{Endpoints, Slot};
use crate::logging;
use crate::netlink::message::is_acked;
use crate::netlink::mptcp::{Endpoint, Event};
use crate::netlink::route::Notification;
use crate::network::route::{Change, Item};
use crate::network::{Interface, Network};
use crate::plugin::Entry;
use crate::policy;
use crate::request::{CommandId, Failure, Queue, Request};
use crate::routing::SourceRouter;
use crate::state::State;
use crate::time::Instant;
use connections::ConnectionManager;
pub use contract::{Command, Incomplete, Input, Source, Subscriptions};
use due::Due;
use healing::Healer;
use plugins::{PluginHost, View};
pub use report::Counters;
use schedule::{Schedule, Use};

pub struct Engine {
    config: Config,
    network: Network,
    schedule: Schedule,
    plugins: PluginHost,
    connections: ConnectionManager,
    endpoints: EndpointManager,
    healer: Healer,
    router: SourceRouter,
    counters: Counters,
    reported: Reported,
    /// The kernel's path manager can be talked to.
    pm_available: bool,
    /// Which events are of use to configuration and plugins.
    of_use: Subscriptions,
    /// What the driver has been told to subscribe to.
    subscribed: Option<Subscriptions>,
    /// Uplinks are to be looked at for [`Command::CheckReversePath`].
    rp_filter_check_due: bool,
    /// The last command given out whose failure could still come.
    unacked: Option<CommandId>,
}

/// What the log has been told, so that it is told once.
#[derive(Default)]
struct Reported {
    network_overflow: bool,
    /// Addresses without source routing.
    unrouted: u32,
    /// errno of the last refused route or rule.
    routing: i32,
}

/// Fills in what callbacks see, from disjoint parts of the engine.
macro_rules! view {
    ($engine:ident, $now:expr) => {
        View {
            now: $now,
            ready: $engine.pm_available,
            network: &$engine.network,
            config: &$engine.config,
        }
    };
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
            router: SourceRouter::default(),
            counters: Counters::default(),
            reported: Reported::default(),
            pm_available: false,
            of_use: Subscriptions::default(),
            subscribed: None,
            rp_filter_check_due: false,
            unacked: None,
            config,
        };
        let view = view!(engine, now);
        engine.plugins.init(view, &mut engine.connections.table);
        engine.of_use = Subscriptions {
            routes: engine.config.uses_routes(),
            connections: engine.plugins.wants_connections(),
        };
        if engine.of_use.connections {
            engine.connections.reserve(engine.config.max_connections);
        }
        let interval = engine.config.resync_interval;
        engine.schedule.schedule_resync(now, interval);
        engine
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
        &self.counters
    }

    /// Returns the plugins in use, the one that manages connections first.
    pub fn plugin_names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.names()
    }

    /// Returns why plugins could not be initialized, a line for each.
    pub fn plugin_problems(&self) -> &[String] {
        &self.plugins.problems
    }

    /// Returns whether connection events are of use to anybody.
    pub fn wants_connections(&self) -> bool {
        self.of_use.connections
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
            || self.connections.has_commands()
            || (self.unacked.is_some() && awaited)
        {
            return Some(Instant::default());
        }
        let more = self.connections.table.has_pending();
        let read_at = self.schedule.read_at(self.readable(), more);
        let at = self
            .schedule
            .deadline(read_at, self.act_at())
            .min(self.plugins.deadline())
            .min(self.connections.sync_at)
            .min(self.healer.deadline());
        (at != Instant::NEVER).then_some(at)
    }

    /// Returns what is of use and can be read.
    fn readable(&self) -> Use {
        Use {
            routes: self.of_use.routes,
            connections: self.of_use.connections,
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

    /// Takes in something that happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Network(event) => self.on_network_event(now, event),
            Input::NetworkItem(item) => self.network.apply(item, &self.config),
            Input::NetworkEnd(part, result) => {
                if self.schedule.on_dump_end(now, Due::part(part), result) {
                    self.network.finish(part);
                }
            }
            Input::Endpoint(endpoint) => self.endpoints.on_dumped(endpoint),
            Input::EndpointsEnd(result) => {
                if self.schedule.on_dump_end(now, Due::ENDPOINTS, result) {
                    self.endpoints.finish_dump(now);
                }
            }
            Input::Limits(result) => {
                let whole = result.map(drop);
                self.schedule.on_dump_end(now, Due::LIMITS, whole);
                if let Ok(limits) = result {
                    self.endpoints.on_limits(limits);
                }
            }
            Input::Failed(number, failure) => self.on_failed(now, number, failure),
            Input::Done(number) => self.on_done(now, number, Ok(())),
            Input::ResultsLost(number) => {
                self.resync(now);
                let failure = Failure {
                    errno: libc::ENOBUFS,
                    message: "the kernel's answer was lost",
                };
                self.on_done(now, number, Err(failure));
            }
            Input::PathManager(present) => self.on_path_manager(now, present),
            Input::EventsLost(source) => self.on_events_lost(now, source),
            Input::Reload(config) => self.reload(now, *config),
            Input::Remember(endpoint) => self.endpoints.remember(endpoint),
            Input::Restore(state) => self.endpoints.restore(state),
            Input::StateNotSaved => self.endpoints.mark_state_changed(),
            Input::Stop => self.stop(now),
            Input::Connection(_)
            | Input::DiagConnection(_)
            | Input::DiagSubflow(_)
            | Input::DiagEnd(_)
                if !self.of_use.connections =>
            {
                self.on_coverage_input(now, input);
            }
            input => self.on_connection_input(now, input),
        }
    }

    /// Takes in what is about connections.
    fn on_connection_input(&mut self, now: Instant, input: Input<'_>) {
        let view = view!(self, now);
        let (connections, host) = (&mut self.connections, &mut self.plugins);
        match input {
            Input::Connection(event) => {
                self.counters.connection_events += 1;
                connections.on_event(view, host, event);
            }
            Input::Reply(number, reply) => connections.on_reply(view, host, number, reply),
            Input::DiagConnection(found) => connections.on_diag_connection(view, host, &found),
            Input::DiagSubflow(found) => connections.on_diag_subflow(host, &found),
            Input::DiagEnd(result) => {
                let Some(result) = connections.on_query_end(result) else {
                    return;
                };
                if connections.is_unavailable(result) {
                    self.schedule.due.remove(Due::CONNECTIONS);
                    return;
                }
                let whole = self.schedule.on_dump_end(now, Due::CONNECTIONS, result);
                if connections.on_sync_end(view, host, whole) {
                    self.schedule.due.add(Due::CONNECTIONS);
                }
            }
            Input::ConnectionAddress(token, address) => {
                let endpoints = self.endpoints.endpoints();
                connections.on_address(host, token, &address, endpoints);
            }
            Input::ConnectionAddressesEnd(token, result) => {
                // "userspace PM not selected": the connection is not for plugins.
                let kernel_managed = result == Err(Incomplete::Refused(libc::EINVAL));
                if result.is_err() && !kernel_managed {
                    self.schedule.on_dump_end(now, Due::NONE, result);
                    return;
                }
                self.schedule.reset_backoff();
                connections.on_addresses_end(token, kernel_managed);
            }
            Input::Listening(number, local) => {
                let complete = connections.on_listening(view, host, number, local);
                if complete {
                    self.on_done(now, number, Ok(()));
                }
            }
            _ => {}
        }
    }

    /// Takes in what is about the connections of the in-kernel path manager.
    fn on_coverage_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connection(Event::SubflowClosed(_)) => {
                self.counters.connection_events += 1;
                self.healer.on_loss(now);
            }
            Input::DiagConnection(found) => self.healer.on_connection(&found),
            Input::DiagSubflow(found) => {
                let network = &self.network;
                let is_up = |ip| network.interface_of(ip).is_some_and(Interface::is_up);
                self.healer.on_subflow(&found, &is_up);
            }
            Input::DiagEnd(result) => {
                let Some(result) = self.healer.on_query_end(result) else {
                    return;
                };
                if self.schedule.on_dump_end(now, Due::SUBFLOWS, result) {
                    self.heal(now);
                }
            }
            _ => {}
        }
    }

    /// Acts upon a look at the connections of the in-kernel path manager.
    fn heal(&mut self, now: Instant) {
        if self.healer.is_outdated() {
            self.schedule.due.add(Due::SUBFLOWS);
            return;
        }
        let healer = &mut self.healer;
        self.endpoints
            .decide_departures(&|address| healer.is_needed(address));
        let limits = self.endpoints.limits().current();
        let limit = limits.map_or(0, |limits| limits.subflows as usize);
        healer.find_missing(now, limit);
        while let Some(address) = healer.next_renewal(now) {
            self.endpoints.renew(address);
        }
        let kept = self.endpoints.endpoints().ours().iter().any(Slot::is_kept);
        healer.schedule(now, self.config.heal_interval, kept);
    }

    fn on_network_event(&mut self, now: Instant, event: &Notification) {
        self.counters.events += 1;
        let routes = self.of_use.routes;
        let Some(due) = Due::after(event, &self.network, routes) else {
            return;
        };
        // Routes and rules are kept by dumps alone.
        if matches!(
            event,
            Notification::Link(_)
                | Notification::LinkGone { .. }
                | Notification::Address(_)
                | Notification::AddressGone(_)
        ) {
            self.network.apply(event, &self.config);
        }
        self.schedule.on_event(now, due);
    }

    fn on_path_manager(&mut self, now: Instant, present: bool) {
        if self.pm_available == present {
            return;
        }
        self.pm_available = present;
        self.schedule.reconcile_due = true;
        if present {
            self.schedule.due.add(Due::KERNEL);
            self.endpoints.forget_kernel();
        }
        let view = view!(self, now);
        let table = &mut self.connections.table;
        self.plugins.call_all(view, table, &mut |plugin, cx| {
            if present {
                plugin.ready(cx)
            } else {
                plugin.not_ready(cx)
            }
        });
    }

    fn on_events_lost(&mut self, now: Instant, source: Source) {
        self.counters.overflows += 1;
        match source {
            Source::Network => {
                logging::warn!("network events were lost; reading the whole network again");
                let parts = self.schedule.network_parts(self.of_use.routes);
                self.schedule.on_event(now, parts);
            }
            // As when an endpoint goes over which thousands had a subflow.
            Source::Connections if !self.of_use.connections => self.healer.on_loss(now),
            Source::Connections => {
                logging::warn!("connection events were lost; looking at all connections");
                self.schedule.due.add(Due::CONNECTIONS);
            }
        }
    }

    fn resync(&mut self, now: Instant) {
        let (interval, routes) = (self.config.resync_interval, self.of_use.routes);
        self.schedule.resync(now, interval, routes);
        self.endpoints.forget_refusals();
    }

    fn reload(&mut self, now: Instant, config: Config) {
        self.config = config;
        self.of_use.routes = self.config.uses_routes();
        self.network.configure(&self.config);
        let view = view!(self, now);
        let table = &mut self.connections.table;
        self.plugins
            .call_all(view, table, &mut |plugin, cx| plugin.reload(cx));
        self.schedule.cleanup_due = true;
        self.endpoints.forget_kernel();
        self.resync(now);
    }

    fn on_failed(&mut self, now: Instant, number: CommandId, failure: Failure<'_>) {
        self.counters.refusals += 1;
        let say = |what: fmt::Arguments<'_>| logging::warn!("the kernel refuses {what}: {failure}");
        if let Some(refusal) = self.endpoints.failed(now, number, failure.errno) {
            match refusal {
                Refusal::Endpoint { dump, report } => {
                    if dump {
                        self.schedule.due.add(Due::ENDPOINTS);
                    }
                    if let Some(address) = report {
                        say(format_args!("endpoint {address}"));
                    }
                    self.schedule.reconcile_due = true;
                }
                Refusal::Limits { report } => {
                    self.schedule.due.add(Due::LIMITS);
                    if report {
                        say(format_args!("the limits"));
                    }
                }
            }
        } else if let Some(queued) = self.plugins.queue.answered(number) {
            let view = view!(self, now);
            let host = &mut self.plugins;
            self.connections
                .command_done(view, host, queued, Err(failure));
        } else if let Some(refused) = self.router.failed(number, failure.errno) {
            let errno = failure.errno;
            // A kernel without policy routing refuses every one for the same reason.
            let news = refused.news && !refused.gone;
            if news && core::mem::replace(&mut self.reported.routing, errno) != errno {
                say(format_args!("the {}", refused.change));
            }
            if matches!(errno, ENODEV | ENETDOWN) {
                // The interface is not what it was thought to be.
                self.schedule.due.add(Due::LINKS);
            }
            self.schedule.reconcile_due = true;
        } else {
            self.connections.on_unowned_failure(number);
            self.schedule.due.add(Due::KERNEL);
            self.schedule.reconcile_due = true;
        }
    }

    /// Every command up to this one has ended. What became of our own is read where that is not
    /// known; plugins are told.
    fn on_done(&mut self, now: Instant, number: CommandId, result: Result<(), Failure<'_>>) {
        if self.unacked.is_some_and(|last| is_acked(last, number)) {
            self.unacked = None;
        }
        self.schedule.reconcile_due |= self.endpoints.done(number);
        while let Some(queued) = self.plugins.queue.done(number) {
            let view = view!(self, now);
            let host = &mut self.plugins;
            self.connections.command_done(view, host, queued, result);
        }
    }

    /// Acts upon the news. Call it once all that has arrived has been handled.
    pub fn settle(&mut self, now: Instant) {
        if self.schedule.is_resync_due(now) {
            self.resync(now);
        }
        self.schedule.on_time(now);
        if self.connections.take_sync(now) {
            self.schedule.due.add(Due::CONNECTIONS);
        }
        if self.healer.take_due(now) {
            self.schedule.due.add(Due::SUBFLOWS);
        }
        let view = view!(self, now);
        self.connections.introduce(view, &mut self.plugins);
        self.plugins.run_timers(view, &mut self.connections.table);
        if self.schedule.take_events(now) {
            self.endpoints.retry_now();
            self.router.hurry(now);
        }
        if self.schedule.must_wait(now, self.of_use.routes) {
            return;
        }
        let first = !core::mem::replace(&mut self.schedule.initial_sync_done, true);
        let late = self.act_at() <= now;
        if core::mem::take(&mut self.schedule.reconcile_due) || late {
            self.evaluate(now);
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
        self.rp_filter_check_due = true;
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
        let short = self.network.is_short();
        if short && !self.reported.network_overflow {
            logging::warn!("too many interfaces, addresses or routes: some are ignored");
        }
        // While it is being read again nobody knows.
        let parts = self.schedule.network_parts(self.of_use.routes);
        let reading = self.schedule.due.any(parts);
        self.reported.network_overflow = short || (self.reported.network_overflow && reading);
        let network = &self.network;
        let there = |ip| network.addresses().any(|a| a.address == ip);
        self.plugins.ids.retain(there);
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
        };
        let wanted = self.endpoints.clear_wanted();
        self.plugins.endpoints(&self.network, &self.config, wanted);
        let (queue, commands) = (&mut self.plugins.queue, &mut self.counters.commands);
        let mut send = |command| {
            let number = queue.push(Queue::ENGINE, Request::Kernel(command));
            *commands += u64::from(number.is_some());
            number
        };
        let done = self.endpoints.reconcile(now, fixed, &mut send);
        if done.needs_dump {
            self.schedule.due.add(Due::ENDPOINTS);
        }
        self.plugins.report_overflow();
        let mut complete = done.complete && routed;
        if done.needs_look {
            if self.of_use.connections {
                // Connections of plugins do not depend on endpoints.
                complete &= !self.endpoints.decide_departures(&|_| false);
            } else {
                self.schedule.due.add(Due::SUBFLOWS);
                self.healer.on_departure();
            }
        }
        if done.gained && !self.of_use.connections {
            self.healer.on_path_gained(now);
        }
        complete
    }

    /// Brings our routes and rules in step with the network. Returns whether every change found
    /// room in the queue.
    fn reconcile_routes(&mut self, now: Instant) -> bool {
        if !self.of_use.routes && !self.schedule.cleanup_due {
            return true;
        }
        let (due, queue) = (&mut self.schedule.due, &mut self.plugins.queue);
        let mut complete = true;
        let mut send = |change| {
            due.add(due_after(&change));
            let number = queue.push_route(change);
            complete = number.is_some();
            number
        };
        let ranges = &self.config.source_routing;
        self.router.reconcile(now, &self.network, ranges, &mut send);
        let unrouted = self.router.unrouted();
        if unrouted > 0 && self.reported.unrouted == 0 {
            logging::warn!("source routing has no table or priority left for {unrouted} addresses");
        }
        self.reported.unrouted = unrouted;
        if self.router.is_at_rest() && !self.schedule.due.any(Due::ROUTING) {
            self.reported.routing = 0;
            self.schedule.cleanup_due = false;
        }
        complete
    }

    /// Ends the plugins and, if the configuration says so, takes away what is ours.
    fn stop(&mut self, now: Instant) {
        let view = view!(self, now);
        self.plugins.exit(view, &mut self.connections.table);
        self.schedule.due = Due::NONE;
        self.rp_filter_check_due = false;
        self.endpoints.mark_state_changed();
        if self.config.on_exit == OnExit::Keep {
            return;
        }
        let queue = &mut self.plugins.queue;
        self.router.remove_all(&self.network, &mut |change| {
            queue.push_route(change);
        });
        if self.pm_available {
            let mut send = |command| queue.push(Queue::ENGINE, Request::Kernel(command));
            self.endpoints.remove_all(&mut send);
        }
    }
}

/// Returns what has to be read anew after a change of ours.
fn due_after(change: &Change) -> Due {
    match &change.item {
        Item::Rule(rule) => Due::rules(rule.family),
        Item::Route(path) => Due::routes(path.family),
    }
}
