//! What a section of the environment may say.

use onex_spi::breaker::{CircuitBreakerConfig, CircuitTemplate};
use onex_spi::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most circuits that may be asked for.
const MOST_CIRCUITS: usize = 1_000_000;

/// How the breaker is made.
///
/// # Examples
/// ```toml
/// [production.breaker]
/// engine = "native"
/// max_circuits = 4096
///
/// [production.breaker.defaults]
/// failure_threshold = 5
/// open_time = "30s"
///
/// [[production.breaker.templates]]
/// pattern = "http:*"
/// config = { failure_threshold = 10, trip = { rates = { window = { time = "30s" }, failure_rate = 0.5 } } }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Circuits, 1 to 1,000,000; one more is refused. Default 1,024.
    pub max_circuits: usize,
    /// The configuration of a circuit that was given none. Default: 5 failures, 60 s open, 3 probes, one at a time.
    pub defaults: CircuitBreakerConfig,
    /// Configurations by name pattern; the first that fits a new circuit's name is taken. Default none.
    pub templates: Vec<CircuitTemplate>,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_circuits: 1024, defaults: CircuitBreakerConfig::default(), templates: Vec::new() }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most circuits.
    #[must_use]
    pub fn with_max_circuits(mut self, circuits: usize) -> Self {
        self.max_circuits = circuits;
        self
    }

    /// Sets the configuration of circuits that are given none.
    #[must_use]
    pub fn with_defaults(mut self, defaults: CircuitBreakerConfig) -> Self {
        self.defaults = defaults;
        self
    }

    /// Sets the configurations by name pattern.
    #[must_use]
    pub fn with_templates(mut self, templates: Vec<CircuitTemplate>) -> Self {
        self.templates = templates;
        self
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        self.faults().into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Everything that is wrong, each with the key under which it stands.
    pub(crate) fn faults(&self) -> Vec<(String, Error)> {
        let mut checked =
            vec![(String::new(), self.checked_circuits()), ("defaults".to_owned(), self.defaults.validate())];
        for (index, template) in self.templates.iter().enumerate() {
            checked.push(match template.config.validate() {
                Ok(()) => (format!("templates.{index}"), template.validate()),
                wrong => (format!("templates.{index}.config"), wrong),
            });
        }
        checked.into_iter().filter_map(|(key, checked)| Some((key, checked.err()?))).collect()
    }

    fn checked_circuits(&self) -> Result<()> {
        if (1..=MOST_CIRCUITS).contains(&self.max_circuits) {
            return Ok(());
        }
        let text = format!("max_circuits = {} is not in 1..={MOST_CIRCUITS}", self.max_circuits);
        Err(Error::invalid("breaker.open", text))
    }
}
