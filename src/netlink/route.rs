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

use super::attribute::{Attribute, Attributes, Builder, Full, ip};
use super::message::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE, NLM_F_REQUEST,
};
use core::fmt;
use core::net::IpAddr;

/// The protocol (`RTPROT_*`) our own routes and rules carry: the TCP option number of MPTCP, which
/// iproute2 gives to nobody.
pub const PROTOCOL: u8 = 30;

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
pub const REQUEST_LENGTH: usize = 92;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_VRF_PORT_TABLE: u16 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: no counters, which are most of a link message.
const SKIP_STATS: u32 = 1 << 3;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
/// A copy of a route, made for one destination.
const RTM_F_CLONED: u32 = 0x200;
/// The gateway is on the link although no address of ours says so.
pub const RTNH_F_ONLINK: u32 = 4;

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_OIFNAME: u16 = 17;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FIB_RULE_INVERT: u32 = 2;

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
    pub index: u32,
    /// `IFF_*` (linux/if.h).
    pub flags: u32,
    /// Empty where the kernel sent no IFLA_IFNAME.
    pub name: Name,
    /// The routing table of the VRF this interface is enslaved to
    /// (IFLA_LINKINFO, IFLA_INFO_SLAVE_KIND "vrf", IFLA_VRF_PORT_TABLE); 0 is none.
    pub vrf_table: u32,
}

/// An address of an interface (`struct ifaddrmsg` and its attributes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub index: u32,
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
    /// 0 is none.
    pub oif: u32,
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
    /// default routes. Such a rule is selective, too.
    pub suppress: Option<u32>,
    /// The rule asks for more than a source: destination, incoming or outgoing interface, mark,
    /// TOS, ports, user, IP protocol, tunnel or inversion; or it disregards default routes. It does
    /// not select plain local traffic.
    pub selective: bool,
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
        index: u32,
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
pub fn dump_links(out: &mut Builder<'_>, seq: u32) -> Result<(), Full> {
    out.message(RTM_GETLINK, DUMP, seq);
    out.raw(&[0; 16]);
    out.u32(IFLA_EXT_MASK, SKIP_STATS);
    out.end()
}

/// Asks for all addresses, of both families.
pub fn dump_addresses(out: &mut Builder<'_>, seq: u32) -> Result<(), Full> {
    out.message(RTM_GETADDR, DUMP, seq);
    out.raw(&[0; 8]);
    out.end()
}

/// Asks for the routes of a family, in all tables: those of one protocol (`RTPROT_*` of
/// linux/rtnetlink.h), or all for 0. A kernel before 4.20, or a socket that is not checked
/// strictly, shows all in any case.
pub fn dump_routes(
    out: &mut Builder<'_>,
    seq: u32,
    family: Family,
    protocol: u8,
) -> Result<(), Full> {
    out.message(RTM_GETROUTE, DUMP, seq);
    out.raw(&[family.number(), 0, 0, 0, 0, protocol, 0, 0, 0, 0, 0, 0]);
    out.end()
}

/// Asks for the rules of a family.
pub fn dump_rules(out: &mut Builder<'_>, seq: u32, family: Family) -> Result<(), Full> {
    out.message(RTM_GETRULE, DUMP, seq);
    out.raw(&[family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.end()
}

/// Adds or deletes a rule that selects by source at most.
pub fn change_rule(
    out: &mut Builder<'_>,
    seq: u32,
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
    if let Some((source, _)) = rule.source {
        out.ip(FRA_SRC, source);
    }
    out.u32(FRA_PRIORITY, rule.priority);
    out.u32(FRA_TABLE, rule.table);
    out.u8(FRA_PROTOCOL, rule.protocol);
    if let Some(len) = rule.suppress {
        out.u32(FRA_SUPPRESS_PREFIXLEN, len);
    }
    out.end()
}

/// Adds, replaces or deletes a route with at most one next hop; further ones are not sent.
pub fn change_route(
    out: &mut Builder<'_>,
    seq: u32,
    change: Change,
    route: &Route,
) -> Result<(), Full> {
    let hop = route.hops.first();
    out.message(change.kind(RTM_NEWROUTE), change.flags(), seq);
    out.raw(&[route.family.number(), route.destination_len, 0, 0]);
    out.raw(&[0, route.protocol, route.scope, route.kind]);
    out.raw(&hop.map_or(0, |hop| hop.flags & RTNH_F_ONLINK).to_ne_bytes());
    if let Some(destination) = route.destination {
        out.ip(RTA_DST, destination);
    }
    out.u32(RTA_TABLE, route.table);
    if route.metric != 0 {
        out.u32(RTA_PRIORITY, route.metric);
    }
    if let Some(hop) = hop {
        match hop.gateway {
            Some(gateway) if Family::of(gateway) == route.family => out.ip(RTA_GATEWAY, gateway),
            Some(gateway) => put_via(out, gateway),
            None => {}
        }
        if hop.oif != 0 {
            out.u32(RTA_OIF, hop.oif);
        }
    }
    out.end()
}

/// `struct rtvia`: a gateway and its family.
fn put_via(out: &mut Builder<'_>, gateway: IpAddr) {
    let family = u16::from(Family::of(gateway).number()).to_ne_bytes();
    match gateway {
        IpAddr::V4(v4) => out.parts(RTA_VIA, &family, &v4.octets()),
        IpAddr::V6(v6) => out.parts(RTA_VIA, &family, &v6.octets()),
    }
}

/// Reads a message of rtnetlink. `None` if it is malformed or about something we do not follow:
/// bridge ports, multicast routing, routes cloned for one destination.
pub fn decode(kind: u16, payload: &[u8]) -> Option<Notification> {
    Some(match kind {
        RTM_NEWLINK => Notification::Link(link(payload)?),
        RTM_DELLINK => Notification::LinkGone {
            index: link(payload)?.index,
        },
        RTM_NEWADDR => Notification::Address(address(payload)?),
        RTM_DELADDR => Notification::AddressGone(address(payload)?),
        RTM_NEWROUTE => Notification::Route(route(payload)?),
        RTM_DELROUTE => Notification::RouteGone(route(payload)?),
        RTM_NEWRULE => Notification::Rule(rule(payload)?),
        RTM_DELRULE => Notification::RuleGone(rule(payload)?),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => Notification::Nexthop,
        _ => return None,
    })
}

fn link(payload: &[u8]) -> Option<Link> {
    let (&[family, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..], rest) =
        payload.split_first_chunk::<16>()?;
    // A bridge speaks of its ports with messages of the same kind.
    if family != 0 {
        return None;
    }
    let mut link = Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        flags: u32::from_ne_bytes([f0, f1, f2, f3]),
        name: Name::new(),
        vrf_table: 0,
    };
    for attribute in Attributes::new(rest) {
        match attribute.kind {
            IFLA_IFNAME => link.name = name(attribute.text()),
            IFLA_LINKINFO => link.vrf_table = vrf_table(attribute).unwrap_or(0),
            _ => {}
        }
    }
    Some(link)
}

fn name(text: &[u8]) -> Name {
    let mut name = Name::new();
    for chunk in text.utf8_chunks() {
        // The kernel allows no longer name, so that nothing is lost.
        let _ = name.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let _ = name.push('?');
        }
    }
    name
}

/// The slave kind comes before its data.
fn vrf_table(info: Attribute<'_>) -> Option<u32> {
    let mut info = info.nested();
    info.find(|inner| inner.kind == IFLA_INFO_SLAVE_KIND && inner.text() == b"vrf")?;
    let data = info.find(|inner| inner.kind == IFLA_INFO_SLAVE_DATA)?;
    data.nested()
        .find(|inner| inner.kind == IFLA_VRF_PORT_TABLE)?
        .u32()
}

fn address(payload: &[u8]) -> Option<Address> {
    let (&[family, prefix_len, flags, scope, i0, i1, i2, i3], rest) =
        payload.split_first_chunk::<8>()?;
    let family = Family::from_number(family)?;
    let mut local = None;
    let mut remote = None;
    let mut flags = u32::from(flags);
    for attribute in Attributes::new(rest) {
        match attribute.kind {
            IFA_LOCAL => put_ip(&mut local, family, attribute.value)?,
            IFA_ADDRESS => put_ip(&mut remote, family, attribute.value)?,
            IFA_FLAGS => flags = attribute.u32()?,
            _ => {}
        }
    }
    let local = local.or(remote)?;
    Some(Address {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        local,
        peer: remote.filter(|peer| *peer != local),
        prefix_len,
        flags,
        scope,
    })
}

/// Reads an address into its place, which costs less code than to hand it over.
#[inline(never)]
fn put_ip(place: &mut Option<IpAddr>, family: Family, octets: &[u8]) -> Option<()> {
    *place = Some(ip_of(family, octets)?);
    Some(())
}

fn ip_of(family: Family, octets: &[u8]) -> Option<IpAddr> {
    ip(octets).filter(|address| Family::of(*address) == family)
}

fn route(payload: &[u8]) -> Option<Route> {
    let (
        &[
            family,
            dst,
            src,
            _,
            table,
            protocol,
            scope,
            kind,
            f0,
            f1,
            f2,
            f3,
        ],
        rest,
    ) = payload.split_first_chunk::<12>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    if flags & RTM_F_CLONED != 0 {
        return None;
    }
    let family = Family::from_number(family)?;
    let mut route = Route {
        family,
        table: table.into(),
        destination: None,
        destination_len: dst,
        source: None,
        source_len: src,
        preferred_source: None,
        metric: 0,
        protocol,
        kind,
        scope,
        hops: heapless::Vec::new(),
    };
    // The flags of the one hop are those of the route.
    let mut hop = Hop {
        oif: 0,
        gateway: None,
        flags: flags & 0xff,
    };
    for attribute in Attributes::new(rest) {
        match attribute.kind {
            RTA_DST => put_ip(&mut route.destination, family, attribute.value)?,
            RTA_SRC => put_ip(&mut route.source, family, attribute.value)?,
            RTA_PREFSRC => put_ip(&mut route.preferred_source, family, attribute.value)?,
            RTA_TABLE => route.table = attribute.u32()?,
            RTA_PRIORITY => route.metric = attribute.u32()?,
            RTA_OIF => hop.oif = attribute.u32()?,
            RTA_GATEWAY | RTA_VIA => hop.gateway = gateway(attribute),
            RTA_MULTIPATH => multipath(attribute.value, &mut route.hops),
            _ => {}
        }
    }
    if hop.oif != 0 || hop.gateway.is_some() {
        // Never beside RTA_MULTIPATH, hence always room.
        let _ = route.hops.push(hop);
    }
    Some(route)
}

/// The gateway in an RTA_GATEWAY, or behind the family in an RTA_VIA.
fn gateway(attribute: Attribute<'_>) -> Option<IpAddr> {
    match attribute.kind {
        RTA_VIA => ip(attribute.value.get(2..)?),
        _ => attribute.ip(),
    }
}

/// RTA_MULTIPATH is a row of `struct rtnexthop`: length, flags, weight, interface, attributes.
fn multipath(mut bytes: &[u8], hops: &mut heapless::Vec<Hop, MAX_HOPS>) {
    while let Some((&[l0, l1, flags, _, i0, i1, i2, i3], _)) = bytes.split_first_chunk::<8>() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(attributes) = bytes.get(8..length) else {
            return;
        };
        let gateway = Attributes::new(attributes)
            .filter(|inner| matches!(inner.kind, RTA_GATEWAY | RTA_VIA))
            .find_map(gateway);
        let oif = u32::from_ne_bytes([i0, i1, i2, i3]);
        if hops
            .push(Hop {
                oif,
                gateway,
                flags: flags.into(),
            })
            .is_err()
        {
            return;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn rule(payload: &[u8]) -> Option<Rule> {
    let (&[family, _, src, tos, table, _, _, action, f0, f1, f2, f3], rest) =
        payload.split_first_chunk::<12>()?;
    let family = Family::from_number(family)?;
    let mut rule = Rule {
        family,
        priority: 0,
        table: table.into(),
        source: None,
        action,
        protocol: 0,
        suppress: None,
        selective: tos != 0,
    };
    let mut is_marked = false;
    for attribute in Attributes::new(rest) {
        match attribute.kind {
            FRA_SRC => rule.source = Some((ip_of(family, attribute.value)?, src)),
            FRA_PRIORITY => rule.priority = attribute.u32()?,
            FRA_TABLE => rule.table = attribute.u32()?,
            FRA_PROTOCOL => rule.protocol = attribute.u8()?,
            // Traffic of this host comes in by the loopback interface.
            FRA_IIFNAME => rule.selective |= attribute.text() != b"lo",
            // Plain traffic has mark 0, which only a rule for mark 0 selects.
            FRA_FWMARK => is_marked = attribute.u32()? != 0,
            FRA_SUPPRESS_PREFIXLEN => {
                rule.suppress = Some(attribute.u32()?).filter(|len| *len != u32::MAX);
            }
            FRA_DST | FRA_TUN_ID | FRA_SUPPRESS_IFGROUP | FRA_OIFNAME | FRA_UID_RANGE => {
                rule.selective = true;
            }
            // Ports, and what newer kernels can ask for.
            FRA_IP_PROTO.. => rule.selective = true,
            _ => {}
        }
    }
    match u32::from_ne_bytes([f0, f1, f2, f3]) & FIB_RULE_INVERT {
        0 => rule.selective |= is_marked,
        // What is not marked, as a VPN's own packets are, is all plain traffic.
        _ if is_marked => {
            rule.selective = false;
            rule.source = None;
        }
        _ => rule.selective = true,
    }
    rule.selective |= rule.suppress.is_some();
    Some(rule)
}

/// A program for SO_ATTACH_FILTER, as `(code, jt, jf, k)` of `struct sock_filter`, which drops the
/// events of routes that are neither default routes nor ours. A router that speaks BGP sees
/// hundreds of thousands of those. Everything else passes, dumps too.
pub const ROUTE_FILTER: [(u16, u8, u8, u32); 11] = {
    const LOAD_U16: u16 = 0x28;
    const LOAD_U8: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    // A load reads network byte order, wherever the header has host byte order.
    const fn host(value: u16) -> u32 {
        u16::from_be_bytes(value.to_ne_bytes()) as u32
    }
    [
        (LOAD_U16, 0, 0, 4), // nlmsg_type
        (EQUAL, 1, 0, host(RTM_NEWROUTE)),
        (EQUAL, 0, 6, host(RTM_DELROUTE)),
        (LOAD_U16, 0, 0, 6), // nlmsg_flags
        (ANY_BIT, 4, 0, host(NLM_F_MULTI)),
        (LOAD_U8, 0, 0, 17), // rtm_dst_len
        (EQUAL, 2, 0, 0),
        (LOAD_U8, 0, 0, 21), // rtm_protocol
        (EQUAL, 0, 1, PROTOCOL as u32),
        (RETURN, 0, 0, u32::MAX),
        (RETURN, 0, 0, 0),
    ]
};

#[cfg(test)]
mod tests;
