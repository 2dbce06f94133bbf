// SPDX-License-Identifier: BSD-3-Clause
//! `sspi`: subflows spread over the interfaces, for connections of the userspace path manager.
//!
//! - *Subflows.* Who opened the connection makes them: one from each interface, and one to each
//!   address of the peer's, the initial one and those it announces, unless it denies or withdraws
//!   them; spread, so that as few as possible share an interface or an address, and so that hosts
//!   that share several links use each for itself. An interface goes first where joins are known to
//!   work, and then where nobody else goes, so that an address that cannot be reached takes nothing
//!   away. What fails or ends is made again later and later, each time another way.
//! - *Superfluous subflows* are closed by who opened the connection: those whose interface and whose
//!   address of the peer both have others, but for the initial one; and of two with the same ends
//!   the earlier one. Such a second one is made where a path returns to a connection that had no
//!   other: TCP tries an old subflow again only after as long as the outage was. Who accepted the
//!   connection closes the earlier of two from the same address of the peer at an interface, where
//!   it has several: the peer came back over a path that was broken.

mod subflows;

use super::paths::{Paths, close, is_open, is_usable};
use super::strategy::{LISTEN, Lost, Strategy, strategy};
use super::{Context, Entry, QueueFull};
use crate::connection::Connection;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, SubflowEvent};
use crate::network::LocalAddress;

/// The entry of `sspi`.
pub const ENTRY: Entry = Entry::new(
    "sspi",
    "subflows spread over interfaces, for connections of the userspace path manager",
    || strategy(Box::new(Sspi)),
)
.with_keys(&[LISTEN]);

struct Sspi;

/// What a connection lacks.
#[derive(Clone, Copy)]
enum Missing {
    /// A subflow from an interface that has none.
    From(IfIndex),
    /// A fresh subflow from an interface that has one of before an outage: TCP waits long until
    /// it tries that again.
    Again(IfIndex),
    /// A subflow to an address of the peer that has none, by its id.
    To(AddressId),
}

impl Missing {
    /// By which it is tried again.
    fn key(self) -> u64 {
        match self {
            Self::From(index) => index.0.into(),
            Self::Again(index) => 1 << 32 | u64::from(index.0),
            Self::To(id) => 2 << 32 | u64::from(id.0),
        }
    }
}

impl Strategy for Sspi {
    fn reconcile(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
    ) -> Result<(), QueueFull> {
        subflows::close_superfluous_subflow(cx, connection, paths)?;
        if !connection.server_side {
            subflows::create_subflows(cx, connection, paths)?;
        }
        Ok(())
    }

    fn joined(&mut self, cx: &mut Context<'_>, event: &SubflowEvent) {
        let index = cx.network().leaves_by(event.ifindex, event.local.ip());
        if let Some(index) = index {
            cx.succeeded(event.token, Missing::Again(index).key());
        }
    }

    fn lost(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        paths: &Paths,
        lost: &Lost,
    ) {
        if !connection.server_side {
            subflows::retry_later(cx, connection, paths, lost);
        }
    }

    fn address_usable(&mut self, cx: &mut Context<'_>, address: &LocalAddress, back: bool) {
        let [from, again] = [Missing::From, Missing::Again].map(|m| m(address.index).key());
        cx.forget_retries(&|_, what| what == from || what == again);
        for connection in cx.connections().filter(|c| back && !c.server_side) {
            let mut all = connection.subflows();
            if all.any(|s| s.local.ip() == address.address && is_open(s)) {
                cx.retry_now(connection.token, again);
            }
        }
    }
}

#[cfg(test)]
mod tests;
