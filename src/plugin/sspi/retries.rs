//! When to make again the subflows that failed or ended.

use crate::capacity;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::Token;
use crate::table::Table;
use crate::time::{Instant, Retry};

/// An interface from which a connection's subflow failed or ended.
pub(super) struct Failure {
    pub token: Token,
    ifindex: IfIndex,
    /// How many have failed; wraps.
    pub tries: u8,
    pub retry: Retry,
}

const _: () = assert!(size_of::<Failure>() <= 32);

impl Failure {
    fn is_of(&self, token: Token, ifindex: IfIndex) -> bool {
        (self.token, self.ifindex) == (token, ifindex)
    }
}

/// At most one [`Failure`] for each connection and interface, the latest last.
pub(super) struct Retries(Table<Failure>);

impl Default for Retries {
    fn default() -> Self {
        Self(Table::new(capacity::FAILED_SUBFLOWS))
    }
}

impl Retries {
    pub fn find(&self, token: Token, ifindex: IfIndex) -> Option<&Failure> {
        self.0.iter().find(|failure| failure.is_of(token, ifindex))
    }

    pub fn get(&self, position: usize) -> Option<&Failure> {
        self.0.get(position)
    }

    /// Notes one more failure. The more there were, the later the next try.
    pub fn add(&mut self, now: Instant, token: Token, ifindex: IfIndex) {
        let position = self
            .0
            .iter()
            .position(|failure| failure.is_of(token, ifindex));
        let earlier = position.and_then(|at| self.0.remove(at));
        let mut failure = earlier.unwrap_or(Failure {
            token,
            ifindex,
            tries: 0,
            retry: Retry::default(),
        });
        failure.tries = failure.tries.wrapping_add(1);
        failure.retry.failed(now);
        if self.0.is_full() {
            // The subflow is tried again when something changes.
            self.0.remove(0);
        }
        self.0.push(failure);
    }

    /// Returns when the next try is due that is not due yet.
    pub fn next_after(&self, now: Instant) -> Option<Instant> {
        let all = self.0.iter().map(|failure| failure.retry.at());
        all.filter(|at| *at > now).min()
    }

    pub fn forget_connection(&mut self, token: Token) {
        self.0.retain(|failure| failure.token != token);
    }

    pub fn forget_interface(&mut self, ifindex: IfIndex) {
        self.0.retain(|failure| failure.ifindex != ifindex);
    }
}
