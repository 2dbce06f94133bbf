// SPDX-License-Identifier: BSD-3-Clause
//! The configuration: built-in defaults, the file, the command line.
//!
//! The command line beats `[core]` of the file, `[core]` beats the defaults, and an `[interface]`
//! section, being the most particular, beats them all for its interfaces.

pub mod flags;
mod ini;
mod keys;
mod pattern;
mod prefixes;
mod read;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::logging::Destination;
use crate::netlink::mptcp::EndpointFlags;

use keys::Place;

pub use flags::NotifyFlags;
pub(crate) use keys::{CommandOption, KEYS, Key};
pub use pattern::Pattern;
pub use prefixes::Prefixes;
pub(crate) use read::check;
pub use read::{Diagnostic, Loaded, load, parse};

/// Read when the command line names no file.
pub const DEFAULT_FILE: &str = "/etc/mptcpd/mptcpd.conf";

/// A root name server's addresses (a.root-servers.net): no filter of bogus addresses holds them.
/// Nothing is sent to them.
const WORLD: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
];

/// What the command line sets, in place of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// The configuration file.
    pub config: Option<String>,
    /// What takes the place of keys of `[core]`, in this order. The values are valid.
    pub core: Vec<(&'static str, String)>,
}

/// A plugin, as far as the configuration knows it.
pub trait PluginKeys {
    /// What `path-manager` and `load-plugins` call it, and its section.
    fn name(&self) -> &'static str;
    /// The keys of its section.
    fn keys(&self) -> &'static [&'static str];
}

/// Everything that can be configured: a field for each key of `[core]`, and the other sections.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where the log goes.
    pub log: Destination,
    /// The least severe messages that are logged.
    pub log_level: ::log::LevelFilter,
    /// Makes `log_level` debug.
    pub debug: bool,
    /// Accepted for compatibility; plugins are compiled in.
    pub plugin_dir: Option<String>,
    /// The default plugin.
    pub path_manager: Option<String>,
    /// The plugins to load, in this order; `None` is all of them.
    pub load_plugins: Option<Vec<String>>,
    /// The only interfaces to use.
    pub interfaces: Vec<Pattern>,
    /// The settings of an interface that no section matches.
    pub default: Settings,
    /// In the order of the file; the first match wins.
    pub interface: Vec<InterfaceSection>,
    /// What becomes of our endpoints when the daemon ends.
    pub on_exit: OnExit,
    /// Wanted addresses on which endpoints that somebody else made become ours.
    pub adopt: Prefixes,
    /// Whether new connections are kept off dead uplinks.
    #[cfg(feature = "health")]
    pub steer: bool,
    /// Where the run state is kept.
    pub state_file: StateFile,
    /// Seconds between two dumps of the kernel's endpoints; 0 is never.
    pub resync_interval: u32,
    /// Whether temporary (privacy) addresses are used.
    pub temporary_addresses: Temporary,
    /// Connections followed at the same time.
    pub max_connections: u32,
    /// Seconds between looks for subflows that connections of the in-kernel path manager lack; 0
    /// is never.
    pub heal_interval: u32,
    /// Stand for the world that an address is to have a way to; a family without any has a default.
    pub check_route_to: Vec<IpAddr>,
    /// Seconds for which an address stays in use that lacks nothing but its route.
    pub route_grace: u32,
    /// Endpoints made at most.
    pub max_endpoints: u32,
    /// The kernel's limit of additional subflows; `None` lets the plugin choose.
    pub limit_subflows: Option<u32>,
    /// The kernel's limit of accepted ADD_ADDRs; `None` lets the plugin choose.
    pub limit_add_addr_accepted: Option<u32>,
    /// The group whose members may use the control socket, beside root and the daemon's user.
    #[cfg(feature = "control")]
    pub control_group: Option<String>,
    /// The tables and rules that source routing may use.
    #[cfg(feature = "source-routing")]
    pub source_routing: SourceRouting,
    /// Section, key and value of what is meant for plugins.
    pub plugin_sections: Vec<(String, String, String)>,
}

/// An `[interface PATTERN]` section, with `[core]` filled in where it is silent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSection {
    /// Which names of interfaces it is for.
    pub pattern: Pattern,
    /// What it says of them.
    pub settings: Settings,
}

/// What can be said of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How its addresses are used.
    pub policy: Policy,
    /// Which of its addresses to use.
    pub addresses: Prefixes,
    /// How its paths are probed.
    #[cfg(feature = "health")]
    pub track: Track,
}

/// Addresses that `track` may name.
#[cfg(feature = "health")]
pub const MAX_TRACKED: usize = 8;
/// The most that `track-down` can be.
#[cfg(feature = "health")]
pub const MAX_LOSSES: u32 = 10;

/// The probes by which it is known whether the paths of an interface work.
#[cfg(feature = "health")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Who is to answer; none is to send no probes.
    pub addresses: Vec<IpAddr>,
    /// Seconds between probes while there is no doubt.
    pub interval: u32,
    /// Seconds within which an answer counts.
    pub timeout: u32,
    /// Losses in a row that make a path dead.
    pub down: u32,
    /// Answers in a row that bring it back.
    pub up: u32,
    /// How many of the addresses of a family must answer, or all if there are fewer.
    pub reliability: u32,
}

#[cfg(feature = "health")]
impl Track {
    const DEFAULT: Self = Self {
        addresses: Vec::new(),
        interval: 5,
        timeout: 1,
        down: 3,
        up: 2,
        reliability: 1,
    };
}

/// How the addresses of an interface are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// Of the endpoints made.
    pub flags: EndpointFlags,
    /// Which addresses count.
    pub notify: NotifyFlags,
    /// Whether addresses are used at all.
    pub usage: Use,
    /// Which addresses get an endpoint when slots are scarce: lower goes first.
    pub priority: i8,
    /// Whether IPv4 addresses are used.
    pub ipv4: bool,
    /// Whether IPv6 addresses are used.
    pub ipv6: bool,
    /// Host byte order; 0 is none.
    pub port: u16,
    /// Whether to keep a rule and a table for each address.
    #[cfg(feature = "source-routing")]
    pub source_routing: bool,
    /// Seconds an address must have been usable before it counts.
    pub hold_down: u32,
}

/// Whether an interface is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Like any other.
    Yes,
    /// Never.
    No,
    /// Only while no other interface has a usable address.
    Standby,
}

/// Whether endpoints are kept or removed when the daemon stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExit {
    /// They are kept if a later run knows them by the state file.
    Auto,
    /// They stay.
    Keep,
    /// They are deleted, and the limits given back.
    Remove,
}

/// Where the run state is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateFile {
    /// A file for each network namespace in `/run/mptcpd`.
    Default,
    /// None is kept.
    None,
    /// In this file.
    Path(String),
}

impl StateFile {
    /// An empty path is none.
    pub(crate) fn new(path: &str) -> Self {
        if path.is_empty() {
            Self::None
        } else {
            Self::Path(path.into())
        }
    }
}

/// Whether temporary IPv6 addresses (RFC 8981) are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Temporary {
    /// Only where no stable address has the same prefix.
    Fallback,
    /// They are used.
    Yes,
    /// They are not used.
    No,
}

/// The ranges that belong to source routing, ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRouting {
    /// The first routing table.
    pub first_table: u32,
    /// The last routing table.
    pub last_table: u32,
    /// The priority of the first rule.
    pub first_priority: u32,
    /// The priority of the last rule.
    pub last_priority: u32,
}

impl Policy {
    const DEFAULT: Self = Self {
        flags: EndpointFlags::SUBFLOW,
        notify: NotifyFlags::ALL,
        usage: Use::Yes,
        priority: 0,
        ipv4: true,
        ipv6: true,
        port: 0,
        #[cfg(feature = "source-routing")]
        source_routing: false,
        hold_down: 0,
    };
    const UNUSED: Self = Self {
        usage: Use::No,
        ..Self::DEFAULT
    };

    /// Returns whether a rule and a table are kept for each address.
    pub(crate) fn source_routes(&self) -> bool {
        #[cfg(feature = "source-routing")]
        let routes = self.source_routing;
        #[cfg(not(feature = "source-routing"))]
        let routes = false;
        routes
    }
}

impl Config {
    /// The defaults of a program with these plugins.
    pub fn new<P: PluginKeys>(plugins: &[P]) -> Self {
        Self {
            log: Destination::Stderr,
            log_level: ::log::LevelFilter::Info,
            debug: false,
            plugin_dir: None,
            path_manager: plugins
                .iter()
                .any(|plugin| plugin.name() == "addr_adv")
                .then(|| "addr_adv".to_string()),
            load_plugins: None,
            interfaces: vec![Pattern::any()],
            default: Settings {
                policy: Policy::DEFAULT,
                addresses: Prefixes::default(),
                #[cfg(feature = "health")]
                track: Track::DEFAULT,
            },
            interface: Vec::new(),
            on_exit: OnExit::Auto,
            adopt: Prefixes::default(),
            #[cfg(feature = "health")]
            steer: false,
            state_file: StateFile::Default,
            resync_interval: 300,
            temporary_addresses: Temporary::Fallback,
            max_connections: 4096,
            heal_interval: 60,
            check_route_to: WORLD.to_vec(),
            route_grace: 1,
            max_endpoints: 8,
            limit_subflows: None,
            limit_add_addr_accepted: None,
            #[cfg(feature = "control")]
            control_group: None,
            #[cfg(feature = "source-routing")]
            source_routing: SourceRouting {
                first_table: 5200,
                last_table: 5455,
                first_priority: 5200,
                last_priority: 5455,
            },
            plugin_sections: Vec::new(),
        }
    }

    /// How to use the interface named `device`. Does not allocate.
    pub fn policy(&self, device: &str) -> &Policy {
        let mut allowed = self.interfaces.iter();
        if !allowed.any(|pattern| pattern.matches(device)) {
            return const { &Policy::UNUSED };
        }
        &self.settings(device).policy
    }

    /// Returns whether an interface section is for the interface named `device`.
    pub(crate) fn names(&self, device: &str) -> bool {
        self.section(device).is_some()
    }

    fn section(&self, device: &str) -> Option<&InterfaceSection> {
        let mut sections = self.interface.iter();
        sections.find(|section| section.pattern.matches(device))
    }

    fn settings(&self, device: &str) -> &Settings {
        let section = self.section(device);
        section.map_or(&self.default, |section| &section.settings)
    }

    /// Returns whether it is so in any section, or where none matches.
    fn any(&self, is_it: &dyn Fn(&Settings) -> bool) -> bool {
        let mut sections = self.interface.iter();
        is_it(&self.default) || sections.any(|section| is_it(&section.settings))
    }

    /// Returns whether the interface named `device` may use the address. Does not allocate.
    pub fn allows(&self, device: &str, address: IpAddr) -> bool {
        // Patterns cost more than most addresses are worth.
        !self.any(&|settings| !settings.addresses.is_empty())
            || self.settings(device).addresses.hold(address)
    }

    /// How to probe the paths of the interface named `device`. Does not allocate.
    #[cfg(feature = "health")]
    pub fn track(&self, device: &str) -> &Track {
        &self.settings(device).track
    }

    /// Returns whether any interface's paths are to be probed.
    #[cfg(feature = "health")]
    pub fn uses_track(&self) -> bool {
        self.any(&|settings| !settings.track.addresses.is_empty())
    }

    /// Returns whether routes and rules matter to any interface's policy.
    pub fn uses_routes(&self) -> bool {
        let checks = |policy: &Policy| policy.notify.contains(NotifyFlags::CHECK_ROUTE);
        self.makes_routes() || self.any(&|settings| checks(&settings.policy))
    }

    /// Returns whether any interface's policy wants source routing, or new connections are steered:
    /// there are rules and routes of our own.
    pub fn makes_routes(&self) -> bool {
        self.steers() || self.any(&|settings| settings.policy.source_routes())
    }

    /// Returns the tables and priorities of those, if there are any.
    pub(crate) fn own_ranges(&self) -> Option<&SourceRouting> {
        #[cfg(feature = "source-routing")]
        let ranges = Some(&self.source_routing).filter(|_| self.makes_routes());
        #[cfg(not(feature = "source-routing"))]
        let ranges = None;
        ranges
    }

    /// Returns whether new connections are to be kept off dead uplinks.
    pub fn steers(&self) -> bool {
        #[cfg(feature = "health")]
        let steer = self.steer;
        #[cfg(not(feature = "health"))]
        let steer = false;
        steer
    }

    /// Returns the address of this family at a position among those that stand for the world.
    pub fn destination(&self, ipv4: bool, at: usize) -> Option<IpAddr> {
        let of_family = |address: &&IpAddr| address.is_ipv4() == ipv4;
        let mut named = self.check_route_to.iter().filter(of_family);
        let default = WORLD.iter().find(of_family).filter(|_| at == 0);
        named.nth(at).or(default).copied()
    }

    /// What the plugin `section` was given for `key`.
    pub fn plugin_value(&self, section: &str, key: &str) -> Option<&str> {
        let mut all = self.plugin_sections.iter();
        all.find(|(s, k, _)| s == section && k == key)
            .map(|(_, _, value)| value.as_str())
    }

    /// Returns the effective configuration as a file; reading it gives the same configuration.
    ///
    /// It stays as it is, although the table of keys wants fields that can be set.
    pub fn text(&mut self) -> String {
        let mut text = String::from("[core]\n");
        keys::write(&mut text, self, Place::Core);
        let mut sections = core::mem::take(&mut self.interface);
        for section in &mut sections {
            for part in ["\n[interface ", section.pattern.as_str(), "]\n"] {
                text.push_str(part);
            }
            core::mem::swap(&mut self.default, &mut section.settings);
            keys::write(&mut text, self, Place::Interface);
            core::mem::swap(&mut self.default, &mut section.settings);
        }
        self.interface = sections;
        let mut last = "";
        for (section, key, value) in &self.plugin_sections {
            if section != last {
                for part in ["\n[", section, "]\n"] {
                    text.push_str(part);
                }
                last = section;
            }
            for part in [key, " = ", value, "\n"] {
                text.push_str(part);
            }
        }
        text
    }
}

#[cfg(all(test, feature = "default"))]
mod document_tests;
#[cfg(all(test, not(feature = "health")))]
mod lean_tests;
#[cfg(all(test, feature = "default"))]
mod tests;
