// SPDX-License-Identifier: BSD-3-Clause
//! Our own routes and rules. All of them carry our protocol number, by which a later run of the
//! daemon knows them again.

#[cfg(feature = "source-routing")]
mod attempts;
#[cfg(feature = "source-routing")]
mod owned;
#[cfg_attr(not(feature = "source-routing"), path = "routing/none.rs")]
mod router;
#[cfg(feature = "source-routing")]
mod source;
#[cfg(feature = "health")]
mod steering;

use crate::network::route::Change;
pub use router::Router;

/// A refusal worth telling.
pub struct Refused<'a> {
    pub change: &'a Change,
    /// The interface or the route that it was about went meanwhile: no reason to complain.
    pub gone: bool,
    pub news: bool,
}
