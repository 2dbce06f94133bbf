// SPDX-License-Identifier: BSD-3-Clause
//! A daemon whose plugins write down what they are told and do what they are asked to.
//!
//! Each plugin has its section, `[probe]` for the first one:
//!
//! ```text
//! record = FILE      a line for each callback, with its arguments; `#N ...` answers command N
//! commands = FILE    a line `N COMMAND ARGUMENTS` for each command; read as it grows
//! connections = no   wants no connections
//! listen = ADDR:PORT listens there from the start
//! order = FILE       `NAME init` and `NAME exit` are added to it
//! ```
//!
//! An address is written `ADDRESS[,port=N][,id=N][,dev=INDEX][,flags=N]`; tokens are
//! hexadecimal. `exit COMMAND ARGUMENTS` puts a command off until the end; `insist COMMAND
//! ARGUMENTS` gives it again, at once and for ever, when it is refused.
//!
//! `probe` (priority 0) and `second` (priority -1) are alike. `broken` (priority -20) fails to
//! initialise, having asked for something and set a timer first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use mptcpd::{
    AddressId, CommandId, Connection, ConnectionEvent, Context, Duration, Endpoint, EndpointFlags,
    Entry, Failure, IfIndex, Interface, Limits, LocalAddress, Plugin, QueueFull, Reply, Request,
    SubflowAddress, SubflowEvent, Token,
};

const BROKEN: &str = "broken";

/// `colour` is for tests to ask for.
const KEYS: &[&str] = &[
    "record",
    "commands",
    "connections",
    "listen",
    "order",
    "colour",
];

pub const PROBE: Entry = Entry::new("probe", "writes down and does as it is told", || {
    Box::new(Probe::new("probe"))
})
.with_keys(KEYS);

const PLUGINS: &[Entry] = &[
    PROBE,
    Entry::new("second", "does the same", || Box::new(Probe::new("second")))
        .with_priority(-1)
        .with_keys(KEYS),
    Entry::new(BROKEN, "fails to initialise", || {
        Box::new(Probe::new(BROKEN))
    })
    .with_priority(-20)
    .with_keys(KEYS),
];

fn main() -> ExitCode {
    mptcpd::run(mptcpd::program!(PLUGINS))
}

/// The timer by which the command file is read.
const LOOK: u32 = u32::MAX;
const LOOK_EVERY: Duration = Duration::from_millis(5);

struct Probe {
    name: &'static str,
    wants_connections: bool,
    record: Option<File>,
    commands: Option<File>,
    /// What has been read of a line that is not whole.
    partial: String,
    asked: Vec<(CommandId, String)>,
    insists: Option<(CommandId, String)>,
    at_exit: Vec<String>,
}

impl Probe {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            wants_connections: true,
            record: None,
            commands: None,
            partial: String::new(),
            asked: Vec::new(),
            insists: None,
            at_exit: Vec::new(),
        }
    }

    fn write(&mut self, line: String) {
        if let Some(record) = &mut self.record {
            let _ = record.write_all((line + "\n").as_bytes());
        }
    }

    /// For the order among the plugins.
    fn order(&self, cx: &Context<'_>, what: &str) {
        if let Some(mut file) = cx.setting("order").and_then(|path| append(path).ok()) {
            let _ = writeln!(file, "{} {what}", self.name);
        }
    }

    fn look(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(LOOK, LOOK_EVERY);
        if let Some(commands) = &mut self.commands {
            let _ = commands.read_to_string(&mut self.partial);
        }
        while let Some((line, rest)) = self.partial.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.partial = rest;
            self.obey(cx, &line);
        }
    }

    /// Does what a line says, and writes down at once what is known at once.
    fn obey(&mut self, cx: &mut Context<'_>, line: &str) {
        let (number, command) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(later) = command.strip_prefix("exit ") {
            self.at_exit.push(format!("{number} {later}"));
            return self.write(format!("#{number} put off"));
        }
        if let Some(command) = command.strip_prefix("insist ") {
            self.write(format!("#{number} insists"));
            return self.insist(cx, command.to_owned());
        }
        match execute(cx, command) {
            Some(Done::Asked(Ok(id))) => self.asked.push((id, number.to_owned())),
            Some(Done::Asked(Err(QueueFull))) => self.write(format!("#{number} queue full")),
            Some(Done::Answer(answer)) => self.write(format!("#{number} {answer}")),
            None => self.write(format!("#{number} not understood")),
        }
    }

    fn insist(&mut self, cx: &mut Context<'_>, command: String) {
        if let Some(Done::Asked(Ok(id))) = execute(cx, &command) {
            self.insists = Some((id, command));
        }
    }

    fn number(&self, id: CommandId) -> String {
        let asked = self.asked.iter().find(|(asked, _)| *asked == id);
        asked.map_or_else(|| "stray".to_owned(), |(_, number)| number.clone())
    }
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

enum Done {
    /// The result comes later.
    Asked(Result<CommandId, QueueFull>),
    Answer(String),
}

fn execute(cx: &mut Context<'_>, command: &str) -> Option<Done> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let asked = match words.as_slice() {
        ["announce", token, at] => cx.announce(hex(token)?, address(at)?),
        ["announce-and-listen", token, at] => cx.announce_with_listener(hex(token)?, address(at)?),
        ["remove", token, id] => cx.remove_address(hex(token)?, AddressId(parse(id)?)),
        ["create", token, from, to] => cx.create_subflow(hex(token)?, address(from)?, address(to)?),
        ["destroy", token, from, to] => {
            cx.destroy_subflow(hex(token)?, address(from)?, address(to)?)
        }
        ["backup", token, from, to, backup] => {
            cx.set_backup(hex(token)?, address(from)?, address(to)?, *backup == "yes")
        }
        ["add-endpoint", at] => cx.add_endpoint(endpoint(at)?),
        ["delete-endpoint", at] => cx.delete_endpoint(endpoint(at)?),
        ["get-endpoint", id] => cx.get_endpoint(AddressId(parse(id)?)),
        ["dump-endpoints"] => cx.dump_endpoints(),
        ["flush-endpoints"] => cx.flush_endpoints(),
        ["set-flags", at] => cx.set_flags(endpoint(at)?),
        ["set-limits", add_addr_accepted, subflows] => cx.set_limits(Limits {
            add_addr_accepted: parse(add_addr_accepted)?,
            subflows: parse(subflows)?,
        }),
        ["get-limits"] => cx.get_limits(),
        ["get-address", token, id] => cx.get_address(hex(token)?, AddressId(parse(id)?)),
        ["dump-addresses", token] => cx.dump_addresses(hex(token)?),
        ["listen", at] => cx.listen(parse(at)?),
        ["unlisten", at] => cx.unlisten(parse(at)?),
        _ => return answer(cx, &words).map(Done::Answer),
    };
    Some(Done::Asked(asked))
}

fn answer(cx: &mut Context<'_>, words: &[&str]) -> Option<String> {
    Some(match words {
        ["timer", number, milliseconds] => {
            let set = cx.set_timer(parse(number)?, Duration::from_millis(parse(milliseconds)?));
            (if set { "set" } else { "too many timers" }).to_owned()
        }
        ["cancel", number] => {
            cx.cancel_timer(parse(number)?);
            "cancelled".to_owned()
        }
        ["address-id", at] => match cx.address_id(parse(at)?) {
            Some(id) => id.to_string(),
            None => "none".to_owned(),
        },
        ["setting", key] => cx.setting(key).unwrap_or("none").to_owned(),
        ["is-ready"] => cx.is_ready().to_string(),
        ["interfaces"] => {
            let names = cx.network().interfaces().map(|i| i.name.as_str());
            names.collect::<Vec<_>>().join(" ")
        }
        ["connections"] => cx.connections().count().to_string(),
        ["connection", token] => match cx.connection(hex(token)?) {
            Some(connection) => describe(&connection),
            None => "unknown".to_owned(),
        },
        // How many fit the queue until it is full.
        ["flood"] => {
            let mut count = 0;
            while cx.get_limits().is_ok() {
                count += 1;
            }
            count.to_string()
        }
        _ => return None,
    })
}

/// What the table has of a connection, from one `; ` to the next.
fn describe(connection: &Connection<'_>) -> String {
    let mut all = Vec::new();
    if connection.is_established() {
        all.push("established".to_owned());
    }
    if connection.is_kernel_managed() {
        all.push("the kernel's".to_owned());
    }
    for s in connection.subflows() {
        let asked = if s.is_established() { "" } else { " asked for" };
        let backup = if s.backup_here || s.backup_there {
            " backup"
        } else {
            ""
        };
        let (ids, dev) = ((s.local_id.0, s.remote_id.0), s.ifindex);
        all.push(format!(
            "{}-{} {ids:?} dev {dev}{backup}{asked}",
            s.local, s.remote
        ));
    }
    let remote = connection.remote_addresses();
    all.extend(remote.map(|r| format!("remote {} {}", r.id, r.address)));
    all.extend(connection.announced().map(|id| format!("announced {id}")));
    all.join("; ")
}

fn parse<T: FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

fn hex(word: &str) -> Option<Token> {
    u32::from_str_radix(word, 16).ok().map(Token::new)
}

fn address(word: &str) -> Option<SubflowAddress> {
    let mut parts = word.split(',');
    let mut at = SubflowAddress::at(parse::<IpAddr>(parts.next()?)?, 0);
    for part in parts {
        match part.split_once('=')? {
            ("port", port) => at.port = parse(port)?,
            ("id", id) => at.id = AddressId(parse(id)?),
            ("dev", index) => at.ifindex = IfIndex(parse(index)?),
            ("flags", flags) => at.flags = EndpointFlags(parse(flags)?),
            _ => return None,
        }
    }
    Some(at)
}

fn endpoint(word: &str) -> Option<Endpoint> {
    let at = address(word)?;
    Some(Endpoint {
        address: at.address,
        port: at.port,
        id: at.id,
        flags: at.flags,
        ifindex: at.ifindex,
    })
}

fn connection(callback: &str, connection: &ConnectionEvent) -> String {
    let ConnectionEvent {
        token,
        local,
        remote,
        server_side,
        deny_join_id0,
        ..
    } = connection;
    let token = token.get();
    format!(
        "{callback} token={token:08x} local={local} remote={remote} server_side={server_side} \
         deny_join_id0={deny_join_id0}"
    )
}

fn subflow(callback: &str, subflow: &SubflowEvent) -> String {
    let SubflowEvent {
        token,
        local,
        remote,
        local_id,
        remote_id,
        backup,
        ifindex,
        error,
        reset_reason,
        reset_flags,
        ..
    } = subflow;
    let reset_reason = reset_reason.map_or("none".to_owned(), |reason| reason.to_string());
    let token = token.get();
    format!(
        "{callback} token={token:08x} local={local} remote={remote} local_id={local_id} \
         remote_id={remote_id} backup={backup} ifindex={ifindex} error={error} \
         reset_reason={reset_reason} reset_flags={reset_flags}"
    )
}

fn interface(callback: &str, interface: &Interface) -> String {
    let Interface {
        index, name, flags, ..
    } = interface;
    format!("{callback} index={index} name={name} flags={flags:#x}")
}

fn local_address(callback: &str, address: &LocalAddress) -> String {
    let LocalAddress { index, address, .. } = address;
    format!("{callback} index={index} address={address}")
}

impl Plugin for Probe {
    fn wants_connections(&self) -> bool {
        self.wants_connections
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.order(cx, "init");
        if self.name == BROKEN {
            let _ = cx.get_limits();
            cx.set_timer(1, Duration::from_millis(1));
            return Err("made to fail".to_owned());
        }
        self.wants_connections = cx.setting("connections") != Some("no");
        let record = cx.setting("record").ok_or("no record")?;
        self.record = Some(append(record).map_err(|_| "cannot write the record")?);
        self.commands = cx
            .setting("commands")
            .and_then(|path| File::open(path).ok());
        if self.commands.is_some() {
            cx.set_timer(LOOK, LOOK_EVERY);
        }
        if let Some(local) = cx.setting("listen").and_then(parse) {
            let _ = cx.listen(local);
        }
        self.write("init".to_owned());
        Ok(())
    }

    fn reload(&mut self, _: &mut Context<'_>) {
        self.write("reload".to_owned());
    }

    fn exit(&mut self, cx: &mut Context<'_>) {
        self.order(cx, "exit");
        self.write("exit".to_owned());
        for line in std::mem::take(&mut self.at_exit) {
            self.obey(cx, &line);
        }
    }

    fn ready(&mut self, _: &mut Context<'_>) {
        self.write("ready".to_owned());
    }

    fn not_ready(&mut self, _: &mut Context<'_>) {
        self.write("not_ready".to_owned());
    }

    fn new_connection(&mut self, _: &mut Context<'_>, event: &ConnectionEvent) {
        self.write(connection("new_connection", event));
    }

    fn connection_established(&mut self, _: &mut Context<'_>, event: &ConnectionEvent) {
        self.write(connection("connection_established", event));
    }

    fn connection_closed(&mut self, _: &mut Context<'_>, token: Token) {
        self.write(format!("connection_closed token={:08x}", token.get()));
    }

    fn new_address(
        &mut self,
        _: &mut Context<'_>,
        token: Token,
        id: AddressId,
        address: SocketAddr,
    ) {
        self.write(format!(
            "new_address token={:08x} id={id} address={address}",
            token.get()
        ));
    }

    fn address_removed(&mut self, _: &mut Context<'_>, token: Token, id: AddressId) {
        self.write(format!("address_removed token={:08x} id={id}", token.get()));
    }

    fn new_subflow(&mut self, _: &mut Context<'_>, event: &SubflowEvent) {
        self.write(subflow("new_subflow", event));
    }

    fn subflow_closed(&mut self, _: &mut Context<'_>, event: &SubflowEvent, _: bool) {
        self.write(subflow("subflow_closed", event));
    }

    fn subflow_priority(&mut self, _: &mut Context<'_>, event: &SubflowEvent) {
        self.write(subflow("subflow_priority", event));
    }

    fn listener_created(&mut self, _: &mut Context<'_>, local: SocketAddr) {
        self.write(format!("listener_created local={local}"));
    }

    fn listener_closed(&mut self, _: &mut Context<'_>, local: SocketAddr) {
        self.write(format!("listener_closed local={local}"));
    }

    fn new_interface(&mut self, _: &mut Context<'_>, event: &Interface) {
        self.write(interface("new_interface", event));
    }

    fn update_interface(&mut self, _: &mut Context<'_>, event: &Interface) {
        self.write(interface("update_interface", event));
    }

    fn delete_interface(&mut self, _: &mut Context<'_>, event: &Interface) {
        self.write(interface("delete_interface", event));
    }

    fn new_local_address(&mut self, _: &mut Context<'_>, event: &LocalAddress) {
        self.write(local_address("new_local_address", event));
    }

    fn delete_local_address(&mut self, _: &mut Context<'_>, event: &LocalAddress) {
        self.write(local_address("delete_local_address", event));
    }

    fn reply(&mut self, _: &mut Context<'_>, command: CommandId, reply: &Reply) {
        let number = self.number(command);
        self.write(match reply {
            Reply::Endpoint(Endpoint {
                address,
                port,
                id,
                flags,
                ifindex,
            }) => format!(
                "#{number} reply {address} port={port} id={id} flags={} dev={ifindex}",
                flags.0
            ),
            Reply::Limits(Limits {
                add_addr_accepted,
                subflows,
            }) => {
                format!("#{number} reply add_addr_accepted={add_addr_accepted} subflows={subflows}")
            }
            Reply::Listening(local) => format!("#{number} reply listening={local}"),
            _ => format!("#{number} reply unknown"),
        });
    }

    fn command_done(
        &mut self,
        cx: &mut Context<'_>,
        command: CommandId,
        _: &Request,
        result: Result<(), Failure<'_>>,
    ) {
        if let Some((_, again)) = self.insists.take_if(|(asked, _)| *asked == command) {
            if result.is_err() {
                self.insist(cx, again);
            }
            return;
        }
        let number = self.number(command);
        self.write(match result {
            Ok(()) => format!("#{number} done"),
            Err(Failure { errno, message }) => format!("#{number} refused {errno} {message}"),
        });
        self.asked.retain(|(asked, _)| *asked != command);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {
        if timer == LOOK {
            self.look(cx);
        } else {
            self.write(format!("timer {timer}"));
        }
    }
}
