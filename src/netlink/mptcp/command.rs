// SPDX-License-Identifier: BSD-3-Clause
//! What the path managers can be told, encoded.

use super::uapi::*;
use super::{AddressId, Endpoint, EndpointFlags, Limits, SubflowAddress, Token};
use crate::netlink::IfIndex;
use crate::netlink::Seq;
use crate::netlink::attribute::{Builder, Full};
use crate::netlink::generic;
use crate::netlink::message::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use crate::netlink::route::Family;

/// No command is longer, with its netlink header.
pub const COMMAND_LENGTH: usize = 156;

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
    /// By id. The address matters for [`AddressId::INITIAL`] only.
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
    /// Returns whether the command brings back more than its result.
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

    /// Returns the connection that the command is about, if it is about one.
    pub(crate) const fn token(&self) -> Option<Token> {
        match *self {
            Self::Announce { token, .. }
            | Self::RemoveAddress { token, .. }
            | Self::CreateSubflow { token, .. }
            | Self::DestroySubflow { token, .. }
            | Self::SetBackup { token, .. }
            | Self::GetAddress { token, .. }
            | Self::DumpAddresses { token } => Some(token),
            _ => None,
        }
    }

    /// Returns token and both ends of a command for a subflow that is there.
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
        if let Some(token) = self.token() {
            out.u32(TOKEN, token.get());
        }
        match self {
            Self::AddEndpoint(endpoint) => put_address(out, ADDR, &(*endpoint).into()),
            Self::DeleteEndpoint(endpoint) if endpoint.id == AddressId::INITIAL => {
                put_address(out, ADDR, &SubflowAddress::at(endpoint.address, 0));
            }
            Self::DeleteEndpoint(Endpoint { id, .. })
            | Self::GetEndpoint { id }
            | Self::GetAddress { id, .. } => put_id(out, *id),
            Self::SetFlags(endpoint) => {
                let mut address = SubflowAddress::from(*endpoint);
                address.ifindex = IfIndex::NONE;
                if !address.address.is_unspecified() {
                    address.id = AddressId::NONE;
                }
                put_address(out, ADDR, &address);
            }
            Self::SetLimits(limits) => {
                out.u32(SUBFLOWS, limits.subflows);
                out.u32(RCV_ADD_ADDRS, limits.add_addr_accepted);
            }
            Self::DumpEndpoints
            | Self::FlushEndpoints
            | Self::GetLimits
            | Self::DumpAddresses { .. } => {}
            Self::Announce { address, .. } => {
                let mut address = *address;
                address.flags.0 |= EndpointFlags::SIGNAL.0;
                put_address(out, ADDR, &address);
            }
            Self::RemoveAddress { id, .. } => out.u8(LOC_ID, id.0),
            Self::CreateSubflow { local, remote, .. } => put_ends(out, local, remote),
            Self::DestroySubflow { local, remote, .. } | Self::SetBackup { local, remote, .. } => {
                let mut local = local.bare();
                if let Self::SetBackup { backup: true, .. } = self {
                    local.flags = EndpointFlags::BACKUP;
                }
                put_ends(out, &local, &remote.bare());
            }
        }
        out.end()
    }
}

fn put_ends(out: &mut Builder<'_>, local: &SubflowAddress, remote: &SubflowAddress) {
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
        out.ip(kind, &address.address);
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
