//! From a file's bytes to a configuration, or to everything that is wrong with it.

use core::fmt::{self, Display};
use std::io;
use std::os::unix::fs::MetadataExt;

use ::log::Level;
use nix::fcntl::OFlag;

use crate::config::flags::{
    DESTINATIONS, FAMILIES, IPV4, IPV6, LEVELS, ON_EXIT, TEMPORARY, USES, YES_NO, bits,
    endpoint_flags, items, names, notify_flags, position,
};
use crate::config::ini::{self, Item};
use crate::config::{
    Config, DEFAULT_FILE, InterfaceSection, Overrides, Pattern, PluginKeys, Policy, StateFile,
};
use crate::netlink::mptcp::EndpointFlags;
use crate::sys;

/// No honest file is larger, in bytes.
const MAX_SIZE: usize = 64 * 1024;
/// Seconds: a day.
const MAX_SECONDS: u32 = 86_400;
/// The rule for the main table has the priority 32766; ours must come before.
const MAX_PRIORITY: u32 = 32_765;

/// A configuration that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    pub config: Config,
    /// `FILE:LINE: cause`, for what was passed over, in the order of the lines.
    pub warnings: Vec<String>,
}

/// One thing that is wrong with a configuration that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// [`Level::Error`], or [`Level::Warn`] for what would only have been passed over.
    pub level: Level,
    /// `FILE:LINE: cause`, `FILE: cause` or `--OPTION: cause`.
    pub text: String,
    /// 0 where there is none.
    line: usize,
}

impl Diagnostic {
    fn file(name: &str, cause: &str) -> Vec<Self> {
        vec![Self {
            level: Level::Error,
            text: format!("{name}: {cause}"),
            line: 0,
        }]
    }
}

/// As `--check` prints it.
impl Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.level == Level::Warn {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.text)
    }
}

/// Reads the file that `options` names, or the default one if there is one.
///
/// `plugins` are those compiled in. All errors are returned, with the warnings
/// between them, in the order of the lines.
pub fn load<P: PluginKeys>(options: &Overrides, plugins: &[P]) -> Result<Loaded, Vec<Diagnostic>> {
    let name = options.config.as_deref().unwrap_or(DEFAULT_FILE);
    match read(name) {
        Ok(Some(bytes)) => parse(name, &bytes, options, plugins),
        Ok(None) if options.config.is_none() => parse(name, b"", options, plugins),
        Ok(None) => Err(Diagnostic::file(name, "no such file")),
        Err(cause) => Err(Diagnostic::file(name, &cause)),
    }
}

/// The bytes of a file that can be trusted; `None` if there is none.
fn read(path: &str) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: io::Error| error.to_string();
    // Opened without waiting, lest a FIFO hang us; judged afterwards, lest it be exchanged.
    let file = match sys::open(path, OFlag::O_RDONLY) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        file => file.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err("not a regular file".to_string());
    }
    if metadata.mode() & 0o002 != 0 {
        return Err("world-writable; run chmod o-w".to_string());
    }
    sys::read(&file, MAX_SIZE + 1).map(Some).map_err(failed)
}

/// Does what [`load`] does with bytes that are already there.
pub fn parse<P: PluginKeys>(
    file_name: &str,
    bytes: &[u8],
    options: &Overrides,
    plugins: &[P],
) -> Result<Loaded, Vec<Diagnostic>> {
    if bytes.len() > MAX_SIZE {
        return Err(Diagnostic::file(file_name, "larger than 64 KiB"));
    }
    let mut reader = Reader {
        file_name,
        line: 0,
        plugins,
        config: Config::new(plugins),
        debug: options.debug,
        section: Section::None,
        core_keys: Vec::new(),
        path_manager_line: None,
        interfaces: Vec::new(),
        diagnostics: Vec::new(),
    };
    for line in ini::lines(bytes) {
        reader.line += 1;
        let result = match ini::read(line) {
            Ok(None) => Ok(()),
            Ok(Some(Item::Section(name))) => reader.enter(name),
            Ok(Some(Item::Pair(key, value))) => reader.pair(key, value),
            Err(cause) => {
                // What follows a section without a name cannot be judged.
                if cause == ini::UNCLOSED {
                    reader.section = Section::Ignored;
                }
                Err(cause.to_string())
            }
        };
        if let Err(cause) = result {
            reader.error(&cause);
        }
    }
    reader.finish(options)
}

/// What the keys that follow belong to.
enum Section<'a, P> {
    None,
    Core,
    /// The last one of `Reader::interfaces`.
    Interface,
    Plugin(&'a P),
    Ignored,
}

/// An `[interface]` section as written; the rest comes from `[core]`, which may follow it.
struct Interface<'a> {
    pattern: Pattern,
    keys: Vec<&'a str>,
    /// Its values for keys that `[core]` does not have.
    own: Policy,
    flags: Option<EndpointFlags>,
    notify: Option<super::NotifyFlags>,
    source_routing: Option<bool>,
    hold_down: Option<u32>,
    port_line: usize,
}

struct Reader<'a, P> {
    file_name: &'a str,
    line: usize,
    plugins: &'a [P],
    config: Config,
    debug: bool,
    section: Section<'a, P>,
    core_keys: Vec<&'a str>,
    /// 0 stands for the command line.
    path_manager_line: Option<usize>,
    interfaces: Vec<Interface<'a>>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a, P: PluginKeys> Reader<'a, P> {
    fn error(&mut self, cause: &str) {
        let text = format!("{}:{}: {cause}", self.file_name, self.line);
        self.report(Level::Error, text);
    }

    fn warn(&mut self, cause: &str) {
        let text = format!("{}:{}: {cause}", self.file_name, self.line);
        self.report(Level::Warn, text);
    }

    /// Keeps the list in the order of the lines: some faults show only at the end of the file.
    fn report(&mut self, level: Level, text: String) {
        let line = self.line;
        let at = self.diagnostics.partition_point(|other| other.line <= line);
        self.diagnostics
            .insert(at, Diagnostic { level, text, line });
    }

    fn enter(&mut self, name: &'a str) -> Result<(), String> {
        // Until the name proves good: what follows a bad one cannot be judged.
        self.section = Section::Ignored;
        let (kind, pattern) = name.split_once([' ', '\t']).unwrap_or((name, ""));
        if name == "core" {
            self.section = Section::Core;
        } else if kind == "interface" {
            let pattern = Pattern::new(pattern.trim_ascii())?;
            if self.interfaces.iter().any(|other| other.pattern == pattern) {
                self.warn(&format!("duplicate section [{name}]: ignored"));
            }
            self.interfaces.push(Interface {
                pattern,
                keys: Vec::new(),
                own: Policy::DEFAULT,
                flags: None,
                notify: None,
                source_routing: None,
                hold_down: None,
                port_line: 0,
            });
            self.section = Section::Interface;
        } else if let Some(plugin) = self.plugins.iter().find(|plugin| plugin.name() == name) {
            self.section = Section::Plugin(plugin);
        } else {
            self.warn(&format!("unknown section [{name}]"));
        }
        Ok(())
    }

    fn pair(&mut self, key: &'a str, value: &'a str) -> Result<(), String> {
        let (known, keys) = match self.section {
            Section::None => return Err(format!("key {key} outside any section")),
            Section::Ignored => return Ok(()),
            Section::Plugin(plugin) => {
                self.plugin(plugin, key, value);
                return Ok(());
            }
            Section::Core => (self.core(key, value), &mut self.core_keys),
            Section::Interface => match self.interfaces.last_mut() {
                Some(interface) => {
                    let known = interface.set(key, value, self.line);
                    (known, &mut interface.keys)
                }
                None => return Ok(()),
            },
        };
        if matches!(known, Ok(false)) {
            self.warn(&format!("unknown key {key}"));
        } else if keys.contains(&key) {
            self.warn(&format!("duplicate key {key}: the last value is used"));
        } else {
            keys.push(key);
        }
        match known {
            Ok(_) => Ok(()),
            Err(cause) => Err(format!("{key}: {cause}")),
        }
    }

    fn plugin(&mut self, plugin: &P, key: &str, value: &str) {
        let section = plugin.name();
        let all = &mut self.config.plugin_sections;
        if !plugin.keys().contains(&key) {
            self.warn(&format!("unknown key {key}"));
        } else if let Some((_, _, old)) = all.iter_mut().find(|(s, k, _)| s == section && k == key)
        {
            *old = value.to_string();
            self.warn(&format!("duplicate key {key}: the last value is used"));
        } else {
            all.push((section.to_string(), key.to_string(), value.to_string()));
        }
    }

    fn core(&mut self, key: &str, value: &str) -> Result<bool, String> {
        if key == "path-manager" {
            self.path_manager_line = Some(self.line);
        }
        if key != "debug" {
            return set(&mut self.config, key, value, self.plugins);
        }
        let mut debug = false;
        YES_NO.choose(value, &mut debug)?;
        self.debug |= debug;
        Ok(true)
    }

    fn finish(mut self, options: &Overrides) -> Result<Loaded, Vec<Diagnostic>> {
        self.line = 0;
        for (key, value) in &options.core {
            if let Err(cause) = self.core(key, value) {
                self.report(Level::Error, format!("--{key}: {cause}"));
            }
        }
        let config = &mut self.config;
        if self.debug {
            config.log_level = ::log::LevelFilter::Debug;
        }
        // As in the C daemon, the best of the loaded plugins then takes its place.
        if let (Some(name), Some(loaded)) = (&config.path_manager, &config.load_plugins) {
            if !loaded.contains(name) {
                let warning = format!("path-manager {name} is not listed in load-plugins");
                config.path_manager = None;
                match self.path_manager_line {
                    Some(0) => self.report(Level::Warn, format!("--{warning}")),
                    Some(line) => {
                        self.line = line;
                        self.warn(&warning);
                    }
                    None => {}
                }
            }
        }
        for interface in core::mem::take(&mut self.interfaces) {
            let policy = interface.policy(&self.config.default);
            if policy.port != 0 && !policy.flags.contains(EndpointFlags::SIGNAL) {
                self.line = interface.port_line;
                self.error("port: requires the flag signal in addr-flags");
            }
            self.config.interface.push(InterfaceSection {
                pattern: interface.pattern,
                policy,
            });
        }
        if self.diagnostics.iter().any(|d| d.level == Level::Error) {
            return Err(self.diagnostics);
        }
        let warnings = self.diagnostics.into_iter();
        Ok(Loaded {
            config: self.config,
            warnings: warnings.map(|warning| warning.text).collect(),
        })
    }
}

/// Takes a key of `[core]`; false if there is none of that name.
fn set<P: PluginKeys>(
    config: &mut Config,
    key: &str,
    value: &str,
    plugins: &[P],
) -> Result<bool, String> {
    let default = &mut config.default;
    let routing = &mut config.source_routing;
    match key {
        "log" => DESTINATIONS.choose(value, &mut config.log)?,
        "log-level" => LEVELS.choose(value, &mut config.log_level)?,
        "plugin-dir" => config.plugin_dir = Some(text(value)?.into()),
        "path-manager" => {
            known(text(value)?, plugins)?;
            config.path_manager = Some(value.to_string());
        }
        "load-plugins" => {
            let names = names(value)?;
            for name in &names {
                known(name, plugins)?;
            }
            config.load_plugins = Some(names);
        }
        "interfaces" => {
            let mut patterns = Vec::new();
            for item in items(value) {
                patterns.push(Pattern::new(item?)?);
            }
            config.interfaces = Some(patterns);
        }
        "addr-flags" => default.flags = endpoint_flags(value)?,
        "notify-flags" => default.notify = notify_flags(value)?,
        "source-routing" => YES_NO.choose(value, &mut default.source_routing)?,
        "hold-down" => number(value, 0, MAX_SECONDS, &mut default.hold_down)?,
        "on-exit" => ON_EXIT.choose(value, &mut config.on_exit)?,
        "state-file" => config.state_file = StateFile::new(value),
        "resync-interval" => number(value, 0, MAX_SECONDS, &mut config.resync_interval)?,
        "temporary-addresses" => TEMPORARY.choose(value, &mut config.temporary_addresses)?,
        "max-connections" => number(value, 1, 1_000_000, &mut config.max_connections)?,
        "limit-subflows" => {
            number(value, 0, 255, config.limit_subflows.get_or_insert_default())?;
        }
        "limit-add-addr-accepted" => {
            let limit = config.limit_add_addr_accepted.get_or_insert_default();
            number(value, 0, 255, limit)?;
        }
        "source-routing-tables" => {
            range(
                value,
                u32::MAX,
                &mut routing.first_table,
                &mut routing.last_table,
            )?;
            // default, main and local.
            if routing.first_table <= 255 && routing.last_table >= 253 {
                return Err("tables 253 to 255 are reserved by the system".to_string());
            }
        }
        "source-routing-priorities" => {
            let (first, last) = (&mut routing.first_priority, &mut routing.last_priority);
            range(value, MAX_PRIORITY, first, last)?;
            if routing.last_priority - routing.first_priority < 2 {
                return Err("range too small: each interface needs three priorities".to_string());
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Complains of a plugin that is not compiled in.
fn known<P: PluginKeys>(name: &str, plugins: &[P]) -> Result<(), String> {
    let names: Vec<&str> = plugins.iter().map(P::name).collect();
    position(name, &names).map(drop)
}

/// Says what is wrong with a value for a key of `[core]`.
pub(crate) fn check<P: PluginKeys>(key: &str, value: &str, plugins: &[P]) -> Result<(), String> {
    set(&mut Config::new(plugins), key, value, plugins).map(drop)
}

impl Interface<'_> {
    /// Takes a key of `[interface]`; false if there is none of that name.
    fn set(&mut self, key: &str, value: &str, line: usize) -> Result<bool, String> {
        let own = &mut self.own;
        match key {
            "addr-flags" => {
                let flags = endpoint_flags(value);
                // Bad ones get no second complaint, about the port.
                self.flags = Some(*flags.as_ref().unwrap_or(&EndpointFlags::SIGNAL));
                flags?;
            }
            "notify-flags" => self.notify = Some(notify_flags(value)?),
            "source-routing" => {
                YES_NO.choose(value, self.source_routing.get_or_insert_default())?;
            }
            "hold-down" => number(
                value,
                0,
                MAX_SECONDS,
                self.hold_down.get_or_insert_default(),
            )?,
            "use" => USES.choose(value, &mut own.usage)?,
            "priority" => own.priority = priority(value)?,
            "families" => {
                let families = bits(value, &FAMILIES)?;
                own.ipv4 = families & IPV4 != 0;
                own.ipv6 = families & IPV6 != 0;
            }
            "port" => {
                let mut port = 0;
                number(value, 0, u16::MAX.into(), &mut port)?;
                own.port = port as u16;
                self.port_line = line;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn policy(&self, default: &Policy) -> Policy {
        Policy {
            flags: self.flags.unwrap_or(default.flags),
            notify: self.notify.unwrap_or(default.notify),
            source_routing: self.source_routing.unwrap_or(default.source_routing),
            hold_down: self.hold_down.unwrap_or(default.hold_down),
            ..self.own
        }
    }
}

fn text(value: &str) -> Result<&str, String> {
    if value.is_empty() {
        Err("empty value".to_string())
    } else {
        Ok(value)
    }
}

/// Reads a whole number from `first` to `last`.
fn number(value: &str, first: u32, last: u32, number: &mut u32) -> Result<(), String> {
    match value.parse() {
        // There is no sign to it.
        Ok(found) if first <= found && found <= last && !value.starts_with('+') => *number = found,
        _ => return Err(no_number(value, &first, &last)),
    }
    Ok(())
}

fn priority(value: &str) -> Result<i8, String> {
    let (sign, digits) = match value.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, value),
    };
    let mut size = 0;
    let read = number(digits, 0, 128, &mut size);
    match i8::try_from(sign * size as i32) {
        Ok(priority) if read.is_ok() => Ok(priority),
        _ => Err(no_number(value, &i8::MIN, &i8::MAX)),
    }
}

fn no_number(value: &str, first: &dyn Display, last: &dyn Display) -> String {
    format!("invalid value \"{value}\" (expected a whole number from {first} to {last})")
}

/// Reads `FIRST-LAST`, or one number for both, from 1 to `limit`.
fn range(value: &str, limit: u32, first: &mut u32, last: &mut u32) -> Result<(), String> {
    let (start, end) = value.split_once('-').unwrap_or((value, value));
    number(start.trim_ascii(), 1, limit, first)?;
    number(end.trim_ascii(), 1, limit, last)?;
    if first > last {
        return Err(format!(
            "invalid range \"{value}\": the start exceeds the end"
        ));
    }
    Ok(())
}
