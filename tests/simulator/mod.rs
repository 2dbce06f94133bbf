// SPDX-License-Identifier: BSD-3-Clause
//! The daemon's loop around the engine, on a simulated kernel, in simulated time. The kernel lies
//! as kernels do, other programs meddle, and the machine crashes.
//!
//! There are two kernels: that of [`network`] has a router's links, addresses, routes and
//! endpoints, that of [`connections`] has connections. A history is a list of their steps.

#![allow(dead_code)] // Each user has its own part.
#![allow(unexpected_cfgs)] // The fuzzer has no such feature.

pub mod connections;
mod events;
// `mptcpd::testing` has the connections alone.
#[cfg(any(test, not(feature = "testing")))]
pub mod network;

use core::fmt;
use std::collections::BTreeSet;

use mptcpd::internal::config::Config;
use mptcpd::internal::engine::{Command, Engine, Incomplete, Input};
use mptcpd::internal::netlink::mptcp::Command as PathManager;
use mptcpd::internal::plugin::{CommandId, Entry, Failure};
use mptcpd::internal::state::{self, HALF, Identity};
use mptcpd::internal::time::{Duration, Instant};

/// A step of a history. Numbers stand for whatever it is, whatever their size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<C> {
    Change(C),
    /// The daemon runs for so many 10 milliseconds.
    Run(u8),
    /// The daemon reads so many events and acts upon them.
    ReadEvents(u8),
    /// The next dump is interrupted, after so many items.
    Interrupt(u8),
    /// Something changes in the midst of the next dump.
    Meanwhile(C),
    /// The next dumps are refused.
    RefuseDumps(u8),
    /// The kernel refuses commands, with an errno: after so many, so many; [`ALWAYS`] is all.
    Refuse(u8, u8, u8),
    /// SIGKILL before the next command but so many; the state file's last write may be torn.
    Kill(u8, bool),
    /// Starts the daemon again if it is dead.
    Start,
    /// SIGHUP, with a configuration.
    Reload(u8),
    /// SIGHUP without a change.
    Resync,
}

pub const ALWAYS: u8 = u8::MAX;

/// A kernel, as the daemon's loop knows it.
pub trait Simulated: Sized {
    /// Something that happens to it.
    type Change: Copy;
    /// The plugin that suits it.
    const PLUGIN: &'static Entry;
    /// With which it refuses commands.
    const REFUSALS: &'static [i32];

    /// The configuration of a number.
    fn config(number: u8) -> Config;

    fn happen(simulation: &mut Simulation<Self>, change: Self::Change);

    /// Hands over what it tells, but no more events than `most`.
    fn read(&mut self, most: usize, each: &mut dyn FnMut(Input<'_>));

    /// Whether there is something to read.
    fn has_news(&self) -> bool;

    /// The daemon has died: what it had open is closed.
    fn close(&mut self);

    /// Carries out a command that has no answer unless it fails, with an errno.
    fn obey(&mut self, now: Instant, command: &PathManager) -> Result<(), i32>;

    /// Carries out any other command, and answers it.
    fn answer(simulation: &mut Simulation<Self>, number: CommandId, command: Command);

    /// Time passes.
    fn advance(&mut self, _now: Instant) {}

    /// When something happens of itself.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// What stands for EINVAL where the kernel knows an address of a connection by another id.
const MISMATCH: i32 = 1 << 16;

#[derive(Default)]
struct Faults {
    /// Items before the next dump is interrupted.
    interrupt: Option<u8>,
    refuse_dumps: u8,
    /// errno, after how many, and how often.
    refuse: (i32, u8, u8),
    /// Commands until SIGKILL; the state file's last write may be torn.
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

pub struct Simulation<K: Simulated> {
    pub now: Instant,
    pub kernel: K,
    pub engine: Engine,
    pub counts: Counts,
    configuration: u8,
    alive: bool,
    /// The path manager's family is there.
    family: bool,
    faults: Faults,
    /// The errnos that commands have been refused with.
    refused: BTreeSet<i32>,
    /// Happens in the midst of the next dump.
    meanwhile: Option<K::Change>,
    /// The last command whose failure could still be reported, and the failures.
    unanswered: Option<CommandId>,
    failures: Vec<(CommandId, i32)>,
    file: [Option<Box<[u8; HALF]>>; 2],
    generation: u32,
    /// Turns of the loop since time went on.
    turns: u32,
}

const IDENTITY: Identity = Identity {
    boot_id: [7; 16],
    namespace: 1,
};

fn engine<K: Simulated>(now: Instant, configuration: u8) -> Engine {
    Engine::new(now, K::config(configuration), &[K::PLUGIN])
}

impl<K: Simulated> Simulation<K> {
    pub fn on(kernel: K, configuration: u8) -> Self {
        let now = Instant(1_000_000);
        let mut simulation = Self {
            now,
            kernel,
            engine: engine::<K>(now, configuration),
            counts: Counts::default(),
            configuration,
            alive: false,
            family: true,
            faults: Faults::default(),
            refused: BTreeSet::new(),
            meanwhile: None,
            unanswered: None,
            failures: Vec::new(),
            file: [None, None],
            generation: 0,
            turns: 0,
        };
        simulation.start();
        simulation
    }

    pub fn config(&self) -> &Config {
        self.engine.config()
    }

    pub fn play(&mut self, steps: &[Step<K::Change>]) {
        steps.iter().for_each(|step| self.step(*step));
    }

    pub fn step(&mut self, step: Step<K::Change>) {
        self.turns = 0;
        match step {
            Step::Change(change) => K::happen(self, change),
            Step::Run(time) => self.run(Duration::from_millis(u32::from(time) * 10)),
            Step::ReadEvents(events) if self.alive => {
                self.read(events.into());
                self.settle();
            }
            Step::ReadEvents(_) => {}
            Step::Interrupt(items) => self.faults.interrupt = Some(items),
            Step::Meanwhile(change) => self.meanwhile = Some(change),
            Step::RefuseDumps(times) => self.faults.refuse_dumps = times,
            Step::Refuse(errno, after, times) => {
                let errno = K::REFUSALS[usize::from(errno) % K::REFUSALS.len()];
                self.faults.refuse = (errno, after, times);
            }
            Step::Kill(after, torn) => self.faults.kill = Some((after, torn)),
            Step::Start => self.start(),
            Step::Reload(configuration) => self.reload(configuration),
            Step::Resync => self.reload(self.configuration),
        }
    }

    fn start(&mut self) {
        if self.alive {
            return;
        }
        self.alive = true;
        self.faults.kill = None;
        self.unanswered = None;
        self.failures.clear();
        self.kernel.close();
        self.engine = engine::<K>(self.now, self.configuration);
        self.load();
        if self.family {
            self.tell(Input::PathManager(true));
        }
    }

    fn reload(&mut self, configuration: u8) {
        self.configuration = configuration;
        if self.alive {
            let config = Box::new(K::config(configuration));
            self.tell(Input::Reload(config));
        }
    }

    /// Ends all faults, with the daemon alive.
    fn end_faults(&mut self) {
        self.faults = Faults::default();
        self.meanwhile = None;
        self.step(Step::Start);
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
        let (now, engine) = (self.now, &mut self.engine);
        let mut found = |e| engine.handle(now, Input::Remember(e));
        let state = state::decode(&half[..], &IDENTITY, &mut found).unwrap();
        engine.handle(now, Input::Restore(&state));
    }

    /// As the daemon does before commands go out.
    fn save(&mut self, torn: bool) {
        let Some((mut state, mut ours)) = self.engine.state_to_save() else {
            return;
        };
        self.generation += 1;
        state.generation = self.generation;
        let mut half = Box::new([0; HALF]);
        let length = state::encode(&mut half, &IDENTITY, &state, &mut ours);
        drop(ours);
        let at = usize::try_from(self.generation % 2).unwrap();
        let old = self.file[at].get_or_insert_with(|| Box::new([0; HALF]));
        let written = if torn { length / 2 } else { length };
        old[..written].copy_from_slice(&half[..written]);
    }

    /// Lets the daemon run, and time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.kernel.advance(self.now);
            if self.alive {
                self.turn(format_args!("nothing to do"));
                self.read(usize::MAX);
                self.settle();
                if self.alive && self.is_awake() {
                    continue;
                }
            }
            let own = self.engine.deadline().filter(|_| self.alive);
            match own.into_iter().chain(self.kernel.deadline()).min() {
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

    fn turn(&mut self, doing: fmt::Arguments<'_>) {
        self.turns += 1;
        assert!(self.turns < 2000, "busy loop: {doing}, {:?}", self.counts);
    }

    fn is_awake(&self) -> bool {
        !self.failures.is_empty() || self.kernel.has_news()
    }

    /// Answers first, then events, as the daemon's loop does it.
    fn read(&mut self, most: usize) {
        self.answers();
        let (engine, now) = (&mut self.engine, self.now);
        self.kernel
            .read(most, &mut |input| engine.handle(now, input));
    }

    fn answers(&mut self) {
        if let Some(last) = self.unanswered.take() {
            for (number, errno) in self.failures.split_off(0) {
                self.fail(number, errno);
            }
            self.tell(Input::Done(last));
        }
    }

    fn tell(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
    }

    fn fail(&mut self, number: CommandId, errno: i32) {
        let failure = match errno {
            MISMATCH => Failure {
                errno: libc::EINVAL,
                message: "did not match address and id",
            },
            _ => Failure { errno, message: "" },
        };
        self.tell(Input::Failed(number, failure));
    }

    /// Lets the engine act, until it waits or has sent a command that blocks.
    fn settle(&mut self) {
        loop {
            self.engine.settle(self.now);
            let mut sent = false;
            while let Some((number, command)) = self.engine.poll_command(self.now) {
                self.turn(format_args!("{command:?}"));
                sent = true;
                if self.dies() || self.carry_out(number, command) {
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

    /// Returns whether the command was one that blocks.
    fn carry_out(&mut self, number: CommandId, command: Command) -> bool {
        match command {
            Command::PathManager(command) if !command.is_query() => {
                return self.path_manager(number, &command);
            }
            Command::Subscribe(_) => return false,
            _ => {}
        }
        // Whoever waits for an answer reads those before.
        self.answers();
        if !matches!(
            command,
            Command::PathManager(_)
                | Command::Route(_)
                | Command::Listen(_)
                | Command::CloseListener(_)
                | Command::CheckReversePath(_)
        ) {
            self.counts.looks += 1;
        }
        K::answer(self, number, command);
        false
    }

    /// Sends a command to the path manager. Returns whether it blocks.
    fn path_manager(&mut self, number: CommandId, command: &PathManager) -> bool {
        self.unanswered = Some(number);
        if !self.family {
            self.fail(number, libc::EAGAIN);
            return false;
        }
        self.save(false);
        self.counts.changes += 1;
        let refused = self.refusal().map_or(Ok(()), Err);
        let result = refused.and_then(|()| self.kernel.obey(self.now, command));
        if let Err(errno) = result {
            self.failures.push((number, errno));
        }
        let blocks = matches!(command, PathManager::DeleteEndpoint(_));
        if blocks {
            // synchronize_rcu()
            self.now = self.now + Duration::from_millis(16);
        }
        blocks
    }

    /// The errno with which the next command is refused.
    fn refusal(&mut self) -> Option<i32> {
        let (errno, after, times) = &mut self.faults.refuse;
        if let Some(rest) = after.checked_sub(1) {
            *after = rest;
            return None;
        }
        *times = match *times {
            ALWAYS => ALWAYS,
            times => times.checked_sub(1)?,
        };
        self.refused.insert(*errno);
        Some(*errno)
    }

    fn refuses_dump(&mut self) -> bool {
        let rest = self.faults.refuse_dumps.checked_sub(1);
        self.faults.refuse_dumps = rest.unwrap_or(0);
        rest.is_some()
    }

    /// How many items the next dump shows at most, and how it ends.
    fn next_dump(&mut self) -> (usize, Result<(), Incomplete>) {
        if self.refuses_dump() {
            return (0, Err(Incomplete::Refused(libc::ENOMEM)));
        }
        match self.faults.interrupt.take() {
            Some(most) => (most.into(), Err(Incomplete::Interrupted)),
            None => (usize::MAX, Ok(())),
        }
    }
}
