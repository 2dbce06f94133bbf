// SPDX-License-Identifier: BSD-3-Clause
//! What became of the commands: done, refused, or still to be awaited.

use libc::{EINVAL, ENOENT, ENOMEM, EPERM, ERANGE};

use super::departure::Departure;
use super::kernel_capacity::OLD_CAPACITY;
use super::slot::Operation;
use super::{Endpoints, Refused, Slot};
use crate::request::CommandId;
use crate::time::Instant;

impl Endpoints {
    /// The kernel did everything it was asked up to this command. Returns whether a command has
    /// waited for that.
    pub fn done(&mut self, last: CommandId) -> bool {
        let Self {
            ours,
            refusals,
            waits,
            ..
        } = self;
        ours.retain(|slot| {
            if slot.pending.is_none() || !slot.command.is_acked_by(last) {
                return true;
            }
            refusals.on_done(&slot.endpoint);
            slot.pending.take() != Some(Operation::Delete)
        });
        let waited = core::mem::take(waits);
        self.note_taken() || waited
    }

    /// Returns whether the kernel must acknowledge a command before anything else is sent.
    pub fn awaits(&self) -> bool {
        let pending = self.ours.iter().any(|slot| slot.pending.is_some());
        let taken = self.ours.len() + self.others.len();
        pending && (self.waits || taken > self.capacity.fits())
    }

    /// Returns whether the kernel has taken more endpoints than it was known to take.
    pub(super) fn note_taken(&mut self) -> bool {
        self.capacity.on_taken(self.ours.len() + self.others.len())
    }

    /// The kernel refused. Returns `None` if the command was not one of ours.
    pub fn failed(&mut self, now: Instant, command: CommandId, mut errno: i32) -> Option<Refused> {
        let is_it = |slot: &Slot| slot.pending.is_some() && slot.command == command;
        let at = self.ours.iter().position(is_it)?;
        let slot = self.ours.get_mut(at)?;
        let endpoint = slot.endpoint;
        let (dump, tell) = match slot.pending.take()? {
            // Likely it is gone already, which is as good as deleted: the dump will show.
            Operation::Delete => {
                // What was known of the connections is old by the time it may be tried again.
                slot.departure = match slot.departure {
                    Departure::Renewal => Departure::Stays,
                    _ => Departure::Requested,
                };
                (true, !matches!(errno, EINVAL | ENOENT))
            }
            Operation::SetFlags => {
                slot.flags_unverified = false;
                self.flags.on_refused(errno);
                (true, true)
            }
            Operation::Add => {
                self.ours.remove(at);
                let ours = self.ours_done_by(command);
                if errno == EINVAL && ours + self.others.len() == OLD_CAPACITY {
                    errno = ERANGE;
                }
                if errno == ERANGE {
                    self.capacity.on_full(ours);
                }
                // A full kernel is reported with its capacity.
                (!matches!(errno, EPERM | ENOMEM), errno != ERANGE)
            }
        };
        let report = self.refusals.add(now, &endpoint, errno);
        Some(Refused {
            dump,
            report: report.filter(|_| tell),
        })
    }

    /// Returns how many endpoints of ours the kernel had when it refused `command`. What was
    /// asked later was not done yet.
    fn ours_done_by(&self, command: CommandId) -> usize {
        let there = |slot: &&Slot| {
            let done = slot.pending.is_none() || slot.command.is_acked_by(command);
            match slot.pending {
                Some(Operation::Delete) => !done,
                Some(Operation::Add) => done,
                _ => true,
            }
        };
        self.ours.iter().filter(there).count()
    }
}
