// SPDX-License-Identifier: BSD-3-Clause
//! The number of an interface, which every netlink family names it by.

use core::fmt;

/// The kernel's number for a network interface, as `if_nametoindex(3)` returns it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct IfIndex(pub u32);

impl IfIndex {
    /// No interface, or whichever: what netlink leaves out.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
