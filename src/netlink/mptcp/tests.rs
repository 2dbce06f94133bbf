// SPDX-License-Identifier: BSD-3-Clause
//! Commands and events, byte for byte as they were seen between upstream mptcpd and Linux.

use super::*;
use crate::netlink::Seq;
use crate::netlink::attribute::{Builder, Full};
use crate::netlink::generic;
use crate::netlink::message::Messages;
use crate::netlink::notation::bytes;
use proptest::prelude::*;

const FAMILY: u16 = 0x1e;
const TOKEN: Token = Token::new(0xabcd_1234);

/// What comes after the netlink header.
fn payload(command: Command) -> Vec<u8> {
    let mut buffer = [0; COMMAND_LENGTH];
    let mut out = Builder::new(&mut buffer);
    command.encode(&mut out, FAMILY, Seq(3)).unwrap();
    let message = Messages::new(out.bytes()).next().unwrap().unwrap();
    assert_eq!((message.kind, message.seq), (FAMILY, Seq(3)));
    let dump = matches!(
        command,
        Command::DumpEndpoints | Command::DumpAddresses { .. }
    );
    let ack = if command.is_query() { 0x004 } else { 0 };
    assert_eq!(message.flags, ack | if dump { 0x301 } else { 0x001 });
    message.payload.to_vec()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn endpoint(address: &str, id: u8, flags: u32) -> Endpoint {
    Endpoint {
        address: ip(address),
        port: 0,
        id: AddressId(id),
        flags: EndpointFlags(flags),
        ifindex: IfIndex::NONE,
    }
}

fn local(id: u8) -> SubflowAddress {
    endpoint("192.0.2.1", id, 0).into()
}

fn remote(id: u8) -> SubflowAddress {
    SubflowAddress {
        id: AddressId(id),
        ..SubflowAddress::at(ip("198.51.100.2"), 0x1234)
    }
}

#[test]
fn add_endpoint() {
    let v4 = Endpoint {
        ifindex: IfIndex(1),
        ..endpoint("192.0.2.1", 7, 6)
    };
    assert_eq!(
        payload(Command::AddEndpoint(v4)),
        bytes(
            "01 00 =0000 \
             002c 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201 \
                 0005 0002 07 =000000 \
                 0008 0006 00000006 \
                 0008 0007 00000001"
        )
    );
    assert_eq!(
        payload(Command::AddEndpoint(endpoint("2001:db8::1", 8, 0))),
        bytes(
            "01 00 =0000 \
             0028 8001 \
                 0006 0001 000a =0000 \
                 0014 0004 =20010db8000000000000000000000001 \
                 0005 0002 08 =000000"
        )
    );
    let port = Endpoint {
        port: 0x1234,
        ..endpoint("198.51.100.2", 9, 1)
    };
    assert_eq!(
        payload(Command::AddEndpoint(port)),
        bytes(
            "01 00 =0000 \
             002c 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c6336402 \
                 0006 0005 1234 =0000 \
                 0005 0002 09 =000000 \
                 0008 0006 00000001"
        )
    );
}

#[test]
fn delete_and_get_endpoint_by_id() {
    let nest = "000c 8001 0005 0002 07 =000000";
    assert_eq!(
        payload(Command::DeleteEndpoint(endpoint("192.0.2.1", 7, 6))),
        bytes(&format!("02 00 =0000 {nest}"))
    );
    assert_eq!(
        payload(Command::GetEndpoint { id: AddressId(7) }),
        bytes(&format!("03 00 =0000 {nest}"))
    );
    assert_eq!(payload(Command::DumpEndpoints), bytes("03 00 =0000"));
    assert_eq!(payload(Command::FlushEndpoints), bytes("04 00 =0000"));
}

#[test]
fn delete_the_initial_address() {
    assert_eq!(
        payload(Command::DeleteEndpoint(endpoint("192.0.2.1", 0, 6))),
        bytes(
            "02 00 =0000 \
             0014 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201"
        )
    );
}

#[test]
fn set_flags_by_address_or_id() {
    assert_eq!(
        payload(Command::SetFlags(endpoint("192.0.2.1", 7, 4))),
        bytes(
            "07 00 =0000 \
             001c 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201 \
                 0008 0006 00000004"
        )
    );
    assert_eq!(
        payload(Command::SetFlags(endpoint("::", 7, 4))),
        bytes(
            "07 00 =0000 \
             0014 8001 \
                 0005 0002 07 =000000 \
                 0008 0006 00000004"
        )
    );
}

#[test]
fn limits() {
    let limits = Limits {
        add_addr_accepted: 4,
        subflows: 5,
    };
    assert_eq!(
        payload(Command::SetLimits(limits)),
        bytes("05 00 =0000 0008 0003 00000005 0008 0002 00000004")
    );
    assert_eq!(payload(Command::GetLimits), bytes("06 00 =0000"));
}

#[test]
fn announce_and_remove_address() {
    assert_eq!(
        payload(Command::Announce {
            token: TOKEN,
            address: local(5)
        }),
        bytes(
            "08 00 =0000 \
             0008 0004 abcd1234 \
             0024 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201 \
                 0005 0002 05 =000000 \
                 0008 0006 00000001"
        )
    );
    assert_eq!(
        payload(Command::RemoveAddress {
            token: TOKEN,
            id: AddressId(5)
        }),
        bytes("09 00 =0000 0008 0004 abcd1234 0005 0005 05 =000000")
    );
}

#[test]
fn create_subflow() {
    assert_eq!(
        payload(Command::CreateSubflow {
            token: TOKEN,
            local: local(5),
            remote: remote(6)
        }),
        bytes(
            "0a 00 =0000 \
             0008 0004 abcd1234 \
             001c 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201 \
                 0005 0002 05 =000000 \
             0024 8006 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c6336402 \
                 0006 0005 1234 =0000 \
                 0005 0002 06 =000000"
        )
    );
}

#[test]
fn set_backup() {
    let command = |backup| Command::SetBackup {
        token: TOKEN,
        local: local(5),
        remote: remote(6),
        backup,
    };
    assert_eq!(
        payload(command(true)),
        bytes(
            "07 00 =0000 \
             0008 0004 abcd1234 \
             001c 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201 \
                 0008 0006 00000004 \
             001c 8006 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c6336402 \
                 0006 0005 1234 =0000"
        )
    );
    assert_eq!(
        payload(command(false)).len(),
        payload(command(true)).len() - 8
    );
}

#[test]
fn destroy_subflow() {
    assert_eq!(
        payload(Command::DestroySubflow {
            token: TOKEN,
            local: local(5),
            remote: remote(6)
        }),
        bytes(
            "0b 00 =0000 \
             0008 0004 abcd1234 \
             0014 8001 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c0000201 \
             001c 8006 \
                 0006 0001 0002 =0000 \
                 0008 0003 =c6336402 \
                 0006 0005 1234 =0000"
        )
    );
}

#[test]
fn addresses_of_a_connection() {
    assert_eq!(
        payload(Command::GetAddress {
            token: TOKEN,
            id: AddressId(0)
        }),
        bytes("03 00 =0000 0008 0004 abcd1234 000c 8001 0005 0002 00 =000000")
    );
    assert_eq!(
        payload(Command::DumpAddresses { token: TOKEN }),
        bytes("03 00 =0000 0008 0004 abcd1234")
    );
}

#[test]
fn the_longest_command_fits_exactly() {
    let end = SubflowAddress {
        address: ip("2001:db8::1"),
        port: 1,
        id: AddressId(1),
        flags: EndpointFlags(1),
        ifindex: IfIndex(1),
    };
    let command = Command::CreateSubflow {
        token: TOKEN,
        local: end,
        remote: end,
    };
    assert_eq!(16 + payload(command).len(), COMMAND_LENGTH);
    let mut buffer = [0; COMMAND_LENGTH - 1];
    let mut out = Builder::new(&mut buffer);
    assert_eq!(command.encode(&mut out, FAMILY, Seq(1)), Err(Full));
    assert!(out.bytes().is_empty());
}

fn attributes(payload: &[u8]) -> Attributes<'_> {
    generic::parse_header(payload).unwrap().1
}

#[test]
fn endpoint_reply() {
    let reply = bytes(
        "03 01 =0000 \
         002c 8001 \
             0006 0001 0002 =0000 \
             0005 0002 07 =000000 \
             0008 0006 00000006 \
             0008 0007 00000003 \
             0008 0003 =c0000201",
    );
    let expected = Endpoint {
        ifindex: IfIndex(3),
        ..endpoint("192.0.2.1", 7, 6)
    };
    assert_eq!(decode_endpoint(attributes(&reply)), Some(expected));
    let without = bytes("03 01 =0000 0014 8001 0006 0001 0002 =0000 0005 0002 07 =000000");
    assert_eq!(decode_endpoint(attributes(&without)), None);
    assert_eq!(decode_endpoint(attributes(&bytes("03 01 =0000"))), None);
}

#[test]
fn limits_reply() {
    let reply = bytes("06 01 =0000 0008 0002 00000004 0008 0003 00000005");
    let expected = Limits {
        add_addr_accepted: 4,
        subflows: 5,
    };
    assert_eq!(decode_limits(attributes(&reply)), Some(expected));
    assert_eq!(decode_limits(attributes(&reply[..12])), None);
}

fn event(notation: &str) -> Result<Event, EventError> {
    let payload = bytes(notation);
    let (event, attributes) = generic::parse_header(&payload).unwrap();
    decode_event(event, attributes)
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn connections() {
    let client = ConnectionEvent {
        token: Token::new(0x3e72_33ef),
        local: socket("10.0.0.1:41410"),
        remote: socket("10.0.0.2:5000"),
        server_side: false,
        deny_join_id0: false,
        mapped: false,
    };
    assert_eq!(
        event(
            "01 01 =0000 \
             0008 0001 3e7233ef \
             0006 0002 0002 =0000 \
             0008 0005 =0a000001 \
             0008 0007 =0a000002 \
             0006 0009 =a1c2 =0000 \
             0006 000a =1388 =0000 \
             0005 0003 00 =000000 \
             0005 0004 00 =000000"
        ),
        Ok(Event::Created(client))
    );
    let server = "0008 0001 a2c9e3b1 \
                  0006 0002 0002 =0000 \
                  0008 0005 =0a000002 \
                  0008 0007 =0a000001 \
                  0006 0009 =1388 =0000 \
                  0006 000a =a1c2 =0000";
    let expected = ConnectionEvent {
        token: Token::new(0xa2c9_e3b1),
        local: client.remote,
        remote: client.local,
        server_side: true,
        deny_join_id0: false,
        mapped: false,
    };
    // Older kernels have an attribute of its own for the side, newer ones a flag, or both.
    for side in ["0005 0012 01 =000000", "0006 000d 0002 =0000"] {
        assert_eq!(
            event(&format!("02 01 =0000 {side} {server}")),
            Ok(Event::Established(expected))
        );
    }
    let denied = ConnectionEvent {
        server_side: false,
        deny_join_id0: true,
        mapped: false,
        ..expected
    };
    assert_eq!(
        event(&format!(
            "02 01 =0000 0005 0012 00 =000000 0006 000d 0001 =0000 {server}"
        )),
        Ok(Event::Established(denied))
    );
    assert_eq!(
        event("03 01 =0000 0008 0001 3e7233ef"),
        Ok(Event::Closed {
            token: Token::new(0x3e72_33ef)
        })
    );
}

#[test]
fn mapped_addresses_are_ipv4() {
    let Ok(Event::Created(created)) = event(
        "01 01 =0000 \
         0008 0001 00000001 \
         0006 0002 000a =0000 \
         0014 0006 =00000000000000000000ffff0a000002 \
         0014 0008 =20010db8000000000000000000000001 \
         0006 0009 =1388 =0000 \
         0006 000a =0001 =0000",
    ) else {
        panic!("not created");
    };
    assert_eq!(created.local, socket("10.0.0.2:5000"));
    assert_eq!(created.remote, socket("[2001:db8::1]:1"));
}

#[test]
fn addresses_of_the_peer() {
    assert_eq!(
        event(
            "06 01 =0000 \
             0008 0001 3e7233ef \
             0005 0004 01 =000000 \
             0006 000a =1388 =0000 \
             0008 0007 =0a010002"
        ),
        Ok(Event::Announced {
            token: Token::new(0x3e72_33ef),
            remote_id: AddressId(1),
            address: ip("10.1.0.2"),
            port: 5000
        })
    );
    assert_eq!(
        event("07 01 =0000 0008 0001 3e7233ef 0005 0004 01 =000000"),
        Ok(Event::Removed {
            token: Token::new(0x3e72_33ef),
            remote_id: AddressId(1)
        })
    );
}

#[test]
fn subflows() {
    let attributes = "0008 0001 3e7233ef \
                      0006 0002 0002 =0000 \
                      0008 0005 =0a010001 \
                      0008 0007 =0a000002 \
                      0006 0009 =ceb5 =0000 \
                      0006 000a =1388 =0000 \
                      0005 0003 01 =000000 \
                      0005 0004 02 =000000 \
                      0005 000b 00 =000000 \
                      0008 000f 00000003";
    let subflow = SubflowEvent {
        token: Token::new(0x3e72_33ef),
        local: socket("10.1.0.1:52917"),
        remote: socket("10.0.0.2:5000"),
        local_id: AddressId(1),
        remote_id: AddressId(2),
        backup: false,
        ifindex: IfIndex(3),
        error: 0,
        reset_reason: None,
        reset_flags: 0,
        mapped: false,
    };
    assert_eq!(
        event(&format!("0a 01 =0000 {attributes}")),
        Ok(Event::SubflowEstablished(subflow))
    );
    let reset = SubflowEvent {
        error: 104,
        reset_reason: Some(3),
        reset_flags: 1,
        mapped: false,
        ..subflow
    };
    let reason = "0005 000c 68 =000000 0008 0010 00000003 0008 0011 00000001";
    assert_eq!(
        event(&format!("0b 01 =0000 {attributes} {reason}")),
        Ok(Event::SubflowClosed(reset))
    );
    assert_eq!(
        event(
            "0d 01 =0000 \
             0008 0001 a2c9e3b1 \
             0006 0002 0002 =0000 \
             0008 0005 =0a000002 \
             0008 0007 =0a010001 \
             0006 0009 =1388 =0000 \
             0006 000a =ceb5 =0000 \
             0005 0003 00 =000000 \
             0005 0004 01 =000000 \
             0005 000b 01 =000000"
        ),
        Ok(Event::SubflowPriority(SubflowEvent {
            token: Token::new(0xa2c9_e3b1),
            local: subflow.remote,
            remote: subflow.local,
            local_id: AddressId(0),
            remote_id: AddressId(1),
            backup: true,
            ifindex: IfIndex::NONE,
            ..subflow
        }))
    );
}

#[test]
fn listeners() {
    let attributes = "0006 0002 0002 =0000 0006 0009 =1388 =0000 0008 0005 =00000000";
    let local = socket("0.0.0.0:5000");
    assert_eq!(
        event(&format!("0f 01 =0000 {attributes}")),
        Ok(Event::ListenerCreated { local })
    );
    assert_eq!(
        event(&format!("10 01 =0000 {attributes}")),
        Ok(Event::ListenerClosed { local })
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(event("03 01 =0000"), Err(EventError::Missing("TOKEN")));
    assert_eq!(
        event("06 01 =0000 0008 0001 00000001"),
        Err(EventError::Missing("REM_ID"))
    );
    // Of the wrong length.
    assert_eq!(
        event("07 01 =0000 0006 0001 0001 =0000 0005 0004 01 =000000"),
        Err(EventError::Missing("TOKEN"))
    );
    assert_eq!(
        event("0f 01 =0000 0008 0005 =00000000"),
        Err(EventError::Missing("SPORT"))
    );
    assert_eq!(event("63 01 =0000"), Err(EventError::Unknown(0x63)));
    assert_eq!(
        EventError::Missing("TOKEN").to_string(),
        "MPTCP event without TOKEN"
    );
}

prop_compose! {
    fn any_endpoint()(address: IpAddr, port: u16, id: u8, flags: u32, ifindex: u32) -> Endpoint {
        let (id, flags, ifindex) = (AddressId(id), EndpointFlags(flags), IfIndex(ifindex));
        Endpoint { address, port, id, flags, ifindex }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(kind in 0u8..20, bytes: Vec<u8>) {
        let _ = decode_event(kind, Attributes::new(&bytes));
        let _ = decode_endpoint(Attributes::new(&bytes));
        let _ = decode_limits(Attributes::new(&bytes));
    }

    #[test]
    fn no_torn_event_panics(kind in 0u8..20, length in 0usize..100, at in 0usize..100, byte: u8) {
        let mut payload = bytes(
            "0008 0001 3e7233ef 0008 0005 =0a010001 0008 0007 =0a000002 0006 0009 =ceb5 =0000 \
             0006 000a =1388 =0000 0005 0003 01 =000000 0005 0004 02 =000000 0005 000b 00 =000000",
        );
        payload.truncate(length);
        if let Some(old) = payload.get_mut(at) {
            *old = byte;
        }
        let _ = decode_event(kind, Attributes::new(&payload));
    }

    #[test]
    fn endpoints_come_back(endpoint in any_endpoint()) {
        prop_assume!(!endpoint.address.is_unspecified());
        let payload = payload(Command::AddEndpoint(endpoint));
        prop_assert_eq!(decode_endpoint(attributes(&payload)), Some(endpoint));
    }

    #[test]
    fn limits_come_back(add_addr_accepted: u32, subflows: u32) {
        let limits = Limits { add_addr_accepted, subflows };
        let payload = payload(Command::SetLimits(limits));
        prop_assert_eq!(decode_limits(attributes(&payload)), Some(limits));
    }
}
