// SPDX-License-Identifier: BSD-3-Clause
//! A simulated router: links, addresses, routes and rules come and go, and others meddle with the
//! endpoints. [`specification::check`] says whether the kernel has what it should.

pub mod connections;
pub mod kernel;
pub mod specification;
pub mod words;

use core::net::IpAddr;

use libc::{EBUSY, EEXIST, EINVAL, ENOBUFS, ENOMEM, EPERM, ERANGE};
use mptcpd::internal::config::Overrides;
use mptcpd::internal::config::{self, Config};
use mptcpd::internal::engine::{Command, Incomplete, Input, Source};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::diag::Query;
use mptcpd::internal::netlink::mptcp::{
    AddressId, Command as PathManager, Endpoint, EndpointFlags, Limits, Token,
};
use mptcpd::internal::netlink::route::{Address, Family, Notification};
use mptcpd::internal::plugin::{CommandId, Entry, addr_adv};
use mptcpd::internal::time::{Duration, Instant};

use super::Simulated;
use connections::Traffic;
use kernel::{Kernel, Maker, TABLES, link_flags};

/// Something that happens to the network, or to what is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Makes a link, or takes it up, down, or its carrier away.
    Link(u8, u8),
    Unlink(u8),
    Rename(u8, u8),
    /// Puts a link into a VRF.
    Enslave(u8),
    Release(u8),
    /// Link, address, flags.
    Address(u8, u8, u8),
    Unaddress(u8, u8),
    /// Link, family and table, metric and gateway.
    Route(u8, u8, u8),
    Unroute(u8, u8, u8),
    /// The nexthop object by which others' routes leave by a link comes to lead by another link; or
    /// goes, if that is the same or down, and they with it. Nobody is told of the routes.
    Nexthop(u8, u8),
    /// Address, table.
    Rule(u8, u8),
    Unrule(u8, u8),
    /// One of our own rules and routes goes.
    Pilfer(u8),
    /// An event about nothing that matters.
    Noise,
    Meddle(Meddle),
    Traffic(Traffic),
    /// The event socket is full until the daemon reads.
    Full,
    /// An event gets lost.
    Drop(u8),
    Duplicate(u8),
    /// An event overtakes the one before.
    Swap(u8),
    /// The path manager's family comes and goes.
    Family(bool),
}

/// What another program does to endpoints and limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meddle {
    /// Address, id (0: the kernel picks one), flags.
    Add(u8, u8, u8),
    /// One of all there are.
    Delete(u8),
    SetFlags(u8, u8),
    Flush,
    Limits(u8, u8),
    Implicit(u8),
}

const NAMES: [&str; 6] = ["wan0", "wan1", "lte0", "ppp0", "lan0", "wan-fifteen-abc"];
/// Addresses and their prefix lengths.
const ADDRESSES: [(&str, u8); 20] = [
    ("192.0.2.1", 24),
    ("192.0.2.1", 32),
    ("192.0.2.2", 24),
    ("198.51.100.1", 24),
    ("198.51.100.2", 24),
    ("198.51.100.3", 25),
    ("198.51.100.4", 25),
    ("203.0.113.1", 30),
    ("203.0.113.5", 30),
    ("203.0.113.9", 30),
    ("10.0.0.1", 8),
    ("10.64.64.64", 32),
    ("169.254.7.7", 16),
    ("2001:db8:1::1", 64),
    ("2001:db8:1::abcd", 64),
    ("2001:db8:2::1", 64),
    ("2001:db8:2::abcd", 64),
    ("2001:db8:3::1", 128),
    ("fd00::1", 48),
    ("fe80::1", 64),
];

/// `IFA_F_*`: permanent, tentative, dadfailed (and tentative), deprecated, temporary or secondary.
const ADDRESS_FLAGS: [u32; 8] = [0x80, 0x80, 0x80, 0xc0, 0xc8, 0xa0, 0x01, 0x80];

/// `[core] log = null` keeps the histories quiet.
pub const CONFIGURATIONS: [&str; 9] = [
    "",
    "[core]\nnotify-flags = existing,skip_link_local,skip_loopback\n",
    "[core]\naddr-flags = subflow,fullmesh\ntemporary-addresses = no\nresync-interval = 200\n",
    "[core]\nsource-routing = yes\n[interface ppp*]\nuse = standby\n",
    "[core]\nnotify-flags = existing\n[interface wan*]\npriority = -5\naddr-flags = subflow,backup\n\
     [interface lan*]\nuse = no\n[interface lte*]\nuse = standby\nhold-down = 3\nfamilies = ipv4\n",
    "[core]\naddr-flags = signal\n[interface wan?]\nport = 4433\n[interface ppp0]\npriority = 5\n",
    "[core]\nnotify-flags = existing,skip_loopback\nlimit-subflows = 6\ntemporary-addresses = yes\n\
     hold-down = 1\n[interface lte0]\nsource-routing = yes\nfamilies = ipv6\n",
    "[core]\ninterfaces = wan*,ppp0\nsource-routing = yes\nsource-routing-tables = 5204-5207\n",
    "[core]\nmax-endpoints = 255\nnotify-flags = existing,skip_link_local,skip_loopback\n",
];

pub fn address(number: u8) -> (IpAddr, u8) {
    let (text, len) = ADDRESSES[usize::from(number) % ADDRESSES.len()];
    (text.parse().unwrap(), len)
}

fn name(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

pub type Simulation = super::Simulation<Kernel>;
pub type Step = super::Step<Change>;

impl Simulated for Kernel {
    type Change = Change;
    const PLUGIN: &'static Entry = &addr_adv::ENTRY;
    const REFUSALS: &'static [i32] = &[EPERM, ENOMEM, EBUSY, EEXIST, EINVAL, ERANGE, ENOBUFS];

    fn config(number: u8) -> Config {
        let text = CONFIGURATIONS[usize::from(number) % CONFIGURATIONS.len()];
        let options = Overrides::default();
        let loaded = config::parse("simulated", text.as_bytes(), &options, &[addr_adv::ENTRY]);
        loaded.unwrap().config
    }

    fn happen(simulation: &mut Simulation, change: Change) {
        let kernel = &mut simulation.kernel;
        let events = &mut kernel.events;
        let at = |at: u8| usize::from(at) % events.len().max(1);
        match change {
            Change::Meddle(meddle) => simulation.meddle(meddle),
            Change::Traffic(traffic) => {
                let now = simulation.now;
                kernel.happen_to_connections(now, traffic);
            }
            Change::Full => {
                events.full = true;
                kernel.connections.events.full = true;
            }
            Change::Drop(n) => {
                let at = at(n);
                events.lost |= events.remove(at).is_some();
            }
            Change::Duplicate(n) => {
                let at = at(n);
                if let Some(event) = events.get(at).cloned() {
                    events.insert(at, event);
                }
            }
            Change::Swap(n) => {
                let at = at(n);
                if at > 0 {
                    events.swap(at - 1, at);
                    // The end of the story may be told before its beginning.
                    kernel.silent = true;
                }
            }
            Change::Family(there) => {
                simulation.family = there;
                kernel.misled |= !there;
                if simulation.alive {
                    let family = Input::PathManager(there);
                    simulation.tell(family);
                }
            }
            _ => kernel.change(change),
        }
    }

    fn read(&mut self, most: usize, each: &mut dyn FnMut(Input<'_>)) {
        let mut event = |event: &_| each(Input::Network(event));
        if self.events.read(most, &mut event) {
            each(Input::EventsLost(Source::Network));
        }
        let mut event = |event: &_| each(Input::Connection(event));
        if self.connections.events.read(most, &mut event) {
            each(Input::EventsLost(Source::Connections));
        }
    }

    fn has_news(&self) -> bool {
        self.events.has_news() || self.connections.events.has_news()
    }

    fn close(&mut self) {
        self.events.forget();
        self.connections.events.forget();
    }

    fn obey(&mut self, _: Instant, command: &PathManager) -> Result<(), i32> {
        self.command(command, Maker::Daemon)
    }

    fn advance(&mut self, now: Instant) {
        self.advance_connections(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.connections.deadline()
    }

    fn answer(simulation: &mut Simulation, number: CommandId, command: Command) {
        match command {
            Command::DumpNetwork(part, _) => {
                let (most, mut result) = simulation.next_dump();
                let items = simulation.kernel.dump(part);
                let shown = most.min(items.len());
                let meanwhile = simulation.meanwhile.take_if(|_| shown > 0);
                for (at, item) in items.iter().take(shown).enumerate() {
                    if let Some(change) = meanwhile.filter(|_| at == shown / 2) {
                        Self::happen(simulation, change);
                        result = Err(Incomplete::Interrupted);
                    }
                    simulation.tell(Input::NetworkItem(item));
                }
                simulation.tell(Input::NetworkEnd(part, result));
            }
            Command::AskWay(question) => {
                let (query, kernel) = (question.query(), &simulation.kernel);
                let mut route = kernel.route_for(&query).cloned();
                if let Some(route) = route.as_mut().filter(|_| query.source.is_none()) {
                    route.preferred_source = kernel.source_for(route);
                }
                let result = match simulation.refuses_dump() {
                    true => Err(Incomplete::Refused(libc::ENOMEM)),
                    false => Ok(route),
                };
                let result = result.as_ref().map(Option::as_ref).map_err(|cause| *cause);
                simulation.tell(Input::Way(question, result));
            }
            Command::DumpEndpoints => {
                let (most, result) = match simulation.family {
                    true => simulation.next_dump(),
                    false => (0, Err(Incomplete::Refused(libc::EAGAIN))),
                };
                for endpoint in simulation.kernel.dump_endpoints().into_iter().take(most) {
                    simulation.tell(Input::Endpoint(endpoint));
                }
                simulation.tell(Input::EndpointsEnd(result));
            }
            Command::GetLimits => {
                let result = match !simulation.family || simulation.refuses_dump() {
                    true => Err(Incomplete::Refused(libc::EAGAIN)),
                    false => Ok(simulation.kernel.limits),
                };
                simulation.tell(Input::Limits(result));
            }
            Command::Diag(query) => {
                let result = simulation.diag(query);
                simulation.tell(Input::DiagEnd(result));
            }
            Command::CheckReversePath(_) => {}
            Command::Route(change) => {
                simulation.counts.changes += 1;
                let refused = simulation.refusal().map_or(Ok(()), Err);
                match refused.and_then(|()| simulation.kernel.change_routing(&change)) {
                    Ok(()) => simulation.tell(Input::Done(number)),
                    Err(errno) => simulation.fail(number, errno),
                }
            }
            _ => panic!("nobody asks for this: {command:?}"),
        }
    }
}

/// Plays a history and says what is wrong in the end. The kernel has `room` for so many
/// endpoints, and knows these flags of theirs.
pub fn judge(configuration: u8, room: usize, known: u32, steps: &[Step]) -> Result<(), String> {
    let mut simulation = Simulation::new(configuration, room, known);
    simulation.play(steps);
    // Each address may be tried again and again, but ever more slowly.
    let enough = (u32::try_from(steps.len()).unwrap() + 5) * 20;
    let spent = simulation.counts.changes;
    if spent > enough {
        return Err(format!("{spent} commands, more than {enough}"));
    }
    let before = simulation.counts;
    simulation.recover();
    specification::check(&simulation)?;
    let spent = simulation.counts.changes - before.changes;
    if spent > 200 {
        return Err(format!("{spent} commands to recover"));
    }
    // Nothing happens: nothing is done, but for the slow looks, with which a full kernel may be
    // asked once more, and a peer that refuses joins now and then.
    let before = simulation.counts;
    simulation.run(Duration::from_secs(150));
    let looks = simulation.counts.looks - before.looks;
    let changes = simulation.counts.changes - before.changes;
    let full = u32::from(simulation.kernel.endpoints.len() >= room);
    let allowed = full + (1 + full) * specification::attempts_in_vain(&simulation);
    if looks > 48 + 24 * allowed || changes > allowed {
        return Err(format!("not at rest: {before:?}, {:?}", simulation.counts));
    }
    specification::check(&simulation)
}

impl Simulation {
    pub fn new(configuration: u8, room: usize, known: u32) -> Self {
        Self::on(Kernel::new(room, known), configuration)
    }

    /// Ends all faults and gives the daemon time: long enough for every back-off and hold-down,
    /// and for the slow look where only that can find out.
    pub fn recover(&mut self) {
        self.end_faults();
        self.kernel.connections.end_faults();
        self.step(Step::Change(Change::Family(true)));
        self.run(Duration::from_secs(100));
        // Lies about how much the kernel takes are believed until the next resync.
        let lie = |errno: &i32| [EINVAL, ERANGE].contains(errno);
        let lied = core::mem::take(&mut self.refused).iter().any(lie);
        self.kernel.misled |= lied;
        if core::mem::take(&mut self.kernel.silent) | lied {
            self.run(Duration::from_secs(310));
        }
    }

    /// Answers a question to inet_diag.
    fn diag(&mut self, query: Query) -> Result<(), Incomplete> {
        if !self.kernel.has_diag() {
            return Err(Incomplete::Refused(libc::ENOENT));
        }
        let ours = self.engine.endpoints().ours().iter();
        let kept = ours.filter(|slot| slot.is_kept() && !slot.has_path());
        self.kernel.connections.kept = kept.map(|slot| slot.endpoint.address).collect();
        self.kernel.connections.refusals |= !self.refused.is_empty();
        let (most, result) = self.next_dump();
        match query {
            Query::Subflows(family) => {
                for found in self.kernel.dump_subflows(family).into_iter().take(most) {
                    self.tell(Input::DiagSubflow(found));
                }
            }
            Query::Sockets => {
                let mut all = self.kernel.dump_subflows(Family::Ipv4);
                all.extend(self.kernel.dump_subflows(Family::Ipv6));
                for mut found in all.into_iter().take(most) {
                    // The inode, which is no token.
                    found.token = Token::new(found.token.get() + 70_000);
                    found.initial = true;
                    self.tell(Input::DiagSubflow(found));
                }
            }
            Query::Connections(family) => {
                let all = self.kernel.connections.dump(family);
                for found in all.into_iter().take(most) {
                    self.tell(Input::DiagConnection(found));
                }
            }
            Query::Connection(_) => panic!("nobody asks for this: {query:?}"),
        }
        result
    }

    fn meddle(&mut self, meddle: Meddle) {
        // Nothing tells the daemon.
        self.kernel.silent = true;
        self.kernel.misled = true;
        let one_of = |kernel: &Kernel, at: u8| {
            let all = &kernel.endpoints;
            all.get(usize::from(at) % all.len().max(1)).copied()
        };
        // An id or an address that the daemon holds, so far as it knows, is not reused behind its
        // back: the kernel goes by one of them when it is asked to change or delete an endpoint.
        let ours = self.engine.endpoints().ours();
        let is_vacant = |id: AddressId, ip: IpAddr, kernel: &Kernel| {
            let gone = |mine: &Endpoint| kernel.endpoints.iter().all(|(e, _)| e != mine);
            let mut mine = ours.iter().map(|slot| slot.endpoint);
            mine.any(|e| (e.id == id || e.address == ip) && gone(&e))
        };
        let kernel = &mut self.kernel;
        match meddle {
            Meddle::Add(number, id, flags) => {
                let id = AddressId(if id == 0 { 100 + number } else { id });
                if is_vacant(id, address(number).0, kernel) {
                    return;
                }
                let flags = [2, 1, 6, 10, 3, 0][usize::from(flags) % 6];
                let endpoint = Endpoint {
                    address: address(number).0,
                    port: 0,
                    id,
                    flags: EndpointFlags(flags),
                    ifindex: IfIndex::NONE,
                };
                let _ = kernel.add_endpoint(endpoint, Maker::Other);
            }
            Meddle::Delete(at) => {
                if let Some((endpoint, _)) = one_of(kernel, at) {
                    let _ = kernel.command(&PathManager::DeleteEndpoint(endpoint), Maker::Other);
                }
            }
            Meddle::SetFlags(at, flags) => {
                if let Some((mut endpoint, _)) = one_of(kernel, at) {
                    endpoint.flags.0 = u32::from(flags) & 0xc;
                    let _ = kernel.command(&PathManager::SetFlags(endpoint), Maker::Other);
                }
            }
            Meddle::Flush => {
                let _ = kernel.command(&PathManager::FlushEndpoints, Maker::Other);
            }
            Meddle::Limits(subflows, add_addr_accepted) => {
                kernel.limits_meddled = true;
                let limits = Limits {
                    subflows: u32::from(subflows % 9),
                    add_addr_accepted: u32::from(add_addr_accepted % 9),
                };
                let _ = kernel.command(&PathManager::SetLimits(limits), Maker::Other);
            }
            Meddle::Implicit(number) => {
                let id = AddressId(150 + number % 100);
                if !is_vacant(id, address(number).0, kernel) {
                    kernel.make_implicit(address(number).0, id);
                }
            }
        }
    }
}

impl Kernel {
    fn change(&mut self, change: Change) {
        let kernel = self;
        let index = |kernel: &Kernel, link| kernel.link(name(link)).map(|link| link.index);
        let vrf = |kernel: &Kernel, link| kernel.link(name(link)).map_or(0, |l| l.vrf_table);
        let family = |number| {
            if number % 2 == 0 {
                Family::Ipv4
            } else {
                Family::Ipv6
            }
        };
        let table = |number: u8| TABLES[usize::from(number / 2) % TABLES.len()];
        match change {
            Change::Link(link, state) => {
                let vrf = vrf(kernel, link);
                kernel.set_link(name(link), link_flags(name(link), state), vrf);
            }
            Change::Unlink(link) => kernel.remove_link(name(link)),
            Change::Rename(link, new) => kernel.rename_link(name(link), name(new)),
            Change::Enslave(link) | Change::Release(link) => {
                let table = if matches!(change, Change::Enslave(_)) {
                    100
                } else {
                    0
                };
                if let Some(flags) = kernel.link(name(link)).map(|l| l.flags) {
                    kernel.set_link(name(link), flags, table);
                }
            }
            Change::Address(link, number, flags) => {
                let Some(index) = index(kernel, link) else {
                    return;
                };
                let (local, prefix_len) = address(number);
                let flags = ADDRESS_FLAGS[usize::from(flags) % ADDRESS_FLAGS.len()];
                let text = ADDRESSES[usize::from(number) % ADDRESSES.len()].0;
                let peer = (local.is_ipv4() && prefix_len == 32 && name(link).starts_with("ppp"))
                    .then(|| [10, 64, 64, 65].into());
                let link_local = text.starts_with("fe80") || text.starts_with("169.254");
                kernel.add_address(Address {
                    index,
                    local,
                    peer,
                    prefix_len,
                    flags,
                    scope: if link_local { 253 } else { 0 },
                });
            }
            Change::Unaddress(link, number) => {
                let (local, len) = address(number);
                let index = index(kernel, link);
                kernel.remove_addresses(|a| {
                    Some(a.index) == index && a.local == local && a.prefix_len == len
                });
            }
            Change::Route(link, which, how) => {
                let Some(index) = index(kernel, link) else {
                    return;
                };
                let family = family(which);
                let gateway = match (how % 3, family) {
                    (0, _) => None,
                    (n, Family::Ipv4) => Some([192, 0, 2, 250 + n].into()),
                    (n, Family::Ipv6) => Some([0xfe80, 0, 0, 0, 0, 0, 0, n.into()].into()),
                };
                let metric = u32::from(how / 3) + u32::from(family == Family::Ipv6);
                kernel.set_default_route(index, gateway, family, table(which), metric);
            }
            Change::Unroute(link, which, how) => {
                if let Some(index) = index(kernel, link) {
                    let family = family(which);
                    let metric = u32::from(how / 3) + u32::from(family == Family::Ipv6);
                    kernel.remove_default_route(index, family, table(which), metric);
                }
            }
            Change::Nexthop(from, to) => {
                if let Some(from) = index(kernel, from) {
                    kernel.replace_nexthop(from, index(kernel, to));
                }
            }
            Change::Rule(number, which) | Change::Unrule(number, which) => {
                let there = matches!(change, Change::Rule(..));
                kernel.set_source_rule(address(number).0, table(which), there);
            }
            Change::Pilfer(at) => kernel.pilfer(at.into()),
            Change::Noise => {
                if let Some(link) = kernel.links.first().cloned() {
                    kernel.events.tell(Notification::Link(link));
                }
            }
            _ => panic!("no change of the network: {change:?}"),
        }
    }
}
