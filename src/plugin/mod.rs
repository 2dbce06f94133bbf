//! Strategies: what a plugin is told, and what it can do.
//!
//! A plugin is a type that implements [`Plugin`] and an [`Entry`] in the list given to
//! [`crate::run`]. Everything it is told is a callback with a default that does nothing;
//! everything it can do is a method of the [`Context`] it is handed. Plugins are called one at a
//! time, from one thread, and must not block.

#[cfg(feature = "addr_adv")]
pub mod addr_adv;

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

use crate::capacity;
use crate::config::Config;
use crate::endpoint::{Want, Wanted};
use crate::netlink::mptcp::{
    Command, ConnectionEvent, Endpoint, Limits, SubflowAddress, SubflowEvent,
};
use crate::network::{Interface, LocalAddress, Network};
use crate::routing::Change;
use crate::table::Table;
use crate::time::{Instant, Span};

/// A plugin as it is compiled in.
pub struct Entry {
    /// What `path-manager` and `load-plugins` call it, and its section in the configuration.
    pub name: &'static str,
    pub description: &'static str,
    /// The lowest number is the default plugin, unless `path-manager` names one.
    pub priority: i8,
    pub create: fn() -> Box<dyn Plugin>,
}

/// The plugins that the crate's features select.
pub const BUILT_IN: &[Entry] = &[
    #[cfg(feature = "addr_adv")]
    addr_adv::ENTRY,
];

/// Number of a command, by which its result comes back.
pub type CommandId = u32;

/// Why the kernel refused a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure<'a> {
    /// Positive, as in errno(3).
    pub errno: i32,
    /// The kernel's own words (NLMSGERR_ATTR_MSG), empty where it gave none.
    pub message: &'a str,
}

/// What a command that asks something brings back, once for each item, before its
/// [`Plugin::command_done`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// An endpoint of the in-kernel path manager, or an address of a connection.
    Endpoint(Endpoint),
    Limits(Limits),
}

/// A path-management strategy.
#[allow(unused_variables)]
pub trait Plugin {
    /// Whether the kernel should tell of connections. While the plugin that manages them answers
    /// no, connections cost the daemon nothing.
    fn wants_connections(&self) -> bool {
        false
    }

    /// Called once, before anything else. A plugin that fails is not used, and what it asked for
    /// is not done.
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), &'static str> {
        Ok(())
    }

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

    fn connection_closed(&mut self, cx: &mut Context<'_>, token: u32) {}

    /// The peer announces an address (ADD_ADDR, RFC 8684, 3.4.1).
    fn new_address(&mut self, cx: &mut Context<'_>, token: u32, id: u8, address: SocketAddr) {}

    /// The peer withdraws an address (REMOVE_ADDR, RFC 8684, 3.4.2).
    fn address_removed(&mut self, cx: &mut Context<'_>, token: u32, id: u8) {}

    fn new_subflow(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {}

    /// May come again for a subflow that is closed already.
    fn subflow_closed(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {}

    /// The peer changes a subflow's priority (MP_PRIO, RFC 8684, 3.3.8).
    fn subflow_priority(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {}

    /// Some program of this host listens for MPTCP connections.
    fn listener_created(&mut self, cx: &mut Context<'_>, local: SocketAddr) {}

    fn listener_closed(&mut self, cx: &mut Context<'_>, local: SocketAddr) {}

    /// An interface is up. Told of those there at the start, too.
    fn new_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {}

    /// The flags or the name of an interface changed.
    fn update_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {}

    /// An interface is down or gone. Its addresses have been told gone before.
    fn delete_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {}

    /// An address may be used, by the configuration and the state of the network.
    fn new_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {}

    /// An address may no longer be used.
    fn delete_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {}

    /// Something that a command asked for.
    fn reply(&mut self, cx: &mut Context<'_>, command: CommandId, reply: &Reply) {}

    /// A command of this plugin's is done, or refused.
    fn command_done(
        &mut self,
        cx: &mut Context<'_>,
        command: CommandId,
        result: Result<(), Failure<'_>>,
    ) {
    }

    /// A timer of this plugin's has run out.
    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {}
}

/// What the daemon is asked to do beyond the kernel's own commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    Kernel(Command),
    /// Announce an address, with a listener of the daemon's own behind it.
    AnnounceWithListener {
        token: u32,
        address: SubflowAddress,
    },
    /// Listen for joins at an address. Counted: each needs its [`Request::Unlisten`].
    Listen(SocketAddr),
    Unlisten(SocketAddr),
    /// Change the source routing, which is the engine's own business.
    #[doc(hidden)]
    Route(Change),
}

/// Whether `command` is done when all are up to and including `last`. Numbers wrap: what is less
/// than half their range behind is done.
pub(crate) fn is_done(command: CommandId, last: CommandId) -> bool {
    last.wrapping_sub(command) <= CommandId::MAX / 2
}

/// Requests that wait to be carried out.
pub(crate) struct Queue {
    waiting: VecDeque<Queued>,
    next: CommandId,
    refused: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub number: CommandId,
    /// The plugin that asked, or [`Queue::ENGINE`].
    pub owner: u8,
    pub request: Request,
}

impl Queue {
    pub(crate) const ENGINE: u8 = u8::MAX;

    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(capacity::COMMANDS),
            next: 0,
            refused: 0,
        }
    }

    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }

    pub(crate) fn number(&mut self) -> CommandId {
        self.next = if self.next == CommandId::MAX {
            1
        } else {
            self.next + 1
        };
        self.next
    }

    pub(crate) fn push(&mut self, owner: u8, request: Request) -> Option<CommandId> {
        if self.waiting.len() >= capacity::COMMANDS {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        let number = self.number();
        self.waiting.push_back(Queued {
            number,
            owner,
            request,
        });
        Some(number)
    }

    /// Drops what `owner` has asked for.
    pub(crate) fn forget(&mut self, owner: u8) {
        self.waiting.retain(|queued| queued.owner != owner);
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        self.waiting.pop_front()
    }

    pub(crate) fn first(&self) -> Option<Request> {
        self.waiting.front().map(|queued| queued.request)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// A timer of a plugin's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub owner: u8,
    pub timer: u32,
    pub at: Instant,
}

/// A plugin's handle on the daemon.
pub struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) ready: bool,
    pub(crate) owner: u8,
    pub(crate) name: &'static str,
    pub(crate) network: &'a Network,
    pub(crate) config: &'a Config,
    pub(crate) queue: &'a mut Queue,
    pub(crate) timers: &'a mut Table<Timer>,
}

impl Context<'_> {
    /// The time of the event, in milliseconds on a clock that never jumps.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether the kernel's path manager can be talked to.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub fn network(&self) -> &Network {
        self.network
    }

    pub fn config(&self) -> &Config {
        self.config
    }

    /// The value of a key in the plugin's own section of the configuration.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.config.plugin_value(self.name, key)
    }

    /// Has [`Plugin::timer`] called with `timer` after `span`. A timer that is set already is
    /// moved. Answers false if there are too many timers.
    pub fn set_timer(&mut self, timer: u32, span: Span) -> bool {
        self.cancel_timer(timer);
        self.timers.push(Timer {
            owner: self.owner,
            timer,
            at: self.now + span,
        })
    }

    pub fn cancel_timer(&mut self, timer: u32) {
        let owner = self.owner;
        self.timers.retain(|t| t.owner != owner || t.timer != timer);
    }

    /// Asks for anything the daemon can do. `None` if too much is waiting already: try again
    /// from [`Plugin::command_done`] or a timer.
    pub fn request(&mut self, request: Request) -> Option<CommandId> {
        self.queue.push(self.owner, request)
    }

    fn kernel(&mut self, command: Command) -> Option<CommandId> {
        self.request(Request::Kernel(command))
    }

    /// Announces an address to the peer of a connection. Somebody must be listening there.
    pub fn announce(&mut self, token: u32, address: SubflowAddress) -> Option<CommandId> {
        self.kernel(Command::Announce { token, address })
    }

    /// Announces an address and listens there until it is removed or the connection ends. With
    /// port 0 the port is chosen by the kernel and announced.
    pub fn announce_with_listener(
        &mut self,
        token: u32,
        address: SubflowAddress,
    ) -> Option<CommandId> {
        self.request(Request::AnnounceWithListener { token, address })
    }

    /// Withdraws an announced address.
    pub fn remove_address(&mut self, token: u32, id: u8) -> Option<CommandId> {
        self.kernel(Command::RemoveAddress { token, id })
    }

    /// Makes a subflow. `local.flags` may ask for BACKUP; `remote.port` is the peer's port.
    pub fn create_subflow(
        &mut self,
        token: u32,
        local: SubflowAddress,
        remote: SubflowAddress,
    ) -> Option<CommandId> {
        self.kernel(Command::CreateSubflow {
            token,
            local,
            remote,
        })
    }

    /// Closes a subflow, named by both its ends with their ports.
    pub fn destroy_subflow(
        &mut self,
        token: u32,
        local: SubflowAddress,
        remote: SubflowAddress,
    ) -> Option<CommandId> {
        self.kernel(Command::DestroySubflow {
            token,
            local,
            remote,
        })
    }

    /// Sets or clears the backup priority of a subflow, and tells the peer (MP_PRIO).
    pub fn set_backup(
        &mut self,
        token: u32,
        local: SubflowAddress,
        remote: SubflowAddress,
        backup: bool,
    ) -> Option<CommandId> {
        self.kernel(Command::SetBackup {
            token,
            local,
            remote,
            backup,
        })
    }

    /// Adds an endpoint by hand. Prefer [`Plugin::endpoints`], which also keeps it.
    pub fn add_endpoint(&mut self, endpoint: Endpoint) -> Option<CommandId> {
        self.kernel(Command::AddEndpoint(endpoint))
    }

    /// Deletes an endpoint by its id.
    pub fn delete_endpoint(&mut self, endpoint: Endpoint) -> Option<CommandId> {
        self.kernel(Command::DeleteEndpoint(endpoint))
    }

    /// Asks for an endpoint; it comes in [`Plugin::reply`].
    pub fn get_endpoint(&mut self, id: u8) -> Option<CommandId> {
        self.kernel(Command::GetEndpoint { id })
    }

    /// Asks for all endpoints; they come in [`Plugin::reply`].
    pub fn dump_endpoints(&mut self) -> Option<CommandId> {
        self.kernel(Command::DumpEndpoints)
    }

    /// Deletes all endpoints of the namespace, other programs' included.
    pub fn flush_endpoints(&mut self) -> Option<CommandId> {
        self.kernel(Command::FlushEndpoints)
    }

    /// Changes the BACKUP and FULLMESH flags of an endpoint, and of the connections that use it.
    pub fn set_flags(&mut self, endpoint: Endpoint) -> Option<CommandId> {
        self.kernel(Command::SetFlags(endpoint))
    }

    pub fn set_limits(&mut self, limits: Limits) -> Option<CommandId> {
        self.kernel(Command::SetLimits(limits))
    }

    /// Asks for the limits; they come in [`Plugin::reply`].
    pub fn get_limits(&mut self) -> Option<CommandId> {
        self.kernel(Command::GetLimits)
    }

    /// Asks for one address of a connection (Linux 6.9); it comes in [`Plugin::reply`].
    pub fn get_address(&mut self, token: u32, id: u8) -> Option<CommandId> {
        self.kernel(Command::GetAddress { token, id })
    }

    /// Asks for all addresses of a connection (Linux 6.9); they come in [`Plugin::reply`].
    pub fn dump_addresses(&mut self, token: u32) -> Option<CommandId> {
        self.kernel(Command::DumpAddresses { token })
    }

    /// Listens for joins at an address.
    pub fn listen(&mut self, local: SocketAddr) -> Option<CommandId> {
        self.request(Request::Listen(local))
    }

    /// Lets go of a listener; the last one to let go closes it.
    pub fn unlisten(&mut self, local: SocketAddr) -> Option<CommandId> {
        self.request(Request::Unlisten(local))
    }

    /// The address id that an address of this host has in the protocol: the same one for every
    /// connection as long as it exists. `None` if all are taken.
    pub fn address_id(&mut self, address: IpAddr) -> Option<u8> {
        // Ids follow the order of arrival; 0 is the initial subflow's own (RFC 8684, 3.2).
        let mut at = self.network.addresses().filter(|a| a.address == address);
        let sequence = at.next()?.sequence;
        u8::try_from(sequence % 255 + 1).ok()
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
