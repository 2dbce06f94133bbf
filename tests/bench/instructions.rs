// SPDX-License-Identifier: BSD-3-Clause
//! The engine and the codec at work on one kind of event, for `callgrind` to count instructions.
//!
//! ```text
//! instructions              lists the cases
//! instructions CASE         runs one and prints how many events it was
//! ```
//!
//! Only what happens within [`counted`] is to be counted. There is no kernel here, no clock and
//! nothing random: the same binary needs the same instructions each time.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use mptcpd::internal::config;
use mptcpd::internal::config::Overrides;
use mptcpd::internal::engine::{Command, Engine, Input};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::Seq;
use mptcpd::internal::netlink::attribute::Builder;
use mptcpd::internal::netlink::message::Messages;
use mptcpd::internal::netlink::mptcp::{
    self, AddressId, Command as Kernel, Endpoint, EndpointFlags, Limits, SubflowAddress, Token,
};
use mptcpd::internal::netlink::{generic, route};
use mptcpd::internal::network::{IFF_RUNNING, IFF_UP, Part};
use mptcpd::internal::plugin::{BUILT_IN, CommandId, Failure};
use mptcpd::internal::time::Instant;

type Case = (&'static str, fn() -> usize);

const CASES: [Case; 9] = [
    ("decode-rtnetlink", decode_rtnetlink),
    ("decode-mptcp", decode_mptcp),
    ("encode-mptcp", encode_mptcp),
    ("address-event-10-interfaces", || address_events(10)),
    ("address-event-100-interfaces", || address_events(100)),
    ("address-event-1000-interfaces", || address_events(1000)),
    ("carrier-event", carrier_events),
    ("storm-event", storm),
    ("connection-sspi", connections),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1);
    let case = CASES.iter().find(|case| Some(case.0) == name.as_deref());
    match (case, name) {
        (Some(case), _) => println!("{}", case.1()),
        (None, None) => CASES.iter().for_each(|case| println!("{}", case.0)),
        (None, Some(name)) => {
            eprintln!("instructions: no case {name}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What `callgrind` counts, by this name.
#[inline(never)]
fn counted(run: &mut dyn FnMut()) {
    run();
}

/// A netlink message; `body` writes what follows its header.
fn message(kind: u16, body: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut out = Builder::new(&mut buffer);
    out.message(kind, 0, Seq(0));
    body(&mut out);
    out.end().expect("room");
    out.bytes().to_vec()
}

const INDEX: u32 = 10;
/// Endpoints that Linux 6.18 takes.
const ROOM: usize = 8;

fn link(n: u32, flags: u32) -> Vec<u8> {
    message(16, |out| {
        out.raw(&[0, 0, 1, 0]);
        out.raw(&(INDEX + n).to_ne_bytes());
        out.raw(&flags.to_ne_bytes());
        out.raw(&[0; 4]);
        out.str(3, &format!("wan{n}"));
        out.u32(4, 1500);
        out.u32(13, 1000);
        out.attribute(1, &[2, 0, 0, 0, 0, 1]);
    })
}

fn address(n: u32, there: bool, scope: u8, ip: IpAddr) -> Vec<u8> {
    message(if there { 20 } else { 21 }, |out| {
        let family = if ip.is_ipv4() { 2 } else { 10 };
        out.raw(&[family, 24, 0x80, scope]);
        out.raw(&(INDEX + n).to_ne_bytes());
        out.ip(1, &ip);
        out.ip(2, &ip);
        out.u32(8, 0x80);
        out.attribute(6, &[255; 16]);
    })
}

fn default_route(n: u32) -> Vec<u8> {
    message(24, |out| {
        out.raw(&[2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        out.u32(15, 254);
        out.ip(5, &[10, 0, 0, 254].into());
        out.u32(4, INDEX + n);
        out.u32(6, 100);
    })
}

fn rule() -> Vec<u8> {
    message(32, |out| {
        out.raw(&[2, 0, 32, 0, 254, 0, 0, 1, 0, 0, 0, 0]);
        out.u32(15, 1000);
        out.ip(2, &[192, 0, 2, 1].into());
        out.u32(6, 5200);
    })
}

/// An event of the path manager for connection `n`: its attributes are those of `CREATED`. Tokens
/// are as good as random.
fn connection(kind: u8, n: u32) -> Vec<u8> {
    message(30, |out| {
        out.raw(&[kind, 1, 0, 0]);
        out.u32(1, n.wrapping_mul(0x9e37_79b1));
        if kind == 3 {
            return;
        }
        out.u16(2, 2);
        out.ip(5, &[10, 0, 0, 1].into());
        out.ip(7, &[192, 0, 2, 1].into());
        out.attribute(9, &[0xa1, 0xc2]);
        out.attribute(10, &[0x13, 0x88]);
        out.u8(3, 0);
        out.u8(4, 0);
    })
}

fn decode_rtnetlink() -> usize {
    let all: Vec<u8> = [
        link(0, IFF_UP | IFF_RUNNING),
        address(0, true, 0, [192, 0, 2, 1].into()),
        address(0, true, 0, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
        default_route(0),
        rule(),
    ]
    .concat();
    counted(&mut || {
        for _ in 0..100 {
            for message in Messages::new(black_box(&all)).flatten() {
                black_box(route::decode(message.kind, message.payload));
            }
        }
    });
    500
}

fn decode_mptcp() -> usize {
    let all: Vec<u8> = [1, 2, 10, 3].map(|kind| connection(kind, 7)).concat();
    counted(&mut || {
        for _ in 0..100 {
            for message in Messages::new(black_box(&all)).flatten() {
                if let Some((kind, attributes)) = generic::parse_header(message.payload) {
                    let _ = black_box(mptcp::decode_event(kind, attributes));
                }
            }
        }
    });
    400
}

fn encode_mptcp() -> usize {
    let endpoint = Endpoint {
        address: [192, 0, 2, 1].into(),
        port: 0,
        id: AddressId(7),
        flags: EndpointFlags::SUBFLOW,
        ifindex: IfIndex(3),
    };
    let end = SubflowAddress::at([192, 0, 2, 1].into(), 5000);
    let commands = [
        Kernel::SetLimits(Limits::default()),
        Kernel::AddEndpoint(endpoint),
        Kernel::DeleteEndpoint(endpoint),
        Kernel::DumpEndpoints,
        Kernel::CreateSubflow {
            token: Token::new(7),
            local: end,
            remote: end,
        },
    ];
    let mut buffer = [0; 4096];
    counted(&mut || {
        for _ in 0..100 {
            let mut out = Builder::new(&mut buffer);
            for command in black_box(&commands) {
                let _ = black_box(command.encode(&mut out, 30, Seq(1)));
            }
        }
    });
    500
}

/// An engine with a kernel that does what it is asked.
struct Host {
    engine: Engine,
    now: Instant,
    /// What its dumps show.
    links: Vec<Vec<u8>>,
    addresses: Vec<Vec<u8>>,
    routes: Vec<Vec<u8>>,
    endpoints: Vec<Endpoint>,
    limits: Limits,
}

impl Host {
    /// One uplink, and as many more interfaces as it takes to make `interfaces`, each with a
    /// usable address. All routes are default routes.
    fn new(plugin: &str, interfaces: u32) -> Self {
        let text = format!("[core]\nload-plugins = {plugin}\n");
        let loaded = config::parse("", text.as_bytes(), &Overrides::default(), BUILT_IN);
        let entries: Vec<_> = BUILT_IN.iter().filter(|e| e.name == plugin).collect();
        let now = Instant(1000);
        let up = IFF_UP | IFF_RUNNING;
        let own = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + (n << 8)));
        let mut host = Self {
            engine: Engine::new(now, loaded.expect("a configuration").config, &entries),
            now,
            links: (0..interfaces).map(|n| link(n, up)).collect(),
            addresses: (0..interfaces)
                .map(|n| address(n, true, 0, own(n)))
                .collect(),
            routes: (0..interfaces).map(default_route).collect(),
            endpoints: Vec::with_capacity(ROOM),
            limits: Limits::default(),
        };
        host.engine.handle(now, Input::PathManager(true));
        host.settle();
        host
    }

    fn dump(&self, part: Part) -> &[Vec<u8>] {
        match part {
            Part::Links => &self.links,
            Part::Addresses => &self.addresses,
            Part::Routes(route::Family::Ipv4) => &self.routes,
            _ => &[],
        }
    }

    fn event(&mut self, bytes: &[u8]) {
        for message in Messages::new(bytes).flatten() {
            if message.kind != 30 {
                if let Some(notification) = route::decode(message.kind, message.payload) {
                    self.engine.handle(self.now, Input::Network(&notification));
                }
            } else if let Some((kind, attributes)) = generic::parse_header(message.payload) {
                if let Ok(event) = mptcp::decode_event(kind, attributes) {
                    self.engine.handle(self.now, Input::Connection(&event));
                }
            }
        }
    }

    /// Lets the engine act until it waits, a second after the last event.
    fn settle(&mut self) {
        self.now.0 += 1000;
        loop {
            self.engine.settle(self.now);
            let Some((number, command)) = self.engine.poll_command(self.now) else {
                return;
            };
            self.carry_out(number, command);
        }
    }

    fn carry_out(&mut self, number: CommandId, command: Command) {
        let now = self.now;
        match command {
            Command::DumpNetwork(part, _) => {
                for at in 0..self.dump(part).len() {
                    let item = &self.dump(part)[at];
                    let message = Messages::new(item).flatten().next();
                    let item = message.and_then(|m| route::decode(m.kind, m.payload));
                    self.engine
                        .handle(now, Input::NetworkItem(&item.expect("an item")));
                }
                self.engine.handle(now, Input::NetworkEnd(part, Ok(())));
            }
            Command::AskWay(question) => {
                let way = default_route(question.holder.0 - INDEX);
                let message = Messages::new(&way).flatten().next().expect("a message");
                let way = route::decode_answer(message.kind, message.payload);
                let answer = way.as_ref().filter(|_| question.source.is_ipv4());
                self.engine.handle(now, Input::Way(question, Ok(answer)));
            }
            Command::DumpEndpoints => {
                for endpoint in &self.endpoints {
                    self.engine.handle(now, Input::Endpoint(*endpoint));
                }
                self.engine.handle(now, Input::EndpointsEnd(Ok(())));
            }
            Command::GetLimits => self.engine.handle(now, Input::Limits(Ok(self.limits))),
            Command::Diag(_) => self.engine.handle(now, Input::DiagEnd(Ok(()))),
            Command::DumpAddresses(token) => self
                .engine
                .handle(now, Input::ConnectionAddressesEnd(token, Ok(()))),
            Command::Subscribe(_) | Command::CheckReversePath(_) | Command::CloseListener(_) => {}
            Command::Probe(local) => self.engine.handle(now, Input::Listening(number, local)),
            Command::Route(_) | Command::Listen(_) | Command::Unlisten(_) => {
                self.engine.handle(now, Input::Done(number));
            }
            Command::PathManager(command) => {
                match command {
                    Kernel::AddEndpoint(_) if self.endpoints.len() == ROOM => {
                        let (errno, message) = (libc::ERANGE, "");
                        let failure = Failure { errno, message };
                        self.engine.handle(now, Input::Failed(number, failure));
                    }
                    Kernel::AddEndpoint(endpoint) => self.endpoints.push(endpoint),
                    Kernel::DeleteEndpoint(gone) => self.endpoints.retain(|e| e.id != gone.id),
                    Kernel::SetLimits(limits) => self.limits = limits,
                    _ => {}
                }
                self.engine.handle(now, Input::Done(number));
            }
        }
    }
}

/// An address of the uplink comes and goes, everything settled in between.
fn address_events(interfaces: u32) -> usize {
    let mut host = Host::new("addr_adv", interfaces);
    let events = [true, false].map(|there| address(0, there, 0, [10, 128, 0, 1].into()));
    counted(&mut || {
        for _ in 0..10 {
            for event in &events {
                host.event(event);
                host.settle();
            }
        }
    });
    20
}

fn carrier_events() -> usize {
    let mut host = Host::new("addr_adv", 10);
    let events = [IFF_UP, IFF_UP | IFF_RUNNING].map(|flags| link(0, flags));
    counted(&mut || {
        for _ in 0..10 {
            for event in &events {
                host.event(event);
                host.settle();
            }
        }
    });
    20
}

/// A thousand events, settled once.
fn storm() -> usize {
    let mut host = Host::new("addr_adv", 10);
    let events: Vec<_> = (0..500u32)
        .flat_map(|n| {
            [true, false].map(|there| address(0, there, 0, [10, 128, 0, (n % 50) as u8].into()))
        })
        .collect();
    counted(&mut || {
        for event in &events {
            host.event(event);
        }
        host.settle();
    });
    events.len()
}

/// Connections come and go while a thousand others stay.
fn connections() -> usize {
    let mut host = Host::new("sspi", 2);
    for n in 1..=1000 {
        host.event(&[1, 2].map(|kind| connection(kind, n)).concat());
    }
    host.settle();
    let events: Vec<_> = (2000..2100)
        .flat_map(|n| [1, 2, 3].map(|kind| connection(kind, n)))
        .collect();
    counted(&mut || {
        for event in &events {
            host.event(event);
            host.settle();
        }
    });
    100
}
