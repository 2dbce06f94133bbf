//! Connections that are found: those of before the start, and those whose events were lost.

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGUSR1};

use crate::pair::{Pair, Probe, Side, field, lab};
use crate::support::peer::Peer;
use crate::support::until;

/// Both daemons start again in the middle of a connection with two subflows, and know it as if
/// they had never been away: they are told what the kernel told before, in the same words.
fn both_start_again(listen: &str, remote: &str, from: &str, to: &str) {
    let Some(lab) = lab() else { return };
    let pair = Pair::connect(&lab, listen, remote);
    let Pair {
        client,
        server,
        client_token,
        server_token,
        peers,
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
    let wanted = |side: &Side<'_>| -> Vec<String> {
        const AGAIN: [&str; 3] = ["new_connection ", "connection_established ", "new_subflow "];
        let mut lines = side.probe.lines();
        lines.retain(|line| AGAIN.iter().any(|callback| line.starts_with(callback)));
        assert_eq!(lines.len(), 3, "{lines:#?}");
        lines
    };
    let sides = [
        (client, &client_token, "client"),
        (server, &server_token, "server"),
    ];
    let again = sides.map(|(side, token, name)| {
        let wanted = wanted(&side);
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
        let (address, port) = end.rsplit_once(':').expect("a port");
        format!("{},port={port}", address.trim_matches(['[', ']']))
    };
    client.ok(&format!("destroy {token} {} {}", ends(near), ends(far)));
    let closed = |line: &String| line.starts_with("subflow_closed ") && line.contains(near);
    for probe in [&client, &server] {
        assert!(until(|| probe.lines().iter().any(closed)));
    }
    assert!(!crate::pair::has(at, near, far));
    peers.0.release();
    peers.1.release();
    client.told(&format!("connection_closed token={client_token}"));
    server.told(&format!("connection_closed token={server_token}"));
}

#[test]
fn a_restart_in_mid_connection_over_ipv4() {
    both_start_again("0.0.0.0:5000", "10.0.1.2:5000", "10.0.2.1", "10.0.2.2");
}

#[test]
fn a_restart_in_mid_connection_over_ipv6() {
    let there = "[2001:db8:1::2]:5000";
    both_start_again("[::]:5000", there, "2001:db8:2::1", "2001:db8:2::2");
}

/// The server's daemon says no word of mapped addresses, nor need it be told one.
#[test]
fn a_restart_in_mid_connection_to_a_dual_stack_server() {
    both_start_again("[::]:5000", "10.0.1.2:5000", "10.0.2.1", "10.0.2.2");
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
    let hold = |port: u16, count: &str| {
        let at = format!("10.0.1.1:{port}");
        let mut server = Peer::listening(&lab.host, &["accept", &at, count]);
        let mut client = Peer::start(&lab.host, &["hold", &at, count]);
        client.says(&format!("holding {count}"));
        server.says(&format!("holding {count}"));
        (client, server)
    };
    let ending = hold(5000, "30");
    let staying = hold(5001, "20");
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
    ending.0.release();
    ending.1.release();
    lab.unplug("wan2");
    lingering.release();
    let new = hold(5003, "40");
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
    for peers in [staying, new] {
        peers.0.release();
        peers.1.release();
    }
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
    assert!(until(|| probe.lines().contains(&"ready".to_owned())));
    let hold = |port: u16| {
        let (listen, to) = (format!("0.0.0.0:{port}"), format!("10.0.1.2:{port}"));
        let mut server = Peer::listening(&lab.outside, &["accept", &listen, "8"]);
        let mut client = Peer::start(&lab.host, &["hold", &to, "8"]);
        client.says("holding 8");
        server.says("holding 8");
        (client, server)
    };
    let first = hold(5000);
    let second = hold(5001);
    let established = |port: u16| {
        let lines = probe.lines();
        let on = format!(":{port} ");
        let about = lines
            .iter()
            .filter(|l| l.starts_with("connection_established ") && l.contains(&on));
        about.count()
    };
    assert!(until(|| established(5000) == 8 && established(5001) == 2));
    assert!(until(|| managed(&probe) == Some(10)));
    // The events of those that do not fit may come later.
    let said = || probe.daemon.lines(&["more than 10 connections"]);
    assert!(until(|| said() == 1));
    first.0.release();
    first.1.release();
    assert!(until(
        || established(5001) == 8 && managed(&probe) == Some(8)
    ));
    assert_eq!(said(), 1);
    second.0.release();
    second.1.release();
    assert!(until(|| managed(&probe) == Some(0)));
    probe.stop();
}

/// Connections that no program has accepted end with their listener, and only that is told.
#[test]
fn connections_that_end_before_they_are_accepted() {
    let Some(lab) = lab() else { return };
    let core = "load-plugins = probe\nresync-interval = 0";
    let probe = Probe::with(&lab, &lab.host, "host", core, "");
    assert!(until(|| probe.lines().contains(&"ready".to_owned())));
    let server = Peer::listening(&lab.host, &["ignore", "0.0.0.0:5000", "0"]);
    let mut client = Peer::start(&lab.outside, &["wait", "10.0.1.1:5000", "5"]);
    client.says("holding 5");
    let told = |callback: &str| {
        let lines = probe.lines();
        lines.iter().filter(|l| l.starts_with(callback)).count()
    };
    assert!(until(|| told("connection_established ") == 5));
    assert!(until(|| managed(&probe) == Some(5)));
    server.release();
    assert!(until(|| told("connection_closed ") == 5));
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
    assert!(until(|| probe.lines().contains(&"ready".to_owned())));
    let mut server = Peer::listening(&lab.host, &["accept", "0.0.0.0:5000", "10"]);
    let mut client = Peer::start(&lab.outside, &["slam", "10.0.1.1:5000", "10"]);
    client.says("slammed 10");
    server.says("holding 10");
    assert!(until(|| managed(&probe) == Some(10)));
    assert_eq!(lab.host.out("ss -MnH"), "");

    let mut second = Peer::listening(&lab.host, &["accept", "0.0.0.0:5001", "10"]);
    let mut holding = Peer::start(&lab.outside, &["hold", "10.0.1.1:5001", "10"]);
    holding.says("holding 10");
    second.says("holding 10");
    let told = |callback: &str, port: &str| {
        let lines = probe.lines();
        let about = |l: &&String| l.starts_with(callback) && l.contains(port);
        lines.iter().filter(about).count()
    };
    let holds = until(|| told("connection_established ", ":5001 ") == 10);
    assert!(holds, "{:#?}\n{}", probe.lines(), probe.daemon.log());
    assert_eq!(told("connection_closed ", ""), 10);
    assert_eq!(managed(&probe), Some(10));
    probe.stop();
}
