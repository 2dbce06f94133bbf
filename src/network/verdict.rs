// SPDX-License-Identifier: BSD-3-Clause
//! Whether an address may be used, or why not.

use core::fmt;

/// What the daemon thinks of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It may be used.
    Usable,
    /// Not looked at yet.
    Unjudged,
    /// The kernel has removed it.
    Gone,
    /// The configuration excludes its interface.
    NotAllowed,
    /// The configuration excludes its family.
    Family,
    /// Its interface is down.
    Down,
    /// Its interface has no carrier.
    NoCarrier,
    /// It is a loopback address, or on a loopback interface.
    Loopback,
    /// It is link-local.
    LinkLocal,
    /// It is no address of a host.
    Multicast,
    /// Another host has it (IFA_F_DADFAILED).
    DuplicateAddress,
    /// Duplicate address detection is under way (IFA_F_TENTATIVE).
    Tentative,
    /// Its preferred lifetime is over (IFA_F_DEPRECATED).
    Deprecated,
    /// It is a temporary address (RFC 8981) beside a stable one.
    Temporary,
    /// It was there before the daemon, and such ones are not used.
    Existing,
    /// The kernel has no way to the world for it.
    NoRoute,
    /// It is not meant for the Internet (fc00::/7), and its interface has an address that is.
    UniqueLocal,
    /// It has not been usable for long enough.
    HoldDown,
    /// Its interface is for when no other is usable.
    Standby,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usable => "usable",
            Self::Unjudged => "not judged yet",
            Self::Gone => "gone",
            Self::NotAllowed => "not used: interface excluded",
            Self::Family => "not used: family excluded",
            Self::Down => "not used: interface down",
            Self::NoCarrier => "not used: no carrier",
            Self::Loopback => "not used: loopback",
            Self::LinkLocal => "not used: link-local",
            Self::Multicast => "not used: not a host address",
            Self::DuplicateAddress => "not used: duplicate address",
            Self::Tentative => "waiting: tentative",
            Self::Deprecated => "not used: deprecated",
            Self::Temporary => "not used: temporary",
            Self::Existing => "not used: older than the daemon",
            Self::NoRoute => "waiting: no default route",
            Self::UniqueLocal => "not used: unique local",
            Self::HoldDown => "waiting: hold-down",
            Self::Standby => "waiting: standby",
        })
    }
}
