// SPDX-License-Identifier: BSD-3-Clause
//! The `mptcp_pm` generic-netlink family: commands, replies and events.
//!
//! ```text
//! command, reply                      event
//! +-----------------------------+     +-----------------------------+
//! | command, version            |     | event, version              |  generic.rs
//! +-----------------------------+     +-----------------------------+
//! | ADDR: FAMILY, ADDR4 | ADDR6,|     | TOKEN, FAMILY,              |
//! |   PORT, ID, FLAGS, IF_IDX   |     | SADDR4 | SADDR6, DADDR4 | 6, |
//! | ADDR_REMOTE: likewise       |     | SPORT, DPORT, LOC_ID, ...   |
//! | TOKEN, LOC_ID, limits       |     |                             |
//! +-----------------------------+     +-----------------------------+
//!   ports in host byte order            ports in network byte order
//! ```
//!
//! A port, id, flags or interface of 0 is left out, and read as 0 where it is missing.
//!
//! Source: `include/uapi/linux/mptcp_pm.h`, `include/uapi/linux/mptcp.h` and
//! `Documentation/netlink/specs/mptcp_pm.yaml` of the kernel.

mod command;
mod event;
mod id;
mod uapi;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::IfIndex;
use super::attribute::{Attribute, Attributes};
use uapi::*;

pub use command::{COMMAND_LENGTH, Command};
pub use event::{ConnectionEvent, Event, EventError, SubflowEvent, decode_event};
pub use id::{AddressId, Token};
pub(crate) use uapi::EVENT_SUB_CLOSED;

/// The family's name.
pub const FAMILY_NAME: &str = "mptcp_pm";
/// The name of the multicast group that its events come to.
pub const EVENT_GROUP: &str = "mptcp_pm_events";

/// Flags of an endpoint (`MPTCP_PM_ADDR_FLAG_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EndpointFlags(pub u32);

impl EndpointFlags {
    /// Announce the address to the peer with ADD_ADDR (RFC 8684, 3.4.1).
    pub const SIGNAL: Self = Self(1);
    /// Create subflows from the address.
    pub const SUBFLOW: Self = Self(1 << 1);
    /// Subflows from the address carry data only when no other can (the B bit, RFC 8684, 3.3.8).
    pub const BACKUP: Self = Self(1 << 2);
    /// Connect the address with every known address of the peer.
    pub const FULLMESH: Self = Self(1 << 3);
    /// Made by the kernel itself for an address a peer connected to; never sent by us.
    pub const IMPLICIT: Self = Self(1 << 4);
    /// Use the address for subflows toward addresses the peer announced (Linux 6.18).
    pub const LAMINAR: Self = Self(1 << 5);

    /// Returns whether all of `other` are among them.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An endpoint of the in-kernel path manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    /// [`AddressId::NONE`] leaves the choice to the kernel.
    pub id: AddressId,
    /// What it is for.
    pub flags: EndpointFlags,
    /// The interface that its subflows are bound to, if any.
    pub ifindex: IfIndex,
}

/// The two limits of a network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// ADD_ADDRs accepted from the peer, for each connection.
    pub add_addr_accepted: u32,
    /// Subflows beyond the first, for each connection.
    pub subflows: u32,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subflows,
            add_addr_accepted,
        } = self;
        write!(
            f,
            "limits subflows {subflows} add_addr_accepted {add_addr_accepted}"
        )
    }
}

/// One end of a subflow as commands of the userspace path manager name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubflowAddress {
    /// The address.
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    /// [`AddressId::NONE`] is left out: the kernel chooses one for a subflow.
    pub id: AddressId,
    /// BACKUP, for a subflow that is to be one.
    pub flags: EndpointFlags,
    /// The interface that the subflow is bound to, if any.
    pub ifindex: IfIndex,
}

impl SubflowAddress {
    /// Returns address and port.
    pub fn socket(&self) -> SocketAddr {
        end_at(self.address, self.port)
    }

    /// Returns an end of nothing but an address and a port.
    pub const fn at(address: IpAddr, port: u16) -> Self {
        Self {
            address,
            port,
            id: AddressId::NONE,
            flags: EndpointFlags(0),
            ifindex: IfIndex::NONE,
        }
    }

    /// Returns the same with an id.
    #[must_use]
    pub const fn with_id(self, id: AddressId) -> Self {
        Self { id, ..self }
    }

    /// Returns the same, bound to an interface.
    #[must_use]
    pub const fn on(self, ifindex: IfIndex) -> Self {
        Self { ifindex, ..self }
    }

    fn bare(&self) -> Self {
        Self::at(self.address, self.port)
    }
}

impl From<SocketAddr> for SubflowAddress {
    fn from(end: SocketAddr) -> Self {
        Self::at(ip_of(&end), end.port())
    }
}

/// Returns the end of an address and a port, by a function that is there once.
#[inline(never)]
pub fn end_at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// Returns the address of an end, as above.
#[inline(never)]
pub fn ip_of(end: &SocketAddr) -> IpAddr {
    end.ip()
}

impl From<Endpoint> for SubflowAddress {
    fn from(
        Endpoint {
            address,
            port,
            id,
            flags,
            ifindex,
        }: Endpoint,
    ) -> Self {
        Self {
            address,
            port,
            id,
            flags,
            ifindex,
        }
    }
}

/// Returns the endpoint, or the address of a connection, in a reply, from the attributes that
/// [`parse_header`](super::generic::parse_header) gives; `None` if it holds no address.
pub fn decode_endpoint(attributes: Attributes<'_>) -> Option<Endpoint> {
    let mut address = None;
    let mut endpoint = Endpoint {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port: 0,
        id: AddressId::NONE,
        flags: EndpointFlags::default(),
        ifindex: IfIndex::NONE,
    };
    for attribute in find(attributes, ADDR)?.nested() {
        match attribute.kind {
            ADDR_ID => endpoint.id = AddressId(attribute.u8()?),
            ADDR_ADDR4 | ADDR_ADDR6 => address = attribute.ip(),
            ADDR_PORT => endpoint.port = attribute.u16()?,
            ADDR_FLAGS => endpoint.flags = EndpointFlags(attribute.u32()?),
            ADDR_IF_IDX => endpoint.ifindex = IfIndex(attribute.u32()?),
            _ => {}
        }
    }
    endpoint.address = address?;
    Some(endpoint)
}

/// Returns the limits in the reply to [`Command::GetLimits`]; `None` if either is missing.
pub fn decode_limits(attributes: Attributes<'_>) -> Option<Limits> {
    Some(Limits {
        add_addr_accepted: find(attributes, RCV_ADD_ADDRS)?.u32()?,
        subflows: find(attributes, SUBFLOWS)?.u32()?,
    })
}

fn find(mut attributes: Attributes<'_>, kind: u16) -> Option<Attribute<'_>> {
    attributes.find(|attribute| attribute.kind == kind)
}

#[cfg(test)]
mod tests;
