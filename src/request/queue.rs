// SPDX-License-Identifier: BSD-3-Clause
//! Commands on their way, and those whose result is to come.

use core::fmt;
use std::collections::VecDeque;

use super::{CommandId, Request};
use crate::capacity;
use crate::logging;
use crate::netlink::mptcp::{AddressId, Token};
use crate::network::route::Change;

/// Something for the daemon to carry out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    Request(Request),
    /// A change of our own source routing.
    Route(Change),
}

impl Task {
    /// Returns what a plugin could ask for as well; `None` for a route.
    pub(crate) fn request(&self) -> Option<&Request> {
        match self {
            Self::Request(request) => Some(request),
            Self::Route(_) => None,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => request.fmt(f),
            Self::Route(change) => write!(f, "{} {change}", change.word()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub number: CommandId,
    /// The plugin that asked, or [`Queue::ENGINE`].
    pub owner: u8,
    /// Whether the address that the request is about was announced before it.
    pub announced: bool,
    pub task: Task,
}

const _: () = assert!(size_of::<Queued>() <= 96);

/// Requests that wait to be carried out, and those that have been given out and may be answered.
/// There is always room for an answer: a request for which there would be none is not taken.
pub(crate) struct Queue {
    /// By number: those given out, and then those that wait. Behind the first, nobody waits for
    /// some of those given out: they are the engine's, or answered.
    all: VecDeque<Queued>,
    /// How many have been given out.
    sent: usize,
    /// The number given last.
    last: CommandId,
    refused: u32,
}

impl Queue {
    pub(crate) const ENGINE: u8 = u8::MAX;
    /// The owner of what is asked on behalf of no plugin, and whose answer matters.
    pub(crate) const NOBODY: u8 = u8::MAX - 1;
    const MOST: usize = 2 * capacity::COMMANDS;

    pub(crate) fn new() -> Self {
        Self {
            all: VecDeque::with_capacity(Self::MOST),
            sent: 0,
            last: CommandId::default(),
            refused: 0,
        }
    }

    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }

    /// Takes in a request of `owner`'s. Returns its number, or `None` if the queue is full.
    pub(crate) fn push(&mut self, owner: u8, request: Request) -> Option<CommandId> {
        self.push_task(owner, Task::Request(request))
    }

    /// Takes in a change of our source routing, likewise.
    pub(crate) fn push_route(&mut self, change: Change) -> Option<CommandId> {
        self.push_task(Self::ENGINE, Task::Route(change))
    }

    fn push_task(&mut self, owner: u8, task: Task) -> Option<CommandId> {
        if self.len() >= capacity::COMMANDS || self.all.len() >= Self::MOST {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        let number = self.number();
        self.all.push_back(Queued {
            number,
            owner,
            announced: false,
            task,
        });
        Some(number)
    }

    /// A number that no request has.
    pub(crate) fn number(&mut self) -> CommandId {
        self.last = self.last.next();
        self.last
    }

    /// Drops what `owner` has asked for last.
    pub(crate) fn forget(&mut self, owner: u8) {
        while self.len() > 0 && self.all.back().is_some_and(|last| last.owner == owner) {
            self.all.pop_back();
        }
    }

    /// Takes back the next one that waits and is about a connection.
    pub(crate) fn withdraw(&mut self, token: Token) -> Option<Queued> {
        let about = |at: &usize| {
            let queued = self.all.get(*at);
            queued.is_some_and(|queued| {
                let request = queued.task.request();
                request.and_then(Request::token) == Some(token)
            })
        };
        let at = (self.sent..self.all.len()).find(about)?;
        // What the ring has for it is 1 KiB of code on MIPS.
        for next in at + 1..self.all.len() {
            self.all.swap(next - 1, next);
        }
        self.all.pop_back()
    }

    /// Gives out the next one; its answer is to come if it is a plugin's.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let queued = *self.all.get(self.sent)?;
        self.sent += 1;
        self.sweep();
        logging::debug!("command: {}", queued.task);
        Some(queued)
    }

    /// What is to be given out after `before` others.
    pub(crate) fn waiting(&mut self, before: usize) -> Option<&mut Queued> {
        self.all.get_mut(self.sent + before)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.sent
    }

    /// The next one after `number` that announces or withdraws this address of a connection and
    /// has not been answered.
    pub(crate) fn next_about(
        &mut self,
        number: CommandId,
        address: (Token, AddressId),
    ) -> Option<&mut Queued> {
        self.all.iter_mut().find(|later| {
            later.owner != Self::ENGINE
                && later.number != number
                && number.is_acked_by(later.number)
                && later.task.request().and_then(Request::announcement) == Some(address)
        })
    }

    /// Whether a plugin's request that was given out has no answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.sent > 0
    }

    /// Who asked for this, of what has been given out and not been answered.
    pub(crate) fn owner(&self, number: CommandId) -> Option<u8> {
        let queued = self.all.get(self.position(number)?)?;
        Some(queued.owner)
    }

    /// What this asks for, of what has been given out and not been answered.
    pub(crate) fn request(&self, number: CommandId) -> Option<Request> {
        let queued = self.all.get(self.position(number)?)?;
        queued.task.request().copied()
    }

    /// The answer to this one has come.
    pub(crate) fn answered(&mut self, number: CommandId) -> Option<Queued> {
        let at = self.position(number)?;
        let queued = self.all.get_mut(at)?;
        let answered = *queued;
        queued.owner = Self::ENGINE;
        self.sweep();
        Some(answered)
    }

    /// The next one that is answered, if all are up to and including `last`.
    pub(crate) fn done(&mut self, last: CommandId) -> Option<Queued> {
        let first = self.all.front().filter(|_| self.sent > 0)?.number;
        first.is_acked_by(last).then(|| self.answered(first))?
    }

    fn position(&self, number: CommandId) -> Option<usize> {
        (0..self.sent).find(|at| {
            let queued = self.all.get(*at);
            queued.is_some_and(|q| q.number == number && q.owner != Self::ENGINE)
        })
    }

    /// Lets go of those in front whose answer nobody waits for.
    fn sweep(&mut self) {
        while self.sent > 0 && self.all.front().is_some_and(|q| q.owner == Self::ENGINE) {
            self.all.pop_front();
            self.sent -= 1;
        }
        // An empty ring begins anew, so that it does not wander through memory it has no need of.
        if self.all.is_empty() {
            self.all.clear();
        }
    }
}
