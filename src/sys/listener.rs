//! Listeners behind announced addresses, so that the kernel can accept joins there.

use core::mem::{size_of, zeroed};
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{check, set_option, socket};

const IPPROTO_MPTCP: i32 = 262;

struct Listener {
    fd: OwnedFd,
    local: SocketAddr,
    users: u32,
}

/// All listeners, each with the number of its users.
#[derive(Default)]
pub struct Listeners {
    all: Vec<Listener>,
    /// An epoll instance that watches them, once there is one.
    epoll: Option<OwnedFd>,
}

impl Listeners {
    /// Listens at an address, or counts one more user of the listener that does. Answers where:
    /// with port 0 the kernel chooses the port. Fails with EINVAL for an address that is not a
    /// host's.
    pub fn open(&mut self, local: SocketAddr) -> io::Result<SocketAddr> {
        if local.port() != 0 {
            if let Some(listener) = self.all.iter_mut().find(|l| l.local == local) {
                listener.users += 1;
                return Ok(local);
            }
        }
        let fd = listen(local)?;
        let local = SocketAddr::new(local.ip(), port(&fd)?);
        self.watch(&fd)?;
        self.all.push(Listener {
            fd,
            local,
            users: 1,
        });
        Ok(local)
    }

    /// Lets go of a listener; the last user closes it. Answers whether there was one.
    pub fn close(&mut self, local: SocketAddr) -> bool {
        let Some(at) = self.all.iter().position(|l| l.local == local) else {
            return false;
        };
        let Some(listener) = self.all.get_mut(at) else {
            return false;
        };
        listener.users -= 1;
        if listener.users == 0 {
            self.all.swap_remove(at);
        }
        true
    }

    /// Closes what programs have connected to: joins never come up to accept(2), and whoever
    /// makes a connection of its own here has nobody to talk to.
    pub fn reject_pending(&self) {
        // First, so that who connects meanwhile wakes us again.
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        while let Some(epoll) = &self.epoll {
            // SAFETY: the pointer is to one event, valid for writes.
            let got = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, 0) };
            if got < 1 {
                break;
            }
        }
        for listener in &self.all {
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

    /// Readable when somebody has connected to a listener; -1, which poll(2) ignores, while there
    /// has been none.
    pub fn fd(&self) -> RawFd {
        self.epoll.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn watch(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let epoll = match &self.epoll {
            Some(epoll) => epoll.as_raw_fd(),
            None => {
                // SAFETY: takes plain numbers.
                let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
                // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
                self.epoll = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                fd
            }
        };
        // Edge-triggered: a connection that cannot be taken must not wake us again and again.
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: 0,
        };
        // SAFETY: the pointer is to one event; closing the listener takes it out again.
        check(unsafe {
            libc::epoll_ctl(
                epoll,
                libc::EPOLL_CTL_ADD,
                listener.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(drop)
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
