//! When a circuit opens and closes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The limits of one circuit.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            open_time: Duration::from_secs(60),
            success_threshold: 3,
            half_open_max_calls: 1,
            call_timeout: None,
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
        Ok(())
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
