// SPDX-License-Identifier: BSD-3-Clause
//! Puts the daemon's own requests to the kernel, one a line, and says what the kernel answers.
//!
//! ```text
//! add|delete|flags ADDRESS PORT ID FLAGS IFINDEX    errno, 0 is success
//! limits SUBFLOWS ADD_ADDR_ACCEPTED                 errno
//! flush                                             errno
//! events                what rtnetlink has told since the last time, a line each, then `.`
//! dump links|addresses|routes|rules                 the same for what there is
//! ```

#[path = "../simulator/network/words.rs"]
mod words;

use std::io::{self, BufRead, Write};

use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::Seq;
use mptcpd::internal::netlink::attribute::Builder;
use mptcpd::internal::netlink::generic;
use mptcpd::internal::netlink::message::{Message, Messages, NLM_F_ACK};
use mptcpd::internal::netlink::mptcp::{self, AddressId, Command, Endpoint, EndpointFlags, Limits};
use mptcpd::internal::netlink::route::{self, Family, Notification};
use mptcpd::internal::sys::netlink::{Received, Socket};

const NETLINK_ROUTE: i32 = 0;
const NETLINK_GENERIC: i32 = 16;

fn main() -> io::Result<()> {
    let mut client = Client::new()?;
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let mut out = io::stdout().lock();
        match words[..] {
            ["events"] => client.events(&mut out)?,
            ["dump", what] => client.dump(what, &mut out)?,
            _ => match command(&words) {
                Some(command) => writeln!(out, "{}", client.command(&command)?)?,
                None => writeln!(out, "what is {line}?")?,
            },
        }
        out.flush()?;
    }
    Ok(())
}

fn command(words: &[&str]) -> Option<Command> {
    let number = |at: usize| words.get(at)?.parse::<u32>().ok();
    let endpoint = || {
        Some(Endpoint {
            address: words.get(1)?.parse().ok()?,
            port: u16::try_from(number(2)?).ok()?,
            id: AddressId(u8::try_from(number(3)?).ok()?),
            flags: EndpointFlags(number(4)?),
            ifindex: IfIndex(number(5)?),
        })
    };
    Some(match words[0] {
        "add" => Command::AddEndpoint(endpoint()?),
        "delete" => Command::DeleteEndpoint(endpoint()?),
        "flags" => Command::SetFlags(endpoint()?),
        "flush" => Command::FlushEndpoints,
        "limits" => Command::SetLimits(Limits {
            subflows: number(1)?,
            add_addr_accepted: number(2)?,
        }),
        _ => return None,
    })
}

struct Client {
    commands: Socket,
    requests: Socket,
    events: Socket,
    family: u16,
    buffer: Vec<u8>,
}

impl Client {
    fn new() -> io::Result<Self> {
        let events = Socket::open(NETLINK_ROUTE)?;
        events.set_receive_buffer(1 << 22);
        for group in [
            route::GROUP_LINK,
            route::GROUP_IPV4_ADDRESS,
            route::GROUP_IPV6_ADDRESS,
            route::GROUP_IPV4_ROUTE,
            route::GROUP_IPV6_ROUTE,
            route::GROUP_IPV4_RULE,
            route::GROUP_IPV6_RULE,
        ] {
            events.join(group)?;
        }
        let mut client = Self {
            commands: Socket::open(NETLINK_GENERIC)?,
            requests: Socket::open(NETLINK_ROUTE)?,
            events,
            family: 0,
            buffer: Vec::with_capacity(1 << 16),
        };
        let mut room = [0; 512];
        let mut out = Builder::new(&mut room);
        generic::get_family(&mut out, Seq(1), mptcp::FAMILY_NAME).map_err(|_| full())?;
        client.commands.send(out.bytes())?;
        let mut family = None;
        client.answers(|client| &client.commands, &mut |message| {
            if let Some(generic::Controller::New(found)) = generic::decode(message.payload) {
                family = Some(found.id);
            }
        })?;
        client.family = family.ok_or_else(|| io::Error::other("no path manager"))?;
        Ok(client)
    }

    /// Everything that has come; the kernel answers before `send` returns.
    fn answers(
        &mut self,
        socket: fn(&Self) -> &Socket,
        each: &mut dyn FnMut(&Message<'_>),
    ) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(received) = socket(self).receive(&mut buffer)? {
            let Received::Datagram(datagram) = received else {
                return Err(full());
            };
            Messages::new(datagram).flatten().for_each(|m| each(&m));
        }
        self.buffer = buffer;
        Ok(())
    }

    fn command(&mut self, command: &Command) -> io::Result<i32> {
        let mut room = [0; 512];
        let mut out = Builder::new(&mut room);
        command
            .encode(&mut out, self.family, Seq(7))
            .map_err(|_| full())?;
        // Success is told as well, if one asks.
        let length = out.bytes().len();
        room[6] |= NLM_F_ACK.to_ne_bytes()[0];
        self.commands.send(&room[..length])?;
        let mut errno = None;
        self.answers(|client| &client.commands, &mut |message| {
            errno = message.ack().map(|ack| ack.errno).or(errno);
        })?;
        errno.ok_or_else(|| io::Error::other("no answer"))
    }

    fn events(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut found = Vec::new();
        self.answers(|client| &client.events, &mut |message| {
            found.extend(route::decode(message.kind, message.payload));
        })?;
        show(&found, out)
    }

    fn dump(&mut self, what: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut found = Vec::new();
        for family in [Family::Ipv4, Family::Ipv6] {
            let mut room = [0; 512];
            let mut request = Builder::new(&mut room);
            let asked = match (what, family) {
                ("links", Family::Ipv4) => route::dump_links(&mut request, Seq(1)),
                ("addresses", Family::Ipv4) => route::dump_addresses(&mut request, Seq(1)),
                ("routes", _) => route::dump_routes(&mut request, Seq(1), family, 0),
                ("rules", _) => route::dump_rules(&mut request, Seq(1), family),
                _ => continue,
            };
            asked.map_err(|_| full())?;
            self.requests.send(request.bytes())?;
            self.answers(|client| &client.requests, &mut |message| {
                found.extend(route::decode(message.kind, message.payload));
            })?;
        }
        show(&found, out)
    }
}

fn show(found: &[Notification], out: &mut dyn Write) -> io::Result<()> {
    for line in found.iter().filter_map(words::of) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, ".")
}

fn full() -> io::Error {
    io::Error::other("too little room")
}
