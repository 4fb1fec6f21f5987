//! One circuit: what decides is the word; what is rare is behind the lock.
//!
//! ```text
//!  admit ─► word ─ closed, forced ───────────────────► at once
//!                 ├ open, not yet over ──────────────► rejected at once
//!                 ├ half-open, full, no lease over ──► rejected at once
//!                 └ else ─► lock ─► leases ─► word ──► probe or rejected
//!  settle ─► of a call: word, compare-exchange where it counts (the threshold: under the lock)
//!          └ of a probe: lock ─► its lease, if still there ─► word
//! ```
//!
//! The word leaves a state only under the lock, so that the history has the order of the changes; only the failures of a
//! closed circuit are written without it. Hence under the lock a word that is not closed may be stored plainly.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use onex_spi::Clock;
use onex_spi::breaker::{
    Circuit, CircuitBreakerConfig, CircuitMetrics, CircuitState, CircuitStatus, Outcome, Rejection, Ticket,
    Transition, TransitionCause,
};

use crate::cold::{Cold, tell};
use crate::time::{Now, Time};
use crate::totals::{Count, Totals};
use crate::word::{State, Word};

/// The slot of a ticket that is no probe's; probes count from 1.
const NO_PROBE: u64 = 0;

#[derive(Debug)]
pub(crate) struct NativeCircuit {
    hot: Hot,
    name: Arc<str>,
    config: ArcSwap<CircuitBreakerConfig>,
    totals: Totals,
    time: Time,
    cold: Mutex<Cold>,
}

/// What every call reads, on a line that only failures, probes and changes write.
#[derive(Debug)]
#[repr(align(64))]
struct Hot {
    word: AtomicU64,
    /// The circuit's own call timeout in nanoseconds; 0 = none.
    call_timeout: AtomicU64,
    /// No lease runs out before this nanosecond.
    next_expiry: AtomicU64,
}

impl NativeCircuit {
    pub(crate) fn new(name: Arc<str>, config: CircuitBreakerConfig, time: Time, threads: usize) -> Self {
        let hot = Hot {
            word: AtomicU64::new(Word::NEW.bits()),
            call_timeout: AtomicU64::new(timeout_bits(&config)),
            next_expiry: AtomicU64::new(u64::MAX),
        };
        Self {
            hot,
            name,
            config: ArcSwap::from_pointee(config),
            totals: Totals::new(threads),
            time,
            cold: Mutex::default(),
        }
    }

    /// Swaps the configuration; what the circuit has counted stays (R12).
    pub(crate) fn configure(&self, config: CircuitBreakerConfig) {
        let _order = self.cold();
        self.hot.call_timeout.store(timeout_bits(&config), Ordering::Release);
        self.config.store(Arc::new(config));
    }

    /// Closes the circuit from any state (R9).
    pub(crate) fn reset(&self) {
        let change = {
            let mut cold = self.cold();
            self.change(&mut cold, self.time.now(), State::Closed { failures: 0 }, TransitionCause::Reset)
        };
        tell(&self.name, change);
    }

    /// Forces the circuit into a state; forcing the same again changes nothing (R8).
    pub(crate) fn force(&self, state: State) {
        let change = {
            let mut cold = self.cold();
            if self.word().state() == state {
                return;
            }
            self.change(&mut cold, self.time.now(), state, TransitionCause::Force)
        };
        tell(&self.name, change);
    }

    fn cold(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self) -> Word {
        Word::from_bits(self.hot.word.load(Ordering::Acquire))
    }

    fn exchange(&self, from: Word, to: Word) -> bool {
        let word = &self.hot.word;
        word.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Begins a new era in `state`, from whatever the word says; records it unless the status stays.
    fn change(&self, cold: &mut Cold, now: Now, state: State, cause: TransitionCause) -> Option<Transition> {
        let before = loop {
            let before = self.word();
            // A closed circuit may count a failure meanwhile; the lock keeps everything else out.
            if self.exchange(before, before.next(state)) {
                break before;
            }
        };
        let (from, to) = (stored(before.state()), stored(state));
        (from != to).then(|| cold.record(from, to, cause, now.at))
    }

    fn opened(&self, now: Now) -> State {
        State::Open { until_ms: now.plus_rounded_up(self.config.load().open_time) }
    }

    /// The status as a reader sees it, and the rest of an opening (R6).
    fn derived(&self, word: Word) -> (CircuitStatus, Option<Duration>) {
        match word.state() {
            State::Open { until_ms } => match self.time.now().until_milli(until_ms) {
                Some(left) => (CircuitStatus::new(CircuitState::Open), Some(left)),
                None => (CircuitStatus::new(CircuitState::HalfOpen), None),
            },
            state => (stored(state), None),
        }
    }

    fn decide(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let word = self.word();
        match word.state() {
            State::Closed { .. } | State::ForcedClosed => Ok(Ticket::new(word.era(), NO_PROBE)),
            State::ForcedOpen => Err(forced_open()),
            State::Open { until_ms } => match self.time.now().until_milli(until_ms) {
                Some(left) => Err(still_open(left)),
                None => self.decide_probe(call_timeout),
            },
            State::HalfOpen { in_flight, successes } => {
                let over = self.hot.next_expiry.load(Ordering::Acquire);
                if in_flight >= slots(&self.config.load(), successes) && !self.time.now().has_reached(over) {
                    return Err(half_open_full());
                }
                self.decide_probe(call_timeout)
            }
        }
    }

    /// Decides under the lock, from the word as it is then.
    fn decide_probe(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let mut cold = self.cold();
        let now = self.time.now();
        let mut change = None;
        let word = self.word();
        match word.state() {
            State::Closed { .. } | State::ForcedClosed => return Ok(Ticket::new(word.era(), NO_PROBE)),
            State::ForcedOpen => return Err(forced_open()),
            State::Open { until_ms } => {
                if let Some(left) = now.until_milli(until_ms) {
                    return Err(still_open(left));
                }
                let first = State::HalfOpen { in_flight: 0, successes: 0 };
                change = self.change(&mut cold, now, first, TransitionCause::Probe);
            }
            State::HalfOpen { .. } => {}
        }
        let decision = self.take_slot(&mut cold, now, call_timeout);
        drop(cold);
        tell(&self.name, change);
        decision
    }

    /// Takes a slot of a half-open circuit, after those of hung probes were taken back.
    fn take_slot(
        &self,
        cold: &mut Cold,
        now: Now,
        call_timeout: Option<Duration>,
    ) -> Result<Ticket, Rejection> {
        let config = self.config.load();
        let word = self.word();
        let State::HalfOpen { in_flight, successes } = word.state() else {
            // Unreachable: the lock is held and the caller saw or made the half-open state.
            return Err(half_open_full());
        };
        let mut expiry = self.hot.next_expiry.load(Ordering::Acquire);
        let mut in_flight = in_flight;
        if now.has_reached(expiry) {
            let reclaimed = cold.reclaim(now, word.era());
            self.totals.add_many(Count::Abandoned, reclaimed.all);
            in_flight = in_flight.saturating_sub(reclaimed.of_era);
            expiry = cold.next_expiry();
        }
        let free = in_flight < slots(&config, successes);
        let probe = free.then(|| {
            let until = now.plus(call_timeout.unwrap_or_default().max(config.open_time));
            expiry = expiry.min(until);
            cold.lease(word.era(), until)
        });
        self.hot.next_expiry.store(expiry, Ordering::Release);
        let in_flight = in_flight + u32::from(free);
        self.hot.word.store(word.with(State::HalfOpen { in_flight, successes }).bits(), Ordering::Release);
        probe.map(|probe| Ticket::new(word.era(), probe)).ok_or_else(half_open_full)
    }

    /// A call of an era long gone, or one in a forced state, changes nothing (R2, R8).
    fn settle_call(&self, era: u64, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.end_the_run(era),
            Outcome::Failure | Outcome::TimedOut | Outcome::Trip { .. } => self.count_failure(era),
            Outcome::Ignored | Outcome::Cancelled => {}
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

    fn count_failure(&self, era: u64) {
        loop {
            let word = self.word();
            let State::Closed { failures } = word.state() else { return };
            if word.era() != era {
                return;
            }
            let failures = failures.saturating_add(1);
            if failures < self.config.load().failure_threshold {
                if self.exchange(word, word.with(State::Closed { failures })) {
                    return;
                }
                continue;
            }
            let mut cold = self.cold();
            let now = self.time.now();
            // Only from exactly this word: a success that came between has ended the run.
            let open = self.opened(now);
            if self.exchange(word, word.next(open)) {
                let (from, to) = (stored(word.state()), stored(open));
                let change = cold.record(from, to, TransitionCause::Failure, now.at);
                drop(cold);
                return tell(&self.name, Some(change));
            }
        }
    }

    /// Settles a probe; `false` where its slot was taken back, so that it counts nowhere (R7).
    fn settle_probe(&self, ticket: &Ticket, outcome: Outcome) -> bool {
        let mut cold = self.cold();
        if !cold.end_lease(ticket.slot()) {
            return false;
        }
        let word = self.word();
        let State::HalfOpen { in_flight, successes } = word.state() else { return true };
        if word.era() != ticket.era() {
            return true;
        }
        let in_flight = in_flight.saturating_sub(1);
        let successes = successes.saturating_add(u32::from(outcome == Outcome::Success));
        let now = self.time.now();
        let end = match outcome {
            Outcome::Success if successes >= self.config.load().success_threshold => {
                Some((State::Closed { failures: 0 }, TransitionCause::Recovery))
            }
            Outcome::Failure | Outcome::TimedOut | Outcome::Trip { .. } => {
                Some((self.opened(now), TransitionCause::Failure))
            }
            Outcome::Success | Outcome::Ignored | Outcome::Cancelled => None,
        };
        let change = match end {
            Some((state, cause)) => self.change(&mut cold, now, state, cause),
            None => {
                let word = word.with(State::HalfOpen { in_flight, successes });
                self.hot.word.store(word.bits(), Ordering::Release);
                None
            }
        };
        drop(cold);
        tell(&self.name, change);
        true
    }
}

impl Circuit for NativeCircuit {
    fn name(&self) -> &str {
        &self.name
    }

    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let decision = self.decide(call_timeout);
        self.totals.add(if decision.is_ok() { Count::Admitted } else { Count::Rejected });
        decision
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        if ticket.slot() == NO_PROBE {
            self.settle_call(ticket.era(), outcome);
        } else if !self.settle_probe(&ticket, outcome) {
            return;
        }
        self.totals.add(outcome.into());
    }

    fn status(&self) -> CircuitStatus {
        self.derived(self.word()).0
    }

    fn metrics(&self) -> CircuitMetrics {
        let (word, (changes, recent)) = {
            let cold = self.cold();
            (self.word(), cold.history())
        };
        let (status, retry_after) = self.derived(word);
        let mut metrics = CircuitMetrics::new(status);
        self.totals.read(&mut metrics);
        match word.state() {
            State::Closed { failures } => metrics.consecutive_failures = failures,
            State::HalfOpen { successes, .. } => metrics.probe_successes = successes,
            State::Open { .. } | State::ForcedOpen | State::ForcedClosed => {}
        }
        metrics.state_transitions = changes;
        metrics.recent_transitions = recent;
        metrics.retry_after = retry_after;
        metrics
    }

    fn clock(&self) -> &dyn Clock {
        self.time.clock()
    }

    fn call_timeout(&self) -> Option<Duration> {
        match self.hot.call_timeout.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn config(&self) -> CircuitBreakerConfig {
        **self.config.load()
    }
}

/// The probes that may be on their way at once (R4); where a new configuration asks for fewer successes than there are, one
/// more decides.
fn slots(config: &CircuitBreakerConfig, successes: u32) -> u32 {
    let needed = config.success_threshold.saturating_sub(successes).max(1);
    config.half_open_max_calls.min(needed)
}

/// The status in the history: an opening is open until a probe is admitted.
fn stored(state: State) -> CircuitStatus {
    match state {
        State::Closed { .. } => CircuitStatus::new(CircuitState::Closed),
        State::Open { .. } => CircuitStatus::new(CircuitState::Open),
        State::HalfOpen { .. } => CircuitStatus::new(CircuitState::HalfOpen),
        State::ForcedOpen => CircuitStatus::forced(CircuitState::Open),
        State::ForcedClosed => CircuitStatus::forced(CircuitState::Closed),
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

/// At most 365 days by [`CircuitBreakerConfig::validate`], so that nanoseconds fit.
fn timeout_bits(config: &CircuitBreakerConfig) -> u64 {
    config.call_timeout.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
