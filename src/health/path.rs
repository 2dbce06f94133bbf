// SPDX-License-Identifier: BSD-3-Clause
//! One path under probes: when the next ones go, and what the answers and their absence say.
//!
//! A round asks as many of the addresses as must answer; where it is not answered soon, further
//! rounds ask all of them, one soon after the other, so that the verdict comes a timeout after the
//! first doubt rather than a timeout after each loss.

use core::net::IpAddr;

use super::load::Load;
use super::{Figures, Key};
use crate::config::{MAX_LOSSES, MAX_TRACKED, Track};
use crate::netlink::route::Counters;
use crate::table::Mark;
use crate::time::{Duration, Instant};

/// A timeout that is noticed so much later says nothing: the daemon, or the whole machine, was
/// stopped or starved.
const LATE: Duration = Duration::from_millis(200);
/// What answers again and is lost again within this is not trusted as soon the next time.
const FLAP: Duration = Duration::from_secs(60);
/// For how long it must answer before it is trusted again: twice as long with each such loss.
const HOLD: Duration = Duration::from_secs(5);
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// Rounds on their way: after these there is a verdict.
const MAX_ROUNDS: usize = MAX_LOSSES as usize + 1;
/// After an answer, silence means something only so much later.
const FRESH: Duration = Duration::from_millis(250);
/// Intervals in a row without a probe, because much arrives.
const MOST_PUT_OFF: u8 = 5;

/// What the configuration says of probes over one path: of its addresses those of the family.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Plan {
    targets: heapless::Vec<IpAddr, MAX_TRACKED>,
    interval: Duration,
    timeout: Duration,
    down: u8,
    up: u8,
    /// How many of the targets must answer: no more than there are.
    reliability: u8,
}

impl Plan {
    fn new(track: &Track, ipv4: bool) -> Self {
        let of_family = |address: &&IpAddr| address.is_ipv4() == ipv4;
        let targets = track.addresses.iter().filter(of_family).copied();
        let targets: heapless::Vec<_, MAX_TRACKED> = targets.take(MAX_TRACKED).collect();
        let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        Self {
            interval: Duration::from_secs(track.interval),
            timeout: Duration::from_secs(track.timeout),
            down: small(track.down),
            up: small(track.up),
            reliability: small(track.reliability.min(targets.len() as u32)),
            targets,
        }
    }

    /// Returns all targets, a bit for each.
    fn all(&self) -> u8 {
        (0..self.targets.len()).fold(0, |bits, at| bits | 1 << at)
    }

    /// Returns the time between rounds while there is doubt.
    fn pace(&self) -> Duration {
        Duration::from_millis(self.timeout.as_millis() / 10)
    }
}

/// Probes that were sent together.
#[derive(Clone, Copy)]
struct Round {
    sent: Instant,
    number: u16,
    /// Targets, a bit for each: those it asks, of these those not sent to yet, and those that have
    /// answered.
    asked: u8,
    unsent: u8,
    answered: u8,
}

/// What the last rounds say.
#[derive(Default)]
struct Streak {
    /// Rounds in a row that were lost, of those that asked all targets; and that were answered.
    losses: u8,
    answers: u8,
    /// Since when they are answered.
    since: Instant,
    /// There is reason not to wait for the next interval.
    doubt: bool,
}

/// How it has come and gone.
struct Flaps {
    /// Losses in a row that came soon after a return.
    count: u8,
    /// When it returned; [`Instant::NEVER`] if it was not lost before.
    back_at: Instant,
}

impl Flaps {
    fn hold(&self) -> Duration {
        match self.count.checked_sub(1) {
            None => Duration::default(),
            Some(doublings) => {
                let ms = HOLD.as_millis() << doublings.min(8);
                Duration::from_millis(ms).min(LONGEST_HOLD)
            }
        }
    }
}

pub(super) struct Path {
    pub(super) key: Key,
    plan: Plan,
    pub(super) dead: bool,
    /// Whether it has been told to be dead.
    pub(super) told: bool,
    streak: Streak,
    flaps: Flaps,
    /// The oldest first.
    rounds: heapless::Vec<Round, MAX_ROUNDS>,
    number: u16,
    /// When the next round goes.
    next_at: Instant,
    /// The targets that answered last, a bit for each.
    good: u8,
    pub(super) load: Load,
    pub(super) figures: Figures,
    pub(super) marked: bool,
}

const _: () = assert!(size_of::<Path>() <= 640);

impl Mark for Path {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}

impl Path {
    /// Returns one that is probed at once. It counts as what it was known to be.
    pub(super) fn new(now: Instant, key: Key, track: &Track, dead: bool) -> Self {
        Self {
            plan: Plan::new(track, key.address.is_ipv4()),
            key,
            dead,
            told: dead,
            streak: Streak::default(),
            flaps: Flaps {
                count: 0,
                back_at: Instant::NEVER,
            },
            rounds: heapless::Vec::new(),
            number: 0,
            next_at: now,
            good: 0,
            load: Load::new(now),
            figures: Figures::default(),
            marked: true,
        }
    }

    /// Has it follow the configuration.
    pub(super) fn configure(&mut self, now: Instant, track: &Track) {
        let plan = Plan::new(track, self.key.address.is_ipv4());
        if self.plan != plan {
            self.plan = plan;
            self.restart(now);
        }
    }

    /// Forgets what is under way, which keeps the verdict, and asks anew.
    pub(super) fn restart(&mut self, now: Instant) {
        self.rounds.clear();
        self.streak = Streak::default();
        self.good = 0;
        self.next_at = now;
    }

    /// Returns when something is to be done.
    pub(super) fn deadline(&self) -> Instant {
        let oldest = self.rounds.first();
        let timeout = oldest.map_or(Instant::NEVER, |round| round.sent + self.plan.timeout);
        timeout.min(self.next_at).min(self.load.sample_at)
    }

    /// Returns the end of an interval that is now a little shorter, now a little longer, lest all
    /// interfaces be probed together.
    #[inline(never)]
    fn after_interval(&self, begin: Instant) -> Instant {
        let ms = self.plan.interval.as_millis();
        let seed = u32::from(self.number) ^ self.key.index.0 << 16;
        let noise = seed.wrapping_mul(0x9e37_79b1) >> 8;
        begin + Duration::from_millis(ms - ms / 20 + noise % (ms / 10 + 1))
    }

    /// Returns how many further rounds it takes for a verdict if none is answered.
    fn needed(&self) -> u8 {
        let all = self.plan.all();
        let whole = self
            .rounds
            .iter()
            .filter(|round| round.asked == all)
            .count();
        self.plan
            .down
            .saturating_sub(self.streak.losses.saturating_add(whole as u8))
    }

    /// Has the next round go at once, unless one is under way.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.rounds.is_empty() {
            self.next_at = self.next_at.min(now);
        }
    }

    /// Begins a round if one is due.
    pub(super) fn begin_round(&mut self, now: Instant) {
        if now < self.next_at {
            return;
        }
        let settled = !self.dead && !self.streak.doubt && self.rounds.is_empty();
        if settled && self.load.puts_off(MOST_PUT_OFF) {
            self.next_at = self.after_interval(now);
            return;
        }
        let asked = if settled {
            self.chosen()
        } else {
            self.plan.all()
        };
        self.number = self.number.wrapping_add(1);
        let round = Round {
            sent: now,
            number: self.number,
            asked,
            unsent: asked,
            answered: 0,
        };
        if self.rounds.push(round).is_err() {
            self.forget_oldest();
            let _ = self.rounds.push(round);
        }
        self.next_at = if settled && self.needed() > 0 {
            // Twice what the last answer took says more than half of what one may take at most.
            let usual = Duration::from_millis(self.figures.latency.saturating_mul(2));
            let half = Duration::from_millis(self.plan.timeout.as_millis() / 2);
            now + usual.max(half).min(self.plan.timeout)
        } else if self.needed() > 0 {
            now + self.plan.pace()
        } else if self.dead {
            self.after_interval(now)
        } else {
            Instant::NEVER
        };
        self.streak.doubt |= !settled;
    }

    #[inline(never)]
    fn forget_oldest(&mut self) {
        self.rounds.remove(0);
    }

    /// Returns as many targets as must answer, those first that answered last.
    fn chosen(&self) -> u8 {
        let mut chosen = 0u8;
        for wanted in [self.good, self.plan.all() & !self.good] {
            for bit in (0..MAX_TRACKED).map(|at| 1u8 << at) {
                if wanted & bit != 0 && chosen.count_ones() < self.plan.reliability.into() {
                    chosen |= bit;
                }
            }
        }
        chosen
    }

    /// Returns what is to be sent: to whom, and the sequence number.
    pub(super) fn next_probe(&mut self) -> Option<(IpAddr, u16)> {
        let round = self.rounds.iter_mut().find(|round| round.unsent != 0)?;
        let at = round.unsent.trailing_zeros();
        round.unsent &= round.unsent - 1;
        self.load.own = self.load.own.saturating_add(1);
        let target = self.plan.targets.get(at as usize)?;
        Some((*target, sequence(round.number, at as usize)))
    }

    /// Takes in an answer to the probe with a sequence number.
    pub(super) fn on_answer(&mut self, now: Instant, from: IpAddr, seq: u16) {
        let mut targets = self.plan.targets.iter();
        let Some(at) = targets.position(|target| *target == from) else {
            return;
        };
        let mut rounds = self.rounds.iter_mut().enumerate();
        let asked = |(_, round): &(usize, &mut Round)| sequence(round.number, at) == seq;
        let Some((place, round)) = rounds.find(asked) else {
            return;
        };
        round.answered |= round.asked & 1 << at;
        let Round { sent, answered, .. } = *round;
        let took = now.saturating_since(sent).as_millis();
        if answered.count_ones() < self.plan.reliability.into() {
            return;
        }
        self.good = answered;
        // Those before it are not waited for any more.
        for _ in 0..place {
            self.forget_oldest();
            self.figures.count(false);
        }
        self.forget_oldest();
        self.figures.count(true);
        self.figures.latency = took;
        self.figures.answered_at = now;
        self.succeed(now, sent);
    }

    fn succeed(&mut self, now: Instant, sent: Instant) {
        let Streak { answers, since, .. } = self.streak;
        let since = if answers == 0 { now } else { since };
        self.streak = Streak {
            answers: answers.saturating_add(1),
            since,
            ..Streak::default()
        };
        let trusted_at = since + self.flaps.hold();
        if !self.dead {
            self.next_at = self.after_interval(sent).max(now + self.plan.pace());
        } else if self.streak.answers < self.plan.up {
            self.next_at = now + self.plan.pace();
        } else if now < trusted_at {
            self.next_at = self.after_interval(now).min(trusted_at);
        } else {
            self.dead = false;
            self.flaps.back_at = now;
            self.next_at = self.after_interval(now);
        }
    }

    /// Judges the rounds whose time is over. All answers that had come by `now` have been taken in
    /// before.
    pub(super) fn judge(&mut self, now: Instant) {
        while let Some(round) = self.rounds.first().copied() {
            let end = round.sent + self.plan.timeout;
            if now < end {
                break;
            }
            self.forget_oldest();
            if now >= end + LATE {
                // Nobody was there to hear.
                self.next_at = now;
                continue;
            }
            self.figures.count(false);
            self.streak.answers = 0;
            self.streak.doubt = true;
            if round.asked == self.plan.all() {
                self.streak.losses = self.streak.losses.saturating_add(1);
            } else {
                self.good = round.answered;
            }
            if self.dead {
                continue;
            }
            if self.streak.losses >= self.plan.down {
                self.lose(now);
            } else if self.needed() > 0 {
                self.next_at = self.next_at.min(now);
            }
        }
    }

    fn lose(&mut self, now: Instant) {
        let back_at = self.flaps.back_at;
        let soon = back_at != Instant::NEVER && now.saturating_since(back_at) < FLAP;
        self.flaps.count = if soon {
            self.flaps.count.saturating_add(1)
        } else {
            0
        };
        self.restart(now);
        self.dead = true;
        // Enough has been asked for now.
        self.streak.losses = self.plan.down;
        self.next_at = self.after_interval(now);
    }

    /// Takes in what the interface has carried; it may be a reason to probe at once.
    pub(super) fn on_traffic(&mut self, now: Instant, counters: Counters) {
        let seldom = Duration::from_millis(self.plan.interval.as_millis() / 2);
        let idle_for = now.saturating_since(self.figures.answered_at);
        let silent = self
            .load
            .update(now, counters, self.plan.interval, idle_for >= seldom);
        let doubtful = silent && !self.dead && !self.streak.doubt && idle_for >= FRESH;
        if doubtful && self.needed() > 0 {
            self.load.forget_busy();
            self.streak.doubt = true;
            self.next_at = now;
        }
    }

    /// Notes that probes cannot be sent: nothing is known, and nothing is judged.
    pub(super) fn on_blind(&mut self, now: Instant) {
        self.restart(now);
        self.next_at = self.after_interval(now);
        self.figures = Figures::default();
    }
}

/// Returns the sequence number of the probe of a round to the target at a place.
fn sequence(round: u16, at: usize) -> u16 {
    round << 3 | at as u16 & 7
}
