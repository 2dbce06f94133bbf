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

use core::ffi::{CStr, c_int, c_void};
use core::mem::{ManuallyDrop, size_of};
use core::net::SocketAddr;
use core::ptr::{from_mut, from_ref};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{self, SockaddrStorage};
use nix::unistd::geteuid;

use errno::{Errno, Result};

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
pub fn poll(fds: &mut [libc::pollfd], timeout: Option<u64>) -> Result<u32> {
    let timeout = timeout.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
    // SAFETY: `fds` holds `count` valid entries and outlives the call.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), count, timeout) };
    match check(result) {
        Ok(_) => {
            let ready = fds.iter().zip(0..32).filter(|(fd, _)| fd.revents != 0);
            Ok(ready.fold(0, |bits, (_, at)| bits | 1 << at))
        }
        Err(error) if error == Errno(libc::EINTR) => Ok(0),
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

/// Hands a path over to a system call. (std and nix each bring 1 KiB for their several kinds of paths.)
fn with_path(path: &str, call: &mut dyn FnMut(&CStr) -> c_int) -> Result<c_int> {
    let mut bytes = heapless::Vec::<u8, { libc::PATH_MAX as usize }>::new();
    let fits = bytes.extend_from_slice(path.as_bytes()).is_ok() && bytes.push(0).is_ok();
    if !fits {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let path = CStr::from_bytes_with_nul(&bytes).map_err(|_| Errno(libc::EINVAL))?;
    check(call(path))
}

/// Opens a file that closes on exec and, should it be no regular one, does not block. One that is
/// made is its owner's alone. (What comes with std's `OpenOptions` is 4 KiB of code.)
pub fn open(path: &str, flags: c_int) -> Result<File> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: the path ends with a NUL and outlives the call.
    let opened = with_path(path, &mut |path| unsafe {
        libc::open(path.as_ptr(), flags, 0o600)
    })?;
    // SAFETY: nobody else owns it.
    Ok(unsafe { File::from_raw_fd(opened) })
}

/// Makes a directory that everybody may read.
pub fn make_directory(path: &str) -> Result<()> {
    // SAFETY: the path ends with a NUL and outlives the call.
    with_path(path, &mut |path| unsafe {
        libc::mkdir(path.as_ptr(), 0o755)
    })
    .map(drop)
}

/// Removes a file's name.
pub fn remove(path: &str) {
    // SAFETY: the path ends with a NUL and outlives the call.
    let _ = with_path(path, &mut |path| unsafe { libc::unlink(path.as_ptr()) });
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
pub fn status(file: impl AsFd) -> Result<Status> {
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
pub fn any_entry(directory: &str, is: &mut dyn FnMut(&str) -> bool) -> Result<bool> {
    let directory = open(directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
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
pub fn read_link(path: &str) -> Result<Vec<u8>> {
    let mut link = vec![0; 64];
    // SAFETY: the path ends with a NUL; the pointer and the length describe `link`. Both outlive the
    // call.
    let length = with_path(path, &mut |path| unsafe {
        libc::readlink(path.as_ptr(), link.as_mut_ptr().cast(), link.len()) as c_int
    })?;
    link.truncate(length as usize);
    Ok(link)
}

/// Reads a file to its end, but not more than `limit` bytes.
pub fn read(mut file: &File, limit: usize) -> Result<Vec<u8>> {
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

/// Reads what a file has at a place, as much as there is.
pub fn read_at(file: &File, bytes: &mut [u8], offset: u16) -> Result<usize> {
    Ok(nix::sys::uio::pread(file, bytes, offset.into())?)
}

/// Writes into a file: ENOSPC if not all of it fits. (What std has goes on until all is written, with
/// errors of its own, 0.5 KB.)
pub fn write_at(file: &File, bytes: &[u8], offset: u16) -> Result<()> {
    match nix::sys::uio::pwrite(file, bytes, offset.into())? {
        written if written < bytes.len() => Err(Errno(libc::ENOSPC)),
        _ => Ok(()),
    }
}

/// Writes to standard output or standard error. Without the buffer and the lock that std has for
/// them, which have no use for one text.
pub fn print(descriptor: RawFd, text: &str) -> Result<()> {
    // SAFETY: the descriptor is borrowed only, and writing to one that is closed fails with EBADF.
    let output = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    Ok((&*output).write_all(text.as_bytes())?)
}

fn check(result: i32) -> Result<i32> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

// The system calls themselves, here and below: for kernels and for times that we do not have, musl's
// functions of sockets bring 1.5 KiB of code on 32-bit machines.

/// A socket that closes on exec and does not block.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes plain numbers.
    own(unsafe { libc::syscall(libc::SYS_socket, family, kind, protocol) })
}

/// Accepts a connection of a listener, as a socket that closes on exec and does not block.
fn accept(listener: RawFd) -> Result<OwnedFd> {
    let (flags, none) = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0usize);
    // SAFETY: null pointers, for the other end's address is not asked for.
    own(unsafe { libc::syscall(libc::SYS_accept4, listener, none, none, flags) })
}

/// Owns a descriptor that a system call has just given us, unless it failed.
fn own(result: libc::c_long) -> Result<OwnedFd> {
    // SAFETY: nobody else owns it.
    check(result as i32).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives a socket its own address.
#[inline(never)]
fn bind(fd: &OwnedFd, local: SocketAddr) -> Result<()> {
    Ok(socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?)
}

fn set_option<T>(fd: &OwnedFd, level: c_int, option: c_int, value: &T) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    set_bytes(
        fd.as_raw_fd(),
        level,
        option,
        from_ref(value).cast(),
        length,
    )
}

#[inline(never)]
fn set_bytes(
    fd: RawFd,
    level: c_int,
    option: c_int,
    value: *const c_void,
    length: libc::socklen_t,
) -> Result<()> {
    // SAFETY: the pointer and the length describe a value that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_setsockopt, fd, level, option, value, length) };
    check(result as i32).map(drop)
}

/// Makes a socket and has bind(2) or connect(2) take its path, which with `@` in front is a name without
/// a file (unix(7)).
pub(crate) fn socket_at(
    path: &str,
    kind: c_int,
    call: unsafe extern "C" fn(c_int, *const libc::sockaddr, libc::socklen_t) -> c_int,
) -> Result<OwnedFd> {
    const FAMILY: libc::sa_family_t = libc::AF_UNIX as libc::sa_family_t;
    let mut address = libc::sockaddr_un {
        sun_family: FAMILY,
        sun_path: [0; 108],
    };
    // A path ends with a NUL, and a name begins with one.
    if path.len() >= address.sun_path.len() {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let is_name = path.starts_with('@');
    let octets = path.bytes().skip(usize::from(is_name));
    let room = address.sun_path.iter_mut().skip(usize::from(is_name));
    for (to, octet) in room.zip(octets) {
        *to = libc::c_char::from_ne_bytes([octet]);
    }
    let length = size_of::<libc::sa_family_t>() + path.len() + usize::from(!is_name);
    let socket = socket(libc::AF_UNIX, kind, 0)?;
    // SAFETY: the address outlives the call, and has more octets than `length`.
    let result = unsafe {
        call(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(length).unwrap_or(0),
        )
    };
    check(result).map(|_| socket)
}

/// Makes a stream socket that listens at a path or name, as above.
fn listen_at(path: &str) -> Result<OwnedFd> {
    let socket = socket_at(path, libc::SOCK_STREAM, libc::bind)?;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::listen(socket.as_raw_fd(), 128) })?;
    Ok(socket)
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
        unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
}

/// Locks a file until it is closed. EWOULDBLOCK if somebody else has locked it.
pub fn lock(file: &File) -> Result<()> {
    // SAFETY: takes plain numbers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Takes a name in the namespace's own space of abstract sockets, which goes with the process:
/// EADDRINUSE if a program of root's or of our own user has it. Returns `None` if another user's
/// has, who shall not keep us out.
pub fn claim_name() -> Result<Option<OwnedFd>> {
    const NAME: &str = "@mptcpd";
    let error = match listen_at(NAME) {
        Ok(socket) => return Ok(Some(socket)),
        Err(error) => error,
    };
    let is_taken = error == Errno(libc::EADDRINUSE);
    match socket_at(NAME, libc::SOCK_STREAM, libc::connect) {
        Ok(other) if is_taken && !is_ours_or_root(&other) => Ok(None),
        // Too many have asked whose it is.
        Err(why) if is_taken && why != Errno(libc::EAGAIN) => Ok(None),
        _ => Err(error),
    }
}

/// Returns whether the other end belonged to root or to our own user when it began to listen, or
/// when it connected.
fn is_ours_or_root(stream: &OwnedFd) -> bool {
    peer(stream).is_some_and(|peer| peer.uid == 0 || peer.uid == geteuid().as_raw())
}

/// Returns who the other end is (SO_PEERCRED).
fn peer(stream: &OwnedFd) -> Option<libc::ucred> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    get_option(stream, libc::SO_PEERCRED, &mut peer).ok()?;
    Some(peer)
}

/// Returns how many octets of the value the kernel has set.
fn get_option<T>(fd: &OwnedFd, option: c_int, value: &mut T) -> Result<usize> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the pointers are to a value of the length given, valid for writes of plain numbers,
    // which is all that the callers' types hold.
    let result = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            from_mut(value),
            &raw mut length,
        )
    };
    check(result as i32).map(|_| length as usize)
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
    get_option(&any, SO_NETNS_COOKIE, &mut cookie).ok()?;
    Some(cookie)
}
