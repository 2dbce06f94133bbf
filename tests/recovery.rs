// SPDX-License-Identifier: BSD-3-Clause
//! What the daemon makes of a kernel that does not show its connections.

use mptcpd::internal::config;
use mptcpd::internal::config::Overrides;
use mptcpd::internal::engine::{Command, Engine, Incomplete, Input};
use mptcpd::internal::netlink::diag::Query;
use mptcpd::internal::netlink::route::Family;
use mptcpd::internal::plugin::sspi;
use mptcpd::internal::time::{Duration, Instant};

const START: Instant = Instant(1_000_000);

fn engine() -> Engine {
    let parsed = config::parse("simulated", b"", &Overrides::default(), &[sspi::ENTRY]);
    let mut engine = Engine::new(START, parsed.unwrap().config, &[&sspi::ENTRY]);
    engine.handle(START, Input::PathManager(true));
    engine
}

/// Carries out what the engine asks for, on a kernel that is empty, refuses the first dumps of
/// connections with these errors and gives the others. Answers when each began.
fn run(time: Duration, errors: &[i32]) -> Vec<Instant> {
    let mut engine = engine();
    let mut dumps = vec![];
    let (mut now, end) = (START, START + time);
    while now < end {
        let mut spoke = false;
        engine.settle(now);
        while let Some((number, command)) = engine.poll_command(now) {
            spoke = true;
            match command {
                Command::DumpNetwork(part, _) => {
                    engine.handle(now, Input::NetworkEnd(part, Ok(())))
                }
                Command::DumpEndpoints => engine.handle(now, Input::EndpointsEnd(Ok(()))),
                Command::GetLimits => {
                    let limits = mptcpd::internal::netlink::mptcp::Limits::default();
                    engine.handle(now, Input::Limits(Ok(limits)));
                }
                Command::Diag(Query::Connections(Family::Ipv4)) => {
                    let result = match errors.get(dumps.len()) {
                        Some(errno) => Err(Incomplete::Refused(*errno)),
                        None => Ok(()),
                    };
                    dumps.push(now);
                    engine.handle(now, Input::DiagEnd(result));
                }
                Command::Diag(_) => engine.handle(now, Input::DiagEnd(Ok(()))),
                Command::PathManager(_) | Command::Route(_) => {
                    engine.handle(now, Input::Done(number));
                }
                Command::Subscribe(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if !spoke {
            let next = engine.deadline().unwrap_or(end);
            now = next.max(Instant(now.0 + 1));
        }
    }
    dumps
}

#[test]
fn what_may_go_well_later_is_tried_again_ever_more_slowly() {
    let errors = [libc::ENOBUFS, libc::EINTR, libc::ENOMEM, libc::EBUSY];
    let dumps = run(Duration::from_secs(10), &errors);
    assert_eq!(dumps.len(), errors.len() + 1, "{dumps:?}");
    let waits: Vec<_> = dumps.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
}

#[test]
fn what_the_kernel_cannot_do_is_left_until_the_next_resync() {
    for errno in [
        libc::ENOENT,
        libc::EOPNOTSUPP,
        libc::EPROTONOSUPPORT,
        libc::EPERM,
    ] {
        let dumps = run(Duration::from_secs(310), &[errno]);
        assert_eq!(dumps, [START, START + Duration::from_secs(300)]);
    }
}
