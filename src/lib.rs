// SPDX-License-Identifier: BSD-3-Clause
#![doc = include_str!("README.md")]
#![deny(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

// The simulator of tests/, which is part of the kit, knows the crate by its name.
#[cfg(all(feature = "testing", not(test)))]
extern crate self as mptcpd;

// Rooms of which plugins see nothing need not explain every item.
mod app;
mod capacity;
#[allow(missing_docs)]
mod cli;
#[cfg(feature = "control")]
mod client;
mod config;
mod connection;
#[cfg(feature = "control")]
#[allow(missing_docs)]
mod control;
#[allow(missing_docs)]
mod daemon;
mod endpoint;
#[allow(missing_docs)]
mod engine;
mod features;
#[cfg(feature = "health")]
#[allow(missing_docs)]
mod health;
#[allow(missing_docs)]
mod logging;
mod netlink;
mod network;
mod plugin;
mod policy;
mod request;
#[allow(missing_docs)]
mod routing;
#[cfg(feature = "router")]
mod start;
#[allow(missing_docs)]
mod state;
#[allow(unsafe_code, missing_docs)]
mod sys;
#[allow(missing_docs)]
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;

pub use app::{Program, run};
pub use config::{Config, NotifyFlags, Policy};
pub use connection::storage::{PerConnection, PerSubflow};
pub use connection::{Connection, RemoteAddress, Subflow};
pub use endpoint::{Want, Wanted};
pub use netlink::IfIndex;
#[cfg(feature = "quality")]
pub use netlink::diag::Quality;
pub use netlink::mptcp::{
    AddressId, Command, ConnectionEvent, Endpoint, EndpointFlags, Limits, SubflowAddress,
    SubflowEvent, Token,
};
pub use netlink::route::Name;
pub use network::{Declared, Interface, LocalAddress, Network, Verdict};
pub use plugin::{
    BUILT_IN, CommandId, Context, Entry, Failure, Pending, Plugin, QueueFull, Reply, Request,
    want_usable,
};
#[cfg(feature = "userspace")]
pub use plugin::{Lost, Paths, Strategy, by_priority, strategy, uplinks};
pub use time::{Backoff, Duration, Instant, Retry};

#[doc = include_str!("plugin/README.md")]
pub mod authors {}

/// The entries of the plugins that the crate's features select, for lists of one's own.
pub mod built_in {
    #[cfg(feature = "addr_adv")]
    pub use crate::plugin::addr_adv::ENTRY as ADDR_ADV;
    #[cfg(feature = "failover")]
    pub use crate::plugin::failover::ENTRY as FAILOVER;
    #[cfg(feature = "fullmesh")]
    pub use crate::plugin::fullmesh::ENTRY as FULLMESH;
    #[cfg(feature = "ndiffports")]
    pub use crate::plugin::ndiffports::ENTRY as NDIFFPORTS;
    #[cfg(feature = "sspi")]
    pub use crate::plugin::sspi::ENTRY as SSPI;
}

/// What tests, fuzz targets and the macros need. None of it is a promise.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internal {
    macro_rules! expose {
        ($($room:ident)*) => { $(pub mod $room { pub use crate::$room::*; })* };
    }
    expose! {
        app capacity cli config connection daemon endpoint engine logging netlink network plugin
        policy request routing state sys table time
    }
    #[cfg(feature = "control")]
    expose! { control }
    #[cfg(feature = "health")]
    expose! { health }
}
