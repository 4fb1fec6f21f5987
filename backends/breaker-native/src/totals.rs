//! Lifetime totals: a line for each thread that writes it alone, so that counting needs no locked instruction.
//!
//! ```text
//!  add ─► this thread's number ─ owns the first line ──► load, add, store
//!                               ├ below SHARES ─────────► its own line of the shares, the same
//!                               └ beyond, or no number ─► the last line, fetch_add
//! ```
//!
//! Numbers are unique among living threads and are handed on through a lock when a thread ends; so each line but the last has
//! one writer at any time, who sees what the writer before it wrote.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use onex_spi::breaker::{CircuitMetrics, Outcome};

/// What is counted; the order of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Admitted,
    Rejected,
    WouldReject,
    Success,
    Failure,
    TimedOut,
    Ignored,
    Cancelled,
}

const COUNTS: usize = 8;
/// Threads with a line of their own, once a second thread calls; the others share one.
const SHARES: usize = 15;
/// The number of no thread.
const NOBODY: usize = usize::MAX;

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

/// The counters that one thread writes.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Line([AtomicU64; COUNTS]);

impl Line {
    /// Counts on a line that no other thread writes.
    fn bump(&self, what: Count) {
        let cell = &self.0[what as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// The number of the thread that owns a circuit's first line.
#[derive(Debug)]
pub(crate) struct Owner(AtomicUsize);

impl Owner {
    pub(crate) fn nobody() -> Self {
        Self(AtomicUsize::new(NOBODY))
    }
}

/// The lines of the other threads; made when a second one calls, so that a circuit that hardly runs stays small.
pub(crate) type Shares = OnceLock<Box<[Line]>>;

/// The totals of a circuit, whose parts lie where the circuit wants them.
pub(crate) struct Totals<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) shares: &'a Shares,
    pub(crate) line: &'a Line,
}

impl Totals<'_> {
    #[inline]
    pub(crate) fn add(&self, what: Count) {
        let me = this_thread();
        if self.owner.0.load(Ordering::Relaxed) == me && me != NOBODY {
            self.line.bump(what);
        } else {
            self.add_elsewhere(me, what);
        }
    }

    fn add_elsewhere(&self, me: usize, what: Count) {
        let owner = &self.owner.0;
        let free = owner.load(Ordering::Relaxed) == NOBODY && me != NOBODY;
        if free && owner.compare_exchange(NOBODY, me, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return self.line.bump(what);
        }
        let shares = self.shares.get_or_init(|| (0..=SHARES).map(|_| Line::default()).collect());
        match shares.get(me) {
            Some(mine) if me < SHARES => mine.bump(what),
            _ => {
                shares[SHARES].0[what as usize].fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Writes the sums; admissions are read last, so that no snapshot shows more outcomes than admissions.
    pub(crate) fn read(&self, into: &mut CircuitMetrics) {
        let shares = self.shares.get().map_or(&[][..], |shares| shares);
        let lines = || shares.iter().chain([self.line]);
        let sum = |what: Count| -> u64 {
            lines().map(|line| line.0[what as usize].load(Ordering::Acquire)).fold(0, u64::wrapping_add)
        };
        into.success_count = sum(Count::Success);
        into.failure_count = sum(Count::Failure);
        into.timeout_count = sum(Count::TimedOut);
        into.ignored_count = sum(Count::Ignored);
        into.cancelled_count = sum(Count::Cancelled);
        into.rejected_count = sum(Count::Rejected);
        into.would_reject_count = sum(Count::WouldReject);
        into.admitted_count = sum(Count::Admitted);
    }
}

/// The numbers that no living thread has; the smallest first, so that few threads keep to few lines.
static FREE: Mutex<Numbers> = Mutex::new(Numbers { given_back: BTreeSet::new(), next: 0 });

struct Numbers {
    given_back: BTreeSet<usize>,
    next: usize,
}

fn numbers() -> std::sync::MutexGuard<'static, Numbers> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's number, given back when the thread ends.
struct Number(usize);

impl Number {
    fn take() -> Self {
        let mut numbers = numbers();
        Self(numbers.given_back.pop_first().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next - 1
        }))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        numbers().given_back.insert(self.0);
    }
}

thread_local! {
    static THIS: Number = Number::take();
}

#[inline]
fn this_thread() -> usize {
    // A call that is settled while its thread is torn down counts on the line that all share.
    THIS.try_with(|number| number.0).unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Parts(Owner, Shares, Line);

    impl Parts {
        fn new() -> Self {
            Self(Owner::nobody(), Shares::new(), Line::default())
        }

        fn totals(&self) -> Totals<'_> {
            Totals { owner: &self.0, shares: &self.1, line: &self.2 }
        }
    }

    #[test]
    fn nothing_is_lost_whoever_counts_and_whenever_threads_come_and_go() {
        const ROUNDS: u64 = 40;
        const EACH: u64 = 500;
        let parts = Parts::new();
        // More threads at a time than there are lines, and new ones that take over numbers.
        for _ in 0..ROUNDS / 20 {
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| (0..EACH).for_each(|_| parts.totals().add(Count::Success)));
                }
            });
        }
        let mut metrics = CircuitMetrics::new(onex_spi::breaker::CircuitStatus::new(
            onex_spi::breaker::CircuitState::Closed,
        ));
        parts.totals().read(&mut metrics);
        assert_eq!(metrics.success_count, ROUNDS * EACH);
    }

    #[test]
    fn a_thread_alone_makes_no_shares() {
        let parts = Parts::new();
        parts.totals().add(Count::Admitted);
        assert!(parts.1.get().is_none());
        std::thread::scope(|scope| scope.spawn(|| parts.totals().add(Count::Admitted)).join().is_ok());
        assert!(parts.1.get().is_some());
    }
}
