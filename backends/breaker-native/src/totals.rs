//! Lifetime totals: one cache line a thread, so that calls on two cores do not write the same one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use onex_spi::breaker::{CircuitMetrics, Outcome};

/// What is counted; the order of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Admitted,
    Rejected,
    Success,
    Failure,
    TimedOut,
    Ignored,
    Cancelled,
    Abandoned,
}

const COUNTS: usize = 8;
/// More threads than this share lines; a circuit stays small on a large machine.
const MOST_LINES: usize = 8;

impl From<Outcome> for Count {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure | Outcome::Trip { .. } => Self::Failure,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Ignored => Self::Ignored,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; COUNTS]);

#[derive(Debug)]
pub(crate) struct Totals(Box<[Line]>);

impl Totals {
    /// Makes zeros for about `threads` threads.
    pub(crate) fn new(threads: usize) -> Self {
        let lines = threads.clamp(1, MOST_LINES).next_power_of_two();
        Self((0..lines).map(|_| Line::default()).collect())
    }

    pub(crate) fn add(&self, what: Count) {
        self.add_many(what, 1);
    }

    pub(crate) fn add_many(&self, what: Count, count: u64) {
        // A power of two, so that the remainder is a mask.
        let line = &self.0[this_thread() & (self.0.len() - 1)];
        line.0[what as usize].fetch_add(count, Ordering::Release);
    }

    /// Writes the sums; admissions are read last, so that no snapshot shows more outcomes than admissions.
    pub(crate) fn read(&self, into: &mut CircuitMetrics) {
        let sum = |what: Count| -> u64 {
            self.0.iter().map(|line| line.0[what as usize].load(Ordering::Acquire)).sum()
        };
        into.success_count = sum(Count::Success);
        into.failure_count = sum(Count::Failure);
        into.timeout_count = sum(Count::TimedOut);
        into.ignored_count = sum(Count::Ignored);
        into.cancelled_count = sum(Count::Cancelled);
        into.abandoned_count = sum(Count::Abandoned);
        into.rejected_count = sum(Count::Rejected);
        into.admitted_count = sum(Count::Admitted);
    }
}

fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THIS: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A call that is settled while its thread is torn down still counts, in the first line.
    THIS.try_with(|this| *this).unwrap_or(0)
}
