//! Listeners behind announced addresses, so that the kernel can accept joins there.

use core::mem::{size_of, zeroed};
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{check, set_option, socket};

const IPPROTO_MPTCP: i32 = 262;

struct Listener {
    fd: OwnedFd,
    local: SocketAddr,
    users: u32,
}

/// All listeners, each with the number of its users.
#[derive(Default)]
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// Listens at an address, or counts one more user of the listener that does. Answers the
    /// port. Fails with EINVAL for an address that is not a host's.
    pub fn open(&mut self, local: SocketAddr) -> io::Result<u16> {
        if local.port() != 0 {
            if let Some(listener) = self.0.iter_mut().find(|l| l.local == local) {
                listener.users += 1;
                return Ok(local.port());
            }
        }
        let fd = listen(local)?;
        let local = SocketAddr::new(local.ip(), port(&fd)?);
        self.0.push(Listener {
            fd,
            local,
            users: 1,
        });
        Ok(local.port())
    }

    /// Lets go of a listener; the last user closes it. Answers whether there was one.
    pub fn close(&mut self, local: SocketAddr) -> bool {
        let Some(at) = self.0.iter().position(|l| l.local == local) else {
            return false;
        };
        let Some(listener) = self.0.get_mut(at) else {
            return false;
        };
        listener.users -= 1;
        if listener.users == 0 {
            self.0.swap_remove(at);
        }
        true
    }

    /// Closes what programs have connected to: joins never come up to accept(2), and whoever
    /// makes a connection of its own here has nobody to talk to.
    pub fn turn_away(&self) {
        for listener in &self.0 {
            // SAFETY: accepts without an address; the result is closed at once.
            while let Ok(fd) = check(unsafe {
                libc::accept4(
                    listener.fd.as_raw_fd(),
                    core::ptr::null_mut(),
                    core::ptr::null_mut(),
                    libc::SOCK_CLOEXEC,
                )
            }) {
                // SAFETY: the descriptor is ours alone.
                unsafe { libc::close(fd) };
            }
        }
    }

    /// The descriptors to wait on.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(|listener| listener.fd.as_raw_fd())
    }
}

fn listen(local: SocketAddr) -> io::Result<OwnedFd> {
    if local.ip().is_unspecified() || local.ip().is_multicast() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = socket(family, libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32)?;
    if local.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1i32)?;
    }
    let (address, length) = raw(local);
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::listen(fd.as_raw_fd(), 16) })?;
    Ok(fd)
}

/// The port a socket is bound to.
fn port(fd: &OwnedFd) -> io::Result<u16> {
    // SAFETY: zeroes are a valid address of no family.
    let mut address: libc::sockaddr_in6 = unsafe { zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_in6>()).unwrap_or(0);
    // SAFETY: the pointers are valid for writes, and the length is that of the address.
    check(unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
    })?;
    // In the same place for both families.
    Ok(u16::from_be(address.sin6_port))
}

fn raw(address: SocketAddr) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: zeroes are a valid address of no family.
    let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
    raw.sin6_port = address.port().to_be();
    match address.ip() {
        IpAddr::V4(ip) => {
            raw.sin6_family = u16::try_from(libc::AF_INET).unwrap_or(0);
            // An IPv4 address stands where IPv6 has its flow label.
            raw.sin6_flowinfo = u32::from_ne_bytes(ip.octets());
            let length = size_of::<libc::sockaddr_in>();
            (raw, libc::socklen_t::try_from(length).unwrap_or(0))
        }
        IpAddr::V6(ip) => {
            raw.sin6_family = u16::try_from(libc::AF_INET6).unwrap_or(0);
            raw.sin6_addr.s6_addr = ip.octets();
            let length = size_of::<libc::sockaddr_in6>();
            (raw, libc::socklen_t::try_from(length).unwrap_or(0))
        }
    }
}
