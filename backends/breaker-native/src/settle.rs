//! What outcomes do.

use std::cell::LazyCell;
use std::time::Duration;

use onex_spi::breaker::{Outcome, Ticket, TransitionCause};

use crate::circuit::{NativeCircuit, PLAIN, Slot};
use crate::cold::Cold;
use crate::sync::Ordering;
use crate::time::Now;
use crate::window::Sample;
use crate::word::{State, Word};

impl NativeCircuit {
    /// Whether an outcome changes nothing but the totals: nothing failed before, nothing fails now, no window.
    #[inline]
    pub(crate) fn has_nothing_to_write(&self, ticket: &Ticket, outcome: Outcome) -> bool {
        matches!(outcome, Outcome::Success)
            && ticket.slot() == PLAIN
            && self.word().is_quiet()
            && !self.limits().rates()
    }

    /// Lets an outcome decide what it may, and counts it, unless its slot was taken back (R7).
    #[inline(never)]
    pub(crate) fn settle_slowly(&self, ticket: &Ticket, outcome: Outcome) {
        let counts = match Slot::of(ticket) {
            Slot::Probe(probe) => self.settle_probe(ticket.era(), probe, outcome),
            Slot::Call(began) => {
                self.settle_call(ticket.era(), began, outcome);
                true
            }
        };
        if counts {
            self.count(outcome.into());
        }
    }

    /// A call of an era long gone, or one in a forced state, changes nothing (R2, R8).
    fn settle_call(&self, era: u64, began: Option<u64>, outcome: Outcome) {
        match outcome {
            Outcome::Ignored | Outcome::Cancelled => {}
            Outcome::Trip { wait } => self.trip(era, began, wait),
            _ if self.limits().rates() && self.settle_rated(era, began, outcome) => {}
            Outcome::Success => self.end_the_run(era),
            Outcome::Failure | Outcome::TimedOut => self.count_failure(era),
        }
    }

    fn end_the_run(&self, era: u64) {
        loop {
            let word = self.word();
            let counting = word.era() == era && matches!(word.state(), State::Closed { .. });
            if word.is_quiet() || !counting || self.exchange(word, word.with(State::Closed { failures: 0 })) {
                return;
            }
        }
    }

    /// The word of a closed circuit of that era, and its failures in a row.
    fn counting(&self, era: u64) -> Option<(Word, u32)> {
        let word = self.word();
        match word.state() {
            State::Closed { failures } if word.era() == era => Some((word, failures)),
            _ => None,
        }
    }

    fn count_failure(&self, era: u64) {
        while let Some((word, failures)) = self.counting(era) {
            let failures = failures.saturating_add(1);
            let limits = self.limits();
            if limits.rates() || failures < limits.failure_threshold() {
                if self.exchange(word, word.with(State::Closed { failures })) {
                    return;
                }
                continue;
            }
            let mut cold = self.lock();
            // A configuration that came meanwhile decides, as one that came before would.
            if self.limits() == limits && self.open_from(&mut cold, word, TransitionCause::Failure, None) {
                return self.unlock(cold);
            }
        }
    }

    /// Opens a closed circuit, only from exactly this word: a success that came between has ended the run.
    fn open_from(&self, cold: &mut Cold, word: Word, cause: TransitionCause, wait: Option<Duration>) -> bool {
        let now = self.now();
        let before = cold.openings();
        let open = self.opening(cold, now, wait);
        if !self.exchange(word, word.next(open)) {
            cold.set_openings(before);
            return false;
        }
        self.changed(cold, now, word.state(), open, cause);
        true
    }

    /// Opens a closed circuit at once (R20).
    fn trip(&self, era: u64, began: Option<u64>, wait: Option<Duration>) {
        let mut cold = self.lock();
        let now = self.now();
        self.is_slow(&mut cold, began, || now);
        while let Some((word, _)) = self.counting(era) {
            if self.open_from(&mut cold, word, TransitionCause::Trip, wait) {
                break;
            }
        }
        self.unlock(cold);
    }

    /// Puts an outcome into the window and lets the rates decide (R18); `false` where the policy has none any more.
    fn settle_rated(&self, era: u64, began: Option<u64>, outcome: Outcome) -> bool {
        let mut cold = self.lock();
        let Some(rates) = cold.config.rates().copied() else { return false };
        // Read once, and only by what needs it: a window of calls does not.
        let now = LazyCell::new(|| self.now());
        let slow = self.is_slow(&mut cold, began, || *now);
        let failed = outcome != Outcome::Success;
        if self.counting(era).is_none() {
            return true;
        }
        cold.sample(rates.window, Sample { failed, slow }, || *now);
        let judged = (failed || slow).then(|| cold.window(*now)).flatten();
        let verdict = judged.and_then(|counts| rates.judge(counts));
        while let Some((word, failures)) = self.counting(era) {
            let failures = if failed { failures.saturating_add(1) } else { 0 };
            let same = word.with(State::Closed { failures });
            let done = match verdict {
                Some(cause) => self.open_from(&mut cold, word, cause, None),
                None => word == same || self.exchange(word, same),
            };
            if done {
                break;
            }
        }
        self.unlock(cold);
        true
    }

    /// Whether a call that began then is slow, by the configuration in force; counts it.
    fn is_slow(&self, cold: &mut Cold, began: Option<u64>, now: impl FnOnce() -> Now) -> bool {
        let slow_calls = cold.config.rates().and_then(|rates| rates.slow_calls);
        let slow = slow_calls.zip(began).is_some_and(|(slow, began)| now().since(began) >= slow.time);
        if slow {
            cold.count_slow();
        }
        slow
    }

    /// Settles a probe; `false` where its slot was taken back, so that it counts nowhere (R7).
    fn settle_probe(&self, era: u64, probe: u64, outcome: Outcome) -> bool {
        let mut cold = self.lock();
        let Some(began) = cold.end_lease(probe) else { return false };
        let now = self.now();
        let spoke = !matches!(outcome, Outcome::Ignored | Outcome::Cancelled);
        let slow = spoke && self.is_slow(&mut cold, Some(began), || now);
        let word = self.word();
        let State::HalfOpen { in_flight, successes } = word.state() else { return true };
        if word.era() != era {
            return true;
        }
        let in_flight = in_flight.saturating_sub(1);
        match outcome {
            Outcome::Success if !slow => {
                let successes = successes.saturating_add(1);
                if successes >= self.limits().success_threshold() {
                    cold.set_openings(0);
                    let closed = State::Closed { failures: 0 };
                    self.change(&mut cold, now, closed, TransitionCause::Recovery);
                } else {
                    self.stay_half_open(word, in_flight, successes);
                }
            }
            Outcome::Ignored | Outcome::Cancelled => self.stay_half_open(word, in_flight, successes),
            Outcome::Success => self.reopen(&mut cold, now, TransitionCause::SlowCalls, None),
            Outcome::Failure | Outcome::TimedOut => {
                self.reopen(&mut cold, now, TransitionCause::Failure, None)
            }
            Outcome::Trip { wait } => self.reopen(&mut cold, now, TransitionCause::Trip, wait),
        }
        self.unlock(cold);
        true
    }

    fn stay_half_open(&self, word: Word, in_flight: u32, successes: u32) {
        self.word.store(word.with(State::HalfOpen { in_flight, successes }).bits(), Ordering::Release);
    }

    fn reopen(&self, cold: &mut Cold, now: Now, cause: TransitionCause, wait: Option<Duration>) {
        let open = self.opening(cold, now, wait);
        self.change(cold, now, open, cause);
    }
}
