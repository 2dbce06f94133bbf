//! Connections: they come and go, peers announce and join, interfaces go up and down.
//!
//! The network is simple here, and its events are all heard: three interfaces with an address
//! each. The order of one connection's events is kept; a dump shows what is so now, whatever is
//! still queued.

mod kernel;
mod specification;
mod witness;

use mptcpd::config::{Config, NotifyFlags};
use mptcpd::engine::{Command, Incomplete, Input, Source};
use mptcpd::netlink::mptcp::{Command as PathManager, Event, Limits, SubflowAddress};
use mptcpd::netlink::route::{Address, Notification};
use mptcpd::network::Part;
use mptcpd::plugin::{Entry, Request};
use mptcpd::time::{Instant, Span};

use super::{Counts, Simulated};
use kernel::{Kernel, Path, UNSERVED, here, index, token_of};
use specification::{check_listeners, check_strategy, check_table};

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

pub type Simulation = super::Simulation<Kernel>;

impl Simulated for Kernel {
    type Change = Change;
    const PLUGIN: &'static Entry = &witness::ENTRY;

    fn config(_: u8) -> Config {
        let mut config = Config::new(&[witness::ENTRY]);
        config.default.notify = NotifyFlags::EXISTING;
        // What goes wrong is put right without it.
        config.resync_interval = 0;
        config.max_connections = 256;
        config
    }

    fn read(&mut self, most: usize, each: &mut dyn FnMut(Input<'_>)) {
        for event in self.network.drain(..) {
            each(Input::Network(&event));
        }
        let mut event = |event: &_| each(Input::Connection(event));
        if self.events.read(most, &mut event) {
            each(Input::Lost(Source::Connections));
        }
    }

    fn has_news(&self) -> bool {
        !self.network.is_empty() || self.events.has_news()
    }

    fn close(&mut self) {
        self.network.clear();
        self.events.forget();
        self.listeners.clear();
    }

    fn obey(&mut self, now: Instant, command: &PathManager) -> Result<(), i32> {
        self.command(now, command)
    }

    fn answer(simulation: &mut Simulation, command: Command) {
        let now = simulation.now;
        match command {
            Command::Dump(part) => {
                for interface in 0..3 {
                    let item = match part {
                        Part::Links => simulation.kernel.link(interface),
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
                    simulation.engine.handle(now, Input::Item(&item));
                }
                simulation.engine.handle(now, Input::Dumped(part, Ok(())));
            }
            Command::Look => simulation.engine.handle(now, Input::Looked(Ok(()))),
            Command::GetLimits => {
                let limits = Ok(Limits::default());
                simulation.engine.handle(now, Input::Limits(limits));
            }
            Command::Recover => {
                let result = simulation.dump();
                simulation.engine.handle(now, Input::Recovered(result));
            }
            Command::Learn(token) => {
                let result = simulation.learn(token);
                simulation.engine.handle(now, Input::Learned(token, result));
            }
            Command::Request(number, Request::AnnounceWithListener { token, address }) => {
                simulation.listen(number, token, address);
            }
            Command::Unlisten(local) => {
                let mut all = simulation.kernel.listeners.iter();
                let at = all.position(|l| *l == local).expect("a listener");
                simulation.kernel.listeners.remove(at);
            }
            Command::Request(..) => panic!("nobody asks for this: {command:?}"),
        }
    }

    fn advance(&mut self, now: Instant) {
        self.answer_peers(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.pending()
    }
}

/// Plays a history and says what is wrong in the end.
pub fn judge(steps: &[Step]) -> Result<(), String> {
    let kernel = Kernel {
        up: [true; 3],
        ..Kernel::default()
    };
    let mut simulation = Simulation::on(kernel, 0);
    for step in steps {
        simulation.step(*step);
    }
    simulation.recover();
    check_table(&simulation)?;
    simulation.stir();
    check_table(&simulation)?;
    check_strategy(&simulation)?;
    let Counts { changes, looks } = simulation.counts;
    let enough = 200 + 60 * u32::try_from(steps.len()).unwrap();
    if changes + looks > enough {
        return Err(format!("{changes} commands and {looks} looks"));
    }
    let before = simulation.counts;
    simulation.run(Span::seconds(3600));
    if before != simulation.counts {
        return Err(format!("not at rest: {before:?}, {:?}", simulation.counts));
    }
    simulation.close_all();
    check_table(&simulation)?;
    check_listeners(&simulation)
}

impl Simulation {
    pub fn step(&mut self, step: Step) {
        self.turns = 0;
        let events = &mut self.kernel.events;
        let at = |n: u8| usize::from(n) % events.len().max(1);
        match step {
            Step::Change(change) => self.change(change),
            Step::Run(n) => self.run(Span(u64::from(n) * 10)),
            Step::Glance(n) => self.glance(n),
            Step::Full => events.full = true,
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
            Step::Meanwhile(change) => self.meanwhile = Some(change),
            Step::RefuseDumps(times) => self.faults.refuse_dumps = times,
            Step::Refuse(errno, after, times) => {
                let errno = REFUSALS[usize::from(errno) % REFUSALS.len()];
                self.faults.refuse = (errno, after, times.into());
            }
            Step::Unreachable(times) => self.kernel.unreachable = times,
            Step::Kill(after) => self.faults.kill = Some((after, false)),
            Step::Start => self.start(),
            Step::Resync => self.reload(0),
        }
    }

    /// Tokens are random: one is not given again while the daemon takes it for the old connection,
    /// nor before it has read of that one's end. Commands have no other name for a connection.
    fn change(&mut self, change: Change) {
        let known = |token: u8| self.engine.connections().get(token.into()).is_some();
        if !matches!(change, Change::Open(token, ..) if self.alive && known(token)) {
            self.kernel.change(change);
        }
    }

    /// The faults end, and the dust settles.
    pub fn recover(&mut self) {
        self.end_faults();
        self.kernel.unreachable = 0;
        self.start();
        self.run(Span::seconds(40));
        for token in self.tokens() {
            let connection = &self.kernel.connections[&token.into()];
            // Of one that has no subflow left a dump does not show whose it is.
            if connection.closing || connection.subflows.is_empty() {
                self.kernel.change(Change::Close(token));
            } else if !connection.established {
                self.kernel.change(Change::Establish(token));
            }
        }
        self.run(Span::seconds(5));
    }

    /// Something changes, so that what was refused is tried again; and TCP gives up where nothing
    /// comes through.
    pub fn stir(&mut self) {
        let was = self.kernel.up[0];
        for up in [!was, was] {
            self.kernel.change(Change::Link(0, up));
            self.run(Span::seconds(2));
        }
        let up = self.kernel.up;
        let dead = |path: &Path| (0..3).any(|n| path.is_on(n) && !up[usize::from(n)]);
        for token in self.tokens() {
            self.kernel.end(token.into(), dead, 110);
        }
        self.run(Span::seconds(120));
    }

    pub fn close_all(&mut self) {
        for token in self.tokens() {
            self.kernel.change(Change::Close(token));
        }
        self.run(Span::seconds(5));
    }

    fn tokens(&self) -> Vec<u8> {
        let all = self.kernel.connections.keys();
        all.map(|token| u8::try_from(*token).unwrap()).collect()
    }

    fn dump(&mut self) -> Result<(), Incomplete> {
        let (most, result) = self.next_dump();
        let connections = self.kernel.connections();
        if let Some(change) = self.meanwhile.take_if(|_| most > 0) {
            self.change(change);
        }
        let first = connections.len().min(most);
        let found = connections.into_iter().map(Input::Found);
        let subflows = self.kernel.subflows().into_iter().map(Input::FoundSubflow);
        for input in found.take(first).chain(subflows.take(most - first)) {
            self.engine.handle(self.now, input);
        }
        result
    }

    fn learn(&mut self, token: u32) -> Result<(), Incomplete> {
        if let Some(errno) = self.refusal() {
            return Err(Incomplete::Refused(errno));
        }
        let connection = self.kernel.connections.get(&token);
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
        self.kernel.listeners.push(local);
        self.engine
            .handle(self.now, Input::Listening(number, local));
        self.path_manager(number, PathManager::Announce { token, address });
    }
}
