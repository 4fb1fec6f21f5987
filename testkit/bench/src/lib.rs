//! Runs a raw engine and ours in turn, in one process, and tells the ratio.
//!
//! ```text
//!  round 1: raw n operations, ours n operations      ratio 1
//!  round 2: ours n operations, raw n operations      ratio 2      ─► median, least and greatest ratio
//!  ..                                                ..              allocations per operation of each
//! ```
//! With `ONEX_BENCH_INSTRUCTIONS=1` it also counts the instructions of each under callgrind (valgrind must be there).
//!
//! Absolute times on a shared machine drift; the ratio of two runs that stand side by side does so less. Quote the
//! median ratio, and distrust it where least and greatest are far apart.
//!
//! # Examples
//! ```
//! use onex_bench::Comparison;
//!
//! let row = Comparison::new("sum of 1,000 numbers").rounds(3).operations(100).run(
//!     |n| (0..n).for_each(|_| { std::hint::black_box((0..1_000_u64).sum::<u64>()); }),
//!     |n| (0..n).for_each(|_| { std::hint::black_box((0..1_000_u64).fold(0, |a, b| a + b)); }),
//! );
//! println!("{}", onex_bench::table(&[row]));
//! ```
#![forbid(unsafe_code)]

mod instructions;

use std::time::{Duration, Instant};

use crate::instructions::Only;

/// A comparison to be run.
#[derive(Clone, Debug)]
pub struct Comparison {
    name: String,
    rounds: usize,
    operations: u64,
}

impl Comparison {
    /// Compares under `name`, with 15 rounds of 1,000 operations unless told otherwise.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: 15, operations: 1_000 }
    }

    /// Sets how many pairs are run, at least one.
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds.max(1);
        self
    }

    /// Sets how many operations one side runs in a round, at least one.
    #[must_use]
    pub fn operations(mut self, operations: u64) -> Self {
        self.operations = operations.max(1);
        self
    }

    /// Runs both sides in turn after one round of warm-up; each closure runs as many operations as it is told.
    ///
    /// Allocations and instructions are those of the calling thread, the first of the process: drive async code on a
    /// current-thread runtime, and servers on threads of their own.
    pub fn run(self, mut raw: impl FnMut(u64), mut ours: impl FnMut(u64)) -> Row {
        let operations = self.operations;
        if let Some(only) = Only::asked() {
            if only.is_of(&self.name) {
                let side: &mut dyn FnMut(u64) = if only.side == "raw" { &mut raw } else { &mut ours };
                side(only.operations);
            }
            return Row::empty(self.name);
        }
        let per_operation = |count: u64| count as f64 / operations as f64;
        raw(operations);
        ours(operations);
        let raw_allocations = per_operation(allocation_counter::measure(|| raw(operations)).count_total);
        let our_allocations = per_operation(allocation_counter::measure(|| ours(operations)).count_total);
        let mut pairs: Vec<(Duration, Duration)> = Vec::with_capacity(self.rounds);
        for round in 0..self.rounds {
            // The order alternates, so that what one side leaves behind (heat, buffers) burdens both alike.
            pairs.push(if round % 2 == 0 {
                let raw = timed(|| raw(operations));
                (raw, timed(|| ours(operations)))
            } else {
                let ours = timed(|| ours(operations));
                (timed(|| raw(operations)), ours)
            });
        }
        let nanos = |time: Duration| time.as_nanos() as f64 / operations as f64;
        let ratios =
            sorted(pairs.iter().map(|(raw, ours)| nanos(*ours) / nanos(*raw).max(f64::MIN_POSITIVE)));
        let raw_instructions = instructions::per_operation(&self.name, "raw");
        let our_instructions = instructions::per_operation(&self.name, "ours");
        Row {
            name: self.name,
            raw_nanos: median(&sorted(pairs.iter().map(|(raw, _)| nanos(*raw)))),
            our_nanos: median(&sorted(pairs.iter().map(|(_, ours)| nanos(*ours)))),
            ratio: median(&ratios),
            least: ratios[0],
            greatest: ratios[ratios.len() - 1],
            raw_allocations,
            our_allocations,
            raw_instructions,
            our_instructions,
        }
    }
}

fn timed(run: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    run();
    begin.elapsed()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// What a comparison came to; times per operation.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Row {
    /// The name.
    pub name: String,
    /// The raw engine's median time in nanoseconds.
    pub raw_nanos: f64,
    /// Our median time in nanoseconds.
    pub our_nanos: f64,
    /// The median of ours / raw, pair by pair.
    pub ratio: f64,
    /// The least ratio.
    pub least: f64,
    /// The greatest ratio.
    pub greatest: f64,
    /// The raw engine's allocations.
    pub raw_allocations: f64,
    /// Our allocations.
    pub our_allocations: f64,
    /// The raw engine's instructions, where they were asked for.
    pub raw_instructions: Option<f64>,
    /// Our instructions, where they were asked for.
    pub our_instructions: Option<f64>,
}

impl Row {
    /// The row of a process that measures nothing itself.
    fn empty(name: String) -> Self {
        Self {
            name,
            raw_nanos: 0.0,
            our_nanos: 0.0,
            ratio: 0.0,
            least: 0.0,
            greatest: 0.0,
            raw_allocations: 0.0,
            our_allocations: 0.0,
            raw_instructions: None,
            our_instructions: None,
        }
    }
}

/// Renders rows as a Markdown table, as `docs/performance.md` holds it.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "comparison",
        "raw ns",
        "ours ns",
        "ours / raw (least - greatest)",
        "raw allocations",
        "our allocations",
        "raw instructions",
        "our instructions",
    ]);
    let counted = |count: Option<f64>| count.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"));
    for row in rows {
        table.add_row([
            row.name.clone(),
            format!("{:.1}", row.raw_nanos),
            format!("{:.1}", row.our_nanos),
            format!("{:.2} ({:.2} - {:.2})", row.ratio, row.least, row.greatest),
            format!("{:.2}", row.raw_allocations),
            format!("{:.2}", row.our_allocations),
            counted(row.raw_instructions),
            counted(row.our_instructions),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_and_ratios_are_per_operation() {
        let row = Comparison::new("boxes").rounds(3).operations(50).run(
            |n| (0..n).for_each(|i| drop(std::hint::black_box(Box::new(i)))),
            |n| (0..n).for_each(|i| drop(std::hint::black_box((Box::new(i), Box::new(i))))),
        );
        assert_eq!((row.raw_allocations, row.our_allocations), (1.0, 2.0));
        assert!(row.least <= row.ratio && row.ratio <= row.greatest);
        assert!(table(&[row]).contains("| boxes"));
    }
}
