// SPDX-License-Identifier: BSD-3-Clause
//! A host in a network namespace of its own, with cables to a second namespace outside.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::Seq;
use mptcpd::internal::netlink::attribute::{Builder, Full};
use mptcpd::internal::netlink::generic::{self, Controller};
use mptcpd::internal::netlink::message::Messages;
use mptcpd::internal::netlink::mptcp::{self, AddressId, Endpoint, EndpointFlags};
use mptcpd::internal::netlink::route::{self, Notification};
use mptcpd::internal::network::{IFF_RUNNING, IFF_UP};
use mptcpd::internal::sys::netlink::{Received, Socket};

use crate::process::own_cpu;

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE_NEW: u16 = 0x600;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;

/// Where the interfaces' indexes begin at home and outside. The two ends of a cable differ: the
/// kernel then reports a lost carrier at once, and otherwise up to a second late.
const HOME: u32 = 10_000;
const OUTSIDE: u32 = 20_000;

pub struct Lab {
    home: File,
    outside: File,
    /// Keeps the outside namespace, and gives `ip` a name for it.
    keeper: Child,
    /// rtnetlink at home and outside.
    route: Requests,
    route_outside: Requests,
    manager: Requests,
    /// Of the path manager.
    pub family: u16,
    /// The interfaces.
    links: u32,
}

impl Lab {
    /// Two empty namespaces; the process is in the first one afterwards.
    pub fn new() -> io::Result<Self> {
        new_namespace()?;
        let outside = File::open("/proc/self/ns/net")?;
        let keeper = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let route_outside = Requests::open(libc::NETLINK_ROUTE)?;
        new_namespace()?;
        let mut lab = Self {
            home: File::open("/proc/self/ns/net")?,
            outside,
            keeper,
            route: Requests::open(libc::NETLINK_ROUTE)?,
            route_outside,
            manager: Requests::open(libc::NETLINK_GENERIC)?,
            family: 0,
            links: 0,
        };
        lab.family = lab.find_family()?;
        ip("link set lo up")?;
        Ok(lab)
    }

    fn find_family(&mut self) -> io::Result<u16> {
        let mut family = None;
        let name = mptcp::FAMILY_NAME;
        self.manager.ask(
            |out| generic::get_family(out, Seq(1), name),
            &mut |_, payload| {
                if let Some(Controller::New(found)) = generic::decode(payload) {
                    family = Some(found.id);
                }
            },
        )?;
        family.ok_or_else(|| io::Error::other("no family mptcp_pm"))
    }

    /// Runs a function in the outside namespace.
    pub fn outside<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        enter(&self.outside)?;
        let result = run();
        enter(&self.home)?;
        result
    }

    /// More cables, all up: `w0`, `w1`, ... at home, each with an address of `scope`.
    pub fn links(&mut self, count: u32, scope: &str) -> io::Result<()> {
        let first = self.links;
        self.links += count;
        let (mut home, mut outside) = (String::new(), String::new());
        for n in first..self.links {
            let (index, peer, pid) = (HOME + n, OUTSIDE + n, self.keeper.id());
            home += &format!(
                "link add w{n} index {index} type veth peer name w{n} index {peer} netns {pid}\n\
                 link set w{n} up\naddr add {}/24 dev w{n} scope {scope}\n",
                home_address(n),
            );
            outside += &format!(
                "link set w{n} up\naddr add {}/24 dev w{n}\n",
                outside_address(n)
            );
        }
        ip(&home)?;
        self.outside(|| ip(&outside))?;
        self.await_carriers()
    }

    /// Waits until every cable is known to be plugged in, which the kernel may say late.
    fn await_carriers(&mut self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            let mut running = 0;
            self.route.ask(
                |out| route::dump_links(out, Seq(1)),
                &mut |kind, payload| {
                    if let Some(Notification::Link(link)) = route::decode(kind, payload) {
                        const READY: u32 = IFF_UP | IFF_RUNNING;
                        running += u32::from(link.index.0 >= HOME && link.flags & READY == READY);
                    }
                },
            )?;
            if running == self.links {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("no carrier"));
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Adds or deletes addresses of `w0`, as many with one system call as fit.
    pub fn addresses(&mut self, changes: &[(bool, Ipv4Addr)]) -> io::Result<()> {
        for changes in changes.chunks(64) {
            self.route.send(changes.len(), |out| {
                for (add, address) in changes {
                    let (kind, flags) = match add {
                        true => (RTM_NEWADDR, CREATE_NEW),
                        false => (RTM_DELADDR, 0),
                    };
                    out.message(kind, REQUEST | ACK | flags, Seq(1));
                    out.raw(&[AF_INET, 32, 0, 0]);
                    out.raw(&HOME.to_ne_bytes());
                    out.ip(IFA_LOCAL, &IpAddr::V4(*address));
                    out.ip(IFA_ADDRESS, &IpAddr::V4(*address));
                    out.end()?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub fn address(&mut self, add: bool, address: Ipv4Addr) -> io::Result<()> {
        self.addresses(&[(add, address)])
    }

    /// Pulls or plugs the cable of `w0` at its far end.
    pub fn carrier(&mut self, there: bool) -> io::Result<()> {
        let flags = if there { IFF_UP } else { 0 };
        self.route_outside.send(1, |out| {
            out.message(RTM_NEWLINK, REQUEST | ACK, Seq(1));
            out.raw(&[0; 4]);
            out.raw(&OUTSIDE.to_ne_bytes());
            out.raw(&flags.to_ne_bytes());
            out.raw(&IFF_UP.to_ne_bytes());
            out.end()
        })
    }

    /// Hands every endpoint to `each`.
    fn endpoints(&mut self, each: &mut dyn FnMut(Endpoint)) -> io::Result<()> {
        let family = self.family;
        self.manager.ask(
            |out| mptcp::Command::DumpEndpoints.encode(out, family, Seq(1)),
            &mut |kind, payload| {
                if let Some((_, attributes)) =
                    generic::parse_header(payload).filter(|_| kind == family)
                {
                    mptcp::decode_endpoint(attributes).map(&mut *each);
                }
            },
        )
    }

    pub fn has_endpoint(&mut self, address: Ipv4Addr) -> io::Result<bool> {
        let mut found = false;
        self.endpoints(&mut |endpoint| found |= endpoint.address == IpAddr::V4(address))?;
        Ok(found)
    }

    /// Looks every few microseconds until the endpoint is there, or gone; `None` if it does not come
    /// to that within `limit` of `since`.
    pub fn await_endpoint(
        &mut self,
        there: bool,
        address: Ipv4Addr,
        since: Instant,
        limit: Duration,
    ) -> io::Result<Option<Duration>> {
        loop {
            let found = self.has_endpoint(address)?;
            let passed = since.elapsed();
            if found == there {
                return Ok(Some(passed));
            }
            if passed > limit {
                return Ok(None);
            }
            // Long enough for the daemon to have the processor if there is only one.
            sleep(Duration::from_micros(5));
        }
    }

    /// Adds or deletes an endpoint as a daemon would.
    pub fn change_endpoint(&mut self, add: bool, address: Ipv4Addr) -> io::Result<Took> {
        let endpoint = Endpoint {
            address: IpAddr::V4(address),
            port: 0,
            id: AddressId(200),
            flags: EndpointFlags::SUBFLOW,
            ifindex: IfIndex(HOME),
        };
        let command = match add {
            true => mptcp::Command::AddEndpoint(endpoint),
            false => mptcp::Command::DeleteEndpoint(endpoint),
        };
        let family = self.family;
        let (start, cpu) = (Instant::now(), own_cpu());
        self.manager
            .send(0, |out| command.encode(out, family, Seq(1)))?;
        Ok(Took {
            passed: start.elapsed(),
            cpu: own_cpu().saturating_sub(cpu),
        })
    }
}

/// What the kernel needs for a command.
pub struct Took {
    pub passed: Duration,
    pub cpu: Duration,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// The address of `wN` at home.
pub fn home_address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0001 + (n << 8))
}

pub fn outside_address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0002 + (n << 8))
}

/// The addresses of all endpoints, as `ip` shows them.
pub fn shown_endpoints() -> io::Result<BTreeSet<Ipv4Addr>> {
    let output = Command::new("ip").args(["mptcp", "endpoint"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect())
}

/// What waits in netlink sockets of the namespace, in bytes, and how many messages were lost.
pub fn netlink_sockets() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/net/netlink")?;
    let column = |line: &str, at: usize| -> u64 {
        let word = line.split_whitespace().nth(at);
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let lines = || text.lines().skip(1);
    Ok((
        lines().map(|line| column(line, 4)).sum(),
        lines().map(|line| column(line, 8)).sum(),
    ))
}

/// Runs `ip` commands, one a line.
pub fn ip(lines: &str) -> io::Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = ip.stdin.take() {
        input.write_all(lines.as_bytes())?;
    }
    match ip.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("`ip` failed")),
    }
}

pub fn sysctl(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
}

fn new_namespace() -> io::Result<()> {
    // SAFETY: takes a plain number; the process has one thread.
    result(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    // Duplicate address detection would end in an event of its own.
    sysctl("ipv6/conf/all/accept_dad", "0")?;
    sysctl("ipv6/conf/default/accept_dad", "0")
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: takes plain numbers; the process has one thread.
    result(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

fn result(code: i32) -> io::Result<()> {
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A netlink socket for requests.
struct Requests {
    socket: Socket,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Requests {
    fn open(protocol: i32) -> io::Result<Self> {
        let socket = Socket::open(protocol)?;
        socket.set_receive_buffer(4 << 20);
        Ok(Self {
            socket,
            out: vec![0; 8192],
            answer: vec![0; 32 << 10],
        })
    }

    /// Sends what `build` writes, of which `acks` messages ask to be acknowledged.
    fn send(
        &mut self,
        acks: usize,
        build: impl FnOnce(&mut Builder<'_>) -> Result<(), Full>,
    ) -> io::Result<()> {
        let mut out = Builder::new(&mut self.out);
        build(&mut out).map_err(io::Error::other)?;
        self.socket.send(out.bytes())?;
        for _ in 0..acks {
            self.receive(&mut |_, _| ())?;
        }
        Ok(())
    }

    /// Sends a request and hands kind and payload of what comes back to `each`.
    fn ask(
        &mut self,
        build: impl FnOnce(&mut Builder<'_>) -> Result<(), Full>,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let mut out = Builder::new(&mut self.out);
        build(&mut out).map_err(io::Error::other)?;
        self.socket.send(out.bytes())?;
        while !self.receive(each)? {}
        Ok(())
    }

    /// Reads one datagram; answers whether it holds the end of an answer. Refusals are errors.
    fn receive(&mut self, each: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
        let Some(Received::Datagram(datagram)) = self.socket.receive(&mut self.answer)? else {
            return Err(io::Error::other("no answer from the kernel"));
        };
        let mut end = false;
        for message in Messages::new(datagram).flatten() {
            each(message.kind, message.payload);
            if let Some(ack) = message.ack() {
                if ack.errno != 0 {
                    return Err(io::Error::from_raw_os_error(ack.errno));
                }
                end = true;
            }
        }
        Ok(end)
    }
}
