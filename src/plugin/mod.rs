// SPDX-License-Identifier: BSD-3-Clause
//! Plugins: what one is told, and what it can do.
//!
//! A plugin is a type that implements [`Plugin`] and an [`Entry`] in the list given to
//! [`crate::run`]. Everything it is told is a callback with a default that does nothing;
//! everything it can do is a method of the [`Context`] it is handed. Plugins are called one at a
//! time, from one thread, and must not block. They log with the macros of the crate `log`; tokens
//! are secrets and do not belong there.

#[cfg(feature = "addr_adv")]
pub mod addr_adv;
mod context;
#[cfg(feature = "failover")]
pub mod failover;
#[cfg(feature = "fullmesh")]
pub mod fullmesh;
#[cfg(feature = "ndiffports")]
pub mod ndiffports;
#[cfg(feature = "userspace")]
#[allow(dead_code)] // Without strategies of our own nobody uses all of these two.
mod paths;
#[cfg(feature = "sspi")]
pub mod sspi;
#[cfg(feature = "userspace")]
#[allow(dead_code)]
mod strategy;
#[cfg_attr(not(feature = "userspace"), allow(dead_code))]
mod timers;

use core::net::SocketAddr;

use crate::config::{Config, PluginKeys};
#[cfg(feature = "quality")]
use crate::connection::{Connection, Subflow};
use crate::endpoint::{Want, Wanted};
#[cfg(feature = "quality")]
use crate::netlink::diag::Quality;
use crate::netlink::mptcp::{AddressId, ConnectionEvent, SubflowEvent, Token};
use crate::network::{Interface, LocalAddress, Network};

pub use crate::request::{CommandId, Failure, Reply, Request};
pub(crate) use context::Timer;
pub use context::{Context, QueueFull};
#[cfg(feature = "userspace")]
pub use paths::{Paths, by_priority, uplinks};
#[cfg(feature = "userspace")]
pub use strategy::{Lost, Strategy, strategy};
#[cfg(feature = "quality")]
pub(crate) use timers::Measure;
pub use timers::Pending;
pub(crate) use timers::{ConnectionTimers, Random};

/// A plugin as it is compiled in.
///
/// ```
/// # struct Idle;
/// # impl mptcpd::Plugin for Idle {}
/// use mptcpd::Entry;
///
/// static IDLE: Entry = Entry::new("idle", "does nothing", || Box::new(Idle))
///     .with_keys(&["patience"])
///     .with_priority(10);
/// assert_eq!(IDLE.name, "idle");
/// ```
#[non_exhaustive]
pub struct Entry {
    /// What `path-manager` and `load-plugins` call it, and its section in the configuration.
    pub name: &'static str,
    /// What it does, for `--list-plugins`.
    pub description: &'static str,
    /// The lowest number is the default plugin, unless `path-manager` names one.
    pub priority: i8,
    /// The keys of its section, for [`Context::setting`]; any other is told the user as unknown.
    pub keys: &'static [&'static str],
    /// Makes one, before [`Plugin::init`].
    pub create: fn() -> Box<dyn Plugin>,
}

impl Entry {
    /// Returns an entry with priority 0 and no keys.
    pub const fn new(
        name: &'static str,
        description: &'static str,
        create: fn() -> Box<dyn Plugin>,
    ) -> Self {
        Self {
            name,
            description,
            priority: 0,
            keys: &[],
            create,
        }
    }

    /// Returns the same with another priority.
    pub const fn with_priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }

    /// Returns the same with the keys of its section.
    pub const fn with_keys(mut self, keys: &'static [&'static str]) -> Self {
        self.keys = keys;
        self
    }
}

impl PluginKeys for Entry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn keys(&self) -> &'static [&'static str] {
        self.keys
    }
}

/// The plugins that the crate's features select.
pub const BUILT_IN: &[Entry] = &[
    #[cfg(feature = "addr_adv")]
    addr_adv::ENTRY,
    #[cfg(feature = "sspi")]
    sspi::ENTRY,
    #[cfg(feature = "fullmesh")]
    fullmesh::ENTRY,
    #[cfg(feature = "failover")]
    failover::ENTRY,
    #[cfg(feature = "ndiffports")]
    ndiffports::ENTRY,
];

/// A path-management strategy.
///
/// Events of a connection go to the plugin that manages it, which is the default one at the time
/// the connection is made. The table of connections ([`Context::connection`]) shows them as they
/// are after the event, except that a connection that has closed can still be seen in
/// [`Self::connection_closed`]. What happened while nobody was listening, before the start or
/// when events were lost, is told later in the same way, from a comparison with the kernel. Until
/// the connections of before the start are known, with the ids that their addresses have, nothing
/// is told of any.
///
/// ```
/// use mptcpd::{ConnectionEvent, Context, Plugin};
///
/// /// Writes down which connections there are.
/// struct Diary;
///
/// impl Plugin for Diary {
///     fn wants_connections(&self) -> bool {
///         true
///     }
///
///     fn connection_established(&mut self, _: &mut Context<'_>, event: &ConnectionEvent) {
///         log::info!("{} has connected to {}", event.local, event.remote);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Plugin {
    /// Whether the kernel should tell of connections. While the plugin that manages them answers
    /// no, connections cost the daemon nothing. The answer must stay the same.
    fn wants_connections(&self) -> bool {
        false
    }

    /// Called once, before anything else; by `--check`, too, which does nothing of what is asked
    /// for. The error is one line for the user, who is told the plugin's name along with it. A
    /// plugin that fails is not used, and what it asked for is not done.
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        Ok(())
    }

    /// The configuration was read again: [`Context::setting`] and [`Context::config`] may say
    /// something else now. What changes for interfaces and addresses is told after this.
    fn reload(&mut self, cx: &mut Context<'_>) {}

    /// Called once, last: commands given here are still sent, but their results not told.
    fn exit(&mut self, cx: &mut Context<'_>) {}

    /// The kernel's path manager can be talked to.
    fn ready(&mut self, cx: &mut Context<'_>) {}

    /// The kernel's path manager is gone.
    fn not_ready(&mut self, cx: &mut Context<'_>) {}

    /// States the endpoints that the in-kernel path manager should have. Asked after every
    /// change; the engine brings them about.
    fn endpoints(&mut self, network: &Network, config: &Config, wanted: &mut Wanted) {}

    /// A connection has been created; the handshake is not complete.
    fn new_connection(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {}

    /// A connection is established: subflows can be made.
    fn connection_established(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {}

    /// A connection has ended, and with it all its subflows, which are not told of one by one.
    /// Commands for it that have not been sent fail with ESRCH. Of one that the peer has broken off
    /// (MP_FASTCLOSE, RFC 8684, 3.5) the kernel says nothing: a later comparison shows it, at the
    /// latest after `resync-interval`.
    fn connection_closed(&mut self, cx: &mut Context<'_>, token: Token) {}

    /// The peer announces an address (ADD_ADDR, RFC 8684, 3.4.1). Where it names no port, the
    /// kernel fills in the connection's.
    fn new_address(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        id: AddressId,
        address: SocketAddr,
    ) {
    }

    /// The peer withdraws an address (REMOVE_ADDR, RFC 8684, 3.4.2).
    fn address_removed(&mut self, cx: &mut Context<'_>, token: Token, id: AddressId) {}

    /// A subflow beyond the first is established, whoever made it.
    fn new_subflow(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {}

    /// A subflow has ended, or one asked for has not come about. `was_open` says that the connection
    /// has lost it: it was established, and this host had not asked to close it. The kernel repeats
    /// this event and sends some with addresses that are none; those are not passed on.
    fn subflow_closed(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent, was_open: bool) {}

    /// The peer changes a subflow's priority (MP_PRIO, RFC 8684, 3.3.8).
    fn subflow_priority(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {}

    /// A socket of this host listens for MPTCP connections, some program's or the daemon's own.
    /// Told to the default plugin.
    fn listener_created(&mut self, cx: &mut Context<'_>, local: SocketAddr) {}

    /// A socket has ceased to listen for MPTCP connections. Told to the default plugin.
    fn listener_closed(&mut self, cx: &mut Context<'_>, local: SocketAddr) {}

    /// What TCP knows of the path of a subflow, as [`Context::measure`] and
    /// [`Context::measure_every`] ask for it: once for each subflow that is established.
    #[cfg(feature = "quality")]
    fn subflow_measured(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        subflow: &Subflow,
        quality: &Quality,
    ) {
    }

    /// An interface is up. Told of those there at the start, too.
    fn new_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {}

    /// The flags or the name of an interface changed, or what the configuration says of it.
    fn update_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {}

    /// An interface is down or gone. Its addresses have been told gone before.
    fn delete_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {}

    /// An address may be used, by the configuration and the state of the network.
    fn new_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {}

    /// An address may no longer be used.
    fn delete_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {}

    /// The route by which a usable address leaves has another gateway or metric
    /// ([`LocalAddress::gateway`], [`LocalAddress::metric`]); known where routes are checked.
    #[cfg(feature = "quality")]
    fn route_changed(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {}

    /// Something that a command asked for, before its [`Self::command_done`].
    fn reply(&mut self, cx: &mut Context<'_>, command: CommandId, reply: &Reply) {}

    /// A command of this plugin's is done, or refused. Comes exactly once for every command that
    /// got a number, with what was asked for, so that nothing need be remembered. A subflow asked
    /// for is not there yet: [`Self::new_subflow`] or [`Self::subflow_closed`] follows.
    fn command_done(
        &mut self,
        cx: &mut Context<'_>,
        command: CommandId,
        request: &Request,
        result: Result<(), Failure<'_>>,
    ) {
    }

    /// A timer of this plugin's has run out.
    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {}

    /// A timer of a connection's has run out ([`Context::set_connection_timer`]), or something of it
    /// is to be tried again ([`Context::retry_later`]).
    fn connection_timer(&mut self, cx: &mut Context<'_>, token: Token, what: u64) {}
}

#[cfg(test)]
impl Entry {
    /// One that is never created.
    pub(crate) const fn named(name: &'static str, keys: &'static [&'static str]) -> Self {
        fn create() -> Box<dyn Plugin> {
            unreachable!()
        }
        Self::new(name, "", create).with_keys(keys)
    }
}

/// Makes a want of every usable address, with the flags of its interface's policy.
pub fn want_usable(network: &Network, wanted: &mut Wanted) {
    for address in network.usable() {
        let Some(interface) = network.interface(address.index) else {
            continue;
        };
        wanted.add(Want {
            address: address.address,
            port: interface.policy.port,
            flags: interface.policy.flags,
            ifindex: address.index,
            priority: interface.policy.priority,
            sequence: address.sequence,
        });
    }
}
