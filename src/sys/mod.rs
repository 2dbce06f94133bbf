// SPDX-License-Identifier: BSD-3-Clause
//! System calls, and with them every `unsafe` of the crate.

pub mod clock;
pub mod errno;
pub mod exit;
pub mod listener;
#[cfg(feature = "control")]
pub mod local;
#[cfg(any(test, feature = "router"))]
pub mod memory;
#[cfg(feature = "control")]
pub mod mib;
pub mod netlink;
#[cfg(feature = "health")]
pub mod ping;
#[cfg(any(test, feature = "router"))]
pub mod process;
pub mod signal;
pub mod sysctl;

use core::ffi::CStr;
use core::mem::{ManuallyDrop, size_of};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::fcntl::OFlag;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, geteuid};

/// Returns what has [`poll`] wait until a descriptor can be read. A negative one is ignored.
pub fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Waits until one of these is ready or the time has come; `None` waits for ever. Returns which are,
/// one bit for each of the first 32; a signal that interrupts counts as none.
pub fn poll(fds: &mut [libc::pollfd], timeout: Option<u64>) -> io::Result<u32> {
    let timeout = timeout.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
    // SAFETY: `fds` holds `count` valid entries and outlives the call.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), count, timeout) };
    match check(result) {
        Ok(_) => {
            let ready = fds.iter().zip(0..32).filter(|(fd, _)| fd.revents != 0);
            Ok(ready.fold(0, |bits, (_, at)| bits | 1 << at))
        }
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Returns a variable of the environment, which nobody changes. (std's `var` is 1 KB.)
pub fn variable(name: &CStr) -> Option<&'static str> {
    // SAFETY: the name ends with a NUL; what is returned does too, and stays as it is.
    let value = unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    };
    value?.to_str().ok()
}

/// Opens a file that closes on exec and, should it be no regular one, does not block. One that is
/// made is its owner's alone. (What comes with std's `OpenOptions` is 4 KiB of code.)
pub fn open(path: &str, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    Ok(nix::fcntl::open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
}

/// What the kernel tells of an open file.
pub struct Status {
    mode: u32,
    /// In bytes.
    pub size: u64,
    pub device: u64,
    pub inode: u64,
}

impl Status {
    /// Returns whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Returns whether everybody may write it.
    pub fn is_world_writable(&self) -> bool {
        self.mode & libc::S_IWOTH != 0
    }
}

/// Returns the status of an open file. (The C library's fstat is 1.5 KiB on 32-bit machines, for it
/// serves kernels before 4.11 as well.)
pub fn status(file: impl AsFd) -> io::Result<Status> {
    // SAFETY: it consists of plain numbers.
    let mut status: libc::statx = unsafe { core::mem::zeroed() };
    // SAFETY: no path, but the borrowed descriptor itself; the status outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_BASIC_STATS,
            &raw mut status,
        )
    };
    check(result as i32)?;
    Ok(Status {
        mode: status.stx_mode.into(),
        size: status.stx_size,
        device: libc::makedev(status.stx_dev_major, status.stx_dev_minor),
        inode: status.stx_ino,
    })
}

/// Returns whether an entry of a directory has a name for which `is` returns true. (What std has for
/// it is 10 KiB of code on MIPS, and what the C library has, with its memory, 2.)
pub fn any_entry(directory: &str, is: &mut dyn FnMut(&str) -> bool) -> io::Result<bool> {
    let directory = open(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut buffer = [0u8; 2048];
    loop {
        // SAFETY: the pointer and the length describe `buffer`, which outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                directory.as_raw_fd(),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        };
        let mut entries = buffer.get(..check(result as i32)? as usize);
        if entries.is_none_or(<[u8]>::is_empty) {
            return Ok(false);
        }
        // struct linux_dirent64: inode and offset, 8 octets each, the length of the entry, 2, its
        // type, 1, and the name, which ends with a NUL.
        while let Some((&[.., l0, l1, _], name)) = entries.and_then(<[u8]>::split_first_chunk::<19>)
        {
            let name = CStr::from_bytes_until_nul(name).ok();
            if name
                .and_then(|name| name.to_str().ok())
                .is_some_and(&mut *is)
            {
                return Ok(true);
            }
            let length = usize::from(u16::from_ne_bytes([l0, l1]));
            entries = entries.and_then(|entries| entries.get(length..));
        }
    }
}

/// Returns what a symbolic link says, at most 64 bytes of it. (What nix has for longer ones is 3 KiB
/// on 32-bit machines.)
pub fn read_link(path: &str) -> io::Result<Vec<u8>> {
    let path = CString::new(path.as_bytes())?;
    let mut link = vec![0; 64];
    // SAFETY: the path ends with a NUL; the pointer and the length describe `link`. Both outlive the
    // call.
    let length = unsafe { libc::readlink(path.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    link.truncate(check(length as i32)? as usize);
    Ok(link)
}

/// Reads a file to its end, but not more than `limit` bytes.
pub fn read(mut file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit.min(4096)];
    let mut at = 0;
    loop {
        match file.read(bytes.get_mut(at..).unwrap_or_default())? {
            0 => break,
            read => at += read,
        }
        if at == bytes.len() {
            bytes.resize(limit.min(at * 2), 0);
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// Writes to standard output or standard error. Without the buffer and the lock that std has for
/// them, which have no use for one text.
pub fn print(descriptor: RawFd, text: &str) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed only, and writing to one that is closed fails with EBADF.
    let output = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    (&*output).write_all(text.as_bytes())
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A socket that closes on exec and does not block.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::socket(family, kind, protocol) }).map(own)
}

/// Owns a descriptor that the kernel has just given us.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers have it from a system call, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn set_option<T>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            core::ptr::from_ref(value).cast(),
            length,
        )
    };
    check(result).map(drop)
}

/// `CAP_NET_ADMIN` of linux/capability.h.
pub const CAP_NET_ADMIN: u32 = 12;
/// `CAP_SYS_PTRACE`.
pub const CAP_SYS_PTRACE: u32 = 19;

/// Whether the process has a capability in its own user namespace. True where that is unknown.
pub fn has_capability(capability: u32) -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: the version and a process, 0 for this one; then twice three sets, effective first.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    let [effective, ..] = sets;
    result != 0 || effective >> capability & 1 == 1
}

/// Has the first process of a PID namespace, as in a jail, end with the process that made it, as by a
/// crash. Whoever comes next would find it in the way, and could not see it there.
pub fn end_with_jail() {
    if std::process::id() == 1 {
        // SAFETY: takes plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
}

/// Locks a file until it is closed. `WouldBlock` if somebody else has locked it.
pub fn lock(file: &File) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Takes a name in the namespace's own space of abstract sockets, which goes with the process:
/// `AddrInUse` if a program of root's or of our own user has it. Returns `None` if another user's
/// has, who shall not keep us out.
pub fn claim_name() -> io::Result<Option<UnixListener>> {
    let name = SocketAddr::from_abstract_name(b"mptcpd")?;
    match UnixListener::bind_addr(&name) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
            match UnixStream::connect_addr(&name) {
                Ok(other) if is_ours_or_root(&other) => Err(error),
                _ => Ok(None),
            }
        }
        result => result.map(Some),
    }
}

/// Returns whether the other end belonged to root or to our own user when it began to listen, or
/// when it connected (SO_PEERCRED).
fn is_ours_or_root(stream: &UnixStream) -> bool {
    getsockopt(stream, sockopt::PeerCredentials).is_ok_and(|peer| {
        let user = Uid::from_raw(peer.uid());
        user.is_root() || user == geteuid()
    })
}

/// Returns how many octets of the value the kernel has set.
fn get_option<T>(fd: RawFd, option: i32, value: &mut T) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the pointers are to a value of the length given, valid for writes of plain numbers,
    // which is all that the callers' types hold.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            core::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    check(result).map(|_| length as usize)
}

/// SO_NETNS_COOKIE: a number that no other network namespace of this boot ever has. `None` before
/// Linux 5.14.
pub fn namespace_cookie() -> Option<u64> {
    const SO_NETNS_COOKIE: i32 = if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        0x0050
    } else {
        71
    };
    let mut cookie = 0u64;
    let any = socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).ok()?;
    get_option(any.as_raw_fd(), SO_NETNS_COOKIE, &mut cookie).ok()?;
    Some(cookie)
}
