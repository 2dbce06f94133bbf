// SPDX-License-Identifier: BSD-3-Clause
//! Histories of connections: once it is over the table shows what the kernel has, the plugin has
//! been told a history that makes sense, `sspi` has brought about what it promises, and the
//! daemon rests.

use proptest::prelude::*;

use super::simulator::Step::{
    Interrupt, Kill, ReadEvents, Refuse, RefuseDumps, Reload, Resync, Run, Start,
};
use super::simulator::connections::Change::{
    Announce, Close, Die, Establish, Full, Join, Link, Open, Rename, Swap, Unreachable,
};
use super::simulator::connections::{Change, Step, judge};
use super::{all_end_well, step};

fn change() -> impl Strategy<Value = Change> {
    let (of, n) = (1..5u8, 0..4u8);
    prop_oneof![
        6 => (of.clone(), 0..3u8, any::<bool>()).prop_map(|(t, i, s)| Change::Open(t, i, s)),
        6 => of.clone().prop_map(Change::Establish),
        1 => of.clone().prop_map(Change::Fin),
        3 => of.clone().prop_map(Change::Close),
        1 => (of.clone(), n.clone()).prop_map(|(t, n)| Change::Announce(t, n)),
        1 => (of.clone(), n.clone()).prop_map(|(t, n)| Change::Remove(t, n)),
        4 => (of.clone(), 0..3u8, n.clone()).prop_map(|(t, i, n)| Change::Join(t, i, n)),
        1 => (of.clone(), 0..3u8, 1..9u8).prop_map(|(t, i, n)| Change::Rename(t, i, n)),
        4 => (of, n, any::<bool>()).prop_map(|(t, n, s)| Change::Die(t, n, s)),
        2 => (0..3u8, any::<bool>()).prop_map(|(i, up)| Change::Link(i, up)),
    ]
}

fn happening() -> impl Strategy<Value = Change> {
    prop_oneof![
        28 => change(),
        2 => Just(Change::Full),
        1 => any::<u8>().prop_map(Change::Repeat),
        1 => any::<u8>().prop_map(Change::Swap),
        1 => (1..5u8).prop_map(Change::Unreachable),
    ]
}

#[test]
fn every_history_ends_well() {
    let history = prop::collection::vec(step(happening(), change()), 0..60);
    all_end_well(history, 1000, |steps| judge(steps));
}

/// The strategies beside `sspi`, each in charge.
#[cfg(all(feature = "fullmesh", feature = "failover", feature = "ndiffports"))]
#[test]
fn every_history_of_other_strategies_ends_well() {
    use super::simulator::connections::specification::{
        Settled, is_failover, is_full_mesh, is_ndiffports,
    };
    use super::simulator::connections::{Settings, judge_of};
    use mptcpd::built_in::{FAILOVER, FULLMESH, NDIFFPORTS};
    use mptcpd::internal::plugin::Entry;

    // Looks at paths again and again would be no rest.
    static ALL: [(Entry, Settings, fn(&Settled) -> bool); 3] = [
        (FULLMESH, &[("subflows", "64")], is_full_mesh),
        (FAILOVER, &[("patience", "0")], is_failover),
        (NDIFFPORTS, &[("subflows", "3")], is_ndiffports),
    ];
    for (strategy, settings, fits) in &ALL {
        let history = prop::collection::vec(step(happening(), change()), 0..60);
        all_end_well(history, 500, |steps| {
            judge_of(strategy, settings, *fits, steps)
        });
    }
}

/// A history that once ended wrong.
#[track_caller]
fn ends_well(steps: &[Step]) {
    assert_eq!(judge(steps), Ok(()));
}

#[test]
fn a_subflow_that_a_dump_has_shown_is_not_told_again() {
    ends_well(&[
        Step::Change(Open(1, 1, true)),
        Step::Change(Establish(1)),
        Step::Change(Join(1, 1, 0)),
        ReadEvents(0),
    ]);
}

#[test]
fn what_happens_before_a_connection_is_introduced_is_told_after_it() {
    ends_well(&[
        Step::Change(Open(2, 0, false)),
        Step::Change(Establish(2)),
        Step::Change(Announce(2, 0)),
        Run(0),
    ]);
}

#[test]
fn a_subflow_that_ends_before_its_connection_is_introduced_is_gone() {
    ends_well(&[
        RefuseDumps(6),
        Run(36),
        Step::Change(Open(1, 0, false)),
        Run(26),
        Step::Change(Establish(1)),
        Step::Change(Die(1, 0, true)),
    ]);
}

#[test]
fn only_a_whole_dump_introduces() {
    ends_well(&[
        Step::Change(Full),
        Interrupt(1),
        Step::Change(Open(1, 0, false)),
        Run(0),
        RefuseDumps(1),
        Run(2),
    ]);
}

#[test]
fn a_connection_that_ends_before_its_addresses_are_read_holds_nothing_up() {
    ends_well(&[
        Step::Change(Full),
        Step::Change(Open(1, 0, false)),
        Refuse(0, 0, 2),
        ReadEvents(0),
        Step::Change(Close(1)),
        Run(0),
        Step::Change(Open(1, 0, false)),
    ]);
}

#[test]
fn a_refused_end_of_a_subflow_leaves_its_address_announced() {
    ends_well(&[
        Step::Change(Open(3, 2, false)),
        Step::Change(Establish(3)),
        Run(3),
        Step::Change(Link(1, false)),
        Step::Change(Die(3, 2, true)),
        Refuse(0, 0, 1),
        Run(0),
    ]);
}

#[test]
fn a_refused_withdrawal_leaves_the_address_announced() {
    ends_well(&[
        Step::Change(Open(1, 0, true)),
        Step::Change(Establish(1)),
        Run(0),
        Step::Change(Link(2, false)),
        Refuse(0, 0, 1),
        Run(0),
    ]);
}

#[test]
fn a_refused_withdrawal_after_a_refused_announcement_leaves_nothing_announced() {
    ends_well(&[
        Step::Change(Open(1, 0, false)),
        Run(0),
        Refuse(0, 0, 5),
        Step::Change(Establish(1)),
        Step::Change(Link(2, false)),
        ReadEvents(1),
        Step::Change(Link(2, true)),
    ]);
}

#[test]
fn a_join_proves_the_handshake() {
    ends_well(&[
        Step::Change(Open(1, 1, true)),
        Step::Change(Full),
        Step::Change(Establish(1)),
        Step::Change(Die(1, 0, false)),
        Run(0),
        Step::Change(Join(1, 1, 0)),
    ]);
}

#[test]
fn addresses_that_the_kernel_refuses_to_show_are_asked_for_again() {
    ends_well(&[
        Step::Change(Open(4, 0, false)),
        Step::Change(Establish(4)),
        Run(0),
        Kill(0, false),
        Resync,
        Run(0),
        Step::Change(Link(1, false)),
        Start,
        Refuse(0, 0, 2),
        Run(0),
    ]);
}

#[test]
fn no_id_is_given_out_before_those_of_an_earlier_run_are_known() {
    ends_well(&[
        Step::Change(Open(2, 2, false)),
        Step::Change(Open(4, 0, false)),
        Step::Change(Establish(2)),
        Run(0),
        Kill(0, false),
        Step::Change(Open(1, 0, false)),
        Step::Change(Establish(1)),
        Interrupt(0),
        Run(0),
        Start,
        Step::Change(Establish(4)),
        Run(0),
    ]);
}

#[test]
fn listeners_are_opened_again_after_a_restart() {
    ends_well(&[
        Step::Change(Open(4, 0, true)),
        Step::Change(Establish(4)),
        Run(0),
        Kill(0, false),
        Resync,
        Run(0),
    ]);
}

#[test]
fn a_listener_opened_again_stays_where_the_kernel_refuses_to_announce_it() {
    ends_well(&[
        Step::Change(Open(2, 0, true)),
        Step::Change(Establish(2)),
        Run(0),
        Kill(0, false),
        Resync,
        Run(0),
        Refuse(0, 3, 1),
        Start,
        Run(0),
    ]);
}

#[test]
fn an_announcement_before_a_refused_withdrawal_stays() {
    ends_well(&[
        Step::Change(Open(3, 0, false)),
        Refuse(0, 3, 3),
        Run(0),
        Step::Change(Link(1, false)),
        Step::Change(Establish(3)),
        Run(0),
    ]);
}

/// As many connections as fill the table of listeners, had they any.
#[test]
fn listeners_that_cannot_be_opened_again_take_no_room() {
    let mut steps = vec![];
    for token in (1..=255).step_by(2) {
        steps.extend([Open(token, 0, true), Establish(token)].map(Step::Change));
    }
    steps.extend([Run(0), Kill(0, false), Resync, Run(0), Start, Run(50)]);
    steps.extend([Open(2, 0, true), Establish(2)].map(Step::Change));
    ends_well(&steps);
}

#[test]
fn a_withdrawal_gives_up_no_later_listener() {
    ends_well(&[
        Step::Change(Open(2, 1, true)),
        Step::Change(Establish(2)),
        Run(0),
        Step::Change(Link(0, false)),
        ReadEvents(0),
        Step::Change(Link(0, true)),
    ]);
}

#[test]
fn a_refused_withdrawal_leaves_the_listener() {
    ends_well(&[
        Step::Change(Open(2, 0, true)),
        Step::Change(Establish(2)),
        Run(0),
        Refuse(0, 0, 1),
        Step::Change(Link(2, false)),
        Run(0),
        Step::Change(Link(2, true)),
    ]);
}

#[test]
fn an_address_that_the_kernel_knows_by_another_id_is_used_all_the_same() {
    ends_well(&[
        Step::Change(Open(1, 0, false)),
        Step::Change(Establish(1)),
        Step::Change(Rename(1, 1, 9)),
        // And another address has the id.
        Step::Change(Rename(1, 2, 1)),
        Run(0),
    ]);
}

/// Its event was lost in the midst of the look at all connections.
#[test]
fn the_end_of_a_connection_that_no_event_told_is_found() {
    ends_well(&[
        Step::Change(Open(3, 0, false)),
        Step::Change(Link(2, false)),
        Step::Change(Unreachable(2)),
        Run(0),
        Refuse(0, 3, 7),
        Step::Change(Open(2, 0, false)),
        Step::Change(Establish(3)),
        Step::Change(Swap(224)),
        ReadEvents(1),
        Kill(0, false),
        Run(5),
        Start,
        Run(0),
        Step::Change(Full),
        Refuse(0, 2, 1),
        Step::Change(Open(4, 0, false)),
        Reload(0),
        ReadEvents(0),
        Step::Change(Full),
        Step::Change(Close(2)),
    ]);
}

#[test]
fn an_announcement_is_tried_again_once_its_id_is_free() {
    ends_well(&[
        Refuse(0, 0, 2),
        Step::Change(Open(1, 1, true)),
        Step::Change(Establish(1)),
        Step::Change(Rename(1, 0, 3)),
        Run(0),
    ]);
}

/// Its addresses were read, and it was told of, before the look had shown its subflows.
#[test]
fn connections_are_told_of_before_another_look_finds_more() {
    ends_well(&[
        Run(0),
        Step::Change(Open(4, 0, false)),
        Step::Change(Full),
        Step::Change(Establish(4)),
        Step::Change(Open(3, 0, false)),
        Refuse(0, 3, 10),
        Run(4),
        Step::Change(Full),
        Interrupt(3),
        Step::Change(Open(1, 0, false)),
        Run(58),
    ]);
}
