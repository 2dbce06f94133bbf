// SPDX-License-Identifier: BSD-3-Clause
//! inet_diag: the MPTCP connections that exist and their subflows, as `ss -M` and `ss -ti` show
//! them.
//!
//! ```text
//!  octet  request                answer
//!         inet_diag_req_v2       inet_diag_msg
//!    0    family                 family
//!    1    protocol               state
//!    2    extensions wanted      timer, retransmissions
//!    4    states wanted          source port, destination port
//!    8    which socket (40)      source (16), destination (16), interface, cookie
//!   48    token (4), 0 (4)
//!   52                           queues, owner, inode
//!   56    attributes
//!   72                           attributes: of a connection INET_DIAG_INFO with struct mptcp_info,
//!                                of a subflow INET_DIAG_ULP_INFO with MPTCP_SUBFLOW_ATTR_*
//! ```
//!
//! Addresses and ports are in network byte order; an IPv4 address takes the first 4 of 16 octets.
//! The token is at octet 12 of `struct mptcp_info`, in host byte order.
//!
//! Source: `include/uapi/linux/inet_diag.h`, `sock_diag.h`, `mptcp.h`.

use super::IfIndex;
use super::Seq;
use super::attribute::{Attributes, Builder, Full, end, ip, is_mapped};
use super::message::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use super::mptcp::{AddressId, Token};
use super::route::Family;
#[cfg(feature = "quality")]
use crate::time::Duration;
use core::net::{IpAddr, SocketAddr};

/// `SOCK_DIAG_BY_FAMILY`: the kind of request and answer.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `TCPDIAG_GETSOCK`: the same of TCP, as it was before Linux 3.3.
pub const TCPDIAG_GETSOCK: u16 = 18;
/// No request is longer, with its netlink header.
pub const REQUEST_LENGTH: usize = 80;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_MPTCP: u32 = 262;
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_ULP_INFO_MPTCP: u16 = 3;

const SUBFLOW_TOKEN_LOC: u16 = 2;
const SUBFLOW_FLAGS: u16 = 8;
const SUBFLOW_ID_REM: u16 = 9;
const SUBFLOW_ID_LOC: u16 = 10;

/// `MPTCP_SUBFLOW_FLAG_*`: MCAP_LOC, and with it JOIN_LOC, BKUP_REM, BKUP_LOC, FULLY_ESTABLISHED, CONNECTED.
const BEGUN_HERE: u32 = 1 << 1;
const OPENED_HERE: u32 = BEGUN_HERE | 1 << 3;
const BACKUP_THERE: u32 = 1 << 4;
const BACKUP_HERE: u32 = 1 << 5;
const FULLY_ESTABLISHED: u32 = 1 << 6;
const CONNECTED: u32 = 1 << 7;

const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
/// ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING (`net/tcp_states.h`):
/// `MPTCP_EVENT_CLOSED` is yet to come, unless the program has let go of the socket.
const OPEN: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// ESTABLISHED and SYN_SENT: `MPTCP_EVENT_SUB_CLOSED` is yet to come.
const ALIVE: u32 = 1 << 1 | 1 << 2;

/// `idiag_timer` while something that was sent is not acknowledged.
const RETRANSMISSION_TIMER: u8 = 1;

/// Where `idiag_wqueue` stands in `struct inet_diag_msg`.
#[cfg(feature = "quality")]
const WRITE_QUEUE_AT: usize = 60;
/// Where the inode stands in `struct inet_diag_msg`.
const INODE_AT: usize = 68;
/// `MPTCP_INFO_FLAG_FALLBACK`.
const FALLBACK: u32 = 1;

/// Addresses mapped from IPv4 are given as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The addresses are mapped from IPv4.
    pub mapped: bool,
}

/// A connection. Which side opened it is not known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// [`Token::NONE`] until the connection is established.
    pub token: Token,
    /// Those of the initial subflow, also when that has ended.
    pub ends: Ends,
    /// Neither side has begun to close.
    pub established: bool,
    /// The connection is plain TCP: there is no path to manage.
    pub fallback: bool,
}

/// A subflow that has not begun to close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subflow {
    /// Of the connection.
    pub token: Token,
    pub ends: Ends,
    pub local_id: AddressId,
    pub remote_id: AddressId,
    /// The interface that it is bound to, if any.
    pub ifindex: IfIndex,
    /// This host asked for backup priority, and the peer.
    pub backup_here: bool,
    pub backup_there: bool,
    /// This host made it.
    pub opened_here: bool,
    /// This host began the connection with it.
    pub initial: bool,
    pub established: bool,
    /// Timeouts in a row after which something was sent once more and not acknowledged yet.
    pub retransmissions: u8,
    /// The peer has shown that it still speaks MPTCP.
    pub fully_established: bool,
}

/// What a connection or a subflow has carried.
#[cfg(feature = "control")]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Octets sent and not sent again: of a connection from Linux 6.5 on, before it is 0.
    pub sent: u64,
    /// Octets received, likewise.
    pub received: u64,
    /// The smoothed round-trip time, in microseconds; of a subflow alone.
    pub rtt: u32,
    /// Segments sent again; of a subflow alone.
    pub retransmissions: u32,
    /// Milliseconds since data were sent or received; of a connection alone, from Linux 6.10 on.
    pub idle: Option<u32>,
}

/// What TCP knows of a subflow's path (`struct tcp_info` of linux/tcp.h and `idiag_wqueue`).
#[cfg(feature = "quality")]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Quality {
    /// The smoothed round-trip time, in microseconds.
    pub rtt: u32,
    /// Segments sent again since the subflow began.
    pub retransmissions: u32,
    /// Timeouts in a row after which something was sent once more and not acknowledged yet.
    pub timeouts: u8,
    /// Octets that have been sent or wait to be, and are not acknowledged.
    pub unacknowledged: u32,
    /// Since the last acknowledgement, in milliseconds; since the subflow began if there was none.
    pub since_acknowledgement: Duration,
    /// Octets sent and acknowledged.
    pub sent: u64,
    /// Octets received.
    pub received: u64,
}

/// Asks for the open connections of a family; those of a dual-stack socket are IPv6. Kernels
/// before 5.9, or without `mptcp_diag`, answer ENOENT.
///
/// # Errors
/// [`Full`] if the buffer has less than [`REQUEST_LENGTH`] bytes of room.
pub fn dump_connections(out: &mut Builder<'_>, seq: Seq, family: Family) -> Result<(), Full> {
    // The protocol does not fit its octet, and an attribute takes its place.
    request(
        out,
        seq,
        NLM_F_DUMP,
        [family.number(), 0],
        OPEN,
        Token::NONE,
    );
    out.u32(INET_DIAG_REQ_PROTOCOL, IPPROTO_MPTCP);
    out.end()
}

/// Asks for the connection with a token, of either family. A dump passes over one now and then
/// while others end. ENOENT if there is none.
///
/// # Errors
/// As [`dump_connections`].
pub fn get_connection(out: &mut Builder<'_>, seq: Seq, token: Token) -> Result<(), Full> {
    request(out, seq, NLM_F_ACK, [Family::Ipv4.number(), 0], OPEN, token);
    out.u32(INET_DIAG_REQ_PROTOCOL, IPPROTO_MPTCP);
    out.end()
}

/// Asks for the TCP sockets of a family that may be subflows, and what MPTCP says of them, which
/// comes along with TCP's own information. ENOENT without `tcp_diag`.
///
/// # Errors
/// As [`dump_connections`].
pub fn dump_subflows(out: &mut Builder<'_>, seq: Seq, family: Family) -> Result<(), Full> {
    let what = [family.number(), IPPROTO_TCP];
    request(out, seq, NLM_F_DUMP, what, ALIVE, Token::NONE);
    out.end()
}

/// Asks for the TCP sockets of both families that may be subflows, and not for what TCP and MPTCP say
/// of them: that takes the kernel a third of the time.
///
/// # Errors
/// As [`dump_connections`].
pub fn dump_sockets(out: &mut Builder<'_>, seq: Seq) -> Result<(), Full> {
    // `struct inet_diag_req`, the older request, of which a family is not heeded.
    out.message(TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, seq);
    out.raw(&[0; 52]);
    out.raw(&ALIVE.to_ne_bytes());
    out.raw(&[0; 4]);
    out.end()
}

/// A question to inet_diag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Query {
    /// All TCP sockets, of which the kernel does not say which ones are subflows.
    Sockets,
    /// All connections of a family.
    Connections(Family),
    /// The connection with this token, of either family.
    Connection(Token),
    /// All subflows of a family.
    Subflows(Family),
}

impl Query {
    /// Writes the question.
    ///
    /// # Errors
    /// As [`dump_connections`].
    pub fn encode(&self, out: &mut Builder<'_>, seq: Seq) -> Result<(), Full> {
        match *self {
            Self::Sockets => dump_sockets(out, seq),
            Self::Connections(family) => dump_connections(out, seq, family),
            Self::Connection(token) => get_connection(out, seq, token),
            Self::Subflows(family) => dump_subflows(out, seq, family),
        }
    }
}

fn request(
    out: &mut Builder<'_>,
    seq: Seq,
    how: u16,
    [family, protocol]: [u8; 2],
    states: u32,
    token: Token,
) {
    out.message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | how, seq);
    out.raw(&[family, protocol, 1 << (INET_DIAG_INFO - 1), 0]);
    out.raw(&states.to_ne_bytes());
    out.raw(&[0; 40]);
    out.raw(&token.get().to_ne_bytes());
    out.raw(&[0; 4]);
}

/// Reads the payload of an answer to [`dump_connections`] or [`get_connection`]; `None` if it is
/// malformed, without MPTCP information, or of a connection that has ended.
pub fn decode_connection(payload: &[u8]) -> Option<Connection> {
    let (state, ends, _, mut attributes) = socket(payload)?;
    // Without an inode nobody holds the socket: no program has accepted it yet or, once our side
    // has begun to close, its program has closed it, which is when the kernel says CLOSED. It
    // lingers until the peer answers, without another event.
    let inode = payload.get(INODE_AT..)?.first_chunk::<4>()?;
    let nobodys = *inode == [0; 4] && state != ESTABLISHED && state != CLOSE_WAIT;
    if nobodys || OPEN & 1u32.checked_shl(state.into())? == 0 {
        return None;
    }
    let info = attributes.find(|attribute| attribute.kind == INET_DIAG_INFO)?;
    let (&[.., f0, f1, f2, f3, t0, t1, t2, t3], _) = info.value.split_first_chunk::<16>()?;
    Some(Connection {
        token: Token::new(u32::from_ne_bytes([t0, t1, t2, t3])),
        ends,
        established: state == ESTABLISHED,
        fallback: u32::from_ne_bytes([f0, f1, f2, f3]) & FALLBACK != 0,
    })
}

/// Reads the payload of an answer to [`dump_subflows`]; `None` if it is malformed or no subflow.
pub fn decode_subflow(payload: &[u8]) -> Option<Subflow> {
    let (state, ends, ifindex, mut attributes) = socket(payload)?;
    let retransmissions = retransmissions(payload)?;
    let ulp = attributes.find(|attribute| attribute.kind == INET_DIAG_ULP_INFO)?;
    let info = ulp.nested().find(|a| a.kind == INET_ULP_INFO_MPTCP)?;
    let (mut token, mut flags) = (Token::NONE, 0);
    let (mut local_id, mut remote_id) = (AddressId::INITIAL, AddressId::INITIAL);
    for attribute in info.nested() {
        match attribute.kind {
            SUBFLOW_TOKEN_LOC => token = Token::new(attribute.u32()?),
            SUBFLOW_FLAGS => flags = attribute.u32()?,
            SUBFLOW_ID_REM => remote_id = AddressId(attribute.u8()?),
            SUBFLOW_ID_LOC => local_id = AddressId(attribute.u8()?),
            _ => {}
        }
    }
    Some(Subflow {
        token,
        ends,
        local_id,
        remote_id,
        ifindex,
        backup_here: flags & BACKUP_HERE != 0,
        backup_there: flags & BACKUP_THERE != 0,
        opened_here: flags & OPENED_HERE != 0,
        initial: flags & BEGUN_HERE != 0,
        established: state == ESTABLISHED && flags & CONNECTED != 0,
        retransmissions,
        fully_established: flags & FULLY_ESTABLISHED != 0,
    })
}

/// Reads the payload of an answer to [`dump_sockets`] as of a subflow, which it may be; `None` if it is
/// malformed. In place of the token stands the inode, which the subflows of a connection share
/// from Linux 5.9 on; [`Token::NONE`] while no program has the connection.
pub fn decode_socket(payload: &[u8]) -> Option<Subflow> {
    let (state, ends, ifindex, _) = socket(payload)?;
    let inode = payload.get(INODE_AT..)?.first_chunk::<4>()?;
    Some(Subflow {
        token: Token::new(u32::from_ne_bytes(*inode)),
        ends,
        local_id: AddressId::INITIAL,
        remote_id: AddressId::INITIAL,
        ifindex,
        backup_here: false,
        backup_there: false,
        opened_here: false,
        initial: true,
        established: state == ESTABLISHED,
        retransmissions: retransmissions(payload)?,
        fully_established: false,
    })
}

/// Of other timers the kernel counts something else.
fn retransmissions(payload: &[u8]) -> Option<u8> {
    Some(match *payload.first_chunk::<4>()? {
        [_, _, RETRANSMISSION_TIMER, count] => count,
        _ => 0,
    })
}

/// Reads what the socket of an answer has carried: from `struct mptcp_info` of a connection, or from
/// `struct tcp_info` of a subflow. What an older kernel does not say is 0; `None` if there is nothing
/// of the kind.
#[cfg(feature = "control")]
pub fn decode_traffic(payload: &[u8], connection: bool) -> Option<Traffic> {
    let (_, _, _, mut attributes) = socket(payload)?;
    let info = attributes.find(|attribute| attribute.kind == INET_DIAG_INFO)?;
    let mut words = [0u32; 54];
    for (word, octets) in words.iter_mut().zip(info.value.chunks_exact(4)) {
        *word = octets
            .first_chunk()
            .map_or(0, |octets| u32::from_ne_bytes(*octets));
    }
    let long = |at: usize| match words.get(at / 4..) {
        Some([a, b, ..]) if cfg!(target_endian = "big") => u64::from(*a) << 32 | u64::from(*b),
        Some([a, b, ..]) => u64::from(*b) << 32 | u64::from(*a),
        _ => 0,
    };
    let word = |at: usize| words.get(at / 4).copied().unwrap_or(0);
    Some(match connection {
        true => Traffic {
            sent: long(56),
            received: long(64),
            idle: (info.value.len() >= 96).then(|| word(84).min(word(88))),
            ..Traffic::default()
        },
        false => Traffic {
            // tcpi_bytes_sent is younger than tcpi_bytes_acked, and counts what was sent again.
            sent: long(200).saturating_sub(long(208)).max(long(120)),
            received: long(128),
            rtt: word(68),
            retransmissions: word(100),
            idle: None,
        },
    })
}

/// Reads what TCP knows of the path from an answer to [`dump_subflows`]: of which subflow, by token
/// and ends, and the rest. `None` if it is none.
#[cfg(feature = "quality")]
pub fn decode_quality(payload: &[u8]) -> Option<(Subflow, Quality)> {
    let subflow = decode_subflow(payload)?;
    let (_, _, _, mut attributes) = socket(payload)?;
    let info = attributes.find(|attribute| attribute.kind == INET_DIAG_INFO)?;
    let word = |from: &[u8], at: usize| {
        let octets = from.get(at..).and_then(<[u8]>::first_chunk);
        octets.map_or(0, |octets| u32::from_ne_bytes(*octets))
    };
    let long = |at: usize| {
        let octets = info.value.get(at..).and_then(<[u8]>::first_chunk);
        octets.map_or(0, |octets| u64::from_ne_bytes(*octets))
    };
    let quality = Quality {
        rtt: word(info.value, 68),
        retransmissions: word(info.value, 100),
        timeouts: subflow.retransmissions,
        unacknowledged: word(payload, WRITE_QUEUE_AT),
        since_acknowledgement: Duration::from_millis(word(info.value, 56)),
        sent: long(120),
        received: long(128),
    };
    Some((subflow, quality))
}

/// State, ends, interface and attributes of a socket.
fn socket(payload: &[u8]) -> Option<(u8, Ends, IfIndex, Attributes<'_>)> {
    let (&[family, state, _, _, s0, s1, d0, d1], rest) = payload.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (ifindex, rest) = rest.split_first_chunk::<4>()?;
    let family = Family::from_number(family)?;
    let local = address(family, source)?;
    let remote = address(family, destination)?;
    let ends = Ends {
        local: end(&local, u16::from_be_bytes([s0, s1])),
        remote: end(&remote, u16::from_be_bytes([d0, d1])),
        mapped: is_mapped(&local),
    };
    let attributes = Attributes::new(rest.get(28..)?);
    let ifindex = IfIndex(u32::from_ne_bytes(*ifindex));
    Some((state, ends, ifindex, attributes))
}

fn address(family: Family, octets: &[u8; 16]) -> Option<IpAddr> {
    match family {
        Family::Ipv4 => ip(octets.get(..4)?),
        Family::Ipv6 => Some(IpAddr::from(*octets)),
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
        dump_connections(&mut out, Seq(9), Family::Ipv6).unwrap();
        let mut expected = bytes("00000050 0014 0301 00000009 00000000 0a 00 02 00 00000b32");
        expected.extend([0; 48]);
        expected.extend(bytes("0008 0003 00000106"));
        assert_eq!(out.bytes(), expected);
    }

    #[test]
    fn asks_for_one_mptcp_socket() {
        let mut buffer = [0; REQUEST_LENGTH];
        let mut out = Builder::new(&mut buffer);
        get_connection(&mut out, Seq(9), Token::new(0x8c7b_145b)).unwrap();
        let mut expected = bytes("00000050 0014 0005 00000009 00000000 02 00 02 00 00000b32");
        expected.extend([0; 40]);
        expected.extend(bytes("8c7b145b 00000000 0008 0003 00000106"));
        assert_eq!(out.bytes(), expected);
    }

    #[test]
    fn asks_for_tcp_sockets() {
        let mut buffer = [0; REQUEST_LENGTH];
        let mut out = Builder::new(&mut buffer);
        dump_subflows(&mut out, Seq(9), Family::Ipv4).unwrap();
        let mut expected = bytes("00000048 0014 0301 00000009 00000000 02 06 02 00 00000006");
        expected.extend([0; 48]);
        assert_eq!(out.bytes(), expected);

        let mut out = Builder::new(&mut buffer);
        dump_sockets(&mut out, Seq(9)).unwrap();
        let mut expected = bytes("0000004c 0012 0301 00000009 00000000");
        expected.extend([0; 52]);
        expected.extend(bytes("00000006 00000000"));
        assert_eq!(out.bytes(), expected);
    }

    /// Two subflows of a connection, as Linux 6.18 shows them.
    #[test]
    fn reads_a_socket() {
        let answer = |state: u8, inode: u32| {
            let mut answer = bytes(
                "02 01 01 02 =9700 =1388 =0a000102000000000000000000000000 \
                 =0a090001000000000000000000000000 00000007 00000000 00000000 00000000 00000000 \
                 00000000 00000000 00000000",
            );
            answer[1] = state;
            answer[INODE_AT..].copy_from_slice(&inode.to_ne_bytes());
            answer
        };
        let found = decode_socket(&answer(ESTABLISHED, 0x250d)).unwrap();
        assert_eq!(found.token, Token::new(0x250d));
        assert_eq!(found.ends.local, "10.0.1.2:38656".parse().unwrap());
        assert!(found.established && found.retransmissions == 2);
        // One that no program has accepted yet, and one that is being opened.
        let found = decode_socket(&answer(2, 0)).unwrap();
        assert!(found.token == Token::NONE && found.initial && !found.established);
    }

    /// A joined subflow of a dual-stack server, with backup priority, as Linux 6.18 shows it.
    #[test]
    fn reads_a_subflow() {
        let answer = bytes(
            "0a 01 01 02 =1388 =b22d =00000000000000000000ffff0a000102 \
             =00000000000000000000ffff0a000201 00000007 00000000 00000000 00000000 00000000 \
             00000000 00000000 00000000 \
             0005 0008 00 =000000 \
             0044 0013 000a 0001 =6d70746370000000 \
             0034 0003 0008 0001 00000000 0008 0002 8c7b145b 0008 0008 000000d4 \
             0005 0009 03 =000000 0005 000a 04 =000000 0008 0003 00000001",
        );
        let expected = Subflow {
            token: Token::new(0x8c7b_145b),
            ends: Ends {
                local: "10.0.1.2:5000".parse().unwrap(),
                remote: "10.0.2.1:45613".parse().unwrap(),
                mapped: true,
            },
            local_id: AddressId(4),
            remote_id: AddressId(3),
            ifindex: IfIndex(7),
            backup_here: false,
            backup_there: true,
            opened_here: false,
            initial: false,
            established: true,
            retransmissions: 2,
            fully_established: true,
        };
        assert_eq!(decode_subflow(&answer), Some(expected));
        assert_eq!(decode_connection(&answer), None);
    }

    /// As Linux 6.18 shows it, but for the rest of `struct mptcp_info`.
    #[test]
    fn reads_a_connection_until_its_program_closes_it() {
        let answer = |state: u8, inode: u32| {
            let mut answer = bytes(
                "02 05 02 00 =9700 =1388 =7f000001000000000000000000000000 \
                 =7f000001000000000000000000000000 00000000 0000250d 00000000 00000000 \
                 00000000 00000000 00000000 00000000 \
                 0005 0008 03 =000000 0014 0002 =0000000000000000 00000002 0ebc7e10",
            );
            answer[1] = state;
            answer[INODE_AT..INODE_AT + 4].copy_from_slice(&inode.to_ne_bytes());
            answer
        };
        let ends = Ends {
            local: "127.0.0.1:38656".parse().unwrap(),
            remote: "127.0.0.1:5000".parse().unwrap(),
            mapped: false,
        };
        let shown = |state, established| {
            let connection = Connection {
                token: Token::new(0x0ebc_7e10),
                ends,
                established,
                fallback: false,
            };
            assert_eq!(decode_connection(&answer(state, 7)), Some(connection));
            decode_connection(&answer(state, 0)) == Some(connection)
        };
        let [fin_wait1, fin_wait2, close, last_ack, closing] = [4, 5, 7, 9, 11];
        // One that no program has accepted yet.
        assert!(shown(ESTABLISHED, true) && shown(CLOSE_WAIT, false));
        // One that lingers.
        for state in [fin_wait1, fin_wait2, last_ack, closing] {
            assert!(!shown(state, false));
        }
        for state in [close, 200] {
            assert_eq!(decode_connection(&answer(state, 7)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (decode_connection(&bytes), decode_subflow(&bytes));
            let _ = decode_socket(&bytes);
        }
    }
}
