// SPDX-License-Identifier: BSD-3-Clause
//! When an endpoint of ours may be deleted, or be changed so that its subflows end: not before it is
//! known that no connection needs it.

use core::net::IpAddr;

use super::{Endpoints, Slot, Want, Wanted, is_at, want_of};
use crate::netlink::mptcp::{Endpoint, EndpointFlags};
use crate::time::{Duration, Instant};

/// For so long what a look at the connections has shown is taken to be so.
const GRANT: Duration = Duration::from_millis(150);

/// Whether the subflows of an endpoint may end, because it is to go or to be another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Departure {
    /// It is wanted as it is.
    #[default]
    Stays,
    /// It is not wanted as it is. Whether a connection needs it is not known yet.
    Requested,
    /// A connection would lose its last working subflow.
    Denied,
    /// No connection needs it.
    Granted,
    /// It is wanted, and to be deleted and made again: with that come the subflows it lacks.
    Renewal,
    /// The same without a word to the peers: it becomes one of a full mesh and ceases to be.
    Cycle,
}

impl Endpoints {
    /// Notes which of ours nobody wants any more as they are. Returns whether one was to go and is
    /// wanted again.
    pub(super) fn note_departures(&mut self, wanted: &Wanted) -> bool {
        let mut returned = false;
        let fixed = !self.flags.harmless() & !self.flags.unsupported().0;
        for slot in self.ours.iter_mut() {
            let (ifindex, flags) = (slot.endpoint.ifindex, slot.endpoint.flags.0);
            let want = want_of(wanted, slot);
            let stays = |w: &Want| w.ifindex == ifindex && (w.flags.0 ^ flags) & fixed == 0;
            let lost = !slot.has_path;
            // It may be wanted and have no slot.
            let is_it = |w: &&Want| is_at(&slot.endpoint, w.address, w.port);
            let anywhere = want.or_else(|| wanted.iter().find(is_it));
            slot.has_path = anywhere.is_some_and(|w| w.ifindex == ifindex);
            slot.departure = match slot.departure {
                // The address leaves by another device, and it can have one endpoint only.
                _ if want.is_some_and(|w| w.ifindex != ifindex) => Departure::Granted,
                was @ (Departure::Renewal | Departure::Cycle) if slot.has_path => was,
                was if want.is_some_and(stays) => {
                    returned |= was != Departure::Stays;
                    slot.returned |= was == Departure::Denied && lost;
                    Departure::Stays
                }
                Departure::Stays | Departure::Renewal | Departure::Cycle => Departure::Requested,
                departure => departure,
            };
        }
        returned
    }

    /// Returns whether it has to be found out which connections need an endpoint, before that can
    /// go or be changed.
    pub fn has_requests(&mut self, now: Instant) -> bool {
        let Self { ours, refusals, .. } = self;
        let requested = |slot: &&Slot| slot.departure == Departure::Requested;
        let must_wait = |e: &Endpoint| refusals.must_wait(now, e.address, e.port);
        let mut requests = ours.iter().filter(requested).map(|slot| &slot.endpoint);
        !requests.all(must_wait)
    }

    /// Lets those that are not wanted as they are go, or be changed, where no connection needs them,
    /// as `is_needed` says. Hands each that has to stay to `report` once. Returns whether any may go, or
    /// is newly known to be needed.
    pub fn decide_departures(
        &mut self,
        now: Instant,
        is_needed: &mut dyn FnMut(&Slot) -> bool,
        report: &mut dyn FnMut(&Slot),
    ) -> bool {
        let Self {
            ours,
            refusals,
            granted_at,
            ..
        } = self;
        let mut changed = false;
        for slot in ours.iter_mut() {
            let news = match slot.departure {
                Departure::Requested => true,
                Departure::Denied => false,
                _ => continue,
            };
            // By the time it may be asked for again, connections may need it.
            if refusals.must_wait(now, slot.endpoint.address, slot.endpoint.port) {
                continue;
            }
            if !is_needed(slot) {
                slot.departure = Departure::Granted;
                slot.needed = false;
                *granted_at = now;
                changed = true;
                continue;
            }
            slot.departure = Departure::Denied;
            // Another may give way in its place.
            changed |= !core::mem::replace(&mut slot.needed, true);
            if news {
                report(slot);
            }
        }
        changed
    }

    /// Where what may go had to wait, it is not known any more whether a connection needs it.
    pub(super) fn revoke_old_grants(&mut self, now: Instant) {
        if now.saturating_since(self.granted_at) <= GRANT {
            return;
        }
        for slot in self.ours.iter_mut().filter(|slot| !slot.is_deleting()) {
            slot.departure = match slot.departure {
                Departure::Granted => Departure::Requested,
                Departure::Renewal | Departure::Cycle => Departure::Stays,
                departure => departure,
            };
        }
    }

    /// Notes that the path of an address has returned, whose endpoint was there all the time.
    #[cfg(feature = "health")]
    pub(super) fn note_return(&mut self, address: IpAddr) {
        let of_path = |slot: &&mut Slot| slot.endpoint.address == address;
        (self.ours.iter_mut().filter(of_path)).for_each(|slot| slot.returned = true);
    }

    /// Forgets which paths have just returned.
    pub fn settle_returns(&mut self) {
        self.ours.iter_mut().for_each(|slot| slot.returned = false);
    }

    /// Has the subflows of an endpoint that is to stay made again with the next reconciliation.
    /// Peers are told of it, if they are to end theirs, and as far as the kernel knows no other way.
    pub fn renew(&mut self, now: Instant, address: IpAddr, told: bool) {
        let is_it = |slot: &&mut Slot| is_at(&slot.endpoint, address, 0) && slot.is_settled();
        let changeable = self.flags.changeable() & !self.flags.unsupported().0;
        if let Some(slot) = self.ours.iter_mut().find(is_it) {
            // An endpoint is not both announced and one of a full mesh.
            let fixed = EndpointFlags::SIGNAL.0 | EndpointFlags::FULLMESH.0;
            let cycles = !told
                && changeable & EndpointFlags::FULLMESH.0 != 0
                && slot.endpoint.flags.0 & fixed == 0;
            slot.departure = match cycles {
                true => Departure::Cycle,
                false => Departure::Renewal,
            };
            self.granted_at = now;
        }
    }
}
