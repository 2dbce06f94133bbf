// SPDX-License-Identifier: BSD-3-Clause
//! The commands that see and steer a running daemon, such as `mptcpd status`.

mod columns;
mod connections;

use core::mem::ManuallyDrop;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use crate::control::Verb;
use crate::control::request::{self, LENGTH};
use crate::state::file;
use crate::sys::clock::now;
use crate::sys::errno::Errno;
use crate::sys::exit::{DENIED, FAILURE, MISSING, NOT_RUNNING, SUCCESS, USAGE};
use crate::sys::{self, local};
use crate::time::{Duration, Instant};

/// How often a daemon that is not there yet is looked for, in milliseconds.
const INTERVAL: u64 = 100;
/// For how long a daemon is asked that is busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a command fails: its exit status, and a line for the user.
type Problem = (u8, String);

#[cold]
#[inline(never)]
fn problem(status: u8, parts: &[&str]) -> Problem {
    let mut text = String::new();
    for part in parts {
        text.push_str(part);
    }
    (status, text)
}

/// Does what the words of the command line ask for, of which the first is a command. Returns the
/// exit status and, if there is something to complain of, a line.
pub(crate) fn run(words: &[String]) -> (u8, Option<String>) {
    match command(words) {
        Ok(status) => (status, None),
        Err((status, cause)) => (status, Some(cause)),
    }
}

fn command(words: &[String]) -> Result<u8, Problem> {
    let name = words.first().map_or("", String::as_str);
    // The process ends after this: nothing is given back, which would take code at each way out.
    let mut line = ManuallyDrop::new(String::new());
    for word in words {
        let strange = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
        if word.is_empty() || word.bytes().any(strange) || line.len() + word.len() >= LENGTH {
            return Err(problem(USAGE, &[name, ": no such interface or address"]));
        }
        line.push_str(word);
        line.push(' ');
    }
    let request = request::parse(&line).map_err(|mistake| {
        let mistake = mistake.to_string();
        problem(USAGE, &[name, ": ", &mistake])
    })?;
    line.push('\n');
    if request.verb == Verb::Connections {
        let mut ages = ManuallyDrop::new(Vec::new());
        if connections::have_ages() {
            let end = Some(now() + PATIENCE);
            let daemon = connect(None).unwrap_or_default();
            let asked = daemon.map(|daemon| talk(daemon, &line, end, false));
            *ages = asked.and_then(Result::ok).unwrap_or_default();
        }
        let ages = core::str::from_utf8(&ages).unwrap_or_default();
        show(&connections::text(request.json, ages)?, request.json);
        return Ok(SUCCESS);
    }
    let end = request
        .timeout
        .map(|seconds| now() + Duration::from_secs(seconds));
    let monitor = request.verb == Verb::Monitor;
    let answer = ManuallyDrop::new(ask(&line, request.verb, end)?);
    if monitor && answer.is_empty() {
        return Err(problem(NOT_RUNNING, &["mptcpd has stopped"]));
    }
    // Text, a NUL, and the digits of the exit status.
    let end = answer.iter().rposition(|byte| *byte == 0);
    let Some((text, end)) = end.and_then(|end| answer.split_at_checked(end)) else {
        return Err(problem(FAILURE, &["the daemon has broken off"]));
    };
    let digits = end.iter().skip(1).map(|digit| digit & 15);
    let status = digits.fold(0u8, |status, digit| {
        status.wrapping_mul(10).wrapping_add(digit)
    });
    let text = core::str::from_utf8(text).unwrap_or_default();
    match status {
        SUCCESS | MISSING => {
            show(text, request.json);
            Ok(status)
        }
        _ => Err(problem(status, &[name, ": ", text.trim_ascii()])),
    }
}

/// Asks the daemon until it has time for us: where too many ask at once, it takes no more or lets go of
/// some.
fn ask(line: &str, verb: Verb, end: Option<Instant>) -> Result<Vec<u8>, Problem> {
    let (monitor, wait) = (verb == Verb::Monitor, verb == Verb::Wait);
    let patience = if wait { end } else { Some(now() + PATIENCE) };
    loop {
        if let Some(daemon) = connect(end)? {
            let answer = talk(daemon, line, end, monitor)?;
            if monitor || !answer.is_empty() {
                return Ok(answer);
            }
        }
        if patience.is_some_and(|patience| now() >= patience) {
            return Err(problem(FAILURE, &["the daemon is busy with others"]));
        }
        pause()?;
    }
}

/// Sends a line and returns the answer, which is empty if the daemon lets go of us. Those to a monitor
/// are printed as they come.
fn talk(stream: File, line: &str, end: Option<Instant>, monitor: bool) -> Result<Vec<u8>, Problem> {
    let mut stream = ManuallyDrop::new(stream);
    if let Err(error) = stream.write_all(line.as_bytes()) {
        return ended(error);
    }
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let left = end.map(|end| end.saturating_since(now()).as_millis().into());
        let mut daemon = [sys::readable(stream.as_raw_fd())];
        if matches!(sys::poll(&mut daemon, left), Ok(0)) {
            if end.is_some_and(|end| now() >= end) {
                let cause = ": timed out: no path is in use";
                return Err(problem(FAILURE, &[line.trim_ascii(), cause]));
            }
            continue;
        }
        let read = match stream.read(&mut bytes) {
            Ok(0) => return Ok(answer),
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(error) => return ended(error),
        };
        if monitor && !read.contains(&0) {
            let text = core::str::from_utf8(read).unwrap_or("?\n");
            if sys::print(libc::STDOUT_FILENO, text).is_err() {
                // Nobody reads any more.
                answer.extend_from_slice(b"\x000");
                return Ok(answer);
            }
        } else {
            answer.extend_from_slice(read);
        }
    }
}

/// Connects to the daemon of this network namespace; if there is a time until which to wait, it
/// may come up meanwhile. `None` if too many are waiting for it.
fn connect(end: Option<Instant>) -> Result<Option<File>, Problem> {
    let path = file::socket_path(sys::namespace_cookie().unwrap_or(0));
    loop {
        let error = match local::connect(&path) {
            Ok(stream) => return Ok(Some(stream)),
            Err(error) => error,
        };
        match error.0 {
            libc::EAGAIN => return Ok(None),
            libc::ENOENT | libc::ECONNREFUSED => {}
            libc::EACCES | libc::EPERM => {
                return Err(problem(DENIED, &[&path, ": permission denied"]));
            }
            _ => return Err(broken(error)),
        }
        if end.is_none_or(|end| now() >= end) {
            let cause = "mptcpd is not running in this network namespace (no ";
            return Err(problem(NOT_RUNNING, &[cause, &path, ")"]));
        }
        pause()?;
    }
}

fn pause() -> Result<(), Problem> {
    sys::poll(&mut [], Some(INTERVAL)).map_err(broken).map(drop)
}

/// What has ended a talk before an answer.
#[cold]
fn ended(error: io::Error) -> Result<Vec<u8>, Problem> {
    match error.raw_os_error() {
        Some(libc::EPIPE | libc::ECONNRESET) => Ok(Vec::new()),
        _ => Err(broken(error.into())),
    }
}

#[cold]
#[inline(never)]
fn broken(error: Errno) -> Problem {
    problem(
        FAILURE,
        &["cannot talk to the daemon: ", &error.to_string()],
    )
}

/// Prints a text, aligned for people.
fn show(text: &str, json: bool) {
    if json {
        let _ = sys::print(libc::STDOUT_FILENO, text);
    } else {
        let aligned = columns::align(text, local::is_terminal(libc::STDOUT_FILENO));
        let _ = sys::print(libc::STDOUT_FILENO, &aligned);
    }
}
