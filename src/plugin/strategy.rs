// SPDX-License-Identifier: BSD-3-Clause
//! Strategies that say what a connection should have, and what all of them need.
//!
//! One function, [`Strategy::reconcile`], compares what a connection should have with what the table
//! of connections and the network show, and asks for the difference. Whatever happens, it is called:
//! there is nothing to keep in step. What does not depend on the strategy is done before that:
//!
//! - *Announcements.* The usable addresses of all interfaces but the connection's own, of its
//!   address family, are announced to the peer; those that cease to be usable are withdrawn.
//! - *Listeners.* A join to an announced address is accepted only where somebody listens, at the
//!   connection's port. Who accepted the connection announces what programs serve: most servers
//!   listen on all addresses, and one that is bound to a single address wants no others. With
//!   `listen = yes` the daemon listens where no program does, as long as the address is announced;
//!   a server that starts again on all addresses then finds the port taken. Who opened the
//!   connection makes its subflows itself: its announcements need no listeners.
//! - *Lost paths.* A subflow whose address is no longer usable, or not where it is bound, is closed
//!   as soon as another one works; until then it stays, since its path may come back before TCP
//!   gives up. When it does, a fresh subflow takes its place: TCP tries the old one again only after
//!   as long as the outage was. The peer is told first (REMOVE_ADDR): SUBFLOW_DESTROY alone leaves it
//!   to find out by its own retransmissions.
//! - *Backups.* The subflows of an interface have backup priority if its endpoints are to have it,
//!   whoever made them.

use core::net::{IpAddr, SocketAddr};

use super::paths::{LAST_PAIR, Paths, is_usable, pair, set_priorities};
use super::{CommandId, Context, Failure, Plugin, QueueFull, Request};
use crate::capacity;
use crate::config::flags::position;
#[cfg(feature = "quality")]
use crate::connection::Subflow;
use crate::connection::{CALM, Connection};
use crate::logging;
use crate::netlink::IfIndex;
#[cfg(feature = "quality")]
use crate::netlink::diag::Quality;
use crate::netlink::mptcp::{
    AddressId, Command, ConnectionEvent, SubflowAddress, SubflowEvent, Token, end_at, ip_of,
};
use crate::network::{Interface, LocalAddress, Network, is_link_local};
use crate::table::Table;
use crate::time::Duration;

/// The key that has the daemon listen itself where no program does.
pub(super) const LISTEN: &str = "listen";

/// Timers: reconcile all connections; reconcile all since an address could not be announced.
const ALL: u32 = 0;
const REFUSED: u32 = 1;
/// When the daemon takes no more commands, go on this much later.
const PAUSE: Duration = Duration::from_millis(50);
/// When an address cannot be announced, try it again this much later.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(5);

/// What a connection should have: a plugin that [`strategy`] makes of it compares that with what
/// there is, after every change.
pub trait Strategy {
    /// Reads its settings ([`Context::setting`], [`Context::number`]): once as [`Plugin::init`] does,
    /// and again whenever the configuration was read again.
    ///
    /// # Errors
    /// One line for the user. At the start the plugin is not used then; later what it had read
    /// before counts.
    fn configure(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let _ = cx;
        Ok(())
    }

    /// Whether the peers of connections are told of this host's other addresses.
    fn announces(&self) -> bool {
        true
    }

    /// Asks for the subflows that a connection should have and has not, and for the end of those
    /// that it should not have. Called after every change that may matter, of connections that are
    /// established, not the in-kernel path manager's, and whose peer is another host. The table
    /// shows what has been asked for as well as what is there.
    ///
    /// # Errors
    /// [`QueueFull`], as what is asked for returned it: the rest is asked for a little later.
    fn reconcile(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
    ) -> Result<(), QueueFull>;

    /// A subflow beyond the first is established, before [`Self::reconcile`].
    fn joined(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
        let pair = pair(cx, ip_of(&subflow.local), subflow.remote_id);
        cx.succeeded(subflow.token, pair);
    }

    /// A subflow has failed or ended, before [`Self::reconcile`]. By default [`Paths::join`] makes it
    /// again after growing times.
    fn lost(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
        lost: &Lost,
    ) {
        let _ = (connection, paths);
        let pair = pair(cx, lost.local, lost.remote_id);
        cx.retry_later(lost.token, pair, lost.calm);
    }

    /// What TCP knows of the path of a subflow, as [`Plugin::subflow_measured`]. Returns whether
    /// [`Self::reconcile`] is to be called.
    #[cfg(feature = "quality")]
    fn measured(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        subflow: &Subflow,
        quality: &Quality,
    ) -> bool {
        let _ = (cx, connection, subflow, quality);
        false
    }

    /// An address has become usable or, with the feature `quality`, leaves by a route with another
    /// gateway or metric; before [`Self::reconcile`] of all connections. By default what
    /// [`Paths::join`] has failed to make is tried at once.
    fn address_usable(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        let _ = address;
        cx.forget_retries(&|_, what| what <= LAST_PAIR);
    }
}

/// A subflow that has failed or ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Lost {
    /// The connection.
    pub token: Token,
    /// This host's address.
    pub local: IpAddr,
    /// Its id.
    pub local_id: AddressId,
    /// The interface that it was bound to, if it was.
    pub ifindex: IfIndex,
    /// The peer's address.
    pub remote: IpAddr,
    /// Its id.
    pub remote_id: AddressId,
    /// How long to leave the connection alone, so that what the subflow has not delivered comes by
    /// the others before it is made again: 0 where it had not come about, this host has closed it, or
    /// there are no others.
    pub calm: Duration,
}

/// Returns the plugin that does what a strategy says. Its section has the key `listen`, which
/// [`super::Entry::keys`] should name.
pub fn strategy(strategy: Box<dyn Strategy>) -> Box<dyn Plugin> {
    Box::new(Reconciler {
        strategy,
        paths: Paths::default(),
        served: Table::new(capacity::LISTENERS),
        refusal_reported: false,
    })
}

struct Reconciler {
    strategy: Box<dyn Strategy>,
    paths: Paths,
    /// Where programs are known to listen, or not to, the latest last.
    served: Table<(SocketAddr, bool)>,
    /// The log has been told that an address cannot be announced.
    refusal_reported: bool,
}

const _: () = assert!(size_of::<IpAddr>() <= 17 && size_of::<(SocketAddr, bool)>() <= 36);

impl Plugin for Reconciler {
    fn wants_connections(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.paths.reserve(cx.config());
        self.configure(cx)
    }

    fn reload(&mut self, cx: &mut Context<'_>) {
        if let Err(cause) = self.configure(cx) {
            logging::warn!("plugin {}: {cause}; as it was before", cx.name);
        }
        cx.set_timer(ALL, Duration::ZERO);
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

    fn new_address(&mut self, cx: &mut Context<'_>, token: Token, _: AddressId, _: SocketAddr) {
        self.reconcile(cx, token);
    }

    fn new_subflow(&mut self, cx: &mut Context<'_>, event: &SubflowEvent) {
        // Whatever the network looked like, the address works.
        self.paths.learn(ip_of(&event.local));
        self.strategy.joined(cx, event);
        self.reconcile(cx, event.token);
    }

    fn subflow_closed(&mut self, cx: &mut Context<'_>, event: &SubflowEvent, was_open: bool) {
        let connection = cx.connection(event.token);
        let others = connection.is_some_and(|c| c.subflows().any(|s| s.is_open()));
        let carried = was_open && others;
        self.on_lost(
            cx,
            &Lost {
                token: event.token,
                local: ip_of(&event.local),
                local_id: event.local_id,
                ifindex: event.ifindex,
                remote: ip_of(&event.remote),
                remote_id: event.remote_id,
                calm: if carried { CALM } else { Duration::ZERO },
            },
        );
        self.reconcile(cx, event.token);
    }

    #[cfg(feature = "quality")]
    fn subflow_measured(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        subflow: &Subflow,
        quality: &Quality,
    ) {
        if self.strategy.measured(cx, connection, subflow, quality) {
            self.reconcile(cx, connection.token);
        }
    }

    fn listener_created(&mut self, cx: &mut Context<'_>, local: SocketAddr) {
        self.forget_served(local.port());
        cx.set_timer(ALL, Duration::ZERO);
    }

    fn listener_closed(&mut self, _: &mut Context<'_>, local: SocketAddr) {
        self.forget_served(local.port());
    }

    fn update_interface(&mut self, cx: &mut Context<'_>, _: &Interface) {
        cx.set_timer(ALL, Duration::ZERO);
    }

    fn new_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        self.paths.learn_usable(cx, address.address);
        self.strategy.address_usable(cx, address);
        cx.set_timer(ALL, Duration::ZERO);
    }

    #[cfg(feature = "quality")]
    fn route_changed(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        logging::debug!("{}: another gateway or metric", address.address);
        self.strategy.address_usable(cx, address);
        cx.set_timer(ALL, Duration::ZERO);
    }

    fn delete_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        if !is_usable(cx.network(), IfIndex::NONE, address.address) {
            self.paths.forget(address.address);
        }
        cx.set_timer(ALL, Duration::ZERO);
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
                    _ => return self.report_refusal(cx, token, address.address, &failure),
                };
                self.learn_served(address.socket(), served);
                self.reconcile(cx, token);
            }
            Request::Kernel(Command::Announce { token, address }) => {
                self.report_refusal(cx, token, address.address, &failure);
            }
            Request::Kernel(Command::CreateSubflow {
                token,
                local,
                remote,
            }) => self.on_lost(
                cx,
                &Lost {
                    token,
                    local: local.address,
                    local_id: local.id,
                    ifindex: local.ifindex,
                    remote: remote.address,
                    remote_id: remote.id,
                    calm: Duration::ZERO,
                },
            ),
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>, _: u32) {
        for connection in cx.connections() {
            self.reconcile(cx, connection.token);
        }
    }

    fn connection_timer(&mut self, cx: &mut Context<'_>, token: Token, _: u64) {
        self.reconcile(cx, token);
    }
}

impl Reconciler {
    fn configure(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        if let Some(value) = cx.setting(LISTEN) {
            position(value, &["yes", "no"]).map_err(|cause| [LISTEN, ": ", &cause].concat())?;
        }
        self.strategy.configure(cx)
    }

    /// Gives a connection what it should have, as far as it has not.
    fn reconcile(&mut self, cx: &mut Context<'_>, token: Token) {
        let Some(connection) = cx.connection(token) else {
            return;
        };
        if !cx.manages(&connection)
            || !connection.is_established()
            || connection.is_kernel_managed()
            || is_near(cx.network(), ip_of(&connection.remote))
        {
            return;
        }
        if self.request_changes(cx, &connection).is_err() {
            cx.set_timer(ALL, PAUSE);
        }
    }

    /// Asks for all that differs. Ends early where the queue is full.
    fn request_changes(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        // Withdrawals first: they free ids.
        self.paths.leave_lost(cx, connection)?;
        if self.strategy.announces() {
            self.announce_addresses(cx, connection)?;
        }
        set_priorities(cx, connection)?;
        self.strategy.reconcile(cx, connection, &self.paths)
    }

    fn on_lost(&mut self, cx: &mut Context<'_>, lost: &Lost) {
        if let Some(connection) = cx.connection(lost.token) {
            self.strategy.lost(cx, &connection, &self.paths, lost);
        }
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
        address: IpAddr,
        failure: &Failure<'_>,
    ) {
        let Some(connection) = cx.connection(token) else {
            return;
        };
        if connection.is_kernel_managed() {
            return;
        }
        if !core::mem::replace(&mut self.refusal_reported, true) {
            let local = end_at(address, connection.local.port());
            logging::warn!("cannot announce {local}: {failure}; trying again");
        }
        cx.set_timer(REFUSED, ANNOUNCE_AGAIN);
    }
}

/// Whether the daemon is to listen itself for joins to a connection that the peer opened.
fn listens(cx: &Context<'_>, connection: &ConnectionEvent) -> bool {
    connection.server_side && cx.setting(LISTEN) == Some("yes")
}

/// Whether the peer of a connection should be told of a usable address: not of those of the interface
/// by which it has reached us, unless the one that it knows has been withdrawn.
fn should_announce(network: &Network, connection: &Connection<'_>, address: IpAddr) -> bool {
    let own = ip_of(&connection.local);
    if address == own {
        return connection.server_side && connection.has_withdrawn_initial_address();
    }
    let by = network.interface_of(own).map(|i| i.index);
    let mut others = network.usable().filter(|a| Some(a.index) != by);
    address.is_ipv6() == own.is_ipv6() && others.any(|a| a.address == address)
}

/// Whether the peer can only be reached the way it was: from this host itself, or on one link.
fn is_near(network: &Network, peer: IpAddr) -> bool {
    is_link_local(peer) || peer.is_loopback() || network.addresses().any(|own| own.address == peer)
}
