// SPDX-License-Identifier: BSD-3-Clause
//! The table of the configuration's keys: what the file, the command line and `--check` have in
//! common. Tests hold the manual and `mptcpd.conf` to it.

use core::fmt::Write;
use core::net::IpAddr;

use crate::config::flags::{
    ADDR_FLAGS, FAMILIES, IPV4, IPV6, NOTIFY_FLAGS, Word, append, bits, each, endpoint_flags,
    notify_flags, position, whole,
};
use crate::config::{Config, Pattern, Prefixes, StateFile};
#[cfg(feature = "health")]
use crate::config::{MAX_LOSSES, MAX_TRACKED};
use crate::features::lacking;
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

/// A key of the configuration.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    place: Place,
    pub(crate) option: CommandOption,
    field: Field,
}

/// The sections where a key may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Core,
    Interface,
    /// In `[core]` for all interfaces whose section is silent.
    Both,
}

/// Whether the command line has an option of the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandOption {
    None,
    Value,
    /// Without a value, which means `yes`.
    Switch,
}

/// What a key sets, which says how its value is read and shown.
enum Field {
    Word(Of<dyn Word>),
    /// A whole number, with the first and the last that are allowed.
    Number(Of<u32>, u32, u32),
    /// From 0 to 255.
    Limit(Of<Option<u32>>),
    Priority,
    Port,
    /// First and last, both of them from 1 to a limit, and what else must be true of them.
    #[cfg(feature = "source-routing")]
    Range(
        fn(&mut Config) -> (&mut u32, &mut u32),
        u32,
        fn(u32, u32) -> Check,
    ),
    Text(Of<Option<String>>),
    StateFile,
    PathManager,
    LoadPlugins,
    Interfaces,
    /// So many at most.
    Addresses(Of<Vec<IpAddr>>, usize),
    Prefixes,
    /// No address, all of them, or some.
    Adopt,
    AddressFlags,
    NotifyFlags,
    /// Whether IPv4 and IPv6 are among them.
    Families,
}

/// Where something is in the configuration.
type Of<T> = fn(&mut Config) -> &mut T;
#[cfg(feature = "source-routing")]
type Check = Result<(), &'static str>;

/// The keys, in the order in which `--check` shows them. Those of an interface set the default
/// settings, which the reader of a section exchanges for the section's own.
// A line for each key.
#[rustfmt::skip]
pub(crate) static KEYS: &[Key] = {
    use {Field::*, Place::*};

    &[
        Key::option("log", Core, Word(|c| &mut c.log)),
        Key::new("log-level", Core, Word(|c| &mut c.log_level)),
        Key::switch("debug", Core, Word(|c| &mut c.debug)),
        Key::option("plugin-dir", Core, Text(|c| &mut c.plugin_dir)),
        Key::option("path-manager", Core, PathManager),
        Key::option("load-plugins", Core, LoadPlugins),
        Key::new("interfaces", Core, Interfaces),
        Key::new("addresses", Both, Prefixes),
        Key::option("addr-flags", Both, AddressFlags),
        Key::option("notify-flags", Both, NotifyFlags),
        Key::new("temporary-addresses", Core, Word(|c| &mut c.temporary_addresses)),
        Key::new("hold-down", Both, Number(|c| &mut c.default.policy.hold_down, 0, MAX_SECONDS)),
        Key::new("adopt", Core, Adopt),
        Key::new("on-exit", Core, Word(|c| &mut c.on_exit)),
        Key::option("state-file", Core, StateFile),
        Key::new("resync-interval", Core, Number(|c| &mut c.resync_interval, 0, MAX_SECONDS)),
        #[cfg(feature = "healing")]
        Key::new("heal-interval", Core, Number(|c| &mut c.heal_interval, 0, MAX_SECONDS)),
        Key::new("check-route-to", Core, Addresses(|c| &mut c.check_route_to, MAX_DESTINATIONS)),
        Key::new("route-grace", Core, Number(|c| &mut c.route_grace, 0, MAX_SECONDS)),
        #[cfg(feature = "userspace")]
        Key::new("max-connections", Core, Number(|c| &mut c.max_connections, 1, 1_000_000)),
        Key::new("max-endpoints", Core, Number(|c| &mut c.max_endpoints, 1, 255)),
        Key::new("limit-subflows", Core, Limit(|c| &mut c.limit_subflows)),
        Key::new("limit-add-addr-accepted", Core, Limit(|c| &mut c.limit_add_addr_accepted)),
        Key::new("use", Interface, Word(|c| &mut c.default.policy.usage)),
        Key::new("priority", Interface, Priority),
        Key::new("families", Interface, Families),
        Key::new("port", Interface, Port),
        #[cfg(feature = "source-routing")]
        Key::new("source-routing", Both, Word(|c| &mut c.default.policy.source_routing)),
        #[cfg(feature = "source-routing")]
        Key::new("source-routing-tables", Core, Range(tables, u32::MAX, check_tables)),
        #[cfg(feature = "source-routing")]
        Key::new("source-routing-priorities", Core, Range(priorities, MAX_PRIORITY, check_priorities)),
        #[cfg(feature = "health")]
        Key::new("track", Both, Addresses(|c| &mut c.default.track.addresses, MAX_TRACKED)),
        #[cfg(feature = "health")]
        Key::new("track-interval", Both, Number(|c| &mut c.default.track.interval, 1, MAX_SECONDS)),
        #[cfg(feature = "health")]
        Key::new("track-timeout", Both, Number(|c| &mut c.default.track.timeout, 1, MAX_TIMEOUT)),
        #[cfg(feature = "health")]
        Key::new("track-down", Both, Number(|c| &mut c.default.track.down, 1, MAX_LOSSES)),
        #[cfg(feature = "health")]
        Key::new("track-up", Both, Number(|c| &mut c.default.track.up, 1, MAX_LOSSES)),
        #[cfg(feature = "health")]
        Key::new("track-reliability", Both, Number(|c| &mut c.default.track.reliability, 1, MAX_TRACKED as u32)),
        #[cfg(feature = "health")]
        Key::new("steer", Core, Word(|c| &mut c.steer)),
        #[cfg(feature = "control")]
        Key::new("control-group", Core, Text(|c| &mut c.control_group)),
    ]
};

#[cfg(feature = "source-routing")]
fn tables(config: &mut Config) -> (&mut u32, &mut u32) {
    let ranges = &mut config.source_routing;
    (&mut ranges.first_table, &mut ranges.last_table)
}

#[cfg(feature = "source-routing")]
fn priorities(config: &mut Config) -> (&mut u32, &mut u32) {
    let ranges = &mut config.source_routing;
    (&mut ranges.first_priority, &mut ranges.last_priority)
}

impl Key {
    const fn new(name: &'static str, place: Place, field: Field) -> Self {
        Self {
            name,
            place,
            option: CommandOption::None,
            field,
        }
    }

    const fn option(name: &'static str, place: Place, field: Field) -> Self {
        Self {
            option: CommandOption::Value,
            ..Self::new(name, place, field)
        }
    }

    const fn switch(name: &'static str, place: Place, field: Field) -> Self {
        Self {
            option: CommandOption::Switch,
            ..Self::new(name, place, field)
        }
    }

    /// Returns whether the key may stand in sections of this kind.
    pub(crate) fn stands_in(&self, place: Place) -> bool {
        self.place == place || self.place == Place::Both
    }

    /// Reads the value of the key, in a program with these plugins.
    pub(crate) fn set(
        &self,
        config: &mut Config,
        value: &str,
        plugins: &[&str],
    ) -> Result<(), String> {
        let policy = &mut config.default.policy;
        match &self.field {
            Field::Word(word) => {
                let word = word(config);
                word.set(position(value, word.words())?);
            }
            Field::Number(field, first, last) => *field(config) = number(value, *first, *last)?,
            Field::Limit(limit) => *limit(config) = Some(number(value, 0, 255)?),
            Field::Priority => policy.priority = priority(value)?,
            Field::Port => policy.port = number(value, 0, u16::MAX.into())? as u16,
            #[cfg(feature = "source-routing")]
            Field::Range(field, limit, check) => {
                let (first, last) = field(config);
                range(value, *limit, first, last)?;
                check(*first, *last)?;
            }
            Field::Text(_) | Field::PathManager if value.is_empty() => {
                return Err("empty value".to_string());
            }
            Field::Text(text) => *text(config) = Some(value.to_string()),
            Field::StateFile => config.state_file = StateFile::new(value),
            Field::PathManager => {
                know(value, plugins)?;
                config.path_manager = Some(value.to_string());
            }
            Field::LoadPlugins => {
                let mut names: Vec<String> = Vec::new();
                each(value, &mut |name| {
                    know(name, plugins)?;
                    if !names.iter().any(|other| other == name) {
                        names.push(name.to_string());
                    }
                    Ok(())
                })?;
                config.load_plugins = Some(names);
            }
            Field::Interfaces => {
                let mut patterns = Vec::new();
                each(value, &mut |item| {
                    patterns.push(Pattern::new(item)?);
                    Ok(())
                })?;
                config.interfaces = patterns;
            }
            Field::Addresses(addresses, most) => {
                let addresses = addresses(config);
                addresses.clear();
                each(value, &mut |item| {
                    let address: Option<IpAddr> = item.parse().ok();
                    // Neither is any host's.
                    let address = address.filter(|a| !a.is_unspecified() && !a.is_multicast());
                    addresses.push(address.ok_or_else(|| format!("invalid address \"{item}\""))?);
                    Ok(())
                })?;
                if addresses.len() > *most {
                    return Err(format!("more than {most} addresses"));
                }
            }
            Field::Prefixes => config.default.addresses = Prefixes::new(value)?,
            Field::Adopt => {
                config.adopt = match value {
                    "yes" => Prefixes::all(),
                    "no" => Prefixes::default(),
                    _ => Prefixes::new(value)?,
                }
            }
            Field::AddressFlags => {
                // Bad ones get no second complaint, about the port.
                policy.flags = EndpointFlags::SIGNAL;
                policy.flags = endpoint_flags(value)?;
            }
            Field::NotifyFlags => policy.notify = notify_flags(value)?,
            Field::Families => {
                let families = bits(value, &FAMILIES)?;
                policy.ipv4 = families & IPV4 != 0;
                policy.ipv6 = families & IPV6 != 0;
            }
        }
        Ok(())
    }

    /// Writes the value. Where nothing is set and no value would say the same, it writes nothing and
    /// returns what is in effect.
    fn show(&self, config: &mut Config, text: &mut String) -> Option<&'static str> {
        let policy = &config.default.policy;
        match &self.field {
            Field::Word(word) => {
                let word = word(config);
                text.push_str(word.words().get(word.get()).unwrap_or(&""));
            }
            Field::Number(number, ..) => print(text, *number(config)),
            Field::Limit(limit) => match *limit(config) {
                Some(limit) => print(text, limit),
                None => return Some("chosen by the plugin"),
            },
            Field::Priority => {
                text.push_str(if policy.priority < 0 { "-" } else { "" });
                print(text, policy.priority.unsigned_abs().into());
            }
            Field::Port => print(text, policy.port.into()),
            #[cfg(feature = "source-routing")]
            Field::Range(range, ..) => {
                let (first, last) = range(config);
                print(text, *first);
                text.push('-');
                print(text, *last);
            }
            Field::Text(field) => match field(config) {
                Some(field) => text.push_str(field),
                None => return Some("none"),
            },
            Field::StateFile => match &config.state_file {
                StateFile::Path(path) => text.push_str(path),
                StateFile::None => {}
                StateFile::Default => {
                    return Some("a file for each network namespace in /run/mptcpd");
                }
            },
            Field::PathManager => match &config.path_manager {
                Some(name) => text.push_str(name),
                None => return Some("the loaded plugin that comes first by priority"),
            },
            Field::LoadPlugins => match &config.load_plugins {
                Some(names) => names.iter().for_each(|name| append(text, name)),
                None => return Some("all"),
            },
            Field::Interfaces => {
                let patterns = config.interfaces.iter();
                patterns.for_each(|pattern| append(text, pattern.as_str()));
            }
            Field::Addresses(addresses, _) => {
                for address in addresses(config) {
                    append(text, "");
                    let _ = write!(text, "{address}");
                }
            }
            Field::Adopt if config.adopt.is_empty() => text.push_str("no"),
            Field::Adopt => config.adopt.show(text),
            Field::Prefixes => config.default.addresses.show(text),
            Field::AddressFlags => ADDR_FLAGS.each(policy.flags.0, &mut |word| append(text, word)),
            Field::NotifyFlags => {
                NOTIFY_FLAGS.each(policy.notify.0.into(), &mut |word| append(text, word))
            }
            Field::Families => {
                let ipv4 = if policy.ipv4 { IPV4 } else { 0 };
                let ipv6 = if policy.ipv6 { IPV6 } else { 0 };
                FAMILIES.each(ipv4 | ipv6, &mut |word| append(text, word));
            }
        }
        None
    }
}

/// Says what is wrong with the name of a plugin, if it is none of these.
#[inline(never)]
fn know(name: &str, plugins: &[&str]) -> Result<(), String> {
    let found = position(name, plugins).map(drop);
    found.map_err(|unknown| lacking(name).unwrap_or(unknown))
}

/// Returns the key of the configuration that has a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Writes the keys of a section; a comment says what is in effect where nothing is set.
pub(crate) fn write(text: &mut String, config: &mut Config, place: Place) {
    let mut value = String::new();
    for key in KEYS.iter().filter(|key| key.stands_in(place)) {
        value.clear();
        let [comment, equals, value] = match key.show(config, &mut value) {
            Some(default) => ["# ", ": ", default],
            None => ["", " = ", &value],
        };
        for part in [comment, key.name, equals, value, "\n"] {
            text.push_str(part);
        }
    }
}

fn print(text: &mut String, number: u32) {
    let _ = write!(text, "{number}");
}

/// Reads a whole number from `first` to `last`.
fn number(value: &str, first: u32, last: u32) -> Result<u32, String> {
    let found = whole(value).filter(|found| first <= *found && *found <= last);
    found.ok_or_else(|| no_number(value, "", first, last))
}

fn priority(value: &str) -> Result<i8, String> {
    let (sign, digits) = match value.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, value),
    };
    let size = whole(digits).and_then(|size| i32::try_from(size).ok());
    let priority = size.and_then(|size| i8::try_from(sign * size).ok());
    priority.ok_or_else(|| no_number(value, "-", 128, 127))
}

#[cold]
fn no_number(value: &str, sign: &str, first: u32, last: u32) -> String {
    format!("invalid value \"{value}\" (expected a whole number from {sign}{first} to {last})")
}

/// Reads `FIRST-LAST`, or one number for both, from 1 to `limit`.
#[cfg(feature = "source-routing")]
fn range(value: &str, limit: u32, first: &mut u32, last: &mut u32) -> Result<(), String> {
    let (start, end) = value.split_once('-').unwrap_or((value, value));
    *first = number(start.trim_ascii(), 1, limit)?;
    *last = number(end.trim_ascii(), 1, limit)?;
    if first > last {
        return Err(format!(
            "invalid range \"{value}\": the start exceeds the end"
        ));
    }
    Ok(())
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
