// SPDX-License-Identifier: BSD-3-Clause
//! `failover`: one subflow, on the best interface; another one only while that does not work.
//!
//! Who opened the connection manages it. Interfaces are ranked by their priority number, backups
//! last. The best one that has a subflow which works is the active one:
//!
//! - While a better one has none, a join is tried there, later and later where it fails.
//! - When the active one is lost or becomes bad, the next one is joined at once, and those after it
//!   each a second later, until one works. A bad subflow is closed as soon as another one works:
//!   what was left on a dead path holds the connection up when that comes back. Its interface is
//!   joined again ten seconds later.
//! - The subflows of worse interfaces are closed when the active one has worked for `settle` seconds
//!   without a break. Nothing is broken before another one is made.
//!
//! A subflow is bad while what was sent has not been acknowledged for `patience` seconds, which is
//! looked at twice as often; with 0 it never is.

use super::paths::{Paths, close, uplinks};
use super::strategy::{LISTEN, Lost, Strategy, strategy};
use super::{Context, Entry, QueueFull};
use crate::connection::storage::PerSubflow;
use crate::connection::{Connection, Subflow};
use crate::netlink::IfIndex;
use crate::netlink::diag::Quality;
use crate::netlink::mptcp::{SubflowEvent, ip_of};
use crate::network::{LocalAddress, Network};
use crate::time::Duration;

/// The entry of `failover`.
pub const ENTRY: Entry = Entry::new(
    "failover",
    "one subflow on the best interface, others while it does not work",
    || strategy(Box::new(Failover::default())),
)
.with_keys(&[LISTEN, PATIENCE, SETTLE]);

/// The keys for how long is waited for an acknowledgement, and how long a better interface has to
/// work before the worse ones are left; in seconds.
const PATIENCE: &str = "patience";
const SETTLE: &str = "settle";

/// How long a join may take before another interface is tried as well.
const JOIN: Duration = Duration::from_secs(1);
/// How long an interface is left alone whose subflow was bad, at least.
const AVOID: Duration = Duration::from_secs(10);

/// What a connection waits for, by interface.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The next try of a join that failed.
    Retry,
    /// A join that has been asked for.
    Join,
    /// The end of the time for which the interface is left alone.
    Avoid,
    /// That the interface has worked for long enough.
    Settle,
}

impl Wait {
    fn on(self, index: IfIndex) -> u64 {
        (self as u64 + 1) << 32 | u64::from(index.0)
    }

    fn is(self, what: u64) -> bool {
        what >> 32 == self as u64 + 1
    }
}

#[derive(Default)]
struct Failover {
    patience: Duration,
    settle: Duration,
    bad: PerSubflow<bool>,
}

impl Failover {
    /// Returns whether a subflow carries data, as far as is known.
    fn works(&self, network: &Network, paths: &Paths, subflow: &Subflow) -> bool {
        let bad = self.bad.get(subflow) == Some(&true);
        subflow.is_open() && !bad && !paths.is_lost(network, subflow)
    }

    /// Closes what is not needed beside the subflow of `active`, the best interface that works.
    fn close_others(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
        active: IfIndex,
    ) -> Result<(), QueueFull> {
        let (network, token) = (cx.network(), connection.token);
        let settle = Wait::Settle.on(active);
        cx.forget_retries(&|of, what| of == token && Wait::Settle.is(what) && what != settle);
        let mut worse = false;
        for subflow in connection.subflows().filter(|s| s.is_open()) {
            let index = subflow.interface(network).unwrap_or(IfIndex::NONE);
            if paths.is_lost(network, subflow) {
                // Closed already, with a word to the peer.
                continue;
            }
            if !self.works(network, paths, subflow) {
                // The peer is told by the path that works, lest it wait on the other.
                cx.remove_address(token, subflow.local_id)?;
                close(cx, token, subflow)?;
                let span = AVOID.as_millis() + cx.random() % 2000;
                cx.set_connection_timer(token, Wait::Avoid.on(index), Duration::from_millis(span));
            } else if index != active {
                worse = true;
                if cx.retry(token, settle).is_some_and(|r| r.is_due(cx.now())) {
                    close(cx, token, subflow)?;
                }
            }
        }
        match cx.retry(token, settle) {
            None if worse => cx.set_connection_timer(token, settle, self.settle),
            Some(_) if !worse => cx.succeeded(token, settle),
            _ => {}
        }
        Ok(())
    }
}

impl Strategy for Failover {
    fn configure(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let patience = cx.number(PATIENCE, 0..=3600, 3)?;
        self.patience = Duration::from_secs(patience);
        self.settle = Duration::from_secs(cx.number(SETTLE, 0..=3600, 10)?);
        let interval = Duration::from_millis(self.patience.as_millis() / 2);
        cx.measure_every(Some(interval).filter(|_| patience > 0));
        if !self.bad.has_room() {
            self.bad = PerSubflow::new(cx.config());
        }
        Ok(())
    }

    fn reconcile(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
    ) -> Result<(), QueueFull> {
        if connection.server_side {
            return Ok(());
        }
        let (network, token) = (cx.network(), connection.token);
        for local in uplinks(network, connection.remote.is_ipv6()) {
            let index = local.index;
            let on_it = |s: &&Subflow| s.interface(network) == Some(index) && !s.is_closing();
            let mut all = connection.subflows().filter(on_it);
            if all.any(|s| self.works(network, paths, s)) {
                return self.close_others(cx, connection, paths, index);
            }
            // One that is bad stays until another one works.
            let all = connection.subflows().filter(on_it);
            let (there, asked) = all.fold((false, false), |(there, asked), s| {
                let open = s.is_open() && !paths.is_lost(network, s);
                (there || open, asked || !s.is_established())
            });
            let waits = [Wait::Retry, Wait::Avoid].map(|wait| cx.must_wait(token, wait.on(index)));
            if !there && !asked && waits == [false; 2] {
                let failures = cx
                    .retry(token, Wait::Retry.on(index))
                    .map_or(0, |r| r.failures);
                let count = connection.peers().count();
                let turn = usize::from(failures).checked_rem(count);
                if let Some(remote) = turn.and_then(|turn| connection.peers().nth(turn)) {
                    cx.join(token, local, remote)?;
                    cx.set_connection_timer(token, Wait::Join.on(index), JOIN);
                    return Ok(());
                }
            }
            let join = cx.retry(token, Wait::Join.on(index));
            let hurry = join.is_none_or(|join| join.is_due(cx.now()));
            let others = connection.subflows().any(|s| self.works(network, paths, s));
            if asked && !hurry && !others {
                return Ok(());
            }
        }
        Ok(())
    }

    fn joined(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
        let index = cx
            .network()
            .leaves_by(subflow.ifindex, ip_of(&subflow.local));
        for wait in [Wait::Retry, Wait::Join, Wait::Avoid] {
            cx.succeeded(subflow.token, wait.on(index.unwrap_or(IfIndex::NONE)));
        }
    }

    fn lost(&mut self, cx: &mut Context<'_>, _: &Connection<'_>, _: &Paths, lost: &Lost) {
        let index = cx.network().leaves_by(lost.ifindex, lost.local);
        let index = index.unwrap_or(IfIndex::NONE);
        cx.succeeded(lost.token, Wait::Join.on(index));
        cx.retry_later(lost.token, Wait::Retry.on(index), lost.calm);
    }

    fn address_usable(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        let retry = Wait::Retry.on(address.index);
        cx.forget_retries(&|_, what| what == retry);
    }

    fn measured(
        &mut self,
        _: &mut Context<'_>,
        _: &Connection<'_>,
        subflow: &Subflow,
        quality: &Quality,
    ) -> bool {
        let waits = quality.unacknowledged > 0 && quality.since_acknowledgement > self.patience;
        let bad = waits && self.patience > Duration::default() && quality.timeouts > 0;
        match self.bad.get_mut(subflow) {
            Some(known) => core::mem::replace(known, bad) != bad,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    static PLUGINS: &[Entry] = &[ENTRY];

    const PEER: &str = "192.0.2.1";

    /// wan2 is the best interface, and lte the last.
    fn bench(config: &str) -> Bench {
        let interfaces =
            "[interface wan2]\npriority = -1\n[interface lte]\naddr-flags = subflow,backup\n";
        let bench = Bench::new(PLUGINS, &format!("{config}{interfaces}"));
        let bench = bench.with("lte", "10.0.9.1").with("wan1", "10.0.1.1");
        bench.with("wan2", "10.0.2.1")
    }

    fn from(address: &str) -> String {
        let backup = if address == "10.0.9.1" { " backup" } else { "" };
        format!("{address} {PEER}{backup}")
    }

    fn bad() -> Quality {
        Quality {
            timeouts: 3,
            unacknowledged: 1000,
            since_acknowledgement: Duration::from_secs(4),
            ..Quality::default()
        }
    }

    #[test]
    fn the_best_interface_takes_over_once_it_has_settled() {
        let mut bench = bench("");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        let both = [from("10.0.1.1"), from("10.0.2.1")];
        assert_eq!(bench.subflows(connection), both);
        bench.advance(Duration::from_secs(9));
        assert_eq!(bench.subflows(connection), both);
        bench.advance(Duration::from_secs(2));
        assert_eq!(bench.subflows(connection), both[1..]);
        bench.asked();
        bench.advance(Duration::from_secs(3600));
        assert_eq!(bench.asked(), [""; 0]);
    }

    #[test]
    fn what_is_lost_is_replaced_by_the_next_and_taken_back() {
        let mut bench = bench("");
        let connection = bench.established("10.0.2.1:4000", "192.0.2.1:80");
        assert_eq!(bench.subflows(connection), [from("10.0.2.1")]);
        bench.set_up("wan2", false);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.subflows(connection), [from("10.0.1.1")]);
        // The last one is for when nothing else works.
        bench.cut("10.0.1.1");
        bench.advance(Duration::from_secs(2));
        assert_eq!(bench.subflows(connection), [from("10.0.9.1")]);
        bench.mend("10.0.1.1");
        bench.set_up("wan2", true);
        bench.advance(Duration::from_secs(5));
        let all = bench.subflows(connection);
        assert!(
            all.contains(&from("10.0.2.1")) && all.contains(&from("10.0.9.1")),
            "{all:?}"
        );
        bench.advance(Duration::from_secs(15));
        assert_eq!(bench.subflows(connection), [from("10.0.2.1")]);
    }

    #[test]
    fn what_becomes_bad_is_left_for_another_and_tried_again() {
        let mut bench = bench("");
        let connection = bench.established("10.0.2.1:4000", "192.0.2.1:80");
        bench.quality("10.0.2.1", bad());
        bench.asked();
        bench.advance(Duration::from_secs(3));
        assert_eq!(bench.subflows(connection), [from("10.0.1.1")]);
        assert_eq!(
            bench.asked(),
            [
                "create 10.0.1.1 192.0.2.1",
                "remove 0",
                "destroy 10.0.2.1 192.0.2.1"
            ]
        );
        bench.quality("10.0.2.1", Quality::default());
        bench.advance(Duration::from_secs(12));
        assert_eq!(
            bench.subflows(connection),
            [from("10.0.1.1"), from("10.0.2.1")]
        );
        bench.advance(Duration::from_secs(12));
        assert_eq!(bench.subflows(connection), [from("10.0.2.1")]);
    }

    #[test]
    fn an_interface_that_fails_is_tried_at_once_by_another_gateway() {
        let mut bench = bench("");
        bench.set_gateway("wan2", "10.0.2.254", 5);
        bench.cut("10.0.2.1");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.advance(Duration::from_secs(300));
        bench.mend("10.0.2.1");
        for (gateway, metric) in [("10.0.2.253", 5), ("10.0.2.253", 7)] {
            bench.asked();
            bench.set_gateway("wan2", gateway, metric);
            assert!(bench.subflows(connection).contains(&from("10.0.2.1")));
            bench.cut("10.0.2.1");
            bench.advance(Duration::from_secs(300));
            bench.mend("10.0.2.1");
        }
    }

    #[test]
    fn the_last_subflow_stays_however_bad() {
        let mut bench = bench("");
        let connection = bench.established("10.0.2.1:4000", "192.0.2.1:80");
        bench.quality("10.0.2.1", bad());
        bench.refuse(Some(libc::ENOMEM));
        bench.advance(Duration::from_secs(60));
        assert_eq!(bench.subflows(connection), [from("10.0.2.1")]);
        bench.refuse(None);
        bench.advance(Duration::from_secs(40));
        assert!(!bench.subflows(connection).contains(&from("10.0.2.1")));
    }

    #[test]
    fn a_subflow_of_before_an_outage_is_made_anew() {
        super::super::paths::tests::makes_subflows_anew(PLUGINS, 1);
    }
}
