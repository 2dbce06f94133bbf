//! The connections' side of the simulated kernel, and the daemon's loop around it.
//!
//! The network is simple here, and its events are all heard: three interfaces with an address
//! each, which go up and down. The order of one connection's events is kept; a dump shows what is
//! so now, whatever is still queued.

mod kernel;
pub mod specification;
mod witness;

use mptcpd::config::{Config, NotifyFlags};
use mptcpd::engine::{Command, Engine, Incomplete, Input, Source};
use mptcpd::netlink::mptcp::{Command as PathManager, Event, Limits, SubflowAddress};
use mptcpd::netlink::route::{Address, Notification};
use mptcpd::network::Part;
use mptcpd::plugin::{Failure, Request};
use mptcpd::time::{Instant, Span};

use kernel::{Path, UNSERVED, World, here, index, token_of};

/// Something that happens to connections. Numbers stand for tokens, interfaces and so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Token, interface, whether this side accepts.
    Open(u8, u8, bool),
    /// The handshake is complete.
    Establish(u8),
    /// One side begins to close.
    Fin(u8),
    Close(u8),
    /// The peer announces its address of a number, or withdraws it.
    Announce(u8, u8),
    Remove(u8, u8),
    /// The peer makes a subflow to an interface, from its address of a number.
    Join(u8, u8, u8),
    /// One of the subflows ends; the event may not say which.
    Die(u8, u8, bool),
    /// An interface goes up or down.
    Link(u8, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Change(Change),
    /// The daemon runs for so many 10 milliseconds.
    Run(u8),
    /// The daemon reads so many events and acts upon them.
    Glance(u8),
    /// The event socket is full until the daemon reads.
    Full,
    /// The kernel repeats that a subflow closed.
    Repeat(u8),
    /// An event overtakes the one before, which is another connection's.
    Swap(u8),
    /// The next dump is interrupted, after so many items.
    Interrupt(u8),
    /// Something changes between the connections and the subflows of the next dump.
    Meanwhile(Change),
    /// The next dumps of connections are refused.
    RefuseDumps(u8),
    /// The kernel refuses commands, and to show addresses: after so many, so many.
    Refuse(u8, u8, u8),
    /// The next subflows asked for come to nothing.
    Unreachable(u8),
    /// SIGKILL before the next command but so many.
    Kill(u8),
    Start,
    /// SIGHUP without a change.
    Resync,
}

const REFUSALS: [i32; 3] = [libc::ENOMEM, libc::EPERM, libc::ENOBUFS];

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub commands: u32,
    pub dumps: u32,
}

#[derive(Default)]
struct Faults {
    interrupt: Option<u8>,
    meanwhile: Option<Change>,
    refuse_dumps: u8,
    refuse: (i32, u8, u8),
    kill: Option<u8>,
}

pub struct Simulation {
    pub counts: Counts,
    world: World,
    engine: Engine,
    now: Instant,
    faults: Faults,
    alive: bool,
    unanswered: Option<u32>,
    failures: Vec<(u32, i32)>,
    turns: u32,
}

fn config() -> Config {
    let mut config = Config::new(&[witness::ENTRY]);
    config.default.notify = NotifyFlags::EXISTING;
    // What goes wrong is put right without it.
    config.resync_interval = 0;
    config.max_connections = 256;
    config
}

fn engine(now: Instant) -> Engine {
    let mut engine = Engine::new(now, config(), &[&witness::ENTRY]);
    engine.handle(now, Input::Family(true));
    engine
}

impl Simulation {
    pub fn new() -> Self {
        let now = Instant(1000);
        Self {
            counts: Counts::default(),
            world: World {
                up: [true; 3],
                ..World::default()
            },
            engine: engine(now),
            now,
            faults: Faults::default(),
            alive: true,
            unanswered: None,
            failures: Vec::new(),
            turns: 0,
        }
    }

    pub fn step(&mut self, step: Step) {
        self.turns = 0;
        let events = &mut self.world.events;
        let at = |n: u8| usize::from(n) % events.len().max(1);
        match step {
            Step::Change(change) => self.change(change),
            Step::Run(n) => self.run(Span(u64::from(n) * 10)),
            Step::Glance(n) if self.alive => {
                self.read(n.into());
                self.settle();
            }
            Step::Full => self.world.full = true,
            Step::Repeat(n) => {
                let at = at(n);
                if let Some(closed @ Event::SubflowClosed(_)) = events.get(at).copied() {
                    events.insert(at, closed);
                }
            }
            Step::Swap(n) => {
                let at = at(n);
                let other = |a, b| token_of(a) != token_of(b);
                if events.get(at + 1).is_some_and(|b| other(&events[at], b)) {
                    events.swap(at, at + 1);
                }
            }
            Step::Interrupt(most) => self.faults.interrupt = Some(most),
            Step::Meanwhile(change) => self.faults.meanwhile = Some(change),
            Step::RefuseDumps(times) => self.faults.refuse_dumps = times,
            Step::Refuse(errno, after, times) => {
                let errno = REFUSALS[usize::from(errno) % REFUSALS.len()];
                self.faults.refuse = (errno, after, times);
            }
            Step::Unreachable(times) => self.world.unreachable = times,
            Step::Kill(after) => self.faults.kill = Some(after),
            Step::Start => self.start(),
            Step::Resync if self.alive => {
                let reload = Input::Reload(Box::new(config()));
                self.engine.handle(self.now, reload);
            }
            Step::Glance(_) | Step::Resync => {}
        }
    }

    /// Tokens are random: one is not given again while the daemon takes it for the old connection,
    /// nor before it has read of that one's end. Commands have no other name for a connection.
    fn change(&mut self, change: Change) {
        let known = |token: u8| self.engine.connections().get(token.into()).is_some();
        if !matches!(change, Change::Open(token, ..) if self.alive && known(token)) {
            self.world.change(change);
        }
    }

    /// The faults end, and the dust settles.
    pub fn recover(&mut self) {
        self.faults = Faults::default();
        self.world.unreachable = 0;
        self.turns = 0;
        self.start();
        self.run(Span::seconds(40));
        for token in self.tokens() {
            let connection = &self.world.connections[&token.into()];
            // Of one that has no subflow left a dump does not show whose it is.
            if connection.closing || connection.subflows.is_empty() {
                self.world.change(Change::Close(token));
            } else if !connection.established {
                self.world.change(Change::Establish(token));
            }
        }
        self.run(Span::seconds(5));
    }

    /// Something changes, so that what was refused is tried again; and TCP gives up where nothing
    /// comes through.
    pub fn stir(&mut self) {
        let was = self.world.up[0];
        for up in [!was, was] {
            self.world.change(Change::Link(0, up));
            self.run(Span::seconds(2));
        }
        let up = self.world.up;
        let dead = |path: &Path| (0..3).any(|n| path.is_on(n) && !up[usize::from(n)]);
        for token in self.tokens() {
            self.world.end(token.into(), dead, 110);
        }
        self.run(Span::seconds(120));
    }

    pub fn close_all(&mut self) {
        for token in self.tokens() {
            self.world.change(Change::Close(token));
        }
        self.run(Span::seconds(5));
    }

    fn tokens(&self) -> Vec<u8> {
        let all = self.world.connections.keys();
        all.map(|token| u8::try_from(*token).unwrap()).collect()
    }

    fn start(&mut self) {
        if self.alive {
            return;
        }
        self.alive = true;
        self.faults.kill = None;
        self.unanswered = None;
        self.failures.clear();
        self.world.events.clear();
        self.world.network.clear();
        self.world.lost = false;
        self.world.listeners.clear();
        self.engine = engine(self.now);
    }

    /// Lets the daemon run, and time pass.
    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            self.world.advance(self.now);
            if self.alive {
                self.turns += 1;
                assert!(self.turns < 2000, "busy loop: {:?}", self.counts);
                self.read(usize::MAX);
                self.settle();
                if self.alive && self.is_awake() {
                    continue;
                }
            }
            let deadline = self.engine.deadline().filter(|_| self.alive);
            match deadline.into_iter().chain(self.world.pending()).min() {
                Some(at) if at <= self.now => {}
                Some(at) if at <= end => {
                    self.turns = 0;
                    self.now = at;
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn is_awake(&self) -> bool {
        let world = &self.world;
        self.engine.has_commands(self.now)
            || !world.events.is_empty()
            || !world.network.is_empty()
            || world.lost
            || (self.unanswered.is_some() && self.engine.awaits_any())
    }

    fn answers(&mut self) {
        if let Some(last) = self.unanswered.take() {
            for (number, errno) in self.failures.split_off(0) {
                self.fail(number, errno);
            }
            self.engine.handle(self.now, Input::Done(last));
        }
    }

    fn fail(&mut self, number: u32, errno: i32) {
        let failure = Failure { errno, message: "" };
        self.engine.handle(self.now, Input::Failed(number, failure));
    }

    /// As the daemon's loop does it: answers, the network, events.
    fn read(&mut self, most: usize) {
        self.answers();
        for event in self.world.network.drain(..) {
            self.engine.handle(self.now, Input::Network(&event));
        }
        let most = most.min(self.world.events.len());
        for event in self.world.events.drain(..most) {
            self.engine.handle(self.now, Input::Connection(&event));
        }
        if self.world.lost && self.world.events.is_empty() {
            self.world.lost = false;
            let lost = Input::Lost(Source::Connections);
            self.engine.handle(self.now, lost);
        }
        self.world.full = false;
    }

    fn settle(&mut self) {
        loop {
            self.engine.settle(self.now);
            let mut sent = false;
            while let Some(command) = self.engine.poll_command(self.now) {
                self.turns += 1;
                assert!(self.turns < 2000, "busy loop: {command:?}");
                sent = true;
                match &mut self.faults.kill {
                    Some(0) => {
                        self.alive = false;
                        return;
                    }
                    Some(after) => *after -= 1,
                    None => {}
                }
                self.carry_out(command);
            }
            if !sent {
                return;
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        let now = self.now;
        // Whoever waits for an answer reads those before.
        if !matches!(command, Command::Request(_, Request::Kernel(_))) {
            self.answers();
        }
        match command {
            Command::Dump(part) => {
                for interface in 0..3 {
                    let item = match part {
                        Part::Links => self.world.link(interface),
                        Part::Addresses => Notification::Address(Address {
                            index: index(interface),
                            local: here(interface),
                            peer: None,
                            prefix_len: 24,
                            flags: 0x80,
                            scope: 0,
                        }),
                        Part::Routes(_) | Part::Rules(_) => break,
                    };
                    self.engine.handle(now, Input::Item(&item));
                }
                self.engine.handle(now, Input::Dumped(part, Ok(())));
            }
            Command::Look => self.engine.handle(now, Input::Looked(Ok(()))),
            Command::GetLimits => self
                .engine
                .handle(now, Input::Limits(Ok(Limits::default()))),
            Command::Recover => {
                let result = self.dump();
                self.engine.handle(now, Input::Recovered(result));
            }
            Command::Learn(token) => {
                let result = self.learn(token);
                self.engine.handle(now, Input::Learned(token, result));
            }
            Command::Request(number, Request::AnnounceWithListener { token, address }) => {
                self.listen(number, token, address);
            }
            Command::Request(number, Request::Kernel(command)) => {
                self.path_manager(number, command);
            }
            Command::Unlisten(local) => {
                let mut all = self.world.listeners.iter();
                let at = all.position(|l| *l == local).expect("a listener");
                self.world.listeners.remove(at);
            }
            Command::Request(..) => panic!("nobody asks for this: {command:?}"),
        }
    }

    fn dump(&mut self) -> Result<(), Incomplete> {
        self.counts.dumps += 1;
        if let Some(rest) = self.faults.refuse_dumps.checked_sub(1) {
            self.faults.refuse_dumps = rest;
            return Err(Incomplete::Refused(libc::ENOMEM));
        }
        let interrupted = self.faults.interrupt.take();
        let room = interrupted.map_or(usize::MAX, usize::from);
        let connections = self.world.connections();
        if let Some(change) = self.faults.meanwhile.take() {
            self.change(change);
        }
        let first = connections.len().min(room);
        let found = connections.into_iter().map(Input::Found);
        let subflows = self.world.subflows().into_iter().map(Input::FoundSubflow);
        for input in found.take(first).chain(subflows.take(room - first)) {
            self.engine.handle(self.now, input);
        }
        interrupted.map_or(Ok(()), |_| Err(Incomplete::Interrupted))
    }

    fn learn(&mut self, token: u32) -> Result<(), Incomplete> {
        if let Some(errno) = self.refusal() {
            return Err(Incomplete::Refused(errno));
        }
        let connection = self.world.connections.get(&token);
        for known in &connection.ok_or(Incomplete::Refused(libc::EINVAL))?.known {
            self.engine.handle(self.now, Input::Learnt(token, *known));
        }
        Ok(())
    }

    fn listen(&mut self, number: u32, token: u32, address: SubflowAddress) {
        let local = address.socket();
        if local.port() != UNSERVED {
            return self.fail(number, libc::EADDRINUSE);
        }
        self.world.listeners.push(local);
        self.engine
            .handle(self.now, Input::Listening(number, local));
        self.path_manager(number, PathManager::Announce { token, address });
    }

    fn refusal(&mut self) -> Option<i32> {
        let (errno, after, times) = &mut self.faults.refuse;
        if let Some(rest) = after.checked_sub(1) {
            *after = rest;
            return None;
        }
        *times = times.checked_sub(1)?;
        Some(*errno)
    }

    /// Sends a command to the path manager, with those that may go with it.
    fn path_manager(&mut self, number: u32, command: PathManager) {
        let mut next = Some((number, command));
        while let Some((number, command)) = next {
            self.counts.commands += 1;
            let refused = self.refusal().map_or(Ok(()), Err);
            let result = refused.and_then(|()| self.world.command(self.now, &command));
            if let Err(errno) = result {
                self.failures.push((number, errno));
            }
            self.unanswered = Some(number);
            next = self.engine.poll_kernel_command();
        }
    }
}
