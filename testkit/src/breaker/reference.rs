//! A second breaker, unlike any other on purpose: one lock a circuit, every admitted call remembered, nothing clever.
//!
//! ```text
//!  admit ─► lock ─► phase, calls on their way ─► a number          settle(number) ─► lock ─► its call ─► phase
//! ```
//!
//! It is the model of property tests and the good breaker below the broken ones; it is exact to the nanosecond and slow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, BreakerFeature, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener,
    CircuitMetrics, CircuitSnapshot, CircuitState, CircuitStatus, Outcome, Rejection, Ticket, Transition,
    TransitionCause,
};
use onex_spi::{Clock, Error, ErrorKind, Features, Health, Lifecycle, Result};

use super::BreakerSetup;

/// The changes of state that are kept.
const KEPT: usize = 32;

/// The reference breaker.
#[derive(Debug)]
pub struct ReferenceBreaker {
    clock: Arc<dyn Clock>,
    defaults: CircuitBreakerConfig,
    capabilities: BreakerCapabilities,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    circuits: BTreeMap<Arc<str>, Arc<ReferenceCircuit>>,
    closed: bool,
}

impl ReferenceBreaker {
    /// Makes a breaker on the setup's clock, with its defaults and its bound.
    #[must_use]
    pub fn new(setup: BreakerSetup) -> Self {
        let BreakerSetup { clock, defaults, max_circuits, .. } = setup;
        let features =
            Features::none().with(BreakerFeature::InjectedClock).with(BreakerFeature::Reconfiguration);
        let capabilities = BreakerCapabilities::new(features, clock.grain(), max_circuits);
        Self { clock, defaults, capabilities, registry: Mutex::default() }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self, name: &str) -> Result<Arc<ReferenceCircuit>> {
        let operation = "breaker.circuit";
        let limits = self.capabilities.limits;
        let mut registry = self.registry();
        if registry.closed {
            return Err(Error::closed(operation, "the breaker"));
        }
        if let Some(circuit) = registry.circuits.get(name) {
            return Ok(Arc::clone(circuit));
        }
        if name.len() > limits.name_bytes {
            return Err(Error::invalid(
                operation,
                format!("the name has more than {} bytes", limits.name_bytes),
            ));
        }
        if registry.circuits.len() >= limits.circuits {
            let text = format!("there are {} circuits, the most allowed", limits.circuits);
            return Err(Error::new(ErrorKind::ResourceExhausted, operation, text).not_applied());
        }
        let name: Arc<str> = Arc::from(name);
        let model = Mutex::new(Model::new(self.defaults));
        let circuit =
            Arc::new(ReferenceCircuit { name: Arc::clone(&name), clock: Arc::clone(&self.clock), model });
        registry.circuits.insert(name, Arc::clone(&circuit));
        Ok(circuit)
    }

    fn known(&self, name: &str) -> Result<Arc<ReferenceCircuit>> {
        let found = self.registry().circuits.get(name).cloned();
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "breaker.find", "no circuit has that name").not_applied()
        })
    }
}

impl CircuitBreaker for ReferenceBreaker {
    fn capabilities(&self) -> &BreakerCapabilities {
        &self.capabilities
    }

    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        Ok(self.made(name)?)
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Circuit>> {
        Some(self.known(name).ok()?)
    }

    fn circuit_state(&self, name: &str) -> Result<CircuitStatus> {
        Ok(self.known(name)?.status())
    }

    fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics> {
        Ok(self.known(name)?.metrics())
    }

    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        let circuits = self.registry().circuits.clone();
        circuits.into_iter().map(|(name, circuit)| (name, circuit.status())).collect()
    }

    fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        config.check("breaker.configure", self.capabilities.features)?;
        self.made(name)?.model().config = config;
        Ok(())
    }

    fn reset_circuit_breaker(&self, name: &str) -> Result<()> {
        let circuit = self.known(name)?;
        let now = self.clock.now();
        circuit.model().go(Phase::Closed { failures: 0 }, TransitionCause::Reset, now);
        Ok(())
    }

    fn force_circuit_open(&self, name: &str) -> Result<()> {
        let circuit = self.known(name)?;
        circuit.model().force(CircuitState::Open, self.clock.now());
        Ok(())
    }

    fn force_circuit_closed(&self, name: &str) -> Result<()> {
        let circuit = self.known(name)?;
        circuit.model().force(CircuitState::Closed, self.clock.now());
        Ok(())
    }

    fn listen(&self, _listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.capabilities.features.require("breaker.listen", BreakerFeature::Listeners)
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        self.capabilities.features.require("breaker.snapshot", BreakerFeature::Snapshots)?;
        Ok(CircuitSnapshot::new(self.known(name)?.status()))
    }

    fn restore_circuit(&self, _name: &str, _snapshot: &CircuitSnapshot) -> Result<()> {
        self.capabilities.features.require("breaker.restore", BreakerFeature::Snapshots)
    }
}

#[async_trait]
impl Lifecycle for ReferenceBreaker {
    async fn health(&self) -> Health {
        if self.registry().closed { Health::Unhealthy("closed".to_owned()) } else { Health::Healthy }
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.registry().closed = true;
        Ok(())
    }
}

#[derive(Debug)]
struct ReferenceCircuit {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    model: Mutex<Model>,
}

impl ReferenceCircuit {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circuit for ReferenceCircuit {
    fn name(&self) -> &str {
        &self.name
    }

    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        self.model().admit(call_timeout, self.clock.now())
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.model().settle(ticket.slot(), outcome, self.clock.now());
    }

    fn status(&self) -> CircuitStatus {
        self.model().phase.status_at(self.clock.now())
    }

    fn metrics(&self) -> CircuitMetrics {
        self.model().metrics_at(self.clock.now())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.model().config.call_timeout
    }

    fn config(&self) -> CircuitBreakerConfig {
        self.model().config
    }
}

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
    era: u64,
    /// Until when a probe keeps its slot; `None` for a call that is no probe, or a lease without end.
    lease: Option<Instant>,
    probe: bool,
}

#[derive(Debug)]
struct Model {
    config: CircuitBreakerConfig,
    phase: Phase,
    era: u64,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    /// Only its totals are kept up to date.
    totals: CircuitMetrics,
    recent: VecDeque<Transition>,
}

impl Model {
    fn new(config: CircuitBreakerConfig) -> Self {
        let phase = Phase::Closed { failures: 0 };
        let totals = CircuitMetrics::new(phase.status());
        let (calls, recent) = (BTreeMap::new(), VecDeque::new());
        Self { config, phase, era: 0, calls, last_call: 0, totals, recent }
    }

    fn go(&mut self, phase: Phase, cause: TransitionCause, at: Instant) {
        let (from, to) = (self.phase.status(), phase.status());
        self.phase = phase;
        self.era += 1;
        if from == to {
            return;
        }
        self.totals.state_transitions += 1;
        self.recent.push_back(Transition::new(self.totals.state_transitions, from, to, cause, at));
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
    }

    fn force(&mut self, state: CircuitState, now: Instant) {
        if self.phase != Phase::Forced(state) {
            self.go(Phase::Forced(state), TransitionCause::Force, now);
        }
    }

    fn open(&mut self, now: Instant) {
        self.go(Phase::Open { until: now + self.config.open_time }, TransitionCause::Failure, now);
    }

    fn admit(&mut self, call_timeout: Option<Duration>, now: Instant) -> Result<Ticket, Rejection> {
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
                let era = self.era;
                let running = self.calls.values().filter(|call| call.probe && call.era == era).count();
                // One more decides where a new configuration asks for fewer successes than there are.
                let needed = self.config.success_threshold.saturating_sub(successes).max(1);
                let most = self.config.half_open_max_calls.min(needed);
                if running < most as usize { Ok(Some(call_timeout)) } else { Err(None) }
            }
            Phase::Open { until } => Err(Some(until - now)),
            Phase::Forced(_) => Err(None),
        };
        match verdict {
            Err(retry_after) => {
                self.totals.rejected_count += 1;
                Err(Rejection::new(status.state, status.forced, retry_after))
            }
            Ok(probe) => {
                self.totals.admitted_count += 1;
                self.last_call += 1;
                let time = |timeout: Option<Duration>| timeout.unwrap_or_default().max(self.config.open_time);
                let lease = probe.and_then(|timeout| now.checked_add(time(timeout)));
                self.calls.insert(self.last_call, Call { era: self.era, lease, probe: probe.is_some() });
                Ok(Ticket::new(self.era, self.last_call))
            }
        }
    }

    /// Takes back the slots of probes whose lease ran out, of whatever era (R7).
    fn take_back(&mut self, now: Instant) {
        let before = self.calls.len();
        self.calls.retain(|_, call| call.lease.is_none_or(|lease| now < lease));
        self.totals.abandoned_count += (before - self.calls.len()) as u64;
    }

    fn settle(&mut self, number: u64, outcome: Outcome, now: Instant) {
        let Some(call) = self.calls.remove(&number) else { return };
        let totals = &mut self.totals;
        *match outcome {
            Outcome::Success => &mut totals.success_count,
            Outcome::Failure | Outcome::Trip { .. } => &mut totals.failure_count,
            Outcome::TimedOut => &mut totals.timeout_count,
            Outcome::Ignored => &mut totals.ignored_count,
            Outcome::Cancelled => &mut totals.cancelled_count,
        } += 1;
        if call.era != self.era {
            return;
        }
        match (self.phase, outcome) {
            (Phase::Closed { .. }, Outcome::Success) => self.phase = Phase::Closed { failures: 0 },
            (Phase::Closed { failures }, Outcome::Failure | Outcome::TimedOut | Outcome::Trip { .. }) => {
                let failures = failures + 1;
                self.phase = Phase::Closed { failures };
                if failures >= self.config.failure_threshold {
                    self.open(now);
                }
            }
            (Phase::HalfOpen { successes }, Outcome::Success) => {
                let successes = successes + 1;
                self.phase = Phase::HalfOpen { successes };
                if successes >= self.config.success_threshold {
                    self.go(Phase::Closed { failures: 0 }, TransitionCause::Recovery, now);
                }
            }
            (Phase::HalfOpen { .. }, Outcome::Failure | Outcome::TimedOut | Outcome::Trip { .. }) => {
                self.open(now)
            }
            _ => {}
        }
    }

    fn metrics_at(&self, now: Instant) -> CircuitMetrics {
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
        metrics.recent_transitions = self.recent.iter().copied().collect();
        metrics
    }
}
