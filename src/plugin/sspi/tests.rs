// SPDX-License-Identifier: BSD-3-Clause
use super::*;
use crate::config::{Config, NotifyFlags};
use core::net::{IpAddr, SocketAddr};

use crate::engine::{Command as Asked, Engine, Input};
use crate::netlink::mptcp::{Command, ConnectionEvent, Event, Limits, SubflowAddress, Token};
use crate::netlink::route::{Address, Link, Name, Notification};
use crate::network::Part;
use crate::plugin::Failure;
use crate::testing::Bench;
use crate::time::{Duration, Instant};

const TOKEN: Token = Token::new(77);
const NOBODY: i32 = libc::EHOSTUNREACH;

fn address(index: u32) -> IpAddr {
    [10, 0, u8::try_from(index).unwrap(), 1].into()
}

/// Lets the engine act; answers the subflows it asked for, all of which are refused.
fn turn(engine: &mut Engine, now: Instant) -> Vec<(SubflowAddress, SubflowAddress)> {
    let mut asked = Vec::new();
    loop {
        engine.settle(now);
        match engine.poll_command(now) {
            None => return asked,
            Some((_, Asked::DumpNetwork(part, _))) => {
                for index in [1, 2] {
                    let item = match part {
                        Part::Links => Notification::Link(Link {
                            index: IfIndex(index),
                            flags: 0x41,
                            name: Name::try_from(["wan1", "wan2"][index as usize - 1]).unwrap(),
                            vrf_table: 0,
                            tunnel: false,
                        }),
                        Part::Addresses => Notification::Address(Address {
                            index: IfIndex(index),
                            local: address(index),
                            peer: None,
                            prefix_len: 24,
                            flags: 0x80,
                            scope: 0,
                        }),
                        Part::Routes(_) | Part::Rules(_) => break,
                    };
                    engine.handle(now, Input::NetworkItem(&item));
                }
                engine.handle(now, Input::NetworkEnd(part, Ok(())));
            }
            Some((_, Asked::DumpEndpoints)) => engine.handle(now, Input::EndpointsEnd(Ok(()))),
            Some((_, Asked::GetLimits)) => engine.handle(now, Input::Limits(Ok(Limits::default()))),
            Some((_, Asked::Diag(_))) => engine.handle(now, Input::DiagEnd(Ok(()))),
            Some((_, Asked::Subscribe(_) | Asked::CheckReversePath(_))) => {}
            Some((number, Asked::PathManager(command))) => match command {
                Command::CreateSubflow { local, remote, .. } => {
                    asked.push((local, remote));
                    let failure = Failure {
                        errno: NOBODY,
                        message: "",
                    };
                    engine.handle(now, Input::Failed(number, failure));
                }
                _ => engine.handle(now, Input::Done(number)),
            },
            Some(other) => panic!("{other:?}"),
        }
    }
}

fn start(now: Instant) -> (Engine, ConnectionEvent) {
    let mut config = Config::new(&[ENTRY]);
    config.default.policy.notify = NotifyFlags::EXISTING;
    config.resync_interval = 0;
    let mut engine = Engine::new(now, config, &[&ENTRY]);
    engine.handle(now, Input::PathManager(true));
    assert_eq!(turn(&mut engine, now), []);
    let event = ConnectionEvent {
        token: TOKEN,
        local: (address(1), 1000).into(),
        remote: ([192, 0, 2, 1], 80).into(),
        server_side: false,
        deny_join_id0: false,
        mapped: false,
    };
    (engine, event)
}

/// Another connection may come to have its token.
#[test]
fn what_was_asked_for_a_connection_that_has_ended_is_not_done() {
    let now = Instant(1000);
    let (mut engine, event) = start(now);
    let closed = Event::Closed { token: TOKEN };
    for event in [Event::Created(event), Event::Established(event), closed] {
        engine.handle(now, Input::Connection(&event));
    }
    engine.settle(now);
    assert_eq!(engine.poll_command(now), None);
    assert_eq!(engine.deadline(), None);
}

#[test]
fn a_subflow_refused_after_the_end_is_not_made_again() {
    let now = Instant(1000);
    let (mut engine, event) = start(now);
    for event in [Event::Created(event), Event::Established(event)] {
        engine.handle(now, Input::Connection(&event));
    }
    let mut sent = vec![];
    while let Some((number, Asked::PathManager(_))) = engine.poll_command(now) {
        sent.push(number);
    }
    assert_eq!(sent.len(), 2);
    engine.handle(now, Input::Connection(&Event::Closed { token: TOKEN }));
    for number in sent {
        let failure = Failure {
            errno: libc::EINVAL,
            message: "",
        };
        engine.handle(now, Input::Failed(number, failure));
    }
    engine.settle(now);
    assert_eq!(engine.deadline(), None);
}

#[test]
fn a_path_that_leads_nowhere_is_tried_later_and_later() {
    let mut now = Instant(1000);
    let (mut engine, event) = start(now);
    let heard = [
        Event::Created(event),
        Event::Announced {
            token: TOKEN,
            remote_id: AddressId(4),
            address: [192, 0, 2, 2].into(),
            port: 0,
        },
        Event::Established(event),
    ];
    for event in &heard {
        engine.handle(now, Input::Connection(event));
    }
    let first = turn(&mut engine, now);
    let ends = |(local, remote): &(SubflowAddress, SubflowAddress)| {
        (local.address, local.ifindex.0, remote.socket(), remote.id.0)
    };
    let [here, initially] = [2, 1].map(address);
    let initial: SocketAddr = ([192, 0, 2, 1], 80).into();
    let announced: SocketAddr = ([192, 0, 2, 2], 80).into();
    let both = [(here, 2, initial, 0), (here, 2, announced, 4)];
    assert_eq!(first.iter().map(ends).collect::<Vec<_>>(), both);

    // Ten minutes, as long as nothing changes.
    let (start, mut turns, mut tries) = (now, 0, vec![]);
    while let Some(at) = engine.deadline() {
        if at > start + Duration::from_secs(600) {
            break;
        }
        assert!(at > now || turns == 0, "awake for nothing");
        now = at;
        turns += 1;
        tries.extend(turn(&mut engine, now));
    }
    assert!((40..100).contains(&tries.len()), "{}", tries.len());
    assert!(turns <= 2 * tries.len(), "{turns} turns");
    // Every way there is, but the one that works.
    let mut tried: Vec<_> = tries.iter().map(ends).collect();
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(
        tried,
        [
            (initially, 1, announced, 4),
            (here, 2, initial, 0),
            (here, 2, announced, 4)
        ]
    );

    // The end of the connection is the end of it.
    engine.handle(now, Input::Connection(&Event::Closed { token: TOKEN }));
    assert_eq!(turn(&mut engine, now), []);
    assert_eq!(turn(&mut engine, now + Duration::from_secs(3600)), []);
}

/// However many addresses are served by others: none is asked for again and again.
#[test]
fn more_listeners_of_others_than_it_knows() {
    const SOME: u16 = 300;
    let mut config = Config::new(&[ENTRY]);
    config.default.policy.notify = NotifyFlags::EXISTING;
    let now = Instant(1000);
    let mut engine = Engine::new(now, config, &[&ENTRY]);
    engine.handle(now, Input::PathManager(true));
    assert_eq!(turn(&mut engine, now), []);
    for n in 0..SOME {
        let event = ConnectionEvent {
            token: Token::new(TOKEN.get() + u32::from(n)),
            local: (address(1), 1000 + n).into(),
            remote: ([192, 0, 2, 1], 80).into(),
            server_side: true,
            deny_join_id0: false,
            mapped: false,
        };
        engine.handle(now, Input::Connection(&Event::Created(event)));
        engine.handle(now, Input::Connection(&Event::Established(event)));
    }
    let (mut asked, mut announced) = (0, 0);
    loop {
        engine.settle(now);
        match engine.poll_command(now) {
            None => break,
            Some((number, Asked::Probe(local))) => {
                asked += 1;
                assert!(asked <= SOME, "asked again");
                engine.handle(now, Input::Listening(number, local));
            }
            Some((number, Asked::PathManager(Command::Announce { .. }))) => {
                announced += 1;
                engine.handle(now, Input::Done(number));
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((asked, announced), (SOME, SOME));
}

#[test]
fn a_subflow_that_ends_is_made_again_once_others_carry_what_it_had() {
    static PLUGINS: &[Entry] = &[ENTRY];
    let bench = Bench::new(PLUGINS, "").with("wan1", "10.0.1.1");
    let mut bench = bench.with("wan2", "10.0.2.1");
    let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
    assert_eq!(bench.subflows(connection).len(), 2);
    // The path refuses for a while what is made again.
    bench.cut("10.0.2.1");
    bench.asked();
    bench.advance(Duration::from_millis(700));
    assert_eq!(bench.asked(), [""; 0], "left alone");
    bench.advance(Duration::from_millis(1000));
    let tries = bench.asked().len();
    assert!((3..7).contains(&tries), "soon again and again: {tries}");
    bench.mend("10.0.2.1");
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.subflows(connection).len(), 2);
}

#[test]
fn the_last_subflow_that_ends_is_made_again_at_once() {
    static PLUGINS: &[Entry] = &[ENTRY];
    let mut bench = Bench::new(PLUGINS, "").with("wan1", "10.0.1.1");
    let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
    bench.subflow_closed(connection, "10.0.1.1", 104);
    bench.advance(Duration::from_millis(50));
    assert_eq!(bench.subflows(connection).len(), 1);
}
