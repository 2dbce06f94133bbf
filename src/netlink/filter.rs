// SPDX-License-Identifier: BSD-3-Clause
//! Classic-BPF programs for SO_ATTACH_FILTER: what they reject does not wake the daemon.
//!
//! Source: `include/uapi/linux/filter.h`.

use super::generic::CONTROLLER;
use super::message::NLM_F_MULTI;
use super::mptcp::EVENT_SUB_CLOSED;
use super::route::PROTOCOL;
use super::route::uapi::{RTM_DELROUTE, RTM_NEWROUTE};

/// `code`, `jt`, `jf` and `k` of `struct sock_filter`.
pub type Instruction = (u16, u8, u8, u32);

const LOAD_U16: u16 = 0x28;
const LOAD_U8: u16 = 0x30;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// A load reads network byte order, wherever a header has host byte order.
const fn host(value: u16) -> u32 {
    u16::from_be_bytes(value.to_ne_bytes()) as u32
}

/// Of the events of connections passes only `MPTCP_EVENT_SUB_CLOSED`, which tells of subflows that
/// have ended and of joins that have failed; and what nlctrl says.
pub const SUBFLOW_ENDS: [Instruction; 6] = [
    (LOAD_U16, 0, 0, 4), // nlmsg_type
    (EQUAL, 2, 0, host(CONTROLLER)),
    (LOAD_U8, 0, 0, 16), // cmd of struct genlmsghdr
    (EQUAL, 0, 1, EVENT_SUB_CLOSED as u32),
    (RETURN, 0, 0, u32::MAX),
    (RETURN, 0, 0, 0),
];

/// Drops the events of routes that are neither default routes nor ours. A router that speaks BGP
/// sees hundreds of thousands of those. Everything else passes, dumps too.
pub const ROUTES: [Instruction; 11] = [
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
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::notation::bytes;
    use crate::netlink::route::uapi::{RTM_DELADDR, RTM_GETROUTE, RTM_NEWLINK, RTM_NEWRULE};

    /// Runs a program as the kernel would. Returns how many bytes of the packet pass.
    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        let (mut a, mut at) = (0, 0);
        loop {
            let (code, jt, jf, k) = program[at];
            at += 1;
            let from = k as usize;
            match code {
                LOAD_U16 => a = u16::from_be_bytes([packet[from], packet[from + 1]]).into(),
                LOAD_U8 => a = packet[from].into(),
                EQUAL => at += usize::from(if a == k { jt } else { jf }),
                ANY_BIT => at += usize::from(if a & k != 0 { jt } else { jf }),
                RETURN => return k,
                _ => panic!("{code:#x} is not known here"),
            }
        }
    }

    #[test]
    fn only_the_ends_of_subflows_and_nlctrl_pass() {
        let passes = |kind: u16, command: u8| {
            let packet =
                format!("00000014 {kind:04x} 0000 00000000 00000000 {command:02x} 01 0000");
            run(&SUBFLOW_ENDS, &bytes(&packet)) != 0
        };
        for command in 0..=u8::MAX {
            assert_eq!(passes(0x1f, command), command == 11, "event {command}");
            assert!(passes(0x10, command), "nlctrl");
        }
    }

    #[test]
    fn the_filter_drops_only_events_of_others_routes() {
        let route = |kind: u16, flags: u16, destination_len: u8, protocol: u8| {
            let head = format!("0000001c {kind:04x} {flags:04x} 00000000 00000000");
            let route = format!("02 {destination_len:02x} 00 00 fe {protocol:02x} 00 01 00000000");
            run(&ROUTES, &bytes(&format!("{head} {route}"))) != 0
        };
        for kind in [RTM_NEWROUTE, RTM_DELROUTE] {
            assert!(!route(kind, 0, 24, 186), "another's prefix");
            assert!(!route(kind, 0x600, 24, 186), "another's prefix");
            assert!(route(kind, 0, 0, 186), "a default route");
            assert!(route(kind, 0, 24, PROTOCOL), "our own");
            assert!(route(kind, NLM_F_MULTI, 24, 186), "in a dump");
        }
        for kind in [2, 3, RTM_NEWLINK, RTM_DELADDR, RTM_NEWRULE, RTM_GETROUTE] {
            assert!(route(kind, 0, 24, 186), "kind {kind}");
        }
    }
}
