// SPDX-License-Identifier: BSD-3-Clause
//! The engine takes whatever bytes claim to be news, in any order, and answers that make no
//! sense, with a plugin that asks for everything there is. It ends every turn with nothing left
//! to do for now, and its tables stay within their bounds.
#![no_main]

use core::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use mptcpd::internal::config::Overrides;
use mptcpd::internal::config::{self, Config};
use mptcpd::internal::engine::{Command, Engine, Incomplete, Input, Source};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::attribute::Attributes;
use mptcpd::internal::netlink::diag;
use mptcpd::internal::netlink::mptcp::{
    self, AddressId, ConnectionEvent, Endpoint, EndpointFlags, Event, Limits, SubflowAddress,
    SubflowEvent, Token,
};
use mptcpd::internal::netlink::route::{self, Address, Link, Name, Notification};
use mptcpd::internal::plugin::{CommandId, Context, Entry, Failure, Plugin, Reply, addr_adv, sspi};
use mptcpd::internal::time::{Duration, Instant};

const CONFIGURATIONS: [&str; 4] = [
    "[core]\npath-manager=sspi\nmax-connections=5\n",
    "[core]\nnotify-flags=existing\nsource-routing=yes\naddr-flags=subflow,fullmesh\n",
    "[core]\npath-manager=eager\nresync-interval=1\nhold-down=1\nmax-connections=5\n",
    "[core]\nnotify-flags=existing,check_route\naddr-flags=signal\n[interface a*]\nuse=standby\n\
     priority=3\nport=99\n[interface b]\nuse=no\n",
];
/// Commands in one turn: all tables full of changes, and then some.
const TURN: usize = 5000;

const EAGER: Entry =
    Entry::new("eager", "asks for everything there is", || Box::new(Eager)).with_priority(-1);
static ADDR_ADV: Entry = addr_adv::ENTRY;
static SSPI: Entry = sspi::ENTRY;

fn configuration(number: u8) -> Option<Config> {
    let text = CONFIGURATIONS[usize::from(number) % CONFIGURATIONS.len()];
    let plugins = [EAGER, addr_adv::ENTRY, sspi::ENTRY];
    let loaded = config::parse("fuzz", text.as_bytes(), &Overrides::default(), &plugins);
    loaded.ok().map(|loaded| loaded.config)
}

struct Eager;

fn near(local: SocketAddr, id: u8) -> SubflowAddress {
    SubflowAddress::from(local).with_id(AddressId(id))
}

impl Plugin for Eager {
    fn wants_connections(&self) -> bool {
        true
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {
        let (token, local) = (connection.token, connection.local);
        let _ = cx.announce(token, near(local, 3));
        let _ = cx.announce_with_listener(token, near(local, 4));
        let _ = cx.dump_addresses(token);
        let number = token.get();
        cx.set_timer(number % 3, Duration::from_millis(number));
    }

    fn connection_closed(&mut self, cx: &mut Context<'_>, token: Token) {
        let _ = cx.remove_address(token, AddressId(3));
    }

    fn new_address(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        id: AddressId,
        address: SocketAddr,
    ) {
        let local = cx.network().usable().next().map(|a| a.address);
        let Some(local) = local else { return };
        let own = cx.address_id(local).unwrap_or(AddressId::NONE);
        let local = near((local, 0).into(), own.0);
        let _ = cx.create_subflow(token, local, near(address, id.0));
        let _ = cx.get_address(token, id);
    }

    fn new_subflow(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
        let (local, remote) = (near(subflow.local, 1), near(subflow.remote, 1));
        let _ = cx.set_backup(subflow.token, local, remote, !subflow.backup);
        let _ = cx.destroy_subflow(subflow.token, local, remote);
    }

    fn listener_created(&mut self, cx: &mut Context<'_>, local: SocketAddr) {
        let _ = cx.listen(local);
        let _ = cx.unlisten(local);
        let _ = cx.get_limits();
        let _ = cx.dump_endpoints();
    }

    fn reply(&mut self, cx: &mut Context<'_>, _: CommandId, _: &Reply) {
        let _ = cx.get_endpoint(AddressId(1));
    }

    fn timer(&mut self, cx: &mut Context<'_>, _: u32) {
        let tokens: Vec<_> = cx.connections().map(|c| c.token).collect();
        for token in tokens {
            let _ = cx.remove_address(token, AddressId(4));
        }
    }
}

/// The bytes that are left to decide with; zeroes once they have run out.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn take(&mut self, most: u8) -> Vec<u8> {
        let most = usize::from(most).min(self.0.len());
        let (taken, rest) = self.0.split_at(most);
        self.0 = rest;
        taken.to_vec()
    }

    fn address(&mut self) -> IpAddr {
        match self.next() {
            n @ 0..200 => [10, 0, n / 20, n].into(),
            n => [0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()].into(),
        }
    }

    fn endpoint(&mut self) -> Endpoint {
        Endpoint {
            address: self.address(),
            port: (self.next() / 250).into(),
            id: AddressId(self.next()),
            flags: EndpointFlags((self.next() % 64).into()),
            ifindex: IfIndex((self.next() % 8).into()),
        }
    }

    fn news(&mut self) -> Option<Notification> {
        Some(match self.next() % 5 {
            0 => Notification::Link(Link {
                index: IfIndex((self.next() % 8).into()),
                flags: [0x41, 0x41, 0x1, 0x51, 0x49, 0][usize::from(self.next() % 6)],
                name: Name::try_from(["a", "b", "wan0", "lo"][usize::from(self.next() % 4)])
                    .ok()?,
                vrf_table: (self.next() / 200).into(),
                tunnel: self.next() % 8 == 0,
            }),
            1 => Notification::LinkGone {
                index: IfIndex((self.next() % 8).into()),
            },
            kind @ (2 | 3) => {
                let address = Address {
                    index: IfIndex((self.next() % 8).into()),
                    local: self.address(),
                    peer: None,
                    prefix_len: self.next(),
                    flags: [0x80, 0x80, 0xc0, 0xa0, 1, 8][usize::from(self.next() % 6)],
                    scope: self.next() / 250 * 253,
                };
                match kind {
                    2 => Notification::Address(address),
                    _ => Notification::AddressGone(address),
                }
            }
            _ => {
                let kind = u16::from(self.next() % 20) + 16;
                let length = self.next();
                route::decode(kind, &self.take(length))?
            }
        })
    }

    fn socket(&mut self) -> SocketAddr {
        (self.address(), (self.next() % 4).into()).into()
    }

    /// What a dump of connections or subflows shows.
    fn found(&mut self) -> Input<'static> {
        let (token, flags) = (Token::new(u32::from(self.next() % 10)), self.next());
        let ends = diag::Ends {
            local: self.socket(),
            remote: self.socket(),
            mapped: flags & 1 != 0,
        };
        if flags & 2 != 0 {
            return Input::DiagConnection(diag::Connection {
                token,
                ends,
                established: flags & 4 != 0,
                fallback: flags & 8 != 0,
            });
        }
        Input::DiagSubflow(diag::Subflow {
            token,
            ends,
            local_id: AddressId(self.next() % 4),
            remote_id: AddressId(self.next() % 4),
            ifindex: IfIndex((self.next() % 8).into()),
            backup_here: flags & 16 != 0,
            backup_there: flags & 64 != 0,
            opened_here: flags & 32 != 0,
            initial: flags & 2 != 0,
            established: flags & 4 != 0,
            retransmissions: flags >> 6,
            fully_established: flags & 8 != 0,
        })
    }

    fn event(&mut self) -> Option<Event> {
        let (kind, token) = (self.next() % 12, Token::new(u32::from(self.next() % 10)));
        let connection = |bytes: &mut Self| ConnectionEvent {
            token,
            local: bytes.socket(),
            remote: bytes.socket(),
            server_side: bytes.next() % 2 == 0,
            deny_join_id0: false,
            mapped: bytes.next() % 8 == 0,
        };
        let subflow = |bytes: &mut Self| SubflowEvent {
            token,
            local: bytes.socket(),
            remote: bytes.socket(),
            local_id: AddressId(bytes.next() % 8),
            remote_id: AddressId(bytes.next() % 8),
            backup: bytes.next() % 2 == 0,
            ifindex: IfIndex::NONE,
            error: 0,
            reset_reason: None,
            reset_flags: 0,
            mapped: bytes.next() % 8 == 0,
        };
        Some(match kind {
            0 => Event::Created(connection(self)),
            1 | 2 => Event::Established(connection(self)),
            3 => Event::Closed { token },
            4 => Event::Announced {
                token,
                remote_id: AddressId(self.next() % 8),
                address: self.address(),
                port: 1,
            },
            5 => Event::Removed {
                token,
                remote_id: AddressId(self.next() % 8),
            },
            6 | 7 => Event::SubflowEstablished(subflow(self)),
            8 => Event::SubflowClosed(subflow(self)),
            9 => Event::SubflowPriority(subflow(self)),
            10 => Event::ListenerCreated {
                local: self.socket(),
            },
            _ => {
                let (kind, length) = (self.next() % 20, self.next());
                let raw = self.take(length);
                mptcp::decode_event(kind, Attributes::new(&raw)).ok()?
            }
        })
    }

    fn result(&mut self) -> Result<(), Incomplete> {
        match self.next() {
            n @ 1..8 => Err(Incomplete::Refused(n.into())),
            8..12 => Err(Incomplete::Interrupted),
            12..14 => Err(Incomplete::Refused(97)),
            _ => Ok(()),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let Some(config) = configuration(bytes.next()) else {
        return;
    };
    let mut now = Instant(1000);
    let mut engine = Engine::new(now, config, &[&ADDR_ADV, &EAGER, &SSPI]);
    while !bytes.0.is_empty() {
        input(&mut engine, &mut bytes, now);
        if bytes.next() % 4 == 0 {
            now = now + Duration::from_millis(u32::from(bytes.next()).pow(2));
        }
        turn(&mut engine, &mut bytes, now);
    }
    engine.describe(&mut |line| assert!(line.to_string().len() < 500));
    engine.handle(now, Input::Stop);
    for _ in 0..TURN {
        if engine.poll_command(now).is_none() {
            return;
        }
    }
    panic!("no end to the end");
});

fn input(engine: &mut Engine, bytes: &mut Bytes<'_>, now: Instant) {
    match bytes.next() % 16 {
        0..7 => {
            if let Some(news) = bytes.news() {
                engine.handle(now, Input::Network(&news));
            }
        }
        7 | 8 => {
            if let Some(event) = bytes.event() {
                engine.handle(now, Input::Connection(&event));
                assert!(engine.connections().len() <= 8192);
            }
        }
        9 => {
            let number = CommandId(bytes.next().into());
            match bytes.next() % 3 {
                0 => engine.handle(now, Input::Done(number)),
                1 => {
                    let errno = i32::from(bytes.next()) - 1;
                    let failure = Failure {
                        errno,
                        message: "?",
                    };
                    engine.handle(now, Input::Failed(number, failure));
                }
                _ => {
                    let reply = Reply::Endpoint(bytes.endpoint());
                    engine.handle(now, Input::Reply(number, &reply));
                }
            }
        }
        10 => engine.handle(now, Input::PathManager(bytes.next() > 20)),
        11 | 13 => engine.handle(now, Input::EventsLost(Source::Network)),
        12 => engine.handle(now, Input::EventsLost(Source::Connections)),
        14 => {
            if let Some(config) = configuration(bytes.next()) {
                engine.handle(now, Input::Reload(Box::new(config)));
            }
        }
        _ => engine.handle(now, Input::Remember(bytes.endpoint())),
    }
}

/// Lets the engine act until it has nothing more to do, as the daemon does.
fn turn(engine: &mut Engine, bytes: &mut Bytes<'_>, now: Instant) {
    let mut unanswered = None;
    for _ in 0..TURN {
        engine.settle(now);
        let Some((number, command)) = engine.poll_command(now) else {
            // A plugin may want to be called again at once, or wait for results.
            if engine.deadline().is_none_or(|at| at > now) {
                return;
            }
            if let Some(number) = unanswered.take() {
                engine.handle(now, Input::Done(number));
            }
            continue;
        };
        match command {
            Command::DumpNetwork(part, _) => {
                for _ in 0..bytes.next() % 8 {
                    if let Some(item) = bytes.news() {
                        engine.handle(now, Input::NetworkItem(&item));
                    }
                }
                let result = bytes.result();
                engine.handle(now, Input::NetworkEnd(part, result));
            }
            Command::AskWay(question) => {
                let result = bytes.result();
                let news = bytes.news();
                let route = match &news {
                    Some(Notification::Route(route)) => Some(route),
                    _ => None,
                };
                engine.handle(now, Input::Way(question, result.map(|()| route)));
            }
            Command::DumpEndpoints => {
                for _ in 0..bytes.next() % 8 {
                    engine.handle(now, Input::Endpoint(bytes.endpoint()));
                }
                let result = bytes.result();
                engine.handle(now, Input::EndpointsEnd(result));
            }
            Command::GetLimits => {
                let limits = Limits {
                    subflows: (bytes.next() % 16).into(),
                    add_addr_accepted: (bytes.next() % 16).into(),
                };
                engine.handle(now, Input::Limits(Ok(limits)));
            }
            Command::Diag(_) => {
                for _ in 0..bytes.next() % 8 {
                    let input = bytes.found();
                    engine.handle(now, input);
                }
                let result = bytes.result();
                engine.handle(now, Input::DiagEnd(result));
            }
            Command::DumpAddresses(token) => {
                for _ in 0..bytes.next() % 4 {
                    engine.handle(now, Input::ConnectionAddress(token, bytes.endpoint()));
                }
                let result = bytes.result();
                engine.handle(now, Input::ConnectionAddressesEnd(token, result));
            }
            Command::Subscribe(_) | Command::CheckReversePath(_) | Command::CloseListener(_) => {}
            Command::Listen(_) | Command::Probe(_) => match bytes.next() % 3 {
                0 => engine.handle(now, Input::Listening(number, bytes.socket())),
                _ => engine.handle(now, Input::Done(number)),
            },
            Command::PathManager(command) => {
                let mut room = [0; 512];
                let mut out = mptcpd::internal::netlink::attribute::Builder::new(&mut room);
                assert!(command.encode(&mut out, 30, number).is_ok());
                unanswered = Some(number);
                end(engine, now, number, bytes.result());
            }
            Command::Unlisten(_) | Command::Route(_) => end(engine, now, number, bytes.result()),
        }
    }
    panic!("no end to a turn");
}

fn end(engine: &mut Engine, now: Instant, number: CommandId, result: Result<(), Incomplete>) {
    match result {
        Ok(()) => engine.handle(now, Input::Done(number)),
        Err(Incomplete::Interrupted) => {}
        Err(Incomplete::Refused(errno)) => {
            let failure = Failure {
                errno,
                message: "no",
            };
            engine.handle(now, Input::Failed(number, failure));
        }
    }
}
