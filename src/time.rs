//! The engine's clock value. The engine never reads a clock: every input carries the time.

use core::ops::Add;

/// Milliseconds on a monotonic clock whose zero is arbitrary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than all others.
    pub const NEVER: Self = Self(u64::MAX);
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span(pub u64);

impl Span {
    pub const fn seconds(seconds: u32) -> Self {
        Self(seconds as u64 * 1000)
    }
}

impl Add<Span> for Instant {
    type Output = Instant;
    fn add(self, span: Span) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
}

/// Waiting times that double from `first` up to `last`, for something that keeps failing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    tries: u8,
}

impl Backoff {
    const FIRST: u64 = 20;
    const LAST: u64 = 30_000;

    /// When to try again after one more failure.
    pub fn next(&mut self, now: Instant) -> Instant {
        let wait = (Self::FIRST << self.tries.min(11)).min(Self::LAST);
        self.tries = self.tries.saturating_add(1);
        now + Span(wait)
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}
