// SPDX-License-Identifier: BSD-3-Clause
//! The destinations.

use core::fmt::Write;
use std::fs::File;
use std::io::{Write as _, stderr};
use std::os::fd::{AsFd, BorrowedFd};
use std::process;

use ::log::{Level, Log, Record};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::fstatfs;
use nix::unistd::write;
use simple_logger::SimpleLogger;

use super::{Destination, LINE, Line};
use crate::sys::{self, errno};
use crate::time::{Duration, Instant, Retry};

const NAME: &str = "mptcpd";
/// The facility "system daemons" (RFC 3164, 4.1.1).
const DAEMON: u8 = 3 << 3;
/// How long an answer waits for room, in milliseconds.
const PATIENCE: u8 = 100;
/// How long no answer waits after one has done so in vain.
const IMPATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Sink {
    syslog: &'static str,
    journal: &'static str,
    destination: Destination,
    /// What reads standard error tells priorities by the `<N>` in front of lines (sd-daemon(3)).
    prefixes: bool,
    socket: Option<File>,
    /// When it may be opened.
    retry: Retry,
    /// Messages that the destination did not take.
    lost: u32,
    /// To wait for room did not help: not to be done again before.
    patient_at: Instant,
}

impl Sink {
    pub(super) const fn new(syslog: &'static str, journal: &'static str) -> Self {
        let destination = Destination::Stderr;
        Self {
            syslog,
            journal,
            destination,
            prefixes: false,
            socket: None,
            retry: Retry::new(),
            lost: 0,
            patient_at: Instant(0),
        }
    }

    /// Changes the destination and opens it.
    pub(super) fn open(&mut self, now: Instant, destination: Destination) {
        self.prefixes = is_journal();
        if self.destination != destination {
            (self.destination, self.socket, self.retry) = (destination, None, Retry::new());
        }
        self.connect(now);
    }

    /// Sends a message, or counts it as lost.
    pub(super) fn write(&mut self, now: Instant, level: Level, text: &str) {
        self.write_within(PollTimeout::ZERO, now, level, text);
    }

    /// The same, after waiting for room if need be. Where that does not help it is not done again
    /// soon, so that a destination that hangs delays us once and not for every line.
    pub(super) fn write_patiently(&mut self, now: Instant, level: Level, text: &str) {
        let patient = self.patient_at <= now;
        let patience = if patient { PATIENCE } else { 0 };
        if !self.write_within(patience.into(), now, level, text) && patient {
            self.patient_at = now + IMPATIENCE;
        }
    }

    fn write_within(
        &mut self,
        patience: PollTimeout,
        now: Instant,
        level: Level,
        text: &str,
    ) -> bool {
        if self.lost > 0 {
            let line = Line::of(&format_args!("{} log messages lost", self.lost));
            if self.deliver(patience, now, Level::Warn, &line.text) {
                self.lost = 0;
            }
        }
        let taken = self.deliver(patience, now, level, text);
        if !taken {
            self.lost = self.lost.saturating_add(1);
        }
        taken
    }

    /// False if nobody took the message.
    fn deliver(&mut self, patience: PollTimeout, now: Instant, level: Level, text: &str) -> bool {
        if self.destination == Destination::Null {
            return true;
        }
        // The second try is for a receiver that has been restarted, or has made room.
        for first in [true, false] {
            let error = match self.connect(now).map(|socket| send(socket, level, text)) {
                None => break,
                Some(Ok(())) => return true,
                Some(Err(error)) => error,
            };
            // Busy, which is not for long.
            if let libc::EAGAIN | libc::ENOBUFS = error.0 {
                let room = |socket: &File| has_room(socket.as_fd(), patience);
                if first && self.socket.as_ref().is_some_and(room) {
                    continue;
                }
                return false;
            }
            self.socket = None;
        }
        to_stderr(self.prefixes, patience, level, text)
    }

    /// The open socket of the destination with what makes a message of a text.
    fn connect(&mut self, now: Instant) -> Option<Socket<'_>> {
        let (path, encode) = match self.destination {
            Destination::Syslog => (self.syslog, syslog as Encode),
            Destination::Journal => (self.journal, journal as Encode),
            Destination::Stderr | Destination::Null => return None,
        };
        if self.socket.is_none() && self.retry.is_due(now) {
            match sys::socket_at(path, libc::SOCK_DGRAM, libc::connect) {
                Ok(socket) => {
                    self.socket = Some(socket.into());
                    self.retry.succeeded();
                }
                Err(error) => {
                    // Once, however often it is tried.
                    if !self.retry.has_failed() {
                        let line =
                            Line::of(&format_args!("cannot log to {path}, using stderr: {error}"));
                        to_stderr(self.prefixes, PollTimeout::ZERO, Level::Warn, &line.text);
                    }
                    self.retry.failed(now);
                }
            }
        }
        Some((self.socket.as_ref()?, encode))
    }
}

type Packet = heapless::Vec<u8, { LINE + 96 }>;
type Encode = fn(&mut Packet, u8, &str);
type Socket<'a> = (&'a File, Encode);

/// RFC 3164, 4.1.1.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn send((mut socket, encode): Socket, level: Level, text: &str) -> errno::Result<()> {
    let mut packet = Packet::new();
    encode(&mut packet, severity(level), text);
    Ok(socket.write(&packet).map(drop)?)
}

/// `<PRIORITY>NAME[PID]: TEXT`. Time and host are for the receiver to add (RFC 3164, 4.3.2).
fn syslog(packet: &mut Packet, severity: u8, text: &str) {
    let _ = write!(
        packet,
        "<{}>{NAME}[{}]: {text}",
        DAEMON | severity,
        process::id()
    );
}

/// Fields, each in a line of its own, but the message with its length, little endian, in front:
/// so it may be anything. Source: systemd.io, "Native Journal Protocol".
fn journal(packet: &mut Packet, severity: u8, text: &str) {
    let _ = write!(
        packet,
        "PRIORITY={severity}\nSYSLOG_IDENTIFIER={NAME}\nMESSAGE\n"
    );
    let _ = packet.extend_from_slice(&(text.len() as u64).to_le_bytes());
    let _ = writeln!(packet, "{text}");
}

/// Whether something can be written, now or within `patience`.
fn has_room(fd: BorrowedFd<'_>, patience: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    let _ = poll(&mut fds, patience);
    let [fd] = fds;
    fd.revents() == Some(PollFlags::POLLOUT)
}

/// Returns whether standard error is the stream to the journal whose device and inode
/// `JOURNAL_STREAM` names (systemd.exec(5)).
fn is_journal() -> bool {
    let named = sys::variable(c"JOURNAL_STREAM").unwrap_or_default();
    sys::status(stderr()).is_ok_and(|stream| {
        let sys::Status { device, inode, .. } = stream;
        Line::of(&format_args!("{device}:{inode}")).text == named
    })
}

/// False if stderr would not take it.
fn to_stderr(prefixes: bool, patience: PollTimeout, level: Level, text: &str) -> bool {
    // simple_logger would wait for a reader that does not read, and panics when writing fails:
    // no reader, or no space.
    let mut stderr = stderr();
    let full = fstatfs(&stderr).is_ok_and(|fs| fs.blocks() > 0 && fs.blocks_available() == 0);
    // Some devices refuse to write nothing as they refuse to write something.
    if full || !has_room(stderr.as_fd(), patience) || write(&stderr, &[]).is_err() {
        return false;
    }
    if prefixes {
        let mut packet = Packet::new();
        let _ = writeln!(packet, "<{}>{text}", severity(level));
        return stderr.write_all(&packet).is_ok();
    }
    SimpleLogger::new().log(
        &Record::builder()
            .level(level)
            .target(NAME)
            .args(format_args!("{text}"))
            .build(),
    );
    true
}
