// SPDX-License-Identifier: BSD-3-Clause
//! What plugins see of a connection.

use core::net::SocketAddr;
use core::ops::Deref;

use super::storage::Place;
use super::{Connections, Handshake, RemoteAddress, Slot, Subflow};
use crate::netlink::mptcp::{AddressId, ConnectionEvent, SubflowAddress, ip_of};

/// A connection, as far as it is known. What it derefs to was said when it was made: the ends are
/// those of the initial subflow.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Connection<'a> {
    pub(super) slot: &'a Slot,
    /// Where it stands in the table.
    pub(super) at: u32,
    pub(super) table: &'a Connections,
}

impl Deref for Connection<'_> {
    type Target = ConnectionEvent;
    fn deref(&self) -> &ConnectionEvent {
        &self.slot.event
    }
}

impl<'a> Connection<'a> {
    /// Returns whether the handshake is complete: subflows can be made.
    pub fn is_established(&self) -> bool {
        self.slot.handshake == Handshake::Announced
    }

    /// Returns whether the kernel has refused a command because its own path manager has the connection.
    pub fn is_kernel_managed(&self) -> bool {
        self.slot.kernel_managed
    }

    /// Returns whether the peer opened it, at this listener.
    pub(crate) fn was_accepted_at(&self, listener: SocketAddr) -> bool {
        let (local, ip) = (self.local, ip_of(&listener));
        let same = ip.is_unspecified() || ip == ip_of(&local);
        self.server_side && same && listener.port() == local.port()
    }

    /// Returns the subflows, the initial one included, oldest first.
    pub fn subflows(&self) -> impl Iterator<Item = &'a Subflow> + use<'a> {
        self.table.subflows.list(self.slot.subflows)
    }

    /// Returns whether the peer can be joined at the address that the initial subflow leads to: it has not
    /// denied that (the C flag, RFC 8684, 3.1) and has not withdrawn the address (REMOVE_ADDR of
    /// id 0, RFC 8684, 3.4.2), as far as this run of the daemon has seen.
    pub fn may_join_initial_address(&self) -> bool {
        !self.deny_join_id0 && !self.slot.initial_withdrawn
    }

    /// Returns whether this run of the daemon has withdrawn the address of the initial subflow
    /// (REMOVE_ADDR of id 0): the peer knows it again only by an announcement.
    pub fn has_withdrawn_initial_address(&self) -> bool {
        self.slot.own_initial_withdrawn
    }

    /// Returns what the peer announces and has not withdrawn.
    pub fn remote_addresses(&self) -> impl Iterator<Item = &'a RemoteAddress> + use<'a> {
        self.table.addresses.list(self.slot.addresses)
    }

    /// Returns where the peer can be joined, in the family that the connection was opened in: the
    /// address of the initial subflow, unless [`Self::may_join_initial_address`] says no, and then
    /// those that the peer announces, in the order in which it did, each with the port to use.
    pub fn peers(&self) -> impl Iterator<Item = SubflowAddress> + use<'a> {
        let connection = *self;
        (0..).map_while(move |at| connection.peer(at))
    }

    /// Returns one of [`Self::peers`], by position.
    #[inline(never)]
    pub(crate) fn peer(&self, at: usize) -> Option<SubflowAddress> {
        let initial = SubflowAddress::from(self.remote);
        let ipv6 = initial.address.is_ipv6();
        let first = self.may_join_initial_address().then_some(initial);
        let announced = |known: &RemoteAddress| {
            let mut end = SubflowAddress::from(known.address).with_id(known.id);
            if end.port == 0 {
                end.port = initial.port;
            }
            end
        };
        let others = self.remote_addresses().map(announced);
        let others = others.filter(|to| {
            to.address.is_ipv6() == ipv6 && first.is_none_or(|first| first.address != to.address)
        });
        first.into_iter().chain(others).nth(at)
    }

    /// Returns the ids of the addresses that we announce.
    pub fn announced(&self) -> impl Iterator<Item = AddressId> + use<'a> {
        self.slot.announced.iter().map(AddressId)
    }

    /// Returns whether we announce the address with this id.
    pub fn has_announced(&self, id: AddressId) -> bool {
        self.slot.announced.contains(id.0)
    }

    /// Returns the number of the plugin that manages it.
    #[cfg(feature = "userspace")]
    pub(crate) fn manager(&self) -> u8 {
        self.slot.plugin
    }

    pub(super) fn place(&self) -> Place {
        Place {
            at: self.at,
            serial: self.slot.serial,
        }
    }
}
