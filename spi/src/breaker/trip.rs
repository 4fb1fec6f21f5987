//! What opens a closed circuit: failures in a row, or rates over a window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{TransitionCause, WindowCounts};
use crate::{Error, Result};

/// What opens a closed circuit (R18).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use onex_spi::breaker::{CircuitBreakerConfig, RatePolicy, TripPolicy, Window};
///
/// let rates = RatePolicy::new(Window::Time(Duration::from_secs(30)))
///     .with_failure_rate(0.5)
///     .with_slow_calls(0.8, Duration::from_secs(2))
///     .with_minimum_calls(20);
/// let config = CircuitBreakerConfig::new().with_trip(TripPolicy::Rates(rates));
/// assert!(config.validate().is_ok());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TripPolicy {
    /// `failure_threshold` failures in a row.
    #[default]
    ConsecutiveFailures,
    /// The share of failed or slow calls in a window; `failure_threshold` opens nothing then.
    Rates(RatePolicy),
}

/// Rates over a window; either may open the circuit.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatePolicy {
    /// The calls that are looked at.
    pub window: Window,
    /// The share of failed calls that opens, 0 to 1. Default none.
    #[serde(default)]
    pub failure_rate: Option<f64>,
    /// What a slow call is and the share of them that opens. Default none.
    #[serde(default)]
    pub slow_calls: Option<SlowCalls>,
    /// Calls in the window below which nothing opens, 1 to 1,000,000 and at most the window's. Default 10.
    #[serde(default = "minimum_calls")]
    pub minimum_calls: u32,
}

fn minimum_calls() -> u32 {
    10
}

/// The calls that a rate looks at, of the present closed era only.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last so many calls that counted, 1 to 10,000.
    Calls(u32),
    /// The calls that ended in the last so much time, 100 ms to 1 day; a call may leave up to a tenth of it early.
    Time(#[serde(with = "humantime_serde")] Duration),
}

/// When a call is slow, and how many slow calls open.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowCalls {
    /// The share of slow calls that opens, 0 to 1.
    pub rate: f64,
    /// From how long on a call is slow, whatever it came to, 1 ms to 1 day.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl RatePolicy {
    /// Looks at `window`; opens nothing until a rate is set.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, failure_rate: None, slow_calls: None, minimum_calls: minimum_calls() }
    }

    /// Sets the share of failed calls that opens.
    #[must_use]
    pub fn with_failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// Sets the share of calls of at least `time` that opens.
    #[must_use]
    pub fn with_slow_calls(mut self, rate: f64, time: Duration) -> Self {
        self.slow_calls = Some(SlowCalls { rate, time });
        self
    }

    /// Sets the calls below which nothing opens.
    #[must_use]
    pub fn with_minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// Decides whether what the window holds opens the circuit, and why; asked at each failed and each slow call (R18).
    #[must_use]
    pub fn judge(&self, counts: WindowCounts) -> Option<TransitionCause> {
        if counts.calls < u64::from(self.minimum_calls).max(1) {
            return None;
        }
        // Divided, not multiplied: the quotient 7/10 is the very number that a file writes as 0.7.
        let share = |part: u64| part as f64 / counts.calls as f64;
        if counts.failures > 0 && self.failure_rate.is_some_and(|rate| share(counts.failures) >= rate) {
            return Some(TransitionCause::Failure);
        }
        let slow = counts.slow > 0 && self.slow_calls.is_some_and(|slow| share(counts.slow) >= slow.rate);
        slow.then_some(TransitionCause::SlowCalls)
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        let bad = |text: String| Err(Error::invalid("breaker.configure", text));
        let rates = [
            ("trip.rates.failure_rate", self.failure_rate),
            ("trip.rates.slow_calls.rate", self.slow_calls.map(|slow| slow.rate)),
        ];
        for (field, rate) in rates {
            // A NaN is in no range.
            if let Some(rate) = rate.filter(|rate| !(0.0..=1.0).contains(rate)) {
                return bad(format!("{field} = {rate} is not in 0..=1"));
            }
        }
        if self.failure_rate.is_none() && self.slow_calls.is_none() {
            return bad("trip.rates has neither failure_rate nor slow_calls; set one in 0..=1".to_owned());
        }
        if let Some(SlowCalls { time, .. }) = self.slow_calls
            && !(Duration::from_millis(1)..=DAY).contains(&time)
        {
            return bad(format!("trip.rates.slow_calls.time = {time:?} is not in 1ms..=1d"));
        }
        let most = match self.window {
            Window::Calls(calls) if !(1..=10_000).contains(&calls) => {
                return bad(format!("trip.rates.window.calls = {calls} is not in 1..=10000"));
            }
            Window::Time(time) if !(Duration::from_millis(100)..=DAY).contains(&time) => {
                return bad(format!("trip.rates.window.time = {time:?} is not in 100ms..=1d"));
            }
            Window::Calls(calls) => calls,
            Window::Time(_) => 1_000_000,
        };
        if !(1..=most).contains(&self.minimum_calls) {
            return bad(format!("trip.rates.minimum_calls = {} is not in 1..={most}", self.minimum_calls));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: RatePolicy) -> String {
        policy.validate().expect_err("out of range").to_string()
    }

    #[test]
    fn rates_outside_zero_to_one_and_nan_are_refused_by_name() {
        let policy = RatePolicy::new(Window::Calls(100));
        for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let text = refused(policy.with_failure_rate(rate));
            assert!(text.contains("failure_rate") && text.contains("0..=1"), "{text}");
            let text = refused(policy.with_slow_calls(rate, DAY));
            assert!(text.contains("slow_calls.rate") && text.contains("0..=1"), "{text}");
        }
        for rate in [0.0, -0.0, 0.5, 1.0] {
            policy.with_failure_rate(rate).validate().expect("in range");
        }
        let good = policy.with_failure_rate(0.5);
        assert!(refused(policy).contains("neither"));
        assert!(refused(good.with_minimum_calls(101)).contains("minimum_calls = 101 is not in 1..=100"));
        assert!(refused(good.with_slow_calls(0.5, Duration::ZERO)).contains("slow_calls.time"));
        let window = |window| refused(RatePolicy { window, ..good });
        assert!(window(Window::Calls(0)).contains("window.calls = 0"));
        assert!(window(Window::Time(Duration::MAX)).contains("window.time"));
    }

    #[test]
    fn a_rate_is_judged_from_the_minimum_on_and_at_its_very_value() {
        let policy = RatePolicy::new(Window::Calls(10)).with_failure_rate(0.7);
        let counts = |calls, failures, slow| WindowCounts { calls, failures, slow };
        assert_eq!(policy.judge(counts(9, 9, 0)), None);
        assert_eq!(policy.judge(counts(10, 6, 10)), None);
        assert_eq!(policy.judge(counts(10, 7, 0)), Some(TransitionCause::Failure));
        let both = policy.with_slow_calls(0.2, DAY);
        assert_eq!(both.judge(counts(10, 1, 2)), Some(TransitionCause::SlowCalls));
        // A rate of nothing opens at the first failure, not without one.
        let any = policy.with_failure_rate(0.0);
        assert_eq!(any.judge(counts(10, 0, 0)), None);
        assert_eq!(any.judge(counts(10, 1, 0)), Some(TransitionCause::Failure));
    }

    #[test]
    fn a_policy_is_read_from_a_file() {
        let text =
            r#"{"rates":{"window":{"time":"30s"},"failure_rate":0.5,"slow_calls":{"rate":1.0,"time":"2s"}}}"#;
        let read: TripPolicy = serde_json::from_str(text).expect("a policy");
        let due = RatePolicy::new(Window::Time(Duration::from_secs(30)))
            .with_failure_rate(0.5)
            .with_slow_calls(1.0, Duration::from_secs(2));
        assert_eq!(read, TripPolicy::Rates(due));
        assert!(serde_json::from_str::<TripPolicy>(r#"{"rates":{"window":{"calls":9},"rate":1}}"#).is_err());
    }
}
