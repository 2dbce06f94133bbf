// SPDX-License-Identifier: BSD-3-Clause
//! The plugins' host: loads them, calls them, and keeps what they have asked for.

use crate::capacity;
use crate::config::Config;
use crate::connection::Connections;
use crate::connection::address_id::AddressIds;
use crate::endpoint::Wanted;
use crate::features::USERSPACE;
use crate::logging;
use crate::netlink::mptcp::Token;
use crate::network::{Interface, LocalAddress, Network};
#[cfg(feature = "quality")]
use crate::plugin::Measure;
use crate::plugin::{ConnectionTimers, Context, Entry, Plugin, Random, Timer};
use crate::request::Queue;
use crate::table::Table;
use crate::time::Instant;

/// Where random numbers begin until [`PluginHost::seed`] says otherwise.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

struct Loaded {
    name: &'static str,
    priority: i8,
    plugin: Box<dyn Plugin>,
}

const _: () = assert!(size_of::<Loaded>() <= 40);

/// What a plugin sees of the engine while it is called, beside the connections.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub now: Instant,
    /// The kernel's path manager can be talked to.
    pub ready: bool,
    pub network: &'a Network,
    pub config: &'a Config,
}

/// Makes a [`View`] of disjoint parts of the engine, which a method could not.
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

pub(super) use view;

/// A callback with its arguments filled in. Not generic: a dozen copies of [`PluginHost::call`]
/// would be 3 KiB more.
pub(super) type Callback<'a> = &'a mut dyn FnMut(&mut dyn Plugin, &mut Context<'_>);

pub(super) struct PluginHost {
    loaded: Vec<Loaded>,
    /// Position of the plugin that manages connections.
    default: usize,
    timers: Table<Timer>,
    connection_timers: ConnectionTimers,
    random: Random,
    #[cfg(feature = "quality")]
    measure: Measure,
    /// Address ids of this host's addresses.
    pub ids: AddressIds,
    pub queue: Queue,
    /// The log has been told that the queue was full.
    overflow_reported: bool,
    /// Why plugins could not be initialized.
    pub problems: Vec<String>,
}

impl PluginHost {
    /// Makes the plugins of `entries`, in order. [`Self::init`] is still to be called.
    pub(super) fn new(entries: &[&'static Entry]) -> Self {
        let mut loaded = Vec::with_capacity(capacity::PLUGINS);
        for entry in entries {
            let (name, most) = (entry.name, capacity::PLUGINS);
            if loaded.len() >= most {
                logging::error!("plugin {name}: there are {most} before it; it is not used");
                continue;
            }
            loaded.push(Loaded {
                name,
                priority: entry.priority,
                plugin: (entry.create)(),
            });
        }
        Self {
            loaded,
            default: 0,
            timers: Table::new(capacity::TIMERS),
            connection_timers: ConnectionTimers::default(),
            random: Random::new(SEED),
            #[cfg(feature = "quality")]
            measure: Measure::default(),
            ids: AddressIds::default(),
            queue: Queue::new(),
            overflow_reported: false,
            problems: Vec::new(),
        }
    }

    /// Initializes the plugins and drops those that fail, each with a line in [`Self::problems`];
    /// then chooses the one that manages connections.
    pub(super) fn init(&mut self, view: View<'_>, table: &mut Connections) {
        let mut at = 0;
        while at < self.loaded.len() {
            let mut result = Ok(());
            self.call(view, table, at, &mut |plugin, cx| {
                result = match USERSPACE || !plugin.wants_connections() {
                    true => plugin.init(cx),
                    false => Err("this build lacks the feature userspace".into()),
                }
            });
            match (result, self.loaded.get(at)) {
                (Err(cause), Some(loaded)) => {
                    let problem = format!("plugin {}: {cause}", loaded.name);
                    self.problems.push(problem);
                    self.loaded.remove(at);
                    // What it asked for would be the next one's.
                    let owner = owner(at);
                    self.queue.forget(owner);
                    self.timers.retain(|timer| timer.owner != owner);
                }
                _ => at += 1,
            }
        }
        let named = view.config.path_manager.as_deref();
        // The named one comes first, then the lowest priority number, then the order of the list.
        let mut least = i32::MAX;
        for (at, loaded) in self.loaded.iter().enumerate() {
            let named = Some(loaded.name) == named;
            let rank = i32::from(loaded.priority) + if named { 0 } else { 256 };
            if rank < least {
                (self.default, least) = (at, rank);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Returns the plugins in use, the one that manages connections first.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        (0..).map_while(|at| self.name(at))
    }

    #[inline(never)]
    fn name(&self, at: usize) -> Option<&'static str> {
        let place = match at {
            0 => self.default,
            at if at <= self.default => at - 1,
            at => at,
        };
        self.loaded.get(place).map(|loaded| loaded.name)
    }

    /// Returns whether connection events are of use to the plugin that manages connections.
    pub(super) fn wants_connections(&self) -> bool {
        let default = self.loaded.get(self.default);
        default.is_some_and(|loaded| loaded.plugin.wants_connections())
    }

    /// Returns the owner number of the plugin that manages connections.
    pub(super) fn manager(&self) -> u8 {
        owner(self.default)
    }

    /// Returns when the next timer runs out.
    pub(super) fn deadline(&self) -> Instant {
        let first = self.timers.iter().map(|timer| timer.at).min();
        let first = first.unwrap_or(Instant::NEVER);
        first.min(self.connection_timers.deadline())
    }

    /// Returns when the paths of connections are to be measured, of which there are some.
    #[cfg(feature = "quality")]
    pub(super) fn measure_at(&self) -> Instant {
        match self.measure.owner == self.manager() {
            true => self.measure.at,
            false => Instant::NEVER,
        }
    }

    /// Returns whether that is now: true once.
    #[cfg(feature = "quality")]
    pub(super) fn take_measure(&mut self, now: Instant) -> bool {
        self.measure_at() <= now && self.measure.take(now)
    }

    /// Has random numbers begin anew.
    pub(super) fn seed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Forgets the timers of a connection that has ended.
    pub(super) fn forget_connection(&mut self, token: Token) {
        self.connection_timers.forget(&|p| p.token == token);
    }

    /// Calls the plugin at a position with its handle on everything else.
    pub(super) fn call(
        &mut self,
        view: View<'_>,
        table: &mut Connections,
        at: usize,
        callback: Callback<'_>,
    ) {
        let Some(Loaded { name, plugin, .. }) = self.loaded.get_mut(at) else {
            return;
        };
        let before = self.queue.len();
        let mut context = Context {
            now: view.now,
            ready: view.ready,
            owner: owner(at),
            name,
            network: view.network,
            config: view.config,
            connections: table,
            ids: &mut self.ids,
            queue: &mut self.queue,
            timers: &mut self.timers,
            connection_timers: &mut self.connection_timers,
            random: &mut self.random,
            #[cfg(feature = "quality")]
            measure: &mut self.measure,
        };
        callback(plugin.as_mut(), &mut context);
        if !USERSPACE {
            return;
        }
        for at in before..self.queue.len() {
            if let Some(queued) = self.queue.waiting(at) {
                if let Some(request) = queued.task.request() {
                    queued.announced = table.apply_command(request);
                }
            }
        }
        self.report_overflow();
    }

    /// Calls every plugin, in order.
    pub(super) fn call_all(
        &mut self,
        view: View<'_>,
        table: &mut Connections,
        callback: Callback<'_>,
    ) {
        for at in 0..self.loaded.len() {
            self.call(view, table, at, callback);
        }
    }

    /// Calls the plugin that manages connections.
    pub(super) fn call_default(
        &mut self,
        view: View<'_>,
        table: &mut Connections,
        callback: Callback<'_>,
    ) {
        self.call(view, table, self.default, callback);
    }

    /// Calls the plugin that manages a connection, if there is one and it knows the connection.
    pub(super) fn call_manager(
        &mut self,
        view: View<'_>,
        table: &mut Connections,
        token: Token,
        callback: Callback<'_>,
    ) {
        if let Some(plugin) = table.manager(token) {
            self.call(view, table, plugin, callback);
        }
    }

    /// Says, once, that there was no room for a command. Its author knows, and asks again.
    pub(super) fn report_overflow(&mut self) {
        if self.queue.refused() > 0 && !core::mem::replace(&mut self.overflow_reported, true) {
            let most = capacity::COMMANDS;
            logging::warn!("more than {most} commands are waiting: some are put off");
        }
    }

    /// Runs the timers that are due, the earliest first. One that is set again at once has its
    /// next turn with the next settling.
    pub(super) fn run_timers(&mut self, view: View<'_>, table: &mut Connections) {
        for _ in 0..self.timers.len() {
            let due = self
                .timers
                .iter()
                .enumerate()
                .filter(|(_, t)| t.at <= view.now);
            let first = due.min_by_key(|(_, t)| t.at).map(|(at, _)| at);
            let Some(timer) = first.and_then(|at| self.timers.take(at)) else {
                break;
            };
            self.call(view, table, timer.owner.into(), &mut |plugin, cx| {
                plugin.timer(cx, timer.timer)
            });
        }
        for _ in 0..capacity::CONNECTION_TIMERS {
            let Some(due) = self.connection_timers.next_due(view.now) else {
                break;
            };
            self.call(view, table, due.owner.into(), &mut |plugin, cx| {
                plugin.connection_timer(cx, due.token, due.what)
            });
        }
    }

    /// Collects the endpoints that all plugins want.
    pub(super) fn endpoints(&mut self, network: &Network, config: &Config, wanted: &mut Wanted) {
        for loaded in &mut self.loaded {
            loaded.plugin.endpoints(network, config, wanted);
        }
    }

    /// Ends the plugins, the last one first. Exit is the last they hear, whatever becomes of what
    /// they asked for.
    pub(super) fn exit(&mut self, view: View<'_>, table: &mut Connections) {
        for at in (0..self.loaded.len()).rev() {
            self.call(view, table, at, &mut |plugin, cx| plugin.exit(cx));
        }
        self.loaded.clear();
    }

    /// Tells the plugins what the last judgement of the network changed for them: what they lose
    /// first, and what they gain last.
    pub(super) fn notify_network(
        &mut self,
        now: Instant,
        ready: bool,
        network: &mut Network,
        config: &Config,
        table: &mut Connections,
    ) {
        let usable = |a: &LocalAddress| a.verdict.is_used();
        let mut host = Notifier {
            host: self,
            now,
            ready,
            network,
            config,
            table,
        };
        host.addresses(&|a| a.notified && !usable(a), false, |p, cx, a| {
            p.delete_local_address(cx, a)
        });
        host.interfaces(&|i| i.notified && !i.is_up(), |p, cx, i| {
            p.delete_interface(cx, i)
        });
        let changed = |i: &Interface| i.notified && i.changed;
        host.interfaces(&changed, |p, cx, i| p.update_interface(cx, i));
        host.interfaces(&|i| !i.notified && i.is_up(), |p, cx, i| {
            p.new_interface(cx, i)
        });
        #[cfg(feature = "quality")]
        host.addresses(&|a| a.notified && a.has_other_route(), true, |p, cx, a| {
            p.route_changed(cx, a)
        });
        host.addresses(&|a| !a.notified && usable(a), true, |p, cx, a| {
            p.new_local_address(cx, a)
        });
    }
}

/// The arguments of [`PluginHost::notify_network`], which each of its steps needs.
struct Notifier<'a> {
    host: &'a mut PluginHost,
    now: Instant,
    ready: bool,
    network: &'a mut Network,
    config: &'a Config,
    table: &'a mut Connections,
}

impl Notifier<'_> {
    fn call_all(&mut self, callback: Callback<'_>) {
        let view = View {
            now: self.now,
            ready: self.ready,
            network: self.network,
            config: self.config,
        };
        self.host.call_all(view, self.table, callback);
    }

    fn addresses(
        &mut self,
        concerns: &dyn Fn(&LocalAddress) -> bool,
        usable: bool,
        tell: fn(&mut dyn Plugin, &mut Context<'_>, &LocalAddress),
    ) {
        let mut from = 0;
        while let Some(at) = self.network.mark_address(from, concerns, usable) {
            self.call_all(&mut |plugin, cx| {
                if let Some(address) = cx.network.address_at(at) {
                    tell(plugin, cx, address);
                }
            });
            from = at + 1;
        }
    }

    fn interfaces(
        &mut self,
        concerns: &dyn Fn(&Interface) -> bool,
        tell: fn(&mut dyn Plugin, &mut Context<'_>, &Interface),
    ) {
        let mut from = 0;
        while let Some(at) = self.network.mark_interface(from, concerns) {
            self.call_all(&mut |plugin, cx| {
                if let Some(interface) = cx.network.interface_at(at) {
                    tell(plugin, cx, interface);
                }
            });
            from = at + 1;
        }
    }
}

/// By which the queue and the timers know the plugin at a position.
fn owner(at: usize) -> u8 {
    u8::try_from(at).unwrap_or(Queue::ENGINE)
}

#[cfg(all(test, not(feature = "userspace")))]
mod tests {
    use super::*;

    struct Manager;

    impl Plugin for Manager {
        fn wants_connections(&self) -> bool {
            true
        }

        fn init(&mut self, _: &mut Context<'_>) -> Result<(), String> {
            panic!("it is not to be called");
        }
    }

    struct Other;

    impl Plugin for Other {}

    #[test]
    fn a_plugin_that_wants_connections_is_refused_where_there_are_none() {
        static ENTRIES: [Entry; 2] = [
            Entry::new("manager", "", || Box::new(Manager)),
            Entry::new("other", "", || Box::new(Other)),
        ];
        let mut host = PluginHost::new(&[&ENTRIES[0], &ENTRIES[1]]);
        let view = View {
            now: Instant(0),
            ready: false,
            network: &Network::new(),
            config: &Config::new(&ENTRIES),
        };
        host.init(view, &mut Connections::new(0));
        let problem = "plugin manager: this build lacks the feature userspace";
        assert_eq!(host.problems, [problem]);
        assert_eq!(host.names().collect::<Vec<_>>(), ["other"]);
    }
}
