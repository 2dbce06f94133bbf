// SPDX-License-Identifier: BSD-3-Clause
//! `addr_adv`: every usable address is an endpoint of the in-kernel path manager.

use super::{Entry, Plugin, want_usable};
use crate::config::Config;
use crate::endpoint::Wanted;
use crate::network::Network;

/// The entry of `addr_adv`.
pub const ENTRY: Entry = Entry::new(
    "addr_adv",
    "endpoints of the in-kernel path manager, from the host's addresses",
    || Box::new(AddrAdv),
);

struct AddrAdv;

impl Plugin for AddrAdv {
    fn endpoints(&mut self, network: &Network, _: &Config, wanted: &mut Wanted) {
        want_usable(network, wanted);
    }
}
