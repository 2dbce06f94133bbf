// SPDX-License-Identifier: BSD-3-Clause
//! More of everything than fits: survived, and made good as soon as there is room.

mod simulator;

use core::net::{IpAddr, Ipv4Addr};

use mptcpd::internal::capacity::{ADDRESSES, INTERFACES, ROUTES};
use mptcpd::internal::netlink::IfIndex;
use mptcpd::internal::netlink::route::{Address, Family};
use mptcpd::internal::network::route::TABLE_MAIN;
use mptcpd::internal::time::Duration;
use simulator::network::kernel::link_flags;
use simulator::network::{Simulation, specification};

/// Every address counts, whatever its route.
const ANY_ROUTE: u8 = 1;
const NO_END: u8 = 8;
const CHECK_ROUTE: u8 = 0;
const ROOM: usize = 8;
const TENTATIVE: u32 = 0x40;

fn simulation(configuration: u8) -> Simulation {
    Simulation::new(configuration, ROOM, 0xff)
}

fn link(simulation: &mut Simulation, n: usize) -> IfIndex {
    let name = format!("if{n}");
    simulation.kernel.set_link(&name, link_flags(&name, 1), 0);
    simulation.kernel.link(&name).unwrap().index
}

fn address(n: usize) -> IpAddr {
    let host = u32::try_from(n).unwrap();
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + host).into()
}

fn add(simulation: &mut Simulation, index: IfIndex, n: usize, flags: u32) {
    simulation.kernel.add_address(Address {
        index,
        local: address(n),
        peer: None,
        prefix_len: 16,
        flags,
        scope: 0,
    });
}

fn remove(simulation: &mut Simulation, n: usize) {
    let gone = address(n);
    simulation.kernel.remove_addresses(|a| a.local == gone);
}

fn endpoints(simulation: &Simulation) -> Vec<IpAddr> {
    let all = simulation.kernel.endpoints.iter();
    let mut all: Vec<_> = all.map(|(endpoint, _)| endpoint.address).collect();
    all.sort_unstable();
    all
}

#[track_caller]
fn expect(simulation: &mut Simulation, wanted: &[usize]) {
    simulation.run(Duration::from_secs(40));
    let wanted: Vec<_> = wanted.iter().copied().map(address).collect();
    assert_eq!(endpoints(simulation), wanted);
}

#[test]
fn three_hundred_addresses_move_up_in_order() {
    let mut simulation = simulation(ANY_ROUTE);
    let index = link(&mut simulation, 0);
    (1..=300).for_each(|n| add(&mut simulation, index, n, 0));
    expect(&mut simulation, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(specification::check(&simulation), Ok(()));
    // What does not fit was not asked for.
    let asked = simulation.counts.changes;
    assert!(asked < 40, "{asked} commands");
    for n in [3, 5, 9, 200, 1] {
        remove(&mut simulation, n);
    }
    expect(&mut simulation, &[2, 4, 6, 7, 8, 10, 11, 12]);
    // Who was there before goes to the end.
    add(&mut simulation, index, 3, 0);
    (4..=298).for_each(|n| remove(&mut simulation, n));
    expect(&mut simulation, &[2, 3, 299, 300]);
    assert_eq!(specification::check(&simulation), Ok(()));
}

/// A kernel that takes as many endpoints as there are ids gets them, a few at a time, where the
/// configuration wants that.
#[test]
fn three_hundred_addresses_where_there_is_room() {
    for (configuration, most) in [(ANY_ROUTE, 8), (NO_END, 255)] {
        let mut simulation = Simulation::new(configuration, 1000, 0xff);
        let index = link(&mut simulation, 0);
        (1..=300).for_each(|n| add(&mut simulation, index, n, 0));
        expect(&mut simulation, &(1..=most).collect::<Vec<_>>());
    }
}

#[test]
fn more_addresses_than_fit() {
    let mut simulation = simulation(ANY_ROUTE);
    let index = link(&mut simulation, 0);
    let last = ADDRESSES + 50;
    (1..last).for_each(|n| add(&mut simulation, index, n, TENTATIVE));
    add(&mut simulation, index, last, 0);
    expect(&mut simulation, &[]);
    assert!(simulation.engine.network().is_short());
    // Those that do not fit go and come without harm.
    remove(&mut simulation, last - 1);
    expect(&mut simulation, &[]);
    (1..=50).for_each(|n| remove(&mut simulation, n));
    expect(&mut simulation, &[last]);
    assert!(!simulation.engine.network().is_short());
}

#[test]
fn more_interfaces_than_fit() {
    let mut simulation = simulation(ANY_ROUTE);
    let last = INTERFACES + 76;
    (1..=last).for_each(|n| {
        let index = link(&mut simulation, n);
        if n == last {
            add(&mut simulation, index, 1, 0);
        }
    });
    expect(&mut simulation, &[]);
    for n in 1..100 {
        simulation.kernel.remove_link(&format!("if{n}"));
    }
    expect(&mut simulation, &[1]);
    assert_eq!(specification::check(&simulation), Ok(()));
}

/// The kernel is asked: others' routes take no room.
#[test]
fn routes_without_end() {
    let mut simulation = simulation(CHECK_ROUTE);
    let [one, two] = [1, 2].map(|n| link(&mut simulation, n));
    add(&mut simulation, two, 2, 0);
    add(&mut simulation, one, 1, 0);
    let gateway = Some([10, 0, 0, 99].into());
    for metric in 0..4 * u32::try_from(ROUTES).unwrap() {
        let kernel = &mut simulation.kernel;
        kernel.set_default_route(one, gateway, Family::Ipv4, TABLE_MAIN, metric);
    }
    let kernel = &mut simulation.kernel;
    kernel.set_default_route(two, gateway, Family::Ipv4, TABLE_MAIN, 99_999);
    expect(&mut simulation, &[1, 2]);
    assert!(!simulation.engine.network().is_short());
    assert_eq!(specification::check(&simulation), Ok(()));
}
