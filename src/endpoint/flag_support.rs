// SPDX-License-Identifier: BSD-3-Clause
//! Which endpoint flags this kernel keeps, and whether it can change them.
//!
//! An older kernel silently drops a flag that it does not know: only a dump tells. A newer flag
//! is in one of four states:
//!
//! ```text
//! unknown --kept--> supported
//!    |                  |
//!    +-----dropped------+--> suspect --dropped again--> unsupported
//!                        <-----kept------+
//! ```
//!
//! One dump does not suffice, because somebody may have taken the flag away from the endpoint.

use libc::EOPNOTSUPP;

use crate::netlink::mptcp::EndpointFlags;

/// Flags of an existing endpoint that SET_FLAGS can change.
const CHANGEABLE: u32 = EndpointFlags::BACKUP.0 | EndpointFlags::FULLMESH.0;
/// Flags that the first kernels with endpoints did not know.
const NEWER_FLAGS: u32 = EndpointFlags::FULLMESH.0 | EndpointFlags::LAMINAR.0;

#[derive(Debug)]
pub(super) struct FlagSupport {
    /// Flags that this kernel drops.
    unsupported: EndpointFlags,
    /// Flags that were asked for and missing in the last dump that could show them.
    suspect: EndpointFlags,
    /// Those that were suspect before the dump under way.
    suspect_before: EndpointFlags,
    /// Newer flags that this kernel has been seen to keep.
    supported: EndpointFlags,
    /// The kernel has not refused SET_FLAGS as unknown.
    can_set: bool,
}

impl Default for FlagSupport {
    fn default() -> Self {
        Self {
            unsupported: EndpointFlags::default(),
            suspect: EndpointFlags::default(),
            suspect_before: EndpointFlags::default(),
            supported: EndpointFlags::default(),
            can_set: true,
        }
    }
}

impl FlagSupport {
    /// Returns the flags that this kernel drops.
    pub(super) fn unsupported(&self) -> EndpointFlags {
        self.unsupported
    }

    /// Returns the flags whose change costs no subflow, as bits. The kernel makes all of an endpoint
    /// anew where it comes to be one of a full mesh or ceases to be.
    pub(super) fn harmless(&self) -> u32 {
        self.changeable() & !EndpointFlags::FULLMESH.0
    }

    /// Returns the flags that can be changed without making the endpoint anew, as bits.
    pub(super) fn changeable(&self) -> u32 {
        if self.can_set { CHANGEABLE } else { 0 }
    }

    /// Returns whether only a dump can tell if the kernel has kept all of `flags`.
    pub(super) fn needs_dump(&self, flags: EndpointFlags) -> bool {
        let unknown = NEWER_FLAGS & !self.supported.0 | self.suspect.0;
        flags.0 & unknown & !self.unsupported.0 != 0
    }

    pub(super) fn begin_dump(&mut self) {
        self.suspect_before = self.suspect;
    }

    /// A dump shows what the kernel has made of the flags last asked for.
    pub(super) fn on_dumped(&mut self, asked: EndpointFlags, shown: EndpointFlags) {
        let kept = asked.0 & shown.0 & NEWER_FLAGS;
        let missing = asked.0 & !shown.0 & NEWER_FLAGS;
        self.suspect.0 &= !kept;
        self.supported.0 |= kept;
        self.unsupported.0 |= missing & self.suspect_before.0;
        self.suspect.0 |= missing;
    }

    /// The kernel refused SET_FLAGS.
    pub(super) fn on_refused(&mut self, errno: i32) {
        self.can_set &= errno != EOPNOTSUPP;
    }

    /// Lets SET_FLAGS be tried again.
    pub(super) fn retry(&mut self) {
        self.can_set = true;
    }

    /// Forgets which flags the kernel drops, to learn it anew.
    pub(super) fn forget(&mut self) {
        self.unsupported = EndpointFlags::default();
        self.suspect = EndpointFlags::default();
    }
}
