// SPDX-License-Identifier: BSD-3-Clause
//! The engine's clock value. The engine never reads a clock: every input carries the time.

use core::ops::Add;

/// Milliseconds on a monotonic clock whose zero is arbitrary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than all others.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns it in whole seconds.
    #[cfg(feature = "control")]
    pub(crate) fn as_secs(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }

    /// Returns the time that has passed since `earlier`: none if that is later, and
    /// [`Duration::MAX`] if it is more.
    #[inline(never)] // As for the addition below.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let span = self.0.saturating_sub(earlier.0);
        Duration(u32::try_from(span).unwrap_or(u32::MAX))
    }

    /// Returns the milliseconds that have passed since `earlier`, however many, or 0 if that is later.
    #[cfg(feature = "control")]
    pub(crate) fn age(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the earlier one, by one piece of code for all the deadlines.
    #[inline(never)]
    pub(crate) fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }
}

/// A span of time in whole milliseconds, to wait or to compare with: up to 49 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Duration(u32);

impl Duration {
    /// The longest.
    pub const MAX: Self = Self(u32::MAX);
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Returns so many milliseconds.
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds)
    }

    /// Returns so many seconds, or [`Self::MAX`] if those are more.
    #[inline(never)]
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns it in milliseconds.
    pub const fn as_millis(self) -> u32 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    // Ten instructions on MIPS, in forty places.
    #[inline(never)]
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(span.0.into()))
    }
}

/// Waiting times that double with each failure: from 20 ms up to 30 s, or as the caller says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    /// Failures in a row.
    tries: u8,
}

impl Backoff {
    /// After the first failure.
    const FIRST: Duration = Duration::from_millis(20);
    /// Not exceeded by any failure.
    const LAST: Duration = Duration::from_secs(30);

    /// Returns when to try again after one more failure.
    pub fn next(&mut self, now: Instant) -> Instant {
        let wait = self.wait(Self::FIRST, Self::LAST);
        self.failed();
        now + wait
    }

    /// Notes one more failure.
    pub(crate) fn failed(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }

    /// Forgets failures beyond so many.
    pub(crate) fn limit(&mut self, failures: u8) {
        self.tries = self.tries.min(failures);
    }

    /// Returns the number of failures in a row, 255 at most.
    pub(crate) fn failures(self) -> u8 {
        self.tries
    }

    /// Returns `first`, doubled by each failure so far, but not more than `last`.
    pub(crate) fn wait(self, first: Duration, last: Duration) -> Duration {
        Duration(first.0 << self.tries.min(16)).min(last)
    }

    /// Nothing has failed any more.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// When something that has failed may be tried again: after growing intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// [`Instant::NEVER`] while nothing has to wait.
    at: Instant,
    backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// Nothing has failed: due at once.
    pub const fn new() -> Self {
        Self {
            at: Instant::NEVER,
            backoff: Backoff { tries: 0 },
        }
    }

    /// Notes one more failure.
    pub fn failed(&mut self, now: Instant) {
        self.at = self.backoff.next(now);
    }

    /// Notes one more failure, after which to wait for `most` at most.
    pub(crate) fn failed_briefly(&mut self, now: Instant, most: Duration) {
        self.failed(now);
        self.at = self.at.min(now + most);
    }

    /// Returns whether something has failed since the last success.
    pub fn has_failed(&self) -> bool {
        self.backoff != Backoff::default()
    }

    /// Notes a success: the next failure is the first one again.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Returns whether it may be tried now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at <= now || self.at == Instant::NEVER
    }

    /// Ends the waiting, but not the growth of the interval.
    pub fn retry_now(&mut self) {
        self.at = Instant::NEVER;
    }

    /// Returns when to try again, or [`Instant::NEVER`] if nothing has to wait.
    pub fn at(&self) -> Instant {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1000);

    #[test]
    fn a_time_span_is_never_negative() {
        assert_eq!(
            (NOW + Duration::from_millis(7)).saturating_since(NOW),
            Duration::from_millis(7)
        );
        assert_eq!(
            NOW.saturating_since(NOW + Duration::from_millis(7)),
            Duration::ZERO
        );
        assert_eq!(Instant::NEVER + Duration::from_millis(1), Instant::NEVER);
        assert_eq!(Instant::NEVER.saturating_since(NOW), Duration::MAX);
        assert_eq!(Duration::from_secs(u32::MAX), Duration::MAX);
    }

    #[test]
    fn intervals_double_up_to_the_last() {
        let mut backoff = Backoff::default();
        let mut waits = (0..300).map(|_| backoff.next(NOW).saturating_since(NOW).0);
        let first: Vec<u32> = waits.by_ref().take(12).collect();
        let expected = [
            20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480, 30_000,
        ];
        assert_eq!(first, expected);
        assert!(waits.all(|wait| Duration(wait) == Backoff::LAST));
        backoff.reset();
        assert_eq!(backoff.next(NOW), NOW + Duration::from_millis(20));
    }

    #[test]
    fn a_failure_waits_for_its_time() {
        let mut retry = Retry::default();
        assert!(retry.is_due(NOW) && !retry.has_failed());
        assert_eq!(retry.at(), Instant::NEVER, "nothing to wake up for");
        retry.failed(NOW);
        assert!(retry.has_failed());
        assert_eq!(retry.at(), NOW + Duration::from_millis(20));
        assert!(
            !retry.is_due(NOW + Duration::from_millis(19))
                && retry.is_due(NOW + Duration::from_millis(20))
        );
    }

    #[test]
    fn trying_early_does_not_shorten_the_next_interval_but_success_does() {
        let mut retry = Retry::default();
        retry.failed(NOW);
        retry.retry_now();
        assert!(retry.is_due(NOW) && retry.has_failed());
        assert_eq!(retry.at(), Instant::NEVER);
        retry.failed(NOW);
        assert_eq!(retry.at(), NOW + Duration::from_millis(40));
        retry.succeeded();
        assert!(retry.is_due(NOW) && !retry.has_failed());
        retry.failed(NOW);
        assert_eq!(retry.at(), NOW + Duration::from_millis(20));
    }
}
