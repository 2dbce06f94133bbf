// SPDX-License-Identifier: BSD-3-Clause
use super::flags::endpoint_flags;
use super::*;
use crate::plugin::Entry;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PLUGINS: &[Entry] = &[
    Entry::named("addr_adv", &["x"]),
    Entry::named("sspi", &["key with blanks", "empty", "listen", "x", "y"]),
];

fn with(options: &Overrides, text: &str) -> Result<Loaded, Vec<String>> {
    strings(parse("f", text.as_bytes(), options, PLUGINS))
}

/// Diagnostics as `--check` prints them.
fn strings(result: Result<Loaded, Vec<Diagnostic>>) -> Result<Loaded, Vec<String>> {
    result.map_err(|all| all.iter().map(Diagnostic::to_string).collect())
}

fn read(text: &str) -> Result<Loaded, Vec<String>> {
    with(&Overrides::default(), text)
}

/// The configuration of a file without a word to say about it.
fn config(text: &str) -> Config {
    let loaded = read(text).unwrap();
    assert_eq!(loaded.warnings, [""; 0], "{text}");
    loaded.config
}

fn errors(text: &str) -> Vec<String> {
    read(text).expect_err(text)
}

fn warnings(text: &str) -> Vec<String> {
    read(text).unwrap().warnings
}

fn flags(text: &str) -> EndpointFlags {
    endpoint_flags(text).unwrap()
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = config("");
    assert_eq!(config, Config::new(PLUGINS));
    assert_eq!(config.path_manager.as_deref(), Some("addr_adv"));
    assert_eq!(config.default.policy.flags, EndpointFlags::SUBFLOW);
    assert_eq!(config.default.policy.notify, NotifyFlags::ALL);
    assert_eq!(
        (config.resync_interval, config.max_connections),
        (300, 4096)
    );
}

#[test]
fn names_of_plugins_come_once_in_their_order() {
    let loaded = config("[core]\nload-plugins = sspi, addr_adv,sspi").load_plugins;
    assert_eq!(loaded.unwrap(), ["sspi", "addr_adv"]);
}

#[test]
fn without_addr_adv_there_is_no_default_path_manager() {
    let loaded = parse(
        "f",
        b"",
        &Overrides::default(),
        &[Entry::named("sspi", &[])],
    )
    .unwrap();
    assert_eq!(loaded.config.path_manager, None);
}

/// Every key, none with its default.
const EVERYTHING: &str = "\
[core]
log = syslog
log-level = warn
debug = no
plugin-dir = /usr/lib/mptcpd
path-manager = sspi
load-plugins = sspi, addr_adv
interfaces = wan*, eth[!0]
addresses = !192.168.0.0/16
addr-flags = subflow, backup
notify-flags = existing
source-routing = yes
hold-down = 5
on-exit = remove
adopt = 10.0.0.0/8, !10.1.0.0/16
state-file = /tmp/state
resync-interval = 0
heal-interval = 7
route-grace = 3
check-route-to = 192.0.2.1, 2001:db8::1
temporary-addresses = no
max-connections = 100
max-endpoints = 255
limit-subflows = 3
limit-add-addr-accepted = 0
control-group = netdev
track = 192.0.2.3, 2001:db8::3
track-interval = 10
track-timeout = 2
track-down = 5
track-up = 1
track-reliability = 2
steer = yes
source-routing-tables = 1000 - 1100
source-routing-priorities = 7-9

[interface wan6]
addr-flags = signal,laminar
notify-flags =
source-routing = no
hold-down = 0
use = standby
priority = -128
families = ipv6
port = 65535
addresses = 2001:db8::/32, fd00::1
track = 2001:db8::4
track-interval = 86400
track-timeout = 60
track-down = 1
track-up = 10
track-reliability = 8

[interface *]
use = no

[sspi]
key with blanks = a = b # c
empty =
[addr_adv]
x = 1
[sspi]
y = 2
";

#[test]
fn every_key_reaches_its_field() {
    let default = Policy {
        flags: flags("subflow,backup"),
        notify: NotifyFlags::EXISTING,
        source_routing: true,
        hold_down: 5,
        ..Policy::DEFAULT
    };
    let wan6 = Policy {
        flags: flags("signal,laminar"),
        notify: NotifyFlags(0),
        usage: Use::Standby,
        priority: -128,
        ipv4: false,
        ipv6: true,
        port: 65535,
        source_routing: false,
        hold_down: 0,
    };
    let track = Track {
        addresses: ["192.0.2.3", "2001:db8::3"]
            .map(|a| a.parse().unwrap())
            .into(),
        interval: 10,
        timeout: 2,
        down: 5,
        up: 1,
        reliability: 2,
    };
    let track6 = Track {
        addresses: vec!["2001:db8::4".parse().unwrap()],
        interval: 86_400,
        timeout: 60,
        down: 1,
        up: 10,
        reliability: 8,
    };
    let section = |pattern, policy, addresses, track: &Track| InterfaceSection {
        pattern: Pattern::new(pattern).unwrap(),
        settings: Settings {
            policy,
            addresses: Prefixes::new(addresses).unwrap(),
            track: track.clone(),
        },
    };
    let entry = |section: &str, key: &str, value: &str| (section.into(), key.into(), value.into());
    let expected = Config {
        #[cfg(feature = "control")]
        control_group: Some("netdev".into()),
        log: Destination::Syslog,
        log_level: ::log::LevelFilter::Warn,
        debug: false,
        plugin_dir: Some("/usr/lib/mptcpd".into()),
        path_manager: Some("sspi".into()),
        load_plugins: Some(vec!["sspi".into(), "addr_adv".into()]),
        interfaces: vec![
            Pattern::new("wan*").unwrap(),
            Pattern::new("eth[!0]").unwrap(),
        ],
        default: Settings {
            policy: default,
            addresses: Prefixes::new("!192.168.0.0/16").unwrap(),
            track: track.clone(),
        },
        interface: vec![
            section("wan6", wan6, "2001:db8::/32,fd00::1/128", &track6),
            section(
                "*",
                Policy {
                    usage: Use::No,
                    ..default
                },
                "!192.168.0.0/16",
                &track,
            ),
        ],
        on_exit: OnExit::Remove,
        adopt: Prefixes::new("10.0.0.0/8,!10.1.0.0/16").unwrap(),
        #[cfg(feature = "health")]
        steer: true,
        state_file: StateFile::Path("/tmp/state".into()),
        resync_interval: 0,
        temporary_addresses: Temporary::No,
        max_connections: 100,
        heal_interval: 7,
        check_route_to: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        route_grace: 3,
        max_endpoints: 255,
        limit_subflows: Some(3),
        limit_add_addr_accepted: Some(0),
        source_routing: SourceRouting {
            first_table: 1000,
            last_table: 1100,
            first_priority: 7,
            last_priority: 9,
        },
        plugin_sections: vec![
            entry("sspi", "key with blanks", "a = b # c"),
            entry("sspi", "empty", ""),
            entry("addr_adv", "x", "1"),
            entry("sspi", "y", "2"),
        ],
    };
    let config = config(EVERYTHING);
    assert_eq!(config, expected);
    assert_eq!(config.plugin_value("sspi", "y"), Some("2"));
    assert_eq!(config.plugin_value("sspi", "empty"), Some(""));
    assert_eq!(config.plugin_value("sspi", "x"), None);
}

#[test]
fn what_is_shown_reads_back_the_same() {
    for text in [
        "",
        EVERYTHING,
        "[core]\naddr-flags=\nnotify-flags=\nload-plugins=\ninterfaces=\nstate-file=\ndebug=yes",
        "[core]\nload-plugins = sspi",
        "[core]\nadopt = yes\n[interface a]\naddresses =\n",
        "[core]\ntemporary-addresses = yes\nlog = null\n[interface a]\nfamilies =",
        "[core]\ntrack = 192.0.2.1\n[interface a]\ntrack =\n",
        "[core]\nlog = journal\n[interface ?[a-z]*]\npriority = 127\nport = 0",
    ] {
        let mut config = config(text);
        let before = config.clone();
        let shown = config.text();
        assert_eq!(config, before);
        let again = read(&shown).unwrap();
        assert_eq!((again.config, again.warnings), (config, vec![]), "{shown}");
    }
}

#[test]
fn line_ends_and_blanks_do_not_matter() {
    let dos = EVERYTHING
        .lines()
        .map(|line| format!(" {} \t\r\n", line.replacen(" =", "\t =\t ", 1)))
        .collect::<String>();
    assert_eq!(config(&dos), config(EVERYTHING));
}

#[test]
fn empty_lists_mean_none() {
    let config =
        config("[core]\naddr-flags=\nnotify-flags =\nload-plugins=\ninterfaces =\nstate-file=");
    assert_eq!(config.default.policy.flags, EndpointFlags(0));
    assert_eq!(config.default.policy.notify, NotifyFlags(0));
    assert_eq!(config.load_plugins, Some(vec![]));
    assert_eq!(config.path_manager, None);
    assert_eq!(config.interfaces, []);
    assert_eq!(config.state_file, StateFile::None);
    assert_eq!(config.policy("eth0").usage, Use::No);
}

#[test]
fn the_command_line_beats_core_and_an_interface_both() {
    let core = [
        ("log", "syslog"),
        ("log", "null"),
        ("plugin-dir", "/cli"),
        ("path-manager", "addr_adv"),
        ("addr-flags", ""),
        ("notify-flags", "check_route"),
        ("load-plugins", "addr_adv"),
        ("state-file", ""),
        ("debug", "yes"),
    ];
    let options = Overrides {
        core: core.map(|(key, value)| (key, value.into())).into(),
        config: None,
    };
    let Loaded {
        config, warnings, ..
    } = with(&options, EVERYTHING).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.log, Destination::Null);
    assert_eq!(config.log_level, ::log::LevelFilter::Debug);
    assert_eq!(config.plugin_dir, Some("/cli".into()));
    assert_eq!(config.path_manager.as_deref(), Some("addr_adv"));
    assert_eq!(config.load_plugins, Some(vec!["addr_adv".into()]));
    assert_eq!(config.state_file, StateFile::None);
    assert_eq!(config.default.policy.flags, EndpointFlags(0));
    assert_eq!(config.default.policy.notify, NotifyFlags::CHECK_ROUTE);
    // wan6 has flags of its own, the other section has not.
    assert_eq!(config.policy("wan6").flags, flags("signal,laminar"));
    assert_eq!(config.policy("wan6").notify, NotifyFlags(0));
    assert_eq!(config.policy("wan4").flags, EndpointFlags(0));
    assert_eq!(config.policy("wan4").notify, NotifyFlags::CHECK_ROUTE);
}

#[test]
fn debug_beats_the_level() {
    let level = |text: &str| config(text).log_level;
    assert_eq!(
        level("[core]\ndebug = yes\nlog-level = error"),
        ::log::LevelFilter::Debug
    );
    assert_eq!(
        level("[core]\ndebug = no\nlog-level = error"),
        ::log::LevelFilter::Error
    );
}

#[test]
fn the_first_matching_section_counts_and_core_may_follow() {
    let config = config(
        "[interface eth0]\nuse = standby\n[interface eth*]\nuse = no\n[core]\naddr-flags = backup",
    );
    assert_eq!(config.policy("eth0").usage, Use::Standby);
    assert_eq!(config.policy("eth1").usage, Use::No);
    assert_eq!(config.policy("wan").usage, Use::Yes);
    assert_eq!(config.policy("eth0").flags, EndpointFlags::BACKUP);
}

#[test]
fn the_allow_list_beats_a_section() {
    let config = config("[core]\ninterfaces = eth*\n[interface *]\nuse = standby");
    assert_eq!(config.policy("eth0").usage, Use::Standby);
    assert_eq!(config.policy("wan").usage, Use::No);
}

#[test]
fn a_port_needs_signal_wherever_the_flags_come_from() {
    let text = "[interface a]\n\nport = 80";
    let expected = ["f:3: port: requires the flag signal in addr-flags"];
    assert_eq!(errors(text), expected);
    assert_eq!(errors(&format!("{text}\naddr-flags = subflow")), expected);
    assert_eq!(
        config(&format!("{text}\naddr-flags = signal"))
            .policy("a")
            .port,
        80
    );
    assert_eq!(
        config(&format!("{text}\n[core]\naddr-flags = signal"))
            .policy("a")
            .port,
        80
    );
    let options = |flags: &str| Overrides {
        core: vec![("addr-flags", flags.into())],
        ..Overrides::default()
    };
    assert!(with(&options("signal"), text).is_ok());
    let signal = format!("{text}\n[core]\naddr-flags = signal");
    assert_eq!(with(&options("subflow"), &signal).unwrap_err(), expected);
}

#[test]
fn all_that_is_wrong_is_told_in_one_run() {
    let text = "x = 1\n[core]\nlog = file\nhold-down = -1\nlog = null\n[core\n= 2\n[interface [a]\n\
                use = maybe\n[interface b]\nuse = maybe\nport = 5\naddr-flags = signal,x\nword\n\
                [core]\naddr-flags = signal,fullmesh\npath-manager = foo\nload-plugins = a b";
    assert_eq!(
        errors(text),
        [
            "f:1: key x outside any section",
            "f:3: log: unknown value \"file\" (expected stderr, syslog, journal or null)",
            "f:4: hold-down: invalid value \"-1\" (expected a whole number from 0 to 86400)",
            "warning: f:5: duplicate key log: the last value is used",
            "f:6: section header without closing ]",
            "f:7: missing key before =",
            "f:8: section [interface [a]: invalid pattern: [ without closing ]",
            "f:11: use: unknown value \"maybe\" (expected yes, no or standby)",
            "f:13: addr-flags: unknown value \"x\" (expected subflow, signal, backup, fullmesh or laminar)",
            "f:14: expected [section] or key = value",
            "f:16: addr-flags: signal and fullmesh are mutually exclusive",
            "f:17: path-manager: unknown value \"foo\" (expected addr_adv or sspi)",
            "f:18: load-plugins: unknown value \"a b\" (expected addr_adv or sspi)",
        ]
    );
}

#[test]
fn what_is_no_hosts_address_can_be_neither_probed_nor_asked_for() {
    for item in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "192.0.2",
        "192.0.2.1/32",
    ] {
        for key in ["track", "check-route-to"] {
            let text = format!("[core]\n{key} = 192.0.2.1, {item}\n");
            let told = format!("f:2: {key}: invalid address \"{item}\"");
            assert_eq!(errors(&text), [told]);
        }
    }
}

/// What shows only at the end of the file stands among the rest.
#[test]
fn errors_and_warnings_come_in_the_order_of_lines() {
    let text = "[core]\nbar = 1\nlog = x\n[interface a]\nport = 5\n[core]\nload-plugins = sspi\n\
                path-manager = addr_adv\non-exit = x\n[foo]";
    assert_eq!(
        errors(text),
        [
            "warning: f:2: unknown key bar",
            "f:3: log: unknown value \"x\" (expected stderr, syslog, journal or null)",
            "f:5: port: requires the flag signal in addr-flags",
            "warning: f:8: path-manager addr_adv is not listed in load-plugins",
            "f:9: on-exit: unknown value \"x\" (expected auto, keep or remove)",
            "warning: f:10: unknown section foo: ignored (expected core, interface PATTERN or a plugin)",
        ]
    );
}

#[test]
fn values_out_of_range_are_refused() {
    for (section, lines) in [
        (
            "[core]",
            &[
                "log =",
                "log-level = trace",
                "debug = 1",
                "plugin-dir =",
                "path-manager =",
                "interfaces = a,,b",
                "interfaces = a b",
                "source-routing =",
                "on-exit = stop",
                "resync-interval = 86401",
                "resync-interval = 1.5",
                "temporary-addresses = never",
                "max-connections = 0",
                "max-connections = 1000001",
                "limit-subflows = 256",
                "limit-add-addr-accepted = x",
                "source-routing-tables =",
                "source-routing-tables = 0-9",
                "source-routing-tables = 9-8",
                "source-routing-tables = 200-300",
                "source-routing-tables = 254",
                "source-routing-tables = 1-4294967296",
                "source-routing-priorities = 1-32766",
                "source-routing-priorities = 1-2-3",
                "source-routing-priorities = 5-6",
                "hold-down = 99999999999999999999",
            ][..],
        ),
        (
            "[interface a]",
            &[
                "addr-flags = x",
                "notify-flags = x",
                "source-routing = x",
                "hold-down = x",
                "priority = -129",
                "priority = 128",
                "priority =",
                "families = inet",
                "port = 65536",
                "port = http",
            ],
        ),
    ] {
        for line in lines {
            let found = errors(&format!("{section}\n{line}"));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(
                found.iter().all(|error| error.starts_with("f:2: ")),
                "{found:?}"
            );
        }
    }
    config("[core]\nsource-routing-tables = 256-4294967295\nsource-routing-priorities = 1-32765");
}

#[test]
fn what_is_unknown_or_repeated_is_a_warning() {
    assert_eq!(
        warnings(
            "[core]\nfoo = 1\n[bar]\nuse = no\nbaz = 1\n[core]\nhold-down = 1\nhold-down = 2\n\
             [interface a]\nlog = null\nuse = no\nuse = yes\n[interface a]\nuse = no\n\
             [sspi]\nx = 1\nx = 2\n[interfaces]\n[addr_adv]\ny = 1\n[core]\nuse = no"
        ),
        [
            "f:2: unknown key foo",
            "f:3: unknown section bar: ignored (expected core, interface PATTERN or a plugin)",
            "f:8: duplicate key hold-down: the last value is used",
            "f:10: key log is ignored: it belongs in [core]",
            "f:12: duplicate key use: the last value is used",
            "f:13: section [interface a] is never used: [interface a] comes first",
            "f:17: duplicate key x: the last value is used",
            "f:18: unknown section interfaces: ignored (expected core, interface PATTERN or a plugin)",
            "f:20: unknown key y",
            "f:22: key use is ignored: it belongs in [interface PATTERN]",
        ]
    );
    let loaded = read("[core]\nhold-down = 1\n[core]\nhold-down = 2\n[sspi]\nx=1\nx=2").unwrap();
    assert_eq!(loaded.config.default.policy.hold_down, 2);
    assert_eq!(loaded.config.plugin_value("sspi", "x"), Some("2"));
    // Another plugin's key is not its own.
    let loaded = read("[addr_adv]\ny = 1").unwrap();
    assert_eq!(loaded.config.plugin_value("addr_adv", "y"), None);
}

#[test]
fn a_section_that_no_interface_can_match_is_a_warning() {
    assert_eq!(
        warnings(
            "[interface eth*]\n[interface eth0]\n[interface wan]\n[interface *]\n[interface lan?]\n\
             [core]\ninterfaces = eth*, lan[0-9]"
        ),
        [
            "f:2: section [interface eth0] is never used: [interface eth*] comes first",
            "f:3: section [interface wan] is never used: it is not among interfaces",
            "f:5: section [interface lan?] is never used: [interface *] comes first",
        ]
    );
    assert_eq!(
        warnings("[interface eth0]\n[interface eth?]\n[interface eth*]\n[interface *]"),
        [""; 0]
    );
}

#[test]
fn a_path_manager_that_is_not_loaded_gives_way() {
    let loaded = read("[core]\npath-manager = addr_adv\nload-plugins = sspi").unwrap();
    assert_eq!(
        loaded.warnings,
        ["f:2: path-manager addr_adv is not listed in load-plugins"]
    );
    let options = Overrides {
        core: vec![("path-manager", "addr_adv".into())],
        ..Overrides::default()
    };
    let text = "[core]\npath-manager = sspi\nload-plugins = sspi";
    assert_eq!(
        with(&options, text).unwrap().warnings,
        ["--path-manager addr_adv is not listed in load-plugins"]
    );
    assert_eq!(loaded.config.path_manager, None);
    assert_eq!(config("[core]\nload-plugins = sspi").path_manager, None);
}

#[test]
fn bytes_that_are_no_text_are_errors_with_their_lines() {
    let found = strings(parse(
        "f",
        b"[core]\nlog = \xff\n\0\nlog = x",
        &Overrides::default(),
        PLUGINS,
    ));
    let found = found.unwrap_err();
    assert_eq!(found.len(), 3);
    assert_eq!(found[..2], ["f:2: invalid UTF-8", "f:3: control character"]);
}

#[test]
fn size_is_bounded() {
    let comment = |size| vec![b'#'; size];
    let options = Overrides::default();
    assert!(parse("f", &comment(64 * 1024), &options, PLUGINS).is_ok());
    let found = strings(parse("f", &comment(64 * 1024 + 1), &options, PLUGINS));
    assert_eq!(found, Err(vec!["f: larger than 64 KiB".into()]));
}

/// A path for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mptcpd-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn file(name: &str, text: &[u8], mode: u32) -> Self {
        let this = Self::new(name);
        fs::write(&this.0, text).unwrap();
        fs::set_permissions(&this.0, Permissions::from_mode(mode)).unwrap();
        this
    }

    fn errors(&self) -> Vec<String> {
        load_from(&self.0).unwrap_err()
    }

    fn error(&self, cause: &str) -> Vec<String> {
        vec![format!("{}: {cause}", self.0.display())]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn load_from(path: &Path) -> Result<Loaded, Vec<String>> {
    strings(load(
        &Overrides {
            config: Some(path.to_str().unwrap().into()),
            ..Overrides::default()
        },
        PLUGINS,
    ))
}

#[test]
fn a_good_file_is_read_also_through_a_link() {
    let file = Scratch::file("good", EVERYTHING.as_bytes(), 0o664);
    assert_eq!(load_from(&file.0).unwrap().config, config(EVERYTHING));
    let link = Scratch::new("link");
    std::os::unix::fs::symlink(&file.0, &link.0).unwrap();
    assert_eq!(load_from(&link.0).unwrap().config, config(EVERYTHING));
}

#[test]
fn a_missing_file_is_an_error_only_if_it_was_named() {
    let file = Scratch::new("missing");
    assert_eq!(file.errors(), file.error("no such file"));
    // Machines that run the tests have no configuration installed, or a good one.
    assert!(load(&Overrides::default(), PLUGINS).is_ok());
}

#[test]
fn a_file_that_anyone_may_write_to_is_refused() {
    for mode in [0o666, 0o602, 0o777] {
        let file = Scratch::file("writable", b"", mode);
        assert_eq!(file.errors(), file.error("world-writable; run chmod o-w"));
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let fifo = Scratch::new("fifo");
    nix::unistd::mkfifo(&fifo.0, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(fifo.errors(), fifo.error("not a regular file"));
    for path in ["/dev/null", "/"] {
        let expected = [format!("{path}: not a regular file")];
        assert_eq!(load_from(Path::new(path)).unwrap_err(), expected);
    }
    let found = load_from(Path::new("/dev/null/x")).unwrap_err();
    assert!(
        found
            .iter()
            .all(|error| error.starts_with("/dev/null/x: Not a directory"))
    );
}

#[test]
fn a_large_file_is_refused() {
    let file = Scratch::file("large", &vec![b'\n'; 200_000], 0o600);
    assert_eq!(file.errors(), file.error("larger than 64 KiB"));
}

#[test]
fn keys_at_their_defaults_are_shown() {
    let shown = Config::new(PLUGINS).text();
    for line in [
        "debug = no",
        "interfaces = *",
        "# load-plugins: all",
        "# state-file: a file for each network namespace in /run/mptcpd",
        "# limit-subflows: chosen by the plugin",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}");
    }
}

mod any {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_never_panic_and_good_ones_read_back(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            lines in prop::collection::vec(
                prop::sample::select(EVERYTHING.lines().collect::<Vec<_>>()), 0..40),
        ) {
            let _ = parse("f", &bytes, &Overrides::default(), PLUGINS);
            let text = format!("[core]\n{}", lines.join("\n"));
            if let Ok(mut loaded) = read(&text) {
                let again = read(&loaded.config.text()).unwrap();
                prop_assert_eq!(again.config, loaded.config);
            }
        }
    }
}
