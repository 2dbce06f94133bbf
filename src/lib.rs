#![doc = include_str!("README.md")]
#![deny(unsafe_code)]

pub mod app;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod endpoint;
pub mod engine;
pub mod logging;
pub mod netlink;
pub mod network;
pub mod plugin;
pub mod policy;
pub mod request;
pub mod routing;
mod start;
pub mod state;
#[allow(unsafe_code)]
pub mod sys;
pub mod table;
pub mod time;

pub use app::run;
