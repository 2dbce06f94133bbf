// SPDX-License-Identifier: BSD-3-Clause
//! An endpoint of ours, and what becomes of it.

use super::departure::Departure;
use crate::netlink::mptcp::{AddressId, Endpoint};
use crate::request::CommandId;
use crate::table::Mark;

/// An endpoint of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// As the kernel has it, or was asked to.
    pub endpoint: Endpoint,
    /// What the kernel has been asked for and has not acknowledged.
    pub(super) pending: Option<Operation>,
    /// The number of that command.
    pub(super) command: CommandId,
    pub(super) departure: Departure,
    /// When it was last to go connections needed it.
    pub(super) needed: bool,
    /// Its address has a path by its device, though it may be wanted with other flags, or have no
    /// slot.
    pub(super) has_path: bool,
    /// It stayed without a path, which has just returned.
    pub(super) returned: bool,
    /// Added, and no dump has shown it since.
    pub(super) unverified: bool,
    /// Its flags were set, and no dump has shown it since: the next one tells which flags the
    /// kernel keeps.
    pub(super) flags_unverified: bool,
    /// The kernel chose its id, and no dump has shown it since.
    pub(super) id_unknown: bool,
    /// The dump under way has shown it.
    pub(super) marked: bool,
}

const _: () = assert!(size_of::<Slot>() <= 44);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Add,
    SetFlags,
    Delete,
}

impl Slot {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            pending: None,
            command: CommandId::default(),
            departure: Departure::default(),
            needed: false,
            has_path: true,
            returned: false,
            unverified: false,
            flags_unverified: false,
            id_unknown: false,
            marked: false,
        }
    }

    /// Returns it as a later run should know it: without id where the kernel has chosen one that
    /// no dump has shown.
    pub fn remembered(&self) -> Endpoint {
        let id = if self.id_unknown {
            AddressId::NONE
        } else {
            self.endpoint.id
        };
        Endpoint {
            id,
            ..self.endpoint
        }
    }

    /// Returns whether the kernel has been asked to delete it.
    pub fn is_deleting(&self) -> bool {
        self.pending == Some(Operation::Delete)
    }

    /// Returns whether it stays as it is for the sake of connections, although its path is lost, its
    /// slot should be another's, or it should have other flags.
    pub fn is_kept(&self) -> bool {
        self.departure == Departure::Denied
    }

    /// Returns whether its address has a path by its device.
    pub fn has_path(&self) -> bool {
        self.has_path
    }

    /// Returns whether its path has just returned to it. Peers do not know that yet: they may wait
    /// as long as the path was away before they send there again.
    pub fn has_returned(&self) -> bool {
        self.returned
    }

    /// Returns whether connections can use it: the kernel has it, and it has a path.
    pub fn is_usable(&self) -> bool {
        let ends = !matches!(
            self.departure,
            Departure::Stays | Departure::Requested | Departure::Denied
        );
        self.has_path && self.pending.is_none() && !ends
    }

    /// Returns whether it is wanted, there, and to stay.
    pub fn is_settled(&self) -> bool {
        self.departure == Departure::Stays && self.pending.is_none()
    }

    pub(super) fn set_pending(&mut self, operation: Operation, command: CommandId) {
        (self.pending, self.command) = (Some(operation), command);
    }
}

impl Mark for Slot {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}
