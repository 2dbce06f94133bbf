// SPDX-License-Identifier: BSD-3-Clause
//! Stream sockets of the control protocol, and datagrams to the service manager.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::fcntl::OFlag;
use nix::sys::socket::{self, SockFlag, sockopt};
use nix::sys::stat::{Mode, umask};

/// Listens at a path, where only the owner and the group can connect. The caller knows that nobody
/// else listens there: what is there already is a leftover.
pub fn listen(path: &str) -> io::Result<UnixListener> {
    remove(path);
    let before = umask(Mode::from_bits_truncate(0o117));
    let socket = socket_at(path, libc::SOCK_STREAM, libc::bind);
    umask(before);
    let socket = socket?;
    // SAFETY: takes plain numbers.
    super::check(unsafe { libc::listen(socket.as_raw_fd(), 128) })?;
    Ok(socket.into())
}

/// Makes a socket and has bind(2) or connect(2) take its path, which with `@` in front is a name without
/// a file (unix(7)).
fn socket_at(
    path: &str,
    kind: libc::c_int,
    call: unsafe extern "C" fn(libc::c_int, *const libc::sockaddr, libc::socklen_t) -> libc::c_int,
) -> io::Result<OwnedFd> {
    const FAMILY: libc::sa_family_t = libc::AF_UNIX as libc::sa_family_t;
    let mut address = libc::sockaddr_un {
        sun_family: FAMILY,
        sun_path: [0; 108],
    };
    // A path ends with a NUL, and a name begins with one.
    if path.len() >= address.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    let is_name = path.starts_with('@');
    let octets = path.bytes().skip(usize::from(is_name));
    let room = address.sun_path.iter_mut().skip(usize::from(is_name));
    for (to, octet) in room.zip(octets) {
        *to = libc::c_char::from_ne_bytes([octet]);
    }
    let length = size_of::<libc::sa_family_t>() + path.len() + usize::from(!is_name);
    let socket = super::socket(libc::AF_UNIX, kind, 0)?;
    // SAFETY: the address outlives the call, and has more octets than `length`.
    let result = unsafe {
        call(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(length).unwrap_or(0),
        )
    };
    super::check(result).map(|_| socket)
}

/// Gives what [`listen`] has made to a group, of which only root need not be a member.
pub fn give(path: &str, group: u32) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the path ends with a NUL and outlives the call; -1 leaves the user alone.
    super::check(unsafe { libc::chown(path.as_ptr(), libc::uid_t::MAX, group) }).map(drop)
}

/// Takes away what [`listen`] has made.
pub fn remove(path: &str) {
    if let Ok(path) = CString::new(path) {
        // SAFETY: the path ends with a NUL and outlives the call.
        unsafe { libc::unlink(path.as_ptr()) };
    }
}

/// Connects to a path. What is sent and read does not block.
pub fn connect(path: &str) -> io::Result<UnixStream> {
    socket_at(path, libc::SOCK_STREAM, libc::connect).map(UnixStream::from)
}

/// Returns whether a descriptor is a terminal.
pub fn is_terminal(descriptor: RawFd) -> bool {
    let (command, mut size) = (libc::TIOCGWINSZ, [0u32; 2]);
    // By ioctl(3) musl brings what kernels before 5.6 need for times of 64 bits, 1.3 KB.
    // SAFETY: TIOCGWINSZ writes a `struct winsize` of 8 octets.
    unsafe { libc::syscall(libc::SYS_ioctl, descriptor, command, size.as_mut_ptr()) == 0 }
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
            let path = super::variable(c"NOTIFY_SOCKET")?;
            let socket = socket_at(path, libc::SOCK_DGRAM, libc::connect);
            socket.ok().map(UnixDatagram::from)
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
