// SPDX-License-Identifier: BSD-3-Clause
//! The clock that the engine goes by.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::time::Instant;

/// Returns the milliseconds since 1970, by the clock that can be set.
#[cfg(feature = "control")]
pub fn wall() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, milliseconds)
}

/// Returns the current time of CLOCK_MONOTONIC, which never jumps and stands still while the
/// machine sleeps.
pub fn now() -> Instant {
    Instant(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, milliseconds))
}

fn milliseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1000 + u64::from(time.tv_nsec() as u32 / 1_000_000)
}
