// SPDX-License-Identifier: BSD-3-Clause
//! `mptcpd connections`: what the kernel says of them now, whoever manages them. Of the daemon's are
//! only the ages of those of plugins.

use core::mem::ManuallyDrop;
use core::net::IpAddr;

use super::{Problem, problem};
use crate::control::{Form, Value};
use crate::daemon::exchange::exchange;
use crate::engine::Incomplete;
use crate::netlink::attribute::{Builder, Full};
use crate::netlink::diag::{self, Connection, Ends, Query, Subflow, Traffic};
use crate::netlink::message::Message;
use crate::netlink::mptcp::ip_of;
use crate::netlink::route::{self, Family, Name, Notification};
use crate::netlink::{IfIndex, Seq};
use crate::sys::exit::{DENIED, FAILURE};
use crate::sys::netlink::Socket;
use crate::sys::{self, errno::Errno, sysctl};

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];
/// Of one question.
const REQUEST: usize = 128;
/// Dumps come in pieces of up to so many bytes.
const DUMP: usize = 32 << 10;

/// What the kernel shows.
#[derive(Default)]
struct Picture {
    connections: Vec<(Connection, Traffic)>,
    subflows: Vec<(Subflow, Traffic)>,
    links: Vec<(IfIndex, Name)>,
    addresses: Vec<(IpAddr, IfIndex)>,
}

/// Sums of the subflows of an interface.
struct Uplink {
    name: Name,
    subflows: u64,
    traffic: Traffic,
}

/// Returns whether the daemon may know since when connections are there: a plugin manages new ones.
pub(super) fn have_ages() -> bool {
    sysctl::path_manager() == Some(sysctl::PathManager::Userspace)
}

/// Returns all connections of this network namespace, and sums for each uplink. `ages` are the
/// daemon's.
pub(super) fn text(json: bool, ages: &str) -> Result<String, Problem> {
    if !sys::has_capability(sys::CAP_NET_ADMIN) {
        let cause = "connections: permission denied: the capability CAP_NET_ADMIN is missing";
        return Err(problem(DENIED, &[cause]));
    }
    // The process ends after this.
    let picture = ManuallyDrop::new(Picture::take()?);
    let mut text = String::new();
    let mut ages = ManuallyDrop::new(Vec::from_iter(ages.lines()));
    ages.sort_unstable();
    picture.write(&mut Form::new(&mut text, json, "\t"), &ages);
    Ok(text)
}

/// Asks a question and hands over the parts of the answer. What changed meanwhile does not matter.
fn ask(
    socket: &Socket,
    encode: &dyn Fn(&mut Builder<'_>, Seq) -> Result<(), Full>,
    each: &mut dyn FnMut(&Message<'_>),
) -> Result<(), Problem> {
    let (mut request, mut buffer) = ([0; REQUEST], Vec::with_capacity(DUMP));
    let mut out = Builder::new(&mut request);
    let number = Seq(1);
    let encoded = encode(&mut out, number).map(|()| out.bytes());
    match exchange(socket, encoded, &mut buffer, number, each) {
        Err(Incomplete::Refused(errno)) => {
            let cause = Errno(errno).to_string();
            let what = "connections: the kernel does not show them: ";
            Err(problem(FAILURE, &[what, &cause]))
        }
        Ok(()) | Err(Incomplete::Interrupted) => Ok(()),
    }
}

fn open(protocol: i32) -> Result<Socket, Problem> {
    Socket::open(protocol).map_err(|error| {
        let cause = error.to_string();
        problem(FAILURE, &["cannot open a netlink socket: ", &cause])
    })
}

impl Picture {
    fn take() -> Result<Self, Problem> {
        let mut picture = Self::default();
        let diag = open(libc::NETLINK_SOCK_DIAG)?;
        let show = |query: fn(Family) -> Query, each: &mut dyn FnMut(&[u8])| {
            FAMILIES.into_iter().try_for_each(|family| {
                let encode = |out: &mut Builder<'_>, seq| query(family).encode(out, seq);
                ask(&diag, &encode, &mut |message| each(message.payload))
            })
        };
        show(Query::Connections, &mut |payload| {
            let traffic = diag::decode_traffic(payload, true);
            let found = diag::decode_connection(payload);
            picture.connections.extend(found.zip(traffic));
        })?;
        show(Query::Subflows, &mut |payload| {
            let traffic = diag::decode_traffic(payload, false);
            let found = diag::decode_subflow(payload);
            picture.subflows.extend(found.zip(traffic));
        })?;
        let network = open(libc::NETLINK_ROUTE)?;
        for encode in [route::dump_links, route::dump_addresses] {
            ask(
                &network,
                &encode,
                &mut |message| match route::decode(message.kind, message.payload) {
                    Some(Notification::Link(link)) => picture.links.push((link.index, link.name)),
                    Some(Notification::Address(address)) => {
                        picture.addresses.push((address.local, address.index));
                    }
                    _ => {}
                },
            )?;
        }
        Ok(picture)
    }

    /// Returns the interface that a subflow leaves by: the one it is bound to, or else the one that
    /// has its address.
    fn uplink(&self, subflow: &Subflow) -> Name {
        let local = ip_of(&subflow.ends.local);
        let by_address = || self.addresses.iter().find(|(address, _)| *address == local);
        let index = match subflow.ifindex {
            IfIndex::NONE => by_address().map_or(IfIndex::NONE, |(_, index)| *index),
            index => index,
        };
        let link = self.links.iter().find(|(known, _)| *known == index);
        link.map(|(_, name)| name.clone()).unwrap_or_default()
    }

    fn write(&self, form: &mut Form<'_>, ages: &[&str]) {
        let mut uplinks: Vec<Uplink> = Vec::new();
        form.row(false);
        form.json("v", Value::Number(1));
        form.words("IFACE\tLOCAL\tREMOTE\tSTATE\tSENT\tRECEIVED\tRTT\tRETRANS\tAGE\tIDLE\n");
        form.open("connections", "[");
        let mut follows = false;
        for (connection, traffic) in &self.connections {
            form.row(core::mem::replace(&mut follows, true));
            form.shown(Value::Text(&"connection"));
            write_ends(form, connection.ends);
            form.json("fallback", Value::Flag(connection.fallback));
            let state = if connection.fallback {
                "fallback"
            } else {
                "mptcp"
            };
            form.shown(Value::Code(state));
            write_bytes(form, traffic);
            form.shown(Value::Nothing);
            form.shown(Value::Nothing);
            let age = age_of(ages, connection.ends);
            form.cell("age", age.map_or(Value::Nothing, Value::Span));
            let idle = traffic.idle.map(|ms| Value::Span(ms.into()));
            form.cell("idle", idle.unwrap_or(Value::Nothing));
            form.words("\n");
            form.open("subflows", "[");
            let token = connection.token;
            let mut behind = false;
            for (subflow, traffic) in self.subflows.iter().filter(|(s, _)| s.token == token) {
                let name = self.uplink(subflow);
                form.row(core::mem::replace(&mut behind, true));
                write_subflow(form, &name, subflow, traffic);
                add(&mut uplinks, name, traffic);
            }
            form.close("]");
            form.close("}");
        }
        form.close("]");
        form.words("\nIFACE\tSUBFLOWS\tSENT\tRECEIVED\n");
        form.open("uplinks", "[");
        for (at, uplink) in uplinks.iter().enumerate() {
            form.row(at > 0);
            write_name(form, &uplink.name);
            form.cell("subflows", Value::Number(uplink.subflows));
            write_bytes(form, &uplink.traffic);
            form.end("}");
        }
        form.close("]");
        form.close("}\n");
    }
}

/// Looks a connection up in sorted lines, each of both ends and an age in seconds. Returns milliseconds.
fn age_of(ages: &[&str], ends: Ends) -> Option<u64> {
    let start = format!("{} {} ", ends.local, ends.remote);
    let at = ages.partition_point(|line| *line < start.as_str());
    let seconds: u32 = ages.get(at)?.strip_prefix(start.as_str())?.parse().ok()?;
    Some(u64::from(seconds) * 1000)
}

/// Writes the interface, which a subflow has none of whose address is gone.
fn write_name(form: &mut Form<'_>, name: &Name) {
    match name.is_empty() {
        true => form.cell("ifname", Value::Nothing),
        false => form.cell("ifname", Value::Text(name)),
    }
}

fn write_ends(form: &mut Form<'_>, ends: Ends) {
    form.cell("local", Value::Text(&ends.local));
    form.cell("remote", Value::Text(&ends.remote));
}

fn write_bytes(form: &mut Form<'_>, traffic: &Traffic) {
    form.cell("sent", Value::Bytes(traffic.sent));
    form.cell("received", Value::Bytes(traffic.received));
}

fn write_subflow(form: &mut Form<'_>, name: &Name, subflow: &Subflow, traffic: &Traffic) {
    let backup = subflow.backup_here || subflow.backup_there;
    let state = match (subflow.established, backup) {
        (false, _) => "joining",
        (true, true) => "backup",
        (true, false) => "active",
    };
    write_name(form, name);
    write_ends(form, subflow.ends);
    form.cell("state", Value::Code(state));
    form.json("backup", Value::Flag(backup));
    write_bytes(form, traffic);
    form.cell("rtt", Value::Milliseconds(traffic.rtt));
    form.cell("retrans", Value::Number(traffic.retransmissions.into()));
    form.shown(Value::Nothing);
    form.shown(Value::Nothing);
    form.end("}");
}

fn add(uplinks: &mut Vec<Uplink>, name: Name, traffic: &Traffic) {
    let uplink = match uplinks.iter_mut().position(|uplink| uplink.name == name) {
        Some(at) => uplinks.get_mut(at),
        None => {
            uplinks.push(Uplink {
                name,
                subflows: 0,
                traffic: Traffic::default(),
            });
            uplinks.last_mut()
        }
    };
    if let Some(uplink) = uplink {
        uplink.subflows += 1;
        uplink.traffic.sent = uplink.traffic.sent.saturating_add(traffic.sent);
        uplink.traffic.received = uplink.traffic.received.saturating_add(traffic.received);
    }
}
