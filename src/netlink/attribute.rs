// SPDX-License-Identifier: BSD-3-Clause
//! Netlink attributes: typed values of any length, which may hold further attributes.
//!
//! ```text
//!  0               2               4 octets
//! +---------------+---+-----------+
//! |    length     |N O|   kind    |  length of header and value, without padding;
//! +---------------+---+-----------+  N: holds attributes, O: network byte order
//! |           value ...           |
//! |               |    padding    |  to a multiple of 4
//! +---------------+---------------+
//! ```
//!
//! Numbers are in host byte order, except IP addresses and what its definition says is not.
//! Source: `include/uapi/linux/netlink.h`, `rtnetlink.h`.

use core::net::{IpAddr, SocketAddr};

use super::Seq;

const NLA_F_NESTED: u16 = 1 << 15;
const NLA_F_NET_BYTEORDER: u16 = 1 << 14;
const HEADER: usize = 4;
/// A message that is not even a header was never begun.
const MESSAGE_HEADER: u32 = 16;

/// One attribute. The getters return `None` where the value does not have their length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribute<'a> {
    /// Without the two flag bits.
    pub kind: u16,
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.value.try_into().ok()
    }

    #[inline(never)]
    pub fn u8(&self) -> Option<u8> {
        self.array().map(u8::from_ne_bytes)
    }

    pub fn u16(&self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    #[inline(never)]
    pub fn u32(&self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    pub fn be16(&self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// An address whose family is told by its length.
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.value)
    }

    /// Text up to the first NUL; `None` if it is not UTF-8.
    pub fn str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.text()).ok()
    }

    /// Bytes up to the first NUL.
    pub fn text(&self) -> &'a [u8] {
        self.value
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
    }

    /// Returns the attributes this one holds.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// An address of 4 or 16 octets in network byte order.
#[inline(never)]
pub(super) fn ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// One end of a connection; an address mapped from IPv4 is given as IPv4.
#[inline(never)]
pub(super) fn end(address: &IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

pub(super) fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// The attributes of a message or of an attribute; ends at the first that is not whole.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn split(&self) -> Option<(Attribute<'a>, &'a [u8])> {
        let (&[l0, l1, k0, k1], _) = self.rest.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let attribute = Attribute {
            kind: u16::from_ne_bytes([k0, k1]) & !(NLA_F_NESTED | NLA_F_NET_BYTEORDER),
            value: self.rest.get(HEADER..length)?,
        };
        let next = length.next_multiple_of(4);
        Some((attribute, self.rest.get(next..).unwrap_or_default()))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let parsed = self.split();
        self.rest = parsed.map(|(_, rest)| rest).unwrap_or_default();
        parsed.map(|(attribute, _)| attribute)
    }
}

/// A message did not fit the buffer, and none of it is in there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("netlink message does not fit its buffer")
    }
}

impl core::error::Error for Full {}

/// Where a nest began.
#[must_use = "a nest that is not closed has no length"]
pub struct Nest(usize);

/// Writes messages, one after the other, into the caller's buffer.
///
/// What does not fit is remembered and told once, by [`Builder::end`].
///
/// ```
/// use mptcpd::internal::netlink::attribute::Builder;
/// use mptcpd::internal::netlink::Seq;
///
/// let mut buffer = [0; 64];
/// let mut builder = Builder::new(&mut buffer);
/// builder.message(16, 1, Seq(7));
/// builder.u32(3, 5);
/// builder.end().unwrap();
/// assert_eq!(builder.bytes().len(), 24);
/// ```
pub struct Builder<'a> {
    buffer: &'a mut [u8],
    length: usize,
    /// Where the open message begins, or the next one would.
    start: usize,
    full: bool,
}

impl<'a> Builder<'a> {
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            start: 0,
            full: false,
        }
    }

    /// Returns the whole messages written so far.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.start).unwrap_or_default()
    }

    /// Begins a message. One left open without [`Builder::end`] is discarded.
    pub fn message(&mut self, kind: u16, flags: u16, seq: Seq) {
        self.length = self.start;
        self.full = false;
        self.raw(&[0; 4]);
        self.raw(&kind.to_ne_bytes());
        self.raw(&flags.to_ne_bytes());
        self.raw(&seq.0.to_ne_bytes());
        self.raw(&[0; 4]);
    }

    /// Ends the message: it is now part of [`Builder::bytes`].
    ///
    /// # Errors
    /// [`Full`] if it did not fit; messages before it stay.
    pub fn end(&mut self) -> Result<(), Full> {
        let length = self.length - self.start;
        self.pad();
        match u32::try_from(length) {
            Ok(length) if !self.full && length >= MESSAGE_HEADER => {
                self.patch(self.start, &length.to_ne_bytes());
                self.start = self.length;
                Ok(())
            }
            _ => {
                self.length = self.start;
                Err(Full)
            }
        }
    }

    /// Appends bytes as they are: a family's own header.
    pub fn raw(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.buffer.get_mut(self.length..end) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.full = true,
        }
    }

    /// Appends an attribute, padded.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.parts(kind, value, &[]);
    }

    /// Appends an attribute whose value is in two parts.
    pub fn parts(&mut self, kind: u16, first: &[u8], second: &[u8]) {
        let nest = self.header(kind);
        self.raw(first);
        self.raw(second);
        self.close(nest);
    }

    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attribute(kind, &[value]);
    }

    pub fn u16(&mut self, kind: u16, value: u16) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// The 4 or 16 octets of an address.
    pub fn ip(&mut self, kind: u16, address: &IpAddr) {
        match address {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    /// Text with its terminating NUL.
    pub fn str(&mut self, kind: u16, text: &str) {
        self.parts(kind, text.as_bytes(), &[0]);
    }

    /// Begins an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16) -> Nest {
        self.header(kind | NLA_F_NESTED)
    }

    /// Ends what [`Builder::nest`] began.
    pub fn close(&mut self, nest: Nest) {
        match u16::try_from(self.length.saturating_sub(nest.0)) {
            Ok(length) if !self.full => self.patch(nest.0, &length.to_ne_bytes()),
            _ => self.full = true,
        }
        self.pad();
    }

    /// Every buffer position here is relative to a start that is a multiple of 4.
    fn pad(&mut self) {
        let padding = self.length.next_multiple_of(4) - self.length;
        self.raw([0; 3].get(..padding).unwrap_or_default());
    }

    fn header(&mut self, kind: u16) -> Nest {
        let nest = Nest(self.length);
        self.raw(&[0; 2]);
        self.raw(&kind.to_ne_bytes());
        nest
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(at..at.saturating_add(bytes.len())) {
            room.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::Messages;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    fn payload(write: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        let mut buffer = [0xff; 256];
        let mut builder = Builder::new(&mut buffer);
        builder.message(16, 0, Seq(0));
        write(&mut builder);
        builder.end().unwrap();
        builder.bytes()[16..].to_vec()
    }

    #[test]
    fn values_come_back_with_the_type_they_were_given() {
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let bytes = payload(|out| {
            out.u8(1, 200);
            out.u16(2, 0x1234);
            out.u32(3, 0x1234_5678);
            out.ip(4, &Ipv4Addr::LOCALHOST.into());
            out.ip(5, &v6.into());
            out.str(6, "eth0");
            out.attribute(7, &[0x12, 0x34]);
            let nest = out.nest(8);
            out.u8(1, 1);
            out.close(nest);
        });
        let read: Vec<_> = Attributes::new(&bytes).collect();
        let kinds: Vec<_> = read.iter().map(|attribute| attribute.kind).collect();
        assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(read[0].u8(), Some(200));
        assert_eq!(read[0].u16(), None);
        assert_eq!(read[1].u16(), Some(0x1234));
        assert_eq!(read[1].u8(), None);
        assert_eq!(read[2].u32(), Some(0x1234_5678));
        assert_eq!(read[3].ip(), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(read[4].ip(), Some(v6.into()));
        assert_eq!(read[5].str(), Some("eth0"));
        assert_eq!(read[6].be16(), Some(0x1234));
        assert_eq!(read[6].ip(), None);
        assert_eq!(
            read[7].nested().next().and_then(|inner| inner.u8()),
            Some(1)
        );
    }

    #[test]
    fn padding_is_written_and_not_counted() {
        let bytes = payload(|out| out.u8(2, 7));
        let mut expected = Vec::from(5u16.to_ne_bytes());
        expected.extend(2u16.to_ne_bytes());
        expected.extend([7, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_length_that_lies_ends_the_iteration() {
        for length in [0u16, 3, 9, u16::MAX] {
            let mut bytes = payload(|out| out.u32(1, 1));
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Attributes::new(&bytes).count(), 0, "length {length}");
        }
        // The last attribute may lack its padding.
        let bytes = payload(|out| out.u8(1, 1));
        assert_eq!(Attributes::new(&bytes[..5]).next().unwrap().u8(), Some(1));
    }

    #[test]
    fn what_does_not_fit_leaves_the_messages_before_it() {
        let mut buffer = [0; 43];
        let mut builder = Builder::new(&mut buffer);
        builder.message(1, 0, Seq(1));
        builder.u32(1, 1);
        assert_eq!(builder.end(), Ok(()));
        builder.message(2, 0, Seq(2));
        builder.u32(1, 1);
        assert_eq!(builder.end(), Err(Full));
        builder.message(3, 0, Seq(3));
        assert_eq!(builder.end(), Ok(()));
        let kinds: Vec<_> = Messages::new(builder.bytes())
            .map(|m| m.unwrap().kind)
            .collect();
        assert_eq!(kinds, [1, 3]);
        assert_eq!(builder.end(), Err(Full), "no message was begun");
    }

    #[test]
    fn an_attribute_longer_than_its_length_field_does_not_fit() {
        let mut buffer = vec![0; 1 << 17];
        let mut builder = Builder::new(&mut buffer);
        builder.message(1, 0, Seq(1));
        builder.attribute(1, &[0; 65_532]);
        assert_eq!(builder.end(), Err(Full));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            for attribute in Attributes::new(&bytes) {
                let _ = (attribute.u8(), attribute.u16(), attribute.u32(), attribute.be16());
                let _ = (attribute.str(), attribute.ip(), attribute.nested().count());
            }
        }

        #[test]
        fn no_buffer_is_too_small_to_fail_well(
            size in 0usize..64,
            attributes in prop::collection::vec((0u16..0x4000, any::<Vec<u8>>()), 0..4),
        ) {
            let mut buffer = vec![0; size];
            let mut builder = Builder::new(&mut buffer);
            builder.message(1, 0, Seq(1));
            for (kind, value) in &attributes {
                builder.attribute(*kind, value);
            }
            let bytes: usize = attributes.iter().map(|(_, v)| 4 + v.len().next_multiple_of(4)).sum();
            if builder.end().is_ok() {
                prop_assert_eq!(builder.bytes().len(), 16 + bytes);
                let read = Attributes::new(&builder.bytes()[16..]).map(|a| (a.kind, a.value.to_vec()));
                prop_assert_eq!(read.collect::<Vec<_>>(), attributes);
            } else {
                prop_assert!(16 + bytes > size);
                prop_assert!(builder.bytes().is_empty());
            }
        }
    }
}
