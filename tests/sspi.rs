// SPDX-License-Identifier: BSD-3-Clause
//! `sspi` on the real kernel, on both sides: one subflow per interface, whatever happens.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::monitor::Monitor;
use support::peer::{Held, Peer, Transfer};
use support::subflows::{address, expect, expect_from, lab, subflows};
use support::{Daemon, Lab, Namespace, until};

const SSPI: &str = "[core]\nload-plugins = sspi\nlog-level = debug\nstate-file =\n\
                    notify-flags = existing,skip_link_local,skip_loopback\n";

/// A transfer at this rate, in bytes a second, lasts long enough for all that happens in it.
const BYTES: &str = "6000000";
const RATE: &str = "1000000";

/// The daemon listens where no program does.
fn listen() -> String {
    format!("{SSPI}[sspi]\nlisten = yes\n")
}

fn both(lab: &Lab) -> (Daemon<'_>, Daemon<'_>) {
    let client = lab.daemon_in(&lab.host, SSPI, &[]);
    client.says(&["watching"]);
    let server = lab.daemon_in(&lab.outside, SSPI, &[]);
    server.says(&["watching"]);
    (client, server)
}

/// Connections from the host to the outside.
#[track_caller]
fn connect(lab: &Lab, listen: &str, to: &str, count: usize) -> Held {
    Held::open(&lab.host, to, &lab.outside, listen, count)
}

/// `ip mptcp monitor` on each side, from the start.
#[track_caller]
fn monitors(lab: &Lab) -> [Monitor; 2] {
    let near = Monitor::start(lab, &lab.host, "near");
    let far = Monitor::start(lab, &lab.outside, "far");
    let begun = || {
        drop(connect(lab, "0.0.0.0:6000", "10.0.1.2:6000", 1));
        near.count(&[" CREATED"]) > 0 && far.count(&[" CREATED"]) > 0
    };
    assert!(until(begun));
    [near, far]
}

/// Whether a line of the monitor has the address, which may be mapped from IPv4.
fn names(line: &str, address: &str) -> bool {
    let mut values = line
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    values.any(|(_, value)| value.trim_start_matches("::ffff:") == address)
}

/// Three cables: the client makes a subflow over each, and both sides announce the other two.
fn one_for_each_interface(listen: &str, to: &str, client: [&str; 3], server: [&str; 3]) {
    let Some(lab) = lab(3) else { return };
    let [near, far] = monitors(&lab);
    let daemons = both(&lab);
    let _peers = connect(&lab, listen, to, 1);
    let wanted: Vec<String> = client
        .iter()
        .zip(server)
        .map(|(client, server)| format!("{client}-{server}"))
        .collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    expect(&lab.host, &wanted, &[&daemons.0, &daemons.1]);
    for (monitor, addresses) in [(&near, &server), (&far, &client)] {
        for address in &addresses[1..] {
            monitor.sees(&["ANNOUNCED", &format!("={address} ")], 1);
        }
        monitor.sees(&["ANNOUNCED"], 2);
    }
    // Each of the client's addresses has one id, in its join and its announcement.
    let joined = |address| {
        let lines = far.lines();
        let mut joins = lines.iter().filter(|l| l.contains("SF_ESTABLISHED"));
        joins.any(|line| names(line, address))
    };
    assert!(until(|| client[1..].iter().all(|address| joined(address))));
    let text = far.lines().join("\n");
    let id = |event: &str, address: &str| {
        let line = text
            .lines()
            .rfind(|l| l.contains(event) && names(l, address));
        let words = line.expect(event).split_whitespace();
        words.filter_map(|w| w.strip_prefix("remid=")).next_back()
    };
    for address in &client[1..] {
        let joined = id("SF_ESTABLISHED", address);
        assert_ne!(joined, Some("0"), "{text}");
        assert_eq!(joined, id("ANNOUNCED", address), "{text}");
    }
}

#[test]
fn one_subflow_for_each_interface_over_ipv4() {
    one_for_each_interface(
        "0.0.0.0:5000",
        "10.0.1.2:5000",
        ["10.0.1.1", "10.0.2.1", "10.0.3.1"],
        ["10.0.1.2", "10.0.2.2", "10.0.3.2"],
    );
}

#[test]
fn one_subflow_for_each_interface_over_ipv6() {
    one_for_each_interface(
        "[::]:5000",
        "[2001:db8:1::2]:5000",
        ["2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1"],
        ["2001:db8:1::2", "2001:db8:2::2", "2001:db8:3::2"],
    );
}

/// Both programs' sockets are IPv6, and talk IPv4.
#[test]
fn one_subflow_for_each_interface_between_dual_stack_sockets() {
    one_for_each_interface(
        "[::]:5000",
        "[::ffff:10.0.1.2]:5000",
        ["10.0.1.1", "10.0.2.1", "10.0.3.1"],
        ["10.0.1.2", "10.0.2.2", "10.0.3.2"],
    );
}

/// A path that goes, and comes back, in the middle of a connection.
#[test]
fn addresses_and_interfaces_come_and_go() {
    let Some(lab) = lab(2) else { return };
    let daemons = both(&lab);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    let all = ["10.0.1.1", "10.0.2.1"];
    let expect = |wanted: &[&str]| expect_from(&lab.host, wanted, 1, &[&daemons.0, &daemons.1]);
    let removed = || lab.outside.counter("MPTcpExtRmAddr");
    expect(&all);

    let before = removed();
    lab.host.ip("addr del 10.0.2.1/24 dev wan2");
    expect(&all[..1]);
    assert!(until(|| removed() == before + 1), "not withdrawn");
    lab.host.ip("addr add 10.0.2.1/24 dev wan2");
    lab.route(2);
    expect(&all);

    lab.unplug("wan2");
    expect(&all[..1]);
    assert!(until(|| removed() == before + 2), "not withdrawn");
    lab.plug("wan2");
    expect(&all);

    // Another address takes the place of the first.
    lab.host
        .ip("addr del 10.0.2.1/24 dev wan2; addr add 10.0.2.7/24 dev wan2");
    lab.route(2);
    expect(&[all[0], "10.0.2.7"]);

    // The connection's own path goes: the other one carries it.
    lab.unplug("wan1");
    expect(&["10.0.2.7"]);
    lab.plug("wan1");
    expect(&[all[0], "10.0.2.7"]);

    // A new interface.
    lab.wan(3);
    lab.outside.ip("addr add 10.0.3.2/24 dev wan3");
    expect(&[all[0], "10.0.2.7", "10.0.3.1"]);
}

/// The peer, where no daemon runs, leaves the path as soon as this side does: the initial subflow's
/// and another one's.
#[test]
fn a_lost_path_is_told_to_the_peer() {
    let Some(lab) = lab(2) else { return };
    let client = lab.daemon_in(&lab.host, SSPI, &[]);
    client.says(&["watching"]);
    let transfer = Transfer::to(&lab, "0.0.0.0:5000", "10.0.1.2:5000", BYTES, RATE);
    let all = ["10.0.1.2-10.0.1.1", "10.0.1.2-10.0.2.1"];
    for lost in [0, 1] {
        expect(&lab.outside, &all, &[&client]);
        let cable = ["wan1", "wan2"][lost];
        lab.unplug(cable);
        expect(&lab.outside, &[all[1 - lost]], &[&client]);
        lab.plug(cable);
    }
    expect(&lab.outside, &all, &[&client]);
    transfer.finish();
}

/// The kernel keeps an address that no subflow of a connection came about from, by the id it was
/// asked with, and takes it by no other when it returns.
#[test]
fn an_address_that_has_failed_and_gone_is_used_when_it_returns() {
    let Some(lab) = lab(2) else { return };
    lab.host.sysctl("ipv4/tcp_syn_retries", 1);
    let daemons = both(&lab);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    let both = ["10.0.1.1", "10.0.2.1"];
    let expect = |wanted: &[&str]| expect_from(&lab.host, wanted, 1, &[&daemons.0, &daemons.1]);
    expect(&both);
    // From now on the first address is not the initial subflow's alone.
    lab.unplug("wan1");
    expect(&both[1..]);
    lab.plug("wan1");
    expect(&both);
    // It is reset, and what is made in its place comes to nothing.
    lab.outside.ip("route add blackhole 10.0.1.1/32");
    lab.host.out("ss -K src 10.0.1.1 dport = :5000");
    expect(&both[1..]);
    let joining = || lab.host.out("ss -tnH state syn-sent").lines().count();
    assert!(until(|| joining() > 0), "{}", lab.host.out("ss -tna"));
    lab.host.ip("addr del 10.0.1.1/24 dev wan1");
    assert!(until(|| joining() == 0), "{}", lab.host.out("ss -tn"));

    lab.host.ip("addr add 10.0.1.7/24 dev wan1");
    lab.route(1);
    expect(&["10.0.1.7", both[1]]);
    lab.host.ip("addr del 10.0.1.7/24 dev wan1");
    expect(&both[1..]);
    lab.outside.ip("route del blackhole 10.0.1.1/32");
    lab.host.ip("addr add 10.0.1.1/24 dev wan1");
    lab.route(1);
    expect(&both);
}

/// Nothing is left for the connection but to wait, and that it does, longer than the kernel keeps one
/// without subflows.
#[test]
fn the_last_path_is_left_alone() {
    let Some(lab) = lab(2) else { return };
    for at in [&lab.host, &lab.outside] {
        at.sysctl("mptcp/close_timeout", 1);
    }
    let daemons = both(&lab);
    let transfer = Transfer::to(&lab, "0.0.0.0:5000", "10.0.1.2:5000", BYTES, RATE);
    let wait = |wanted: &[&str]| expect_from(&lab.host, wanted, 1, &[&daemons.0, &daemons.1]);
    let all = ["10.0.1.1", "10.0.2.1"];
    wait(&all);
    lab.unplug("wan1");
    wait(&all[1..]);
    // Not even by a word to the peer, which would leave it.
    let unused = format!("{SSPI}[interface wan2]\nuse = no\n");
    lab.reload(&daemons.0, &unused);
    sleep(Duration::from_millis(500));
    wait(&all[1..]);
    lab.reload(&daemons.0, SSPI);
    lab.unplug("wan2");
    sleep(Duration::from_secs(3));
    wait(&all[1..]);
    // What returns takes over from what was left.
    lab.plug("wan1");
    wait(&all[..1]);
    lab.plug("wan2");
    wait(&all);
    transfer.finish();
}

/// A server of its own behind the outside, which forwards, on two cables that client and server do
/// not share. Cable `srvN` carries 10.1.N.0/24; the server has .2.
struct FarServer {
    lab: Lab,
    server: Namespace,
}

impl FarServer {
    fn new(uplinks: u8) -> Option<Self> {
        let lab = lab(uplinks)?;
        let server = lab.outside.beside();
        for n in 1..=2 {
            lab.outside.ip(&format!(
                "link add srv{n} index 60{n} type veth peer name srv{n} index 70{n} netns {}
                 link set srv{n} up; addr add 10.1.{n}.1/24 dev srv{n}",
                server.pid()
            ));
            server.ip(&format!(
                "link set srv{n} up; addr add 10.1.{n}.2/24 dev srv{n}
                 route add default via 10.1.{n}.1 dev srv{n} metric {n}1
                 route add default via 10.1.{n}.1 dev srv{n} table {n}
                 rule add from 10.1.{n}.2 lookup {n}"
            ));
        }
        lab.outside.sysctl("ipv4/ip_forward", 1);
        server.sysctl("mptcp/pm_type", 1);
        Some(Self { lab, server })
    }

    fn both(&self) -> [Daemon<'_>; 2] {
        [&self.lab.host, &self.server].map(|at| {
            let daemon = self.lab.daemon_in(at, SSPI, &[]);
            daemon.says(&["watching"]);
            daemon
        })
    }
}

/// Every address of either side has a subflow, and there are no more than that takes.
#[test]
fn both_addresses_of_a_server_are_used() {
    let wanted: [&[&str]; 3] = [
        &["10.0.1.1-10.1.1.2", "10.0.1.1-10.1.2.2"],
        &["10.0.1.1-10.1.1.2", "10.0.2.1-10.1.2.2"],
        &[
            "10.0.1.1-10.1.1.2",
            "10.0.2.1-10.1.2.2",
            "10.0.3.1-10.1.1.2",
        ],
    ];
    for (uplinks, wanted) in (1..).zip(wanted) {
        let Some(far) = FarServer::new(uplinks) else {
            return;
        };
        let [client, server] = far.both();
        let held = Held::open(
            &far.lab.host,
            "10.1.1.2:5000",
            &far.server,
            "0.0.0.0:5000",
            10,
        );
        let all: Vec<&str> = wanted.iter().flat_map(|one| [*one; 10]).collect();
        expect(&far.lab.host, &all, &[&client, &server]);
        client.catch_up();
        server.catch_up();
        expect(&far.lab.host, &all, &[&client, &server]);
        held.release();
    }
}

/// The server tells its clients, and they go on at its other address.
#[test]
fn a_server_loses_its_first_link() {
    for uplinks in [1, 2] {
        let Some(far) = FarServer::new(uplinks) else {
            return;
        };
        let [client, server] = far.both();
        let open = |count| {
            Held::open(
                &far.lab.host,
                "10.1.1.2:5000",
                &far.server,
                "0.0.0.0:5000",
                count,
            )
        };
        let held = open(20);
        let both = |count: usize| {
            let holds = until(|| {
                let all = subflows(&far.lab.host);
                let to = |end: &str| all.iter().filter(|s| s.ends_with(end)).count();
                to("-10.1.1.2") == count && to("-10.1.2.2") == count && all.len() == 2 * count
            });
            assert!(
                holds,
                "{:?}\n{}{}",
                subflows(&far.lab.host),
                client.log(),
                server.log()
            );
        };
        both(20);
        held.release();
        let listening = Peer::listening(&far.server, &["server", "0.0.0.0:5000", BYTES]);
        let start = Instant::now();
        let sending = Peer::start(&far.lab.host, &["client", "10.1.1.2:5000", BYTES, RATE]);
        both(1);
        far.lab.outside.ip("link set srv1 down");
        let from: Vec<String> = (1..=uplinks)
            .map(|n| format!("10.0.{n}.1-10.1.2.2"))
            .collect();
        let from: Vec<&str> = from.iter().map(String::as_str).collect();
        expect(&far.lab.host, &from, &[&client, &server]);
        sleep(Duration::from_secs(2));
        far.lab.outside.ip("link set srv1 up");
        both(1);
        assert_eq!(sending.result(), listening.result());
        // It takes six seconds, and fifteen where each end closes what the other one needs.
        assert!(
            start.elapsed() < Duration::from_secs(12),
            "{:?}",
            start.elapsed()
        );
    }
}

/// A server that has one address is left the subflows its clients make.
#[test]
fn a_single_interface_keeps_its_second_subflow() {
    let Some(lab) = lab(2) else { return };
    lab.outside.ip(
        "addr del 10.0.2.2/24 dev wan2; addr del 2001:db8:2::2/64 dev wan2
         route add 10.0.2.0/24 dev wan2",
    );
    lab.host.ip("route add 10.0.1.2 dev wan2 metric 5");
    let daemons = both(&lab);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 5);
    let wanted: Vec<&str> = [["10.0.1.2-10.0.1.1"; 5], ["10.0.1.2-10.0.2.1"; 5]].concat();
    expect(&lab.outside, &wanted, &[&daemons.0, &daemons.1]);
    let joins = lab.outside.counter("MPTcpExtMPJoinAckRx");
    daemons.1.catch_up();
    daemons.0.catch_up();
    expect(&lab.outside, &wanted, &[&daemons.0, &daemons.1]);
    assert_eq!(lab.outside.counter("MPTcpExtMPJoinAckRx"), joins);
}

#[test]
fn a_peer_that_denies_joins_is_joined_where_it_announces() {
    let Some(lab) = lab(2) else { return };
    lab.outside.sysctl("mptcp/allow_join_initial_addr_port", 0);
    let daemons = both(&lab);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    let wanted = ["10.0.1.1-10.0.1.2", "10.0.2.1-10.0.2.2"];
    expect(&lab.host, &wanted, &[&daemons.0, &daemons.1]);
}

#[test]
fn a_backup_interface_gets_a_backup_subflow() {
    let Some(lab) = lab(2) else { return };
    let [_, far] = monitors(&lab);
    let config = format!("{SSPI}[interface wan2]\naddr-flags = subflow,backup\n");
    let client = lab.daemon_in(&lab.host, &config, &[]);
    client.says(&["watching"]);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    expect(
        &lab.host,
        &["10.0.1.1-10.0.1.2", "10.0.2.1-10.0.1.2"],
        &[&client],
    );
    far.sees(&["SF_ESTABLISHED", "=10.0.2.1 ", "backup=1"], 1);
}

/// The subflows that `ss` shows to have backup priority on our demand, as [`subflows`] has them.
fn asked_for(at: &Namespace) -> Vec<String> {
    let text = at.out("ss -tniOH state established");
    let is_backup = |line: &&str| {
        let mut words = line.split_whitespace();
        words.any(|word| word.strip_prefix("flags:").is_some_and(|f| f.contains('b')))
    };
    let ends = text.lines().filter(is_backup).filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        Some(format!(
            "{}-{}",
            address(words.next()?),
            address(words.next()?)
        ))
    });
    let mut all: Vec<String> = ends.collect();
    all.sort_unstable();
    all
}

/// Of the subflows that the peer has made, too, and of the initial one.
#[test]
fn backup_priority_follows_the_configuration() {
    let Some(lab) = lab(2) else { return };
    let [near, far] = monitors(&lab);
    let (client, server) = both(&lab);
    let _peers = connect(&lab, "[::]:5000", "10.0.1.2:5000", 1);
    let here = ["10.0.1.1-10.0.1.2", "10.0.2.1-10.0.2.2"];
    let there = ["10.0.1.2-10.0.1.1", "10.0.2.2-10.0.2.1"];
    expect(&lab.host, &here, &[&client, &server]);
    let backups = |at: &Namespace, wanted: &[&str]| {
        let mut seen = vec![];
        let holds = until(|| {
            seen = asked_for(at);
            seen == wanted
        });
        assert!(
            holds,
            "{seen:?}, not {wanted:?}\n{}{}",
            client.log(),
            server.log()
        );
    };
    let set =
        |daemon: &Daemon<'_>, sections: &str| lab.reload(daemon, &format!("{SSPI}{sections}"));
    set(&client, "[interface wan2]\naddr-flags = subflow,backup\n");
    backups(&lab.host, &here[1..]);
    far.sees(&["SF_PRIO", "10.0.2.1 ", "backup=1"], 1);
    set(&client, "[interface wan1]\naddr-flags = subflow,backup\n");
    backups(&lab.host, &here[..1]);
    far.sees(&["SF_PRIO", "10.0.2.1 ", "backup=0"], 1);
    far.sees(&["SF_PRIO", "10.0.1.1 ", "backup=1"], 1);
    // The other side has its own opinion, and neither answers to that of the other.
    lab.write(
        "mptcpd.conf",
        format!("{SSPI}[interface *]\naddr-flags = backup\n"),
    );
    server.signal(Signal::SIGHUP);
    backups(&lab.outside, &there);
    near.sees(&["SF_PRIO", "backup=1"], 2);
    client.catch_up();
    server.catch_up();
    backups(&lab.host, &here[..1]);
    backups(&lab.outside, &there);
    far.sees(&["SF_PRIO"], 3);

    // What changes while nobody is there is found at the next start.
    client.stop();
    let client = lab.daemon_in(&lab.host, SSPI, &[]);
    client.says(&["watching"]);
    far.sees(&["SF_PRIO", "10.0.1.1 ", "backup=0"], 1);
    assert_eq!(asked_for(&lab.host), [""; 0]);
    drop(server);
}

/// What the policy rules out is neither announced nor used.
#[test]
fn an_interface_that_is_not_used_is_not_used() {
    let Some(lab) = lab(3) else { return };
    let [_, far] = monitors(&lab);
    let config = format!("{SSPI}[interface wan2]\nuse = no\n");
    let client = lab.daemon_in(&lab.host, &config, &[]);
    client.says(&["watching"]);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    let wanted = ["10.0.1.1-10.0.1.2", "10.0.3.1-10.0.1.2"];
    expect(&lab.host, &wanted, &[&client]);
    far.sees(&["ANNOUNCED", "=10.0.3.1 "], 1);
    client.catch_up();
    expect(&lab.host, &wanted, &[&client]);
    far.sees(&["ANNOUNCED"], 1);
}

/// Of what the configuration takes out of use while no daemon runs, and of an address that is left
/// on the other interface.
#[test]
fn a_subflow_ends_with_the_use_of_its_interface() {
    let Some(lab) = lab(2) else { return };
    let client = lab.daemon_in(&lab.host, SSPI, &[]);
    client.says(&["watching"]);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    let all = ["10.0.1.1-10.0.1.2", "10.0.2.1-10.0.1.2"];
    expect(&lab.host, &all, &[&client]);
    client.stop();
    let client = lab.daemon_in(
        &lab.host,
        &format!("{SSPI}[interface wan2]\nuse = no\n"),
        &[],
    );
    expect(&lab.host, &all[..1], &[&client]);
    lab.reload(&client, SSPI);
    expect(&lab.host, &all, &[&client]);

    lab.wan(3);
    lab.outside.ip("addr add 10.0.3.2/24 dev wan3");
    lab.host.ip("addr add 10.0.2.1/32 dev wan3");
    expect(
        &lab.host,
        &[all[0], all[1], "10.0.3.1-10.0.1.2"],
        &[&client],
    );
    lab.unplug("wan2");
    expect(&lab.host, &[all[0], "10.0.3.1-10.0.1.2"], &[&client]);
}

/// A server that listens on one address alone: the daemon listens on the other as long as it is
/// announced, and no longer.
#[test]
fn listeners_go_with_their_announcements() {
    let Some(lab) = lab(2) else { return };
    lab.outside.sysctl("mptcp/allow_join_initial_addr_port", 0);
    let daemons = (
        lab.daemon(SSPI),
        lab.daemon_in(&lab.outside, &listen(), &[]),
    );
    daemons.0.says(&["watching"]);
    daemons.1.says(&["watching"]);
    let listening = || {
        let text = lab.outside.out("ss -MlnH");
        text.lines().filter(|l| l.contains("10.0.2.2:5000")).count()
    };
    let two = connect(&lab, "10.0.1.2:5000", "10.0.1.2:5000", 2);
    // The joins go there.
    let wanted = [
        "10.0.1.1-10.0.1.2",
        "10.0.1.1-10.0.1.2",
        "10.0.2.1-10.0.2.2",
        "10.0.2.1-10.0.2.2",
    ];
    expect(&lab.host, &wanted, &[&daemons.0, &daemons.1]);
    assert_eq!(listening(), 1);
    lab.outside.ip("addr del 10.0.2.2/24 dev wan2");
    assert!(until(|| listening() == 0), "{}", daemons.1.log());
    lab.outside.ip("addr add 10.0.2.2/24 dev wan2");
    expect(&lab.host, &wanted, &[&daemons.0, &daemons.1]);
    assert_eq!(listening(), 1);
    two.release();
    assert!(until(|| listening() == 0), "{}", daemons.1.log());

    // Where a program listens on all addresses there is no need for one.
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    expect(&lab.host, &wanted[1..3], &[&daemons.0, &daemons.1]);
    assert_eq!(listening(), 0);
}

/// A server that listens on one address alone, and on all after it has started again: the daemon
/// neither promises another one nor stands in the way.
#[test]
fn a_server_has_its_port_for_itself() {
    let Some(lab) = lab(2) else { return };
    let [near, _] = monitors(&lab);
    let daemons = both(&lab);
    let peers = connect(&lab, "10.0.1.2:5000", "10.0.1.2:5000", 20);
    let both = [["10.0.1.1-10.0.1.2"; 20], ["10.0.2.1-10.0.1.2"; 20]].concat();
    expect(&lab.host, &both, &[&daemons.0, &daemons.1]);
    let listening = || lab.outside.out("ss -MlnH sport = :5000").lines().count();
    assert_eq!((listening(), near.count(&["ANNOUNCED"])), (1, 0));
    // Somebody begins to serve the other address.
    let other = Peer::listening(&lab.outside, &["accept", "10.0.2.2:5000", "1"]);
    near.sees(&["ANNOUNCED", "10.0.2.2 "], 20);
    drop(other);
    peers.release();
    let again = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 1);
    let both = ["10.0.1.1-10.0.1.2", "10.0.2.1-10.0.2.2"];
    expect(&lab.host, &both, &[&daemons.0, &daemons.1]);
    assert_eq!(listening(), 1);
    again.release();
}

/// With CAP_NET_ADMIN alone, as the unit has it, nobody says whether a program listens at a
/// privileged port.
#[test]
fn privileged_ports_are_announced() {
    let Some(lab) = lab(2) else { return };
    let [near, _] = monitors(&lab);
    let script = format!(
        "#!/bin/sh\nexec setpriv --bounding-set=-all,+net_admin {} \"$@\"\n",
        env!("CARGO_BIN_EXE_mptcpd")
    );
    let script = lab.write("bound", script);
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("our own file");
    for config in [SSPI.to_owned(), listen()] {
        let file = lab.write("bound.conf", config);
        let daemon = lab.program_in(&lab.outside, &script, &file, &[]);
        daemon.says(&["watching"]);
        let before = near.count(&["ANNOUNCED", "10.0.2.2 "]);
        let peers = connect(&lab, "0.0.0.0:500", "10.0.1.2:500", 1);
        near.sees(&["ANNOUNCED", "10.0.2.2 "], before + 1);
        peers.release();
        daemon.stop();
    }
}

/// More than the daemon has listeners for.
#[test]
fn connections_share_a_listener() {
    let Some(lab) = lab(2) else { return };
    let client = lab.daemon(SSPI);
    let server = lab.daemon_in(&lab.outside, &listen(), &[]);
    client.says(&["watching"]);
    server.says(&["watching"]);
    let peers = connect(&lab, "10.0.1.2:5000", "10.0.1.2:5000", 400);
    let both = [["10.0.1.1-10.0.1.2"; 400], ["10.0.2.1-10.0.2.2"; 400]].concat();
    expect(&lab.host, &both, &[&client, &server]);
    let listening = || lab.outside.out("ss -MlnH src 10.0.2.2").lines().count();
    assert_eq!(listening(), 1);
    // A restart opens it again.
    server.stop();
    assert_eq!(listening(), 0);
    let server = lab.daemon_in(&lab.outside, &listen(), &[]);
    assert!(until(|| listening() == 1), "{}", server.log());
    peers.release();
    assert!(until(|| listening() == 0), "{}", server.log());
}

/// Why an address is not announced is said once, and it is announced as soon as that has gone.
#[test]
fn a_refused_listener_is_tried_again() {
    let Some(lab) = lab(2) else { return };
    let [near, _] = monitors(&lab);
    let server = lab.daemon_in(&lab.outside, &listen(), &[]);
    server.says(&["watching"]);
    let limit = |files: &str| {
        lab.outside
            .out(&format!("prlimit --pid {} --nofile={files}", server.pid()));
    };
    // As many as it has: no other can be opened.
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    limit(&format!("{}:1024", open.expect("its descriptors").count()));
    let _peers = connect(&lab, "10.0.1.2:5000", "10.0.1.2:5000", 3);
    server.says(&["cannot announce 10.0.2.2:5000"]);
    limit("1024:1024");
    near.sees(&["ANNOUNCED", "10.0.2.2 "], 3);
    assert_eq!(server.lines(&["cannot announce"]), 1);
}

/// Beside TCP timestamps an announced IPv6 address has no room for the listener's port.
#[test]
fn joins_at_a_listener_over_ipv6() {
    let Some(lab) = lab(2) else { return };
    lab.outside.sysctl("mptcp/allow_join_initial_addr_port", 0);
    let daemons = (
        lab.daemon(SSPI),
        lab.daemon_in(&lab.outside, &listen(), &[]),
    );
    daemons.0.says(&["watching"]);
    daemons.1.says(&["watching"]);
    let server = "[2001:db8:1::2]:5000";
    let _peers = connect(&lab, server, server, 1);
    let wanted = ["2001:db8:1::1-2001:db8:1::2", "2001:db8:2::1-2001:db8:2::2"];
    expect(&lab.host, &wanted, &[&daemons.0, &daemons.1]);
}

/// All come back at once, to a listener of the daemon's.
#[test]
fn hundreds_of_connections_come_back_with_a_link() {
    let Some(lab) = lab(2) else { return };
    let client = lab.daemon(SSPI);
    let server = lab.daemon_in(&lab.outside, &listen(), &[]);
    client.says(&["watching"]);
    server.says(&["watching"]);
    let peers = connect(&lab, "10.0.1.2:5000", "10.0.1.2:5000", 200);
    let both = ["10.0.1.1", "10.0.2.1"];
    for cable in ["wan1", "wan2"] {
        expect_from(&lab.host, &both, 200, &[&client, &server]);
        lab.unplug(cable);
        sleep(Duration::from_secs(4));
        lab.plug(cable);
        expect_from(&lab.host, &both, 200, &[&client, &server]);
    }
    peers.release();
}

#[test]
fn hundreds_of_connections() {
    let Some(lab) = lab(2) else { return };
    let daemons = both(&lab);
    let peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 300);
    let all = [["10.0.1.1-10.0.1.2"; 300], ["10.0.2.1-10.0.2.2"; 300]].concat();
    expect(&lab.host, &all, &[&daemons.0, &daemons.1]);
    lab.unplug("wan2");
    expect_from(&lab.host, &["10.0.1.1"], 300, &[&daemons.0, &daemons.1]);
    lab.plug("wan2");
    let both = ["10.0.1.1", "10.0.2.1"];
    expect_from(&lab.host, &both, 300, &[&daemons.0, &daemons.1]);
    peers.release();
    expect(&lab.host, &[], &[&daemons.0, &daemons.1]);
    for daemon in [&daemons.0, &daemons.1] {
        assert!(until(|| {
            daemon.signal(Signal::SIGUSR1);
            daemon.lines(&["connections 0 unmanaged 0"]) > 0
        }));
    }
}

/// Kilobytes of a process: private and written to, and resident.
fn memory(daemon: &Daemon<'_>) -> [u64; 2] {
    let path = format!("/proc/{}/smaps_rollup", daemon.pid());
    let text = std::fs::read_to_string(path).expect("our own process");
    ["Private_Dirty:", "Rss:"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect(name)
    })
}

/// Whatever a connection needs is there for the next one. Some pages of the tables are used for
/// the first time when more has to wait than ever before; that is the daemon's whole growth.
#[test]
#[ignore = "takes the machine for itself: the gate runs it alone"]
fn twenty_thousand_connections_take_no_memory() {
    let Some(lab) = lab(2) else { return };
    // Ports are needed again.
    lab.host.sysctl("ipv4/tcp_max_tw_buckets", 100);
    let daemons = both(&lab);
    let churn = |port: u16, count: &str| {
        let (listen, to) = (format!("0.0.0.0:{port}"), format!("10.0.1.2:{port}"));
        let mut server = Peer::listening(&lab.outside, &["serve", &listen, count]);
        let mut client = Peer::start(&lab.host, &["churn", &to, count]);
        client.says(&format!("churned {count}"));
        server.says(&format!("served {count}"));
        [&daemons.0, &daemons.1].map(|daemon| {
            let forgotten = until(|| {
                daemon.catch_up();
                let log = daemon.log();
                log.lines()
                    .rfind(|line| line.contains(" unmanaged "))
                    .is_some_and(|line| line.contains("connections 0 unmanaged 0"))
            });
            assert!(forgotten, "{}", daemon.log());
            memory(daemon)
        })
    };
    // So that later no more waits in the sockets than has before.
    for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
        daemons.0.signal(signal);
        daemons.1.signal(signal);
        if signal == Signal::SIGSTOP {
            drop(connect(&lab, "0.0.0.0:5002", "10.0.1.2:5002", 400));
        }
    }
    let after_5000 = churn(5000, "5000");
    let after_20000 = churn(5001, "15000");
    for (before, after) in after_5000.iter().zip(after_20000) {
        for (before, after) in before.iter().zip(after) {
            // Kilobytes: less than 5 octets for each connection.
            assert!(after <= before + 64, "{after_5000:?} {after_20000:?}");
        }
    }
    // It has been at work, and still is: what stays longer than a crowd's rest has its subflows.
    daemons.0.signal(Signal::SIGUSR1);
    let events = || {
        let log = daemons.0.log();
        let (_, count) = log.rsplit_once("counters connection-events ")?;
        count.lines().next()?.parse::<u32>().ok()
    };
    let many = until(|| events().is_some_and(|count| count > 20_000));
    assert!(many, "{:?}", events());
    let _peers = connect(&lab, "0.0.0.0:5003", "10.0.1.2:5003", 1000);
    let from = |address: &str| {
        let line = format!("ss -tnH state established src {address} dport = :5003");
        lab.host.out(&line).lines().count()
    };
    let both_paths = || [from("10.0.1.1"), from("10.0.2.1")];
    assert!(until(|| both_paths() == [1000, 1000]), "{:?}", both_paths());
}

/// Withdrawals and joins that have come to this side.
fn wire(at: &Namespace) -> [u64; 2] {
    ["MPTcpExtRmAddr", "MPTcpExtMPJoinSynRx"].map(|name| at.counter(name))
}

/// Both daemons start again in the middle of connections. Nobody notices, and what they made
/// before is theirs to end.
///
/// Two cables: with more addresses to announce at once, and to acknowledge, the kernel is left
/// with an option to send, and drops the next withdrawal (`MPTcpExtRmAddrTxDrop`).
#[test]
fn a_restart_in_mid_connection() {
    let Some(lab) = lab(2) else { return };
    let [near, far] = monitors(&lab);
    let daemons = both(&lab);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 10);
    let all = [["10.0.1.1-10.0.1.2"; 10], ["10.0.2.1-10.0.2.2"; 10]].concat();
    expect(&lab.host, &all, &[&daemons.0, &daemons.1]);
    daemons.0.catch_up();
    daemons.1.catch_up();
    daemons.0.stop();
    daemons.1.stop();
    let before = [wire(&lab.host), wire(&lab.outside)];
    let told = [&near, &far].map(|monitor| monitor.count(&["ANNOUNCED"]));
    assert!(told[0] >= 10 && told[1] >= 10, "{told:?}");
    let daemons = both(&lab);
    for daemon in [&daemons.0, &daemons.1] {
        daemon.catch_up();
        assert!(
            daemon.lines(&["connections 10 unmanaged 0"]) > 0,
            "{}",
            daemon.log()
        );
    }
    assert_eq!([wire(&lab.host), wire(&lab.outside)], before);
    near.sees(&["ANNOUNCED"], told[0]);
    far.sees(&["ANNOUNCED"], told[1]);
    expect(&lab.host, &all, &[&daemons.0, &daemons.1]);

    lab.host.ip("addr del 10.0.2.1/24 dev wan2");
    expect_from(&lab.host, &["10.0.1.1"], 10, &[&daemons.0, &daemons.1]);
    let withdrawn = || wire(&lab.outside)[0] - before[1][0];
    assert!(until(|| withdrawn() == 10), "{}", withdrawn());
    lab.host.ip("addr add 10.0.2.1/24 dev wan2");
    lab.route(2);
    // The server's second address, announced before the restart, is known by the subflow to it, and
    // may be joined from the first one while this one is away.
    let locals = ["10.0.1.1", "10.0.2.1"];
    expect_from(&lab.host, &locals, 10, &[&daemons.0, &daemons.1]);
}

/// While both daemons are stopped connections come and go, more than their sockets hold events
/// for. Those that are left get what they should have.
#[test]
fn lost_events() {
    let Some(lab) = lab(2) else { return };
    let daemons = both(&lab);
    let stop = |signal| {
        daemons.0.signal(signal);
        daemons.1.signal(signal);
    };
    let ended = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 5);
    let all = [["10.0.1.1-10.0.1.2"; 5], ["10.0.2.1-10.0.2.2"; 5]].concat();
    expect(&lab.host, &all, &[&daemons.0, &daemons.1]);
    // Both ends of these are in the same place: twice the events.
    let mut flood = Peer::listening(&lab.host, &["serve", "10.0.1.1:5002", "5000"]);
    stop(Signal::SIGSTOP);
    let mut client = Peer::start(&lab.host, &["churn", "10.0.1.1:5002", "5000"]);
    client.says("churned 5000");
    flood.says("served 5000");
    ended.release();
    lab.host
        .ip("addr del 10.0.2.1/24 dev wan2; addr add 10.0.2.9/24 dev wan2");
    lab.route(2);
    let _peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 5);
    stop(Signal::SIGCONT);
    daemons.0.says(&["connection events were lost"]);
    let all = ["10.0.1.1", "10.0.2.9"];
    expect_from(&lab.host, &all, 5, &[&daemons.0, &daemons.1]);
    for daemon in [&daemons.0, &daemons.1] {
        daemon.catch_up();
        assert!(
            daemon.lines(&["connections 5 unmanaged 0"]) > 0,
            "{}",
            daemon.log()
        );
    }
}

/// Connections of the in-kernel path manager are none of its business, and no reason to stay
/// awake.
#[test]
fn connections_of_the_kernel_are_left_alone() {
    let Some(lab) = lab(2) else { return };
    lab.host.sysctl("mptcp/pm_type", 0);
    let client = lab.daemon_in(&lab.host, SSPI, &[]);
    client.says(&["watching"]);
    client.says(&["pm_type is 0"]);
    let peers = connect(&lab, "0.0.0.0:5000", "10.0.1.2:5000", 20);
    client.catch_up();
    client.catch_up();
    let one = ["10.0.1.1-10.0.1.2"; 20];
    expect(&lab.host, &one, &[&client]);
    // Refused once for each connection and command: an announcement and a subflow.
    let refused = || {
        client.catch_up();
        let log = client.log();
        let counters = log.lines().rfind(|l| l.contains("counters commands"));
        counters.and_then(|l| l.rsplit_once("refused ")?.1.parse().ok())
    };
    assert!(until(|| refused() == Some(40)), "{:?}", refused());
    assert_eq!(refused(), Some(40));
    client.stop();

    // After a restart they are known for what they are.
    let client = lab.daemon_in(&lab.host, SSPI, &[]);
    client.says(&["watching"]);
    client.catch_up();
    assert!(
        client.lines(&["connections 20 unmanaged 0"]) > 0,
        "{}",
        client.log()
    );
    assert!(client.lines(&["refused 0"]) > 0, "{}", client.log());
    peers.release();
}
