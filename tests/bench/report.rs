// SPDX-License-Identifier: BSD-3-Clause
//! Samples, and the table made of them.

use std::fmt::{self, Write};

use crate::process::Which;

/// One line of the table: what is measured, of each.
struct Row {
    what: String,
    /// Decimals shown.
    digits: usize,
    target: &'static str,
    samples: [Vec<f64>; 3],
}

/// A line of a table of growth: the median for each size.
struct Curve {
    what: String,
    digits: usize,
    points: Vec<(u32, f64)>,
}

#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    curves: Vec<Curve>,
    /// What went wrong, for the reader of the table.
    pub remarks: Vec<String>,
}

/// What is measured, with how many decimals it is shown, and what the ratio shall be.
pub type What = (&'static str, usize, &'static str);

impl Report {
    /// Adds a sample. Infinite is "never".
    pub fn add(&mut self, (what, digits, target): What, which: Which, value: f64) {
        let at = self.rows.iter().position(|row| row.what == what);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                what: what.to_owned(),
                digits,
                target,
                samples: [vec![], vec![], vec![]],
            });
            self.rows.len() - 1
        });
        self.rows[at].samples[which as usize].push(value);
    }

    /// Adds a point to a curve, of what one costs; the exponent is that of all together.
    pub fn point(&mut self, what: &str, digits: usize, size: u32, value: f64) {
        let at = self.curves.iter().position(|curve| curve.what == what);
        let at = at.unwrap_or_else(|| {
            self.curves.push(Curve {
                what: what.to_owned(),
                digits,
                points: vec![],
            });
            self.curves.len() - 1
        });
        self.curves[at].points.push((size, value));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | C daemon | this one | ratio | target | least |")?;
        writeln!(f, "|---|---:|---:|---:|---|---:|")?;
        for row in &self.rows {
            let [peer, ours, relay] = row
                .samples
                .each_ref()
                .map(|samples| cell(samples, row.digits));
            let [p, o, r] = row.samples.each_ref().map(|samples| median(samples));
            let ratio = match o / p {
                ratio if ratio.is_finite() => format!("**{ratio:.2}**"),
                _ => "–".to_owned(),
            };
            let least = match r / p {
                ratio if ratio.is_finite() => format!("{relay} ({ratio:.2})"),
                _ => String::new(),
            };
            writeln!(
                f,
                "| {} | {peer} | {ours} | {ratio} | {} | {least} |",
                row.what, row.target
            )?;
        }
        let mut sizes = vec![];
        for curve in &self.curves {
            let these: Vec<u32> = curve.points.iter().map(|(size, _)| *size).collect();
            if sizes != these {
                let head: String = these.iter().fold(String::new(), |mut head, size| {
                    let _ = write!(head, " {} |", thousands(*size));
                    head
                });
                writeln!(
                    f,
                    "\n| |{head} exponent |\n|---|{}---:|",
                    "---:|".repeat(these.len())
                )?;
                sizes = these;
            }
            write!(f, "| {} |", curve.what)?;
            for (_, value) in &curve.points {
                write!(f, " {value:.*} |", curve.digits)?;
            }
            writeln!(f, " {:.2} |", exponent(&curve.points))?;
        }
        for remark in &self.remarks {
            writeln!(f, "\n{remark}")?;
        }
        Ok(())
    }
}

fn thousands(number: u32) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

/// The median, and the median distance from it.
fn cell(samples: &[f64], digits: usize) -> String {
    let middle = median(samples);
    if middle.is_infinite() {
        return "never".to_owned();
    }
    if middle.is_nan() {
        return "–".to_owned();
    }
    let distances: Vec<f64> = samples.iter().map(|s| (s - middle).abs()).collect();
    match median(&distances) {
        spread if samples.len() > 1 && spread > 0.0 => {
            format!("{middle:.digits$} ± {spread:.digits$}")
        }
        _ => format!("{middle:.digits$}"),
    }
}

pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The slope of the straight line through the points' logarithms that has the least squares.
fn exponent(points: &[(u32, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .map(|(size, value)| (f64::from(*size).ln(), value.ln()))
        .collect();
    let n = logs.len() as f64;
    let (x, y) = (
        logs.iter().map(|p| p.0).sum::<f64>() / n,
        logs.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let covariance: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let variance: f64 = logs.iter().map(|p| (p.0 - x) * (p.0 - x)).sum();
    covariance / variance
}
