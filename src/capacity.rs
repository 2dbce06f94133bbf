// SPDX-License-Identifier: BSD-3-Clause
//! How much each fixed table holds, and the memory that costs.
//!
//! Tables are reserved once at start and never grow; pages that were never written cost no
//! memory. Sizes are those of 64-bit targets, and none is larger on any other; each is asserted
//! beside its type. A full table is counted and logged, and whatever did not fit is read from the
//! kernel as soon as there is room.

/// Interfaces, 64 bytes each: 64 KiB when full.
pub const INTERFACES: usize = 1024;
/// Addresses, 120 bytes each: 240 KiB when full. As many wanted endpoints, 36 bytes each: 72 KiB
/// when full.
pub const ADDRESSES: usize = 2048;
/// Paths that are probed, 640 bytes each: 40 KiB when full.
pub const TRACKED: usize = 64;
/// Our own routes and, for source routing, others' default routes (one for each next hop) and what
/// is in its tables, 88 bytes each: 88 KiB when full.
pub const ROUTES: usize = 1024;
/// Our own rules and those in the way of them, 44 bytes each: 22 KiB when full.
pub const RULES: usize = 512;
/// Endpoints known to the kernel: ours, 40 bytes each, others', 28 bytes each, and those it has
/// refused, 40 bytes each: 27 KiB when all are full.
/// Ids are 8 bits wide, so there can be no more.
pub const ENDPOINTS: usize = 255;
/// Commands that wait to be sent, and as many again of plugins that have been sent and not been
/// answered, 96 bytes each: 192 KiB when full.
pub const COMMANDS: usize = 1024;
/// Listeners behind announced addresses, 72 bytes each: 18 KiB when full. As many of other
/// programs that a strategy knows of, 36 bytes each: 9 KiB when full.
pub const LISTENERS: usize = 256;
/// Subflows for each of `max-connections`, on average, 92 bytes each. A connection, 144 bytes and 8
/// to 16 of a hash table, may have more while others have fewer. Nothing is reserved while the
/// plugin that manages connections wants none.
pub const SUBFLOWS_PER_CONNECTION: usize = 4;
/// Announced addresses of peers for each of `max-connections`, on average, 40 bytes each.
pub const ADDRESSES_PER_CONNECTION: usize = 4;
/// Subflows that a look at the connections of the in-kernel path manager takes in, 8 bytes each:
/// 512 KiB when full.
pub const COVERED_SUBFLOWS: usize = 65_536;
/// Subflows that such connections lack, 40 bytes each.
pub const MISSING_SUBFLOWS: usize = 1024;
/// Our addresses' ids of RFC 8684, 8 bits wide and never 0, 18 bytes each.
pub const ADDRESS_IDS: usize = 255;
/// Plugins loaded at the same time, 40 bytes each beside what they keep themselves.
pub const PLUGINS: usize = 8;
/// Timers of all plugins, 16 bytes each.
pub const TIMERS: usize = 32;
/// Source-routing rules of our own, three for each address. Rules and routes that there should be
/// take 84 bytes each, 52 KiB when all are there, and each of as many changes under way as there
/// are rules takes 120 bytes: 45 KiB when full.
pub const OWN_RULES: usize = 3 * 128;
/// Routes of our own: for each address its prefix, and a default route.
pub const OWN_ROUTES: usize = 2 * 128;
/// Timers of connections, and what of them failed and is to be tried again, 32 bytes each.
pub const CONNECTION_TIMERS: usize = 1024;
/// News that wait to be told, 144 bytes each: 9 KiB when full.
#[cfg(feature = "control")]
pub const NEWS: usize = 64;
/// Paths that were lost, 64 bytes each, to say after how long they are back.
#[cfg(feature = "control")]
pub const LOST_PATHS: usize = 64;
/// Addresses whose joins are counted, 28 bytes each.
#[cfg(feature = "control")]
pub const TALLIES: usize = 64;
/// Clients of the control socket, 5 KiB each, where there is one.
pub const CLIENTS: usize = 8;
/// Addresses that a strategy has seen go, 17 bytes each.
pub const LOST_ADDRESSES: usize = 64;
