// SPDX-License-Identifier: BSD-3-Clause
//! What a plugin can do.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

#[allow(unused_imports)] // For the documentation.
use super::Plugin;
use super::{CommandId, Request};
use crate::config::Config;
use crate::connection::address_id::AddressIds;
use crate::connection::{Connection, Connections};
use crate::netlink::mptcp::{AddressId, Command, Endpoint, Limits, SubflowAddress, Token};
use crate::network::Network;
use crate::request::Queue;
use crate::table::Table;
use crate::time::{Duration, Instant};

/// A timer of a plugin's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub owner: u8,
    pub timer: u32,
    pub at: Instant,
}

const _: () = assert!(size_of::<Timer>() <= 16);

/// Too many commands wait to be carried out: this one was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many commands are waiting")
    }
}

impl core::error::Error for QueueFull {}

/// A plugin's handle on the daemon.
pub struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) ready: bool,
    pub(crate) owner: u8,
    pub(crate) name: &'static str,
    pub(crate) network: &'a Network,
    pub(crate) config: &'a Config,
    pub(crate) connections: &'a Connections,
    pub(crate) ids: &'a mut AddressIds,
    pub(crate) queue: &'a mut Queue,
    pub(crate) timers: &'a mut Table<Timer>,
}

impl<'a> Context<'a> {
    /// The time of the event, in milliseconds on a clock that never jumps.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether the kernel's path manager can be talked to.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Returns the interfaces and addresses of this host.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// Returns the configuration in effect.
    pub fn config(&self) -> &'a Config {
        self.config
    }

    /// Returns a connection that is managed, whichever plugin manages it; `None` if there is none
    /// of this token. It shows what was so when the callback began: commands given in it show in
    /// the next.
    pub fn connection(&self, token: Token) -> Option<Connection<'a>> {
        self.connections.get(token)
    }

    /// Returns all managed connections, in no particular order.
    pub fn connections(&self) -> impl Iterator<Item = Connection<'a>> + use<'a> {
        self.connections.iter()
    }

    /// The value of a key in the plugin's own section of the configuration, of which
    /// [`super::Entry::keys`] must tell. It may be another after SIGHUP: see [`Plugin::reload`].
    pub fn setting(&self, key: &str) -> Option<&'a str> {
        self.config.plugin_value(self.name, key)
    }

    /// Has [`Plugin::timer`] called once with `timer`, a number of the plugin's choice, after
    /// `span` (milliseconds). A timer that is set already is moved. Returns false, and sets none,
    /// if there are too many timers.
    pub fn set_timer(&mut self, timer: u32, span: Duration) -> bool {
        self.cancel_timer(timer);
        self.timers.push(Timer {
            owner: self.owner,
            timer,
            at: self.now + span,
        })
    }

    /// Stops a timer, if it is set.
    pub fn cancel_timer(&mut self, timer: u32) {
        let owner = self.owner;
        self.timers.retain(|t| t.owner != owner || t.timer != timer);
    }

    /// Asks for anything the daemon can do. The result comes back through
    /// [`Plugin::command_done`], by the number that is returned.
    ///
    /// # Errors
    /// [`QueueFull`], as of every method that returns a command's number: nothing will be done,
    /// and nothing comes back. Try again from [`Plugin::command_done`] or a timer.
    pub fn request(&mut self, request: Request) -> Result<CommandId, QueueFull> {
        self.queue.push(self.owner, request).ok_or(QueueFull)
    }

    fn kernel(&mut self, command: Command) -> Result<CommandId, QueueFull> {
        self.request(Request::Kernel(command))
    }

    /// Announces an address to the peer of a connection (ADD_ADDR). Somebody must be listening
    /// there. `address.id` is needed, as [`Self::address_id`] returns it; port 0 announces none.
    /// Ports are in host byte order, here and everywhere.
    pub fn announce(
        &mut self,
        token: Token,
        address: SubflowAddress,
    ) -> Result<CommandId, QueueFull> {
        self.kernel(Command::Announce { token, address })
    }

    /// Announces an address, and listens there until it is removed or the connection ends. Port
    /// 0 is the port that the connection has on this side, which a peer uses if it is told none;
    /// where it listens comes in [`Plugin::reply`]. Any other port is announced, which the kernel
    /// cannot do for an IPv6 address while TCP timestamps are in use.
    ///
    /// All connections share one listener for each address and port, which is open as long as any of
    /// them announces it. While it is, no program can listen at that port on all addresses. It
    /// ends with the daemon, and the next run opens it when it is asked again.
    ///
    /// Fails with EADDRINUSE where some program listens at that port already, on this address or
    /// on all, and with EACCES at a port that the daemon may not listen at, which says nothing of
    /// programs: then [`Self::announce`] will do, or [`Self::announce_if_served`].
    pub fn announce_with_listener(
        &mut self,
        token: Token,
        address: SubflowAddress,
    ) -> Result<CommandId, QueueFull> {
        self.request(Request::AnnounceWithListener { token, address })
    }

    /// Announces an address if some program listens there, on this address or on all, so that joins
    /// are accepted. Ports are as in [`Self::announce_with_listener`].
    ///
    /// Fails with ECONNREFUSED where nobody listens. At a port that the daemon may not listen at
    /// (`net.ipv4.ip_unprivileged_port_start`) it cannot tell, and somebody is taken to.
    pub fn announce_if_served(
        &mut self,
        token: Token,
        address: SubflowAddress,
    ) -> Result<CommandId, QueueFull> {
        self.request(Request::AnnounceIfServed { token, address })
    }

    /// Withdraws an announced address. The kernel has room for one announcement or withdrawal of
    /// a connection at a time: it sends a second announcement later, but drops a withdrawal that
    /// finds another on its way, says that it is done, and counts `MPTcpExtRmAddrTxDrop`.
    pub fn remove_address(&mut self, token: Token, id: AddressId) -> Result<CommandId, QueueFull> {
        self.kernel(Command::RemoveAddress { token, id })
    }

    /// Makes a subflow, which is bound to the local interface if one is given. Local port 0 lets the
    /// kernel choose one. `local.flags` may ask for BACKUP; `remote.port` is the peer's port, and is
    /// needed.
    pub fn create_subflow(
        &mut self,
        token: Token,
        local: SubflowAddress,
        remote: SubflowAddress,
    ) -> Result<CommandId, QueueFull> {
        self.kernel(Command::CreateSubflow {
            token,
            local,
            remote,
        })
    }

    /// Closes a subflow, named by both its ends with their ports; their ids and flags are ignored.
    pub fn destroy_subflow(
        &mut self,
        token: Token,
        local: SubflowAddress,
        remote: SubflowAddress,
    ) -> Result<CommandId, QueueFull> {
        self.kernel(Command::DestroySubflow {
            token,
            local,
            remote,
        })
    }

    /// Sets or clears the backup priority of a subflow, and tells the peer (MP_PRIO).
    pub fn set_backup(
        &mut self,
        token: Token,
        local: SubflowAddress,
        remote: SubflowAddress,
        backup: bool,
    ) -> Result<CommandId, QueueFull> {
        self.kernel(Command::SetBackup {
            token,
            local,
            remote,
            backup,
        })
    }

    /// Adds an endpoint by hand. Prefer [`Plugin::endpoints`], which also keeps it.
    pub fn add_endpoint(&mut self, endpoint: Endpoint) -> Result<CommandId, QueueFull> {
        self.kernel(Command::AddEndpoint(endpoint))
    }

    /// Deletes an endpoint by its id.
    pub fn delete_endpoint(&mut self, endpoint: Endpoint) -> Result<CommandId, QueueFull> {
        self.kernel(Command::DeleteEndpoint(endpoint))
    }

    /// Asks for an endpoint; it comes in [`Plugin::reply`].
    pub fn get_endpoint(&mut self, id: AddressId) -> Result<CommandId, QueueFull> {
        self.kernel(Command::GetEndpoint { id })
    }

    /// Asks for all endpoints; they come in [`Plugin::reply`].
    pub fn dump_endpoints(&mut self) -> Result<CommandId, QueueFull> {
        self.kernel(Command::DumpEndpoints)
    }

    /// Deletes all endpoints of the namespace, other programs' included.
    pub fn flush_endpoints(&mut self) -> Result<CommandId, QueueFull> {
        self.kernel(Command::FlushEndpoints)
    }

    /// Changes the BACKUP and FULLMESH flags of an endpoint, and of the connections that use it.
    pub fn set_flags(&mut self, endpoint: Endpoint) -> Result<CommandId, QueueFull> {
        self.kernel(Command::SetFlags(endpoint))
    }

    /// Sets the limits of the in-kernel path manager, for the whole network namespace.
    pub fn set_limits(&mut self, limits: Limits) -> Result<CommandId, QueueFull> {
        self.kernel(Command::SetLimits(limits))
    }

    /// Asks for the limits; they come in [`Plugin::reply`].
    pub fn get_limits(&mut self) -> Result<CommandId, QueueFull> {
        self.kernel(Command::GetLimits)
    }

    /// Asks for one address of a connection (Linux 6.10); it comes in [`Plugin::reply`].
    pub fn get_address(&mut self, token: Token, id: AddressId) -> Result<CommandId, QueueFull> {
        self.kernel(Command::GetAddress { token, id })
    }

    /// Asks for all addresses of a connection (Linux 6.10); they come in [`Plugin::reply`].
    pub fn dump_addresses(&mut self, token: Token) -> Result<CommandId, QueueFull> {
        self.kernel(Command::DumpAddresses { token })
    }

    /// Listens for joins at an address; where it listens comes in [`Plugin::reply`]. With port 0 the
    /// kernel chooses one. Each call needs its [`Self::unlisten`].
    pub fn listen(&mut self, local: SocketAddr) -> Result<CommandId, QueueFull> {
        self.request(Request::Listen(local))
    }

    /// Lets go of a listener; the last one to let go closes it.
    pub fn unlisten(&mut self, local: SocketAddr) -> Result<CommandId, QueueFull> {
        self.request(Request::Unlisten(local))
    }

    /// Returns the address id (RFC 8684) of an address of this host, 1 to 255: the same one for
    /// every connection as long as the address exists, and not given to another soon after. `None`
    /// if all 255 are taken.
    pub fn address_id(&mut self, address: IpAddr) -> Option<AddressId> {
        self.ids.id(address)
    }

    /// Returns the address that has an id given by [`Self::address_id`], if one still has.
    pub fn address_of(&self, id: AddressId) -> Option<IpAddr> {
        self.ids.address(id)
    }
}
