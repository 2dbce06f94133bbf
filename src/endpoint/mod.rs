// SPDX-License-Identifier: BSD-3-Clause
//! Wanted endpoints against the kernel's: the few commands that close the gap.
//!
//! Commands are taken to succeed when they are given, so that the next decision builds on them;
//! a refusal corrects the picture, and a dump of the kernel's endpoints settles every doubt.

mod departure;
mod dump;
mod flag_support;
mod kernel_capacity;
#[allow(missing_docs)]
pub mod limits;
#[allow(missing_docs)]
pub mod manager;
mod refusals;
mod results;
mod slot;
mod wanted;

use core::net::IpAddr;

use crate::capacity;
use crate::config::Prefixes;
use crate::logging;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, Command, Endpoint, EndpointFlags};
use crate::request::CommandId;
use crate::table::Table;
use crate::time::Instant;

pub use wanted::{Want, Wanted};

use departure::Departure;
use flag_support::FlagSupport;
use kernel_capacity::KernelCapacity;
use refusals::Refusals;
use slot::Operation;
pub use slot::Slot;

/// What a refusal calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// The picture is in doubt: only a dump of the endpoints can tell.
    pub dump: bool,
    /// The endpoint to log, if no other is refused with this errno.
    pub report: Option<Endpoint>,
}

/// The kernel's endpoints, ours and others', so far as is known.
pub struct Endpoints {
    ours: Table<Slot>,
    /// As the last dump showed them.
    others: Table<Endpoint>,
    refusals: Refusals,
    capacity: KernelCapacity,
    flags: FlagSupport,
    /// The id given last.
    last_id: AddressId,
    /// A command can be sent only once the kernel has acknowledged those before.
    waits: bool,
    /// When it was last known of one that it may go.
    granted_at: Instant,
    /// Nothing has happened since the last dump.
    is_current: bool,
    /// Something is to be deleted or changed that may have changed hands: the kernel reuses ids.
    look_due: bool,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::new()
    }
}

/// Flags that an endpoint has from its beginning to its end, whatever the kernel.
const KIND: u32 = EndpointFlags::SIGNAL.0 | EndpointFlags::SUBFLOW.0 | EndpointFlags::IMPLICIT.0;

/// How many are asked for at once while the kernel has not shown how many it takes.
const MAX_UNACKED_ADDS: usize = 16;

impl Endpoints {
    /// Returns tables of nothing.
    pub fn new() -> Self {
        Self {
            ours: Table::new(capacity::ENDPOINTS),
            others: Table::new(capacity::ENDPOINTS),
            refusals: Refusals::new(),
            capacity: KernelCapacity::default(),
            flags: FlagSupport::default(),
            last_id: AddressId::NONE,
            waits: false,
            granted_at: Instant::default(),
            is_current: false,
            look_due: false,
        }
    }

    /// Returns ours.
    pub fn ours(&self) -> &[Slot] {
        &self.ours
    }

    /// Returns those of others, as the last dump showed them.
    pub fn others(&self) -> &[Endpoint] {
        &self.others
    }

    /// Returns the addresses whose endpoint the kernel refused, and the errno.
    pub fn refusals(&self) -> impl Iterator<Item = (IpAddr, i32)> {
        self.refusals.iter().map(|r| (r.address, r.errno))
    }

    /// Returns the id given last.
    pub fn last_id(&self) -> AddressId {
        self.last_id
    }

    /// Returns the flags that this kernel drops.
    pub fn unsupported(&self) -> EndpointFlags {
        self.flags.unsupported()
    }

    /// Returns how many endpoints the kernel takes, once it has refused one.
    pub fn capacity(&self) -> Option<usize> {
        self.capacity.known()
    }

    /// Returns when a refused endpoint may be tried again.
    pub fn deadline(&self) -> Instant {
        self.refusals.deadline()
    }

    /// Takes back what an earlier run of the daemon left behind, from the run-state file. The
    /// next dump decides what of it is still there.
    pub fn remember(&mut self, endpoint: Endpoint) {
        self.ours.push(Slot {
            id_unknown: endpoint.id == AddressId::NONE,
            ..Slot::new(endpoint)
        });
    }

    /// Takes back the id given last by an earlier run.
    pub fn set_last_id(&mut self, id: AddressId) {
        self.last_id = id;
    }

    /// Tries again what was refused, but does not ask a full kernel for more than one endpoint.
    pub fn forget_refusals(&mut self) {
        self.refusals.clear();
        self.capacity.probe();
        self.flags.retry();
    }

    /// Forgets what was learned of the kernel, to learn it anew.
    pub fn forget_kernel(&mut self) {
        self.forget_refusals();
        self.capacity.forget();
        self.flags.forget();
    }

    /// Lets refused endpoints be tried again at once, because something changed.
    pub fn retry_now(&mut self) {
        self.refusals.retry_now();
    }

    /// Returns whether we have an endpoint for the address.
    pub fn holds(&self, address: IpAddr, port: u16) -> bool {
        self.slot_of(address, port).is_some()
    }

    /// Returns whether a want has its endpoint, be that somebody else's.
    fn has(&self, want: &Want) -> bool {
        self.holds(want.address, want.port) || self.foreign(want.address, want.port)
    }

    /// Returns our endpoint for the address, unless it is about to go.
    fn slot_of(&self, address: IpAddr, port: u16) -> Option<&Slot> {
        let mut ours = self.ours.iter();
        ours.find(|slot| !slot.is_deleting() && is_at(&slot.endpoint, address, port))
    }

    /// Returns whether somebody else has an endpoint for the address. One that the kernel made
    /// itself (implicit) gives way to ours.
    pub fn foreign(&self, address: IpAddr, port: u16) -> bool {
        self.others
            .iter()
            .any(|e| is_at(e, address, port) && !is_implicit(e))
    }

    /// Makes those of others on wanted addresses among `prefixes` ours. Returns whether there were any.
    pub fn adopt(&mut self, wanted: &Wanted, prefixes: &Prefixes) -> bool {
        let Self { ours, others, .. } = self;
        let before = others.len();
        others.retain(|endpoint| {
            let is_wanted = prefixes.hold(endpoint.address) && wanted.has(endpoint);
            is_implicit(endpoint) || !is_wanted || !ours.push(Slot::new(*endpoint))
        });
        before != others.len()
    }

    /// Returns how many slots no endpoint of ours can have: those of others, and what the kernel made
    /// itself where a connection needs it.
    pub(super) fn taken(&self, wanted: &Wanted) -> usize {
        let kept = |slot: &&Slot| {
            let endpoint = &slot.endpoint;
            slot.is_kept() && is_implicit(endpoint) && !wanted.has(endpoint)
        };
        self.others.len() + self.ours.iter().filter(kept).count()
    }

    /// Has one of others go whose slot is of use to nobody, first what the kernel made itself: it becomes
    /// ours, not to stay. Returns whether there is one; the log is told of it.
    pub(super) fn give_way(&mut self, wanted: &Wanted, is_local: &dyn Fn(IpAddr) -> bool) -> bool {
        let implicit = |e: &Endpoint| is_implicit(e) && !wanted.has(e);
        // Subflows cannot come from an address that is not there; left by a run without a state file.
        let orphan = |e: &Endpoint| {
            let kind = EndpointFlags(e.flags.0 & KIND);
            kind == EndpointFlags::SUBFLOW && e.ifindex != IfIndex::NONE && !is_local(e.address)
        };
        let others = &self.others;
        let at = others.iter().position(implicit);
        let Some(at) = at.or_else(|| others.iter().position(orphan)) else {
            return false;
        };
        let Some(endpoint) = others.get(at).filter(|_| !self.ours.is_full()) else {
            return false;
        };
        let Endpoint { address, id, .. } = endpoint;
        logging::info!(
            "endpoint {address} (id {}) gives way: it is of no use",
            id.0
        );
        self.ours.push(Slot {
            departure: Departure::Requested,
            has_path: false,
            ..Slot::new(*endpoint)
        });
        self.others.remove(at);
        true
    }

    /// Gives back what the kernel made itself and was kept for connections.
    pub(super) fn give_back(&mut self) {
        let Self { ours, others, .. } = self;
        ours.retain(|slot| {
            !slot.is_kept() || !is_implicit(&slot.endpoint) || !others.push(slot.endpoint)
        });
    }

    /// Returns those of others that stand where an endpoint is wanted.
    pub fn in_the_way<'a>(&'a self, wanted: &'a Wanted) -> impl Iterator<Item = &'a Endpoint> {
        let others = self.others.iter().filter(|e| !is_implicit(e));
        others.filter(|e| wanted.has(e))
    }

    /// Returns the next id after the last one given that no endpoint has. Ids are not reused at
    /// once: a peer may still remember the old meaning.
    fn free_id(&self) -> Option<AddressId> {
        let taken = |id: AddressId| {
            self.ours.iter().any(|slot| slot.endpoint.id == id)
                || self.others.iter().any(|endpoint| endpoint.id == id)
        };
        let mut id = self.last_id;
        for _ in 0..u8::MAX {
            id = id.next();
            if !taken(id) {
                return Some(id);
            }
        }
        None
    }

    /// Compares the settled wants with the kernel's endpoints and gives the commands that close
    /// the gap to `send`. That returns the number of the command, or `None` when it takes no more
    /// for now: call again. Returns whether an endpoint that was to go is wanted again.
    pub fn reconcile(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        send: &mut dyn FnMut(Command) -> Option<CommandId>,
    ) -> bool {
        let ours = &self.ours;
        self.refusals.begin(|refused| {
            let (address, port) = (refused.address, refused.port);
            let mut want = wanted.iter();
            ours.iter().any(|s| is_at(&s.endpoint, address, port))
                || want.any(|w| w.port == port && w.address == address)
        });
        self.revoke_old_grants(now);
        let returned = self.note_departures(wanted);
        self.amend(now, wanted, Operation::SetFlags, send);
        // A new path first, so that a connection has it when the old one goes; but if the
        // kernel has no room, the old one must go first.
        self.add(now, wanted, self.ours.len(), send);
        self.amend(now, wanted, Operation::Delete, send);
        if !self.look_due {
            let stay = self.ours.iter().filter(|slot| !slot.is_deleting());
            self.add(now, wanted, stay.count(), send);
        }
        self.is_current = false;
        returned
    }

    /// Deletes all of ours. The kernel does what it was asked for before, so that none is left.
    pub fn remove_all(&mut self, send: &mut dyn FnMut(Command) -> Option<CommandId>) {
        for slot in self.ours.iter_mut().filter(|slot| !slot.is_deleting()) {
            if let Some(number) = send(Command::DeleteEndpoint(slot.endpoint)) {
                slot.set_pending(Operation::Delete, number);
            }
        }
    }

    /// Asks for what ours need, if that is `how`: other flags, where those can be changed in place,
    /// or to be deleted, where they may be. Their subflows end by either, but for `harmless` flags.
    fn amend(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        how: Operation,
        send: &mut dyn FnMut(Command) -> Option<CommandId>,
    ) {
        let (unsupported, changeable) = (self.flags.unsupported().0, self.flags.changeable());
        let Self {
            ours,
            refusals,
            waits,
            is_current,
            look_due,
            ..
        } = self;
        for slot in ours.iter_mut().filter(|slot| !slot.is_deleting()) {
            let mut endpoint = slot.endpoint;
            let in_place = want_of(wanted, slot).filter(|w| {
                let differing = (endpoint.flags.0 ^ w.flags.0) & !unsupported;
                slot.has_path && differing != 0 && differing & !changeable == 0
            });
            match (how, slot.departure, in_place) {
                (Operation::SetFlags, Departure::Stays | Departure::Granted, Some(_))
                | (Operation::SetFlags, Departure::Cycle, _)
                | (Operation::Delete, Departure::Granted, None)
                | (Operation::Delete, Departure::Renewal, _) => {}
                _ => continue,
            }
            if slot.pending.is_some() {
                // A second command's refusal could not be told from that of the first.
                *waits = true;
                continue;
            }
            if refusals.must_wait(now, endpoint.address, endpoint.port) {
                continue;
            }
            if !*is_current {
                *look_due = true;
                return;
            }
            let mut asked = endpoint;
            if how == Operation::SetFlags {
                endpoint.flags = in_place.map_or(endpoint.flags, |want| want.flags);
                asked.flags = endpoint.flags;
                if slot.departure == Departure::Cycle {
                    asked.flags.0 |= EndpointFlags::FULLMESH.0;
                }
            }
            let Some(mut number) = send(match how {
                Operation::SetFlags => Command::SetFlags(asked),
                _ => Command::DeleteEndpoint(asked),
            }) else {
                return;
            };
            if slot.departure == Departure::Cycle {
                match send(Command::SetFlags(endpoint)) {
                    Some(second) => number = second,
                    // It remains for the next time, as any flags that are not wanted.
                    None => endpoint.flags.0 |= EndpointFlags::FULLMESH.0,
                }
            }
            slot.endpoint = endpoint;
            if how == Operation::SetFlags {
                slot.flags_unverified = true;
                slot.departure = Departure::Stays;
            }
            slot.set_pending(how, number);
        }
    }

    /// Adds what is missing, while fewer than the kernel's limit of slots are `taken`.
    fn add(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        taken: usize,
        send: &mut dyn FnMut(Command) -> Option<CommandId>,
    ) {
        let mut room = self
            .capacity
            .limit()
            .saturating_sub(taken + self.others.len());
        let is_adding = |slot: &&Slot| slot.pending == Some(Operation::Add);
        let mut unacked = self.ours.iter().filter(is_adding).count();
        for want in wanted.chosen() {
            if self.has(want) {
                continue;
            }
            if self.capacity.known().is_none() && unacked >= MAX_UNACKED_ADDS {
                self.waits = true;
                return;
            }
            if self.refusals.must_wait(now, want.address, want.port) {
                continue;
            }
            if room == 0 {
                // A path that works is worth more than one that may return.
                let gives_way = |slot: &&mut Slot| {
                    let stays = matches!(slot.departure, Departure::Requested | Departure::Denied);
                    stays && !slot.has_path && !is_implicit(&slot.endpoint)
                };
                let leaves = |slot: &Slot| slot.departure == Departure::Granted;
                if self
                    .ours
                    .iter()
                    .any(|slot| leaves(slot) && !slot.is_deleting())
                {
                    return;
                }
                if let Some(slot) = self.ours.iter_mut().find(gives_way) {
                    slot.departure = Departure::Granted;
                    self.granted_at = now;
                    // Another may just have been deleted, and this one not be looked at any more.
                    self.waits = true;
                }
                return;
            }
            // One that the kernel made itself is replaced, where there is room for another.
            let same = |e: &Endpoint| is_at(e, want.address, want.port);
            let implicit = self.others.iter().position(same);
            let id = match implicit.and_then(|at| self.others.get(at)) {
                Some(endpoint) => Some(endpoint.id),
                None => self.free_id(),
            };
            let Some(id) = id else {
                return;
            };
            if let Some(at) = implicit {
                self.others.remove(at);
            }
            let mut endpoint = Endpoint {
                address: want.address,
                port: want.port,
                // The kernel replaces an endpoint of its own only if we leave the id to it.
                id: match implicit {
                    Some(_) => AddressId::NONE,
                    None => id,
                },
                flags: want.flags,
                ifindex: want.ifindex,
            };
            let Some(number) = send(Command::AddEndpoint(endpoint)) else {
                return;
            };
            endpoint.id = id;
            self.last_id = id;
            self.ours.push(Slot {
                pending: Some(Operation::Add),
                command: number,
                unverified: true,
                flags_unverified: true,
                id_unknown: implicit.is_some(),
                ..Slot::new(endpoint)
            });
            room = room.saturating_sub(usize::from(implicit.is_none()));
            unacked += 1;
        }
    }
}

fn want_of<'a>(wanted: &'a Wanted, slot: &Slot) -> Option<&'a Want> {
    wanted
        .chosen()
        .find(|w| is_at(&slot.endpoint, w.address, w.port))
}

/// Returns whether one of ours is what the dump shows. Nobody can change what is compared of an
/// existing endpoint: one that differs is somebody else's.
fn is_same(ours: &Slot, shown: &Endpoint) -> bool {
    let known = &ours.endpoint;
    (ours.id_unknown || known.id == shown.id)
        && is_at(known, shown.address, shown.port)
        && known.ifindex == shown.ifindex
        && (known.flags.0 ^ shown.flags.0) & KIND == 0
}

fn is_at(endpoint: &Endpoint, address: IpAddr, port: u16) -> bool {
    endpoint.address == address && endpoint.port == port
}

fn is_implicit(endpoint: &Endpoint) -> bool {
    endpoint.flags.contains(EndpointFlags::IMPLICIT)
}

#[cfg(test)]
mod tests;
