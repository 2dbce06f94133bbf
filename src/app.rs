//! What each action of the command line does.

use core::fmt::Write;
use core::mem::ManuallyDrop;
use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{self, Action};
use crate::config::{self, Config, Overrides};
use crate::daemon::Daemon;
use crate::logging;
use crate::plugin::Entry;
use crate::sys;
use crate::sys::signal::Signals;
use crate::sys::sysctl::{self, Mptcp};

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
/// A command line that makes no sense (EX_USAGE of sysexits.h).
const USAGE_ERROR: u8 = 64;

/// Does what the command line asks for, with these plugins compiled in.
pub fn run(plugins: &'static [Entry]) -> ExitCode {
    answer(plugins, std::env::args_os().skip(1).collect()).into()
}

/// Does what `arguments`, without the program's name, ask for, and returns the exit status.
pub fn answer(plugins: &'static [Entry], arguments: Vec<OsString>) -> u8 {
    match cli::parse(arguments, plugins) {
        Ok(Action::Run(options)) => start(options, plugins),
        Ok(Action::Check(options)) => check(&options, plugins),
        Ok(Action::Help) => print(cli::HELP),
        Ok(Action::Usage) => print(cli::USAGE),
        Ok(Action::Version) => print(&format!("{}\n", cli::VERSION)),
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
            complain(&format!("{cause} (try 'mptcpd --help')"));
            USAGE_ERROR
        }
    }
}

fn check(options: &Overrides, plugins: &[Entry]) -> u8 {
    match config::load(options, plugins) {
        Ok(loaded) => {
            loaded
                .warnings
                .iter()
                .for_each(|warning| complain(&format!("warning: {warning}")));
            print(&loaded.config.to_string())
        }
        Err(problems) => {
            problems.iter().for_each(|each| complain(&each.to_string()));
            FAILURE
        }
    }
}

fn start(options: Overrides, plugins: &'static [Entry]) -> u8 {
    // First of all, so that no early signal ends us by default.
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("cannot read signals: {error}"));
            return FAILURE;
        }
    };
    let loaded = match config::load(&options, plugins) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|each| complain(&each.to_string()));
            return FAILURE;
        }
    };
    logging::init(loaded.config.log, loaded.config.log_level);
    loaded
        .warnings
        .iter()
        .for_each(|warning| logging::warn!("{warning}"));
    let result = serve(options, loaded.config, plugins, signals);
    if let Err(cause) = &result {
        logging::error!("{cause}");
    }
    ::log::logger().flush();
    if result.is_ok() { SUCCESS } else { FAILURE }
}

fn serve(
    options: Overrides,
    config: Config,
    plugins: &'static [Entry],
    signals: Signals,
) -> Result<(), String> {
    match sysctl::mptcp() {
        Mptcp::Enabled => {}
        Mptcp::Disabled => {
            return Err("MPTCP is disabled: set net.mptcp.enabled to 1 (sysctl -w)".into());
        }
        Mptcp::Missing => return Err("the kernel has no MPTCP: no net.mptcp.enabled".into()),
    }
    if !sys::has_cap_net_admin() {
        return Err("the capability CAP_NET_ADMIN is missing".into());
    }
    let _instance = sys::claim_namespace().map_err(|error| match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "mptcpd is already running in this network namespace (abstract socket @mptcpd is in use)"
                .to_owned()
        }
        _ => format!("cannot claim the network namespace: {error}"),
    })?;
    if let Some(directory) = &config.plugin_dir {
        logging::info!("plugin-dir {directory} is not used: plugins are compiled in");
    }
    let entries = select(&config, plugins);
    let daemon = Daemon::start(options, config, &entries, plugins, signals)?;
    // It ends with the process, which leaves nothing behind.
    let mut daemon = ManuallyDrop::new(daemon);
    for name in daemon.engine().plugin_names() {
        logging::info!("plugin {name}");
    }
    if daemon.engine().plugin_names().next().is_none() {
        logging::warn!("no plugins: nothing will be done");
    }
    daemon
        .run()
        .map_err(|error| format!("cannot wait for events: {error}"))
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

fn complain(cause: &str) {
    let _ = sys::print(libc::STDERR_FILENO, &format!("mptcpd: {cause}\n"));
}
