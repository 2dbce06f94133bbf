//! Two hosts on two cables, on each a daemon with a probe and `ip mptcp monitor`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::support::peer::{Peer, program};
use crate::support::{Daemon, Lab, Namespace, until};

/// A laboratory whose two sides leave their connections to user space. Cable `wanN` carries
/// 10.0.N.0/24 and 2001:db8:N::/64; the host has .1, the outside .2.
pub fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    for n in [1, 2] {
        lab.link(&format!("wan{n}"));
        for (at, own) in [(&lab.host, 1), (&lab.outside, 2)] {
            at.ip(&format!(
                "addr add 10.0.{n}.{own}/24 dev wan{n}
                 addr add 2001:db8:{n}::{own}/64 dev wan{n}"
            ));
        }
    }
    for at in [&lab.host, &lab.outside] {
        at.sysctl("mptcp/pm_type", 1);
    }
    Some(lab)
}

/// A daemon with the probes, and what the one called `probe` writes down.
pub struct Probe<'a> {
    pub daemon: Daemon<'a>,
    record: PathBuf,
    commands: PathBuf,
    asked: Cell<u32>,
}

impl<'a> Probe<'a> {
    /// Loads the plugin `probe` alone. `name` is for its files.
    pub fn start(lab: &'a Lab, at: &'a Namespace, name: &str) -> Self {
        let probe = Self::with(lab, at, name, "load-plugins = probe", "");
        let ready = || probe.lines().contains(&"ready".to_owned());
        assert!(until(ready), "{}", probe.daemon.log());
        probe
    }

    /// With more for `[core]`, and for each plugin's section.
    pub fn with(lab: &'a Lab, at: &'a Namespace, name: &str, core: &str, own: &str) -> Self {
        Self::of("plugin_probe", lab, at, name, core, own)
    }

    /// The same of a program of choice.
    pub fn of(
        daemon: &str,
        lab: &'a Lab,
        at: &'a Namespace,
        name: &str,
        core: &str,
        own: &str,
    ) -> Self {
        let order = lab.write(&format!("{name}.order"), "");
        let mut config =
            format!("[core]\nstate-file =\nnotify-flags = existing\nlog-level = debug\n{core}\n");
        for plugin in ["probe", "second", "broken"] {
            let [record, commands] = ["record", "commands"]
                .map(|kind| lab.write(&format!("{name}.{kind}.{plugin}"), ""));
            config += &format!(
                "[{plugin}]\nrecord = {}\ncommands = {}\norder = {}\n{own}\n",
                record.display(),
                commands.display(),
                order.display()
            );
        }
        let config = lab.write(&format!("{name}.conf"), config);
        Self {
            daemon: lab.program_in(at, &program(daemon), &config, &[]),
            record: lab.path(&format!("{name}.record.probe")),
            commands: lab.path(&format!("{name}.commands.probe")),
            asked: Cell::new(0),
        }
    }

    /// What the one called `second` has been told.
    pub fn second(&self) -> Vec<String> {
        lines(&self.record.with_extension("second"))
    }

    /// What it has been told, without the answers to commands.
    pub fn lines(&self) -> Vec<String> {
        callbacks(&self.record)
    }

    /// Waits for the callback with exactly these arguments.
    #[track_caller]
    pub fn told(&self, line: &str) {
        let holds = until(|| self.lines().iter().any(|told| told == line));
        assert!(
            holds,
            "not told {line}\n{:#?}\n{}",
            self.lines(),
            self.daemon.log()
        );
    }

    /// Gives a command; answers its number.
    pub fn tell(&self, command: &str) -> u32 {
        self.tell_all(&[command])
    }

    /// Gives commands at once, to be carried out together; answers the number of the first.
    pub fn tell_all(&self, commands: &[impl AsRef<str>]) -> u32 {
        let first = self.asked.get() + 1;
        let numbered = (first..).zip(commands);
        let text: String = numbered
            .map(|(number, command)| format!("{number} {}\n", command.as_ref()))
            .collect();
        self.asked.set(first + commands.len() as u32 - 1);
        let file = OpenOptions::new().append(true).open(&self.commands);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("our own file");
        first
    }

    /// Waits for the end of a command: what it brought, and how it ended.
    #[track_caller]
    pub fn answer(&self, number: u32) -> (Vec<String>, String) {
        let mut answers = Vec::new();
        let prefix = format!("#{number} ");
        let holds = until(|| {
            let all = lines(&self.record);
            answers = all
                .iter()
                .filter_map(|l| l.strip_prefix(&prefix))
                .map(str::to_owned)
                .collect();
            answers.iter().any(|answer| !answer.starts_with("reply "))
        });
        assert!(holds, "no end to command {number}\n{}", self.daemon.log());
        let end = answers.pop().expect("an answer");
        (answers, end)
    }

    /// Gives a command and waits for its end.
    #[track_caller]
    pub fn ask(&self, command: &str) -> String {
        self.answer(self.tell(command)).1
    }

    /// Gives a command to be carried out at the end.
    #[track_caller]
    pub fn put_off(&self, command: &str) {
        assert_eq!(self.ask(&format!("exit {command}")), "put off");
    }

    /// Ends the daemon; all it was told.
    #[track_caller]
    pub fn stop(self) -> Vec<String> {
        self.daemon.stop();
        callbacks(&self.record)
    }

    /// Ends the daemon; the order in which its plugins began and ended.
    #[track_caller]
    pub fn stop_in_order(self) -> Vec<String> {
        self.daemon.stop();
        lines(&self.record.with_extension("").with_extension("order"))
    }

    /// Gives a command that must succeed; answers what it brought, sorted.
    #[track_caller]
    pub fn ok(&self, command: &str) -> Vec<String> {
        let (mut replies, end) = self.answer(self.tell(command));
        assert_eq!(end, "done", "{command}");
        replies.sort_unstable();
        replies
    }
}

fn callbacks(record: &Path) -> Vec<String> {
    let mut lines = lines(record);
    lines.retain(|line| !line.starts_with('#'));
    lines
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("our own file");
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}

/// A running `ip mptcp monitor`.
struct Monitor {
    child: Child,
    output: PathBuf,
}

impl Monitor {
    fn start(lab: &Lab, at: &Namespace, name: &str) -> Self {
        let output = lab.path(&format!("monitor-{name}"));
        let file = File::create(&output).expect("a file of our own");
        let mut command = at.command("stdbuf");
        command
            .args(["-oL", "ip", "mptcp", "monitor"])
            .stdout(file)
            .stderr(Stdio::null());
        let child = command.spawn().expect("nsenter");
        Self { child, output }
    }

    /// The events of connections, in the probe's words.
    fn lines(&self) -> Vec<String> {
        lines(&self.output)
            .iter()
            .filter_map(|line| translate(line))
            .collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says what iproute2 prints the way the probe does. None for listeners, of which older versions
/// of it know nothing.
fn translate(line: &str) -> Option<String> {
    let (event, rest) = line.trim_start_matches('[').split_once(']')?;
    let fields: BTreeMap<&str, &str> = rest
        .split_whitespace()
        .filter_map(|f| f.split_once('='))
        .collect();
    let get = |name| *fields.get(name).unwrap_or(&"0");
    let end = |address, port| {
        let found = fields.get(format!("{address}4").as_str());
        let found = found.or_else(|| fields.get(format!("{address}6").as_str()));
        let address: IpAddr = found.expect(line).parse().expect(line);
        SocketAddr::new(address.to_canonical(), get(port).parse().expect(line))
    };
    let token = get("token");
    let connection = |name| {
        let flags = u16::from_str_radix(get("flags"), 16).expect(line);
        let (local, remote) = (end("saddr", "sport"), end("daddr", "dport"));
        format!(
            "{name} token={token} local={local} remote={remote} server_side={} deny_join_id0={}",
            flags & 2 != 0,
            flags & 1 != 0
        )
    };
    let subflow = |name| {
        let (local, remote) = (end("saddr", "sport"), end("daddr", "dport"));
        let reset_reason = fields.get("reset_reason").unwrap_or(&"none");
        format!(
            "{name} token={token} local={local} remote={remote} local_id={} remote_id={} \
             backup={} ifindex={} error={} reset_reason={reset_reason} reset_flags={}",
            get("locid"),
            get("remid"),
            get("backup") != "0",
            get("ifindex"),
            get("error"),
            get("reset_flags").trim_start_matches("0x"),
        )
    };
    Some(match event.trim() {
        "CREATED" => connection("new_connection"),
        "ESTABLISHED" => connection("connection_established"),
        "CLOSED" => format!("connection_closed token={token}"),
        "ANNOUNCED" => format!(
            "new_address token={token} id={} address={}",
            get("remid"),
            end("daddr", "dport")
        ),
        "REMOVED" => format!("address_removed token={token} id={}", get("remid")),
        "SF_ESTABLISHED" => subflow("new_subflow"),
        "SF_CLOSED" => subflow("subflow_closed"),
        "SF_PRIO" => subflow("subflow_priority"),
        name if name.contains("LISTENER") || ["UNKNOWN 15", "UNKNOWN 16"].contains(&name) => {
            return None;
        }
        _ => panic!("{line}"),
    })
}

/// The callbacks that `translate` gives.
fn is_connection_event(line: &str) -> bool {
    const CALLBACKS: [&str; 8] = [
        "new_connection",
        "connection_established",
        "connection_closed",
        "new_address",
        "address_removed",
        "new_subflow",
        "subflow_closed",
        "subflow_priority",
    ];
    line.split(' ')
        .next()
        .is_some_and(|word| CALLBACKS.contains(&word))
}

/// The value of `name=` in a line of the probe's.
pub fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut values = line
        .split(' ')
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values
        .next()
        .unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// One host: its probe, and the monitor that judges it.
pub struct Side<'a> {
    pub at: &'a Namespace,
    pub probe: Probe<'a>,
    monitor: Monitor,
}

impl<'a> Side<'a> {
    pub fn start(lab: &'a Lab, at: &'a Namespace, name: &str) -> Self {
        let side = Self {
            at,
            probe: Probe::start(lab, at, name),
            monitor: Monitor::start(lab, at, name),
        };
        // The monitor says nothing when it begins: it has once it sees a listener.
        let begun = || {
            side.probe.ok("listen 127.0.0.1:1");
            side.probe.ok("unlisten 127.0.0.1:1");
            !lines(&side.monitor.output).is_empty()
        };
        assert!(until(begun), "`ip mptcp monitor` sees nothing");
        side
    }

    /// Waits for an event with all of these words, and for the probe to be told exactly that.
    #[track_caller]
    pub fn hears(&self, event: &str) -> String {
        let words: Vec<&str> = event.split_whitespace().collect();
        let has = |line: &String| {
            let there: Vec<&str> = line.split(' ').collect();
            words.iter().all(|word| there.contains(word))
        };
        let mut found = None;
        let holds = until(|| {
            found = self.monitor.lines().into_iter().rfind(has);
            found
                .as_ref()
                .is_some_and(|found| self.probe.lines().contains(found))
        });
        assert!(
            holds,
            "no {event}\n--- monitor\n{:#?}\n--- told\n{:#?}\n--- log\n{}",
            self.monitor.lines(),
            self.probe.lines(),
            self.probe.daemon.log()
        );
        found.unwrap_or_default()
    }

    /// All that the probe was told of connections is all there was, in its order.
    #[track_caller]
    fn agree(&self) {
        let mut sides = (Vec::new(), Vec::new());
        let holds = until(|| {
            let mut told = self.probe.lines();
            told.retain(|line| is_connection_event(line));
            sides = (told, self.monitor.lines());
            sides.0 == sides.1
        });
        assert!(holds, "told\n{:#?}\nmonitor\n{:#?}", sides.0, sides.1);
    }

    /// No token has found its way to the log, as `%x` or `%u`.
    #[track_caller]
    fn keeps_its_secrets(&self) {
        let log = self.probe.daemon.log().to_lowercase();
        for line in self
            .probe
            .lines()
            .iter()
            .filter(|line| line.contains("token="))
        {
            let hex = field(line, "token");
            let number = u32::from_str_radix(hex, 16).expect("a token");
            for text in [hex.to_owned(), number.to_string()] {
                assert!(!log.contains(&text), "the token {hex} is in the log\n{log}");
            }
        }
    }

    /// The probe has been told all there was, and kept it to itself.
    #[track_caller]
    pub fn finish(self) {
        self.agree();
        self.keeps_its_secrets();
        self.probe.daemon.stop();
    }

    /// Whether `ss` shows a subflow between these, with their ports.
    pub fn has(&self, local: &str, remote: &str) -> bool {
        has(self.at, local, remote)
    }
}

/// Whether `ss` shows an established TCP connection between these, with or without their ports.
pub fn has(at: &Namespace, local: &str, remote: &str) -> bool {
    let text = at.out("ss -tnH state established");
    text.lines().any(|line| {
        let mut ends = line.split_whitespace().filter_map(canonical);
        let is = |end: Option<SocketAddr>, wanted: &str| {
            end.is_some_and(|end| end.to_string() == wanted || end.ip().to_string() == wanted)
        };
        is(ends.next(), local) && is(ends.next(), remote)
    })
}

/// An address and port as `ss` prints them, maybe bound to a device, without a mapping of IPv4.
fn canonical(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.rsplit_once(':')?;
    let address = address.split('%').next()?.trim_matches(['[', ']']);
    let address: IpAddr = address.parse().ok()?;
    Some(SocketAddr::new(address.to_canonical(), port.parse().ok()?))
}

/// A connection between two sides.
pub struct Pair<'a> {
    pub client: Side<'a>,
    pub server: Side<'a>,
    /// The connection's tokens on the two sides.
    pub client_token: String,
    pub server_token: String,
    /// The client's end of the first subflow.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub peers: (Peer, Peer),
}

impl<'a> Pair<'a> {
    /// Connects the host to `remote`, where `listen` listens.
    #[track_caller]
    pub fn connect(lab: &'a Lab, listen: &str, remote: &str) -> Self {
        let client = Side::start(lab, &lab.host, "client");
        let server = Side::start(lab, &lab.outside, "server");
        let mut accepting = Peer::listening(server.at, &["accept", listen, "1"]);
        let mut holding = Peer::start(client.at, &["hold", remote, "1"]);
        accepting.says("holding 1");
        holding.says("holding 1");
        let established = client.hears(&format!("connection_established remote={remote}"));
        let local = field(&established, "local");
        let accepted = server.hears(&format!("connection_established remote={local}"));
        Self {
            client_token: field(&established, "token").to_owned(),
            server_token: field(&accepted, "token").to_owned(),
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            peers: (holding, accepting),
            client,
            server,
        }
    }

    /// Over IPv4.
    #[track_caller]
    pub fn ipv4(lab: &'a Lab) -> Self {
        Self::connect(lab, "0.0.0.0:5000", "10.0.1.2:5000")
    }

    /// Closes the connection, and waits until both sides know.
    #[track_caller]
    pub fn close(self) -> (Side<'a>, Side<'a>) {
        let Self {
            client,
            server,
            peers,
            ..
        } = self;
        peers.0.release();
        peers.1.release();
        client.hears(&format!("connection_closed token={}", self.client_token));
        server.hears(&format!("connection_closed token={}", self.server_token));
        (client, server)
    }

    /// Closes the connection. Both sides have been told all there was, and kept it to themselves.
    #[track_caller]
    pub fn finish(self) {
        let (client, server) = self.close();
        client.finish();
        server.finish();
    }
}
