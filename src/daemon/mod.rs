// SPDX-License-Identifier: BSD-3-Clause
//! The loop: sockets and signals on one side, the engine on the other.
//!
//! One `poll(2)` waits for everything. What has arrived is read whole and handed to the engine,
//! the engine decides, and its commands are carried out by the driver of the socket that they are
//! for, of which there is one for each kind.

mod coalesce;
mod commands;
#[cfg(feature = "control")]
mod control;
mod diag;
pub(crate) mod exchange;
#[cfg(feature = "health")]
mod health;
mod path_manager;
mod rtnetlink;
mod run_state;

use std::os::fd::RawFd;

use ::log::Level;

use crate::capacity;
use crate::config::{self, Config, Loaded, OnExit, Overrides};
use crate::engine::{Engine, Input};
use crate::features::USERSPACE;
use crate::logging;
use crate::netlink::message::Message;
use crate::plugin::Entry;
use crate::request::{CommandId, Failure};
use crate::state::{HALF, Identity};
use crate::sys::errno;
use crate::sys::listener::Listeners;
use crate::sys::netlink::{Inbox, Socket};
use crate::sys::signal::{SignalRequest, Signals};
use crate::sys::sysctl;
use crate::sys::{self, clock};
use crate::time::Instant;
use diag::Diag;
use path_manager::PathManager;
use rtnetlink::Rtnetlink;
use run_state::RunState;

/// What the loop waits for, as bits of what [`sys::poll`] returns.
const NETWORK: u32 = 1;
const COMMANDS: u32 = 1 << 1;
const EVENTS: u32 = 1 << 2;
const SIGNALS: u32 = 1 << 3;
const LISTENERS: u32 = 1 << 4;
#[cfg(feature = "health")]
const PROBES: u32 = 1 << 5;
/// Of the control socket, and then of its clients.
#[cfg(feature = "control")]
const CLIENTS: u32 = 1 << (5 + cfg!(feature = "health") as u32);

/// A descriptor that `poll(2)` takes no notice of.
const NOTHING: RawFd = -1;

/// Asked of the kernel for events, in bytes; it reserves nothing until they come.
const EVENT_BUFFER: i32 = 8 << 20;
/// Dumps come in pieces of up to so many bytes.
const DUMP_BUFFER: usize = 32 << 10;
/// Commands carried out before the rest of the loop has its turn.
const MAX_COMMANDS_PER_TURN: usize = capacity::COMMANDS;

/// Room for bytes on their way.
struct Buffers {
    inbox: Inbox,
    /// Of requests, and of the run state.
    out: Vec<u8>,
}

pub struct Daemon {
    engine: Engine,
    options: Overrides,
    plugins: &'static [Entry],
    rtnetlink: Rtnetlink,
    path_manager: PathManager,
    diag: Diag,
    signals: Signals,
    listeners: Listeners,
    #[cfg(feature = "control")]
    control: control::Control,
    #[cfg(feature = "health")]
    prober: health::Prober,
    state: RunState,
    io: Buffers,
}

impl Daemon {
    /// Opens everything and takes back the state of an earlier run. The error is for the user.
    pub fn start(
        options: Overrides,
        loaded: Loaded,
        entries: &[&'static Entry],
        plugins: &'static [Entry],
        signals: Signals,
        namespace: Option<u64>,
    ) -> Result<Self, String> {
        let now = clock::now();
        #[cfg(feature = "control")]
        let about = control::About::new(now, &loaded);
        let mut config = loaded.config;
        let rtnetlink = Rtnetlink::open()?;
        let path_manager = PathManager::open(now)?;
        let identity = Identity {
            boot_id: sysctl::boot_id(),
            namespace: namespace.unwrap_or(0),
        };
        let state = RunState::open(&config, identity);
        decide_end(&mut config, state.is_kept());
        #[cfg(feature = "control")]
        let control = control::Control::open(now, about, &config, identity.namespace);
        let mut daemon = Self {
            engine: Engine::new(now, config, entries),
            options,
            plugins,
            rtnetlink,
            path_manager,
            diag: Diag::default(),
            signals,
            listeners: Listeners::default(),
            #[cfg(feature = "control")]
            control,
            #[cfg(feature = "health")]
            prober: health::Prober::default(),
            state,
            io: Buffers {
                inbox: Inbox::new(DUMP_BUFFER),
                out: vec![0; HALF],
            },
        };
        daemon.engine.seed(sysctl::random());
        daemon
            .state
            .restore(now, &mut daemon.engine, &mut daemon.io);
        Ok(daemon)
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Says if the namespace's path manager does not suit the plugin in charge.
    fn check_path_manager(&self) {
        let Some(name) = self.engine.plugin_names().next() else {
            return;
        };
        match (sysctl::path_manager(), self.engine.manages_connections()) {
            (Some(sysctl::PathManager::Userspace), false) => logging::warn!(
                "net.mptcp.pm_type is 1 (userspace): new connections will ignore the endpoints of \
                 {name}; set it to 0"
            ),
            (Some(sysctl::PathManager::Kernel), true) => logging::warn!(
                "net.mptcp.pm_type is 0 (kernel): {name} will not manage new connections; set it \
                 to 1"
            ),
            (None, true) => {
                logging::warn!("this kernel does not support path management by {name}");
            }
            _ => {}
        }
    }

    /// Runs until a signal asks to stop.
    pub fn run(&mut self) -> errno::Result<()> {
        // The endpoints first.
        self.settle();
        self.check_path_manager();
        loop {
            self.settle();
            #[cfg(feature = "control")]
            self.serve();
            let now = clock::now();
            let deferred = self.path_manager.coalescer.defer_until(now);
            let mut fds = heapless::Vec::<_, { 7 + capacity::CLIENTS }>::from_iter(
                [
                    self.rtnetlink.events.fd(),
                    self.path_manager.commands.fd(),
                    match deferred {
                        Some(_) => NOTHING,
                        None => self.path_manager.events.fd(),
                    },
                    self.signals.fd(),
                    self.listeners.fd(),
                    #[cfg(feature = "health")]
                    self.prober.fd(),
                ]
                .map(sys::readable),
            );
            #[cfg(feature = "control")]
            self.control.wait_for(&mut |fd| _ = fds.push(fd));
            let deadline = self.deadline(now).min(deferred.unwrap_or(Instant::NEVER));
            let timeout = (deadline != Instant::NEVER).then(|| deadline.0.saturating_sub(now.0));
            let ready = sys::poll(&mut fds, timeout)?;
            if USERSPACE && ready & LISTENERS != 0 {
                self.listeners.reject_pending();
            }
            #[cfg(feature = "control")]
            self.control.receive(ready / CLIENTS);
            let now = clock::now();
            let (engine, io) = (&mut self.engine, &mut self.io);
            let answers = ready & COMMANDS != 0;
            self.path_manager.read_answers(now, engine, io, answers);
            if ready & NETWORK != 0 || self.rtnetlink.lost {
                self.rtnetlink.read_events(now, engine, io);
            }
            if ready & EVENTS != 0 || self.path_manager.lost {
                self.path_manager.read_events(now, engine, io);
            }
            #[cfg(feature = "health")]
            if ready & PROBES != 0 || engine.health().deadline() <= now {
                self.prober.run(now, engine, &self.rtnetlink, io);
            }
            if ready & SIGNALS != 0 && self.read_signals(now) {
                self.stop();
                return Ok(());
            }
            logging::flush(now);
        }
    }

    /// Returns how long to wait at most.
    fn deadline(&self, now: Instant) -> Instant {
        if self.rtnetlink.lost || self.path_manager.lost {
            return now;
        }
        let deadline = self.engine.deadline().unwrap_or(Instant::NEVER);
        let flush_at = logging::flush_at().unwrap_or(Instant::NEVER);
        deadline.min(flush_at).min(self.path_manager.deadline())
    }

    /// Lets the engine act and carries out what it says, until it has no more to say, a command
    /// has been sent that blocks, or there are too many: the news come first then.
    fn settle(&mut self) {
        let mut count = 0;
        loop {
            let (now, before) = (clock::now(), count);
            let (engine, io) = (&mut self.engine, &mut self.io);
            self.path_manager.on_time(now, engine, io);
            engine.settle(now);
            while let Some((number, command)) = &self.engine.poll_command(now) {
                count += 1;
                let blocks = self.carry_out(now, *number, command);
                if blocks || count >= MAX_COMMANDS_PER_TURN {
                    self.flush(now);
                    return;
                }
            }
            self.flush(now);
            if count == before {
                return;
            }
        }
    }

    /// Sends the commands that wait for others to go with them. What they make ours is written
    /// down before.
    fn flush(&mut self, now: Instant) {
        let (engine, io) = (&mut self.engine, &mut self.io);
        self.rtnetlink.flush(now, engine, io);
        if self.path_manager.has_batch() {
            self.state.save(now, &mut self.engine, &mut self.io);
            let (engine, io) = (&mut self.engine, &mut self.io);
            self.path_manager.flush(now, engine, io);
        }
    }

    /// Returns whether to stop.
    fn read_signals(&mut self, now: Instant) -> bool {
        while let Some(request) = self.signals.read() {
            match request {
                SignalRequest::Stop => return true,
                SignalRequest::Reload => {
                    self.reload(now, &mut |_| ());
                }
                SignalRequest::DumpState => self.engine.describe(&mut |line| {
                    logging::answer(Level::Info, line);
                }),
            }
        }
        false
    }

    /// Reads the configuration again. The log is told whatever the level, and `told` with it.
    /// Returns whether the configuration could be used.
    fn reload(&mut self, now: Instant, told: &mut dyn FnMut(&str)) -> bool {
        let mut say = |level, text: &str| {
            logging::answer(level, format_args!("{text}"));
            told(text);
        };
        #[cfg(feature = "control")]
        self.control.on_reload();
        let mut loaded = match config::load(&self.options, self.plugins) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems {
                    say(problem.level, &problem.text);
                }
                say(
                    Level::Error,
                    "reload failed: keeping the current configuration",
                );
                #[cfg(feature = "control")]
                self.on_reload_failed(problems);
                return false;
            }
        };
        for warning in &loaded.warnings {
            say(Level::Warn, warning);
        }
        decide_end(&mut loaded.config, self.state.is_kept());
        let old = self.engine.config();
        let new = &loaded.config;
        if (&old.load_plugins, &old.path_manager) != (&new.load_plugins, &new.path_manager) {
            say(
                Level::Warn,
                "changes to load-plugins and path-manager need a restart",
            );
        }
        if (&old.state_file, old.max_connections) != (&new.state_file, new.max_connections) {
            say(
                Level::Warn,
                "changes to state-file and max-connections need a restart",
            );
        }
        if (old.log, old.log_level) != (new.log, new.log_level) {
            logging::reconfigure(new.log, new.log_level);
        }
        #[cfg(feature = "control")]
        self.control.on_reloaded(now, &loaded);
        self.engine
            .handle(now, Input::Reload(Box::new(loaded.config)));
        self.rtnetlink.filter(self.engine.config());
        say(Level::Info, "configuration reloaded");
        true
    }

    fn stop(&mut self) {
        let now = clock::now();
        logging::info!("stopping");
        #[cfg(feature = "control")]
        self.control.stop();
        self.engine.handle(now, Input::Stop);
        while let Some((number, command)) = &self.engine.poll_command(now) {
            self.carry_out(now, *number, command);
            self.flush(now);
            let (engine, io) = (&mut self.engine, &mut self.io);
            self.path_manager.catch_up(now, engine, io);
        }
        self.state.save(now, &mut self.engine, &mut self.io);
    }
}

/// Without a state file the next run could not tell what is ours.
fn decide_end(config: &mut Config, has_state: bool) {
    if config.on_exit == OnExit::Auto && !has_state {
        config.on_exit = OnExit::Remove;
    }
}

fn open_socket(protocol: i32) -> Result<Socket, String> {
    Socket::open(protocol).map_err(|error| format!("cannot open a netlink socket: {error}"))
}

/// Tells the engine that a command failed.
fn fail(engine: &mut Engine, now: Instant, number: CommandId, errno: i32, message: &str) {
    engine.handle(now, Input::Failed(number, Failure { errno, message }));
}

/// Tells the engine if the message refuses a command.
fn hand_refusal(engine: &mut Engine, now: Instant, message: &Message<'_>) {
    if let Some(ack) = message.ack().filter(|ack| ack.errno != 0) {
        fail(engine, now, ack.seq, ack.errno, ack.message);
    }
}
