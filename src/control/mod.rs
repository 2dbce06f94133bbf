// SPDX-License-Identifier: BSD-3-Clause
//! The protocol of the control socket, without any I/O: what is asked, in one line, and the text
//! that is returned.
//!
//! ```text
//! status [-j] [--exit-code] [IFACE|ADDRESS]
//! connections
//! monitor [-j]
//! reload
//! path IFACE down|backup|auto
//! wait [IFACE]
//! ```
//!
//! The line ends with a newline. What is returned is text, then a NUL and one digit: the exit status
//! of the command that asked. For `connections` the daemon says what the kernel does not, since when
//! those of plugins are there: in each line both ends and an age in seconds. A monitor gets lines until it goes.

pub mod form;
pub mod request;
pub mod session;

pub use form::{Form, Value};
pub use request::{Request, Verb};
pub use session::{Output, Session};
