// SPDX-License-Identifier: BSD-3-Clause
//! Where messages go, and how often the same one may.
//!
//! A message is formatted once into a fixed buffer, cleaned of control characters, compared with
//! the last few, and sent. A destination that cannot be reached is replaced by stderr and tried
//! again later. What a destination does not take at once is counted as lost; only for answers to
//! signals is there a wait, and a short one.
//!
//! The same message is written once in 30 s; how often it came again is told when they are over,
//! which is what [`flush_at`] and [`flush`] are for.

mod sink;

use core::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::log::{Level, LevelFilter, Log, Metadata, Record};

use crate::sys::clock::now;
use crate::time::{Duration, Instant};
use sink::Sink;

/// Where messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    Stderr,
    /// The datagram socket `/dev/log` (RFC 3164).
    Syslog,
    /// systemd's journal, by its native protocol.
    Journal,
    /// Nowhere.
    Null,
}

/// Bytes of a message; what is longer ends in dots.
const LINE: usize = 512;
/// Messages remembered, about 550 bytes each: together less than a page.
const REMEMBERED: usize = 7;
const WINDOW: Duration = Duration::from_secs(30);

/// Makes this the program's logger. Whatever cannot be opened is reported on stderr.
pub fn init(destination: Destination, level: LevelFilter) {
    // Fails only the second time, when it is set already.
    let _ = ::log::set_logger(&LOGGER);
    reconfigure(destination, level);
}

/// Changes destination and level.
pub fn reconfigure(destination: Destination, level: LevelFilter) {
    let none = destination == Destination::Null;
    ::log::set_max_level(if none { LevelFilter::Off } else { level });
    let mut state = LOGGER.state();
    let room = REMEMBERED.saturating_sub(state.seen.len());
    state.seen.reserve_exact(room);
    state.sink.open(now(), destination);
}

/// When [`flush`] next has something to write; `None` until another message is suppressed.
pub fn flush_at() -> Option<Instant> {
    LOGGER.state().flush_at()
}

/// Writes how often messages came again, for those whose time is over at `now`.
///
/// At the end of the program [`log::Log::flush`] of [`log::logger`] writes what is left.
pub fn flush(now: Instant) {
    LOGGER.state().flush(now);
}

// Macros of the log crate, with what they do at every place done in one: 3 KiB on MIPS.
macro_rules! error {
    ($($text:tt)+) => { $crate::logging::say(::log::Level::Error, ::core::format_args!($($text)+)) };
}
macro_rules! warning {
    ($($text:tt)+) => { $crate::logging::say(::log::Level::Warn, ::core::format_args!($($text)+)) };
}
macro_rules! info {
    ($($text:tt)+) => { $crate::logging::say(::log::Level::Info, ::core::format_args!($($text)+)) };
}
macro_rules! debug {
    ($($text:tt)+) => { $crate::logging::say(::log::Level::Debug, ::core::format_args!($($text)+)) };
}
// An attribute has the name `warn` too.
pub(crate) use {debug, error, info, warning as warn};

#[cold]
#[inline(never)]
pub(crate) fn say(level: Level, text: fmt::Arguments) {
    ::log::log!(level, "{text}");
}

/// Writes what a signal asks for, whatever the level and however often.
pub(crate) fn answer(level: Level, text: fmt::Arguments) {
    LOGGER.state().answer(now(), level, &text);
}

static LOGGER: Logger = Logger(Mutex::new(State::new(
    "/dev/log",
    "/run/systemd/journal/socket",
)));

struct Logger(Mutex<State>);

impl Logger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata) -> bool {
        true // The level was compared before.
    }

    fn log(&self, record: &Record) {
        self.state().message(now(), record.level(), record.args());
    }

    fn flush(&self) {
        self.state().flush_all(now());
    }
}

struct State {
    sink: Sink,
    /// The earliest window comes first.
    seen: Vec<Seen>,
}

/// A message that was written.
struct Seen {
    line: Line,
    level: Level,
    /// When its window ends.
    until: Instant,
    /// How often it came again since.
    repeats: u32,
}

impl State {
    const fn new(syslog: &'static str, journal: &'static str) -> Self {
        Self {
            sink: Sink::new(syslog, journal),
            seen: Vec::new(),
        }
    }

    fn answer(&mut self, now: Instant, level: Level, args: &fmt::Arguments) {
        self.sink.write_patiently(now, level, &Line::of(args).text);
    }

    fn message(&mut self, now: Instant, level: Level, args: &fmt::Arguments) {
        self.flush(now);
        let line = Line::of(args);
        let same = |seen: &&mut Seen| seen.level == level && seen.line.text == line.text;
        if let Some(seen) = self.seen.iter_mut().find(same) {
            seen.repeats = seen.repeats.saturating_add(1);
            return;
        }
        if self.seen.len() >= REMEMBERED {
            self.forget_first(now);
        }
        self.sink.write(now, level, &line.text);
        self.seen.push(Seen {
            line,
            level,
            until: now + WINDOW,
            repeats: 0,
        });
    }

    fn flush_at(&self) -> Option<Instant> {
        let waiting = self.seen.iter().filter(|seen| seen.repeats > 0);
        waiting.map(|seen| seen.until).min()
    }

    fn flush(&mut self, now: Instant) {
        while self.seen.first().is_some_and(|seen| seen.until <= now) {
            let Some(mut seen) = self.forget_first(now) else {
                return;
            };
            // One that goes on stays quiet for another window.
            if seen.repeats > 0 {
                seen.repeats = 0;
                seen.until = now + WINDOW;
                self.seen.push(seen);
            }
        }
    }

    fn flush_all(&mut self, now: Instant) {
        while self.forget_first(now).is_some() {}
    }

    /// Takes out the oldest message, after telling how often it came again.
    fn forget_first(&mut self, now: Instant) -> Option<Seen> {
        if self.seen.is_empty() {
            return None;
        }
        let seen = self.seen.remove(0);
        if seen.repeats > 0 {
            let (times, text) = (seen.repeats, &seen.line.text);
            let line = Line::of(&format_args!("message repeated {times} times: {text}"));
            self.sink.write(now, seen.level, &line.text);
        }
        Some(seen)
    }
}

/// A message, cut to its capacity. Control characters, which could break the line or act on a
/// terminal, become `?`.
struct Line {
    text: heapless::String<LINE>,
    cut: bool,
}

impl Line {
    const DOTS: &'static str = "...";

    fn of(args: &fmt::Arguments) -> Self {
        let mut line = Self {
            text: heapless::String::new(),
            cut: false,
        };
        let _ = line.write_fmt(*args);
        line
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c.is_control() { '?' } else { c };
            if self.cut {
                break;
            }
            self.cut = self.text.len() + c.len_utf8() + Self::DOTS.len() > LINE;
            let _ = if self.cut {
                self.text.push_str(Self::DOTS)
            } else {
                self.text.push(c)
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
