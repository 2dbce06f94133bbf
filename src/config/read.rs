// SPDX-License-Identifier: BSD-3-Clause
//! From a file's bytes to a configuration, or to everything that is wrong with it.

use core::fmt::{self, Display};

use ::log::Level;

use crate::config::ini::{self, Item};
use crate::config::keys::{self, Key, Place};
use crate::config::{Config, DEFAULT_FILE, InterfaceSection, Overrides, Pattern, PluginKeys};
use crate::features::lacking;
use crate::netlink::mptcp::EndpointFlags;
use crate::sys;
use crate::sys::errno::Errno;

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
            let mut loaded = parse(name, b"", options, plugins);
            if let Ok(loaded) = &mut loaded {
                loaded.file = None;
            }
            loaded
        }
        Ok(None) => Err(Diagnostic::file(name, "no such file")),
        Err(cause) => Err(Diagnostic::file(name, &cause)),
    }
}

/// The bytes of a file that can be trusted; `None` if there is none.
fn read(path: &str) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: Errno| error.to_string();
    // Opened without waiting, lest a FIFO hang us; judged afterwards, lest it be exchanged.
    let file = match sys::open(path, libc::O_RDONLY) {
        Err(Errno(libc::ENOENT)) => return Ok(None),
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
pub fn parse<'a, P: PluginKeys>(
    file_name: &'a str,
    bytes: &'a [u8],
    options: &'a Overrides,
    plugins: &'a [P],
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
        match ini::read(line) {
            Ok(None) => {}
            Ok(Some(Item::Section(name))) => reader.enter(name),
            Ok(Some(Item::Pair(key, value))) => reader.pair(key, value),
            Err(cause) => {
                // What follows a section without a name cannot be judged.
                if cause == ini::UNCLOSED {
                    reader.section = Section::Ignored;
                }
                reader.error(&[cause]);
            }
        }
    }
    // The command line beats the file.
    for (key, value) in &options.core {
        reader.core.push(Pair {
            key,
            value,
            line: 0,
        });
    }
    reader.finish()
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

/// A line of `[core]` or `[interface]`, or an option.
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
    /// 0 of an option.
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
    /// The one that is read or judged; 0 is the command line.
    line: usize,
    plugins: &'a [P],
    config: Config,
    section: Section<'a, P>,
    core: Vec<Pair<'a>>,
    interfaces: Vec<Interface<'a>>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a, P: PluginKeys> Reader<'a, P> {
    fn error(&mut self, cause: &[&str]) {
        self.report(Level::Error, cause);
    }

    fn warn(&mut self, cause: &[&str]) {
        self.report(Level::Warn, cause);
    }

    /// Keeps the list in the order of the lines: some faults show only at the end of the file.
    fn report(&mut self, level: Level, cause: &[&str]) {
        let line = self.line;
        let mut text = match line {
            0 => "--".to_string(),
            line => format!("{}:{line}: ", self.file_name),
        };
        for part in cause {
            text.push_str(part);
        }
        let at = self.diagnostics.partition_point(|other| other.line <= line);
        self.diagnostics
            .insert(at, Diagnostic { level, text, line });
    }

    fn enter(&mut self, name: &'a str) {
        let (kind, pattern) = name.split_once([' ', '\t']).unwrap_or((name, ""));
        self.section = if name == "core" {
            Section::Core
        } else if kind == "interface" {
            match Pattern::new(pattern.trim_ascii()) {
                Ok(pattern) => {
                    self.interfaces.push(Interface {
                        pattern,
                        line: self.line,
                        pairs: Vec::new(),
                    });
                    Section::Interface
                }
                Err(cause) => {
                    self.error(&["section [", name, "]: ", cause]);
                    // What follows cannot be judged.
                    Section::Ignored
                }
            }
        } else if let Some(plugin) = self.plugins.iter().find(|plugin| plugin.name() == name) {
            Section::Plugin(plugin)
        } else {
            let expected = ": ignored (expected core, interface PATTERN or a plugin)";
            self.warn_of_unknown("section ", name, expected);
            Section::Ignored
        };
    }

    fn pair(&mut self, key: &'a str, value: &'a str) {
        let (pairs, place) = match self.section {
            Section::None => return self.error(&["key ", key, " outside any section"]),
            Section::Ignored => return,
            Section::Plugin(plugin) => return self.plugin(plugin, key, value),
            Section::Core => (&mut self.core, Place::Core),
            Section::Interface => match self.interfaces.last_mut() {
                Some(section) => (&mut section.pairs, Place::Interface),
                None => return,
            },
        };
        match keys::find(key) {
            Some(known) if known.stands_in(place) => {}
            Some(_) => {
                let elsewhere = match place {
                    Place::Core => "[interface PATTERN]",
                    _ => "[core]",
                };
                return self.warn(&["key ", key, " is ignored: it belongs in ", elsewhere]);
            }
            None => return self.warn_of_unknown("key ", key, ""),
        }
        let again = pairs.iter().any(|pair| pair.key == key);
        let line = self.line;
        pairs.push(Pair { key, value, line });
        if again {
            self.warn_of_duplicate(key);
        }
    }

    fn plugin(&mut self, plugin: &P, key: &str, value: &str) {
        let section = plugin.name();
        if !plugin.keys().contains(&key) {
            return self.warn_of_unknown("key ", key, "");
        }
        let value = value.to_string();
        let all = &mut self.config.plugin_sections;
        match all.iter_mut().find(|(s, k, _)| s == section && k == key) {
            Some((_, _, old)) => {
                *old = value;
                self.warn_of_duplicate(key);
            }
            None => all.push((section.to_string(), key.to_string(), value)),
        }
    }

    fn warn_of_unknown(&mut self, kind: &str, name: &str, why: &str) {
        match lacking(name) {
            Some(text) => self.warn(&[kind, &text]),
            None => self.warn(&["unknown ", kind, name, why]),
        }
    }

    fn warn_of_duplicate(&mut self, key: &str) {
        self.warn(&["duplicate key ", key, ": the last value is used"]);
    }

    fn finish(mut self) -> Result<Loaded, Vec<Diagnostic>> {
        self.finish_core();
        let sections = core::mem::take(&mut self.interfaces);
        for (at, section) in sections.iter().enumerate() {
            let earlier = sections.get(..at).unwrap_or_default();
            self.line = section.line;
            self.judge(&section.pattern, earlier);
            self.finish_interface(section);
        }
        if self.diagnostics.iter().any(|d| d.level == Level::Error) {
            return Err(self.diagnostics);
        }
        let mut warnings = Vec::new();
        for warning in self.diagnostics {
            warnings.push(warning.text);
        }
        Ok(Loaded {
            config: self.config,
            file: Some(self.file_name.to_string()),
            warnings,
        })
    }

    /// Reads the values of the keys that [`Self::pair`] has found good.
    fn set(&mut self, pairs: &[Pair], plugins: &[&str]) {
        for Pair { key, value, line } in pairs {
            self.line = *line;
            let key = keys::find(key);
            let result = key.map(|key| (key, key.set(&mut self.config, value, plugins)));
            if let Some((key, Err(cause))) = result {
                self.error(&[key.name, ": ", &cause]);
            }
        }
    }

    fn finish_core(&mut self) {
        let pairs = core::mem::take(&mut self.core);
        self.set(&pairs, &names(self.plugins));
        let config = &mut self.config;
        if config.debug {
            config.log_level = ::log::LevelFilter::Debug;
        }
        // As in the C daemon, the best of the loaded plugins then takes its place.
        if let (Some(name), Some(loaded)) = (&config.path_manager, &config.load_plugins) {
            if !loaded.contains(name) {
                let name = config.path_manager.take().unwrap_or_default();
                if let Some(line) = last_line(&pairs, "path-manager") {
                    self.line = line;
                    self.warn(&["path-manager ", &name, " is not listed in load-plugins"]);
                }
            }
        }
    }

    /// Tells of a section that no interface can match.
    fn judge(&mut self, pattern: &Pattern, earlier: &[Interface]) {
        let mut earlier = earlier.iter().map(|section| &section.pattern);
        let mut allowed = self.config.interfaces.iter();
        let (first, why) = if let Some(first) = earlier.find(|first| first.covers(pattern)) {
            (first.as_str(), "] comes first")
        } else if pattern.is_name() && !allowed.any(|allowed| allowed.covers(pattern)) {
            ("", "it is not among interfaces")
        } else {
            return;
        };
        let start = if first.is_empty() { "" } else { "[interface " };
        let section = pattern.as_str();
        self.warn(&[
            "section [interface ",
            section,
            "] is never used: ",
            start,
            first,
            why,
        ]);
    }

    fn finish_interface(&mut self, section: &Interface) {
        let default = self.config.default.clone();
        self.set(&section.pairs, &[]);
        let settings = core::mem::replace(&mut self.config.default, default);
        let policy = &settings.policy;
        if policy.port != 0 && !policy.flags.contains(EndpointFlags::SIGNAL) {
            self.line = last_line(&section.pairs, "port").unwrap_or(0);
            self.error(&["port: requires the flag signal in addr-flags"]);
        }
        self.config.interface.push(InterfaceSection {
            pattern: section.pattern.clone(),
            settings,
        });
    }
}

/// Returns where the value of a key comes from, if it is set.
fn last_line(pairs: &[Pair], key: &str) -> Option<usize> {
    let mut pairs = pairs.iter().rev();
    pairs.find(|pair| pair.key == key).map(|pair| pair.line)
}

fn names<P: PluginKeys>(plugins: &[P]) -> Vec<&'static str> {
    plugins.iter().map(P::name).collect()
}

/// Returns what is wrong with a value for a key of `[core]`, if anything.
pub(crate) fn check<P: PluginKeys>(key: &Key, value: &str, plugins: &[P]) -> Result<(), String> {
    key.set(&mut Config::new(plugins), value, &names(plugins))
}
