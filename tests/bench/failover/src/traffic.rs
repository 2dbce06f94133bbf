// SPDX-License-Identifier: BSD-3-Clause
//! Connections with time-stamped messages in both directions, and what their ends receive when.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sys;

const MAGIC: u32 = 0x6d70_7463;
/// Magic, number of the connection, number of the message, bytes that follow, time of sending.
const HEAD: usize = 24;
/// Gaps that are kept.
const NOTABLE: Duration = Duration::from_millis(30);

/// How often a message goes, and with how many bytes towards the client and from it.
#[derive(Clone, Copy)]
pub struct Rate {
    pub every: Duration,
    pub down: usize,
    pub up: usize,
}

/// Nothing received from `since` for `long`.
#[derive(Clone, Copy)]
pub struct Gap {
    pub since: Instant,
    pub long: Duration,
}

/// One end of a connection.
pub struct End {
    socket: Option<OwnedFd>,
    /// What is left of the message that is being sent.
    left: Vec<u8>,
    at: usize,
    sent: u32,
    due: Instant,
    head: Vec<u8>,
    /// Bytes of the message that is being received.
    body: usize,
    expected: u32,
    last: Instant,
    /// When something came first.
    pub first: Option<Instant>,
    pub gaps: Vec<Gap>,
    /// How old the oldest message was when it came.
    pub oldest: Duration,
    /// Why it no longer takes part.
    pub ended: Option<ErrorKind>,
}

impl End {
    fn new(socket: Option<OwnedFd>, due: Instant) -> Self {
        Self {
            socket,
            left: vec![],
            at: 0,
            sent: 0,
            due,
            head: vec![],
            body: 0,
            expected: 0,
            last: due,
            first: None,
            gaps: vec![],
            oldest: Duration::ZERO,
            ended: None,
        }
    }

    fn live(&self) -> Option<&OwnedFd> {
        self.socket.as_ref().filter(|_| self.ended.is_none())
    }

    fn end(&mut self, error: ErrorKind) {
        use ErrorKind::{Interrupted, NotConnected, WouldBlock};
        if !matches!(error, WouldBlock | Interrupted | NotConnected) {
            self.ended = Some(error);
        }
    }

    fn received(&mut self, now: Instant) {
        let long = now - self.last;
        if long > NOTABLE {
            self.gaps.push(Gap {
                since: self.last,
                long,
            });
        }
        self.last = now;
    }

    /// How long nothing has come.
    pub fn silent(&self) -> Duration {
        self.last.elapsed()
    }

    /// A message when it is time for one and the last one has gone.
    fn send(&mut self, number: u32, every: Duration, bytes: usize, start: Instant, now: Instant) {
        if self.live().is_none() {
            return;
        }
        if self.at == self.left.len() && self.due <= now {
            self.due = (self.due + every).max(now);
            self.left.clear();
            self.at = 0;
            let body = bytes as u32;
            for word in [MAGIC, number, self.sent, body] {
                self.left.extend(word.to_be_bytes());
            }
            let time = now.duration_since(start).as_nanos() as u64;
            self.left.extend(time.to_be_bytes());
            self.left.resize(HEAD + bytes, 0);
            self.sent += 1;
        }
        if let Some(socket) = self.live()
            && self.at < self.left.len()
        {
            match sys::send(socket, &self.left[self.at..]) {
                Ok(length) => self.at += length,
                Err(error) => self.end(error.kind()),
            }
        }
    }

    /// Takes what was received apart; returns the number of the connection once it is known.
    fn parse(&mut self, mut bytes: &[u8], start: Instant, now: Instant) -> Option<u32> {
        let mut number = None;
        while !bytes.is_empty() {
            if self.body > 0 {
                let length = self.body.min(bytes.len());
                self.body -= length;
                bytes = &bytes[length..];
                continue;
            }
            let length = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend(&bytes[..length]);
            bytes = &bytes[length..];
            if self.head.len() < HEAD {
                break;
            }
            let word = |at: usize| {
                let word = &self.head[at * 4..at * 4 + 4];
                u32::from_be_bytes([word[0], word[1], word[2], word[3]])
            };
            if word(0) != MAGIC || word(2) != self.expected {
                self.end(ErrorKind::InvalidData);
                return number;
            }
            number = Some(word(1));
            self.expected += 1;
            self.body = word(3) as usize;
            let time = u64::from(word(4)) << 32 | u64::from(word(5));
            let age = now.saturating_duration_since(start + Duration::from_nanos(time));
            self.oldest = self.oldest.max(age);
            self.head.clear();
        }
        number
    }

    fn receive(&mut self, start: Instant, buffer: &mut [u8]) -> Option<u32> {
        let mut number = None;
        for _ in 0..16 {
            let Some(socket) = self.live() else {
                break;
            };
            match sys::read(socket, buffer) {
                Ok(0) => self.end(ErrorKind::UnexpectedEof),
                Ok(length) => {
                    let now = Instant::now();
                    self.first.get_or_insert(now);
                    self.received(now);
                    number = self.parse(&buffer[..length], start, now).or(number);
                }
                Err(error) => {
                    self.end(error.kind());
                    break;
                }
            }
        }
        number
    }
}

/// A connection: the client's end and the server's.
pub struct Connection {
    pub opened: Instant,
    pub ends: [End; 2],
    /// The addresses that it had no working subflow from or to when last looked at.
    pub lacks: Vec<Ipv4Addr>,
    /// Since when it has lacked none, without a break.
    pub complete_since: Option<Instant>,
}

/// What the thread that runs the traffic and the one that runs the scenario share.
pub struct Shared {
    pub connections: Vec<Connection>,
    /// The addresses of either end from or to which a subflow is wanted.
    pub wanted: Vec<Ipv4Addr>,
}

pub struct Traffic {
    shared: Mutex<Shared>,
    stop: AtomicBool,
    pub rate: Rate,
    listener: OwnedFd,
}

impl Traffic {
    pub fn new(listener: OwnedFd, rate: Rate) -> Arc<Self> {
        Arc::new(Self {
            shared: Mutex::new(Shared {
                connections: vec![],
                wanted: vec![],
            }),
            stop: AtomicBool::new(false),
            rate,
            listener,
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared
            .lock()
            .unwrap_or_else(|error| error.into_inner())
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Has a connection whose socket is already connecting, or could not even do that.
    pub fn add(&self, socket: io::Result<OwnedFd>) {
        let now = Instant::now();
        let ended = socket.as_ref().err().map(io::Error::kind);
        let mut client = End::new(socket.ok(), now);
        client.ended = ended;
        self.lock().connections.push(Connection {
            opened: now,
            ends: [client, End::new(None, now)],
            lacks: vec![],
            complete_since: None,
        });
    }

    /// Runs until told to stop.
    pub fn run(&self) {
        let start = Instant::now();
        let mut buffer = vec![0; 65536];
        let mut strangers: Vec<End> = vec![];
        let mut looked = start;
        while !self.stop.load(Ordering::Relaxed) {
            let mut descriptors = vec![descriptor(&self.listener, 0)];
            let live = strangers.iter().filter_map(End::live);
            descriptors.extend(live.map(|socket| descriptor(socket, 0)));
            let first = descriptors.len();
            let mut places = vec![];
            let mut due = Instant::now() + Duration::from_millis(20);
            let shared = self.lock();
            let many = shared.connections.len() as u32;
            for (number, it) in shared.connections.iter().enumerate() {
                for (side, end) in it.ends.iter().enumerate() {
                    let waits = end.at < end.left.len();
                    if let Some(socket) = end.live() {
                        descriptors.push(descriptor(socket, if waits { libc::POLLOUT } else { 0 }));
                        places.push((number, side));
                        if !waits {
                            due = due.min(end.due);
                        }
                    }
                }
            }
            drop(shared);
            if many > 1 {
                // Many at a time rather than one after the other.
                std::thread::sleep(Duration::from_millis(2));
            }
            let limit = due.saturating_duration_since(Instant::now());
            sys::poll(&mut descriptors, limit.max(Duration::from_micros(200)));

            while let Some(socket) = sys::accept(&self.listener) {
                strangers.push(End::new(Some(socket), Instant::now()));
            }
            let mut shared = self.lock();
            // An accepted connection is known by its first message.
            let mut n = 0;
            while n < strangers.len() {
                match strangers[n].receive(start, &mut buffer) {
                    Some(number) => {
                        let end = strangers.swap_remove(n);
                        if let Some(it) = shared.connections.get_mut(number as usize) {
                            it.ends[1] = end;
                        }
                    }
                    None => n += 1,
                }
            }
            for (descriptor, (number, side)) in descriptors[first..].iter().zip(places) {
                if descriptor.revents & !libc::POLLOUT != 0 {
                    shared.connections[number].ends[side].receive(start, &mut buffer);
                }
            }
            for (number, it) in shared.connections.iter_mut().enumerate() {
                for (side, end) in it.ends.iter_mut().enumerate() {
                    let bytes = [self.rate.up, self.rate.down][side];
                    end.send(number as u32, self.rate.every, bytes, start, Instant::now());
                }
            }
            if looked.elapsed() > Duration::from_millis(40) * (1 + many / 20) {
                shared.look();
                looked = Instant::now();
            }
        }
        let now = Instant::now();
        for it in &mut self.lock().connections {
            for end in &mut it.ends {
                end.received(now);
            }
        }
    }
}

fn descriptor(socket: &OwnedFd, more: i16) -> libc::pollfd {
    libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN | more,
        revents: 0,
    }
}

impl Shared {
    /// Asks for every connection's subflows.
    fn look(&mut self) {
        let now = Instant::now();
        for it in &mut self.connections {
            let [client, server] = &it.ends;
            let there = client
                .live()
                .filter(|_| server.socket.is_some())
                .map_or(vec![], sys::working_subflows);
            it.lacks.clone_from(&self.wanted);
            it.lacks.retain(|wanted| !there.contains(wanted));
            match it.lacks.is_empty() {
                true => it.complete_since = it.complete_since.or(Some(now)),
                false => it.complete_since = None,
            }
        }
    }

    /// Whether every connection has all its paths.
    pub fn complete(&self) -> bool {
        self.connections
            .iter()
            .all(|it| it.complete_since.is_some())
    }
}
