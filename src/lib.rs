//! Multipath TCP path management for embedded Linux and OpenWrt.
pub mod netlink;
