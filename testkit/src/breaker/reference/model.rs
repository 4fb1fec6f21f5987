//! One circuit as the laws read, without a thought for speed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use onex_spi::breaker::{
    CircuitBreakerConfig, CircuitMetrics, CircuitSnapshot, CircuitState, CircuitStatus, Outcome, Rejection,
    Ticket, Transition, TransitionCause, Window, WindowCounts,
};

/// The changes of state that are kept.
const KEPT: usize = 32;
/// Of a window of time.
const SLICES: u128 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { successes: u32 },
    Forced(CircuitState),
}

impl Phase {
    /// The status that the history tells.
    fn status(self) -> CircuitStatus {
        match self {
            Self::Closed { .. } => CircuitStatus::new(CircuitState::Closed),
            Self::Open { .. } => CircuitStatus::new(CircuitState::Open),
            Self::HalfOpen { .. } => CircuitStatus::new(CircuitState::HalfOpen),
            Self::Forced(state) => CircuitStatus::forced(state),
        }
    }

    /// The status that a reader sees (R6).
    fn status_at(self, now: Instant) -> CircuitStatus {
        match self {
            Self::Open { until } if now >= until => CircuitStatus::new(CircuitState::HalfOpen),
            phase => phase.status(),
        }
    }
}

/// A call on its way.
#[derive(Debug)]
struct Call {
    /// `None` for a call that an observed circuit would have rejected.
    era: Option<u64>,
    /// Only of calls that are timed.
    began: Option<Instant>,
    /// Until when a probe keeps its slot; `None` for a call that is no probe, or a lease without end.
    lease: Option<Instant>,
    probe: bool,
}

/// A call that a rate looks at.
#[derive(Clone, Copy, Debug)]
struct Sample {
    slice: u128,
    failed: bool,
    slow: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    config: CircuitBreakerConfig,
    start: Instant,
    phase: Phase,
    era: u64,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    samples: Vec<Sample>,
    openings: u32,
    random: fastrand::Rng,
    /// Only its totals are kept up to date.
    totals: CircuitMetrics,
    recent: VecDeque<Transition>,
    untold: Vec<Transition>,
}

impl Model {
    /// Makes the `number`-th model of a breaker; no two of these give calls the same number.
    pub(super) fn new(config: CircuitBreakerConfig, start: Instant, number: u64, seed: u64) -> Self {
        let phase = Phase::Closed { failures: 0 };
        Self {
            config,
            start,
            phase,
            era: 0,
            calls: BTreeMap::new(),
            last_call: number << 32,
            samples: Vec::new(),
            openings: 0,
            random: fastrand::Rng::with_seed(seed ^ number),
            totals: CircuitMetrics::new(phase.status()),
            recent: VecDeque::new(),
            untold: Vec::new(),
        }
    }

    pub(super) fn config(&self) -> CircuitBreakerConfig {
        self.config
    }

    pub(super) fn configure(&mut self, config: CircuitBreakerConfig) {
        // What was seen through another window says nothing in this one.
        if self.config.rates().map(|rates| rates.window) != config.rates().map(|rates| rates.window) {
            self.samples.clear();
        }
        self.config = config;
    }

    /// The changes that nobody was told of yet.
    pub(super) fn take_changes(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.untold)
    }

    fn go(&mut self, phase: Phase, cause: TransitionCause, at: Instant) {
        let (from, to) = (self.phase.status(), phase.status());
        self.phase = phase;
        self.era += 1;
        self.samples.clear();
        if from == to {
            return;
        }
        self.totals.state_transitions += 1;
        let change = Transition::new(self.totals.state_transitions, from, to, cause, at);
        self.untold.push(change);
        self.recent.push_back(change);
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
    }

    pub(super) fn reset(&mut self, now: Instant) {
        self.openings = 0;
        self.go(Phase::Closed { failures: 0 }, TransitionCause::Reset, now);
    }

    pub(super) fn force(&mut self, state: CircuitState, now: Instant) {
        if self.phase != Phase::Forced(state) {
            self.openings = 0;
            self.go(Phase::Forced(state), TransitionCause::Force, now);
        }
    }

    pub(super) fn snapshot_at(&self, now: Instant) -> CircuitSnapshot {
        let snapshot = CircuitSnapshot::new(self.phase.status_at(now)).with_openings(self.openings);
        match self.phase {
            Phase::Closed { failures } => snapshot.with_consecutive_failures(failures),
            Phase::HalfOpen { successes } => snapshot.with_probe_successes(successes),
            Phase::Open { until } => {
                let left = until.saturating_duration_since(now);
                snapshot.with_open_for(Some(left).filter(|left| !left.is_zero()))
            }
            Phase::Forced(_) => snapshot,
        }
    }

    pub(super) fn restore(&mut self, snapshot: &CircuitSnapshot, now: Instant) {
        let phase = match (snapshot.status.forced, snapshot.status.state) {
            (true, state) => Phase::Forced(state),
            (false, CircuitState::Closed) => Phase::Closed { failures: snapshot.consecutive_failures },
            (false, CircuitState::HalfOpen) => Phase::HalfOpen { successes: snapshot.probe_successes },
            (false, CircuitState::Open) => Phase::Open { until: now + snapshot.open_for.unwrap_or_default() },
        };
        self.openings = snapshot.openings;
        self.go(phase, TransitionCause::Restore, now);
    }

    fn open(&mut self, cause: TransitionCause, wait: Option<Duration>, now: Instant) {
        let usual = self.config.opening(self.openings, self.random.f64());
        let time = self.config.trip_wait(wait).unwrap_or(usual);
        self.openings = self.openings.saturating_add(1);
        self.go(Phase::Open { until: now + time }, cause, now);
    }

    pub(super) fn admit(
        &mut self,
        call_timeout: Option<Duration>,
        now: Instant,
    ) -> Result<Ticket, Rejection> {
        if let Phase::Open { until } = self.phase
            && now >= until
        {
            self.go(Phase::HalfOpen { successes: 0 }, TransitionCause::Probe, now);
        }
        let status = self.phase.status();
        let verdict = match self.phase {
            Phase::Closed { .. } | Phase::Forced(CircuitState::Closed) => Ok(None),
            Phase::HalfOpen { successes } => {
                self.take_back(now);
                let era = Some(self.era);
                let running = self.calls.values().filter(|call| call.probe && call.era == era).count();
                // One more decides where a new configuration asks for fewer successes than there are.
                let needed = self.config.success_threshold.saturating_sub(successes).max(1);
                let most = self.config.half_open_max_calls.min(needed);
                if running < most as usize { Ok(Some(call_timeout)) } else { Err(None) }
            }
            Phase::Open { until } => Err(Some(until - now)),
            Phase::Forced(_) => Err(None),
        };
        let (era, probe) = match verdict {
            Ok(probe) => (Some(self.era), probe),
            Err(_) if self.config.observe_only && !status.forced => {
                self.totals.would_reject_count += 1;
                (None, None)
            }
            Err(retry_after) => {
                self.totals.rejected_count += 1;
                return Err(Rejection::new(status.state, status.forced, retry_after));
            }
        };
        self.totals.admitted_count += 1;
        self.last_call += 1;
        let own = self.config.call_timeout;
        let time = |timeout: Option<Duration>| timeout.or(own).unwrap_or_default().max(self.config.open_time);
        let lease = probe.and_then(|timeout| now.checked_add(time(timeout)));
        let timed = probe.is_some() || self.config.rates().is_some_and(|rates| rates.slow_calls.is_some());
        let began = timed.then_some(now);
        self.calls.insert(self.last_call, Call { era, began, lease, probe: probe.is_some() });
        Ok(Ticket::new(self.era, self.last_call))
    }

    /// Takes back the slots of probes whose lease ran out, of whatever era (R7).
    fn take_back(&mut self, now: Instant) {
        let before = self.calls.len();
        self.calls.retain(|_, call| call.lease.is_none_or(|lease| now < lease));
        self.totals.abandoned_count += (before - self.calls.len()) as u64;
    }

    pub(super) fn settle(&mut self, number: u64, outcome: Outcome, now: Instant) {
        let Some(call) = self.calls.remove(&number) else { return };
        let totals = &mut self.totals;
        *match outcome {
            Outcome::Success => &mut totals.success_count,
            Outcome::Failure | Outcome::Trip { .. } => &mut totals.failure_count,
            Outcome::TimedOut => &mut totals.timeout_count,
            Outcome::Ignored => &mut totals.ignored_count,
            Outcome::Cancelled => &mut totals.cancelled_count,
        } += 1;
        if matches!(outcome, Outcome::Ignored | Outcome::Cancelled) {
            return;
        }
        let slow_calls = self.config.rates().and_then(|rates| rates.slow_calls);
        let took = call.began.map(|began| now.saturating_duration_since(began));
        let slow = slow_calls.zip(took).is_some_and(|(slow, took)| took >= slow.time);
        totals.slow_count += u64::from(slow);
        if call.era != Some(self.era) {
            return;
        }
        match self.phase {
            Phase::Closed { failures } => self.settle_closed(failures, outcome, slow, now),
            Phase::HalfOpen { successes } => self.settle_probe(successes, outcome, slow, now),
            Phase::Open { .. } | Phase::Forced(_) => {}
        }
    }

    fn settle_closed(&mut self, failures: u32, outcome: Outcome, slow: bool, now: Instant) {
        if let Outcome::Trip { wait } = outcome {
            return self.open(TransitionCause::Trip, wait, now);
        }
        let failed = outcome != Outcome::Success;
        let failures = if failed { failures + 1 } else { 0 };
        self.phase = Phase::Closed { failures };
        let cause = match self.config.rates().copied() {
            None => (failed && failures >= self.config.failure_threshold).then_some(TransitionCause::Failure),
            Some(rates) => {
                let newest = self.samples.iter().map(|sample| sample.slice).max().unwrap_or(0);
                let slice = self.slice(now).max(newest);
                self.samples.push(Sample { slice, failed, slow });
                let counts = self.counts(now);
                if failed || slow { rates.judge(counts) } else { None }
            }
        };
        if let Some(cause) = cause {
            self.open(cause, None, now);
        }
    }

    fn settle_probe(&mut self, successes: u32, outcome: Outcome, slow: bool, now: Instant) {
        match outcome {
            Outcome::Success if slow => self.open(TransitionCause::SlowCalls, None, now),
            Outcome::Success => {
                let successes = successes + 1;
                self.phase = Phase::HalfOpen { successes };
                if successes >= self.config.success_threshold {
                    self.openings = 0;
                    self.go(Phase::Closed { failures: 0 }, TransitionCause::Recovery, now);
                }
            }
            Outcome::Trip { wait } => self.open(TransitionCause::Trip, wait, now),
            _ => self.open(TransitionCause::Failure, None, now),
        }
    }

    /// The tenth of the window of time in which that is, counted from the start.
    fn slice(&self, at: Instant) -> u128 {
        match self.config.rates().map(|rates| rates.window) {
            Some(Window::Time(time)) => {
                let width = (time.as_nanos() / SLICES).max(1);
                at.saturating_duration_since(self.start).as_nanos() / width
            }
            _ => 0,
        }
    }

    /// What the window holds.
    fn counts(&self, now: Instant) -> WindowCounts {
        let calls = match self.config.rates().map(|rates| rates.window) {
            Some(Window::Calls(calls)) => calls as usize,
            _ => usize::MAX,
        };
        let newest = self.samples.iter().map(|sample| sample.slice).max().unwrap_or(0);
        let slice = self.slice(now).max(newest);
        let seen = self.samples.iter().rev().take(calls).filter(|sample| sample.slice + SLICES > slice);
        seen.fold(WindowCounts::default(), |counts, sample| WindowCounts {
            calls: counts.calls + 1,
            failures: counts.failures + u64::from(sample.failed),
            slow: counts.slow + u64::from(sample.slow),
        })
    }

    pub(super) fn status_at(&self, now: Instant) -> CircuitStatus {
        self.phase.status_at(now)
    }

    pub(super) fn metrics_at(&self, now: Instant) -> CircuitMetrics {
        let mut metrics = self.totals.clone();
        metrics.status = self.phase.status_at(now);
        match self.phase {
            Phase::Closed { failures } => metrics.consecutive_failures = failures,
            Phase::HalfOpen { successes } => metrics.probe_successes = successes,
            Phase::Open { until } => {
                metrics.retry_after = until.checked_duration_since(now).filter(|left| !left.is_zero());
            }
            Phase::Forced(_) => {}
        }
        metrics.window = self.config.rates().map(|_| self.counts(now));
        metrics.openings = self.openings;
        metrics.recent_transitions = self.recent.iter().copied().collect();
        metrics
    }
}
