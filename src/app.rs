// SPDX-License-Identifier: BSD-3-Clause
//! What each action of the command line does.

use core::fmt::Write;
use core::mem::ManuallyDrop;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use crate::cli::{self, Action, COMMANDS, HELP};
#[cfg(feature = "control")]
use crate::client;
use crate::config::{self, Config, Loaded, Overrides};
use crate::daemon::Daemon;
use crate::engine::Engine;
use crate::logging;
use crate::plugin::Entry;
use crate::state::file;
use crate::sys;
use crate::sys::clock;
use crate::sys::errno::Errno;
use crate::sys::exit::{CONFIGURATION, FAILURE, SUCCESS, USAGE};
use crate::sys::signal::Signals;
use crate::sys::sysctl::{self, Mptcp};

/// A daemon: its own name and version, and the plugins compiled into it.
#[derive(Clone, Copy)]
pub struct Program {
    /// As messages and the help have it.
    pub name: &'static str,
    /// As `--version` has it.
    pub version: &'static str,
    /// What `path-manager` and `load-plugins` may name.
    pub plugins: &'static [Entry],
}

/// Returns a [`Program`] of these plugins, a `&'static [Entry]`, with name and version of the
/// crate that says so.
#[macro_export]
macro_rules! program {
    ($plugins:expr) => {
        $crate::Program {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            plugins: $plugins,
        }
    };
}

/// Does what the command line asks for, and returns the exit status: 0, 1 for a failure, 64 for a
/// command line that makes no sense, 78 for a configuration with errors or plugins that all fail.
pub fn run(program: Program) -> ExitCode {
    answer(program, std::env::args_os().skip(1).collect()).into()
}

/// Does what `arguments`, without the program's name, ask for, and returns the exit status.
pub fn answer(program: Program, arguments: Vec<OsString>) -> u8 {
    let Program {
        name,
        version,
        plugins,
    } = program;
    match cli::parse(arguments, plugins) {
        Ok(Action::Run(options)) => start(options, program),
        Ok(Action::Check(options, strict)) => check(&options, strict, program),
        #[cfg(feature = "control")]
        Ok(Action::Command(words)) => {
            let (status, cause) = client::run(&words);
            if let Some(cause) = cause {
                program.complain(&cause);
            }
            status
        }
        Ok(Action::Help) => print(&format!("Usage: {name} {HELP}{COMMANDS}")),
        Ok(Action::Version) => print(&format!("{name} {version}\n")),
        Ok(Action::ListPlugins) => {
            let mut text = String::new();
            for Entry {
                name,
                priority,
                description,
                ..
            } in plugins
            {
                let _ = writeln!(text, "{name} (priority {priority}): {description}");
            }
            print(&text)
        }
        Err(cause) => {
            program.complain(&format!("{cause} (try '{name} --help')"));
            USAGE
        }
    }
}

fn check(options: &Overrides, strict: bool, program: Program) -> u8 {
    let Some(mut loaded) = program.load(options) else {
        return CONFIGURATION;
    };
    for warning in &loaded.warnings {
        program.complain(&format!("warning: {warning}"));
    }
    let file = loaded.file.as_deref().unwrap_or("no file: all defaults");
    let text = format!("# {file}\n{}", loaded.config.text());
    let entries = select(&loaded.config, program.plugins);
    let engine = ManuallyDrop::new(Engine::new(clock::now(), loaded.config, &entries));
    for problem in engine.plugin_problems() {
        program.complain(problem);
    }
    match engine.plugin_problems() {
        [] if strict && !loaded.warnings.is_empty() => FAILURE,
        [] => print(&text),
        _ => CONFIGURATION,
    }
}

fn start(options: Overrides, program: Program) -> u8 {
    // First of all, so that no early signal ends us by default.
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(error) => {
            program.complain(&format!("cannot read signals: {error}"));
            return FAILURE;
        }
    };
    sys::end_with_jail();
    let Some(loaded) = program.load(&options) else {
        return CONFIGURATION;
    };
    logging::init(loaded.config.log, loaded.config.log_level);
    loaded
        .warnings
        .iter()
        .for_each(|warning| logging::warn!("{warning}"));
    let result = serve(options, loaded, program, signals);
    if let Err(cause) = &result {
        logging::error!("{cause}");
    }
    ::log::logger().flush();
    result.unwrap_or(FAILURE)
}

fn serve(
    options: Overrides,
    loaded: Loaded,
    program: Program,
    signals: Signals,
) -> Result<u8, String> {
    match sysctl::mptcp() {
        Mptcp::Enabled => {}
        Mptcp::Disabled => {
            return Err("MPTCP is disabled: set net.mptcp.enabled to 1 (sysctl -w)".into());
        }
        Mptcp::Missing => return Err("the kernel has no MPTCP: no net.mptcp.enabled".into()),
    }
    if !sys::has_capability(sys::CAP_NET_ADMIN) {
        return Err("the capability CAP_NET_ADMIN is missing".into());
    }
    let namespace = sys::namespace_cookie();
    let _claim = claim(&loaded.config, namespace)?;
    if let Some(directory) = &loaded.config.plugin_dir {
        logging::info!("plugin-dir {directory} is not used: plugins are compiled in");
    }
    let entries = select(&loaded.config, program.plugins);
    let daemon = Daemon::start(
        options,
        loaded,
        &entries,
        program.plugins,
        signals,
        namespace,
    )?;
    // It ends with the process, which leaves nothing behind.
    let mut daemon = ManuallyDrop::new(daemon);
    #[cfg(feature = "control")]
    daemon.introduce(program.version);
    for problem in daemon.engine().plugin_problems() {
        logging::error!("{problem}; it is not used");
    }
    for (at, name) in daemon.engine().plugin_names().enumerate() {
        let role = if at == 0 {
            "in charge"
        } else {
            "loaded beside"
        };
        logging::info!("plugin {name}: {role}");
    }
    if daemon.engine().plugin_names().next().is_none() {
        if !daemon.engine().plugin_problems().is_empty() {
            logging::error!("no plugin is left: not started");
            return Ok(CONFIGURATION);
        }
        logging::warn!("no plugins: nothing will be done");
    }
    daemon
        .run()
        .map(|()| SUCCESS)
        .map_err(|error| format!("cannot wait for events: {error}"))
}

/// Becomes the only daemon of the network namespace. Returns what keeps others out of it as long as it
/// is open; the error is for the user.
fn claim(config: &Config, namespace: Option<u64>) -> Result<Option<OwnedFd>, String> {
    let failed = |error: Errno| format!("cannot claim the network namespace: {error}");
    let running = |how| format!("mptcpd is already running in this network namespace ({how})");
    if let Some(namespace) = namespace {
        match file::lock(&config.state_file, namespace) {
            Ok(Some(file)) => {
                file::remove_abandoned();
                return Ok(Some(file.into()));
            }
            Ok(None) => {}
            Err(Errno(libc::EWOULDBLOCK)) => {
                return Err(running("it holds the lock file"));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    match sys::claim_name() {
        Ok(None) => {
            logging::warn!("no place for a lock file, and another user holds the name @mptcpd");
            Ok(None)
        }
        Ok(name) => Ok(name),
        Err(Errno(libc::EADDRINUSE)) => Err(running("it holds the abstract socket @mptcpd")),
        Err(error) => Err(failed(error)),
    }
}

/// The plugins to load: those the configuration names, in its order, or all by priority.
fn select(config: &Config, plugins: &'static [Entry]) -> Vec<&'static Entry> {
    let mut all: Vec<&Entry> = Vec::new();
    if let Some(names) = &config.load_plugins {
        for name in names {
            all.extend(plugins.iter().find(|entry| entry.name == name));
        }
        return all;
    }
    for entry in plugins {
        // Behind those of the same priority. std's sort is 1 KiB.
        let at = all.partition_point(|other| other.priority <= entry.priority);
        all.insert(at, entry);
    }
    all
}

fn print(text: &str) -> u8 {
    match sys::print(libc::STDOUT_FILENO, text) {
        Ok(()) => SUCCESS,
        Err(_) => FAILURE,
    }
}

impl Program {
    fn complain(&self, cause: &str) {
        let line = format!("{}: {cause}\n", self.name);
        let _ = sys::print(libc::STDERR_FILENO, &line);
    }

    /// Returns the configuration, or says what is wrong with it.
    fn load(&self, options: &Overrides) -> Option<Loaded> {
        let problems = match config::load(options, self.plugins) {
            Ok(loaded) => return Some(loaded),
            Err(problems) => problems,
        };
        for problem in problems {
            self.complain(&problem.to_string());
        }
        None
    }
}
