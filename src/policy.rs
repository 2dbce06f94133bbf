// SPDX-License-Identifier: BSD-3-Clause
//! Which address may be used, and if not, why.

use crate::config::{Config, NotifyFlags, Temporary, Use};
use crate::netlink::prefix::contains;
use crate::netlink::route::{RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE};
use crate::network::{
    Declared, IFF_LOOPBACK, IFF_RUNNING, IFF_UP, Interface, LocalAddress, Network, Verdict,
    is_link_local, is_unique_local,
};
use crate::time::{Duration, Instant};

/// `IFA_F_*` of linux/if_addr.h. The kernel uses bit 0 for two things: an IPv4 address that is
/// not the first of its prefix, and an IPv6 privacy address.
const TEMPORARY: u32 = 0x01;
const DADFAILED: u32 = 0x08;
const DEPRECATED: u32 = 0x20;
const TENTATIVE: u32 = 0x40;

/// Gives every address of the network its verdict.
pub fn evaluate(network: &mut Network, now: Instant, config: &Config) {
    let route_grace = Duration::from_secs(config.route_grace);
    network.evaluate(now, route_grace, &|address, interface, network| {
        judge(address, interface, network, config)
    });
}

/// Judges an address by itself: hold-down and standby, which depend on time and on the other
/// addresses, are the network's business. Returns `Standby` for a usable address of such an
/// interface.
pub fn judge(
    address: &LocalAddress,
    interface: &Interface,
    network: &Network,
    config: &Config,
) -> Verdict {
    let policy = &interface.policy;
    let has = |flag| policy.notify.contains(flag);
    let ipv6 = address.address.is_ipv6();
    if policy.usage == Use::No {
        return Verdict::NotAllowed;
    }
    if !(if ipv6 { policy.ipv6 } else { policy.ipv4 }) {
        return Verdict::Family;
    }
    if interface.flags & IFF_LOOPBACK != 0 || is_loopback(address, has(NotifyFlags::SKIP_LOOPBACK))
    {
        return Verdict::Loopback;
    }
    if interface.flags & IFF_UP == 0 {
        return Verdict::Down;
    }
    if interface.flags & IFF_RUNNING == 0 {
        return Verdict::NoCarrier;
    }
    if interface.declared == Declared::Down {
        return Verdict::DeclaredDown;
    }
    if address.address.is_multicast() || address.address.is_unspecified() {
        return Verdict::Multicast;
    }
    if has(NotifyFlags::SKIP_LINK_LOCAL) && has_link_scope(address) {
        return Verdict::LinkLocal;
    }
    if !config.allows(&interface.name, address.address) {
        return Verdict::Excluded;
    }
    // A duplicate address stays tentative as well: name the graver cause.
    if address.flags & DADFAILED != 0 {
        return Verdict::DuplicateAddress;
    }
    if address.flags & TENTATIVE != 0 {
        return Verdict::Tentative;
    }
    if address.flags & DEPRECATED != 0 {
        return Verdict::Deprecated;
    }
    if ipv6
        && address.flags & TEMPORARY != 0
        && !may_be_temporary(address, interface, network, config)
    {
        return Verdict::Temporary;
    }
    if address.existing && !has(NotifyFlags::EXISTING) {
        return Verdict::Existing;
    }
    if has(NotifyFlags::CHECK_ROUTE) && !address.has_way() {
        return Verdict::NoRoute;
    }
    // Whoever lets addresses of less than global scope in means them.
    let is_global = address.scope == RT_SCOPE_UNIVERSE && !is_link_local(address.address);
    if has(NotifyFlags::CHECK_ROUTE) && is_global && network.is_alias(address) {
        return Verdict::Alias;
    }
    if has(NotifyFlags::CHECK_ROUTE) && is_private(address, interface, network, config) {
        return Verdict::UniqueLocal;
    }
    if address.is_dead() {
        return Verdict::Dead;
    }
    match policy.usage {
        Use::Standby => Verdict::Standby,
        Use::Yes | Use::No => Verdict::Usable,
    }
}

fn is_loopback(address: &LocalAddress, skip_host_scope: bool) -> bool {
    address.address.is_loopback() || (skip_host_scope && address.scope == RT_SCOPE_HOST)
}

fn has_link_scope(address: &LocalAddress) -> bool {
    address.scope == RT_SCOPE_LINK || is_link_local(address.address)
}

/// A temporary (privacy) address is used when the configuration says so or, by default, when
/// there is no stable address of its prefix. One that is about to be there counts: often it is
/// found to be no duplicate a moment later than the temporary one.
fn may_be_temporary(
    address: &LocalAddress,
    interface: &Interface,
    network: &Network,
    config: &Config,
) -> bool {
    const UNFIT: u32 = TEMPORARY | DADFAILED | DEPRECATED;
    match config.temporary_addresses {
        Temporary::Yes => true,
        Temporary::No => false,
        Temporary::Fallback => !network.addresses().any(|other| {
            other.holder == address.holder
                && other.flags & UNFIT == 0
                && contains(&other.address, address.prefix_len, &address.address)
                && config.allows(&interface.name, other.address)
        }),
    }
}

/// Returns whether it is a unique local address that the way out does not need: the interface has a
/// global one, and the world is not itself of such addresses.
fn is_private(
    address: &LocalAddress,
    interface: &Interface,
    network: &Network,
    config: &Config,
) -> bool {
    let world = || config.destination(false, 0).is_some_and(is_unique_local);
    is_unique_local(address.address)
        && !world()
        && network.addresses().any(|other| {
            other.holder == address.holder
                && other.address.is_ipv6()
                && other.flags & (DADFAILED | DEPRECATED) == 0
                && !is_link_local(other.address)
                && !is_unique_local(other.address)
                && config.allows(&interface.name, other.address)
        })
}

#[cfg(test)]
mod tests;
