//! The circuits by name, never more than the bound.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitStatus,
};
use onex_spi::{Clock, Features, Health, Lifecycle, Result};

use crate::Config;
use crate::chance::Chance;
use crate::circuit::{NativeCircuit, Shared};
use crate::error::{full, long, unknown};
use crate::registry::Registry;
use crate::tell::Teller;
use crate::time::Time;
use crate::word::State;

/// Keeps lock-free circuits by name; see the crate's documentation.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_breaker_native::{Config, NativeBreaker};
/// use onex_spi::breaker::{CircuitBreaker, CircuitExt, CircuitState};
/// use onex_testkit::clock::ManualClock;
///
/// let breaker = NativeBreaker::new(Config::new(), Arc::new(ManualClock::new())).expect("the defaults are good");
/// let circuit = breaker.circuit("payments").expect("there is room");
/// for _ in 0..5 {
///     circuit.try_acquire().expect("closed").failure();
/// }
/// let rejection = circuit.try_acquire().expect_err("five failures opened it");
/// assert_eq!(rejection.state, CircuitState::Open);
/// ```
#[derive(Debug)]
pub struct NativeBreaker {
    config: Config,
    defaults: Arc<CircuitBreakerConfig>,
    templates: Vec<Arc<CircuitBreakerConfig>>,
    capabilities: BreakerCapabilities,
    shared: Arc<Shared>,
    registry: RwLock<Registry>,
}

impl NativeBreaker {
    /// Makes a breaker that decides on `clock`, with a seed of its own, so that a fleet does not come back in step.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration out of range.
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::with_seed(config, clock, RandomState::new().build_hasher().finish())
    }

    /// Makes a breaker that decides on `clock` and draws from `seed`.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration out of range.
    pub fn with_seed(config: Config, clock: Arc<dyn Clock>, seed: u64) -> Result<Self> {
        config.validate()?;
        let time = Time::new(clock);
        let capabilities = BreakerCapabilities::new(Features::all(), time.grain(), config.max_circuits);
        let shared = Arc::new(Shared { time, teller: Teller::default(), chance: Chance::new(seed) });
        // One configuration for all circuits that were given none of their own.
        let defaults = Arc::new(config.defaults);
        let templates = config.templates.iter().map(|template| Arc::new(template.config)).collect();
        let registry = RwLock::new(Registry::new());
        Ok(Self { config, defaults, templates, capabilities, shared, registry })
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of a new circuit (R22).
    fn chosen(&self, name: &str) -> &Arc<CircuitBreakerConfig> {
        let templates = self.config.templates.iter().zip(&self.templates);
        let mut fitting = templates.filter(|(template, _)| template.fits(name)).map(|(_, config)| config);
        fitting.next().unwrap_or(&self.defaults)
    }

    /// The circuit of that name, made where it is new.
    fn own_circuit(&self, operation: &'static str, name: &str) -> Result<Arc<NativeCircuit>> {
        if let Some(circuit) = self.read().open(operation)?.get(name) {
            circuit.touch();
            return Ok(Arc::clone(circuit));
        }
        let limits = &self.capabilities.limits;
        if name.len() > limits.name_bytes {
            return Err(long(operation, name, limits.name_bytes));
        }
        let mut registry = self.write();
        if let Some(circuit) = registry.open(operation)?.get(name) {
            return Ok(Arc::clone(circuit));
        }
        if registry.len() >= limits.circuits && !registry.evict() {
            return Err(full(operation, name, limits.circuits));
        }
        let (config, shared) = (Arc::clone(self.chosen(name)), Arc::clone(&self.shared));
        Ok(registry.insert(Arc::from(name), |name, era| NativeCircuit::new(name, config, shared, era)))
    }

    fn known(&self, operation: &'static str, name: &str) -> Result<Arc<NativeCircuit>> {
        self.read().get(name).cloned().ok_or_else(|| unknown(operation, name))
    }
}

impl CircuitBreaker for NativeBreaker {
    fn capabilities(&self) -> &BreakerCapabilities {
        &self.capabilities
    }

    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        Ok(self.own_circuit("breaker.circuit", name)?)
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Circuit>> {
        self.read().get(name).map(|circuit| Arc::clone(circuit) as _)
    }

    fn circuit_state(&self, name: &str) -> Result<CircuitStatus> {
        Ok(self.known("breaker.circuit_state", name)?.status())
    }

    fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics> {
        Ok(self.known("breaker.circuit_metrics", name)?.metrics())
    }

    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        self.read().iter().map(|circuit| (Arc::clone(&circuit.name), circuit.status())).collect()
    }

    fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        config.validate()?;
        self.own_circuit("breaker.configure", name)?.configure(config);
        Ok(())
    }

    fn reset_circuit_breaker(&self, name: &str) -> Result<()> {
        self.known("breaker.reset", name)?.reset();
        Ok(())
    }

    fn force_circuit_open(&self, name: &str) -> Result<()> {
        self.known("breaker.force_open", name)?.force(State::ForcedOpen);
        Ok(())
    }

    fn force_circuit_closed(&self, name: &str) -> Result<()> {
        self.known("breaker.force_closed", name)?.force(State::ForcedClosed);
        Ok(())
    }

    fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.shared.teller.listen(listener);
        Ok(())
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        Ok(self.known("breaker.snapshot", name)?.snapshot())
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        snapshot.validate()?;
        self.own_circuit("breaker.restore", name)?.restore(snapshot);
        Ok(())
    }
}

#[async_trait]
impl Lifecycle for NativeBreaker {
    async fn health(&self) -> Health {
        let registry = self.read();
        let most = self.capabilities.limits.circuits;
        match (registry.is_closed(), registry.len()) {
            (true, _) => Health::Unhealthy("the breaker is closed".to_owned()),
            (false, count) if count >= most => {
                Health::Degraded(format!("{most} circuits, the most: a new name needs an idle one to go"))
            }
            _ => Health::Healthy,
        }
    }

    /// Nothing runs here, so nothing is waited for; circuits that are held keep deciding.
    async fn close(&self, _within: Duration) -> Result<()> {
        self.write().close();
        Ok(())
    }
}
