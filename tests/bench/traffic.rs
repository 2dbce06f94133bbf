// SPDX-License-Identifier: BSD-3-Clause
//! Multipath TCP connections from home to outside, many of them, made by this one process.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::yield_now;
use std::time::Instant;

use nix::sys::socket::{Backlog, SockaddrStorage, bind, connect, listen, setsockopt, sockopt};

use crate::lab::{Lab, PATIENCE, netlink_sockets, outside_address};

/// Connections made before the daemon has to have read what it was told of them.
const BURST: usize = 16;

pub struct Traffic {
    listener: TcpListener,
    server: SocketAddr,
    open: VecDeque<(TcpStream, TcpStream)>,
}

impl Traffic {
    pub fn new(lab: &Lab) -> io::Result<Self> {
        let server = SocketAddr::from((outside_address(0), 5000));
        let listener = lab.outside(|| {
            let socket = multipath_socket()?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
            listen(&socket, Backlog::MAXCONN)?;
            Ok(TcpListener::from(socket))
        })?;
        Ok(Self {
            listener,
            server,
            open: VecDeque::new(),
        })
    }

    /// Makes `count` connections, each used for one byte, of which `open` stay open at a time.
    pub fn connections(&mut self, count: usize, open: usize) -> io::Result<()> {
        for made in 0..count {
            // The client ends it with a reset, which leaves nothing to wait for.
            while self.open.len() >= open.max(1) {
                self.open.pop_front();
            }
            let socket = multipath_socket()?;
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&socket, sockopt::Linger, &linger)?;
            connect(socket.as_raw_fd(), &SockaddrStorage::from(self.server))?;
            let mut client = TcpStream::from(socket);
            let (mut server, _) = self.listener.accept()?;
            client.write_all(&[1])?;
            server.read_exact(&mut [0])?;
            self.open.push_back((client, server));
            if made % BURST == 0 {
                drain()?;
            }
        }
        drain()
    }

    /// Closes all that are open.
    pub fn close(&mut self) -> io::Result<()> {
        while !self.open.is_empty() {
            self.open.drain(..BURST.min(self.open.len()));
            drain()?;
        }
        Ok(())
    }
}

/// Waits until everything in netlink sockets has been read: a daemon that loses events would look
/// fast.
fn drain() -> io::Result<()> {
    let start = Instant::now();
    while netlink_sockets()?.0 > 0 {
        if start.elapsed() > PATIENCE {
            return Err(io::Error::other("events are not read"));
        }
        yield_now();
    }
    Ok(())
}

fn multipath_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes plain numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_MPTCP) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An address of `w0` that comes and goes.
pub fn spare_address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a80_0001 + n)
}
