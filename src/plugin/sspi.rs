// SPDX-License-Identifier: BSD-3-Clause
//! `sspi`: subflows spread over the interfaces, for connections of the userspace path manager.
//!
//! One function, `reconcile`, compares what a connection should have with what the table of
//! connections and the network show, and asks for the difference. Whatever happens, it is called:
//! there is nothing to keep in step.
//!
//! - *Announcements.* The usable addresses of all interfaces but the connection's own, of its
//!   address family, are announced to the peer; those that cease to be usable are withdrawn.
//! - *Listeners.* A join to an announced address is accepted only where somebody listens, at the
//!   connection's port. Who accepted the connection announces what programs serve: most servers
//!   listen on all addresses, and one that is bound to a single address wants no others. With
//!   `listen = yes` the daemon listens where no program does, as long as the address is announced;
//!   a server that starts again on all addresses then finds the port taken. Who opened the
//!   connection makes its subflows itself: its announcements need no listeners.
//! - *Subflows.* Who opened the connection makes them: one from each interface, and one to each
//!   address of the peer's, the initial one and those it announces, unless it denies or withdraws
//!   them; spread, so that as few as possible share an interface or an address, and so that hosts
//!   that share several links use each for itself. An interface goes first where joins are known to
//!   work, and then where nobody else goes, so that an address that cannot be reached takes nothing
//!   away. What fails or ends is made again later and later, each time another way.
//! - *Superfluous subflows* are closed by who opened the connection: those whose interface and whose
//!   address of the peer both have others, but for the initial one; and of two with the same ends
//!   the earlier one. Such a second one is made where a path returns to a connection that had no
//!   other: TCP tries an old subflow again only after as long as the outage was. Who accepted the
//!   connection closes the earlier of two from the same address of the peer at an interface, where
//!   it has several: the peer came back over a path that was broken.
//! - *Lost paths.* A subflow whose address is no longer usable, or not where it is bound, is closed
//!   as soon as another one works; until then it stays, since its path may come back before TCP
//!   gives up. The peer is told first (REMOVE_ADDR): SUBFLOW_DESTROY alone leaves it to find out by
//!   its own retransmissions.
//! - *Backups.* The subflows of an interface have backup priority if its endpoints are to have it,
//!   whoever made them.

mod retries;
mod subflows;

use core::net::{IpAddr, SocketAddr};

use super::{CommandId, Context, Entry, Failure, Plugin, QueueFull, Request};
use crate::capacity;
use crate::connection::{Connection, Subflow};
use crate::logging;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{
    AddressId, Command, ConnectionEvent, EndpointFlags, SubflowAddress, SubflowEvent, Token,
};
use crate::network::{Interface, LocalAddress, Network, is_link_local};
use crate::table::Table;
use crate::time::Duration;
use retries::{Missing, Retries};

/// The entry of `sspi`.
pub const ENTRY: Entry = Entry::new(
    "sspi",
    "subflows spread over interfaces, for connections of the userspace path manager",
    || Box::new(Sspi::default()),
)
.with_keys(&[LISTEN]);

/// The key that has the daemon listen itself where no program does.
const LISTEN: &str = "listen";

/// Timers: reconcile all connections; reconcile those whose subflows failed; reconcile all since an
/// address could not be announced.
const ALL: u32 = 0;
const RETRY: u32 = 1;
const REFUSED: u32 = 2;
/// When the daemon takes no more commands, go on this much later.
const PAUSE: Duration = Duration::from_millis(50);
/// When an address cannot be announced, try it again this much later.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(5);

struct Sspi {
    retries: Retries,
    /// Addresses that were usable and are not, the latest last.
    withdrawn: Table<IpAddr>,
    /// Where programs are known to listen, or not to, the latest last.
    served: Table<(SocketAddr, bool)>,
    /// The log has been told that an address cannot be announced.
    refusal_reported: bool,
}

const _: () = assert!(size_of::<IpAddr>() <= 17 && size_of::<(SocketAddr, bool)>() <= 36);

impl Default for Sspi {
    fn default() -> Self {
        Self {
            retries: Retries::default(),
            withdrawn: Table::new(capacity::LOST_ADDRESSES),
            served: Table::new(capacity::LISTENERS),
            refusal_reported: false,
        }
    }
}

impl Plugin for Sspi {
    fn wants_connections(&self) -> bool {
        true
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, event: &ConnectionEvent) {
        // The listeners of an earlier run have ended with it.
        let found = cx.connection(event.token);
        for id in found.iter().flat_map(Connection::announced) {
            if let Some(address) = cx.address_of(id).filter(|_| listens(cx, event)) {
                let end = SubflowAddress::at(address, event.local.port()).with_id(id);
                // Where commands are waiting, joins are refused until the address comes anew.
                let _ = cx.announce_with_listener(event.token, end);
            }
        }
        self.reconcile(cx, event.token);
    }

    fn connection_closed(&mut self, _: &mut Context<'_>, token: Token) {
        self.retries.forget_connection(token);
    }

    fn new_address(&mut self, cx: &mut Context<'_>, token: Token, _: AddressId, _: SocketAddr) {
        self.reconcile(cx, token);
    }

    fn new_subflow(&mut self, cx: &mut Context<'_>, event: &SubflowEvent) {
        // Whatever the network looked like, the address works.
        self.withdrawn
            .retain(|withdrawn| *withdrawn != event.local.ip());
        if let Some(ifindex) = interface(cx.network(), event.ifindex, event.local.ip()) {
            self.retries.forget(event.token, Missing::Again(ifindex));
        }
        self.reconcile(cx, event.token);
    }

    fn subflow_closed(&mut self, cx: &mut Context<'_>, event: &SubflowEvent) {
        let local = (event.ifindex, event.local.ip());
        self.retry_later(cx, event.token, local, (event.remote_id, event.remote.ip()));
        self.reconcile(cx, event.token);
    }

    fn listener_created(&mut self, cx: &mut Context<'_>, local: SocketAddr) {
        self.forget_served(local.port());
        cx.set_timer(ALL, Duration::from_millis(0));
    }

    fn listener_closed(&mut self, _: &mut Context<'_>, local: SocketAddr) {
        self.forget_served(local.port());
    }

    fn update_interface(&mut self, cx: &mut Context<'_>, _: &Interface) {
        cx.set_timer(ALL, Duration::from_millis(0));
    }

    fn new_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        self.retries.forget_interface(address.index);
        if self.withdrawn.contains(&address.address) {
            self.withdrawn
                .retain(|withdrawn| *withdrawn != address.address);
            for connection in cx.connections().filter(|c| !c.server_side) {
                let of_it = |s: &Subflow| s.local.ip() == address.address && is_open(s);
                if connection.subflows().any(of_it) {
                    let again = Missing::Again(address.index);
                    self.retries.ask(connection.token, again);
                }
            }
        }
        cx.set_timer(ALL, Duration::from_millis(0));
    }

    fn delete_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        if !is_usable(cx.network(), IfIndex::NONE, address.address) {
            if self.withdrawn.is_full() {
                self.withdrawn.remove(0);
            }
            self.withdrawn.push(address.address);
        }
        cx.set_timer(ALL, Duration::from_millis(0));
    }

    fn command_done(
        &mut self,
        cx: &mut Context<'_>,
        _: CommandId,
        request: &Request,
        result: Result<(), Failure<'_>>,
    ) {
        let Err(failure) = result else {
            if let Request::AnnounceIfServed { address, .. } = request {
                self.learn_served(address.socket(), true);
            }
            return;
        };
        match *request {
            Request::AnnounceWithListener { token, address }
            | Request::AnnounceIfServed { token, address } => {
                let served = match failure.errno {
                    libc::EADDRINUSE | libc::EACCES => true,
                    libc::ECONNREFUSED => false,
                    _ => return self.report_refusal(cx, token, address.socket(), &failure),
                };
                self.learn_served(address.socket(), served);
                self.reconcile(cx, token);
            }
            Request::Kernel(Command::CreateSubflow {
                token,
                local,
                remote,
            }) => {
                let local = (local.ifindex, local.address);
                self.retry_later(cx, token, local, (remote.id, remote.address));
            }
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {
        if timer != RETRY {
            for connection in cx.connections() {
                self.reconcile(cx, connection.token);
            }
            return;
        }
        let mut at = 0;
        while let Some(failure) = self.retries.get(at) {
            at += 1;
            if failure.retry.is_due(cx.now()) {
                self.reconcile(cx, failure.token);
            }
        }
        self.set_retry_timer(cx);
    }
}

impl Sspi {
    /// Gives a connection what it should have, as far as it has not.
    fn reconcile(&self, cx: &mut Context<'_>, token: Token) {
        let Some(connection) = cx.connection(token) else {
            return;
        };
        if !connection.is_established()
            || connection.is_kernel_managed()
            || is_near(cx.network(), connection.remote.ip())
        {
            return;
        }
        if self.request_changes(cx, &connection).is_err() {
            cx.set_timer(ALL, PAUSE);
        }
    }

    /// Asks for all that differs. Ends early where the queue is full.
    fn request_changes(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        // Withdrawals first: they free ids.
        self.leave_lost_paths(cx, connection)?;
        self.announce_addresses(cx, connection)?;
        set_priorities(cx, connection)?;
        self.close_superfluous_subflow(cx, connection)?;
        if !connection.server_side {
            self.create_subflows(cx, connection)?;
        }
        Ok(())
    }

    fn announce_addresses(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        let network = cx.network();
        let (token, port) = (connection.token, connection.local.port());
        for (at, local) in network.usable().enumerate() {
            let address = local.address;
            // The same address on another interface is not another address.
            let again = network.usable().take(at).any(|a| a.address == address);
            if again || !should_announce(network, connection, address) {
                continue;
            }
            let Some(id) = cx.address_id(address) else {
                continue;
            };
            if connection.has_announced(id) {
                continue;
            }
            let end = SubflowAddress::at(address, port).with_id(id);
            let served = self.served.iter().find(|(at, _)| *at == end.socket());
            let served = served.map(|(_, served)| *served);
            // Who opened a connection is not joined: it joins.
            if !connection.server_side || served == Some(true) {
                cx.announce(token, SubflowAddress { port: 0, ..end })?;
            } else if listens(cx, connection) {
                cx.announce_with_listener(token, end)?;
            } else if served.is_none() {
                cx.announce_if_served(token, end)?;
            }
        }
        Ok(())
    }

    fn learn_served(&mut self, local: SocketAddr, served: bool) {
        self.served.retain(|(known, _)| *known != local);
        if self.served.is_full() {
            self.served.remove(0);
        }
        self.served.push((local, served));
    }

    fn forget_served(&mut self, port: u16) {
        self.served.retain(|(known, _)| known.port() != port);
    }

    /// An address could not be announced: says so, once, and tries again.
    fn report_refusal(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        local: SocketAddr,
        failure: &Failure<'_>,
    ) {
        let Some(connection) = cx.connection(token) else {
            return;
        };
        if connection.is_kernel_managed() {
            return;
        }
        if !core::mem::replace(&mut self.refusal_reported, true) {
            logging::warn!("cannot announce {local}: {failure}; trying again");
        }
        cx.set_timer(REFUSED, ANNOUNCE_AGAIN);
    }

    /// Withdraws addresses that can no longer be used and closes their subflows, unless one of these
    /// is the last hope of the connection.
    fn leave_lost_paths(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        let network = cx.network();
        let token = connection.token;
        let another_works = self
            .remaining(network, connection)
            .any(|(_, other)| other.is_established());
        // The peer closes the subflows of an address that is withdrawn.
        let is_needed = |id| {
            let mut its = connection.subflows().filter(|s| s.local_id == id);
            its.any(|s| !another_works || !self.has_lost_address(network, s))
        };
        for id in connection.announced() {
            let address = cx.address_of(id);
            let usable = address.is_some_and(|address| is_usable(network, IfIndex::NONE, address));
            if !usable && !is_needed(id) {
                cx.remove_address(token, id)?;
            }
        }
        if !another_works {
            return Ok(());
        }
        for subflow in connection.subflows() {
            let (id, ip) = (subflow.local_id, subflow.local.ip());
            if subflow.is_closing()
                || !subflow.is_established()
                || !self.has_lost_address(network, subflow)
            {
                continue;
            }
            // What was announced has been withdrawn above.
            if !connection.has_announced(id) && !is_usable(network, IfIndex::NONE, ip) {
                cx.remove_address(token, id)?;
            }
            cx.destroy_subflow(token, subflow.local.into(), subflow.remote.into())?;
        }
        Ok(())
    }

    /// The subflows that are to stay as far as their addresses go, with their positions.
    fn remaining<'a>(
        &self,
        network: &Network,
        connection: &Connection<'a>,
    ) -> impl Iterator<Item = (usize, &'a Subflow)> {
        connection.subflows().enumerate().filter(|(_, subflow)| {
            !subflow.is_closing() && !self.has_lost_address(network, subflow)
        })
    }

    /// Whether the address of a subflow is no longer usable, or not where the subflow is bound.
    fn has_lost_address(&self, network: &Network, subflow: &Subflow) -> bool {
        let (bound, ip) = (subflow.ifindex, subflow.local.ip());
        self.withdrawn.contains(&ip) || (bound != IfIndex::NONE && !is_usable(network, bound, ip))
    }

    fn set_retry_timer(&self, cx: &mut Context<'_>) {
        let now = cx.now();
        match self.retries.next_after(now) {
            Some(at) => {
                cx.set_timer(RETRY, Duration::from_millis(at.0.saturating_sub(now.0)));
            }
            None => cx.cancel_timer(RETRY),
        }
    }
}

/// Whether the daemon is to listen itself for joins to a connection that the peer opened.
fn listens(cx: &Context<'_>, connection: &ConnectionEvent) -> bool {
    connection.server_side && cx.setting(LISTEN) == Some("yes")
}

/// Whether the peer of a connection should be told of a usable address: not of those of the interface
/// by which it has reached us, unless the one that it knows has been withdrawn.
fn should_announce(network: &Network, connection: &Connection<'_>, address: IpAddr) -> bool {
    let own = connection.local.ip();
    if address == own {
        return connection.server_side && connection.has_withdrawn_initial_address();
    }
    let by = network.interface_of(own).map(|i| i.index);
    let mut others = network.usable().filter(|a| Some(a.index) != by);
    address.is_ipv6() == own.is_ipv6() && others.any(|a| a.address == address)
}

/// Makes backups of the subflows of interfaces that are to be backups, and of no others.
fn set_priorities(cx: &mut Context<'_>, connection: &Connection<'_>) -> Result<(), QueueFull> {
    let network = cx.network();
    // On most hosts there are none.
    let has_backups = network
        .interfaces()
        .any(|i| i.policy.flags.contains(EndpointFlags::BACKUP));
    for subflow in connection.subflows() {
        if !subflow.is_established()
            || subflow.is_closing()
            || !(has_backups || subflow.backup_here)
        {
            continue;
        }
        let ifindex = interface_of(network, subflow).unwrap_or(IfIndex::NONE);
        let backup = backup_flag(network, ifindex).0 != 0;
        if subflow.backup_here != backup {
            let (local, remote) = (subflow.local.into(), subflow.remote.into());
            cx.set_backup(connection.token, local, remote, backup)?;
        }
    }
    Ok(())
}

/// Whether a subflow carries data, and is to.
fn is_open(subflow: &Subflow) -> bool {
    subflow.is_established() && !subflow.is_closing()
}

/// Whether the peer can only be reached the way it was: from this host itself, or on one link.
fn is_near(network: &Network, peer: IpAddr) -> bool {
    is_link_local(peer) || peer.is_loopback() || network.addresses().any(|own| own.address == peer)
}

/// Whether several interfaces have usable addresses of the family.
fn has_choice(network: &Network, ipv6: bool) -> bool {
    let mut fit = network.usable().filter(|a| a.address.is_ipv6() == ipv6);
    let first = fit.next().map(|a| a.index);
    fit.any(|a| Some(a.index) != first)
}

/// BACKUP if the interface is to be one.
fn backup_flag(network: &Network, index: IfIndex) -> EndpointFlags {
    let flags = network.interface(index).map_or(0, |i| i.policy.flags.0);
    EndpointFlags(flags & EndpointFlags::BACKUP.0)
}

/// Whether the address is usable on the interface, or on any if that is none.
fn is_usable(network: &Network, index: IfIndex, address: IpAddr) -> bool {
    let mut usable = network.usable();
    usable.any(|a| a.address == address && (index == IfIndex::NONE || a.index == index))
}

fn interface_of(network: &Network, subflow: &Subflow) -> Option<IfIndex> {
    interface(network, subflow.ifindex, subflow.local.ip())
}

/// The interface that a subflow is bound to or, where it is not, that of its address.
fn interface(network: &Network, bound: IfIndex, local: IpAddr) -> Option<IfIndex> {
    match bound {
        IfIndex::NONE => network.interface_of(local).map(|i| i.index),
        bound => Some(bound),
    }
}

#[cfg(test)]
mod tests;
