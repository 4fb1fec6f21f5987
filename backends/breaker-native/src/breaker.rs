//! The breaker: the port over circuits by name.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitStatus, CircuitTemplate, Listeners, News, Registry, Transition,
};
use onex_spi::{Clock, Features, Health, Lifecycle, Result};

use crate::Config;
use crate::chance::Chance;
use crate::circuit::{NativeCircuit, Shared};
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
    capabilities: BreakerCapabilities,
    shared: Arc<Shared>,
    circuits: Registry<NativeCircuit>,
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
        let shared = Arc::new(Shared { time, listeners: Listeners::new(trace), chance: Chance::new(seed) });
        let (configs, of_all) = (Configs::new(config), Arc::clone(&shared));
        let circuits = Registry::new(capabilities.limits, move |name, number: u64| {
            let config = Arc::clone(configs.of(&name));
            // Far from the eras that an earlier circuit of that name went through: its tickets fit nowhere.
            let era = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            NativeCircuit::new(name, config, Arc::clone(&of_all), era)
        });
        Ok(Self { capabilities, shared, circuits })
    }

    fn known(&self, operation: &'static str, name: &str) -> Result<Arc<NativeCircuit>> {
        self.circuits.known(operation, name)
    }
}

/// The configurations of new circuits, one for all that share it (R22).
struct Configs {
    templates: Vec<CircuitTemplate>,
    of_templates: Vec<Arc<CircuitBreakerConfig>>,
    defaults: Arc<CircuitBreakerConfig>,
}

impl Configs {
    fn new(Config { templates, defaults, .. }: Config) -> Self {
        let of_templates = templates.iter().map(|template| Arc::new(template.config)).collect();
        Self { templates, of_templates, defaults: Arc::new(defaults) }
    }

    fn of(&self, name: &str) -> &Arc<CircuitBreakerConfig> {
        let fits = self.templates.iter().position(|template| template.fits(name));
        fits.map_or(&self.defaults, |template| &self.of_templates[template])
    }
}

impl CircuitBreaker for NativeBreaker {
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
        config.validate()?;
        self.circuits.pinned("breaker.configure", name)?.configure(config);
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
        self.shared.listeners.add(listener);
        Ok(())
    }

    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot> {
        Ok(self.known("breaker.snapshot", name)?.snapshot())
    }

    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        snapshot.validate()?;
        self.circuits.circuit("breaker.restore", name)?.restore(snapshot);
        Ok(())
    }
}

#[async_trait]
impl Lifecycle for NativeBreaker {
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
