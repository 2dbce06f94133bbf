// SPDX-License-Identifier: BSD-3-Clause
//! Commands on their way, and those whose result is to come.

use core::fmt;

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
    /// By number: those that are over, those given out, and then those that wait. Of those given
    /// out nobody waits for some behind the first: they are the engine's, or answered.
    all: Vec<Queued>,
    /// Where those given out begin.
    first: usize,
    /// Where those that wait begin.
    next: usize,
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
            all: Vec::with_capacity(Self::MOST),
            first: 0,
            next: 0,
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
        if self.all.len() == Self::MOST {
            self.drop_those_over();
        }
        if self.len() >= capacity::COMMANDS || self.all.len() == Self::MOST {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        let number = self.number();
        self.all.push(Queued {
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
        while self.len() > 0 && self.all.last().is_some_and(|last| last.owner == owner) {
            self.all.pop();
        }
    }

    /// Takes back the next one that waits and is about a connection.
    pub(crate) fn withdraw(&mut self, token: Token) -> Option<Queued> {
        let about = |queued: &Queued| {
            let request = queued.task.request();
            request.and_then(Request::token) == Some(token)
        };
        let at = self.next + self.all.get(self.next..)?.iter().position(about)?;
        let queued = self.all.get(at).copied();
        self.all.remove(at);
        queued
    }

    /// Gives out the next one; its answer is to come if it is a plugin's.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let queued = *self.all.get(self.next)?;
        self.next += 1;
        self.sweep();
        logging::debug!("command: {}", queued.task);
        Some(queued)
    }

    /// What is to be given out after `before` others.
    pub(crate) fn waiting(&mut self, before: usize) -> Option<&mut Queued> {
        self.all.get_mut(self.next + before)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.next
    }

    /// The next one after `number` that announces or withdraws this address of a connection and
    /// has not been answered.
    pub(crate) fn next_about(
        &mut self,
        number: CommandId,
        address: (Token, AddressId),
    ) -> Option<&mut Queued> {
        let mut all = self.all.get_mut(self.first..)?.iter_mut();
        all.find(|later| {
            later.owner != Self::ENGINE
                && later.number != number
                && number.is_acked_by(later.number)
                && later.task.request().and_then(Request::announcement) == Some(address)
        })
    }

    /// Whether a plugin's request that was given out has no answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.next > self.first
    }

    /// Who asked for this, of what has been given out and not been answered.
    pub(crate) fn owner(&mut self, number: CommandId) -> Option<u8> {
        Some(self.sent(number)?.owner)
    }

    /// What this asks for, of what has been given out and not been answered.
    pub(crate) fn request(&mut self, number: CommandId) -> Option<Request> {
        self.sent(number)?.task.request().copied()
    }

    /// The answer to this one has come.
    pub(crate) fn answered(&mut self, number: CommandId) -> Option<Queued> {
        let queued = self.sent(number)?;
        let answered = *queued;
        queued.owner = Self::ENGINE;
        self.sweep();
        Some(answered)
    }

    /// The next one that is answered, if all are up to and including `last`.
    pub(crate) fn done(&mut self, last: CommandId) -> Option<Queued> {
        let first = self.all.get(self.first..self.next)?.first()?.number;
        first.is_acked_by(last).then(|| self.answered(first))?
    }

    /// What has been given out and not been answered.
    fn sent(&mut self, number: CommandId) -> Option<&mut Queued> {
        let mut sent = self.all.get_mut(self.first..self.next)?.iter_mut();
        sent.find(|q| q.number == number && q.owner != Self::ENGINE)
    }

    /// Lets go of those in front whose answer nobody waits for.
    fn sweep(&mut self) {
        let over = |queued: &Queued| queued.owner == Self::ENGINE;
        while self.first < self.next && self.all.get(self.first).is_some_and(over) {
            self.first += 1;
        }
        // What is empty begins anew, so that it does not wander through memory it has no need of.
        if self.first == self.all.len() {
            self.drop_those_over();
        }
    }

    fn drop_those_over(&mut self) {
        self.all.copy_within(self.first.., 0);
        self.all.truncate(self.all.len() - self.first);
        self.next -= self.first;
        self.first = 0;
    }
}
