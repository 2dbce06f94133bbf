// SPDX-License-Identifier: BSD-3-Clause
//! Connections of the in-kernel path manager, as Linux 6.18 keeps them: it tries a join once, for
//! an endpoint that is new, ends the subflows of one that is deleted, and forgets a connection
//! that has had no subflow for a minute. The peer hears late of an address that is removed, and when no
//! path works, not before one does: what has been joined by its id meanwhile ends.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::diag::{self, Ends};
use mptcpd::internal::netlink::mptcp::{
    AddressId, Endpoint, EndpointFlags, Event, SubflowEvent, Token,
};
use mptcpd::internal::netlink::route::{Family, Route};
use mptcpd::internal::network::{IFF_RUNNING, IFF_UP};
use mptcpd::internal::time::{Duration, Instant};

use super::super::events::Events;
use super::kernel::{Kernel, Maker};

/// `net.mptcp.close_timeout`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the peer takes to hear of an address that is removed, longer than a join.
const HEARS: Duration = Duration::from_millis(50);
/// What is newer than this a look may have come too early for.
const LOOK: Duration = Duration::from_millis(200);
/// More connections would only make histories longer.
const MOST: usize = 8;

/// What happens to connections, and to their subflows. Numbers count from the first of all there
/// are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// Opens a connection from one of the addresses that work.
    Connect(u8),
    /// The peer of a connection accepts no joins any more.
    RefuseJoins(u8),
    /// The connection is closed by its program.
    Disconnect(u8),
    /// A subflow is reset.
    Reset(u8),
    /// So many joins to come fail at once.
    FailJoins(u8),
    /// The SYN of so many joins to come is lost, and all that follow it.
    LoseJoins(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subflow {
    pub local: IpAddr,
    id: AddressId,
    port: u16,
    pub established: bool,
}

/// Without subflows.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    since: Instant,
    /// The daemon has taken away its last subflow.
    by_daemon: bool,
    /// It could have had another one all the time.
    can_join: bool,
}

#[derive(Clone, Debug)]
pub struct Connection {
    token: u32,
    /// Of its first subflow. Its address has id 0.
    first: SocketAddr,
    pub subflows: Vec<Subflow>,
    pub refuses_joins: bool,
    /// When it was opened or a subflow of its was reset.
    changed: Instant,
    /// Ids of addresses that the peer has yet to hear of, and when.
    removed: Vec<(AddressId, Instant)>,
    orphan: Option<Orphan>,
    /// How often joins from an address have failed in a row.
    failed: BTreeMap<IpAddr, u32>,
}

#[derive(Default)]
pub struct Connections {
    pub all: Vec<Connection>,
    pub events: Events<Event>,
    /// Those that ended although the daemon could have had them live.
    pub lost: Vec<Connection>,
    /// Where endpoints were there for old subflows only when the daemon last looked.
    pub kept: Vec<IpAddr>,
    /// Commands have been refused, which the daemon may take for joins that fail.
    pub refusals: bool,
    fail_joins: u8,
    lose_joins: u8,
    opened: u16,
    now: Instant,
}

impl Connection {
    pub fn has_from(&self, address: IpAddr) -> bool {
        self.subflows.iter().any(|s| s.local == address)
    }

    /// How many subflows it has beside the first one.
    pub fn joined(&self) -> usize {
        let joined = |s: &&Subflow| s.port != self.first.port();
        self.subflows.iter().filter(joined).count()
    }

    pub fn family(&self) -> Family {
        Family::of(self.first.ip())
    }

    fn peer(&self) -> SocketAddr {
        let address: IpAddr = match self.family() {
            Family::Ipv4 => [203, 0, 113, 250].into(),
            Family::Ipv6 => [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1].into(),
        };
        (address, 443).into()
    }

    fn event(&self, subflow: &Subflow) -> Event {
        Event::SubflowClosed(SubflowEvent {
            token: Token::new(self.token),
            local: (subflow.local, subflow.port).into(),
            remote: self.peer(),
            local_id: subflow.id,
            remote_id: AddressId(0),
            backup: false,
            ifindex: IfIndex::NONE,
            error: 111,
            reset_reason: None,
            reset_flags: 0,
            mapped: false,
        })
    }

    /// Ends some of its subflows. Returns whether there were any.
    fn end(
        &mut self,
        events: &mut Events<Event>,
        now: Instant,
        by_daemon: bool,
        ends: impl Fn(&Subflow) -> bool,
    ) -> bool {
        let (gone, stay): (Vec<_>, Vec<_>) = self.subflows.iter().partition(|s| ends(s));
        self.subflows = stay;
        for subflow in &gone {
            events.tell(self.event(subflow));
        }
        if !gone.is_empty() && self.subflows.is_empty() {
            let since = now;
            let looked = self.changed + LOOK < now;
            let by_daemon = by_daemon && looked && gone.iter().any(|s| s.established);
            self.orphan = Some(Orphan {
                since,
                by_daemon,
                can_join: true,
            });
        }
        !gone.is_empty()
    }
}

impl Connections {
    /// A dump of all there are, of a family.
    pub fn dump(&self, family: Family) -> Vec<diag::Connection> {
        let of_family = self.all.iter().filter(|c| c.family() == family);
        let shown = of_family.map(|c| diag::Connection {
            token: Token::new(c.token),
            ends: Ends {
                local: c.first,
                remote: c.peer(),
                mapped: false,
            },
            established: true,
            fallback: false,
        });
        shown.collect()
    }

    pub fn deadline(&self) -> Option<Instant> {
        let orphans = self.all.iter().filter_map(|c| c.orphan);
        let ends = orphans.map(|orphan| orphan.since + CLOSE_TIMEOUT);
        let removed = self.all.iter().flat_map(|c| &c.removed);
        let heard = removed.map(|(_, at)| *at).filter(|at| *at > self.now);
        ends.chain(heard).min()
    }

    pub fn end_faults(&mut self) {
        self.fail_joins = 0;
        self.lose_joins = 0;
    }
}

impl Kernel {
    /// Whether packets from an address reach the peer.
    pub fn path_works(&self, address: IpAddr) -> bool {
        let on_link = |index| {
            let runs = |flags: u32| flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING;
            let mut links = self.links.iter();
            links.any(|l| l.index == index && runs(l.flags))
        };
        let all = self.addresses.iter();
        let mut holders = all.filter(|a| a.local == address && !address.is_loopback());
        // The endpoint's device may be one without an address of its own.
        let bound = self.ours().find(|e| e.address == address && e.port == 0);
        let lent = bound.filter(|e| holders.clone().all(|a| a.index != e.ifindex));
        match lent {
            Some(endpoint) => holders.next().is_some() && on_link(endpoint.ifindex),
            None => holders.any(|a| on_link(a.index)),
        }
    }

    fn subflow_works(&self, subflow: &Subflow) -> bool {
        subflow.established && self.path_works(subflow.local)
    }

    /// Whether a connection has a subflow that works, from another address than this one.
    pub fn works_elsewhere(&self, connection: &Connection, address: Option<IpAddr>) -> bool {
        let mut all = connection.subflows.iter();
        all.any(|s| Some(s.local) != address && self.subflow_works(s))
    }

    /// A dump of the subflows of a family.
    pub fn dump_subflows(&self, family: Family) -> Vec<diag::Subflow> {
        let mut shown = Vec::new();
        let of_family = |c: &&Connection| c.family() == family;
        for connection in self.connections.all.iter().filter(of_family) {
            // One that is idle has nothing to send again.
            let is_idle = connection.token % 3 == 0;
            for subflow in &connection.subflows {
                let silent = match subflow.established {
                    true => !is_idle && !self.path_works(subflow.local),
                    false => true,
                };
                shown.push(diag::Subflow {
                    token: Token::new(connection.token),
                    ends: Ends {
                        local: (subflow.local, subflow.port).into(),
                        remote: connection.peer(),
                        mapped: false,
                    },
                    local_id: subflow.id,
                    remote_id: AddressId(0),
                    ifindex: IfIndex::NONE,
                    backup_here: false,
                    backup_there: false,
                    opened_here: true,
                    initial: false,
                    established: subflow.established,
                    retransmissions: if silent { 5 } else { 0 },
                    fully_established: subflow.established,
                });
            }
        }
        shown
    }

    /// The endpoints of the daemon.
    pub fn ours(&self) -> impl Iterator<Item = &Endpoint> {
        let ours = self.endpoints.iter().filter(|(_, m)| *m == Maker::Daemon);
        ours.map(|(endpoint, _)| endpoint)
    }

    pub fn happen_to_connections(&mut self, now: Instant, traffic: Traffic) {
        self.connections.now = now;
        let book = &mut self.connections;
        let nth = |n: u8| usize::from(n) % book.all.len().max(1);
        match traffic {
            Traffic::Connect(n) => self.connect(n),
            Traffic::RefuseJoins(n) => {
                let at = nth(n);
                if let Some(connection) = book.all.get_mut(at) {
                    connection.refuses_joins = true;
                }
            }
            Traffic::Disconnect(n) => {
                let at = nth(n);
                if at < book.all.len() {
                    book.all.remove(at);
                }
            }
            Traffic::Reset(n) => {
                let ports = book.all.iter().flat_map(|c| &c.subflows).map(|s| s.port);
                let ports: Vec<_> = ports.collect();
                let Some(port) = ports.get(usize::from(n) % ports.len().max(1)) else {
                    return;
                };
                for connection in &mut book.all {
                    if connection.end(&mut book.events, now, false, |s| s.port == *port) {
                        connection.changed = now;
                    }
                }
            }
            Traffic::FailJoins(n) => book.fail_joins = n,
            Traffic::LoseJoins(n) => book.lose_joins = n,
        }
    }

    fn connect(&mut self, n: u8) {
        let addresses = self.addresses.iter().map(|a| a.local);
        let working: Vec<_> = addresses.filter(|ip| self.path_works(*ip)).collect();
        let address = working.get(usize::from(n) % working.len().max(1));
        let (Some(address), true) = (address, self.connections.all.len() < MOST) else {
            return;
        };
        let port = self.connections.next_port();
        let first = Subflow {
            local: *address,
            id: AddressId(0),
            port,
            established: true,
        };
        self.connections.all.push(Connection {
            token: port.into(),
            first: (*address, port).into(),
            subflows: vec![first],
            refuses_joins: false,
            changed: self.connections.now,
            removed: Vec::new(),
            orphan: None,
            failed: BTreeMap::new(),
        });
        let at = self.connections.all.len() - 1;
        for (endpoint, _) in self.endpoints.clone() {
            self.join(at, &endpoint);
        }
    }

    /// An endpoint is new: the connections that have no subflow from its address try one.
    pub fn join_all(&mut self, endpoint: &Endpoint) {
        for at in 0..self.connections.all.len() {
            self.join(at, endpoint);
        }
    }

    fn join(&mut self, at: usize, endpoint: &Endpoint) {
        let (local, limit) = (endpoint.address, self.limits.subflows as usize);
        let works = self.path_works(local);
        let book = &mut self.connections;
        let port = book.next_port();
        let connection = &mut book.all[at];
        if !endpoint.flags.contains(EndpointFlags::SUBFLOW)
            || connection.family() != Family::of(local)
            || connection.has_from(local)
            || connection.joined() >= limit
        {
            return;
        }
        let strikes = |left: &mut u8| {
            let struck = *left > 0;
            *left = left.saturating_sub(1);
            struck
        };
        let fails = !works || connection.refuses_joins || strikes(&mut book.fail_joins);
        let is_lost = !fails && strikes(&mut book.lose_joins);
        let first = local == connection.first.ip();
        let subflow = Subflow {
            local,
            id: if first { AddressId(0) } else { endpoint.id },
            port,
            established: !is_lost,
        };
        let failed = connection.failed.entry(local).or_default();
        *failed = if fails || is_lost { *failed + 1 } else { 0 };
        if fails {
            let event = connection.event(&subflow);
            return book.events.tell(event);
        }
        connection.subflows.push(subflow);
        connection.orphan = None;
    }

    /// An endpoint is gone: so are the subflows from its address, and the peer is told.
    pub fn leave_all(&mut self, endpoint: &Endpoint, maker: Maker) {
        // One with a port is for others to join.
        if endpoint.port != 0 {
            return;
        }
        let now = self.connections.now;
        let address = endpoint.address;
        // Where an address leaves by another device its endpoint cannot stay.
        let mut addresses = self.addresses.iter();
        let moves = addresses.any(|a| a.local == address && a.index != endpoint.ifindex);
        let of_family = |r: &&Route| r.family == Family::of(address);
        let mut ways = self.routes.iter().filter(of_family);
        // Nor where only others are left to leave by.
        let moves = moves
            || ways.clone().next().is_some()
                && ways.all(|r| r.hops.iter().all(|hop| hop.oif != endpoint.ifindex));
        let by_daemon = maker == Maker::Daemon && !moves;
        for at in 0..self.connections.all.len() {
            let works = self.works_elsewhere(&self.connections.all[at], Some(address));
            let Connections { all, events, .. } = &mut self.connections;
            let connection = &mut all[at];
            let first = address == connection.first.ip();
            // The kernel does not join by one of a full mesh at the first address once the first subflow
            // has ended. No daemon can help that, so here it does.
            let spared = works && endpoint.flags.contains(EndpointFlags::FULLMESH);
            if connection.end(events, now, by_daemon, |s| s.local == address) && !spared {
                let id = if first { AddressId(0) } else { endpoint.id };
                let heard = if works { now + HEARS } else { now };
                connection.removed.push((id, heard));
            }
        }
    }

    /// An endpoint becomes one of a full mesh, or ceases to be: its subflows are made anew, and
    /// the peer is told nothing.
    pub fn cycle_all(&mut self, endpoint: &Endpoint, maker: Maker) {
        let Connections {
            all, events, now, ..
        } = &mut self.connections;
        for connection in all {
            let of_it = |s: &Subflow| s.local == endpoint.address;
            connection.end(events, *now, maker == Maker::Daemon, of_it);
        }
        self.join_all(endpoint);
    }

    /// Time passes: peers are told what could not be told before, and connections without subflows
    /// end.
    pub fn advance_connections(&mut self, now: Instant) {
        self.connections.now = now;
        for at in 0..self.connections.all.len() {
            if !self.works_elsewhere(&self.connections.all[at], None) {
                continue;
            }
            let Connections { all, events, .. } = &mut self.connections;
            let all_removed = core::mem::take(&mut all[at].removed);
            let (removed, later): (Vec<_>, Vec<_>) = all_removed
                .into_iter()
                .partition(|(_, heard)| *heard <= now);
            all[at].removed = later;
            let is_removed = |s: &Subflow| removed.iter().any(|(id, _)| *id == s.id);
            all[at].end(events, now, false, is_removed);
        }
        for at in 0..self.connections.all.len() {
            let connection = &self.connections.all[at];
            let can_join = self.ours().any(|e| self.is_owed(connection, e));
            if let Some(orphan) = &mut self.connections.all[at].orphan {
                orphan.can_join &= can_join;
            }
        }
        let Connections { all, lost, .. } = &mut self.connections;
        all.retain(|connection| {
            let Some(orphan) = connection.orphan else {
                return true;
            };
            let is_over = orphan.since + CLOSE_TIMEOUT <= now;
            if is_over && (orphan.by_daemon || orphan.can_join) {
                lost.push(connection.clone());
            }
            !is_over
        });
    }

    /// Whether a connection lacks a subflow that an endpoint of the daemon's promises it, and that
    /// can be had at a price which is not too high for others.
    pub fn is_owed(&self, connection: &Connection, endpoint: &Endpoint) -> bool {
        let address = endpoint.address;
        let all = &self.connections.all;
        let has = |c: &Connection| {
            let mut subflows = c.subflows.iter();
            subflows.any(|s| s.local == address && s.established)
        };
        let is_kept = |ip| self.connections.kept.contains(&ip);
        let is_last_of = |c: &Connection| {
            let mut others = c.subflows.iter().filter(|s| s.local != address);
            !others.any(|s| self.subflow_works(s) && !is_kept(s.local))
        };
        let is_last_of_any = all.iter().any(|c| has(c) && is_last_of(c));
        // What has been tried this often is no reason to disturb others.
        let failed = connection.failed.get(&address).copied().unwrap_or(0);
        let is_hopeless = failed >= 5 || self.connections.refusals || self.misled;
        endpoint.flags.contains(EndpointFlags::SUBFLOW)
            && connection.family() == Family::of(address)
            && self.path_works(address)
            && !is_kept(address)
            && !connection.refuses_joins
            && connection.joined() < self.limits.subflows as usize
            && !has(connection)
            && !is_last_of_any
            && !(is_hopeless && all.iter().any(has))
    }
}

impl Connections {
    /// A port for each subflow, by which it can be told from all others.
    fn next_port(&mut self) -> u16 {
        self.opened = self.opened % 60_000 + 1;
        self.opened
    }
}
