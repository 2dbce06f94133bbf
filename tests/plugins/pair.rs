// SPDX-License-Identifier: BSD-3-Clause
//! Two hosts on two cables, on each a daemon with a probe and `ip mptcp monitor`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::support::monitor::Monitor;
use crate::support::peer::{Held, program};
use crate::support::{Daemon, Lab, Namespace, lines, until};

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
        probe.told("ready");
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

    /// How many callbacks it has been told with this in their arguments.
    pub fn count(&self, callback: &str, with: &str) -> usize {
        let is_it = |line: &&String| line.starts_with(callback) && line.contains(with);
        self.lines().iter().filter(is_it).count()
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

/// The events of connections that the monitor tells, in the probe's words.
fn events(monitor: &Monitor) -> Vec<String> {
    let lines = monitor.lines();
    lines.iter().filter_map(|line| translate(line)).collect()
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
            !side.monitor.lines().is_empty()
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
            found = events(&self.monitor).into_iter().rfind(has);
            found
                .as_ref()
                .is_some_and(|found| self.probe.lines().contains(found))
        });
        assert!(
            holds,
            "no {event}\n--- monitor\n{:#?}\n--- told\n{:#?}\n--- log\n{}",
            events(&self.monitor),
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
            sides = (told, events(&self.monitor));
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

/// The port of an address.
pub fn port_of(end: &str) -> &str {
    end.rsplit_once(':').expect("a port").1
}

/// Where a server listens, what the client connects to, and both ends of a second subflow.
pub struct Way {
    pub listen: &'static str,
    pub remote: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

pub const IPV4: Way = Way {
    listen: "0.0.0.0:5000",
    remote: "10.0.1.2:5000",
    from: "10.0.2.1",
    to: "10.0.2.2",
};
pub const IPV6: Way = Way {
    listen: "[::]:5000",
    remote: "[2001:db8:1::2]:5000",
    from: "2001:db8:2::1",
    to: "2001:db8:2::2",
};
/// The server's socket is one of IPv6 and knows the client by a mapped address.
pub const DUAL_STACK: Way = Way {
    listen: IPV6.listen,
    ..IPV4
};

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
    pub held: Held,
}

impl<'a> Pair<'a> {
    /// Connects the host to the outside.
    #[track_caller]
    pub fn connect(lab: &'a Lab, way: &Way) -> Self {
        let Way { listen, remote, .. } = way;
        let client = Side::start(lab, &lab.host, "client");
        let server = Side::start(lab, &lab.outside, "server");
        let held = Held::open(client.at, remote, server.at, listen, 1);
        let established = client.hears(&format!("connection_established remote={remote}"));
        let local = field(&established, "local");
        let accepted = server.hears(&format!("connection_established remote={local}"));
        Self {
            client_token: field(&established, "token").to_owned(),
            server_token: field(&accepted, "token").to_owned(),
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            held,
            client,
            server,
        }
    }

    #[track_caller]
    pub fn ipv4(lab: &'a Lab) -> Self {
        Self::connect(lab, &IPV4)
    }

    /// The client and the server, and the connection's token on each.
    pub fn sides(&self) -> (&Side<'a>, &Side<'a>, &str, &str) {
        let (near, far) = (&self.client_token, &self.server_token);
        (&self.client, &self.server, near, far)
    }

    /// Closes the connection, and waits until both sides know.
    #[track_caller]
    pub fn close(self) -> (Side<'a>, Side<'a>) {
        let Self {
            client,
            server,
            held,
            ..
        } = self;
        held.release();
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
