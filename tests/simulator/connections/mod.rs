// SPDX-License-Identifier: BSD-3-Clause
//! Connections: they come and go, peers announce and join, interfaces go up and down.
//!
//! The network is simple here, and its events are all heard: three interfaces with an address
//! each. The order of one connection's events is kept; a dump shows what is so now, whatever is
//! still queued.

mod kernel;
mod recorder;
pub mod specification;

use std::net::SocketAddr;

use mptcpd::internal::config::{Config, NotifyFlags};
use mptcpd::internal::engine::{Command, Incomplete, Input, Source};
use mptcpd::internal::netlink::diag::Query;
use mptcpd::internal::netlink::mptcp::{Command as PathManager, Limits, Token};
use mptcpd::internal::netlink::route::{Address, Family, Notification};
use mptcpd::internal::network::Part;
use mptcpd::internal::plugin::{CommandId, Entry, Reply};
use mptcpd::internal::time::{Duration, Instant};

use super::{Counts, Simulated};
use kernel::{Kernel, Path, UNSERVED, here, index, token};
use specification::{Settled, check_each, check_listeners, check_table};

/// Something that happens to connections, or to what is told of them.
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
    /// The kernel has an interface's address by this id, if it has not by any, as from an earlier run
    /// that gave others.
    Rename(u8, u8, u8),
    /// One of the subflows ends; the event may not say which.
    Die(u8, u8, bool),
    /// An interface goes up or down.
    Link(u8, bool),
    /// The next subflows asked for come to nothing.
    Unreachable(u8),
    /// The event socket is full until the daemon reads.
    Full,
    /// The kernel repeats that a subflow closed.
    Repeat(u8),
    /// An event overtakes the one before, which is another connection's.
    Swap(u8),
}

pub type Simulation = super::Simulation<Kernel>;
pub type Step = super::Step<Change>;

/// Keys of a strategy's section, and their values.
pub type Settings = &'static [(&'static str, &'static str)];

impl Simulated for Kernel {
    type Change = Change;
    const PLUGIN: &'static Entry = &recorder::ENTRY;
    const REFUSALS: &'static [i32] = &[libc::ENOMEM, libc::EPERM, libc::ENOBUFS];

    fn config(_: u8) -> Config {
        let mut config = Config::new(&[recorder::ENTRY]);
        let (_, settings) = recorder::STRATEGY.get().expect("a strategy");
        config.default.policy.notify = NotifyFlags::EXISTING;
        // What goes wrong is put right without it.
        config.resync_interval = 0;
        config.max_connections = 256;
        let listen = recorder::LISTEN.get().then_some(&("listen", "yes"));
        for (key, value) in settings.iter().chain(listen) {
            let [section, key, value] = ["recorder", *key, *value].map(str::to_owned);
            config.plugin_sections.push((section, key, value));
        }
        config
    }

    /// Tokens are random: one is not given again while the daemon takes it for the old connection,
    /// nor before it has read of that one's end. Commands have no other name for a connection.
    fn happen(simulation: &mut Simulation, change: Change) {
        let known = simulation.engine.connections();
        let known = |number: u8| known.get(token(number)).is_some();
        if !matches!(change, Change::Open(number, ..) if simulation.alive && known(number)) {
            simulation.kernel.change(change);
        }
    }

    fn read(&mut self, most: usize, each: &mut dyn FnMut(Input<'_>)) {
        for event in self.network.drain(..) {
            each(Input::Network(&event));
        }
        let mut event = |event: &_| each(Input::Connection(event));
        if self.events.read(most, &mut event) {
            each(Input::EventsLost(Source::Connections));
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

    fn answer(simulation: &mut Simulation, number: CommandId, command: Command) {
        match command {
            Command::DumpNetwork(part, _) => {
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
                    simulation.tell(Input::NetworkItem(&item));
                }
                simulation.tell(Input::NetworkEnd(part, Ok(())));
            }
            Command::DumpEndpoints => simulation.tell(Input::EndpointsEnd(Ok(()))),
            Command::GetLimits => {
                let limits = Ok(Limits::default());
                simulation.tell(Input::Limits(limits));
            }
            Command::Diag(query) => {
                let result = simulation.diag(query);
                simulation.tell(Input::DiagEnd(result));
            }
            Command::DumpAddresses(token) => {
                let result = simulation.learn(token);
                simulation.tell(Input::ConnectionAddressesEnd(token, result));
            }
            Command::PathManager(PathManager::DumpAddresses { token }) => {
                let connection = simulation.kernel.connections.get(&token);
                let Some(known) = connection.map(|c| c.known.clone()) else {
                    return simulation.fail(number, libc::EINVAL);
                };
                for known in known {
                    simulation.tell(Input::Reply(number, &Reply::Endpoint(known)));
                }
                simulation.tell(Input::Done(number));
            }
            Command::Listen(local) => simulation.listen(number, local),
            Command::Probe(local) if local.port() == UNSERVED => {
                simulation.fail(number, libc::ECONNREFUSED);
            }
            Command::Probe(local) => simulation.tell(Input::Listening(number, local)),
            Command::CheckReversePath(_) => {}
            Command::CloseListener(local) => {
                let mut all = simulation.kernel.listeners.iter();
                let at = all.position(|l| *l == local).expect("a listener");
                simulation.kernel.listeners.remove(at);
            }
            _ => panic!("nobody asks for this: {command:?}"),
        }
    }

    fn advance(&mut self, now: Instant) {
        self.answer_peers(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.pending()
    }
}

/// Plays a history and says what is wrong in the end, whether the daemon listens or not.
#[cfg(any(test, not(feature = "testing")))]
pub fn judge(steps: &[Step]) -> Result<(), String> {
    let sspi = &mptcpd::internal::plugin::sspi::ENTRY;
    recorder::STRATEGY.set(Some((sspi, &[])));
    for listen in [false, true] {
        recorder::LISTEN.set(listen);
        play(steps, specification::check_strategy)
            .map_err(|wrong| format!("listen {listen}: {wrong}"))?;
    }
    Ok(())
}

/// The same with another strategy in charge, and `fits` for whether a connection has what it promises.
pub fn judge_of(
    strategy: &'static Entry,
    settings: Settings,
    fits: fn(&Settled) -> bool,
    steps: &[Step],
) -> Result<(), String> {
    recorder::STRATEGY.set(Some((strategy, settings)));
    recorder::LISTEN.set(false);
    play(steps, |simulation| check_each(simulation, fits))
}

fn play(steps: &[Step], check: impl Fn(&Simulation) -> Result<(), String>) -> Result<(), String> {
    let kernel = Kernel {
        up: [true; 3],
        ..Kernel::default()
    };
    let mut simulation = Simulation::on(kernel, 0);
    simulation.play(steps);
    simulation.recover();
    check_table(&simulation)?;
    simulation.stir();
    check_table(&simulation)?;
    check(&simulation)?;
    let Counts { changes, looks } = simulation.counts;
    let enough = 200 + 60 * u32::try_from(steps.len()).unwrap();
    if changes + looks > enough {
        return Err(format!("{changes} commands and {looks} looks"));
    }
    let before = simulation.counts;
    simulation.run(Duration::from_secs(3600));
    if before != simulation.counts {
        return Err(format!("not at rest: {before:?}, {:?}", simulation.counts));
    }
    simulation.close_all();
    check_table(&simulation)?;
    check_listeners(&simulation)
}

impl Simulation {
    /// The faults end, and the dust settles.
    pub fn recover(&mut self) {
        self.end_faults();
        self.kernel.unreachable = 0;
        self.run(Duration::from_secs(40));
        for number in self.numbers() {
            let connection = &self.kernel.connections[&token(number)];
            // Of one that has no subflow left a dump does not show whose it is.
            if connection.closing || connection.subflows.is_empty() {
                self.kernel.change(Change::Close(number));
            } else if !connection.established {
                self.kernel.change(Change::Establish(number));
            }
        }
        self.run(Duration::from_secs(5));
    }

    /// Something changes, so that what was refused is tried again; and TCP gives up where nothing
    /// comes through.
    pub fn stir(&mut self) {
        let was = self.kernel.up[0];
        for up in [!was, was] {
            self.kernel.change(Change::Link(0, up));
            self.run(Duration::from_secs(2));
        }
        let up = self.kernel.up;
        let dead = |path: &Path| (0..3).any(|n| path.is_on(n) && !up[usize::from(n)]);
        for number in self.numbers() {
            self.kernel.end(token(number), dead, 110);
        }
        self.run(Duration::from_secs(120));
    }

    pub fn close_all(&mut self) {
        for number in self.numbers() {
            self.kernel.change(Change::Close(number));
        }
        self.run(Duration::from_secs(5));
    }

    fn numbers(&self) -> Vec<u8> {
        let all = self.kernel.connections.keys();
        all.map(|token| u8::try_from(token.get()).unwrap())
            .collect()
    }

    /// Answers a question to inet_diag. All connections are of IPv4.
    fn diag(&mut self, query: Query) -> Result<(), Incomplete> {
        let all: Vec<_> = match query {
            Query::Sockets => panic!("nobody asks for this: {query:?}"),
            Query::Connections(Family::Ipv6) | Query::Subflows(Family::Ipv6) => return Ok(()),
            Query::Connections(Family::Ipv4) => {
                let all = self.kernel.connections();
                all.into_iter().map(Input::DiagConnection).collect()
            }
            Query::Connection(token) => {
                let all = self.kernel.connections();
                let found = all.into_iter().find(|c| c.token == token);
                let found = found.ok_or(Incomplete::Refused(libc::ENOENT))?;
                self.tell(Input::DiagConnection(found));
                return Ok(());
            }
            Query::Subflows(Family::Ipv4) => {
                let all = self.kernel.subflows();
                all.into_iter().map(Input::DiagSubflow).collect()
            }
        };
        let (most, result) = self.next_dump();
        if let Some(change) = self.meanwhile.take_if(|_| most > 0) {
            Kernel::happen(self, change);
        }
        let count = all.len();
        for input in all.into_iter().take(most) {
            self.tell(input);
        }
        match (query, most.checked_sub(count)) {
            // The interruption comes among the subflows.
            (Query::Connections(_), Some(rest)) if result == Err(Incomplete::Interrupted) => {
                self.faults.interrupt = u8::try_from(rest).ok();
                Ok(())
            }
            _ => result,
        }
    }

    fn learn(&mut self, token: Token) -> Result<(), Incomplete> {
        if let Some(errno) = self.refusal() {
            return Err(Incomplete::Refused(errno));
        }
        let connection = self.kernel.connections.get(&token);
        for known in &connection.ok_or(Incomplete::Refused(libc::EINVAL))?.known {
            self.engine
                .handle(self.now, Input::ConnectionAddress(token, *known));
        }
        Ok(())
    }

    fn listen(&mut self, number: CommandId, local: SocketAddr) {
        if local.port() != UNSERVED {
            return self.fail(number, libc::EADDRINUSE);
        }
        self.kernel.listeners.push(local);
        self.tell(Input::Listening(number, local));
    }
}
