// SPDX-License-Identifier: BSD-3-Clause
//! The model of the router's network: interfaces, addresses, and the ways by which these leave.
//!
//! Events and dumps write it; [`crate::policy::evaluate`] then says of every address whether it may be
//! used, and why not. Nothing here knows about endpoints.

mod address;
mod advice;
mod path;
pub mod route;
#[cfg(feature = "health")]
mod unbound;
mod update;
mod verdict;
pub mod way;

use core::net::IpAddr;
use core::ops::Range;

use crate::capacity;
use crate::config::{Config, NotifyFlags, Policy};
use crate::netlink::IfIndex;
use crate::netlink::mptcp::EndpointFlags;
use crate::netlink::route::{Family, Link, Name};
use crate::table::{Mark, Table};
use crate::time::{Duration, Instant};

pub use address::{LocalAddress, is_link_local, is_unique_local};
pub use route::Routes;
pub use verdict::{Declared, Verdict};
pub use way::Question;

/// `IFF_UP`, `IFF_LOOPBACK`, `IFF_POINTOPOINT`, `IFF_RUNNING` of linux/if.h.
pub const IFF_UP: u32 = 1;
/// `IFF_LOOPBACK`.
pub const IFF_LOOPBACK: u32 = 1 << 3;
/// `IFF_POINTOPOINT`.
pub const IFF_POINTOPOINT: u32 = 1 << 4;
/// `IFF_RUNNING`: it has a carrier.
pub const IFF_RUNNING: u32 = 1 << 6;

/// How long the paths of a family have to answer once one does after none did.
#[cfg(feature = "health")]
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// A network interface.
#[derive(Debug)]
#[non_exhaustive]
pub struct Interface {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: Name,
    /// `IFF_*` of linux/if.h.
    pub flags: u32,
    /// The routing table of the VRF it belongs to; 0 is none.
    pub vrf_table: u32,
    /// What the configuration says about a device of this name.
    pub policy: Policy,
    /// What has been said of it at run time, which `policy` takes into account.
    pub declared: Declared,
    /// Plugins know it.
    pub(crate) notified: bool,
    /// Something plugins can see has changed since they were told.
    pub(crate) changed: bool,
    /// It was down since the last judgement, however briefly.
    interrupted: bool,
    /// [`Network::next_asymmetric_route`] has named it.
    asymmetric_route: bool,
    /// A program carries it, which [`Network::next_tunnel`] has not said.
    tunnel: bool,
    gone: bool,
    marked: bool,
}

const _: () = assert!(size_of::<Interface>() <= 64);

impl Interface {
    /// Returns whether it is up, with carrier, not declared down, and not a loopback interface.
    pub fn is_up(&self) -> bool {
        const UP: u32 = IFF_UP | IFF_RUNNING;
        let down = self.gone || self.declared == Declared::Down;
        !down && self.flags & (UP | IFF_LOOPBACK) == UP
    }

    /// Returns one that is not there yet, for [`Self::update`].
    fn new(link: &Link, config: &Config) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
            flags: link.flags,
            vrf_table: link.vrf_table,
            policy: *config.policy(&link.name),
            declared: Declared::Auto,
            notified: false,
            changed: false,
            interrupted: false,
            asymmetric_route: false,
            tunnel: false,
            gone: true,
            marked: true,
        }
    }

    /// Takes in what the kernel shows of it now. Returns whether its addresses' ways may be others.
    fn update(&mut self, link: &Link, config: &Config) -> bool {
        const STATE: u32 = IFF_UP | IFF_RUNNING;
        let was_up = self.is_up();
        let state = |i: &Self| (i.flags & STATE, i.vrf_table);
        let was = state(self);
        self.changed |= self.flags != link.flags || self.name != link.name;
        self.flags = link.flags;
        self.vrf_table = link.vrf_table;
        self.name.clone_from(&link.name);
        self.marked = true;
        if core::mem::take(&mut self.gone) {
            self.declared = Declared::Auto;
            self.tunnel = link.tunnel;
        }
        self.configure(config);
        self.interrupted |= was_up && !self.is_up();
        was != state(self)
    }

    /// Has it follow the configuration, and what has been declared.
    fn configure(&mut self, config: &Config) {
        self.policy = *config.policy(&self.name);
        if self.declared == Declared::Backup {
            self.policy.flags.0 |= EndpointFlags::BACKUP.0;
        }
    }

    /// Notes that it is gone, and its addresses with it.
    fn set_gone(&mut self, addresses: &mut [LocalAddress]) {
        self.gone = true;
        self.interrupted = true;
        for address in addresses.iter_mut().filter(|a| a.holder == self.index) {
            address.gone = true;
        }
    }

    /// Returns whether its addresses may leave by another interface.
    fn may_lend(&self) -> bool {
        self.flags & IFF_LOOPBACK == 0 && self.policy.notify.contains(NotifyFlags::CHECK_ROUTE)
    }

    /// Returns whether source routing is ours to do: a VRF has it already.
    pub fn is_source_routed(&self) -> bool {
        self.policy.source_routes() && self.vrf_table == 0
    }
}

impl Mark for Interface {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}

/// Which part of the network a dump shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Interfaces.
    Links,
    /// Addresses.
    Addresses,
    /// Routes of a family.
    Routes(Family),
    /// Routing-policy rules of a family.
    Rules(Family),
}

/// Interfaces, addresses and the routes that matter.
pub struct Network {
    interfaces: Table<Interface>,
    addresses: Table<LocalAddress>,
    routes: Routes,
    sequence: u32,
    /// The first judgement is done: what comes now is not `existing`, and is held down.
    started: bool,
    /// The ways of new connections, IPv4 and IPv6.
    #[cfg(feature = "health")]
    unbound: [unbound::Unbound; 2],
    /// Until when addresses that do not answer are used, IPv4 and IPv6: [`Instant::NEVER`] while none
    /// is usable that does.
    #[cfg(feature = "health")]
    all_dead: [Instant; 2],
    /// No address before this position has anything to be asked.
    asked: usize,
    /// For some the kernel chooses another source.
    has_aliases: bool,
    /// When the next address leaves hold-down, or its grace without a route ends.
    deadline: Instant,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// Returns a network of nothing.
    pub fn new() -> Self {
        Self {
            interfaces: Table::new(capacity::INTERFACES),
            addresses: Table::new(capacity::ADDRESSES),
            routes: Routes::new(),
            sequence: 0,
            started: false,
            #[cfg(feature = "health")]
            unbound: Default::default(),
            #[cfg(feature = "health")]
            all_dead: Default::default(),
            asked: 0,
            has_aliases: false,
            deadline: Instant::NEVER,
        }
    }

    /// Returns all interfaces, by index.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter(|interface| !interface.gone)
    }

    /// Returns an interface by its number.
    pub fn interface(&self, index: IfIndex) -> Option<&Interface> {
        let at = self.interface_position(index).ok()?;
        self.interfaces.get(at).filter(|interface| !interface.gone)
    }

    /// Returns an interface by its number, also one that is gone and not forgotten yet.
    #[cfg(feature = "control")]
    pub(crate) fn interface_or_gone(&self, index: IfIndex) -> Option<&Interface> {
        let at = self.interface_position(index);
        at.ok().and_then(|at| self.interfaces.get(at))
    }

    /// Returns where an interface stands, or where it belongs.
    fn interface_position(&self, index: IfIndex) -> Result<usize, usize> {
        self.interfaces.binary_search_by_key(&index, |i| i.index)
    }

    /// Returns where the addresses of a family stand that an interface has.
    fn addresses_on(&self, ipv6: bool, index: IfIndex) -> Range<usize> {
        let place = address::place(ipv6, index);
        self.first_from(place)..self.first_from(place + 1)
    }

    #[inline(never)]
    fn first_from(&self, place: u64) -> usize {
        self.addresses.partition_point(|a| a.place() < place)
    }

    /// Returns all addresses, by family and then by interface.
    pub fn addresses(&self) -> impl Iterator<Item = &LocalAddress> {
        self.addresses.iter().filter(|address| !address.gone)
    }

    /// Returns the addresses that may be used, by family and then by interface.
    pub fn usable(&self) -> impl Iterator<Item = &LocalAddress> {
        self.addresses().filter(|address| address.verdict.is_used())
    }

    /// Returns the interface that carries `address`, usable ones first.
    pub fn interface_of(&self, address: IpAddr) -> Option<&Interface> {
        let on = |a: &&LocalAddress| a.address == address;
        let found = self
            .usable()
            .find(on)
            .or_else(|| self.addresses().find(on))?;
        self.interface(found.index)
    }

    /// Returns the interface of a subflow: the one it is `bound` to or, where that is none, the one
    /// that carries its local address.
    pub(crate) fn leaves_by(&self, bound: IfIndex, local: IpAddr) -> Option<IfIndex> {
        match bound {
            IfIndex::NONE => self.interface_of(local).map(|i| i.index),
            bound => Some(bound),
        }
    }

    /// Returns default routes, and our own routes and rules.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Returns the address at a position that [`Self::mark_address`] gave.
    pub(crate) fn address_at(&self, at: usize) -> Option<&LocalAddress> {
        self.addresses.get(at)
    }

    /// Returns the interface at a position that [`Self::mark_interface`] gave.
    pub(crate) fn interface_at(&self, at: usize) -> Option<&Interface> {
        self.interfaces.get(at)
    }

    /// Finds the first address from `from` on that `concerns` the plugins, and notes that they
    /// know whether it is usable.
    pub(crate) fn mark_address(
        &mut self,
        from: usize,
        concerns: &dyn Fn(&LocalAddress) -> bool,
        usable: bool,
    ) -> Option<usize> {
        let at = from + self.addresses.iter().skip(from).position(concerns)?;
        let address = self.addresses.get_mut(at)?;
        address.notified = usable;
        #[cfg(feature = "quality")]
        {
            address.way.changed = false;
        }
        Some(at)
    }

    /// Finds the first interface from `from` on that `concerns` the plugins, and notes that they
    /// know its state.
    pub(crate) fn mark_interface(
        &mut self,
        from: usize,
        concerns: &dyn Fn(&Interface) -> bool,
    ) -> Option<usize> {
        let at = from + self.interfaces.iter().skip(from).position(concerns)?;
        let interface = self.interfaces.get_mut(at)?;
        interface.notified = interface.is_up();
        interface.changed = false;
        Some(at)
    }

    /// Returns how often something did not fit into a table.
    pub fn refused(&self) -> u32 {
        self.interfaces.refused() + self.addresses.refused() + self.routes.refused()
    }

    /// Returns whether something is missing that did not fit into a table.
    pub fn is_short(&self) -> bool {
        self.interfaces.is_short() || self.addresses.is_short() || self.routes.is_short()
    }

    /// The parts to be dumped again, because there is room for what did not fit.
    pub(crate) fn take_room(&mut self, each: &mut dyn FnMut(Part)) {
        if self.interfaces.has_room_again() {
            each(Part::Links);
        }
        if self.addresses.has_room_again() {
            each(Part::Addresses);
        }
        let [routes, rules] = self.routes.has_room_again();
        for family in [Family::Ipv4, Family::Ipv6] {
            if routes {
                each(Part::Routes(family));
            }
            if rules {
                each(Part::Rules(family));
            }
        }
    }

    /// Returns when the next address leaves hold-down, or its grace without a route ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Applies a new configuration to every interface.
    pub fn configure(&mut self, config: &Config) {
        for interface in self.interfaces.iter_mut() {
            let before = interface.policy;
            interface.configure(config);
            interface.changed |= interface.policy != before;
            interface.asymmetric_route = false;
        }
    }

    /// Notes what somebody outside says of an interface, which holds until it goes or something else is said.
    #[cfg(feature = "control")]
    pub(crate) fn declare(&mut self, index: IfIndex, declared: Declared, config: &Config) {
        let at = self.interface_position(index);
        if let Some(interface) = at.ok().and_then(|at| self.interfaces.get_mut(at)) {
            interface.interrupted |= declared == Declared::Down;
            interface.declared = declared;
            interface.configure(config);
            interface.changed = true;
        }
    }

    /// Notes whether probes over a path are answered. Returns whether that is news.
    #[cfg(feature = "health")]
    pub(crate) fn set_dead(&mut self, index: IfIndex, ip: IpAddr, dead: bool) -> bool {
        let mut news = false;
        let is_it = |a: &&mut LocalAddress| a.index == index && a.address == ip;
        for address in self.addresses.iter_mut().filter(is_it) {
            news |= core::mem::replace(&mut address.dead, dead) != dead;
        }
        news
    }

    /// Returns an address whose link was away and is back, each once.
    #[cfg(feature = "health")]
    pub(crate) fn take_interruption(&mut self) -> Option<&LocalAddress> {
        let address = self.addresses.iter_mut().find(|a| a.interrupted)?;
        address.interrupted = false;
        Some(address)
    }

    /// Has no path count as dead any more whose probes are over. Returns whether that is news.
    #[cfg(feature = "health")]
    pub(crate) fn revive(&mut self, is_over: &dyn Fn(&LocalAddress) -> bool) -> bool {
        let mut news = false;
        for address in self.addresses.iter_mut().filter(|a| a.dead) {
            if is_over(address) {
                address.dead = false;
                news = true;
            }
        }
        news
    }

    /// Returns the next address from the place `from` on whose verdict has changed, or that is gone,
    /// with its place and the verdict before. Each change is told once.
    #[cfg(feature = "control")]
    pub(crate) fn next_change(&mut self, now: Instant, from: usize) -> Option<(usize, Verdict)> {
        let changed = |a: &LocalAddress| a.told != a.verdict;
        let at = from + self.addresses.iter().skip(from).position(changed)?;
        let address = self.addresses.get_mut(at)?;
        address.since = now;
        Some((at, core::mem::replace(&mut address.told, address.verdict)))
    }

    /// Gives every address its verdict: that of `judge` for the address by itself, and then what
    /// hold-down and standby, which depend on time and on the other addresses, make of it. One in
    /// use that lacks nothing but a route stays in use for `route_grace`: a DHCP client takes the
    /// route away and puts it back.
    pub(crate) fn evaluate(
        &mut self,
        now: Instant,
        route_grace: Duration,
        judge: &dyn Fn(&LocalAddress, &Interface, &Self) -> Verdict,
    ) {
        self.deadline = Instant::NEVER;
        self.has_aliases = false;
        let mut uplink = false;
        let mut standby = false;
        // Both tables are by index, of addresses once for each family.
        let mut behind = 0;
        let mut before = IfIndex::NONE;
        for at in 0..self.addresses.len() {
            let Some(address) = self.addresses.get(at) else {
                break;
            };
            if address.holder < before {
                behind = 0;
            }
            before = address.holder;
            while self
                .interfaces
                .get(behind)
                .is_some_and(|i| i.index < address.holder)
            {
                behind += 1;
            }
            let is_there = |i: &&Interface| i.index == before && !i.gone;
            let holder = self.interfaces.get(behind).filter(is_there);
            let index = match holder {
                Some(holder) if holder.may_lend() => self.device_of(address),
                _ => before,
            };
            if let Some(address) = self.addresses.get_mut(at) {
                address.index = index;
            }
            let (Some(address), holder) = (self.addresses.get(at), self.interfaces.get(behind))
            else {
                break;
            };
            let interface = match index == before {
                true => holder.filter(is_there),
                false => self.interface(index),
            };
            let verdict = match interface {
                _ if address.gone => Verdict::Gone,
                None => Verdict::Down,
                Some(interface) => judge(address, interface, self),
            };
            let (hold_down, interrupted) =
                interface.map_or((0, false), |i| (i.policy.hold_down, i.interrupted));
            let started = self.started;
            let Some(address) = self.addresses.get_mut(at) else {
                break;
            };
            if interrupted {
                address.interrupt();
            }
            let spans = (Duration::from_secs(hold_down), route_grace);
            self.has_aliases |= address.way.fit == way::Fit::No && !address.gone;
            let until = address.settle(now, verdict, spans, started);
            self.deadline = self.deadline.min(until);
            uplink |= address.verdict == Verdict::Usable;
            standby |= address.verdict == Verdict::Standby;
        }
        if standby && !uplink {
            for address in self.addresses.iter_mut() {
                if address.verdict == Verdict::Standby {
                    address.verdict = Verdict::Usable;
                }
            }
        }
        #[cfg(feature = "health")]
        self.use_all_dead(now);
        for interface in self.interfaces.iter_mut() {
            interface.interrupted = false;
        }
        self.started = true;
    }

    /// Where no path of a family answers, the fault may be with whom they ask; and even if not, to
    /// use none helps nobody. When one answers, the others have a moment to do so as well.
    #[cfg(feature = "health")]
    fn use_all_dead(&mut self, now: Instant) {
        for (family, until) in [Family::Ipv4, Family::Ipv6]
            .into_iter()
            .zip(&mut self.all_dead)
        {
            let of_family = |a: &LocalAddress| Family::of(a.address) == family;
            let is_usable = |a: &LocalAddress| a.verdict == Verdict::Usable && of_family(a);
            let none_usable = !self.addresses.iter().any(is_usable);
            if none_usable {
                *until = Instant::NEVER;
            } else if *until == Instant::NEVER {
                *until = now + LAST_CHANCE;
            }
            if now >= *until {
                continue;
            }
            for address in self.addresses.iter_mut().filter(|a| of_family(a)) {
                if address.verdict == Verdict::Dead {
                    address.verdict = Verdict::AllDead;
                    // Hold-down is for what was not used.
                    address.fit_since = now;
                    self.deadline = self.deadline.min(*until);
                }
            }
        }
    }

    /// Forgets what is gone, once the plugins have been notified.
    pub fn sweep(&mut self) {
        self.addresses.retain(|address| !address.gone);
        self.asked = 0;
        self.interfaces.retain(|interface| !interface.gone);
    }
}
