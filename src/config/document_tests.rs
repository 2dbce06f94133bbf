// SPDX-License-Identifier: BSD-3-Clause
//! The table of keys against what is written of it: every key is documented, and nothing else.

use super::keys::Place;
use super::*;
use crate::cli;
use crate::plugin::Entry;

const MANUAL: &str = include_str!("../../etc/mptcpd.8");
const SHIPPED: &str = include_str!("../../etc/mptcpd.conf");
const OPENWRT: &str = include_str!("../../openwrt/files/mptcpd.init");

const PLUGINS: &[Entry] = &[
    Entry::named("addr_adv", &[]),
    Entry::named("sspi", SSPI_KEYS),
];
const SSPI_KEYS: &[&str] = &["listen"];

fn sorted(names: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    names.sort();
    names
}

/// The names of the keys of which `wanted` is true.
fn names(wanted: impl Fn(&Key) -> bool) -> Vec<String> {
    sorted(KEYS.iter().filter(|key| wanted(key)).map(|key| key.name))
}

fn is_core(key: &Key) -> bool {
    key.stands_in(Place::Core)
}

fn is_interface(key: &Key) -> bool {
    key.stands_in(Place::Interface)
}

fn is_both(key: &Key) -> bool {
    is_core(key) && is_interface(key)
}

/// What stands between two lines of `text`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).expect(start);
    rest.split_once(end).expect(end).0
}

/// The words behind the outermost `.It` of a list in the manual.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.lines().filter_map(move |line| {
        match line.split(' ').next() {
            Some(".Bl") => depth += 1,
            Some(".El") => depth -= 1,
            _ => {}
        }
        line.strip_prefix(".It ").filter(|_| depth == 1)
    })
}

#[test]
fn the_manual_describes_every_key_and_option_and_no_other() {
    let keys = |text| {
        let items = items(text).flat_map(|item| item.trim_start_matches("Cm ").split(" , "));
        sorted(items)
    };
    let core = between(MANUAL, ".Ss [core]", ".Ss [interface");
    assert_eq!(keys(core), names(is_core));
    let interface = between(MANUAL, ".Ss [interface", ".Ss [PLUGIN]");
    assert_eq!(keys(interface), names(|key| !is_core(key)));
    let (both, _) = interface.split_once(".Bl").unwrap();
    let both = both.lines().filter_map(|line| line.strip_prefix(".Cm "));
    let both = both.filter_map(|line| line.split(' ').next());
    assert_eq!(sorted(both), names(is_both));

    let options = between(MANUAL, ".Sh OPTIONS", ".Sh CONFIGURATION");
    let words = items(options).flat_map(|item| item.split(' '));
    let options = sorted(words.filter_map(|word| word.strip_prefix('-')));
    let others = [
        "config",
        "check",
        "strict",
        "list-plugins",
        "help",
        "usage",
        "version",
    ];
    let mut expected = names(|key| key.option != CommandOption::None);
    expected.extend(others.map(String::from));
    assert_eq!(options, sorted(expected));
    let synopsis = between(MANUAL, ".Sh SYNOPSIS", ".Sh DESCRIPTION");
    for option in &options {
        let letter = option.get(..1).unwrap();
        let [long, short] = [format!("-{option}"), format!("Fl {letter}")];
        let found = synopsis.contains(&long) || synopsis.contains(&short);
        assert!(found, "{option} in the synopsis");
        assert!(
            cli::HELP.contains(&format!("-{long}")),
            "{option} in the help"
        );
    }
}

/// A line that is commented out, without a blank behind the mark, is configuration as well.
#[test]
fn the_shipped_file_is_the_defaults_and_has_every_key_and_no_other() {
    let read = |text: &str| parse("f", text.as_bytes(), &Overrides::default(), PLUGINS).unwrap();
    assert_eq!(read(SHIPPED).config, Config::new(PLUGINS));
    assert_eq!(read(SHIPPED).warnings, [""; 0]);

    let enable = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    };
    let enabled: Vec<&str> = SHIPPED.lines().map(enable).collect();
    let enabled = enabled.join("\n");
    let (core, interface) = enabled.split_once("\n[interface").unwrap();
    let pairs = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        sorted(lines.filter_map(|line| Some(line.split_once(" =")?.0)))
    };
    assert_eq!(pairs(core), names(is_core));
    let (interface, sspi) = interface.split_once("\n[sspi]").unwrap();
    assert_eq!(pairs(interface), names(|key| !is_core(key)));
    assert_eq!(pairs(sspi), SSPI_KEYS);
    #[cfg(feature = "sspi")]
    assert_eq!(crate::plugin::sspi::ENTRY.keys, SSPI_KEYS);

    // Its [core] lines state the defaults, but for those that are called examples.
    let Loaded { config, .. } = read(&enabled);
    let defaults = Config {
        plugin_dir: config.plugin_dir.clone(),
        load_plugins: config.load_plugins.clone(),
        interfaces: config.interfaces.clone(),
        default: Settings {
            policy: Policy::DEFAULT,
            addresses: config.default.addresses.clone(),
            track: Track {
                addresses: config.default.track.addresses.clone(),
                ..Track::DEFAULT
            },
        },
        interface: config.interface.clone(),
        state_file: config.state_file.clone(),
        #[cfg(feature = "control")]
        control_group: config.control_group.clone(),
        limit_subflows: config.limit_subflows,
        limit_add_addr_accepted: config.limit_add_addr_accepted,
        plugin_sections: config.plugin_sections.clone(),
        ..Config::new(PLUGINS)
    };
    assert_eq!(config, defaults);
    let listen = ["sspi", "listen", "no"].map(String::from);
    assert_eq!(config.plugin_sections, [listen.into()]);
    let [section] = &config.interface[..] else {
        panic!("{:?}", config.interface)
    };
    assert_eq!(section.settings.policy, Policy::DEFAULT);
    assert_eq!(section.settings.track, config.default.track);
}

#[test]
fn the_openwrt_service_knows_every_option_of_uci_as_a_key() {
    let options = |name: &str| {
        let text = between(OPENWRT, &format!("\n{name}='"), "'");
        sorted(
            text.split_whitespace()
                .map(|option| option.replace('_', "-")),
        )
    };
    let (core, interface) = (names(is_core), names(is_interface));
    for option in options("CORE_OPTIONS") {
        assert!(core.contains(&option), "{option}");
    }
    for option in options("INTERFACE_OPTIONS") {
        assert!(interface.contains(&option), "{option}");
    }
    let section = between(MANUAL, ".Sh OPENWRT", ".Sh SIGNALS");
    for option in [
        "OTHER_CORE_OPTIONS",
        "KERNEL_OPTIONS",
        "OTHER_INTERFACE_OPTIONS",
    ]
    .map(options)
    {
        for option in option {
            let name = option.replace('-', "_");
            let own = [format!("Cm {name}\n"), format!("Cm globals.{name}\n")];
            let is_key = core.contains(&option) || interface.contains(&option);
            let described = own.iter().any(|text| section.contains(text));
            assert!(is_key || described, "{name} in the manual");
        }
    }
    // The service sets the others itself, or they are of no use there.
    let mut known = options("CORE_OPTIONS");
    known.extend(options("OTHER_CORE_OPTIONS"));
    let own = [
        "debug",
        "interfaces",
        "log",
        "on-exit",
        "plugin-dir",
        "state-file",
    ];
    let left = |keys: Vec<String>, known: Vec<String>| -> Vec<String> {
        let keys = keys.into_iter();
        keys.filter(|key| !known.contains(key)).collect()
    };
    assert_eq!(left(core, known), own);
    let mut known = options("INTERFACE_OPTIONS");
    known.extend(options("OTHER_INTERFACE_OPTIONS"));
    // It is what `multipath` says.
    assert_eq!(left(interface, known), ["use"]);
}

#[test]
#[cfg(all(feature = "fullmesh", feature = "failover", feature = "ndiffports"))]
fn the_openwrt_service_knows_the_keys_of_strategies() {
    let options = between(OPENWRT, "\nPLUGIN_OPTIONS='", "'");
    let plugins = crate::plugin::BUILT_IN.iter();
    let mut keys = sorted(plugins.flat_map(|plugin| plugin.keys).copied());
    keys.dedup();
    assert_eq!(sorted(options.split_whitespace()), keys);
}

#[test]
fn help_fits_a_terminal() {
    for line in [cli::HELP, cli::COMMANDS].concat().lines() {
        assert!(line.len() < 80, "{line}");
    }
}
