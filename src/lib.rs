//! Multipath TCP path management for embedded Linux and OpenWrt.
