//! When to make again the subflows that failed or ended.

use crate::capacity;
use crate::netlink::mptcp::Token;
use crate::table::Table;
use crate::time::{Backoff, Instant};

/// An interface from which a connection's subflow failed or ended.
pub(super) struct Retry {
    pub token: Token,
    ifindex: u32,
    /// How many have failed; wraps.
    pub tries: u8,
    backoff: Backoff,
    pub retry_at: Instant,
}

impl Retry {
    fn is_of(&self, token: Token, ifindex: u32) -> bool {
        (self.token, self.ifindex) == (token, ifindex)
    }
}

/// At most one [`Retry`] for each connection and interface, the latest last.
pub(super) struct Retries(Table<Retry>);

impl Default for Retries {
    fn default() -> Self {
        Self(Table::new(capacity::FAILED_SUBFLOWS))
    }
}

impl Retries {
    pub fn find(&self, token: Token, ifindex: u32) -> Option<&Retry> {
        self.0.iter().find(|retry| retry.is_of(token, ifindex))
    }

    pub fn get(&self, position: usize) -> Option<&Retry> {
        self.0.get(position)
    }

    /// Notes one more failure. The more there were, the later the next try.
    pub fn add(&mut self, now: Instant, token: Token, ifindex: u32) {
        let position = self.0.iter().position(|retry| retry.is_of(token, ifindex));
        let earlier = position.and_then(|at| self.0.remove(at));
        let mut retry = earlier.unwrap_or(Retry {
            token,
            ifindex,
            tries: 0,
            backoff: Backoff::default(),
            retry_at: now,
        });
        retry.tries = retry.tries.wrapping_add(1);
        retry.retry_at = retry.backoff.next(now);
        if self.0.is_full() {
            // The subflow is tried again when something changes.
            self.0.remove(0);
        }
        self.0.push(retry);
    }

    /// When the next try is due that is not due yet.
    pub fn next_after(&self, now: Instant) -> Option<Instant> {
        let all = self.0.iter().map(|retry| retry.retry_at);
        all.filter(|at| *at > now).min()
    }

    pub fn forget_connection(&mut self, token: Token) {
        self.0.retain(|retry| retry.token != token);
    }

    pub fn forget_interface(&mut self, ifindex: u32) {
        self.0.retain(|retry| retry.ifindex != ifindex);
    }
}
