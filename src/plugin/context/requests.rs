// SPDX-License-Identifier: BSD-3-Clause
//! What a plugin that manages connections can do.

use core::net::{IpAddr, SocketAddr};

#[allow(unused_imports)] // For the documentation.
use super::super::Plugin;
use super::super::timers::Pending;
use super::super::{CommandId, Request};
use super::{Context, QueueFull, Timer};
use crate::connection::Connection;
use crate::netlink::mptcp::{
    AddressId, Command, Endpoint, EndpointFlags, Limits, SubflowAddress, Token,
};
use crate::network::LocalAddress;
use crate::time::Duration;

impl<'a> Context<'a> {
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

    /// Returns whether a connection is this plugin's to manage. Of several plugins that are loaded
    /// each sees all connections in the table, and is told of its own alone.
    pub fn manages(&self, connection: &Connection<'_>) -> bool {
        connection.manager() == self.owner
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

    /// Has [`Plugin::connection_timer`] called once with the connection and `what`, a number of the
    /// plugin's choice, after `span` (milliseconds). A timer that is set already is moved. It ends
    /// with the connection. 1024 of all connections have room: beyond them the oldest is forgotten,
    /// so that what must not be missed is looked at anew with the next event.
    pub fn set_connection_timer(&mut self, token: Token, what: u64, span: Duration) {
        let until = self.now + span;
        if let Some(pending) = self.pending(token, what) {
            pending.wait(until);
        }
    }

    /// Notes that something of a connection has failed, and has [`Plugin::connection_timer`] called
    /// when it should be tried again: 20 ms later, and after each further failure twice as long,
    /// up to 30 s, each time up to a quarter more or less, but not before `least` has passed
    /// (milliseconds). `what` is a number of the plugin's choice, as in
    /// [`Self::set_connection_timer`]. Ends with [`Self::succeeded`], or with the connection.
    pub fn retry_later(&mut self, token: Token, what: u64, least: Duration) {
        let (now, random) = (self.now, self.random.next());
        if let Some(pending) = self.pending(token, what) {
            pending.failed(now, least, random);
        }
    }

    fn pending(&mut self, token: Token, what: u64) -> Option<&mut Pending> {
        self.connections.get(token)?;
        self.connection_timers.take(self.owner, token, what)
    }

    /// Returns what is known of something that has failed, or has a timer; `None` if it has neither.
    pub fn retry(&self, token: Token, what: u64) -> Option<&Pending> {
        self.connection_timers.find(self.owner, token, what)
    }

    /// Returns whether something has failed, or has a timer, and its time has not come.
    pub fn must_wait(&self, token: Token, what: u64) -> bool {
        let retry = self.retry(token, what);
        retry.is_some_and(|retry| !retry.is_due(self.now))
    }

    /// Forgets a connection's timer, and what has failed.
    pub fn succeeded(&mut self, token: Token, what: u64) {
        self.forget_retries(&|of, it| (of, it) == (token, what));
    }

    /// Forgets the timers and failures for which `which` returns true: all may have changed with the
    /// network.
    pub fn forget_retries(&mut self, which: &dyn Fn(Token, u64) -> bool) {
        let owner = self.owner;
        let concerned = |p: &Pending| p.owner == owner && which(p.token, p.what);
        self.connection_timers.forget(&concerned);
    }

    /// Has the paths of all connections measured every `interval` (milliseconds), for
    /// [`Plugin::subflow_measured`]; `None` ends that. Each time the kernel is asked for all its TCP
    /// sockets and MPTCP connections, while there is a connection. Needs the feature `quality`.
    #[cfg(feature = "quality")]
    pub fn measure_every(&mut self, interval: Option<Duration>) {
        self.measure.owner = self.owner;
        self.measure.interval = interval;
        self.measure.at =
            interval.map_or(crate::time::Instant::NEVER, |interval| self.now + interval);
    }

    /// Has the paths of all connections measured once, now, as [`Self::measure_every`] does.
    #[cfg(feature = "quality")]
    pub fn measure(&mut self) {
        self.measure.owner = self.owner;
        self.measure.at = self.now;
    }

    /// Returns a random number, good enough to spread what would happen at the same time. It is
    /// another one in each run of the daemon, and the same in each run of a test.
    pub fn random(&mut self) -> u32 {
        self.random.next()
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

    /// Makes a subflow from an address of this host to one of the peer's, as
    /// [`Self::create_subflow`], bound to the address's interface, with backup priority where the
    /// configuration says so. Where all 255 ids are taken nothing is asked for.
    ///
    /// # Errors
    /// [`QueueFull`], as for [`Self::request`].
    pub fn join(
        &mut self,
        token: Token,
        local: &LocalAddress,
        remote: SubflowAddress,
    ) -> Result<(), QueueFull> {
        let Some(id) = self.address_id(local.address) else {
            return Ok(());
        };
        let interface = self.network.interface(local.index);
        let flags = interface.map_or(0, |i| i.policy.flags.0 & EndpointFlags::BACKUP.0);
        let end = SubflowAddress::at(local.address, 0).with_id(id);
        let local = SubflowAddress {
            flags: EndpointFlags(flags),
            ..end.on(local.index)
        };
        self.create_subflow(token, local, remote).map(drop)
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
    /// every connection, and not given to another as long as others are free. `None` if all 255 are
    /// those of addresses that are there.
    pub fn address_id(&mut self, address: IpAddr) -> Option<AddressId> {
        let network = self.network;
        let there = |ip| network.addresses().any(|a| a.address == ip);
        self.ids.id(address, &there)
    }

    /// Returns the address that has an id given by [`Self::address_id`], if one still has.
    pub fn address_of(&self, id: AddressId) -> Option<IpAddr> {
        self.ids.address(id)
    }
}
