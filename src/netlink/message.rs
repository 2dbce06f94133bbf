// SPDX-License-Identifier: BSD-3-Clause
//! Netlink messages: a header, a payload, the next message on a multiple of 4 bytes.
//!
//! ```text
//!  0               2               4 octets
//! +-------------------------------+
//! |            length             |  of header and payload, without padding
//! +---------------+---------------+
//! |     kind      |     flags     |  NLMSG_*, RTM_* or a family id; NLM_F_*
//! +---------------+---------------+
//! |             seq               |  an answer repeats that of its request
//! +-------------------------------+
//! |             port              |  whose request is answered; 0 in events
//! +-------------------------------+
//! |          payload ...          |
//! ```
//!
//! Every number is in host byte order. Source: `include/uapi/linux/netlink.h`.

use libc::EINVAL;

use super::Seq;
use super::attribute::Attributes;

/// Bytes of `struct nlmsghdr`.
pub const HEADER_LENGTH: usize = 16;

/// Message kinds every netlink family shares.
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;

/// Flags of every message.
pub const NLM_F_REQUEST: u16 = 0x1;
pub const NLM_F_MULTI: u16 = 0x2;
pub const NLM_F_ACK: u16 = 0x4;
/// The dump may have missed a change that happened meanwhile: do it again.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// Flags of requests that read.
pub const NLM_F_DUMP: u16 = 0x300;
/// Flags of requests that write.
pub const NLM_F_REPLACE: u16 = 0x100;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;
/// Flags of an acknowledgement: the request is not repeated in full; attributes follow it.
pub const NLM_F_CAPPED: u16 = 0x100;
pub const NLM_F_ACK_TLVS: u16 = 0x200;

const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message; the payload borrows from the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: Seq,
    pub payload: &'a [u8],
}

/// The rest of a datagram is not a netlink message, or not a whole one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// The result of a request or the end of a dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// Positive `errno`; 0 is success.
    pub errno: i32,
    /// Of the request.
    pub seq: Seq,
    /// The kernel's own words (NETLINK_EXT_ACK), or empty.
    pub message: &'a str,
}

impl<'a> Message<'a> {
    /// Returns what the message acknowledges; `None` unless it is NLMSG_ERROR or NLMSG_DONE.
    ///
    /// NLMSG_ERROR holds the errno, the header of the request, the rest of the request unless
    /// NLM_F_CAPPED, and attributes if NLM_F_ACK_TLVS. NLMSG_DONE holds the errno of the dump
    /// (old kernels: nothing) and directly the attributes.
    pub fn ack(&self) -> Option<Ack<'a>> {
        let is_error = match self.kind {
            NLMSG_ERROR => true,
            NLMSG_DONE => false,
            _ => return None,
        };
        let (errno, mut rest) = match self.payload.split_first_chunk() {
            Some((errno, rest)) => (i32::from_ne_bytes(*errno).saturating_abs(), rest),
            None if is_error => (EINVAL, self.payload),
            None => (0, self.payload),
        };
        if is_error {
            let request = match rest.first_chunk() {
                Some(length) if self.flags & NLM_F_CAPPED == 0 => {
                    align(u32::from_ne_bytes(*length))
                }
                _ => HEADER_LENGTH,
            };
            rest = rest.get(request..).unwrap_or_default();
        }
        let message = match self.flags & NLM_F_ACK_TLVS {
            0 => None,
            _ => Attributes::new(rest).find(|attribute| attribute.kind == NLMSGERR_ATTR_MSG),
        };
        Some(Ack {
            errno,
            seq: self.seq,
            message: message.and_then(|text| text.str()).unwrap_or_default(),
        })
    }

    /// Returns whether this part of a dump says that the dump is not consistent.
    pub fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }
}

/// The messages of one datagram. What cannot be read is reported once, and ends the iteration.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = parse_message(self.rest);
        self.rest = parsed.map(|(_, rest)| rest).unwrap_or_default();
        Some(parsed.map(|(message, _)| message).ok_or(Malformed))
    }
}

fn parse_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let (&[l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..], _) =
        bytes.split_first_chunk::<HEADER_LENGTH>()?;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]);
    let message = Message {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        seq: Seq(u32::from_ne_bytes([s0, s1, s2, s3])),
        payload: bytes.get(HEADER_LENGTH..length as usize)?,
    };
    // The last message need not be padded.
    Some((message, bytes.get(align(length)..).unwrap_or_default()))
}

/// Returns the next multiple of 4.
const fn align(length: u32) -> usize {
    (length as usize).saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute::Builder;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// A message header and payload, padded, in host byte order.
    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from((16 + payload.len() as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(99u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn only(bytes: &[u8]) -> Message<'_> {
        let mut messages = Messages::new(bytes);
        let first = messages.next().unwrap().unwrap();
        assert_eq!(messages.next(), None);
        first
    }

    /// Returns the payload of NLMSG_ERROR: errno, the request (16 bytes of header and `request`),
    /// `tlvs`.
    fn error(errno: i32, request: &[u8], tlvs: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from(errno.to_ne_bytes());
        bytes.extend(message(25, 5, request));
        bytes.extend(tlvs);
        bytes
    }

    fn text(words: &str) -> Vec<u8> {
        let mut bytes = Vec::from((4 + words.len() as u16).to_ne_bytes());
        bytes.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        bytes.extend(words.as_bytes());
        bytes
    }

    #[test]
    fn several_messages_then_a_torn_one() {
        let mut bytes = message(16, 2, &[1, 2, 3]);
        bytes.extend(message(3, 2, &[0; 4]));
        bytes.extend([1, 2, 3, 4, 5]);
        let mut messages = Messages::new(&bytes);
        let first = messages.next().unwrap().unwrap();
        assert_eq!((first.kind, first.flags, first.seq), (16, 2, Seq(7)));
        assert_eq!(first.payload, [1, 2, 3]);
        assert_eq!(messages.next().unwrap().unwrap().kind, NLMSG_DONE);
        assert_eq!(messages.next(), Some(Err(Malformed)));
        assert_eq!(messages.next(), None);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for length in [0u32, 15, 21, u32::MAX] {
            let mut bytes = message(16, 0, &[0; 4]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let mut messages = Messages::new(&bytes);
            assert_eq!(messages.next(), Some(Err(Malformed)));
            assert_eq!(messages.next(), None);
        }
    }

    #[test]
    fn plain_acknowledgement() {
        let bytes = message(NLMSG_ERROR, NLM_F_CAPPED, &error(0, &[], &[]));
        let ack = only(&bytes).ack().unwrap();
        assert_eq!((ack.errno, ack.seq, ack.message), (0, Seq(7), ""));
        assert_eq!(only(&message(16, 0, &[0; 4])).ack(), None);
    }

    #[test]
    fn extended_acknowledgement_with_and_without_the_request() {
        let words = text("invalid token\0");
        let full = message(NLMSG_ERROR, NLM_F_ACK_TLVS, &error(-22, &[9; 8], &words));
        let capped = error(-22, &[], &words);
        let capped = message(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, &capped);
        for bytes in [full, capped] {
            let ack = only(&bytes).ack().unwrap();
            assert_eq!((ack.errno, ack.message), (22, "invalid token"));
        }
        // Without the flag, what follows the request is no attribute.
        let bytes = message(NLMSG_ERROR, NLM_F_CAPPED, &error(-22, &[], &words));
        assert_eq!(only(&bytes).ack().unwrap().message, "");
    }

    #[test]
    fn a_capped_request_keeps_its_length_but_not_its_payload() {
        let mut payload = error(-1, &[], &text("no\0"));
        payload[4..8].copy_from_slice(&200u32.to_ne_bytes());
        let bytes = message(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, &payload);
        assert_eq!(only(&bytes).ack().unwrap().message, "no");
    }

    #[test]
    fn end_of_a_dump() {
        let bytes = message(NLMSG_DONE, NLM_F_MULTI, &[]);
        assert_eq!(only(&bytes).ack().unwrap().errno, 0);
        let mut payload = Vec::from((-105i32).to_ne_bytes());
        payload.extend(text("too slow\0"));
        let flags = NLM_F_MULTI | NLM_F_ACK_TLVS | NLM_F_DUMP_INTR;
        let bytes = message(NLMSG_DONE, flags, &payload);
        let ack = only(&bytes).ack().unwrap();
        assert_eq!((ack.errno, ack.message), (105, "too slow"));
        assert!(only(&bytes).is_interrupted());
    }

    #[test]
    fn an_error_without_errno_is_no_success() {
        let bytes = message(NLMSG_ERROR, 0, &[0, 0]);
        assert_eq!(only(&bytes).ack().unwrap().errno, EINVAL);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>(), kind in 0u16..5, flags: u16) {
            let before = bytes.len();
            prop_assert!(Messages::new(&bytes).count() <= before);
            let message = Message { kind, flags, seq: Seq(0), payload: &bytes };
            let _ = message.ack();
        }

        #[test]
        fn what_is_built_is_read(kinds in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u32>(), any::<[u8; 5]>()), 1..6)) {
            let mut buffer = [0; 256];
            let mut builder = Builder::new(&mut buffer);
            for (kind, flags, seq, payload) in &kinds {
                builder.message(*kind, *flags, Seq(*seq));
                builder.raw(payload);
                builder.end().unwrap();
            }
            let read: Vec<_> = Messages::new(builder.bytes()).map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), kinds.len());
            for (read, (kind, flags, seq, payload)) in read.iter().zip(&kinds) {
                prop_assert_eq!((read.kind, read.flags, read.seq), (*kind, *flags, Seq(*seq)));
                prop_assert_eq!(&read.payload[..5], &payload[..]);
            }
        }
    }
}
