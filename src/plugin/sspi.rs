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
//!   the earlier one. Who accepted the connection closes the earlier of two from the same address of
//!   the peer at an interface, where it has several: the peer came back over a path that was broken.

mod subflows;

use super::paths::{Paths, close, is_usable};
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
    /// A subflow to an address of the peer that has none, by its id.
    To(AddressId),
}

impl Missing {
    /// By which it is tried again.
    fn key(self) -> u64 {
        match self {
            Self::From(index) => index.0.into(),
            Self::To(id) => 1 << 32 | u64::from(id.0),
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

    /// Failures count until the network changes: what has worked once may end again at once.
    fn joined(&mut self, _: &mut Context<'_>, _: &SubflowEvent) {}

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

    fn address_usable(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        let from = Missing::From(address.index).key();
        cx.forget_retries(&|_, what| what == from);
    }
}

#[cfg(test)]
mod tests;
