//! What a user feels of failover and recovery: real Multipath TCP connections over two uplinks,
//! with nobody, the C daemon and this one managing the paths side by side. See `README.md`.

mod lab;
mod scenario;
mod sys;
mod traffic;
mod wire;

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lab::{Candidate, Lab};
use scenario::Scenario;

/// No lab lasts longer, whatever happens.
const LIMIT: Duration = Duration::from_secs(180);
/// Gaps longer than this are what a user sees as a frozen picture.
const FREEZE: Duration = Duration::from_millis(200);
/// A connection whose ends received nothing for so long at the end is counted as dead.
const SILENCE: Duration = Duration::from_secs(3);

const USAGE: &str = "usage: failover --ours PROGRAM [--c PROGRAM] [--runs N] [--scenario S1,S12] \
                     [--candidate none,c,addr_adv,sspi] [--quick] [--log]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["lab", name, candidate, program, log] => one(name, candidate, program, log == "log"),
        _ => all(&words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

// ---- One scenario with one candidate, in namespaces of this process's own ----

fn one(name: &str, candidate: &str, program: &str, log: bool) -> io::Result<()> {
    sys::bound(LIMIT);
    let unknown = || io::Error::other("unknown scenario or candidate");
    let scenario = scenario::ALL.iter().find(|it| it.name == name);
    let candidate = Candidate::ALL.into_iter().find(|it| it.name() == candidate);
    let (scenario, candidate) = (
        scenario.ok_or_else(unknown)?,
        candidate.ok_or_else(unknown)?,
    );
    let mut lab = Lab::new(scenario.uplinks, scenario.rate())?;
    lab.manage(candidate, program)?;
    lab.open(scenario.connections)?;
    lab.await_complete(Duration::from_secs(5));
    std::thread::sleep(Duration::from_secs(2));
    let cpu = lab.cpu();
    let marks = scenario.run(&lab)?;
    let cpu = lab.cpu().saturating_sub(cpu);
    let end = Instant::now();
    lab.traffic.stop();
    lab.end();
    if log {
        eprintln!("{}", lab.log());
    }

    let shared = lab.traffic.lock();
    let (mut away, mut back, mut frozen, mut oldest) =
        <(Duration, Duration, Duration, Duration)>::default();
    let (mut whole, mut died) = (0, 0);
    let mut complete = Some(Duration::ZERO);
    for it in &shared.connections {
        let mut dead = false;
        for side in &it.ends {
            let mut sum = Duration::ZERO;
            dead |= side.broken;
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
        .min();
    let used = used.map(|at| at.saturating_duration_since(marks.back));
    let number = |time: Option<Duration>| time.map_or(-1.0, |time| time.as_secs_f64() * 1e3);
    let setup = shared
        .connections
        .iter()
        .map(|it| Some(it.complete? - it.opened));
    let setup = setup.max().flatten();
    let values = [
        number(Some(away)),
        number(Some(back)),
        number(Some(frozen)),
        number(Some(oldest)),
        number(used),
        number(complete),
        f64::from(whole),
        f64::from(died),
        shared.connections.len() as f64,
        number(Some(cpu)),
        number(setup),
    ];
    let text: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
    println!("result {}", text.join(" "));
    Ok(())
}

// ---- All scenarios with all candidates ----

struct Options {
    runs: usize,
    scenarios: Vec<&'static Scenario>,
    /// And the program of each.
    candidates: Vec<(Candidate, String)>,
    log: bool,
}

fn options(words: &[&str]) -> io::Result<Options> {
    let (mut runs, mut only, mut candidates, mut quick, mut log) = (None, None, None, false, false);
    let (mut ours, mut c) = (None, None);
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| io::Error::other(USAGE));
        match word {
            "--runs" => runs = Some(value()?.parse().map_err(io::Error::other)?),
            "--scenario" => only = Some(value()?),
            "--candidate" => candidates = Some(value()?),
            "--ours" => ours = Some(value()?),
            "--c" => c = Some(value()?),
            "--quick" => quick = true,
            "--log" => log = true,
            _ => return Err(io::Error::other(USAGE)),
        }
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
        match candidate.ok_or_else(|| io::Error::other(USAGE))? {
            Candidate::None => chosen.push((Candidate::None, "none".to_owned())),
            Candidate::C => match c {
                Some(c) => chosen.push((Candidate::C, c.to_owned())),
                None => {
                    eprintln!("failover: no C daemon on this machine (package mptcpd): left out")
                }
            },
            other => {
                let ours = ours.ok_or_else(|| io::Error::other(USAGE))?;
                chosen.push((other, ours.to_owned()));
            }
        }
    }
    Ok(Options {
        runs: runs.unwrap_or(if quick { 1 } else { 5 }),
        scenarios,
        candidates: chosen,
        log,
    })
}

/// What a run ended with, in the order in which [`one`] prints it.
type Values = Vec<f64>;

const AWAY: usize = 0;
const BACK: usize = 1;
const FROZEN: usize = 2;
const OLDEST: usize = 3;
const USED: usize = 4;
const COMPLETE: usize = 5;
const WHOLE: usize = 6;
const DIED: usize = 7;
const CONNECTIONS: usize = 8;
const CPU: usize = 9;
const SETUP: usize = 10;

fn all(words: &[&str]) -> io::Result<()> {
    let options = options(words)?;
    println!(
        "Median (worst) of {} in ms, × ratio to the C daemon. Linux {}.",
        options.runs,
        std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()
    );
    for scenario in &options.scenarios {
        let mut results: Vec<Vec<Values>> = vec![vec![]; options.candidates.len()];
        for run in 0..options.runs {
            for (n, values) in side_by_side(&options, scenario)?.into_iter().enumerate() {
                match values {
                    Ok(values) => results[n].push(values),
                    Err(error) => eprintln!(
                        "failover: {} run {run} with {}: {error}",
                        scenario.name,
                        options.candidates[n].0.name()
                    ),
                }
            }
        }
        table(&options, scenario, &results);
    }
    Ok(())
}

/// One run with every candidate at the same time.
fn side_by_side(options: &Options, scenario: &Scenario) -> io::Result<Vec<io::Result<Values>>> {
    let program = std::env::current_exe()?;
    let mut labs = vec![];
    for (candidate, daemon) in &options.candidates {
        let lab = Command::new("unshare")
            .arg("-Urnm")
            .arg(&program)
            .args(["lab", scenario.name, candidate.name(), daemon])
            .arg(if options.log { "log" } else { "quiet" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        labs.push(lab);
    }
    let outputs = labs.into_iter().map(|lab| {
        let output = lab.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("result "));
        let line = line.ok_or_else(|| io::Error::other(format!("no result: {}", output.status)))?;
        line.split(' ')
            .map(|word| word.parse().map_err(io::Error::other))
            .collect()
    });
    Ok(outputs.collect())
}

/// Median and worst; what never came is the worst of all.
fn summary(results: &[Values], column: usize) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = results
        .iter()
        .map(|values| match values[column] {
            value if value < 0.0 => f64::INFINITY,
            value => value,
        })
        .collect();
    values.sort_by(f64::total_cmp);
    Some((*values.get(values.len() / 2)?, *values.last()?))
}

fn table(options: &Options, scenario: &Scenario, results: &[Vec<Values>]) {
    println!("\n**{}**: {}\n", scenario.name, scenario.what);
    println!(
        "| | stall away | stall on return | frozen | oldest data | path used again | all paths \
         again | with all paths | dead | CPU | second path at first |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    let c = options
        .candidates
        .iter()
        .position(|it| it.0 == Candidate::C);
    let written = |value: f64| match value.is_finite() {
        true => format!("{value:.0}"),
        false => "never".to_owned(),
    };
    for ((candidate, _), own) in options.candidates.iter().zip(results) {
        let cell = |column| {
            let Some((median, worst)) = summary(own, column) else {
                return "failed".to_owned();
            };
            let mut text = written(median);
            if worst != median {
                text += &format!(" ({})", written(worst));
            }
            let peer = c.and_then(|c| summary(&results[c], column));
            if let Some((peer, _)) = peer
                && *candidate != Candidate::C
                && column != SETUP
                && peer >= 1.0
                && peer.is_finite()
                && median.is_finite()
            {
                text += &format!(" ×{:.2}", median / peer);
            }
            text
        };
        let sum = |column: usize| own.iter().map(|values| values[column]).sum::<f64>();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} of {} | {} | {} | {} |",
            candidate.name(),
            cell(AWAY),
            cell(BACK),
            cell(FROZEN),
            cell(OLDEST),
            cell(USED),
            cell(COMPLETE),
            sum(WHOLE),
            sum(CONNECTIONS),
            sum(DIED),
            if *candidate == Candidate::None {
                "–".to_owned()
            } else {
                cell(CPU)
            },
            cell(SETUP),
        );
    }
}
