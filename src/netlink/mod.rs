// SPDX-License-Identifier: BSD-3-Clause
//! The netlink codec: bytes to typed messages and back.
//!
//! Nothing here performs I/O, allocates or panics, whatever the bytes.

#[allow(missing_docs)]
pub mod attribute;
#[allow(missing_docs)]
pub mod diag;
#[allow(missing_docs)]
pub mod filter;
#[allow(missing_docs)]
pub mod generic;
mod ifindex;
#[allow(missing_docs)]
pub mod message;
pub mod mptcp;
#[cfg(test)]
mod notation;
pub mod prefix;
#[allow(missing_docs)]
pub mod route;
mod seq;

pub use ifindex::IfIndex;
pub use seq::Seq;
