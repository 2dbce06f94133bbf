// SPDX-License-Identifier: BSD-3-Clause
//! Classic-BPF programs for SO_ATTACH_FILTER: what they reject does not wake the daemon.
//!
//! Source: `include/uapi/linux/filter.h`.

use core::net::IpAddr;

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
const AT_LEAST: u16 = 0x35;
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

/// The most destinations that [`routes`] looks for.
pub const DESTINATIONS: usize = 16;

const HEAD: [Instruction; 10] = [
    (LOAD_U16, 0, 0, 4), // nlmsg_type
    (EQUAL, 1, 0, host(RTM_NEWROUTE)),
    (EQUAL, 0, PASS - 3, host(RTM_DELROUTE)),
    (LOAD_U16, 0, 0, 6), // nlmsg_flags
    (ANY_BIT, PASS - 5, 0, host(NLM_F_MULTI)),
    (LOAD_U8, 0, 0, 21), // rtm_protocol
    (EQUAL, PASS - 7, 0, PROTOCOL as u32),
    (LOAD_U8, 0, 0, 17), // rtm_dst_len
    (AT_LEAST, 1, 0, 16),
    (RETURN, 0, 0, u32::MAX),
];
/// The position of the last of them.
const PASS: u8 = 9;

/// Drops the events of routes that are neither ours nor likely to lead to one of these
/// `destinations` (by family, IPv4 or not, and number): those of longer prefixes that differ from them
/// in the first 16 bits. A router that speaks BGP sees hundreds of thousands of those. Everything else
/// passes, dumps too.
pub fn routes(
    destination: &dyn Fn(bool, usize) -> Option<IpAddr>,
) -> heapless::Vec<Instruction, { HEAD.len() + 2 + 2 * DESTINATIONS }> {
    let mut program = heapless::Vec::new();
    // There is room for so many.
    let _ = program.extend_from_slice(&HEAD);
    let _ = program.push((LOAD_U16, 0, 0, 40)); // RTA_DST, after RTA_TABLE
    let (mut ipv4, mut at) = (true, 0);
    while program.len() + 2 < program.capacity() {
        let first = match destination(ipv4, at) {
            Some(IpAddr::V4(ip)) => ip.to_bits() >> 16,
            Some(IpAddr::V6(ip)) => ip.segments()[0].into(),
            None if ipv4 => {
                (ipv4, at) = (false, 0);
                continue;
            }
            None => break,
        };
        at += 1;
        let _ = program.push((EQUAL, 0, 1, first));
        let _ = program.push((RETURN, 0, 0, u32::MAX));
    }
    let _ = program.push((RETURN, 0, 0, 0));
    program
}

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
                AT_LEAST => at += usize::from(if a >= k { jt } else { jf }),
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
    fn the_filter_drops_only_events_of_routes_to_elsewhere() {
        let world = ["198.51.100.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let program = routes(&|ipv4, at| {
            let mut of_family = world.iter().filter(|ip: &&IpAddr| ip.is_ipv4() == ipv4);
            of_family.nth(at).copied()
        });
        let route = |kind: u16, flags: u16, len: u8, protocol: u8, to: &str| {
            let head = format!("00000034 {kind:04x} {flags:04x} 00000000 00000000");
            let route = format!("02 {len:02x} 00 00 fe {protocol:02x} 00 01 00000000");
            let to = format!("0008 000f 000000fe 0014 0001 ={to}");
            run(&program, &bytes(&format!("{head} {route} {to}"))) != 0
        };
        let elsewhere = "0a000000000000000000000000000000";
        for kind in [RTM_NEWROUTE, RTM_DELROUTE] {
            assert!(!route(kind, 0, 24, 186, elsewhere), "another's prefix");
            assert!(!route(kind, 0x600, 16, 186, elsewhere), "another's prefix");
            assert!(route(kind, 0, 24, 186, "c6330000000000000000000000000000"));
            assert!(route(kind, 0, 64, 186, "20010db8000000000000000000000000"));
            assert!(route(kind, 0, 0, 186, elsewhere), "a default route");
            assert!(route(kind, 0, 15, 186, elsewhere), "a part of the world");
            assert!(route(kind, 0, 24, PROTOCOL, elsewhere), "our own");
            assert!(route(kind, NLM_F_MULTI, 24, 186, elsewhere), "in a dump");
        }
        for kind in [2, 3, RTM_NEWLINK, RTM_DELADDR, RTM_NEWRULE, RTM_GETROUTE] {
            assert!(route(kind, 0, 24, 186, elsewhere), "kind {kind}");
        }
        let all = routes(&|_, _| Some(world[0]));
        assert_eq!(all.len(), all.capacity());
    }
}
