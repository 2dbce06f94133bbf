// SPDX-License-Identifier: BSD-3-Clause
//! The numbers by which kernel and peer know connections and addresses.

use core::fmt;

/// The kernel's number for a connection (RFC 8684, 3.2), in host byte order.
///
/// Whoever knows it can join the connection: it cannot be printed, and does not belong in a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token(u32);

impl Token {
    /// No connection, or one that is not established yet.
    pub const NONE: Self = Self(0);

    /// Returns the token with this value.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// Returns its value, for the kernel.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The number that an address has between the two hosts of a connection (RFC 8684, 3.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AddressId(pub u8);

impl AddressId {
    /// The address of the initial subflow, in events and in what is known of a connection.
    pub const INITIAL: Self = Self(0);
    /// No id, in what the kernel is asked for: it is left out, and the kernel chooses.
    pub const NONE: Self = Self(0);

    /// Returns the id after this one, in the circle of 1 to 255.
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(id) => Self(id),
            None => Self(1),
        }
    }
}

impl fmt::Display for AddressId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
