//! How long an opening lasts where it is not always as long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How open times grow while probes keep failing, and how much of each is left to chance (R19).
///
/// The n-th opening since the circuit was closed lasts `open_time * growth^(n - 1)`, at most `cap`; of that the share `jitter` is
/// drawn, so that a fleet does not come back in step: it lasts between `(1 - jitter)` of it and the whole.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use onex_spi::breaker::OpenBackoff;
///
/// let backoff = OpenBackoff::new(2.0, Duration::from_secs(60));
/// let times: Vec<u64> =
///     (0..4).map(|before| backoff.time(Duration::from_secs(10), before, 0.0).as_secs()).collect();
/// assert_eq!(times, [10, 20, 40, 60]);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBackoff {
    /// By how much each further opening is longer, 1 to 100; 1 = all are as long.
    pub growth: f64,
    /// The longest opening, 1 ms to 365 days and at least `open_time`.
    #[serde(with = "humantime_serde")]
    pub cap: Duration,
    /// The share of an opening that is left to chance, 0 to 1. Default 0.
    #[serde(default)]
    pub jitter: f64,
}

impl OpenBackoff {
    /// Lets openings grow by `growth` up to `cap`, without chance.
    #[must_use]
    pub fn new(growth: f64, cap: Duration) -> Self {
        Self { growth, cap, jitter: 0.0 }
    }

    /// Sets the share that is left to chance.
    #[must_use]
    pub fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// How long an opening lasts after `before` others since the circuit was closed; `draw` is random in 0..1.
    ///
    /// Whatever is given, the answer is from 1 ms to `cap`.
    #[must_use]
    pub fn time(&self, base: Duration, before: u32, draw: f64) -> Duration {
        const LEAST: Duration = Duration::from_millis(1);
        let grown = base.as_secs_f64() * self.growth.powi(i32::try_from(before).unwrap_or(i32::MAX));
        let cap = self.cap.max(LEAST);
        // Infinite or no number = far beyond the cap. The exact base is kept where nothing grew: floats would round it.
        let whole = match before == 0 || self.growth == 1.0 {
            true => base.min(cap),
            false => Duration::try_from_secs_f64(grown).map_or(cap, |time| time.min(cap)),
        };
        let left_out = (self.jitter * draw).clamp(0.0, 1.0);
        if left_out > 0.0 { whole.mul_f64(1.0 - left_out).clamp(LEAST, cap) } else { whole.max(LEAST) }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub(super) fn validate(&self, open_time: Duration, longest: Duration) -> Result<()> {
        let bad = |text: String| Err(Error::invalid("breaker.configure", text));
        // A NaN is in no range.
        if !(1.0..=100.0).contains(&self.growth) {
            return bad(format!("open_backoff.growth = {} is not in 1..=100", self.growth));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return bad(format!("open_backoff.jitter = {} is not in 0..=1", self.jitter));
        }
        if !(open_time..=longest).contains(&self.cap) {
            let range = format!("open_time = {open_time:?} to 365d");
            return bad(format!("open_backoff.cap = {:?} is not from {range}", self.cap));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_openings_overflows_and_chance_stays_in_its_share() {
        let second = Duration::from_secs(1);
        let backoff = OpenBackoff::new(100.0, 3600 * second).with_jitter(0.5);
        assert_eq!(backoff.time(second, u32::MAX, 0.0), 3600 * second);
        assert_eq!(backoff.time(Duration::MAX, u32::MAX, 0.0), 3600 * second);
        for draw in [0.0, 0.3, 0.999_999, f64::NAN] {
            let time = backoff.time(second, 1, draw);
            assert!((50 * second..=100 * second).contains(&time), "{draw}: {time:?}");
        }
        let full = backoff.with_jitter(1.0);
        assert_eq!(full.time(second, 0, 1.0), Duration::from_millis(1));
        let exact = Duration::from_nanos(123_456_789_123_456_789);
        assert_eq!(OpenBackoff::new(1.0, Duration::MAX).time(exact, 7, 0.5), exact);
    }
}
