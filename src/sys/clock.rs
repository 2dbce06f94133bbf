// SPDX-License-Identifier: BSD-3-Clause
//! The clock that the engine goes by.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::time::Instant;

/// Returns the current time of CLOCK_MONOTONIC, which never jumps and stands still while the
/// machine sleeps.
pub fn now() -> Instant {
    let milliseconds =
        |now: TimeSpec| now.tv_sec() as u64 * 1000 + u64::from(now.tv_nsec() as u32 / 1_000_000);
    Instant(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, milliseconds))
}
