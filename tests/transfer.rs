//! Real connections: what the endpoints are for.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal::SIGUSR1;
use support::{Lab, Namespace, until};

const BYTES: &str = "6000000";
/// Bytes a second: the transfer lasts long enough for a link to die in it.
const RATE: &str = "1500000";
/// The server, whichever way leads there.
const SERVER: &str = "192.0.2.80:5000";

/// The peer program. Cargo builds it with all tests, but not with this file's alone.
fn peer() -> PathBuf {
    let test = std::env::current_exe().expect("our own path");
    let profile = test.ancestors().nth(2).expect("a target directory");
    let peer = profile.join("examples/mptcp_peer");
    if !peer.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--example",
            "mptcp_peer",
            "--target-dir",
        ]);
        cargo.arg(profile.parent().expect("a target directory"));
        assert!(cargo.status().expect("cargo").success());
    }
    peer
}

struct Peer(Child, BufReader<ChildStdout>);

impl Peer {
    fn start(at: &Namespace, arguments: &[&str]) -> Self {
        let mut command = at.command(peer());
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter");
        let output = child.stdout.take().expect("a pipe");
        Self(child, BufReader::new(output))
    }

    fn server(at: &Namespace, address: &str) -> Self {
        let mut peer = Self::start(at, &["server", address, BYTES]);
        let mut line = String::new();
        peer.1.read_line(&mut line).expect("the server speaks");
        assert_eq!(line, "listening\n");
        peer
    }

    /// What it says at the end of a transfer, without its first word.
    fn result(mut self) -> String {
        let (mut output, mut errors) = (String::new(), String::new());
        self.1.read_to_string(&mut output).expect("the peer speaks");
        let _ = self
            .0
            .stderr
            .take()
            .map(|mut err| err.read_to_string(&mut errors));
        assert!(self.0.wait().expect("our own child").success(), "{errors}");
        output.split_once(' ').expect("a result").1.to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two uplinks here, the server at the far end of both.
fn two_ways() -> Option<Lab> {
    let lab = Lab::new()?;
    for n in [1, 2] {
        lab.wan(n);
        lab.outside
            .ip(&format!("addr add 10.0.{n}.2/24 dev wan{n}"));
    }
    lab.outside.ip("addr add 192.0.2.80/32 dev lo");
    for at in [&lab.host, &lab.outside] {
        at.ip("mptcp limits set add_addr_accepted 8 subflows 8");
    }
    Some(lab)
}

/// How many subflows `ss` shows besides the first.
fn subflows(at: &Namespace) -> usize {
    let text = at.out("ss -M -i -n -H state established");
    let count = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("subflows:"));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn joins(at: &Namespace) -> u64 {
    at.counter("MPTcpExtMPJoinSynAckRx")
}

/// Both sides tell the same story, and it is the whole of it.
#[track_caller]
fn finish(client: Peer, server: Peer) {
    let (sent, received) = (client.result(), server.result());
    assert_eq!(sent, received);
    assert!(sent.starts_with(&format!("{BYTES} checksum ")), "{sent}");
}

/// The control: it is the daemon that makes the second subflow.
#[test]
fn without_the_daemon_there_is_one_path() {
    let Some(lab) = two_ways() else { return };
    let server = Peer::server(&lab.outside, SERVER);
    finish(Peer::start(&lab.host, &["client", SERVER, BYTES]), server);
    assert_eq!(joins(&lab.host), 0);
}

/// The ways a path may die, seen from home. The first subflow is the one that dies.
#[test]
fn a_link_dies_and_the_transfer_completes() {
    for death in ["carrier", "link", "address", "device"] {
        let Some(lab) = two_ways() else { return };
        let _daemon = lab.daemon("");
        let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
        lab.expect(&[one, two]);
        let server = Peer::server(&lab.outside, SERVER);
        let client = Peer::start(&lab.host, &["client", SERVER, BYTES, RATE]);
        assert!(
            until(|| joins(&lab.host) == 1),
            "no second subflow\n{}",
            _daemon.log()
        );
        assert!(
            until(|| subflows(&lab.host) == 1),
            "{}",
            lab.host.out("ss -Mni")
        );
        match death {
            "carrier" => lab.unplug("wan1"),
            "link" => lab.host.ip("link set wan1 down"),
            "address" => lab.host.ip("addr flush dev wan1"),
            _ => lab.host.ip("link del wan1"),
        }
        lab.expect(&[two]);
        finish(client, server);
    }
}

/// The joined subflow's path dies, comes back, and is joined again.
#[test]
fn a_path_returns_in_the_middle() {
    let Some(lab) = two_ways() else { return };
    let _daemon = lab.daemon("");
    let [one, two] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
    lab.expect(&[one, two]);
    let server = Peer::server(&lab.outside, SERVER);
    let client = Peer::start(&lab.host, &["client", SERVER, BYTES, RATE]);
    assert!(until(|| joins(&lab.host) == 1), "no second subflow");
    lab.unplug("wan2");
    lab.expect(&[one]);
    assert!(
        until(|| subflows(&lab.host) == 0),
        "{}",
        lab.host.out("ss -Mni")
    );
    lab.plug("wan2");
    lab.expect(&[one, two]);
    assert!(
        until(|| joins(&lab.host) == 2),
        "not joined again: {}",
        lab.host.out("ss -Mni")
    );
    finish(client, server);
}

/// A server announces its second address, and the client joins to it.
#[test]
fn a_server_signals_its_address() {
    let Some(lab) = two_ways() else { return };
    for n in [1, 2] {
        lab.outside.ip(&format!(
            "route add default via 10.0.{n}.1 dev wan{n} metric {n}"
        ));
    }
    let _daemon = lab.daemon_in(&lab.outside, "[core]\naddr-flags = signal\n", &[]);
    lab.expect_at(
        &lab.outside,
        &["10.0.1.2 signal dev wan1", "10.0.2.2 signal dev wan2"],
    );
    let server = Peer::server(&lab.outside, "0.0.0.0:5000");
    let client = Peer::start(&lab.host, &["client", "10.0.1.2:5000", BYTES, RATE]);
    assert!(
        until(|| joins(&lab.host) == 1),
        "no second subflow\n{}",
        _daemon.log()
    );
    let second = || lab.host.out("ss -tnH dst 10.0.2.2").contains("10.0.2.1");
    assert!(until(second), "{}", lab.host.out("ss -tni"));
    finish(client, server);
}

/// A restart costs a connection nothing.
#[test]
fn a_restart_keeps_the_subflows() {
    let Some(lab) = two_ways() else { return };
    let daemon = lab.daemon("");
    lab.expect(&["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"]);
    let server = Peer::server(&lab.outside, SERVER);
    let client = Peer::start(&lab.host, &["client", SERVER, BYTES, RATE]);
    assert!(until(|| subflows(&lab.host) == 1), "no second subflow");
    daemon.stop();
    let begun = |daemon: &support::Daemon| {
        daemon.says(&["watching"]);
        daemon.signal(SIGUSR1);
        daemon.says(&["10.0.2.1"]);
    };
    let daemon = lab.daemon("");
    begun(&daemon);
    daemon.murder();
    let _daemon = lab.daemon("");
    begun(&_daemon);
    assert_eq!(subflows(&lab.host), 1);
    assert_eq!(lab.host.counter("MPTcpExtRmSubflow"), 0);
    finish(client, server);
}
