// SPDX-License-Identifier: BSD-3-Clause
//! `fullmesh`: a subflow between every address of this host and every address of the peer.
//!
//! Who opened the connection makes them, `subflows` for each connection at most, the initial one
//! included: interfaces of the lowest priority number first, backups last, and each of them to one
//! address of the peer before any to a second one. Who accepted it announces its addresses.

use super::paths::{Paths, by_priority};
use super::strategy::{LISTEN, Strategy, strategy};
use super::{Context, Entry, QueueFull};
use crate::connection::Connection;
use crate::netlink::mptcp::ip_of;

/// The entry of `fullmesh`.
pub const ENTRY: Entry = Entry::new(
    "fullmesh",
    "subflows from every address of this host to every one of the peer",
    || strategy(Box::new(FullMesh { subflows: 0 })),
)
.with_keys(&[LISTEN, SUBFLOWS]);

/// The key for how many subflows a connection has at most.
const SUBFLOWS: &str = "subflows";

struct FullMesh {
    subflows: u32,
}

impl Strategy for FullMesh {
    fn configure(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.subflows = cx.number(SUBFLOWS, 1..=64, 8)?;
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
        let network = cx.network();
        let ipv6 = connection.remote.is_ipv6();
        let there = paths.remaining(network, connection).count();
        let mut room = (self.subflows as usize).saturating_sub(there);
        for remote in connection.peers() {
            for local in by_priority(network, ipv6) {
                let ends = (local.address, remote.address);
                let mut all = paths.remaining(network, connection);
                if all.any(|(_, s)| (ip_of(&s.local), ip_of(&s.remote)) == ends) {
                    continue;
                }
                if room == 0 {
                    return Ok(());
                }
                room -= usize::from(paths.join(cx, connection, local, remote)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::addr_adv;
    use crate::testing::Bench;
    use crate::time::Duration;

    static PLUGINS: &[Entry] = &[ENTRY];

    fn bench(config: &str) -> Bench {
        let bench = Bench::new(PLUGINS, config);
        let bench = bench.with("wan1", "10.0.1.1").with("wan2", "10.0.2.1");
        bench
            .with("wan1", "2001:db8:1::1")
            .with("wan2", "2001:db8:2::1")
    }

    #[test]
    fn every_address_has_a_subflow_to_every_address_of_the_peer() {
        for (locals, peers) in [
            (["10.0.1.1", "10.0.2.1"], ["192.0.2.1", "192.0.2.2"]),
            (
                ["2001:db8:1::1", "2001:db8:2::1"],
                ["2001:db8:9::1", "2001:db8:9::2"],
            ),
        ] {
            let mut bench = bench("");
            let [local, remote] = [locals[0], peers[0]].map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:80"),
                false => format!("{ip}:80"),
            });
            let connection = bench.established(&local, &remote);
            bench.announced(connection, 3, peers[1]);
            let all: Vec<String> = locals
                .iter()
                .flat_map(|local| peers.map(|peer| format!("{local} {peer}")))
                .collect();
            assert_eq!(bench.subflows(connection), all);
            // What goes is left, and what comes is used.
            bench.set_up("wan2", false);
            bench.advance(Duration::from_secs(1));
            assert_eq!(bench.subflows(connection), all[..2]);
            bench.set_up("wan2", true);
            bench.advance(Duration::from_secs(5));
            assert_eq!(bench.subflows(connection), all);
        }
    }

    #[test]
    fn no_more_than_its_limit_and_each_interface_first() {
        let mut bench = bench("[fullmesh]\nsubflows = 3\n");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.announced(connection, 3, "192.0.2.2");
        bench.announced(connection, 4, "192.0.2.3");
        assert_eq!(
            bench.subflows(connection),
            [
                "10.0.1.1 192.0.2.1",
                "10.0.1.1 192.0.2.2",
                "10.0.2.1 192.0.2.1"
            ]
        );
    }

    #[test]
    fn what_fails_is_made_again_later_and_later() {
        let mut bench = bench("");
        bench.cut("10.0.2.1");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.advance(Duration::from_secs(300));
        let tries = bench.asked().len();
        assert!((15..40).contains(&tries), "{tries}");
        assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"]);
        bench.mend("10.0.2.1");
        bench.advance(Duration::from_secs(40));
        assert_eq!(bench.subflows(connection).len(), 2);
        bench.subflow_closed(connection, "10.0.2.1", 104);
        bench.advance(Duration::from_millis(700));
        assert_eq!(bench.subflows(connection).len(), 1, "left alone");
        bench.advance(Duration::from_millis(100));
        assert_eq!(bench.subflows(connection).len(), 2, "made again");
        bench.subflow_closed(connection, "10.0.1.1", 104);
        bench.advance(Duration::from_millis(700));
        assert_eq!(
            bench.subflows(connection).len(),
            1,
            "the initial one likewise"
        );
        bench.advance(Duration::from_millis(100));
        assert_eq!(bench.subflows(connection).len(), 2);
        for local in ["10.0.1.1", "10.0.2.1"] {
            bench.subflow_closed(connection, local, 104);
        }
        bench.advance(Duration::from_millis(50));
        assert!(
            bench.subflows(connection).len() > 0,
            "the last one, at once"
        );
        bench.closed(connection);
        bench.asked();
        bench.advance(Duration::from_secs(300));
        assert_eq!(bench.asked(), [""; 0]);
    }

    #[test]
    fn who_accepts_announces_and_follows_backup_and_priority() {
        let mut bench = bench("[interface wan2]\naddr-flags = subflow,backup\npriority = -5\n");
        let connection = bench.accepted("10.0.1.1:80", "192.0.2.1:4000");
        assert_eq!(bench.asked(), ["announce 10.0.2.1"]);
        bench.joined(connection, "10.0.2.1:80", "192.0.2.9:4001");
        assert_eq!(bench.asked(), ["backup 10.0.2.1 192.0.2.9"]);
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        assert_eq!(
            bench.subflows(connection),
            ["10.0.1.1 192.0.2.1", "10.0.2.1 192.0.2.1 backup"]
        );
        assert_eq!(addr_adv::ENTRY.priority, ENTRY.priority);
    }

    #[test]
    fn a_subflow_of_before_an_outage_is_made_anew() {
        super::super::paths::tests::makes_subflows_anew(PLUGINS, 1);
    }
}
