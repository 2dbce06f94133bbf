// SPDX-License-Identifier: BSD-3-Clause
//! The system calls that the standard library does not have.

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const SOL_MPTCP: i32 = 284;
const MPTCP_TCPINFO: i32 = 2;
const MPTCP_SUBFLOW_ADDRS: i32 = 3;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const ETH_P_IP: u16 = 0x0800;

fn check(code: i32) -> io::Result<i32> {
    match code {
        -1 => Err(io::Error::last_os_error()),
        code => Ok(code),
    }
}

/// Moves this thread into a network namespace.
pub fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(|_| ())
}

/// Has the kernel end this process with its parent, and after `limit` in any case.
pub fn bound(limit: Duration) {
    // SAFETY: takes plain numbers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(limit.as_secs() as u32);
    }
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes plain numbers; what it returns is ours.
    let fd = check(unsafe { libc::socket(family, kind, protocol) })?;
    // SAFETY: a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as u32;
    // SAFETY: a pointer to a value of that length.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (value as *const T).cast(),
            length,
        )
    })
    .map(|_| ())
}

fn ipv4(address: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    // SAFETY: all zero is a valid value.
    let mut name: libc::sockaddr_in = unsafe { zeroed() };
    name.sin_family = libc::AF_INET as u16;
    name.sin_port = port.to_be();
    name.sin_addr.s_addr = u32::from(address).to_be();
    name
}

pub fn listen(address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    let name = ipv4(address, port);
    // SAFETY: a pointer to an address of that length.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_in>() as u32,
        )
    })?;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::listen(fd.as_raw_fd(), 1024) })?;
    Ok(fd)
}

/// Begins a Multipath TCP connection without waiting for it.
pub fn connect(address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    let name = ipv4(address, port);
    // SAFETY: a pointer to an address of that length.
    let done = check(unsafe {
        libc::connect(
            fd.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_in>() as u32,
        )
    });
    match done {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(fd),
    }
}

/// A connection that waits at the listener, if there is one.
pub fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    // SAFETY: null pointers are allowed; what it returns is ours.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    // SAFETY: a descriptor that nobody else has.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: a buffer of that length.
    let length = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

pub fn send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: a buffer of that length.
    let length = unsafe {
        libc::send(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

/// Waits until one of the descriptors is ready.
pub fn poll(descriptors: &mut [libc::pollfd], limit: Duration) {
    let limit = libc::timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    // SAFETY: an array of that length.
    unsafe {
        libc::ppoll(
            descriptors.as_mut_ptr(),
            descriptors.len() as u64,
            &limit,
            std::ptr::null(),
        );
    }
}

/// A request to a network interface by its name.
fn interface(name: &str, request: u64, change: impl FnOnce(&mut libc::ifreq)) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: all zero is a valid value.
    let mut ask: libc::ifreq = unsafe { zeroed() };
    for (to, from) in ask.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    change(&mut ask);
    // SAFETY: the kernel expects a pointer to this structure.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &mut ask) }).map(|_| ())
}

/// Takes an interface of this namespace up or down.
pub fn set_up(name: &str, up: bool) -> io::Result<()> {
    let flags = if up {
        libc::IFF_UP | libc::IFF_RUNNING
    } else {
        0
    };
    interface(name, libc::SIOCSIFFLAGS, |ask| {
        ask.ifr_ifru.ifru_flags = flags as i16;
    })
}

/// Has the kernel finish every packet, checksum and all, before it goes out by an interface:
/// packet sockets would see what is left for the hardware undone.
pub fn no_offload(name: &str) -> io::Result<()> {
    const SIOCETHTOOL: u64 = 0x8946;
    // Send checksums, TCP segmentation, generic segmentation, generic reassembly.
    for command in [0x17_u32, 0x1f, 0x24, 0x2c] {
        let mut value = [command, 0];
        interface(name, SIOCETHTOOL, |ask| {
            ask.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        })?;
    }
    Ok(())
}

/// A packet socket for the IPv4 packets that come in by an interface.
pub fn packet(index: u32) -> io::Result<OwnedFd> {
    let fd = socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    set(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(4_i32 << 20))
        .or_else(|_| set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &(4_i32 << 20)))?;
    let name = link(index, [0; 6]);
    // SAFETY: a pointer to an address of that length.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    })?;
    Ok(fd)
}

fn link(index: u32, hardware: [u8; 6]) -> libc::sockaddr_ll {
    // SAFETY: all zero is a valid value.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = ETH_P_IP.to_be();
    name.sll_ifindex = index as i32;
    name.sll_halen = 6;
    name.sll_addr[..6].copy_from_slice(&hardware);
    name
}

/// Sends an IPv4 packet to a hardware address; false if the interface is down.
pub fn send_packet(fd: &OwnedFd, bytes: &[u8], index: u32, hardware: [u8; 6]) -> bool {
    let name = link(index, hardware);
    // SAFETY: a buffer and an address of those lengths.
    let length = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    length >= 0
}

/// Reads a packet for the router's hardware address; `None` if there is none.
pub fn receive_packet(fd: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    // A link that went down is an error once; what waits behind it comes with the next call.
    read(fd, buffer).ok()
}

/// The local and remote addresses of a connection's subflows that work: established, and with nothing sent
/// that waits for a second retransmission.
pub fn working_subflows(fd: &OwnedFd) -> Vec<Ipv4Addr> {
    const MOST: usize = 16;
    const HEAD: usize = 16;
    const ADDRESSES: usize = 2 * ADDRESS;
    const ADDRESS: usize = 128;
    const STATE: usize = 104;
    let ask = |name: i32, size: usize| -> Option<(usize, Vec<u8>)> {
        let mut buffer = vec![0_u8; HEAD + MOST * size];
        buffer[..4].copy_from_slice(&(HEAD as u32).to_ne_bytes());
        buffer[12..16].copy_from_slice(&(size as u32).to_ne_bytes());
        let mut length = buffer.len() as u32;
        // SAFETY: a buffer of that length.
        let code = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                SOL_MPTCP,
                name,
                buffer.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let count = u32::from_ne_bytes(buffer[4..8].try_into().ok()?) as usize;
        (code == 0).then_some((count.min(MOST), buffer))
    };
    let (Some((count, addresses)), Some((states, info))) = (
        ask(MPTCP_SUBFLOW_ADDRS, ADDRESSES),
        ask(MPTCP_TCPINFO, STATE),
    ) else {
        return vec![];
    };
    (0..count.min(states))
        .filter(|n| {
            let (state, retransmits) = (info[HEAD + n * STATE], info[HEAD + n * STATE + 2]);
            state == 1 && retransmits < 2
        })
        .flat_map(|n| [0, ADDRESS].map(|end| HEAD + n * ADDRESSES + end + 4))
        .filter_map(|at| <[u8; 4]>::try_from(&addresses[at..at + 4]).ok())
        .map(Ipv4Addr::from)
        .collect()
}
