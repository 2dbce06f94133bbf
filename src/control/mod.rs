// SPDX-License-Identifier: BSD-3-Clause
//! The protocol of the control socket, without any I/O: what is asked, in one line, and the text
//! that is returned.
//!
//! ```text
//! status [-j] [--exit-code] [IFACE|ADDRESS]
//! monitor [-j]
//! reload
//! path IFACE down|backup|auto
//! wait [IFACE]
//! ```
//!
//! The line ends with a newline. What is returned is text, then a NUL and one digit: the exit status
//! of the command that asked. A monitor gets lines until it goes.

pub mod form;
pub mod request;
pub mod session;

pub use form::{Form, Value};
pub use request::{Request, Verb};
pub use session::{Output, Session};

/// Done.
pub const SUCCESS: u8 = 0;
/// It failed, for the reason that the text gives.
pub const FAILURE: u8 = 1;
/// Asked for by `--exit-code`: something that should work does not.
pub const MISSING: u8 = 2;
/// There is no daemon.
pub const NOT_RUNNING: u8 = 3;
/// Who asks may not.
pub const DENIED: u8 = 4;
/// The request makes no sense (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;
