// SPDX-License-Identifier: BSD-3-Clause
//! What an interface carries, by its counters: the cheapest sign of life there is, and of death.

use crate::netlink::route::Counters;
use crate::time::{Duration, Instant};

/// Packets a second that make an interface a busy one.
const BUSY: u32 = 20;
/// Bytes a millisecond that no broadcast explains: the path works.
const PLENTY: u32 = 20;
/// The counters of a busy interface are read so often, so that its silence is noticed.
const SOON: Duration = Duration::from_millis(180);
const SELDOM: Duration = Duration::from_secs(1);

/// What it carries now.
pub(super) struct Load {
    /// When the counters are to be read.
    pub(super) sample_at: Instant,
    /// Probes sent since they were read.
    pub(super) own: u8,
    /// What they said, and when; [`Instant::NEVER`] is not yet.
    last: Counters,
    read_at: Instant,
    /// When it last was busy.
    busy_at: Instant,
    plenty: bool,
    put_off: u8,
}

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sample_at: now,
            own: 0,
            last: Counters::default(),
            read_at: Instant::NEVER,
            busy_at: Instant::NEVER,
            plenty: false,
            put_off: 0,
        }
    }

    /// Returns whether a probe can wait, since so much arrives: not more than `most` times in a
    /// row.
    pub(super) fn puts_off(&mut self, most: u8) -> bool {
        let waits = self.plenty && self.put_off < most;
        self.put_off = if waits { self.put_off + 1 } else { 0 };
        waits
    }

    /// Takes in what the counters say. Returns whether nothing arrives any more where much did, or,
    /// while it is `idle`, where something was sent.
    pub(super) fn update(
        &mut self,
        now: Instant,
        counters: Counters,
        interval: Duration,
        idle: bool,
    ) -> bool {
        let own = u32::from(core::mem::take(&mut self.own));
        let last = core::mem::replace(&mut self.last, counters);
        let read_at = core::mem::replace(&mut self.read_at, now);
        self.sample_at = now + SELDOM.min(interval);
        if read_at == Instant::NEVER {
            return false;
        }
        // An interval is not longer than a day.
        let span = now.saturating_since(read_at).as_millis();
        let received = growth(last.received, counters.received);
        let sent = growth(last.sent, counters.sent).saturating_sub(own);
        let bytes = growth(last.received_bytes, counters.received_bytes);
        self.plenty = bytes >= span.saturating_mul(PLENTY) && received > 0;
        if received.saturating_mul(1000) >= span.saturating_mul(BUSY) && received > 0 {
            self.busy_at = now;
        }
        let was_busy = self.busy_at != Instant::NEVER && now <= self.busy_at + SELDOM;
        if was_busy {
            self.sample_at = now + SOON;
        }
        received == 0 && (was_busy || (idle && sent > 0))
    }

    /// Has the silence after much traffic mean nothing before there is traffic again.
    pub(super) fn forget_busy(&mut self) {
        self.busy_at = Instant::NEVER;
    }

    /// Notes that there are no counters.
    pub(super) fn give_up(&mut self) {
        self.sample_at = Instant::NEVER;
        self.plenty = false;
    }
}

/// Returns by how much a counter has grown.
fn growth(from: u64, to: u64) -> u32 {
    u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX)
}
