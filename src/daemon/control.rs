// SPDX-License-Identifier: BSD-3-Clause
//! The control socket: its clients, and what the log and the service manager are told along with
//! them.

mod about;

use core::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use ::log::Level;

use super::Daemon;
use crate::capacity;
use crate::config::{Config, Diagnostic, Loaded};
use crate::control::session::ITEM;
use crate::control::{Form, Request, Session, Value, Verb};
use crate::engine::news::{News, What};
use crate::engine::{Engine, Input};
use crate::logging;
use crate::state::file;
use crate::sys::exit::{DENIED, FAILURE, SUCCESS};
use crate::sys::local::{self, ServiceManager};
use crate::sys::{self, clock, mib};
use crate::time::{Duration, Instant};
use about::write_status;

pub(super) use about::About;

/// Between two looks at the kernel's counters.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// So many clients are left to those who ask for something at once.
const NO_MONITORS: usize = 2;

/// A client, and what it may do.
struct Client {
    stream: File,
    session: Session,
    /// It may change things.
    trusted: bool,
}

/// The socket, once it could be opened.
struct Door {
    path: String,
    listener: OwnedFd,
}

pub(super) struct Control {
    about: About,
    door: Option<Door>,
    /// The oldest first.
    clients: Vec<Client>,
    group: Option<u32>,
    manager: ServiceManager,
    /// The start has been told.
    started: bool,
    /// How many news the engine had dropped when that was last told.
    dropped: u32,
    /// When to look at the kernel's counters, and the blackholes in them when that was last done.
    look_at: Instant,
    blackholes: Option<u64>,
}

impl Control {
    /// Opens the socket. Without it the daemon does its work all the same.
    pub(super) fn open(now: Instant, about: About, config: &Config, namespace: u64) -> Self {
        file::make_directory();
        let path = file::socket_path(namespace);
        let door = match local::listen(&path) {
            Ok(listener) => Some(Door { path, listener }),
            Err(error) => {
                logging::warn!("{path}: {error}; commands such as `mptcpd status` will not work");
                None
            }
        };
        let named = config.control_group.as_deref();
        let group = named.and_then(local::group);
        if let (Some(name), Some(door)) = (named, &door) {
            let given = group.map(|group| local::give(&door.path, group));
            match given {
                Some(Ok(())) => {}
                Some(Err(error)) => logging::warn!("control-group: {name}: {error}"),
                None => logging::warn!("control-group: there is no group {name}"),
            }
        }
        Self {
            about,
            door,
            clients: Vec::with_capacity(capacity::CLIENTS),
            group,
            manager: ServiceManager::find(),
            started: false,
            dropped: 0,
            look_at: now,
            blackholes: None,
        }
    }

    /// Hands over what to wait for: new clients and, in their order, what each is yet to do.
    pub(super) fn wait_for(&self, each: &mut dyn FnMut(libc::pollfd)) {
        let listener = self.door.as_ref().map(|door| door.listener.as_raw_fd());
        each(sys::readable(listener.unwrap_or(super::NOTHING)));
        for client in &self.clients {
            let events = match (
                client.session.is_reading(),
                client.session.output.bytes().is_empty(),
            ) {
                (true, _) => libc::POLLIN,
                (false, false) => libc::POLLOUT,
                // That it has gone is told in any case. What it sends after its line is left unread.
                (false, true) => 0,
            };
            let fd = client.stream.as_raw_fd();
            each(libc::pollfd {
                events,
                ..sys::readable(fd)
            });
        }
    }

    /// The daemon ends.
    pub(super) fn stop(&mut self) {
        self.manager.tell("STOPPING=1");
        if let Some(door) = self.door.take() {
            sys::remove(&door.path);
        }
    }

    /// The configuration is about to be read again.
    pub(super) fn on_reload(&self) {
        self.manager.tell("RELOADING=1");
    }

    /// Notes that the configuration was read again.
    pub(super) fn on_reloaded(&mut self, now: Instant, loaded: &Loaded) {
        self.about.on_reloaded(now, loaded);
        self.manager.tell("READY=1");
        self.tell(&News::of(What::Reloaded(true)));
    }

    /// Takes in what clients have sent, and new ones: `ready` has a bit for each thing to wait for.
    pub(super) fn receive(&mut self, ready: u32) {
        for (at, client) in (1..32).zip(&mut self.clients) {
            if ready >> at & 1 == 1 {
                client.read();
            }
        }
        if ready & 1 == 1 {
            self.accept();
        }
    }

    fn accept(&mut self) {
        let Some(door) = &self.door else { return };
        let Some(stream) = local::accept(&door.listener) else {
            return;
        };
        if self.clients.len() == self.clients.capacity() {
            // Who asks is done soon, or does not mean it.
            let mut clients = self.clients.iter();
            match clients.position(|client| client.session.monitor().is_none()) {
                Some(at) => drop(self.clients.remove(at)),
                None => return,
            }
        }
        self.clients.push(Client {
            trusted: local::is_trusted(&stream, self.group),
            stream: stream.into(),
            session: Session::new(),
        });
    }

    /// Says if the kernel has turned MPTCP off. It is looked up when something happens, and so at the
    /// latest by the next resync.
    fn look(&mut self, now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_INTERVAL;
        let blackholes = mib::read().blackholes;
        let before = self.blackholes.replace(blackholes);
        if before.is_some_and(|before| before < blackholes) {
            logging::warn!(
                "SYNs of MPTCP were not answered but those of TCP: the kernel uses TCP for new \
                 connections for as long as net.mptcp.blackhole_timeout says; a middlebox may drop \
                 MPTCP"
            );
        }
    }

    /// Tells the log and all monitors.
    fn tell(&mut self, news: &News) {
        let level = match (news.quiet, news.what) {
            (true, _) => Level::Debug,
            (_, What::Flapping) => Level::Warn,
            _ => Level::Info,
        };
        // Of a reload it has been told by itself.
        if !matches!(news.what, What::Reloaded(_)) {
            logging::say(level, format_args!("{news}"));
        }
        if self.clients.is_empty() {
            return;
        }
        let time = clock::wall();
        for json in [false, true] {
            let mut line = heapless::String::<ITEM>::new();
            if !json {
                let (minutes, seconds) = (time / 60_000, time / 1000 % 60);
                let (hour, minute) = (minutes / 60 % 24, minutes % 60);
                let _ = write!(line, "{hour:02}:{minute:02}:{seconds:02}Z ");
            }
            let mut form = Form::new(&mut line, json, "");
            if json {
                form.row(false);
            }
            form.json("v", Value::Number(1));
            form.json("t", Value::Seconds(time));
            news.write(&mut form);
            form.end("}\n");
            for client in &mut self.clients {
                if client.session.monitor() == Some(json) {
                    client.session.tell(&line);
                }
            }
        }
    }

    /// Writes what clients have asked for, so far as they take it, and lets go of those that are
    /// done.
    fn answer(&mut self, now: Instant, engine: &Engine) {
        let Self { about, clients, .. } = self;
        let mut monitors = 0;
        clients.retain_mut(|client| {
            if client.session.monitor().is_some() {
                monitors += 1;
                if monitors > capacity::CLIENTS - NO_MONITORS {
                    client.session.finish(FAILURE, "too many monitors");
                }
            }
            loop {
                answer(&mut client.session, now, engine, about);
                let waiting = client.session.output.bytes();
                if waiting.is_empty() {
                    break;
                }
                match client.stream.write(waiting) {
                    Ok(count) => client.session.output.consume(count),
                    Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => break,
                    Err(_) => return false,
                }
            }
            !client.session.is_done()
        });
    }
}

impl Client {
    /// Reads what it has sent.
    fn read(&mut self) {
        if !self.session.is_reading() && self.session.output.bytes().is_empty() {
            // It is gone, whatever it wanted.
            self.session.finish(SUCCESS, "");
        }
        let mut bytes = [0; 128];
        while self.session.is_reading() {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.session.end(),
                Ok(count) => self.session.receive(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return,
                Err(_) => self.session.end(),
            }
        }
    }
}

/// Writes more of an answer, as much as there is room for.
fn answer(session: &mut Session, now: Instant, engine: &Engine, about: &About) {
    let Some(request) = session.request().cloned() else {
        return;
    };
    let subject = request.subject.as_str();
    match request.verb {
        Verb::Wait if engine.in_use(subject).0 => session.finish(SUCCESS, ""),
        Verb::Status if session.at == 0 && !engine.knows(subject) => {
            session.finish(FAILURE, "no such interface or address");
        }
        Verb::Status => write_status(session, now, engine, about, &request),
        Verb::Connections => {
            while session.output.has_room(ITEM) {
                if !engine.write_age(now, session.at, &mut session.output) {
                    return session.finish(SUCCESS, "");
                }
                session.at += 1;
            }
        }
        _ => {}
    }
}

impl Daemon {
    /// Says what program this is.
    pub(crate) fn introduce(&mut self, version: &'static str) {
        self.control.about.version = version;
    }

    /// Does what clients ask for, and tells what has happened.
    pub(super) fn serve(&mut self) {
        let now = clock::now();
        for at in 0..self.control.clients.len() {
            self.change(now, at);
        }
        let mut clients = self.control.clients.iter();
        let monitored = clients.any(|client| client.session.monitor().is_some());
        self.engine.set_monitored(monitored);
        self.control.look(now);
        // A path that is told of as used may have been refused its endpoint already.
        if self.engine.has_news() {
            let (engine, io) = (&mut self.engine, &mut self.io);
            self.path_manager.catch_up(now, engine, io);
        }
        let mut any = false;
        while let Some(news) = self.engine.next_news() {
            self.control.tell(&news);
            any = true;
        }
        let dropped = self.engine.news_dropped();
        if core::mem::replace(&mut self.control.dropped, dropped) != dropped {
            logging::debug!("more happened at once than can be told");
        }
        self.control.answer(now, &self.engine);
        if !self.control.started || (any && self.control.manager.is_there()) {
            self.tell_state();
        }
    }

    /// Tells the service manager how things are; and the log, at the start.
    fn tell_state(&mut self) {
        let mut text = heapless::String::<ITEM>::new();
        let first = !core::mem::replace(&mut self.control.started, true);
        let ready = if first { "READY=1\nSTATUS=" } else { "STATUS=" };
        let _ = text.push_str(ready);
        let _ = self.engine.write_line(&mut text);
        self.control.manager.tell(&text);
        if first {
            let About { version, file, .. } = &self.control.about;
            let file = file.as_deref().unwrap_or("no configuration file");
            let state = text.get(ready.len()..).unwrap_or_default();
            let plugin = self.engine.plugin_names().next().unwrap_or("no plugin");
            logging::info!("mptcpd {version}, {plugin}, {file}: {state}");
        }
    }

    /// Does what a client asks for if that changes something.
    fn change(&mut self, now: Instant, at: usize) {
        let Some(client) = self.control.clients.get(at) else {
            return;
        };
        let Some(Request { verb, subject, .. }) = client.session.request().cloned() else {
            return;
        };
        let (status, text) = match verb {
            Verb::Reload | Verb::Path(_) if !client.trusted => (DENIED, "permission denied"),
            Verb::Reload => {
                let mut report = String::new();
                let mut told = |text: &str| {
                    report.push_str(text);
                    report.push('\n');
                };
                let done = self.reload(now, &mut told);
                if let Some(client) = self.control.clients.get_mut(at) {
                    client.session.copy(&report);
                }
                (if done { SUCCESS } else { FAILURE }, "")
            }
            Verb::Path(declared) => {
                let mut interfaces = self.engine.network().interfaces();
                if interfaces.any(|interface| interface.name == *subject) {
                    drop(interfaces);
                    let input = Input::Declare(&subject, declared);
                    self.engine.handle(now, input);
                    (SUCCESS, "")
                } else {
                    (FAILURE, "no such interface")
                }
            }
            Verb::Status | Verb::Connections | Verb::Monitor | Verb::Wait => return,
        };
        if let Some(client) = self.control.clients.get_mut(at) {
            client.session.finish(status, text);
        }
    }

    /// Notes why the configuration in use is not the one in the file.
    pub(super) fn on_reload_failed(&mut self, problems: Vec<Diagnostic>) {
        let mut errors = problems.into_iter().filter(|p| p.level == Level::Error);
        let first = errors.next().map(|problem| problem.text);
        self.control.about.error = Some(first.unwrap_or_default());
        self.control.manager.tell("READY=1");
        self.control.tell(&News::of(What::Reloaded(false)));
    }
}
