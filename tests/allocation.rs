// SPDX-License-Identifier: BSD-3-Clause
//! Once it has started the engine allocates nothing, whatever happens: 200,000 events on the
//! network and from connections, refusals, overflows and descriptions of the state.
//!
//! Codec, engine, plugins and the contents of the state file are counted. Logging is not: the
//! library that writes to stderr allocates for each line, and lines are few. Neither is reading
//! the configuration again, which is a start of its own.

use core::cell::Cell;
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use std::alloc::{GlobalAlloc, Layout, System};

use mptcpd::internal::config;
use mptcpd::internal::config::Overrides;
use mptcpd::internal::engine::{Command, Engine, Incomplete, Input, Source};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::Seq;
use mptcpd::internal::netlink::attribute::Builder;
use mptcpd::internal::netlink::diag::{self, Query};
use mptcpd::internal::netlink::message::Messages;
use mptcpd::internal::netlink::mptcp::{
    AddressId, Command as Kernel, ConnectionEvent, Endpoint, Event, Limits, SubflowAddress,
    SubflowEvent, Token,
};
use mptcpd::internal::netlink::route::{self, Family, Hop, Notification, Route};
use mptcpd::internal::network::Part;
use mptcpd::internal::plugin::{CommandId, Context, Entry, Failure, Plugin, addr_adv, sspi};
use mptcpd::internal::state::{self, HALF, Identity};
use mptcpd::internal::time::{Duration, Instant};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: everything is done by the system's allocator, unchanged; the counter is a plain cell
// of the thread's own, which needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LINKS: usize = 6;
const ADDRESSES: usize = 6;
/// The most endpoints.
const ROOM: usize = 8;
const UP: u32 = 0x41;

/// A kernel that fits into fixed arrays.
struct World {
    links: [u32; LINKS],
    addresses: [[bool; ADDRESSES]; LINKS],
    routes: [bool; LINKS],
    endpoints: [Option<Endpoint>; ROOM],
    limits: Limits,
    random: u64,
    buffer: [u8; 256],
}

fn index(link: usize) -> IfIndex {
    IfIndex(u32::try_from(link + 2).unwrap())
}

fn address(link: usize, n: usize) -> IpAddr {
    let [link, n] = [link, n].map(|n| u8::try_from(n).unwrap());
    match n {
        // On two links at once.
        0 => [10, 9, link / 2, 1].into(),
        1..4 => [10, link, 0, n].into(),
        _ => [0x2001, 0xdb8, 0, 0, 0, 0, link.into(), n.into()].into(),
    }
}

impl World {
    fn random(&mut self, below: usize) -> usize {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % u64::try_from(below).unwrap()).unwrap()
    }

    /// A message as the kernel writes it, decoded.
    fn link(&mut self, link: usize) -> Option<Notification> {
        let [index, flags] = [index(link).0, self.links[link]].map(u32::to_ne_bytes);
        let mut out = Builder::new(&mut self.buffer);
        out.message(16, 0, Seq(0));
        out.raw(&[0, 0, 1, 0]);
        out.raw(&index);
        out.raw(&flags);
        out.raw(&[0; 4]);
        out.str(3, ["wan0", "wan1", "wan2", "ppp0", "ppp1", "lan0"][link]);
        out.end().unwrap();
        decode(out.bytes())
    }

    fn address(&mut self, link: usize, n: usize) -> Option<Notification> {
        let kind = if self.addresses[link][n] { 20 } else { 21 };
        let ip = address(link, n);
        let family = Family::of(ip).number();
        let mut out = Builder::new(&mut self.buffer);
        out.message(kind, 0, Seq(0));
        out.raw(&[family, 24, 0x80, 0]);
        out.raw(&index(link).0.to_ne_bytes());
        out.ip(2, &ip);
        out.ip(1, &ip);
        out.end().unwrap();
        decode(out.bytes())
    }

    fn route(&self, link: usize) -> Route {
        let mut hops = heapless::Vec::new();
        let gateway = Some([10, 0, 0, 99].into());
        let (oif, flags) = (index(link), 0);
        hops.push(Hop {
            oif,
            gateway,
            flags,
        })
        .unwrap();
        Route {
            family: Family::Ipv4,
            table: 254,
            destination: None,
            destination_len: 0,
            source: None,
            source_len: 0,
            preferred_source: None,
            metric: oif.0,
            protocol: 4,
            kind: 1,
            scope: 0,
            hops,
        }
    }

    fn dump(&mut self, part: Part, each: &mut dyn FnMut(&Notification)) {
        match part {
            Part::Links => (0..LINKS).for_each(|link| each(&self.link(link).unwrap())),
            Part::Addresses => {
                for (link, n) in pairs() {
                    if self.addresses[link][n] {
                        each(&self.address(link, n).unwrap());
                    }
                }
            }
            Part::Routes(Family::Ipv4) => {
                for link in 0..LINKS {
                    if self.routes[link] {
                        each(&Notification::Route(self.route(link)));
                    }
                }
            }
            Part::Routes(Family::Ipv6) | Part::Rules(_) => {}
        }
    }

    fn command(&mut self, command: &Kernel) -> Result<(), i32> {
        let mut room = [0; 512];
        let mut out = Builder::new(&mut room);
        command.encode(&mut out, 30, Seq(1)).unwrap();
        let has = |e: &Option<Endpoint>, id| e.is_some_and(|e| e.id == id);
        match command {
            Kernel::AddEndpoint(new) => {
                let free = self.endpoints.iter_mut().find(|e| e.is_none());
                *free.ok_or(34)? = Some(*new);
            }
            Kernel::DeleteEndpoint(gone) => {
                let there = self.endpoints.iter_mut().find(|e| has(e, gone.id));
                *there.ok_or(22)? = None;
            }
            Kernel::SetLimits(limits) if limits.subflows > 8 => return Err(22),
            Kernel::SetLimits(limits) => self.limits = *limits,
            _ => {}
        }
        Ok(())
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..LINKS).flat_map(|link| (0..ADDRESSES).map(move |n| (link, n)))
}

fn decode(bytes: &[u8]) -> Option<Notification> {
    let message = Messages::new(bytes).next()?.ok()?;
    route::decode(message.kind, message.payload)
}

/// Manages connections as strategies do: announces, makes, demotes and closes.
struct Manager;

const MANAGER: Entry = Entry::new("manager", "", || Box::new(Manager));
static SSPI: Entry = sspi::ENTRY;
static ADDR_ADV: Entry = addr_adv::ENTRY.with_priority(1);

fn end(socket: SocketAddr, id: AddressId) -> SubflowAddress {
    SubflowAddress::from(socket).with_id(id)
}

impl Plugin for Manager {
    fn wants_connections(&self) -> bool {
        true
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {
        let mut usable = cx.network().usable().map(|a| a.address);
        let (one, two) = (usable.next(), usable.next());
        for ip in [one, two].into_iter().flatten() {
            let id = cx.address_id(ip).unwrap_or(AddressId::NONE);
            let _ = cx.announce(connection.token, end((ip, 0).into(), id));
        }
        cx.set_timer(connection.token.get() % 8, Duration::from_millis(50));
    }

    fn new_address(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        id: AddressId,
        address: SocketAddr,
    ) {
        let known = cx.connection(token).map_or(0, |c| c.subflows().count());
        if let Some(local) = cx.network().usable().nth(known % 2).map(|a| a.address) {
            let _ = cx.create_subflow(
                token,
                end((local, 0).into(), AddressId(1)),
                end(address, id),
            );
        }
    }

    fn new_subflow(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
        let (local, remote) = (
            end(subflow.local, AddressId(1)),
            end(subflow.remote, AddressId(1)),
        );
        let _ = cx.set_backup(subflow.token, local, remote, true);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {
        let token = cx
            .connections()
            .map(|c| c.token)
            .find(|t| t.get() % 8 == timer);
        if let Some(token) = token {
            let _ = cx.remove_address(token, AddressId(1));
        }
    }
}

fn event(world: &mut World, engine: &mut Engine, now: Instant) {
    let link = world.random(LINKS);
    match world.random(32) {
        0..4 => {
            world.links[link] = [UP, UP, 1, 0][world.random(4)];
            let news = world.link(link).unwrap();
            engine.handle(now, Input::Network(&news));
        }
        4 => {
            world.addresses[link] = [false; ADDRESSES];
            let index = index(link);
            engine.handle(now, Input::Network(&Notification::LinkGone { index }));
            let news = world.link(link).unwrap();
            engine.handle(now, Input::Network(&news));
        }
        5..16 => {
            let n = world.random(ADDRESSES);
            world.addresses[link][n] ^= true;
            let news = world.address(link, n).unwrap();
            engine.handle(now, Input::Network(&news));
        }
        16..20 => {
            world.routes[link] ^= true;
            let news = Notification::Route(world.route(link));
            engine.handle(now, Input::Network(&news));
        }
        20 if world.random(50) == 0 => engine.handle(now, Input::EventsLost(Source::Network)),
        20 if world.random(50) == 0 => engine.handle(now, Input::EventsLost(Source::Connections)),
        21 if world.random(20) == 0 => {
            engine.handle(now, Input::PathManager(false));
            engine.handle(now, Input::PathManager(true));
        }
        kind => {
            let token = Token::new(u32::try_from(world.random(100)).unwrap());
            connection(world, engine, now, kind, token);
        }
    }
}

fn connection(world: &mut World, engine: &mut Engine, now: Instant, kind: usize, token: Token) {
    let port = u16::try_from(world.random(4) + 1).unwrap();
    let (local, remote) = (([10, 0, 0, 1], port).into(), ([192, 0, 2, 1], port).into());
    let of = ConnectionEvent {
        token,
        local,
        remote,
        server_side: false,
        deny_join_id0: false,
        mapped: false,
    };
    let subflow = SubflowEvent {
        token,
        local,
        remote,
        local_id: AddressId(1),
        remote_id: AddressId(1),
        backup: false,
        ifindex: IfIndex::NONE,
        error: 0,
        reset_reason: None,
        reset_flags: 0,
        mapped: false,
    };
    let remote_id = AddressId(u8::try_from(world.random(8)).unwrap());
    let event = match kind {
        22 => Event::Created(of),
        23 | 24 => Event::Established(of),
        25 | 26 => Event::SubflowEstablished(subflow),
        27 => Event::SubflowClosed(subflow),
        28 => Event::Announced {
            token,
            remote_id,
            address: [192, 0, 2, 7].into(),
            port: 1,
        },
        29 => Event::Removed { token, remote_id },
        _ => Event::Closed { token },
    };
    engine.handle(now, Input::Connection(&event));
}

/// Tells the engine how a command ended.
fn finish(engine: &mut Engine, now: Instant, number: CommandId, result: Result<(), i32>) {
    if let Err(errno) = result {
        let message = "no";
        engine.handle(now, Input::Failed(number, Failure { errno, message }));
    }
    engine.handle(now, Input::Done(number));
}

/// Lets the engine act, and answers it.
fn turn(world: &mut World, engine: &mut Engine, now: Instant, half: &mut [u8; HALF]) {
    loop {
        engine.settle(now);
        let Some((number, command)) = engine.poll_command(now) else {
            return;
        };
        if let Some((state, mut ours)) = engine.state_to_save() {
            state::encode(half, &Identity::default(), &state, &mut ours);
        }
        let bad = world.random(40) == 0;
        match command {
            Command::DumpNetwork(part, _) => {
                world.dump(part, &mut |item| {
                    engine.handle(now, Input::NetworkItem(item))
                });
                let result = if bad {
                    Err(Incomplete::Interrupted)
                } else {
                    Ok(())
                };
                engine.handle(now, Input::NetworkEnd(part, result));
            }
            Command::AskWay(question) => {
                let mut room = [0; 128];
                let mut out = Builder::new(&mut room);
                route::get_route(&mut out, number, &question.query()).unwrap();
                let mut links = (0..LINKS).filter(|link| world.routes[*link]);
                let oif = question.query().oif;
                let link = links.find(|link| oif == IfIndex::NONE || oif == index(*link));
                let route = link.map(|link| world.route(link));
                let answer = match bad {
                    true => Err(Incomplete::Interrupted),
                    false => Ok(route.as_ref().filter(|_| question.source.is_ipv4())),
                };
                engine.handle(now, Input::Way(question, answer));
            }
            Command::DumpEndpoints => {
                for endpoint in world.endpoints.iter().flatten() {
                    engine.handle(now, Input::Endpoint(*endpoint));
                }
                engine.handle(now, Input::EndpointsEnd(Ok(())));
            }
            Command::GetLimits => engine.handle(now, Input::Limits(Ok(world.limits))),
            Command::PathManager(command) => {
                let result = if bad {
                    Err(12)
                } else {
                    world.command(&command)
                };
                finish(engine, now, number, result);
            }
            Command::Probe(local) => engine.handle(now, Input::Listening(number, local)),
            Command::Listen(_) | Command::Unlisten(_) | Command::Route(_) => {
                finish(engine, now, number, if bad { Err(12) } else { Ok(()) });
            }
            // Of those that the dump has not shown there are none.
            Command::Diag(Query::Connection(_)) => {
                engine.handle(now, Input::DiagEnd(Err(Incomplete::Refused(libc::ENOENT))));
            }
            Command::Diag(_) => {
                for _ in 0..world.random(16) {
                    let token = Token::new(u32::try_from(world.random(100)).unwrap());
                    let ends = diag::Ends {
                        local: ([10, 0, 0, 1], 1).into(),
                        remote: ([192, 0, 2, 1], 1).into(),
                        mapped: false,
                    };
                    let established = world.random(4) > 0;
                    engine.handle(
                        now,
                        Input::DiagConnection(diag::Connection {
                            token,
                            ends,
                            established,
                            fallback: world.random(8) == 0,
                        }),
                    );
                    engine.handle(
                        now,
                        Input::DiagSubflow(diag::Subflow {
                            token,
                            ends,
                            local_id: AddressId(u8::try_from(world.random(4)).unwrap()),
                            remote_id: AddressId(1),
                            ifindex: IfIndex::NONE,
                            backup_here: false,
                            backup_there: false,
                            opened_here: true,
                            initial: false,
                            established,
                            retransmissions: 0,
                            fully_established: established,
                        }),
                    );
                }
                let result = if bad {
                    Err(Incomplete::Interrupted)
                } else {
                    Ok(())
                };
                engine.handle(now, Input::DiagEnd(result));
            }
            Command::DumpAddresses(token) => {
                for endpoint in world.endpoints.iter().flatten() {
                    engine.handle(now, Input::ConnectionAddress(token, *endpoint));
                }
                engine.handle(now, Input::ConnectionAddressesEnd(token, Ok(())));
            }
            Command::Subscribe(_) | Command::CheckReversePath(_) | Command::CloseListener(_) => {}
        }
    }
}

#[test]
fn many_events_without_an_allocation() {
    many_events("manager");
}

#[test]
fn the_same_with_sspi() {
    many_events("sspi");
}

/// 200,000 events with this plugin for the connections.
fn many_events(manager: &str) {
    let text = format!(
        "[core]\npath-manager = {manager}\nmax-connections = 64\nresync-interval = 1\n\
         [interface ppp*]\nuse = standby\n"
    );
    let plugins = [addr_adv::ENTRY, MANAGER, sspi::ENTRY];
    let loaded = config::parse("test", text.as_bytes(), &Overrides::default(), &plugins);
    let mut now = Instant(1000);
    let mut engine = Engine::new(now, loaded.unwrap().config, &[&MANAGER, &ADDR_ADV, &SSPI]);
    engine.handle(now, Input::PathManager(true));
    let mut world = World {
        links: [UP; LINKS],
        addresses: [[true; ADDRESSES]; LINKS],
        routes: [true; LINKS],
        endpoints: [None; ROOM],
        limits: Limits::default(),
        random: 0x9e37_79b9_7f4a_7c15,
        buffer: [0; 256],
    };
    let mut half = Box::new([0; HALF]);
    let mut line = heapless::String::<256>::new();
    turn(&mut world, &mut engine, now, &mut half);

    let before = ALLOCATIONS.get();
    for round in 0..200_000 {
        now = now + Duration::from_millis(u32::try_from(world.random(30)).unwrap());
        event(&mut world, &mut engine, now);
        turn(&mut world, &mut engine, now, &mut half);
        if round % 2_000 == 0 {
            engine.describe(&mut |text| {
                line.clear();
                let _ = line.write_fmt(text);
            });
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);

    // The counter counts, and something was done.
    assert!(before > 0);
    let counters = engine.counters();
    let work = [
        counters.events,
        counters.connection_events,
        counters.commands,
    ];
    assert!(work.iter().all(|n| *n > 20_000), "{counters:?}");
    assert!(
        counters.refusals > 200 && counters.overflows > 20,
        "{counters:?}"
    );
}
