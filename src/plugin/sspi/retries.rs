// SPDX-License-Identifier: BSD-3-Clause
//! When to make again the subflows that failed or ended, and those that an outage has slowed down.

use crate::capacity;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, Token};
use crate::table::Table;
use crate::time::{Instant, Retry};

/// What a connection lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// A subflow from an interface that has none.
    From(IfIndex),
    /// A subflow to an address of the peer that has none, by its id.
    To(AddressId),
    /// A fresh subflow from an interface that has one of before an outage: TCP waits long until
    /// it tries that again.
    Again(IfIndex),
}

/// A subflow of a connection that failed or ended.
pub(super) struct Failure {
    pub token: Token,
    missing: Missing,
    /// How many have failed; wraps.
    pub tries: u8,
    pub retry: Retry,
}

const _: () = assert!(size_of::<Failure>() <= 32);

impl Failure {
    fn is_of(&self, token: Token, missing: Missing) -> bool {
        (self.token, self.missing) == (token, missing)
    }
}

/// At most one [`Failure`] for whatever a connection lacks, the latest last.
pub(super) struct Retries(Table<Failure>);

impl Default for Retries {
    fn default() -> Self {
        Self(Table::new(capacity::FAILED_SUBFLOWS))
    }
}

impl Retries {
    pub(super) fn find(&self, token: Token, missing: Missing) -> Option<&Failure> {
        self.0.iter().find(|failure| failure.is_of(token, missing))
    }

    pub(super) fn get(&self, position: usize) -> Option<&Failure> {
        self.0.get(position)
    }

    /// Notes one more failure. The more there were, the later the next try.
    pub(super) fn add(&mut self, now: Instant, token: Token, missing: Missing) {
        let mut failure = self.take(token, missing);
        failure.tries = failure.tries.wrapping_add(1);
        failure.retry.failed(now);
        self.push(failure);
    }

    /// Asks for something at once that has not failed.
    pub(super) fn ask(&mut self, token: Token, missing: Missing) {
        let failure = self.take(token, missing);
        self.push(failure);
    }

    fn take(&mut self, token: Token, missing: Missing) -> Failure {
        let is_it = |failure: &Failure| failure.is_of(token, missing);
        let position = self.0.iter().position(is_it);
        let earlier = position.and_then(|at| self.0.remove(at));
        earlier.unwrap_or(Failure {
            token,
            missing,
            tries: 0,
            retry: Retry::default(),
        })
    }

    fn push(&mut self, failure: Failure) {
        if self.0.is_full() {
            // The subflow is tried again when something changes.
            self.0.remove(0);
        }
        self.0.push(failure);
    }

    /// Returns when the next try is due that is not due yet.
    pub(super) fn next_after(&self, now: Instant) -> Option<Instant> {
        let all = self.0.iter().map(|failure| failure.retry.at());
        all.filter(|at| *at > now && *at != Instant::NEVER).min()
    }

    pub(super) fn forget_connection(&mut self, token: Token) {
        self.0.retain(|failure| failure.token != token);
    }

    pub(super) fn forget_interface(&mut self, ifindex: IfIndex) {
        let of_it = [Missing::From(ifindex), Missing::Again(ifindex)];
        self.0.retain(|failure| !of_it.contains(&failure.missing));
    }

    pub(super) fn forget(&mut self, token: Token, missing: Missing) {
        self.0.retain(|failure| !failure.is_of(token, missing));
    }
}
