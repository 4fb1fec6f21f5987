//! The state of one circuit, behind its lock.
//!
//! ```text
//!  admit ─► closed, forced closed ────────────► call of this era
//!          ├ open, not yet over; forced open ─► rejected
//!          ├ open, over ─► half-open ┐
//!          └ half-open ──────────────┴► leases that ran out are taken back ─► probe or rejected
//!  settle ─► totals ─► of this era? ─► closed: the policy ─► opens │ half-open: closes or opens
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use onex_spi::breaker::{
    CircuitBreakerConfig, CircuitMetrics, CircuitSnapshot, CircuitState, CircuitStatus, Outcome, Rejection,
    Ticket, Transition, TransitionCause,
};

use crate::SuccessRate;
use crate::policy::Policy;

/// The changes of state that are kept.
const KEPT: usize = 32;

/// The slot of a ticket that is no probe's; probes count from 1.
const NO_PROBE: u64 = 0;

/// The slot of a ticket that an observed circuit would have refused: its outcome decides nothing (R23).
const OBSERVED: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    Open(End),
    HalfOpen { successes: u32 },
    Forced(CircuitState),
}

/// When something is over; `None` = beyond what the clock can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End(Option<Instant>);

impl End {
    fn after(now: Instant, time: Duration) -> Self {
        Self(now.checked_add(time))
    }

    /// What is left until then; `None` where it is over.
    fn left(self, now: Instant) -> Option<Duration> {
        let left = self.0.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        (!left.is_zero()).then_some(left)
    }
}

impl Phase {
    /// The status that the history tells.
    fn status(self) -> CircuitStatus {
        match self {
            Self::Closed => CircuitStatus::new(CircuitState::Closed),
            Self::Open(_) => CircuitStatus::new(CircuitState::Open),
            Self::HalfOpen { .. } => CircuitStatus::new(CircuitState::HalfOpen),
            Self::Forced(state) => CircuitStatus::forced(state),
        }
    }

    /// The status that a reader sees (R6).
    fn status_at(self, now: Instant) -> CircuitStatus {
        match self {
            Self::Open(end) if end.left(now).is_none() => CircuitStatus::new(CircuitState::HalfOpen),
            phase => phase.status(),
        }
    }
}

/// A probe's hold on its slot.
#[derive(Clone, Copy, Debug)]
struct Lease {
    era: u64,
    end: End,
}

#[derive(Debug)]
pub(crate) struct Machine {
    config: CircuitBreakerConfig,
    policy: Policy,
    phase: Phase,
    era: u64,
    /// The run that the policy counts, which failsafe does not show.
    failures: u32,
    openings: u32,
    probes: BTreeMap<u64, Lease>,
    last_probe: u64,
    /// Only its totals are kept up to date.
    totals: CircuitMetrics,
    recent: VecDeque<Transition>,
    random: fastrand::Rng,
}

impl Machine {
    /// Makes the `number`-th machine of a breaker; no two of these come to the same era.
    pub(crate) fn new(
        config: CircuitBreakerConfig,
        rate: Option<SuccessRate>,
        number: u64,
        seed: u64,
    ) -> Self {
        let mut machine = Self {
            config,
            policy: Policy::new(config.failure_threshold, rate),
            phase: Phase::Closed,
            era: number << 32,
            failures: 0,
            openings: 0,
            probes: BTreeMap::new(),
            last_probe: NO_PROBE,
            totals: CircuitMetrics::new(Phase::Closed.status()),
            recent: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        machine.plan();
        machine
    }

    pub(crate) fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    /// Swaps the configuration; what the circuit has counted stays (R12).
    pub(crate) fn configure(&mut self, config: CircuitBreakerConfig) {
        let before = std::mem::replace(&mut self.config, config);
        if before.failure_threshold != config.failure_threshold {
            self.policy.set_threshold(config.failure_threshold, self.failures);
        }
        self.plan();
    }

    /// Closes the circuit from any state (R9).
    pub(crate) fn reset(&mut self, now: Instant) -> Option<Transition> {
        self.go(Phase::Closed, TransitionCause::Reset, now)
    }

    /// Forces the circuit into a state; forcing the same again changes nothing (R8).
    pub(crate) fn force(&mut self, state: CircuitState, now: Instant) -> Option<Transition> {
        let forced = Phase::Forced(state);
        if self.phase == forced { None } else { self.go(forced, TransitionCause::Force, now) }
    }

    /// What the circuit decides by (R21).
    pub(crate) fn snapshot(&self, now: Instant) -> CircuitSnapshot {
        let snapshot = CircuitSnapshot::new(self.status(now)).with_openings(self.openings);
        match self.phase {
            Phase::Closed => snapshot.with_consecutive_failures(self.failures),
            Phase::HalfOpen { successes } => snapshot.with_probe_successes(successes),
            Phase::Open(end) => snapshot.with_open_for(end.left(now)),
            Phase::Forced(_) => snapshot,
        }
    }

    /// Takes a validated state that was kept; begins an era.
    pub(crate) fn restore(&mut self, kept: &CircuitSnapshot, now: Instant) -> Option<Transition> {
        let phase = match (kept.status.forced, kept.status.state) {
            (true, state) => Phase::Forced(state),
            (false, CircuitState::Closed) => Phase::Closed,
            (false, CircuitState::HalfOpen) => Phase::HalfOpen { successes: kept.probe_successes },
            (false, CircuitState::Open) => Phase::Open(End::after(now, kept.open_for.unwrap_or_default())),
        };
        let change = self.go(phase, TransitionCause::Restore, now);
        (self.failures, self.openings) = (kept.consecutive_failures, kept.openings);
        self.policy.set_threshold(self.config.failure_threshold, self.failures);
        self.plan();
        change
    }

    /// Lets a call through or turns it away.
    pub(crate) fn admit(
        &mut self,
        call_timeout: Option<Duration>,
        now: Instant,
    ) -> (Result<Ticket, Rejection>, Option<Transition>) {
        let change = match self.phase {
            Phase::Open(end) if end.left(now).is_none() => {
                self.go(Phase::HalfOpen { successes: 0 }, TransitionCause::Probe, now)
            }
            _ => None,
        };
        let mut decision = self.decide(call_timeout, now);
        if self.config.observe_only && matches!(&decision, Err(rejection) if !rejection.forced) {
            self.totals.would_reject_count += 1;
            decision = Ok(Ticket::new(self.era, OBSERVED));
        }
        match decision {
            Ok(_) => self.totals.admitted_count += 1,
            Err(_) => self.totals.rejected_count += 1,
        }
        (decision, change)
    }

    fn decide(&mut self, call_timeout: Option<Duration>, now: Instant) -> Result<Ticket, Rejection> {
        let status = self.phase.status();
        let rejected = |retry_after| Err(Rejection::new(status.state, status.forced, retry_after));
        match self.phase {
            Phase::Closed | Phase::Forced(CircuitState::Closed) => Ok(Ticket::new(self.era, NO_PROBE)),
            // Nobody knows when: it waits for a person.
            Phase::Forced(_) => rejected(None),
            Phase::Open(end) => rejected(end.left(now)),
            Phase::HalfOpen { successes } => {
                self.take_back(now);
                let running = self.probes.values().filter(|lease| lease.era == self.era).count();
                // One more decides where a new configuration asks for fewer successes than there are.
                let needed = self.config.success_threshold.saturating_sub(successes).max(1);
                if running >= self.config.half_open_max_calls.min(needed) as usize {
                    return rejected(None);
                }
                let timeout = call_timeout.or(self.config.call_timeout);
                let time = timeout.unwrap_or_default().max(self.config.open_time);
                self.last_probe += 1;
                self.probes.insert(self.last_probe, Lease { era: self.era, end: End::after(now, time) });
                Ok(Ticket::new(self.era, self.last_probe))
            }
        }
    }

    /// Takes back the slots of probes whose lease ran out, of whatever era (R7).
    fn take_back(&mut self, now: Instant) {
        let before = self.probes.len();
        self.probes.retain(|_, lease| lease.end.left(now).is_some());
        self.totals.abandoned_count += (before - self.probes.len()) as u64;
    }

    /// Takes the outcome of an admitted call.
    pub(crate) fn settle(&mut self, ticket: &Ticket, outcome: Outcome, now: Instant) -> Option<Transition> {
        let probe = ticket.slot() != NO_PROBE && ticket.slot() != OBSERVED;
        if probe && self.probes.remove(&ticket.slot()).is_none() {
            // Its slot was taken back: counted as abandoned, and nowhere else (R7).
            return None;
        }
        let totals = &mut self.totals;
        *match outcome {
            Outcome::Success => &mut totals.success_count,
            Outcome::Failure | Outcome::Trip { .. } => &mut totals.failure_count,
            Outcome::TimedOut => &mut totals.timeout_count,
            Outcome::Ignored => &mut totals.ignored_count,
            Outcome::Cancelled => &mut totals.cancelled_count,
        } += 1;
        if ticket.era() != self.era || ticket.slot() == OBSERVED {
            return None;
        }
        match (self.phase, outcome) {
            (Phase::Closed, Outcome::Success) => {
                self.failures = 0;
                self.policy.success();
                None
            }
            (Phase::Closed, Outcome::Failure | Outcome::TimedOut) => {
                self.failures = self.failures.saturating_add(1);
                let time = self.policy.failure()?;
                self.open(time, TransitionCause::Failure, now)
            }
            (Phase::HalfOpen { successes }, Outcome::Success) => {
                let successes = successes.saturating_add(1);
                self.phase = Phase::HalfOpen { successes };
                if successes < self.config.success_threshold {
                    return None;
                }
                self.go(Phase::Closed, TransitionCause::Recovery, now)
            }
            // One failed probe opens again, without asking the policy, which would count it.
            (Phase::HalfOpen { .. }, Outcome::Failure | Outcome::TimedOut) => {
                self.open(self.policy.next_opening(), TransitionCause::Failure, now)
            }
            (Phase::Closed | Phase::HalfOpen { .. }, Outcome::Trip { wait }) => {
                let time = self.config.trip_wait(wait).unwrap_or(self.policy.next_opening());
                self.open(time, TransitionCause::Trip, now)
            }
            (_, Outcome::Ignored | Outcome::Cancelled) | (Phase::Open(_) | Phase::Forced(_), _) => None,
        }
    }

    fn open(&mut self, time: Duration, cause: TransitionCause, now: Instant) -> Option<Transition> {
        self.openings = self.openings.saturating_add(1);
        self.go(Phase::Open(End::after(now, time)), cause, now)
    }

    /// Begins an era; records it unless the status stays.
    fn go(&mut self, phase: Phase, cause: TransitionCause, now: Instant) -> Option<Transition> {
        let (from, to) = (self.phase.status(), phase.status());
        self.phase = phase;
        self.era += 1;
        self.failures = 0;
        if matches!(phase, Phase::Closed | Phase::Forced(_)) {
            self.openings = 0;
            self.policy.begin();
        }
        self.plan();
        if from == to {
            return None;
        }
        self.totals.state_transitions += 1;
        let change = Transition::new(self.totals.state_transitions, from, to, cause, now);
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(change);
        Some(change)
    }

    /// Plans the next opening, once, so that both of failsafe's policies are told the same (R19).
    fn plan(&mut self) {
        let draw = self.random.f64();
        self.policy.plan(self.config.opening(self.openings, draw));
    }

    pub(crate) fn status(&self, now: Instant) -> CircuitStatus {
        self.phase.status_at(now)
    }

    pub(crate) fn metrics(&self, now: Instant) -> CircuitMetrics {
        let mut metrics = self.totals.clone();
        metrics.status = self.status(now);
        metrics.consecutive_failures = self.failures;
        metrics.openings = self.openings;
        match self.phase {
            Phase::HalfOpen { successes } => metrics.probe_successes = successes,
            Phase::Open(end) => metrics.retry_after = end.left(now),
            Phase::Closed | Phase::Forced(_) => {}
        }
        metrics.recent_transitions = self.recent.iter().copied().collect();
        metrics
    }
}
