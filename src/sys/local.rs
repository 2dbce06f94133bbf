// SPDX-License-Identifier: BSD-3-Clause
//! Stream sockets of the control protocol, and datagrams to the service manager.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

use nix::fcntl::OFlag;
use nix::sys::socket::{self, SockFlag, sockopt};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, chown, unlink};

/// Listens at a path, where only the owner and the group can connect. The caller knows that nobody
/// else listens there: what is there already is a leftover.
pub fn listen(path: &str) -> io::Result<UnixListener> {
    let _ = unlink(path);
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let mode = Mode::from_bits_truncate(0o660);
    fchmodat(
        nix::fcntl::AT_FDCWD,
        path,
        mode,
        FchmodatFlags::FollowSymlink,
    )?;
    Ok(listener)
}

/// Gives what [`listen`] has made to a group, of which only root need not be a member.
pub fn give(path: &str, group: u32) -> io::Result<()> {
    Ok(chown(path, None, Some(Gid::from_raw(group)))?)
}

/// Takes away what [`listen`] has made.
pub fn remove(path: &str) {
    let _ = unlink(path);
}

/// Connects to a path, and blocks.
pub fn connect(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// Returns whether a descriptor is a terminal.
pub fn is_terminal(descriptor: RawFd) -> bool {
    // SAFETY: takes a plain number.
    unsafe { libc::isatty(descriptor) == 1 }
}

/// Takes the next client, if there is one, without blocking then or later.
pub fn accept(listener: &UnixListener) -> Option<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::accept4(listener.as_raw_fd(), flags).ok()?;
    Some(super::own(fd).into())
}

/// Returns whether a client is root, or our own user, or a member of the group.
pub fn is_trusted(client: &UnixStream, group: Option<u32>) -> bool {
    super::is_ours_or_root(client) || group.is_some_and(|group| has_group(client, group))
}

/// Returns whether a client has the group, as its first one or beside that (SO_PEERGROUPS, Linux
/// 4.13). One that has more than 64 beside has not.
fn has_group(client: &UnixStream, group: u32) -> bool {
    let first = socket::getsockopt(client, sockopt::PeerCredentials);
    let mut groups = [0u32; 64];
    let others = super::get_option(client.as_raw_fd(), libc::SO_PEERGROUPS, &mut groups);
    let count = others.unwrap_or(0) / size_of::<u32>();
    first.is_ok_and(|peer| peer.gid() == group) || groups.iter().take(count).any(|g| *g == group)
}

/// Returns the number of a group of `/etc/group`, or the number that the name is.
pub fn group(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let file = super::open("/etc/group", OFlag::O_RDONLY).ok()?;
    let bytes = super::read(&file, 64 << 10).ok()?;
    let text = core::str::from_utf8(&bytes).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = (fields.next() == Some(name)).then(|| fields.nth(1))??;
        number.parse().ok()
    })
}

/// The service manager (sd_notify(3)), where `NOTIFY_SOCKET` names one.
pub struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// Finds it.
    pub fn find() -> Self {
        let connected = || {
            let path = std::env::var("NOTIFY_SOCKET").ok()?;
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&path),
            };
            let fd: OwnedFd = super::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).ok()?;
            let socket = UnixDatagram::from(fd);
            socket.connect_addr(&address.ok()?).ok()?;
            Some(socket)
        };
        Self(connected())
    }

    /// Returns whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it variables, each in a line. What it does not take at once is lost.
    pub fn tell(&self, text: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(text.as_bytes());
        }
    }
}
