// SPDX-License-Identifier: BSD-3-Clause
//! From a file's bytes to a configuration, or to everything that is wrong with it.

use core::fmt::{self, Display};
use std::io;

use ::log::Level;
use nix::fcntl::OFlag;

use crate::config::ini::{self, Item};
use crate::config::keys::{Place, keys, set};
use crate::config::{Config, DEFAULT_FILE, InterfaceSection, Overrides, Pattern, PluginKeys};
use crate::netlink::mptcp::EndpointFlags;
use crate::sys;

/// No honest file is larger, in bytes.
const MAX_SIZE: usize = 64 * 1024;
/// A configuration that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What is in effect.
    pub config: Config,
    /// What was read; `None` if there is no file.
    pub file: Option<String>,
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
        Ok(None) if options.config.is_none() => {
            let loaded = parse(name, b"", options, plugins)?;
            Ok(Loaded {
                file: None,
                ..loaded
            })
        }
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
    let status = sys::status(&file).map_err(failed)?;
    if !status.is_file() {
        return Err("not a regular file".to_string());
    }
    if status.is_world_writable() {
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
        section: Section::None,
        core: Vec::new(),
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

/// A line of `[core]` or `[interface]`.
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
    line: usize,
}

/// An `[interface]` section as written; the rest comes from `[core]`, which may follow it.
struct Interface<'a> {
    pattern: Pattern,
    line: usize,
    pairs: Vec<Pair<'a>>,
}

struct Reader<'a, P> {
    file_name: &'a str,
    line: usize,
    plugins: &'a [P],
    config: Config,
    section: Section<'a, P>,
    core: Vec<Pair<'a>>,
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
            self.interfaces.push(Interface {
                pattern: Pattern::new(pattern.trim_ascii())?,
                line: self.line,
                pairs: Vec::new(),
            });
            self.section = Section::Interface;
        } else if let Some(plugin) = self.plugins.iter().find(|plugin| plugin.name() == name) {
            self.section = Section::Plugin(plugin);
        } else {
            self.warn(&format!(
                "unknown section [{name}]: ignored (expected core, interface PATTERN or a plugin)"
            ));
        }
        Ok(())
    }

    fn pair(&mut self, key: &'a str, value: &'a str) -> Result<(), String> {
        let (pairs, place) = match self.section {
            Section::None => return Err(format!("key {key} outside any section")),
            Section::Ignored => return Ok(()),
            Section::Plugin(plugin) => {
                self.plugin(plugin, key, value);
                return Ok(());
            }
            Section::Core => (&mut self.core, Place::Core),
            Section::Interface => match self.interfaces.last_mut() {
                Some(section) => (&mut section.pairs, Place::Interface),
                None => return Ok(()),
            },
        };
        let known = keys(&mut self.config);
        let known = known.iter().filter(|known| known.stands_in(place));
        if !known.map(|known| known.name).any(|known| known == key) {
            self.warn(&format!("unknown key {key}"));
            return Ok(());
        }
        let again = pairs.iter().any(|pair| pair.key == key);
        let line = self.line;
        pairs.push(Pair { key, value, line });
        if again {
            self.warn(&format!("duplicate key {key}: the last value is used"));
        }
        Ok(())
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

    fn finish(mut self, options: &Overrides) -> Result<Loaded, Vec<Diagnostic>> {
        self.finish_core(options);
        let sections = core::mem::take(&mut self.interfaces);
        for (at, section) in sections.iter().enumerate() {
            let earlier = sections.iter().take(at);
            self.line = section.line;
            self.judge(&section.pattern, earlier.map(|section| &section.pattern));
            self.finish_interface(section);
        }
        if self.diagnostics.iter().any(|d| d.level == Level::Error) {
            return Err(self.diagnostics);
        }
        let warnings = self.diagnostics.into_iter();
        Ok(Loaded {
            config: self.config,
            file: Some(self.file_name.to_string()),
            warnings: warnings.map(|warning| warning.text).collect(),
        })
    }

    fn finish_core(&mut self, options: &Overrides) {
        let plugins = names(self.plugins);
        let mut path_manager_line = None;
        for Pair { key, value, line } in core::mem::take(&mut self.core) {
            self.line = line;
            if key == "path-manager" {
                path_manager_line = Some(line);
            }
            if let Err(cause) = set(&mut self.config, key, value, &plugins) {
                self.error(&format!("{key}: {cause}"));
            }
        }
        self.line = 0;
        for (key, value) in &options.core {
            if *key == "path-manager" {
                path_manager_line = Some(0);
            }
            if let Err(cause) = set(&mut self.config, key, value, &plugins) {
                self.report(Level::Error, format!("--{key}: {cause}"));
            }
        }
        let config = &mut self.config;
        if config.debug {
            config.log_level = ::log::LevelFilter::Debug;
        }
        // As in the C daemon, the best of the loaded plugins then takes its place.
        if let (Some(name), Some(loaded)) = (&config.path_manager, &config.load_plugins) {
            if !loaded.contains(name) {
                let warning = format!("path-manager {name} is not listed in load-plugins");
                config.path_manager = None;
                match path_manager_line {
                    Some(0) => self.report(Level::Warn, format!("--{warning}")),
                    Some(line) => {
                        self.line = line;
                        self.warn(&warning);
                    }
                    None => {}
                }
            }
        }
    }

    /// Tells of a section that no interface can match.
    fn judge<'p>(&mut self, pattern: &Pattern, mut earlier: impl Iterator<Item = &'p Pattern>) {
        let mut allowed = self.config.interfaces.iter();
        if let Some(first) = earlier.find(|first| first.covers(pattern)) {
            self.warn(&format!(
                "section [interface {pattern}] is never used: [interface {first}] comes first"
            ));
        } else if pattern.is_name() && !allowed.any(|allowed| allowed.covers(pattern)) {
            self.warn(&format!(
                "section [interface {pattern}] is never used: it is not among interfaces"
            ));
        }
    }

    fn finish_interface(&mut self, section: &Interface) {
        let default = self.config.default.clone();
        let mut port_line = 0;
        for Pair { key, value, line } in &section.pairs {
            self.line = *line;
            if *key == "port" {
                port_line = *line;
            }
            if let Err(cause) = set(&mut self.config, key, value, &[]) {
                self.error(&format!("{key}: {cause}"));
            }
        }
        let settings = core::mem::replace(&mut self.config.default, default);
        let policy = &settings.policy;
        if policy.port != 0 && !policy.flags.contains(EndpointFlags::SIGNAL) {
            self.line = port_line;
            self.error("port: requires the flag signal in addr-flags");
        }
        self.config.interface.push(InterfaceSection {
            pattern: section.pattern.clone(),
            settings,
        });
    }
}

fn names<P: PluginKeys>(plugins: &[P]) -> Vec<&'static str> {
    plugins.iter().map(P::name).collect()
}

/// Returns what is wrong with a value for a key of `[core]`, if anything.
pub(crate) fn check<P: PluginKeys>(key: &str, value: &str, plugins: &[P]) -> Result<(), String> {
    set(&mut Config::new(plugins), key, value, &names(plugins))
}
