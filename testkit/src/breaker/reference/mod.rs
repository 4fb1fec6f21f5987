//! A second breaker, unlike any other on purpose: one lock a circuit, every admitted call remembered, nothing clever.
//!
//! ```text
//!  admit ─► lock ─► phase, calls on their way ─► a number          settle(number) ─► lock ─► its call ─► phase
//!                                                                     changes ─► queue ─► listeners, outside the lock
//! ```
//!
//! It is the model of property tests and the good breaker below the broken ones; it is exact to the nanosecond and slow.

mod model;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitState, CircuitStatus, CircuitTemplate, Listeners, Outcome, Registry, Rejection,
    Ticket,
};
use onex_spi::{Clock, Features, Health, Lifecycle, Result};

use self::model::Model;
use super::BreakerSetup;

/// The reference breaker.
#[derive(Debug)]
pub struct ReferenceBreaker {
    clock: Arc<dyn Clock>,
    capabilities: BreakerCapabilities,
    listeners: Arc<Listeners>,
    circuits: Registry<ReferenceCircuit>,
}

impl ReferenceBreaker {
    /// Makes a breaker on the setup's clock, with its defaults, templates, seed and bound.
    #[must_use]
    pub fn new(setup: BreakerSetup) -> Self {
        let BreakerSetup { clock, defaults, templates, max_circuits, seed, .. } = setup;
        let capabilities = BreakerCapabilities::new(Features::all(), clock.grain(), max_circuits);
        let listeners = Arc::new(Listeners::default());
        let (time, told) = (Arc::clone(&clock), Arc::clone(&listeners));
        let circuits = Registry::new(capabilities.limits, move |name, number| {
            let config = *CircuitTemplate::choose(&templates, &name, &defaults);
            let model = Mutex::new(Model::new(config, time.now(), number, seed));
            ReferenceCircuit { name, clock: Arc::clone(&time), listeners: Arc::clone(&told), model }
        });
        Self { clock, capabilities, listeners, circuits }
    }

    fn known(&self, operation: &'static str, name: &str) -> Result<Arc<ReferenceCircuit>> {
        self.circuits.known(operation, name)
    }
}

impl CircuitBreaker for ReferenceBreaker {
    fn capabilities(&self) -> &BreakerCapabilities {
        &self.capabilities
    }

    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        Ok(self.circuits.circuit("breaker.circuit", name)?)
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Circuit>> {
        Some(self.circuits.find(name)?)
    }

    fn circuit_state(&self, name: &str) -> Result<CircuitStatus> {
        Ok(self.known("breaker.circuit_state", name)?.status())
    }

    fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics> {
        Ok(self.known("breaker.circuit_metrics", name)?.metrics())
    }

    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        self.circuits.states()
    }

    fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        config.check("breaker.configure", self.capabilities.features)?;
        self.circuits.pinned("breaker.configure", name)?.model().configure(config);
        Ok(())
    }

    fn reset_circuit_breaker(&self, name: &str) -> Result<()> {
        let now = self.clock.now();
        self.known("breaker.reset", name)?.tell(|model| model.reset(now));
        Ok(())
    }

    fn force_circuit_open(&self, name: &str) -> Result<()> {
        let now = self.clock.now();
        self.known("breaker.force_open", name)?.tell(|model| model.force(CircuitState::Open, now));
        Ok(())
    }

    fn force_circuit_closed(&self, name: &str) -> Result<()> {
        let now = self.clock.now();
        self.known("breaker.force_closed", name)?.tell(|model| model.force(CircuitState::Closed, now));
        Ok(())
    }

    fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.listeners.add(listener);
        Ok(())
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        Ok(self.known("breaker.snapshot", name)?.model().snapshot_at(self.clock.now()))
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        snapshot.validate()?;
        let now = self.clock.now();
        self.circuits.circuit("breaker.restore", name)?.tell(|model| model.restore(snapshot, now));
        Ok(())
    }
}

#[async_trait]
impl Lifecycle for ReferenceBreaker {
    async fn health(&self) -> Health {
        self.circuits.health()
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.circuits.close();
        Ok(())
    }
}

#[derive(Debug)]
struct ReferenceCircuit {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    listeners: Arc<Listeners>,
    model: Mutex<Model>,
}

impl ReferenceCircuit {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what may change the state, and tells of it: queued under the lock, told outside.
    fn tell<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.model();
        let done = act(&mut model);
        let changed = model.take_changes();
        changed.into_iter().for_each(|change| self.listeners.push(&self.name, change));
        drop(model);
        self.listeners.tell();
        done
    }
}

impl Circuit for ReferenceCircuit {
    fn name(&self) -> &str {
        &self.name
    }

    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let now = self.clock.now();
        self.tell(|model| model.admit(call_timeout, now))
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let now = self.clock.now();
        self.tell(|model| model.settle(ticket.slot(), outcome, now));
    }

    fn status(&self) -> CircuitStatus {
        self.model().status_at(self.clock.now())
    }

    fn metrics(&self) -> CircuitMetrics {
        self.model().metrics_at(self.clock.now())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.model().config().call_timeout
    }

    fn config(&self) -> CircuitBreakerConfig {
        self.model().config()
    }
}
