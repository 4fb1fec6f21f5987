//! The wrapper of every broken breaker: it forwards everything, and a [`Twist`] changes one thing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitState, CircuitStatus, Outcome, Rejection, Ticket,
};
use onex_spi::{Clock, Health, Lifecycle, Result};

/// One changed behaviour; what is not overridden is good.
pub(super) trait Twist: fmt::Debug + Default + Send + Sync + 'static {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        circuit.good.admit(call_timeout)
    }

    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        circuit.good.settle(ticket, outcome);
    }

    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        circuit.good.metrics()
    }

    fn status(&self, circuit: &Inner) -> CircuitStatus {
        circuit.good.status()
    }

    fn circuit(&self, good: &dyn CircuitBreaker, name: &str) -> Result<Arc<dyn Circuit>> {
        good.circuit(name)
    }

    fn circuit_state(&self, good: &dyn CircuitBreaker, name: &str) -> Result<CircuitStatus> {
        good.circuit_state(name)
    }

    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        good.configure_circuit_breaker(name, config)
    }

    fn reset(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        good.reset_circuit_breaker(name)
    }

    fn force_closed(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        good.force_circuit_closed(name)
    }

    fn listen(&self, good: &Arc<dyn CircuitBreaker>, listener: Arc<dyn CircuitListener>) -> Result<()> {
        good.listen(listener)
    }

    fn restore(&self, good: &dyn CircuitBreaker, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        good.restore_circuit(name, snapshot)
    }

    /// What the circuit tells of the configuration in force.
    fn told(&self, config: CircuitBreakerConfig) -> CircuitBreakerConfig {
        config
    }

    /// Whether a circuit begins anew when it is asked for after its last handle went.
    fn forgets(&self) -> bool {
        false
    }

    /// Whether `close` reaches the good breaker.
    fn closes(&self) -> bool {
        true
    }
}

/// What a twist of a circuit may use.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) good: Arc<dyn Circuit>,
    pub(super) breaker: Arc<dyn CircuitBreaker>,
    /// A number that means what the twist likes.
    pub(super) memo: AtomicU64,
}

/// The words of a ticket that no good circuit issued.
const FORGED: u64 = u64::MAX;

impl Inner {
    /// A call that the good circuit knows nothing of.
    pub(super) fn forged() -> Ticket {
        Ticket::new(FORGED, FORGED)
    }

    pub(super) fn is(&self, state: CircuitState) -> bool {
        self.good.status() == CircuitStatus::new(state)
    }

    /// One more call, settled at once; whether it was let through.
    pub(super) fn once_more(&self, outcome: Outcome) -> bool {
        let ticket = self.good.admit(None);
        ticket.map(|ticket| self.good.settle(ticket, outcome)).is_ok()
    }

    /// The names are those of circuits that exist, so a refusal cannot happen.
    pub(super) fn reset(&self) {
        let _ = self.breaker.reset_circuit_breaker(self.good.name());
    }
}

/// Wraps a good breaker with one twist.
pub(super) fn change<T: Twist>(good: Arc<dyn CircuitBreaker>) -> Arc<dyn CircuitBreaker> {
    let (twist, circuits, asked) = (Arc::default(), Mutex::default(), Arc::default());
    Arc::new(Changed::<T> { good, twist, circuits, asked })
}

#[derive(Debug)]
struct Changed<T> {
    good: Arc<dyn CircuitBreaker>,
    twist: Arc<T>,
    /// One wrapper a circuit, so that all handles share its memo; not held, so that a circuit may go with its last handle.
    circuits: Mutex<BTreeMap<String, Weak<ChangedCircuit<T>>>>,
    asked: Arc<Asked>,
}

/// The configurations that were asked for: a breaker that keeps to another tells these all the same.
type Asked = Mutex<BTreeMap<String, CircuitBreakerConfig>>;

impl<T: Twist> Changed<T> {
    /// Whether there was a handle, and there is none any more.
    fn is_unheld(&self, name: &str) -> bool {
        let circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        circuits.get(name).is_some_and(|circuit| circuit.strong_count() == 0)
    }

    fn wrapped(&self, good: Arc<dyn Circuit>) -> Arc<dyn Circuit> {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(circuit) = circuits.get(good.name()).and_then(Weak::upgrade) {
            return circuit;
        }
        let name = good.name().to_owned();
        let inner = Inner { good, breaker: Arc::clone(&self.good), memo: AtomicU64::new(0) };
        let circuit = Arc::new(ChangedCircuit {
            inner,
            twist: Arc::clone(&self.twist),
            asked: Arc::clone(&self.asked),
        });
        circuits.insert(name, Arc::downgrade(&circuit));
        circuit
    }
}

#[deny(clippy::missing_trait_methods)]
impl<T: Twist> CircuitBreaker for Changed<T> {
    fn capabilities(&self) -> &BreakerCapabilities {
        self.good.capabilities()
    }

    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        if self.twist.forgets() && self.is_unheld(name) {
            // One that was evicted begins anew by itself.
            let _ = self.good.reset_circuit_breaker(name);
        }
        Ok(self.wrapped(self.twist.circuit(&*self.good, name)?))
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Circuit>> {
        Some(self.wrapped(self.good.find(name)?))
    }

    fn circuit_state(&self, name: &str) -> Result<CircuitStatus> {
        let good = self.twist.circuit_state(&*self.good, name)?;
        Ok(self.find(name).map_or(good, |circuit| circuit.status()))
    }

    fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics> {
        let good = self.good.circuit_metrics(name)?;
        Ok(self.find(name).map_or(good, |circuit| circuit.metrics()))
    }

    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        self.good.all_circuit_states()
    }

    fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        self.twist.configure(&*self.good, name, config)?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(name.to_owned(), config);
        Ok(())
    }

    fn reset_circuit_breaker(&self, name: &str) -> Result<()> {
        self.twist.reset(&*self.good, name)
    }

    fn force_circuit_open(&self, name: &str) -> Result<()> {
        self.good.force_circuit_open(name)
    }

    fn force_circuit_closed(&self, name: &str) -> Result<()> {
        self.twist.force_closed(&*self.good, name)
    }

    fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.twist.listen(&self.good, listener)
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        self.good.circuit_snapshot(name)
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        self.twist.restore(&*self.good, name, snapshot)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Twist> Lifecycle for Changed<T> {
    async fn health(&self) -> Health {
        self.good.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        if self.twist.closes() { self.good.close(within).await } else { Ok(()) }
    }
}

#[derive(Debug)]
struct ChangedCircuit<T> {
    inner: Inner,
    twist: Arc<T>,
    asked: Arc<Asked>,
}

#[deny(clippy::missing_trait_methods)]
impl<T: Twist> Circuit for ChangedCircuit<T> {
    fn name(&self) -> &str {
        self.inner.good.name()
    }

    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        self.twist.admit(&self.inner, call_timeout)
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        if ticket.slot() != FORGED || ticket.era() != FORGED {
            self.twist.settle(&self.inner, ticket, outcome);
        }
    }

    fn status(&self) -> CircuitStatus {
        self.twist.status(&self.inner)
    }

    fn metrics(&self) -> CircuitMetrics {
        self.twist.metrics(&self.inner)
    }

    fn clock(&self) -> &dyn Clock {
        self.inner.good.clock()
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.inner.good.call_timeout()
    }

    fn config(&self) -> CircuitBreakerConfig {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let config = asked.get(self.name()).copied().unwrap_or_else(|| self.inner.good.config());
        self.twist.told(config)
    }
}
