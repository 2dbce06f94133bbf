// SPDX-License-Identifier: BSD-3-Clause
//! Histories of a router: once it is over the kernel has what the specification says, nothing
//! that belongs to others has been touched, and the daemon rests.

use mptcpd::internal::time::Duration;
use proptest::prelude::*;

use super::simulator::ALWAYS;
use super::simulator::Step::{Kill, ReadEvents, Refuse, RefuseDumps, Reload, Run, Start};
use super::simulator::network::Change::{
    Address, Link, Meddle as Meddled, Rename, Route, Swap, Unaddress, Unroute,
};
use super::simulator::network::connections::Traffic::{self, Connect, RefuseJoins, Reset};
use super::simulator::network::{Change, Meddle, Simulation, Step, judge, specification};
use super::{all_end_well, step};

fn change() -> impl Strategy<Value = Change> {
    let (link, number) = (0..6u8, 0..20u8);
    prop_oneof![
        6 => (link.clone(), 0..6u8).prop_map(|(l, s)| Change::Link(l, if s > 2 { 1 } else { s })),
        1 => link.clone().prop_map(Change::Unlink),
        1 => (link.clone(), link.clone()).prop_map(|(l, n)| Change::Rename(l, n)),
        1 => link.clone().prop_map(Change::Enslave),
        1 => link.clone().prop_map(Change::Release),
        9 => (link.clone(), number.clone(), 0..8u8).prop_map(|(l, n, f)| Change::Address(l, n, f)),
        4 => (link.clone(), number.clone()).prop_map(|(l, n)| Change::Unaddress(l, n)),
        8 => (link.clone(), 0..6u8, 0..9u8)
            .prop_map(|(l, w, h)| Change::Route(l, if w > 3 { w % 2 } else { w }, h)),
        2 => (link.clone(), 0..6u8, 0..9u8).prop_map(|(l, w, h)| Change::Unroute(l, w, h)),
        1 => (link.clone(), link.clone()).prop_map(|(from, to)| Change::Nexthop(from, to)),
        1 => (number.clone(), 0..6u8).prop_map(|(n, t)| Change::Rule(n, t)),
        1 => (number, 0..6u8).prop_map(|(n, t)| Change::Unrule(n, t)),
        1 => any::<u8>().prop_map(Change::Pilfer),
        1 => Just(Change::Noise),
    ]
}

fn meddle() -> impl Strategy<Value = Meddle> {
    prop_oneof![
        3 => (0..20u8, 0..12u8, 0..6u8).prop_map(|(n, i, f)| Meddle::Add(n, i, f)),
        2 => any::<u8>().prop_map(Meddle::Delete),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, flags)| Meddle::SetFlags(at, flags)),
        1 => Just(Meddle::Flush),
        1 => (0..9u8, 0..9u8).prop_map(|(s, a)| Meddle::Limits(s, a)),
        1 => (0..20u8).prop_map(Meddle::Implicit),
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        6 => any::<u8>().prop_map(Traffic::Connect),
        1 => any::<u8>().prop_map(Traffic::RefuseJoins),
        1 => any::<u8>().prop_map(Traffic::Disconnect),
        3 => any::<u8>().prop_map(Traffic::Reset),
        2 => (1..5u8).prop_map(Traffic::FailJoins),
        1 => (1..3u8).prop_map(Traffic::LoseJoins),
    ]
}

fn happening() -> impl Strategy<Value = Change> {
    prop_oneof![
        24 => change(),
        8 => traffic().prop_map(Change::Traffic),
        3 => meddle().prop_map(Change::Meddle),
        1 => Just(Change::Full),
        1 => any::<u8>().prop_map(Change::Drop),
        1 => any::<u8>().prop_map(Change::Duplicate),
        1 => any::<u8>().prop_map(Change::Swap),
        1 => prop::bool::weighted(0.7).prop_map(Change::Family),
    ]
}

/// Configuration, the kernel's room for endpoints, the flags it knows, and what happens.
type History = (u8, usize, u32, Vec<Step>);

fn history() -> impl Strategy<Value = History> {
    let room = prop_oneof![4 => Just(8usize), 1 => Just(3usize), 1 => Just(255usize)];
    let known = prop_oneof![3 => Just(0xffu32), 1 => Just(0x7u32)];
    let steps = prop::collection::vec(step(happening(), change()), 0..60);
    (0..8u8, room, known, steps)
}

#[test]
fn every_history_ends_well() {
    all_end_well(history(), 3000, |(configuration, room, known, steps)| {
        judge(*configuration, *room, *known, steps)
    });
}

/// Histories of a router with up to three uplinks and connections over them.
fn busy_history() -> impl Strategy<Value = History> {
    let setup = vec![
        Link(0, 1),
        Address(0, 0, 0),
        Address(0, 13, 0),
        Route(0, 0, 1),
        Route(0, 1, 1),
        Link(1, 1),
        Address(1, 3, 0),
        Address(1, 15, 0),
        Route(1, 0, 5),
        Route(1, 1, 5),
        Link(3, 1),
        Address(3, 11, 0),
        Route(3, 0, 6),
    ];
    let most = setup.len();
    let setup = prop_oneof![
        2 => prop::sample::subsequence(setup.clone(), 0..=most),
        1 => Just(setup),
    ];
    let link = || prop::sample::select(vec![0u8, 1, 1, 3]);
    let place = || prop::sample::select(vec![(0u8, 0u8), (0, 13), (1, 3), (1, 15), (3, 11)]);
    let happening = prop_oneof![
        16 => traffic().prop_map(Change::Traffic),
        8 => (link(), 0..5u8).prop_map(|(l, s)| Link(l, if s > 2 { 1 } else { s })),
        2 => (place(), 0..8u8).prop_map(|((l, n), f)| Address(l, n, f)),
        2 => place().prop_map(|(l, n)| Unaddress(l, n)),
        3 => (link(), 0..2u8, 0..9u8).prop_map(|(l, w, h)| Route(l, w, h)),
        1 => (link(), 0..2u8, 0..9u8).prop_map(|(l, w, h)| Unroute(l, w, h)),
        4 => happening(),
    ];
    let room = prop_oneof![6 => Just(8usize), 1 => Just(3usize), 1 => Just(255usize)];
    let known = prop_oneof![6 => Just(ALL_FLAGS), 1 => Just(OLD_FLAGS)];
    let time = prop_oneof![2 => (0..40u8).prop_map(Run), 1 => (40..=255u8).prop_map(Run)];
    let step = prop_oneof![3 => step(happening, change()), 1 => time];
    let steps = prop::collection::vec(step, 0..40);
    (0..8u8, room, known, (setup, steps)).prop_map(|(number, room, known, (setup, steps))| {
        let setup = setup.into_iter().map(Step::Change);
        (number, room, known, setup.chain(steps).collect())
    })
}

#[test]
fn every_connection_lives() {
    all_end_well(
        busy_history(),
        3000,
        |(configuration, room, known, steps)| judge(*configuration, *room, *known, steps),
    );
}

/// A history that once ended wrong.
#[track_caller]
fn ends_well(configuration: u8, room: usize, known: u32, steps: &[Step]) {
    assert_eq!(judge(configuration, room, known, steps), Ok(()));
}

const ALL_FLAGS: u32 = 0xff;
/// Those of the first kernels with endpoints.
const OLD_FLAGS: u32 = 0x7;

#[test]
fn a_refused_look_does_not_make_the_daemon_spin() {
    let steps = [
        Step::Change(Link(1, 1)),
        Refuse(0, 0, 4),
        Step::Change(Address(1, 0, 6)),
        Run(5),
        Step::Change(Link(0, 0)),
        Refuse(2, 0, 1),
        RefuseDumps(1),
        Run(0),
    ];
    ends_well(1, 8, ALL_FLAGS, &steps);
}

/// The first link has the address twice, with the second link's between them.
#[test]
fn an_address_twice_on_its_link_has_both_prefixes() {
    let steps = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 1, 7)),
        Step::Change(Rename(3, 0)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 0, 0)),
        Step::Change(Address(0, 0, 0)),
    ];
    ends_well(7, 255, ALL_FLAGS, &steps);
}

#[test]
fn source_routing_ends_with_its_configuration() {
    let steps = [
        Step::Change(Link(5, 1)),
        Step::Change(Address(5, 0, 0)),
        Step::Change(Route(5, 0, 0)),
        Run(0),
        Reload(4),
    ];
    ends_well(3, 8, ALL_FLAGS, &steps);
}

#[test]
fn tables_follow_a_smaller_range() {
    let steps = [
        Step::Change(Link(0, 0)),
        Step::Change(Link(1, 0)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 0, 0)),
        Run(0),
        Reload(7),
    ];
    ends_well(3, 8, ALL_FLAGS, &steps);
}

#[test]
fn an_endpoint_that_the_kernel_will_not_delete_stays_ours() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Route(0, 1, 3)),
        Step::Change(Address(0, 13, 0)),
        Run(0),
        Refuse(4, 0, 2),
        Step::Change(Unroute(0, 1, 3)),
        Run(0),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

#[test]
fn limits_whose_change_is_refused_stay_ours_after_a_crash() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 11, 6)),
        Run(0),
        Kill(3, false),
        Refuse(0, 0, 2),
        Step::Change(Address(0, 11, 3)),
        Run(4),
    ];
    ends_well(1, 8, ALL_FLAGS, &steps);
}

#[test]
fn a_refused_dump_of_routes_is_asked_for_again() {
    let steps = [
        Step::Change(Link(2, 1)),
        Step::Change(Address(2, 13, 0)),
        Run(0),
        RefuseDumps(1),
        Step::Change(Route(2, 1, 0)),
        Run(0),
    ];
    ends_well(2, 8, ALL_FLAGS, &steps);
}

#[test]
fn flags_that_the_kernel_drops_are_not_set_for_ever() {
    let steps = [
        Step::Change(Link(5, 1)),
        Step::Change(Address(5, 0, 0)),
        Step::Change(Route(5, 0, 0)),
        Run(0),
        Reload(2),
    ];
    ends_well(0, 8, OLD_FLAGS, &steps);
}

#[test]
fn an_endpoint_of_the_kernels_own_making_is_not_ours() {
    let steps = [
        Step::Change(Meddled(Meddle::Implicit(15))),
        Reload(4),
        Step::Change(Link(1, 1)),
        Run(0),
        Kill(1, true),
        Refuse(0, 0, 2),
        Step::Change(Address(1, 15, 6)),
        Run(0),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

#[test]
fn an_endpoint_in_place_of_a_vanished_implicit_one_is_ours() {
    let steps = [
        Step::Change(Link(4, 1)),
        Step::Change(Meddled(Meddle::Implicit(11))),
        Run(0),
        Step::Change(Address(4, 11, 0)),
        Step::Change(Route(4, 0, 0)),
        Step::Change(Meddled(Meddle::Flush)),
        Run(0),
        Reload(0),
    ];
    ends_well(2, 8, ALL_FLAGS, &steps);
}

#[test]
fn an_endpoint_much_like_ours_is_not_ours() {
    let steps = [
        Step::Change(Link(0, 1)),
        Kill(0, false),
        Step::Change(Address(0, 18, 0)),
        Refuse(0, 0, 2),
        Run(0),
        Start,
        ReadEvents(0),
        Kill(0, true),
        Start,
        Run(0),
        Step::Change(Meddled(Meddle::Add(18, 1, 0))),
    ];
    ends_well(6, 8, ALL_FLAGS, &steps);
}

#[test]
fn flags_whose_change_is_refused_once_change_all_the_same() {
    let steps = [
        Step::Change(Link(5, 1)),
        Step::Change(Address(5, 0, 6)),
        Run(0),
        Step::Change(Rename(5, 2)),
        Refuse(0, 0, 1),
        Run(0),
    ];
    ends_well(4, 8, ALL_FLAGS, &steps);
}

#[test]
fn a_flag_that_somebody_takes_away_at_once_is_not_unknown_to_the_kernel() {
    let steps = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 0, 0)),
        Step::Change(Route(3, 0, 0)),
        Run(0),
        Step::Change(Meddled(Meddle::SetFlags(0, 48))),
    ];
    ends_well(2, 8, ALL_FLAGS, &steps);
}

#[test]
fn an_endpoint_in_place_of_a_vanished_implicit_one_can_go() {
    let steps = [
        Step::Change(Meddled(Meddle::Implicit(17))),
        Step::Change(Link(0, 1)),
        Run(0),
        Step::Change(Address(0, 17, 6)),
        Step::Change(Meddled(Meddle::Flush)),
        Run(0),
        Step::Change(Unaddress(0, 17)),
    ];
    ends_well(1, 8, ALL_FLAGS, &steps);
}

#[test]
fn flags_that_the_kernel_drops_at_the_start_are_noticed_soon() {
    let steps = [
        Step::Change(Link(4, 1)),
        Step::Change(Route(4, 0, 0)),
        Step::Change(Rename(4, 0)),
        Kill(0, false),
        Run(0),
        Step::Change(Address(0, 0, 6)),
    ];
    ends_well(2, 8, OLD_FLAGS, &steps);
}

#[test]
fn a_full_kernel_is_asked_for_no_more_than_one() {
    let steps = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 17, 1)),
        Step::Change(Address(3, 2, 6)),
        Step::Change(Address(3, 11, 1)),
        Step::Change(Address(3, 15, 7)),
        Step::Change(Route(3, 1, 3)),
        Step::Change(Route(3, 0, 3)),
        Step::Change(Address(3, 9, 1)),
        Step::Change(Address(3, 7, 7)),
    ];
    ends_well(2, 3, OLD_FLAGS, &steps);
}

#[test]
fn what_the_kernel_had_no_room_for_gets_its_limits_with_its_slot() {
    let steps = [
        Refuse(5, 0, 2),
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 0, 0)),
        Reload(4),
        Run(0),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

#[test]
fn two_endpoints_cannot_have_been_seen_by_one_id() {
    let steps = [
        Step::Change(Meddled(Meddle::Implicit(18))),
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 6)),
        Run(0),
        Step::Change(Meddled(Meddle::Flush)),
        Step::Change(Address(0, 18, 0)),
    ];
    ends_well(1, 8, ALL_FLAGS, &steps);
}

fn traffic_step(traffic: Traffic) -> Step {
    Step::Change(Change::Traffic(traffic))
}

#[test]
fn subflows_that_ended_while_the_daemon_was_away_are_made_again() {
    let steps = [
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 0, 0)),
        Run(0),
        Kill(0, false),
        traffic_step(Connect(0)),
        traffic_step(Reset(0)),
        Run(25),
    ];
    ends_well(1, 8, ALL_FLAGS, &steps);
}

/// What the peer is told of an endpoint that goes ends what is joined from there next, where the address
/// is that of the first subflow.
#[test]
fn a_first_subflow_that_is_reset_is_made_again() {
    let steps = [
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 0, 0)),
        Step::Change(Route(1, 0, 1)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 11, 0)),
        Step::Change(Route(3, 0, 6)),
        Run(100),
        traffic_step(Connect(0)),
        Run(200),
        traffic_step(Reset(0)),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

/// An address may have two endpoints, one of which listens and has no subflows of our making.
#[test]
fn an_endpoint_with_a_port_is_not_taken_for_the_one_without() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Route(0, 0, 1)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 11, 0)),
        Step::Change(Route(3, 0, 6)),
        traffic_step(Connect(19)),
        Reload(5),
        Run(0),
        Reload(3),
        traffic_step(Connect(1)),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

#[test]
fn a_look_for_the_sake_of_one_endpoint_does_not_replace_the_look_at_all() {
    let steps = [
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 3, 0)),
        Step::Change(Route(1, 0, 5)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 11, 0)),
        Run(0),
        RefuseDumps(9),
        Run(80),
        Step::Change(Link(1, 0)),
        traffic_step(Connect(0)),
        traffic_step(Reset(0)),
        Run(128),
    ];
    ends_well(7, 8, ALL_FLAGS, &steps);
}

/// By the time the endpoint may be deleted a connection has come to need it.
#[test]
fn what_was_known_before_a_refusal_is_not_acted_upon_after_it() {
    let steps = [
        Step::Change(Link(5, 1)),
        Step::Change(Address(5, 0, 0)),
        Run(0),
        Refuse(0, 0, 8),
        Reload(5),
        ReadEvents(0),
        traffic_step(Connect(0)),
        Run(60),
    ];
    ends_well(6, 8, ALL_FLAGS, &steps);
}

#[test]
fn a_connection_does_not_lose_all_its_subflows_at_once_for_the_sake_of_another() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Route(0, 0, 1)),
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 3, 0)),
        Step::Change(Route(1, 0, 5)),
        Run(0),
        traffic_step(Connect(0)),
        traffic_step(Reset(0)),
        traffic_step(Reset(0)),
        traffic_step(Connect(0)),
        traffic_step(RefuseJoins(1)),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

#[test]
fn where_the_kernel_is_full_all_that_give_way_go_at_once() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Address(0, 13, 0)),
        Step::Change(Route(0, 0, 1)),
        Step::Change(Route(0, 1, 1)),
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 3, 0)),
        Step::Change(Address(1, 15, 0)),
        Step::Change(Route(1, 0, 5)),
        Step::Change(Route(1, 1, 5)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 11, 0)),
        Step::Change(Route(3, 0, 6)),
        Run(0),
        traffic_step(Connect(0)),
        Reload(5),
        traffic_step(Connect(0)),
    ];
    ends_well(0, 3, ALL_FLAGS, &steps);
}

#[test]
fn an_address_on_two_links_works_if_one_of_them_does() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Route(0, 0, 1)),
        Step::Change(Link(1, 2)),
        Step::Change(Address(1, 3, 0)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 3, 0)),
        Run(0),
        traffic_step(Connect(1)),
        traffic_step(Traffic::FailJoins(1)),
        traffic_step(Connect(1)),
    ];
    ends_well(3, 8, ALL_FLAGS, &steps);
}

/// Nobody could be asked meanwhile whether connections needed it.
#[test]
fn an_endpoint_that_was_to_go_and_stays_is_looked_at() {
    let steps = [
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 3, 0)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 11, 0)),
        Reload(3),
        Run(232),
        RefuseDumps(6),
        Step::Change(Link(3, 0)),
        traffic_step(Connect(0)),
        Run(68),
        Step::Change(Link(3, 1)),
    ];
    ends_well(0, 8, ALL_FLAGS, &steps);
}

#[test]
fn a_subflow_that_is_reset_is_back_within_a_second() {
    let up = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Link(1, 1)),
        Step::Change(Address(1, 3, 0)),
        traffic_step(Connect(0)),
    ];
    let mut simulation = Simulation::new(1, 8, ALL_FLAGS);
    simulation.play(&up);
    simulation.run(Duration::from_secs(20));
    assert_eq!(specification::check(&simulation), Ok(()));
    for subflow in 0..2 {
        simulation.step(traffic_step(Reset(subflow)));
        assert!(specification::check(&simulation).is_err());
        simulation.run(Duration::from_secs(1));
        assert_eq!(specification::check(&simulation), Ok(()));
    }
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Address(0, 13, 0)),
        Step::Change(Route(0, 1, 1)),
        Run(0),
        traffic_step(Connect(0)),
        Step::Change(Unroute(0, 1, 0)),
        RefuseDumps(1),
        Step::Change(Unaddress(0, 0)),
        Run(0),
    ];
    ends_well(2, 8, ALL_FLAGS, &steps);
}

/// What the kernel goes on refusing is tried ever more slowly, whatever it is and why.
#[test]
fn an_endpoint_in_place_of_a_vanished_implicit_one_is_ours_after_a_crash() {
    let steps = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 4, 0)),
        Step::Change(Link(3, 0)),
        Step::Change(Meddled(Meddle::Implicit(4))),
        Run(23),
        Step::Change(Meddled(Meddle::Flush)),
        Step::Change(Link(3, 1)),
        Run(0),
        Kill(4, true),
        Step::Change(Link(3, 0)),
        Run(23),
    ];
    ends_well(3, 8, ALL_FLAGS, &steps);
}

/// Otherwise the daemon goes on asking until the next resync.
#[test]
fn a_route_refused_because_the_link_is_down_has_the_links_read() {
    let down_up_down = [0, 1, 0].map(|state| Step::Change(Link(3, state)));
    let up = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 0, 0)),
        Step::Change(Address(3, 9, 0)),
        Step::Change(Address(3, 11, 0)),
        Run(5),
    ];
    let mut simulation = Simulation::new(7, 8, ALL_FLAGS);
    simulation.play(&up);
    assert_eq!(specification::check(&simulation), Ok(()));
    // The end of the story is told before its beginning.
    simulation.play(&down_up_down);
    simulation.step(Step::Change(Swap(2)));
    simulation.run(Duration::from_secs(1));
    assert_eq!(specification::check(&simulation), Ok(()));
}

#[test]
fn refusals_without_end_cost_little() {
    let up = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Step::Change(Address(0, 13, 0)),
    ];
    let add = [Step::Change(Address(0, 3, 0))];
    let delete = [
        Step::Change(Unaddress(0, 0)),
        Step::Change(Unaddress(0, 13)),
    ];
    for errno in 0..7 {
        for what in [&add[..], &delete, &[Reload(4)]] {
            let mut simulation = Simulation::new(1, 8, ALL_FLAGS);
            simulation.play(&up);
            simulation.run(Duration::from_secs(20));
            let before = simulation.counts;
            simulation.step(Refuse(errno, 0, ALWAYS));
            simulation.play(what);
            simulation.run(Duration::from_secs(60));
            let tries = simulation.counts.changes - before.changes;
            let looks = simulation.counts.looks - before.looks;
            assert!((1..60).contains(&tries), "{what:?}: {tries} commands");
            assert!(looks < 120, "{what:?}: {looks} looks");
            simulation.recover();
            assert_eq!(specification::check(&simulation), Ok(()), "{what:?}");
        }
    }
}

/// The interface's IPv6 endpoint is somebody else's: its second address waits like others' second.
#[test]
fn what_others_made_at_an_interface_counts_for_its_share() {
    let steps = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 11, 0)),
        Step::Change(Address(3, 9, 0)),
        Step::Change(Address(3, 19, 0)),
        Step::Change(Address(3, 15, 0)),
        Step::Change(Meddled(Meddle::Add(19, 3, 0))),
    ];
    ends_well(6, 3, ALL_FLAGS, &steps);
}

/// The address had an endpoint with a port as well, from another configuration.
#[test]
fn an_endpoint_for_peers_to_join_has_no_subflows_to_be_made_again() {
    let steps = [
        Step::Change(Link(0, 1)),
        Step::Change(Address(0, 0, 0)),
        Run(0),
        Reload(5),
        Step::Change(Change::Traffic(Connect(0))),
        Run(15),
        Step::Change(Change::Traffic(Connect(0))),
        Step::Change(Change::Traffic(Traffic::FailJoins(4))),
        Step::Change(Change::Traffic(Connect(0))),
        Reload(0),
        Refuse(0, 0, 6),
        Run(15),
    ];
    ends_well(6, 8, ALL_FLAGS, &steps);
}

/// The address is on an interface without carrier, and leaves by one that has none of its own.
#[test]
fn a_rule_of_others_leads_by_an_interface_without_address() {
    let steps = [
        Step::Change(Link(4, 2)),
        Step::Change(Address(4, 17, 6)),
        Step::Change(Link(3, 1)),
        Step::Change(Route(3, 3, 1)),
        Step::Change(Change::Rule(17, 2)),
    ];
    ends_well(7, 8, ALL_FLAGS, &steps);
}

/// An old kernel does not show whether connections need the endpoint that it made itself.
#[test]
fn the_limits_may_expect_what_others_are_to_give_way_to() {
    let steps = [
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 1, 7)),
        Step::Change(Route(3, 0, 4)),
        Step::Change(Meddled(Meddle::Implicit(17))),
        Step::Change(Meddled(Meddle::Implicit(3))),
        Step::Change(Meddled(Meddle::Add(15, 3, 15))),
    ];
    ends_well(2, 3, OLD_FLAGS, &steps);
}

/// There a lost path's endpoint, which a connection needs, stands beside one that the kernel made
/// itself at the wanted address.
#[test]
fn a_full_kernel_that_made_an_endpoint_itself_is_left_in_peace() {
    let steps = [
        Step::Change(Link(4, 2)),
        Step::Change(Address(4, 19, 2)),
        Step::Change(Link(4, 1)),
        Step::Change(Meddled(Meddle::Add(13, 0, 2))),
        Run(34),
        traffic_step(Connect(163)),
        Step::Change(Link(4, 0)),
        Step::Change(Link(3, 1)),
        Step::Change(Address(3, 1, 6)),
        Step::Change(Meddled(Meddle::Implicit(1))),
    ];
    ends_well(6, 3, ALL_FLAGS, &steps);
}

/// Of two IPv4 addresses of an uplink the one without connections gives its slot to IPv6.
#[test]
fn a_slot_is_shared_by_what_connections_do_not_need() {
    let steps = [
        Step::Change(Link(4, 1)),
        Step::Change(Address(4, 4, 7)),
        Step::Change(Meddled(Meddle::Implicit(17))),
        Step::Change(Address(4, 0, 2)),
        Step::Change(Address(4, 17, 1)),
        traffic_step(Connect(13)),
        traffic_step(RefuseJoins(251)),
    ];
    ends_well(6, 3, ALL_FLAGS, &steps);
}
