// SPDX-License-Identifier: BSD-3-Clause
//! One end of a Multipath TCP transfer whose every byte is checked.
//!
//! ```text
//! mptcp_peer server ADDR:PORT BYTES          takes one connection: `received N checksum X`
//! mptcp_peer client ADDR:PORT BYTES [RATE]   sends BYTES (at RATE bytes/s): `sent N checksum X`
//! mptcp_peer accept ADDR:PORT N              takes N connections: `holding N`
//! mptcp_peer hold ADDR:PORT N                opens N connections: `holding N`
//! mptcp_peer ignore ADDR:PORT 0              takes none of the connections that come
//! mptcp_peer wait ADDR:PORT N                opens N, answered or not: `holding N`
//! mptcp_peer slam ADDR:PORT N                opens N, each closed before its answer is read
//!                                            (MP_FASTCLOSE): `slammed N`
//! mptcp_peer serve ADDR:PORT N               takes N connections, one after the other: `served N`
//! mptcp_peer churn ADDR:PORT N               opens N, one after the other: `churned N`
//! mptcp_peer knock ADDR:PORT N               opens N, each must be closed: `knocked N`
//! mptcp_peer knock-tcp ADDR:PORT N           the same with TCP alone
//! ```
//!
//! `server`, `accept`, `ignore` and `serve` print `listening` first. `accept`, `hold`, `ignore` and
//! `wait` keep what they have until standard input ends. Each connection carries one byte to and
//! fro first, since only data establishes it on both sides; those of `wait` only to. Whatever is
//! not Multipath TCP to the very end is an error, not a fallback.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, SockaddrStorage, bind, connect, listen, setsockopt, sockopt};

const SOL_MPTCP: libc::c_int = 284;
const MPTCP_INFO: libc::c_int = 1;
/// Where `mptcpi_flags` stands in `struct mptcp_info`, in bytes.
const FLAGS_AT: usize = 8;
const FLAG_FALLBACK: u32 = 1;

/// How long a connection may stay open that ought to be closed.
const PATIENCE: Duration = Duration::from_secs(15);

const CHUNK: usize = 16 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mptcp_peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<()> {
    let (mode, address, number, rate) = match words {
        [mode, address, number] => (*mode, *address, *number, "0"),
        ["client", address, number, rate] => ("client", *address, *number, *rate),
        _ => {
            return Err(io::Error::other(
                "usage: server|client|accept|hold ADDR:PORT NUMBER",
            ));
        }
    };
    let address = address.parse().map_err(io::Error::other)?;
    let number: u64 = number.parse().map_err(io::Error::other)?;
    let rate = rate.parse().map_err(io::Error::other)?;
    match mode {
        "server" => receive(accept(&listener(address)?)?, number),
        "client" => send(dial(address)?, number, rate),
        "accept" => {
            let listener = listener(address)?;
            hold(number, || answer(&listener))
        }
        "hold" => hold(number, || call(address)),
        "ignore" => {
            let _listener = listener(address)?;
            until_released()
        }
        "wait" => hold(number, || speak(address)),
        "slam" => {
            for _ in 0..number {
                speak(address)?.peek(&mut [0])?;
            }
            println!("slammed {number}");
            Ok(())
        }
        "serve" => {
            let listener = listener(address)?;
            for _ in 0..number {
                answer(&listener)?.read_to_end(&mut Vec::new())?;
            }
            println!("served {number}");
            Ok(())
        }
        "churn" => {
            for _ in 0..number {
                call(address)?;
            }
            println!("churned {number}");
            Ok(())
        }
        "knock" => knock(number, || dial(address)),
        "knock-tcp" => knock(number, || TcpStream::connect(address)),
        _ => Err(io::Error::other("unknown mode")),
    }
}

fn receive(mut stream: TcpStream, bytes: u64) -> io::Result<()> {
    let (mut sum, mut total, mut chunk) = (Checksum::new(), 0, vec![0; CHUNK]);
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        sum.add(&chunk[..length]);
    }
    demand_multipath(&stream)?;
    println!("received {total} checksum {:08x}", sum.0);
    if total == bytes {
        Ok(())
    } else {
        Err(io::Error::other("the transfer is incomplete"))
    }
}

fn send(mut stream: TcpStream, bytes: u64, rate: u64) -> io::Result<()> {
    let (mut sum, mut pattern, mut chunk) = (Checksum::new(), 0x2545_f491, vec![0; CHUNK]);
    let (start, mut total) = (Instant::now(), 0);
    while total < bytes {
        for word in chunk.chunks_exact_mut(4) {
            pattern = xorshift(pattern);
            word.copy_from_slice(&pattern.to_le_bytes());
        }
        let length = CHUNK.min(usize::try_from(bytes - total).unwrap_or(CHUNK));
        stream.write_all(&chunk[..length])?;
        sum.add(&chunk[..length]);
        total += length as u64;
        if let Some(due) = (total * 1000).checked_div(rate) {
            std::thread::sleep(Duration::from_millis(due).saturating_sub(start.elapsed()));
        }
    }
    // The other side closes once it has read everything.
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_to_end(&mut chunk)?;
    demand_multipath(&stream)?;
    println!("sent {total} checksum {:08x}", sum.0);
    Ok(())
}

fn answer(listener: &TcpListener) -> io::Result<TcpStream> {
    let mut stream = accept(listener)?;
    stream.read_exact(&mut [0])?;
    stream.write_all(&[0])?;
    Ok(stream)
}

fn speak(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = dial(address)?;
    stream.write_all(&[0])?;
    Ok(stream)
}

fn call(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = speak(address)?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn hold(number: u64, mut next: impl FnMut() -> io::Result<TcpStream>) -> io::Result<()> {
    let held = (0..number)
        .map(|_| next())
        .collect::<io::Result<Vec<_>>>()?;
    println!("holding {}", held.len());
    until_released()
}

fn until_released() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Whoever answers wants nothing of us: that is the end of the connection, or a reset.
fn knock(number: u64, mut next: impl FnMut() -> io::Result<TcpStream>) -> io::Result<()> {
    for _ in 0..number {
        let mut stream = next()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        match stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Ok(_) => return Err(io::Error::other("somebody speaks")),
            Err(error) => return Err(error),
        }
    }
    println!("knocked {number}");
    Ok(())
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = multipath_socket(address)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::MAXCONN)?;
    println!("listening");
    Ok(TcpListener::from(socket))
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    demand_multipath(&stream)?;
    Ok(stream)
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = multipath_socket(address)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    let stream = TcpStream::from(socket);
    demand_multipath(&stream)?;
    Ok(stream)
}

fn multipath_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, kind, libc::IPPROTO_MPTCP) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A connection that has fallen back to TCP either has no MPTCP_INFO or says so in it.
fn demand_multipath(stream: &TcpStream) -> io::Result<()> {
    let mut info = [0; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: `info` is writable for the `length` bytes announced.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            SOL_MPTCP,
            MPTCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    let flags = u32::from_ne_bytes([0, 1, 2, 3].map(|at| info[FLAGS_AT + at]));
    if result != 0 || flags & FLAG_FALLBACK != 0 {
        return Err(io::Error::other("the connection fell back to TCP"));
    }
    Ok(())
}

fn xorshift(mut word: u32) -> u32 {
    word ^= word << 13;
    word ^= word >> 17;
    word ^ word << 5
}

/// FNV-1a, 32 bits.
struct Checksum(u32);

impl Checksum {
    const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| {
            (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    }
}
