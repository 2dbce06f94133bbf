//! Multipath TCP path management for embedded Linux and OpenWrt.

pub mod capacity;
pub mod netlink;
pub mod table;
pub mod time;
