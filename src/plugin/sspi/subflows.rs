// SPDX-License-Identifier: BSD-3-Clause
//! Which subflows a connection is to have, and which it can spare.

use core::net::IpAddr;

use super::{Lost, Missing, Paths, close, is_usable};
use crate::connection::{Connection, Subflow};
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, ip_of};
use crate::network::{LocalAddress, Network};
use crate::plugin::{Context, QueueFull};

/// The subflows of a connection that are to stay as far as their addresses go. Where they are
/// counted, `from` and `to` choose those from an interface and to an address of the peer's; `None`
/// is any.
struct Subflows<'a> {
    paths: &'a Paths,
    network: &'a Network,
    connection: &'a Connection<'a>,
}

struct Count {
    all: u32,
    /// How many of them are established, and not closing.
    open: u32,
}

impl Subflows<'_> {
    fn index(&self, subflow: &Subflow) -> Option<IfIndex> {
        Some(subflow.interface(self.network).unwrap_or(IfIndex::NONE))
    }

    /// Returns the first of them that is what is looked for; it is handed over with its position.
    #[inline(never)] // 3 KiB less
    fn find(
        &self,
        from: Option<IfIndex>,
        to: Option<IpAddr>,
        is_it: &mut dyn FnMut(usize, &Subflow) -> bool,
    ) -> Option<&Subflow> {
        let all = self.paths.remaining(self.network, self.connection);
        for (at, subflow) in all {
            let is_between = (from.is_none() || from == self.index(subflow))
                && to.is_none_or(|to| to == ip_of(&subflow.remote));
            if is_between && is_it(at, subflow) {
                return Some(subflow);
            }
        }
        None
    }

    #[inline(never)]
    fn count(&self, from: Option<IfIndex>, to: Option<IpAddr>) -> Count {
        let mut count = Count { all: 0, open: 0 };
        self.find(from, to, &mut |_, subflow| {
            count.all += 1;
            count.open += u32::from(subflow.is_open());
            false
        });
        count
    }

    /// Whether one of them, other than the initial one, will not be needed for its other end if
    /// there is another at this one.
    fn spare(&self, from: Option<IfIndex>, to: Option<IpAddr>) -> bool {
        let spare = self.find(from, to, &mut |_, subflow| {
            let others = match from {
                Some(_) => self.count(None, Some(ip_of(&subflow.remote))),
                None => self.count(self.index(subflow), None),
            };
            is_joined(subflow) && others.all > 1
        });
        spare.is_some()
    }

    /// Whether the subflow at position `at` is to make way for others.
    fn is_superfluous(&self, at: usize, subflow: &Subflow) -> bool {
        let (from, to) = (self.index(subflow), Some(ip_of(&subflow.remote)));
        let server = self.connection.server_side;
        let later = self.find(from, to, &mut |other, s| other > at && s.is_open());
        if later.is_some() {
            // A server with one interface cannot tell one path from another of the same address.
            return !server || has_choice(self.network, subflow.remote.is_ipv6());
        }
        let shared = self.count(from, None).open > 1 && self.count(None, to).open > 1;
        !server && is_joined(subflow) && shared
    }
}

/// Makes a subflow from each interface that has an address for it and no subflow that works, and
/// then one to each address of the peer's that has none.
pub(super) fn create_subflows(
    cx: &mut Context<'_>,
    connection: &Connection<'_>,
    paths: &Paths,
) -> Result<(), QueueFull> {
    let network = cx.network();
    let subflows = Subflows {
        paths,
        network,
        connection,
    };
    let token = connection.token;
    let local = |at| local(connection, network, at);
    let peers = (0..).map_while(|at| connection.peer(at)).count();
    for local in (0..).map_while(local) {
        let from = Some(local.index);
        let missing = Missing::From(local.index).key();
        if subflows.count(from, None).open > 0 || cx.must_wait(token, missing) {
            continue;
        }
        let works = |to| subflows.count(None, to).open > 0;
        let asked = |to| {
            let count = subflows.count(from, to);
            count.all > count.open
        };
        let to = |at| connection.peer(at).map(|to| to.address);
        // First where others lead, of these where it makes one superfluous, and at last where
        // fewest lead. Not where it is under way.
        let rank = |at| {
            let to = to(at);
            let flags = [asked(to), !works(to), !subflows.spare(None, to)];
            rank(flags, subflows.count(None, to).all, distance(local, to))
        };
        if (0..peers).map(to).any(|to| works(to) && asked(to)) {
            continue;
        }
        let free = (0..peers).filter(|at| !asked(to(*at))).count();
        let retry = cx.retry(token, missing);
        let tries = retry.map_or(0, |retry| usize::from(retry.failures));
        let turn = tries.checked_rem(free);
        let at = turn.and_then(|turn| ranked(peers, &rank, turn));
        if let Some(remote) = at.and_then(|at| connection.peer(at)) {
            cx.join(token, local, remote)?;
        }
    }
    match subflows.count(None, None).open {
        0 => Ok(()),
        _ => create_subflows_to_others(cx, connection, &subflows),
    }
}

/// Makes a subflow to each address of the peer's that has none.
fn create_subflows_to_others(
    cx: &mut Context<'_>,
    connection: &Connection<'_>,
    subflows: &Subflows<'_>,
) -> Result<(), QueueFull> {
    let network = cx.network();
    let token = connection.token;
    let local = |at| local(connection, network, at);
    let locals = (0..).map_while(local).count();
    // So that of several each has an interface of its own.
    let mut before = 0;
    for remote in (0..).map_while(|at| connection.peer(at)) {
        let retry = cx.retry(token, Missing::To(remote.id).key());
        // Not before one that is lost has ended: the peer, too, may be about to withdraw.
        let mut all = connection.subflows();
        if all.any(|s| ip_of(&s.remote) == remote.address)
            || cx.must_wait(token, Missing::To(remote.id).key())
        {
            continue;
        }
        // From where it makes one superfluous, then where fewest come from.
        let rank = |at| {
            let Some(local) = local(at) else { return 0 };
            let from = Some(local.index);
            let flags = [false, false, !subflows.spare(from, None)];
            let count = subflows.count(from, None).all;
            rank(flags, count, distance(local, Some(remote.address)))
        };
        let tries = retry.map_or(0, |retry| usize::from(retry.failures));
        let turn = (before + tries).checked_rem(locals);
        let at = turn.and_then(|turn| ranked(locals, &rank, turn));
        if let Some(local) = at.and_then(local) {
            cx.join(token, local, remote)?;
        }
        before += 1;
    }
    Ok(())
}

/// Closes a subflow that others make superfluous: one at a time, since of two each may be the
/// other's reason.
pub(super) fn close_superfluous_subflow(
    cx: &mut Context<'_>,
    connection: &Connection<'_>,
    paths: &Paths,
) -> Result<(), QueueFull> {
    let subflows = Subflows {
        paths,
        network: cx.network(),
        connection,
    };
    let is_superfluous = &mut |at, s: &Subflow| s.is_open() && subflows.is_superfluous(at, s);
    if let Some(subflow) = subflows.find(None, None, is_superfluous) {
        close(cx, connection.token, subflow)?;
    }
    Ok(())
}

/// Notes that a subflow failed or ended, and when to make it again.
pub(super) fn retry_later(
    cx: &mut Context<'_>,
    connection: &Connection<'_>,
    paths: &Paths,
    lost: &Lost,
) {
    let (network, token) = (cx.network(), connection.token);
    let Some(index) = network.leaves_by(lost.ifindex, lost.local) else {
        return;
    };
    let subflows = Subflows {
        paths,
        network,
        connection,
    };
    let from = subflows.count(Some(index), None).open > 0;
    let to = subflows.count(None, Some(lost.remote)).open > 0;
    // Where the interface has lost the address, that says nothing of the path.
    if is_usable(network, index, lost.local) && !from {
        cx.retry_later(token, Missing::From(index).key(), lost.calm);
    }
    // The peer, too, may have lost an address, and be about to say so.
    if !to {
        cx.retry_later(token, Missing::To(lost.remote_id).key(), lost.calm);
    }
}

/// Whether a subflow is another than the initial one.
fn is_joined(subflow: &Subflow) -> bool {
    (subflow.local_id, subflow.remote_id) != (AddressId::INITIAL, AddressId::INITIAL)
}

/// The first usable address of each interface, of the connection's family, by position.
#[inline(never)]
fn local<'a>(
    connection: &Connection<'_>,
    network: &'a Network,
    at: usize,
) -> Option<&'a LocalAddress> {
    let ipv6 = connection.remote.is_ipv6();
    let mut previous = None;
    // The addresses of an interface follow one another.
    let mut all = network
        .usable()
        .filter(|a| a.address.is_ipv6() == ipv6 && previous.replace(a.index) != Some(a.index));
    all.nth(at)
}

/// Whether several interfaces have usable addresses of the family.
fn has_choice(network: &Network, ipv6: bool) -> bool {
    let mut fit = network.usable().filter(|a| a.address.is_ipv6() == ipv6);
    let first = fit.next().map(|a| a.index);
    fit.any(|a| Some(a.index) != first)
}

/// A rank by reasons, the first one first, then by a number, and then by a distance of up to 255. The
/// lowest comes first.
fn rank(reasons: [bool; 3], number: u32, distance: u32) -> u32 {
    let bits = reasons.iter();
    let reasons = bits.fold(0, |rank, reason| rank << 1 | u32::from(*reason));
    reasons << 24 | number.min(0xffff) << 8 | distance
}

/// How many bits of two addresses remain after those that they have in common. Two hosts on the same
/// links are to use each link for itself: one that fails takes the addresses of both.
fn distance(local: &LocalAddress, to: Option<IpAddr>) -> u32 {
    match (local.address, to) {
        (IpAddr::V4(local), Some(IpAddr::V4(to))) => {
            32 - (local.to_bits() ^ to.to_bits()).leading_zeros()
        }
        (IpAddr::V6(local), Some(IpAddr::V6(to))) => {
            128 - (local.to_bits() ^ to.to_bits()).leading_zeros()
        }
        _ => 255,
    }
}

/// The position that comes after `turn` others in the order of their ranks.
#[inline(never)]
fn ranked(count: usize, rank: &dyn Fn(usize) -> u32, turn: usize) -> Option<usize> {
    (0..count).find(|at| {
        let own = (rank(*at), *at);
        (0..count)
            .filter(|other| (rank(*other), *other) < own)
            .count()
            == turn
    })
}
