// SPDX-License-Identifier: BSD-3-Clause
//! The table of the configuration's keys: what the file, the command line and `--check` have in
//! common. Tests hold the manual and `mptcpd.conf` to it.

use core::fmt::{self, Display, Write};
use core::net::IpAddr;

use crate::config::flags::{
    AddressFlags, FAMILIES, IPV4, IPV6, List, NOTIFY_FLAGS, Word, bits, endpoint_flags, items,
    names, notify_flags, position, write_list,
};
use crate::config::{Config, NotifyFlags, Pattern, Prefixes, StateFile};
#[cfg(feature = "health")]
use crate::config::{MAX_LOSSES, MAX_TRACKED};
use crate::netlink::filter;
use crate::netlink::mptcp::EndpointFlags;

/// A day.
const MAX_SECONDS: u32 = 86_400;
/// Addresses that stand for the world at most: events of routes to each pass a filter, which may need
/// room for the default of a family without any.
const MAX_DESTINATIONS: usize = filter::DESTINATIONS - 1;
/// No answer takes a minute.
#[cfg(feature = "health")]
const MAX_TIMEOUT: u32 = 60;
/// The rule for the main table has the priority 32766; ours must come before.
#[cfg(feature = "source-routing")]
const MAX_PRIORITY: u32 = 32_765;

/// A key of the configuration, bound to what it sets.
pub(crate) struct Key<'a> {
    pub(crate) name: &'static str,
    place: Place,
    pub(crate) option: Option<CommandOption>,
    field: Field<'a>,
}

/// The sections where a key may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Core,
    Interface,
    /// In `[core]` for all interfaces whose section is silent.
    Both,
}

/// The option of the command line that has the name of a key.
#[derive(Clone, Copy)]
pub(crate) struct CommandOption {
    pub(crate) letter: Option<char>,
    /// What the help calls its value; an option without one means `yes`.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
}

/// What a key sets, which says how its value is read and shown.
enum Field<'a> {
    Word(&'a mut dyn Word),
    /// A whole number, with the first and the last that are allowed.
    Number(&'a mut u32, u32, u32),
    /// From 0 to 255.
    Limit(&'a mut Option<u32>),
    Priority(&'a mut i8),
    Port(&'a mut u16),
    /// First and last, both of them from 1 to a limit, and what else must be true of them.
    #[cfg(feature = "source-routing")]
    Range(&'a mut u32, &'a mut u32, u32, fn(u32, u32) -> Check),
    Directory(&'a mut Option<String>),
    StateFile(&'a mut StateFile),
    Plugin(&'a mut Option<String>),
    Plugins(&'a mut Option<Vec<String>>),
    Patterns(&'a mut Vec<Pattern>),
    /// So many at most.
    Addresses(&'a mut Vec<IpAddr>, usize),
    Prefixes(&'a mut Prefixes),
    /// No address, all of them, or some.
    Adopt(&'a mut Prefixes),
    AddressFlags(&'a mut EndpointFlags),
    NotifyFlags(&'a mut NotifyFlags),
    /// Whether IPv4 and IPv6 are among them.
    Families(&'a mut bool, &'a mut bool),
}

#[cfg(feature = "source-routing")]
type Check = Result<(), &'static str>;

/// Returns the keys, in the order in which `--check` and `--help` show them. Those of an interface
/// set the default settings, which the reader of a section exchanges for the section's own.
// A line for each key; and once in the program, not once in each caller.
#[rustfmt::skip]
#[inline(never)]
pub(crate) fn keys(config: &mut Config) -> Vec<Key<'_>> {
    use {Field::*, Place::*};

    let settings = &mut config.default;
    let policy = &mut settings.policy;
    #[allow(unused_mut)]
    let mut all = vec![
        Key::new("log", Core, Word(&mut config.log))
            .option(Some('l'), "DEST", "log to stderr, syslog, journal or null"),
        Key::new("log-level", Core, Word(&mut config.log_level)),
        Key::new("debug", Core, Word(&mut config.debug))
            .option(Some('d'), "", "log debug messages"),
        Key::new("plugin-dir", Core, Directory(&mut config.plugin_dir))
            .option(None, "DIR", "ignored: plugins are compiled in"),
        Key::new("path-manager", Core, Plugin(&mut config.path_manager))
            .option(None, "NAME", "the default plugin"),
        Key::new("load-plugins", Core, Plugins(&mut config.load_plugins))
            .option(None, "LIST", "load only these plugins, in this order"),
        Key::new("interfaces", Core, Patterns(&mut config.interfaces)),
        Key::new("addresses", Both, Prefixes(&mut settings.addresses)),
        Key::new("addr-flags", Both, AddressFlags(&mut policy.flags))
            .option(None, "LIST", "flags of new endpoints: subflow, signal, backup,
                           fullmesh, laminar"),
        Key::new("notify-flags", Both, NotifyFlags(&mut policy.notify))
            .option(None, "LIST", "which addresses to use: existing, check_route,
                           skip_link_local, skip_loopback"),
        Key::new("temporary-addresses", Core, Word(&mut config.temporary_addresses)),
        Key::new("hold-down", Both, Number(&mut policy.hold_down, 0, MAX_SECONDS)),
        Key::new("adopt", Core, Adopt(&mut config.adopt)),
        Key::new("on-exit", Core, Word(&mut config.on_exit)),
        Key::new("state-file", Core, StateFile(&mut config.state_file))
            .option(None, "FILE", "keep the run state in FILE; empty to keep none"),
        Key::new("resync-interval", Core, Number(&mut config.resync_interval, 0, MAX_SECONDS)),
        #[cfg(feature = "healing")]
        Key::new("heal-interval", Core, Number(&mut config.heal_interval, 0, MAX_SECONDS)),
        Key::new("check-route-to", Core, Addresses(&mut config.check_route_to, MAX_DESTINATIONS)),
        Key::new("route-grace", Core, Number(&mut config.route_grace, 0, MAX_SECONDS)),
        #[cfg(feature = "userspace")]
        Key::new("max-connections", Core, Number(&mut config.max_connections, 1, 1_000_000)),
        Key::new("max-endpoints", Core, Number(&mut config.max_endpoints, 1, 255)),
        Key::new("limit-subflows", Core, Limit(&mut config.limit_subflows)),
        Key::new("limit-add-addr-accepted", Core, Limit(&mut config.limit_add_addr_accepted)),
        Key::new("use", Interface, Word(&mut policy.usage)),
        Key::new("priority", Interface, Priority(&mut policy.priority)),
        Key::new("families", Interface, Families(&mut policy.ipv4, &mut policy.ipv6)),
        Key::new("port", Interface, Port(&mut policy.port)),
    ];
    #[cfg(feature = "source-routing")]
    {
        let ranges = &mut config.source_routing;
        let tables = Range(&mut ranges.first_table, &mut ranges.last_table, u32::MAX, check_tables);
        let (first, last) = (&mut ranges.first_priority, &mut ranges.last_priority);
        let priorities = Range(first, last, MAX_PRIORITY, check_priorities);
        all.extend([
            Key::new("source-routing", Both, Word(&mut policy.source_routing)),
            Key::new("source-routing-tables", Core, tables),
            Key::new("source-routing-priorities", Core, priorities),
        ]);
    }
    #[cfg(feature = "health")]
    {
        let track = &mut settings.track;
        all.extend([
            Key::new("track", Both, Addresses(&mut track.addresses, MAX_TRACKED)),
            Key::new("track-interval", Both, Number(&mut track.interval, 1, MAX_SECONDS)),
            Key::new("track-timeout", Both, Number(&mut track.timeout, 1, MAX_TIMEOUT)),
            Key::new("track-down", Both, Number(&mut track.down, 1, MAX_LOSSES)),
            Key::new("track-up", Both, Number(&mut track.up, 1, MAX_LOSSES)),
            Key::new("track-reliability", Both, Number(&mut track.reliability, 1, MAX_TRACKED as u32)),
            Key::new("steer", Core, Word(&mut config.steer)),
        ]);
    }
    #[cfg(feature = "control")]
    all.push(Key::new("control-group", Core, Directory(&mut config.control_group)));
    all
}

impl<'a> Key<'a> {
    fn new(name: &'static str, place: Place, field: Field<'a>) -> Self {
        Self {
            name,
            place,
            option: None,
            field,
        }
    }

    fn option(mut self, letter: Option<char>, value: &'static str, help: &'static str) -> Self {
        self.option = Some(CommandOption {
            letter,
            value,
            help,
        });
        self
    }

    /// Returns whether the key may stand in sections of this kind.
    pub(crate) fn stands_in(&self, place: Place) -> bool {
        self.place == place || self.place == Place::Both
    }

    /// Returns whether it is a one-letter option, too.
    pub(crate) fn has_letter(&self, letter: char) -> bool {
        self.option
            .is_some_and(|option| option.letter == Some(letter))
    }

    /// Returns whether its option takes no value.
    pub(crate) fn is_switch(&self) -> bool {
        self.option.is_some_and(|option| option.value.is_empty())
    }
}

/// Reads the value of the key `name`, in a program with these plugins.
pub(crate) fn set(
    config: &mut Config,
    name: &str,
    value: &str,
    plugins: &[&str],
) -> Result<(), String> {
    let mut keys = keys(config);
    match keys.iter_mut().find(|key| key.name == name) {
        Some(key) => key.field.set(value, plugins),
        None => Ok(()),
    }
}

/// Writes the keys of a section; a comment says what is in effect where nothing is set.
pub(crate) fn write(text: &mut String, config: &mut Config, place: Place) {
    for Key { name, field, .. } in keys(config).iter().filter(|key| key.stands_in(place)) {
        let _ = match field.unset() {
            Some(default) => writeln!(text, "# {name}: {default}"),
            None => writeln!(text, "{name} = {field}"),
        };
    }
}

impl Field<'_> {
    fn set(&mut self, value: &str, plugins: &[&str]) -> Result<(), String> {
        match self {
            Self::Word(word) => word.set(position(value, word.words())?),
            Self::Number(field, first, last) => {
                **field = number(value, *first, *last)?;
            }
            Self::Limit(limit) => **limit = Some(number(value, 0, 255)?),
            Self::Priority(field) => **field = priority(value)?,
            Self::Port(port) => **port = number(value, 0, u16::MAX.into())? as u16,
            #[cfg(feature = "source-routing")]
            Self::Range(first, last, limit, check) => {
                (**first, **last) = range(value, *limit)?;
                check(**first, **last)?;
            }
            Self::Directory(_) | Self::Plugin(_) if value.is_empty() => {
                return Err("empty value".to_string());
            }
            Self::Directory(path) => **path = Some(value.to_string()),
            Self::StateFile(file) => **file = StateFile::new(value),
            Self::Plugin(name) => {
                position(value, plugins)?;
                **name = Some(value.to_string());
            }
            Self::Plugins(list) => {
                let names = names(value)?;
                for name in &names {
                    position(name, plugins)?;
                }
                **list = Some(names);
            }
            Self::Patterns(patterns) => {
                let mut read = Vec::new();
                for item in items(value) {
                    read.push(Pattern::new(item?)?);
                }
                **patterns = read;
            }
            Self::Addresses(addresses, most) => {
                let mut read = Vec::new();
                for item in items(value) {
                    let item = item?;
                    let address = item
                        .parse()
                        .map_err(|_| format!("invalid address \"{item}\""));
                    read.push(address?);
                }
                if read.len() > *most {
                    return Err(format!("more than {most} addresses"));
                }
                **addresses = read;
            }
            Self::Prefixes(prefixes) => **prefixes = Prefixes::new(value)?,
            Self::Adopt(prefixes) => {
                **prefixes = match value {
                    "yes" => Prefixes::all(),
                    "no" => Prefixes::default(),
                    _ => Prefixes::new(value)?,
                }
            }
            Self::AddressFlags(flags) => {
                // Bad ones get no second complaint, about the port.
                **flags = EndpointFlags::SIGNAL;
                **flags = endpoint_flags(value)?;
            }
            Self::NotifyFlags(flags) => **flags = notify_flags(value)?,
            Self::Families(ipv4, ipv6) => {
                let families = bits(value, &FAMILIES)?;
                **ipv4 = families & IPV4 != 0;
                **ipv6 = families & IPV6 != 0;
            }
        }
        Ok(())
    }

    /// What is in effect where nothing is set and no value would say the same.
    fn unset(&self) -> Option<&'static str> {
        match self {
            Self::Limit(None) => Some("chosen by the plugin"),
            Self::Directory(None) => Some("none"),
            Self::StateFile(StateFile::Default) => {
                Some("a file for each network namespace in /run/mptcpd")
            }
            Self::Plugin(None) => Some("the loaded plugin that comes first by priority"),
            Self::Plugins(None) => Some("all"),
            _ => None,
        }
    }
}

impl Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word.words().get(word.get()).unwrap_or(&"")),
            Self::Number(number, ..) => number.fmt(f),
            Self::Limit(Some(limit)) => limit.fmt(f),
            Self::Priority(priority) => i32::from(**priority).fmt(f),
            Self::Port(port) => u32::from(**port).fmt(f),
            #[cfg(feature = "source-routing")]
            Self::Range(first, last, ..) => write!(f, "{first}-{last}"),
            Self::Directory(Some(text)) | Self::Plugin(Some(text)) => f.write_str(text),
            Self::StateFile(StateFile::Path(path)) => f.write_str(path),
            Self::Plugins(Some(names)) => {
                write_list(f, &mut names.iter().map(|name| name as &dyn Display))
            }
            Self::Patterns(patterns) => {
                let mut patterns = patterns.iter().map(|pattern| pattern as &dyn Display);
                write_list(f, &mut patterns)
            }
            Self::Addresses(addresses, _) => {
                let mut addresses = addresses.iter().map(|address| address as &dyn Display);
                write_list(f, &mut addresses)
            }
            Self::Adopt(prefixes) if prefixes.is_empty() => f.write_str("no"),
            Self::Prefixes(prefixes) | Self::Adopt(prefixes) => prefixes.fmt(f),
            Self::AddressFlags(flags) => AddressFlags(**flags).fmt(f),
            Self::NotifyFlags(flags) => List(flags.0.into(), &NOTIFY_FLAGS).fmt(f),
            Self::Families(ipv4, ipv6) => {
                let families = if **ipv4 { IPV4 } else { 0 } | if **ipv6 { IPV6 } else { 0 };
                List(families, &FAMILIES).fmt(f)
            }
            // An empty state file, and what is not set.
            Self::StateFile(_)
            | Self::Limit(None)
            | Self::Directory(None)
            | Self::Plugin(None)
            | Self::Plugins(None) => Ok(()),
        }
    }
}

/// Reads a whole number from `first` to `last`.
fn number(value: &str, first: u32, last: u32) -> Result<u32, String> {
    match value.parse() {
        // There is no sign to it.
        Ok(found) if first <= found && found <= last && !value.starts_with('+') => Ok(found),
        _ => Err(no_number(value, &first, &last)),
    }
}

fn priority(value: &str) -> Result<i8, String> {
    let (sign, digits) = match value.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, value),
    };
    let size = number(digits, 0, 128).ok();
    let priority = size.and_then(|size| i8::try_from(sign * size as i32).ok());
    priority.ok_or_else(|| no_number(value, &-128, &127))
}

fn no_number(value: &str, first: &dyn Display, last: &dyn Display) -> String {
    format!("invalid value \"{value}\" (expected a whole number from {first} to {last})")
}

/// Reads `FIRST-LAST`, or one number for both, from 1 to `limit`.
#[cfg(feature = "source-routing")]
fn range(value: &str, limit: u32) -> Result<(u32, u32), String> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let first = number(first.trim_ascii(), 1, limit)?;
    let last = number(last.trim_ascii(), 1, limit)?;
    if first > last {
        return Err(format!(
            "invalid range \"{value}\": the start exceeds the end"
        ));
    }
    Ok((first, last))
}

/// Keeps default, main and local out.
#[cfg(feature = "source-routing")]
fn check_tables(first: u32, last: u32) -> Check {
    if first <= 255 && last >= 253 {
        return Err("tables 253 to 255 are reserved by the system");
    }
    Ok(())
}

#[cfg(feature = "source-routing")]
fn check_priorities(first: u32, last: u32) -> Check {
    if last - first < 2 {
        return Err("range too small: each interface needs three priorities");
    }
    Ok(())
}
