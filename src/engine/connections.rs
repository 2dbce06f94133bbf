//! Connections and commands: what the kernel says of them, told to the plugin concerned.

use core::net::SocketAddr;

use super::{Command, Engine, owner};
use crate::connection::{Known, RemoteAddress};
use crate::logging;
use crate::netlink::message::is_acked;
use crate::netlink::mptcp::{Command as Kernel, ConnectionEvent, Event};
use crate::plugin::{Context, Plugin};
use crate::request::{CommandId, Failure, Queued, Reply, Request, Task};
use crate::time::{Instant, Span};

/// An event that does not say what ended has the connections read this much later, so that many
/// at once cost one reading.
const RECOVER_AFTER: Span = Span(500);

/// When the table is full it may be so of connections whose end no event has told, as that by
/// MP_FASTCLOSE (RFC 8684, 3.5).
const MAKE_ROOM_AFTER: Span = Span::seconds(2);

/// A listener behind an announced address.
#[derive(Debug)]
pub(super) struct Held {
    /// The command that asked for it.
    number: CommandId,
    token: u32,
    id: u8,
    state: Listener,
}

impl Held {
    fn is_unneeded(&self) -> bool {
        matches!(self.state, Listener::Unneeded(_))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listener {
    AskedFor,
    Open(SocketAddr),
    /// Nobody needs it any more.
    Unneeded(SocketAddr),
}

impl Engine {
    pub(super) fn connection(&mut self, now: Instant, event: &Event) {
        self.counters.connection_events += 1;
        match event {
            Event::Created(connection) => {
                self.meet(now, connection);
            }
            Event::Established(connection) => {
                if self.meet(now, connection) && self.connections.establish(connection) {
                    self.call_manager(now, connection.token, |plugin, cx| {
                        plugin.connection_established(cx, connection);
                    });
                }
            }
            Event::Closed { token } => self.part(now, *token),
            Event::Announced {
                token,
                remote_id,
                address,
                port,
            } => {
                let (token, id) = (*token, *remote_id);
                let address = SocketAddr::new(*address, *port);
                let new = RemoteAddress { id, address };
                self.connections.address_announced(token, new);
                self.call_manager(now, token, |p, cx| p.new_address(cx, token, id, address));
            }
            Event::Removed { token, remote_id } => {
                let (token, id) = (*token, *remote_id);
                self.connections.address_removed(token, id);
                self.call_manager(now, token, |p, cx| p.address_removed(cx, token, id));
            }
            Event::SubflowEstablished(subflow) => {
                // Only a connection that is established can be joined.
                if let Some(event) = self.connections.prove(subflow.token) {
                    self.call_manager(now, subflow.token, |p, cx| {
                        p.connection_established(cx, &event);
                    });
                }
                if self.connections.subflow_established(subflow) {
                    self.call_manager(now, subflow.token, |p, cx| p.new_subflow(cx, subflow));
                }
            }
            Event::SubflowClosed(subflow) => {
                if self.connections.subflow_closed(subflow) {
                    self.call_manager(now, subflow.token, |p, cx| p.subflow_closed(cx, subflow));
                } else if subflow.local.ip().is_unspecified() {
                    // Whichever it was, it has ended.
                    self.recover_by(now + RECOVER_AFTER);
                }
            }
            Event::SubflowPriority(subflow) => {
                self.connections.subflow_priority(subflow);
                self.call_manager(now, subflow.token, |p, cx| p.subflow_priority(cx, subflow));
            }
            Event::ListenerCreated { local } => {
                self.call(now, self.default, |p, cx| p.listener_created(cx, *local));
            }
            Event::ListenerClosed { local } => {
                // What no program has accepted ends with it, and no event tells that.
                if self.connections.iter().any(|c| c.came_to(*local)) {
                    self.recover_by(now + RECOVER_AFTER);
                }
                self.call(now, self.default, |p, cx| p.listener_closed(cx, *local));
            }
        }
    }

    /// Takes in a connection, if it is not known. Answers whether it is now.
    fn meet(&mut self, now: Instant, connection: &ConnectionEvent) -> bool {
        match self.connections.know(connection) {
            Known::Already => return true,
            Known::Reused => self.part(now, connection.token),
            Known::New => {}
        }
        let plugin = owner(self.default);
        if !self.connections.insert(connection, plugin, self.acquainted) {
            self.say_unmanaged();
            self.recover_by(now + MAKE_ROOM_AFTER);
            return false;
        }
        let token = connection.token;
        self.call_manager(now, token, |p, cx| p.new_connection(cx, connection));
        true
    }

    /// Has the connections read at `at`, or earlier, if the kernel can show them.
    fn recover_by(&mut self, at: Instant) {
        if !self.blind {
            self.recover_at = self.recover_at.min(at);
        }
    }

    /// Says, once, that the table is full.
    pub(super) fn say_unmanaged(&mut self) {
        if self.wants_connections() && !core::mem::replace(&mut self.told.unmanaged, true) {
            let most = self.config.max_connections;
            logging::warn!("there are more than {most} connections: some are not managed");
        }
    }

    /// Tells that a connection has ended, and forgets it.
    pub(super) fn part(&mut self, now: Instant, token: u32) {
        self.call_manager(now, token, |p, cx| p.connection_closed(cx, token));
        self.connections.remove(token);
        self.release(&|held| held.token == token);
        // Another connection may come to have the token.
        while let Some(queued) = self.queue.withdraw(token) {
            let failure = Failure {
                errno: libc::ESRCH,
                message: "the connection has ended",
            };
            self.command_done(now, queued, Err(failure));
        }
    }

    /// Calls the plugin that manages a connection, if there is one and it knows the connection.
    pub(super) fn call_manager(
        &mut self,
        now: Instant,
        token: u32,
        callback: impl FnMut(&mut dyn Plugin, &mut Context<'_>),
    ) {
        if let Some(plugin) = self.connections.manager(token) {
            self.call(now, plugin, callback);
        }
    }

    pub(super) fn reply(&mut self, now: Instant, number: CommandId, reply: &Reply) {
        if let Some(owner) = self.queue.owner(number) {
            self.call(now, owner.into(), |p, cx| p.reply(cx, number, reply));
        }
    }

    pub(super) fn is_listening_in_vain(&self) -> bool {
        self.held.iter().any(Held::is_unneeded)
    }

    /// Gives out the next request that waits.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<Command> {
        if let Some(at) = self.held.iter().position(Held::is_unneeded) {
            let held = self.held.remove(at)?;
            if let Listener::Unneeded(local) = held.state {
                return Some(Command::CloseListener(local));
            }
        }
        while let Some(Queued { number, task, .. }) = self.queue.pop() {
            let mut request = match task {
                Task::Request(request) => request,
                Task::Route(change) => return Some(Command::Route(number, change)),
            };
            match &mut request {
                Request::AnnounceWithListener { token, address } => {
                    if address.port == 0 {
                        let connection = self.connections.get(*token);
                        address.port = connection.map_or(0, |c| c.local.port());
                    }
                    let held = Held {
                        number,
                        token: *token,
                        id: address.id,
                        state: Listener::AskedFor,
                    };
                    if !self.held.push(held) {
                        let failure = Failure {
                            errno: libc::ENOSPC,
                            message: "too many listeners",
                        };
                        self.failed(now, number, failure);
                        continue;
                    }
                }
                Request::Kernel(command) => *command = self.connections.translate(*command),
                _ => {}
            }
            return Some(Command::Request(number, request));
        }
        None
    }

    pub(super) fn listening(&mut self, now: Instant, number: CommandId, local: SocketAddr) {
        if let Some(held) = self.held.iter_mut().find(|held| held.number == number) {
            held.state = Listener::Open(local);
        }
        self.reply(now, number, &Reply::Listening(local));
    }

    /// Tells a plugin the result of its command.
    pub(super) fn command_done(
        &mut self,
        now: Instant,
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
        let mut withdrawn = matches!(request, Request::Kernel(Kernel::RemoveAddress { .. }));
        if let Err(failure) = result {
            // The kernel's words for a connection of its own path manager.
            let kernel_managed = failure.message.starts_with("userspace PM not selected");
            self.connections.refused_command(&request, kernel_managed);
            self.release(&|held| held.number == number);
            // EINVAL: there is nothing to withdraw.
            withdrawn &= failure.errno == libc::EINVAL;
        }
        if withdrawn {
            // It may have been announced again since.
            let of_it = |held: &Held| Some((held.token, held.id)) == request.announcement();
            self.release(&|held| is_acked(held.number, number) && of_it(held));
        } else if result.is_err() {
            self.take_back(number, &request, announced);
        }
        self.call(now, owner.into(), |plugin, cx| {
            plugin.command_done(cx, number, &request, result);
        });
    }

    /// What a refused command was to announce or withdraw is as it was, unless a later command
    /// changes that.
    fn take_back(&mut self, number: CommandId, refused: &Request, announced: bool) {
        let Some((token, id)) = refused.announcement() else {
            return;
        };
        match self.queue.next_about(number, (token, id)) {
            Some(next) => next.announced = announced,
            None => _ = self.connections.set_announced(token, id, announced),
        }
    }

    /// A listener could not be opened again. One that could is of use even where the kernel refuses
    /// to tell the peer once more.
    pub(super) fn not_listening(&mut self, number: CommandId) {
        let lacks = |held: &Held| held.number == number && held.state == Listener::AskedFor;
        self.held.retain(|held| !lacks(held));
    }

    /// Gives up the listeners that are `unneeded`.
    fn release(&mut self, unneeded: &dyn Fn(&Held) -> bool) {
        for held in self.held.iter_mut().filter(|held| unneeded(held)) {
            if let Listener::Open(local) = held.state {
                held.state = Listener::Unneeded(local);
            }
        }
        let waiting = |held: &Held| unneeded(held) && held.state == Listener::AskedFor;
        self.held.retain(|held| !waiting(held));
    }
}
