//! One circuit: what decides is the word; what is rare is behind the lock.
//!
//! ```text
//!  admit  (admit.rs)   word ─ closed, forced ───────────────────► at once
//!                            ├ open, not yet over ──────────────► rejected at once
//!                            ├ half-open, full, no lease over ──► rejected at once
//!                            └ else ─► lock ─► leases ─► word ──► probe or rejected
//!  settle (settle.rs)  of a call: word, compare-exchange where it counts (the threshold, rates: under the lock)
//!                      of a probe: lock ─► its lease, if still there ─► word
//!  control (control.rs) lock ─► word, configuration
//! ```
//!
//! The word leaves a state only under the lock, so that the history has the order of the changes; only the failures of a
//! closed circuit are written without it. Hence under the lock a word that is not closed may be stored plainly.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use onex_spi::Clock;
use onex_spi::breaker::{
    Circuit, CircuitBreakerConfig, CircuitMetrics, CircuitState, CircuitStatus, Listeners, Outcome,
    Rejection, Ticket, TransitionCause,
};

use crate::chance::Chance;
use crate::cold::Cold;
use crate::limits::Limits;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use crate::time::{Now, Time};
use crate::totals::{Count, Line, Owner, Shares, Totals};
use crate::word::{State, Word};

/// What all circuits of a breaker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) time: Time,
    pub(crate) listeners: Listeners,
    pub(crate) chance: Chance,
}

/// The fields stand in the order of their use: what every call reads on the first line, which only failures, probes and
/// changes write; what is rare on the second; what one thread writes at every call beyond.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct NativeCircuit {
    pub(crate) word: AtomicU64,
    /// [`Limits`] of the configuration in force.
    pub(crate) limits: AtomicU64,
    /// The circuit's own call timeout in nanoseconds; 0 = none.
    pub(crate) call_timeout: AtomicU64,
    /// No lease runs out before this nanosecond.
    pub(crate) next_expiry: AtomicU64,
    pub(crate) shared: Arc<Shared>,
    owner: Owner,
    pub(crate) name: Arc<str>,
    pub(crate) cold: Mutex<Cold>,
    shares: Shares,
    line: Line,
}

/// The word of a ticket that is a probe's, beside its number; without it the rest is when a timed call began, plus 1.
const PROBE: u64 = 1 << 63;
/// The slot of a call that is neither a probe nor timed.
pub(crate) const PLAIN: u64 = 0;
/// The era of a call that counts in no decision; no word has it.
pub(crate) const NO_ERA: u64 = u64::MAX;

/// What a ticket's slot says.
pub(crate) enum Slot {
    Probe(u64),
    /// When the call began in nanoseconds, if it is timed.
    Call(Option<u64>),
}

impl Slot {
    pub(crate) fn of(ticket: &Ticket) -> Self {
        match ticket.slot() {
            PLAIN => Self::Call(None),
            slot if slot & PROBE != 0 => Self::Probe(slot & !PROBE),
            slot => Self::Call(Some(slot - 1)),
        }
    }

    pub(crate) fn timed(began: u64) -> u64 {
        (began & !PROBE).saturating_add(1) & !PROBE
    }

    pub(crate) fn probe(number: u64) -> u64 {
        number | PROBE
    }
}

impl NativeCircuit {
    /// Makes a closed circuit whose first era is `era`, so that a ticket of an earlier circuit of that name fits nowhere.
    pub(crate) fn new(
        name: Arc<str>,
        config: Arc<CircuitBreakerConfig>,
        shared: Arc<Shared>,
        era: u64,
    ) -> Self {
        Self {
            word: AtomicU64::new(Word::first(era).bits()),
            limits: AtomicU64::new(Limits::of(&config).bits()),
            call_timeout: AtomicU64::new(timeout_bits(&config)),
            next_expiry: AtomicU64::new(u64::MAX),
            shared,
            owner: Owner::nobody(),
            name,
            cold: Mutex::new(Cold::new(config)),
            shares: Shares::new(),
            line: Line::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits::from_bits(self.limits.load(Ordering::Acquire))
    }

    pub(crate) fn now(&self) -> Now {
        self.shared.time.now()
    }

    pub(crate) fn recent(&self) -> Now {
        self.shared.time.recent()
    }

    pub(crate) fn exchange(&self, from: Word, to: Word) -> bool {
        let word = &self.word;
        word.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Begins a new era in `state`, from whatever the word says.
    pub(crate) fn change(&self, cold: &mut Cold, now: Now, state: State, cause: TransitionCause) {
        let before = loop {
            let before = self.word();
            // A closed circuit may count a failure meanwhile; the lock keeps everything else out.
            if self.exchange(before, before.next(state)) {
                break before;
            }
        };
        self.changed(cold, now, before.state(), state, cause);
    }

    /// What belongs to every change that the word has made: its history, unless the status stays, and the window's end.
    pub(crate) fn changed(&self, cold: &mut Cold, now: Now, from: State, to: State, cause: TransitionCause) {
        cold.empty_window();
        let (from, to) = (stored(from), stored(to));
        if from != to {
            let change = cold.record(from, to, cause, now.at);
            self.shared.listeners.push(&self.name, change);
            cold.news = true;
        }
    }

    /// Ends what is done under the lock: the lock, and then the telling of what changed.
    pub(crate) fn unlock(&self, mut cold: MutexGuard<'_, Cold>) {
        let news = std::mem::take(&mut cold.news);
        drop(cold);
        if news {
            self.shared.listeners.tell();
        }
    }

    /// The next opening, as long as it is configured, or as long as a result asked (R19, R20).
    pub(crate) fn opening(&self, cold: &mut Cold, now: Now, wait: Option<Duration>) -> State {
        let before = cold.openings();
        cold.set_openings(before.saturating_add(1));
        let time = match cold.config.trip_wait(wait) {
            Some(wait) => wait,
            None => cold.config.opening(before, self.shared.chance.draw()),
        };
        State::Open { until_ms: now.plus_rounded_up(time) }
    }

    /// The status as a reader sees it, and the rest of an opening (R6).
    pub(crate) fn derived(&self, word: Word) -> (CircuitStatus, Option<Duration>) {
        match word.state() {
            State::Open { until_ms } => match self.now().until_milli(until_ms) {
                Some(left) => (CircuitStatus::new(CircuitState::Open), Some(left)),
                None => (CircuitStatus::new(CircuitState::HalfOpen), None),
            },
            state => (stored(state), None),
        }
    }

    #[inline]
    fn totals(&self) -> Totals<'_> {
        Totals { owner: &self.owner, shares: &self.shares, line: &self.line }
    }

    #[inline]
    pub(crate) fn count(&self, what: Count) {
        match self.totals().mine() {
            Some(line) => line.bump(what),
            None => self.count_first(what),
        }
    }

    /// Apart, so that the way of every other call needs nothing but the circuit.
    #[inline(never)]
    fn count_first(&self, what: Count) {
        self.totals().add(what);
    }
}

impl Circuit for NativeCircuit {
    fn name(&self) -> &str {
        &self.name
    }

    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let word = self.word();
        if !self.passes(word) {
            return self.admit_slowly(word, call_timeout);
        }
        self.count(Count::Admitted);
        Ok(Ticket::new(word.era(), PLAIN))
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        if self.has_nothing_to_write(&ticket, outcome) {
            self.count(Count::Success);
        } else {
            self.settle_slowly(&ticket, outcome);
        }
    }

    fn status(&self) -> CircuitStatus {
        self.derived(self.word()).0
    }

    fn metrics(&self) -> CircuitMetrics {
        let cold = self.lock();
        let word = self.word();
        let (status, retry_after) = self.derived(word);
        let mut metrics = CircuitMetrics::new(status);
        metrics.abandoned_count = cold.abandoned();
        metrics.slow_count = cold.slow();
        self.totals().read(&mut metrics);
        match word.state() {
            State::Closed { failures } => metrics.consecutive_failures = failures,
            State::HalfOpen { successes, .. } => metrics.probe_successes = successes,
            State::Open { .. } | State::ForcedOpen | State::ForcedClosed => {}
        }
        metrics.window = cold.window(self.now());
        metrics.openings = cold.openings();
        (metrics.state_transitions, metrics.recent_transitions) = cold.history();
        metrics.retry_after = retry_after;
        metrics
    }

    fn clock(&self) -> &dyn Clock {
        self.shared.time.clock()
    }

    fn call_timeout(&self) -> Option<Duration> {
        match self.call_timeout.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn config(&self) -> CircuitBreakerConfig {
        *self.lock().config
    }
}

/// The status in the history: an opening is open until a probe is admitted.
pub(crate) fn stored(state: State) -> CircuitStatus {
    match state {
        State::Closed { .. } => CircuitStatus::new(CircuitState::Closed),
        State::Open { .. } => CircuitStatus::new(CircuitState::Open),
        State::HalfOpen { .. } => CircuitStatus::new(CircuitState::HalfOpen),
        State::ForcedOpen => CircuitStatus::forced(CircuitState::Open),
        State::ForcedClosed => CircuitStatus::forced(CircuitState::Closed),
    }
}

/// At most 365 days by [`CircuitBreakerConfig::validate`], so that nanoseconds fit.
pub(crate) fn timeout_bits(config: &CircuitBreakerConfig) -> u64 {
    config.call_timeout.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
