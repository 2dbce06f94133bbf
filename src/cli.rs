// SPDX-License-Identifier: BSD-3-Clause
//! The command line.

use std::ffi::OsString;

use lexopt::Arg::{Long, Short, Value};

use crate::config::{self, CommandOption, KEYS, Key, Overrides};
#[cfg(feature = "control")]
use crate::control::request::verb;
use crate::features::lacking;
use crate::plugin::Entry;

/// What `--help` says after the program's name. Tests hold it to the keys that are options.
pub const HELP: &str = "\
[OPTION...]
Keep the kernel's Multipath TCP path manager in step with the network.

  -c, --config FILE        read FILE instead of /etc/mptcpd/mptcpd.conf
  -l, --log DEST           log to stderr, syslog, journal or null
  -d, --debug              log debug messages
      --plugin-dir DIR     ignored: plugins are compiled in
      --path-manager NAME  the default plugin
      --load-plugins LIST  load only these plugins, in this order
      --addr-flags LIST    flags of new endpoints: subflow, signal, backup,
                           fullmesh, laminar
      --notify-flags LIST  which addresses to use: existing, check_route,
                           skip_link_local, skip_loopback
      --state-file FILE    keep the run state in FILE; empty to keep none

      --check              check and print the effective configuration
      --strict             with --check, warnings are errors
      --list-plugins       list the available plugins
  -?, -h, --help, --usage  print this help
  -V, --version            print the version

A LIST is comma-separated and may be empty. Options override the file.
";

/// What it says of commands.
#[cfg(not(feature = "control"))]
pub const COMMANDS: &str = "";
#[cfg(feature = "control")]
pub const COMMANDS: &str = "
Commands for a running daemon:
  status [-j] [--exit-code] [IFACE|ADDRESS]
                           show the paths, and why one is not used
  connections [-j]         show connections and the paths they use
  monitor [-j]             print what happens
  reload                   read the configuration again
  path IFACE down|backup|auto
                           take a path out, spare it, or leave it to mptcpd
  wait [-t SECONDS] [IFACE]
                           wait until a path is in use
";

/// Options of one letter, by the names of those that are the same.
const LETTERS: [(char, &str); 6] = [
    ('c', "config"),
    ('l', "log"),
    ('d', "debug"),
    ('h', "help"),
    ('?', "help"),
    ('V', "version"),
];

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Run(Overrides),
    /// And whether a warning is a failure.
    Check(Overrides, bool),
    Help,
    Version,
    ListPlugins,
    /// A command for a running daemon, and its arguments.
    #[cfg(feature = "control")]
    Command(Vec<String>),
}

/// Reads the arguments that follow the program's name, of a program with these plugins. The error
/// is one line without its end.
pub fn parse(arguments: Vec<OsString>, plugins: &[Entry]) -> Result<Action, String> {
    #[cfg(feature = "control")]
    if let Some(words) = command(&arguments) {
        return Ok(Action::Command(words));
    }
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut overrides = Overrides::default();
    let (mut check, mut strict) = (false, false);
    while let Some(argument) = parser.next().map_err(describe)? {
        let name = match argument {
            Short(letter) => match LETTERS.iter().find(|(short, _)| *short == letter) {
                Some((_, name)) => *name,
                None => return Err(format!("unknown option -{}", printable(letter))),
            },
            Long(name) => name,
            Value(value) => {
                let value = shown(&value.to_string_lossy());
                let unexpected = || ["unexpected argument ", &value].concat();
                return Err(lacking(&value).unwrap_or_else(unexpected));
            }
        };
        let key = match name {
            "help" | "usage" => return Ok(Action::Help),
            "version" => return Ok(Action::Version),
            "list-plugins" => return Ok(Action::ListPlugins),
            "check" => {
                check = true;
                continue;
            }
            "strict" => {
                strict = true;
                continue;
            }
            "config" => None,
            _ => match KEYS.iter().find(|key| key.name == name) {
                Some(key) if key.option != CommandOption::None => Some(key),
                _ => return Err(format!("unknown option --{}", shown(name))),
            },
        };
        let value = match key {
            Some(key) if key.option == CommandOption::Switch => "yes".into(),
            _ => parser.value().map_err(describe)?,
        };
        set(&mut overrides, key, value, plugins).map_err(|cause| {
            let name = key.map_or("config", |key| key.name);
            format!("--{name}: {cause}")
        })?;
    }
    Ok(if check {
        Action::Check(overrides, strict)
    } else {
        Action::Run(overrides)
    })
}

/// Returns the arguments if the first one is a command.
#[cfg(feature = "control")]
fn command(arguments: &[OsString]) -> Option<Vec<String>> {
    verb(arguments.first()?.to_str()?)?;
    let words = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    Some(words.collect())
}

/// Takes the value of a key's option, or of `--config`.
fn set(
    overrides: &mut Overrides,
    key: Option<&Key>,
    value: OsString,
    plugins: &[Entry],
) -> Result<(), String> {
    let value = value
        .into_string()
        .map_err(|_| "invalid UTF-8 in the value")?;
    if value.contains(char::is_control) {
        return Err("control character in the value".to_string());
    }
    let value = value.trim_ascii();
    if let Some(key) = key {
        config::check(key, value, plugins)?;
        overrides.core.push((key.name, value.to_string()));
    } else if value.is_empty() {
        return Err("empty value".to_string());
    } else {
        overrides.config = Some(value.to_string());
    }
    Ok(())
}

fn describe(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::MissingValue {
            option: Some(option),
        } => format!("option {option} requires a value"),
        lexopt::Error::UnexpectedValue { option, .. } => {
            format!("option {} takes no value", shown(&option))
        }
        _ => "invalid arguments".to_string(),
    }
}

/// Keeps a message on its line and the terminal as it is.
fn shown(text: &str) -> String {
    text.chars().map(printable).collect()
}

fn printable(c: char) -> char {
    if c.is_control() { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    const PLUGINS: &[Entry] = &[Entry::named("addr_adv", &[]), Entry::named("sspi", &[])];

    fn parse(args: &[&str]) -> Result<Action, String> {
        super::parse(args.iter().map(OsString::from).collect(), PLUGINS)
    }

    fn run(args: &[&str]) -> Overrides {
        match parse(args) {
            Ok(Action::Run(options)) => options,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn error(args: &[&str]) -> String {
        parse(args).expect_err("an error")
    }

    #[test]
    fn nothing_given_is_nothing_set() {
        assert_eq!(run(&[]), Overrides::default());
    }

    #[test]
    fn both_ways_to_give_a_value_mean_the_same() {
        for args in [
            &["--log=syslog"][..],
            &["--log", "syslog"],
            &["-l", "syslog"],
            &["-lsyslog"],
        ] {
            assert_eq!(run(args).core, [("log", "syslog".into())], "{args:?}");
        }
        for args in [
            &["--config=/a"][..],
            &["--config", "/a"],
            &["-c", "/a"],
            &["-dc/a"],
        ] {
            assert_eq!(run(args).config, Some("/a".into()), "{args:?}");
        }
    }

    #[test]
    fn every_option_reaches_its_field() {
        let options = run(&[
            "--debug",
            "--log=null",
            "--plugin-dir=/p",
            "--path-manager=sspi",
            "--addr-flags= signal , backup ",
            "--notify-flags",
            "existing",
            "--load-plugins=sspi,addr_adv",
            "--state-file=/s",
            "-c",
            "/c",
        ]);
        let core = [
            ("debug", "yes"),
            ("log", "null"),
            ("plugin-dir", "/p"),
            ("path-manager", "sspi"),
            ("addr-flags", "signal , backup"),
            ("notify-flags", "existing"),
            ("load-plugins", "sspi,addr_adv"),
            ("state-file", "/s"),
        ];
        let expected = Overrides {
            config: Some("/c".into()),
            core: core.map(|(key, value)| (key, value.into())).into(),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn empty_lists_and_an_empty_state_file_are_none_not_absent() {
        let options = run(&[
            "--addr-flags=",
            "--notify-flags",
            "",
            "--load-plugins=",
            "--state-file=",
        ]);
        let empty = |key| (key, String::new());
        let keys = ["addr-flags", "notify-flags", "load-plugins", "state-file"];
        assert_eq!(options.core, keys.map(empty));
    }

    #[test]
    fn options_are_kept_in_their_order() {
        assert_eq!(
            run(&["-l", "null", "--log=journal"]).core,
            [("log", "null".into()), ("log", "journal".into())]
        );
    }

    #[test]
    fn questions_are_answered() {
        assert_eq!(parse(&["-?"]), Ok(Action::Help));
        assert_eq!(parse(&["-h"]), Ok(Action::Help));
        assert_eq!(parse(&["--help"]), Ok(Action::Help));
        assert_eq!(parse(&["--usage"]), Ok(Action::Help));
        assert_eq!(parse(&["-V"]), Ok(Action::Version));
        assert_eq!(parse(&["-d", "--version"]), Ok(Action::Version));
        assert_eq!(parse(&["--list-plugins"]), Ok(Action::ListPlugins));
        let options = Overrides {
            config: None,
            core: vec![("debug", "yes".into())],
        };
        assert_eq!(
            parse(&["--check", "-d"]),
            Ok(Action::Check(options.clone(), false))
        );
        let strict = ["--strict", "-d", "--check"];
        assert_eq!(parse(&strict), Ok(Action::Check(options, true)));
    }

    #[test]
    fn every_error_names_its_cause() {
        for (args, expected) in [
            (&["-x"][..], "unknown option -x"),
            (&["--nonsense"], "unknown option --nonsense"),
            (&["--nonsense=1"], "unknown option --nonsense"),
            (&["--a\nb"], "unknown option --a?b"),
            (&["file"], "unexpected argument file"),
            (&["--", "-d"], "unexpected argument -d"),
            (&["-d", "a\x1bb"], "unexpected argument a?b"),
            (&["--log"], "option --log requires a value"),
            (&["-c"], "option -c requires a value"),
            (&["--debug=yes"], "option --debug takes no value"),
            (
                &["--log="],
                "--log: unknown value \"\" (expected stderr, syslog, journal or null)",
            ),
            (
                &["-l", "file"],
                "--log: unknown value \"file\" (expected stderr, syslog, journal or null)",
            ),
            (&["--plugin-dir="], "--plugin-dir: empty value"),
            (&["--path-manager", ""], "--path-manager: empty value"),
            (&["--config="], "--config: empty value"),
            (
                &["--load-plugins=,"],
                "--load-plugins: empty item in the list",
            ),
            (
                &["--state-file=a\nb"],
                "--state-file: control character in the value",
            ),
            (
                &["--addr-flags=subflow,foo"],
                "--addr-flags: unknown value \"foo\" (expected subflow, signal, backup, fullmesh or laminar)",
            ),
            (
                &["--addr-flags=signal,fullmesh"],
                "--addr-flags: signal and fullmesh are mutually exclusive",
            ),
            (
                &["--notify-flags=all"],
                "--notify-flags: unknown value \"all\" (expected existing, skip_link_local, skip_loopback or check_route)",
            ),
        ] {
            assert_eq!(error(args), expected, "{args:?}");
        }
    }

    #[test]
    fn arguments_that_are_not_utf8_are_refused() {
        let bad = |start: &[u8]| OsString::from_vec([start, b"\xff"].concat());
        for (args, expected) in [
            (
                vec![bad(b"--config=")],
                "--config: invalid UTF-8 in the value",
            ),
            (
                vec!["-c".into(), bad(b"")],
                "--config: invalid UTF-8 in the value",
            ),
            (
                vec![bad(b"--addr-flags=")],
                "--addr-flags: invalid UTF-8 in the value",
            ),
            (vec![bad(b"")], "unexpected argument \u{fffd}"),
            (vec![bad(b"--lo")], "unknown option --lo\u{fffd}"),
            (vec![bad(b"-")], "unknown option -\u{fffd}"),
        ] {
            let error = super::parse(args, PLUGINS).expect_err("an error");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn unknown_plugins_are_named() {
        run(&["--path-manager=sspi", "--load-plugins=sspi"]);
        assert_eq!(
            error(&["--path-manager=foo"]),
            "--path-manager: unknown value \"foo\" (expected addr_adv or sspi)"
        );
        assert_eq!(
            error(&["--load-plugins=sspi,../x"]),
            "--load-plugins: unknown value \"../x\" (expected addr_adv or sspi)"
        );
    }
}
