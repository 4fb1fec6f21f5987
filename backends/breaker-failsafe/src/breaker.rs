//! The breaker: the port over circuits by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, BreakerFeature, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener,
    CircuitMetrics, CircuitSnapshot, CircuitState, CircuitStatus, CircuitTemplate, Listeners, News, Registry,
    Transition,
};
use onex_spi::{Clock, Health, Lifecycle, Result};

use crate::Config;
use crate::circuit::FailsafeCircuit;
use crate::machine::Machine;

/// Keeps circuits by name that open when failsafe says so; see the crate's documentation.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_breaker_failsafe::{Config, FailsafeBreaker};
/// use onex_spi::breaker::{CircuitBreaker, CircuitExt, CircuitState};
/// use onex_testkit::clock::ManualClock;
///
/// let breaker = FailsafeBreaker::new(Config::new(), Arc::new(ManualClock::new()), 0).expect("the defaults are good");
/// let circuit = breaker.circuit("payments").expect("there is room");
/// for _ in 0..5 {
///     circuit.try_acquire().expect("closed").failure();
/// }
/// let rejection = circuit.try_acquire().expect_err("five failures opened it");
/// assert_eq!(rejection.state, CircuitState::Open);
/// ```
#[derive(Debug)]
pub struct FailsafeBreaker {
    capabilities: BreakerCapabilities,
    listeners: Arc<Listeners>,
    circuits: Registry<FailsafeCircuit>,
}

impl FailsafeBreaker {
    /// Makes a breaker that decides on `clock`; `seed` is for the share of openings that is left to chance.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration out of range; `Unsupported` for one that needs what failsafe lacks.
    pub fn new(config: Config, clock: Arc<dyn Clock>, seed: u64) -> Result<Self> {
        config.validate()?;
        let capabilities = BreakerCapabilities::new(config.features(), clock.grain(), config.max_circuits);
        let (listeners, random) =
            (Arc::new(Listeners::new(trace)), Mutex::new(fastrand::Rng::with_seed(seed)));
        let told = Arc::clone(&listeners);
        let circuits = Registry::new(capabilities.limits, move |name, number| {
            let chosen = *CircuitTemplate::choose(&config.templates, &name, &config.defaults);
            let seed = random.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
            let machine = Machine::new(chosen, config.success_rate, number, seed);
            FailsafeCircuit::new(name, Arc::clone(&clock), Arc::clone(&told), machine)
        });
        Ok(Self { capabilities, listeners, circuits })
    }

    /// The circuit of that name, which goes when it is idle if that can be seen.
    fn own(&self, operation: &'static str, name: &str) -> Result<Arc<FailsafeCircuit>> {
        match self.capabilities.features.has(BreakerFeature::Eviction) {
            true => self.circuits.circuit(operation, name),
            false => self.circuits.pinned(operation, name),
        }
    }

    fn known(&self, operation: &'static str, name: &str) -> Result<Arc<FailsafeCircuit>> {
        self.circuits.known(operation, name)
    }
}

impl CircuitBreaker for FailsafeBreaker {
    fn capabilities(&self) -> &BreakerCapabilities {
        &self.capabilities
    }

    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        Ok(self.own("breaker.circuit", name)?)
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
        self.circuits
            .pinned("breaker.configure", name)?
            .change(|machine, _| (machine.configure(config), None));
        Ok(())
    }

    fn reset_circuit_breaker(&self, name: &str) -> Result<()> {
        self.known("breaker.reset", name)?.change(|machine, now| ((), machine.reset(now)));
        Ok(())
    }

    fn force_circuit_open(&self, name: &str) -> Result<()> {
        self.known("breaker.force_open", name)?
            .change(|machine, now| ((), machine.force(CircuitState::Open, now)));
        Ok(())
    }

    fn force_circuit_closed(&self, name: &str) -> Result<()> {
        self.known("breaker.force_closed", name)?
            .change(|machine, now| ((), machine.force(CircuitState::Closed, now)));
        Ok(())
    }

    fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.listeners.add(listener);
        Ok(())
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        Ok(self.known("breaker.snapshot", name)?.change(|machine, now| (machine.snapshot(now), None)))
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        snapshot.validate()?;
        self.own("breaker.restore", name)?.change(|machine, now| ((), machine.restore(snapshot, now)));
        Ok(())
    }
}

#[async_trait]
impl Lifecycle for FailsafeBreaker {
    async fn health(&self) -> Health {
        self.circuits.health()
    }

    /// Nothing runs here, so nothing is waited for; circuits that are held keep deciding.
    async fn close(&self, _within: Duration) -> Result<()> {
        self.circuits.close();
        Ok(())
    }
}

/// Traces what is told, before anybody is told of it.
fn trace(news: News<'_>) {
    match news {
        News::Changed { circuit, transition: Transition { sequence, from, to, cause, .. } } => {
            tracing::info!(
                circuit,
                sequence,
                from = ?from.state,
                to = ?to.state,
                forced = to.forced,
                ?cause,
                "circuit changed its state"
            )
        }
        fault => tracing::warn!("{fault}"),
    }
}
