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

use std::cell::Cell;
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
/// The owner of a first line that nobody wrote yet; no thread's number.
const NOBODY: usize = usize::MAX;
/// What a thread holds that has no number, because it never called before or is being torn down.
const NO_NUMBER: usize = usize::MAX - 1;

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
    #[inline]
    pub(crate) fn bump(&self, what: Count) {
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
pub(crate) type Shares = OnceLock<Box<Lines>>;

#[derive(Debug, Default)]
pub(crate) struct Lines {
    own: [Line; SHARES],
    /// Of all threads beyond those.
    common: Line,
}

/// The totals of a circuit, whose parts lie where the circuit wants them.
#[derive(Clone, Copy)]
pub(crate) struct Totals<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) shares: &'a Shares,
    pub(crate) line: &'a Line,
}

impl<'a> Totals<'a> {
    pub(crate) fn add(self, what: Count) {
        match self.mine() {
            Some(line) => line.bump(what),
            None => self.add_first(what),
        }
    }

    /// The line that only this thread writes, if it has one by now.
    #[inline]
    pub(crate) fn mine(self) -> Option<&'a Line> {
        let me = NUMBER.get();
        if self.owner.0.load(Ordering::Relaxed) == me {
            return Some(self.line);
        }
        self.shares.get()?.own.get(me)
    }

    /// Counts a thread's first call of the circuit, and every call of a thread that gets no line.
    #[inline(never)]
    fn add_first(self, what: Count) {
        let me = this_thread();
        let owner = &self.owner.0;
        let free = owner.load(Ordering::Relaxed) == NOBODY && me != NO_NUMBER;
        if free && owner.compare_exchange(NOBODY, me, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return self.line.bump(what);
        }
        let shares = self.shares.get_or_init(Box::default);
        match shares.own.get(me) {
            Some(mine) => mine.bump(what),
            None => {
                shares.common.0[what as usize].fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Writes the sums; admissions are read last, so that no snapshot shows more outcomes than admissions.
    pub(crate) fn read(self, into: &mut CircuitMetrics) {
        let shares =
            || self.shares.get().into_iter().flat_map(|lines| lines.own.iter().chain([&lines.common]));
        let lines = || shares().chain([self.line]);
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

/// Holds a thread's number, and gives it back when the thread ends.
struct Holder(usize);

impl Holder {
    fn take() -> Self {
        let mut numbers = numbers();
        let number = numbers.given_back.pop_first().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next - 1
        });
        NUMBER.set(number);
        Self(number)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // First, so that a call that is settled later in the teardown counts on the line that all share.
        NUMBER.set(NO_NUMBER);
        numbers().given_back.insert(self.0);
    }
}

thread_local! {
    /// What [`HOLDER`] holds: read at every call, hence without a destructor and its check.
    static NUMBER: Cell<usize> = const { Cell::new(NO_NUMBER) };
    static HOLDER: Holder = Holder::take();
}

/// This thread's number, taken at its first call; [`NO_NUMBER`] while it is torn down.
fn this_thread() -> usize {
    HOLDER.try_with(|holder| holder.0).unwrap_or(NO_NUMBER)
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
