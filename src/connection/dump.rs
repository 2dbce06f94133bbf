// SPDX-License-Identifier: BSD-3-Clause
//! What inet_diag shows against the table: what was missed is found.
//!
//! Everything begins unmarked; a dump marks what it shows, and takes in what is new. Once it is
//! whole, what is unmarked has ended, and what nobody has been told of is news. The kernel does not
//! show the peer's announcements nor its C flag: of those of a connection found only the addresses
//! are known that this side has a subflow to.

use super::address_id::AddressIds;
use super::storage::Place;
use super::{Connections, Lookup, RemoteAddress, Slot, Subflow};
use crate::netlink::diag;
use crate::netlink::mptcp::{
    AddressId, ConnectionEvent, Endpoint, EndpointFlags, SubflowEvent, Token,
};

/// Whether the plugin knows a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Notified {
    /// Not before the dump that showed the connection is whole, and its announced addresses read.
    Pending,
    /// Its addresses have been read, or there are none. Those of other connections may still have
    /// to be.
    Ready,
    Done,
}

/// What the dump under way, or else the last one, shows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    Unmarked,
    /// It is there, and one side has begun to close it or it has fallen back to TCP.
    Ending,
    /// It is there, or has come since the dump began.
    Open,
}

/// What a comparison shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Difference {
    Closed,
    Established(ConnectionEvent),
    Subflow(SubflowEvent),
    SubflowClosed { event: SubflowEvent, was_open: bool },
}

impl Connections {
    /// A dump begins.
    pub(crate) fn begin_dump(&mut self) {
        self.overfull = false;
        for at in 0..self.slots.end() {
            let Some(slot) = self.slots.at_mut(at) else {
                continue;
            };
            slot.mark = Mark::Unmarked;
            self.subflows
                .change(slot.subflows, |subflow| subflow.marked = false);
        }
    }

    /// Marks a connection that the dump shows. Returns it where the table lacks it and a plugin
    /// can manage it.
    pub(crate) fn on_dumped(
        &mut self,
        found: &diag::Connection,
    ) -> Option<(Lookup, ConnectionEvent)> {
        let event = ConnectionEvent {
            token: found.token,
            local: found.ends.local,
            remote: found.ends.remote,
            // Until one of its subflows says otherwise.
            server_side: true,
            deny_join_id0: false,
            mapped: found.ends.mapped,
        };
        let is_open = found.established && !found.fallback;
        let known = self.lookup(&event);
        if known == Lookup::Known {
            let slot = self.slots.get_mut(found.token)?;
            slot.mark = if is_open { Mark::Open } else { Mark::Ending };
            return None;
        }
        (found.token != Token::NONE && is_open).then_some((known, event))
    }

    /// Returns the first connection from this slot on that the dump has not shown: its slot and
    /// token.
    pub(crate) fn next_unmarked(&self, from: u32) -> Option<(u32, Token)> {
        let unmarked = |slot: &&Slot| slot.mark == Mark::Unmarked;
        (from..self.slots.end())
            .find_map(|at| Some((at, self.slots.at(at).filter(unmarked)?.event.token)))
    }

    /// Takes in a connection that the dump shows. Returns false if there is no room.
    pub(crate) fn insert_dumped(&mut self, event: &ConnectionEvent, plugin: u8) -> bool {
        let slot = Slot {
            notified: Notified::Pending,
            ..Slot::new(event, plugin)
        };
        let room = self.add(slot);
        self.overfull |= !room;
        room
    }

    /// Returns whether the dump has shown more than there was room for.
    pub(crate) fn is_overfull(&self) -> bool {
        self.overfull
    }

    /// The dump was whole: what it has shown of a connection found, which side opened it above
    /// all, can be told.
    pub(crate) fn end_dump(&mut self) {
        self.pending_from = Some(0);
    }

    /// There will be no whole dump: events have to do.
    pub(crate) fn remove_pending(&mut self) {
        for at in 0..self.slots.end() {
            if let Some(slot) = self
                .slots
                .at(at)
                .filter(|slot| slot.notified == Notified::Pending)
            {
                self.remove(slot.event.token);
            }
        }
    }

    /// Takes in a subflow that the dump shows.
    pub(crate) fn on_subflow_dumped(&mut self, found: &diag::Subflow) {
        let Some(slot) = self.slots.get_mut(found.token) else {
            return;
        };
        if found.fully_established {
            slot.complete_handshake();
        }
        if slot.notified != Notified::Done && found.opened_here {
            slot.event.server_side = false;
        }
        let diag::Ends {
            local,
            remote,
            mapped,
        } = found.ends;
        let initial = (slot.event.local, slot.event.remote) == (local, remote);
        if slot.notified != Notified::Done
            && found.opened_here
            && found.remote_id != AddressId::INITIAL
        {
            let mut address = remote;
            if remote.port() == slot.event.remote.port() {
                address.set_port(0);
            }
            let id = found.remote_id;
            self.address_announced(found.token, RemoteAddress { id, address });
        }
        let new = Subflow {
            local,
            remote,
            local_id: found.local_id,
            remote_id: found.remote_id,
            backup_here: found.backup_here,
            backup_there: found.backup_there,
            ifindex: found.ifindex,
            established: found.established,
            closing: false,
            mapped,
            marked: true,
            // Of the initial one the connection tells, of one under way the kernel will.
            notified: initial || !found.established,
            place: Place::default(),
        };
        if let Some(known) = self.subflow_mut(found.token, local, remote) {
            let notified = if known.established {
                known.notified
            } else {
                new.notified
            };
            *known = Subflow {
                closing: known.closing,
                place: known.place,
                notified,
                ..new
            };
            return;
        }
        if !initial {
            return self.add_subflow(found.token, new);
        }
        let serial = self.next_serial();
        if let Some(slot) = self.slots.get_mut(found.token) {
            let at = self.subflows.put(new, slot.subflows);
            slot.subflows = at.unwrap_or(slot.subflows);
            self.number_subflow(at, serial);
        }
    }

    /// Returns the token in a slot of the table; there is none at [`Self::end`] and beyond.
    pub(crate) fn token_at(&self, at: u32) -> Option<Token> {
        self.slots.at(at).map(|slot| slot.event.token)
    }

    pub(crate) fn end(&self) -> u32 {
        self.slots.end()
    }

    /// Returns the next difference of a connection, which the table has taken in by then. `whole`
    /// says that the dump was: only then what it did not show has ended.
    pub(crate) fn next_difference(&mut self, token: Token, whole: bool) -> Option<Difference> {
        let slot = self.slots.get_mut(token)?;
        if slot.mark == Mark::Unmarked {
            return whole.then_some(Difference::Closed);
        }
        if let Some(event) = slot.announce_established() {
            return Some(Difference::Established(event));
        }
        // The subflows of a connection that is about to close close with it.
        if slot.mark != Mark::Open {
            return None;
        }
        // Where the plugin does not know the connection yet, what has ended is removed here all
        // the same; the engine then finds no manager to tell.
        let is_known = slot.notified == Notified::Done;
        let gone = |s: &Subflow| whole && !s.marked;
        let news = |s: &Subflow| gone(s) || (is_known && !s.notified);
        let at = self.subflows.find(slot.subflows, news)?;
        let subflow = self.subflows.get_mut(at)?;
        subflow.notified = true;
        let event = subflow.event(token);
        if gone(subflow) {
            let was_open = subflow.is_open();
            self.subflows.remove(&mut slot.subflows, at);
            return Some(Difference::SubflowClosed { event, was_open });
        }
        Some(Difference::Subflow(event))
    }

    /// Returns whether there are connections found of which the plugin is to be told.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_from.is_some()
    }

    /// Returns whether it can be told of them now: true once.
    pub(crate) fn take_all_read(&mut self) -> bool {
        let all = self.has_pending() && self.next_pending().is_none();
        if all {
            self.pending_from = None;
        }
        all
    }

    /// Returns the next connection found whose announced addresses are to be read.
    pub(crate) fn next_pending(&mut self) -> Option<Token> {
        let from = self.pending_from?;
        for at in from..self.slots.end() {
            if let Some(slot) = self
                .slots
                .at(at)
                .filter(|slot| slot.notified == Notified::Pending)
            {
                self.pending_from = Some(at);
                return Some(slot.event.token);
            }
        }
        None
    }

    /// Takes in an address of a connection found; `ids` learns what earlier runs called it.
    pub(crate) fn on_address(&mut self, token: Token, known: &Endpoint, ids: &mut AddressIds) {
        ids.learn(known.address.to_canonical(), known.id);
        if known.flags.contains(EndpointFlags::SIGNAL) {
            self.set_announced(token, known.id, true);
        }
    }

    /// Those were all the addresses of a connection found.
    pub(crate) fn addresses_done(&mut self, token: Token, kernel_managed: bool) {
        if let Some(slot) = self
            .slots
            .get_mut(token)
            .filter(|s| s.notified == Notified::Pending)
        {
            slot.notified = Notified::Ready;
            slot.kernel_managed |= kernel_managed;
        }
    }

    /// Returns the connection in a slot, once, if the plugin can be told of it now.
    pub(crate) fn take_ready(&mut self, at: u32) -> Option<ConnectionEvent> {
        let slot = self.slots.at_mut(at)?;
        if slot.notified != Notified::Ready {
            return None;
        }
        slot.notified = Notified::Done;
        Some(slot.event)
    }
}
