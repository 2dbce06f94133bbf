// SPDX-License-Identifier: BSD-3-Clause
//! An mptcpd of one's own: connections that last get a subflow from every interface, and short ones
//! are left alone, for which further subflows would come too late.
//!
//! ```text
//! [patient]
//! after = 10    # seconds
//! ```
//!
//! The kernel leaves connections to plugins where `sysctl net.mptcp.pm_type` is 1.

use std::process::ExitCode;

use mptcpd::{
    Connection, Context, Duration, Entry, Instant, Paths, PerConnection, QueueFull, Strategy,
    built_in, strategy, uplinks,
};

/// The plugins that this daemon knows. The first one is used unless the configuration says
/// otherwise: with `path-manager = failover` it is another one.
static PLUGINS: &[Entry] = &[
    Entry::new("patient", "subflows for connections that last", || {
        strategy(Box::new(Patient::default()))
    })
    .with_keys(&[AFTER]),
    built_in::FULLMESH,
    built_in::FAILOVER,
    built_in::NDIFFPORTS,
];

/// `run` does all the rest: command line, configuration, log, signals and the kernel.
fn main() -> ExitCode {
    mptcpd::run(mptcpd::program!(PLUGINS))
}

/// The key for how old a connection has to be.
const AFTER: &str = "after";

/// The timer that looks at a connection again when it is old enough. Numbers below 65536 belong to
/// [`Paths::join`].
const GROWN_UP: u64 = 1 << 16;

#[derive(Default)]
struct Patient {
    after: Duration,
    /// When each connection was first seen.
    born: PerConnection<Option<Instant>>,
}

impl Strategy for Patient {
    /// Called at the start, and when the configuration is read again.
    fn configure(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.after = Duration::from_secs(cx.number(AFTER, 0..=86_400, 10)?);
        if !self.born.has_room() {
            self.born = PerConnection::new(cx.config());
        }
        log::debug!("patient: waits for {} ms", self.after.as_millis());
        Ok(())
    }

    /// Called whenever something may have changed: it compares what a connection should have with
    /// what there is, and asks for the rest. `?` ends it where the daemon takes no more commands; it
    /// is called again then.
    fn reconcile(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
    ) -> Result<(), QueueFull> {
        // The host that accepted a connection leaves its subflows to the one that opened it.
        let Some(born) = self
            .born
            .get_mut(connection)
            .filter(|_| !connection.server_side)
        else {
            return Ok(());
        };
        let now = cx.now();
        let grown_up = *born.get_or_insert(now) + self.after;
        if now < grown_up {
            let rest = grown_up.saturating_since(now);
            cx.set_connection_timer(connection.token, GROWN_UP, rest);
            return Ok(());
        }
        let Some(remote) = connection.peers().next() else {
            return Ok(());
        };
        for local in uplinks(cx.network(), connection.remote.is_ipv6()) {
            paths.join(cx, connection, local, remote)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mptcpd::testing::{Bench, Settled, histories};

    fn bench(config: &str) -> Bench {
        let bench = Bench::new(PLUGINS, config);
        bench.with("wan1", "10.0.1.1").with("wan2", "10.0.2.1")
    }

    #[test]
    fn a_connection_that_lasts_gets_its_subflows() {
        let mut bench = bench("[patient]\nafter = 30\n");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.advance(Duration::from_secs(29));
        assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"]);
        bench.advance(Duration::from_secs(2));
        assert_eq!(
            bench.subflows(connection),
            ["10.0.1.1 192.0.2.1", "10.0.2.1 192.0.2.1"]
        );
    }

    #[test]
    fn a_short_one_costs_nothing() {
        let mut bench = bench("");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.advance(Duration::from_secs(5));
        bench.closed(connection);
        bench.advance(Duration::from_secs(60));
        assert_eq!(bench.asked(), ["announce 10.0.2.1"]);
    }

    #[test]
    fn it_heals() {
        let mut bench = bench("[patient]\nafter = 0\n");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.set_up("wan2", false);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"]);
        bench.set_up("wan2", true);
        bench.advance(Duration::from_secs(5));
        assert_eq!(bench.subflows(connection).len(), 2);
    }

    /// Whatever happens, on a kernel that loses and refuses.
    #[test]
    fn every_history_ends_well() {
        let each_interface = |it: &Settled| {
            let has = |own| it.subflows.iter().any(|(local, _)| local == own);
            it.usable.iter().all(has)
        };
        histories(&PLUGINS[0], &[(AFTER, "2")], 200, each_interface);
    }
}
