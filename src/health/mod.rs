// SPDX-License-Identifier: BSD-3-Clause
//! Which paths answer: a pure state machine for probes of the addresses that `track` names.
//!
//! Whoever drives it hands in what has arrived ([`Event`]), with [`Event::Read`] last, and sends what
//! [`Health::next_probe`] returns. A link that is up may lead nowhere, which nothing else tells.

mod load;
mod path;

use core::net::IpAddr;

use crate::capacity;
use crate::config::Track;
use crate::netlink::IfIndex;
use crate::netlink::route::Counters;
use crate::network::LocalAddress;
use crate::table::Table;
use crate::time::Instant;

use path::Path;

/// A path: the local address, and the interface that it leaves by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// The interface.
    pub index: IfIndex,
    /// The local address.
    pub address: IpAddr,
}

impl Key {
    /// Returns the path of an address.
    pub fn of(address: &LocalAddress) -> Self {
        Self {
            index: address.index,
            address: address.address,
        }
    }
}

/// An ICMP echo request to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Over which path.
    pub path: Key,
    /// To whom.
    pub to: IpAddr,
    /// Its sequence number.
    pub seq: u16,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An echo reply came in over a path, from an address, with a sequence number.
    Answer(Key, IpAddr, u16),
    /// All replies that had come by now have been handed in.
    Read,
    /// What an interface has carried; `None` if there are no counters.
    Traffic(IfIndex, Option<Counters>),
    /// No probe can be sent over a path.
    Blind(Key),
}

/// What the probes of a path show.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// What the last answer took, in milliseconds.
    pub latency: u32,
    /// When it came; 0 is never.
    pub answered_at: Instant,
    /// The last 32 rounds, the newest in the lowest bit: 1 was lost.
    lost: u32,
    /// How many there were, 32 at most.
    rounds: u8,
}

impl Figures {
    fn count(&mut self, answered: bool) {
        self.lost = self.lost << 1 | u32::from(!answered);
        self.rounds = (self.rounds + 1).min(32);
    }

    /// Returns how many of the last 32 rounds were lost, in per cent; `None` if there was none.
    pub fn loss(&self) -> Option<u32> {
        (self.lost.count_ones() * 100).checked_div(self.rounds.into())
    }
}

/// All paths that are probed.
pub struct Health {
    paths: Table<Path>,
    /// The configuration asks for probes.
    used: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Returns one that probes nothing.
    pub fn new() -> Self {
        Self {
            paths: Table::new(capacity::TRACKED),
            used: false,
        }
    }

    /// Begins a pass over the paths there are: those that are not followed in it are forgotten at
    /// its end. Returns whether there can be any, or were before.
    pub fn begin(&mut self, used: bool) -> bool {
        self.paths.unmark(|_| true);
        core::mem::replace(&mut self.used, used) || used
    }

    /// Follows a path as `track` says; one that is new is what it was known to be, `dead` or not.
    /// Returns whether it is probed.
    pub fn follow(&mut self, now: Instant, key: Key, track: &Track, dead: bool) -> bool {
        let ipv4 = key.address.is_ipv4();
        if !track.addresses.iter().any(|a| a.is_ipv4() == ipv4) {
            return false;
        }
        match self.path_mut(key) {
            Some(path) => {
                path.marked = true;
                path.configure(now, track);
                true
            }
            None => self.paths.push(Path::new(now, key, track, dead)),
        }
    }

    /// Has a path asked anew, for its link was away: what was under way is lost, which says nothing,
    /// and the link may lead elsewhere now.
    pub fn restart(&mut self, now: Instant, key: Key) {
        if let Some(path) = self.path_mut(key) {
            path.restart(now);
        }
    }

    /// Ends the pass.
    pub fn finish(&mut self) {
        self.paths.sweep_unmarked(|_| true);
    }

    /// Returns how often a path did not fit.
    pub fn refused(&self) -> u32 {
        self.paths.refused()
    }

    /// Returns whether a path is probed.
    pub fn follows(&self, key: Key) -> bool {
        self.path(key).is_some()
    }

    /// Returns what the probes of a path show, if it is probed.
    pub fn figures(&self, key: Key) -> Option<&Figures> {
        self.path(key).map(|path| &path.figures)
    }

    fn path(&self, key: Key) -> Option<&Path> {
        self.paths.get(self.position(&key))
    }

    fn path_mut(&mut self, key: Key) -> Option<&mut Path> {
        let at = self.position(&key);
        self.paths.get_mut(at)
    }

    /// Returns where a path stands; none is at the end.
    #[inline(never)]
    fn position(&self, key: &Key) -> usize {
        let mut paths = self.paths.iter();
        let at = paths.position(|path| path.key == *key);
        at.unwrap_or(self.paths.len())
    }

    /// Returns when there is something to do.
    pub fn deadline(&self) -> Instant {
        let all = self.paths.iter().map(Path::deadline);
        all.min().unwrap_or(Instant::NEVER)
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, now: Instant, event: Event) {
        for path in self.paths.iter_mut() {
            match event {
                Event::Answer(key, from, seq) if path.key == key => path.on_answer(now, from, seq),
                Event::Read => path.judge(now),
                Event::Traffic(index, counters) if path.key.index == index => match counters {
                    Some(counters) => path.on_traffic(now, counters),
                    None => path.load.give_up(),
                },
                Event::Blind(key) if path.key == key => path.on_blind(now),
                _ => {}
            }
        }
    }

    /// Returns a path whose verdict has changed, with whether it is dead now, each once. The others
    /// of its family are probed at once: it may be the address they ask that fell silent, or speaks
    /// again.
    pub fn next_change(&mut self, now: Instant) -> Option<(Key, bool)> {
        let mut paths = self.paths.iter_mut();
        let path = paths.find(|path| path.dead != path.told)?;
        path.told = path.dead;
        let (key, dead) = (path.key, path.dead);
        for other in self.paths.iter_mut() {
            if other.key != key && other.key.address.is_ipv4() == key.address.is_ipv4() {
                other.hurry(now);
            }
        }
        Some((key, dead))
    }

    /// Returns an interface whose counters are to be read.
    pub fn next_sample(&self, now: Instant) -> Option<IfIndex> {
        let due = |path: &&Path| path.load.sample_at <= now;
        self.paths.iter().find(due).map(|path| path.key.index)
    }

    /// Returns the next probe to be sent now.
    pub fn next_probe(&mut self, now: Instant) -> Option<Probe> {
        self.paths.iter_mut().find_map(|path| {
            path.begin_round(now);
            let (to, seq) = path.next_probe()?;
            Some(Probe {
                path: path.key,
                to,
                seq,
            })
        })
    }
}

#[cfg(test)]
mod tests;
