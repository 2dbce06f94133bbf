// SPDX-License-Identifier: BSD-3-Clause
//! A daemon that a netlink socket can fail, with the plugins `addr_adv` and `probe`.
//!
//! Where its configuration is `NAME.conf`, the file `NAME.fault` says what fails next, once, and is
//! removed then: `part PROTOCOL` has the read fail that follows a part of a dump, with nothing read,
//! and `loss PROTOCOL` has the next one fail that would bring something, which is lost. Either is
//! ENOBUFS. `PROTOCOL` is a number of linux/netlink.h.

#[allow(dead_code)]
#[path = "plugin_probe.rs"]
mod plugin_probe;

use std::fs;
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, c_void, size_t, ssize_t};
use mptcpd::internal::netlink::message::{Messages, NLM_F_MULTI, NLMSG_DONE};
use mptcpd::internal::plugin::{Entry, addr_adv};
use nix::errno::Errno;

const PLUGINS: &[Entry] = &[addr_adv::ENTRY, plugin_probe::PROBE];

fn main() -> ExitCode {
    mptcpd::run(mptcpd::program!(PLUGINS))
}

/// The socket from which the latest read brought a part of a dump.
static IN_PART: AtomicI32 = AtomicI32::new(-1);

/// Stands in for the C library's.
#[unsafe(no_mangle)]
extern "C" fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    let wanted = fault();
    let how = match &wanted {
        Some((_, how, protocol)) if *protocol == protocol_of(fd) => how.as_str(),
        _ => "",
    };
    if how == "part" && IN_PART.load(Ordering::Relaxed) == fd {
        return fail(wanted);
    }
    // SAFETY: these are the caller's own arguments, and no address is asked for.
    let read = unsafe {
        let (no_address, no_length) = (ptr::null_mut(), ptr::null_mut());
        libc::recvfrom(fd, buffer, length, flags, no_address, no_length)
    };
    let Ok(bytes) = usize::try_from(read) else {
        return read;
    };
    if how == "loss" {
        return fail(wanted);
    }
    // SAFETY: the kernel has written that many bytes, or as many as there was room for.
    let datagram = unsafe { std::slice::from_raw_parts(buffer.cast(), bytes.min(length)) };
    let is_part = |m: &_| matches!(m, Ok(m) if in_part(m));
    let in_part = Messages::new(datagram).last().as_ref().is_some_and(is_part);
    IN_PART.store(if in_part { fd } else { -1 }, Ordering::Relaxed);
    read
}

fn in_part(message: &mptcpd::internal::netlink::message::Message<'_>) -> bool {
    message.flags & NLM_F_MULTI != 0 && message.kind != NLMSG_DONE
}

type Fault = (PathBuf, String, c_int);

/// What is to fail: the file that says so, how, and the protocol.
fn fault() -> Option<Fault> {
    let config = std::env::args_os().nth(2)?;
    let file = Path::new(&config).with_extension("fault");
    let text = fs::read_to_string(&file).ok()?;
    let (how, protocol) = text.split_once(' ')?;
    Some((file, how.to_owned(), protocol.parse().ok()?))
}

fn fail(fault: Option<Fault>) -> ssize_t {
    let _ = fault.map(|(file, ..)| fs::remove_file(file));
    IN_PART.store(-1, Ordering::Relaxed);
    Errno::ENOBUFS.set();
    -1
}

fn protocol_of(fd: c_int) -> c_int {
    let mut protocol = -1;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointers are to a value of the length given, valid for writes.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PROTOCOL,
            (&raw mut protocol).cast(),
            &raw mut length,
        )
    };
    protocol
}
