//! `sspi`: a single subflow per interface, for connections of the userspace path manager.
//!
//! One function, `tend`, compares what a connection should have with what the table of
//! connections and the network show, and asks for the difference. Whatever happens, it is called:
//! there is nothing to keep in step.
//!
//! - *Announcements.* The usable addresses of all interfaces but the connection's own, of its
//!   address family, are announced to the peer; those that cease to be usable are withdrawn.
//! - *Listeners.* A join to an announced address is accepted only where somebody listens, at the
//!   connection's port. Most servers do on all addresses, and opening a listener then fails with
//!   EADDRINUSE: the announcement needs none, and goes out without a port. Where it does not
//!   fail, the daemon listens as long as the address is announced. Who opened the connection
//!   makes its subflows itself: its announcements have no listeners, and no port.
//! - *Subflows.* Who opened the connection makes one from each further interface: to the peer's
//!   initial address, unless the peer denies that, else to those it announces. One that fails or
//!   ends is made again later and later, to each of the peer's addresses in turn.
//! - *Second subflows* of an interface are closed where this host has several interfaces for the
//!   family to choose from. Who opened the connection closes the later one. Who accepted it leaves
//!   those from different addresses of the peer, which are different paths that the peer has
//!   chosen, and of those from the same address closes the earlier one: where the peer came back
//!   over a path that was broken, that is the one it has given up.
//! - A subflow whose address is no longer usable, or not where it is bound, is closed, if another is
//!   left.
//! - *Backups.* The subflows of an interface have backup priority if its endpoints are to have it,
//!   whoever made them.

use core::net::{IpAddr, SocketAddr};

use super::{Context, Entry, Failure, Plugin, Request};
use crate::capacity;
use crate::connection::{Connection, RemoteAddress, Subflow};
use crate::netlink::mptcp::{
    Command, ConnectionEvent, EndpointFlags, SubflowAddress, SubflowEvent,
};
use crate::network::{Interface, LocalAddress, Network};
use crate::table::Table;
use crate::time::{Backoff, Instant, Span};

pub const ENTRY: Entry = Entry {
    name: "sspi",
    description: "a single subflow per interface, for connections of the userspace path manager",
    priority: 0,
    keys: &[],
    create: || Box::new(Sspi::default()),
};

/// Timers: tend all connections; tend those whose subflows failed.
const ALL: u32 = 0;
const RETRY: u32 = 1;
/// When the daemon takes no more commands, go on this much later.
const PAUSE: Span = Span(50);

/// An interface from which a connection's subflow failed or ended.
struct Failed {
    token: u32,
    ifindex: u32,
    tries: u8,
    backoff: Backoff,
    retry_at: Instant,
}

struct Sspi {
    failed: Table<Failed>,
    /// Addresses that were usable and are not, the latest last.
    lost: Table<IpAddr>,
    /// Where some program listens, so that we need not.
    served: Table<SocketAddr>,
}

impl Default for Sspi {
    fn default() -> Self {
        Self {
            failed: Table::new(capacity::FAILED_SUBFLOWS),
            lost: Table::new(capacity::LOST_ADDRESSES),
            served: Table::new(capacity::LISTENERS),
        }
    }
}

impl Plugin for Sspi {
    fn wants_connections(&self) -> bool {
        true
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, event: &ConnectionEvent) {
        self.tend(cx, event.token);
    }

    fn connection_closed(&mut self, _: &mut Context<'_>, token: u32) {
        self.failed.retain(|failed| failed.token != token);
    }

    fn new_address(&mut self, cx: &mut Context<'_>, token: u32, _: u8, _: SocketAddr) {
        self.tend(cx, token);
    }

    fn new_subflow(&mut self, cx: &mut Context<'_>, event: &SubflowEvent) {
        // Whatever the network looked like, the address works.
        self.lost.retain(|lost| *lost != event.local.ip());
        self.tend(cx, event.token);
    }

    fn subflow_closed(&mut self, cx: &mut Context<'_>, event: &SubflowEvent) {
        let ours = cx.connection(event.token).is_some_and(|c| !c.server_side);
        // Where its own address has gone, that says nothing of the path.
        let failed = ours && is_usable(cx.network(), event.ifindex, event.local.ip());
        let ifindex = interface(cx.network(), event.ifindex, event.local.ip());
        if let Some(ifindex) = ifindex.filter(|_| failed) {
            self.fail(cx, event.token, ifindex);
        }
        self.tend(cx, event.token);
    }

    fn listener_closed(&mut self, _: &mut Context<'_>, local: SocketAddr) {
        self.served.retain(|served| served.port() != local.port());
    }

    fn update_interface(&mut self, cx: &mut Context<'_>, _: &Interface) {
        cx.set_timer(ALL, Span(0));
    }

    fn new_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        self.failed.retain(|f| f.ifindex != address.index);
        self.lost.retain(|lost| *lost != address.address);
        cx.set_timer(ALL, Span(0));
    }

    fn delete_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        if !is_usable(cx.network(), 0, address.address) {
            if self.lost.is_full() {
                self.lost.remove(0);
            }
            self.lost.push(address.address);
        }
        cx.set_timer(ALL, Span(0));
    }

    fn command_done(
        &mut self,
        cx: &mut Context<'_>,
        _: u32,
        request: &Request,
        result: Result<(), Failure<'_>>,
    ) {
        let Err(failure) = result else { return };
        match *request {
            Request::AnnounceWithListener { token, address }
                if failure.errno == libc::EADDRINUSE =>
            {
                if !self.is_served(address.socket()) {
                    if self.served.is_full() {
                        self.served.remove(0);
                    }
                    self.served.push(address.socket());
                }
                self.tend(cx, token);
            }
            Request::Kernel(Command::CreateSubflow { token, local, .. }) => {
                self.fail(cx, token, local.ifindex);
            }
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {
        if timer == ALL {
            for connection in cx.connections() {
                self.tend(cx, connection.token);
            }
            return;
        }
        let mut at = 0;
        while let Some(failed) = self.failed.get(at) {
            at += 1;
            if failed.retry_at <= cx.now() {
                self.tend(cx, failed.token);
            }
        }
        self.set_retry(cx);
    }
}

impl Sspi {
    /// Gives a connection what it should have, as far as it has not.
    fn tend(&self, cx: &mut Context<'_>, token: u32) {
        let Some(connection) = cx.connection(token) else {
            return;
        };
        if !connection.is_established()
            || connection.is_kernel_managed()
            || is_near(cx.network(), connection.remote.ip())
        {
            return;
        }
        // Withdrawals first: they free ids.
        let whole = self.withdraw(cx, &connection)
            && self.announce(cx, &connection)
            && self.prioritize(cx, &connection)
            && self.close(cx, &connection)
            && (connection.server_side || self.create(cx, &connection));
        if !whole {
            cx.set_timer(ALL, PAUSE);
        }
    }

    fn withdraw(&self, cx: &mut Context<'_>, connection: &Connection<'_>) -> bool {
        connection.announced().all(|id| {
            let address = cx.address_of(id);
            address.is_some_and(|address| to_announce(cx.network(), connection, address))
                || cx.remove_address(connection.token, id).is_some()
        })
    }

    fn announce(&self, cx: &mut Context<'_>, connection: &Connection<'_>) -> bool {
        let network = cx.network();
        let mut usable = network.usable().enumerate();
        usable.all(|(at, local)| {
            let address = local.address;
            // The same address on another interface is not another address.
            let again = network.usable().take(at).any(|a| a.address == address);
            if again || !to_announce(network, connection, address) {
                return true;
            }
            let Some(id) = cx.address_id(address) else {
                return true;
            };
            if connection.has_announced(id) {
                return true;
            }
            let (token, port) = (connection.token, connection.local.port());
            let bare = SubflowAddress::at(address, 0).with_id(id);
            if !connection.server_side || self.is_served((address, port).into()) {
                cx.announce(token, bare).is_some()
            } else {
                let listening = SubflowAddress { port, ..bare };
                cx.announce_with_listener(token, listening).is_some()
            }
        })
    }

    fn is_served(&self, local: SocketAddr) -> bool {
        self.served.contains(&local)
    }

    /// Makes backups of the subflows of interfaces that are to be backups, and of no others.
    fn prioritize(&self, cx: &mut Context<'_>, connection: &Connection<'_>) -> bool {
        let network = cx.network();
        // On most hosts there are none.
        let mut interfaces = network.interfaces();
        let some = interfaces.any(|i| i.policy.flags.contains(EndpointFlags::BACKUP));
        connection.subflows().all(|subflow| {
            if !subflow.established || subflow.closing || !(some || subflow.backup_here) {
                return true;
            }
            let index = interface_of(network, subflow).unwrap_or(0);
            let backup = backup(network, index).0 != 0;
            let (token, local, remote) = (connection.token, subflow.local, subflow.remote);
            subflow.backup_here == backup
                || cx
                    .set_backup(token, local.into(), remote.into(), backup)
                    .is_some()
        })
    }

    /// Closes subflows of lost addresses, and second ones of an interface.
    fn close(&self, cx: &mut Context<'_>, connection: &Connection<'_>) -> bool {
        let network = cx.network();
        let choice = has_choice(network, connection.remote.is_ipv6());
        let is_lost = |subflow: &Subflow| {
            let (bound, ip) = (subflow.ifindex, subflow.local.ip());
            self.lost.contains(&ip) || (bound != 0 && !is_usable(network, bound, ip))
        };
        let lives = |subflow: &&Subflow| !subflow.closing && !is_lost(subflow);
        let mut subflows = connection.subflows().enumerate();
        subflows.all(|(at, subflow)| {
            if subflow.closing || !subflow.established {
                return true;
            }
            let same_interface =
                |other: &&Subflow| interface_of(network, other) == interface_of(network, subflow);
            let unwanted = if is_lost(subflow) {
                connection
                    .subflows()
                    .filter(lives)
                    .any(|other| other.established)
            } else if connection.server_side {
                let later = connection.subflows().skip(at + 1).filter(lives);
                let same_peer = |other: &&Subflow| other.remote.ip() == subflow.remote.ip();
                let again = later.filter(same_peer).find(same_interface);
                choice && again.is_some_and(|other| other.established)
            } else {
                let mut earlier = connection.subflows().take(at).filter(lives);
                choice && earlier.any(|other| same_interface(&other))
            };
            let (token, local, remote) = (connection.token, subflow.local, subflow.remote);
            !unwanted
                || cx
                    .destroy_subflow(token, local.into(), remote.into())
                    .is_some()
        })
    }

    /// Makes a subflow from each interface that has an address for it and none.
    fn create(&self, cx: &mut Context<'_>, connection: &Connection<'_>) -> bool {
        let network = cx.network();
        let mut done = None;
        let mut usable = network.usable();
        usable.all(|local| {
            if local.address.is_ipv6() != connection.remote.is_ipv6()
                || done.replace(local.index) == Some(local.index)
                || connection
                    .subflows()
                    .any(|s| interface_of(network, s) == Some(local.index))
            {
                return true;
            }
            let failed = self.failed(connection.token, local.index);
            if failed.is_some_and(|failed| failed.retry_at > cx.now()) {
                return true;
            }
            let Some(remote) = target(connection, failed.map_or(0, |f| f.tries)) else {
                return true;
            };
            let Some(id) = cx.address_id(local.address) else {
                return true;
            };
            let bare = SubflowAddress::at(local.address, 0).with_id(id);
            let local = SubflowAddress {
                flags: backup(network, local.index),
                ..bare.on(local.index)
            };
            cx.create_subflow(connection.token, local, remote).is_some()
        })
    }

    fn failed(&self, token: u32, ifindex: u32) -> Option<&Failed> {
        let mut all = self.failed.iter();
        all.find(|f| (f.token, f.ifindex) == (token, ifindex))
    }

    /// Notes that a subflow failed or ended, and when to make it again.
    fn fail(&mut self, cx: &mut Context<'_>, token: u32, ifindex: u32) {
        if cx.connection(token).is_none() {
            return;
        }
        let known = self
            .failed
            .iter()
            .position(|f| (f.token, f.ifindex) == (token, ifindex));
        let known = known.and_then(|at| self.failed.remove(at));
        let mut failed = known.unwrap_or(Failed {
            token,
            ifindex,
            tries: 0,
            backoff: Backoff::default(),
            retry_at: cx.now(),
        });
        failed.tries = failed.tries.wrapping_add(1);
        failed.retry_at = failed.backoff.next(cx.now());
        if self.failed.is_full() {
            // It is tried again when something changes.
            self.failed.remove(0);
        }
        self.failed.push(failed);
        self.set_retry(cx);
    }

    fn set_retry(&self, cx: &mut Context<'_>) {
        let now = cx.now();
        let later = self
            .failed
            .iter()
            .map(|f| f.retry_at)
            .filter(|at| *at > now);
        match later.min() {
            Some(at) => {
                cx.set_timer(RETRY, Span(at.0.saturating_sub(now.0)));
            }
            None => cx.cancel_timer(RETRY),
        }
    }
}

/// Whether the peer of a connection should know of the address: not of those of the interface it
/// has reached us by.
fn to_announce(network: &Network, connection: &Connection<'_>, address: IpAddr) -> bool {
    let own = network.interface_of(connection.local.ip()).map(|i| i.index);
    address.is_ipv6() == connection.local.is_ipv6()
        && address != connection.local.ip()
        && network
            .usable()
            .any(|a| a.address == address && Some(a.index) != own)
}

/// Where to make a subflow to: each of the peer's addresses in turn, from one try to the next.
fn target(connection: &Connection<'_>, tries: u8) -> Option<SubflowAddress> {
    let peer = SubflowAddress::from(connection.remote);
    let announced = |known: &RemoteAddress| {
        let mut end = SubflowAddress::from(known.address).with_id(known.id);
        if end.port == 0 {
            end.port = peer.port;
        }
        end
    };
    let all = || {
        let initial = (!connection.deny_join_id0).then_some(peer).into_iter();
        let announced = connection.remote_addresses().map(announced);
        initial
            .chain(announced)
            .filter(|to| to.address.is_ipv6() == peer.address.is_ipv6())
    };
    let turn = usize::from(tries).checked_rem(all().count())?;
    all().nth(turn)
}

/// Whether the peer can only be reached the way it was: from this host itself, or on one link.
fn is_near(network: &Network, peer: IpAddr) -> bool {
    let link_local = match peer {
        IpAddr::V4(peer) => peer.is_link_local(),
        IpAddr::V6(peer) => peer.is_unicast_link_local(),
    };
    link_local || peer.is_loopback() || network.addresses().any(|own| own.address == peer)
}

/// Whether several interfaces have usable addresses of the family.
fn has_choice(network: &Network, ipv6: bool) -> bool {
    let mut fit = network.usable().filter(|a| a.address.is_ipv6() == ipv6);
    let first = fit.next().map(|a| a.index);
    fit.any(|a| Some(a.index) != first)
}

/// BACKUP if the interface is to be one.
fn backup(network: &Network, index: u32) -> EndpointFlags {
    let flags = network.interface(index).map_or(0, |i| i.policy.flags.0);
    EndpointFlags(flags & EndpointFlags::BACKUP.0)
}

/// Whether the address is usable on the interface, or on any if that is 0.
fn is_usable(network: &Network, index: u32, address: IpAddr) -> bool {
    let mut usable = network.usable();
    usable.any(|a| a.address == address && (index == 0 || a.index == index))
}

fn interface_of(network: &Network, subflow: &Subflow) -> Option<u32> {
    interface(network, subflow.ifindex, subflow.local.ip())
}

/// The interface that a subflow is bound to or, where it is not, that of its address.
fn interface(network: &Network, bound: u32, local: IpAddr) -> Option<u32> {
    match bound {
        0 => network.interface_of(local).map(|i| i.index),
        bound => Some(bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, NotifyFlags};
    use crate::engine::{Command as Asked, Engine, Input};
    use crate::netlink::mptcp::{Event, Limits};
    use crate::netlink::route::{Address, Link, Name, Notification};
    use crate::network::Part;

    const TOKEN: u32 = 77;
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
                                index,
                                flags: 0x41,
                                name: Name::try_from(["wan1", "wan2"][index as usize - 1]).unwrap(),
                                vrf_table: 0,
                            }),
                            Part::Addresses => Notification::Address(Address {
                                index,
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
                Some((_, Asked::GetLimits)) => {
                    engine.handle(now, Input::Limits(Ok(Limits::default())))
                }
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
        config.default.notify = NotifyFlags::EXISTING;
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
                remote_id: 4,
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
            (local.address, local.ifindex, remote.socket(), remote.id)
        };
        let here = address(2);
        let initial: SocketAddr = ([192, 0, 2, 1], 80).into();
        let announced: SocketAddr = ([192, 0, 2, 2], 80).into();
        assert_eq!(
            first.iter().map(ends).collect::<Vec<_>>(),
            [(here, 2, initial, 0)]
        );

        // Ten minutes, as long as nothing changes.
        let (start, mut turns, mut tries) = (now, 0, vec![]);
        while let Some(at) = engine.deadline() {
            if at > start + Span::seconds(600) {
                break;
            }
            assert!(at > now || turns == 0, "awake for nothing");
            now = at;
            turns += 1;
            tries.extend(turn(&mut engine, now));
        }
        assert!((20..40).contains(&tries.len()), "{}", tries.len());
        assert!(turns <= 2 * tries.len(), "{turns} turns");
        let turns: Vec<_> = tries.iter().take(3).map(ends).collect();
        assert_eq!(
            turns,
            [
                (here, 2, announced, 4),
                (here, 2, initial, 0),
                (here, 2, announced, 4)
            ]
        );

        // The end of the connection is the end of it.
        engine.handle(now, Input::Connection(&Event::Closed { token: TOKEN }));
        assert_eq!(turn(&mut engine, now), []);
        assert_eq!(turn(&mut engine, now + Span::seconds(3600)), []);
    }

    /// However many addresses are served by others: none is asked for again and again.
    #[test]
    fn more_listeners_of_others_than_it_knows() {
        const SOME: u16 = 300;
        let mut config = Config::new(&[ENTRY]);
        config.default.notify = NotifyFlags::EXISTING;
        let now = Instant(1000);
        let mut engine = Engine::new(now, config, &[&ENTRY]);
        engine.handle(now, Input::PathManager(true));
        assert_eq!(turn(&mut engine, now), []);
        for n in 0..SOME {
            let event = ConnectionEvent {
                token: TOKEN + u32::from(n),
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
                Some((number, Asked::Listen(_))) => {
                    asked += 1;
                    assert!(asked <= SOME, "asked again");
                    let failure = Failure {
                        errno: libc::EADDRINUSE,
                        message: "",
                    };
                    engine.handle(now, Input::Failed(number, failure));
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
}
