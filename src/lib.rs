//! Multipath TCP path management for embedded Linux and OpenWrt.

pub mod capacity;
pub mod cli;
pub mod config;
pub mod log;
pub mod netlink;
pub mod table;
pub mod time;
