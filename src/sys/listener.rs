// SPDX-License-Identifier: BSD-3-Clause
//! Listeners behind announced addresses, so that the kernel can accept joins there.

use core::mem::size_of_val;
use core::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, Backlog};

use super::errno::{Errno, Result};
use super::set_option;

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
    epoll: Option<Epoll>,
}

impl Listeners {
    /// Listens at an address, or counts one more user of the listener that does. Returns where:
    /// with port 0 the kernel chooses the port. Fails with EINVAL for an address that is not a
    /// host's.
    pub fn open(&mut self, local: SocketAddr) -> Result<SocketAddr> {
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

    /// Lets go of a listener; the last user closes it. Returns whether there was one.
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
        let mut event = [EpollEvent::empty()];
        while let Some(epoll) = &self.epoll {
            if epoll.wait(&mut event, EpollTimeout::ZERO) != Ok(1) {
                break;
            }
        }
        for listener in &self.all {
            while super::accept(listener.fd.as_raw_fd()).is_ok() {}
        }
    }

    /// Readable when somebody has connected to a listener; -1, which poll(2) ignores, while there
    /// has been none.
    pub fn fd(&self) -> RawFd {
        self.epoll.as_ref().map_or(-1, |epoll| epoll.0.as_raw_fd())
    }

    fn watch(&mut self, listener: &OwnedFd) -> Result<()> {
        let epoll = match &mut self.epoll {
            Some(epoll) => epoll,
            none => none.insert(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?),
        };
        // Edge-triggered: a connection that cannot be taken must not wake us again and again.
        // Closing the listener takes it out again.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        Ok(epoll.add(listener, event)?)
    }
}

/// Looks whether some program listens at an address, or at its port on all addresses. Fails with
/// ECONNREFUSED if none does. Where this process may not bind (EACCES, a privileged port), some is
/// taken to.
pub fn probe(local: SocketAddr) -> Result<()> {
    // Bound for an instant, and never listening: in nobody's way who sets SO_REUSEADDR, as servers
    // do that are to start again at once.
    match bind(local) {
        Ok(_) => Err(Errno(libc::ECONNREFUSED)),
        Err(error) => match error.0 {
            libc::EADDRINUSE | libc::EACCES => Ok(()),
            _ => Err(error),
        },
    }
}

fn listen(local: SocketAddr) -> Result<OwnedFd> {
    let fd = bind(local)?;
    // As many joins at once as the kernel allows (net.core.somaxconn): all connections of the port
    // may come back with a link.
    socket::listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

fn bind(local: SocketAddr) -> Result<OwnedFd> {
    if local.ip().is_unspecified() || local.ip().is_multicast() {
        return Err(Errno(libc::EINVAL));
    }
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = super::socket(family, libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32)?;
    if local.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1i32)?;
    }
    super::bind(&fd, local)?;
    Ok(fd)
}

/// Returns the port a socket is bound to.
fn port(fd: &OwnedFd) -> Result<u16> {
    // As much of the address as is the same for both families: after the family comes the port.
    let mut address = [0u16; 2];
    let mut length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `address`; both outlive the call.
    let result =
        unsafe { libc::getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut length) };
    super::check(result)?;
    let [_, port] = address;
    Ok(u16::from_be(port))
}
