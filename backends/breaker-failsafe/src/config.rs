//! What a section of the environment may say.

use std::time::Duration;

use onex_spi::breaker::{BreakerFeature, CircuitBreakerConfig, CircuitTemplate};
use onex_spi::{Error, Features, Result};
use serde::{Deserialize, Serialize};

/// The most circuits that may be asked for.
const MOST_CIRCUITS: usize = 1_000_000;

/// How the breaker is made.
///
/// # Examples
/// ```toml
/// [production.breaker]
/// engine = "failsafe"
/// max_circuits = 4096
///
/// [production.breaker.defaults]
/// failure_threshold = 5
/// open_time = "30s"
///
/// [production.breaker.success_rate]
/// required = 0.8
/// window = "30s"
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Circuits, 1 to 1,000,000; one more is refused. Default 1,024.
    pub max_circuits: usize,
    /// The configuration of a circuit that was given none. Default: 5 failures, 60 s open, 3 probes, one at a time.
    pub defaults: CircuitBreakerConfig,
    /// Configurations by the pattern of the name, the first that fits. Default none.
    pub templates: Vec<CircuitTemplate>,
    /// What opens a circuit besides failures in a row (failsafe's `or_else`). Default nothing.
    pub success_rate: Option<SuccessRate>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_circuits: 1024,
            defaults: CircuitBreakerConfig::default(),
            templates: Vec::new(),
            success_rate: None,
        }
    }
}

/// failsafe's average success rate, weighted by time, so that late calls weigh more.
///
/// It opens nothing before a whole window has passed since the circuit was made or closed last, and calls within one millisecond count as
/// one instant: it is for circuits with steady traffic, on the clock of the machine.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuccessRate {
    /// The average below which the circuit opens, 0 to 1.
    pub required: f64,
    /// Calls in the last window below which nothing opens, 1 to 1,000,000. Default 5.
    #[serde(default = "min_requests")]
    pub min_requests: u32,
    /// The window, whole seconds from 1 s to 1 day. Default 30 s.
    #[serde(default = "window", with = "humantime_serde")]
    pub window: Duration,
}

fn min_requests() -> u32 {
    5
}

fn window() -> Duration {
    Duration::from_secs(30)
}

impl SuccessRate {
    /// Opens below `required` over 30 s, from 5 calls on.
    #[must_use]
    pub fn new(required: f64) -> Self {
        Self { required, min_requests: min_requests(), window: window() }
    }

    /// Sets the calls below which nothing opens.
    #[must_use]
    pub fn with_min_requests(mut self, requests: u32) -> Self {
        self.min_requests = requests;
        self
    }

    /// Sets the window.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// failsafe panics at a rate out of range and divides by a window below 5 ms: neither may reach it.
    fn validate(&self) -> Result<()> {
        const DAY: u64 = 24 * 3600;
        let bad = |text: String| Err(Error::invalid("breaker.open", text));
        // A NaN is in no range.
        if !(0.0..=1.0).contains(&self.required) {
            return bad(format!("success_rate.required = {} is not in 0..=1", self.required));
        }
        if !(1..=1_000_000).contains(&self.min_requests) {
            let value = self.min_requests;
            return bad(format!("success_rate.min_requests = {value} is not in 1..=1000000"));
        }
        if !(1..=DAY).contains(&self.window.as_secs()) || self.window.subsec_nanos() != 0 {
            let value = self.window;
            return bad(format!("success_rate.window = {value:?} is not of whole seconds in 1s..=1d"));
        }
        Ok(())
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

    /// Sets the configurations by pattern.
    #[must_use]
    pub fn with_templates(mut self, templates: Vec<CircuitTemplate>) -> Self {
        self.templates = templates;
        self
    }

    /// Sets the success rate that opens a circuit besides failures in a row.
    #[must_use]
    pub fn with_success_rate(mut self, rate: Option<SuccessRate>) -> Self {
        self.success_rate = rate;
        self
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range; `Unsupported` naming a feature that a configuration needs and this engine lacks.
    pub fn validate(&self) -> Result<()> {
        self.faults().into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Everything that is wrong, each with the key under which it stands.
    pub(crate) fn faults(&self) -> Vec<(String, Error)> {
        let declared = self.features();
        let circuits = match (1..=MOST_CIRCUITS).contains(&self.max_circuits) {
            true => Ok(()),
            false => {
                let text = format!("max_circuits = {} is not in 1..={MOST_CIRCUITS}", self.max_circuits);
                Err(Error::invalid("breaker.open", text))
            }
        };
        let mut found = vec![
            (String::new(), circuits),
            (String::new(), self.success_rate.map_or(Ok(()), |rate| rate.validate())),
            ("defaults".to_owned(), self.defaults.check("breaker.open", declared)),
        ];
        for (index, template) in self.templates.iter().enumerate() {
            let checked = template.config.check("breaker.open", declared);
            let (key, checked) = match checked {
                Ok(()) => (format!("templates.{index}"), template.validate()),
                Err(error) => (format!("templates.{index}.config"), Err(error)),
            };
            found.push((key, checked));
        }
        found.into_iter().filter_map(|(key, checked)| Some((key, checked.err()?))).collect()
    }

    /// What a breaker of this configuration declares.
    pub(crate) fn features(&self) -> Features<BreakerFeature> {
        let always = Features::none()
            .with(BreakerFeature::Listeners)
            .with(BreakerFeature::OpenBackoff)
            .with(BreakerFeature::TripAtOnce)
            .with(BreakerFeature::Snapshots)
            .with(BreakerFeature::ObserveOnly)
            .with(BreakerFeature::Templates);
        match self.success_rate {
            Some(_) => always,
            None => always
                .with(BreakerFeature::InjectedClock)
                .with(BreakerFeature::Reconfiguration)
                .with(BreakerFeature::Eviction),
        }
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::ErrorKind;
    use onex_spi::breaker::{RatePolicy, TripPolicy, Window};

    use super::*;

    #[test]
    fn nothing_that_failsafe_panics_at_gets_through() {
        let second = Duration::from_secs(1);
        let good = SuccessRate::new(0.8);
        let refused = [
            ("required", SuccessRate::new(f64::NAN)),
            ("required", SuccessRate::new(-0.1)),
            ("required", SuccessRate::new(1.1)),
            ("min_requests", good.with_min_requests(0)),
            ("window", good.with_window(Duration::ZERO)),
            ("window", good.with_window(Duration::from_millis(1500))),
            ("window", good.with_window(Duration::MAX)),
        ];
        for (field, rate) in refused {
            let error = Config::new().with_success_rate(Some(rate)).validate().expect_err(field);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.message().contains(&format!("success_rate.{field} = ")), "{error}");
        }
        for rate in [good, SuccessRate::new(0.0), SuccessRate::new(1.0).with_window(second)] {
            Config::new().with_success_rate(Some(rate)).validate().expect("in range");
        }
    }

    #[test]
    fn a_policy_that_failsafe_lacks_is_refused_as_default_and_in_templates() {
        let rates = RatePolicy::new(Window::Time(Duration::from_secs(30))).with_failure_rate(0.5);
        let config = CircuitBreakerConfig::new().with_trip(TripPolicy::Rates(rates));
        for config in [
            Config::new().with_defaults(config),
            Config::new().with_templates(vec![CircuitTemplate::new("a.*", config)]),
        ] {
            let error = config.validate().expect_err("not declared");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }
}
