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
