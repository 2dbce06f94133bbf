// SPDX-License-Identifier: BSD-3-Clause
//! `ndiffports`: several subflows on one interface, for hosts behind equal-cost paths, which differ
//! in their ports alone.
//!
//! Who opened the connection makes them, up to `subflows` with the initial one, between the addresses
//! of that one. Where its address is lost the best other one, by priority, takes all of them over. No
//! addresses are announced.

use super::paths::{Paths, by_priority, close};
use super::strategy::{Lost, Strategy, strategy};
use super::{Context, Entry, QueueFull};
use crate::connection::Connection;
use crate::netlink::mptcp::{SubflowEvent, ip_of};

/// The entry of `ndiffports`.
pub const ENTRY: Entry = Entry::new(
    "ndiffports",
    "several subflows on one interface, for equal-cost paths",
    || strategy(Box::new(Ndiffports { subflows: 0 })),
)
.with_keys(&[SUBFLOWS]);

/// The key for how many subflows a connection has.
const SUBFLOWS: &str = "subflows";

/// What a connection lacks is tried again as one.
const MORE: u64 = 0;

struct Ndiffports {
    subflows: u32,
}

impl Strategy for Ndiffports {
    fn configure(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.subflows = cx.number(SUBFLOWS, 1..=64, 2)?;
        Ok(())
    }

    fn announces(&self) -> bool {
        false
    }

    fn reconcile(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
    ) -> Result<(), QueueFull> {
        let network = cx.network();
        let token = connection.token;
        let own = ip_of(&connection.local);
        let mut all = network.usable();
        let initial = all.find(|a| a.address == own);
        let best = by_priority(network, own.is_ipv6()).next();
        let (Some(local), Some(remote)) = (initial.or(best), connection.peers().next()) else {
            return Ok(());
        };
        if connection.server_side || cx.must_wait(token, MORE) {
            return Ok(());
        }
        let wanted = self.subflows as usize;
        let on_it = |at| {
            let its = paths.remaining(network, connection);
            its.filter(|(_, s)| ip_of(&s.local) == local.address && (at || s.is_established()))
                .count()
        };
        for _ in on_it(true)..wanted {
            cx.join(token, local, remote)?;
        }
        // Those that another interface has had meanwhile.
        if on_it(false) >= wanted {
            for (_, subflow) in paths.remaining(network, connection) {
                if ip_of(&subflow.local) != local.address {
                    close(cx, token, subflow)?;
                }
            }
        }
        Ok(())
    }

    fn joined(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
        cx.succeeded(subflow.token, MORE);
    }

    fn lost(&mut self, cx: &mut Context<'_>, _: &Connection<'_>, _: &Paths, lost: &Lost) {
        cx.retry_later(lost.token, MORE, lost.calm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use crate::time::Duration;

    static PLUGINS: &[Entry] = &[ENTRY];

    fn bench(config: &str) -> Bench {
        let bench = Bench::new(PLUGINS, config);
        bench.with("wan1", "10.0.1.1").with("wan2", "10.0.2.1")
    }

    #[test]
    fn as_many_subflows_as_wanted_on_one_interface() {
        let mut bench = bench("[ndiffports]\nsubflows = 4\n");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"; 4]);
        bench.subflow_closed(connection, "10.0.1.1", 104);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"; 4]);
        let accepted = bench.accepted("10.0.1.1:80", "192.0.2.1:4000");
        assert_eq!(bench.subflows(accepted).len(), 1);
    }

    #[test]
    fn another_interface_takes_over_and_gives_back() {
        let mut bench = bench("");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.set_up("wan1", false);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.subflows(connection), ["10.0.2.1 192.0.2.1"; 2]);
        bench.set_up("wan1", true);
        bench.advance(Duration::from_secs(5));
        assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"; 2]);
    }

    #[test]
    fn what_fails_is_made_again_later_and_later() {
        let mut bench = bench("");
        bench.refuse(Some(libc::ENOMEM));
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.advance(Duration::from_secs(300));
        let tries = bench.asked().len();
        assert!((15..40).contains(&tries), "{tries}");
        bench.refuse(None);
        bench.advance(Duration::from_secs(40));
        assert_eq!(bench.subflows(connection).len(), 2);
    }

    #[test]
    fn a_subflow_of_before_an_outage_is_made_anew() {
        super::super::paths::tests::makes_subflows_anew(PLUGINS, 2);
    }
}
