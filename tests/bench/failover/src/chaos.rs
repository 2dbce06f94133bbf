// SPDX-License-Identifier: BSD-3-Clause
//! Random mishaps on all uplinks for some minutes, and whether every connection survives them and
//! finds back to every path. Or no mishap at all, and whether every subflow is left alone.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::lab::{Lab, Network, address};
use crate::measure::SILENCE;
use crate::random::Random;
use crate::sys;
use crate::traffic::Rate;

/// What a plan follows from.
#[derive(Clone, Copy)]
pub struct Chaos {
    pub minutes: u64,
    /// `None` is a plan without mishaps.
    pub seed: Option<u64>,
    pub uplinks: usize,
    /// Over poor uplinks, with the processors fully loaded.
    pub poor: bool,
}

const CONNECTIONS: usize = 20;
const RATE: Rate = Rate {
    every: Duration::from_millis(100),
    down: 1_000,
    up: 250,
};
/// How long the connections have to recover once all uplinks work again.
const RECOVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Carrier(bool),
    Blackhole(bool),
    /// The gateway answers nothing, not even ARP.
    Silence(bool),
    /// Whatever comes is reset.
    Reset(bool),
    /// One subflow is reset.
    ResetOne,
    /// The address goes.
    Leave,
    /// The address comes back.
    Return,
    /// Another address comes.
    Move,
    /// The one before it goes.
    LeaveOld,
}

use Step::{Blackhole, Carrier, Leave, LeaveOld, Move, Reset, ResetOne, Return, Silence};

/// What happens at once, and what some time later.
const MISHAPS: &[(&[Step], &[Step])] = &[
    (&[Carrier(false)], &[Carrier(true)]),
    (&[Carrier(false)], &[Carrier(true)]),
    (&[Carrier(false), Leave], &[Carrier(true), Return]),
    (&[Carrier(false), Leave], &[Carrier(true), Move]),
    (&[Carrier(false)], &[Carrier(true), Move, LeaveOld]),
    (&[Leave, Move], &[]),
    (&[Blackhole(true)], &[Blackhole(false)]),
    (&[Blackhole(true)], &[Blackhole(false)]),
    (&[Silence(true)], &[Silence(false)]),
    (&[Reset(true)], &[Reset(false)]),
    (&[ResetOne], &[Reset(false)]),
];

/// What happens when at which uplink, in order. All of it is over in the end.
fn plan(chaos: Chaos) -> Vec<(Duration, usize, &'static [Step])> {
    let Some(seed) = chaos.seed else {
        return vec![];
    };
    let mut random = Random::new(seed);
    let end = Duration::from_secs(60 * chaos.minutes);
    let mut steps = vec![];
    for uplink in 0..chaos.uplinks {
        let mut at = random.span(250, 5);
        while at < end {
            let (first, later) = MISHAPS[random.below(MISHAPS.len() as u64) as usize];
            steps.push((at, uplink, first));
            // 100 ms to 12.8 s, then 250 ms to 8 s of rest.
            at = (at + random.span(100, 7)).min(end);
            steps.push((at, uplink, later));
            at += random.span(250, 5);
        }
    }
    steps.sort_by_key(|&(at, uplink, _)| (at, uplink));
    steps
}

/// Prints a verdict; false if a connection is dead or lacks a path.
pub fn run(chaos: Chaos, candidate: Candidate, program: &str, log: bool) -> io::Result<bool> {
    sys::bound(Duration::from_secs(60 * chaos.minutes) + 2 * RECOVERY);
    let network = Network {
        uplinks: chaos.uplinks,
        backup: chaos.poor,
        two_servers: false,
        poor: chaos.poor,
    };
    let mut lab = Lab::new(network, RATE)?;
    lab.manage(candidate, program)?;
    lab.open(CONNECTIONS, Duration::from_millis(5))?;
    lab.await_complete(Duration::from_secs(10));
    if chaos.poor {
        // They end with the process.
        let all = std::thread::available_parallelism()?.get();
        for _ in 0..all {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
    }

    let handled = || Ok::<_, io::Error>(lab.counter("RmSubflow")? + lab.counter("MPJoinSynTx")?);
    let handled_before = handled()?;
    let start = Instant::now();
    let mut second = vec![false; chaos.uplinks];
    let mut count = 0;
    for (at, uplink, steps) in plan(chaos) {
        sleep(at.saturating_sub(start.elapsed()));
        for &step in steps {
            if log {
                eprintln!("{:.3} s: uplink {uplink}: {step:?}", at.as_secs_f64());
            }
            take(&lab, uplink, step, &mut second[uplink])?;
            count += 1;
        }
    }
    if chaos.seed.is_none() {
        sleep(Duration::from_secs(60 * chaos.minutes).saturating_sub(start.elapsed()));
    }
    let handled = handled()? - handled_before;
    let cpu = lab.cpu();
    let back = Instant::now();
    while back.elapsed() < RECOVERY && !recovered(&lab) {
        sleep(Duration::from_millis(20));
    }
    let took = back.elapsed();

    let mut fine = 0;
    let mut longest = Duration::ZERO;
    for (n, it) in lab.traffic.lock().connections.iter().enumerate() {
        let gaps = it.ends.iter().flat_map(|end| &end.gaps);
        let worst = gaps.map(|gap| gap.long).max().unwrap_or_default();
        longest = longest.max(worst);
        let fault = if let Some(error) = it.ends.iter().find_map(|end| end.ended) {
            let silent = it.ends.iter().map(|end| end.silent()).max();
            format!(
                "ended ({error}), and received nothing for {:.1} s",
                silent.unwrap_or_default().as_secs_f64()
            )
        } else if let Some(end) = it.ends.iter().find(|end| end.silent() > SILENCE) {
            format!("received nothing for {:.1} s", end.silent().as_secs_f64())
        } else if !it.lacks.is_empty() {
            format!("no working subflow from {:?}", it.lacks)
        } else {
            fine += 1;
            continue;
        };
        println!("  {} connection {n}: {fault}", candidate.name());
    }
    println!(
        "{}: {fine} of {CONNECTIONS} connections alive and on every path {:.1} s after the last \
         of {count} steps; longest stall {:.1} s, CPU {} ms",
        candidate.name(),
        took.as_secs_f64(),
        longest.as_secs_f64(),
        cpu.as_millis(),
    );
    let calm = chaos.seed.is_none();
    // Of no path at all the log says "no path answers".
    let lost = |line: &&str| {
        ["lost: no answer", "lost: no path"]
            .iter()
            .any(|it| line.contains(it))
    };
    let judged = lab.log().lines().filter(lost).count();
    if calm {
        println!(
            "{}: {handled} subflows removed or joined, {judged} paths judged dead meanwhile",
            candidate.name()
        );
    }
    if log && fine != CONNECTIONS {
        let subflows = std::process::Command::new("ss").arg("-tniH").output()?;
        eprintln!("{}", String::from_utf8_lossy(&subflows.stdout));
    }
    lab.end();
    if log {
        eprintln!("{}", lab.log());
    }
    let touched = judged > 0 || (!chaos.poor && handled > 0);
    Ok(fine == CONNECTIONS && !(calm && touched))
}

fn take(lab: &Lab, uplink: usize, step: Step, second: &mut bool) -> io::Result<()> {
    match step {
        Carrier(there) => lab.carrier(uplink, there)?,
        Blackhole(on) => lab.blackhole(uplink, on),
        Silence(on) => lab.silence(uplink, on)?,
        Reset(on) => lab.controls[uplink].reset_all(on),
        ResetOne => lab.controls[uplink].reset_one(),
        Leave => lab.configure(uplink, *second, false)?,
        Return => lab.configure(uplink, *second, true)?,
        Move => {
            *second = !*second;
            lab.traffic.lock().wanted[uplink] = address(uplink, *second);
            lab.configure(uplink, *second, true)?;
        }
        LeaveOld => lab.configure(uplink, !*second, false)?,
    }
    Ok(())
}

fn recovered(lab: &Lab) -> bool {
    let shared = lab.traffic.lock();
    let mut ends = shared.connections.iter().flat_map(|it| &it.ends);
    shared.complete() && ends.all(|end| end.ended.is_none() && end.silent() < SILENCE)
}
