// SPDX-License-Identifier: BSD-3-Clause
//! What is right once the dust has settled.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use mptcpd::internal::netlink::mptcp::{AddressId, ConnectionEvent, Endpoint, EndpointFlags};

use super::kernel::{Connection, Ends, Path, UNSERVED, here};
use super::{Simulation, recorder};

/// The engine's table, and what the plugin has been told, against the kernel's connections.
pub fn check_table(simulation: &Simulation) -> Result<(), String> {
    let row = |event: &ConnectionEvent, established: bool, mut subflows: Vec<String>| {
        subflows.sort();
        let (local, remote) = (event.local, event.remote);
        let ends = format!("{local} {remote} {} {established}", event.server_side);
        (event.token.get(), (ends, subflows))
    };
    let real = simulation.kernel.connections.values().map(|c| {
        let subflows = c.subflows.iter().map(|path| {
            let (up, s) = (path.pending.is_none(), path.event);
            format!("{} {} {} {} {up}", s.local, s.remote, s.ifindex, s.local_id)
        });
        row(&c.event, c.established, subflows.collect())
    });
    let known = simulation.engine.connections().iter().map(|c| {
        let subflows = c.subflows().map(|s| {
            let up = s.is_established();
            format!("{} {} {} {} {up}", s.local, s.remote, s.ifindex, s.local_id)
        });
        row(&c, c.is_established(), subflows.collect())
    });
    let (real, known): (BTreeMap<_, _>, BTreeMap<_, _>) = (real.collect(), known.collect());
    if real != known {
        return Err(format!("the kernel has {real:#?}, the table {known:#?}"));
    }
    let told = recorder::recorded()?;
    let addresses = simulation.engine.connections().iter().map(|c| {
        let announced = c.remote_addresses().map(|a| a.id);
        (c.token.get(), announced.collect())
    });
    let addresses: BTreeMap<u32, BTreeSet<AddressId>> = addresses.collect();
    let real = simulation.kernel.connections.iter().map(|(token, c)| {
        let token = token.get();
        let told = recorder::Recorded {
            established: c.established,
            subflows: c.subflows.iter().map(Path::ends).collect(),
            addresses: addresses[&token].clone(),
        };
        (token, told)
    });
    let real: BTreeMap<_, _> = real.collect();
    if real != told {
        return Err(format!("it is so: {real:#?}, the plugin knows {told:#?}"));
    }
    Ok(())
}

/// Who opened a connection has a subflow from each usable interface and to each address of the peer,
/// and none that others make superfluous; and announcements are those of the usable addresses.
pub fn check_strategy(simulation: &Simulation) -> Result<(), String> {
    let usable: Vec<u8> = (0..3).filter(|n| simulation.kernel.is_up(*n)).collect();
    for (token, connection) in &simulation.kernel.connections {
        let token = token.get();
        let Connection {
            event, announced, ..
        } = connection;
        let all = connection.subflows.iter();
        let on = |path: &Path| usable.iter().copied().find(|n| path.is_on(*n));
        let all: Vec<(u8, &Path)> = all.filter_map(|path| Some((on(path)?, path))).collect();
        let ends = || {
            all.iter()
                .map(|(_, path)| path.ends())
                .collect::<Vec<Ends>>()
        };
        for n in &usable {
            let on = all.iter().filter(|(on, _)| on == n);
            let peers: BTreeSet<IpAddr> = on.clone().map(|(_, p)| p.event.remote.ip()).collect();
            let fits = match event.server_side {
                false => !peers.is_empty(),
                // Its peer has one from each of its own addresses. A server with a single interface
                // cannot tell one path from another.
                true => usable.len() == 1 || on.count() == peers.len(),
            };
            if !fits {
                return Err(format!("subflows of {token}, on {n}: {:?}", ends()));
            }
        }
        let known = simulation.engine.connections().get(event.token);
        let peers = known.iter().flat_map(|c| c.remote_addresses());
        let peers = peers
            .map(|known| known.address.ip())
            .chain([event.remote.ip()]);
        for peer in peers.filter(|_| !event.server_side && !usable.is_empty()) {
            if all.iter().all(|(_, path)| path.event.remote.ip() != peer) {
                return Err(format!("subflows of {token}, none to {peer}: {:?}", ends()));
            }
        }
        for (at, (n, path)) in all.iter().enumerate().filter(|_| !event.server_side) {
            let others = all.iter().enumerate().filter(|(other, _)| *other != at);
            let shared = others.fold((false, false), |(from, to), (_, (m, other))| {
                let same = other.event.remote.ip() == path.event.remote.ip();
                (from || n == m, to || same)
            });
            if shared == (true, true) && path.ends() != (event.local, event.remote) {
                return Err(format!("superfluous of {token}: {:?}", ends()));
            }
        }
        let all = usable.iter().map(|n| here(*n));
        let mut wanted: BTreeSet<IpAddr> = all.filter(|a| *a != event.local.ip()).collect();
        let port = event.local.port();
        if port == UNSERVED && !recorder::LISTEN.get() {
            wanted.clear();
        }
        let is_told = |address: &IpAddr| announced.values().any(|a| a == address);
        // What the kernel has forgotten cannot be withdrawn, and what it does not remember as
        // announced is not known to be so after a restart.
        let signal = |k: &Endpoint| k.flags.contains(EndpointFlags::SIGNAL);
        let known = |id: AddressId| connection.known.iter().any(|k| k.id == id && signal(k));
        // A server that was left without a subflow at its first address has announced that, too.
        let usable = |address: &IpAddr| usable.iter().any(|n| here(*n) == *address);
        let extra = |(id, address): (&AddressId, &IpAddr)| known(*id) && !usable(address);
        if !wanted.iter().all(is_told) || announced.iter().any(extra) {
            return Err(format!(
                "{token} announces {announced:?}, and should {wanted:?}"
            ));
        }
        let heard = |a: &IpAddr| simulation.kernel.listeners.contains(&(*a, port).into());
        if port == UNSERVED && !wanted.iter().all(heard) {
            let listeners = &simulation.kernel.listeners;
            return Err(format!("{wanted:?} of {token}, listens at {listeners:?}"));
        }
    }
    Ok(())
}

/// A connection that this host has opened and the peer lets it join, once the dust has settled.
#[derive(Debug)]
pub struct Settled {
    /// The address that it was opened from.
    pub local: IpAddr,
    /// The usable addresses of this host, one of each interface, the best first.
    pub usable: Vec<IpAddr>,
    /// The addresses of the peer that may be joined.
    pub peers: Vec<IpAddr>,
    /// The subflows from usable addresses: this host's end, and the peer's.
    pub subflows: Vec<(IpAddr, IpAddr)>,
}

pub fn check_each(simulation: &Simulation, fits: fn(&Settled) -> bool) -> Result<(), String> {
    let up = (0..3).filter(|n| simulation.kernel.is_up(*n));
    let usable: Vec<IpAddr> = up.map(here).collect();
    for connection in simulation.kernel.connections.values() {
        let event = &connection.event;
        let known = simulation.engine.connections().get(event.token);
        let peers: Vec<IpAddr> = known
            .iter()
            .flat_map(|c| c.peers())
            .map(|p| p.address)
            .collect();
        if event.server_side || peers.is_empty() || usable.is_empty() {
            continue;
        }
        let all = connection.subflows.iter();
        let all = all.map(|path| (path.event.local.ip(), path.event.remote.ip()));
        let settled = Settled {
            local: event.local.ip(),
            usable: usable.clone(),
            peers,
            subflows: all.filter(|(local, _)| usable.contains(local)).collect(),
        };
        if !fits(&settled) {
            return Err(format!("{} should not have {settled:?}", event.token.get()));
        }
    }
    Ok(())
}

/// `fullmesh`: every usable address has a subflow to every address of the peer.
pub fn is_full_mesh(it: &Settled) -> bool {
    let has = |local: &IpAddr, peer: &IpAddr| it.subflows.contains(&(*local, *peer));
    let mut all = it.usable.iter();
    all.all(|local| it.peers.iter().all(|peer| has(local, peer)))
}

/// `failover`: the best interface has a subflow, and no other.
pub fn is_failover(it: &Settled) -> bool {
    let best = it.usable.first();
    !it.subflows.is_empty() && it.subflows.iter().all(|(local, _)| best == Some(local))
}

/// `ndiffports`: one interface has all subflows, the initial one's if that is usable.
pub fn is_ndiffports(it: &Settled) -> bool {
    let initial = it.usable.iter().find(|address| **address == it.local);
    let wanted = initial.or(it.usable.first());
    it.subflows.len() >= 3 && it.subflows.iter().all(|(local, _)| Some(local) == wanted)
}

/// Without connections nobody listens.
pub fn check_listeners(simulation: &Simulation) -> Result<(), String> {
    match &simulation.kernel.listeners[..] {
        [] => Ok(()),
        left => Err(format!("listens for nobody: {left:?}")),
    }
}
