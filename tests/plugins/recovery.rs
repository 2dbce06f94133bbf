// SPDX-License-Identifier: BSD-3-Clause
//! Connections that are found: those of before the start, and those whose events were lost.

use std::net::SocketAddr;

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGUSR1};

use crate::pair::{DUAL_STACK, IPV4, IPV6, Pair, Probe, Side, Way, field, lab};
use crate::support::peer::{Held, Peer};
use crate::support::until;

/// Both daemons start again in the middle of a connection with two subflows, and know it as if
/// they had never been away: they are told what the kernel told before, in the same words. Of what
/// the peer announced the kernel shows nothing but the subflows that lead there.
#[track_caller]
fn both_start_again(way: &Way) {
    let Some(lab) = lab() else { return };
    let Way { from, to, .. } = way;
    let pair = Pair::connect(&lab, way);
    let Pair {
        client,
        server,
        client_token,
        server_token,
        held,
        ..
    } = pair;
    server
        .probe
        .ok(&format!("announce {server_token} {to},id=7"));
    client.hears(&format!("new_address token={client_token} id=7"));
    client.probe.ok(&format!(
        "create {client_token} {from},id=5,dev=102,flags=4 {to},id=7,port=5000"
    ));
    let made = client.hears(&format!("new_subflow token={client_token} local_id=5"));
    server.hears(&format!("new_subflow token={server_token} remote_id=5"));
    let wanted = |side: &Side<'_>, count: usize| -> Vec<String> {
        const AGAIN: [&str; 4] = [
            "new_connection ",
            "connection_established ",
            "new_subflow ",
            "new_address ",
        ];
        let lines = side.probe.lines();
        let again = AGAIN.map(|name| lines.iter().find(|line| line.starts_with(name)));
        let mut again: Vec<_> = again.into_iter().flatten().cloned().collect();
        // The subflow's port does not show whether it was announced or is the connection's own.
        let announced = again.iter_mut().filter(|l| l.starts_with("new_address "));
        announced.for_each(|line| *line = line.replace(":5000", ":0"));
        assert_eq!(again.len(), count, "{lines:#?}");
        again
    };
    let sides = [
        (client, &client_token, "client", 4),
        (server, &server_token, "server", 3),
    ];
    let again = sides.map(|(side, token, name, count)| {
        let wanted = wanted(&side, count);
        let Side { at, probe, .. } = side;
        probe.stop();
        let probe = Probe::start(&lab, at, &format!("{name}-again"));
        for line in &wanted {
            probe.told(line);
        }
        let lines = probe.lines();
        let about: Vec<_> = lines.iter().filter(|l| l.contains("token=")).collect();
        assert_eq!(about, wanted.iter().collect::<Vec<_>>());
        (probe, token, at)
    });

    // They are as good as before: what is known can be commanded, and its end is told.
    let [(client, token, at), (server, ..)] = again;
    let (near, far) = (field(&made, "local"), field(&made, "remote"));
    let ends = |end: &str| {
        let end: SocketAddr = end.parse().expect("an address");
        format!("{},port={}", end.ip(), end.port())
    };
    client.ok(&format!("destroy {token} {} {}", ends(near), ends(far)));
    let closed = |line: &String| line.starts_with("subflow_closed ") && line.contains(near);
    for probe in [&client, &server] {
        assert!(until(|| probe.lines().iter().any(closed)));
    }
    assert!(!crate::pair::has(at, near, far));
    held.release();
    client.told(&format!("connection_closed token={client_token}"));
    server.told(&format!("connection_closed token={server_token}"));
}

#[test]
fn a_restart_in_mid_connection_over_ipv4() {
    both_start_again(&IPV4);
}

#[test]
fn a_restart_in_mid_connection_over_ipv6() {
    both_start_again(&IPV6);
}

/// The server's daemon says no word of mapped addresses, nor need it be told one.
#[test]
fn a_restart_in_mid_connection_to_a_dual_stack_server() {
    both_start_again(&DUAL_STACK);
}

/// How many connections the daemon manages, by its own word.
fn managed(probe: &Probe<'_>) -> Option<usize> {
    probe.daemon.signal(SIGUSR1);
    let log = probe.daemon.log();
    let (before, _) = log.rsplit_once(" unmanaged ")?;
    before.rsplit_once("connections ")?.1.parse().ok()
}

/// 5,000 connections come and go while the daemon is stopped, and more events than it has room
/// for. Of those it knew, some have ended; of those it does not know, some are still there.
#[test]
fn five_thousand_connections_while_stopped() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    // Both ends are here: twice as many connections, and events.
    let hold = |port: u16, count| {
        let at = format!("10.0.1.1:{port}");
        Held::open(&lab.host, &at, &lab.host, &at, count)
    };
    let ending = hold(5000, 30);
    let staying = hold(5001, 20);
    // Its program will close it while the peer cannot be reached.
    let mut outside = Peer::listening(&lab.outside, &["accept", "10.0.2.2:5004", "1"]);
    let mut lingering = Peer::start(&lab.host, &["hold", "10.0.2.2:5004", "1"]);
    lingering.says("holding 1");
    outside.says("holding 1");
    let tokens = |callback: &str| -> Vec<String> {
        let lines = probe.lines();
        let about = lines.iter().filter(|line| line.starts_with(callback));
        about.map(|line| field(line, "token").to_owned()).collect()
    };
    assert!(until(|| tokens("connection_established ").len() == 101));
    let known = probe.lines().len();

    probe.daemon.signal(SIGSTOP);
    let mut server = Peer::listening(&lab.host, &["serve", "10.0.1.1:5002", "5000"]);
    let mut client = Peer::start(&lab.host, &["churn", "10.0.1.1:5002", "5000"]);
    client.says("churned 5000");
    server.says("served 5000");
    ending.release();
    lab.unplug("wan2");
    lingering.release();
    let new = hold(5003, 40);
    probe.daemon.signal(SIGCONT);

    probe.daemon.says(&["connection events were lost"]);
    assert!(
        until(|| managed(&probe) == Some(120)),
        "{:?} are managed\n{}\n{}",
        managed(&probe),
        lab.host.out("ss -MnH"),
        probe.daemon.log()
    );
    // The kernel has told the end of the one that lingers, and will not again.
    assert!(lab.host.out("ss -MnH").contains("FIN-WAIT"));
    // Whatever was told, what is open now has been told once, and what has ended has, too.
    let open: Vec<String> = {
        let (begun, ended) = (tokens("new_connection "), tokens("connection_closed "));
        let mut unique = begun.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), begun.len(), "a connection was told twice");
        assert_eq!(ended.iter().filter(|t| !begun.contains(t)).count(), 0);
        begun.into_iter().filter(|t| !ended.contains(t)).collect()
    };
    assert_eq!(open.len(), 120);
    let lines = probe.lines();
    let later = &lines[known..];
    for port in [5000, 5001, 5003, 5004] {
        let on = |line: &&String| line.contains(&format!(":{port} "));
        let established = later
            .iter()
            .filter(|l| l.starts_with("connection_established "));
        let wanted = if port == 5003 { 80 } else { 0 };
        assert_eq!(established.filter(on).count(), wanted, "port {port}");
    }
    // The subflows of those that stayed are as they were.
    assert!(!later.iter().any(|line| line.starts_with("subflow_closed ")));
    staying.release();
    new.release();
    assert!(until(|| managed(&probe) == Some(0)));
    probe.stop();
}

/// More connections than the table holds: those that do not fit are not managed, which is said
/// once, and nothing is told of them; as soon as there is room, they are found.
#[test]
fn more_connections_than_fit() {
    let Some(lab) = lab() else { return };
    let core = "load-plugins = probe\nmax-connections = 10\nresync-interval = 1";
    let probe = Probe::with(&lab, &lab.host, "host", core, "");
    probe.told("ready");
    let hold = |port: u16| {
        let (listen, to) = (format!("0.0.0.0:{port}"), format!("10.0.1.2:{port}"));
        Held::open(&lab.host, &to, &lab.outside, &listen, 8)
    };
    let first = hold(5000);
    let second = hold(5001);
    let established = |port: u16| probe.count("connection_established ", &format!(":{port} "));
    assert!(until(|| established(5000) == 8 && established(5001) == 2));
    assert!(until(|| managed(&probe) == Some(10)));
    // The events of those that do not fit may come later.
    let said = || probe.daemon.lines(&["more than 10 connections"]);
    assert!(until(|| said() == 1));
    first.release();
    assert!(until(
        || established(5001) == 8 && managed(&probe) == Some(8)
    ));
    assert_eq!(said(), 1);
    second.release();
    assert!(until(|| managed(&probe) == Some(0)));
    probe.stop();
}

/// Connections that no program has accepted end with their listener, and only that is told.
#[test]
fn connections_that_end_before_they_are_accepted() {
    let Some(lab) = lab() else { return };
    let core = "load-plugins = probe\nresync-interval = 0";
    let probe = Probe::with(&lab, &lab.host, "host", core, "");
    probe.told("ready");
    let server = Peer::listening(&lab.host, &["ignore", "0.0.0.0:5000", "0"]);
    let mut client = Peer::start(&lab.outside, &["wait", "10.0.1.1:5000", "5"]);
    client.says("holding 5");
    assert!(until(|| probe.count("connection_established ", "") == 5));
    assert!(until(|| managed(&probe) == Some(5)));
    server.release();
    assert!(until(|| probe.count("connection_closed ", "") == 5));
    assert!(until(|| managed(&probe) == Some(0)));
    assert_eq!(lab.host.out("ss -MnH"), "");
    probe.stop();
}

/// No event tells that a peer has broken a connection off (MP_FASTCLOSE). The table is full of
/// such, and has room all the same.
#[test]
fn connections_that_are_broken_off_make_room() {
    let Some(lab) = lab() else { return };
    let core = "load-plugins = probe\nmax-connections = 10\nresync-interval = 0";
    let probe = Probe::with(&lab, &lab.host, "host", core, "");
    probe.told("ready");
    let mut server = Peer::listening(&lab.host, &["accept", "0.0.0.0:5000", "10"]);
    let mut client = Peer::start(&lab.outside, &["slam", "10.0.1.1:5000", "10"]);
    client.says("slammed 10");
    server.says("holding 10");
    assert!(until(|| managed(&probe) == Some(10)));
    assert_eq!(lab.host.out("ss -MnH"), "");

    let _held = Held::open(&lab.outside, "10.0.1.1:5001", &lab.host, "0.0.0.0:5001", 10);
    let holds = until(|| probe.count("connection_established ", ":5001 ") == 10);
    assert!(holds, "{:#?}\n{}", probe.lines(), probe.daemon.log());
    assert_eq!(probe.count("connection_closed ", ""), 10);
    assert_eq!(managed(&probe), Some(10));
    probe.stop();
}
