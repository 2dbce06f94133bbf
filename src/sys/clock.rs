// SPDX-License-Identifier: BSD-3-Clause
//! The clock that the engine goes by.

#[cfg(target_pointer_width = "64")]
use libc::SYS_clock_gettime as CLOCK_GETTIME;

use crate::time::Instant;

/// `__NR_clock_gettime64` (asm/unistd.h), which the crate libc has for a few machines only.
#[cfg(target_pointer_width = "32")]
const CLOCK_GETTIME: libc::c_long = if cfg!(target_arch = "mips") {
    4403
} else {
    403
};

/// Returns the milliseconds since 1970, by the clock that can be set.
#[cfg(feature = "control")]
pub fn wall() -> u64 {
    milliseconds(libc::CLOCK_REALTIME)
}

/// Returns the current time of CLOCK_MONOTONIC, which never jumps and stands still while the
/// machine sleeps.
pub fn now() -> Instant {
    Instant(milliseconds(libc::CLOCK_MONOTONIC))
}

/// Asks the kernel itself: the C library's way through its vDSO, which pays for who asks more often
/// than once in a wake-up, is 1.3 KiB of code on MIPS.
fn milliseconds(clock: libc::clockid_t) -> u64 {
    // Seconds and nanoseconds, of 64 bits each (`struct __kernel_timespec` of linux/time_types.h).
    let mut time = [0u64; 2];
    // SAFETY: `time` has the size of what the kernel writes, and outlives the call.
    unsafe { libc::syscall(CLOCK_GETTIME, clock, time.as_mut_ptr()) };
    let [seconds, nanoseconds] = time;
    seconds * 1000 + u64::from(nanoseconds as u32 / 1_000_000)
}
