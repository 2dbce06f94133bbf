//! Classic-BPF programs for SO_ATTACH_FILTER: what they reject does not wake the daemon.
//!
//! Source: `include/uapi/linux/filter.h`.

use super::generic::CONTROLLER;
use super::mptcp::EVENT_SUB_CLOSED;

/// `code`, `jt`, `jf` and `k` of `struct sock_filter`.
pub type Instruction = (u16, u8, u8, u32);

const LOAD_U16: u16 = 0x28;
const LOAD_U8: u16 = 0x30;
const EQUAL: u16 = 0x15;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::notation::bytes;

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
}
