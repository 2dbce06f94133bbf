// SPDX-License-Identifier: BSD-3-Clause
//! Random histories. Whatever happened, and whatever of it the daemon missed: once it is over all
//! is well.
//!
//! They are always the same, unless `MPTCPD_HISTORIES` says how many others to make. A failure
//! prints its shortest history, ready to go among the regressions.

mod connections;
mod network;
#[path = "../simulator/mod.rs"]
mod simulator;

use core::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use simulator::{ALWAYS, Step};

/// Steps of a kernel to which such things happen; what happens meanwhile the daemon does not see.
fn step<C: Copy + Debug + 'static>(
    change: impl Strategy<Value = C> + 'static,
    meanwhile: impl Strategy<Value = C> + 'static,
) -> impl Strategy<Value = Step<C>> {
    let times = prop_oneof![15 => 1..16u8, 1 => Just(ALWAYS)];
    prop_oneof![
        28 => change.prop_map(Step::Change),
        8 => (0..80u8).prop_map(Step::Run),
        4 => (0..6u8).prop_map(Step::ReadEvents),
        1 => (0..12u8).prop_map(Step::Interrupt),
        1 => meanwhile.prop_map(Step::Meanwhile),
        1 => (1..16u8).prop_map(Step::RefuseDumps),
        2 => (0..8u8, 0..6u8, times).prop_map(|(e, a, n)| Step::Refuse(e, a, n)),
        1 => (0..8u8, any::<bool>()).prop_map(|(n, torn)| Step::Kill(n, torn)),
        2 => Just(Step::Start),
        1 => (0..8u8).prop_map(Step::Reload),
        1 => Just(Step::Resync),
    ]
}

/// Goes through so many histories, always the same.
fn all_end_well<T: Debug>(
    histories: impl Strategy<Value = T>,
    cases: u32,
    judge: impl Fn(&T) -> Result<(), String>,
) {
    let others = std::env::var("MPTCPD_HISTORIES").ok();
    let others = others.map(|text| text.parse().expect("a number"));
    let mut runner = TestRunner::new(Config {
        cases: others.unwrap_or(cases),
        rng_seed: others.map_or(RngSeed::Fixed(8), |_: u32| RngSeed::Random),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    });
    let result = runner.run(&histories, |history| {
        judge(&history).map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, history)) => panic!("{reason}: {history:?}"),
        Err(failure) => panic!("{failure}"),
    }
}
