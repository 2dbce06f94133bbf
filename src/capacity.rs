//! How much each fixed table holds, and the memory that costs.
//!
//! Tables are reserved once at start and never grow; pages that were never written cost no
//! memory. A full table is counted and logged, and whatever did not fit is read from the kernel as
//! soon as there is room.

/// Interfaces, 56 bytes each: 57 KiB when full.
pub const INTERFACES: usize = 1024;
/// Addresses, 72 bytes each: 144 KiB when full.
pub const ADDRESSES: usize = 2048;
/// Default routes (one for each next hop) and our own routes, 64 bytes each: 128 KiB when full.
pub const ROUTES: usize = 2048;
/// Routing-policy rules, 44 bytes each: 44 KiB when full.
pub const RULES: usize = 1024;
/// Endpoints known to the kernel, ours and others', 56 bytes each: 14 KiB when full.
/// Ids are 8 bits wide, so there can be no more.
pub const ENDPOINTS: usize = 255;
/// Commands that plugins have asked for and that are not yet sent, 80 bytes each.
pub const COMMANDS: usize = 1024;
/// Plugins loaded at the same time.
pub const PLUGINS: usize = 8;
/// Timers of all plugins.
pub const TIMERS: usize = 32;
/// Source-routing rules of our own, 44 bytes each, and twice as many routes.
pub const OWN_RULES: usize = 256;
