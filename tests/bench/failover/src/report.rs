// SPDX-License-Identifier: BSD-3-Clause
//! The table.

use crate::candidate::Candidate;
use crate::measure::{Outcome, Value};
use crate::scenario::Scenario;

pub fn head() {
    println!(
        "| | | stall away | stall on return | frozen | oldest data | path used again | all paths \
         again | with all paths | new ones worked | last new one in vain | dead | CPU |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
}

/// The rows of a scenario: each candidate with the outcomes of its runs.
pub fn rows(scenario: &Scenario, results: &[(Candidate, Vec<Outcome>)]) {
    let c = results
        .iter()
        .find(|(candidate, _)| *candidate == Candidate::C);
    for (candidate, own) in results {
        let cell = |value| {
            let Some((median, worst)) = summary(own, value) else {
                return "failed".to_owned();
            };
            let mut text = written(median);
            if written(worst) != text {
                text += &format!(" ({})", written(worst));
            }
            let peer = c.and_then(|(_, theirs)| summary(theirs, value));
            if let Some((peer, _)) = peer
                && *candidate != Candidate::C
                && peer >= 1.0
                && peer.is_finite()
                && median.is_finite()
            {
                text += &format!(" ×{:.2}", median / peer);
            }
            text
        };
        let sum = |value| own.iter().map(|it| it[value as usize]).sum::<f64>();
        let of = |value| format!("{} of {}", sum(value), sum(Value::Connections));
        let unless = |without: bool, text: String| match without {
            true => "–".to_owned(),
            false => text,
        };
        // Those that are there before it begins count as well.
        let opens = scenario.connections == 0 || scenario.name.starts_with("S8");
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            scenario.name,
            candidate.name(),
            cell(Value::Away),
            cell(Value::Back),
            cell(Value::Frozen),
            cell(Value::Oldest),
            unless(scenario.affected.is_empty(), cell(Value::Used)),
            cell(Value::Complete),
            of(Value::Whole),
            unless(!opens, of(Value::Worked)),
            unless(!opens, cell(Value::From)),
            sum(Value::Died),
            unless(*candidate == Candidate::None, cell(Value::Cpu)),
        );
    }
}

/// Median and worst; of an even number of runs the larger of the two in the middle.
fn summary(results: &[Outcome], value: Value) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = results.iter().map(|it| it[value as usize]).collect();
    values.sort_by(f64::total_cmp);
    Some((*values.get(values.len() / 2)?, *values.last()?))
}

fn written(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.0}"),
        false => "never".to_owned(),
    }
}
