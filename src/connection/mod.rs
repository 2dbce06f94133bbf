// SPDX-License-Identifier: BSD-3-Clause
//! The connections that a plugin manages: token -> connection -> subflows.
//!
//! The kernel's events write the table, and so do commands as they are given: a subflow asked for
//! is there and not established, an address announced counts as announced until the kernel
//! refuses it. A plugin that compares what should be with what is finds all in one place and
//! need not remember what is under way.
//!
//! Sized once. What does not fit is counted and not managed, until there is room at the next
//! comparison with the kernel.

pub mod address_id;
mod commands;
#[allow(missing_docs)]
pub mod coverage;
mod dump;
mod id_set;
mod slab;
pub(crate) mod storage;
mod token_map;
mod view;

use core::net::SocketAddr;

use crate::capacity;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, ConnectionEvent, SubflowEvent, Token, ip_of};
use crate::network::Network;
use crate::time::Duration;
#[cfg(feature = "control")]
use crate::time::Instant;
pub(crate) use dump::Difference;
use dump::{Mark, Notified};
pub(crate) use id_set::IdSet;
use slab::{NONE, Slab};
use storage::Place;
use token_map::TokenMap;
pub use view::Connection;

/// How long a connection is left alone that has lost a subflow, before that is made again. What the
/// subflow had not delivered comes by the others, and whatever overtakes it on one that is made too
/// early has to wait for it: measured, that stalls the connection for up to 90 ms longer.
#[cfg_attr(not(any(feature = "healing", feature = "userspace")), allow(dead_code))]
pub(crate) const CALM: Duration = Duration::from_millis(750);

/// A subflow of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Subflow {
    /// The port is 0 until the kernel has told which one it chose.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The id of the local address; 0 is that of the connection's first one.
    pub local_id: AddressId,
    /// The id of the peer's address; 0 is that of the connection's first one.
    pub remote_id: AddressId,
    /// This host has asked for backup priority (RFC 8684, 3.3.8), and the peer.
    pub backup_here: bool,
    /// The peer asked for backup priority (MP_PRIO, or the B flag of MP_JOIN).
    pub backup_there: bool,
    /// The interface the subflow is bound to, if it is.
    pub ifindex: IfIndex,
    /// The kernel has said so. What is not has been asked for.
    established: bool,
    /// The kernel has been asked to close it. A subflow may be so that is not established: one
    /// asked for, and one that a dump shows in the middle of its end.
    closing: bool,
    /// The kernel knows it by IPv4-mapped addresses.
    mapped: bool,
    /// The dump under way has shown it, or it has come since.
    marked: bool,
    /// The plugin knows it.
    notified: bool,
    place: Place,
}

impl Subflow {
    /// Returns whether the kernel has reported it. Any other one has been asked for.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Returns whether the kernel has been asked to close it.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Returns whether it is established, and not being closed by this host.
    pub fn is_open(&self) -> bool {
        self.established && !self.closing
    }

    /// Returns the number of the interface that it leaves by: the one it is bound to or, where it is
    /// not, that of its address. `None` if no interface has the address.
    pub fn interface(&self, network: &Network) -> Option<IfIndex> {
        network.leaves_by(self.ifindex, ip_of(&self.local))
    }

    fn new(event: &SubflowEvent) -> Self {
        Self {
            local: event.local,
            remote: event.remote,
            local_id: event.local_id,
            remote_id: event.remote_id,
            backup_here: false,
            backup_there: event.backup,
            ifindex: event.ifindex,
            established: true,
            closing: false,
            mapped: event.mapped,
            marked: true,
            notified: true,
            place: Place::default(),
        }
    }

    fn event(&self, token: Token) -> SubflowEvent {
        SubflowEvent {
            token,
            local: self.local,
            remote: self.remote,
            local_id: self.local_id,
            remote_id: self.remote_id,
            backup: self.backup_there,
            ifindex: self.ifindex,
            error: 0,
            reset_reason: None,
            reset_flags: 0,
            mapped: self.mapped,
        }
    }
}

/// An address that the peer announces (ADD_ADDR, RFC 8684, 3.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteAddress {
    /// Its id with the peer.
    pub id: AddressId,
    /// With port 0 where the peer named none.
    pub address: SocketAddr,
}

struct Slot {
    event: ConnectionEvent,
    /// Number of the plugin that manages it.
    plugin: u8,
    handshake: Handshake,
    kernel_managed: bool,
    /// The initial subflow's address has been withdrawn by the peer, and by this side.
    initial_withdrawn: bool,
    own_initial_withdrawn: bool,
    subflows: u32,
    addresses: u32,
    /// No other connection of this run has it.
    serial: u32,
    /// In seconds of the engine's clock; 0 if it was there before.
    #[cfg(feature = "control")]
    began: u32,
    /// The ids of the addresses that we announce.
    announced: IdSet,
    notified: Notified,
    mark: Mark,
}

const _: () = assert!(size_of::<slab::Slot<Subflow>>() <= 92);
const _: () = assert!(size_of::<slab::Slot<RemoteAddress>>() <= 40);
const _: () = assert!(size_of::<slab::Slot<(Token, Slot)>>() <= 144);

/// How far a connection's handshake is known to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshake {
    Incomplete,
    /// A dump or an event has shown it to be complete. The plugin is to be told.
    Complete,
    /// The plugin has been told that the connection is established.
    Announced,
}

impl Slot {
    fn new(event: &ConnectionEvent, plugin: u8) -> Self {
        Self {
            event: *event,
            plugin,
            handshake: Handshake::Incomplete,
            kernel_managed: false,
            initial_withdrawn: false,
            own_initial_withdrawn: false,
            subflows: NONE,
            addresses: NONE,
            serial: 0,
            #[cfg(feature = "control")]
            began: 0,
            announced: IdSet::default(),
            notified: Notified::Done,
            mark: Mark::Open,
        }
    }

    fn complete_handshake(&mut self) {
        if self.handshake == Handshake::Incomplete {
            self.handshake = Handshake::Complete;
        }
    }

    /// Returns the connection, once, if the plugin that knows it is to be told that it is
    /// established.
    fn announce_established(&mut self) -> Option<ConnectionEvent> {
        if self.notified != Notified::Done || self.handshake != Handshake::Complete {
            return None;
        }
        self.handshake = Handshake::Announced;
        Some(self.event)
    }
}

/// What an event of a connection that was made is to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    New,
    /// A connection of other ends had the token: it has ended unnoticed.
    TokenReused,
    Known,
}

/// All connections.
pub struct Connections {
    slots: TokenMap<Slot>,
    subflows: Slab<Subflow>,
    addresses: Slab<RemoteAddress>,
    /// No connection in a slot before this one is [`Notified::Pending`].
    pending_from: Option<u32>,
    /// The last dump has shown connections that found no room.
    overfull: bool,
    /// The last serial number given.
    serial: u32,
}

impl Connections {
    /// Room for `most` connections at the same time.
    pub fn new(most: u32) -> Self {
        let most = most as usize;
        Self {
            slots: TokenMap::new(most),
            subflows: Slab::new(most.saturating_mul(capacity::SUBFLOWS_PER_CONNECTION)),
            addresses: Slab::new(most.saturating_mul(capacity::ADDRESSES_PER_CONNECTION)),
            pending_from: None,
            overfull: false,
            serial: 0,
        }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many connections found no room.
    pub fn refused(&self) -> u32 {
        self.slots.refused()
    }

    /// Returns how many subflows and addresses of peers found no room.
    pub fn refused_parts(&self) -> u32 {
        let (subflows, addresses) = (self.subflows.refused(), self.addresses.refused());
        subflows.saturating_add(addresses)
    }

    /// Returns the connection with this token.
    pub fn get(&self, token: Token) -> Option<Connection<'_>> {
        let at = self.slots.slot(token)?;
        let slot = self.slots.at(at)?;
        Some(Connection {
            slot,
            at,
            table: self,
        })
    }

    /// Returns all of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = Connection<'_>> {
        (0..self.slots.end()).filter_map(|at| {
            let slot = self.slots.at(at)?;
            Some(Connection {
                slot,
                at,
                table: self,
            })
        })
    }

    /// Notes that a connection begins now, unless it is known when it did.
    #[cfg(feature = "control")]
    pub(crate) fn note_beginning(&mut self, now: Instant, token: Token) {
        if let Some(slot) = self.slots.get_mut(token).filter(|slot| slot.began == 0) {
            slot.began = now.as_secs();
        }
    }

    /// Returns the ends of the connection at a place of the table, if there is one, and how many
    /// seconds ago it began, if that is known. `None` behind the last place.
    #[cfg(feature = "control")]
    pub(crate) fn age(
        &self,
        now: Instant,
        at: usize,
    ) -> Option<Option<(SocketAddr, SocketAddr, u32)>> {
        let at = u32::try_from(at).ok().filter(|at| *at < self.slots.end())?;
        let slot = self.slots.at(at).filter(|slot| slot.began > 0);
        Some(slot.map(|slot| {
            let age = now.as_secs().saturating_sub(slot.began);
            (slot.event.local, slot.event.remote, age)
        }))
    }

    /// Which plugin manages the connection, and knows it.
    pub(crate) fn manager(&self, token: Token) -> Option<usize> {
        let slot = self.slots.get(token)?;
        (slot.notified == Notified::Done).then_some(slot.plugin.into())
    }

    /// Returns whether the connection of an event is one that is known.
    pub(crate) fn lookup(&self, event: &ConnectionEvent) -> Lookup {
        match self.get(event.token) {
            None => Lookup::New,
            Some(known) if (known.local, known.remote) == (event.local, event.remote) => {
                Lookup::Known
            }
            Some(_) => Lookup::TokenReused,
        }
    }

    /// Takes in a connection, with its initial subflow; the plugin is `notified` of it, or will
    /// be.
    /// Returns false if there is no room.
    pub(crate) fn insert(&mut self, event: &ConnectionEvent, plugin: u8, notified: bool) -> bool {
        let notified = if notified {
            Notified::Done
        } else {
            Notified::Ready
        };
        let slot = Slot {
            notified,
            ..Slot::new(event, plugin)
        };
        let room = self.add(slot);
        if room {
            self.add_subflow(
                event.token,
                Subflow::new(&SubflowEvent {
                    token: event.token,
                    local: event.local,
                    remote: event.remote,
                    local_id: AddressId::INITIAL,
                    remote_id: AddressId::INITIAL,
                    backup: false,
                    ifindex: IfIndex::NONE,
                    error: 0,
                    reset_reason: None,
                    reset_flags: 0,
                    mapped: event.mapped,
                }),
            );
        }
        room
    }

    fn add(&mut self, mut slot: Slot) -> bool {
        slot.serial = self.next_serial();
        self.slots.insert(slot.event.token, slot)
    }

    /// A number that nothing else has had, unless four billion have been given since.
    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1).max(1);
        self.serial
    }

    /// Notes that the handshake is complete, and what only then is known. Returns whether that
    /// is news.
    pub(crate) fn establish(&mut self, event: &ConnectionEvent) -> bool {
        let Some(slot) = self.slots.get_mut(event.token) else {
            return false;
        };
        slot.event = *event;
        self.confirm_handshake(event.token).is_some()
    }

    /// Notes that the handshake is complete. Returns with the connection if that is news for the
    /// plugin that knows it.
    pub(crate) fn confirm_handshake(&mut self, token: Token) -> Option<ConnectionEvent> {
        let slot = self.slots.get_mut(token)?;
        slot.complete_handshake();
        slot.announce_established()
    }

    /// Forgets a connection and all that belongs to it.
    pub(crate) fn remove(&mut self, token: Token) {
        if let Some(slot) = self.slots.get_mut(token) {
            self.subflows.clear(&mut slot.subflows);
            self.addresses.clear(&mut slot.addresses);
        }
        self.slots.remove(token);
    }

    /// Takes in a subflow that is established: a new one, or one that was asked for. Returns
    /// whether the plugin is to be told; a dump may have shown it before the event was read.
    pub(crate) fn subflow_established(&mut self, event: &SubflowEvent) -> bool {
        let notified = self.manager(event.token).is_some();
        let mut new = Subflow {
            notified,
            ..Subflow::new(event)
        };
        match self.subflow_mut(event.token, event.local, event.remote) {
            Some(known) if known.established => {
                notified && !core::mem::replace(&mut known.notified, true)
            }
            Some(known) => {
                new.backup_here = known.backup_here;
                new.place = known.place;
                *known = new;
                notified
            }
            None => {
                self.add_subflow(event.token, new);
                notified
            }
        }
    }

    /// Returns whether a subflow is one that was asked for and has not come about.
    #[cfg(feature = "control")]
    pub(crate) fn is_joining(&self, event: &SubflowEvent) -> bool {
        let found = self.find_subflow(event.token, event.local, event.remote);
        let subflow = found.and_then(|at| self.subflows.get(at));
        subflow.is_some_and(|subflow| !subflow.established)
    }

    /// Forgets a subflow. Returns whether it was open; `None` if it was not known.
    pub(crate) fn subflow_closed(&mut self, event: &SubflowEvent) -> Option<bool> {
        self.remove_subflow(event.token, event.local, event.remote)
    }

    /// Notes the priority that the peer gives a subflow. Returns whether the subflow is known.
    pub(crate) fn subflow_priority(&mut self, event: &SubflowEvent) -> bool {
        let found = self.subflow_mut(event.token, event.local, event.remote);
        found
            .map(|known| known.backup_there = event.backup)
            .is_some()
    }

    /// Notes an address that the peer announces, which replaces an earlier one of the same id.
    pub(crate) fn address_announced(&mut self, token: Token, new: RemoteAddress) {
        let Some(slot) = self.slots.get_mut(token) else {
            return;
        };
        let known = self
            .addresses
            .find(slot.addresses, |known| known.id == new.id);
        match known.and_then(|at| self.addresses.get_mut(at)) {
            Some(known) => *known = new,
            None => {
                self.addresses.append(&mut slot.addresses, new);
            }
        }
    }

    /// Returns the `nth` address that the peer announces.
    pub(crate) fn remote_address(&self, token: Token, nth: usize) -> Option<RemoteAddress> {
        self.get(token)?.remote_addresses().nth(nth).copied()
    }

    pub(crate) fn address_removed(&mut self, token: Token, id: AddressId) {
        let Some(slot) = self.slots.get_mut(token) else {
            return;
        };
        slot.initial_withdrawn |= id == AddressId(0);
        if let Some(at) = self.addresses.find(slot.addresses, |known| known.id == id) {
            self.addresses.remove(&mut slot.addresses, at);
        }
    }

    fn add_subflow(&mut self, token: Token, subflow: Subflow) {
        let serial = self.next_serial();
        if let Some(slot) = self.slots.get_mut(token) {
            let at = self.subflows.append(&mut slot.subflows, subflow);
            self.number_subflow(at, serial);
        }
    }

    fn number_subflow(&mut self, at: Option<u32>, serial: u32) {
        if let Some((at, subflow)) = at.and_then(|at| Some((at, self.subflows.get_mut(at)?))) {
            subflow.place = Place { at, serial };
        }
    }

    fn remove_subflow(
        &mut self,
        token: Token,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<bool> {
        let at = self.find_subflow(token, local, remote)?;
        let was_open = self.subflows.get(at)?.is_open();
        let slot = self.slots.get_mut(token)?;
        self.subflows.remove(&mut slot.subflows, at);
        Some(was_open)
    }

    fn subflow_mut(
        &mut self,
        token: Token,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<&mut Subflow> {
        let at = self.find_subflow(token, local, remote)?;
        self.subflows.get_mut(at)
    }

    /// Returns the subflow with these ends or, failing that, one asked for that may have become it:
    /// the kernel chose its local port.
    fn find_subflow(&self, token: Token, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let head = self.slots.get(token)?.subflows;
        let exact = |s: &Subflow| (s.local, s.remote) == (local, remote);
        let asked =
            |s: &Subflow| !s.established && s.remote == remote && ip_of(&s.local) == ip_of(&local);
        let found = self.subflows.find(head, exact);
        found.or_else(|| self.subflows.find(head, asked))
    }
}

#[cfg(test)]
mod tests;
