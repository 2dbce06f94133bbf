// SPDX-License-Identifier: BSD-3-Clause
//! What the engine takes in: each input goes to the child that it concerns.

use core::fmt;

use libc::{ENETDOWN, ENODEV};

use super::due::Due;
#[cfg(feature = "control")]
use super::news::{News, What};
use super::plugins::{View, view};
use super::{Engine, Incomplete, Input, Source};
use crate::config::Config;
use crate::endpoint::Slot;
use crate::endpoint::manager::Refusal;
use crate::features::{HEALING, SOURCE_ROUTING, USERSPACE};
use crate::logging;
use crate::netlink::mptcp::Event;
use crate::netlink::route::{Family, Notification, PROTOCOL};
#[cfg(feature = "control")]
use crate::network::Declared;
use crate::network::Interface;
use crate::request::{CommandId, Failure};
use crate::time::Instant;

impl Engine {
    /// Takes in something that happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Network(event) => self.on_network_event(now, event),
            Input::NetworkItem(item) => self.network.apply(item, &self.config),
            Input::NetworkEnd(part, result) => {
                if self.schedule.on_dump_end(now, Due::part(part), result) {
                    self.network.finish(part);
                }
                self.schedule.due.add(Due::WAYS);
            }
            Input::Way(question, result) => {
                self.schedule.due.add(Due::WAYS);
                self.schedule.reconcile_due = true;
                match result {
                    Ok(_) => self.schedule.on_success(),
                    Err(cause) => drop(self.schedule.on_dump_end(now, Due::WAYS, Err(cause))),
                }
                let known = self.readable().own_routes;
                self.network.on_answer(&question, result.ok(), &self.config);
                if !known && self.network.has_aliases() {
                    // Default routes have not been looked for so far.
                    self.schedule.due.add(Due::ROUTES4);
                }
            }
            Input::Endpoint(endpoint) => self.endpoints.on_dumped(endpoint),
            Input::EndpointsEnd(result) => {
                if self.schedule.on_dump_end(now, Due::ENDPOINTS, result) {
                    self.endpoints.finish_dump(now);
                }
                if self.endpoints.is_leaving() {
                    self.leave();
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
            #[cfg(feature = "control")]
            Input::Declare(name, declared) => self.declare(name, declared),
            #[cfg(feature = "health")]
            Input::Probes(event) => self.on_probes(now, event),
            Input::Reload(config) => self.reload(now, *config),
            Input::Remember(endpoint) => self.endpoints.remember(endpoint),
            Input::Restore(state) => self.endpoints.restore(state),
            Input::StateNotSaved => self.endpoints.mark_state_changed(),
            Input::Stop => self.stop(now),
            Input::Connection(_)
            | Input::DiagConnection(_)
            | Input::DiagSubflow(_)
            | Input::DiagEnd(_)
                if !self.manages_connections() =>
            {
                self.on_coverage_input(now, input);
            }
            input if USERSPACE => self.on_connection_input(now, input),
            _ => {}
        }
    }

    /// Takes in what is about connections.
    fn on_connection_input(&mut self, now: Instant, input: Input<'_>) {
        #[cfg(feature = "control")]
        if let Input::Connection(event) = &input {
            self.count_join(event);
            let known = self.connections.table();
            self.report.news.on_event(event, &self.network, known);
        }
        let view = view!(self, now);
        let (connections, host) = (&mut self.connections, &mut self.plugins);
        match input {
            Input::Connection(event) => {
                self.report.counters.connection_events += 1;
                connections.on_event(view, host, event);
            }
            Input::Reply(number, reply) => connections.on_reply(view, host, number, reply),
            Input::DiagConnection(found) => connections.on_diag_connection(view, host, &found),
            Input::DiagSubflow(found) => connections.on_diag_subflow(host, &found),
            #[cfg(feature = "quality")]
            Input::DiagQuality(token, ends, quality) => {
                connections.on_quality(view, host, (token, ends.local, ends.remote), &quality);
            }
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
                self.schedule.on_success();
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
        if !HEALING {
            return;
        }
        match input {
            Input::Connection(Event::SubflowClosed(_)) => {
                self.report.counters.connection_events += 1;
                self.healer.on_loss(now);
            }
            Input::DiagConnection(found) => self.healer.on_connection(&found),
            Input::DiagSubflow(found) => {
                let network = &self.network;
                let carries = |index| network.interface(index).is_some_and(Interface::is_up);
                let is_up = |ip| {
                    let mut all = network.addresses();
                    all.any(|a| a.address == ip && !a.is_dead() && carries(a.index))
                };
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
        if healer.is_unavailable() {
            self.depart_unseen(now);
        } else {
            let is_needed = &mut |slot: &Slot| healer.is_needed(&slot.endpoint);
            let changed = self.endpoints.decide_departures(now, is_needed);
            self.schedule.endpoints_due |= changed;
        }
        let healer = &mut self.healer;
        if !healer.is_brief() {
            let limits = self.endpoints.limits().current();
            let limit = limits.map_or(0, |limits| limits.subflows as usize);
            healer.find_missing(now, limit, &mut |_address| {
                #[cfg(feature = "control")]
                self.report.joins.on_failed(_address);
            });
            while let Some((address, told)) = healer.next_renewal(now) {
                self.endpoints.renew(now, address, told);
                self.schedule.endpoints_due = true;
            }
            if !healer.is_settling() {
                self.endpoints.settle_returns();
            }
        }
        let kept = self.endpoints.endpoints().ours().iter().any(Slot::is_kept);
        healer.schedule(now, self.config.heal_interval, kept);
    }

    /// Lets endpoints go where nobody can tell whether connections need them: all but the last one
    /// that works.
    pub(super) fn depart_unseen(&mut self, now: Instant) {
        let ours = self.endpoints.endpoints().ours().iter();
        let mut working = ours.filter(|slot| slot.is_usable()).count();
        let is_needed = &mut |slot: &Slot| {
            let others = working - usize::from(slot.is_usable());
            if others > 0 {
                working = others;
            }
            others == 0
        };
        let changed = self.endpoints.decide_departures(now, is_needed);
        self.schedule.endpoints_due |= changed;
    }

    fn on_network_event(&mut self, now: Instant, event: &Notification) {
        self.report.counters.events += 1;
        let Some(due) = Due::after(event, &self.network, &self.config) else {
            return;
        };
        // Routes and rules are kept by dumps alone, and our own do not answer our questions.
        let network = &mut self.network;
        let (family, protocol) = match event {
            Notification::Route(route) | Notification::RouteGone(route) => {
                (route.family, route.protocol)
            }
            Notification::Rule(rule) | Notification::RuleGone(rule) => (rule.family, rule.protocol),
            Notification::Nexthop => {
                network.doubt(&|_| true);
                return self.schedule.on_event(now, due);
            }
            _ => {
                network.apply(event, &self.config);
                return self.schedule.on_event(now, due);
            }
        };
        if protocol != PROTOCOL {
            network.doubt(&|a| Family::of(a.address) == family);
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
            // Connections may have lost subflows while nobody watched.
            if HEALING && !self.manages_connections() {
                self.healer.on_path_gained(now);
            }
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
        self.report.counters.overflows += 1;
        #[cfg(feature = "control")]
        self.report.news.push(News::of(What::Overflow));
        match source {
            Source::Network => {
                logging::warn!("network events were lost; reading the whole network again");
                self.network.doubt(&|_| true);
                let parts = self.schedule.network_parts(self.readable());
                self.schedule.on_event(now, parts);
            }
            // As when an endpoint goes over which thousands had a subflow.
            Source::Connections if !self.manages_connections() => self.healer.on_loss(now),
            Source::Connections => {
                logging::warn!("connection events were lost; looking at all connections");
                self.schedule.due.add(Due::CONNECTIONS);
                self.connections.sync.outdated = true;
            }
        }
    }

    #[cfg(feature = "control")]
    fn declare(&mut self, name: &str, declared: Declared) {
        let mut interfaces = self.network.interfaces();
        let Some(interface) = interfaces.find(|interface| interface.name == name) else {
            return;
        };
        let (index, name) = (interface.index, interface.name.clone());
        drop(interfaces);
        self.network.declare(index, declared, &self.config);
        self.schedule.reconcile_due = true;
        self.report.news.push(News {
            name,
            quiet: false,
            ..News::of(What::Declared(declared))
        });
    }

    pub(super) fn resync(&mut self, now: Instant) {
        self.network.doubt(&|_| true);
        let interval = self.config.resync_interval;
        self.schedule.resync(now, interval, self.readable());
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
        self.schedule.cleanup_due = SOURCE_ROUTING;
        self.endpoints.forget_kernel();
        self.resync(now);
    }

    pub(super) fn on_failed(&mut self, now: Instant, number: CommandId, failure: Failure<'_>) {
        self.report.counters.refusals += 1;
        if let Some(refusal) = self.endpoints.failed(now, number, failure) {
            match refusal {
                Refusal::Endpoint { dump, report } => {
                    if dump {
                        self.schedule.due.add(Due::ENDPOINTS);
                    }
                    if let Some(address) = report {
                        say(failure, "endpoint ", &address);
                    }
                    self.schedule.reconcile_due = true;
                }
                Refusal::Limits { report } => {
                    self.schedule.due.add(Due::LIMITS);
                    if report {
                        say(failure, "the limits", &"");
                    }
                }
            }
        } else if let Some(queued) = self.plugins.queue.answered(number) {
            #[cfg(feature = "control")]
            self.count_refusal(&queued);
            let view = view!(self, now);
            let host = &mut self.plugins;
            if USERSPACE {
                self.connections
                    .command_done(view, host, queued, Err(failure));
            }
        } else if let Some(refused) = self.router.failed(number, failure.errno) {
            let errno = failure.errno;
            // A kernel without policy routing refuses every one for the same reason.
            let news = refused.news && !refused.gone;
            if news && self.report.note_refusal(errno) {
                say(failure, "the ", refused.change);
            }
            if matches!(errno, ENODEV | ENETDOWN) {
                // The interface is not what it was thought to be.
                self.schedule.due.add(Due::LINKS);
            }
            self.schedule.reconcile_due = true;
        } else {
            self.schedule.due.add(Due::KERNEL);
            self.schedule.reconcile_due = true;
        }
    }

    /// Every command up to this one has ended. What became of our own is read where that is not
    /// known; plugins are told.
    fn on_done(&mut self, now: Instant, number: CommandId, result: Result<(), Failure<'_>>) {
        if self.unacked.is_some_and(|last| last.is_acked_by(number)) {
            self.unacked = None;
        }
        self.schedule.reconcile_due |= self.endpoints.done(number);
        while let Some(queued) = self.plugins.queue.done(number) {
            let view = view!(self, now);
            let host = &mut self.plugins;
            if USERSPACE {
                self.connections.command_done(view, host, queued, result);
            }
        }
    }
}

/// Tells what the kernel refuses.
fn say(failure: Failure<'_>, kind: &str, what: &dyn fmt::Display) {
    logging::warn!("the kernel refuses {kind}{what}: {failure}");
}
