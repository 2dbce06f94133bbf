// SPDX-License-Identifier: BSD-3-Clause
//! A laboratory on the real kernel: network namespaces of our own, joined by cables that can be
//! pulled, with the daemon running in one of them.
//!
//! Nothing here needs root, and nothing outlives the test: every namespace is kept by a process
//! that ends when our end of its pipe closes, whatever happens to us. What the daemon did is
//! judged by `ip`, `ss` and `nstat`, never by its own word.
//!
//! What must come is polled for, with a limit that only a broken daemon reaches; what must *not*
//! come is looked for after [`Lab::settle`]. A test waits for a fixed time only where time itself
//! is the matter: that a daemon sleeps for so long, or is stopped so long after a reload.

#![allow(dead_code)] // Each test file uses its own part.

pub mod json;
pub mod monitor;
pub mod outage;
pub mod peer;
pub mod routes;
pub mod subflows;

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A laboratory, or the end of a test that this machine cannot run.
#[allow(unused_macros)]
macro_rules! lab {
    () => {
        match $crate::support::Lab::new() {
            Some(lab) => lab,
            None => return,
        }
    };
}

/// How long anything may take before the test fails. Far above what the daemon needs, so that a
/// busy machine does not matter.
const TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A server outside, whichever way leads there.
pub const SERVER: &str = "192.0.2.80:5000";

/// Waits for `holds`; false when that takes too long.
pub fn until(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + TIMEOUT;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        sleep(POLL_INTERVAL);
    }
}

/// Says why a test, or a part of one, is left out. Written past the test runner, which hides what
/// passing tests print.
///
/// Where `MPTCPD_TESTS_REQUIRED` is set this fails the test, unless `key` is in the list
/// `MPTCPD_TESTS_MAY_SKIP`, separated by commas. tests/README.md lists the keys.
#[track_caller]
pub fn skip(key: &str, reason: &str) {
    let required = std::env::var_os("MPTCPD_TESTS_REQUIRED").is_some();
    let allowed = std::env::var("MPTCPD_TESTS_MAY_SKIP").unwrap_or_default();
    assert!(
        !required || allowed.split(',').any(|word| word.trim() == key),
        "cannot run: {reason}. MPTCPD_TESTS_REQUIRED is set, and `{key}` is not in \
         MPTCPD_TESTS_MAY_SKIP=\"{allowed}\""
    );
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(stderr(), "skipped {name} ({key}): {reason}");
}

/// A network namespace and the process that keeps it.
pub struct Namespace {
    keeper: Child,
}

impl Namespace {
    /// The first namespace, in a user namespace where we are root, with a `/run` of its own.
    fn first() -> Result<Self, String> {
        Self::keep(
            Command::new("unshare"),
            &["-Urnm"],
            "mount -t tmpfs tmpfs /run && ",
        )
    }

    /// Another namespace under the same root as this one.
    pub fn beside(&self) -> Self {
        Self::keep(self.command("unshare"), &["-n"], "").expect("another network namespace")
    }

    fn keep(mut unshare: Command, how: &[&str], first: &str) -> Result<Self, String> {
        // Duplicate address detection takes a second or two; tests that want it turn it on. An
        // address shall not take others of its subnet with it.
        let ready = "cd /proc/sys/net && echo 0 >ipv6/conf/all/accept_dad && \
                     echo 0 >ipv6/conf/default/accept_dad && \
                     echo 1 >ipv4/conf/all/promote_secondaries && \
                     ip link set lo up && echo ready && exec cat";
        unshare
            .args(how)
            .args(["sh", "-c", &format!("{first}{ready}")]);
        unshare
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut keeper = unshare
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut answer = [0; 6];
        let ready = keeper
            .stdout
            .as_mut()
            .map(|out| out.read_exact(&mut answer));
        if !matches!(ready, Some(Ok(()))) {
            let mut why = String::new();
            let _ = keeper
                .stderr
                .take()
                .map(|mut err| err.read_to_string(&mut why));
            let _ = keeper.wait();
            return Err(format!("no namespace of our own: {}", why.trim()));
        }
        Ok(Self { keeper })
    }

    /// The process by whose number other programs know this namespace.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// `program`, to be run in this namespace. The process keeps its number.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--preserve-credentials",
            "-U",
            "-n",
            "-m",
            "-t",
            &self.pid().to_string(),
        ]);
        command.arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a command line (split at blanks) to its end.
    pub fn run(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        command.args(words).output().expect("nsenter")
    }

    /// What a command that must succeed prints.
    #[track_caller]
    pub fn out(&self, line: &str) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` failed: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `ip` commands, one a line (or separated by `;`), which must all succeed.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        let output = self.batch(lines);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`ip` failed: {errors}\n{lines}");
    }

    /// Runs `ip` commands whatever becomes of each.
    pub fn ip_any(&self, lines: &str) {
        self.batch(lines);
    }

    /// `-6` before the first command is for all of them.
    fn batch(&self, lines: &str) -> Output {
        let (family, lines) = match lines.strip_prefix("-6 ") {
            Some(lines) => (Some("-6"), lines),
            None => (None, lines),
        };
        let mut command = self.command("ip");
        command.args(family).args(["-force", "-batch", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut ip = command.spawn().expect("nsenter");
        let text = lines.replace(';', "\n");
        ip.stdin
            .take()
            .expect("a pipe")
            .write_all(text.as_bytes())
            .expect("`ip` reads");
        ip.wait_with_output().expect("`ip` ends")
    }

    /// Sets a variable by its path under `/proc/sys/net`.
    #[track_caller]
    pub fn sysctl(&self, path: &str, value: u32) {
        let script = format!("echo {value} >/proc/sys/net/{path}");
        let status = self
            .command("sh")
            .args(["-c", &script])
            .status()
            .expect("nsenter");
        assert!(status.success(), "{script}");
    }

    /// The endpoints as `(id, "ADDRESS [port N] FLAGS dev NAME")`, flags in alphabetical order,
    /// sorted by address.
    pub fn endpoints_with_ids(&self) -> Vec<(u8, String)> {
        let mut all: Vec<_> = self
            .out("ip mptcp endpoint show")
            .lines()
            .filter_map(endpoint)
            .collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints_with_ids()
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    /// The id of the endpoint with this address.
    pub fn id(&self, address: &str) -> Option<u8> {
        let mut all = self.endpoints_with_ids().into_iter();
        all.find(|(_, text)| text.split(' ').next() == Some(address))
            .map(|(id, _)| id)
    }

    /// The limits as `(add_addr_accepted, subflows)`.
    pub fn limits(&self) -> (u32, u32) {
        let text = self.out("ip mptcp limits show");
        let mut words = text.split_whitespace();
        let mut next = |name| {
            assert_eq!(words.next(), Some(name), "{text}");
            words
                .next()
                .and_then(|value| value.parse().ok())
                .expect("a number")
        };
        (next("add_addr_accepted"), next("subflows"))
    }

    /// Subflows made from here: MP_JOINs that were answered.
    pub fn joins(&self) -> u64 {
        self.counter("MPTcpExtMPJoinSynAckRx")
    }

    /// A counter of `nstat`, 0 when it is not there.
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.out(&format!("nstat -asz {name}"));
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Bytes sent on a device so far, and received.
    pub fn traffic(&self, device: &str) -> (u64, u64) {
        let text = self.out(&format!("ip -s link show dev {device}"));
        let bytes = |title: &str| {
            let mut lines = text.lines().skip_while(|line| !line.contains(title));
            let numbers = lines.nth(1).and_then(|line| line.split_whitespace().next());
            numbers.and_then(|bytes| bytes.parse().ok()).expect("bytes")
        };
        (bytes("TX:"), bytes("RX:"))
    }

    /// Ends a process of this namespace's with our rights over it.
    pub fn signal(&self, child: &Child, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
        kill(pid, signal).expect("our own process");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// One line of `ip mptcp endpoint show`.
fn endpoint(line: &str) -> Option<(u8, String)> {
    let mut words = line.split_whitespace();
    let (mut id, mut text, mut flags) = (0, words.next()?.to_owned(), vec![]);
    let mut device = String::new();
    while let Some(word) = words.next() {
        match word {
            "id" => id = words.next()?.parse().ok()?,
            "dev" => device = format!(" dev {}", words.next()?),
            "port" | "rawflags" => text = format!("{text} {word} {}", words.next()?),
            flag => flags.push(flag),
        }
    }
    flags.sort_unstable();
    for flag in flags {
        text = format!("{text} {flag}");
    }
    Some((id, text + &device))
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mptcpd-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a directory of our own");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A host on which the daemon runs, and the world outside at the other end of its cables.
pub struct Lab {
    pub host: Namespace,
    pub outside: Namespace,
    directory: Directory,
    links: Cell<u32>,
    daemons: Cell<u32>,
    settled: Cell<u32>,
}

impl Lab {
    /// None, having said why, where this machine cannot run such tests.
    pub fn new() -> Option<Self> {
        // The published crate has these tests, but not the programs that they start.
        if !Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs")).exists() {
            skip("repository", "only the repository has tests/programs");
            return None;
        }
        match Self::build() {
            Ok(lab) => Some(lab),
            Err(reason) => {
                skip("lab", &reason);
                None
            }
        }
    }

    fn build() -> Result<Self, String> {
        let host = Namespace::first()?;
        if !host.run("ip mptcp limits show").status.success() {
            return Err("`ip mptcp` does not work: kernel or iproute2 without MPTCP".into());
        }
        let outside = host.beside();
        let (links, daemons, settled) = Default::default();
        Ok(Self {
            host,
            outside,
            directory: Directory::new(),
            links,
            daemons,
            settled,
        })
    }

    /// A path in the directory of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file of our own");
        path
    }

    /// A cable between the devices called `name` at home and outside, both up.
    ///
    /// The two get different indexes: the kernel then reports a lost carrier at once, and
    /// otherwise up to a second late.
    pub fn link(&self, name: &str) {
        self.links.set(self.links.get() + 1);
        let (index, peer, pid) = (
            100 + self.links.get(),
            500 + self.links.get(),
            self.outside.pid(),
        );
        self.host.ip(&format!(
            "link add {name} index {index} type veth peer name {name} index {peer} netns {pid}
             link set {name} up"
        ));
        self.outside.ip(&format!("link set {name} up"));
    }

    /// An uplink: device `wanN` with address 10.0.N.1/24 and a default route.
    pub fn wan(&self, n: u8) {
        self.link(&format!("wan{n}"));
        self.host.ip(&format!("addr add 10.0.{n}.1/24 dev wan{n}"));
        self.route(n);
    }

    /// Uplinks 1 to `count`, and [`SERVER`] at the far end of all.
    pub fn with_uplinks(count: u8) -> Option<Self> {
        let lab = Self::new()?;
        for n in 1..=count {
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

    /// The default route of `wanN`, as a DHCP client would set it.
    pub fn route(&self, n: u8) {
        self.host.ip(&format!(
            "route add default via 10.0.{n}.2 dev wan{n} metric {n}1"
        ));
    }

    /// IPv6 for `wanN`: 2001:db8:N::1/64 and a default route.
    pub fn wan6(&self, n: u8) {
        self.host.ip(&format!(
            "addr add 2001:db8:{n}::1/64 dev wan{n}
             route add ::/0 via fe80::2 dev wan{n} metric {n}1"
        ));
    }

    /// Pulls the cable: the device at home loses its carrier but stays up.
    pub fn unplug(&self, name: &str) {
        self.outside.ip(&format!("link set {name} down"));
    }

    pub fn plug(&self, name: &str) {
        self.outside.ip(&format!("link set {name} up"));
    }

    /// Starts the daemon with this configuration text.
    pub fn daemon(&self, config: &str) -> Daemon<'_> {
        self.daemon_in(&self.host, config, &[])
    }

    /// The same, in a namespace of choice and with more arguments.
    pub fn daemon_in<'a>(&'a self, at: &'a Namespace, config: &str, more: &[&str]) -> Daemon<'a> {
        let file = self.write("mptcpd.conf", config);
        let state = self.path("state");
        let mut arguments = more.to_vec();
        if !config.contains("state-file") {
            arguments.extend(["--state-file", state.to_str().expect("a plain path")]);
        }
        self.program_in(at, DAEMON.as_ref(), &file, &arguments)
    }

    /// The same with another program that is a daemon, too, and a configuration file of choice.
    pub fn program_in<'a>(
        &'a self,
        at: &'a Namespace,
        program: &Path,
        config: &Path,
        more: &[&str],
    ) -> Daemon<'a> {
        self.daemons.set(self.daemons.get() + 1);
        let log = self.path(&format!("log{}", self.daemons.get()));
        let file = fs::File::create(&log).expect("a file of our own");
        let mut command = at.command(program);
        command.arg("-c").arg(config);
        let child = command
            .args(more)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        Daemon {
            at,
            child: child.expect("nsenter"),
            log,
        }
    }

    /// Gives the daemon another configuration, and waits until it has acted upon it.
    #[track_caller]
    pub fn reload(&self, daemon: &Daemon<'_>, config: &str) {
        self.write("mptcpd.conf", config);
        daemon.signal(Signal::SIGHUP);
        daemon.catch_up();
    }

    /// Waits until the endpoints are exactly these, in any order.
    #[track_caller]
    pub fn expect(&self, wanted: &[impl AsRef<str>]) {
        self.expect_at(&self.host, wanted);
    }

    #[track_caller]
    pub fn expect_at(&self, at: &Namespace, wanted: &[impl AsRef<str>]) {
        let mut wanted: Vec<&str> = wanted.iter().map(AsRef::as_ref).collect();
        wanted.sort_unstable();
        let mut seen = vec![];
        let holds = until(|| {
            seen = at.endpoints();
            seen == wanted
        });
        assert!(
            holds,
            "endpoints are {seen:#?}, not {wanted:#?}{}",
            self.describe(at)
        );
    }

    /// Waits until the daemon has seen all that happened before: it then follows a change on a
    /// cable that matters to nothing else.
    #[track_caller]
    pub fn settle(&self) {
        let round = self.settled.get();
        self.settled.set(round + 1);
        if round == 0 {
            self.link("settle");
        }
        // The kernel takes the route away with the address.
        let address = format!("203.0.113.{}", round + 1);
        let route = "route add default dev settle metric 9999";
        for (there, step) in [
            (true, format!("addr add {address}/32 dev settle; {route}")),
            (false, format!("addr del {address}/32 dev settle")),
        ] {
            self.host.ip(&step);
            let holds = until(|| self.host.id(&address).is_some() == there);
            assert!(
                holds,
                "{address} is not followed ({there}){}",
                self.describe(&self.host)
            );
        }
    }

    /// After everything has settled the endpoints are still exactly these.
    #[track_caller]
    pub fn expect_still(&self, wanted: &[impl AsRef<str>]) {
        self.settle();
        self.expect(wanted);
    }

    /// For the reader of a failed test: the network and every daemon's log.
    fn describe(&self, at: &Namespace) -> String {
        let mut text = String::new();
        for line in [
            "ip -br addr",
            "ip route show table all type unicast",
            "ip rule",
        ] {
            text += &format!("\n--- {line}\n{}", at.out(line));
        }
        for number in 1..=self.daemons.get() {
            let log = fs::read_to_string(self.path(&format!("log{number}"))).unwrap_or_default();
            text += &format!("\n--- log {number}\n{log}");
        }
        text
    }

    /// Runs the daemon's program to its end in the lab: exit code, standard output, standard
    /// error. One that does not end by itself is killed and has no exit code.
    pub fn execute(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.execute_under(&[], arguments)
    }

    /// The same, started through another program such as `setpriv`.
    pub fn execute_under(
        &self,
        wrapper: &[&str],
        arguments: &[&str],
    ) -> (Option<i32>, String, String) {
        let (program, rest) = wrapper.split_first().unwrap_or((&DAEMON, &[]));
        let mut command = self.host.command(program);
        command.args(rest);
        if !wrapper.is_empty() {
            command.arg(DAEMON);
        }
        let [out, err] = ["stdout", "stderr"].map(|name| self.write(name, ""));
        let create = |path: &Path| fs::File::create(path).expect("a file of our own");
        command
            .args(arguments)
            .stdout(create(&out))
            .stderr(create(&err));
        let mut child = command.spawn().expect("nsenter");
        let status = end(&mut child);
        let read = |path| String::from_utf8_lossy(&fs::read(path).expect("our file")).into_owned();
        (
            status.and_then(|status| status.code()),
            read(out),
            read(err),
        )
    }
}

pub const DAEMON: &str = env!("CARGO_BIN_EXE_mptcpd");

/// How a process ended; one that does not end is killed.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    if !until(|| {
        status = child.try_wait().expect("our own child");
        status.is_some()
    }) {
        let _ = child.kill();
        let _ = child.wait();
    }
    status
}

/// A running daemon. Killed when dropped; [`Daemon::stop`] ends it politely.
pub struct Daemon<'a> {
    at: &'a Namespace,
    child: Child,
    log: PathBuf,
}

impl Daemon<'_> {
    pub fn signal(&self, signal: Signal) {
        self.at.signal(&self.child, signal);
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("our file")).into_owned()
    }

    /// How many lines of the log contain all of `parts`, whatever their case.
    pub fn lines(&self, parts: &[&str]) -> usize {
        let log = self.log().to_lowercase();
        let holds = |line: &&str| parts.iter().all(|part| line.contains(&part.to_lowercase()));
        log.lines().filter(holds).count()
    }

    /// Waits until it has acted upon every signal it was sent before: it describes its state
    /// with a later turn of its loop.
    #[track_caller]
    pub fn catch_up(&self) {
        for _ in 0..2 {
            let before = self.lines(&["counters events"]);
            self.signal(Signal::SIGUSR1);
            let described = until(|| self.lines(&["counters events"]) > before);
            assert!(described, "no state in\n{}", self.log());
        }
    }

    /// Waits for a line that contains all of `parts`.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) {
        assert!(
            until(|| self.lines(parts) > 0),
            "no line with {parts:?} in\n{}",
            self.log()
        );
    }

    /// SIGTERM; the daemon must end with status 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = end(&mut self.child);
        let clean = status.is_some_and(|status| status.code() == Some(0));
        assert!(
            clean,
            "SIGTERM ended the daemon with {status:?}\n{}",
            self.log()
        );
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the daemon to end by itself.
    pub fn wait(&mut self) -> Option<i32> {
        end(&mut self.child).and_then(|status| status.code())
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// The daemon's process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole lines of a file that somebody writes.
pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("our own file");
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}
