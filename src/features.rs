// SPDX-License-Identifier: BSD-3-Clause
//! What a build leaves out where the code around it stays. A branch that one of these rules out costs
//! no byte, and is compiled and checked in every build all the same.

/// Plugins may manage connections themselves: their table, their commands, timers and listeners.
pub(crate) const USERSPACE: bool = cfg!(feature = "userspace");

/// There are rules and routes of our own; a build without them leaves those of others, and those that
/// an earlier run may have left.
pub(crate) const SOURCE_ROUTING: bool = cfg!(feature = "source-routing");

/// The connections of the in-kernel path manager are looked at, before an endpoint goes and to make
/// subflows again. Without it the last endpoint that works stays, as where the kernel lacks inet_diag.
pub(crate) const HEALING: bool = cfg!(feature = "healing");
