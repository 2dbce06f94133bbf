// SPDX-License-Identifier: BSD-3-Clause
//! Whatever goes wrong, the endpoints are right afterwards and the log says it once.

#[macro_use]
mod support;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGSTOP};
use support::peer::program;
use support::{Daemon, Lab, Namespace, skip, until};

const ANY_ROUTE: &str = "[core]\nnotify-flags = existing,skip_link_local,skip_loopback\n";

/// Ten thousand events that end with these addresses on wan1.
fn storm(addresses: [&str; 2]) -> String {
    let mut lines = String::new();
    for round in 0..1250 {
        let n = round % 200 + 20;
        lines += &format!(
            "addr add 10.0.1.{n}/24 dev wan1\nroute add 192.0.2.{n} dev wan1
             link set wan1 mtu {}\naddr add 2001:db8:1::{n}/64 dev wan1 nodad
             addr del 10.0.1.{n}/24 dev wan1\naddr del 2001:db8:1::{n}/64 dev wan1
             route del 192.0.2.{n}\nlink set wan1 mtu 1500\n",
            1400 + round % 2
        );
    }
    lines
        + &addresses
            .map(|address| format!("addr add {address}/24 dev wan1\n"))
            .concat()
}

/// The storm breaks while the daemon cannot read.
#[test]
fn ten_thousand_events_while_stopped() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    daemon.signal(SIGSTOP);
    lab.host.ip(&storm(["10.0.1.7", "10.0.1.8"]));
    lab.host
        .ip("addr del 10.0.1.7/24 dev wan1; addr add 10.0.1.9/24 dev wan1");
    daemon.signal(SIGCONT);
    let wanted = ["10.0.1.1", "10.0.1.8", "10.0.1.9"];
    let wanted = wanted.map(|address| format!("{address} subflow dev wan1"));
    lab.expect(&wanted);
    lab.expect_still(&wanted);
    assert_eq!(
        daemon.lines(&["events were lost"]),
        1,
        "one line about it:\n{}",
        daemon.log()
    );
}

/// The storm breaks while the daemon is busy with what it brings.
#[test]
fn ten_thousand_events_while_running() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    lab.host.ip(&storm(["10.0.1.7", "10.0.1.8"]));
    lab.host.ip("addr del 10.0.1.7/24 dev wan1");
    let wanted = ["10.0.1.1 subflow dev wan1", "10.0.1.8 subflow dev wan1"];
    lab.expect(&wanted);
    lab.expect_still(&wanted);
    assert!(daemon.log().lines().count() < 50, "{}", daemon.log());
}

/// A link that flaps faster than anybody can follow ends as it ends.
#[test]
fn flapping() {
    let lab = lab!();
    lab.wan(1);
    let _daemon = lab.daemon(ANY_ROUTE);
    for last in ["down", "up", "down", "up"] {
        let flap = "link set wan1 down\nlink set wan1 up\n".repeat(100);
        lab.host.ip(&format!("{flap}link set wan1 {last}"));
        let wanted: &[&str] = if last == "up" {
            &["10.0.1.1 subflow dev wan1"]
        } else {
            &[]
        };
        lab.expect_still(wanted);
    }
}

/// Has the 8 addresses of one network replaced by those of the next, over and over, while the
/// daemon deletes the endpoints of the old ones. When two endpoints have gone since the last event
/// it prints how many bytes of events the daemon has not read, and how many events it has missed;
/// twenty times.
const REPLACE_ADDRESSES: &str = r#"
    left() { ip mptcp endpoint show | grep -c "^10\.0\.$1\."; }
    round=1 printed=0
    while [ $printed -lt 20 ]; do
        next=$((round + 1))
        for n in 1 2 3 4 5 6 7 8; do echo "addr del 10.0.$round.$n/24 dev wan1"; done | ip -batch -
        until [ "$(left $round)" -le 6 ]; do :; done
        for n in 1 2 3 4 5 6 7 8; do
            ip addr add 10.0.$next.$n/24 dev wan1
            before=$(left $round)
            [ "$before" -ge 2 ] || continue
            until [ "$(left $round)" -le $((before - 2)) ]; do :; done
            awk '$2 == 0 && $4 != "00000000" { print $5, $9 }' /proc/net/netlink
            printed=$((printed + 1))
        done
        until [ "$(left $next)" = 8 ]; do :; done
        round=$next
    done"#;

/// The kernel takes some 15 ms to delete an endpoint, and the daemon waits. What happens
/// meanwhile is read before the next one is deleted, however many there are to delete.
#[test]
fn deletions_do_not_deafen() {
    let lab = lab!();
    lab.link("wan1");
    let daemon = lab.daemon(ANY_ROUTE);
    let addresses: Vec<_> = (1..=8).map(|n| format!("10.0.1.{n}")).collect();
    let add = |address| format!("addr add {address}/24 dev wan1\n");
    lab.host.ip(&addresses.iter().map(add).collect::<String>());
    let endpoint = |address| format!("{address} subflow dev wan1");
    lab.expect(&addresses.iter().map(endpoint).collect::<Vec<_>>());
    let mut shell = lab.host.command("timeout");
    let output = shell.args(["60", "sh", "-c", REPLACE_ADDRESSES]).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{output:?}{}", daemon.log());
    // The event was there before the second deletion began.
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() >= 20, "{text}");
    assert!(text.lines().all(|line| line == "0 0"), "{text}");
    assert_eq!(daemon.lines(&["events were lost"]), 0, "{}", daemon.log());
}

#[test]
fn a_second_instance_refuses_to_start() {
    let lab = lab!();
    lab.wan(1);
    let _first = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let config = lab.write("second.conf", "");
    let state = lab.path("state");
    let [config, state] = [&config, &state].map(|path| path.to_str().expect("UTF-8"));
    let (code, _, errors) = lab.execute(&["-c", config, "--state-file", state]);
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("network namespace"), "{errors}");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
}

/// Whoever may open a socket could hold the name for ever.
#[test]
fn a_name_that_somebody_took_keeps_no_daemon_out() {
    let lab = lab!();
    lab.wan(1);
    let mut squatter = lab.host.command(program("squatter"));
    let squatter = squatter.arg("mptcpd").stdout(Stdio::piped()).spawn();
    let mut squatter = squatter.expect("nsenter");
    let mut said = [0; 6];
    let out = squatter.stdout.as_mut().expect("a pipe");
    out.read_exact(&mut said).expect("it is ready");
    for config in ["", "[core]\nstate-file =\n"] {
        let daemon = lab.daemon(config);
        assert!(until(|| daemon.lines(&["watching the network"]) == 1));
        lab.expect(&["10.0.1.1 subflow dev wan1"]);
        let mut second = lab.daemon(config);
        assert_eq!(second.wait(), Some(1), "{}", second.log());
        daemon.stop();
    }
    // Without a place for a file.
    lab.host.out("mount -o remount,ro /run");
    let daemon = lab.daemon("[core]\nstate-file =\n");
    assert!(until(|| daemon.lines(&["watching the network"]) == 1));
    daemon.stop();
    squatter.kill().expect("our own child");
    squatter.wait().expect("our own child");
    let daemon = lab.daemon("[core]\nstate-file =\n");
    assert!(until(|| daemon.lines(&["watching the network"]) == 1));
    let mut second = lab.daemon("[core]\nstate-file =\n");
    assert_eq!(second.wait(), Some(1), "{}", second.log());
}

/// By default the state is kept per network namespace, which a second daemon notices as well.
#[test]
fn the_default_state_file() {
    let lab = lab!();
    lab.wan(1);
    let start = || lab.daemon_in(&lab.host, "# not state-file\n", &[]);
    let daemon = start();
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let files = || lab.host.run("find /run/mptcpd -name *.state");
    assert!(
        until(|| !files().stdout.is_empty()),
        "no state under /run/mptcpd"
    );
    let mut second = start();
    assert_eq!(second.wait(), Some(1), "{}", second.log());
    daemon.kill();
    lab.host.ip("addr flush dev wan1");
    let _daemon = start();
    lab.expect(&[""; 0]);
}

#[test]
fn a_damaged_state_file_is_ignored() {
    let lab = lab!();
    lab.wan(1);
    let wanted = ["10.0.1.1 subflow dev wan1"];
    let daemon = lab.daemon("");
    lab.expect(&wanted);
    daemon.stop();
    let good = std::fs::read(lab.path("state")).expect("a state file");
    let mut flipped = good.clone();
    flipped.iter_mut().for_each(|byte| *byte ^= 0x20);
    let mut inside = good;
    for half in inside.chunks_mut(8192) {
        half.iter_mut().skip(12).for_each(|byte| *byte ^= 0x20);
    }
    let [lengthy, short] = [vec![0xff; 20_000], b"nonsense".to_vec()];
    for damaged in [short, lengthy, flipped, inside] {
        lab.write("state", &damaged);
        let daemon = lab.daemon("");
        // The endpoint is now somebody's, and right as it is.
        lab.expect_still(&wanted);
        let about = daemon.lines(&["state"]);
        assert_eq!(
            about,
            1,
            "{damaged:?}: one line about it:\n{}",
            daemon.log()
        );
        daemon.stop();
    }
    // An empty file is a new one.
    lab.write("state", "");
    let daemon = lab.daemon("");
    lab.expect_still(&wanted);
    assert_eq!(daemon.lines(&["warn", "state"]), 0, "{}", daemon.log());
}

/// A crash in the middle of writing costs what was to be written, and no more.
#[test]
fn a_state_file_torn_in_writing_is_of_use() {
    let lab = lab!();
    lab.wan(1);
    let state = || std::fs::read(lab.path("state")).expect("a state file");
    let (one, two) = ("10.0.1.1 subflow dev wan1", "10.0.1.2 subflow dev wan1");
    let daemon = lab.daemon("");
    lab.expect(&[one]);
    // One write at least for each half.
    for _ in 0..2 {
        lab.host.ip("addr add 10.0.1.9/24 dev wan1");
        lab.expect(&[one, "10.0.1.9 subflow dev wan1"]);
        lab.host.ip("addr del 10.0.1.9/24 dev wan1");
        lab.expect(&[one]);
    }
    daemon.stop();
    let daemon = lab.daemon("");
    lab.expect_still(&[one]);
    let before = state();
    lab.host.ip("addr add 10.0.1.2/24 dev wan1");
    lab.expect(&[one, two]);
    daemon.kill();
    let mut torn = state();
    let changed = torn.iter().zip(&before).position(|(now, then)| now != then);
    let written = changed.expect("another state");
    // The last octets of what was written are those of before.
    let end = torn
        .iter()
        .zip(&before)
        .rposition(|(now, then)| now != then);
    let end = end.expect("another state") + 1;
    let middle = written.midpoint(end);
    torn[middle..end].copy_from_slice(&before[middle..end]);
    lab.write("state", &torn);
    lab.host.ip("addr flush dev wan1");
    let daemon = lab.daemon("");
    lab.expect_still(&[two]);
    assert_eq!(daemon.lines(&["warn"]), 0, "{}", daemon.log());
}

/// An endpoint of ours must be known before it is made; that one has gone can be written with the
/// next change.
#[test]
fn the_state_file_is_written_only_when_the_state_changes() {
    let lab = lab!();
    lab.wan(1);
    lab.host.ip("addr add 10.0.1.2/24 dev wan1");
    let state = lab.path("state");
    let state = || {
        let written = std::fs::metadata(&state).and_then(|about| about.modified());
        let text = std::fs::read(&state).expect("a state file");
        (written.expect("a time"), text)
    };
    let config = "[core]\nresync-interval = 1\n";
    let [one, two] = [1, 2].map(|n| format!("10.0.1.{n} subflow dev wan1"));
    let daemon = lab.daemon(config);
    lab.expect_still(&[&one, &two]);
    let before = state();
    for _ in 0..3 {
        lab.reload(&daemon, config);
        lab.host
            .ip("link set wan1 mtu 1400; link set wan1 mtu 1500");
        daemon.catch_up();
    }
    lab.host.ip("addr del 10.0.1.2/24 dev wan1");
    lab.expect(&[&one]);
    assert_eq!(state(), before);
    lab.host.ip("addr add 10.0.1.2/24 dev wan1");
    lab.expect(&[&one, &two]);
    assert_ne!(state(), before);
}

/// Not even where an endpoint is just like the one that the state speaks of.
#[test]
fn the_state_of_another_namespace_is_not_used() {
    let lab = lab!();
    lab.wan(1);
    lab.outside
        .ip("link add wan9 index 101 type veth peer name peer index 601");
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    daemon.stop();
    let id = lab.host.id("10.0.1.1").expect("an endpoint");
    lab.outside.ip(&format!(
        "mptcp endpoint add 10.0.1.1 id {id} subflow dev wan9"
    ));
    let foreign = lab.outside.endpoints_with_ids();
    let daemon = lab.daemon_in(&lab.outside, "[core]\non-exit = remove\n", &[]);
    daemon.says(&["another boot or network namespace"]);
    daemon.catch_up();
    daemon.stop();
    assert_eq!(lab.outside.endpoints_with_ids(), foreign);
}

#[test]
fn a_state_file_on_a_full_disk_is_written_later() {
    let lab = lab!();
    lab.wan(1);
    let shell = |script: &str| {
        let status = lab.host.command("sh").args(["-c", script]).status();
        status.expect("nsenter").success()
    };
    // Something else has taken all the room.
    shell("mkdir /run/small && mount -t tmpfs -o size=64k tmpfs /run/small");
    assert!(!shell("cat /dev/zero >/run/small/other 2>/dev/null"));
    let config = "[core]\nstate-file=/run/small/state\nresync-interval=1\non-exit=remove\n";
    let daemon = lab.daemon(config);
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    daemon.says(&["cannot write the state file"]);
    assert!(shell("! test -s /run/small/state && rm /run/small/other"));
    // Nothing happens, and yet the endpoint is known for ours after a crash.
    assert!(
        until(|| shell("test -s /run/small/state")),
        "{}",
        daemon.log()
    );
    daemon.kill();
    let daemon = lab.daemon(config);
    daemon.says(&["watching"]);
    daemon.stop();
    lab.expect(&[""; 0]);
}

#[test]
fn no_place_for_the_state_file() {
    let lab = lab!();
    lab.wan(1);
    let file = lab.write("file", "");
    for place in [
        file.join("state"),
        "/proc/nowhere/state".into(),
        "/sys/state".into(),
    ] {
        let daemon = lab.daemon(&format!(
            "[core]\non-exit=remove\nstate-file={}\n",
            place.display()
        ));
        lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
        let about = daemon.lines(&[place.to_str().expect("UTF-8")]);
        assert_eq!(
            about,
            1,
            "one line about {}:\n{}",
            place.display(),
            daemon.log()
        );
        daemon.stop();
    }
    // None at all is a choice, and nothing to speak of.
    let daemon = lab.daemon("[core]\nstate-file=\n");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    assert_eq!(daemon.lines(&["warn"]), 0, "{}", daemon.log());
}

/// A link with many alternative names, of which each message about it tells.
fn name_often(lab: &Lab, link: &str, names: usize) {
    let filler = "x".repeat(100);
    let lines = |n: usize| format!("link property add dev {link} altname {link}-{n}-{filler}\n");
    lab.host.ip(&(0..names).map(lines).collect::<String>());
}

/// Events that do not fit their room, and then dumps that do not fit theirs.
#[test]
fn truncated_messages() {
    for names in [60, 320] {
        let lab = lab!();
        lab.wan(1);
        lab.wan(2);
        name_often(&lab, "wan1", names);
        let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
        let daemon = lab.daemon(ANY_ROUTE);
        lab.expect(&[one, two]);
        lab.host.ip("link set wan1 down");
        lab.expect(&[two]);
        lab.host.ip("link set wan1 up");
        lab.expect(&[one, two]);
        lab.host.ip("link set wan1 name lte1");
        lab.expect_still(&["10.0.1.1 subflow dev lte1", two]);
        assert_eq!(daemon.lines(&["events were lost"]), 1, "{}", daemon.log());
    }
}

/// Events are read in turns, of 1024 or another power of two. That some were lost is acted upon also
/// if they end with a turn.
#[test]
fn a_loss_at_the_end_of_a_turn() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon(ANY_ROUTE);
    let one = "10.0.1.1 subflow dev wan1";
    lab.expect_still(&[one]);
    // The names do not come as events of their own kind, but as ones that are too long.
    lab.link("names");
    name_often(&lab, "names", 60);
    lab.expect_still(&[one]);
    let counters = || {
        daemon.catch_up();
        let log = daemon.log();
        let line = log.lines().rfind(|line| line.contains("counters events"));
        let words = line.expect("counters").split_whitespace();
        let numbers: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
        <[u32; 2]>::try_from(numbers).expect("events and overflows")
    };
    let [events, overflows] = counters();
    daemon.signal(SIGSTOP);
    let mut lines = "link property add dev names altname last-one\n".to_owned();
    for n in 0..4095 {
        let what = if n % 2 == 0 { "add" } else { "del" };
        lines += &format!("addr {what} 10.0.1.2/24 dev wan1\n");
    }
    lab.host.ip(&lines);
    daemon.signal(SIGCONT);
    // A signal is no event: the turn that it brings reads none.
    let acted_upon = until(|| counters()[1] == overflows + 1);
    assert!(acted_upon, "{}", daemon.log());
    assert_eq!(counters()[0], events + 4095);
    lab.expect(&[one, "10.0.1.2 subflow dev wan1"]);
}

/// A daemon with the ways to fail of `failing_recv`.
fn failing<'a>(lab: &'a Lab, fault: &str) -> Daemon<'a> {
    lab.write("failing.fault", fault);
    let core = "[core]\nload-plugins = addr_adv\nstate-file =\nresync-interval = 0\n";
    let config = lab.write("failing.conf", core);
    lab.program_in(&lab.host, &program("failing_recv"), &config, &[])
}

/// What is left of an answer whose reading failed is not taken for the next.
fn an_answer_is_read_in_part(protocol: i32) {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let daemon = failing(&lab, "");
    let wanted = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    lab.expect(&wanted);
    let fault = lab.write("failing.fault", format!("part {protocol}"));
    daemon.signal(SIGHUP);
    assert!(until(|| !fault.exists()), "{}", daemon.log());
    // Nor is it read for ever.
    expect_asleep(&daemon);
    lab.expect(&wanted);
    lab.host.ip("route add default dev wan2 metric 77");
    lab.expect_still(&wanted);
    daemon.stop();
}

#[test]
fn the_network_is_read_in_part() {
    an_answer_is_read_in_part(libc::NETLINK_ROUTE);
}

#[test]
fn the_endpoints_are_read_in_part() {
    an_answer_is_read_in_part(libc::NETLINK_GENERIC);
}

#[test]
fn the_answer_that_the_path_manager_is_there_is_lost() {
    let lab = lab!();
    lab.wan(1);
    let daemon = failing(&lab, &format!("loss {}", libc::NETLINK_GENERIC));
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    assert!(!lab.path("failing.fault").exists());
    daemon.stop();
}

#[test]
fn three_hundred_addresses_move_up_in_order() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let address = |n: usize| format!("10.1.{}.{}", n / 200, n % 200 + 1);
    let change = |verb: &str, numbers: &mut dyn Iterator<Item = usize>| {
        let line = |n| format!("addr {verb} {}/8 dev wan1\n", address(n));
        lab.host.ip(&numbers.map(line).collect::<String>());
    };
    let expect = |numbers: &mut dyn Iterator<Item = usize>| {
        let all = numbers.map(|n| format!("{} subflow dev wan1", address(n)));
        let mut all: Vec<_> = all.collect();
        all.push("10.0.1.1 subflow dev wan1".to_owned());
        lab.expect(&all);
    };
    change("add", &mut (0..299));
    let seen = || lab.host.endpoints().len();
    let mut room = 0;
    assert!(until(
        || std::mem::replace(&mut room, seen()) == seen() && room > 1
    ));
    expect(&mut (0..room - 1));
    change("del", &mut (0..299).filter(|n| n % 2 == 0));
    expect(&mut (0..299).filter(|n| n % 2 == 1).take(room - 1));
    change("del", &mut (0..290).filter(|n| n % 2 == 1));
    expect(&mut (290..299).filter(|n| n % 2 == 1));
    assert_eq!(
        daemon.lines(&["addresses without one"]),
        1,
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.lines(&["refuses"]), 0, "{}", daemon.log());
}

/// Nothing tells the daemon what others do to endpoints: it looks when something else happens.
#[test]
fn an_event_is_a_reason_to_look() {
    let lab = lab!();
    lab.wan(1);
    lab.link("lan");
    let _daemon = lab.daemon("[core]\nresync-interval = 0\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    lab.host
        .ip("mptcp endpoint flush; mptcp limits set subflows 1");
    lab.host.ip("link set lan mtu 1400");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    assert!(
        until(|| lab.host.limits().1 == 3),
        "{:?}",
        lab.host.limits()
    );
}

/// How often the process has given up its processor, as it does for each wait, or lost it.
fn switches(pid: u32) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.map(str::to_owned).collect()
}

/// Waits until nothing wakes it. The look that follows events comes first, some seconds later.
#[track_caller]
fn expect_asleep(daemon: &Daemon<'_>) {
    let asleep = until(|| {
        let before = switches(daemon.pid());
        std::thread::sleep(std::time::Duration::from_secs(3));
        switches(daemon.pid()) == before
    });
    assert!(asleep, "it keeps waking up");
}

#[test]
fn an_idle_daemon_sleeps() {
    let lab = lab!();
    lab.wan(1);
    let daemon = lab.daemon("[core]\nresync-interval = 0\n");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    expect_asleep(&daemon);
    lab.host.ip("addr add 10.0.1.2/24 dev wan1");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.1.2 subflow dev wan1"]);
}

/// Somebody's link must not make the daemon write elsewhere.
#[test]
fn a_state_file_that_is_a_symbolic_link_is_not_used() {
    let lab = lab!();
    lab.wan(1);
    let target = lab.write("precious", "as it was");
    std::os::unix::fs::symlink(&target, lab.path("state")).expect("a link");
    let daemon = lab.daemon("");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    let about = daemon.lines(&["without a state file"]);
    assert_eq!(about, 1, "{}", daemon.log());
    assert_eq!(std::fs::read(&target).expect("our file"), b"as it was");
}

/// A slip in the configuration costs no file.
#[test]
fn a_state_file_that_is_another_file_is_not_overwritten() {
    let lab = lab!();
    lab.wan(1);
    let target = lab.write("state", "as it was");
    let daemon = lab.daemon("");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    let about = daemon.lines(&["not a state file", "without a state file"]);
    assert_eq!(about, 1, "{}", daemon.log());
    daemon.stop();
    assert_eq!(std::fs::read(&target).expect("our file"), b"as it was");
}

/// A tunnel has a carrier only while a program holds its other end.
#[test]
fn a_tunnel_that_nobody_serves() {
    let lab = lab!();
    lab.wan(1);
    let made = lab.host.run("ip tuntap add tun0 mode tun");
    if !made.status.success() {
        return skip("tun", "no tun devices");
    }
    let _daemon = lab.daemon(ANY_ROUTE);
    lab.host
        .ip("link set tun0 up; addr add 10.8.0.1 peer 10.8.0.2 dev tun0");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
    lab.host.ip("link del tun0");
    lab.expect_still(&["10.0.1.1 subflow dev wan1"]);
}

/// As OpenWrt's ujail does: its process waits outside of the jail, and is killed.
#[test]
fn a_jail_that_is_killed_leaves_nobody_in_the_way() {
    let lab = lab!();
    lab.wan(1);
    let (config, state) = (lab.write("mptcpd.conf", ""), lab.path("state"));
    let mut jail = lab.host.command("unshare");
    jail.args(["-pf", env!("CARGO_BIN_EXE_mptcpd"), "-c"]);
    jail.arg(config).arg("--state-file").arg(state);
    jail.stdout(Stdio::null()).stderr(Stdio::null());
    let mut jail = jail.spawn().expect("nsenter");
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    let before = lab.host.endpoints_with_ids();
    let children = format!("/proc/{0}/task/{0}/children", jail.id());
    let inside = fs::read_to_string(children).expect("a process with children");
    jail.kill().expect("our own child");
    jail.wait().expect("our own child");
    let inside = format!("/proc/{}", inside.trim());
    assert!(until(|| !fs::exists(&inside).unwrap()), "it lives on");
    assert_eq!(lab.host.endpoints_with_ids(), before, "as after a crash");
    let _daemon = lab.daemon("");
    lab.unplug("wan1");
    lab.expect(&[""; 0]);
}

/// Without `existing` only what comes later is used, and what an earlier run used.
#[test]
fn a_restart_uses_what_the_last_run_used() {
    let lab = lab!();
    lab.wan(1);
    let config = "[core]\nnotify-flags = skip_link_local,skip_loopback,check_route\n";
    let started = || {
        let daemon = lab.daemon(config);
        // What comes before would be there already.
        daemon.says(&["watching"]);
        daemon
    };
    let daemon = started();
    lab.expect_still(&[""; 0]);
    lab.wan(2);
    lab.expect(&["10.0.2.1 subflow dev wan2"]);
    daemon.kill();
    let before = lab.host.endpoints_with_ids();
    let daemon = started();
    lab.expect_still(&["10.0.2.1 subflow dev wan2"]);
    assert_eq!(lab.host.endpoints_with_ids(), before);
    daemon.stop();
    let _daemon = started();
    lab.unplug("wan2");
    lab.expect(&[""; 0]);
    lab.plug("wan2");
    lab.expect_still(&["10.0.2.1 subflow dev wan2"]);
}

/// The kernel gives an id to somebody else when the endpoints have been flushed.
#[test]
fn an_id_that_has_changed_hands_is_left_alone() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    let flushed = "mptcp endpoint flush; mptcp endpoint add 10.99.9.9 id ";
    let daemon = lab.daemon("[core]\nresync-interval = 0\non-exit = remove\n");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    let id = lab.host.id("10.0.2.1").expect("its endpoint");
    lab.host.ip(&format!("{flushed}{id} signal"));
    lab.unplug("wan2");
    // What the flush took from the other uplink is seen as well.
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.99.9.9 signal"]);
    let id = lab.host.id("10.0.1.1").expect("its endpoint");
    lab.host.ip(&format!("{flushed}{id} signal"));
    daemon.stop();
    lab.expect(&["10.99.9.9 signal"]);
}

/// Namespaces come and go, and nobody else cleans up what is left of them.
#[test]
fn files_of_namespaces_that_are_gone_are_removed() {
    let lab = lab!();
    let config = "# The default state-file.\n";
    let files = || {
        lab.host
            .out("ls /run/mptcpd")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let run = |at: &Namespace| {
        let before = files();
        let daemon = lab.daemon_in(at, config, &[]);
        daemon.says(&["watching"]);
        daemon.stop();
        files()
            .into_iter()
            .filter(|file| !before.contains(file))
            .collect::<Vec<_>>()
    };
    lab.host.out("mkdir /run/mptcpd");
    let stays = run(&lab.outside);
    let gone = lab.host.beside();
    let goes = run(&gone);
    assert!(goes.len() >= 2 && stays.len() >= 2, "{goes:?} {stays:?}");
    drop(gone);
    let ours = run(&lab.host);
    let left = files();
    assert!(!goes.iter().any(|file| left.contains(file)), "{left:?}");
    assert!(
        ours.iter().chain(&stays).all(|file| left.contains(file)),
        "{left:?}"
    );
}

/// As NetworkManager and the daemon in C leave them; ours do not come in their place.
#[test]
fn endpoints_of_others_are_named_and_taken_over_when_asked_for() {
    let lab = lab!();
    lab.wan(1);
    lab.wan(2);
    lab.host.ip(
        "mptcp endpoint add 10.0.1.1 dev wan1 id 11 subflow; mptcp endpoint add 10.0.2.1
         mptcp endpoint add 10.99.9.9 signal",
    );
    let theirs = ["10.0.1.1 subflow dev wan1", "10.0.2.1", "10.99.9.9 signal"];
    let daemon = lab.daemon("");
    lab.expect_still(&theirs);
    lab.unplug("wan1");
    lab.expect_still(&theirs);
    lab.plug("wan1");
    lab.expect_still(&theirs);
    for part in [
        "10.0.1.1 has an endpoint (id 11)",
        "10.0.2.1 has an endpoint",
    ] {
        assert_eq!(daemon.lines(&["warn", part]), 1, "{}", daemon.log());
    }
    assert_eq!(daemon.lines(&["10.99.9.9"]), 0, "{}", daemon.log());
    let ours = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    // By prefix: only what is in it.
    lab.reload(&daemon, "[core]\nadopt = 10.0.2.0/24, 10.99.0.0/16\n");
    lab.expect_still(&[ours[0], ours[1], "10.99.9.9 signal"]);
    lab.unplug("wan1");
    lab.unplug("wan2");
    lab.expect_still(&[ours[0], "10.99.9.9 signal"]);
    lab.plug("wan1");
    lab.plug("wan2");
    lab.expect_still(&[ours[0], ours[1], "10.99.9.9 signal"]);
    lab.reload(&daemon, "[core]\nadopt = yes\n");
    lab.expect(&[ours[0], ours[1], "10.99.9.9 signal"]);
    assert_eq!(lab.host.id("10.0.1.1"), Some(11), "it is right as it is");
    lab.unplug("wan1");
    lab.expect(&[ours[1], "10.99.9.9 signal"]);
}
