//! The netlink codec: bytes to typed messages and back.
//!
//! Nothing here performs I/O, allocates or panics, whatever the bytes.

pub mod attribute;
pub mod diag;
pub mod filter;
pub mod generic;
pub mod message;
pub mod mptcp;
#[cfg(test)]
mod notation;
pub mod route;
