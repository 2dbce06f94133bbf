// SPDX-License-Identifier: BSD-3-Clause
//! Netlink sockets.

use core::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{self, MsgFlags, NetlinkAddr};

use super::errno::{Errno, Result};
use super::set_option;

const SOL_NETLINK: i32 = 270;
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_DROP_MEMBERSHIP: i32 = 2;
const NETLINK_EXT_ACK: i32 = 11;
const NETLINK_GET_STRICT_CHK: i32 = 12;

/// Messages read with one system call.
const BATCH: usize = 4;
/// Room for each. Events are smaller; a larger one is noticed and counts as lost.
const ROOM: usize = 4096;

/// Something read from a netlink socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received<'a> {
    Datagram(&'a [u8]),
    /// The datagram did not fit.
    Truncated,
}

pub struct Socket(OwnedFd);

impl Socket {
    /// `protocol` is NETLINK_ROUTE, NETLINK_GENERIC or NETLINK_SOCK_DIAG of linux/netlink.h.
    pub fn open(protocol: i32) -> Result<Self> {
        let fd = super::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
        // The kernel's own words in refusals; it does without before Linux 4.12.
        let _ = set_option(&fd, SOL_NETLINK, NETLINK_EXT_ACK, &1i32);
        let any_port_id = NetlinkAddr::new(0, 0);
        socket::bind(fd.as_raw_fd(), &any_port_id)?;
        Ok(Self(fd))
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Has the kernel read the headers of requests for dumps, and show only what they ask for.
    /// Before Linux 4.20 it shows all.
    pub fn set_strict_check(&self) {
        let _ = set_option(&self.0, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &1i32);
    }

    /// Makes room for bursts of events: beyond the system's limit with CAP_NET_ADMIN, up to it
    /// without.
    pub fn set_receive_buffer(&self, bytes: i32) {
        if set_option(&self.0, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes).is_err() {
            let _ = set_option(&self.0, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes);
        }
    }

    pub fn join(&self, group: u32) -> Result<()> {
        set_option(&self.0, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group)
    }

    pub fn leave(&self, group: u32) -> Result<()> {
        set_option(&self.0, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group)
    }

    /// Has the kernel drop what the classic-BPF program rejects, before it wakes us.
    pub fn attach_filter(&self, program: &[(u16, u8, u8, u32)]) -> Result<()> {
        let mut filter = [libc::sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0,
        }; 48];
        for (to, (code, jt, jf, k)) in filter.iter_mut().zip(program) {
            *to = libc::sock_filter {
                code: *code,
                jt: *jt,
                jf: *jf,
                k: *k,
            };
        }
        let length = program.len().min(filter.len());
        let program = libc::sock_fprog {
            len: u16::try_from(length).unwrap_or(0),
            filter: filter.as_mut_ptr(),
        };
        set_option(&self.0, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Sends to the kernel, which carries out requests before this returns.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        socket::send(self.fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads one datagram into `buffer`, up to its capacity, which grows if that is too little:
    /// the datagram is lost then, but the next one of its size is not. `None` if there is nothing
    /// to read.
    pub fn receive<'a>(&self, buffer: &'a mut Vec<u8>) -> Result<Option<Received<'a>>> {
        buffer.clear();
        let fd = self.0.as_raw_fd();
        let (start, room) = (buffer.as_mut_ptr(), buffer.capacity());
        // SAFETY: `start` and `room` describe memory of the buffer's own.
        let read = unsafe { libc::recv(fd, start.cast(), room, libc::MSG_TRUNC) };
        let Ok(read) = usize::try_from(read) else {
            return nothing(Errno::last()).map(|()| None);
        };
        if read > room {
            buffer.reserve(read.next_power_of_two());
            return Ok(Some(Received::Truncated));
        }
        // SAFETY: the kernel has written that many bytes, and the capacity is no less.
        unsafe { buffer.set_len(read) };
        Ok(Some(Received::Datagram(buffer)))
    }
}

fn nothing(error: Errno) -> Result<()> {
    match error.0 {
        libc::EAGAIN | libc::EINTR => Ok(()),
        _ => Err(error),
    }
}

/// Room for what is received: one datagram of any size, or several with one system call. Left
/// unwritten, so that it takes no memory before much arrives at once.
pub struct Inbox {
    buffer: Vec<u8>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Inbox {
    /// `bytes` is how much room there is at first.
    pub fn new(bytes: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(bytes),
            lengths: [0; BATCH],
            count: 0,
        }
    }

    /// All of it, for [`Socket::receive`].
    pub fn whole(&mut self) -> &mut Vec<u8> {
        self.count = 0;
        &mut self.buffer
    }

    /// Reads what has arrived. Returns whether there may be more.
    pub fn fill(&mut self, from: &Socket) -> Result<bool> {
        let buffer = self.whole();
        buffer.clear();
        buffer.reserve(BATCH * ROOM);
        let rooms = buffer.spare_capacity_mut().chunks_exact_mut(ROOM);
        // SAFETY: zeroes are valid for both: no name, no control data, no buffer yet.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for ((room, vector), header) in rooms.zip(&mut vectors).zip(&mut headers) {
            vector.iov_base = room.as_mut_ptr().cast();
            vector.iov_len = ROOM;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // Not the C library's recvmmsg: with the times of packets, which we do not ask for, it
        // does on 32 bits what is 1 KiB of code.
        // SAFETY: the headers point at vectors, and those at our own buffer, which has room for
        // all; all outlive the call, and the count is the headers' own.
        let read = unsafe {
            libc::syscall(
                libc::SYS_recvmmsg,
                from.fd(),
                headers.as_mut_ptr(),
                BATCH,
                flags,
                core::ptr::null_mut::<libc::timespec>(),
            )
        };
        let Ok(count) = usize::try_from(read) else {
            return nothing(Errno::last()).map(|()| false);
        };
        self.count = count;
        for (length, header) in self.lengths.iter_mut().zip(&headers) {
            *length = usize::try_from(header.msg_len).unwrap_or(usize::MAX);
        }
        Ok(count == BATCH)
    }

    /// What was read.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        let read = self.lengths.iter().take(self.count).enumerate();
        read.map(|(at, length)| {
            if *length > ROOM {
                return Received::Truncated;
            }
            // SAFETY: the kernel has written that many bytes of this room of the buffer, which
            // nobody has changed since.
            let bytes = unsafe {
                let room = self.buffer.as_ptr().add(at * ROOM);
                core::slice::from_raw_parts(room, *length)
            };
            Received::Datagram(bytes)
        })
    }
}
