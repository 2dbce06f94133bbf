// SPDX-License-Identifier: BSD-3-Clause
//! How many subflows came about over each address, and how many failed.

use core::net::IpAddr;

use super::Engine;
use crate::capacity;
use crate::logging;
use crate::netlink::mptcp::{Command, Event, ip_of};
use crate::request::{Queued, Request, Task};
use crate::table::Table;

/// So many that fail in a row, and get an answer of TCP, say that MPTCP does not get through.
const IN_A_ROW: u8 = 5;

/// What became of the joins from an address.
#[derive(Clone, Copy)]
pub(super) struct Tally {
    address: IpAddr,
    /// Not known of connections of the in-kernel path manager.
    pub(super) joined: u32,
    pub(super) failed: u32,
    /// Failures with an answer, since one came about.
    in_a_row: u8,
}

const _: () = assert!(size_of::<Tally>() <= 28);

pub(super) struct Joins(Table<Tally>);

impl Joins {
    pub(super) fn new() -> Self {
        Self(Table::new(capacity::TALLIES))
    }

    pub(super) fn of(&self, address: IpAddr) -> Option<&Tally> {
        self.0.iter().find(|tally| tally.address == address)
    }

    /// Counts a join of the in-kernel path manager's that a connection is found to lack.
    pub(super) fn on_failed(&mut self, address: IpAddr) {
        self.count(address, false, false);
    }

    /// Counts a join. Returns whether it is time to complain.
    fn count(&mut self, address: IpAddr, joined: bool, answered: bool) -> bool {
        if self.of(address).is_none() {
            if self.0.is_full() {
                self.0.remove(0);
            }
            self.0.push(Tally {
                address,
                joined: 0,
                failed: 0,
                in_a_row: 0,
            });
        }
        let mut tallies = self.0.iter_mut();
        let Some(tally) = tallies.find(|tally| tally.address == address) else {
            return false;
        };
        if joined {
            (tally.joined, tally.in_a_row) = (tally.joined.saturating_add(1), 0);
            return false;
        }
        tally.failed = tally.failed.saturating_add(1);
        tally.in_a_row = tally.in_a_row.saturating_add(u8::from(answered));
        answered && tally.in_a_row == IN_A_ROW
    }
}

impl Engine {
    /// Counts what an event says of a join of a plugin's, of which the table of connections is yet to hear.
    pub(super) fn count_join(&mut self, event: &Event) {
        let (subflow, joined) = match event {
            Event::SubflowEstablished(subflow) => (subflow, true),
            Event::SubflowClosed(subflow) => (subflow, false),
            _ => return,
        };
        let failed = self.connections.table().is_joining(subflow);
        if !joined && !failed {
            return;
        }
        // Without an error there was an answer, but none of MPTCP.
        let answered = matches!(i32::from(subflow.error), 0 | libc::ECONNREFUSED);
        let address = ip_of(&subflow.local);
        if self.report.joins.count(address, joined, answered) {
            logging::warn!(
                "the last {IN_A_ROW} joins from {address} failed though TCP was answered there: the \
                 peers, or a middlebox, do not take MPTCP"
            );
        }
    }

    /// Counts a join that the kernel refuses.
    pub(super) fn count_refusal(&mut self, refused: &Queued) {
        if let Task::Request(Request::Kernel(Command::CreateSubflow { local, .. })) = &refused.task
        {
            self.report.joins.count(local.address, false, false);
        }
    }
}
