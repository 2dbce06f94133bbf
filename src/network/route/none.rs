// SPDX-License-Identifier: BSD-3-Clause
//! Without source routing: no rules, and no routes of our own.

use core::convert::Infallible;
use core::fmt;

use super::Routes;
use crate::config::SourceRouting;
use crate::netlink::Seq;
use crate::netlink::attribute::{Builder, Full};
use crate::netlink::route::{Family, Rule};
use crate::network::Part;

pub(super) struct Rules;

impl Rules {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn refused(&self) -> u32 {
        0
    }

    pub(super) fn is_short(&self) -> bool {
        false
    }

    pub(super) fn has_room_again(&mut self) -> bool {
        false
    }

    pub(super) fn begin(&mut self, _: Family) {}

    pub(super) fn finish(&mut self, _: Family) {}

    pub(super) fn put(&mut self, _: &Rule, _: Option<&SourceRouting>) {}
}

impl Routes {
    pub(crate) fn show_ours(&self, _: &mut dyn FnMut(&dyn fmt::Display)) {}
}

/// There is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change(Infallible);

impl Change {
    pub(crate) fn word(&self) -> &'static str {
        match self.0 {}
    }

    pub(crate) fn part(&self) -> Part {
        match self.0 {}
    }

    pub(crate) fn encode(&self, _: &mut Builder<'_>, _: Seq) -> Result<(), Full> {
        match self.0 {}
    }
}

impl fmt::Display for Change {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
