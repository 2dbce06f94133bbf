// SPDX-License-Identifier: BSD-3-Clause
//! The way that new connections take to the world, which are bound to nothing: asked of the kernel.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::route::{TABLE_DEFAULT, TABLE_MAIN, is_default};
use super::way::{Ask, Question};
use super::{IFF_LOOPBACK, Interface, LocalAddress, Network, Verdict};
use crate::config::Config;
use crate::netlink::IfIndex;
use crate::netlink::route::{Family, MAX_HOPS, Route};

/// What is known of a family's way.
#[derive(Default)]
pub(super) struct Unbound {
    /// Whether it has been asked, and not answered.
    sent: bool,
    /// Whether there is nothing to ask.
    known: bool,
    /// Which of the destinations that stand for the world is asked for.
    target: u8,
    /// Where the default route of the main table leaves by that is taken, if one is.
    hops: heapless::Vec<IfIndex, MAX_HOPS>,
}

impl Unbound {
    /// Has it asked again; what was known counts until it is answered.
    pub(super) fn doubt(&mut self) {
        (self.sent, self.known, self.target) = (false, false, 0);
    }

    /// Takes in an answer, as [`Network::on_answer`] has it.
    fn answer(&mut self, answer: Option<Option<&Route>>, has_more: bool) {
        if !core::mem::take(&mut self.sent) {
            return;
        }
        let Some(route) = answer else {
            self.known = false;
            return;
        };
        if route.is_none() && has_more {
            self.target = self.target.saturating_add(1);
            self.known = false;
            return;
        }
        self.hops.clear();
        let tables = [TABLE_MAIN, TABLE_DEFAULT];
        let default = route.filter(|route| is_default(route) && tables.contains(&route.table));
        for hop in default.iter().flat_map(|route| &route.hops) {
            // A route has no more of them.
            let _ = self.hops.push(hop.oif);
        }
    }
}

impl Network {
    /// Returns what to ask next about the ways of new connections.
    pub(super) fn next_unbound(&mut self, config: &Config) -> Option<Question> {
        if !config.steers() {
            return None;
        }
        let at = self.unbound.iter().position(|way| !way.known)?;
        let way = self.unbound.get_mut(at)?;
        (way.sent, way.known) = (true, true);
        let source: IpAddr = match at {
            0 => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        Some(Question {
            ask: Ask::Free,
            source,
            holder: IfIndex::NONE,
            destination: config.destination(source.is_ipv4(), way.target.into())?,
        })
    }

    /// Takes in the answer to such a question.
    pub(super) fn on_unbound(
        &mut self,
        question: &Question,
        answer: Option<Option<&Route>>,
        config: &Config,
    ) {
        let ipv4 = question.source.is_ipv4();
        let [v4, v6] = &mut self.unbound;
        let way = if ipv4 { v4 } else { v6 };
        let next = usize::from(way.target) + 1;
        way.answer(answer, config.destination(ipv4, next).is_some());
    }

    /// Returns whether new connections of the family that are bound to nothing leave by an uplink
    /// that is dead.
    pub fn is_stranded(&self, family: Family) -> bool {
        let [v4, v6] = &self.unbound;
        let way = match family {
            Family::Ipv4 => v4,
            Family::Ipv6 => v6,
        };
        way.hops.iter().any(|hop| self.is_dead(*hop, family))
    }

    /// Returns whether nothing of the family that leaves by the interface arrives, as far as is
    /// known: it has no carrier, is declared down, or its probes are not answered.
    pub fn is_dead(&self, index: IfIndex, family: Family) -> bool {
        let is_lost = |i: &Interface| i.flags & IFF_LOOPBACK == 0 && !i.is_up();
        let any = |verdict: Verdict| {
            let on_link = |a: &LocalAddress| a.index == index && Family::of(a.address) == family;
            self.addresses().any(|a| a.verdict == verdict && on_link(a))
        };
        self.interface(index).is_some_and(is_lost) || (any(Verdict::Dead) && !any(Verdict::Usable))
    }
}
