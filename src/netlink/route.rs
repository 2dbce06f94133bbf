// SPDX-License-Identifier: BSD-3-Clause
//! rtnetlink: links, addresses, routes and rules.
//!
//! ```text
//!         RTM_*LINK      RTM_*ADDR      RTM_*ROUTE     RTM_*RULE
//!  octet  ifinfomsg      ifaddrmsg      rtmsg          fib_rule_hdr
//!    0    family         family         family         family
//!    1    -              prefix length  dst length     dst length
//!    2    type           flags          src length     src length
//!    3                   scope          TOS            TOS
//!    4    index          index          table          table
//!    5                                  protocol       -
//!    6                                  scope          -
//!    7                                  type           action
//!    8    flags          attributes     flags          flags
//!   12    change mask                   attributes     attributes
//!   16    attributes
//! ```
//!
//! What outgrew its field of the header (flags, tables) is repeated in full by an attribute, which
//! then counts. Numbers are in host byte order.
//!
//! Source: `include/uapi/linux/rtnetlink.h`, `if_link.h`, `if_addr.h`, `fib_rules.h`.

mod decode;
#[cfg(feature = "health")]
mod stats;
pub(super) mod uapi;

use super::IfIndex;
use super::Seq;
use super::attribute::{Builder, Full};
use super::message::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
};
use core::fmt;
use core::net::IpAddr;

pub use decode::{decode, decode_answer};
#[cfg(feature = "health")]
pub use stats::{Counters, decode_counters, get_counters};
use uapi::*;
pub use uapi::{RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK};

/// The protocol (`RTPROT_*`) our own routes and rules carry: the TCP option number of MPTCP, which
/// iproute2 gives to nobody.
pub const PROTOCOL: u8 = 30;

/// The bit of a packet's mark with which our questions pass over our own rules, which select what
/// lacks it.
pub const MARK: u32 = 0x4000_0000;

/// Multicast groups (`RTNLGRP_*`), for NETLINK_ADD_MEMBERSHIP.
pub const GROUP_LINK: u32 = 1;
pub const GROUP_IPV4_ADDRESS: u32 = 5;
pub const GROUP_IPV4_ROUTE: u32 = 7;
pub const GROUP_IPV4_RULE: u32 = 8;
pub const GROUP_IPV6_ADDRESS: u32 = 9;
pub const GROUP_IPV6_ROUTE: u32 = 11;
pub const GROUP_IPV6_RULE: u32 = 19;
pub const GROUP_NEXTHOP: u32 = 32;

/// No request is longer, with its netlink header.
pub const REQUEST_LENGTH: usize = 112;

/// Longest interface name: `IFNAMSIZ` less the terminating zero.
pub const NAME_LENGTH: usize = 15;
/// An interface name, fixed in size. Bytes that are not UTF-8 are replaced by `?`.
pub type Name = heapless::String<NAME_LENGTH>;

/// Address family of a dump or a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// `AF_INET` or `AF_INET6`.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    /// Returns its name in lower case.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// Returns how many bits an address has.
    pub const fn width(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Ipv4),
            10 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// A network interface (`struct ifinfomsg` and its attributes), family AF_UNSPEC only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    pub index: IfIndex,
    /// `IFF_*` (linux/if.h).
    pub flags: u32,
    /// Empty where the kernel sent no IFLA_IFNAME.
    pub name: Name,
    /// The routing table of the VRF this interface is enslaved to
    /// (IFLA_LINKINFO, IFLA_INFO_SLAVE_KIND "vrf", IFLA_VRF_PORT_TABLE); 0 is none.
    pub vrf_table: u32,
    /// A program carries what leaves by it (IFLA_LINKINFO, IFLA_INFO_KIND "tun").
    pub tunnel: bool,
}

/// An address of an interface (`struct ifaddrmsg` and its attributes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub index: IfIndex,
    /// IFA_LOCAL where there is one, else IFA_ADDRESS: always our own address.
    pub local: IpAddr,
    /// IFA_ADDRESS where it differs from `local`: the peer of a point-to-point link.
    pub peer: Option<IpAddr>,
    pub prefix_len: u8,
    /// `IFA_F_*` from IFA_FLAGS where sent, else from the header.
    pub flags: u32,
    /// `RT_SCOPE_*`.
    pub scope: u8,
}

/// A next hop of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    pub oif: IfIndex,
    /// RTA_GATEWAY, or RTA_VIA (an IPv6 gateway of an IPv4 route).
    pub gateway: Option<IpAddr>,
    /// `RTNH_F_*`.
    pub flags: u32,
}

/// A unicast, local or other route (`struct rtmsg` and its attributes).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub family: Family,
    pub table: u32,
    pub destination: Option<IpAddr>,
    pub destination_len: u8,
    /// RTA_SRC: the route is for these sources only (IPv6).
    pub source: Option<IpAddr>,
    pub source_len: u8,
    pub preferred_source: Option<IpAddr>,
    /// RTA_PRIORITY.
    pub metric: u32,
    /// `RTPROT_*`: who made it.
    pub protocol: u8,
    /// `RTN_*`.
    pub kind: u8,
    pub scope: u8,
    /// The single next hop, or those of RTA_MULTIPATH; more than fit are left out. Those of a
    /// nexthop object are here too unless `net.ipv4.nexthop_compat_mode` is 0.
    pub hops: heapless::Vec<Hop, MAX_HOPS>,
}

/// Next hops kept of one multipath route.
pub const MAX_HOPS: usize = 8;

/// A routing-policy rule (`struct fib_rule_hdr` and its attributes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    pub table: u32,
    /// FRA_SRC and its prefix length; `None` selects every source.
    pub source: Option<(IpAddr, u8)>,
    /// `FR_ACT_*`; 1 is "look up the table".
    pub action: u8,
    /// FRA_PROTOCOL: who made it; 0 where not sent.
    pub protocol: u8,
    /// FRA_SUPPRESS_PREFIXLEN: routes with a prefix no longer than this do not count; 0 leaves out
    /// default routes.
    pub suppress: Option<u32>,
    /// FRA_FWMASK: it does not select what carries [`MARK`].
    pub unmarked: bool,
}

/// What `ip rule` shows of it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}:", self.priority)?;
        if let Some((source, _)) = self.source {
            write!(f, " from {source}")?;
        }
        write!(f, " lookup {}", self.table)?;
        match self.suppress {
            Some(len) => write!(f, " suppress_prefixlength {len}"),
            None => Ok(()),
        }
    }
}

/// What rtnetlink says, in a dump or an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notification {
    Link(Link),
    LinkGone {
        index: IfIndex,
    },
    Address(Address),
    AddressGone(Address),
    Route(Route),
    RouteGone(Route),
    Rule(Rule),
    RuleGone(Rule),
    /// A nexthop object came, changed or went (Linux 5.3).
    Nexthop,
}

/// What to do with a route or a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// EEXIST if there is one.
    Add,
    /// Routes only: takes the place of one with the same destination, table and metric.
    Replace,
    /// ESRCH or ENOENT if there is none.
    Delete,
}

impl Change {
    fn flags(self) -> u16 {
        NLM_F_REQUEST
            | NLM_F_ACK
            | match self {
                Self::Add => NLM_F_CREATE | NLM_F_EXCL,
                Self::Replace => NLM_F_CREATE | NLM_F_REPLACE,
                Self::Delete => 0,
            }
    }

    /// `RTM_NEW*` and `RTM_DEL*` are neighbours.
    fn kind(self, new: u16) -> u16 {
        new + u16::from(self == Self::Delete)
    }
}

const DUMP: u16 = NLM_F_REQUEST | NLM_F_DUMP;

/// Asks for all links.
///
/// # Errors
/// All requests fail with [`Full`] if the buffer has less than [`REQUEST_LENGTH`] bytes of room.
pub fn dump_links(out: &mut Builder<'_>, seq: Seq) -> Result<(), Full> {
    out.message(RTM_GETLINK, DUMP, seq);
    out.raw(&[0; 16]);
    out.u32(IFLA_EXT_MASK, SKIP_STATS);
    out.end()
}

/// Asks for all addresses, of both families.
pub fn dump_addresses(out: &mut Builder<'_>, seq: Seq) -> Result<(), Full> {
    out.message(RTM_GETADDR, DUMP, seq);
    out.raw(&[0; 8]);
    out.end()
}

/// Asks for the routes of a family, in all tables: those of one protocol (`RTPROT_*` of
/// linux/rtnetlink.h), or all for 0. A kernel before 4.20, or a socket that is not checked
/// strictly, shows all in any case.
pub fn dump_routes(
    out: &mut Builder<'_>,
    seq: Seq,
    family: Family,
    protocol: u8,
) -> Result<(), Full> {
    out.message(RTM_GETROUTE, DUMP, seq);
    out.raw(&[family.number(), 0, 0, 0, 0, protocol, 0, 0, 0, 0, 0, 0]);
    out.end()
}

/// Asks for the rules of a family.
pub fn dump_rules(out: &mut Builder<'_>, seq: Seq, family: Family) -> Result<(), Full> {
    out.message(RTM_GETRULE, DUMP, seq);
    out.raw(&[family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.end()
}

/// A question for the route that a subflow of ours would take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteQuery {
    pub destination: IpAddr,
    pub source: Option<IpAddr>,
    /// The interface that it is bound to, if any.
    pub oif: IfIndex,
    /// Ask for the matching entry of the table (RTM_F_FIB_MATCH). The answer is a route even if it
    /// has several next hops, but shows none of a nexthop object where
    /// `net.ipv4.nexthop_compat_mode` is 0; and without it IPv4 pretends that the destination is on
    /// the link that is asked for when it has no route there.
    pub fib_match: bool,
}

/// Asks for a route, which is the answer, or else an error: there is none. The question is that of a
/// TCP socket of root, as the kernel makes them for subflows, with [`MARK`] beside.
pub fn get_route(out: &mut Builder<'_>, seq: Seq, query: &RouteQuery) -> Result<(), Full> {
    let family = Family::of(query.destination);
    let width = family.width();
    // Asked strictly, IPv6 does not know the flag with which IPv4 names the table.
    let named = match family {
        Family::Ipv4 => RTM_F_LOOKUP_TABLE,
        Family::Ipv6 => 0,
    };
    let flags = named | if query.fib_match { RTM_F_FIB_MATCH } else { 0 };
    out.message(RTM_GETROUTE, NLM_F_REQUEST, seq);
    let source_len = query.source.map_or(0, |_| width);
    out.raw(&[family.number(), width, source_len, 0, 0, 0, 0, 0]);
    out.raw(&flags.to_ne_bytes());
    out.ip(RTA_DST, &query.destination);
    if let Some(source) = &query.source {
        out.ip(RTA_SRC, source);
    }
    if query.oif != IfIndex::NONE {
        out.u32(RTA_OIF, query.oif.0);
    }
    out.u32(RTA_MARK, MARK);
    out.u32(RTA_UID, 0);
    out.u8(RTA_IP_PROTO, IPPROTO_TCP);
    out.end()
}

/// Adds or deletes a rule that selects by source and by bits of the mark that are 0, at most.
pub fn change_rule(
    out: &mut Builder<'_>,
    seq: Seq,
    change: Change,
    rule: &Rule,
) -> Result<(), Full> {
    out.message(change.kind(RTM_NEWRULE), change.flags(), seq);
    let source_len = rule.source.map_or(0, |(_, len)| len);
    out.raw(&[
        rule.family.number(),
        0,
        source_len,
        0,
        0,
        0,
        0,
        rule.action,
        0,
        0,
        0,
        0,
    ]);
    if let Some((source, _)) = &rule.source {
        out.ip(FRA_SRC, source);
    }
    out.u32(FRA_PRIORITY, rule.priority);
    out.u32(FRA_TABLE, rule.table);
    out.u8(FRA_PROTOCOL, rule.protocol);
    if let Some(len) = rule.suppress {
        out.u32(FRA_SUPPRESS_PREFIXLEN, len);
    }
    if rule.unmarked {
        out.u32(FRA_FWMASK, MARK);
    }
    out.end()
}

/// Adds, replaces or deletes a route with at most one next hop; further ones are not sent.
pub fn change_route(
    out: &mut Builder<'_>,
    seq: Seq,
    change: Change,
    route: &Route,
) -> Result<(), Full> {
    let hop = route.hops.first();
    out.message(change.kind(RTM_NEWROUTE), change.flags(), seq);
    out.raw(&[route.family.number(), route.destination_len, 0, 0]);
    out.raw(&[0, route.protocol, route.scope, route.kind]);
    out.raw(&hop.map_or(0, |hop| hop.flags & RTNH_F_ONLINK).to_ne_bytes());
    if let Some(destination) = &route.destination {
        out.ip(RTA_DST, destination);
    }
    if let Some(source) = &route.preferred_source {
        out.ip(RTA_PREFSRC, source);
    }
    out.u32(RTA_TABLE, route.table);
    if route.metric != 0 {
        out.u32(RTA_PRIORITY, route.metric);
    }
    if let Some(hop) = hop {
        match &hop.gateway {
            Some(gateway) if Family::of(*gateway) == route.family => out.ip(RTA_GATEWAY, gateway),
            Some(gateway) => put_via(out, gateway),
            None => {}
        }
        if hop.oif != IfIndex::NONE {
            out.u32(RTA_OIF, hop.oif.0);
        }
    }
    out.end()
}

/// `struct rtvia`: a gateway and its family.
fn put_via(out: &mut Builder<'_>, gateway: &IpAddr) {
    let family = u16::from(Family::of(*gateway).number()).to_ne_bytes();
    match gateway {
        IpAddr::V4(v4) => out.parts(RTA_VIA, &family, &v4.octets()),
        IpAddr::V6(v6) => out.parts(RTA_VIA, &family, &v6.octets()),
    }
}

#[cfg(test)]
mod tests;
