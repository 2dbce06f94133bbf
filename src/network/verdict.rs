//! Whether an address may be used, or why not.

use core::fmt;

/// What the daemon thinks of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Usable,
    Unjudged,
    Gone,
    NotAllowed,
    Family,
    Down,
    NoCarrier,
    Loopback,
    LinkLocal,
    Multicast,
    DuplicateAddress,
    Tentative,
    Deprecated,
    Temporary,
    Existing,
    NoRoute,
    HoldDown,
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
            Self::HoldDown => "waiting: hold-down",
            Self::Standby => "waiting: standby",
        })
    }
}
