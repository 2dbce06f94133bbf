// SPDX-License-Identifier: BSD-3-Clause
//! What a plugin sees of the daemon, and what every one can do.

#[cfg(feature = "userspace")]
mod requests;

use core::fmt;
use core::ops::RangeInclusive;

use super::timers::{ConnectionTimers, Random};
use crate::config::Config;
use crate::connection::Connections;
use crate::connection::address_id::AddressIds;
use crate::network::Network;
use crate::request::Queue;
use crate::table::Table;
use crate::time::Instant;

/// A timer of a plugin's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub owner: u8,
    pub timer: u32,
    pub at: Instant,
}

const _: () = assert!(size_of::<Timer>() <= 16);

/// Too many commands wait to be carried out: this one was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many commands are waiting")
    }
}

impl core::error::Error for QueueFull {}

/// A plugin's handle on the daemon.
#[cfg_attr(not(feature = "userspace"), allow(dead_code))]
pub struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) ready: bool,
    pub(crate) owner: u8,
    pub(crate) name: &'static str,
    pub(crate) network: &'a Network,
    pub(crate) config: &'a Config,
    pub(crate) connections: &'a Connections,
    pub(crate) ids: &'a mut AddressIds,
    pub(crate) queue: &'a mut Queue,
    pub(crate) timers: &'a mut Table<Timer>,
    pub(crate) connection_timers: &'a mut ConnectionTimers,
    pub(crate) random: &'a mut Random,
    #[cfg(feature = "quality")]
    pub(crate) measure: &'a mut super::timers::Measure,
}

impl<'a> Context<'a> {
    /// The time of the event, in milliseconds on a clock that never jumps.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether the kernel's path manager can be talked to.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Returns the interfaces and addresses of this host.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// Returns the configuration in effect.
    pub fn config(&self) -> &'a Config {
        self.config
    }

    /// The value of a key in the plugin's own section of the configuration, of which
    /// [`super::Entry::keys`] must tell. It may be another after SIGHUP: see
    /// [`Plugin::reload`](crate::Plugin::reload).
    pub fn setting(&self, key: &str) -> Option<&'a str> {
        self.config.plugin_value(self.name, key)
    }

    /// Returns [`Self::setting`] as a number, or `default` where it is not set.
    ///
    /// # Errors
    /// A line for the user, if it is no number or not in the `range`.
    pub fn number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, String> {
        let Some(value) = self.setting(key) else {
            return Ok(default);
        };
        match value.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let (first, last) = (range.start(), range.end());
                Err(format!(
                    "{key} = {value}: not a number from {first} to {last}"
                ))
            }
        }
    }
}
