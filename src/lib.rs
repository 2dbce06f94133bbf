#![doc = include_str!("README.md")]
#![deny(unsafe_code)]

mod app;
mod capacity;
mod cli;
mod config;
mod connection;
mod daemon;
mod endpoint;
mod engine;
mod logging;
mod netlink;
mod network;
mod plugin;
mod policy;
mod request;
mod routing;
#[cfg(feature = "router")]
mod start;
mod state;
#[allow(unsafe_code)]
mod sys;
mod table;
mod time;

pub use app::{Program, run};
pub use config::{Config, NotifyFlags, Policy};
pub use connection::{Connection, RemoteAddress, Subflow};
pub use endpoint::{Want, Wanted};
pub use netlink::mptcp::{
    AddressId, Command, ConnectionEvent, Endpoint, EndpointFlags, Limits, SubflowAddress,
    SubflowEvent, Token,
};
pub use netlink::route::Name;
pub use network::{Interface, LocalAddress, Network, Verdict};
pub use plugin::{
    BUILT_IN, CommandId, Context, Entry, Failure, Plugin, QueueFull, Reply, Request, want_usable,
};
pub use time::{Backoff, Duration, Instant, Retry};

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
}
