//! inet_diag: the MPTCP connections that exist, as `ss -M` shows them.
//!
//! ```text
//!  octet  request                answer
//!         inet_diag_req_v2       inet_diag_msg
//!    0    family                 family
//!    1    protocol               state
//!    2    extensions wanted      -
//!    4    states wanted          source port, destination port
//!    8    which socket (48)      source (16), destination (16), interface, cookie
//!   52                           queues, owner, inode
//!   56    attributes
//!   72                           attributes, with struct mptcp_info in INET_DIAG_INFO
//! ```
//!
//! Addresses and ports are in network byte order; an IPv4 address takes the first 4 of 16 octets.
//! The token is at octet 12 of `struct mptcp_info`, in host byte order.
//!
//! Source: `include/uapi/linux/inet_diag.h`, `sock_diag.h`, `mptcp.h`.

use super::attribute::{Attributes, Builder, Full, ip};
use super::message::{NLM_F_DUMP, NLM_F_REQUEST};
use super::route::Family;
use core::net::{IpAddr, SocketAddr};

/// `SOCK_DIAG_BY_FAMILY`: the kind of request and answer.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The request is no longer than this, with its netlink header.
pub const REQUEST_LENGTH: usize = 80;

const IPPROTO_MPTCP: u32 = 262;
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const INET_DIAG_INFO: u16 = 2;

const ESTABLISHED: u8 = 1;
/// ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING (`net/tcp_states.h`):
/// `MPTCP_EVENT_CLOSED` is yet to come.
const OPEN: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// `MPTCP_INFO_FLAG_FALLBACK`.
const FALLBACK: u32 = 1;

/// A connection. Which side opened it is not known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// 0 until the connection is established.
    pub token: u32,
    /// The ends of the initial subflow; addresses mapped from IPv4 are given as IPv4.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Neither side has begun to close.
    pub established: bool,
    /// The connection is plain TCP: there is no path to manage.
    pub fallback: bool,
}

/// Asks for the open connections of a family; those of a dual-stack socket are IPv6. Kernels
/// before 5.9, or without `mptcp_diag`, answer ENOENT.
///
/// # Errors
/// [`Full`] if the buffer has less than [`REQUEST_LENGTH`] bytes of room.
pub fn dump_connections(out: &mut Builder<'_>, seq: u32, family: Family) -> Result<(), Full> {
    out.message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, seq);
    // The protocol does not fit its octet, and an attribute takes its place.
    out.raw(&[family.number(), 0, 1 << (INET_DIAG_INFO - 1), 0]);
    out.raw(&OPEN.to_ne_bytes());
    out.raw(&[0; 48]);
    out.u32(INET_DIAG_REQ_PROTOCOL, IPPROTO_MPTCP);
    out.end()
}

/// Reads the payload of an answer; `None` if it is malformed or without MPTCP information.
pub fn decode(payload: &[u8]) -> Option<Connection> {
    let (&[family, state, _, _, s0, s1, d0, d1], rest) = payload.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let family = Family::from_number(family)?;
    let mut attributes = Attributes::new(rest.get(32..)?);
    let info = attributes.find(|attribute| attribute.kind == INET_DIAG_INFO)?;
    let (&[.., f0, f1, f2, f3, t0, t1, t2, t3], _) = info.value.split_first_chunk::<16>()?;
    Some(Connection {
        token: u32::from_ne_bytes([t0, t1, t2, t3]),
        local: SocketAddr::new(address(family, source)?, u16::from_be_bytes([s0, s1])),
        remote: SocketAddr::new(address(family, destination)?, u16::from_be_bytes([d0, d1])),
        established: state == ESTABLISHED,
        fallback: u32::from_ne_bytes([f0, f1, f2, f3]) & FALLBACK != 0,
    })
}

fn address(family: Family, octets: &[u8; 16]) -> Option<IpAddr> {
    match family {
        Family::Ipv4 => ip(octets.get(..4)?),
        Family::Ipv6 => Some(IpAddr::from(*octets).to_canonical()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::notation::bytes;
    use proptest::prelude::*;

    #[test]
    fn asks_for_open_mptcp_sockets() {
        let mut buffer = [0; REQUEST_LENGTH];
        let mut out = Builder::new(&mut buffer);
        dump_connections(&mut out, 9, Family::Ipv6).unwrap();
        let mut expected = bytes("00000050 0014 0301 00000009 00000000 0a 00 02 00 00000b32");
        expected.extend([0; 48]);
        expected.extend(bytes("0008 0003 00000106"));
        assert_eq!(out.bytes(), expected);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
