// SPDX-License-Identifier: BSD-3-Clause
//! Without source routing there is nothing of ours to keep.

use super::Refused;
use crate::config::Config;
use crate::network::Network;
use crate::network::route::Change;
use crate::request::CommandId;
use crate::time::Instant;

#[derive(Default)]
pub struct Router(());

impl Router {
    pub fn unrouted(&self) -> u32 {
        0
    }

    pub fn is_at_rest(&self) -> bool {
        true
    }

    pub fn deadline(&self) -> Instant {
        Instant::NEVER
    }

    pub fn reconcile(
        &mut self,
        _: Instant,
        _: &Network,
        _: &Config,
        _: &mut dyn FnMut(Change) -> Option<CommandId>,
    ) {
    }

    pub fn remove_all(&self, _: &Network, _: &mut dyn FnMut(Change)) {}

    pub fn failed(&mut self, _: CommandId, _: i32) -> Option<Refused<'_>> {
        None
    }

    pub fn retry_now(&mut self) {}
}
