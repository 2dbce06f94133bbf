//! A simulated router: the engine between a kernel that lies as kernels do, other programs that
//! meddle, and a machine that crashes. Time is simulated too.
//!
//! A history is a list of [`Step`]s. [`Simulation::play`] goes through it,
//! [`Simulation::recover`] ends all faults and lets time pass, and [`specification::check`] says
//! whether the kernel then has what it should.

#![allow(dead_code)] // Each user has its own part.

pub mod kernel;
pub mod specification;
pub mod words;

use core::net::IpAddr;

use mptcpd::cli::Options;
use mptcpd::config::{self, Config};
use mptcpd::engine::{Command, Engine, Incomplete, Input, Source};
use mptcpd::netlink::mptcp::{Command as PathManager, Endpoint, EndpointFlags, Limits};
use mptcpd::netlink::route::{Address, Family, Notification};
use mptcpd::plugin::{Entry, Failure, Request, addr_adv};
use mptcpd::state::{self, HALF, Identity};
use mptcpd::time::{Instant, Span};

use kernel::{Kernel, Maker, TABLES, link_flags};

/// A change of the network. Numbers stand for names, addresses and so on, whatever their size.
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
    /// Address, table.
    Rule(u8, u8),
    Unrule(u8, u8),
    /// One of our own rules and routes goes.
    Pilfer(u8),
    /// An event about nothing that matters.
    Noise,
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Change(Change),
    Meddle(Meddle),
    /// The daemon runs for so many 10 milliseconds.
    Run(u8),
    /// The daemon reads so many events and acts upon them.
    Glance(u8),
    /// The event socket is full until the daemon reads.
    Full,
    /// An event gets lost.
    Drop(u8),
    Duplicate(u8),
    /// An event overtakes the one before.
    Swap(u8),
    /// The next dump is interrupted, after so many items.
    Interrupt(u8),
    /// Something changes in the midst of the next dump.
    Meanwhile(Change),
    /// The kernel refuses the next commands; seven is all of them.
    Refuse(u8, u8),
    /// The next dumps are refused.
    RefuseDumps(u8),
    /// SIGKILL before the next command but so many; the state file's last write may be torn.
    Kill(u8, bool),
    /// Starts the daemon again if it is dead.
    Start,
    Reload(u8),
    /// SIGHUP without a change.
    Resync,
    /// The path manager's family comes and goes.
    Family(bool),
}

const NAMES: [&str; 6] = ["wan0", "wan1", "lte0", "ppp0", "lan0", "wan-fifteen-abc"];
const REFUSALS: [i32; 7] = [1, 12, 16, 17, 22, 34, 105];

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
pub const CONFIGURATIONS: [&str; 8] = [
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
];

static ENTRY: Entry = addr_adv::ENTRY;
const IDENTITY: Identity = Identity {
    boot_id: [7; 16],
    namespace: 1,
};

pub fn configuration(number: u8) -> Config {
    let text = CONFIGURATIONS[usize::from(number) % CONFIGURATIONS.len()];
    let loaded = config::parse(
        "simulated",
        text.as_bytes(),
        &Options::default(),
        &[addr_adv::ENTRY],
    );
    loaded.unwrap().config
}

pub fn address(number: u8) -> (IpAddr, u8) {
    let (text, len) = ADDRESSES[usize::from(number) % ADDRESSES.len()];
    (text.parse().unwrap(), len)
}

fn name(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

#[derive(Default)]
struct Faults {
    /// Items before the next dump is interrupted.
    interrupt: Option<u8>,
    meanwhile: Option<Change>,
    /// errno and how often.
    refuse: Option<(i32, u32)>,
    refuse_dumps: u8,
    /// Commands until SIGKILL.
    kill: Option<(u8, bool)>,
}

/// What the daemon asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Commands that change something.
    pub changes: u32,
    /// Dumps and looks.
    pub looks: u32,
}

pub struct Simulation {
    pub now: Instant,
    pub kernel: Kernel,
    pub engine: Engine,
    pub counts: Counts,
    alive: bool,
    family: bool,
    number: u8,
    faults: Faults,
    /// The last command whose failure could still be reported, and the failures.
    unanswered: Option<u32>,
    failures: Vec<(u32, i32)>,
    file: [Option<Box<[u8; HALF]>>; 2],
    generation: u32,
    /// Something changed that no event tells of: only a look finds it.
    silent: bool,
    /// Other programs changed the limits.
    pub limits_meddled: bool,
    /// Turns of the loop since time went on.
    turns: u32,
}

impl Simulation {
    pub fn new(configuration: u8, room: usize, known: u32) -> Self {
        let now = Instant(1_000_000);
        let mut simulation = Self {
            now,
            kernel: Kernel::new(room, known),
            engine: Engine::new(now, self::configuration(configuration), &[&ENTRY]),
            counts: Counts::default(),
            alive: false,
            family: true,
            number: configuration,
            faults: Faults::default(),
            unanswered: None,
            failures: Vec::new(),
            file: [None, None],
            generation: 0,
            silent: false,
            limits_meddled: false,
            turns: 0,
        };
        simulation.start();
        simulation
    }

    pub fn config(&self) -> &Config {
        self.engine.config()
    }

    pub fn play(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(*step);
        }
    }

    /// How many commands are enough for `steps`: each address may be tried again and again, but
    /// ever more slowly.
    pub fn enough(steps: &[Step]) -> u32 {
        let steps = u32::try_from(steps.len()).unwrap();
        (steps + 5) * 20
    }

    pub fn step(&mut self, step: Step) {
        self.turns = 0;
        match step {
            Step::Change(change) => self.change(change),
            Step::Meddle(meddle) => self.meddle(meddle),
            Step::Run(time) => self.run(Span(u64::from(time) * 10)),
            Step::Glance(events) => {
                if self.alive {
                    self.read(events.into());
                    self.settle();
                }
            }
            Step::Full => self.kernel.full = true,
            Step::Drop(at) => {
                let at = usize::from(at) % self.kernel.events.len().max(1);
                self.kernel.lost |= self.kernel.events.remove(at).is_some();
            }
            Step::Duplicate(at) => {
                let at = usize::from(at) % self.kernel.events.len().max(1);
                if let Some(event) = self.kernel.events.get(at).cloned() {
                    self.kernel.events.insert(at, event);
                }
            }
            Step::Swap(at) => {
                let at = usize::from(at) % self.kernel.events.len().max(1);
                if at > 0 {
                    self.kernel.events.swap(at - 1, at);
                    // The end of the story may be told before its beginning.
                    self.silent = true;
                }
            }
            Step::Interrupt(items) => self.faults.interrupt = Some(items),
            Step::Meanwhile(change) => self.faults.meanwhile = Some(change),
            Step::Refuse(errno, times) => {
                let errno = REFUSALS[usize::from(errno) % REFUSALS.len()];
                let times = if times % 8 == 7 {
                    u32::MAX
                } else {
                    (times % 8).into()
                };
                self.faults.refuse = Some((errno, times));
                // Lies about how much the kernel takes are believed until the next resync.
                self.silent |= errno == kernel::ERANGE || errno == kernel::EINVAL;
            }
            Step::RefuseDumps(times) => self.faults.refuse_dumps = times % 4,
            Step::Kill(after, torn) => self.faults.kill = Some((after % 8, torn)),
            Step::Start => self.start(),
            Step::Reload(number) => {
                self.number = number;
                if self.alive {
                    let config = Box::new(configuration(number));
                    self.engine.handle(self.now, Input::Reload(config));
                }
            }
            Step::Resync => {
                if self.alive {
                    let config = Box::new(configuration(self.number));
                    self.engine.handle(self.now, Input::Reload(config));
                }
            }
            Step::Family(there) => {
                self.family = there;
                if self.alive {
                    self.engine.handle(self.now, Input::Family(there));
                }
            }
        }
    }

    /// Ends all faults and gives the daemon time: long enough for every back-off and hold-down,
    /// and for the slow look where only that can find out.
    pub fn recover(&mut self) {
        self.faults = Faults::default();
        self.kernel.full = false;
        self.turns = 0;
        self.step(Step::Start);
        self.step(Step::Family(true));
        self.run(Span::seconds(100));
        if self.silent {
            self.run(Span::seconds(310));
            self.silent = false;
        }
    }

    fn change(&mut self, change: Change) {
        let kernel = &mut self.kernel;
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
            Change::Rule(number, which) | Change::Unrule(number, which) => {
                let there = matches!(change, Change::Rule(..));
                kernel.set_source_rule(address(number).0, table(which), there);
            }
            Change::Pilfer(at) => kernel.pilfer(at.into()),
            Change::Noise => {
                if let Some(link) = kernel.links.first().cloned() {
                    kernel.events.push_back(Notification::Link(link));
                }
            }
        }
    }

    fn meddle(&mut self, meddle: Meddle) {
        // Nothing tells the daemon.
        self.silent = true;
        let one_of = |kernel: &Kernel, at: u8| {
            let all = &kernel.endpoints;
            all.get(usize::from(at) % all.len().max(1)).copied()
        };
        // An id or an address that the daemon holds, so far as it knows, is not reused behind its
        // back: the kernel goes by one of them when it is asked to change or delete an endpoint.
        let ours = self.engine.endpoints().ours();
        let is_vacant = |id: u8, ip: IpAddr, kernel: &Kernel| {
            let gone = |mine: &Endpoint| kernel.endpoints.iter().all(|(e, _)| e != mine);
            let mut mine = ours.iter().map(|slot| slot.endpoint);
            mine.any(|e| (e.id == id || e.address == ip) && gone(&e))
        };
        let kernel = &mut self.kernel;
        match meddle {
            Meddle::Add(number, id, flags) => {
                let id = if id == 0 { 100 + number } else { id };
                if is_vacant(id, address(number).0, kernel) {
                    return;
                }
                let flags = [2, 1, 6, 10, 3, 0][usize::from(flags) % 6];
                let endpoint = Endpoint {
                    address: address(number).0,
                    port: 0,
                    id,
                    flags: EndpointFlags(flags),
                    ifindex: 0,
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
                self.limits_meddled = true;
                let limits = Limits {
                    subflows: u32::from(subflows % 9),
                    add_addr_accepted: u32::from(add_addr_accepted % 9),
                };
                let _ = kernel.command(&PathManager::SetLimits(limits), Maker::Other);
            }
            Meddle::Implicit(number) => {
                let id = 150 + number % 100;
                if !is_vacant(id, address(number).0, kernel) {
                    kernel.make_implicit(address(number).0, id);
                }
            }
        }
    }

    // The daemon's side.

    fn start(&mut self) {
        if self.alive {
            return;
        }
        self.alive = true;
        self.faults.kill = None;
        self.unanswered = None;
        self.failures.clear();
        self.kernel.events.clear();
        self.kernel.lost = false;
        self.engine = Engine::new(self.now, configuration(self.number), &[&ENTRY]);
        self.load();
        if self.family {
            self.engine.handle(self.now, Input::Family(true));
        }
    }

    fn load(&mut self) {
        let newest = self
            .file
            .iter()
            .flatten()
            .filter_map(|half| {
                let state = state::decode(&half[..], &IDENTITY, &mut |_| ()).ok()?;
                Some((state.generation, half))
            })
            .max_by_key(|(generation, _)| *generation);
        let Some((generation, half)) = newest else {
            return;
        };
        self.generation = generation;
        let engine = &mut self.engine;
        let state = state::decode(&half[..], &IDENTITY, &mut |e| engine.remember(e)).unwrap();
        engine.restore(&state);
    }

    /// As the daemon does before commands go out. Answers false if it dies of it.
    fn save(&mut self, torn: bool) {
        let Some(mut state) = self.engine.unsaved_state() else {
            return;
        };
        self.generation += 1;
        state.generation = self.generation;
        let mut half = Box::new([0; HALF]);
        let ours = self.engine.endpoints().ours().iter();
        let length = state::encode(
            &mut half,
            &IDENTITY,
            &state,
            &mut ours.map(|slot| slot.endpoint),
        );
        let at = usize::try_from(self.generation % 2).unwrap();
        let old = self.file[at].get_or_insert_with(|| Box::new([0; HALF]));
        let written = if torn { length / 2 } else { length };
        old[..written].copy_from_slice(&half[..written]);
    }

    /// Lets the daemon run, and time pass.
    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        while self.alive {
            self.turns += 1;
            assert!(self.turns < 2000, "busy loop: {:?}", self.counts);
            self.read(usize::MAX);
            self.settle();
            if !self.alive || self.is_awake() {
                continue;
            }
            match self.engine.deadline() {
                Some(at) if at <= self.now => {}
                Some(at) if at <= end => {
                    self.turns = 0;
                    self.now = at;
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    fn is_awake(&self) -> bool {
        self.engine.has_commands(self.now)
            || !self.failures.is_empty()
            || !self.kernel.events.is_empty()
            || self.kernel.lost
            || (self.unanswered.is_some() && self.engine.awaits_any())
    }

    fn answers(&mut self) {
        if let Some(last) = self.unanswered.take() {
            for (number, errno) in self.failures.split_off(0) {
                let failure = Failure { errno, message: "" };
                self.engine.handle(self.now, Input::Failed(number, failure));
            }
            self.engine.handle(self.now, Input::Done(last));
        }
    }

    /// Answers first, then events, as the daemon's loop does it.
    fn read(&mut self, most: usize) {
        self.answers();
        let most = most.min(self.kernel.events.len());
        for event in self.kernel.events.drain(..most) {
            self.engine.handle(self.now, Input::Network(&event));
        }
        // What was lost is told once all that was kept has been read.
        if self.kernel.lost && self.kernel.events.is_empty() {
            self.kernel.lost = false;
            self.engine.handle(self.now, Input::Lost(Source::Network));
        }
        self.kernel.full = false;
    }

    fn settle(&mut self) {
        loop {
            self.engine.settle(self.now);
            let mut sent = false;
            while let Some(command) = self.engine.poll_command(self.now) {
                self.turns += 1;
                assert!(
                    self.turns < 2000,
                    "busy loop: {command:?}, {:?}",
                    self.counts
                );
                sent = true;
                if self.carry_out(command) || !self.alive {
                    return;
                }
            }
            if !sent {
                return;
            }
        }
    }

    /// Counts down to SIGKILL. Answers whether it has come.
    fn dies(&mut self) -> bool {
        match &mut self.faults.kill {
            None => false,
            Some((0, torn)) => {
                let torn = *torn;
                self.save(torn);
                self.alive = false;
                true
            }
            Some((after, _)) => {
                *after -= 1;
                false
            }
        }
    }

    /// Answers whether the command was one that blocks.
    fn carry_out(&mut self, command: Command) -> bool {
        if self.dies() {
            return false;
        }
        if matches!(
            command,
            Command::Dump(_) | Command::Look | Command::GetLimits
        ) {
            self.answers();
        }
        match command {
            Command::Dump(part) => {
                self.counts.looks += 1;
                let mut interrupted = Ok(());
                let mut items = self.kernel.dump(part);
                let mut shown = items.len();
                if let Some(most) = self.faults.interrupt.take() {
                    shown = usize::from(most).min(shown);
                    interrupted = Err(Incomplete::Interrupted);
                }
                if self.refuses_dump() {
                    return self.dumped(part, Err(Incomplete::Refused(12)));
                }
                let meanwhile = self.faults.meanwhile.take();
                for (at, item) in items.drain(..).take(shown).enumerate() {
                    if let Some(change) = meanwhile.filter(|_| at == shown / 2) {
                        self.change(change);
                        interrupted = Err(Incomplete::Interrupted);
                    }
                    self.engine.handle(self.now, Input::Item(&item));
                }
                self.dumped(part, interrupted);
            }
            Command::Look => {
                self.counts.looks += 1;
                let mut result = Ok(());
                let mut shown = usize::MAX;
                if !self.family || self.refuses_dump() {
                    result = Err(Incomplete::Refused(11));
                    shown = 0;
                } else if let Some(most) = self.faults.interrupt.take() {
                    result = Err(Incomplete::Interrupted);
                    shown = most.into();
                }
                for endpoint in self.kernel.dump_endpoints().into_iter().take(shown) {
                    self.engine.handle(self.now, Input::Endpoint(endpoint));
                }
                self.engine.handle(self.now, Input::Looked(result));
            }
            Command::GetLimits => {
                self.counts.looks += 1;
                if !self.family || self.refuses_dump() {
                    let result = Err(Incomplete::Refused(11));
                    self.engine.handle(self.now, Input::Limits(result));
                } else {
                    let limits = self.kernel.limits;
                    self.engine.handle(self.now, Input::Limits(Ok(limits)));
                }
            }
            Command::Request(number, Request::Kernel(command)) => {
                return self.path_manager(number, command);
            }
            Command::Request(number, Request::Route(change)) => {
                self.counts.changes += 1;
                let refused = self.refusal().map_or(Ok(()), Err);
                match refused.and_then(|()| self.kernel.change_routing(&change)) {
                    Ok(()) => self.engine.handle(self.now, Input::Done(number)),
                    Err(errno) => {
                        let failure = Failure { errno, message: "" };
                        self.engine.handle(self.now, Input::Failed(number, failure));
                    }
                }
            }
            Command::Request(..) => panic!("nobody asks for this: {command:?}"),
            #[allow(unreachable_patterns)]
            _ => {}
        }
        false
    }

    fn dumped(&mut self, part: mptcpd::network::Part, result: Result<(), Incomplete>) -> bool {
        self.engine.handle(self.now, Input::Dumped(part, result));
        false
    }

    fn refuses_dump(&mut self) -> bool {
        let refuses = self.faults.refuse_dumps > 0;
        self.faults.refuse_dumps = self.faults.refuse_dumps.saturating_sub(1);
        refuses
    }

    fn refusal(&mut self) -> Option<i32> {
        let (errno, times) = self.faults.refuse.as_mut()?;
        *times = times.checked_sub(1)?;
        Some(*errno)
    }

    /// Sends a command to the path manager, with those that may go with it.
    fn path_manager(&mut self, number: u32, command: PathManager) -> bool {
        if !self.family {
            let failure = Failure {
                errno: 11,
                message: "",
            };
            self.engine.handle(self.now, Input::Failed(number, failure));
            return false;
        }
        self.save(false);
        let mut batch = vec![(number, command)];
        let blocks = |command: &PathManager| matches!(command, PathManager::DeleteEndpoint(_));
        while !blocks(&batch[batch.len() - 1].1) && batch.len() < 20 {
            let Some(next) = self.engine.poll_kernel_command() else {
                break;
            };
            batch.push(next);
        }
        let mut blocked = false;
        for (number, command) in batch {
            self.counts.changes += 1;
            let refused = self.refusal().map_or(Ok(()), Err);
            let result = refused.and_then(|()| self.kernel.command(&command, Maker::Daemon));
            if let Err(errno) = result {
                self.failures.push((number, errno));
            }
            blocked |= blocks(&command);
            self.unanswered = Some(number);
        }
        if blocked {
            // synchronize_rcu()
            self.now = self.now + Span(16);
        }
        blocked
    }
}
