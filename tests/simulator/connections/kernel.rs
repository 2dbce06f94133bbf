// SPDX-License-Identifier: BSD-3-Clause
//! The kernel's connections, with the answers that Linux 6.18 gives.

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::diag;
use mptcpd::internal::netlink::mptcp::{
    AddressId, Command, ConnectionEvent, Endpoint, EndpointFlags, Event, SubflowEvent, Token,
};
use mptcpd::internal::netlink::route::{Link, Name, Notification};
use mptcpd::internal::plugin::Request;
use mptcpd::internal::time::{Duration, Instant};

use super::super::MISMATCH;
use super::super::events::Events;
use super::Change;

const INTERFACES: [&str; 3] = ["wan0", "wan1", "lte0"];
/// A program listens there on all addresses, and at the other port on the connection's alone.
const SERVED: u16 = 5001;
pub const UNSERVED: u16 = 5000;
/// How long a subflow takes to be made.
const ROUND_TRIP: Duration = Duration::from_millis(25);

pub fn index(interface: u8) -> IfIndex {
    IfIndex(u32::from(interface % 3) + 2)
}

pub fn here(interface: u8) -> IpAddr {
    [10, 0, interface % 3, 1].into()
}

/// The token of a connection of a history.
pub fn token(number: u8) -> Token {
    Token::new(number.into())
}

fn there(number: u8) -> IpAddr {
    [192, 0, 2, number % 3 + 1].into()
}

pub type Ends = (SocketAddr, SocketAddr);

#[derive(Clone, Copy)]
pub struct Path {
    pub event: SubflowEvent,
    ours: bool,
    /// When the peer answers, if it has not yet.
    pub pending: Option<Instant>,
}

impl Path {
    fn new(token: Token, (local, remote): Ends, local_id: AddressId, remote_id: AddressId) -> Self {
        let event = SubflowEvent {
            token,
            local,
            remote,
            local_id,
            remote_id,
            backup: false,
            ifindex: IfIndex::NONE,
            error: 0,
            reset_reason: None,
            reset_flags: 0,
            mapped: false,
        };
        Self {
            event,
            ours: false,
            pending: None,
        }
    }

    pub fn ends(&self) -> Ends {
        (self.event.local, self.event.remote)
    }

    pub fn is_on(&self, interface: u8) -> bool {
        self.event.local.ip() == here(interface)
    }
}

pub struct Connection {
    pub event: ConnectionEvent,
    pub established: bool,
    pub closing: bool,
    pub subflows: Vec<Path>,
    /// The addresses that the path manager has, with SIGNAL where they were announced.
    pub known: Vec<Endpoint>,
    /// What the peer has been told of.
    pub announced: BTreeMap<AddressId, IpAddr>,
}

impl Connection {
    /// As `mptcp_userspace_pm_append_new_local_addr`: both fit, or none.
    fn append(&mut self, id: AddressId, address: IpAddr, flags: u32) -> Result<(), i32> {
        let mut known = self.known.iter();
        match known.find(|k| k.id == id || k.address == address) {
            Some(k) if (k.id, k.address) != (id, address) => Err(MISMATCH),
            Some(_) => Ok(()),
            None => {
                self.known.push(Endpoint {
                    address,
                    port: 0,
                    id,
                    flags: EndpointFlags(flags),
                    ifindex: IfIndex::NONE,
                });
                Ok(())
            }
        }
    }
}

#[derive(Default)]
pub struct Kernel {
    pub up: [bool; 3],
    pub connections: BTreeMap<Token, Connection>,
    pub events: Events<Event>,
    pub network: VecDeque<Notification>,
    pub next_port: u16,
    pub unreachable: u8,
    pub listeners: Vec<SocketAddr>,
}

impl Kernel {
    fn port(&mut self) -> u16 {
        self.next_port += 1;
        30_000 + self.next_port
    }

    pub fn is_up(&self, interface: u8) -> bool {
        self.up[usize::from(interface % 3)]
    }

    pub fn link(&self, interface: u8) -> Notification {
        Notification::Link(Link {
            index: index(interface),
            flags: if self.is_up(interface) { 0x41 } else { 0 },
            name: Name::try_from(INTERFACES[usize::from(interface)]).unwrap(),
            vrf_table: 0,
            tunnel: false,
        })
    }

    /// Ends subflows, with an event for each.
    pub fn end(&mut self, token: Token, ends: impl Fn(&Path) -> bool, error: u8) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let (gone, stay): (Vec<_>, _) = connection.subflows.iter().partition(|p| ends(p));
        connection.subflows = stay;
        for path in gone {
            let event = path.event;
            self.events
                .tell(Event::SubflowClosed(SubflowEvent { error, ..event }));
        }
    }

    fn open(&mut self, token: Token, interface: u8, server_side: bool) {
        let queued = self.events.iter().any(|e| token_of(e) == Some(token));
        if queued || self.connections.contains_key(&token) || !self.is_up(interface) {
            return;
        }
        let own = self.port();
        let (near, far) = match (server_side, token.get() % 2) {
            (true, 0) => (UNSERVED, own),
            (true, _) => (SERVED, own),
            (false, _) => (own, 80),
        };
        let ends = ((here(interface), near).into(), (there(0), far).into());
        let event = ConnectionEvent {
            token,
            local: ends.0,
            remote: ends.1,
            server_side,
            deny_join_id0: false,
            mapped: false,
        };
        let initial = Path {
            ours: !server_side,
            ..Path::new(token, ends, AddressId::INITIAL, AddressId::INITIAL)
        };
        let connection = Connection {
            event,
            established: false,
            closing: false,
            subflows: vec![initial],
            known: Vec::new(),
            announced: BTreeMap::new(),
        };
        self.connections.insert(token, connection);
        self.events.tell(Event::Created(event));
    }

    pub fn change(&mut self, change: Change) {
        let token = match change {
            Change::Open(number, interface, server_side) => {
                return self.open(token(number), interface, server_side);
            }
            Change::Link(interface, up) => {
                self.up[usize::from(interface % 3)] = up;
                return self.network.push_back(self.link(interface % 3));
            }
            Change::Unreachable(times) => return self.unreachable = times,
            Change::Full => return self.events.full = true,
            Change::Repeat(n) => {
                let at = usize::from(n) % self.events.len().max(1);
                if let Some(closed @ Event::SubflowClosed(_)) = self.events.get(at).copied() {
                    self.events.insert(at, closed);
                }
                return;
            }
            Change::Swap(n) => {
                let at = usize::from(n) % self.events.len().max(1);
                let others = |two: (&Event, &Event)| token_of(two.0) != token_of(two.1);
                if self
                    .events
                    .get(at)
                    .zip(self.events.get(at + 1))
                    .is_some_and(others)
                {
                    self.events.swap(at, at + 1);
                }
                return;
            }
            Change::Establish(number)
            | Change::Fin(number)
            | Change::Close(number)
            | Change::Announce(number, _)
            | Change::Remove(number, _)
            | Change::Join(number, ..)
            | Change::Rename(number, ..)
            | Change::Die(number, ..) => token(number),
        };
        let port = self.port();
        let is_up = |interface: u8| self.up[usize::from(interface % 3)];
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let alive = connection.established && !connection.closing;
        let event = match change {
            Change::Establish(_) if !connection.established => {
                connection.established = true;
                Event::Established(connection.event)
            }
            Change::Close(_) => {
                self.connections.remove(&token);
                Event::Closed { token }
            }
            _ if !alive => return,
            Change::Rename(_, interface, id) => {
                // Refused where it stands in the way of what there is.
                let _ = connection.append(AddressId(id), here(interface), 0);
                return;
            }
            Change::Fin(_) => {
                connection.closing = true;
                return;
            }
            Change::Announce(_, number) => Event::Announced {
                token,
                remote_id: AddressId(number % 3 + 1),
                address: there(number),
                port: 80,
            },
            Change::Remove(_, number) => Event::Removed {
                token,
                remote_id: AddressId(number % 3 + 1),
            },
            Change::Join(_, interface, number) if connection.event.server_side => {
                let address = here(interface);
                // Only where it has been told of somebody.
                let initial = connection.event.local;
                let invited = connection.announced.values().any(|a| *a == address);
                if !is_up(interface) || !(invited || initial.ip() == address) {
                    return;
                }
                let known = connection.known.iter().find(|k| k.address == address);
                let ends = (
                    (address, initial.port()).into(),
                    (there(number), port).into(),
                );
                let id = known.map_or(AddressId::INITIAL, |k| k.id);
                let path = Path::new(token, ends, id, AddressId(number % 3 + 1));
                connection.subflows.push(path);
                Event::SubflowEstablished(path.event)
            }
            Change::Die(_, n, silent) if !connection.subflows.is_empty() => {
                let at = usize::from(n) % connection.subflows.len();
                let gone = connection.subflows.remove(at).event;
                let nowhere: SocketAddr = ([0, 0, 0, 0], 0).into();
                Event::SubflowClosed(SubflowEvent {
                    local: if silent { nowhere } else { gone.local },
                    remote: if silent { nowhere } else { gone.remote },
                    error: 104,
                    ..gone
                })
            }
            _ => return,
        };
        self.events.tell(event);
    }

    pub fn pending(&self) -> Option<Instant> {
        let all = self.connections.values().flat_map(|c| &c.subflows);
        all.filter_map(|path| path.pending).min()
    }

    /// Peers answer to what was asked for.
    pub fn answer_peers(&mut self, now: Instant) {
        let due = |path: &Path| path.pending.is_some_and(|at| at <= now);
        for token in self.connections.keys().copied().collect::<Vec<_>>() {
            while let Some(connection) = self.connections.get_mut(&token) {
                let mut paths = connection.subflows.iter_mut();
                let Some(path) = paths.find(|path| due(path)) else {
                    break;
                };
                let interface = (0..3).find(|n| path.is_on(*n)).unwrap();
                let up = self.up[usize::from(interface)];
                if connection.closing || !up || self.unreachable > 0 {
                    self.unreachable = self.unreachable.saturating_sub(1);
                    let ends = path.ends();
                    self.end(token, |path| path.ends() == ends, 111);
                } else {
                    path.pending = None;
                    let event = path.event;
                    self.events.tell(Event::SubflowEstablished(event));
                }
            }
        }
    }

    /// Carries out a command.
    pub fn command(&mut self, now: Instant, command: &Command) -> Result<(), i32> {
        let port = self.port();
        let Some(token) = Request::Kernel(*command).token() else {
            return Ok(());
        };
        let up = self.up;
        let connection = self.connections.get_mut(&token).ok_or(libc::EINVAL)?;
        match *command {
            Command::Announce { address, .. } => {
                assert_ne!(address.id, AddressId::NONE, "an announcement without an id");
                connection.append(address.id, address.address, EndpointFlags::SIGNAL.0)?;
                connection.announced.insert(address.id, address.address);
            }
            Command::RemoveAddress { id, .. } => {
                let known = connection.known.iter().position(|k| k.id == id);
                connection.known.remove(known.ok_or(libc::EINVAL)?);
                connection.announced.remove(&id);
                // The peer closes what it has there.
                self.end(token, |path| path.event.local_id == id, 0);
            }
            Command::CreateSubflow { local, remote, .. } => {
                if connection.closing || !connection.established {
                    return Err(libc::ENOTCONN);
                }
                connection.append(local.id, local.address, 0)?;
                if (0..3).any(|n| here(n) == local.address && !up[usize::from(n)]) {
                    connection.known.retain(|k| k.id != local.id);
                    return Err(libc::ENETUNREACH);
                }
                let ends = ((local.address, port).into(), remote.socket());
                let mut path = Path::new(token, ends, local.id, remote.id);
                path.event.ifindex = local.ifindex;
                path.ours = true;
                path.pending = Some(now + ROUND_TRIP);
                connection.subflows.push(path);
            }
            Command::DestroySubflow { local, remote, .. } => {
                let ends = (local.socket(), remote.socket());
                let mut paths = connection.subflows.iter();
                if connection.closing || !paths.any(|path| path.ends() == ends) {
                    return Err(libc::ESRCH);
                }
                // The address is forgotten with it, and cannot be withdrawn any more.
                connection.known.retain(|k| k.address != local.address);
                self.end(token, |path| path.ends() == ends, 0);
            }
            _ => panic!("nobody asks for this: {command:?}"),
        }
        Ok(())
    }

    /// The dump of connections.
    pub fn connections(&self) -> Vec<diag::Connection> {
        let shown = self.connections.values().map(|c| diag::Connection {
            token: c.event.token,
            ends: ends((c.event.local, c.event.remote)),
            established: !c.closing,
            fallback: false,
        });
        shown.collect()
    }

    /// The dump of subflows.
    pub fn subflows(&self) -> Vec<diag::Subflow> {
        let open = self.connections.values().filter(|c| !c.closing);
        let all = open.flat_map(|c| c.subflows.iter().map(move |path| (c, path)));
        let shown = all.map(|(c, path)| diag::Subflow {
            token: c.event.token,
            ends: ends(path.ends()),
            local_id: path.event.local_id,
            remote_id: path.event.remote_id,
            ifindex: path.event.ifindex,
            backup_here: false,
            backup_there: false,
            opened_here: path.ours,
            initial: false,
            established: path.pending.is_none(),
            retransmissions: 0,
            fully_established: c.established,
        });
        shown.collect()
    }
}

fn ends((local, remote): Ends) -> diag::Ends {
    diag::Ends {
        local,
        remote,
        mapped: false,
    }
}

pub fn token_of(event: &Event) -> Option<Token> {
    match event {
        Event::Created(c) | Event::Established(c) => Some(c.token),
        Event::Closed { token } | Event::Announced { token, .. } | Event::Removed { token, .. } => {
            Some(*token)
        }
        Event::SubflowEstablished(s) | Event::SubflowClosed(s) | Event::SubflowPriority(s) => {
            Some(s.token)
        }
        Event::ListenerCreated { .. } | Event::ListenerClosed { .. } => None,
    }
}
