// SPDX-License-Identifier: BSD-3-Clause
//! A bench for strategies, without a kernel (feature `testing`).
//!
//! A [`Bench`] has a host, whose interfaces and addresses the test makes, and peers that agree to
//! everything unless the test says otherwise. The engine is the daemon's own, and so is all that a
//! plugin sees; only the kernel is not. Time stands still until [`Bench::advance`].
//!
//! ```
//! use mptcpd::testing::Bench;
//! use mptcpd::{Connection, Context, Entry, Duration, Paths, QueueFull, Strategy, strategy};
//!
//! /// A subflow from each address of the host to the peer.
//! struct Everywhere;
//!
//! impl Strategy for Everywhere {
//!     fn reconcile(
//!         &mut self,
//!         cx: &mut Context<'_>,
//!         connection: &Connection<'_>,
//!         paths: &Paths,
//!     ) -> Result<(), QueueFull> {
//!         for local in cx.network().usable() {
//!             paths.join(cx, connection, local, connection.remote.into())?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! static PLUGINS: &[Entry] = &[Entry::new("everywhere", "from each address", || {
//!     strategy(Box::new(Everywhere))
//! })];
//!
//! let mut bench = Bench::new(PLUGINS, "").with("wan1", "10.0.1.1").with("wan2", "10.0.2.1");
//! let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
//! assert_eq!(bench.asked(), ["announce 10.0.2.1", "create 10.0.2.1 192.0.2.1"]);
//! assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1", "10.0.2.1 192.0.2.1"]);
//!
//! // A path that leads nowhere is tried again, later and later.
//! bench.cut("10.0.2.1");
//! bench.advance(Duration::from_secs(60));
//! assert!((6..14).contains(&bench.asked().len()));
//! assert_eq!(bench.subflows(connection), ["10.0.1.1 192.0.2.1"]);
//! bench.mend("10.0.2.1");
//! bench.advance(Duration::from_secs(40));
//! assert_eq!(bench.subflows(connection).len(), 2);
//! ```
//!
//! [`histories`] plays random ones on a kernel that loses, refuses and repeats, and kills the daemon.
//!
//! What the daemon logs goes to whatever logger of the crate `log` the test has installed.

#[cfg(all(feature = "testing", not(test)))]
mod histories;
mod kernel;
#[cfg(all(feature = "testing", not(test)))]
#[allow(missing_docs, unreachable_pub)]
#[path = "../../tests/simulator/mod.rs"]
mod simulator;

#[cfg(all(feature = "testing", not(test)))]
pub use histories::{Settings, Settled, histories};

use core::net::{IpAddr, SocketAddr};

use crate::config::{self, Overrides};
use crate::engine::{Engine, Input};
use crate::netlink::IfIndex;
#[cfg(feature = "quality")]
use crate::netlink::diag;
use crate::netlink::mptcp::{AddressId, Command, ConnectionEvent, Event, SubflowEvent, Token};
use crate::netlink::route::{Name, Notification};
use crate::plugin::Entry;
use crate::time::{Duration, Instant};

/// `IFA_F_PERMANENT`.
const PERMANENT: u32 = 0x80;

struct Device {
    index: IfIndex,
    name: Name,
    up: bool,
    routed: bool,
    gateway: Option<IpAddr>,
    metric: u32,
    addresses: Vec<(IpAddr, u8)>,
}

struct Joined {
    event: SubflowEvent,
    backup_here: bool,
    ours: bool,
}

/// A daemon on a host that the test makes.
pub struct Bench {
    engine: Engine,
    now: Instant,
    devices: Vec<Device>,
    connections: Vec<ConnectionEvent>,
    subflows: Vec<Joined>,
    commands: Vec<Command>,
    /// Joins between these addresses come to nothing.
    cut: Vec<IpAddr>,
    /// No program listens at these ports.
    unserved: Vec<u16>,
    #[cfg(feature = "quality")]
    quality: Vec<(IpAddr, diag::Quality)>,
    /// With which the kernel refuses commands.
    refusal: Option<i32>,
    numbers: u16,
}

/// Returns an address that a test has written.
#[track_caller]
fn ip(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text}: not an address"))
}

#[track_caller]
fn end(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text}: not an address with its port"))
}

impl Bench {
    /// Returns a bench whose host has no interfaces. Of `plugins` the first manages connections,
    /// unless `config`, the text of a configuration file, says otherwise.
    ///
    /// # Panics
    /// If the configuration is wrong, or a plugin cannot be initialized.
    #[track_caller]
    pub fn new(plugins: &'static [Entry], config: &str) -> Self {
        let parsed = config::parse("bench", config.as_bytes(), &Overrides::default(), plugins);
        let config = match parsed {
            Ok(loaded) if loaded.warnings.is_empty() => loaded.config,
            Ok(loaded) => panic!("{:?}", loaded.warnings),
            Err(wrong) => panic!("{wrong:?}"),
        };
        let now = Instant(1_000_000);
        let entries: Vec<_> = plugins.iter().collect();
        let engine = Engine::new(now, config, &entries);
        assert!(
            engine.plugin_problems().is_empty(),
            "{:?}",
            engine.plugin_problems()
        );
        let mut bench = Self {
            engine,
            now,
            devices: Vec::new(),
            connections: Vec::new(),
            subflows: Vec::new(),
            commands: Vec::new(),
            cut: Vec::new(),
            unserved: Vec::new(),
            #[cfg(feature = "quality")]
            quality: Vec::new(),
            refusal: None,
            numbers: 0,
        };
        bench.tell(Input::PathManager(true));
        bench
    }

    /// Returns the same with an address at an interface, which is made if there is none of this name:
    /// [`Self::interface`] and [`Self::address`] in one.
    #[must_use]
    #[track_caller]
    pub fn with(mut self, name: &str, address: &str) -> Self {
        if self.devices.iter().all(|device| device.name != name) {
            self.interface(name);
        }
        self.address(name, address);
        self
    }

    /// Adds an interface, which is up, and has a route to everywhere for each of its addresses.
    pub fn interface(&mut self, name: &str) -> IfIndex {
        let index = IfIndex(u32::from(self.number()) + 1);
        self.devices.push(Device {
            index,
            name: Name::try_from(name).expect("a name of at most 15 characters"),
            up: true,
            routed: true,
            gateway: None,
            metric: 0,
            addresses: Vec::new(),
        });
        self.set_up(name, true);
        index
    }

    /// Gives an interface its carrier, or takes it away.
    #[track_caller]
    pub fn set_up(&mut self, name: &str, up: bool) {
        let device = self.device(name);
        device.up = up;
        let event = device.link();
        self.tell(Input::Network(&event));
        self.advance(Duration::ZERO);
    }

    /// Gives an interface an address, which is usable at once; `hold-down` of the configuration
    /// counts, as for all that appears after the start.
    #[track_caller]
    pub fn address(&mut self, name: &str, address: &str) {
        let address = (ip(address), if address.contains(':') { 64 } else { 24 });
        let device = self.device(name);
        device.addresses.push(address);
        let event = Notification::Address(device.address(address));
        self.tell(Input::Network(&event));
        self.advance(Duration::from_secs(3));
    }

    /// Takes an address from an interface.
    #[track_caller]
    pub fn remove_address(&mut self, name: &str, address: &str) {
        let gone = ip(address);
        let device = self.device(name);
        let at = device
            .addresses
            .iter()
            .position(|(known, _)| *known == gone);
        let gone = device
            .addresses
            .remove(at.expect("an address of the interface"));
        let event = Notification::AddressGone(device.address(gone));
        self.tell(Input::Network(&event));
        self.advance(Duration::from_secs(1));
    }

    /// Gives the addresses of an interface a default route, or takes it away.
    #[track_caller]
    pub fn set_route(&mut self, name: &str, there: bool) {
        let device = self.device(name);
        device.routed = there;
        let route = device.route();
        self.tell(Input::Network(&match there {
            true => Notification::Route(route),
            false => Notification::RouteGone(route),
        }));
        // Grace, and hold-down.
        self.advance(Duration::from_secs(5));
    }

    /// Gives the default route of an interface a gateway in the subnet of its addresses, and a metric.
    #[track_caller]
    pub fn set_gateway(&mut self, name: &str, gateway: &str, metric: u32) {
        let device = self.device(name);
        device.gateway = Some(ip(gateway));
        device.metric = metric;
        self.set_route(name, true);
    }

    /// This host opens a connection, from `local` to `remote`. Returns its token.
    #[track_caller]
    pub fn established(&mut self, local: &str, remote: &str) -> Token {
        self.connect(local, remote, false)
    }

    /// A peer opens a connection, from `remote` to `local`. Returns its token.
    #[track_caller]
    pub fn accepted(&mut self, local: &str, remote: &str) -> Token {
        self.connect(local, remote, true)
    }

    #[track_caller]
    fn connect(&mut self, local: &str, remote: &str, server_side: bool) -> Token {
        let connection = ConnectionEvent {
            token: Token::new(0x1000 + u32::from(self.number())),
            local: end(local),
            remote: end(remote),
            server_side,
            deny_join_id0: false,
            mapped: false,
        };
        let token = connection.token;
        self.connections.push(connection);
        let initial = subflow(token, (connection.local, connection.remote));
        self.subflows.push(Joined {
            event: initial,
            backup_here: false,
            ours: !server_side,
        });
        self.hear(Event::Created(connection));
        self.hear(Event::Established(connection));
        token
    }

    /// A connection ends, and its subflows with it.
    pub fn closed(&mut self, token: Token) {
        self.connections.retain(|c| c.token != token);
        self.subflows.retain(|s| s.event.token != token);
        self.hear(Event::Closed { token });
    }

    /// The peer of a connection announces an address.
    #[track_caller]
    pub fn announced(&mut self, token: Token, id: u8, address: &str) {
        self.hear(Event::Announced {
            token,
            remote_id: AddressId(id),
            address: ip(address),
            port: 0,
        });
    }

    /// The peer of a connection withdraws an address, and closes its subflows.
    pub fn withdrawn(&mut self, token: Token, id: u8) {
        let remote_id = AddressId(id);
        self.tell(Input::Connection(&Event::Removed { token, remote_id }));
        self.end(0, &|s| s.token == token && s.remote_id == remote_id);
        self.run();
    }

    /// The peer makes a subflow.
    #[track_caller]
    pub fn joined(&mut self, token: Token, local: &str, remote: &str) {
        let event = SubflowEvent {
            local_id: AddressId(self.numbers as u8),
            ..subflow(token, (end(local), end(remote)))
        };
        self.subflows.push(Joined {
            event,
            backup_here: false,
            ours: false,
        });
        self.hear(Event::SubflowEstablished(event));
    }

    /// The subflows of a connection from this address of the host end with an errno.
    #[track_caller]
    pub fn subflow_closed(&mut self, token: Token, local: &str, errno: u8) {
        let local = ip(local);
        self.end(errno, &|s| s.token == token && s.local.ip() == local);
        self.run();
    }

    /// What passes an address, the host's or a peer's, is lost from now on: its subflows end, and
    /// joins come to nothing.
    #[track_caller]
    pub fn cut(&mut self, address: &str) {
        let address = ip(address);
        self.cut.push(address);
        let over = |s: &SubflowEvent| [s.local.ip(), s.remote.ip()].contains(&address);
        self.end(libc::ETIMEDOUT as u8, &over);
        self.run();
    }

    /// Undoes [`Self::cut`].
    #[track_caller]
    pub fn mend(&mut self, address: &str) {
        let address = ip(address);
        self.cut.retain(|cut| *cut != address);
    }

    /// The kernel refuses all commands from now on, with an errno; `None` is no longer.
    pub fn refuse(&mut self, errno: Option<i32>) {
        self.refusal = errno;
    }

    /// No program listens at a port: what is announced there needs the daemon's own listener.
    pub fn unserved(&mut self, port: u16) {
        self.unserved.push(port);
    }

    /// What TCP knows of the paths of the subflows from an address of the host, from now on.
    #[cfg(feature = "quality")]
    #[track_caller]
    pub fn quality(&mut self, address: &str, quality: crate::Quality) {
        let address = ip(address);
        self.quality.retain(|(known, _)| *known != address);
        self.quality.push((address, quality));
    }

    /// Lets time pass, and all happen that has its time meanwhile.
    pub fn advance(&mut self, span: Duration) {
        let until = self.now + span;
        self.run();
        while let Some(at) = self.engine.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.run();
        }
        self.now = until;
    }

    /// Returns the kernel's commands that the daemon has given since the last call.
    pub fn commands(&mut self) -> Vec<Command> {
        core::mem::take(&mut self.commands)
    }

    /// Returns [`Self::commands`] in words: `create LOCAL REMOTE`, `destroy LOCAL REMOTE`,
    /// `backup LOCAL REMOTE`, `regular LOCAL REMOTE`, `announce LOCAL`, `remove ID`, of endpoints
    /// `add LOCAL` and `delete LOCAL`, and `other`; without ports.
    pub fn asked(&mut self) -> Vec<String> {
        let commands = self.commands();
        commands.into_iter().map(words).collect()
    }

    /// Returns the subflows of a connection as the kernel has them, as `LOCAL REMOTE`, those with
    /// backup priority with ` backup`; sorted.
    pub fn subflows(&self, token: Token) -> Vec<String> {
        let its = self.subflows.iter().filter(|s| s.event.token == token);
        let mut all: Vec<String> = its
            .map(|s| {
                let backup = if s.backup_here { " backup" } else { "" };
                format!("{} {}{backup}", s.event.local.ip(), s.event.remote.ip())
            })
            .collect();
        all.sort();
        all
    }

    fn number(&mut self) -> u16 {
        self.numbers += 1;
        self.numbers
    }

    #[track_caller]
    fn device(&mut self, name: &str) -> &mut Device {
        let mut all = self.devices.iter_mut();
        all.find(|device| device.name == name)
            .unwrap_or_else(|| panic!("{name}: no such interface"))
    }

    fn tell(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
    }

    fn hear(&mut self, event: Event) {
        self.tell(Input::Connection(&event));
        self.run();
    }
}

/// Of a subflow whose peer has not answered: no errno.
const PENDING: u8 = u8::MAX;

fn subflow(token: Token, (local, remote): (SocketAddr, SocketAddr)) -> SubflowEvent {
    SubflowEvent {
        token,
        local,
        remote,
        local_id: AddressId::INITIAL,
        remote_id: AddressId::INITIAL,
        backup: false,
        ifindex: IfIndex::NONE,
        error: 0,
        reset_reason: None,
        reset_flags: 0,
        mapped: false,
    }
}

fn words(command: Command) -> String {
    match command {
        Command::CreateSubflow { local, remote, .. } => {
            format!("create {} {}", local.address, remote.address)
        }
        Command::DestroySubflow { local, remote, .. } => {
            format!("destroy {} {}", local.address, remote.address)
        }
        Command::SetBackup {
            local,
            remote,
            backup,
            ..
        } => {
            let priority = if backup { "backup" } else { "regular" };
            format!("{priority} {} {}", local.address, remote.address)
        }
        Command::Announce { address, .. } => format!("announce {}", address.address),
        Command::RemoveAddress { id, .. } => format!("remove {}", id.0),
        Command::AddEndpoint(endpoint) => format!("add {}", endpoint.address),
        Command::DeleteEndpoint(endpoint) => format!("delete {}", endpoint.address),
        _ => "other".to_owned(),
    }
}
