// SPDX-License-Identifier: BSD-3-Clause
//! Which paths of a connection are lost, and what every strategy does about them.

use core::net::IpAddr;

use super::{Context, QueueFull};
use crate::capacity;
use crate::config::Config;
use crate::connection::storage::PerSubflow;
use crate::connection::{Connection, Subflow};
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, EndpointFlags, SubflowAddress, Token, ip_of};
use crate::network::{Interface, LocalAddress, Network};
use crate::table::Table;

/// Which paths have been lost.
pub struct Paths {
    /// Addresses that were usable and are not, the latest last.
    withdrawn: Table<IpAddr>,
    /// The address of a subflow was lost and is back: TCP tries the subflow again only after as long
    /// as the outage was.
    stale: PerSubflow<bool>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            withdrawn: Table::new(capacity::LOST_ADDRESSES),
            stale: PerSubflow::default(),
        }
    }
}

impl Paths {
    /// Makes a subflow, as [`Context::join`], unless there is one between these addresses that is not
    /// lost, or it has failed and is not to be tried yet. Returns whether there is one, or is to be. What fails
    /// is remembered under numbers up to 65535, as of [`Context::retry_later`].
    ///
    /// # Errors
    /// [`QueueFull`], as for [`Context::request`].
    pub fn join(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
        local: &LocalAddress,
        remote: SubflowAddress,
    ) -> Result<bool, QueueFull> {
        let ends = (local.address, remote.address);
        if local.address.is_ipv6() != remote.address.is_ipv6() {
            return Ok(false);
        }
        let mut all = self.remaining(cx.network(), connection);
        if all.any(|(_, s)| (ip_of(&s.local), ip_of(&s.remote)) == ends) {
            return Ok(true);
        }
        let pair = pair(cx, local.address, remote.id);
        if cx.must_wait(connection.token, pair) {
            return Ok(false);
        }
        cx.join(connection.token, local, remote)?;
        Ok(true)
    }

    /// Returns the subflows that are to stay as far as their addresses go, with their positions:
    /// those that have not been lost, and are not closing.
    pub fn remaining<'a>(
        &self,
        network: &Network,
        connection: &Connection<'a>,
    ) -> impl Iterator<Item = (usize, &'a Subflow)> {
        connection
            .subflows()
            .enumerate()
            .filter(|(_, subflow)| !subflow.is_closing() && !self.is_lost(network, subflow))
    }

    /// Returns whether the address of a subflow is no longer usable, or not where the subflow is
    /// bound; or is so again after an outage, so that a fresh subflow will be of use sooner.
    pub fn is_lost(&self, network: &Network, subflow: &Subflow) -> bool {
        let (bound, ip) = (subflow.ifindex, ip_of(&subflow.local));
        self.withdrawn.contains(&ip)
            || self.stale.get(subflow) == Some(&true)
            || (bound != IfIndex::NONE && !is_usable(network, bound, ip))
    }

    /// Reserves memory, at the start.
    pub(super) fn reserve(&mut self, config: &Config) {
        self.stale = PerSubflow::new(config);
    }

    /// Notes that an address is of use.
    pub(super) fn learn(&mut self, address: IpAddr) {
        self.withdrawn.retain(|withdrawn| *withdrawn != address);
    }

    /// Notes that an address is usable. If it had been lost, who opened connections makes the
    /// subflows anew that it still has.
    pub(super) fn learn_usable(&mut self, cx: &Context<'_>, address: IpAddr) {
        if self.withdrawn.contains(&address) {
            for connection in cx.connections().filter(|c| !c.server_side) {
                for subflow in connection.subflows().filter(|s| ip_of(&s.local) == address) {
                    if let Some(stale) = self.stale.get_mut(subflow) {
                        *stale = subflow.is_open();
                    }
                }
            }
        }
        self.learn(address);
    }

    /// Notes that an address has been lost.
    pub(super) fn forget(&mut self, address: IpAddr) {
        if self.withdrawn.is_full() {
            self.withdrawn.remove(0);
        }
        self.withdrawn.push(address);
    }

    /// Withdraws addresses that can no longer be used and closes their subflows, unless one of these
    /// is the last hope of the connection.
    pub(super) fn leave_lost(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        let network = cx.network();
        let token = connection.token;
        let another_works = self
            .remaining(network, connection)
            .any(|(_, other)| other.is_established());
        // The peer closes the subflows of an address that is withdrawn.
        let is_needed = |id| {
            let mut its = connection.subflows().filter(|s| s.local_id == id);
            its.any(|s| !another_works || !self.is_lost(network, s))
        };
        for id in connection.announced() {
            let address = cx.address_of(id);
            let usable = address.is_some_and(|address| is_usable(network, IfIndex::NONE, address));
            if !usable && !is_needed(id) {
                cx.remove_address(token, id)?;
            }
        }
        if !another_works {
            return Ok(());
        }
        for subflow in connection.subflows() {
            let (id, ip) = (subflow.local_id, ip_of(&subflow.local));
            if !subflow.is_open() || !self.is_lost(network, subflow) {
                continue;
            }
            // What was announced has been withdrawn above.
            if !connection.has_announced(id) && !is_usable(network, IfIndex::NONE, ip) {
                cx.remove_address(token, id)?;
            }
            close(cx, token, subflow)?;
        }
        Ok(())
    }
}

/// Closes a subflow.
pub(super) fn close(
    cx: &mut Context<'_>,
    token: Token,
    subflow: &Subflow,
) -> Result<(), QueueFull> {
    let (local, remote) = (subflow.local.into(), subflow.remote.into());
    cx.destroy_subflow(token, local, remote).map(drop)
}

/// Returns the usable addresses of a family in the order in which they are to be used: those of
/// backup interfaces last, then by the `priority` of their interfaces, then by age.
pub fn by_priority(network: &Network, ipv6: bool) -> impl Iterator<Item = &LocalAddress> {
    let rank = move |address: &LocalAddress| {
        let interface = network.interface(address.index);
        let policy = interface.map(|i| {
            (
                i.policy.flags.0 & EndpointFlags::BACKUP.0,
                i.policy.priority,
            )
        });
        (policy, address.sequence)
    };
    let mut last = None;
    core::iter::from_fn(move || {
        let all = network.usable().filter(|a| a.address.is_ipv6() == ipv6);
        let after = all.filter(|a| last.is_none_or(|last| rank(a) > last));
        let next = after.min_by_key(|a| rank(a))?;
        last = Some(rank(next));
        Some(next)
    })
}

/// Returns of each interface the address that comes first, in the order of [`by_priority`].
pub fn uplinks(network: &Network, ipv6: bool) -> impl Iterator<Item = &LocalAddress> {
    by_priority(network, ipv6).filter(move |address| {
        let mut its = network.usable().filter(|a| a.index == address.index);
        its.all(|a| a.address.is_ipv6() != ipv6 || a.sequence >= address.sequence)
    })
}

/// Makes backups of the subflows of interfaces that are to be backups, and of no others.
pub(super) fn set_priorities(
    cx: &mut Context<'_>,
    connection: &Connection<'_>,
) -> Result<(), QueueFull> {
    let network = cx.network();
    let is_backup = |i: &Interface| i.policy.flags.contains(EndpointFlags::BACKUP);
    // On most hosts there are none.
    let has_backups = network.interfaces().any(is_backup);
    for subflow in connection.subflows() {
        if !subflow.is_open() || !(has_backups || subflow.backup_here) {
            continue;
        }
        let index = subflow.interface(network).unwrap_or(IfIndex::NONE);
        let backup = network.interface(index).is_some_and(is_backup);
        if subflow.backup_here != backup {
            let (local, remote) = (subflow.local.into(), subflow.remote.into());
            cx.set_backup(connection.token, local, remote, backup)?;
        }
    }
    Ok(())
}

/// No number of [`pair`] is greater.
pub(super) const LAST_PAIR: u64 = u16::MAX as u64;

/// By which what has failed between an address and one of the peer's is remembered. In the initial
/// subflow the host's address has the id 0, but not in the one that is made again.
pub(super) fn pair(cx: &mut Context<'_>, local: IpAddr, remote: AddressId) -> u64 {
    let local = cx.address_id(local).unwrap_or(AddressId::NONE);
    u64::from(local.0) << 8 | u64::from(remote.0)
}

/// Whether the address is usable on the interface, or on any if that is none.
pub(super) fn is_usable(network: &Network, index: IfIndex, address: IpAddr) -> bool {
    let mut usable = network.usable();
    usable.any(|a| a.address == address && (index == IfIndex::NONE || a.index == index))
}

#[cfg(test)]
#[cfg(any(feature = "failover", feature = "fullmesh", feature = "ndiffports"))]
pub(super) mod tests {
    use crate::plugin::Entry;
    use crate::testing::Bench;
    use crate::time::Duration;

    /// A strategy that has so many subflows from an address makes each of them anew after an outage.
    #[track_caller]
    pub(in crate::plugin) fn makes_subflows_anew(plugins: &'static [Entry], count: usize) {
        let mut bench = Bench::new(plugins, "").with("wan1", "10.0.1.1");
        let connection = bench.established("10.0.1.1:4000", "192.0.2.1:80");
        bench.set_up("wan1", false);
        bench.advance(Duration::from_secs(20));
        bench.asked();
        bench.set_up("wan1", true);
        bench.advance(Duration::from_secs(5));
        let asked =
            ["create", "destroy"].map(|what| vec![format!("{what} 10.0.1.1 192.0.2.1"); count]);
        assert_eq!(bench.asked(), asked.concat());
        assert_eq!(
            bench.subflows(connection),
            vec!["10.0.1.1 192.0.2.1"; count]
        );
    }
}
