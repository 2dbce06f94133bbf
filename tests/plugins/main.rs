// SPDX-License-Identifier: BSD-3-Clause
//! The plugin API on the real kernel, with the userspace path manager on both sides.
//!
//! `tests/programs/plugin_probe.rs` is the daemon: it writes down each callback and does what it
//! is asked to. What it was told must be, to the letter and in this order, what `ip mptcp monitor`
//! saw; what its commands did is judged by `ss` and `nstat` on both sides.

#[path = "../support/mod.rs"]
mod support;

mod callbacks;
mod commands;
mod errors;
mod pair;
mod recovery;
mod second_subflow;
mod selection;
mod table;
