// SPDX-License-Identifier: BSD-3-Clause
//! Connections and their commands: what the kernel says of them, told to the plugin concerned.

use core::net::SocketAddr;

use super::plugins::{PluginHost, View};
use super::sync::Sync;
use crate::capacity;
use crate::connection::{Connections, IdSet, Lookup, RemoteAddress};
use crate::logging;
use crate::netlink::mptcp::{
    AddressId, Command, ConnectionEvent, Endpoint, Event, SubflowAddress, Token, end_at, ip_of,
};
use crate::request::{CommandId, Failure, Queue, Queued, Reply, Request, Task};
use crate::table::Table;
use crate::time::{Duration, Instant};

/// An event that does not say what ended has the connections dumped this much later, so that many
/// at once cost one dump.
const SYNC_AFTER: Duration = Duration::from_millis(500);

/// When the table is full it may be so of connections whose end no event has told, as that by
/// MP_FASTCLOSE (RFC 8684, 3.5).
const MAKE_ROOM_AFTER: Duration = Duration::from_secs(2);

/// A listener of the daemon's own behind announced addresses, one for all connections. It is open
/// as long as any of them announces what it is for.
#[derive(Debug)]
struct Listener {
    local: SocketAddr,
    /// The ids by which the address is announced.
    ids: IdSet,
    /// It is not at the port that the connections have on this side.
    other_port: bool,
}

const _: () = assert!(size_of::<Listener>() <= 72);

pub(super) struct ConnectionManager {
    pub(super) table: Connections,
    listeners: Table<Listener>,
    /// Some of them may not be needed any more.
    listeners_due: bool,
    /// An announcement that somebody listens for, to be sent next.
    announcement: Option<(CommandId, Command)>,
    pub(super) sync: Sync,
    /// When to compare the table with inet_diag, after an event that did not say all.
    pub(super) sync_at: Instant,
    /// The log has been told that the table is full.
    overflow_reported: bool,
}

impl ConnectionManager {
    /// Room for `most` connections.
    pub(super) fn new(most: u32) -> Self {
        Self {
            table: Connections::new(most),
            listeners: Table::new(capacity::LISTENERS),
            listeners_due: false,
            announcement: None,
            sync: Sync::default(),
            sync_at: Instant::NEVER,
            overflow_reported: false,
        }
    }

    /// Makes room for `most` connections, of which there are none yet.
    pub(super) fn reserve(&mut self, most: u32) {
        self.table = Connections::new(most);
    }

    pub(super) fn table(&self) -> &Connections {
        &self.table
    }

    /// Returns whether it is time to compare the table with inet_diag: true once.
    pub(super) fn take_sync(&mut self, now: Instant) -> bool {
        let due = self.sync_at <= now;
        if due {
            self.sync_at = Instant::NEVER;
        }
        due
    }

    /// Takes in an event of the kernel's and tells the plugin concerned.
    pub(super) fn on_event(&mut self, view: View<'_>, host: &mut PluginHost, event: &Event) {
        match event {
            Event::Created(connection) => {
                self.on_created(view, host, connection);
            }
            Event::Established(connection) => {
                if self.on_created(view, host, connection) && self.table.establish(connection) {
                    host.call_manager(
                        view,
                        &mut self.table,
                        connection.token,
                        &mut |plugin, cx| {
                            plugin.connection_established(cx, connection);
                        },
                    );
                }
            }
            Event::Closed { token } => self.on_closed(view, host, *token),
            Event::Announced {
                token,
                remote_id,
                address,
                port,
            } => {
                let (token, id) = (*token, *remote_id);
                let address = end_at(*address, *port);
                let new = RemoteAddress { id, address };
                self.table.address_announced(token, new);
                host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                    p.new_address(cx, token, id, address)
                });
            }
            Event::Removed { token, remote_id } => {
                let (token, id) = (*token, *remote_id);
                self.table.address_removed(token, id);
                host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                    p.address_removed(cx, token, id)
                });
            }
            Event::SubflowEstablished(subflow) => {
                // Only a connection that is established can be joined.
                if let Some(event) = self.table.confirm_handshake(subflow.token) {
                    host.call_manager(view, &mut self.table, subflow.token, &mut |p, cx| {
                        p.connection_established(cx, &event);
                    });
                }
                if self.table.subflow_established(subflow) {
                    host.call_manager(view, &mut self.table, subflow.token, &mut |p, cx| {
                        p.new_subflow(cx, subflow)
                    });
                }
            }
            Event::SubflowClosed(subflow) => {
                if let Some(was_open) = self.table.subflow_closed(subflow) {
                    host.call_manager(view, &mut self.table, subflow.token, &mut |p, cx| {
                        p.subflow_closed(cx, subflow, was_open)
                    });
                } else if ip_of(&subflow.local).is_unspecified() {
                    // Whichever it was, it has ended.
                    self.sync_by(view.now + SYNC_AFTER);
                }
            }
            Event::SubflowPriority(subflow) => {
                self.table.subflow_priority(subflow);
                host.call_manager(view, &mut self.table, subflow.token, &mut |p, cx| {
                    p.subflow_priority(cx, subflow)
                });
            }
            Event::ListenerCreated { local } => {
                host.call_default(view, &mut self.table, &mut |p, cx| {
                    p.listener_created(cx, *local)
                });
            }
            Event::ListenerClosed { local } => {
                // What no program has accepted ends with it, and no event tells that.
                if self.table.iter().any(|c| c.was_accepted_at(*local)) {
                    self.sync_by(view.now + SYNC_AFTER);
                }
                host.call_default(view, &mut self.table, &mut |p, cx| {
                    p.listener_closed(cx, *local)
                });
            }
        }
    }

    /// Takes in a connection, if it is not known. Returns whether it is now.
    fn on_created(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        connection: &ConnectionEvent,
    ) -> bool {
        let known = self.table.lookup(connection);
        if known == Lookup::Known {
            #[cfg(feature = "control")]
            self.table.note_beginning(view.now, connection.token);
            return true;
        }
        if known == Lookup::TokenReused {
            self.on_closed(view, host, connection.token);
        }
        let plugin = host.manager();
        if !self.table.insert(connection, plugin, self.sync.done) {
            self.report_overflow(view);
            self.sync_by(view.now + MAKE_ROOM_AFTER);
            return false;
        }
        let token = connection.token;
        #[cfg(feature = "control")]
        self.table.note_beginning(view.now, token);
        host.call_manager(view, &mut self.table, token, &mut |p, cx| {
            p.new_connection(cx, connection)
        });
        true
    }

    /// Has the connections dumped at `at`, or earlier, if the kernel can show them.
    fn sync_by(&mut self, at: Instant) {
        if !self.sync.unavailable {
            self.sync_at = self.sync_at.min(at);
        }
    }

    /// Says, once, that the table is full.
    pub(super) fn report_overflow(&mut self, view: View<'_>) {
        if !core::mem::replace(&mut self.overflow_reported, true) {
            let most = view.config.max_connections;
            logging::warn!("there are more than {most} connections: some are not managed");
        }
    }

    /// Tells that a connection has ended, and forgets it.
    pub(super) fn on_closed(&mut self, view: View<'_>, host: &mut PluginHost, token: Token) {
        host.call_manager(view, &mut self.table, token, &mut |p, cx| {
            p.connection_closed(cx, token);
        });
        self.table.remove(token);
        host.forget_connection(token);
        self.listeners_due = true;
        // Another connection may come to have the token.
        while let Some(queued) = host.queue.withdraw(token) {
            let failure = Failure {
                errno: libc::ESRCH,
                message: "the connection has ended",
            };
            self.command_done(view, host, queued, Err(failure));
        }
    }

    /// Hands a plugin what its command asked for.
    pub(super) fn on_reply(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        number: CommandId,
        reply: &Reply,
    ) {
        match (host.queue.owner(number), host.queue.request(number), reply) {
            (
                Some(Queue::NOBODY),
                Some(Request::Kernel(Command::DumpAddresses { token })),
                Reply::Endpoint(known),
            ) => self.settle_id(host, token, known),
            (Some(owner), ..) => host.call(view, &mut self.table, owner.into(), &mut |p, cx| {
                p.reply(cx, number, reply);
            }),
            (None, ..) => {}
        }
    }

    /// Withdraws an address that the kernel knows in a connection by another id than ours, or
    /// another address by an id that is ours: it takes neither address nor id before.
    fn settle_id(&mut self, host: &mut PluginHost, token: Token, known: &Endpoint) {
        let address = known.address.to_canonical();
        if host.ids.agrees(address, known.id) != Some(false) {
            return;
        }
        let withdrawal = Request::Kernel(Command::RemoveAddress {
            token,
            id: known.id,
        });
        if host.queue.push(Queue::NOBODY, withdrawal).is_some() {
            self.table.apply_command(&withdrawal);
        }
    }

    /// Returns whether [`Self::next_command`] or [`Self::next_unused`] may have something to give.
    pub(super) fn has_commands(&self) -> bool {
        self.announcement.is_some() || (self.listeners_due && !self.listeners.is_empty())
    }

    /// Returns an announcement that somebody listens for.
    pub(super) fn next_command(&mut self) -> Option<(CommandId, Command)> {
        self.announcement.take()
    }

    /// Returns a listener to be closed. To be asked while no command is under way that may be
    /// refused: what is announced is not certain before.
    pub(super) fn next_unused(&mut self) -> Option<SocketAddr> {
        if !self.listeners_due {
            return None;
        }
        let table = &self.table;
        let is_unused = |listener: &Listener| {
            let port = listener.local.port();
            let mut all = table.iter();
            !all.any(|c| {
                (listener.other_port || c.local.port() == port)
                    && c.announced().any(|id| listener.ids.contains(id.0))
            })
        };
        let at = self.listeners.iter().position(is_unused);
        self.listeners_due = at.is_some();
        self.listeners.take(at?).map(|listener| listener.local)
    }

    /// Returns where somebody has to listen for an announcement: port 0 is that of the connection.
    pub(super) fn listener_address(&self, token: Token, address: SubflowAddress) -> SocketAddr {
        let port = match address.port {
            0 => self.table.get(token).map_or(0, |c| c.local.port()),
            port => port,
        };
        end_at(address.address, port)
    }

    /// Returns whether the daemon listens there for announcements; `None` if it does not, and can
    /// listen nowhere else.
    pub(super) fn listens(&self, local: SocketAddr) -> Option<bool> {
        let open = self.listeners.iter().any(|l| l.local == local);
        (open || !self.listeners.is_full()).then_some(open)
    }

    /// The listener that a command asked for is open, or a program's is there that serves. Returns
    /// whether that was all it asked for.
    pub(super) fn on_listening(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        number: CommandId,
        local: SocketAddr,
    ) -> bool {
        let request = host.queue.request(number);
        let own = !matches!(request, Some(Request::AnnounceIfServed { .. }));
        if own {
            self.on_reply(view, host, number, &Reply::Listening(local));
        }
        let Some(
            Request::AnnounceWithListener { token, address }
            | Request::AnnounceIfServed { token, address },
        ) = request
        else {
            return true;
        };
        // A peer that is told no port uses the connection's. The kernel never sends a port along
        // with an IPv6 address while TCP timestamps take the room of it.
        let connection = self.table.get(token);
        let known = connection.is_some_and(|c| c.local.port() == local.port());
        if own {
            self.add_listener(local, address.id, !known);
        }
        let port = if known { 0 } else { local.port() };
        let address = SubflowAddress { port, ..address };
        self.announcement = Some((number, Command::Announce { token, address }));
        false
    }

    fn add_listener(&mut self, local: SocketAddr, id: AddressId, other_port: bool) {
        let mut all = self.listeners.iter_mut();
        if let Some(listener) = all.find(|listener| listener.local == local) {
            listener.ids.set(id.0, true);
            listener.other_port |= other_port;
            return;
        }
        let mut ids = IdSet::default();
        ids.set(id.0, true);
        self.listeners.push(Listener {
            local,
            ids,
            other_port,
        });
    }

    /// Tells a plugin the result of its command.
    pub(super) fn command_done(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        queued: Queued,
        result: Result<(), Failure<'_>>,
    ) {
        let Queued {
            number,
            owner,
            announced,
            task,
        } = queued;
        // Changes of routes are the engine's own, whose results nobody is told.
        let Task::Request(request) = task else { return };
        self.listeners_due |= request.announcement().is_some();
        if let Err(failure) = result {
            // The kernel's words for a connection of its own path manager.
            let kernel_managed = failure.message.starts_with("userspace PM not selected");
            self.table.revert_command(&request, kernel_managed);
            // Those for an address that it knows by another id, or an id that another address has.
            let mismatch = failure.message == "did not match address and id";
            if let Some(token) = request.token().filter(|_| mismatch) {
                let question = Request::Kernel(Command::DumpAddresses { token });
                host.queue.push(Queue::NOBODY, question);
            }
            // EINVAL: there is nothing to withdraw.
            let withdrawal = matches!(request, Request::Kernel(Command::RemoveAddress { .. }));
            if !withdrawal || failure.errno != libc::EINVAL {
                self.take_back(host, number, &request, announced);
            }
        }
        host.call(view, &mut self.table, owner.into(), &mut |plugin, cx| {
            plugin.command_done(cx, number, &request, result);
        });
    }

    /// What a refused command was to announce or withdraw is as it was, unless a later command
    /// changes that.
    fn take_back(
        &mut self,
        host: &mut PluginHost,
        number: CommandId,
        refused: &Request,
        announced: bool,
    ) {
        let Some((token, id)) = refused.announcement() else {
            return;
        };
        match host.queue.next_about(number, (token, id)) {
            Some(next) => next.announced = announced,
            None => _ = self.table.set_announced(token, id, announced),
        }
    }
}
