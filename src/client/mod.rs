//! The commands that see and steer a running daemon, such as `mptcpd status`.

mod columns;
mod connections;

use std::io::{self, IsTerminal, Read, Write, stdout};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::control::request::{self, LENGTH};
use crate::control::{DENIED, FAILURE, MISSING, NOT_RUNNING, Request, SUCCESS, USAGE, Verb};
use crate::state::{Identity, file};
use crate::sys::{self, local};

/// How often a daemon that is not there yet is looked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why a command fails: its exit status, and a line for the user.
type Problem = (u8, String);

fn problem(status: u8, cause: &str) -> Problem {
    (status, cause.to_owned())
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
    let strange = |c: char| c.is_whitespace() || c.is_control();
    let line = words.join(" ");
    if words
        .iter()
        .any(|word| word.is_empty() || word.contains(strange))
        || line.len() > LENGTH
    {
        return Err(problem(
            USAGE,
            &format!("{name}: no such interface or address"),
        ));
    }
    let request = request::parse(&line).map_err(|why| problem(USAGE, &format!("{name}: {why}")))?;
    if request.verb == Verb::Connections {
        let text = connections::text(request.json)?;
        return show(&text, request.json).map(|()| SUCCESS);
    }
    let seconds = request.timeout.map(u64::from).map(Duration::from_secs);
    let end = seconds.map(|span| Instant::now() + span);
    let mut stream = connect(end)?;
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    // No time at all would be for ever.
    let left = left.map(|left| left.max(Duration::from_millis(1)));
    let asked = stream
        .set_read_timeout(left)
        .and_then(|()| stream.write_all(format!("{line}\n").as_bytes()));
    asked.map_err(broken)?;
    match request.verb {
        Verb::Monitor => follow(&mut stream),
        _ => read_answer(&mut stream, &request, name),
    }
}

/// Connects to the daemon of this network namespace; if there is a time until which to wait, it
/// may come up meanwhile.
fn connect(end: Option<Instant>) -> Result<UnixStream, Problem> {
    let probe = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).map_err(broken)?;
    let identity = Identity {
        boot_id: [0; 16],
        namespace: sys::namespace_cookie(probe.as_raw_fd()).unwrap_or(0),
    };
    let path = file::socket_path(&identity);
    loop {
        let error = match local::connect(&path) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
            io::ErrorKind::PermissionDenied => {
                return Err(problem(DENIED, &format!("{path}: permission denied")));
            }
            _ => return Err(problem(FAILURE, &format!("{path}: {error}"))),
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            let cause = format!("mptcpd is not running in this network namespace (no {path})");
            return Err(problem(NOT_RUNNING, &cause));
        }
        sleep(PATIENCE);
    }
}

fn broken(error: io::Error) -> Problem {
    problem(FAILURE, &format!("cannot talk to the daemon: {error}"))
}

/// Copies what happens until the daemon ends, or nobody reads any more.
fn follow(stream: &mut UnixStream) -> Result<u8, Problem> {
    let mut bytes = [0; 4096];
    loop {
        let count = match stream.read(&mut bytes) {
            Ok(0) => return Err(problem(NOT_RUNNING, "mptcpd has stopped")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        let read = bytes.get(..count).unwrap_or_default();
        if let Some(at) = read.iter().position(|byte| *byte == 0) {
            let cause = String::from_utf8_lossy(read.get(..at).unwrap_or_default());
            return Err(problem(FAILURE, cause.trim_ascii()));
        }
        if stdout()
            .write_all(read)
            .and_then(|()| stdout().flush())
            .is_err()
        {
            return Ok(SUCCESS);
        }
    }
}

/// Reads an answer to its end: text, a NUL, and the exit status.
fn read_answer(stream: &mut UnixStream, request: &Request, name: &str) -> Result<u8, Problem> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(problem(FAILURE, "timed out: no path is in use"));
        }
        Err(error) => return Err(broken(error)),
    }
    let text = String::from_utf8_lossy(&bytes);
    let answer = text.rsplit_once('\0');
    let parsed = answer.and_then(|(text, status)| Some((text, status.parse().ok()?)));
    let Some((text, status)) = parsed else {
        return Err(problem(FAILURE, "the daemon has broken off"));
    };
    match status {
        SUCCESS | MISSING => show(text, request.json).map(|()| status),
        _ => Err(problem(status, &format!("{name}: {}", text.trim_ascii()))),
    }
}

fn show(text: &str, json: bool) -> Result<(), Problem> {
    let shown = if json {
        sys::print(libc::STDOUT_FILENO, text)
    } else {
        let aligned = columns::align(text, stdout().is_terminal());
        sys::print(libc::STDOUT_FILENO, &aligned)
    };
    shown.map_err(|error| problem(FAILURE, &format!("cannot write: {error}")))
}
