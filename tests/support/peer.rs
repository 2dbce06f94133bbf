// SPDX-License-Identifier: BSD-3-Clause
//! The programs of `tests/programs`, and the one at each end of a connection.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use super::{Lab, Namespace, SERVER};

/// A program of `tests/programs`. The first call has cargo build them all, which takes a moment
/// if nothing has changed.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        // With the profile of the tests, so that what both need is compiled once.
        build(&[
            "--package",
            "mptcpd-test-programs",
            "--bins",
            "--profile",
            "test",
        ])
    });
    directory.join(name)
}

/// Has cargo build something where it builds the tests; returns the directory of its programs.
pub fn build(what: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).args(what);
    cargo.arg("--target-dir").arg(target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = cargo.status().expect("cargo");
    assert!(status.success(), "cargo cannot build {what:?}");
    target.join("debug")
}

/// A running `mptcp_peer`. Killed when dropped.
pub struct Peer(Child, BufReader<ChildStdout>);

impl Peer {
    pub fn start(at: &Namespace, arguments: &[&str]) -> Self {
        Self::other(at, "mptcp_peer", arguments)
    }

    /// Another program that speaks as `mptcp_peer` does.
    pub fn other(at: &Namespace, name: &str, arguments: &[&str]) -> Self {
        let mut command = at.command(program(name));
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter");
        let output = child.stdout.take().expect("a pipe");
        Self(child, BufReader::new(output))
    }

    /// One that listens, and does already.
    #[track_caller]
    pub fn listening(at: &Namespace, arguments: &[&str]) -> Self {
        let mut peer = Self::start(at, arguments);
        peer.says("listening");
        peer
    }

    /// Waits for its next line, which must be this one.
    #[track_caller]
    pub fn says(&mut self, line: &str) {
        let mut said = String::new();
        self.1.read_line(&mut said).expect("the peer speaks");
        assert_eq!(said.trim_end(), line, "{}", self.errors());
    }

    /// What it complained of; ends it.
    fn errors(&mut self) -> String {
        let _ = self.0.kill();
        let mut errors = String::new();
        let _ = self
            .0
            .stderr
            .take()
            .map(|mut err| err.read_to_string(&mut errors));
        errors
    }

    /// What it says at the end of a transfer, without its first word.
    #[track_caller]
    pub fn result(mut self) -> String {
        let mut output = String::new();
        self.1.read_to_string(&mut output).expect("the peer speaks");
        let status = self.0.wait().expect("our own child");
        assert!(status.success(), "{}", self.errors());
        output.split_once(' ').expect("a result").1.to_owned()
    }

    /// Has one that keeps connections close them, and waits until it has.
    #[track_caller]
    pub fn release(mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait().expect("our own child");
        assert!(status.success(), "{}", self.errors());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connections that stay open, as the programs at both ends have them.
pub struct Held(Peer, Peer);

impl Held {
    /// So many connections of `client` to the address `to`, of `server`'s that listens at `listen`.
    #[track_caller]
    pub fn open(
        client: &Namespace,
        to: &str,
        server: &Namespace,
        listen: &str,
        count: usize,
    ) -> Self {
        let count = count.to_string();
        let mut accepting = Peer::listening(server, &["accept", listen, &count]);
        let mut holding = Peer::start(client, &["hold", to, &count]);
        holding.says(&format!("holding {count}"));
        accepting.says(&format!("holding {count}"));
        Self(holding, accepting)
    }

    /// Has the client close them, and then the server.
    #[track_caller]
    pub fn release(self) {
        self.0.release();
        self.1.release();
    }
}

/// Data on its way from the host to a server outside.
pub struct Transfer {
    client: Peer,
    server: Peer,
    bytes: &'static str,
}

impl Transfer {
    /// So many bytes to [`SERVER`], at so many a second; 0 is as fast as it goes.
    #[track_caller]
    pub fn start(lab: &Lab, bytes: &'static str, rate: &str) -> Self {
        Self::to(lab, SERVER, SERVER, bytes, rate)
    }

    /// To the address `to` of a server that listens at `listen`.
    #[track_caller]
    pub fn to(lab: &Lab, listen: &str, to: &str, bytes: &'static str, rate: &str) -> Self {
        let server = Peer::listening(&lab.outside, &["server", listen, bytes]);
        let client = Peer::start(&lab.host, &["client", to, bytes, rate]);
        Self {
            client,
            server,
            bytes,
        }
    }

    /// Waits for its end. Both sides tell the same story, and it is the whole of it.
    #[track_caller]
    pub fn finish(self) {
        let (sent, received) = (self.client.result(), self.server.result());
        assert_eq!(sent, received);
        let whole = format!("{} checksum ", self.bytes);
        assert!(sent.starts_with(&whole), "{sent}");
    }
}
