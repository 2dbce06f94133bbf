// SPDX-License-Identifier: BSD-3-Clause
//! Ping sockets: ICMP echo without privileges, for groups in `net.ipv4.ping_group_range`.
//!
//! The kernel fills in identifier and checksum, and hands a socket the replies to its own requests
//! only. Source: RFC 792, RFC 4443, `net/ipv4/ping.c`.

use core::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{self, MsgFlags, SockaddrStorage};

use super::errno::Result;
use super::set_option;

/// Types of ICMP and ICMPv6.
const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

/// A socket whose probes leave by one device and from one address, and come back there.
pub struct Ping {
    fd: OwnedFd,
    ipv6: bool,
}

impl Ping {
    /// Opens one. `device` is the name of an interface; `lent` says that another one has the address.
    /// Fails with EACCES if the group may not open ping sockets.
    pub fn open(device: &str, source: IpAddr, lent: bool) -> Result<Self> {
        let ipv6 = source.is_ipv6();
        let (family, protocol) = match ipv6 {
            false => (libc::AF_INET, libc::IPPROTO_ICMP),
            true => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        };
        let fd = super::socket(family, libc::SOCK_DGRAM, protocol)?;
        let mut name = [0u8; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(device.bytes()) {
            *to = from;
        }
        let bind_device = || set_option(&fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name);
        // Bound to a device the kernel looks for the address there alone, which a VRF needs.
        if !lent {
            bind_device()?;
        }
        super::bind(&fd, SocketAddr::new(source, 0))?;
        if lent {
            bind_device()?;
        }
        Ok(Self { fd, ipv6 })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends a request, of nothing but the header.
    pub fn send(&self, to: IpAddr, seq: u16) -> Result<()> {
        let [high, low] = seq.to_be_bytes();
        let [kind, kind6] = ECHO_REQUEST;
        let kind = if self.ipv6 { kind6 } else { kind };
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        let packet = [kind, 0, 0, 0, 0, 0, high, low];
        socket::sendto(self.fd.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
        Ok(())
    }

    /// Returns who has replied, to which sequence number; `None` if there is no more to read.
    pub fn receive(&self) -> Option<(IpAddr, u16)> {
        let mut packet = [0; 8];
        loop {
            let (length, from) =
                socket::recvfrom::<SockaddrStorage>(self.fd.as_raw_fd(), &mut packet).ok()?;
            let from = from?;
            let ipv4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
            let ipv6 = from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip()));
            let [kind, _, _, _, _, _, high, low] = packet;
            if length == packet.len() && ECHO_REPLY.contains(&kind) {
                return Some((ipv4.or(ipv6)?, u16::from_be_bytes([high, low])));
            }
        }
    }
}
