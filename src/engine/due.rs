// SPDX-License-Identifier: BSD-3-Clause
//! What is due to be read from the kernel.

use core::ops::{BitAnd, BitOr};

use crate::config::Config;
use crate::features::SOURCE_ROUTING;
use crate::netlink::prefix::contains;
use crate::netlink::route::{Family, Notification, PROTOCOL};
use crate::network::{IFF_RUNNING, IFF_UP, LocalAddress, Network, Part};

/// One bit for each thing that is due to be read from the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Due(u16);

impl Due {
    pub(super) const NONE: Self = Self(0);
    pub(super) const LINKS: Self = Self(1);
    pub(super) const ADDRESSES: Self = Self(1 << 1);
    pub(super) const ROUTES4: Self = Self(1 << 2);
    pub(super) const ROUTES6: Self = Self(1 << 3);
    pub(super) const RULES4: Self = Self(1 << 4);
    pub(super) const RULES6: Self = Self(1 << 5);
    /// Questions about the ways that addresses have to the world.
    pub(super) const WAYS: Self = Self(1 << 6);
    pub(super) const ENDPOINTS: Self = Self(1 << 7);
    pub(super) const LIMITS: Self = Self(1 << 8);
    /// Rules matter to source routing alone.
    pub(super) const ROUTING: Self = match SOURCE_ROUTING {
        true => Self(0b11_1100),
        false => Self(0b1100),
    };
    pub(super) const KERNEL: Self = Self(0b1_1000_0000);
    pub(super) const CONNECTIONS: Self = Self(1 << 9);
    /// Those of the connections of the in-kernel path manager.
    pub(super) const SUBFLOWS: Self = Self(1 << 10);

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(super) fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The first of them, in words.
    pub(super) fn name(self) -> &'static str {
        let names = [
            "links",
            "addresses",
            "IPv4 routes",
            "IPv6 routes",
            "IPv4 rules",
            "IPv6 rules",
            "way to the world",
            "endpoints",
            "limits",
            "connections",
        ];
        let at = self.0.trailing_zeros() as usize;
        names.get(at).unwrap_or(&"subflows")
    }

    pub(super) fn routes(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::ROUTES4,
            Family::Ipv6 => Self::ROUTES6,
        }
    }

    pub(super) fn rules(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::RULES4,
            Family::Ipv6 => Self::RULES6,
        }
    }

    pub(super) fn part(part: Part) -> Self {
        match part {
            Part::Links => Self::LINKS,
            Part::Addresses => Self::ADDRESSES,
            Part::Routes(family) => Self::routes(family),
            Part::Rules(family) => Self::rules(family),
        }
    }

    /// Returns the part of it that comes first: links before addresses, and those before what
    /// depends on them.
    pub(super) fn first(self) -> Self {
        Self(self.0 & self.0.wrapping_neg())
    }

    /// Returns the part of the network that this one bit stands for.
    pub(super) fn network_part(self) -> Option<Part> {
        Some(match self {
            Self::LINKS => Part::Links,
            Self::ADDRESSES => Part::Addresses,
            Self::ROUTES4 => Part::Routes(Family::Ipv4),
            Self::ROUTES6 => Part::Routes(Family::Ipv6),
            Self::RULES4 => Part::Rules(Family::Ipv4),
            Self::RULES6 => Part::Rules(Family::Ipv6),
            _ => return None,
        })
    }

    /// Returns what has to be read after an event that `network` has not taken in yet, or `None`
    /// if the event is of no use. The kernel removes IPv4 routes without a word when their link or
    /// the last address of it goes, and any route with the address that it prefers; and IPv6
    /// addresses that outlive a link that is down are tentative again, without a word, once it is
    /// up.
    pub(super) fn after(event: &Notification, network: &Network, config: &Config) -> Option<Self> {
        let routes = config.uses_routes();
        let routing = config.makes_routes() || network.has_aliases();
        let both = Self::ROUTES4 | Self::ROUTES6;
        let due = match event {
            Notification::Route(route) | Notification::RouteGone(route) if routes => {
                let ours = route.protocol == PROTOCOL;
                let len = route.destination_len;
                let covers = |to| {
                    route
                        .destination
                        .is_none_or(|from| contains(&from, len, &to))
                };
                let ipv4 = route.family == Family::Ipv4;
                let mut all = (0..).map_while(|at| config.destination(ipv4, at));
                match () {
                    () if ours || (routing && len == 0) => Self::routes(route.family) | Self::WAYS,
                    () if all.any(covers) => Self::WAYS,
                    () => return None,
                }
            }
            Notification::Rule(rule) | Notification::RuleGone(rule) if routes => {
                Self::rules(rule.family) | Self::WAYS
            }
            // Routes that name a nexthop object may go with it, and are not told of.
            Notification::Nexthop if routes => both | Self::WAYS,
            Notification::Link(link) => {
                let was = network.interface(link.index).map_or(0, |i| i.flags);
                let mut due = Self::WAYS;
                if (was ^ link.flags) & IFF_UP != 0 {
                    due.add(both);
                }
                let kept = |a: &LocalAddress| a.holder == link.index && a.address.is_ipv6();
                if link.flags & !was & (IFF_UP | IFF_RUNNING) != 0 && network.addresses().any(kept)
                {
                    due.add(Self::ADDRESSES);
                }
                due
            }
            Notification::LinkGone { .. } => both | Self::WAYS,
            Notification::AddressGone(gone) => {
                let stays =
                    |a: &LocalAddress| a.holder == gone.index && a.address.is_ipv4() && !a.is(gone);
                match gone.local.is_ipv4() && !network.addresses().any(stays) {
                    true => Self::ROUTES4 | Self::WAYS,
                    false => Self::WAYS,
                }
            }
            Notification::Address(_) => Self::WAYS,
            _ => return None,
        };
        Some(due)
    }
}

impl BitOr for Due {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Due {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
