// SPDX-License-Identifier: BSD-3-Clause
//! The histories of `tests/histories/network.rs`, led by what they reach instead of by chance.
#![no_main]

#[path = "../../simulator/mod.rs"]
mod simulator;

use libfuzzer_sys::fuzz_target;
use simulator::ALWAYS;
use simulator::network::connections::Traffic;
use simulator::network::{Change, Meddle, Step, judge};

fuzz_target!(|bytes: &[u8]| {
    let [how, rest @ ..] = bytes else { return };
    let room = [8, 3, 255, 8][usize::from(how >> 3) % 4];
    let known = if how >> 5 == 0 { 0x7 } else { 0xff };
    let steps: Vec<_> = rest.chunks_exact(4).take(80).map(step).collect();
    if let Err(cause) = judge(how % 8, room, known, &steps) {
        panic!("{cause}: {steps:?}");
    }
});

fn step(bytes: &[u8]) -> Step {
    let (kind, a, b, c) = (bytes[0], bytes[1], bytes[2], bytes[3]);
    if kind >= 200 {
        return Step::Change(Change::Traffic(traffic(kind, a)));
    }
    match kind % 40 {
        22 | 23 => Step::Run(a % 80),
        24 => Step::ReadEvents(a % 6),
        25 => Step::Change(Change::Full),
        26 => Step::Change(Change::Drop(a)),
        27 => Step::Change(Change::Duplicate(a)),
        28 => Step::Change(Change::Swap(a)),
        29 => Step::Interrupt(a % 6),
        30 => Step::Meanwhile(change(a % 22, b, c, b ^ c)),
        31 => Step::Refuse(a % 7, 0, if b % 8 == 7 { ALWAYS } else { b % 8 }),
        32 => Step::RefuseDumps(a % 4),
        33 => Step::Kill(a % 8, b % 2 == 0),
        34 => Step::Start,
        35 => Step::Reload(a % 8),
        36 => Step::Resync,
        37 => Step::Change(Change::Family(a % 4 != 0)),
        38 | 39 => Step::Change(Change::Meddle(meddle(a, b, c))),
        kind => Step::Change(change(kind, a, b, c)),
    }
}

fn change(kind: u8, a: u8, b: u8, c: u8) -> Change {
    let (link, number, which, how) = (a % 6, b % 20, b % 6, c % 9);
    match kind {
        0..=4 => Change::Link(link, b % 3),
        5 => Change::Unlink(link),
        6 => Change::Rename(link, b % 6),
        7 => Change::Enslave(link),
        8 => Change::Release(link),
        9..=12 => Change::Address(link, number, c % 8),
        13 | 14 => Change::Unaddress(link, number),
        15..=17 => Change::Route(link, which, how),
        18 => Change::Unroute(link, which, how),
        19 => Change::Rule(a % 20, which),
        20 => Change::Unrule(a % 20, which),
        21 => Change::Nexthop(link, b % 6),
        _ => Change::Noise,
    }
}

fn traffic(kind: u8, n: u8) -> Traffic {
    match kind % 8 {
        0..=2 => Traffic::Connect(n),
        3 => Traffic::RefuseJoins(n),
        4 => Traffic::Disconnect(n),
        5 => Traffic::Reset(n),
        6 => Traffic::FailJoins(n % 5),
        _ => Traffic::LoseJoins(n % 3),
    }
}

fn meddle(a: u8, b: u8, c: u8) -> Meddle {
    match a % 8 {
        0 | 1 => Meddle::Add(b % 20, c % 12, c >> 4),
        2 => Meddle::Delete(b),
        3 => Meddle::SetFlags(b, c),
        4 => Meddle::Flush,
        5 | 6 => Meddle::Limits(b % 9, c % 9),
        _ => Meddle::Implicit(b % 20),
    }
}
