// SPDX-License-Identifier: BSD-3-Clause
//! What a dump of the kernel's endpoints tells of ours: which are there, with which ids and flags.

use libc::EAGAIN;

use super::{Endpoints, Slot, is_same};
use crate::netlink::mptcp::Endpoint;
use crate::time::Instant;

impl Endpoints {
    /// A dump of the kernel's endpoints begins.
    pub fn begin_dump(&mut self) {
        self.look_due = false;
        self.others.clear();
        self.ours.unmark(|_| true);
        self.flags.begin_dump();
    }

    /// The dump shows an endpoint.
    pub fn on_dumped(&mut self, endpoint: Endpoint) {
        let same = |slot: &&mut Slot| is_same(slot, &endpoint);
        let Some(slot) = self.ours.iter_mut().find(same) else {
            self.others.push(endpoint);
            return;
        };
        slot.unverified = false;
        slot.id_unknown = false;
        if core::mem::take(&mut slot.flags_unverified) {
            self.flags.on_dumped(slot.endpoint.flags, endpoint.flags);
        }
        slot.endpoint = endpoint;
        slot.marked = true;
    }

    /// Returns whether only a dump can tell the ids of ours, which flags the kernel keeps, or
    /// whether what is to go is still ours.
    pub fn needs_dump(&self) -> bool {
        let unknown = |slot: &Slot| {
            slot.id_unknown || (slot.flags_unverified && self.flags.needs_dump(slot.endpoint.flags))
        };
        self.look_due || self.ours.iter().any(unknown)
    }

    /// The dump is complete. Returns whether the set of our endpoints changed.
    pub fn finish_dump(&mut self, now: Instant) -> bool {
        self.is_current = true;
        let Self { ours, refusals, .. } = self;
        let before = ours.len();
        ours.sweep_unmarked(|slot| {
            if slot.unverified {
                // The kernel took it, and it is not there: it is not made again at once.
                refusals.add(now, &slot.endpoint, EAGAIN);
            }
            true
        });
        let changed = before != ours.len();
        self.capacity.on_dumped(self.others.len());
        self.note_taken();
        changed
    }
}
