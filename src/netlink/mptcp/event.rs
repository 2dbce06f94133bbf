// SPDX-License-Identifier: BSD-3-Clause
//! What the kernel says of connections, decoded.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::uapi::*;
use super::{AddressId, Token};
use crate::netlink::IfIndex;
use crate::netlink::attribute::{Attributes, end, is_mapped};

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
    /// The peer asks for backup priority (the B bit, RFC 8684, 3.3.8).
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

/// Returns the event in what [`parse_header`](crate::netlink::generic::parse_header) gives.
/// Addresses are not judged: the kernel names subflows that have ended by whatever is left of them.
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
