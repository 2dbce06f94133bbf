//! Commands on their way, and those whose result is to come.

use std::collections::VecDeque;

use super::{CommandId, Request};
use crate::capacity;

/// Whether `command` is done when all are up to and including `last`. Numbers wrap: what is less
/// than half their range behind is done.
pub(crate) fn is_done(command: CommandId, last: CommandId) -> bool {
    last.wrapping_sub(command) <= CommandId::MAX / 2
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub number: CommandId,
    /// The plugin that asked, or [`Queue::ENGINE`].
    pub owner: u8,
    pub request: Request,
}

/// Requests that wait to be carried out, and those of plugins that have been given out and not
/// been answered. There is always room for an answer: a request for which there would be none is
/// not taken.
pub(crate) struct Queue {
    waiting: VecDeque<Queued>,
    sent: VecDeque<Queued>,
    /// How many of those that wait are of plugins.
    awaited: usize,
    next: CommandId,
    refused: u32,
}

impl Queue {
    pub(crate) const ENGINE: u8 = u8::MAX;

    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(capacity::COMMANDS),
            sent: VecDeque::with_capacity(capacity::COMMANDS),
            awaited: 0,
            next: 0,
            refused: 0,
        }
    }

    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }

    pub(crate) fn push(&mut self, owner: u8, request: Request) -> Option<CommandId> {
        let plugin = owner != Self::ENGINE;
        let unanswered = self.awaited + self.sent.len();
        if self.waiting.len() >= capacity::COMMANDS || (plugin && unanswered >= capacity::COMMANDS)
        {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.awaited += usize::from(plugin);
        self.waiting.push_back(Queued {
            number: self.next,
            owner,
            request,
        });
        Some(self.next)
    }

    /// Drops what `owner` has asked for.
    pub(crate) fn forget(&mut self, owner: u8) {
        let before = self.waiting.len();
        self.waiting.retain(|queued| queued.owner != owner);
        if owner != Self::ENGINE {
            self.awaited -= before - self.waiting.len();
        }
    }

    /// Gives out the next one; its answer is to come if it is a plugin's.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let queued = self.waiting.pop_front()?;
        if queued.owner != Self::ENGINE {
            self.awaited -= 1;
            self.sent.push_back(queued);
        }
        Some(queued)
    }

    pub(crate) fn first(&self) -> Option<Request> {
        self.waiting.front().map(|queued| queued.request)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The requests that have come since there were `before`.
    pub(crate) fn since(&self, before: usize) -> impl Iterator<Item = &Request> {
        self.waiting
            .iter()
            .skip(before)
            .map(|queued| &queued.request)
    }

    /// Whether a plugin's request that was given out has no answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Who asked for this, of what has been given out and not been answered.
    pub(crate) fn owner(&self, number: CommandId) -> Option<u8> {
        let mut sent = self.sent.iter();
        sent.find(|queued| queued.number == number).map(|q| q.owner)
    }

    /// The answer to this one has come.
    pub(crate) fn answered(&mut self, number: CommandId) -> Option<Queued> {
        let at = self.sent.iter().position(|q| q.number == number)?;
        self.sent.remove(at)
    }

    /// The next one that is answered, if all are up to and including `last`.
    pub(crate) fn done(&mut self, last: CommandId) -> Option<Queued> {
        let first = self.sent.front()?;
        is_done(first.number, last).then(|| self.sent.pop_front())?
    }
}
