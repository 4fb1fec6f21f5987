//! Which calls run.

use std::time::Duration;

use onex_spi::breaker::{CircuitState, Rejection, Ticket, TransitionCause};

use crate::circuit::{NO_ERA, NativeCircuit, PLAIN, Slot};
use crate::cold::Cold;
use crate::sync::Ordering;
use crate::time::Now;
use crate::totals::Count;
use crate::word::{State, Word};

impl NativeCircuit {
    /// Whether a call runs for sure, by the word alone: the circuit is closed, and nobody times its calls.
    #[inline]
    pub(crate) fn passes(&self, word: Word) -> bool {
        word.is_closed() && !self.limits().slow_calls()
    }

    /// Lets a call through or turns it away, and counts that; kept away from the way through a closed circuit.
    #[inline(never)]
    pub(crate) fn admit_slowly(
        &self,
        word: Word,
        call_timeout: Option<Duration>,
    ) -> Result<Ticket, Rejection> {
        match word.state() {
            State::Closed { .. } | State::ForcedClosed => Ok(self.call(word)),
            State::ForcedOpen => self.reject(forced_open()),
            State::Open { until_ms } => match self.recent().until_milli(until_ms) {
                Some(left) => self.reject(still_open(left)),
                None => self.decide_probe(call_timeout),
            },
            State::HalfOpen { in_flight, successes } => {
                let over = self.next_expiry.load(Ordering::Acquire);
                if in_flight >= self.limits().slots(successes) && !self.recent().has_reached(over) {
                    return self.reject(half_open_full());
                }
                self.decide_probe(call_timeout)
            }
        }
    }

    /// Turns a call away, unless the circuit is only observed (R23).
    ///
    /// Inlined, so that the rejection is written once: copying what was just written stalls the processor.
    #[inline(always)]
    fn reject(&self, rejection: Rejection) -> Result<Ticket, Rejection> {
        if rejection.forced || !self.limits().observe_only() {
            self.count(Count::Rejected);
            return Err(rejection);
        }
        let ticket = self.admitted(NO_ERA);
        self.count(Count::WouldReject);
        Ok(ticket)
    }

    fn call(&self, word: Word) -> Ticket {
        self.admitted(word.era())
    }

    /// Counts a call that is no probe, and notes when it began where calls are timed.
    fn admitted(&self, era: u64) -> Ticket {
        self.count(Count::Admitted);
        let timed = self.limits().slow_calls();
        Ticket::new(era, if timed { Slot::timed(self.now().nanos()) } else { PLAIN })
    }

    /// Decides under the lock, from the word as it is then.
    fn decide_probe(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let mut cold = self.lock();
        let now = self.now();
        let word = self.word();
        match word.state() {
            State::Closed { .. } | State::ForcedClosed => return Ok(self.call(word)),
            State::ForcedOpen => return self.reject(forced_open()),
            State::Open { until_ms } => {
                if let Some(left) = now.until_milli(until_ms) {
                    return self.reject(still_open(left));
                }
                let first = State::HalfOpen { in_flight: 0, successes: 0 };
                self.change(&mut cold, now, first, TransitionCause::Probe);
            }
            State::HalfOpen { .. } => {}
        }
        let decision = self.take_slot(&mut cold, now, call_timeout);
        self.unlock(cold);
        decision
    }

    /// Takes a slot of a half-open circuit, after those of hung probes were taken back.
    fn take_slot(
        &self,
        cold: &mut Cold,
        now: Now,
        call_timeout: Option<Duration>,
    ) -> Result<Ticket, Rejection> {
        let word = self.word();
        let State::HalfOpen { mut in_flight, successes } = word.state() else {
            // Unreachable: the lock is held and the caller saw or made the half-open state.
            return self.reject(half_open_full());
        };
        let mut expiry = self.next_expiry.load(Ordering::Acquire);
        if now.has_reached(expiry) {
            in_flight = in_flight.saturating_sub(cold.reclaim(now, word.era()));
            expiry = cold.next_expiry();
        }
        let free = in_flight < self.limits().slots(successes);
        let probe = free.then(|| {
            let timeout = call_timeout.or(cold.config.call_timeout).unwrap_or_default();
            let until = now.plus(timeout.max(cold.config.open_time));
            expiry = expiry.min(until);
            cold.lease(word.era(), now.nanos(), until)
        });
        self.next_expiry.store(expiry, Ordering::Release);
        let in_flight = in_flight + u32::from(free);
        self.word.store(word.with(State::HalfOpen { in_flight, successes }).bits(), Ordering::Release);
        let Some(probe) = probe else { return self.reject(half_open_full()) };
        self.count(Count::Admitted);
        Ok(Ticket::new(word.era(), Slot::probe(probe)))
    }
}

fn still_open(left: Duration) -> Rejection {
    Rejection::new(CircuitState::Open, false, Some(left))
}

/// Nobody knows when: it waits for a person.
fn forced_open() -> Rejection {
    Rejection::new(CircuitState::Open, true, None)
}

/// Nobody knows when: it waits for the probes.
fn half_open_full() -> Rejection {
    Rejection::new(CircuitState::HalfOpen, false, None)
}
