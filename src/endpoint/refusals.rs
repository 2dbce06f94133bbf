// SPDX-License-Identifier: BSD-3-Clause
//! Endpoints that the kernel has refused, and when to ask for them again.

use core::net::IpAddr;

use super::is_at;
use crate::capacity;
use crate::netlink::mptcp::Endpoint;
use crate::table::Table;
use crate::time::{Instant, Retry};

/// An endpoint that the kernel refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    pub errno: i32,
    retry: Retry,
}

const _: () = assert!(size_of::<Refusal>() <= 40);

pub(super) struct Refusals {
    table: Table<Refusal>,
    /// When the first that is wanted may be asked for again.
    deadline: Instant,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(capacity::ENDPOINTS),
            deadline: Instant::NEVER,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.table.iter()
    }

    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    /// Begins a round of [`Self::must_wait`]: forgets the refusals for which `keep` returns
    /// false, and the deadline.
    pub(super) fn begin(&mut self, mut keep: impl FnMut(&Refusal) -> bool) {
        self.deadline = Instant::NEVER;
        self.table.retain(|refusal| keep(refusal));
    }

    /// Returns whether the kernel has refused the endpoint and it is too early to ask again,
    /// and then sees to it that the deadline is not missed.
    pub(super) fn must_wait(&mut self, now: Instant, address: IpAddr, port: u16) -> bool {
        let refused = |r: &&Refusal| r.address == address && r.port == port && !r.retry.is_due(now);
        let refused = self.table.iter().find(refused);
        if let Some(refusal) = refused {
            self.deadline = refusal.retry.at().min(self.deadline);
        }
        refused.is_some()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn retry_now(&mut self) {
        self.table.iter_mut().for_each(|r| r.retry.retry_now());
    }

    /// The kernel has done what it was asked for the endpoint.
    pub(super) fn on_done(&mut self, endpoint: &Endpoint) {
        self.table.retain(|r| !is_at(endpoint, r.address, r.port));
    }

    /// Notes a refusal; returns the endpoint if no other is refused with this errno.
    pub(super) fn add(
        &mut self,
        now: Instant,
        endpoint: &Endpoint,
        errno: i32,
    ) -> Option<Endpoint> {
        let news = self.table.iter().all(|r| r.errno != errno);
        let known = |r: &&mut Refusal| is_at(endpoint, r.address, r.port);
        if let Some(refusal) = self.table.iter_mut().find(known) {
            refusal.retry.failed(now);
            refusal.errno = errno;
            return news.then_some(*endpoint);
        }
        let mut retry = Retry::default();
        retry.failed(now);
        self.table.push(Refusal {
            address: endpoint.address,
            port: endpoint.port,
            errno,
            retry,
        });
        news.then_some(*endpoint)
    }
}
