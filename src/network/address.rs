// SPDX-License-Identifier: BSD-3-Clause
//! An address of this host, and how long it has been fit for use.

use core::net::IpAddr;

use super::Verdict;
use super::way::{Question, Subnet, Way};
use crate::netlink::IfIndex;
use crate::netlink::route::{Address, Route};
use crate::table::Mark;
use crate::time::{Duration, Instant};

/// Returns whether the address means something on one link only (RFC 3927, RFC 4291).
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Returns whether the address is not meant for the Internet (RFC 4193).
pub fn is_unique_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unique_local())
}

/// An address of this host on one interface: what the kernel says of it, and what is thought of it.
/// It is a row of a table that is gone through whole, hence the number of fields.
#[derive(Debug)]
#[non_exhaustive]
pub struct LocalAddress {
    /// The interface that it leaves by: mostly the one that has it, but where an uplink has no
    /// address of its own, one of another interface does.
    pub index: IfIndex,
    /// The interface that has it.
    pub holder: IfIndex,
    /// The address itself.
    pub address: IpAddr,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// The length of its prefix, in bits.
    pub prefix_len: u8,
    /// `IFA_F_*` of linux/if_addr.h.
    pub flags: u32,
    /// `RT_SCOPE_*` of linux/rtnetlink.h.
    pub scope: u8,
    /// Grows with every address that appears: the order of arrival.
    pub sequence: u32,
    /// Was there when the daemon started.
    pub existing: bool,
    /// Whether it may be used, and if not, why.
    pub verdict: Verdict,
    /// Probes over it are not answered.
    pub(super) dead: bool,
    /// Its link was away and is back, which [`super::Network::take_interruption`] has not told.
    #[cfg(feature = "health")]
    pub(super) interrupted: bool,
    /// Since when it has its verdict.
    #[cfg(feature = "control")]
    pub(crate) since: Instant,
    /// The verdict that has been told as news.
    #[cfg(feature = "control")]
    pub(super) told: Verdict,
    /// Since when it would be usable, were it not for hold-down and standby; [`Instant::NEVER`] if
    /// it would not.
    pub(super) fit_since: Instant,
    /// Since when it lacks a route and nothing else; [`Instant::NEVER`] if it does not.
    routeless_since: Instant,
    pub(super) way: Way,
    /// Plugins know it.
    pub(crate) notified: bool,
    pub(super) gone: bool,
    pub(super) marked: bool,
}

const _: () = assert!(size_of::<LocalAddress>() <= 120);

impl LocalAddress {
    /// Returns what it takes to be on its link.
    pub(super) fn subnet(&self) -> Subnet<'_> {
        Subnet {
            address: &self.address,
            neighbour: self.peer.as_ref().unwrap_or(&self.address),
            len: self.prefix_len,
        }
    }

    /// Takes in the answer to a question about its way, as [`Way::answer`] does.
    pub(super) fn answer(&mut self, question: &Question, route: Option<&Route>, has_more: bool) {
        // By itself it may be read while its way is written.
        let mut way = self.way;
        way.answer(question, self.subnet(), route, has_more);
        self.way = way;
    }

    /// Returns whether the kernel takes one for the other, if both are on the same interface. That
    /// has an IPv6 address once, and another peer does not make it another one.
    pub(crate) fn is(&self, other: &Address) -> bool {
        self.address == other.local
            && (self.address.is_ipv6()
                || self.prefix_len == other.prefix_len && self.peer == other.peer)
    }

    pub(super) fn new(address: &Address, sequence: u32, existing: bool) -> Self {
        Self {
            index: address.index,
            holder: address.index,
            address: address.local,
            peer: address.peer,
            prefix_len: address.prefix_len,
            flags: address.flags,
            scope: address.scope,
            sequence,
            existing,
            verdict: Verdict::Unjudged,
            dead: false,
            #[cfg(feature = "health")]
            interrupted: false,
            #[cfg(feature = "control")]
            since: Instant::NEVER,
            #[cfg(feature = "control")]
            told: Verdict::Unjudged,
            fit_since: Instant::NEVER,
            routeless_since: Instant::NEVER,
            way: Way::UNKNOWN,
            notified: false,
            gone: false,
            marked: true,
        }
    }

    /// Returns whether probes over it are not answered, whatever else keeps it from being used.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Returns the next hop of the route by which it leaves; `None` is on the link, or not known.
    #[cfg(feature = "quality")]
    pub fn gateway(&self) -> Option<IpAddr> {
        self.way.gateway
    }

    /// Returns the metric of the route by which it leaves; lower is preferred, 0 is also not known.
    #[cfg(feature = "quality")]
    pub fn metric(&self) -> u32 {
        self.way.metric
    }

    /// Returns whether either has changed since plugins were told.
    #[cfg(feature = "quality")]
    pub(crate) fn has_other_route(&self) -> bool {
        self.verdict.is_used() && self.way.changed
    }

    /// Returns whether it is of interest to people: it is used, or might be on another day.
    #[cfg(feature = "control")]
    pub(crate) fn may_be_path(&self) -> bool {
        let bound = self.verdict == Verdict::Loopback || is_link_local(self.address);
        self.verdict.is_used() || !bound
    }

    /// Takes in what the kernel shows of it now.
    pub(super) fn update(&mut self, shown: &Address, existing: bool) {
        self.peer = shown.peer;
        self.prefix_len = shown.prefix_len;
        self.flags = shown.flags;
        self.scope = shown.scope;
        self.marked = true;
        if self.gone {
            // It went and came back before anyone looked: as good as new.
            self.gone = false;
            self.existing = existing;
            self.dead = false;
            self.way = Way::UNKNOWN;
            self.restart();
        }
    }

    /// Returns whether the kernel has a way to the world for it, by the interface that it leaves by.
    pub(crate) fn has_way(&self) -> bool {
        self.way.direct || self.index != self.holder
    }

    /// Returns whether its way depends on the interface.
    pub(super) fn uses(&self, index: IfIndex) -> bool {
        self.holder == index || (!self.way.direct && self.way.free == index)
    }

    /// Has the hold-down begin anew.
    pub(super) fn restart(&mut self) {
        self.fit_since = Instant::NEVER;
    }

    /// Notes that its link was away, however briefly.
    pub(super) fn interrupt(&mut self) {
        self.restart();
        #[cfg(feature = "health")]
        {
            self.interrupted = true;
        }
    }

    /// Turns the `verdict` on the address by itself into the one that counts now, by how long it
    /// has been fit for use. `spans` are the hold-down and the grace without a route, `started`
    /// says that what is new is held down. Returns when to judge it again, or
    /// [`Instant::NEVER`].
    pub(super) fn settle(
        &mut self,
        now: Instant,
        verdict: Verdict,
        (hold_down, route_grace): (Duration, Duration),
        started: bool,
    ) -> Instant {
        if verdict != Verdict::NoRoute {
            self.routeless_since = Instant::NEVER;
        } else if self.fit_since != Instant::NEVER {
            self.routeless_since = self.routeless_since.min(now);
            let end = self.routeless_since + route_grace;
            if now < end {
                return end;
            }
        }
        let fit = |verdict: Verdict| verdict.is_used() || verdict == Verdict::Standby;
        if !fit(verdict) {
            self.restart();
            self.verdict = verdict;
            return Instant::NEVER;
        }
        // What counts already goes on counting, even where the configuration now asks for more;
        // what was there when the daemon started has been there long enough.
        let counts = !started || (fit(self.verdict) && self.fit_since != Instant::NEVER);
        self.fit_since = self.fit_since.min(now);
        let ready = self.fit_since + hold_down;
        if !counts && now < ready {
            self.verdict = Verdict::HoldDown;
            return ready;
        }
        self.verdict = verdict;
        Instant::NEVER
    }

    /// Its place in the table: the kernel shows all of one family first, and an address that comes
    /// last moves no other.
    pub(super) fn place(&self) -> u64 {
        place(self.address.is_ipv6(), self.holder)
    }
}

/// The first place of a family's addresses on an interface.
pub(super) fn place(ipv6: bool, holder: IfIndex) -> u64 {
    u64::from(ipv6) << 32 | u64::from(holder.0)
}

impl Mark for LocalAddress {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}
