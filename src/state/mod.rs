// SPDX-License-Identifier: BSD-3-Clause
//! The run state: what is ours in the kernel, kept across restarts and crashes.
//!
//! A file of two halves, written in turn, so that one whole half survives a crash at any point:
//!
//! ```text
//! magic "mptcpd\0\1" | checksum u32 | generation u32 | boot id 16 | namespace cookie u64
//! | last id u8 | limits set u8 | count u16 | baseline 2 x u32 | set 2 x u32
//! | count x (address 16 | flags u32 | ifindex u32 | port u16 | id u8 | family u8)
//! ```
//!
//! In host byte order: the file never leaves the machine it was written on.

pub mod file;

use core::net::{IpAddr, Ipv6Addr};

use crate::capacity;
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, Endpoint, EndpointFlags, Limits};

const MAGIC: [u8; 8] = *b"mptcpd\0\x01";
const HEADER: usize = 60;
const RECORD: usize = 28;
/// Size of a half, in bytes.
pub const HALF: usize = 8192;
const _: () = assert!(HEADER + RECORD * capacity::ENDPOINTS <= HALF);

/// What the state belongs to. Another boot or another namespace has other endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    pub boot_id: [u8; 16],
    /// SO_NETNS_COOKIE, or 0 where the kernel has none (before Linux 5.14).
    pub namespace: u64,
}

/// The state but for its endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    pub generation: u32,
    pub last_id: AddressId,
    pub baseline: Limits,
    pub set: Option<Limits>,
}

/// Writes a half; answers how many bytes of it count.
pub fn encode(
    buffer: &mut [u8; HALF],
    identity: &Identity,
    state: &State,
    endpoints: &mut dyn Iterator<Item = Endpoint>,
) -> usize {
    let mut at = HEADER;
    let mut count = 0u16;
    for (endpoint, record) in endpoints
        .take(capacity::ENDPOINTS)
        .zip(buffer[HEADER..].chunks_exact_mut(RECORD))
    {
        put_endpoint(record, &endpoint);
        count += 1;
        at += RECORD;
    }
    let set = state.set.unwrap_or_default();
    let mut field = Fields {
        buffer: &mut buffer[..],
        at: 0,
    };
    field.put(&MAGIC);
    field.put(&[0; 4]);
    field.put(&state.generation.to_ne_bytes());
    field.put(&identity.boot_id);
    field.put(&identity.namespace.to_ne_bytes());
    field.put(&[state.last_id.0, u8::from(state.set.is_some())]);
    field.put(&count.to_ne_bytes());
    field.put(&state.baseline.subflows.to_ne_bytes());
    field.put(&state.baseline.add_addr_accepted.to_ne_bytes());
    field.put(&set.subflows.to_ne_bytes());
    field.put(&set.add_addr_accepted.to_ne_bytes());
    let sum = checksum(buffer.get(12..at).unwrap_or_default());
    buffer[8..12].copy_from_slice(&sum.to_ne_bytes());
    at
}

/// Why a half is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    Empty,
    Damaged,
    /// Of another boot or another namespace.
    Foreign,
}

/// Reads a half, handing each endpoint to `found`.
pub fn decode(
    bytes: &[u8],
    identity: &Identity,
    found: &mut dyn FnMut(Endpoint),
) -> Result<State, Unusable> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(Unusable::Empty);
    }
    read(bytes, identity, found).unwrap_or(Err(Unusable::Damaged))
}

fn read(
    bytes: &[u8],
    identity: &Identity,
    found: &mut dyn FnMut(Endpoint),
) -> Option<Result<State, Unusable>> {
    let mut rest = bytes;
    if take::<8>(&mut rest)? != MAGIC {
        return None;
    }
    let sum = take(&mut rest).map(u32::from_ne_bytes)?;
    let body = rest;
    let generation = take(&mut rest).map(u32::from_ne_bytes)?;
    let boot_id = take::<16>(&mut rest)?;
    let namespace = take(&mut rest).map(u64::from_ne_bytes)?;
    let [last_id, has_set] = take::<2>(&mut rest)?;
    let count = take(&mut rest).map(u16::from_ne_bytes)?;
    let mut limits = || {
        Some(Limits {
            subflows: take(&mut rest).map(u32::from_ne_bytes)?,
            add_addr_accepted: take(&mut rest).map(u32::from_ne_bytes)?,
        })
    };
    let (baseline, set) = (limits()?, limits()?);
    let records = rest.get(..usize::from(count) * RECORD)?;
    let body = body.get(..body.len() - (rest.len() - records.len()))?;
    if checksum(body) != sum {
        return None;
    }
    if (Identity { boot_id, namespace }) != *identity {
        return Some(Err(Unusable::Foreign));
    }
    for record in records.chunks_exact(RECORD) {
        found(get_endpoint(record)?);
    }
    Some(Ok(State {
        generation,
        last_id: AddressId(last_id),
        baseline,
        set: (has_set == 1).then_some(set),
    }))
}

fn put_endpoint(record: &mut [u8], endpoint: &Endpoint) {
    let (address, family) = match endpoint.address {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), 4),
        IpAddr::V6(ip) => (ip.octets(), 6),
    };
    let mut field = Fields {
        buffer: record,
        at: 0,
    };
    field.put(&address);
    field.put(&endpoint.flags.0.to_ne_bytes());
    field.put(&endpoint.ifindex.0.to_ne_bytes());
    field.put(&endpoint.port.to_ne_bytes());
    field.put(&[endpoint.id.0, family]);
}

fn get_endpoint(mut record: &[u8]) -> Option<Endpoint> {
    let address = Ipv6Addr::from(take::<16>(&mut record)?);
    let flags = take(&mut record).map(u32::from_ne_bytes)?;
    let ifindex = take(&mut record).map(u32::from_ne_bytes)?;
    let port = take(&mut record).map(u16::from_ne_bytes)?;
    let [id, family] = take::<2>(&mut record)?;
    let address = match family {
        4 => address.to_ipv4_mapped()?.into(),
        6 => address.into(),
        _ => return None,
    };
    Some(Endpoint {
        address,
        port,
        id: AddressId(id),
        flags: EndpointFlags(flags),
        ifindex: IfIndex(ifindex),
    })
}

/// Writes one field after the other.
struct Fields<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    #[inline(never)]
    fn put(&mut self, bytes: &[u8]) {
        if let Some(field) = self.buffer.get_mut(self.at..self.at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// FNV-1a, 32 bits: finds torn writes and garbage, not malice.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Identity = Identity {
        boot_id: [7; 16],
        namespace: 42,
    };

    fn sample() -> ([u8; HALF], usize, State, [Endpoint; 2]) {
        let endpoint = |address: &str, id| Endpoint {
            address: address.parse().unwrap(),
            port: 5,
            id: AddressId(id),
            flags: EndpointFlags(6),
            ifindex: IfIndex(3),
        };
        let endpoints = [endpoint("192.0.2.1", 1), endpoint("2001:db8::1", 255)];
        let state = State {
            generation: 9,
            last_id: AddressId(255),
            baseline: Limits {
                subflows: 2,
                add_addr_accepted: 1,
            },
            set: Some(Limits {
                subflows: 4,
                add_addr_accepted: 4,
            }),
        };
        let mut half = [0; HALF];
        let len = encode(&mut half, &HERE, &state, &mut endpoints.into_iter());
        (half, len, state, endpoints)
    }

    #[test]
    fn what_is_written_is_read() {
        let (half, len, state, endpoints) = sample();
        let mut found = Vec::new();
        assert_eq!(decode(&half, &HERE, &mut |e| found.push(e)), Ok(state));
        assert_eq!(found, endpoints);
        found.clear();
        assert_eq!(
            decode(&half[..len], &HERE, &mut |e| found.push(e)),
            Ok(state)
        );
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let (half, len, ..) = sample();
        for at in 0..len {
            let mut half = half;
            half[at] ^= 0x10;
            let read = decode(&half, &HERE, &mut |_| panic!("byte {at} went unnoticed"));
            assert_eq!(read, Err(Unusable::Damaged), "byte {at}");
            assert!(decode(&half[..at], &HERE, &mut |_| panic!("cut at {at}")).is_err());
        }
        assert_eq!(decode(&[0; 100], &HERE, &mut |_| ()), Err(Unusable::Empty));
    }

    #[test]
    fn another_namespace_is_foreign() {
        let (half, ..) = sample();
        let there = Identity {
            namespace: 43,
            ..HERE
        };
        assert_eq!(
            decode(&half, &there, &mut |_| panic!()),
            Err(Unusable::Foreign)
        );
    }
}
