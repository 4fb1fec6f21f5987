//! When a circuit opens and closes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BreakerFeature, OpenBackoff, RatePolicy, TripPolicy, Window};
use crate::{Error, Features, Result};

/// The limits of one circuit.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// Failures in a row that open the circuit, 1 to 1,000,000. Default 5.
    pub failure_threshold: u32,
    /// How long an opening lasts, 1 ms to 365 days. Default 60 s. ONEX calls it `timeout_seconds`.
    #[serde(with = "humantime_serde")]
    pub open_time: Duration,
    /// Successful probes that close the circuit, 1 to 100,000. Default 3.
    pub success_threshold: u32,
    /// Probes at a time while half-open, 1 to 100,000. Default 1.
    pub half_open_max_calls: u32,
    /// The time limit of a call that brings none of its own. Default none.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Option<Duration>,
    /// What opens the circuit (R18). Default `failure_threshold` failures in a row.
    pub trip: TripPolicy,
    /// How openings grow while probes fail (R19). Default none: each lasts `open_time`.
    pub open_backoff: Option<OpenBackoff>,
    /// The longest wait that a result may ask for (R20), 1 ms to 365 days. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub trip_wait_cap: Duration,
    /// Whether the circuit only counts what it would do and rejects nothing (R23). Default no.
    pub observe_only: bool,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            open_time: Duration::from_secs(60),
            success_threshold: 3,
            half_open_max_calls: 1,
            call_timeout: None,
            trip: TripPolicy::ConsecutiveFailures,
            open_backoff: None,
            trip_wait_cap: Duration::from_secs(300),
            observe_only: false,
        }
    }
}

impl CircuitBreakerConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the failures in a row that open the circuit.
    #[must_use]
    pub fn with_failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures;
        self
    }

    /// Sets how long an opening lasts.
    #[must_use]
    pub fn with_open_time(mut self, time: Duration) -> Self {
        self.open_time = time;
        self
    }

    /// Sets the successful probes that close the circuit.
    #[must_use]
    pub fn with_success_threshold(mut self, successes: u32) -> Self {
        self.success_threshold = successes;
        self
    }

    /// Sets the probes at a time.
    #[must_use]
    pub fn with_half_open_max_calls(mut self, calls: u32) -> Self {
        self.half_open_max_calls = calls;
        self
    }

    /// Sets the time limit of a call that brings none of its own.
    #[must_use]
    pub fn with_call_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets what opens the circuit.
    #[must_use]
    pub fn with_trip(mut self, policy: TripPolicy) -> Self {
        self.trip = policy;
        self
    }

    /// Sets how openings grow while probes fail.
    #[must_use]
    pub fn with_open_backoff(mut self, backoff: Option<OpenBackoff>) -> Self {
        self.open_backoff = backoff;
        self
    }

    /// Sets the longest wait that a result may ask for.
    #[must_use]
    pub fn with_trip_wait_cap(mut self, cap: Duration) -> Self {
        self.trip_wait_cap = cap;
        self
    }

    /// Sets whether the circuit only counts what it would do.
    #[must_use]
    pub fn with_observe_only(mut self, observe: bool) -> Self {
        self.observe_only = observe;
        self
    }

    /// The rates that open the circuit, where the policy has some.
    #[must_use]
    pub fn rates(&self) -> Option<&RatePolicy> {
        match &self.trip {
            TripPolicy::Rates(rates) => Some(rates),
            TripPolicy::ConsecutiveFailures => None,
        }
    }

    /// How long an opening lasts after `before` others since the circuit was closed; `draw` is random in 0..1 (R19).
    #[must_use]
    pub fn opening(&self, before: u32, draw: f64) -> Duration {
        self.open_backoff.map_or(self.open_time, |backoff| backoff.time(self.open_time, before, draw))
    }

    /// How long an opening lasts for which a result asked (R20); `None` where it asked for no time of its own.
    #[must_use]
    pub fn trip_wait(&self, asked: Option<Duration>) -> Option<Duration> {
        asked.map(|wait| wait.clamp(Duration::from_millis(1), self.trip_wait_cap))
    }

    /// What a breaker must declare for this configuration.
    #[must_use]
    pub fn features(&self) -> Features<BreakerFeature> {
        let mut needed = Features::none();
        if let Some(rates) = self.rates() {
            needed = needed.with(match rates.window {
                Window::Calls(_) => BreakerFeature::CountWindow,
                Window::Time(_) => BreakerFeature::TimeWindow,
            });
            if rates.slow_calls.is_some() {
                needed = needed.with(BreakerFeature::SlowCalls);
            }
        }
        if self.open_backoff.is_some() {
            needed = needed.with(BreakerFeature::OpenBackoff);
        }
        if self.observe_only { needed.with(BreakerFeature::ObserveOnly) } else { needed }
    }

    /// Checks the limits and that a breaker of these features can keep to them; to be called before any effect (R12).
    ///
    /// # Errors
    /// As [`validate`](Self::validate); `Unsupported` naming the feature.
    pub fn check(&self, operation: &'static str, declared: Features<BreakerFeature>) -> Result<()> {
        self.validate()?;
        self.features().iter().try_for_each(|feature| declared.require(operation, feature))
    }

    /// Checks the limits (R12).
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let bad = |text: String| Err(Error::invalid("breaker.configure", text));
        let counts = [
            ("failure_threshold", self.failure_threshold, 1_000_000),
            ("success_threshold", self.success_threshold, 100_000),
            ("half_open_max_calls", self.half_open_max_calls, 100_000),
        ];
        for (field, value, most) in counts {
            if !(1..=most).contains(&value) {
                return bad(format!("{field} = {value} is not in 1..={most}"));
            }
        }
        if !(Duration::from_millis(1)..=YEAR).contains(&self.open_time) {
            return bad(format!("open_time = {:?} is not in 1ms..=365d", self.open_time));
        }
        if let Some(timeout) = self.call_timeout.filter(|time| time.is_zero() || *time > YEAR) {
            return bad(format!("call_timeout = {timeout:?} is not above zero and at most 365d"));
        }
        if !(Duration::from_millis(1)..=YEAR).contains(&self.trip_wait_cap) {
            return bad(format!("trip_wait_cap = {:?} is not in 1ms..=365d", self.trip_wait_cap));
        }
        self.open_backoff.map_or(Ok(()), |backoff| backoff.validate(self.open_time, YEAR))?;
        self.rates().map_or(Ok(()), RatePolicy::validate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_limits_name_field_value_and_range() {
        let zero = CircuitBreakerConfig::new().with_failure_threshold(0).validate().expect_err("zero");
        assert!(zero.to_string().contains("failure_threshold = 0 is not in 1..=1000000"), "{zero}");
        let long =
            CircuitBreakerConfig::new().with_open_time(Duration::MAX).validate().expect_err("too long");
        assert!(long.to_string().contains("open_time"), "{long}");
        CircuitBreakerConfig::default().validate().expect("the defaults are good");
        let backoff = |growth, cap, jitter| {
            let backoff = OpenBackoff::new(growth, Duration::from_secs(cap)).with_jitter(jitter);
            CircuitBreakerConfig::new().with_open_backoff(Some(backoff)).validate().map_err(|e| e.to_string())
        };
        for (growth, cap, jitter, field) in [
            (f64::NAN, 60, 0.0, "open_backoff.growth = NaN is not in 1..=100"),
            (0.5, 60, 0.0, "open_backoff.growth = 0.5"),
            (f64::INFINITY, 60, 0.0, "open_backoff.growth = inf"),
            (2.0, 60, f64::NAN, "open_backoff.jitter = NaN is not in 0..=1"),
            (2.0, 60, 1.5, "open_backoff.jitter = 1.5"),
            (2.0, 59, 0.0, "open_backoff.cap = 59s"),
        ] {
            let text = backoff(growth, cap, jitter).expect_err(field);
            assert!(text.contains(field), "{text}");
        }
        assert_eq!(backoff(2.0, 60, 1.0), Ok(()));
    }

    #[test]
    fn a_configuration_needs_what_it_uses_and_is_refused_where_that_is_not_declared() {
        let plain = CircuitBreakerConfig::new();
        assert_eq!(plain.features(), Features::none());
        let rates = RatePolicy::new(Window::Calls(10)).with_slow_calls(0.5, Duration::from_secs(1));
        let all = plain
            .with_trip(TripPolicy::Rates(rates))
            .with_open_backoff(Some(OpenBackoff::new(2.0, Duration::from_secs(600))))
            .with_observe_only(true);
        let needed = [
            BreakerFeature::CountWindow,
            BreakerFeature::SlowCalls,
            BreakerFeature::OpenBackoff,
            BreakerFeature::ObserveOnly,
        ];
        assert_eq!(all.features().iter().collect::<Vec<_>>(), needed);
        all.check("breaker.configure", all.features()).expect("all is declared");
        for feature in needed {
            let refused =
                all.check("breaker.configure", Features::all().without(feature)).expect_err("refused");
            let seen = (refused.kind(), refused.effect());
            assert_eq!(seen, (crate::ErrorKind::Unsupported, crate::Effect::NotApplied), "{refused}");
        }
    }

    #[test]
    fn onex_cb_23_defaults_and_times_in_words() {
        // ONEX-GEN-09; ONEX-CB-23: failure_threshold=5, timeout_seconds=60, success_threshold=3
        let config: CircuitBreakerConfig =
            serde_json::from_str(r#"{"open_time":"1500ms"}"#).expect("a config");
        assert_eq!(config, CircuitBreakerConfig::new().with_open_time(Duration::from_millis(1500)));
        assert_eq!((config.failure_threshold, config.success_threshold), (5, 3));
        assert_eq!(CircuitBreakerConfig::default().open_time, Duration::from_secs(60));
    }
}
