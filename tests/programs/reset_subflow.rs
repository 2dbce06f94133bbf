// SPDX-License-Identifier: BSD-3-Clause
//! Ends a subflow with a reset that gives a reason (MP_TCPRST, RFC 8684, 3.6), as no program can
//! ask the kernel to.
//!
//! ```text
//! reset_subflow LOCAL:PORT REMOTE:PORT FLAGS REASON
//! ```
//!
//! Prints `listening` and waits for a segment from REMOTE, which it answers in LOCAL's name.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
    socket,
};

const RST_AND_ACK: u8 = 0x14;
/// The kind of all MPTCP options, and the subtype of this one.
const MPTCP: u8 = 30;
const MP_TCPRST: u8 = 8 << 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reset_subflow: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    let [local, remote, flags, reason] = arguments else {
        return Err(io::Error::other(
            "usage: LOCAL:PORT REMOTE:PORT FLAGS REASON",
        ));
    };
    let local: SocketAddrV4 = local.parse().map_err(io::Error::other)?;
    let remote: SocketAddrV4 = remote.parse().map_err(io::Error::other)?;
    let flags: u8 = flags.parse().map_err(io::Error::other)?;
    let reason: u8 = reason.parse().map_err(io::Error::other)?;
    let kind = SockType::Raw;
    let socket = socket(
        AddressFamily::Inet,
        kind,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Tcp,
    )?;
    bind(
        socket.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(*local.ip(), 0)),
    )?;
    println!("listening");
    let ports = [remote.port().to_be_bytes(), local.port().to_be_bytes()].concat();
    let mut packet = [0; 2048];
    let (sequence, acknowledged) = loop {
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty())?;
        let header = usize::from(packet[0] & 15) * 4;
        let segment = packet.get(header..length).unwrap_or_default();
        if packet[12..16] == remote.ip().octets() && segment.starts_with(&ports) {
            break (segment[4..8].to_vec(), segment[8..12].to_vec());
        }
    };
    let mut reset = [
        local.port().to_be_bytes().as_slice(),
        &remote.port().to_be_bytes(),
        &acknowledged,
        &sequence,
        &[6 << 4, RST_AND_ACK, 0, 0, 0, 0, 0, 0],
        &[MPTCP, 4, MP_TCPRST | flags, reason],
    ]
    .concat();
    let pseudo = [local.ip().octets(), remote.ip().octets(), [0, 6, 0, 24]].concat();
    let sum = checksum([pseudo.as_slice(), &reset].concat().as_slice());
    reset[16..18].copy_from_slice(&sum.to_be_bytes());
    let to = SockaddrIn::from(SocketAddrV4::new(*remote.ip(), 0));
    sendto(socket.as_raw_fd(), &reset, &to, MsgFlags::empty())?;
    Ok(())
}

/// Of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}
