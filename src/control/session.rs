// SPDX-License-Identifier: BSD-3-Clause
//! One client: the line that it sends, and the text that it is yet to read.

use core::fmt::{self, Write};

use super::request::{self, LENGTH, Mistake, Request, Verb};
use crate::sys::exit::USAGE;

/// Octets that wait for a client at most.
pub const ROOM: usize = 4096;
/// Octets that one item of a status, or one event, takes at most.
pub const ITEM: usize = 1024;

/// Text on its way to a client, in a fixed buffer.
pub struct Output {
    bytes: [u8; ROOM],
    start: usize,
    end: usize,
}

impl Output {
    /// Returns an empty one.
    pub const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            start: 0,
            end: 0,
        }
    }

    /// Returns what is yet to be read.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes away what has been read.
    pub fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Returns whether so much more fits.
    pub fn has_room(&mut self, count: usize) -> bool {
        if self.end + count > ROOM {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.end + count <= ROOM
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// What does not fit is left out.
impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = text.as_bytes();
        let end = self.end + text.len();
        let room = self.bytes.get_mut(self.end..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text);
        self.end = end;
        Ok(())
    }
}

/// What becomes of a client.
enum State {
    /// Its line is not whole.
    Reading,
    /// It is to be answered.
    Asked(Request),
    /// The answer is whole: once it has been read, that is all.
    Answered,
}

/// A client.
pub struct Session {
    line: heapless::Vec<u8, LENGTH>,
    state: State,
    /// The next item of a status.
    pub at: usize,
    /// A row of it has been written.
    pub rows: bool,
    /// Events that a monitor was too slow for.
    lost: u32,
    pub output: Output,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// Returns one that has not sent anything.
    pub const fn new() -> Self {
        Self {
            line: heapless::Vec::new(),
            state: State::Reading,
            at: 0,
            rows: false,
            lost: 0,
            output: Output::new(),
        }
    }

    /// Returns whether it is yet to send its line.
    pub fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading)
    }

    /// Returns whether it has been answered and has read everything.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Answered) && self.output.bytes().is_empty()
    }

    /// Returns what it has asked for and has not been answered.
    pub fn request(&self) -> Option<&Request> {
        match &self.state {
            State::Asked(request) => Some(request),
            _ => None,
        }
    }

    /// Returns whether it gets events, and whether as JSON.
    pub fn monitor(&self) -> Option<bool> {
        let request = self.request()?;
        (request.verb == Verb::Monitor).then_some(request.json)
    }

    /// Takes in what it has sent. What follows its line is of no interest.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.is_reading() {
            return;
        }
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.push(*byte).is_err() {
                    return self.refuse(Mistake::whole("the request is too long"));
                }
                continue;
            }
            let line = self.line.clone();
            let line = core::str::from_utf8(&line).map_err(|_| Mistake::whole("invalid UTF-8"));
            match line.and_then(request::parse) {
                Ok(request) => self.state = State::Asked(request),
                Err(mistake) => self.refuse(mistake),
            }
            return;
        }
    }

    /// It will not send any more. What it has sent is its line, if it is anything.
    pub fn end(&mut self) {
        if !self.line.is_empty() {
            self.receive(b"\n");
        }
        if self.is_reading() {
            self.state = State::Answered;
        }
    }

    fn refuse(&mut self, mistake: Mistake<'_>) {
        let mut text = heapless::String::<{ 2 * LENGTH }>::new();
        let _ = write!(text, "{mistake}");
        self.finish(USAGE, &text);
    }

    /// Ends the answer with a line of text, unless that is empty, and the exit status.
    pub fn finish(&mut self, status: u8, text: &str) {
        let line_end = if text.is_empty() { "" } else { "\n" };
        let _ = write!(self.output, "{text}{line_end}\0{status}");
        self.state = State::Answered;
    }

    /// Writes lines of text, the first ones if there is no room for all.
    pub fn copy(&mut self, text: &str) {
        let mut lines = text.split_inclusive('\n');
        while let Some(line) = lines
            .next()
            .filter(|line| self.output.has_room(line.len() + 16))
        {
            let _ = self.output.write_str(line);
        }
    }

    /// Hands over a line of text for a monitor, or counts it as lost if it reads too slowly.
    pub fn tell(&mut self, line: &str) {
        let Some(json) = self.monitor() else { return };
        if !self.output.has_room(2 * ITEM) {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let lost = core::mem::take(&mut self.lost);
        if lost > 0 {
            let _ = match json {
                true => writeln!(
                    self.output,
                    "{{\"v\":1,\"event\":\"lost\",\"count\":{lost}}}"
                ),
                false => writeln!(self.output, "{lost} events lost: this reader was too slow"),
            };
        }
        let _ = self.output.write_str(line);
    }
}
