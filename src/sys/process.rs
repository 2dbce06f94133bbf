// SPDX-License-Identifier: BSD-3-Clause
//! What a process needs before its `main` may begin.
//!
//! What std does between the C library and an ordinary `main`, to be ready for threads, panics and
//! an overflow of the stack, is 6 KiB of code on MIPS. This is what a daemon needs of it.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;

/// Makes the standard descriptors safe to use and returns the arguments without the program's
/// name.
///
/// # Safety
/// `arguments` has to point to `count` C strings, which nobody changes.
pub unsafe fn begin(count: c_int, arguments: *const *const c_char) -> Vec<OsString> {
    open_standard_files();
    let count = usize::try_from(count).unwrap_or(0);
    let argument = |at: usize| {
        // SAFETY: `at` is less than `count`.
        let argument = unsafe { CStr::from_ptr(*arguments.add(at)) };
        OsStr::from_bytes(argument.to_bytes()).to_owned()
    };
    (1..count).map(argument).collect()
}

/// Gives the descriptors 0, 1 and 2 to `/dev/null` where they are closed, lest messages for the user
/// go into a socket of ours.
fn open_standard_files() {
    // The lowest number that is free is the next.
    while let Ok(file) = super::open("/dev/null", libc::O_RDWR) {
        if file.as_raw_fd() > libc::STDERR_FILENO {
            break;
        }
        let _ = file.into_raw_fd();
    }
}
