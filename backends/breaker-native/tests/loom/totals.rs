//! Totals without the checker: they decide nothing, and their own test has real threads.

use std::sync::atomic::{AtomicU64, Ordering};

use onex_spi::breaker::{CircuitMetrics, Outcome};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Admitted,
    Rejected,
    WouldReject,
    Success,
    Other,
}

impl From<Outcome> for Count {
    fn from(outcome: Outcome) -> Self {
        if outcome == Outcome::Success { Self::Success } else { Self::Other }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    admitted: AtomicU64,
    settled: AtomicU64,
    rejected: AtomicU64,
}

impl Line {
    pub(crate) fn bump(&self, what: Count) {
        let total = match what {
            Count::Admitted => &self.admitted,
            Count::Rejected | Count::WouldReject => &self.rejected,
            Count::Success | Count::Other => &self.settled,
        };
        total.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Owner;

impl Owner {
    pub(crate) fn nobody() -> Self {
        Self
    }
}

#[derive(Debug)]
pub(crate) struct Shares;

impl Shares {
    pub(crate) fn new() -> Self {
        Self
    }
}

pub(crate) struct Totals<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) shares: &'a Shares,
    pub(crate) line: &'a Line,
}

impl<'a> Totals<'a> {
    pub(crate) fn mine(&self) -> Option<&'a Line> {
        Some(self.line)
    }

    pub(crate) fn add(&self, what: Count) {
        self.line.bump(what);
    }

    /// Whatever became of them, the settled calls stand among the successes here.
    pub(crate) fn read(&self, into: &mut CircuitMetrics) {
        into.success_count = self.line.settled.load(Ordering::Relaxed);
        into.rejected_count = self.line.rejected.load(Ordering::Relaxed);
        into.admitted_count = self.line.admitted.load(Ordering::Relaxed);
    }
}
