//! What failsafe decides: whether a failure opens a closed circuit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use failsafe::FailurePolicy;
use failsafe::failure_policy::{consecutive_failures, success_rate_over_time_window};

use crate::SuccessRate;

/// A failsafe policy that can be given another threshold.
pub(crate) struct Policy {
    engine: Box<dyn FailurePolicy + Send>,
    rate: Option<SuccessRate>,
    next: Next,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("rate", &self.rate).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Policy {
    /// Opens after `threshold` failures in a row or, where one is given, below a success rate.
    pub(crate) fn new(threshold: u32, rate: Option<SuccessRate>) -> Self {
        let next = Next::default();
        Self { engine: engine(threshold, rate, &next), rate, next }
    }

    /// Takes another threshold; the run of failures goes on, an average begins anew (R12).
    ///
    /// failsafe shows neither its threshold nor its count, so that the run is told again. That is at most a million additions.
    pub(crate) fn set_threshold(&mut self, threshold: u32, failures: u32) {
        self.engine = engine(threshold, self.rate, &self.next);
        for _ in 0..failures {
            // A run beyond the new threshold opens at its next failure, not at its telling.
            let _ = self.engine.mark_dead_on_failure();
        }
    }

    /// How long the opening will be that comes next.
    pub(crate) fn next_opening(&self) -> Duration {
        self.next.get()
    }

    /// Sets it.
    pub(crate) fn plan(&self, opening: Duration) {
        // The longest opening is 365 days.
        self.next.0.store(u64::try_from(opening.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A call succeeded.
    pub(crate) fn success(&mut self) {
        self.engine.record_success();
    }

    /// A call failed; for how long the circuit opens, if it does.
    pub(crate) fn failure(&mut self) -> Option<Duration> {
        self.engine.mark_dead_on_failure()
    }

    /// A closed era begins.
    pub(crate) fn begin(&mut self) {
        self.engine.revived();
    }
}

fn engine(threshold: u32, rate: Option<SuccessRate>, next: &Next) -> Box<dyn FailurePolicy + Send> {
    let run = consecutive_failures(threshold, next.clone());
    match rate {
        None => Box::new(run),
        Some(SuccessRate { required, min_requests, window }) => {
            let average = success_rate_over_time_window(required, min_requests, window, next.clone());
            Box::new(run.or_else(average))
        }
    }
}

/// The backoff that both policies are given: it says what the circuit planned, however often it is asked.
#[derive(Clone, Debug, Default)]
struct Next(Arc<AtomicU64>);

impl Next {
    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Iterator for Next {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: Duration = Duration::from_millis(1500);

    #[test]
    fn another_threshold_goes_on_with_the_run() {
        let mut policy = Policy::new(3, None);
        policy.plan(OPENING);
        assert_eq!([policy.failure(), policy.failure()], [None, None]);
        policy.set_threshold(5, 2);
        assert_eq!([policy.failure(), policy.failure()], [None, None]);
        assert_eq!(policy.failure(), Some(OPENING));
        // What was passed already opens at the next failure.
        policy.set_threshold(2, 5);
        policy.plan(2 * OPENING);
        assert_eq!(policy.failure(), Some(2 * OPENING));
        policy.success();
        assert_eq!([policy.failure(), policy.failure()], [None, Some(2 * OPENING)]);
        policy.begin();
        assert_eq!(policy.failure(), None);
    }

    /// failsafe's own clock can be held for one thread, which is how failsafe tests itself.
    #[test]
    fn below_the_success_rate_it_opens_once_a_window_has_passed() {
        failsafe::clock::freeze(|time| {
            let window = Duration::from_secs(10);
            let rate = SuccessRate::new(0.5).with_min_requests(5).with_window(window);
            let mut policy = Policy::new(1_000_000, Some(rate));
            policy.plan(OPENING);
            for _ in 0..9 {
                time.advance(Duration::from_secs(1));
                assert_eq!(policy.failure(), None, "blind for its first window");
            }
            time.advance(Duration::from_secs(1));
            assert_eq!(policy.failure(), Some(OPENING));

            policy.begin();
            for _ in 0..20 {
                time.advance(Duration::from_secs(1));
                policy.success();
            }
            // An average over 10 s falls to one half after 10 * ln(2) = 6.9 s of failures.
            for _ in 0..6 {
                time.advance(Duration::from_secs(1));
                assert_eq!(policy.failure(), None);
            }
            time.advance(Duration::from_secs(1));
            assert_eq!(policy.failure(), Some(OPENING));
        });
    }
}
