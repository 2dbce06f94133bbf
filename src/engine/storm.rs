// SPDX-License-Identifier: BSD-3-Clause
//! Storms of events.

use crate::time::{Duration, Instant};

/// Tells a storm of events from single ones, and when it has passed.
#[derive(Default)]
pub(super) struct Storm {
    since: Instant,
    last: Instant,
    events: u32,
    /// The first event that has not been acted upon.
    pub pending: Option<Instant>,
}

impl Storm {
    /// Events within a window before the engine waits for quiet.
    const EVENTS: u32 = 16;
    const WINDOW: u64 = 100;
    const QUIET: Duration = Duration::from_millis(20);
    /// The longest wait, quiet or not.
    const LONGEST: Duration = Duration::from_millis(500);

    pub(super) fn event(&mut self, now: Instant) {
        if now.0.saturating_sub(self.since.0) > Self::WINDOW {
            self.since = now;
            self.events = 0;
        }
        self.events = self.events.saturating_add(1);
        self.last = now;
        self.pending.get_or_insert(now);
    }

    /// When to act, if there is something to act upon.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.pending?;
        if self.events <= Self::EVENTS {
            return Some(first);
        }
        Some((self.last + Self::QUIET).min(first + Self::LONGEST))
    }

    /// Takes the news, if it is time to act upon them.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|at| at <= now);
        if due {
            self.pending = None;
        }
        due
    }
}
