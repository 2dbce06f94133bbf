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

mod id;

use super::IfIndex;
use super::attribute::{Attribute, Attributes, Builder, Full, end, is_mapped};
use super::generic;
use super::message::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Seq};
use super::route::Family;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use id::{AddressId, Token};

/// The family's name, and the multicast group its events come to.
pub const FAMILY_NAME: &str = "mptcp_pm";
/// Name of the multicast group of events.
pub const EVENT_GROUP: &str = "mptcp_pm_events";

/// No command is longer, with its netlink header.
pub const COMMAND_LENGTH: usize = 156;

const ADD_ADDR: u8 = 1;
const DEL_ADDR: u8 = 2;
const GET_ADDR: u8 = 3;
const FLUSH_ADDRS: u8 = 4;
const SET_LIMITS: u8 = 5;
const GET_LIMITS: u8 = 6;
const SET_FLAGS: u8 = 7;
const ANNOUNCE: u8 = 8;
const REMOVE: u8 = 9;
const SUBFLOW_CREATE: u8 = 10;
const SUBFLOW_DESTROY: u8 = 11;

/// `MPTCP_PM_ATTR_*`, of commands and replies.
const ADDR: u16 = 1;
const RCV_ADD_ADDRS: u16 = 2;
const SUBFLOWS: u16 = 3;
const TOKEN: u16 = 4;
const LOC_ID: u16 = 5;
const ADDR_REMOTE: u16 = 6;

/// `MPTCP_PM_ADDR_ATTR_*`, within an address.
const ADDR_FAMILY: u16 = 1;
const ADDR_ID: u16 = 2;
const ADDR_ADDR4: u16 = 3;
const ADDR_ADDR6: u16 = 4;
const ADDR_PORT: u16 = 5;
const ADDR_FLAGS: u16 = 6;
const ADDR_IF_IDX: u16 = 7;

/// `MPTCP_EVENT_*`.
const EVENT_CREATED: u8 = 1;
const EVENT_ESTABLISHED: u8 = 2;
const EVENT_CLOSED: u8 = 3;
const EVENT_ANNOUNCED: u8 = 6;
const EVENT_REMOVED: u8 = 7;
const EVENT_SUB_ESTABLISHED: u8 = 10;
pub(crate) const EVENT_SUB_CLOSED: u8 = 11;
const EVENT_SUB_PRIORITY: u8 = 13;
const EVENT_LISTENER_CREATED: u8 = 15;
const EVENT_LISTENER_CLOSED: u8 = 16;

/// `MPTCP_ATTR_*`, of events.
const EVENT_TOKEN: u16 = 1;
const EVENT_LOC_ID: u16 = 3;
const EVENT_REM_ID: u16 = 4;
const EVENT_SADDR4: u16 = 5;
const EVENT_SADDR6: u16 = 6;
const EVENT_DADDR4: u16 = 7;
const EVENT_DADDR6: u16 = 8;
const EVENT_SPORT: u16 = 9;
const EVENT_DPORT: u16 = 10;
const EVENT_BACKUP: u16 = 11;
const EVENT_ERROR: u16 = 12;
const EVENT_FLAGS: u16 = 13;
const EVENT_IF_IDX: u16 = 15;
const EVENT_RESET_REASON: u16 = 16;
const EVENT_RESET_FLAGS: u16 = 17;
const EVENT_SERVER_SIDE: u16 = 18;

/// `MPTCP_PM_EV_FLAG_*`.
const DENY_JOIN_ID0: u16 = 1;
const SERVER_SIDE: u16 = 1 << 1;

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
    /// [`AddressId::NONE`] is left out.
    pub id: AddressId,
    /// 0 is left out.
    pub flags: EndpointFlags,
    /// The interface that the subflow is bound to, if any.
    pub ifindex: IfIndex,
}

/// What the kernel says of a connection when it is created or established.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionEvent {
    /// The connection.
    pub token: Token,
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The peer opened the connection.
    pub server_side: bool,
    /// The peer set the C flag: no joins to its initial address (RFC 8684, 3.1).
    pub deny_join_id0: bool,
    /// The kernel knows the initial subflow by IPv4-mapped addresses. The engine's own business:
    /// commands name the subflow by the addresses given here.
    #[doc(hidden)]
    pub mapped: bool,
}

/// What the kernel says of a subflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubflowEvent {
    /// The connection.
    pub token: Token,
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The id of this host's address.
    pub local_id: AddressId,
    /// The id of the peer's address.
    pub remote_id: AddressId,
    /// It has backup priority, from either side.
    pub backup: bool,
    /// The interface that it is bound to, if any.
    pub ifindex: IfIndex,
    /// errno that ended the subflow, 0 is none.
    pub error: u8,
    /// MP_TCPRST reason (RFC 8684, 3.6), if the peer or the kernel gave one.
    pub reset_reason: Option<u32>,
    /// MP_TCPRST flags; meaningful with `reset_reason`.
    pub reset_flags: u32,
    /// As in [`ConnectionEvent`].
    #[doc(hidden)]
    pub mapped: bool,
}

/// An event of the `mptcp_pm_events` group. Addresses mapped from IPv4 are given as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// `MPTCP_EVENT_CREATED`: the handshake is not complete.
    Created(ConnectionEvent),
    /// `MPTCP_EVENT_ESTABLISHED`: it can be joined.
    Established(ConnectionEvent),
    /// `MPTCP_EVENT_CLOSED`.
    Closed {
        /// The connection.
        token: Token,
    },
    /// ADD_ADDR from the peer.
    Announced {
        /// The connection.
        token: Token,
        /// The peer's id of the address.
        remote_id: AddressId,
        /// The address.
        address: IpAddr,
        /// 0 where the peer named none.
        port: u16,
    },
    /// REMOVE_ADDR from the peer.
    Removed {
        /// The connection.
        token: Token,
        /// The peer's id of the address.
        remote_id: AddressId,
    },
    /// `MPTCP_EVENT_SUB_ESTABLISHED`: not sent for the initial subflow.
    SubflowEstablished(SubflowEvent),
    /// `MPTCP_EVENT_SUB_CLOSED`: it has ended, or could not be made.
    SubflowClosed(SubflowEvent),
    /// `MPTCP_EVENT_SUB_PRIORITY`.
    SubflowPriority(SubflowEvent),
    /// `MPTCP_EVENT_LISTENER_CREATED`.
    ListenerCreated {
        /// Where it listens.
        local: SocketAddr,
    },
    /// `MPTCP_EVENT_LISTENER_CLOSED`.
    ListenerClosed {
        /// Where it listened.
        local: SocketAddr,
    },
}

/// What the path managers can be told. Replies are [`Endpoint`] for the `Get` and `Dump` commands
/// of addresses and [`Limits`] for the other; every command ends in an acknowledgement.
///
/// Addresses go out as they are given: a subflow of an IPv6 socket that talks IPv4 is known to
/// the kernel by its IPv4-mapped addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Command {
    /// EEXIST: the address is an endpoint already; EBUSY: the id is taken; ERANGE: no more fit.
    AddEndpoint(Endpoint),
    /// By id. The address matters for id 0 only, the initial subflow's.
    DeleteEndpoint(Endpoint),
    /// Ask for an endpoint.
    GetEndpoint {
        /// Which.
        id: AddressId,
    },
    /// Ask for all endpoints.
    DumpEndpoints,
    /// Removes all endpoints, other programs' too.
    FlushEndpoints,
    /// Set the limits.
    SetLimits(Limits),
    /// Ask for the limits.
    GetLimits,
    /// Sets BACKUP and FULLMESH of the endpoint of this address, or, where the address is
    /// unspecified, of this id.
    SetFlags(Endpoint),
    /// ADD_ADDR to the peer. The kernel wants an id.
    Announce {
        /// The connection.
        token: Token,
        /// The address, with its id.
        address: SubflowAddress,
    },
    /// REMOVE_ADDR to the peer, and an end to the subflows of the address.
    RemoveAddress {
        /// The connection.
        token: Token,
        /// The id of the address.
        id: AddressId,
    },
    /// Make a subflow.
    CreateSubflow {
        /// The connection.
        token: Token,
        /// This host's end.
        local: SubflowAddress,
        /// The peer's end.
        remote: SubflowAddress,
    },
    /// Address and port of both ends name the subflow.
    DestroySubflow {
        /// The connection.
        token: Token,
        /// This host's end.
        local: SubflowAddress,
        /// The peer's end.
        remote: SubflowAddress,
    },
    /// MP_PRIO to the peer. Address and port of both ends name the subflow.
    SetBackup {
        /// The connection.
        token: Token,
        /// This host's end.
        local: SubflowAddress,
        /// The peer's end.
        remote: SubflowAddress,
        /// Backup priority or none.
        backup: bool,
    },
    /// An address of a connection of the userspace path manager (Linux 6.10).
    GetAddress {
        /// The connection.
        token: Token,
        /// The id of the address.
        id: AddressId,
    },
    /// Ask for all addresses of a connection.
    DumpAddresses {
        /// The connection.
        token: Token,
    },
}

impl Command {
    /// Whether the command brings back more than its result.
    pub const fn is_query(&self) -> bool {
        matches!(
            self,
            Self::GetEndpoint { .. }
                | Self::DumpEndpoints
                | Self::GetLimits
                | Self::GetAddress { .. }
                | Self::DumpAddresses { .. }
        )
    }

    /// The token of the connection and both ends, of a command for a subflow that is there.
    pub(crate) fn subflow(&mut self) -> Option<(Token, [&mut SubflowAddress; 2])> {
        match self {
            Self::DestroySubflow {
                token,
                local,
                remote,
            }
            | Self::SetBackup {
                token,
                local,
                remote,
                ..
            } => Some((*token, [local, remote])),
            _ => None,
        }
    }

    /// Writes the command. `family` is the number of `mptcp_pm`.
    ///
    /// # Errors
    /// [`Full`] if the buffer has less than [`COMMAND_LENGTH`] bytes of room.
    pub fn encode(&self, out: &mut Builder<'_>, family: u16, seq: Seq) -> Result<(), Full> {
        let (command, dump) = match self {
            Self::AddEndpoint(_) => (ADD_ADDR, 0),
            Self::DeleteEndpoint(_) => (DEL_ADDR, 0),
            Self::GetEndpoint { .. } | Self::GetAddress { .. } => (GET_ADDR, 0),
            Self::DumpEndpoints | Self::DumpAddresses { .. } => (GET_ADDR, NLM_F_DUMP),
            Self::FlushEndpoints => (FLUSH_ADDRS, 0),
            Self::SetLimits(_) => (SET_LIMITS, 0),
            Self::GetLimits => (GET_LIMITS, 0),
            Self::SetFlags(_) | Self::SetBackup { .. } => (SET_FLAGS, 0),
            Self::Announce { .. } => (ANNOUNCE, 0),
            Self::RemoveAddress { .. } => (REMOVE, 0),
            Self::CreateSubflow { .. } => (SUBFLOW_CREATE, 0),
            Self::DestroySubflow { .. } => (SUBFLOW_DESTROY, 0),
        };
        // Refusals come unasked, and nobody waits for anything else to be acknowledged.
        let ack = if self.is_query() { NLM_F_ACK } else { 0 };
        out.message(family, NLM_F_REQUEST | ack | dump, seq);
        generic::header(out, command);
        match *self {
            Self::AddEndpoint(endpoint) => put_address(out, ADDR, &endpoint.into()),
            Self::DeleteEndpoint(endpoint) if endpoint.id == AddressId::INITIAL => {
                put_address(out, ADDR, &SubflowAddress::at(endpoint.address, 0));
            }
            Self::DeleteEndpoint(Endpoint { id, .. }) | Self::GetEndpoint { id } => put_id(out, id),
            Self::SetFlags(endpoint) => {
                let id = if endpoint.address.is_unspecified() {
                    endpoint.id
                } else {
                    AddressId::NONE
                };
                put_address(
                    out,
                    ADDR,
                    &SubflowAddress {
                        id,
                        ifindex: IfIndex::NONE,
                        ..endpoint.into()
                    },
                );
            }
            Self::SetLimits(limits) => {
                out.u32(SUBFLOWS, limits.subflows);
                out.u32(RCV_ADD_ADDRS, limits.add_addr_accepted);
            }
            Self::DumpEndpoints | Self::FlushEndpoints | Self::GetLimits => {}
            Self::Announce { token, mut address } => {
                address.flags.0 |= EndpointFlags::SIGNAL.0;
                put_address(out, ADDR, &address);
                out.u32(TOKEN, token.get());
            }
            Self::RemoveAddress { token, id } => {
                out.u32(TOKEN, token.get());
                out.u8(LOC_ID, id.0);
            }
            Self::CreateSubflow {
                token,
                local,
                remote,
            } => {
                put_subflow(out, token, &local, &remote);
            }
            Self::DestroySubflow {
                token,
                local,
                remote,
            } => {
                put_subflow(out, token, &local.bare(), &remote.bare());
            }
            Self::SetBackup {
                token,
                local,
                remote,
                backup,
            } => {
                let flags = if backup {
                    EndpointFlags::BACKUP
                } else {
                    EndpointFlags::default()
                };
                let local = SubflowAddress {
                    flags,
                    ..local.bare()
                };
                put_subflow(out, token, &local, &remote.bare());
            }
            Self::GetAddress { token, id } => {
                put_id(out, id);
                out.u32(TOKEN, token.get());
            }
            Self::DumpAddresses { token } => out.u32(TOKEN, token.get()),
        }
        out.end()
    }
}

impl SubflowAddress {
    /// Returns address and port.
    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Nothing but an address and a port.
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

    /// Bound to an interface.
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
        Self::at(end.ip(), end.port())
    }
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

fn put_subflow(
    out: &mut Builder<'_>,
    token: Token,
    local: &SubflowAddress,
    remote: &SubflowAddress,
) {
    out.u32(TOKEN, token.get());
    put_address(out, ADDR, local);
    put_address(out, ADDR_REMOTE, remote);
}

fn put_id(out: &mut Builder<'_>, id: AddressId) {
    let nest = out.nest(ADDR);
    out.u8(ADDR_ID, id.0);
    out.close(nest);
}

/// An unspecified address with an id stands for the id alone.
fn put_address(out: &mut Builder<'_>, kind: u16, address: &SubflowAddress) {
    let nest = out.nest(kind);
    if address.id == AddressId::NONE || !address.address.is_unspecified() {
        out.u16(ADDR_FAMILY, Family::of(address.address).number().into());
        let kind = if address.address.is_ipv4() {
            ADDR_ADDR4
        } else {
            ADDR_ADDR6
        };
        out.ip(kind, address.address);
    }
    if address.port != 0 {
        out.u16(ADDR_PORT, address.port);
    }
    if address.id != AddressId::NONE {
        out.u8(ADDR_ID, address.id.0);
    }
    if address.flags.0 != 0 {
        out.u32(ADDR_FLAGS, address.flags.0);
    }
    if address.ifindex != IfIndex::NONE {
        out.u32(ADDR_IF_IDX, address.ifindex.0);
    }
    out.close(nest);
}

/// Reads the reply to a command that asks for endpoints or addresses, from the attributes that
/// [`generic::parse_header`] gives; `None` if it holds no address.
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

/// Reads the reply to [`Command::GetLimits`]; `None` if either limit is missing.
pub fn decode_limits(attributes: Attributes<'_>) -> Option<Limits> {
    Some(Limits {
        add_addr_accepted: find(attributes, RCV_ADD_ADDRS)?.u32()?,
        subflows: find(attributes, SUBFLOWS)?.u32()?,
    })
}

fn find(mut attributes: Attributes<'_>, kind: u16) -> Option<Attribute<'_>> {
    attributes.find(|attribute| attribute.kind == kind)
}

/// Why a message of the event group is not an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventError {
    /// A newer kernel's event.
    Unknown(u8),
    /// The attribute of this name (as in `linux/mptcp_pm.h`, less `MPTCP_ATTR_`) is missing or has
    /// the wrong length.
    Missing(&'static str),
}

impl fmt::Display for EventError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(event) => write!(out, "unknown MPTCP event {event}"),
            Self::Missing(name) => write!(out, "MPTCP event without {name}"),
        }
    }
}

impl core::error::Error for EventError {}

/// Every attribute an event may have.
#[derive(Default)]
struct Fields {
    token: Option<Token>,
    /// As the kernel says them, perhaps mapped from IPv4.
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    local_port: Option<u16>,
    remote_port: Option<u16>,
    local_id: AddressId,
    remote_id: Option<AddressId>,
    backup: Option<u8>,
    error: u8,
    flags: u16,
    ifindex: IfIndex,
    reset_reason: Option<u32>,
    reset_flags: u32,
}

impl Fields {
    fn new(attributes: Attributes<'_>) -> Self {
        let mut fields = Self::default();
        for attribute in attributes {
            match attribute.kind {
                EVENT_TOKEN => fields.token = attribute.u32().map(Token::new),
                EVENT_LOC_ID => fields.local_id = AddressId(attribute.u8().unwrap_or(0)),
                EVENT_REM_ID => fields.remote_id = attribute.u8().map(AddressId),
                EVENT_SADDR4 | EVENT_SADDR6 => fields.local = attribute.ip(),
                EVENT_DADDR4 | EVENT_DADDR6 => fields.remote = attribute.ip(),
                EVENT_SPORT => fields.local_port = attribute.be16(),
                EVENT_DPORT => fields.remote_port = attribute.be16(),
                EVENT_BACKUP => fields.backup = attribute.u8(),
                EVENT_ERROR => fields.error = attribute.u8().unwrap_or(0),
                EVENT_FLAGS => fields.flags |= attribute.u16().unwrap_or(0),
                EVENT_IF_IDX => fields.ifindex = IfIndex(attribute.u32().unwrap_or(0)),
                EVENT_RESET_REASON => fields.reset_reason = attribute.u32(),
                EVENT_RESET_FLAGS => fields.reset_flags = attribute.u32().unwrap_or(0),
                EVENT_SERVER_SIDE if attribute.u8().unwrap_or(0) != 0 => {
                    fields.flags |= SERVER_SIDE
                }
                _ => {}
            }
        }
        fields
    }

    fn token(&self) -> Result<Token, EventError> {
        need(self.token, "TOKEN")
    }

    fn local(&self) -> Result<SocketAddr, EventError> {
        let port = need(self.local_port, "SPORT")?;
        Ok(end(need(self.local.as_ref(), "SADDR")?, port))
    }

    fn remote(&self) -> Result<SocketAddr, EventError> {
        let port = need(self.remote_port, "DPORT")?;
        Ok(end(need(self.remote.as_ref(), "DADDR")?, port))
    }

    fn connection(&self) -> Result<ConnectionEvent, EventError> {
        Ok(ConnectionEvent {
            token: self.token()?,
            local: self.local()?,
            remote: self.remote()?,
            server_side: self.flags & SERVER_SIDE != 0,
            deny_join_id0: self.flags & DENY_JOIN_ID0 != 0,
            mapped: self.is_mapped(),
        })
    }

    fn subflow(&self) -> Result<SubflowEvent, EventError> {
        Ok(SubflowEvent {
            token: self.token()?,
            local: self.local()?,
            remote: self.remote()?,
            local_id: self.local_id,
            remote_id: self.remote_id.unwrap_or(AddressId::INITIAL),
            backup: need(self.backup, "BACKUP")? != 0,
            ifindex: self.ifindex,
            error: self.error,
            reset_reason: self.reset_reason,
            reset_flags: self.reset_flags,
            mapped: self.is_mapped(),
        })
    }

    fn is_mapped(&self) -> bool {
        self.local.as_ref().is_some_and(is_mapped)
    }
}

fn need<T>(value: Option<T>, name: &'static str) -> Result<T, EventError> {
    value.ok_or(EventError::Missing(name))
}

/// Reads an event, from what [`generic::parse_header`] gives. Addresses are not judged: the kernel names
/// subflows that have ended by whatever is left of them.
///
/// # Errors
/// [`EventError`] if a newer kernel says something new, or leaves out what we need.
pub fn decode_event(event: u8, attributes: Attributes<'_>) -> Result<Event, EventError> {
    let fields = Fields::new(attributes);
    Ok(match event {
        EVENT_CREATED | EVENT_ESTABLISHED => {
            let connection = fields.connection()?;
            match event {
                EVENT_CREATED => Event::Created(connection),
                _ => Event::Established(connection),
            }
        }
        EVENT_CLOSED => Event::Closed {
            token: fields.token()?,
        },
        EVENT_ANNOUNCED => Event::Announced {
            token: fields.token()?,
            remote_id: need(fields.remote_id, "REM_ID")?,
            address: need(fields.remote, "DADDR")?.to_canonical(),
            port: fields.remote_port.unwrap_or(0),
        },
        EVENT_REMOVED => Event::Removed {
            token: fields.token()?,
            remote_id: need(fields.remote_id, "REM_ID")?,
        },
        EVENT_SUB_ESTABLISHED | EVENT_SUB_CLOSED | EVENT_SUB_PRIORITY => {
            let subflow = fields.subflow()?;
            match event {
                EVENT_SUB_ESTABLISHED => Event::SubflowEstablished(subflow),
                EVENT_SUB_CLOSED => Event::SubflowClosed(subflow),
                _ => Event::SubflowPriority(subflow),
            }
        }
        EVENT_LISTENER_CREATED | EVENT_LISTENER_CLOSED => {
            let local = fields.local()?;
            match event {
                EVENT_LISTENER_CREATED => Event::ListenerCreated { local },
                _ => Event::ListenerClosed { local },
            }
        }
        _ => return Err(EventError::Unknown(event)),
    })
}

#[cfg(test)]
mod tests;
