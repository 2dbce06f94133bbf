// SPDX-License-Identifier: BSD-3-Clause
//! The changes of routing that the kernel has been asked for, and when each may be tried again.

use libc::{ENETDOWN, ENODEV, ENOENT, ESRCH};

use super::Refused;
use crate::capacity;
use crate::network::route::{Action, Change};
use crate::request::CommandId;
use crate::table::{Mark, Table};
use crate::time::{Instant, Retry};

/// A change that was asked for and is not seen to be done, or was only just.
struct Attempt {
    change: Change,
    command: CommandId,
    /// 0 as long as the kernel has not refused it.
    errno: i32,
    retry: Retry,
    /// The last comparison found the change missing still.
    needed: bool,
}

const _: () = assert!(size_of::<Attempt>() <= 120);

impl Mark for Attempt {
    fn mark(&mut self) -> &mut bool {
        &mut self.needed
    }
}

/// At most one attempt for each change.
pub(super) struct Attempts {
    table: Table<Attempt>,
    /// When a needed change may be tried again, as the last comparison found.
    deadline: Instant,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            table: Table::new(capacity::OWN_RULES),
            deadline: Instant::NEVER,
        }
    }
}

impl Attempts {
    /// Returns whether nothing that was asked for is still to be seen.
    pub(super) fn are_done(&self) -> bool {
        self.table.iter().all(|attempt| !attempt.needed)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A comparison of what should be with what is begins.
    pub(super) fn begin(&mut self) {
        self.deadline = Instant::NEVER;
        self.table.unmark(|_| true);
    }

    /// Asks for a change unless that was done just now. Returns whether there is room for more.
    pub(super) fn attempt(
        &mut self,
        now: Instant,
        change: Change,
        send: &mut dyn FnMut(Change) -> Option<CommandId>,
    ) -> bool {
        let mut known = self.table.iter_mut();
        if let Some(known) = known.find(|known| known.change == change) {
            known.needed = true;
            if !known.retry.is_due(now) {
                self.deadline = known.retry.at().min(self.deadline);
            } else if let Some(command) = send(change) {
                known.command = command;
                known.retry.failed(now);
            } else {
                return false;
            }
            return true;
        }
        if self.table.is_full() {
            for known in self.table.iter() {
                // One that is due makes room as soon as it is swept.
                let due = known.retry.is_due(now);
                let at = if due { now } else { known.retry.at() };
                self.deadline = at.min(self.deadline);
            }
            return false;
        }
        let Some(command) = send(change) else {
            return false;
        };
        let mut retry = Retry::default();
        retry.failed(now);
        self.table.push(Attempt {
            change,
            command,
            errno: 0,
            retry,
            needed: true,
        })
    }

    /// The comparison is complete. What is not needed is kept until its time, so that a change
    /// that does not last is not asked for again and again at once.
    pub(super) fn finish(&mut self, now: Instant) {
        self.table
            .sweep_unmarked(|attempt| attempt.retry.is_due(now));
    }

    /// Returns the needed changes that the kernel has not refused.
    pub(super) fn unrefused(&self) -> impl Iterator<Item = &Change> {
        let asked = self.table.iter().filter(|a| a.needed && a.errno == 0);
        asked.map(|attempt| &attempt.change)
    }

    /// The kernel refused. Returns `None` if the command is none of these.
    pub(super) fn refused(&mut self, command: CommandId, errno: i32) -> Option<Refused<'_>> {
        let mut attempts = self.table.iter_mut();
        let attempt = attempts.find(|attempt| attempt.command == command)?;
        let gone = match attempt.change.action {
            Action::Delete => matches!(errno, ENOENT | ESRCH | ENODEV),
            _ => matches!(errno, ENODEV | ENETDOWN),
        };
        let news = core::mem::replace(&mut attempt.errno, errno) != errno;
        Some(Refused {
            change: &attempt.change,
            gone,
            news,
        })
    }

    /// Lets refused changes be tried again at once.
    pub(super) fn retry_now(&mut self) {
        for attempt in self.table.iter_mut().filter(|a| a.errno != 0) {
            attempt.retry.retry_now();
        }
    }
}
