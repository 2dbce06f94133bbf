// SPDX-License-Identifier: BSD-3-Clause
//! Probes: a ping socket for each path, and the counters of its interface.

use std::os::fd::{AsRawFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Buffers;
use super::rtnetlink::Rtnetlink;
use crate::capacity;
use crate::engine::{Engine, Input};
use crate::health::{Event, Key, Probe};
use crate::logging;
use crate::sys::errno::Errno;
use crate::sys::ping::Ping;
use crate::time::Instant;

/// The sockets, once there is something to send. They have an epoll of their own, which is one
/// descriptor to the common poll: that would have to carry one for each path at every wake-up, also
/// where nothing is tracked, and be told which path each of them is of.
#[derive(Default)]
pub(super) struct Prober {
    sockets: heapless::Vec<(Key, Ping), { capacity::TRACKED }>,
    epoll: Option<Epoll>,
    /// The log has been told that the group may not open sockets.
    refused: bool,
}

impl Prober {
    /// Readable when answers have come; -1, which poll(2) ignores, while there are no sockets.
    pub(super) fn fd(&self) -> RawFd {
        self.epoll.as_ref().map_or(-1, |epoll| epoll.0.as_raw_fd())
    }

    /// Hands in the answers that have come, has the timeouts judged, and sends what is due.
    pub(super) fn run(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        rtnetlink: &Rtnetlink,
        io: &mut Buffers,
    ) {
        self.receive(now, engine);
        engine.handle(now, Input::Probes(Event::Read));
        while let Some(index) = engine.next_sample(now) {
            let counters = rtnetlink.counters(io, index);
            engine.handle(now, Input::Probes(Event::Traffic(index, counters)));
        }
        while let Some(probe) = engine.next_probe(now) {
            if !self.send(engine, &probe) {
                engine.handle(now, Input::Probes(Event::Blind(probe.path)));
            }
        }
    }

    fn receive(&mut self, now: Instant, engine: &mut Engine) {
        let Some(epoll) = &self.epoll else { return };
        let mut events = [EpollEvent::empty(); 16];
        loop {
            let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            for event in events.iter().take(count) {
                let mut sockets = self.sockets.iter();
                let Some((path, ping)) = sockets.find(|(_, ping)| key(ping) == event.data()) else {
                    continue;
                };
                while let Some((from, seq)) = ping.receive() {
                    engine.handle(now, Input::Probes(Event::Answer(*path, from, seq)));
                }
            }
            if count < events.len() {
                return;
            }
        }
    }

    /// Returns false if nothing can be sent over the path.
    fn send(&mut self, engine: &Engine, probe: &Probe) -> bool {
        if !self.sockets.iter().any(|(path, _)| *path == probe.path) && !self.open(engine, probe) {
            return false;
        }
        let at = self
            .sockets
            .iter()
            .position(|(path, _)| *path == probe.path);
        let Some((at, (_, ping))) = at.and_then(|at| Some((at, self.sockets.get(at)?))) else {
            return false;
        };
        match ping.send(probe.to, probe.seq) {
            Ok(()) => true,
            // As good as lost on the way, unless it is a matter of ours.
            Err(error) => {
                logging::debug!(
                    "no probe to {} from {}: {error}",
                    probe.to,
                    probe.path.address
                );
                self.sockets.swap_remove(at);
                !matches!(error.0, libc::ENOBUFS | libc::ENOMEM)
            }
        }
    }

    fn open(&mut self, engine: &Engine, probe: &Probe) -> bool {
        let Key { index, address } = probe.path;
        self.sockets
            .retain(|(path, _)| engine.health().follows(*path));
        let Some(interface) = engine.network().interface(index) else {
            return false;
        };
        let lent = !engine
            .network()
            .addresses()
            .any(|a| a.address == address && a.holder == index);
        let ping = match Ping::open(&interface.name, address, lent) {
            Ok(ping) => ping,
            Err(Errno(libc::EACCES)) => {
                if !core::mem::replace(&mut self.refused, true) {
                    let group = nix::unistd::getegid();
                    logging::warn!(
                        "no path is probed: net.ipv4.ping_group_range keeps the daemon's group \
                         from sending pings; set it to \"{group} {group}\""
                    );
                }
                return false;
            }
            Err(error) => {
                logging::debug!("{}: {address} cannot be probed: {error}", interface.name);
                return false;
            }
        };
        self.refused = false;
        let epoll = match &mut self.epoll {
            Some(epoll) => epoll,
            none => match Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) {
                Ok(epoll) => none.insert(epoll),
                Err(_) => return false,
            },
        };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key(&ping));
        // Closing the socket takes it out again.
        epoll.add(ping.fd(), event).is_ok() && self.sockets.push((probe.path, ping)).is_ok()
    }
}

/// By which epoll names a socket.
fn key(ping: &Ping) -> u64 {
    u64::try_from(ping.fd().as_raw_fd()).unwrap_or(u64::MAX)
}
