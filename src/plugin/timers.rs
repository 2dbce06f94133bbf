// SPDX-License-Identifier: BSD-3-Clause
//! Timers of connections, and what of them is to be tried again.

use crate::capacity;
use crate::netlink::mptcp::Token;
use crate::table::Table;
use crate::time::{Duration, Instant};

/// Something of a connection that waits for its time, or has failed: see
/// [`super::Context::retry_later`].
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub(crate) token: Token,
    pub(crate) what: u64,
    /// [`Instant::NEVER`] once it may be tried.
    at: Instant,
    pub(crate) owner: u8,
    /// How often it has failed.
    pub failures: u16,
}

const _: () = assert!(size_of::<Pending>() <= 32);

impl Pending {
    /// After the first failure.
    const FIRST: Duration = Duration::from_millis(20);
    /// Not exceeded by any failure, but for the jitter.
    const LAST: Duration = Duration::from_secs(30);

    /// Returns whether it may be tried now, or its time has come.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at <= now || self.at == Instant::NEVER
    }

    /// Notes one more failure: the more there were, the later the next try, by up to a quarter more
    /// or less as `random` says, so that what failed together is not tried together; but not before
    /// `least` has passed.
    pub(crate) fn failed(&mut self, now: Instant, least: Duration, random: u32) {
        let doubled = Self::FIRST.as_millis() << self.failures.min(16);
        let wait = doubled.min(Self::LAST.as_millis());
        let spread = random % (wait / 2 + 1);
        self.at = now + Duration::from_millis(wait - wait / 4 + spread).max(least);
        // What wraps is tried every half minute all the same.
        self.failures = self.failures.checked_add(1).unwrap_or(16);
    }

    /// Sets the time.
    pub(crate) fn wait(&mut self, until: Instant) {
        self.at = until;
    }
}

/// The timers of all connections, the latest last.
pub(crate) struct ConnectionTimers(Table<Pending>);

impl Default for ConnectionTimers {
    fn default() -> Self {
        Self(Table::new(capacity::CONNECTION_TIMERS))
    }
}

impl ConnectionTimers {
    pub(crate) fn find(&self, owner: u8, token: Token, what: u64) -> Option<&Pending> {
        let is_it = |p: &&Pending| (p.token, p.what, p.owner) == (token, what, owner);
        self.0.iter().find(is_it)
    }

    /// Returns the one of this name, which is due and has never failed if there was none. Where the
    /// table is full the oldest makes way.
    pub(crate) fn take(&mut self, owner: u8, token: Token, what: u64) -> Option<&mut Pending> {
        let known = self.find(owner, token, what).copied();
        if known.is_some() {
            self.forget(&|p| (p.token, p.what, p.owner) == (token, what, owner));
        } else if self.0.is_full() {
            self.0.remove(0);
        }
        let new = Pending {
            token,
            what,
            at: Instant::NEVER,
            owner,
            failures: 0,
        };
        self.0.push(known.unwrap_or(new));
        self.0.last_mut()
    }

    pub(crate) fn forget(&mut self, which: &dyn Fn(&Pending) -> bool) {
        self.0.retain(|pending| !which(pending));
    }

    /// Returns when the next one runs out.
    pub(crate) fn deadline(&self) -> Instant {
        let first = self.0.iter().map(|pending| pending.at).min();
        first.unwrap_or(Instant::NEVER)
    }

    /// Returns one that has run out, the earliest first, and notes that it is told.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Pending> {
        let first = self.0.iter_mut().min_by_key(|pending| pending.at)?;
        (first.at <= now).then(|| {
            first.at = Instant::NEVER;
            *first
        })
    }
}

/// When the paths of connections are to be measured.
#[cfg(feature = "quality")]
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) at: Instant,
    pub(crate) interval: Option<Duration>,
    /// Who asked: only the plugin that manages connections is told.
    pub(crate) owner: u8,
}

#[cfg(feature = "quality")]
impl Default for Measure {
    fn default() -> Self {
        Self {
            at: Instant::NEVER,
            interval: None,
            owner: 0,
        }
    }
}

#[cfg(feature = "quality")]
impl Measure {
    /// Returns whether it is time: true once.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = self.at <= now;
        if due {
            self.at = self
                .interval
                .map_or(Instant::NEVER, |interval| now + interval);
        }
        due
    }
}

/// Numbers that nobody can guess who does not know the seed, as far as jitter needs it (xorshift64,
/// Marsaglia 2003).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1000);

    fn pending(timers: &mut ConnectionTimers, token: u32) -> &mut Pending {
        timers.take(0, Token::new(token), 7).unwrap()
    }

    #[test]
    fn what_fails_waits_longer_and_longer_and_not_in_step_with_others() {
        let mut random = Random::new(3);
        let mut timers = ConnectionTimers::default();
        let mut waits = Vec::new();
        for _ in 0..300 {
            let pending = pending(&mut timers, 1);
            pending.failed(NOW, Duration::ZERO, random.next());
            waits.push(pending.at.saturating_since(NOW).as_millis());
        }
        for (tries, wait) in waits.iter().enumerate() {
            let middle = (20 << tries.min(16)).min(30_000);
            let spread = middle * 3 / 4..=middle * 5 / 4;
            assert!(spread.contains(wait), "{wait} after {tries}");
        }
        waits.drain(..20);
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 200, "{waits:?}");
    }

    #[test]
    fn what_has_a_least_wait_is_tried_no_sooner_and_then_as_ever() {
        let mut timers = ConnectionTimers::default();
        let pending = pending(&mut timers, 1);
        let least = Duration::from_millis(750);
        pending.failed(NOW, least, 0);
        assert_eq!(pending.at, NOW + least);
        pending.failed(NOW, Duration::ZERO, 0);
        assert_eq!(pending.at, NOW + Duration::from_millis(30));
        for _ in 0..6 {
            pending.failed(NOW, least, 0);
        }
        assert_eq!(pending.at, NOW + Duration::from_millis(20 * 128 * 3 / 4));
    }

    #[test]
    fn a_timer_is_told_once_and_failures_are_remembered() {
        let mut timers = ConnectionTimers::default();
        pending(&mut timers, 1).failed(NOW, Duration::ZERO, 0);
        pending(&mut timers, 2).wait(NOW);
        assert_eq!(timers.deadline(), NOW);
        assert_eq!(timers.next_due(NOW).unwrap().token, Token::new(2));
        assert!(timers.next_due(NOW).is_none());
        assert_eq!(timers.deadline(), NOW + Duration::from_millis(15));
        let late = NOW + Duration::from_secs(9);
        assert_eq!(timers.next_due(late).unwrap().token, Token::new(1));
        assert!(timers.next_due(late).is_none() && timers.deadline() == Instant::NEVER);
        let known = timers.find(0, Token::new(1), 7).unwrap();
        assert!(known.is_due(late) && known.failures == 1);
        timers.forget(&|pending| pending.token == Token::new(1));
        assert!(timers.find(0, Token::new(1), 7).is_none());
    }

    #[test]
    fn the_oldest_makes_way() {
        let mut timers = ConnectionTimers::default();
        let most = u32::try_from(capacity::CONNECTION_TIMERS).unwrap();
        for token in 0..=most {
            pending(&mut timers, token).wait(NOW);
        }
        assert!(timers.find(0, Token::new(0), 7).is_none());
        assert!(timers.find(0, Token::new(1), 7).is_some());
        assert!(timers.find(0, Token::new(most), 7).is_some());
    }
}
