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

/// What users may name that this build lacks, and the feature that brings it: keys of the
/// configuration, plugins and commands.
#[rustfmt::skip]
const ABSENT: &[(&str, &[&str])] = &[
    #[cfg(not(feature = "addr_adv"))]
    ("addr_adv", &["addr_adv"]),
    #[cfg(not(feature = "sspi"))]
    ("sspi", &["sspi"]),
    #[cfg(not(feature = "fullmesh"))]
    ("fullmesh", &["fullmesh"]),
    #[cfg(not(feature = "failover"))]
    ("failover", &["failover"]),
    #[cfg(not(feature = "ndiffports"))]
    ("ndiffports", &["ndiffports"]),
    #[cfg(not(feature = "userspace"))]
    ("userspace", &["max-connections"]),
    #[cfg(not(feature = "healing"))]
    ("healing", &["heal-interval"]),
    #[cfg(not(feature = "source-routing"))]
    ("source-routing", &["source-routing", "source-routing-tables", "source-routing-priorities"]),
    #[cfg(not(feature = "health"))]
    ("health", &[
        "track", "track-interval", "track-timeout", "track-down", "track-up", "track-reliability",
        "steer",
    ]),
    #[cfg(not(feature = "control"))]
    ("control", &["control-group", "status", "connections", "monitor", "reload", "path", "wait"]),
];

/// Returns what to tell a user who names a key, a plugin or a command that this build lacks.
#[cold]
pub(crate) fn lacking(name: &str) -> Option<String> {
    let mut absent = ABSENT.iter();
    let (feature, _) = absent.find(|(_, names)| names.contains(&name))?;
    Some([name, ": this build lacks the feature ", feature].concat())
}
