// SPDX-License-Identifier: BSD-3-Clause
//! One scenario with one candidate, in namespaces of this process's own, and what it ended with.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::lab::Lab;
use crate::scenario::Scenario;
use crate::sys;

/// No lab lasts longer, whatever happens.
const LIMIT: Duration = Duration::from_secs(240);
/// Gaps longer than this are what a user sees as a frozen picture.
const FREEZE: Duration = Duration::from_millis(200);
/// A new connection works if something is received within this.
const PROMPT: Duration = Duration::from_secs(1);
/// A connection whose ends received nothing for so long is counted as dead.
pub const SILENCE: Duration = Duration::from_secs(3);

/// What the columns of the table are made of, in milliseconds or connections.
#[derive(Clone, Copy)]
pub enum Value {
    Away,
    Back,
    Frozen,
    Oldest,
    Used,
    Complete,
    Whole,
    Worked,
    From,
    Died,
    Connections,
    Cpu,
}

/// The values in that order; what never came is infinite.
pub type Outcome = [f64; Value::Cpu as usize + 1];

pub fn run(
    scenario: &Scenario,
    candidate: Candidate,
    program: &str,
    log: bool,
) -> io::Result<Outcome> {
    sys::bound(LIMIT);
    let mut lab = Lab::new(scenario.network, scenario.rate)?;
    lab.manage(candidate, program)?;
    lab.open(scenario.connections, Duration::from_millis(5))?;
    lab.await_complete(Duration::from_secs(5));
    sleep(Duration::from_secs(2));
    let cpu = lab.cpu();
    let marks = (scenario.run)(&lab)?;
    let cpu = lab.cpu().saturating_sub(cpu);
    let end = Instant::now();
    if log {
        eprintln!("{}", lab.sockets()?);
    }
    lab.end();
    if log {
        eprintln!("{}", lab.log());
    }

    let shared = lab.traffic.lock();
    let (mut away, mut back, mut frozen, mut oldest) =
        <(Duration, Duration, Duration, Duration)>::default();
    let (mut whole, mut worked, mut died) = (0, 0, 0);
    // Until the last one was opened that did not work.
    let mut from = Duration::ZERO;
    let mut complete = Some(Duration::ZERO);
    for it in &shared.connections {
        let mut dead = false;
        for side in &it.ends {
            let mut sum = Duration::ZERO;
            dead |= side.ended.is_some();
            for gap in &side.gaps {
                let until = gap.since + gap.long;
                if until < marks.away {
                    continue;
                }
                if gap.since < marks.split {
                    away = away.max(gap.long);
                } else {
                    back = back.max(gap.long);
                }
                sum += gap.long.saturating_sub(FREEZE);
                dead |= until >= end && gap.long > SILENCE;
            }
            frozen = frozen.max(sum);
            oldest = oldest.max(side.oldest);
        }
        died += u32::from(dead);
        let is_new = (marks.away..marks.split).contains(&it.opened);
        let prompt = it.ends[0]
            .first
            .is_some_and(|first| first < it.opened + PROMPT);
        if is_new && !prompt {
            from = from.max(it.opened - marks.away);
        }
        worked += u32::from(it.ends[0].first.is_some_and(|first| first < marks.split));
        let since = it.complete_since.filter(|_| !dead);
        whole += u32::from(since.is_some());
        complete = complete
            .zip(since)
            .map(|(last, since)| last.max(since.saturating_duration_since(marks.back)));
    }
    let used = scenario
        .affected
        .iter()
        .filter_map(|&n| lab.controls[n].used())
        .min()
        .map(|at| at.saturating_duration_since(marks.back));
    let number = |time: Option<Duration>| time.map_or(f64::INFINITY, |it| it.as_secs_f64() * 1e3);
    Ok([
        number(Some(away)),
        number(Some(back)),
        number(Some(frozen)),
        number(Some(oldest)),
        number(used),
        number(complete),
        f64::from(whole),
        f64::from(worked),
        number(Some(from)),
        f64::from(died),
        shared.connections.len() as f64,
        number(Some(cpu)),
    ])
}

/// One line for the process that started this one.
pub fn write(outcome: &Outcome) -> String {
    let words: Vec<String> = outcome.iter().map(f64::to_string).collect();
    words.join(" ")
}

pub fn read(line: &str) -> io::Result<Outcome> {
    let values: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
    let values = values.map_err(io::Error::other)?;
    Outcome::try_from(values).map_err(|_| io::Error::other("too many or too few values"))
}
