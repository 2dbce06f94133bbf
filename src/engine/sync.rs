// SPDX-License-Identifier: BSD-3-Clause
//! The questions with which the table of connections is compared with inet_diag, one by one.

use libc::ENOENT;

use super::Incomplete;
use crate::connection::Connections;
use crate::netlink::diag::Query;
use crate::netlink::route::Family;

/// How far the comparison has come.
#[derive(Default)]
pub(super) struct Sync {
    step: Step,
    /// The connections of before the start are known, and with them the ids given out then.
    pub done: bool,
    /// The kernel cannot show connections.
    pub unavailable: bool,
    /// It has become due again since it began: what it shows may be older than what was missed.
    pub outdated: bool,
}

/// What is asked for next, in this order: all connections, then those the dump has not shown, for
/// it passes over some while others end, then all subflows.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    #[default]
    Idle,
    Connections(Family),
    /// From this slot of the table on.
    Unseen(u32),
    Subflows(Family),
}

impl Sync {
    /// Returns the next question; the first one begins a comparison with `table`.
    pub(super) fn next_query(&mut self, table: &mut Connections) -> Query {
        if self.step == Step::Idle {
            table.begin_dump();
            self.outdated = false;
            self.step = Step::Connections(Family::Ipv4);
        }
        if let Step::Unseen(from) = self.step {
            if let Some((at, token)) = table.next_unmarked(from) {
                self.step = Step::Unseen(at);
                return Query::Connection(token);
            }
            self.step = Step::Subflows(Family::Ipv4);
        }
        match self.step {
            Step::Connections(family) => Query::Connections(family),
            Step::Subflows(family) => Query::Subflows(family),
            Step::Idle | Step::Unseen(_) => Query::Connections(Family::Ipv4),
        }
    }

    /// The answer to a question ended. Returns the result of the comparison, if that is at its
    /// end.
    pub(super) fn on_query_end(
        &mut self,
        result: Result<(), Incomplete>,
    ) -> Option<Result<(), Incomplete>> {
        self.step = match (self.step, result) {
            (Step::Connections(Family::Ipv4), Ok(())) => Step::Connections(Family::Ipv6),
            (Step::Connections(Family::Ipv6), Ok(())) => Step::Unseen(0),
            (Step::Unseen(at), Ok(()) | Err(Incomplete::Refused(ENOENT))) => Step::Unseen(at + 1),
            (Step::Subflows(Family::Ipv4), Ok(())) => Step::Subflows(Family::Ipv6),
            _ => Step::Idle,
        };
        (self.step == Step::Idle).then_some(result)
    }
}
