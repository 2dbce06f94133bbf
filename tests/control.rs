// SPDX-License-Identifier: BSD-3-Clause
//! The commands for a running daemon: what they show is so on the real kernel, what they steer comes
//! about, and nobody can hold the daemon up.

#[macro_use]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use support::json::{CONNECTIONS, EVENT, Json, STATUS, Schema};
use support::peer::{Held, Transfer};
use support::{DAEMON, Lab, SERVER, until};

/// Runs a command, which must end with this status. Returns what it prints.
#[track_caller]
fn run(lab: &Lab, line: &str, status: i32) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let (code, out, errors) = lab.execute(&words);
    assert_eq!(code, Some(status), "{line}: {out}{errors}");
    out
}

/// The row of an address as cells.
#[track_caller]
fn row(lab: &Lab, address: &str) -> Vec<String> {
    let text = run(lab, "status", 0);
    let mut rows = text.lines().map(|line| line.split_whitespace());
    let row = rows.find(|row| row.clone().nth(1) == Some(address));
    let row = row.unwrap_or_else(|| panic!("no {address} in\n{text}"));
    row.map(str::to_owned).collect()
}

/// Waits until a path is in this state.
#[track_caller]
fn expect_state(lab: &Lab, address: &str, state: &str) {
    let mut seen = vec![];
    let holds = until(|| {
        seen = row(lab, address);
        seen[2] == state
    });
    assert!(holds, "{seen:?} is not {state}");
}

/// The daemon's socket, seen from outside.
fn socket(lab: &Lab) -> PathBuf {
    let directory = format!("/proc/{}/root/run/mptcpd", lab.host.pid());
    let mut found = fs::read_dir(directory).expect("the run directory");
    let path = found.find_map(|entry| {
        let path = entry.expect("an entry").path();
        path.extension()
            .is_some_and(|end| end == "sock")
            .then_some(path)
    });
    path.expect("a socket")
}

fn connect(lab: &Lab) -> UnixStream {
    let stream = UnixStream::connect(socket(lab)).expect("the daemon accepts");
    let patience = Some(Duration::from_secs(15));
    stream.set_read_timeout(patience).expect("a time-out");
    stream
}

/// Sends something, and reads the answer to its end.
fn ask(lab: &Lab, request: &[u8]) -> String {
    let mut stream = connect(lab);
    stream.write_all(request).expect("the daemon reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The members that the manual describes in a section.
fn documented(section: &str) -> BTreeSet<String> {
    let manual = include_str!("../etc/mptcpd.8");
    let start = format!("\n.Ss {section}\n");
    let (_, rest) = manual.split_once(&start).expect("the section");
    let end = rest.find("\n.S").expect("another section");
    let items = rest[..end]
        .lines()
        .filter_map(|line| line.strip_prefix(".It Va "));
    let names = items.flat_map(|item| item.split(" , ").map(str::to_owned));
    names.collect()
}

#[test]
fn the_manual_describes_every_member() {
    for (section, schema) in [
        ("status -j", STATUS),
        ("connections -j", CONNECTIONS),
        ("monitor -j", EVENT),
    ] {
        let places = Schema::new(schema).places();
        assert_eq!(documented(section), places, "{section}");
    }
}

#[test]
fn without_a_daemon_commands_end_with_3_and_nonsense_with_64() {
    let lab = lab!();
    for line in ["status", "monitor", "reload", "path wan1 down", "wait"] {
        let (code, out, errors) = lab.execute(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((code, out.as_str()), (Some(3), ""), "{line}: {errors}");
        assert!(errors.contains("not running"), "{errors}");
    }
    for line in [
        "status -x",
        "status a b",
        "path wan1",
        "path wan1 up",
        "monitor wan1",
        "wait -t x",
    ] {
        run(&lab, line, 64);
    }
    run(&lab, "wait -t 0", 3);
}

#[test]
fn a_status_says_of_every_path_whether_it_is_used_and_why() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    lab.wan(3);
    lab.link("lan");
    lab.host.ip("addr add 192.168.1.1/24 dev lan");
    lab.host.ip("mptcp endpoint add 10.0.3.1 dev wan3 subflow");
    let daemon = lab.daemon("[core]\n[interface wan2]\naddr-flags = subflow,backup\n");
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 backup subflow dev wan2",
        "10.0.3.1 subflow dev wan3",
    ]);
    let id = lab.host.id("10.0.1.1").expect("an endpoint").to_string();
    expect_state(&lab, "10.0.1.1", "active");
    let cells = row(&lab, "10.0.1.1");
    assert_eq!(cells[..5], ["wan1", "10.0.1.1", "active", &id, "subflow"]);
    expect_state(&lab, "10.0.2.1", "backup");
    expect_state(&lab, "10.0.3.1", "foreign");
    let cells = row(&lab, "192.168.1.1");
    assert_eq!(cells[2..5], ["waiting", "-", "-"]);
    assert_eq!(cells[6..11], ["-", "0", "no", "default", "route"]);
    assert_eq!(cells[11..13], ["(add", "one,"]);

    run(&lab, "status --exit-code", 0);
    lab.unplug("wan1");
    expect_state(&lab, "10.0.1.1", "waiting");
    assert_eq!(row(&lab, "10.0.1.1")[8..10], ["no", "carrier"]);
    run(&lab, "status --exit-code", 2);
    run(&lab, "status --exit-code wan1", 2);
    run(&lab, "status --exit-code wan2", 0);
    let one = run(&lab, "status 10.0.2.1", 0);
    assert!(one.contains("wan2") && !one.contains("wan1"), "{one}");
    let (code, _, errors) = lab.execute(&["status", "wan9"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no such interface"), "{errors}");

    let json = run(&lab, "status -j", 0);
    let value = Schema::new(STATUS).check(&json);
    let one = value.at("paths").items().iter();
    let mut one = one.filter(|path| path.at("address").text() == "10.0.1.1");
    let one = one.next().expect("a path");
    assert_eq!(one.at("reason").text(), "no_carrier", "{json}");
    assert_eq!(one.at("advice").text(), "check cable and modem", "{json}");
    daemon.stop();
    run(&lab, "status", 3);
}

#[test]
fn each_namespace_has_its_own_daemon_and_many_addresses_fit() {
    let lab = lab!();
    lab.wan(1);
    let _daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let mut command = lab.outside.command(env!("CARGO_BIN_EXE_mptcpd"));
    let output = command.arg("status").output().expect("nsenter");
    assert_eq!(output.status.code(), Some(3), "that one has no daemon");

    let mut lines = String::new();
    for at in 0..1000 {
        lines += &format!("addr add 10.9.{}.{}/32 dev wan1\n", at / 250, at % 250 + 1);
    }
    lab.host.ip(&lines);
    assert!(until(|| run(&lab, "status -j", 0)
        .matches("\"10.9.")
        .count()
        == 1000));
    Schema::new(STATUS).check(&run(&lab, "status -j", 0));
    assert_eq!(run(&lab, "status", 0).matches(" 10.9.").count(), 1000);
}

#[test]
fn what_happens_is_logged_and_monitored() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    daemon.says(&["info", "mptcpd.conf: 1 endpoint: wan1"]);
    let (mut people, mut programs) = (connect(&lab), connect(&lab));
    people.write_all(b"monitor\n").expect("the daemon reads");
    programs
        .write_all(b"monitor -j\n")
        .expect("the daemon reads");
    // Both are heard before what follows.
    run(&lab, "status", 0);
    let id = lab.host.id("10.0.1.1").expect("an endpoint");
    lab.unplug("wan1");
    lab.expect(&[""; 0]);
    let lost = format!("wan1: 10.0.1.1 lost: no carrier (endpoint {id})");
    daemon.says(&["info", &lost]);
    lab.plug("wan1");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let id = lab.host.id("10.0.1.1").expect("an endpoint");
    daemon.says(&["info", "wan1: 10.0.1.1 back after ", " s (endpoint "]);
    run(&lab, "reload", 0);
    run(&lab, "path wan1 backup", 0);
    daemon.says(&["wan1: declared backup"]);
    lab.expect(&["10.0.1.1 backup subflow dev wan1"]);
    daemon.stop();

    let (mut text, mut json) = (String::new(), String::new());
    people.read_to_string(&mut text).expect("lines");
    programs.read_to_string(&mut json).expect("lines");
    for part in [
        &lost,
        &format!(" s (endpoint {id})"),
        "10.0.1.1 endpoint removed",
        "10.0.1.1 endpoint added: subflow",
        "configuration reloaded",
        "endpoint changed: subflow,backup",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    for line in json.lines() {
        assert!(line.starts_with("{\"v\":1,\"t\":"), "{line}");
        Schema::new(EVENT).check(line);
    }
    for event in ["path_lost", "path_used", "declared", "reloaded"] {
        assert!(json.contains(&format!("\"event\":\"{event}\"")), "{json}");
    }
}

#[test]
fn a_path_that_comes_and_goes_does_not_fill_the_log() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("[core]\n");
    for _ in 0..10 {
        lab.expect(&["10.0.1.1 subflow dev wan1"]);
        run(&lab, "path wan1 down", 0);
        lab.expect(&[""; 0]);
        run(&lab, "path wan1 auto", 0);
    }
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    assert_eq!(daemon.lines(&["wan1: 10.0.1.1 comes and goes"]), 1);
    let told = daemon.lines(&["info", "10.0.1.1 lost"]);
    assert!((1..5).contains(&told), "{told} times in\n{}", daemon.log());
}

#[test]
fn what_is_declared_holds_until_the_interface_goes() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let _daemon = lab.daemon("[core]\n[interface wan2]\nuse = standby\n");
    let one = "10.0.1.1 subflow dev wan1";
    lab.expect(&[one]);
    run(&lab, "path wan1 down", 0);
    lab.expect(&["10.0.2.1 subflow dev wan2"]);
    expect_state(&lab, "10.0.1.1", "dead");
    // Neither events nor a new configuration make a difference.
    lab.unplug("wan1");
    lab.plug("wan1");
    run(&lab, "reload", 0);
    lab.expect_still(&["10.0.2.1 subflow dev wan2"]);
    run(&lab, "path wan1 backup", 0);
    lab.expect(&["10.0.1.1 backup subflow dev wan1"]);
    run(&lab, "path wan1 auto", 0);
    lab.expect(&[one]);

    run(&lab, "path wan1 down", 0);
    lab.expect(&["10.0.2.1 subflow dev wan2"]);
    lab.host.ip("link del wan1");
    lab.expect_still(&["10.0.2.1 subflow dev wan2"]);
    lab.wan(1);
    lab.expect(&[one]);
    run(&lab, "path wan9 down", 1);
}

#[test]
fn a_path_declared_down_stays_while_a_connection_has_no_other() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    let _daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let transfer = Transfer::start(&lab, "3000000", "1500000");
    assert!(until(|| run(&lab, "connections", 0).contains("10.0.1.1:")));
    run(&lab, "path wan1 down", 0);
    expect_state(&lab, "10.0.1.1", "dead");
    assert!(until(|| run(&lab, "status", 0).contains("endpoint kept")));
    transfer.finish();
    lab.expect(&[""; 0]);
}

#[test]
fn to_wait_ends_once_a_path_is_in_use() {
    let lab = lab!();
    lab.wan(1);
    let (code, _, errors) = {
        let _daemon = lab.daemon("[core]\n[interface wan1]\nuse = no\n");
        assert!(until(|| lab.execute(&["status"]).0 == Some(0)));
        lab.execute(&["wait", "-t", "1", "wan1"])
    };
    assert_eq!(code, Some(1));
    assert!(errors.contains("wait -t 1 wan1: timed out"), "{errors}");
    let mut command = lab.host.command(env!("CARGO_BIN_EXE_mptcpd"));
    // It waits for the daemon as well.
    let waiting = command.args(["wait", "-t", "15", "wan1"]).spawn();
    let _daemon = lab.daemon("[core]\n");
    let status = waiting.expect("nsenter").wait().expect("our own child");
    assert_eq!(status.code(), Some(0));
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
}

#[test]
fn a_reload_says_what_is_wrong() {
    let lab = lab!();
    let _daemon = lab.daemon("[core]\n");
    assert!(until(|| lab.execute(&["status"]).0 == Some(0)));
    lab.write("mptcpd.conf", "[core]\nfoo bar\n");
    let (code, _, errors) = lab.execute(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("mptcpd.conf:2: expected"), "{errors}");
    let status = run(&lab, "status", 0);
    assert!(status.contains("not reloaded: "), "{status}");
    lab.write("mptcpd.conf", "[core]\nfoo = bar\n");
    let out = run(&lab, "reload", 0);
    assert!(out.contains(":2: unknown key foo"), "{out}");
    assert!(out.contains("configuration reloaded"), "{out}");
    assert!(!run(&lab, "status", 0).contains("not reloaded"));
}

#[test]
fn who_may_not_is_told_so() {
    let lab = lab!();
    let _daemon = lab.daemon("[core]\n");
    assert!(until(|| lab.execute(&["status"]).0 == Some(0)));
    let found = lab.host.out("find /run/mptcpd -name *.sock -perm 660");
    assert_eq!(found.lines().count(), 1, "{found}");
    lab.host.out("chmod -R 000 /run/mptcpd");
    let bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"];
    for line in ["status", "connections"] {
        let (code, out, errors) = lab.execute_under(&bare, &[line]);
        assert_eq!((code, out.as_str()), (Some(4), ""), "{errors}");
        assert!(errors.contains("permission denied"), "{errors}");
    }
}

#[test]
fn clients_that_mean_ill_are_in_nobodys_way() {
    let lab = lab!();
    lab.wan(1);
    let mut daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    for (request, status) in [
        (&b"\n"[..], "\u{0}64"),
        (b"what\n", "\u{0}64"),
        (b"\xff\xfe\n", "\u{0}64"),
        (b"status\0-j\n", "\u{0}64"),
        (&[b'x'; 100], "\u{0}64"),
        (b"status\nstatus\nreload\n", "\u{0}0"),
    ] {
        let answer = ask(&lab, request);
        assert!(answer.ends_with(status), "{request:?}: {answer:?}");
    }
    // They say nothing, half of a line, or nothing after a line; and some are gone at once.
    let mut silent = vec![];
    for at in 0..40 {
        let mut stream = connect(&lab);
        let _ = match at % 4 {
            0 => Ok(()),
            1 => stream.write_all(b"stat"),
            2 => stream.write_all(b"status -j\n"),
            _ => stream.shutdown(std::net::Shutdown::Both),
        };
        silent.push(stream);
        run(&lab, "status", 0);
    }
    let monitors: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(&lab);
            let _ = stream.write_all(b"monitor\n");
            run(&lab, "status", 0);
            stream
        })
        .collect();
    drop((silent, monitors));
    run(&lab, "status", 0);
    assert!(daemon.running());
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    // It sleeps, whatever they left.
    let jiffies = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).expect("a process");
        let mut fields = stat.split(' ').skip(13);
        let mut number = || fields.next().and_then(|n| n.parse::<u64>().ok());
        number().zip(number()).map(|(a, b)| a + b).expect("times")
    };
    let before = jiffies();
    std::thread::sleep(Duration::from_millis(500));
    assert!(jiffies() - before < 10, "it does not sleep");
}

#[test]
fn more_who_wait_than_there_is_room_for_are_all_answered() {
    let lab = lab!();
    lab.wan(1);
    let _daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let wait = || {
        let mut command = lab.host.command(DAEMON);
        command.args(["wait", "-t", "30", "wan2"]);
        command.stderr(Stdio::piped()).spawn().expect("nsenter")
    };
    let all: Vec<_> = (0..20).map(|_| wait()).collect();
    std::thread::sleep(Duration::from_millis(500));
    lab.wan(2);
    for child in all {
        let output = child.wait_with_output().expect("our own child");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""));
    }
}

#[test]
fn a_request_needs_no_newline_at_its_end() {
    let lab = lab!();
    lab.wan(1);
    let _daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let mut stream = connect(&lab);
    stream.write_all(b"status -j").expect("the daemon reads");
    let half = stream.shutdown(std::net::Shutdown::Write);
    half.expect("a socket of two directions");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("10.0.1.1"), "{answer:?}");
}

#[test]
fn a_monitor_that_never_reads_loses_lines_and_is_told() {
    let lab = lab!();
    lab.wan(1);
    let _daemon = lab.daemon("[core]\nlog-level = error\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let mut slow = connect(&lab);
    slow.write_all(b"monitor -j\n").expect("the daemon reads");
    run(&lab, "status", 0);
    for _ in 0..1000 {
        for word in ["backup", "auto"] {
            let answer = ask(&lab, format!("path wan1 {word}\n").as_bytes());
            assert_eq!(answer, "\u{0}0");
        }
    }
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    // It reads now, and the next event tells what it has missed.
    let mut text = String::new();
    let mut bytes = [0; 65_536];
    let told = until(|| {
        ask(&lab, b"path wan1 auto\n");
        let count = slow.read(&mut bytes).expect("lines");
        text += &String::from_utf8_lossy(&bytes[..count]);
        text.contains("\"event\":\"lost\"")
    });
    assert!(told, "{}", text.len());
    let whole = text.rsplit_once('\n').expect("lines").0;
    for line in whole.lines() {
        Schema::new(EVENT).check(line);
    }
}

#[test]
fn connections_are_shown_with_the_uplinks_they_use() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let _daemon = lab.daemon("[core]\n[interface wan2]\naddr-flags = subflow,backup\n");
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 backup subflow dev wan2",
    ]);
    let transfer = Transfer::start(&lab, "6000000", "1500000");
    assert!(until(|| {
        let text = run(&lab, "connections", 0);
        text.contains(" backup ") && text.contains(" active ")
    }));
    let text = run(&lab, "connections", 0);
    let cells = |name: &str| -> Vec<Vec<String>> {
        let rows = text.lines().map(|line| line.split_whitespace());
        let rows = rows.filter(|row| row.clone().next() == Some(name));
        rows.map(|row| row.map(str::to_owned).collect()).collect()
    };
    let [connection] = &cells("connection")[..] else {
        panic!("{text}")
    };
    assert_eq!(connection[2..4], [SERVER, "mptcp"], "{text}");
    assert_eq!(cells("wan1")[0][3], "active", "{text}");
    assert_eq!(cells("wan2")[0][3], "backup", "{text}");
    let json = run(&lab, "connections -j", 0);
    let value = Schema::new(CONNECTIONS).check(&json);
    let Json::Number(idle) = value.at("connections").at("0").at("idle") else {
        panic!("{json}");
    };
    assert!(*idle < 5.0, "{json}");
    // The kernel does not know, and its own connections the daemon does not.
    assert_eq!(*value.at("connections").at("0").at("age"), Json::Null);
    // As `ss` has it, which shows the token as well.
    let ss = lab.host.out("ss -M -i -n -H");
    let token = ss
        .split_whitespace()
        .find_map(|word| word.strip_prefix("token:"));
    let token = token.expect("a token");
    let number = u32::from_str_radix(token, 16).expect("a token");
    for form in [token.to_owned(), number.to_string()] {
        assert!(!json.contains(&form) && !text.contains(&form));
    }
    transfer.finish();
}

#[test]
fn a_thousand_connections_are_shown() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let _daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    let held = Held::open(&lab.host, SERVER, &lab.outside, SERVER, 1000);
    assert!(until(|| {
        let json = run(&lab, "connections -j", 0);
        let of = |name: &str| json.matches(&format!("\"ifname\":\"{name}\"")).count();
        // Once more with its sum.
        (of("wan1"), of("wan2")) == (1001, 1001)
    }));
    let json = run(&lab, "connections -j", 0);
    assert_eq!(json.matches("\"fallback\":false").count(), 1000);
    Schema::new(CONNECTIONS).check(&json);
    held.release();
}

#[test]
fn sspi_follows_what_is_declared_and_its_connections_are_told() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    lab.host.sysctl("mptcp/pm_type", 1);
    let daemon = lab.daemon("[core]\npath-manager = sspi\nload-plugins = sspi\n");
    daemon.says(&["info", "sspi, ", "2 paths: wan1, wan2"]);
    let mut monitor = connect(&lab);
    monitor
        .write_all(b"monitor -j\n")
        .expect("the daemon reads");
    run(&lab, "status", 0);
    let transfer = Transfer::start(&lab, "20000000", "1500000");
    let state = |name: &str| {
        let json = run(&lab, "connections -j", 0);
        let value = Schema::new(CONNECTIONS).check(&json);
        let connections = value.at("connections").items();
        let subflows = connections.iter().flat_map(|c| c.at("subflows").items());
        let mut named = subflows.filter(|s| *s.at("ifname") == Json::Text(name.into()));
        named.next().map_or(String::new(), |subflow| {
            subflow.at("state").text().to_owned()
        })
    };
    assert!(until(
        || state("wan1") == "active" && state("wan2") == "active"
    ));
    run(&lab, "path wan2 backup", 0);
    assert!(until(|| state("wan2") == "backup"));
    expect_state(&lab, "10.0.2.1", "backup");
    run(&lab, "path wan2 down", 0);
    assert!(until(|| state("wan2").is_empty()));
    run(&lab, "path wan2 auto", 0);
    assert!(until(|| state("wan2") == "active"));
    let age = || {
        let json = run(&lab, "connections -j", 0);
        let value = Schema::new(CONNECTIONS).check(&json);
        value.at("connections").at("0").at("age").number()
    };
    assert!(until(|| age() >= 1.0));
    let path = row(&lab, "10.0.2.1");
    assert_eq!(path[6..8], ["2", "0"], "{path:?}");
    let value = Schema::new(STATUS).check(&run(&lab, "status -j", 0));
    assert_eq!(value.at("joins").at("joined").number(), 2.0);
    drop(transfer);
    let mut text = String::new();
    let mut bytes = [0; 4096];
    let told = until(|| {
        let count = monitor.read(&mut bytes).expect("lines");
        text += &String::from_utf8_lossy(&bytes[..count]);
        text.contains("\"connection_closed\"")
    });
    assert!(told, "{text}");
    let lines = text.rsplit_once('\n').expect("lines").0.lines();
    let events: Vec<Json> = lines.map(|line| Schema::new(EVENT).check(line)).collect();
    let of = |event: &str| {
        events
            .iter()
            .filter(|e| e.at("event").text() == event)
            .count()
    };
    assert_eq!(of("connection_established"), 1, "{text}");
    assert_eq!(of("subflow_established"), 2, "{text}");
    assert!(of("subflow_closed") >= 1, "{text}");
}

#[test]
fn joins_that_fail_are_counted() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    lab.outside.ip("mptcp limits set subflows 0");
    let _daemon = lab.daemon("[core]\n");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    let _transfer = Transfer::start(&lab, "9000000", "1500000");
    let mut json = String::new();
    let counted = until(|| {
        json = run(&lab, "status -j", 0);
        let value = Schema::new(STATUS).check(&json);
        let failed = |address: &str| {
            let paths = value.at("paths").items().iter();
            let mut paths = paths.filter(|path| path.at("address").text() == address);
            paths
                .next()
                .map_or(0.0, |path| path.at("joins").at("failed").number())
        };
        failed("10.0.1.1") == 0.0 && failed("10.0.2.1") >= 1.0
    });
    assert!(counted, "{json}");
    let value = Json::read(&json);
    let joins = value.at("joins");
    assert!(joins.at("tried").number() >= 1.0, "{json}");
}

/// Where joins get no answer but a reset, time and again, something is in their way.
#[test]
fn joins_that_are_only_refused_are_told() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    lab.host.sysctl("mptcp/pm_type", 1);
    // Nobody listens at this address, which the peer announces all the same.
    lab.outside
        .ip("mptcp endpoint add 10.0.1.2 dev wan1 signal");
    let daemon = lab.daemon("[core]\npath-manager = sspi\nload-plugins = sspi\n");
    daemon.says(&["info", "sspi, ", "1 path: wan1"]);
    let held = Held::open(&lab.host, SERVER, &lab.outside, SERVER, 5);
    daemon.says(&[
        "warn",
        "the last 5 joins from 10.0.1.1 failed though TCP was answered there",
    ]);
    let cells = row(&lab, "10.0.1.1");
    assert_eq!(cells[6], "0", "{cells:?}");
    assert!(cells[7].parse::<u32>().is_ok_and(|n| n >= 5), "{cells:?}");
    held.release();
}

#[test]
fn a_blackhole_of_mptcp_is_told() {
    let Some(lab) = Lab::with_uplinks(1) else {
        return;
    };
    let daemon = lab.daemon("[core]\nresync-interval = 1\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    // The SYNs of MPTCP get no answer, the first of TCP gets one.
    lab.outside
        .ip("rule add priority 1 from 192.0.2.80 blackhole");
    let _transfer = Transfer::start(&lab, "1000", "1000");
    assert!(until(|| lab.host.counter("TcpExtTCPSynRetrans") > 1));
    lab.outside.ip("rule del priority 1");
    assert!(until(|| lab.host.counter("MPTcpExtBlackhole") > 0));
    daemon.says(&["warn", "net.mptcp.blackhole_timeout"]);
    assert!(run(&lab, "status", 0).contains("blackholes 1"));
}

#[test]
fn the_service_manager_is_told() {
    let lab = lab!();
    lab.wan(1);
    let path = lab.path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket of our own");
    let patience = Some(Duration::from_secs(15));
    manager.set_read_timeout(patience).expect("a time-out");
    let told = || {
        let mut text = [0; 512];
        let count = manager.recv(&mut text).expect("the daemon tells");
        String::from_utf8_lossy(&text[..count]).into_owned()
    };
    let file = lab.write("mptcpd.conf", "[core]\nstate-file =\n");
    let mut command = lab.host.command("env");
    command.arg(format!("NOTIFY_SOCKET={}", path.display()));
    command.args([env!("CARGO_BIN_EXE_mptcpd"), "-l", "null", "-c"]);
    let mut daemon = command.arg(file).spawn().expect("nsenter");
    assert_eq!(told(), "READY=1\nSTATUS=1 endpoint: wan1");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    lab.unplug("wan1");
    // Each change is told; what there is at first comes now and then twice.
    while told() != "STATUS=0 endpoints" {}
    run(&lab, "reload", 0);
    while told() != "RELOADING=1" {}
    assert_eq!(told(), "READY=1");
    lab.host.signal(&daemon, nix::sys::signal::Signal::SIGTERM);
    while told() != "STOPPING=1" {}
    assert!(daemon.wait().expect("our own child").success());
}
