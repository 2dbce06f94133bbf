//! The engine: what is known, what is wanted, and the commands between them.
//!
//! A pure state machine. It performs no I/O and reads no clock: [`Engine::handle`] takes in what
//! happened, [`Engine::settle`] decides once the news have been read, and
//! [`Engine::poll_command`] gives out what is to be done.

mod connections;
mod due;
mod recovery;
mod storm;

use core::fmt;
use core::net::SocketAddr;

use libc::{EAFNOSUPPORT, ENETDOWN, ENODEV, EOPNOTSUPP};

use crate::capacity;
use crate::config::flags::AddressFlags as Flags;
use crate::config::{Config, NotifyFlags, OnExit, Policy};
use crate::connection::Connections;
use crate::connection::address_id::AddressIds;
use crate::endpoint::limits::{Fixed, LimitKeeper};
use crate::endpoint::{Endpoints, Wanted};
use crate::logging;
use crate::netlink::diag;
use crate::netlink::mptcp::{Command as Kernel, Endpoint, Event, Limits};
use crate::netlink::route::{Family, Name, Notification, PROTOCOL};
use crate::network::route::{self, Change, Item};
use crate::network::{IFF_LOOPBACK, IFF_UP, Interface, LocalAddress, Network, Part, Verdict};
use crate::plugin::{Context, Entry, Plugin, Timer};
use crate::policy;
use crate::request::{CommandId, Failure, Queue, Reply, Request};
use crate::routing::SourceRouter;
use crate::state::State;
use crate::table::Table;
use crate::time::{Backoff, Instant, Span};
use connections::Held;
use due::Due;
use storm::Storm;

/// Something that happened.
pub enum Input<'a> {
    /// An event of rtnetlink.
    Network(&'a Notification),
    /// An item of the dump of the network that is under way.
    NetworkItem(&'a Notification),
    /// The dump of a part of the network ended.
    NetworkEnd(Part, Result<(), Incomplete>),
    /// An endpoint that the dump under way shows.
    Endpoint(Endpoint),
    /// The dump of the endpoints ended.
    EndpointsEnd(Result<(), Incomplete>),
    /// The kernel has shown its limits, or refused to.
    Limits(Result<Limits, Incomplete>),
    /// An event of a connection.
    Connection(&'a Event),
    /// What a plugin's command asked for.
    Reply(CommandId, &'a Reply),
    /// A connection that the inet_diag dump under way shows.
    DiagConnection(diag::Connection),
    /// A subflow that it shows.
    DiagSubflow(diag::Subflow),
    /// The dump of connections and subflows ended.
    DiagEnd(Result<(), Incomplete>),
    /// An address of the connection with this token, for a dump of its addresses.
    ConnectionAddress(u32, Endpoint),
    /// That dump ended.
    ConnectionAddressesEnd(u32, Result<(), Incomplete>),
    /// The listener that a command asked for is open.
    Listening(CommandId, SocketAddr),
    /// The kernel refused a command.
    Failed(CommandId, Failure<'a>),
    /// Every command up to this one that has not failed is done.
    Done(CommandId),
    /// What became of the commands up to this one that have not failed is not known.
    ResultsLost(CommandId),
    /// The kernel's path manager appeared or vanished.
    PathManager(bool),
    /// Events were lost.
    EventsLost(Source),
    Reload(Box<Config>),
}

/// Why a dump is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incomplete {
    /// Something changed meanwhile (NLM_F_DUMP_INTR), or messages were lost.
    Interrupted,
    /// errno.
    Refused(i32),
}

/// Where events come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Network,
    Connections,
}

/// Something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Dump a part of the network, item by item.
    DumpNetwork(Part),
    /// Dump all endpoints.
    DumpEndpoints,
    GetLimits,
    /// Dump all connections, and then all subflows (inet_diag).
    DumpConnections,
    /// Dump the addresses of the connection with this token.
    DumpAddresses(u32),
    /// Carry out a request; the result comes back with its number.
    Request(CommandId, Request),
    /// Change our source routing.
    Route(CommandId, Change),
    /// Let go of a listener. There is no answer.
    CloseListener(SocketAddr),
}

struct Loaded {
    name: &'static str,
    priority: i8,
    plugin: Box<dyn Plugin>,
}

/// What happened, counted since the start; shown with the state.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    pub events: u64,
    pub reconciliations: u64,
    pub commands: u64,
    pub refusals: u64,
    pub overflows: u64,
    pub connection_events: u64,
}

pub struct Engine {
    config: Config,
    network: Network,
    endpoints: Endpoints,
    wanted: Wanted,
    limits: LimitKeeper,
    router: SourceRouter,
    plugins: Vec<Loaded>,
    /// Which plugin manages connections.
    default: usize,
    queue: Queue,
    connections: Connections,
    ids: AddressIds,
    /// Listeners behind announced addresses.
    held: Table<Held>,
    timers: Table<Timer>,
    /// When to look for connections anew, after an event that made no sense.
    recover_at: Instant,
    /// The connections of before the start are known, and with them the ids given out then.
    acquainted: bool,
    /// The kernel cannot show connections.
    blind: bool,
    due: Due,
    dumping: Backoff,
    dump_at: Instant,
    storm: Storm,
    /// Reconcile with the next settling even if no event came.
    stale: bool,
    look_at: Instant,
    /// When the last look at the endpoints began.
    looked: Instant,
    resync_at: Instant,
    ready: bool,
    /// Routes and rules of an earlier run or configuration may be left.
    leftovers: bool,
    /// The whole network has been read once.
    known: bool,
    /// [`Self::next_asymmetric_route`] has something to look at.
    judged: bool,
    saved: u32,
    changes: u32,
    told: Told,
    counters: Counters,
}

/// What the log has been told, so that it is told once.
#[derive(Default)]
struct Told {
    waiting: bool,
    unsupported: u32,
    short: bool,
    unrouted: u32,
    /// errno of the last refusal.
    routing: i32,
    unmanaged: bool,
    crowded: bool,
}

/// How long to wait at most before a dump that was interrupted is asked for again.
const LONGEST_RETRY: Span = Span(500);

/// An event makes the daemon look at the endpoints this much later, to find what others did to
/// them; but only so long after the last look, for the sake of isolated events.
const LOOK_AFTER: Span = Span(500);
const LOOK_EVERY: Span = Span::seconds(10);

impl Engine {
    /// Loads the plugins that the configuration names, or all of `entries`, in order. Callbacks
    /// begin with the first settling.
    pub fn new(now: Instant, config: Config, entries: &[&'static Entry]) -> Self {
        let mut engine = Self {
            network: Network::new(),
            endpoints: Endpoints::new(),
            wanted: Wanted::default(),
            limits: LimitKeeper::default(),
            router: SourceRouter::default(),
            plugins: Vec::with_capacity(capacity::PLUGINS),
            default: 0,
            queue: Queue::new(),
            connections: Connections::new(0),
            ids: AddressIds::default(),
            held: Table::new(capacity::LISTENERS),
            timers: Table::new(capacity::TIMERS),
            recover_at: Instant::NEVER,
            acquainted: false,
            blind: false,
            due: Due(Due::NETWORK.0 | Due::KERNEL.0 | Due::CONNECTIONS.0),
            dumping: Backoff::default(),
            dump_at: now,
            storm: Storm::default(),
            stale: true,
            look_at: Instant::NEVER,
            looked: now,
            resync_at: Instant::NEVER,
            ready: false,
            leftovers: true,
            known: false,
            judged: false,
            saved: 0,
            changes: 0,
            told: Told::default(),
            counters: Counters::default(),
            config,
        };
        for entry in entries {
            let (name, most) = (entry.name, capacity::PLUGINS);
            if engine.plugins.len() >= most {
                logging::error!("plugin {name}: there are {most} before it; it is not used");
                continue;
            }
            engine.plugins.push(Loaded {
                name,
                priority: entry.priority,
                plugin: (entry.create)(),
            });
        }
        engine.init(now);
        if engine.wants_connections() {
            engine.connections = Connections::new(engine.config.max_connections);
        }
        engine.schedule_resync(now);
        engine
    }

    fn init(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.plugins.len() {
            let mut result = Ok(());
            self.call(now, at, |plugin, cx| result = plugin.init(cx));
            match (result, self.plugins.get(at)) {
                (Err(cause), Some(loaded)) => {
                    logging::error!("plugin {}: {cause}; it is not used", loaded.name);
                    self.plugins.remove(at);
                    // What it asked for would be the next one's.
                    let owner = owner(at);
                    self.queue.forget(owner);
                    self.timers.retain(|timer| timer.owner != owner);
                }
                _ => at += 1,
            }
        }
        let named = self.config.path_manager.as_deref();
        let plugins = self.plugins.iter().enumerate();
        // The named one comes first, then the lowest priority number, then the order of the list.
        let first = plugins.min_by_key(|(_, p)| (Some(p.name) != named, p.priority));
        self.default = first.map_or(0, |(at, _)| at);
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The plugins in use, the one that manages connections first.
    pub fn plugin_names(&self) -> impl Iterator<Item = &'static str> {
        let default = self.plugins.get(self.default).into_iter();
        let others = self
            .plugins
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != self.default);
        default
            .chain(others.map(|(_, loaded)| loaded))
            .map(|loaded| loaded.name)
    }

    /// Whether connection events are of use to anybody.
    pub fn wants_connections(&self) -> bool {
        self.plugins
            .get(self.default)
            .is_some_and(|p| p.plugin.wants_connections())
    }

    /// Whether routes and rules matter to the configuration.
    pub fn wants_routes(&self) -> bool {
        let wants = |p: &Policy| p.source_routing || p.notify.contains(NotifyFlags::CHECK_ROUTE);
        wants(&self.config.default) || self.config.interface.iter().any(|s| wants(&s.policy))
    }

    /// An uplink that a strict reverse-path filter would make useless, each once: the routes answer
    /// its IPv4 traffic by another interface.
    pub fn next_asymmetric_route(&mut self) -> Option<Name> {
        if !core::mem::take(&mut self.judged) || !self.wants_routes() {
            return None;
        }
        let name = self.network.next_asymmetric_route();
        self.judged = name.is_some();
        name
    }

    /// Takes back the run state of an earlier run.
    pub fn restore(&mut self, state: &State) {
        self.endpoints.set_last_id(state.last_id);
        self.limits.remember(state.baseline, state.set);
    }

    /// Takes back an endpoint of an earlier run.
    pub fn remember(&mut self, endpoint: Endpoint) {
        self.endpoints.remember(endpoint);
    }

    /// What the run state should say, if that changed since the last call.
    pub fn unsaved_state(&mut self) -> Option<State> {
        if self.saved == self.changes {
            return None;
        }
        self.saved = self.changes;
        Some(State {
            generation: 0,
            last_id: self.endpoints.last_id(),
            baseline: self.limits.baseline(),
            set: self.limits.set(),
        })
    }

    /// When to call [`Self::settle`] even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let mut at = self.look_at.min(self.resync_at).min(self.recover_at);
        for timer in self.timers.iter() {
            at = at.min(timer.at);
        }
        at = at.min(match self.storm.due() {
            // A storm holds up all else.
            Some(due) => due,
            None => self.read_at().min(self.act_at()),
        });
        (at != Instant::NEVER).then_some(at)
    }

    /// When to read from the kernel, if something of use is due.
    fn read_at(&self) -> Instant {
        let due = self.readable() != Due::NONE || self.connections.has_untold();
        if due && self.storm.pending.is_none() {
            self.dump_at
        } else {
            Instant::NEVER
        }
    }

    /// Whether to wait for a dump before judging the network. When the kernel refuses it, what
    /// is known has to do.
    fn must_read_first(&self, now: Instant) -> bool {
        self.due.any(self.network_parts()) && (self.dump_at <= now || !self.known)
    }

    /// When to act although there is no news.
    fn act_at(&self) -> Instant {
        if !self.known {
            return Instant::NEVER;
        }
        if self.stale {
            // The queue had no room for all.
            return Instant::default();
        }
        let routing = self.network.deadline().min(self.router.deadline());
        if self.ready && !self.due.any(Due::KERNEL) {
            // When what the kernel refused may be tried again.
            let refused = self.endpoints.deadline().min(self.limits.deadline());
            return routing.min(refused);
        }
        routing
    }

    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Network(notification) => self.event(now, notification),
            Input::NetworkItem(notification) => self.network.apply(notification, &self.config),
            Input::NetworkEnd(part, result) => {
                if self.dumped(now, Due::part(part), result) {
                    self.network.finish(part);
                }
            }
            Input::Endpoint(endpoint) => self.endpoints.saw(endpoint),
            Input::EndpointsEnd(result) => {
                if self.dumped(now, Due::ENDPOINTS, result) && self.endpoints.finish_look(now) {
                    self.touch();
                }
            }
            Input::Limits(result) => {
                self.dumped(now, Due::LIMITS, result.map(drop));
                if let Ok(limits) = result {
                    self.limits.saw(limits);
                }
            }
            Input::Connection(event) => self.connection(now, event),
            Input::Reply(number, reply) => self.reply(now, number, reply),
            Input::DiagConnection(found) => self.found(now, &found),
            Input::DiagSubflow(found) => self.found_subflow(&found),
            Input::DiagEnd(result) => self.recovered(now, result),
            Input::ConnectionAddress(token, endpoint) => self.learn(token, &endpoint),
            Input::ConnectionAddressesEnd(token, result) => self.learned(now, token, result),
            Input::Listening(number, local) => self.listening(now, number, local),
            Input::Failed(number, failure) => self.failed(now, number, failure),
            Input::Done(number) => self.done(now, number, Ok(())),
            Input::ResultsLost(number) => {
                self.resync(now);
                let failure = Failure {
                    errno: libc::ENOBUFS,
                    message: "the kernel's answer was lost",
                };
                self.done(now, number, Err(failure));
            }
            Input::PathManager(present) => self.family(now, present),
            Input::EventsLost(source) => self.lost(now, source),
            Input::Reload(config) => self.reload(now, *config),
        }
    }

    fn event(&mut self, now: Instant, notification: &Notification) {
        self.counters.events += 1;
        match notification {
            Notification::Route(route) | Notification::RouteGone(route) => {
                let ours = route.protocol == PROTOCOL;
                if !self.wants_routes() || !(ours || route::is_default(route)) {
                    return;
                }
                self.due.add(Due::routes(route.family));
            }
            Notification::Rule(rule) | Notification::RuleGone(rule) => {
                if !self.wants_routes() {
                    return;
                }
                self.due.add(Due::rules(rule.family));
            }
            // Routes that name it may go with it, and are not told of.
            Notification::Nexthop => {
                if !self.wants_routes() {
                    return;
                }
                self.due.add(Due(Due::ROUTES4.0 | Due::ROUTES6.0));
            }
            Notification::Link(link) => {
                let was = self.network.interface(link.index).map_or(0, |i| i.flags);
                if was & IFF_UP != link.flags & IFF_UP {
                    self.routes_may_be_gone(Due(Due::ROUTES4.0 | Due::ROUTES6.0));
                }
                self.network.apply(notification, &self.config);
            }
            Notification::LinkGone { .. } => {
                self.routes_may_be_gone(Due(Due::ROUTES4.0 | Due::ROUTES6.0));
                self.network.apply(notification, &self.config);
            }
            Notification::AddressGone(address) => {
                self.network.apply(notification, &self.config);
                // With its last IPv4 address a device loses its IPv4 routes, and with any address
                // go those that prefer it.
                let ipv4 = |a: &LocalAddress| a.index == address.index && a.address.is_ipv4();
                let routes = self.network.routes();
                let last = address.local.is_ipv4() && !self.network.addresses().any(ipv4);
                if last || routes.prefers(address.local) {
                    self.routes_may_be_gone(Due::routes(Family::of(address.local)));
                }
            }
            Notification::Address(_) => self.network.apply(notification, &self.config),
        }
        self.storm.event(now);
    }

    /// The kernel removes IPv4 routes silently in some cases: look, if routes matter.
    fn routes_may_be_gone(&mut self, routes: Due) {
        if self.wants_routes() {
            self.due.add(routes);
        }
    }

    /// A dump ended. Answers whether what it showed is whole.
    fn dumped(&mut self, now: Instant, what: Due, result: Result<(), Incomplete>) -> bool {
        match result {
            Ok(()) => {
                self.due.remove(what);
                self.dumping.reset();
                self.stale = true;
                return true;
            }
            // A kernel without IPv6 or policy routing has no such routes or rules.
            Err(Incomplete::Refused(errno @ (EOPNOTSUPP | EAFNOSUPPORT)))
                if what.any(Due::ROUTING) =>
            {
                logging::debug!("cannot read the {}: errno {errno}", what.name());
                self.due.remove(what);
            }
            Err(Incomplete::Refused(errno)) => {
                let what = what.name();
                logging::warn!("cannot read the {what}: errno {errno}; trying again");
                self.dump_at = self.dumping.next(now);
            }
            // What it showed is true all the same; only what is gone stays unknown.
            Err(Incomplete::Interrupted) => {
                self.dump_at = self.dumping.next(now).min(now + LONGEST_RETRY);
                self.stale = true;
            }
        }
        false
    }

    fn family(&mut self, now: Instant, present: bool) {
        if self.ready == present {
            return;
        }
        self.ready = present;
        self.stale = true;
        if present {
            self.due.add(Due::KERNEL);
            self.endpoints.forget_kernel();
            self.limits.forget_kernel();
        }
        for at in 0..self.plugins.len() {
            self.call(now, at, |plugin, cx| {
                if present {
                    plugin.ready(cx)
                } else {
                    plugin.not_ready(cx)
                }
            });
        }
    }

    fn lost(&mut self, now: Instant, source: Source) {
        self.counters.overflows += 1;
        match source {
            Source::Network => {
                logging::warn!("network events were lost; reading the whole network again");
                self.due.add(self.network_parts());
                self.storm.event(now);
            }
            Source::Connections => {
                logging::warn!("connection events were lost; looking at all connections");
                self.due.add(Due::CONNECTIONS);
            }
        }
    }

    /// Leftovers can wait until the endpoints are there.
    fn network_parts(&self) -> Due {
        if self.wants_routes() || (self.leftovers && self.known) {
            Due::NETWORK
        } else {
            Due(Due::LINKS.0 | Due::ADDRESSES.0)
        }
    }

    /// What is due and of use, and can be read.
    fn readable(&self) -> Due {
        let mut readable = self.network_parts();
        if self.ready {
            readable.add(Due::KERNEL);
            // Who is told of connections knows the network.
            if self.known && self.wants_connections() {
                readable.add(Due::CONNECTIONS);
            }
        }
        Due(self.due.0 & readable.0)
    }

    fn resync(&mut self, now: Instant) {
        self.due.add(self.network_parts());
        self.due.add(Due::KERNEL);
        self.due.add(Due::CONNECTIONS);
        self.endpoints.forget_refusals();
        self.limits.forget_refusals();
        self.stale = true;
        self.dump_at = now;
        self.schedule_resync(now);
    }

    fn schedule_resync(&mut self, now: Instant) {
        let interval = self.config.resync_interval;
        self.resync_at = match interval {
            0 => Instant::NEVER,
            _ => now + Span::seconds(interval),
        };
    }

    fn reload(&mut self, now: Instant, config: Config) {
        self.config = config;
        self.network.configure(&self.config);
        self.leftovers = true;
        self.endpoints.forget_kernel();
        self.limits.forget_kernel();
        self.resync(now);
    }

    fn failed(&mut self, now: Instant, number: CommandId, failure: Failure<'_>) {
        self.counters.refusals += 1;
        let say = |what: fmt::Arguments<'_>| logging::warn!("the kernel refuses {what}: {failure}");
        if let Some(refused) = self.endpoints.failed(now, number, failure.errno) {
            if refused.look {
                self.due.add(Due::ENDPOINTS);
            }
            if let Some(endpoint) = refused.report {
                say(format_args!("endpoint {}", endpoint.address));
            }
            self.touch();
            self.stale = true;
        } else if let Some(report) = self.limits.failed(now, number, failure.errno) {
            self.due.add(Due::LIMITS);
            if report {
                say(format_args!("the limits"));
            }
        } else if let Some(queued) = self.queue.answered(number) {
            self.command_done(now, queued, Err(failure));
        } else if let Some(refused) = self.router.failed(number, failure.errno) {
            let errno = failure.errno;
            // A kernel without policy routing refuses every one for the same reason.
            let news = refused.news && !refused.gone;
            if news && core::mem::replace(&mut self.told.routing, errno) != errno {
                say(format_args!("the {}", refused.change));
            }
            if matches!(errno, ENODEV | ENETDOWN) {
                // The interface is not what it was thought to be.
                self.due.add(Due::LINKS);
            }
            self.stale = true;
        } else {
            self.not_listening(number);
            self.due.add(Due::KERNEL);
            self.stale = true;
        }
    }

    /// Every command up to this one has ended. What became of our own is read where that is not
    /// known; plugins are told.
    fn done(&mut self, now: Instant, number: CommandId, result: Result<(), Failure<'_>>) {
        self.stale |= self.endpoints.done(number);
        self.limits.done(number);
        while let Some(queued) = self.queue.done(number) {
            self.command_done(now, queued, result);
        }
    }

    /// The run state changed, or could not be written.
    pub fn touch(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// Calls one plugin with its handle on everything else.
    fn call(
        &mut self,
        now: Instant,
        at: usize,
        mut callback: impl FnMut(&mut dyn Plugin, &mut Context<'_>),
    ) {
        self.call_any(now, at, &mut callback);
    }

    /// Once for all callbacks: a dozen copies would be 3 KiB more.
    fn call_any(
        &mut self,
        now: Instant,
        at: usize,
        callback: &mut dyn FnMut(&mut dyn Plugin, &mut Context<'_>),
    ) {
        let Some(Loaded { name, plugin, .. }) = self.plugins.get_mut(at) else {
            return;
        };
        let before = self.queue.len();
        let mut context = Context {
            now,
            ready: self.ready,
            owner: owner(at),
            name,
            network: &self.network,
            config: &self.config,
            connections: &self.connections,
            ids: &mut self.ids,
            queue: &mut self.queue,
            timers: &mut self.timers,
        };
        callback(plugin.as_mut(), &mut context);
        for at in before..self.queue.len() {
            if let Some(queued) = self.queue.waiting(at) {
                if let Some(request) = queued.task.request() {
                    queued.announced = self.connections.given(request);
                }
            }
        }
        self.say_crowded();
    }

    /// Says, once, that there was no room for a command. Whoever wanted it knows, and asks again.
    fn say_crowded(&mut self) {
        if self.queue.refused() > 0 && !core::mem::replace(&mut self.told.crowded, true) {
            let most = capacity::COMMANDS;
            logging::warn!("more than {most} commands are waiting: some are put off");
        }
    }

    /// Acts upon the news. Call it once all that has arrived has been handled.
    pub fn settle(&mut self, now: Instant) {
        if self.resync_at <= now {
            self.resync(now);
        }
        if self.look_at <= now {
            self.look_at = Instant::NEVER;
            self.due.add(Due::KERNEL);
        }
        if self.recover_at <= now {
            self.recover_at = Instant::NEVER;
            self.due.add(Due::CONNECTIONS);
        }
        self.introduce(now);
        self.run_timers(now);
        if self.storm.take(now) {
            self.stale = true;
            self.dump_at = self.dump_at.min(now);
            self.endpoints.hurry(now);
            self.router.hurry(now);
            let soon = (now + LOOK_AFTER).max(self.looked + LOOK_EVERY);
            self.look_at = self.look_at.min(soon);
        }
        if self.storm.pending.is_some() || self.must_read_first(now) {
            return;
        }
        let first = !core::mem::replace(&mut self.known, true);
        let late = self.act_at() <= now;
        if core::mem::take(&mut self.stale) || late {
            self.judge(now);
            self.stale = !self.reconcile(now);
        }
        if first {
            let (usable, all) = (
                self.network.usable().count(),
                self.network.addresses().count(),
            );
            logging::info!("watching the network: {usable} of {all} addresses are usable");
        }
    }

    /// Those that are due, the earliest first. One that is set again at once has its next turn
    /// with the next settling.
    fn run_timers(&mut self, now: Instant) {
        for _ in 0..self.timers.len() {
            let due = self.timers.iter().enumerate().filter(|(_, t)| t.at <= now);
            let first = due.min_by_key(|(_, t)| t.at).map(|(at, _)| at);
            let Some(timer) = first.and_then(|at| self.timers.remove(at)) else {
                return;
            };
            self.call(now, timer.owner.into(), |plugin, cx| {
                plugin.timer(cx, timer.timer)
            });
        }
    }

    /// Judges the network and tells the plugins what that changes for them.
    fn judge(&mut self, now: Instant) {
        policy::evaluate(&mut self.network, now, &self.config);
        self.judged = true;
        self.tell(now);
        self.network.sweep();
        let due = &mut self.due;
        self.network.take_room(&mut |part| due.add(Due::part(part)));
        let short = self.network.is_short();
        if short && !self.told.short {
            logging::warn!("the network has more than fits the tables: some of it is not seen");
        }
        // While it is being read again nobody knows.
        let reading = self.due.any(self.network_parts());
        self.told.short = short || (self.told.short && reading);
        let network = &self.network;
        self.ids
            .retain(|ip| network.addresses().any(|a| a.address == ip));
    }

    fn tell(&mut self, now: Instant) {
        let usable = |a: &LocalAddress| a.verdict == Verdict::Usable;
        self.tell_addresses(now, &|a| a.told && !usable(a), false);
        self.tell_interfaces(now, &|i| i.told && !i.is_up(), |p, cx, i| {
            p.delete_interface(cx, i)
        });
        let changed = |i: &Interface| i.told && i.changed;
        self.tell_interfaces(now, &changed, |p, cx, i| p.update_interface(cx, i));
        self.tell_interfaces(now, &|i| !i.told && i.is_up(), |p, cx, i| {
            p.new_interface(cx, i)
        });
        self.tell_addresses(now, &|a| !a.told && usable(a), true);
    }

    fn tell_addresses(
        &mut self,
        now: Instant,
        concerns: &dyn Fn(&LocalAddress) -> bool,
        usable: bool,
    ) {
        let mut from = 0;
        while let Some(at) = self.network.mark_address(from, concerns, usable) {
            for plugin in 0..self.plugins.len() {
                self.call(now, plugin, |plugin, cx| match cx.network.address_at(at) {
                    Some(address) if usable => plugin.new_local_address(cx, address),
                    Some(address) => plugin.delete_local_address(cx, address),
                    None => {}
                });
            }
            from = at + 1;
        }
    }

    fn tell_interfaces(
        &mut self,
        now: Instant,
        concerns: &dyn Fn(&Interface) -> bool,
        tell: fn(&mut dyn Plugin, &mut Context<'_>, &Interface),
    ) {
        let mut from = 0;
        while let Some(at) = self.network.mark_interface(from, concerns) {
            for plugin in 0..self.plugins.len() {
                self.call(now, plugin, |plugin, cx| {
                    if let Some(interface) = cx.network.interface_at(at) {
                        tell(plugin, cx, interface);
                    }
                });
            }
            from = at + 1;
        }
    }

    /// Brings the kernel in step with the network. Answers whether nothing was left over.
    fn reconcile(&mut self, now: Instant) -> bool {
        self.counters.reconciliations += 1;
        let routed = self.reconcile_routes(now);
        if !self.ready || self.due.any(Due::KERNEL) {
            return routed;
        }
        self.wanted.clear();
        for loaded in &mut self.plugins {
            loaded
                .plugin
                .endpoints(&self.network, &self.config, &mut self.wanted);
        }
        let Self {
            endpoints,
            wanted,
            queue,
            counters,
            limits,
            config,
            changes,
            ..
        } = self;
        let mut whole = true;
        let mut send = |command: Kernel| {
            let number = queue.push(Queue::ENGINE, Request::Kernel(command));
            counters.commands += u64::from(number.is_some());
            whole &= number.is_some();
            // What comes to be ours is written down first; what ceases to be can wait.
            if matches!(command, Kernel::AddEndpoint(_) | Kernel::SetFlags(_)) {
                *changes = changes.wrapping_add(1);
            }
            number
        };
        wanted.settle(endpoints);
        // Limits first: a new endpoint makes subflows at once, if it may.
        let fixed = Fixed {
            subflows: config.limit_subflows,
            add_addr_accepted: config.limit_add_addr_accepted,
        };
        let mut raised = false;
        if let Some(target) = limits.target(now, wanted.sure(), fixed) {
            if let Some(number) = send(Kernel::SetLimits(target)) {
                raised = limits.sent(target, number);
            }
        }
        endpoints.reconcile(now, wanted, &mut send);
        if self.endpoints.is_unsure() {
            self.due.add(Due::ENDPOINTS);
        }
        if raised {
            self.touch();
        }
        self.report();
        self.say_crowded();
        whole && routed
    }

    /// Answers whether every change found room in the queue.
    fn reconcile_routes(&mut self, now: Instant) -> bool {
        if !self.wants_routes() && !self.leftovers {
            return true;
        }
        let Self {
            router,
            network,
            config,
            queue,
            due,
            ..
        } = self;
        let mut whole = true;
        router.reconcile(now, network, &config.source_routing, &mut |change| {
            due.add(change_of(&change));
            let number = queue.push_route(change);
            whole = number.is_some();
            number
        });
        let unrouted = router.unrouted();
        if unrouted > 0 && self.told.unrouted == 0 {
            logging::warn!("source routing has no table or priority left for {unrouted} addresses");
        }
        self.told.unrouted = unrouted;
        if router.is_at_rest() && !self.due.any(Due::ROUTING) {
            self.told.routing = 0;
            self.leftovers = false;
        }
        whole
    }

    /// Gives out the next thing to do, if there is one now.
    pub fn poll_command(&mut self, now: Instant) -> Option<Command> {
        if let Some(request) = self.next_request(now) {
            return Some(request);
        }
        if self.read_at() > now {
            return None;
        }
        if let Some(token) = self.connections.next_untold() {
            return Some(Command::DumpAddresses(token));
        }
        let command = self.readable().first()?;
        match command {
            Command::DumpNetwork(part) => self.network.begin(part),
            Command::DumpEndpoints => {
                self.looked = now;
                self.endpoints.begin_look();
            }
            Command::DumpConnections => self.connections.begin(),
            _ => {}
        }
        Some(command)
    }

    /// A number that no command has, for a request of the loop's own.
    pub fn number(&mut self) -> CommandId {
        self.queue.number()
    }

    /// Gives out the next command if it is one for the path manager, to go with others.
    pub fn poll_kernel_command(&mut self) -> Option<(CommandId, Kernel)> {
        let Request::Kernel(command) = *self.queue.waiting(0)?.task.request()? else {
            return None;
        };
        let command = (!command.is_query()).then(|| self.connections.translate(command))?;
        Some((self.queue.pop()?.number, command))
    }

    /// Whether a plugin waits for the result of this command.
    pub fn awaits(&self, number: CommandId) -> bool {
        self.queue.owner(number).is_some()
    }

    /// Whether somebody waits for the result of some command.
    pub fn awaits_any(&self) -> bool {
        self.queue.is_awaited() || self.endpoints.awaits()
    }

    /// Whether [`Self::poll_command`] has something to give.
    pub fn has_commands(&self, now: Instant) -> bool {
        self.queue.len() > 0 || self.read_at() <= now || self.is_listening_in_vain()
    }

    /// Ends the plugins and, if the configuration says so, takes away what is ours. What is left
    /// to do is in [`Self::poll_command`]; do not settle any more.
    pub fn stop(&mut self, now: Instant) {
        for at in (0..self.plugins.len()).rev() {
            self.call(now, at, |plugin, cx| plugin.exit(cx));
        }
        // Exit is the last they hear, whatever becomes of what they asked for.
        self.plugins.clear();
        self.due = Due::NONE;
        self.touch();
        if self.config.on_exit == OnExit::Keep {
            return;
        }
        let Self {
            endpoints,
            queue,
            limits,
            network,
            router,
            ..
        } = self;
        router.remove_all(network, &mut |change| {
            queue.push_route(change);
        });
        if !self.ready {
            return;
        }
        let mut send = |command| queue.push(Queue::ENGINE, Request::Kernel(command));
        endpoints.remove_all(&mut send);
        if let Some(baseline) = limits.restore() {
            send(Kernel::SetLimits(baseline));
        }
    }

    /// Writes the whole state, a line at a time.
    pub fn describe(&self, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for interface in self.network.interfaces() {
            let state = match interface.flags & IFF_LOOPBACK {
                0 if interface.is_up() => "up",
                0 => "down",
                _ => "loopback",
            };
            line(format_args!(
                "interface {} ({}): {state}",
                interface.name, interface.index
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
        for want in self.wanted.iter() {
            line(format_args!(
                "wanted {} flags {}",
                want.address,
                Flags(want.flags)
            ));
        }
        for slot in self.endpoints.ours() {
            let state = if slot.is_deleting() {
                ", being deleted"
            } else {
                ""
            };
            line(format_args!("{}: ours{state}", slot.endpoint));
        }
        for endpoint in self.endpoints.others() {
            line(format_args!("{endpoint}: not ours"));
        }
        for (address, errno) in self.endpoints.refusals() {
            line(format_args!("endpoint {address}: refused (errno {errno})"));
        }
        for rule in self.network.routes().our_rules() {
            line(format_args!("source routing {rule}"));
        }
        for path in self.network.routes().ours() {
            line(format_args!("source routing {path}"));
        }
        if let Some(limits) = self.limits.current() {
            line(format_args!("{limits}"));
        }
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
        let queue = self.queue.refused();
        line(format_args!(
            "counters tables-full {network} queue-full {queue}"
        ));
        line(format_args!(
            "counters connection-events {}",
            c.connection_events
        ));
        let connections = &self.connections;
        line(format_args!(
            "connections {} unmanaged {} subflows-and-addresses-dropped {}",
            connections.len(),
            connections.refused(),
            connections.refused_parts()
        ));
    }

    /// Tells the log, once, what does not fit the kernel.
    fn report(&mut self) {
        // While the capacity is being learnt anew nobody knows who waits, and that is no news.
        if let Some(taken) = self.endpoints.capacity() {
            let waiting = self.wanted.waiting();
            if waiting > 0 && !self.told.waiting {
                logging::warn!("the kernel takes {taken} endpoints; {waiting} more addresses wait");
            }
            self.told.waiting = waiting > 0;
        }
        let unsupported = self.endpoints.unsupported().0;
        if unsupported & !self.told.unsupported != 0 {
            let flags = Flags(self.endpoints.unsupported());
            logging::warn!("this kernel knows no endpoints with the flag {flags}");
        }
        self.told.unsupported |= unsupported;
    }
}

/// By which the queue and the timers know the plugin at a position.
fn owner(at: usize) -> u8 {
    u8::try_from(at).unwrap_or(Queue::ENGINE)
}

/// What has to be read anew after a change of ours.
fn change_of(change: &Change) -> Due {
    match &change.item {
        Item::Rule(rule) => Due::rules(rule.family),
        Item::Route(path) => Due::routes(path.family),
    }
}
