// SPDX-License-Identifier: BSD-3-Clause
//! Connection events of a busy host, read many at a time.

use crate::time::{Duration, Instant};

/// Puts off the reading of events that come in quick succession: to be woken costs more than to
/// take in ten of them. A connection that is over within [`Self::INTERVAL`] is never given further
/// subflows, which it could not have used.
#[derive(Default)]
pub(super) struct EventCoalescer {
    last: Instant,
    /// How often in a row events came soon after those before.
    streak: u32,
}

impl EventCoalescer {
    /// Milliseconds.
    const SOON: u64 = 5;
    const STREAK: u32 = 8;
    const INTERVAL: Duration = Duration::from_millis(2);

    /// Notes that events came.
    pub(super) fn on_events(&mut self, now: Instant) {
        let soon = now.0.saturating_sub(self.last.0) <= Self::SOON;
        self.streak = if soon {
            self.streak.saturating_add(1)
        } else {
            0
        };
        self.last = now;
    }

    /// Returns until when the next events can wait, if they can.
    pub(super) fn defer_until(&self, now: Instant) -> Option<Instant> {
        let until = self.last + Self::INTERVAL;
        (self.streak >= Self::STREAK && until > now).then_some(until)
    }
}
