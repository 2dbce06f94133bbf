//! What is due to be read from the kernel.

use super::Command;
use crate::netlink::route::Family;
use crate::network::Part;

/// One bit for each thing that is due to be read from the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Due(pub u16);

impl Due {
    pub const NONE: Self = Self(0);
    pub const LINKS: Self = Self(1);
    pub const ADDRESSES: Self = Self(1 << 1);
    pub const ROUTES4: Self = Self(1 << 2);
    pub const ROUTES6: Self = Self(1 << 3);
    pub const RULES4: Self = Self(1 << 4);
    pub const RULES6: Self = Self(1 << 5);
    pub const ENDPOINTS: Self = Self(1 << 6);
    pub const LIMITS: Self = Self(1 << 7);
    pub const ROUTING: Self = Self(0b11_1100);
    pub const NETWORK: Self = Self(0b11_1111);
    pub const KERNEL: Self = Self(0b1100_0000);
    pub const CONNECTIONS: Self = Self(1 << 8);

    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The first of them, in words.
    pub fn name(self) -> &'static str {
        let names = [
            "links",
            "addresses",
            "IPv4 routes",
            "IPv6 routes",
            "IPv4 rules",
            "IPv6 rules",
            "endpoints",
            "limits",
        ];
        let at = self.0.trailing_zeros() as usize;
        names.get(at).unwrap_or(&"connections")
    }

    pub fn routes(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::ROUTES4,
            Family::Ipv6 => Self::ROUTES6,
        }
    }

    pub fn rules(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::RULES4,
            Family::Ipv6 => Self::RULES6,
        }
    }

    pub fn part(part: Part) -> Self {
        match part {
            Part::Links => Self::LINKS,
            Part::Addresses => Self::ADDRESSES,
            Part::Routes(family) => Self::routes(family),
            Part::Rules(family) => Self::rules(family),
        }
    }

    /// Links come before addresses, and those before what depends on them.
    pub fn first(self) -> Option<Command> {
        let order = [
            (Self::LINKS, Command::DumpNetwork(Part::Links)),
            (Self::ADDRESSES, Command::DumpNetwork(Part::Addresses)),
            (
                Self::ROUTES4,
                Command::DumpNetwork(Part::Routes(Family::Ipv4)),
            ),
            (
                Self::ROUTES6,
                Command::DumpNetwork(Part::Routes(Family::Ipv6)),
            ),
            (
                Self::RULES4,
                Command::DumpNetwork(Part::Rules(Family::Ipv4)),
            ),
            (
                Self::RULES6,
                Command::DumpNetwork(Part::Rules(Family::Ipv6)),
            ),
            (Self::ENDPOINTS, Command::DumpEndpoints),
            (Self::LIMITS, Command::GetLimits),
            (Self::CONNECTIONS, Command::DumpConnections),
        ];
        order
            .into_iter()
            .find(|(bit, _)| self.any(*bit))
            .map(|(_, command)| command)
    }
}
