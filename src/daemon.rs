//! The loop: sockets and signals on one side, the engine on the other.
//!
//! One `poll(2)` waits for everything. What has arrived is read whole and handed to the engine,
//! the engine decides, and its commands are sent. Commands for the path manager go out several
//! to a datagram and without asking for acknowledgements: the kernel carries them out within
//! `send(2)` and reports failures unasked, so that silence by the next look means success.

use std::io;
use std::os::fd::RawFd;

use ::log::Level;

use crate::capacity;
use crate::cli::Options;
use crate::config::{self, Config, StateFile as StatePath};
use crate::endpoint::Slot;
use crate::engine::{Command, Engine, Incomplete, Input, Source};
use crate::logging;
use crate::netlink::attribute::{Builder, Full};
use crate::netlink::generic::{self, Controller};
use crate::netlink::message::{Message, Messages};
use crate::netlink::{diag, mptcp, route};
use crate::network::Part;
use crate::network::route::{Change, Item};
use crate::plugin::Entry;
use crate::request::{CommandId, Failure, Reply, Request};
use crate::state::file::{self, StateFile};
use crate::state::{HALF, Identity, Unusable};
use crate::sys::listener::Listeners;
use crate::sys::netlink::{Inbox, Received, Socket};
use crate::sys::signal::{SignalRequest, Signals};
use crate::sys::sysctl::{self, PathManager};
use crate::sys::{self, clock};
use crate::time::{Backoff, Instant, Span};

/// What the loop waits for, as bits of [`sys::poll`]'s answer.
const NETWORK: u32 = 1;
const COMMANDS: u32 = 1 << 1;
const EVENTS: u32 = 1 << 2;
const SIGNALS: u32 = 1 << 3;
const LISTENERS: u32 = 1 << 4;

/// A descriptor that `poll(2)` takes no notice of.
const NOTHING: RawFd = -1;

/// The groups of rtnetlink that tell of routes and rules.
const ROUTING_GROUPS: [u32; 5] = [
    route::GROUP_IPV4_ROUTE,
    route::GROUP_IPV4_RULE,
    route::GROUP_IPV6_ROUTE,
    route::GROUP_IPV6_RULE,
    route::GROUP_NEXTHOP,
];
/// Asked of the kernel for events; it reserves nothing until they come.
const EVENT_BUFFER: i32 = 8 << 20;
/// Dumps come in pieces of up to this size.
const DUMP_BUFFER: usize = 32 << 10;
/// So many commands may be without an answer: the kernel keeps some 250 refusals for us, and those
/// of another datagram are to fit.
const UNANSWERED: CommandId = 64;
/// Commands carried out before the rest of the loop has its turn.
const TURN: usize = capacity::COMMANDS;
/// After this long without the kernel's path manager, say so.
const PATIENCE: Span = Span::seconds(10);

/// The path manager's generic-netlink family.
#[derive(Clone, Copy)]
struct Family {
    id: u16,
    events: Option<u32>,
}

pub struct Daemon {
    engine: Engine,
    options: Options,
    plugins: &'static [Entry],
    /// rtnetlink events.
    network: Socket,
    /// rtnetlink requests.
    requests: Socket,
    /// Commands for the path manager, and their answers.
    commands: Socket,
    /// Events of connections and of nlctrl.
    events: Socket,
    /// Requests of inet_diag, once there is one.
    diag: Option<Socket>,
    signals: Signals,
    listeners: Listeners,
    state: Option<StateFile>,
    family: Option<Family>,
    /// When to say that the path manager is missing.
    patience: Instant,
    /// When to ask for it again.
    find_at: Instant,
    finding: Backoff,
    /// Joined the groups of routes and rules.
    hears_routes: bool,
    /// Joined the group of connection events.
    hears_connections: bool,
    /// The first and the last command sent whose failure could still be reported.
    unanswered: Option<(CommandId, CommandId)>,
    io: Buffers,
    crowd: Crowd,
}

/// Connection events of a busy host, read a crowd at a time: to be woken costs more than to take
/// in ten of them. A connection that is over within the rest is never given further subflows,
/// which it could not have used.
#[derive(Default)]
struct Crowd {
    last: Instant,
    /// How often the events came soon after those before.
    streak: u32,
}

impl Crowd {
    const SOON: u64 = 5;
    const STREAK: u32 = 8;
    const REST: Span = Span(2);

    /// Events came.
    fn came(&mut self, now: Instant) {
        let soon = now.0.saturating_sub(self.last.0) <= Self::SOON;
        self.streak = if soon {
            self.streak.saturating_add(1)
        } else {
            0
        };
        self.last = now;
    }

    /// Until when the next ones can wait.
    fn rest(&self, now: Instant) -> Option<Instant> {
        let until = self.last + Self::REST;
        (self.streak >= Self::STREAK && until > now).then_some(until)
    }
}

/// What inet_diag is asked for.
#[derive(Clone, Copy)]
enum Shown {
    Connections(route::Family),
    Connection(u32),
    Subflows(route::Family),
}

/// Room for bytes on their way.
struct Buffers {
    inbox: Inbox,
    /// Of commands, and of the run state.
    out: Vec<u8>,
    network_lost: bool,
    events_lost: bool,
}

/// The sockets there are from the start.
struct Sockets {
    network: Socket,
    requests: Socket,
    commands: Socket,
    events: Socket,
}

impl Sockets {
    fn open() -> Result<Self, String> {
        let open = |protocol| {
            Socket::open(protocol).map_err(|error| format!("cannot open a netlink socket: {error}"))
        };
        let network = open(libc::NETLINK_ROUTE)?;
        network.set_receive_buffer(EVENT_BUFFER);
        for group in [
            route::GROUP_LINK,
            route::GROUP_IPV4_ADDRESS,
            route::GROUP_IPV6_ADDRESS,
        ] {
            network
                .join(group)
                .map_err(|error| format!("cannot watch the network: {error}"))?;
        }
        let events = open(libc::NETLINK_GENERIC)?;
        events.set_receive_buffer(EVENT_BUFFER);
        if let Err(error) = events.join(generic::CONTROLLER_GROUP) {
            logging::debug!("cannot watch for the path manager to appear: {error}");
        }
        let requests = open(libc::NETLINK_ROUTE)?;
        requests.set_strict_check();
        Ok(Self {
            network,
            requests,
            commands: open(libc::NETLINK_GENERIC)?,
            events,
        })
    }
}

impl Daemon {
    /// Opens everything and takes back the state of an earlier run. The error is for the user.
    pub fn start(
        options: Options,
        config: Config,
        entries: &[&'static Entry],
        plugins: &'static [Entry],
        signals: Signals,
    ) -> Result<Self, String> {
        let Sockets {
            network,
            requests,
            commands,
            events,
        } = Sockets::open()?;
        let cookie = sys::namespace_cookie(network.fd());
        let identity = Identity {
            boot_id: sysctl::boot_id(),
            namespace: cookie.unwrap_or(0),
        };
        let state = open_state(&config, identity);
        let now = clock::now();
        let mut daemon = Self {
            engine: Engine::new(now, config, entries),
            options,
            plugins,
            network,
            requests,
            commands,
            events,
            diag: None,
            signals,
            listeners: Listeners::default(),
            state,
            family: None,
            patience: now + PATIENCE,
            find_at: now,
            finding: Backoff::default(),
            hears_routes: false,
            hears_connections: false,
            unanswered: None,
            io: Buffers {
                inbox: Inbox::new(DUMP_BUFFER),
                out: vec![0; HALF],
                network_lost: false,
                events_lost: false,
            },
            crowd: Crowd::default(),
        };
        daemon.restore();
        daemon.join_groups();
        Ok(daemon)
    }

    fn restore(&mut self) {
        let Self {
            state: Some(file),
            engine,
            io,
            ..
        } = self
        else {
            return;
        };
        match file.load(&mut io.out, &mut |endpoint| engine.remember(endpoint)) {
            Ok(state) => engine.restore(&state),
            Err(Unusable::Empty) => {}
            Err(Unusable::Damaged) => logging::warn!("the state file is damaged and is not used"),
            Err(Unusable::Foreign) => {
                logging::info!("the state file is of another boot or network namespace: not used");
            }
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Says if the namespace's path manager does not suit the plugin in charge.
    fn check_path_manager(&self) {
        let Some(name) = self.engine.plugin_names().next() else {
            return;
        };
        match (sysctl::path_manager(), self.engine.wants_connections()) {
            (Some(PathManager::Userspace), false) => logging::warn!(
                "net.mptcp.pm_type is 1, so that new connections take no notice of the endpoints \
                 of plugin {name}: set it to 0"
            ),
            (Some(PathManager::Kernel), true) => logging::warn!(
                "net.mptcp.pm_type is 0, so that the kernel manages new connections and plugin \
                 {name} does not: set it to 1"
            ),
            (None, true) => {
                logging::warn!("this kernel cannot leave connections to plugin {name}");
            }
            _ => {}
        }
    }

    /// Says which uplinks a strict reverse-path filter makes useless.
    fn check_reverse_paths(&mut self) {
        while let Some(name) = self.engine.next_asymmetric_route() {
            if sysctl::has_strict_reverse_path(&name) {
                logging::warn!(
                    "{name}: strict rp_filter drops what comes in, since another interface is \
                     preferred: use source-routing, or write 2 to \
                     /proc/sys/net/ipv4/conf/{name}/rp_filter"
                );
            }
        }
    }

    /// Runs until a signal asks to stop.
    pub fn run(&mut self) -> io::Result<()> {
        // The endpoints first.
        self.settle();
        self.check_path_manager();
        loop {
            let more = self.settle() || self.io.network_lost || self.io.events_lost;
            self.check_reverse_paths();
            let now = clock::now();
            let rest = self.crowd.rest(now);
            let fds = [
                self.network.fd(),
                self.commands.fd(),
                if rest.is_some() {
                    NOTHING
                } else {
                    self.events.fd()
                },
                self.signals.fd(),
                self.listeners.fd(),
            ];
            let deadline = if more {
                now
            } else {
                self.deadline(now).min(rest.unwrap_or(Instant::NEVER))
            };
            let timeout = (deadline != Instant::NEVER).then(|| deadline.0.saturating_sub(now.0));
            let ready = sys::poll(fds, timeout)?;
            if ready & LISTENERS != 0 {
                self.listeners.reject_pending();
            }
            let now = clock::now();
            self.answers(now, ready & COMMANDS != 0);
            if ready & NETWORK != 0 || self.io.network_lost {
                self.read_network(now);
            }
            if ready & EVENTS != 0 || self.io.events_lost {
                self.crowd.came(now);
                self.read_events(now);
            }
            if ready & SIGNALS != 0 && self.read_signals(now) {
                self.stop();
                return Ok(());
            }
            logging::flush(now);
        }
    }

    /// How long to wait at most.
    fn deadline(&mut self, now: Instant) -> Instant {
        if self.unanswered.is_some() && self.engine.awaits_any() {
            return now;
        }
        if self.patience <= now {
            self.patience = Instant::NEVER;
            logging::warn!("the kernel's MPTCP path manager is not there; waiting for it");
        }
        let deadline = self.engine.deadline().unwrap_or(Instant::NEVER);
        let flush_at = logging::flush_at().unwrap_or(Instant::NEVER);
        deadline.min(flush_at).min(self.patience).min(self.find_at)
    }

    /// Lets the engine act and sends what it says, until it has no more to say, a command has
    /// been sent that blocks, or there are too many: the news come first then. Answers whether
    /// there is more.
    fn settle(&mut self) -> bool {
        let mut sent = 0;
        loop {
            let (now, before) = (clock::now(), sent);
            if self.find_at <= now {
                self.find_family(now);
            }
            self.engine.settle(now);
            while let Some(command) = self.engine.poll_command(now) {
                sent += 1;
                if self.carry_out(now, command) || sent >= TURN {
                    return self.engine.has_commands(now);
                }
            }
            if sent == before {
                return false;
            }
        }
    }

    /// Answers whether the command was one that blocks.
    fn carry_out(&mut self, now: Instant, command: Command) -> bool {
        match command {
            Command::DumpNetwork(part) => self.dump(now, part),
            Command::DumpEndpoints => {
                let result = self.ask(now, None, &mptcp::Command::DumpEndpoints);
                self.engine.handle(now, Input::EndpointsEnd(result));
                // What could not be written before, if no command has come since.
                self.save();
            }
            Command::GetLimits => {
                if let Err(incomplete) = self.ask(now, None, &mptcp::Command::GetLimits) {
                    self.engine.handle(now, Input::Limits(Err(incomplete)));
                }
            }
            Command::DumpConnections => {
                let result = self.recover(now);
                self.engine.handle(now, Input::DiagEnd(result));
            }
            Command::DumpAddresses(token) => {
                let result = self.ask(now, None, &mptcp::Command::DumpAddresses { token });
                self.engine
                    .handle(now, Input::ConnectionAddressesEnd(token, result));
            }
            Command::Request(number, Request::Kernel(command)) => {
                return self.kernel(now, number, command);
            }
            Command::Route(number, change) => self.route(now, number, &change),
            Command::Request(number, request) => {
                return self.listener(now, number, request);
            }
            Command::CloseListener(local) => {
                self.listeners.close(local);
            }
        }
        false
    }

    /// Sends a command, and those that may go with it, to the path manager.
    fn kernel(&mut self, now: Instant, number: CommandId, command: mptcp::Command) -> bool {
        if command.is_query() {
            let result = self.ask(now, Some(number), &command);
            match result {
                Ok(()) => self.engine.handle(now, Input::Done(number)),
                Err(Incomplete::Interrupted) => self.fail(now, number, libc::EINTR, ""),
                // In most cases the kernel's own answer has told that already.
                Err(Incomplete::Refused(errno)) if self.engine.awaits(number) => {
                    self.fail(now, number, errno, "");
                }
                Err(Incomplete::Refused(_)) => {}
            }
            return false;
        }
        let Some(family) = self.family else {
            self.fail(now, number, libc::EAGAIN, "the path manager is not there");
            return false;
        };
        let many = |(first, _)| number.wrapping_sub(first) >= UNANSWERED;
        if self.unanswered.is_some_and(many) {
            self.answers(now, true);
        }
        self.save();
        let mut blocks = matches!(command, mptcp::Command::DeleteEndpoint(_));
        let mut last = number;
        let mut out = Builder::new(&mut self.io.out);
        let mut encoded = command.encode(&mut out, family.id, number);
        while encoded.is_ok() && !blocks && out.bytes().len() < 2048 {
            let Some((number, command)) = self.engine.poll_kernel_command() else {
                break;
            };
            encoded = command.encode(&mut out, family.id, number);
            blocks = matches!(command, mptcp::Command::DeleteEndpoint(_));
            last = number;
        }
        if let Err(error) = self.commands.send(out.bytes()) {
            logging::warn!("cannot send commands to the kernel: {error}");
            let errno = error.raw_os_error().unwrap_or(0);
            for number in number..=last {
                self.fail(now, number, errno, "");
            }
            return false;
        }
        let first = self.unanswered.map_or(number, |(first, _)| first);
        self.unanswered = Some((first, last));
        blocks
    }

    fn fail(&mut self, now: Instant, number: CommandId, errno: i32, message: &str) {
        self.engine
            .handle(now, Input::Failed(number, Failure { errno, message }));
    }

    /// Reads what the kernel says to the commands sent so far; all else went well.
    fn answers(&mut self, now: Instant, ready: bool) {
        let last = self.unanswered.take();
        let mut lost = false;
        if ready {
            let Self {
                commands,
                io,
                engine,
                ..
            } = self;
            loop {
                match commands.receive(io.inbox.whole()) {
                    Ok(Some(Received::Datagram(datagram))) => {
                        for message in Messages::new(datagram).flatten() {
                            refusal(engine, now, &message);
                        }
                    }
                    Ok(Some(Received::Truncated)) => lost = true,
                    Ok(None) => break,
                    // The kernel tells that some were lost before it gives out the others.
                    Err(error) if !lost => {
                        logging::warn!("cannot read the kernel's answers: {error}");
                        lost = true;
                    }
                    Err(_) => break,
                }
            }
        }
        match last {
            Some((_, last)) if lost => self.engine.handle(now, Input::ResultsLost(last)),
            Some((_, last)) => self.engine.handle(now, Input::Done(last)),
            None => {}
        }
    }

    /// Reads what there is to be said of earlier commands, before one whose answer is waited for.
    fn catch_up(&mut self, now: Instant) {
        self.answers(now, self.unanswered.is_some());
    }

    /// Sends a command that has an answer, and reads it.
    fn ask(
        &mut self,
        now: Instant,
        asked: Option<CommandId>,
        command: &mptcp::Command,
    ) -> Result<(), Incomplete> {
        self.catch_up(now);
        let Self {
            commands,
            io,
            engine,
            family: Some(family),
            ..
        } = self
        else {
            return Err(Incomplete::Refused(libc::EAGAIN));
        };
        let number = asked.unwrap_or_else(|| engine.number());
        let mut out = Builder::new(&mut io.out);
        let encoded = command.encode(&mut out, family.id, number);
        exchange(
            commands,
            encoded.map(|()| out.bytes()),
            io.inbox.whole(),
            number,
            &mut |message| {
                let Some((_, attributes)) =
                    generic::parse_header(message.payload).filter(|_| message.kind == family.id)
                else {
                    if asked.is_some() {
                        refusal(engine, now, message);
                    }
                    return;
                };
                if let Some(endpoint) = mptcp::decode_endpoint(attributes) {
                    match (asked, *command) {
                        (None, mptcp::Command::DumpAddresses { token }) => {
                            engine.handle(now, Input::ConnectionAddress(token, endpoint));
                        }
                        (None, _) => engine.handle(now, Input::Endpoint(endpoint)),
                        _ => engine.handle(now, Input::Reply(number, &Reply::Endpoint(endpoint))),
                    }
                } else if let Some(limits) = mptcp::decode_limits(attributes) {
                    match asked {
                        None => engine.handle(now, Input::Limits(Ok(limits))),
                        _ => engine.handle(now, Input::Reply(number, &Reply::Limits(limits))),
                    }
                }
            },
        )
    }

    fn dump(&mut self, now: Instant, part: Part) {
        self.catch_up(now);
        let Self {
            requests,
            io,
            engine,
            ..
        } = self;
        let number = engine.number();
        let mut out = Builder::new(&mut io.out);
        let encoded = match part {
            Part::Links => route::dump_links(&mut out, number),
            Part::Addresses => route::dump_addresses(&mut out, number),
            Part::Routes(family) => {
                // Leftovers of ours are all there is to look for.
                let protocol = if engine.wants_routes() {
                    0
                } else {
                    route::PROTOCOL
                };
                route::dump_routes(&mut out, number, family, protocol)
            }
            Part::Rules(family) => route::dump_rules(&mut out, number, family),
        };
        let request = encoded.map(|()| out.bytes());
        let mut each = |message: &Message<'_>| {
            if let Some(item) = route::decode(message.kind, message.payload) {
                engine.handle(now, Input::NetworkItem(&item));
            }
        };
        let result = exchange(requests, request, io.inbox.whole(), number, &mut each);
        engine.handle(now, Input::NetworkEnd(part, result));
    }

    /// Hands the engine all connections, and then all subflows.
    fn recover(&mut self, now: Instant) -> Result<(), Incomplete> {
        use route::Family::{Ipv4, Ipv6};
        let refused = |error: io::Error| Incomplete::Refused(error.raw_os_error().unwrap_or(0));
        let Self {
            diag, io, engine, ..
        } = self;
        let socket = match diag {
            Some(socket) => socket,
            None => diag.insert(Socket::open(libc::NETLINK_SOCK_DIAG).map_err(refused)?),
        };
        let mut ask = |engine: &mut Engine, what: Shown| {
            let number = engine.number();
            let mut out = Builder::new(&mut io.out);
            let encoded = match what {
                Shown::Connections(family) => diag::dump_connections(&mut out, number, family),
                Shown::Connection(token) => diag::get_connection(&mut out, number, token),
                Shown::Subflows(family) => diag::dump_subflows(&mut out, number, family),
            };
            let (request, buffer) = (encoded.map(|()| out.bytes()), io.inbox.whole());
            exchange(socket, request, buffer, number, &mut |message| {
                if message.kind != diag::SOCK_DIAG_BY_FAMILY {
                    return;
                }
                if let Shown::Subflows(_) = what {
                    if let Some(found) = diag::decode_subflow(message.payload) {
                        engine.handle(now, Input::DiagSubflow(found));
                    }
                } else if let Some(found) = diag::decode_connection(message.payload) {
                    engine.handle(now, Input::DiagConnection(found));
                }
            })
        };
        ask(engine, Shown::Connections(Ipv4))?;
        ask(engine, Shown::Connections(Ipv6))?;
        // A dump passes over some while others end.
        let mut at = 0;
        while let Some((found_at, token)) = engine.connections().next_unseen(at) {
            match ask(engine, Shown::Connection(token)) {
                Ok(()) | Err(Incomplete::Refused(libc::ENOENT)) => at = found_at + 1,
                Err(incomplete) => return Err(incomplete),
            }
        }
        ask(engine, Shown::Subflows(Ipv4))?;
        ask(engine, Shown::Subflows(Ipv6))
    }

    fn route(&mut self, now: Instant, number: CommandId, change: &Change) {
        self.catch_up(now);
        let Self {
            requests,
            io,
            engine,
            ..
        } = self;
        let mut out = Builder::new(&mut io.out);
        let encoded = match &change.item {
            Item::Rule(rule) => route::change_rule(&mut out, number, change.action, rule),
            Item::Route(path) => {
                route::change_route(&mut out, number, change.action, &path.to_route())
            }
        };
        let request = encoded.map(|()| out.bytes());
        let mut each = |message: &Message<'_>| refusal(engine, now, message);
        if exchange(requests, request, io.inbox.whole(), number, &mut each).is_ok() {
            engine.handle(now, Input::Done(number));
        }
    }

    /// Answers whether the command was one that blocks.
    fn listener(&mut self, now: Instant, number: CommandId, request: Request) -> bool {
        self.catch_up(now);
        let (wanted, announcement) = match request {
            Request::Listen(local) => (local, None),
            Request::AnnounceWithListener { token, address } => {
                (address.socket(), Some((token, address)))
            }
            Request::Unlisten(local) if self.listeners.close(local) => {
                self.engine.handle(now, Input::Done(number));
                return false;
            }
            _ => {
                self.fail(now, number, libc::EINVAL, "nobody listens there");
                return false;
            }
        };
        let local = match self.listeners.open(wanted) {
            Ok(local) => local,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.fail(now, number, errno, "cannot listen there");
                return false;
            }
        };
        self.engine.handle(now, Input::Listening(number, local));
        let Some((token, address)) = announcement else {
            self.engine.handle(now, Input::Done(number));
            return false;
        };
        // A peer that is told no port uses the connection's. The kernel never sends a port along
        // with an IPv6 address while TCP timestamps take the room of it.
        let connection = self.engine.connections().get(token);
        let known = connection.is_some_and(|c| c.local.port() == local.port());
        let port = if known { 0 } else { local.port() };
        let address = mptcp::SubflowAddress { port, ..address };
        self.kernel(now, number, mptcp::Command::Announce { token, address })
    }

    fn read_network(&mut self, now: Instant) {
        let Self {
            network,
            io,
            engine,
            ..
        } = self;
        let lost = read_all(
            network,
            &mut io.inbox,
            &mut io.network_lost,
            &mut |message| {
                if let Some(notification) = route::decode(message.kind, message.payload) {
                    engine.handle(now, Input::Network(&notification));
                }
            },
        );
        if lost {
            engine.handle(now, Input::EventsLost(Source::Network));
        }
    }

    fn read_events(&mut self, now: Instant) {
        let Self {
            events,
            io,
            engine,
            family,
            ..
        } = self;
        let mut appeared = None;
        let lost = read_all(events, &mut io.inbox, &mut io.events_lost, &mut |message| {
            if message.kind == generic::CONTROLLER {
                appeared = controller(message).or(appeared);
            } else if family.is_some_and(|family| family.id == message.kind) {
                let Some((kind, attributes)) = generic::parse_header(message.payload) else {
                    return;
                };
                match mptcp::decode_event(kind, attributes) {
                    Ok(event) => engine.handle(now, Input::Connection(&event)),
                    Err(error) => {
                        logging::debug!("a connection event that makes no sense: {error}")
                    }
                }
            }
        });
        if lost {
            engine.handle(now, Input::EventsLost(Source::Connections));
            if family.is_none() {
                self.find_at = now;
            }
        }
        if let Some(found) = appeared {
            self.set_family(now, found);
        }
    }

    /// Answers whether to stop.
    fn read_signals(&mut self, now: Instant) -> bool {
        while let Some(wish) = self.signals.read() {
            match wish {
                SignalRequest::Stop => return true,
                SignalRequest::Reload => self.reload(now),
                SignalRequest::DumpState => self.engine.describe(&mut |line| {
                    logging::answer(Level::Info, line);
                }),
            }
        }
        false
    }

    fn reload(&mut self, now: Instant) {
        let loaded = match config::load(&self.options, self.plugins) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in problems {
                    logging::answer(Level::Error, format_args!("{problem}"));
                }
                let kept = format_args!("the configuration stays as it was");
                return logging::answer(Level::Error, kept);
            }
        };
        let warn = |text: &str| logging::answer(Level::Warn, format_args!("{text}"));
        loaded.warnings.iter().for_each(|warning| warn(warning));
        let old = self.engine.config();
        let new = &loaded.config;
        if (&old.load_plugins, &old.path_manager) != (&new.load_plugins, &new.path_manager) {
            warn("other plugins take effect when the daemon is started again");
        }
        if (&old.state_file, old.max_connections) != (&new.state_file, new.max_connections) {
            warn("another state-file or max-connections takes effect at the next start");
        }
        if (old.log, old.log_level) != (new.log, new.log_level) {
            logging::reconfigure(new.log, new.log_level);
        }
        self.engine
            .handle(now, Input::Reload(Box::new(loaded.config)));
        self.join_groups();
        logging::answer(Level::Info, format_args!("configuration read again"));
    }

    /// Joins the groups that are of use, and leaves those that are not.
    fn join_groups(&mut self) {
        let wanted = self.engine.wants_routes();
        if wanted != self.hears_routes {
            self.hears_routes = wanted;
            if wanted {
                // Not earlier: the kernel compiles it, a twentieth of a start that does without.
                let filter = self.network.attach_filter(&route::ROUTE_FILTER);
                if let Err(error) = filter {
                    logging::debug!("cannot filter route events: {error}");
                }
            }
            for group in ROUTING_GROUPS {
                // A kernel without IPv6, policy routing or nexthop objects lacks some of them.
                let _ = if wanted {
                    self.network.join(group)
                } else {
                    self.network.leave(group)
                };
            }
        }
        let Some(family) = self.family else { return };
        let wanted = self.engine.wants_connections();
        if wanted == self.hears_connections {
            return;
        }
        let result = match family.events {
            Some(group) if wanted => self.events.join(group),
            Some(group) => self.events.leave(group),
            None => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        };
        match result {
            Ok(()) => self.hears_connections = wanted,
            Err(error) => logging::error!("cannot hear of connections: {error}"),
        }
    }

    /// Asks nlctrl for the path manager's family.
    #[inline(never)] // 200 bytes less
    fn find_family(&mut self, now: Instant) {
        self.catch_up(now);
        self.find_at = self.finding.next(now);
        let number = self.engine.number();
        let Self { commands, io, .. } = self;
        let mut out = Builder::new(&mut io.out);
        let mut found = None;
        let encoded = generic::get_family(&mut out, number, mptcp::FAMILY_NAME);
        let request = encoded.map(|()| out.bytes());
        let mut each = |message: &Message<'_>| found = controller(message).or(found);
        let answer = exchange(commands, request, io.inbox.whole(), number, &mut each);
        logging::debug!(
            "path manager {}",
            if answer.is_ok() { "found" } else { "not found" }
        );
        if let Some(found) = found {
            self.set_family(now, found);
        }
    }

    fn set_family(&mut self, now: Instant, family: Option<Family>) {
        self.family = family;
        self.hears_connections = false;
        (self.patience, self.find_at) = (Instant::NEVER, Instant::NEVER);
        self.finding.reset();
        if family.is_none() {
            self.patience = now + PATIENCE;
            self.find_at = self.finding.next(now);
            logging::warn!("the kernel's MPTCP path manager has gone; waiting for it");
        }
        self.join_groups();
        self.engine
            .handle(now, Input::PathManager(family.is_some()));
    }

    /// Writes the run state if it changed.
    fn save(&mut self) {
        let Some(state) = self.engine.unsaved_state() else {
            return;
        };
        let Some(file) = &mut self.state else { return };
        let mut endpoints = self.engine.endpoints().ours().iter().map(Slot::remembered);
        if let Err(error) = file.save(&mut self.io.out, &state, &mut endpoints) {
            logging::warn!("cannot write the state file: {error}; trying again");
            self.engine.touch();
        }
    }

    fn stop(&mut self) {
        let now = clock::now();
        logging::info!("stopping");
        self.engine.stop(now);
        while let Some(command) = self.engine.poll_command(now) {
            self.carry_out(now, command);
            self.catch_up(now);
        }
        self.save();
    }
}

fn open_state(config: &Config, identity: Identity) -> Option<StateFile> {
    let path = match &config.state_file {
        StatePath::None => return None,
        StatePath::Default => file::default_path(&identity),
        StatePath::Path(path) => path.clone(),
    };
    match StateFile::open(&path, identity) {
        Ok(file) => Some(file),
        Err(error) => {
            logging::warn!("{path}: {error}; running without a state file");
            None
        }
    }
}

/// Tells the engine if the message refuses a command.
fn refusal(engine: &mut Engine, now: Instant, message: &Message<'_>) {
    let Some(ack) = message.ack().filter(|ack| ack.errno != 0) else {
        return;
    };
    let failure = Failure {
        errno: ack.errno,
        message: ack.message,
    };
    engine.handle(now, Input::Failed(ack.seq, failure));
}

/// What nlctrl says of the path manager: nothing, that it is gone, or that it is there.
fn controller(message: &Message<'_>) -> Option<Option<Family>> {
    match generic::decode(message.payload)? {
        Controller::New(family) if family.name == mptcp::FAMILY_NAME => Some(Some(Family {
            id: family.id,
            events: family.group(mptcp::EVENT_GROUP),
        })),
        Controller::Gone(family) if family.name == mptcp::FAMILY_NAME => Some(None),
        _ => None,
    }
}

/// Sends a request and hands its answer to `each`, to the end.
fn exchange(
    socket: &Socket,
    request: Result<&[u8], Full>,
    buffer: &mut Vec<u8>,
    number: u32,
    each: &mut dyn FnMut(&Message<'_>),
) -> Result<(), Incomplete> {
    let result = send_and_read(socket, request, buffer, number, each);
    if result.is_err() {
        // What is left of the answer is of no use, and a dump that has not ended is in the way of
        // the next.
        while let Ok(Some(_)) = socket.receive(buffer) {}
    }
    result
}

fn send_and_read(
    socket: &Socket,
    request: Result<&[u8], Full>,
    buffer: &mut Vec<u8>,
    number: u32,
    each: &mut dyn FnMut(&Message<'_>),
) -> Result<(), Incomplete> {
    let refused = |error: io::Error| Incomplete::Refused(error.raw_os_error().unwrap_or(0));
    let request = request.map_err(|_| Incomplete::Refused(libc::EMSGSIZE))?;
    socket.send(request).map_err(refused)?;
    let mut whole = true;
    loop {
        let datagram = match socket.receive(buffer).map_err(refused)? {
            Some(Received::Datagram(datagram)) => datagram,
            Some(Received::Truncated) => {
                whole = false;
                continue;
            }
            None => return Err(Incomplete::Interrupted),
        };
        for message in Messages::new(datagram) {
            let Ok(message) = message else {
                whole = false;
                continue;
            };
            if message.seq != number {
                // What was left of an answer whose reading failed.
                continue;
            }
            whole &= !message.is_interrupted();
            each(&message);
            match message.ack() {
                Some(ack) if ack.errno != 0 => return Err(Incomplete::Refused(ack.errno)),
                Some(_) if whole => return Ok(()),
                Some(_) => return Err(Incomplete::Interrupted),
                None => {}
            }
        }
    }
}

/// Reads everything that has arrived. Ends early under a flood, so that the rest of the loop
/// has its turn.
///
/// What was lost is told only once all that was kept has been read: to read the network anew
/// before would be to read old news after it.
fn read_all(
    socket: &Socket,
    inbox: &mut Inbox,
    lost: &mut bool,
    each: &mut dyn FnMut(&Message<'_>),
) -> bool {
    for _ in 0..256 {
        let more = match inbox.fill(socket) {
            Ok(more) => more,
            Err(error) => {
                if error.raw_os_error() != Some(libc::ENOBUFS) {
                    logging::warn!("cannot read events: {error}");
                }
                *lost = true;
                true
            }
        };
        for received in inbox.iter() {
            let Received::Datagram(datagram) = received else {
                *lost = true;
                continue;
            };
            for message in Messages::new(datagram) {
                match message {
                    Ok(message) => each(&message),
                    Err(_) => *lost = true,
                }
            }
        }
        if !more {
            return core::mem::take(lost);
        }
    }
    false
}
