// SPDX-License-Identifier: BSD-3-Clause
//! How many endpoints this kernel takes: learned from its refusals (ERANGE).

use crate::capacity;

/// So many endpoints a kernel before Linux 6.2 takes (`MPTCP_PM_ADDR_MAX`); one more is EINVAL there.
pub(super) const OLD_CAPACITY: usize = 8;

/// The kernel does not say how many endpoints it takes, but it refuses one too many.
#[derive(Debug, Default)]
pub(super) struct KernelCapacity {
    /// In endpoints, ours and others'; `None` until the kernel has refused one.
    known: Option<usize>,
    /// One more than `known` may be tried, because `known` may have become wrong.
    probing: bool,
    /// How many of our endpoints the kernel had when it refused one more. With those of others,
    /// which the next dump shows, that is the capacity.
    ours_when_full: Option<usize>,
}

impl KernelCapacity {
    /// Returns how many endpoints the kernel takes, once it has refused one.
    pub(super) fn known(&self) -> Option<usize> {
        self.known
    }

    /// Returns how many endpoints fit, so far as is known.
    pub(super) fn fits(&self) -> usize {
        self.known.unwrap_or(capacity::ENDPOINTS)
    }

    /// Returns how many endpoints may be asked for: one more than fit while probing.
    pub(super) fn limit(&self) -> usize {
        self.fits() + usize::from(self.probing)
    }

    /// Lets one more than fit be tried.
    pub(super) fn probe(&mut self) {
        self.probing = true;
    }

    /// Forgets the capacity, to learn it anew.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// The kernel refused an endpoint for lack of room while it had so many of ours.
    pub(super) fn on_full(&mut self, ours: usize) {
        self.probing = false;
        self.ours_when_full = Some(ours);
    }

    /// A dump has shown how many endpoints others have.
    pub(super) fn on_dumped(&mut self, others: usize) {
        if let Some(ours) = self.ours_when_full.take() {
            self.known = Some(ours + others);
        }
    }

    /// The kernel has so many endpoints. Returns whether that is more than it was known to take.
    pub(super) fn on_taken(&mut self, taken: usize) -> bool {
        let grew = self.known.is_some_and(|known| taken > known);
        if grew {
            self.known = Some(taken);
        }
        grew
    }
}
