//! Which subflows a connection is to have, and which it can spare.

use core::net::IpAddr;

use super::retries::Missing;
use super::{Sspi, backup_flag, has_choice, interface, interface_of, is_open, is_usable};
use crate::connection::{Connection, RemoteAddress, Subflow};
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, SubflowAddress, Token};
use crate::network::{LocalAddress, Network};
use crate::plugin::{Context, QueueFull};

impl Sspi {
    /// Makes a subflow from each interface that has an address for it and no subflow that works, and
    /// one to each of the peer's addresses that has none.
    pub(super) fn create_subflows(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        let network = cx.network();
        let (token, now) = (connection.token, cx.now());
        let left = || self.remaining(network, connection).map(|(_, s)| s);
        let locals = || locals(network, connection.remote.is_ipv6());
        let peers = || peers(connection);
        let from = |s: &Subflow, index: IfIndex| interface_of(network, s) == Some(index);
        let leads = |s: &Subflow, to: &SubflowAddress| s.remote.ip() == to.address;
        let works = |to: &SubflowAddress| left().any(|s| is_open(s) && leads(s, to));
        for local in locals() {
            let index = local.index;
            let old = left().find(|s| is_open(s) && from(s, index));
            let retry = match old {
                None => self.retries.find(token, Missing::From(index)),
                Some(_) => match self.retries.find(token, Missing::Again(index)) {
                    None => continue,
                    renewal => renewal,
                },
            };
            let asked =
                |to: &SubflowAddress| left().any(|s| !is_open(s) && from(s, index) && leads(s, to));
            if retry.is_some_and(|retry| !retry.retry.is_due(now))
                || peers().any(|to| works(&to) && asked(&to))
            {
                continue;
            }
            // First where it led, then where others lead, of these where it makes one superfluous, and
            // at last where fewest lead.
            let rank = |to: &SubflowAddress| {
                let elsewhere = !old.is_some_and(|old| leads(old, to));
                let its = || left().filter(|s| leads(s, to));
                let spares = its().any(|s| {
                    let beside = |other: &&Subflow| {
                        from(other, interface_of(network, s).unwrap_or(IfIndex::NONE))
                    };
                    is_joined(s) && left().filter(beside).count() > 1
                });
                (elsewhere, !works(to), !spares, its().count())
            };
            let free = || peers().filter(|to| !asked(to));
            let turn = retry.map_or(0, |retry| retry.tries);
            if let Some(remote) = nth(free, rank, turn.into()) {
                create(cx, token, local, remote)?;
            }
        }
        if !left().any(is_open) {
            return Ok(());
        }
        let mut turn = 0;
        for remote in peers() {
            let retry = self.retries.find(token, Missing::To(remote.id));
            if left().any(|s| leads(s, &remote))
                || retry.is_some_and(|retry| !retry.retry.is_due(now))
            {
                continue;
            }
            let initial = network.interface_of(connection.local.ip()).map(|i| i.index);
            let rank = |local: &&LocalAddress| {
                let uses = left().filter(|s| from(s, local.index)).count();
                (uses, initial == Some(local.index))
            };
            let tries = retry.map_or(0, |retry| retry.tries);
            if let Some(local) = nth(locals, rank, turn + usize::from(tries)) {
                create(cx, token, local, remote)?;
            }
            turn += 1;
        }
        Ok(())
    }

    /// Closes a subflow that others make superfluous: one at a time, since of two each may be the
    /// other's reason.
    pub(super) fn close_superfluous_subflow(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection<'_>,
    ) -> Result<(), QueueFull> {
        let network = cx.network();
        let mut all = self.remaining(network, connection);
        let superfluous = all.find(|(at, subflow)| {
            is_open(subflow) && self.is_superfluous(network, connection, *at, subflow)
        });
        if let Some((_, subflow)) = superfluous {
            let (local, remote) = (subflow.local.into(), subflow.remote.into());
            cx.destroy_subflow(connection.token, local, remote)?;
        }
        Ok(())
    }

    /// Whether the subflow at position `at` is to make way for others.
    fn is_superfluous(
        &self,
        network: &Network,
        connection: &Connection<'_>,
        at: usize,
        subflow: &Subflow,
    ) -> bool {
        let ifindex = interface_of(network, subflow);
        // Two bits for each of the others: it shares the interface, or the peer's address.
        let shared = |(position, other): (usize, &Subflow)| {
            let from = u8::from(interface_of(network, other) == ifindex);
            let to = u8::from(other.remote.ip() == subflow.remote.ip());
            (from | to << 1, position)
        };
        let others = || {
            let others = self.remaining(network, connection);
            others.filter(|(_, s)| is_open(s)).map(shared)
        };
        if others().any(|(both, position)| both == 3 && position > at) {
            // A server with one interface cannot tell one path from another of the same address.
            return !connection.server_side || has_choice(network, connection.remote.is_ipv6());
        }
        let all = others().fold(0, |all, (one, position)| {
            all | if position == at { 0 } else { one }
        });
        !connection.server_side && is_joined(subflow) && all == 3
    }

    /// Notes that a subflow failed or ended, and when to make it again.
    pub(super) fn retry_later(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        (bound, local): (IfIndex, IpAddr),
        (id, remote): (AddressId, IpAddr),
    ) {
        let network = cx.network();
        let connection = cx.connection(token).filter(|c| !c.server_side);
        let (Some(connection), Some(index)) = (connection, interface(network, bound, local)) else {
            return;
        };
        let (mut from, mut to) = (false, false);
        for (_, other) in self
            .remaining(network, &connection)
            .filter(|(_, s)| is_open(s))
        {
            from |= interface_of(network, other) == Some(index);
            to |= other.remote.ip() == remote;
        }
        let now = cx.now();
        // Where the interface has lost the address, that says nothing of the path.
        if is_usable(network, index, local) {
            let again = Missing::Again(index);
            if !from {
                self.retries.add(now, token, Missing::From(index));
            } else if self.retries.find(token, again).is_some() {
                self.retries.add(now, token, again);
            }
        }
        // The peer, too, may have lost an address, and be about to say so.
        if !to {
            self.retries.add(now, token, Missing::To(id));
        }
        self.set_retry_timer(cx);
    }
}

/// Whether a subflow is another than the initial one.
fn is_joined(subflow: &Subflow) -> bool {
    (subflow.local_id, subflow.remote_id) != (AddressId::INITIAL, AddressId::INITIAL)
}

/// The first usable address of each interface, of the family.
fn locals(network: &Network, ipv6: bool) -> impl Iterator<Item = &LocalAddress> {
    let mut previous = None;
    let fit = network
        .usable()
        .filter(move |a| a.address.is_ipv6() == ipv6);
    // The addresses of an interface follow one another.
    fit.filter(move |a| previous.replace(a.index) != Some(a.index))
}

/// Where the peer can be joined, in the connection's family.
fn peers<'a>(connection: &Connection<'a>) -> impl Iterator<Item = SubflowAddress> + use<'a> {
    let initial = SubflowAddress::from(connection.remote);
    let ipv6 = initial.address.is_ipv6();
    let first = connection.may_join_initial_address().then_some(initial);
    let announced = move |known: &RemoteAddress| {
        let end = SubflowAddress::from(known.address).with_id(known.id);
        let port = if end.port == 0 {
            initial.port
        } else {
            end.port
        };
        SubflowAddress { port, ..end }
    };
    let others = connection.remote_addresses().map(announced);
    let others = others.filter(move |to| {
        to.address.is_ipv6() == ipv6 && first.is_none_or(|first| first.address != to.address)
    });
    first.into_iter().chain(others)
}

/// The one whose turn it is, of those in the order of their ranks.
fn nth<T, I: Iterator<Item = T>, R: Ord>(
    all: impl Fn() -> I,
    rank: impl Fn(&T) -> R,
    turn: usize,
) -> Option<T> {
    let turn = turn.checked_rem(all().count())?;
    let mut ranked = all().enumerate();
    ranked.find_map(|(at, item)| {
        let own = (rank(&item), at);
        let before = all()
            .enumerate()
            .filter(|(at, other)| (rank(other), *at) < own);
        (before.count() == turn).then_some(item)
    })
}

/// Makes a subflow.
fn create(
    cx: &mut Context<'_>,
    token: Token,
    local: &LocalAddress,
    remote: SubflowAddress,
) -> Result<(), QueueFull> {
    let Some(id) = cx.address_id(local.address) else {
        return Ok(());
    };
    let end = SubflowAddress::at(local.address, 0).with_id(id);
    let local = SubflowAddress {
        flags: backup_flag(cx.network(), local.index),
        ..end.on(local.index)
    };
    cx.create_subflow(token, local, remote).map(drop)
}
