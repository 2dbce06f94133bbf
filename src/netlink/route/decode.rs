// SPDX-License-Identifier: BSD-3-Clause
//! Decodes messages of rtnetlink: links, addresses, routes and rules.

use core::net::IpAddr;

use super::uapi::*;
use super::{Address, Family, Hop, Link, MARK, MAX_HOPS, Name, Notification, Route, Rule};
use crate::netlink::IfIndex;
use crate::netlink::attribute::{Attribute, Attributes, ip};

/// Reads a message of rtnetlink. `None` if it is malformed or about something we do not follow:
/// bridge ports, multicast routing, routes cloned for one destination.
pub fn decode(kind: u16, payload: &[u8]) -> Option<Notification> {
    match kind {
        RTM_NEWLINK | RTM_DELLINK => link(kind, payload),
        RTM_NEWADDR | RTM_DELADDR => address(kind, payload),
        RTM_NEWROUTE | RTM_DELROUTE if !is_cloned(payload) => route(kind, payload),
        RTM_NEWRULE | RTM_DELRULE => rule(kind, payload),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => Some(Notification::Nexthop),
        _ => None,
    }
}

/// Reads the route that answers a question.
pub fn decode_answer(kind: u16, payload: &[u8]) -> Option<Route> {
    match route(kind, payload) {
        Some(Notification::Route(route)) if kind == RTM_NEWROUTE => Some(route),
        _ => None,
    }
}

fn link(kind: u16, payload: &[u8]) -> Option<Notification> {
    let (&[family, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..], rest) =
        payload.split_first_chunk::<16>()?;
    // A bridge speaks of its ports with messages of the same kind.
    if family != 0 {
        return None;
    }
    let mut link = Link {
        index: IfIndex(u32::from_ne_bytes([i0, i1, i2, i3])),
        flags: u32::from_ne_bytes([f0, f1, f2, f3]),
        name: Name::new(),
        vrf_table: 0,
        tunnel: false,
    };
    for attribute in Attributes::new(rest) {
        match attribute.kind {
            IFLA_IFNAME => link.name = name(attribute.text()),
            IFLA_LINKINFO => kind_of_link(attribute, &mut link),
            _ => {}
        }
    }
    Some(match kind {
        RTM_NEWLINK => Notification::Link(link),
        _ => Notification::LinkGone { index: link.index },
    })
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

/// Reads what the kernel says of the kind of an interface: whether it is a tunnel of a program, and
/// the table of a VRF's port, whose kind comes before its data.
fn kind_of_link(info: Attribute<'_>, link: &mut Link) {
    let mut vrf = false;
    for inner in info.nested() {
        match inner.kind {
            IFLA_INFO_KIND => link.tunnel = inner.text() == b"tun",
            IFLA_INFO_SLAVE_KIND => vrf = inner.text() == b"vrf",
            IFLA_INFO_SLAVE_DATA if vrf => {
                let mut data = inner.nested();
                let table = data.find(|inner| inner.kind == IFLA_VRF_PORT_TABLE);
                link.vrf_table = table.and_then(|table| table.u32()).unwrap_or(0);
            }
            _ => {}
        }
    }
}

fn address(kind: u16, payload: &[u8]) -> Option<Notification> {
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
    if local.is_none() {
        local = remote;
    }
    if remote == local {
        remote = None;
    }
    let address = Address {
        index: IfIndex(u32::from_ne_bytes([i0, i1, i2, i3])),
        local: local?,
        peer: remote,
        prefix_len,
        flags,
        scope,
    };
    Some(match kind {
        RTM_NEWADDR => Notification::Address(address),
        _ => Notification::AddressGone(address),
    })
}

/// Reads an address into its place, which costs less code than to hand it over.
#[inline(never)]
fn put_ip(place: &mut Option<IpAddr>, family: Family, octets: &[u8]) -> Option<()> {
    if octets.len() * 8 != family.width().into() {
        return None;
    }
    *place = ip(octets);
    Some(())
}

/// Returns whether it is a route that the kernel has made for one destination.
fn is_cloned(payload: &[u8]) -> bool {
    let flags = payload.get(8..).and_then(<[u8]>::first_chunk);
    flags.is_some_and(|flags| u32::from_ne_bytes(*flags) & RTM_F_CLONED != 0)
}

#[inline(never)]
fn route(kind: u16, payload: &[u8]) -> Option<Notification> {
    let (
        &[
            family,
            dst,
            src,
            _,
            table,
            protocol,
            scope,
            route_kind,
            f0,
            f1,
            f2,
            f3,
        ],
        rest,
    ) = payload.split_first_chunk::<12>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
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
        kind: route_kind,
        scope,
        hops: heapless::Vec::new(),
    };
    // The flags of the one hop are those of the route.
    let mut hop = Hop {
        oif: IfIndex::NONE,
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
            RTA_OIF => hop.oif = IfIndex(attribute.u32()?),
            RTA_GATEWAY | RTA_VIA => hop.gateway = gateway(attribute),
            RTA_MULTIPATH => multipath(attribute.value, &mut route.hops),
            _ => {}
        }
    }
    if hop.oif != IfIndex::NONE || hop.gateway.is_some() {
        // Never beside RTA_MULTIPATH, hence always room.
        let _ = add_hop(&mut route.hops, &hop);
    }
    Some(match kind {
        RTM_NEWROUTE => Notification::Route(route),
        _ => Notification::RouteGone(route),
    })
}

/// Returns the gateway in an RTA_GATEWAY, or behind the family in an RTA_VIA.
fn gateway(attribute: Attribute<'_>) -> Option<IpAddr> {
    match attribute.kind {
        RTA_VIA => ip(attribute.value.get(2..)?),
        _ => attribute.ip(),
    }
}

/// Adds a next hop. Returns whether there was room.
#[inline(never)]
fn add_hop(hops: &mut heapless::Vec<Hop, MAX_HOPS>, hop: &Hop) -> bool {
    hops.push(*hop).is_ok()
}

/// RTA_MULTIPATH is a row of `struct rtnexthop`: length, flags, weight, interface, attributes.
fn multipath(mut bytes: &[u8], hops: &mut heapless::Vec<Hop, MAX_HOPS>) {
    while let Some((&[l0, l1, flags, _, i0, i1, i2, i3], _)) = bytes.split_first_chunk::<8>() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(attributes) = bytes.get(8..length) else {
            return;
        };
        let mut hop = Hop {
            oif: IfIndex(u32::from_ne_bytes([i0, i1, i2, i3])),
            gateway: None,
            flags: flags.into(),
        };
        for inner in Attributes::new(attributes) {
            if hop.gateway.is_none() && matches!(inner.kind, RTA_GATEWAY | RTA_VIA) {
                hop.gateway = gateway(inner);
            }
        }
        if !add_hop(hops, &hop) {
            return;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn rule(kind: u16, payload: &[u8]) -> Option<Notification> {
    let (&[family, _, src, _, table, _, _, action, _, _, _, _], rest) =
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
        unmarked: false,
    };
    let mut source = None;
    for attribute in Attributes::new(rest) {
        match attribute.kind {
            FRA_SRC => put_ip(&mut source, family, attribute.value)?,
            FRA_PRIORITY => rule.priority = attribute.u32()?,
            FRA_TABLE => rule.table = attribute.u32()?,
            FRA_PROTOCOL => rule.protocol = attribute.u8()?,
            FRA_FWMASK => rule.unmarked = attribute.u32()? == MARK,
            FRA_SUPPRESS_PREFIXLEN => {
                rule.suppress = Some(attribute.u32()?).filter(|len| *len != u32::MAX);
            }
            _ => {}
        }
    }
    rule.source = source.map(|source| (source, src));
    Some(match kind {
        RTM_NEWRULE => Notification::Rule(rule),
        _ => Notification::RuleGone(rule),
    })
}
