//! Multipath TCP path management for embedded Linux and OpenWrt.
//!
//! The daemon keeps the kernel's path manager in step with the network, and lets compiled-in
//! plugins manage every connection's subflows. To write a strategy, implement
//! [`plugin::Plugin`], list it in a [`plugin::Entry`], and call [`run`] from a `main` of your
//! own, or let [`main!`] be it. From the top down:
//!
//! - [`mod@daemon`]: the loop; the only place that knows both sockets and engine
//! - [`engine`]: what is known, what is wanted, and the commands between them; no I/O
//!   - [`network`], [`policy`]: the model of the network, and which address may be used
//!   - [`connection`]: connections and their subflows
//!   - [`endpoint`], [`routing`]: what the kernel should have against what it has
//!   - [`plugin`] strategies
//!   - [`state`]: what is remembered across restarts
//! - [`netlink`]: bytes to messages and back; [`sys`]: system calls
//! - [`cli`], [`config`], [`log`]: what the user says, and is told
#![deny(unsafe_code)]

pub mod app;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod endpoint;
pub mod engine;
pub mod logging;
pub mod netlink;
pub mod network;
pub mod plugin;
pub mod policy;
pub mod request;
pub mod routing;
mod start;
pub mod state;
#[allow(unsafe_code)]
pub mod sys;
pub mod table;
pub mod time;

pub use app::run;
