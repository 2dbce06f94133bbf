// SPDX-License-Identifier: BSD-3-Clause
//! The simulated kernel answers as the real one does: the same commands and the same changes of
//! the network, put to both, end in the same answers, the same events and the same state.

mod simulator;
mod support;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::mptcp::{AddressId, Command, Endpoint, EndpointFlags, Limits};
use mptcpd::internal::netlink::route::{Address, Family};
use mptcpd::internal::network::{IFF_RUNNING, IFF_UP, Part};
use simulator::network::kernel::{Kernel, Maker};
use simulator::network::words;
use support::peer::program;
use support::{Lab, until};

/// `kernel_client`, through which the daemon's own requests reach the real kernel.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(lab: &Lab) -> Self {
        let mut command = lab.host.command(program("kernel_client"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("nsenter");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut client = Self {
            child,
            input,
            output,
        };
        assert_eq!(client.line(), "ready");
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the client speaks");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the client listens");
        self.line()
    }

    fn list(&mut self, line: &str) -> Vec<String> {
        let mut lines = vec![self.ask(line)];
        while lines.last().is_some_and(|line| line != ".") {
            lines.push(self.line());
        }
        lines.pop();
        lines
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same numbers at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u32) -> u32 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(below)).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(u32::try_from(all.len()).unwrap())).unwrap()]
    }
}

const SEED: u64 = 0x2545_f491_4f6c_dd1d;
const ADDRESSES: [&str; 6] = [
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.1",
    "203.0.113.1",
    "2001:db8::1",
    "2001:db8::2",
];

/// The endpoints as [`support::Namespace::endpoints_with_ids`] tells them.
fn endpoints(kernel: &Kernel) -> Vec<(u8, String)> {
    const FLAGS: [(u32, &str); 5] = [
        (4, " backup"),
        (8, " fullmesh"),
        (16, " implicit"),
        (1, " signal"),
        (2, " subflow"),
    ];
    let tell = |e: &Endpoint| {
        let mut text = e.address.to_string();
        if e.port != 0 {
            text += &format!(" port {}", e.port);
        }
        for (bit, name) in FLAGS {
            text += if e.flags.0 & bit != 0 { name } else { "" };
        }
        if let Some(link) = kernel.links.iter().find(|l| l.index == e.ifindex) {
            text += &format!(" dev {}", link.name);
        }
        (e.id.0, text)
    };
    let mut all: Vec<_> = kernel.endpoints.iter().map(|(e, _)| tell(e)).collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    all
}

fn command(random: &mut Random) -> (Command, String) {
    let endpoint = Endpoint {
        address: random.of(&ADDRESSES).parse().unwrap(),
        port: random.of(&[0, 0, 0, 4000]),
        id: AddressId(u8::try_from(random.below(12)).unwrap()),
        flags: EndpointFlags(random.of(&[0, 1, 1, 2, 2, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 16])),
        ifindex: IfIndex(random.of(&[0, 0, 1])),
    };
    let Endpoint {
        address,
        port,
        id,
        flags,
        ifindex,
    } = endpoint;
    let text = format!("{address} {port} {id} {} {ifindex}", flags.0);
    match random.below(20) {
        0..11 => (Command::AddEndpoint(endpoint), format!("add {text}")),
        11..15 => {
            // The daemon knows the id of what it deletes; 0 is the initial subflow's.
            let id = id.max(AddressId(1));
            let text = format!("delete {address} {port} {id} {} {ifindex}", flags.0);
            (Command::DeleteEndpoint(Endpoint { id, ..endpoint }), text)
        }
        15..18 => (Command::SetFlags(endpoint), format!("flags {text}")),
        18 if random.below(8) == 0 => (Command::FlushEndpoints, "flush".to_owned()),
        _ => {
            let limits = Limits {
                subflows: random.below(11),
                add_addr_accepted: random.below(11),
            };
            let text = format!("limits {} {}", limits.subflows, limits.add_addr_accepted);
            (Command::SetLimits(limits), text)
        }
    }
}

#[test]
fn the_path_manager() {
    let Some(lab) = Lab::new() else { return };
    let mut client = Client::start(&lab);
    let mut kernel = Kernel::new(8, 0xff);
    let mut random = Random(SEED);
    let (mut told, mut refused) = (Vec::new(), 0);
    client.ask("limits 2 0");
    // Where a port is given the kernel listens there itself.
    for address in ADDRESSES {
        lab.host.ip(&format!("addr add {address} dev lo"));
    }
    for _ in 0..400 {
        let (command, text) = command(&mut random);
        let answer = kernel.command(&command, Maker::Other).err().unwrap_or(0);
        told.push(text);
        let last = told.last().unwrap();
        assert_eq!(client.ask(last), answer.to_string(), "after {told:#?}");
        assert_eq!(
            lab.host.endpoints_with_ids(),
            endpoints(&kernel),
            "after {told:#?}"
        );
        let limits = (kernel.limits.add_addr_accepted, kernel.limits.subflows);
        assert_eq!(lab.host.limits(), limits, "after {told:#?}");
        refused += u32::from(answer != 0);
    }
    assert!((100..300).contains(&refused), "{refused} refused");
}

// The network.

const LINKS: [&str; 3] = ["wan0", "wan1", "lan0"];

const LOCAL: [(&str, u8); 7] = [
    ("192.0.2.1", 24),
    ("192.0.2.1", 32),
    ("192.0.2.2", 24),
    ("198.51.100.1", 24),
    ("2001:db8:1::1", 64),
    ("2001:db8:1::2", 64),
    ("2001:db8:2::1", 128),
];

/// One change, for the simulated kernel and as `ip` says it.
fn change(kernel: &mut Kernel, random: &mut Random) -> String {
    let name = random.of(&LINKS);
    let there = kernel.link(name).map(|link| (link.index, link.flags));
    let Some((index, flags)) = there else {
        let index = kernel.next_index();
        kernel.set_link(name, 0, 0);
        return format!(
            "link add {name} index {index} type veth peer name {name} index 50{index} netns OUTSIDE"
        );
    };
    let (text, len) = random.of(&LOCAL);
    let local: IpAddr = text.parse().unwrap();
    let family = Family::of(local);
    let gateway: Option<IpAddr> = match family {
        Family::Ipv4 => random.of(&[None, Some([192, 0, 2, 99].into())]),
        Family::Ipv6 => random.of(&[None, Some([0xfe80, 0, 0, 0, 0, 0, 0, 9].into())]),
    };
    let metric = 1 + random.below(3);
    let table = random.of(&[254, 254, 100]);
    let any = if local.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    let six = if local.is_ipv6() { "-6 " } else { "" };
    let width = if local.is_ipv4() { 32 } else { 128 };
    match random.below(20) {
        0..5 => {
            let (flags, state) = random.of(&[
                (IFF_UP | IFF_RUNNING, "up"),
                (IFF_UP | IFF_RUNNING, "up"),
                (0, "down"),
            ]);
            if (flags ^ kernel.link(name).unwrap().flags) & IFF_UP != 0 {
                kernel.set_link(name, flags, 0);
            }
            format!("link set {name} {state}")
        }
        5 => {
            kernel.remove_link(name);
            format!("link del {name}")
        }
        6..12 => {
            let deprecated = local.is_ipv6() && random.below(3) == 0;
            let flags = 0x80 | if deprecated { 0x20 } else { 0 };
            let life = if deprecated { "preferred_lft 0" } else { "" };
            kernel.add_address(Address {
                index,
                local,
                peer: None,
                prefix_len: len,
                flags,
                scope: 0,
            });
            format!("addr replace {text}/{len} dev {name} {life}")
        }
        12..15 => {
            kernel
                .remove_addresses(|a| a.index == index && (a.local, a.prefix_len) == (local, len));
            format!("addr del {text}/{len} dev {name}")
        }
        15 | 16 if flags & IFF_UP != 0 || random.below(4) == 0 => {
            kernel.set_default_route(index, gateway, family, table, metric);
            let via = gateway.map_or(String::new(), |ip| format!("via {ip} onlink"));
            format!("route add {any} {via} dev {name} table {table} metric {metric}")
        }
        15..18 => {
            kernel.remove_default_route(index, family, table, metric);
            format!("route del {any} dev {name} table {table} metric {metric}")
        }
        kind => {
            kernel.set_source_rule(local, table, kind == 18);
            let verb = if kind == 18 { "add" } else { "del" };
            format!("{six}rule {verb} from {text}/{width} lookup {table} priority 1000")
        }
    }
}

/// What has been told of each thing.
#[derive(Default)]
struct Told(BTreeMap<Vec<String>, String>);

impl Told {
    /// The news of some events: the last state of each thing, if it was another before.
    fn news(&mut self, events: &[String]) -> Vec<String> {
        let before = self.0.clone();
        for event in events {
            let words: Vec<_> = event.split(' ').map(str::to_owned).collect();
            let subject = match words[0].as_str() {
                "link" => 2,
                "address" => 4,
                _ => 6,
            };
            self.0.insert(words[..subject].to_vec(), event.clone());
        }
        let news = self
            .0
            .iter()
            .filter(|(of, state)| before.get(*of) != Some(state));
        news.map(|(_, state)| state.clone()).collect()
    }
}

#[test]
fn the_network() {
    let Some(lab) = Lab::new() else { return };
    let mut client = Client::start(&lab);
    let mut kernel = Kernel::new(8, 0xff);
    kernel.events.clear();
    let mut random = Random(SEED);
    let mut told: Vec<String> = Vec::new();
    let (mut told_by_real, mut told_by_simulated) = (Told::default(), Told::default());
    for _ in 0..600 {
        let text = change(&mut kernel, &mut random);
        lab.host
            .ip_any(&text.replace("OUTSIDE", &lab.outside.pid().to_string()));
        if text.starts_with("link add") {
            for name in LINKS {
                lab.outside.ip_any(&format!("link set {name} up"));
            }
        }
        told.push(text);
        let recent = &told[told.len().saturating_sub(40)..];
        for (name, parts) in [
            ("links", &[Part::Links][..]),
            ("addresses", &[Part::Addresses]),
            (
                "routes",
                &[Part::Routes(Family::Ipv4), Part::Routes(Family::Ipv6)],
            ),
            (
                "rules",
                &[Part::Rules(Family::Ipv4), Part::Rules(Family::Ipv6)],
            ),
        ] {
            let items = parts.iter().flat_map(|part| kernel.dump(*part));
            let mut simulated: Vec<_> = items.filter_map(|item| words::of(&item)).collect();
            simulated.sort();
            let mut real = Vec::new();
            let same = until(|| {
                real = client.list(&format!("dump {name}"));
                real.sort();
                real == simulated
            });
            assert!(
                same,
                "{name}: simulated {simulated:#?}, real {real:#?} after {recent:#?}"
            );
        }
        let simulated: Vec<_> = kernel
            .events
            .drain(..)
            .filter_map(|e| words::of(&e))
            .collect();
        let simulated = told_by_simulated.news(&simulated);
        let real = told_by_real.news(&client.list("events"));
        assert_eq!(real, simulated, "after {recent:#?}");
    }
}
