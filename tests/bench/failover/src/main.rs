// SPDX-License-Identifier: BSD-3-Clause
//! What a user feels of failover and recovery: real Multipath TCP connections over several uplinks,
//! with nobody, the C daemon and this one managing the paths side by side. See `README.md`.

mod candidate;
mod chaos;
mod lab;
mod measure;
mod random;
mod report;
mod scenario;
mod sys;
mod traffic;
mod wire;

use std::io;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use candidate::Candidate;
use chaos::Chaos;
use measure::Outcome;
use scenario::Scenario;

const USAGE: &str = "usage: failover --ours PROGRAM [--c PROGRAM] \
                     [--candidate NAME,...] [--log] \
                     [--runs N] [--scenario S1,S12] [--quick] | \
                     --chaos MINUTES [--seed N] [--uplinks 2|3] | --calm MINUTES [--uplinks 2|3] [--poor]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["lab", candidate, program, log, ref what @ ..] => one(candidate, program, log, what),
        _ => all(&words),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

/// In a lab: one scenario, or chaos, with one candidate.
fn one(candidate: &str, program: &str, log: &str, what: &[&str]) -> io::Result<bool> {
    let candidate = Candidate::ALL.into_iter().find(|it| it.name() == candidate);
    let candidate = candidate.ok_or_else(usage)?;
    let log = log == "log";
    if let ["chaos", minutes, seed, uplinks, poor] = *what {
        let chaos = Chaos {
            minutes: number(minutes)?,
            seed: (seed != "calm").then(|| number(seed)).transpose()?,
            uplinks: number(uplinks)? as usize,
            poor: poor == "poor",
        };
        return chaos::run(chaos, candidate, program, log);
    }
    let scenario = scenario::ALL.iter().find(|it| [it.name] == *what);
    let outcome = measure::run(scenario.ok_or_else(usage)?, candidate, program, log)?;
    println!("result {}", measure::write(&outcome));
    Ok(true)
}

struct Options {
    runs: u64,
    scenarios: Vec<&'static Scenario>,
    chaos: Option<Chaos>,
    /// And the program of each.
    candidates: Vec<(Candidate, String)>,
    log: bool,
}

fn usage() -> io::Error {
    io::Error::other(USAGE)
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| usage())
}

fn options(words: &[&str]) -> io::Result<Options> {
    let (mut runs, mut only, mut candidates, mut quick, mut log) = (None, None, None, false, false);
    let (mut ours, mut c, mut minutes, mut uplinks, mut poor) = (None, None, None, 2, false);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut seed = Some(now.map_or(1, |time| time.as_secs()));
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(usage);
        match word {
            "--runs" => runs = Some(number(value()?)?),
            "--scenario" => only = Some(value()?),
            "--candidate" => candidates = Some(value()?),
            "--chaos" => minutes = Some(number(value()?)?),
            "--calm" => (minutes, seed) = (Some(number(value()?)?), None),
            "--seed" => seed = Some(number(value()?)?),
            "--uplinks" => uplinks = number(value()?)? as usize,
            "--ours" => ours = Some(value()?),
            "--c" => c = Some(value()?),
            "--poor" => poor = true,
            "--quick" => quick = true,
            "--log" => log = true,
            _ => return Err(usage()),
        }
    }
    if !(2..=3).contains(&uplinks) {
        return Err(usage());
    }
    let list: Vec<&str> = only
        .unwrap_or(if quick { "S1,S12-two-1.2" } else { "S" })
        .split(',')
        .collect();
    let wanted = |scenario: &&Scenario| {
        list.iter().any(|name| {
            let rest = scenario.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-') || *name == "S")
        })
    };
    let scenarios: Vec<_> = scenario::ALL.iter().filter(wanted).collect();
    if scenarios.is_empty() {
        let names: Vec<_> = scenario::ALL.iter().map(|it| it.name).collect();
        return Err(io::Error::other(format!("scenarios: {}", names.join(" "))));
    }
    let mut chosen = vec![];
    for name in candidates.unwrap_or("none,c,addr_adv,sspi").split(',') {
        let candidate = Candidate::ALL.into_iter().find(|it| it.name() == name);
        match candidate.ok_or_else(usage)? {
            Candidate::None => chosen.push((Candidate::None, "none".to_owned())),
            Candidate::C => match c {
                Some(c) => chosen.push((Candidate::C, c.to_owned())),
                None => {
                    println!("No C daemon on this machine (package mptcpd): it is left out.")
                }
            },
            other => chosen.push((other, ours.ok_or_else(usage)?.to_owned())),
        }
    }
    Ok(Options {
        runs: runs.unwrap_or(if quick { 1 } else { 5 }),
        scenarios,
        chaos: minutes.map(|minutes| Chaos {
            minutes,
            seed,
            uplinks,
            poor,
        }),
        candidates: chosen,
        log,
    })
}

/// All that was asked for, with all candidates.
fn all(words: &[&str]) -> io::Result<bool> {
    let options = options(words)?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    if let Some(Chaos {
        minutes,
        seed,
        uplinks,
        poor,
    }) = options.chaos
    {
        let seed = seed.map_or("calm".into(), |seed| seed.to_string());
        let kind = match &*seed {
            "calm" => "calm".into(),
            seed => format!("chaos (--seed {seed})"),
        };
        let quality = if poor { "poor " } else { "" };
        let (minutes, uplinks) = (minutes.to_string(), uplinks.to_string());
        println!(
            "{minutes} minutes of {kind} over {uplinks} {quality}uplinks. Linux {}.",
            kernel.trim()
        );
        let what = ["chaos", &minutes, &seed, &uplinks, quality.trim_end()];
        let mut fine = true;
        for mut lab in labs(&options, &what, Stdio::inherit)? {
            fine &= lab.wait()?.success();
        }
        return Ok(fine);
    }
    println!(
        "Median (worst) of {} in ms, × ratio to the C daemon. Linux {}.\n",
        options.runs,
        kernel.trim()
    );
    for scenario in &options.scenarios {
        println!("- **{}**: {}", scenario.name, scenario.what);
    }
    println!();
    report::head();
    for scenario in &options.scenarios {
        let mut results: Vec<_> = options
            .candidates
            .iter()
            .map(|(candidate, _)| (*candidate, vec![]))
            .collect();
        for run in 0..options.runs {
            let labs = labs(&options, &[scenario.name], Stdio::piped)?;
            for (lab, (candidate, outcomes)) in labs.into_iter().zip(&mut results) {
                match outcome(lab) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(error) => eprintln!(
                        "failover: {} run {run} with {}: {error}",
                        scenario.name,
                        candidate.name()
                    ),
                }
            }
        }
        report::rows(scenario, &results);
    }
    Ok(true)
}

/// A lab for every candidate, all at the same time.
fn labs(options: &Options, what: &[&str], output: fn() -> Stdio) -> io::Result<Vec<Child>> {
    let program = std::env::current_exe()?;
    let start = |(candidate, daemon): &(Candidate, String)| {
        Command::new("unshare")
            .arg("-Urnm")
            .arg(&program)
            .args(["lab", candidate.name(), daemon])
            .arg(if options.log { "log" } else { "quiet" })
            .args(what)
            .stdin(Stdio::null())
            .stdout(output())
            .spawn()
    };
    options.candidates.iter().map(start).collect()
}

fn outcome(lab: Child) -> io::Result<Outcome> {
    let output = lab.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("result "));
    measure::read(line.ok_or_else(|| io::Error::other(format!("no result: {}", output.status)))?)
}
