// SPDX-License-Identifier: BSD-3-Clause
//! Exit statuses, of the daemon and of the commands that talk to it.

/// Done.
pub const SUCCESS: u8 = 0;
/// It failed, for the reason that is given.
pub const FAILURE: u8 = 1;
/// Asked for by `--exit-code`: something that should work does not.
pub const MISSING: u8 = 2;
/// There is no daemon (as in the Linux Standard Base).
pub const NOT_RUNNING: u8 = 3;
/// Who asks may not (likewise).
pub const DENIED: u8 = 4;
/// A command line or a request that makes no sense (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;
/// A configuration with errors (EX_CONFIG): another start would find the same.
pub const CONFIGURATION: u8 = 78;
