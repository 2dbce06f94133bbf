// SPDX-License-Identifier: BSD-3-Clause
//! Counters of the kernel's MPTCP, of the network namespace (`net/mptcp/mib.c`).

use std::io::Read;

/// The sums that are of use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    /// Joins that this host and its peers have begun: the kernel counts its own since Linux 6.12.
    pub tried: u64,
    /// Those of them that came about.
    pub joined: u64,
    /// Connections that have become plain TCP.
    pub fallbacks: u64,
    /// How often MPTCP was turned off for a while since its SYNs got no answer (Linux 6.12).
    pub blackholes: u64,
}

/// The counters, and which sum each goes into.
const COUNTERS: [(&str, u8); 13] = [
    ("MPJoinSynTx", 0),
    ("MPJoinSynTxCreatSkErr", 0),
    ("MPJoinSynTxBindErr", 0),
    ("MPJoinSynTxConnectErr", 0),
    ("MPJoinSynRx", 0),
    ("MPJoinSynAckRx", 1),
    ("MPJoinAckRx", 1),
    ("MPCapableFallbackACK", 2),
    ("MPCapableFallbackSYNACK", 2),
    ("MPCapableDataFallback", 2),
    ("MD5SigFallback", 2),
    ("DssFallback", 2),
    ("Blackhole", 3),
];

/// Reads them. What a kernel does not count is 0.
pub fn read() -> Sums {
    match super::open("/proc/net/netstat", libc::O_RDONLY) {
        Ok(mut file) => parse(&mut file),
        Err(_) => Sums::default(),
    }
}

/// Of each group there is a line of names and one of numbers, which both begin with its name.
fn parse(file: &mut dyn Read) -> Sums {
    let mut sums = [0u64; 4];
    // Where in their line the counters stand.
    let mut places = [0; COUNTERS.len()];
    let mut bytes = [0; 512];
    let mut word = heapless::Vec::<u8, 32>::new();
    let (mut is_ours, mut at, mut number) = (false, 0u16, 0u64);
    while let Ok(count @ 1..) = file.read(&mut bytes) {
        for byte in bytes.iter().take(count) {
            if *byte > b' ' {
                let _ = word.push(*byte);
                number = number.wrapping_mul(10).wrapping_add((byte & 15).into());
                continue;
            }
            if at == 0 {
                is_ours = word == b"MPTcpExt:";
            } else if is_ours {
                for ((name, sum), place) in COUNTERS.iter().zip(&mut places) {
                    if word == name.as_bytes() {
                        *place = at;
                    } else if *place == at {
                        if let Some(sum) = sums.get_mut(usize::from(*sum)) {
                            *sum = sum.wrapping_add(number);
                        }
                    }
                }
            }
            at = if *byte == b'\n' {
                0
            } else {
                at.wrapping_add(1)
            };
            word.clear();
            number = 0;
        }
    }
    let [tried, joined, fallbacks, blackholes] = sums;
    Sums {
        // Kernels that do not count what they begin.
        tried: tried.max(joined),
        joined,
        fallbacks,
        blackholes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let mut text = "TcpExt: MPJoinSynTx Blackhole\nTcpExt: 99 98\n\
            MPTcpExt: MPCapableSYNRX MPJoinSynTx MPJoinSynTxBindErr MPJoinSynAckRx DssFallback \
            MPJoinSynAckBackupRx Blackhole\nMPTcpExt: 1 7 2 5 4 6 3\nIpExt: MPJoinSynTx\nIpExt: 50\n"
            .as_bytes();
        let expected = Sums {
            tried: 9,
            joined: 5,
            fallbacks: 4,
            blackholes: 3,
        };
        assert_eq!(parse(&mut text), expected);
        assert_eq!(parse(&mut &b""[..]), Sums::default());
        let mut old = &b"MPTcpExt: MPJoinSynAckRx\nMPTcpExt: 5\n"[..];
        assert_eq!(parse(&mut old).tried, 5);
    }
}
