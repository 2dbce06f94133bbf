// SPDX-License-Identifier: BSD-3-Clause
//! What has to be read from the kernel, and when.
//!
//! Events make reading due, a storm of them holds it up, a dump that fails is tried again with
//! back-off, and now and then everything is read anew.

use libc::{EAFNOSUPPORT, EOPNOTSUPP};

use super::Incomplete;
use super::due::Due;
use super::storm::Storm;
use crate::features::SOURCE_ROUTING;
use crate::logging;
use crate::sys::errno::Errno;
use crate::time::{Duration, Instant, Retry};

/// How long to wait at most before a dump that was interrupted is asked for again.
const LONGEST_RETRY: Duration = Duration::from_millis(500);

/// An event makes the daemon dump the endpoints this much later, to find what others did to them;
/// but only so long after the last dump, for the sake of isolated events.
const ENDPOINTS_AFTER: Duration = Duration::from_millis(500);
const ENDPOINTS_EVERY: Duration = Duration::from_secs(10);

/// What is of use to configuration and plugins, and can be read.
#[derive(Clone, Copy)]
pub(super) struct Use {
    /// Routes and rules matter to the configuration: the kernel is asked.
    pub routes: bool,
    /// Those that are ours, or in our way, are to be known, and default routes.
    pub own_routes: bool,
    /// A plugin manages connections.
    pub connections: bool,
    /// The kernel's path manager can be talked to.
    pub path_manager: bool,
}

pub(super) struct Schedule {
    pub due: Due,
    /// When a dump may be asked for.
    retry: Retry,
    storm: Storm,
    /// When to dump the endpoints to find what others did to them.
    endpoints_at: Instant,
    /// When the last dump of the endpoints began.
    endpoints_dumped_at: Instant,
    resync_at: Instant,
    /// The whole network has been read once.
    pub initial_sync_done: bool,
    /// Routes and rules of an earlier run or configuration may be left.
    pub cleanup_due: bool,
    /// Reconcile with the next settling even if no event came.
    pub reconcile_due: bool,
    /// The same without judging the network anew: only what connections need has changed.
    pub endpoints_due: bool,
    /// Uplinks are to be looked at for [`Command::CheckReversePath`](super::Command::CheckReversePath).
    pub rp_filter_check_due: bool,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: Due::LINKS
                | Due::ADDRESSES
                | Due::ROUTING
                | Due::WAYS
                | Due::KERNEL
                | Due::CONNECTIONS,
            retry: Retry::new(),
            storm: Storm::default(),
            endpoints_at: Instant::NEVER,
            endpoints_dumped_at: now,
            resync_at: Instant::NEVER,
            initial_sync_done: false,
            cleanup_due: SOURCE_ROUTING,
            reconcile_due: true,
            endpoints_due: false,
            rp_filter_check_due: false,
        }
    }

    /// Notes an event, after which `due` has to be read.
    pub(super) fn on_event(&mut self, now: Instant, due: Due) {
        self.due.add(due);
        self.storm.event(now);
    }

    /// A dump of `what` ended. Returns whether what it showed is whole.
    pub(super) fn on_dump_end(
        &mut self,
        now: Instant,
        what: Due,
        result: Result<(), Incomplete>,
    ) -> bool {
        match result {
            Ok(()) => {
                self.due.remove(what);
                self.retry.succeeded();
                self.reconcile_due |= what != Due::SUBFLOWS;
                return true;
            }
            // A kernel without IPv6 or policy routing has no such routes or rules.
            Err(Incomplete::Refused(errno @ (EOPNOTSUPP | EAFNOSUPPORT)))
                if what.any(Due::ROUTING) =>
            {
                let cause = Errno(errno);
                logging::debug!("cannot read the {}: {cause}", what.name());
                self.due.remove(what);
            }
            Err(Incomplete::Refused(errno)) => {
                let (what, cause) = (what.name(), Errno(errno));
                logging::warn!("cannot read the {what}: {cause}; trying again");
                self.retry.failed(now);
            }
            // What it showed is true all the same; only what is gone stays unknown.
            Err(Incomplete::Interrupted) => {
                self.retry.failed_briefly(now, LONGEST_RETRY);
                self.reconcile_due = true;
            }
        }
        false
    }

    /// A read that has no part of its own in [`Due`] went well.
    pub(super) fn on_success(&mut self) {
        self.retry.succeeded();
    }

    /// The dump of the endpoints begins.
    pub(super) fn on_endpoints_dump(&mut self, now: Instant) {
        self.endpoints_dumped_at = now;
    }

    /// Makes everything of use due at once, and the next time after `interval` seconds; 0 is
    /// never.
    pub(super) fn resync(&mut self, now: Instant, interval: u32, of_use: Use) {
        self.due
            .add(self.network_parts(of_use) | Due::KERNEL | Due::CONNECTIONS);
        self.reconcile_due = true;
        self.retry.retry_now();
        self.schedule_resync(now, interval);
    }

    /// Sets the time of the next resync, in seconds from now; 0 is never.
    pub(super) fn schedule_resync(&mut self, now: Instant, interval: u32) {
        self.resync_at = match interval {
            0 => Instant::NEVER,
            _ => now + Duration::from_secs(interval),
        };
    }

    pub(super) fn is_resync_due(&self, now: Instant) -> bool {
        self.resync_at <= now
    }

    /// Makes due what was put off until now.
    pub(super) fn on_time(&mut self, now: Instant) {
        if self.endpoints_at <= now {
            self.endpoints_at = Instant::NEVER;
            self.due.add(Due::KERNEL);
        }
    }

    /// Returns whether it is time to act upon the events that came: true once.
    pub(super) fn take_events(&mut self, now: Instant) -> bool {
        let news = self.storm.take(now);
        if news {
            self.reconcile_due = true;
            self.retry.retry_now();
            let soon = (now + ENDPOINTS_AFTER).max(self.endpoints_dumped_at + ENDPOINTS_EVERY);
            self.endpoints_at = self.endpoints_at.min(soon);
        }
        news
    }

    /// Returns whether to wait, for the end of a storm or for a dump, before the network is
    /// judged. When the kernel refuses the dump, what is known has to do.
    pub(super) fn must_wait(&self, now: Instant, of_use: Use) -> bool {
        let reading = self.due.any(self.network_parts(of_use));
        self.storm.pending.is_some()
            || (reading && (self.retry.is_due(now) || !self.initial_sync_done))
    }

    /// Returns the parts of the network that are of use. Leftovers can wait until the endpoints
    /// are there.
    pub(super) fn network_parts(&self, of_use: Use) -> Due {
        let mut parts = Due::LINKS | Due::ADDRESSES;
        if of_use.own_routes || (self.cleanup_due && self.initial_sync_done) {
            parts.add(Due::ROUTING);
        }
        if of_use.routes {
            parts.add(Due::WAYS);
        }
        parts
    }

    /// Returns what is due, of use and can be read.
    pub(super) fn readable(&self, of_use: Use) -> Due {
        let mut readable = self.network_parts(of_use);
        if of_use.path_manager {
            readable.add(Due::KERNEL);
            // A plugin hears of connections only once it knows the network.
            if !of_use.connections {
                readable.add(Due::SUBFLOWS);
            } else if self.initial_sync_done {
                readable.add(Due::CONNECTIONS);
            }
        }
        self.due & readable
    }

    /// Returns when to read from the kernel: never if nothing of use is due, nor `more` beside it.
    pub(super) fn read_at(&self, of_use: Use, more: bool) -> Instant {
        let due = more || self.readable(of_use) != Due::NONE;
        match self.retry.at() {
            _ if !due || self.storm.pending.is_some() => Instant::NEVER,
            Instant::NEVER => Instant::default(),
            at => at,
        }
    }

    /// Returns when to settle, given when something is to be `read` or done, if no event comes.
    pub(super) fn deadline(&self, read_at: Instant, act_at: Instant) -> Instant {
        let later = self.endpoints_at.min(self.resync_at);
        later.min(match self.storm.due() {
            // A storm holds up all else.
            Some(due) => due,
            None => read_at.min(act_at),
        })
    }
}
