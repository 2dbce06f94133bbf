//! What inet_diag shows against the table: what was missed is found.
//!
//! Everything begins unseen; a dump marks what it shows, and takes in what is new. Once it is
//! whole, what is unseen has ended, and what nobody has been told of is news. The kernel does not
//! show the peer's announcements nor its C flag: those of a connection found are unknown.

use super::address_id::AddressIds;
use super::{Connections, Known, Slot, Subflow};
use crate::netlink::diag;
use crate::netlink::mptcp::{ConnectionEvent, Endpoint, EndpointFlags, SubflowEvent};

/// Whether the plugin knows a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// Found in a dump; that is to be whole, and the addresses it announces to be read, first.
    NotYet,
    /// They have been read, or there are none. Those of other connections found may have to be.
    Almost,
    Yes,
}

/// What a comparison shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Closed,
    Established(ConnectionEvent),
    Subflow(SubflowEvent),
    SubflowClosed(SubflowEvent),
}

impl Connections {
    /// A dump begins.
    pub(crate) fn begin(&mut self) {
        self.overfull = false;
        for at in 0..self.slots.end() {
            let Some(slot) = self.slots.at_mut(at) else {
                continue;
            };
            slot.seen = false;
            slot.open = false;
            self.subflows
                .change(slot.subflows, |subflow| subflow.seen = false);
        }
    }

    /// Marks a connection of the dump as seen. Answers what else there is to it.
    pub(crate) fn saw(&mut self, found: &diag::Connection) -> Option<(Known, ConnectionEvent)> {
        let event = ConnectionEvent {
            token: found.token,
            local: found.ends.local,
            remote: found.ends.remote,
            // Until one of its subflows says otherwise.
            server_side: true,
            deny_join_id0: false,
            mapped: found.ends.mapped,
        };
        let known = self.know(&event);
        if known == Known::Already {
            let slot = self.slots.get_mut(found.token)?;
            slot.seen = true;
            slot.open = found.established && !found.fallback;
            return None;
        }
        let manageable = found.token != 0 && found.established && !found.fallback;
        manageable.then_some((known, event))
    }

    /// The first connection from this slot on that the dump has not shown: its slot and token.
    pub(crate) fn next_unseen(&self, from: u32) -> Option<(u32, u32)> {
        let unseen = |at| self.slots.at(at).filter(|slot: &&Slot| !slot.seen);
        (from..self.slots.end()).find_map(|at| Some((at, unseen(at)?.event.token)))
    }

    /// Takes in a connection that the dump shows. Answers false if there is no room.
    pub(crate) fn found(&mut self, event: &ConnectionEvent, plugin: u8) -> bool {
        let slot = Slot {
            told: Told::NotYet,
            ..Slot::new(event, plugin)
        };
        let room = self.slots.insert(event.token, slot);
        self.overfull |= !room;
        room
    }

    /// Whether the dump has shown more than there was room for.
    pub(crate) fn is_overfull(&self) -> bool {
        self.overfull
    }

    /// The dump was whole: what it has shown of a connection found, which side opened it above
    /// all, can be told.
    pub(crate) fn finish(&mut self) {
        self.untold_from = Some(0);
    }

    /// There will be no whole dump: events have to do.
    pub(crate) fn forget_found(&mut self) {
        for at in 0..self.slots.end() {
            if let Some(slot) = self.slots.at(at).filter(|slot| slot.told == Told::NotYet) {
                self.remove(slot.event.token);
            }
        }
    }

    /// Takes in a subflow that the dump shows.
    pub(crate) fn saw_subflow(&mut self, found: &diag::Subflow) {
        let Some(slot) = self.slots.get_mut(found.token) else {
            return;
        };
        slot.proven |= found.fully_established;
        if slot.told != Told::Yes && found.opened_here {
            slot.event.server_side = false;
        }
        let diag::Ends {
            local,
            remote,
            mapped,
        } = found.ends;
        let initial = (slot.event.local, slot.event.remote) == (local, remote);
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
            seen: true,
            // Of the initial one the connection tells, of one under way the kernel will.
            told: initial || !found.established,
        };
        if let Some(known) = self.subflow_mut(found.token, local, remote) {
            let told = if known.established {
                known.told
            } else {
                new.told
            };
            *known = Subflow {
                closing: known.closing,
                told,
                ..new
            };
        } else if let Some(slot) = self.slots.get_mut(found.token) {
            if !initial {
                self.subflows.append(&mut slot.subflows, new);
            } else if let Some(at) = self.subflows.put(new, slot.subflows) {
                slot.subflows = at;
            }
        }
    }

    /// The token in a slot of the table; there is none at [`Self::end`] and beyond.
    pub(crate) fn token_at(&self, at: u32) -> Option<u32> {
        self.slots.at(at).map(|slot| slot.event.token)
    }

    pub(crate) fn end(&self) -> u32 {
        self.slots.end()
    }

    /// The next news of a connection, which the table has taken in when this returns. `whole`
    /// says that the dump was: only then what it did not show has ended.
    pub(crate) fn next_news(&mut self, token: u32, whole: bool) -> Option<News> {
        let slot = self.slots.get_mut(token)?;
        if !slot.seen {
            return whole.then_some(News::Closed);
        }
        // Who does not know the connection is told only what has come to an end, in vain.
        let known = slot.told == Told::Yes;
        if known && slot.proven && !core::mem::replace(&mut slot.established, true) {
            return Some(News::Established(slot.event));
        }
        // The subflows of a connection that is about to close close with it.
        if !slot.open {
            return None;
        }
        let gone = |s: &Subflow| whole && !s.seen;
        let news = |s: &Subflow| gone(s) || (known && !s.told);
        let at = self.subflows.find(slot.subflows, news)?;
        let subflow = self.subflows.get_mut(at)?;
        subflow.told = true;
        let event = subflow.event(token);
        if gone(subflow) {
            self.subflows.remove(&mut slot.subflows, at);
            return Some(News::SubflowClosed(event));
        }
        Some(News::Subflow(event))
    }

    /// Whether there are connections found of which the plugin is to be told.
    pub(crate) fn has_untold(&self) -> bool {
        self.untold_from.is_some()
    }

    /// Whether it can be told of them now: true once.
    pub(crate) fn all_read(&mut self) -> bool {
        let all = self.has_untold() && self.next_untold().is_none();
        if all {
            self.untold_from = None;
        }
        all
    }

    /// The next connection found whose announced addresses are to be read.
    pub(crate) fn next_untold(&mut self) -> Option<u32> {
        let from = self.untold_from?;
        for at in from..self.slots.end() {
            if let Some(slot) = self.slots.at(at).filter(|slot| slot.told == Told::NotYet) {
                self.untold_from = Some(at);
                return Some(slot.event.token);
            }
        }
        None
    }

    /// Takes in an address of a connection found; `ids` learns what earlier runs called it.
    pub(crate) fn learn(&mut self, token: u32, known: &Endpoint, ids: &mut AddressIds) {
        ids.learn(known.address.to_canonical(), known.id);
        if known.flags.contains(EndpointFlags::SIGNAL) {
            self.set_announced(token, known.id, true);
        }
    }

    /// Those were all the addresses of a connection found.
    pub(crate) fn learned(&mut self, token: u32, kernel_managed: bool) {
        if let Some(slot) = self.slots.get_mut(token).filter(|s| s.told == Told::NotYet) {
            slot.told = Told::Almost;
            slot.kernel_managed |= kernel_managed;
        }
    }

    /// The plugin is about to be told of the connection in a slot, if it has not been.
    pub(crate) fn introduce(&mut self, at: u32) -> Option<ConnectionEvent> {
        let slot = self.slots.at_mut(at)?;
        if slot.told != Told::Almost {
            return None;
        }
        slot.told = Told::Yes;
        Some(slot.event)
    }
}
