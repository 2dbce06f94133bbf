// SPDX-License-Identifier: BSD-3-Clause
//! Counters of interfaces (RTM_GETSTATS, Linux 4.7).
//!
//! Source: `include/uapi/linux/if_link.h`: `struct if_stats_msg`, `struct rtnl_link_stats64`.

use super::uapi::{IFLA_STATS_LINK_64, RTM_GETSTATS, RTM_NEWSTATS};
use crate::netlink::attribute::{Attributes, Builder, Full};
use crate::netlink::message::NLM_F_REQUEST;
use crate::netlink::{IfIndex, Seq};

/// What an interface has carried since it is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Octets received.
    pub received_bytes: u64,
}

/// Asks for the counters of an interface.
///
/// # Errors
/// Fails with [`Full`] if the buffer has no room for it.
pub fn get_counters(out: &mut Builder<'_>, seq: Seq, index: IfIndex) -> Result<(), Full> {
    out.message(RTM_GETSTATS, NLM_F_REQUEST, seq);
    out.raw(&[0; 4]);
    out.raw(&index.0.to_ne_bytes());
    out.raw(&(1u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    out.end()
}

/// Reads the counters in an answer.
pub fn decode_counters(kind: u16, payload: &[u8]) -> Option<Counters> {
    let (_, rest) = payload.split_first_chunk::<12>()?;
    let mut attributes = Attributes::new(rest);
    let stats = attributes.find(|attribute| attribute.kind == IFLA_STATS_LINK_64)?;
    let number = |at: usize| {
        let octets = stats.value.get(at * 8..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*octets))
    };
    (kind == RTM_NEWSTATS).then_some(Counters {
        received: number(0)?,
        sent: number(1)?,
        received_bytes: number(2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::Messages;

    #[test]
    fn counters_are_asked_for_and_read() {
        let mut bytes = [0; 64];
        let mut out = Builder::new(&mut bytes);
        get_counters(&mut out, Seq(7), IfIndex(3)).unwrap();
        let message = Messages::new(out.bytes()).next().unwrap().unwrap();
        assert_eq!(message.kind, 94);
        assert_eq!(
            message.payload,
            [[0; 4], 3u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat()
        );

        let mut answer = [0u8; 12].to_vec();
        answer.extend(28u16.to_ne_bytes());
        answer.extend(1u16.to_ne_bytes());
        for number in [5u64, 6, 7] {
            answer.extend(number.to_ne_bytes());
        }
        let expected = Counters {
            received: 5,
            sent: 6,
            received_bytes: 7,
        };
        assert_eq!(decode_counters(92, &answer), Some(expected));
        assert_eq!(decode_counters(16, &answer), None);
        for length in 0..answer.len() {
            assert_eq!(decode_counters(92, &answer[..length]), None, "{length}");
        }
    }
}
