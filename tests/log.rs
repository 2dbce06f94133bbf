// SPDX-License-Identifier: BSD-3-Clause
//! What the log says: what was asked for always, what is done when debugging, and what went wrong
//! by its name.

#[macro_use]
mod support;

use std::cell::RefCell;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use log::{LevelFilter, Log, Metadata, Record};
use mptcpd::internal::capacity;
use mptcpd::internal::config::Config;
use mptcpd::internal::engine::{Command, Engine, Incomplete, Input, Subscriptions};
use mptcpd::internal::netlink::mptcp::{AddressId, Command as Kernel, SubflowAddress, Token};
use mptcpd::internal::plugin::{Entry, Failure, Plugin, Request};
use mptcpd::internal::time::Instant;
use nix::sys::signal::Signal::{SIGHUP, SIGUSR1};
use support::until;

#[test]
fn the_state_is_written_whatever_the_level_and_however_often() {
    for level in ["error", "warn"] {
        let lab = lab!();
        lab.wan(1);
        let daemon = lab.daemon(&format!("[core]\nlog-level = {level}\n"));
        lab.expect(&["10.0.1.1 subflow dev wan1"]);
        for times in 1..=3 {
            daemon.signal(SIGUSR1);
            for line in [
                "interface lo (1): loopback",
                "interface wan1 (101): up",
                "endpoint 10.0.1.1 id",
                "subflows-and-addresses-dropped",
            ] {
                let written = until(|| daemon.lines(&["info", line]) == times);
                assert!(written, "{line} not {times} times in\n{}", daemon.log());
            }
        }
        assert_eq!(daemon.lines(&["watching"]), 0, "{}", daemon.log());
        daemon.stop();
    }
}

#[test]
fn every_reload_is_answered() {
    let lab = lab!();
    let daemon = lab.daemon("[core]\n");
    daemon.says(&["watching"]);
    let answers = |config: &str, parts: &[&str]| {
        lab.write("mptcpd.conf", config);
        for times in 1..=3 {
            daemon.signal(SIGHUP);
            let answered = until(|| daemon.lines(parts) == times);
            assert!(answered, "not {times} times in\n{}", daemon.log());
        }
    };
    answers("[core]\nfoo bar\n", &["error", "mptcpd.conf:2: expected"]);
    assert_eq!(
        daemon.lines(&["keeping the current"]),
        3,
        "{}",
        daemon.log()
    );
    answers("[core]\n[bar]\n", &["warn", ":2: unknown section bar"]);
    assert_eq!(
        daemon.lines(&["configuration reloaded"]),
        3,
        "{}",
        daemon.log()
    );
    // The level of the new configuration makes no difference.
    for level in ["error", "warn"] {
        let before = daemon.lines(&["configuration reloaded"]);
        let config = format!("[core]\nlog-level = {level}\nmax-connections = {before}\n");
        lab.write("mptcpd.conf", config);
        daemon.signal(SIGHUP);
        assert!(until(|| daemon.lines(&["configuration reloaded"]) > before));
    }
    let told = daemon.lines(&["warn", "max-connections need a restart"]);
    assert_eq!(told, 2, "{}", daemon.log());
    assert_eq!(daemon.lines(&["repeated"]), 0, "{}", daemon.log());
    daemon.stop();
}

/// systemd names the device and the inode of the stream that it has made standard error.
#[test]
fn the_journal_is_told_priorities() {
    for (named, start) in [(0, "<6>"), (1, "INFO ")] {
        let lab = lab!();
        lab.wan(1);
        let config = lab.write("mptcpd.conf", "[core]\nstate-file =\n");
        let log = lab.path("journal");
        let file = std::fs::File::create(&log).expect("a file of our own");
        let stream = file.metadata().expect("an open file");
        let stream = format!("{}:{}", stream.dev(), stream.ino() + named);
        let mut command = lab.host.command("env");
        command.arg(format!("JOURNAL_STREAM={stream}"));
        command.arg(env!("CARGO_BIN_EXE_mptcpd")).arg("-c");
        let daemon = command.arg(config).stderr(file).spawn();
        let mut daemon = daemon.expect("nsenter");
        lab.expect(&["10.0.1.1 subflow dev wan1"]);
        lab.host.signal(&daemon, nix::sys::signal::Signal::SIGTERM);
        assert!(daemon.wait().expect("our own child").success());
        let lines = support::lines(&log);
        assert!(lines.len() > 2, "{lines:?}");
        assert!(
            lines.iter().all(|line| line.starts_with(start)),
            "{lines:?}"
        );
    }
}

#[test]
fn debugging_shows_every_command() {
    let lab = lab!();
    lab.wan(1);
    let on = "[core]\nsource-routing = yes\nlog-level = debug\n";
    let daemon = lab.daemon(on);
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let id = lab.host.id("10.0.1.1").expect("an endpoint");
    let says = |what: &str| daemon.says(&["debug", &format!("command: {what}")]);
    says(&format!("add endpoint 10.0.1.1 id {id} flags subflow"));
    says("set limits subflows ");
    says("add route default via 10.0.1.2 table ");
    says("add rule ");
    lab.reload(&daemon, &format!("{on}addr-flags = subflow,backup\n"));
    lab.expect(&["10.0.1.1 backup subflow dev wan1"]);
    says("set flags of endpoint 10.0.1.1 ");
    lab.host.ip("addr del 10.0.1.1/24 dev wan1");
    lab.expect(&[""; 0]);
    says("delete endpoint 10.0.1.1 ");
    says("delete rule ");
    daemon.stop();
}

#[test]
fn no_command_shows_a_token() {
    const TOKEN: u32 = 0x1234_5678;
    let address: IpAddr = [10, 0, 1, 1].into();
    let local = SubflowAddress::at(address, 5000).with_id(AddressId(7));
    let remote = SubflowAddress::at(address, 80);
    let (token, id, backup) = (Token::new(TOKEN), local.id, true);
    let commands = [
        Kernel::Announce {
            token,
            address: local,
        },
        Kernel::RemoveAddress { token, id },
        Kernel::CreateSubflow {
            token,
            local,
            remote,
        },
        Kernel::DestroySubflow {
            token,
            local,
            remote,
        },
        Kernel::SetBackup {
            token,
            local,
            remote,
            backup,
        },
        Kernel::GetAddress { token, id },
        Kernel::DumpAddresses { token },
    ];
    let address = local;
    let others = [
        Request::AnnounceWithListener { token, address },
        Request::AnnounceIfServed { token, address },
    ];
    let requests = commands.map(Request::Kernel).into_iter().chain(others);
    let texts = requests.flat_map(|request| [request.to_string(), format!("{request:?}")]);
    let texts: Vec<String> = texts.collect();
    for text in &texts {
        for token in [TOKEN.to_string(), format!("{TOKEN:x}")] {
            assert!(!text.contains(&token), "{text}");
        }
    }
    assert!(texts.contains(&"create subflow".into()), "{texts:?}");
}

#[test]
fn a_failure_without_words_leaves_no_gap() {
    let failure = |message| Failure { errno: 1, message }.to_string();
    assert_eq!(failure(""), "Operation not permitted");
    assert_eq!(failure("no room"), "no room (Operation not permitted)");
}

thread_local!(static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

/// Keeps what an engine without a daemon says for the test that runs it.
struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }
    fn log(&self, record: &Record) {
        SAID.with_borrow_mut(|said| said.push(record.args().to_string()));
    }
    fn flush(&self) {}
}

fn keep() {
    let _ = log::set_logger(&Keeper);
    log::set_max_level(LevelFilter::Debug);
}

struct Idle;
impl Plugin for Idle {}

static IDLE: Entry = Entry::new("idle", "", || Box::new(Idle));

fn engine(plugins: usize) -> Engine {
    keep();
    Engine::new(Instant(0), Config::new::<Entry>(&[]), &vec![&IDLE; plugins])
}

#[test]
fn a_plugin_for_which_there_is_no_room_is_told() {
    engine(capacity::PLUGINS);
    assert_eq!(SAID.take(), [""; 0]);
    let engine = engine(capacity::PLUGINS + 1);
    assert_eq!(engine.plugin_names().count(), capacity::PLUGINS);
    let said = SAID.take();
    assert_eq!(said, ["plugin idle: there are 8 before it; it is not used"]);
}

/// Each part of the kernel's state that cannot be read is called by its name.
#[test]
fn what_cannot_be_read_is_named() {
    let mut engine = engine(0);
    engine.handle(Instant(0), Input::PathManager(true));
    let (mut now, mut refused) = (Instant(0), vec![]);
    for _ in 0..100 {
        engine.settle(now);
        let Some((number, command)) = engine.poll_command(now) else {
            now = engine.deadline().expect("something is due").max(now);
            continue;
        };
        if command
            == Command::Subscribe(Subscriptions {
                routes: true,
                ..Default::default()
            })
        {
            continue;
        }
        // Each at first, and none again.
        let result = if refused.contains(&command) {
            Ok(())
        } else {
            refused.push(command.clone());
            Err(Incomplete::Refused(1))
        };
        engine.handle(
            now,
            match command {
                Command::DumpNetwork(part, _) => Input::NetworkEnd(part, result),
                Command::DumpEndpoints => Input::EndpointsEnd(result),
                Command::GetLimits => Input::Limits(result.map(|()| Default::default())),
                Command::Diag(_) => Input::DiagEnd(result),
                Command::PathManager(_) => Input::Done(number),
                other => panic!("{other:?}"),
            },
        );
    }
    let said = SAID.take();
    let named = |line: &String| line.starts_with("cannot read");
    let named: Vec<_> = said.into_iter().filter(named).collect();
    let names = [
        "links",
        "addresses",
        "endpoints",
        "IPv4 routes",
        "IPv6 routes",
        "IPv4 rules",
        "IPv6 rules",
        "limits",
    ];
    let expected =
        names.map(|name| format!("cannot read the {name}: Operation not permitted; trying again"));
    assert_eq!(named, expected);
}
