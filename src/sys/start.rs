//! The start of the process.
//!
//! What std does between the C library and an ordinary `main`, to be ready for threads, panics and
//! an overflow of the stack, is 6 KiB of code on MIPS. This is what a daemon needs of it.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::OFlag;

use crate::plugin::Entry;

/// Defines the entry point of a program with these plugins, a `&'static [Entry]`, for a crate that
/// is `#![no_main]`, and its allocator, [`Heap`](crate::sys::memory::Heap).
/// [`run`](crate::run) does the same for an ordinary `main`.
#[macro_export]
macro_rules! main {
    ($plugins:expr) => {
        #[global_allocator]
        static HEAP: $crate::sys::memory::Heap = $crate::sys::memory::Heap::new();

        // SAFETY: this is the `main` of the C library, and the only one: the crate is no_main.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: ::core::ffi::c_int,
            arguments: *const *const ::core::ffi::c_char,
        ) -> ::core::ffi::c_int {
            // SAFETY: these are the arguments of `main`.
            unsafe { $crate::sys::start::start(count, arguments, $plugins) }
        }
    };
}

/// Runs the program.
///
/// # Safety
/// `arguments` has to point to `count` C strings, which nobody changes.
pub unsafe fn start(
    count: c_int,
    arguments: *const *const c_char,
    plugins: &'static [Entry],
) -> c_int {
    open_standard_files();
    let count = usize::try_from(count).unwrap_or(0);
    let argument = |at: usize| {
        // SAFETY: `at` is less than `count`.
        let argument = unsafe { CStr::from_ptr(*arguments.add(at)) };
        OsStr::from_bytes(argument.to_bytes()).to_owned()
    };
    crate::answer(plugins, (1..count).map(argument).collect()).into()
}

/// Gives the descriptors 0, 1 and 2 to `/dev/null` where they are closed, lest messages for the user
/// go into a socket of ours.
fn open_standard_files() {
    // The lowest number that is free is the next.
    while let Ok(file) = super::open("/dev/null", OFlag::O_RDWR) {
        if file.as_raw_fd() > libc::STDERR_FILENO {
            break;
        }
        let _ = file.into_raw_fd();
    }
}
