//! A second breaker, unlike any other on purpose: one lock a circuit, every admitted call remembered, nothing clever.
//!
//! ```text
//!  admit ─► lock ─► phase, calls on their way ─► a number          settle(number) ─► lock ─► its call ─► phase
//!                                                                     changes ─► queue ─► listeners, outside the lock
//! ```
//!
//! It is the model of property tests and the good breaker below the broken ones; it is exact to the nanosecond and slow.

mod model;
mod news;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitState, CircuitStatus, CircuitTemplate, Outcome, Rejection, Ticket,
};
use onex_spi::{Clock, Error, ErrorKind, Features, Health, Lifecycle, Result};

use self::model::Model;
use self::news::News;
use super::BreakerSetup;

/// The reference breaker.
#[derive(Debug)]
pub struct ReferenceBreaker {
    clock: Arc<dyn Clock>,
    defaults: CircuitBreakerConfig,
    templates: Vec<CircuitTemplate>,
    seed: u64,
    capabilities: BreakerCapabilities,
    news: Arc<News>,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    circuits: BTreeMap<Arc<str>, Arc<ReferenceCircuit>>,
    made: u64,
    closed: bool,
}

impl ReferenceBreaker {
    /// Makes a breaker on the setup's clock, with its defaults, templates, seed and bound.
    #[must_use]
    pub fn new(setup: BreakerSetup) -> Self {
        let BreakerSetup { clock, defaults, templates, max_circuits, seed, .. } = setup;
        let capabilities = BreakerCapabilities::new(Features::all(), clock.grain(), max_circuits);
        let (news, registry) = (Arc::default(), Mutex::default());
        Self { clock, defaults, templates, seed, capabilities, news, registry }
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
        if registry.circuits.len() >= limits.circuits && !registry.make_room() {
            let text = format!("there are {} circuits, the most allowed", limits.circuits);
            return Err(Error::new(ErrorKind::ResourceExhausted, operation, text).not_applied());
        }
        registry.made += 1;
        let config = *CircuitTemplate::choose(&self.templates, name, &self.defaults);
        let model = Mutex::new(Model::new(config, self.clock.now(), self.seed ^ registry.made));
        let (name, clock, news) = (Arc::from(name), Arc::clone(&self.clock), Arc::clone(&self.news));
        let circuit = Arc::new(ReferenceCircuit { name, clock, news, model });
        registry.circuits.insert(Arc::clone(&circuit.name), Arc::clone(&circuit));
        Ok(circuit)
    }

    fn known(&self, name: &str) -> Result<Arc<ReferenceCircuit>> {
        let found = self.registry().circuits.get(name).cloned();
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "breaker.find", "no circuit has that name").not_applied()
        })
    }
}

impl Registry {
    /// Drops the first idle circuit that nobody holds; nobody can come to, while the registry is locked.
    fn make_room(&mut self) -> bool {
        let mut circuits = self.circuits.iter();
        let idle = circuits.find(|(_, circuit)| Arc::strong_count(circuit) == 1 && circuit.model().is_idle());
        let name = idle.map(|(name, _)| Arc::clone(name));
        name.is_some_and(|name| self.circuits.remove(&name).is_some())
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
        self.made(name)?.model().configure(config);
        Ok(())
    }

    fn reset_circuit_breaker(&self, name: &str) -> Result<()> {
        let now = self.clock.now();
        self.known(name)?.tell(|model| model.reset(now));
        Ok(())
    }

    fn force_circuit_open(&self, name: &str) -> Result<()> {
        let now = self.clock.now();
        self.known(name)?.tell(|model| model.force(CircuitState::Open, now));
        Ok(())
    }

    fn force_circuit_closed(&self, name: &str) -> Result<()> {
        let now = self.clock.now();
        self.known(name)?.tell(|model| model.force(CircuitState::Closed, now));
        Ok(())
    }

    fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.news.listen(listener);
        Ok(())
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        Ok(self.known(name)?.model().snapshot_at(self.clock.now()))
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        snapshot.validate()?;
        let now = self.clock.now();
        self.made(name)?.tell(|model| model.restore(snapshot, now));
        Ok(())
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
    news: Arc<News>,
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
        changed.into_iter().for_each(|change| self.news.push(&self.name, change));
        drop(model);
        self.news.tell();
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
