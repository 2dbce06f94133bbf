// SPDX-License-Identifier: BSD-3-Clause
//! Runs the C daemon and this one by turns in network namespaces, and prints a table of what each
//! costs. See `tests/bench/run`.
//!
//! ```text
//! bench --peer PROGRAM --ours PROGRAM --work DIRECTORY [--repeats N] [--quick]
//! ```
//!
//! It has to be root of its own user namespace, with a mount namespace whose `/run` is its own.

mod lab;
mod measure;
mod process;
mod relay;
mod report;
mod size;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg::Long;
use lexopt::ValueExt;
use measure::Bench;
use process::Programs;
use report::Report;

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Report, Box<dyn std::error::Error>> {
    let mut bench = Bench {
        programs: Programs {
            peer: PathBuf::new(),
            ours: PathBuf::new(),
            relay: std::env::current_exe()?,
        },
        work: PathBuf::new(),
        repeats: 7,
        quick: false,
        only: None,
        report: Report::default(),
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("peer") => bench.programs.peer = arguments.value()?.into(),
            Long("ours") => bench.programs.ours = arguments.value()?.into(),
            Long("work") => bench.work = arguments.value()?.into(),
            Long("repeats") => bench.repeats = arguments.value()?.string()?.parse()?,
            Long("only") => bench.only = Some(arguments.value()?.string()?),
            Long("quick") => bench.quick = true,
            Long("relay") => relay::run(arguments.value()?.string()?.parse()?)?,
            other => return Err(other.unexpected().into()),
        }
    }
    // Sleeps of a few microseconds shall not be rounded up.
    // SAFETY: takes plain numbers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    bench.run()?;
    Ok(bench.report)
}
