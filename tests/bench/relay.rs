// SPDX-License-Identifier: BSD-3-Clause
//! The least that a daemon can be: it waits for an address event, sends the one command that follows
//! from it, and waits for the next. It knows nothing and remembers nothing.

use std::io;
use std::net::IpAddr;

use mptcpd::internal::netlink::Seq;
use mptcpd::internal::netlink::attribute::Builder;
use mptcpd::internal::netlink::message::Messages;
use mptcpd::internal::netlink::mptcp::{AddressId, Command, Endpoint, EndpointFlags};
use mptcpd::internal::netlink::route::{self, Notification};
use mptcpd::internal::sys::netlink::{Received, Socket};

/// Runs until it is killed. `family` is that of the path manager.
pub fn run(family: u16) -> io::Result<()> {
    let network = Socket::open(libc::NETLINK_ROUTE)?;
    network.join(route::GROUP_IPV4_ADDRESS)?;
    // SAFETY: takes plain numbers.
    if unsafe { libc::fcntl(network.fd(), libc::F_SETFL, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let commands = Socket::open(libc::NETLINK_GENERIC)?;
    let mut inbox = Vec::with_capacity(8192);
    let mut out = [0; 256];
    loop {
        let Some(Received::Datagram(datagram)) = network.receive(&mut inbox)? else {
            continue;
        };
        for message in Messages::new(datagram).flatten() {
            let endpoint = |address: IpAddr, ifindex| Endpoint {
                address,
                port: 0,
                id: AddressId(200),
                flags: EndpointFlags::SUBFLOW,
                ifindex,
            };
            let command = match route::decode(message.kind, message.payload) {
                Some(Notification::Address(a)) => Command::AddEndpoint(endpoint(a.local, a.index)),
                Some(Notification::AddressGone(a)) => {
                    Command::DeleteEndpoint(endpoint(a.local, a.index))
                }
                _ => continue,
            };
            let mut out = Builder::new(&mut out);
            command
                .encode(&mut out, family, Seq(1))
                .map_err(io::Error::other)?;
            commands.send(out.bytes())?;
        }
    }
}
