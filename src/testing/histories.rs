// SPDX-License-Identifier: BSD-3-Clause
//! Random histories of connections, on the simulated kernel of this crate's own tests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::simulator::connections::{Change, Step, judge_of};
use crate::plugin::{Entry, Random};

pub use super::simulator::connections::Settings;
pub use super::simulator::connections::specification::Settled;

/// Plays `count` random histories, always the same, with a strategy in charge. A host with three
/// interfaces opens and accepts connections; peers announce, join, refuse and go; links fail and
/// return; the kernel refuses commands, loses, repeats and interrupts what it tells, and the daemon is
/// killed and started again. Once it is over
///
/// - each connection that this host opened, and that can be joined, has to be as `fits` says;
/// - the daemon has to know what the kernel has, and to have told the strategy so, once;
/// - an hour has to pass without a command, and nothing may be left of connections that have ended.
///
/// ```
/// use mptcpd::testing::{Settled, histories};
/// use mptcpd::{Connection, Context, Entry, Paths, QueueFull, Strategy, strategy, uplinks};
///
/// /// A subflow from each interface to the peer's first address.
/// struct Uplinks;
///
/// impl Strategy for Uplinks {
///     fn reconcile(
///         &mut self,
///         cx: &mut Context<'_>,
///         connection: &Connection<'_>,
///         paths: &Paths,
///     ) -> Result<(), QueueFull> {
///         let Some(remote) = connection.peers().next().filter(|_| !connection.server_side) else {
///             return Ok(());
///         };
///         for local in uplinks(cx.network(), false) {
///             paths.join(cx, connection, local, remote)?;
///         }
///         Ok(())
///     }
/// }
///
/// static UPLINKS: Entry = Entry::new("uplinks", "from each interface", || strategy(Box::new(Uplinks)));
///
/// fn fits(it: &Settled) -> bool {
///     it.usable.iter().all(|own| it.subflows.iter().any(|(local, _)| local == own))
/// }
///
/// histories(&UPLINKS, &[], 100, fits);
/// ```
///
/// # Panics
/// With the shortest history found that ends otherwise, and what was wrong.
#[track_caller]
pub fn histories(
    strategy: &'static Entry,
    settings: Settings,
    count: u32,
    fits: fn(&Settled) -> bool,
) {
    let judge = |steps: &[Step]| {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            judge_of(strategy, settings, fits, steps)
        }));
        judged.unwrap_or_else(|_| Err("a panic, shown above".to_owned()))
    };
    for seed in 0..count {
        let mut dice = Dice(Random::new(
            u64::from(seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ));
        let mut steps: Vec<Step> = (0..dice.below(60)).map(|_| dice.step()).collect();
        let Err(mut wrong) = judge(&steps) else {
            continue;
        };
        let mut at = 0;
        while at < steps.len() {
            let without = [&steps[..at], &steps[at + 1..]].concat();
            match judge(&without) {
                Ok(()) => at += 1,
                Err(other) => (steps, wrong, at) = (without, other, 0),
            }
        }
        panic!("{}: {wrong}: {steps:?}", strategy.name);
    }
}

struct Dice(Random);

impl Dice {
    fn below(&mut self, end: u32) -> u8 {
        (self.0.next() % end) as u8
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn step(&mut self) -> Step {
        match self.below(50) {
            0..28 => Step::Change(self.happening()),
            28..36 => Step::Run(self.below(80)),
            36..40 => Step::ReadEvents(self.below(6)),
            40 => Step::Interrupt(self.below(12)),
            41 => Step::Meanwhile(self.change()),
            42 => Step::RefuseDumps(1 + self.below(15)),
            43..45 => Step::Refuse(self.below(8), self.below(6), 1 + self.below(15)),
            45 => Step::Kill(self.below(8), self.coin()),
            46..48 => Step::Start,
            _ => Step::Resync,
        }
    }

    fn happening(&mut self) -> Change {
        match self.below(33) {
            0..2 => Change::Full,
            2 => Change::Repeat(self.below(256)),
            3 => Change::Swap(self.below(256)),
            4 => Change::Unreachable(1 + self.below(4)),
            _ => self.change(),
        }
    }

    fn change(&mut self) -> Change {
        let (of, interface, number) = (1 + self.below(4), self.below(3), self.below(4));
        match self.below(34) {
            0..6 => Change::Open(of, interface, self.coin()),
            6..12 => Change::Establish(of),
            12 => Change::Fin(of),
            13..16 => Change::Close(of),
            16 => Change::Announce(of, number),
            17 => Change::Remove(of, number),
            18..22 => Change::Join(of, interface, number),
            22 => Change::Rename(of, interface, 1 + self.below(8)),
            23..27 => Change::Die(of, number, self.coin()),
            _ => Change::Link(interface, self.coin()),
        }
    }
}
