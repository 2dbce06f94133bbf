// SPDX-License-Identifier: BSD-3-Clause
//! Whether an address may be used, or why not.

use core::fmt;

/// What somebody outside, who knows better than the link, says of an interface at run time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Declared {
    /// Nothing: the network and the configuration decide.
    #[default]
    Auto,
    /// It does not work: as if it had no carrier.
    Down,
    /// It is to be spared: its endpoints and subflows are for backup.
    Backup,
}

impl Declared {
    /// Returns the word for it, as `mptcpd path` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Down => "down",
            Self::Backup => "backup",
        }
    }
}

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
    /// The configuration excludes the address.
    Excluded,
    /// Its interface is down.
    Down,
    /// Its interface has no carrier.
    NoCarrier,
    /// Its interface has been declared down.
    DeclaredDown,
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
    /// Its subnet holds no gateway, and the kernel chooses another source for its interface's way.
    Alias,
    /// Probes over it are not answered.
    Dead,
    /// The same goes for all others of its family, so that it is used all the same.
    AllDead,
    /// It is not meant for the Internet (fc00::/7), and its interface has an address that is.
    UniqueLocal,
    /// It has not been usable for long enough.
    HoldDown,
    /// Its interface is for when no other is usable.
    Standby,
}

impl Verdict {
    /// Returns whether it may change by itself, or with the network: the configuration wants the
    /// address.
    pub fn is_waiting(self) -> bool {
        use Verdict::*;
        matches!(self, Unjudged | Tentative | NoRoute | HoldDown | Standby)
    }

    /// Returns whether the address is to be used.
    pub fn is_used(self) -> bool {
        matches!(self, Self::Usable | Self::AllDead)
    }

    /// Returns what comes before the reason.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Usable | Self::Gone | Self::Unjudged | Self::AllDead => "",
            verdict if verdict.is_waiting() => "waiting: ",
            _ => "not used: ",
        }
    }

    /// Returns what can be done about it; empty where there is nothing to do.
    #[cfg(feature = "control")]
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::NotAllowed => "see interfaces and use in the configuration",
            Self::Family => "see families in the configuration",
            Self::Down => "set it up",
            Self::NoCarrier => "check cable and modem",
            Self::DeclaredDown => "until mptcpd path IFACE auto",
            Self::Dead => "see track, and ask the provider",
            Self::AllDead => "in use all the same; see track",
            Self::DuplicateAddress => "another host has it: change one of them",
            Self::Deprecated => "its prefix or lease is about to end",
            Self::Temporary => "see temporary-addresses",
            Self::Existing => "add existing to notify-flags",
            Self::NoRoute => "add one, unless it is a LAN",
            Self::UniqueLocal => "another address is meant for the Internet",
            Self::HoldDown => "see hold-down",
            Self::Standby => "another interface works",
            _ => "",
        }
    }

    /// Returns what it says in a few words; with `_` for what is no letter, these are the reasons
    /// of `mptcpd status -j`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Unjudged => "not judged yet",
            Self::Gone => "gone",
            Self::NotAllowed => "interface excluded",
            Self::Family => "family excluded",
            Self::Excluded => "address excluded",
            Self::Down => "interface down",
            Self::NoCarrier => "no carrier",
            Self::DeclaredDown => "declared down",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Multicast => "not a host address",
            Self::DuplicateAddress => "duplicate address",
            Self::Tentative => "tentative",
            Self::Deprecated => "deprecated",
            Self::Temporary => "temporary",
            Self::Existing => "older than the daemon",
            Self::NoRoute => "no default route",
            Self::Alias => "subnet without gateway",
            Self::Dead => "no answer",
            Self::AllDead => "no path answers",
            Self::UniqueLocal => "unique local",
            Self::HoldDown => "hold-down",
            Self::Standby => "standby",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        f.write_str(self.reason())
    }
}
