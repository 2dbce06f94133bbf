// SPDX-License-Identifier: BSD-3-Clause
//! Stream sockets of the control protocol, and datagrams to the service manager.

use core::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::stat::{Mode, umask};

use super::errno::Result;

/// Listens at a path, where only the owner and the group can connect. The caller knows that nobody
/// else listens there: what is there already is a leftover.
pub fn listen(path: &str) -> Result<OwnedFd> {
    super::remove(path);
    let before = umask(Mode::from_bits_truncate(0o117));
    let socket = super::listen_at(path);
    umask(before);
    socket
}

/// Gives what [`listen`] has made to a group, of which only root need not be a member.
pub fn give(path: &str, group: u32) -> Result<()> {
    // SAFETY: the path ends with a NUL and outlives the call; -1 leaves the user alone.
    let chown = |path: &CStr| unsafe { libc::chown(path.as_ptr(), libc::uid_t::MAX, group) };
    super::with_path(path, &mut { chown }).map(drop)
}

/// Connects to a path. What is sent and read does not block.
pub fn connect(path: &str) -> Result<File> {
    super::socket_at(path, libc::SOCK_STREAM, libc::connect).map(File::from)
}

/// Returns whether a descriptor is a terminal.
pub fn is_terminal(descriptor: RawFd) -> bool {
    let (command, mut size) = (libc::TIOCGWINSZ, [0u32; 2]);
    // By ioctl(3) musl brings what kernels before 5.6 need for times of 64 bits, 1.3 KB.
    // SAFETY: TIOCGWINSZ writes a `struct winsize` of 8 octets.
    unsafe { libc::syscall(libc::SYS_ioctl, descriptor, command, size.as_mut_ptr()) == 0 }
}

/// Takes the next client, if there is one, without blocking then or later.
pub fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    super::accept(listener.as_raw_fd()).ok()
}

/// Returns whether a client is root, or our own user, or a member of the group.
pub fn is_trusted(client: &OwnedFd, group: Option<u32>) -> bool {
    super::is_ours_or_root(client) || group.is_some_and(|group| has_group(client, group))
}

/// Returns whether a client has the group, as its first one or beside that (SO_PEERGROUPS, Linux
/// 4.13). One that has more than 64 beside has not.
fn has_group(client: &OwnedFd, group: u32) -> bool {
    let mut groups = [0u32; 64];
    let others = super::get_option(client, libc::SO_PEERGROUPS, &mut groups);
    let count = others.unwrap_or(0) / size_of::<u32>();
    super::peer(client).is_some_and(|peer| peer.gid == group)
        || groups.iter().take(count).any(|g| *g == group)
}

/// Returns the number of a group of `/etc/group`, or the number that the name is.
pub fn group(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let file = super::open("/etc/group", libc::O_RDONLY).ok()?;
    let bytes = super::read(&file, 64 << 10).ok()?;
    let text = core::str::from_utf8(&bytes).ok()?;
    text.lines().find_map(|line| {
        // NAME:PASSWORD:NUMBER:MEMBERS
        let (_, fields) = line
            .strip_prefix(name)?
            .strip_prefix(':')?
            .split_once(':')?;
        let (number, _) = fields.split_once(':')?;
        number.parse().ok()
    })
}

/// The service manager (sd_notify(3)), where `NOTIFY_SOCKET` names one.
pub struct ServiceManager(Option<File>);

impl ServiceManager {
    /// Finds it.
    pub fn find() -> Self {
        let connected = || {
            let path = super::variable(c"NOTIFY_SOCKET")?;
            let socket = super::socket_at(path, libc::SOCK_DGRAM, libc::connect);
            socket.ok().map(File::from)
        };
        Self(connected())
    }

    /// Returns whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it variables, each in a line. What it does not take at once is lost.
    pub fn tell(&self, text: &str) {
        if let Some(mut socket) = self.0.as_ref() {
            let _ = socket.write(text.as_bytes());
        }
    }
}
