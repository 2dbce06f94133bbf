// SPDX-License-Identifier: BSD-3-Clause
//! Whatever a datagram holds, every decoder comes to an end with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcpd::internal::netlink::Seq;
use mptcpd::internal::netlink::attribute::{Attributes, Builder};
use mptcpd::internal::netlink::message::Messages;
use mptcpd::internal::netlink::route::{Change, Notification};
use mptcpd::internal::netlink::{diag, generic, mptcp, route};

fuzz_target!(|bytes: &[u8]| {
    for message in Messages::new(bytes) {
        let Ok(message) = message else { break };
        let _ = (message.ack(), message.is_interrupted());
        decode(message.kind, message.payload);
    }
    // Without the framing, which is hard to guess.
    if let [kind, rest @ ..] = bytes {
        decode((*kind).into(), rest);
    }
});

fn decode(kind: u16, payload: &[u8]) {
    let _ = diag::decode_connection(payload);
    let _ = diag::decode_subflow(payload);
    let _ = generic::decode(payload);
    if let Some((command, attributes)) = generic::parse_header(payload) {
        walk(attributes, 0);
        let _ = mptcp::decode_endpoint(attributes);
        let _ = mptcp::decode_limits(attributes);
        let _ = mptcp::decode_event(command, attributes);
    }
    if let Some(notification) = route::decode(kind, payload) {
        again(&notification);
    }
}

/// Every view of every attribute.
fn walk(attributes: Attributes<'_>, depth: u8) {
    for attribute in attributes {
        let _ = (attribute.u8(), attribute.u16(), attribute.u32());
        let _ = (attribute.be16(), attribute.ip());
        let _ = (attribute.str(), attribute.text());
        if depth < 4 {
            walk(attribute.nested(), depth + 1);
        }
    }
}

/// What was decoded can be asked for.
fn again(notification: &Notification) {
    let mut buffer = [0; 512];
    let mut out = Builder::new(&mut buffer);
    match notification {
        Notification::Route(r) => drop(route::change_route(&mut out, Seq(1), Change::Replace, r)),
        Notification::Rule(r) => drop(route::change_rule(&mut out, Seq(1), Change::Add, r)),
        _ => {}
    }
}
