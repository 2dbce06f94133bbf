// SPDX-License-Identifier: BSD-3-Clause
//! Messages as Linux 6.18 sent them, less the attributes that do not matter here.

use super::*;
use crate::netlink::message::Messages;
use crate::netlink::notation::bytes;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn read(kind: u16, notation: &str) -> Option<Notification> {
    decode(kind, &bytes(notation))
}

fn read_link(notation: &str) -> Link {
    match read(RTM_NEWLINK, notation) {
        Some(Notification::Link(link)) => link,
        other => panic!("{other:?}"),
    }
}

fn read_address(notation: &str) -> Address {
    match read(RTM_NEWADDR, notation) {
        Some(Notification::Address(address)) => address,
        other => panic!("{other:?}"),
    }
}

fn read_route(notation: &str) -> Route {
    match read(RTM_NEWROUTE, notation) {
        Some(Notification::Route(route)) => route,
        other => panic!("{other:?}"),
    }
}

fn read_rule(notation: &str) -> Rule {
    match read(RTM_NEWRULE, notation) {
        Some(Notification::Rule(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn link_and_bridge_port() {
    let link = read_link("00 00 0001 00000006 00011043 00000000 0007 0003 =643000 =00");
    assert_eq!(
        (link.index, link.flags, link.name.as_str()),
        (IfIndex(6), 0x11043, "d0")
    );
    assert_eq!(link.vrf_table, 0);
    let port = "0001 00000004 00011043 00000000 \
                0007 0003 =763000 =00 \
                0008 000a 00000002 \
                0024 0012 0009 0001 =7665746800 =000000 \
                          000b 0004 =62726964676500 =00 \
                          0008 0005 =05000100";
    let link = read_link(&format!("00 00 {port}"));
    assert_eq!(link.vrf_table, 0);
    // The bridge's word on the same port (AF_BRIDGE).
    assert_eq!(read(RTM_NEWLINK, &format!("07 00 {port}")), None);
    assert_eq!(read(RTM_DELLINK, &format!("07 00 {port}")), None);
    assert_eq!(
        read(RTM_DELLINK, &format!("00 00 {port}")),
        Some(Notification::LinkGone { index: IfIndex(4) })
    );
}

#[test]
fn link_of_a_vrf() {
    let link = read_link(
        "00 00 0001 00000004 00011043 00000000 \
         0008 000a 00000002 \
         0024 0012 0009 0001 =7665746800 =000000 \
                   0008 0004 =76726600 \
                   000c 8005 0008 0001 000004d2",
    );
    assert_eq!(link.vrf_table, 1234);
    assert!(!link.tunnel);
}

#[test]
fn link_that_a_program_carries() {
    let link = |kind| {
        read_link(&format!(
            "00 00 fffe 00000004 00011043 00000000 000c 0012 0008 0001 ={kind}00"
        ))
    };
    assert!(link("74756e").tunnel);
    assert!(!link("736974").tunnel);
}

#[test]
fn link_names_are_text() {
    let name = |octets| {
        let link = format!("00 00 0001 00000004 00000000 00000000 {octets}");
        read_link(&link).name.as_str().to_owned()
    };
    assert_eq!(name("000a 0003 =65ff74680000 =0000"), "e?th");
    // The longest, with a terminating NUL.
    assert_eq!(
        name("0014 0003 =65746831323334353637383930313200"),
        "eth123456789012"
    );
    // Longer than the kernel allows: no panic.
    let octets = format!("0018 0003 ={}", "65".repeat(20));
    assert!(name(&octets).len() <= NAME_LENGTH);
}

#[test]
fn address_of_a_point_to_point_link() {
    assert_eq!(
        read_address(
            "02 20 80 00 00000006 \
             0008 0001 =c0000209 \
             0008 0002 =c0000201 \
             0007 0003 =643000 =00 \
             0008 0008 00000280"
        ),
        Address {
            index: IfIndex(6),
            local: ip("192.0.2.1"),
            peer: Some(ip("192.0.2.9")),
            prefix_len: 32,
            flags: 0x280,
            scope: 0,
        }
    );
    let v6 = read_address(
        "0a 80 82 00 00000006 \
         0014 0002 =20010db8000000000000000000000002 \
         0014 0001 =20010db8000000000000000000000003",
    );
    assert_eq!(
        (v6.local, v6.peer),
        (ip("2001:db8::2"), Some(ip("2001:db8::3")))
    );
    assert_eq!((v6.prefix_len, v6.flags), (128, 0x82));
}

#[test]
fn plain_addresses() {
    let v4 = "02 18 80 00 00000008 0008 0001 =c6336401 0008 0002 =c6336401";
    let address = read_address(v4);
    assert_eq!((address.local, address.peer), (ip("198.51.100.1"), None));
    assert_eq!(
        read(RTM_DELADDR, v4),
        Some(Notification::AddressGone(address))
    );
    let v6 = read_address(
        "0a 40 c0 fd 00000002 \
         0014 0001 =fe8000000000000074542dfffe3d5e03 \
         0008 0008 000000c0",
    );
    assert_eq!((v6.local, v6.peer), (ip("fe80::7454:2dff:fe3d:5e03"), None));
    assert_eq!((v6.scope, v6.flags), (253, 0xc0));
    // Of another family, or of none it says.
    assert_eq!(
        read(RTM_NEWADDR, "07 18 80 00 00000008 0008 0001 =c6336401"),
        None
    );
    assert_eq!(
        read(RTM_NEWADDR, "0a 18 80 00 00000008 0008 0001 =c6336401"),
        None
    );
    assert_eq!(read(RTM_NEWADDR, "02 18 80 00 00000008"), None);
}

fn hop(oif: u32, gateway: Option<&str>, flags: u32) -> Hop {
    Hop {
        oif: IfIndex(oif),
        gateway: gateway.map(ip),
        flags,
    }
}

#[test]
fn multipath_route() {
    let route = read_route(
        "02 00 00 00 fe 03 00 01 00000000 \
         0008 000f 000000fe \
         0008 0006 00000005 \
         001c 0009 0010 00 01 00000008 0008 0005 =c6336402 \
                   0008 11 00 00000006",
    );
    assert_eq!(
        (route.family, route.table, route.metric),
        (Family::Ipv4, 254, 5)
    );
    assert_eq!((route.destination, route.destination_len), (None, 0));
    assert_eq!(
        route.hops[..],
        [hop(8, Some("198.51.100.2"), 0), hop(6, None, 0x11)]
    );
}

#[test]
fn multipath_routes_with_more_hops_than_fit() {
    let hops = "0008 00 00 00000006 ".repeat(MAX_HOPS + 1);
    let route = read_route(&format!(
        "02 00 00 00 fe 03 00 01 00000000 004c 0009 {hops}"
    ));
    assert_eq!(route.hops.len(), MAX_HOPS);
    // A hop without length would never end.
    let route = read_route("02 00 00 00 fe 03 00 01 00000000 000c 0009 0000 00 00 00000006");
    assert!(route.hops.is_empty());
}

#[test]
fn ipv4_route_with_an_ipv6_gateway() {
    let text = "02 18 00 00 fc 1e 00 01 00000000 \
                0008 000f 00001450 \
                0008 0001 =cb007100 \
                0008 0007 =c6336401 \
                0016 0012 000a =fe800000000000000000000000000001 =0000 \
                0008 0004 00000008";
    let route = read_route(text);
    assert_eq!(
        (route.table, route.protocol, route.scope, route.kind),
        (5200, PROTOCOL, 0, 1)
    );
    assert_eq!(
        (route.destination, route.destination_len),
        (Some(ip("203.0.113.0")), 24)
    );
    assert_eq!(route.preferred_source, Some(ip("198.51.100.1")));
    assert_eq!(route.hops[..], [hop(8, Some("fe80::1"), 0)]);
    assert_eq!(
        read(RTM_DELROUTE, text),
        Some(Notification::RouteGone(route))
    );
}

#[test]
fn route_of_a_nexthop_object() {
    let route = read_route(
        "02 00 00 00 64 03 00 01 00000000 \
         0008 000f 00000064 \
         0008 001e 00000007 \
         0008 0005 =c6336403 \
         0008 0004 00000008",
    );
    assert_eq!(route.hops[..], [hop(8, Some("198.51.100.3"), 0)]);
}

#[test]
fn onlink_blackhole_and_cloned_routes() {
    let onlink = read_route(
        "02 08 00 00 4d 03 00 01 00000004 \
         0008 000f 0000004d 0008 0001 =0a000000 0008 0005 =0aff0001 0008 0004 00000008",
    );
    assert_eq!(onlink.hops[..], [hop(8, Some("10.255.0.1"), RTNH_F_ONLINK)]);
    let blackhole = "02 10 00 00 4d 03 00 06 00000000 0008 0001 =0a090000";
    let blackhole = read_route(blackhole);
    assert_eq!(
        (blackhole.kind, blackhole.table, blackhole.hops.len()),
        (6, 77, 0)
    );
    let cloned = "02 20 00 00 fe 03 00 01 00000200 0008 0001 =0a090000";
    assert_eq!(read(RTM_NEWROUTE, cloned), None);
    // Multicast routing (RTNL_FAMILY_IPMR).
    assert_eq!(read(RTM_NEWROUTE, "80 00 00 00 fe 03 00 01 00000000"), None);
}

#[test]
fn source_specific_route() {
    let route = read_route(
        "0a 00 30 00 fe 03 00 01 00000000 \
         0014 0002 =20010db8000000000000000000000000 \
         0008 0006 00000200 \
         0014 0005 =fe800000000000000000000000000001 \
         0008 0004 00000008",
    );
    assert_eq!(
        (route.source, route.source_len),
        (Some(ip("2001:db8::")), 48)
    );
    assert_eq!((route.destination, route.metric), (None, 512));
    assert_eq!(route.hops[..], [hop(8, Some("fe80::1"), 0)]);
}

#[test]
fn rules_by_source() {
    let text = "02 00 20 00 fc 00 00 01 00000000 \
                0008 000f 00001450 \
                0008 000e ffffffff \
                0005 0015 1e =000000 \
                0008 0006 00001450 \
                0008 0002 =c0000201";
    let rule = Rule {
        family: Family::Ipv4,
        priority: 5200,
        table: 5200,
        source: Some((ip("192.0.2.1"), 32)),
        action: 1,
        protocol: PROTOCOL,
        suppress: None,
        unmarked: false,
    };
    assert_eq!(read(RTM_NEWRULE, text), Some(Notification::Rule(rule)));
    assert_eq!(read(RTM_DELRULE, text), Some(Notification::RuleGone(rule)));
    let main = read_rule("02 00 00 00 fe 00 00 01 00000000 0008 000e ffffffff 0008 0006 00007ffe");
    assert_eq!((main.table, main.source, main.unmarked), (254, None, false));
    let particular = "02 00 00 00 fe 00 00 01 00000000 0008 000e 00000000 0008 0010 40000000";
    let particular = read_rule(particular);
    assert_eq!((particular.suppress, particular.unmarked), (Some(0), true));
}

#[test]
fn answers() {
    let read = |notation: &str| decode_answer(RTM_NEWROUTE, &bytes(notation));
    let matched = "02 00 00 00 fe 03 00 01 00000000 0008 000f 000000fe \
                   0008 0005 =c6336402 0008 0004 00000008";
    let route = read(matched).unwrap();
    assert_eq!(route.hops[..], [hop(8, Some("198.51.100.2"), 0)]);
    // Of IPv6 the kernel shows its copy for this destination.
    let copied = "0a 80 80 00 fe 03 00 01 00000200 \
                  0014 0001 =20010503ba3e00000000000000020030 \
                  0014 0005 =fe800000000000000000000000000001 0008 0004 00000008";
    let route = read(copied).unwrap();
    assert_eq!(route.hops[..], [hop(8, Some("fe80::1"), 0)]);
    assert_eq!(decode_answer(RTM_DELROUTE, &bytes(matched)), None);
}

#[test]
fn questions() {
    let query = RouteQuery {
        destination: ip("198.41.0.4"),
        source: Some(ip("192.0.2.1")),
        oif: IfIndex(8),
        fib_match: true,
    };
    let v4 = bytes(
        "02 20 20 00 00 00 00 00 00003000 \
         0008 0001 =c6290004 0008 0002 =c0000201 0008 0004 00000008 \
         0008 0010 40000000 0008 0019 00000000 0005 001b 06 =000000",
    );
    assert_eq!(
        message(|out| get_route(out, Seq(7), &query)),
        (26, 0x001, v4)
    );
    let query = RouteQuery {
        destination: ip("2001:503:ba3e::2:30"),
        source: None,
        oif: IfIndex::NONE,
        fib_match: false,
    };
    let v6 = bytes(
        "0a 80 00 00 00 00 00 00 00000000 0014 0001 =20010503ba3e00000000000000020030 \
         0008 0010 40000000 0008 0019 00000000 0005 001b 06 =000000",
    );
    assert_eq!(
        message(|out| get_route(out, Seq(7), &query)),
        (26, 0x001, v6)
    );
}

/// The one message that `write` makes.
fn message(write: impl FnOnce(&mut Builder<'_>) -> Result<(), Full>) -> (u16, u16, Vec<u8>) {
    let mut buffer = [0; REQUEST_LENGTH];
    let mut out = Builder::new(&mut buffer);
    write(&mut out).unwrap();
    let message = Messages::new(out.bytes()).next().unwrap().unwrap();
    assert_eq!(message.seq, Seq(7));
    (message.kind, message.flags, message.payload.to_vec())
}

#[test]
fn dumps() {
    let links = bytes("00 00 0000 00000000 00000000 00000000 0008 001d 00000008");
    assert_eq!(message(|out| dump_links(out, Seq(7))), (18, 0x301, links));
    assert_eq!(
        message(|out| dump_addresses(out, Seq(7))),
        (22, 0x301, vec![0; 8])
    );
    let v6 = bytes("0a 00 00 00 00 00 00 00 00000000");
    assert_eq!(
        message(|out| dump_routes(out, Seq(7), Family::Ipv6, 0)),
        (26, 0x301, v6)
    );
    let ours = bytes("02 00 00 00 00 1e 00 00 00000000");
    assert_eq!(
        message(|out| dump_routes(out, Seq(7), Family::Ipv4, PROTOCOL)),
        (26, 0x301, ours)
    );
    let v4 = bytes("02 00 00 00 00 00 00 00 00000000");
    assert_eq!(
        message(|out| dump_rules(out, Seq(7), Family::Ipv4)),
        (34, 0x301, v4)
    );
}

#[test]
fn changes() {
    let rule = Rule {
        family: Family::Ipv4,
        priority: 5200,
        table: 5201,
        source: Some((ip("192.0.2.1"), 32)),
        action: 1,
        protocol: PROTOCOL,
        suppress: None,
        unmarked: true,
    };
    let payload = bytes(
        "02 00 20 00 00 00 00 01 00000000 \
         0008 0002 =c0000201 \
         0008 0006 00001450 \
         0008 000f 00001451 \
         0005 0015 1e =000000 \
         0008 0010 40000000",
    );
    assert_eq!(
        message(|out| change_rule(out, Seq(7), Change::Add, &rule)),
        (32, 0x605, payload.clone())
    );
    assert_eq!(
        message(|out| change_rule(out, Seq(7), Change::Delete, &rule)),
        (33, 0x005, payload)
    );
    let route = Route {
        family: Family::Ipv4,
        table: 5200,
        destination: None,
        destination_len: 0,
        source: None,
        source_len: 0,
        preferred_source: None,
        metric: 3,
        protocol: PROTOCOL,
        kind: 1,
        scope: 0,
        hops: heapless::Vec::from_slice(&[hop(8, Some("192.0.2.254"), 0x14)]).unwrap(),
    };
    let payload = bytes(
        "02 00 00 00 00 1e 00 01 00000004 \
         0008 000f 00001450 \
         0008 0006 00000003 \
         0008 0005 =c00002fe \
         0008 0004 00000008",
    );
    for (change, kind, flags) in [
        (Change::Add, 24, 0x605),
        (Change::Replace, 24, 0x505),
        (Change::Delete, 25, 0x005),
    ] {
        let written = message(|out| change_route(out, Seq(7), change, &route));
        assert_eq!(written, (kind, flags, payload.clone()));
    }
}

#[test]
fn the_longest_request_fits_exactly() {
    let route = Route {
        family: Family::Ipv6,
        table: 5200,
        destination: Some(ip("::1")),
        destination_len: 128,
        source: None,
        source_len: 0,
        preferred_source: Some(ip("::1")),
        metric: 3,
        protocol: PROTOCOL,
        kind: 1,
        scope: 0,
        hops: heapless::Vec::from_slice(&[hop(8, Some("::1"), 0)]).unwrap(),
    };
    let (_, _, payload) = message(|out| change_route(out, Seq(7), Change::Add, &route));
    assert_eq!(16 + payload.len(), REQUEST_LENGTH);
}

fn any_ip(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::Ipv4 => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        Family::Ipv6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

fn any_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

fn any_route() -> impl Strategy<Value = Route> {
    any_family().prop_flat_map(|family| {
        let hop = (1u32.., prop::option::of(any_ip(family)), any::<bool>());
        let destination = prop::option::of(any_ip(family));
        let numbers = any::<(u32, u32, u8, u8, u8, u8)>();
        (destination, numbers, prop::option::of(hop)).prop_map(
            move |(destination, numbers, hop)| Route {
                family,
                table: numbers.0,
                destination,
                destination_len: numbers.2,
                source: None,
                source_len: 0,
                preferred_source: None,
                metric: numbers.1,
                protocol: numbers.3,
                kind: numbers.4,
                scope: numbers.5,
                hops: hop
                    .into_iter()
                    .map(|(oif, gateway, onlink)| Hop {
                        oif: IfIndex(oif),
                        gateway,
                        flags: if onlink { RTNH_F_ONLINK } else { 0 },
                    })
                    .collect(),
            },
        )
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    any_family().prop_flat_map(|family| {
        let source = prop::option::of((any_ip(family), any::<u8>()));
        let suppress = prop::option::of(0..u32::MAX);
        (source, suppress, any::<(u32, u32, u8, u8, bool)>()).prop_map(
            move |(source, suppress, numbers)| Rule {
                family,
                priority: numbers.0,
                table: numbers.1,
                source,
                action: numbers.2,
                protocol: numbers.3,
                suppress,
                unmarked: numbers.4,
            },
        )
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(kind in 16u16..36, bytes: Vec<u8>) {
        let _ = decode(kind, &bytes);
    }

    /// Headers that make sense, so that attributes are reached.
    #[test]
    fn no_attributes_panic(
        kind in 16u16..36,
        family in prop::sample::select(vec![0u8, 2, 10]),
        attributes in prop::collection::vec(
            (0u16..32, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let mut buffer = [0; 1024];
        let mut out = Builder::new(&mut buffer);
        out.message(kind, 0, Seq(1));
        out.raw(&[family, 0, 0, 0]);
        out.raw(&[0; 12][..match kind { 16..20 => 12, 20..24 => 4, _ => 8 }]);
        for (kind, value) in &attributes {
            out.attribute(*kind, value);
        }
        out.end().unwrap();
        let _ = decode(kind, &out.bytes()[16..]);
    }

    #[test]
    fn routes_come_back(route in any_route()) {
        let (kind, _, payload) = message(|out| change_route(out, Seq(7), Change::Add, &route));
        prop_assert_eq!(decode(kind, &payload), Some(Notification::Route(route)));
    }

    #[test]
    fn rules_come_back(rule in any_rule()) {
        let (kind, _, payload) = message(|out| change_rule(out, Seq(7), Change::Delete, &rule));
        prop_assert_eq!(decode(kind, &payload), Some(Notification::RuleGone(rule)));
    }
}
