//! The `mptcp_pm` generic-netlink family: commands, replies and events.
//!
//! Source: `include/uapi/linux/mptcp_pm.h`, `include/uapi/linux/mptcp.h` and
//! `Documentation/netlink/specs/mptcp_pm.yaml` of the kernel.

use core::net::{IpAddr, SocketAddr};

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

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An endpoint of the in-kernel path manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    /// Address id of RFC 8684; 0 leaves the choice to the kernel.
    pub id: u8,
    pub flags: EndpointFlags,
    /// 0 is none.
    pub ifindex: u32,
}

/// The two limits of a network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// ADD_ADDRs accepted from the peer, for each connection.
    pub add_addr_accepted: u32,
    /// Subflows beyond the first, for each connection.
    pub subflows: u32,
}

/// One end of a subflow as commands of the userspace path manager name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubflowAddress {
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    /// 0 is left out.
    pub id: u8,
    /// 0 is left out.
    pub flags: EndpointFlags,
    /// 0 is left out.
    pub ifindex: u32,
}

/// What the kernel says of a connection when it is created or established.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionEvent {
    pub token: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub server_side: bool,
    /// The peer set the C flag: no joins to its initial address (RFC 8684, 3.1).
    pub deny_join_id0: bool,
}

/// What the kernel says of a subflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubflowEvent {
    pub token: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub local_id: u8,
    pub remote_id: u8,
    pub backup: bool,
    /// 0 unless the subflow is bound to a device.
    pub ifindex: u32,
    /// errno that ended the subflow, 0 is none.
    pub error: u8,
    /// MP_TCPRST reason (RFC 8684, 3.6), if the peer or the kernel gave one.
    pub reset_reason: Option<u32>,
    /// MP_TCPRST flags; meaningful with `reset_reason`.
    pub reset_flags: u32,
}

/// An event of the `mptcp_pm_events` group. Addresses mapped from IPv4 are given as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Created(ConnectionEvent),
    Established(ConnectionEvent),
    Closed {
        token: u32,
    },
    /// ADD_ADDR from the peer.
    Announced {
        token: u32,
        remote_id: u8,
        address: IpAddr,
        port: u16,
    },
    /// REMOVE_ADDR from the peer.
    Removed {
        token: u32,
        remote_id: u8,
    },
    SubflowEstablished(SubflowEvent),
    SubflowClosed(SubflowEvent),
    SubflowPriority(SubflowEvent),
    ListenerCreated {
        local: SocketAddr,
    },
    ListenerClosed {
        local: SocketAddr,
    },
}
