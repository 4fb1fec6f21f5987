//! The circuits by name, never more than the bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, BreakerFeature, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener,
    CircuitMetrics, CircuitSnapshot, CircuitState, CircuitStatus, CircuitTemplate,
};
use onex_spi::{Clock, Error, Health, Lifecycle, Result};

use crate::Config;
use crate::circuit::FailsafeCircuit;
use crate::error::{full, long, unknown};
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
    config: Config,
    capabilities: BreakerCapabilities,
    clock: Arc<dyn Clock>,
    random: Mutex<fastrand::Rng>,
    registry: RwLock<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    circuits: HashMap<Arc<str>, Arc<FailsafeCircuit>>,
    closed: bool,
}

impl FailsafeBreaker {
    /// Makes a breaker that decides on `clock`; `seed` is for the share of openings that is left to chance.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration out of range; `Unsupported` for one that needs what failsafe lacks.
    pub fn new(config: Config, clock: Arc<dyn Clock>, seed: u64) -> Result<Self> {
        config.validate()?;
        let capabilities = BreakerCapabilities::new(config.features(), clock.grain(), config.max_circuits);
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Ok(Self { config, capabilities, clock, random, registry: RwLock::default() })
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The circuit of that name, made where it is new.
    fn own_circuit(&self, operation: &'static str, name: &str) -> Result<Arc<FailsafeCircuit>> {
        let refuse_closed = |registry: &Registry| match registry.closed {
            true => Err(Error::closed(operation, "the breaker")),
            false => Ok(()),
        };
        {
            let registry = self.read();
            refuse_closed(&registry)?;
            if let Some(circuit) = registry.circuits.get(name) {
                return Ok(Arc::clone(circuit));
            }
        }
        let limits = &self.capabilities.limits;
        if name.len() > limits.name_bytes {
            return Err(long(operation, name, limits.name_bytes));
        }
        let mut registry = self.write();
        refuse_closed(&registry)?;
        if let Some(circuit) = registry.circuits.get(name) {
            return Ok(Arc::clone(circuit));
        }
        if registry.circuits.len() >= limits.circuits {
            return Err(full(operation, name, limits.circuits));
        }
        let key: Arc<str> = Arc::from(name);
        let config = *CircuitTemplate::choose(&self.config.templates, name, &self.config.defaults);
        let seed = self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
        let machine = Machine::new(config, self.config.success_rate, seed);
        let circuit = Arc::new(FailsafeCircuit::new(Arc::clone(&key), Arc::clone(&self.clock), machine));
        registry.circuits.insert(key, Arc::clone(&circuit));
        Ok(circuit)
    }

    fn known(&self, operation: &'static str, name: &str) -> Result<Arc<FailsafeCircuit>> {
        self.read().circuits.get(name).cloned().ok_or_else(|| unknown(operation, name))
    }
}

impl CircuitBreaker for FailsafeBreaker {
    fn capabilities(&self) -> &BreakerCapabilities {
        &self.capabilities
    }

    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        Ok(self.own_circuit("breaker.circuit", name)?)
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Circuit>> {
        self.read().circuits.get(name).map(|circuit| Arc::clone(circuit) as _)
    }

    fn circuit_state(&self, name: &str) -> Result<CircuitStatus> {
        Ok(self.known("breaker.circuit_state", name)?.status())
    }

    fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics> {
        Ok(self.known("breaker.circuit_metrics", name)?.metrics())
    }

    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        self.read().circuits.iter().map(|(name, circuit)| (Arc::clone(name), circuit.status())).collect()
    }

    fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        config.check("breaker.configure", self.capabilities.features)?;
        self.own_circuit("breaker.configure", name)?.change(|machine, _| (machine.configure(config), None));
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

    fn listen(&self, _listener: Arc<dyn CircuitListener>) -> Result<()> {
        self.capabilities.features.require("breaker.listen", BreakerFeature::Listeners)
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        Ok(self.known("breaker.snapshot", name)?.change(|machine, now| (machine.snapshot(now), None)))
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        snapshot.validate()?;
        self.own_circuit("breaker.restore", name)?
            .change(|machine, now| ((), machine.restore(snapshot, now)));
        Ok(())
    }
}

#[async_trait]
impl Lifecycle for FailsafeBreaker {
    async fn health(&self) -> Health {
        let registry = self.read();
        let most = self.capabilities.limits.circuits;
        match (registry.closed, registry.circuits.len()) {
            (true, _) => Health::Unhealthy("the breaker is closed".to_owned()),
            (false, count) if count >= most => {
                Health::Degraded(format!("all {most} circuits are in use: a new name is refused"))
            }
            _ => Health::Healthy,
        }
    }

    /// Nothing runs here, so nothing is waited for; circuits that are held keep deciding.
    async fn close(&self, _within: Duration) -> Result<()> {
        self.write().closed = true;
        Ok(())
    }
}
