//! What every decision needs of a configuration, in one word, so that it changes as one.
//!
//! ```text
//!   56      55     54   53            37 36            20 19               0
//!  │ observe │ slow │ rates │ half-open calls │ success threshold │ failure threshold │
//! ```

use onex_spi::breaker::CircuitBreakerConfig;

const FAILURE_BITS: u32 = 20;
const HALF_OPEN_BITS: u32 = 17;
const SUCCESS_AT: u32 = FAILURE_BITS;
const CALLS_AT: u32 = SUCCESS_AT + HALF_OPEN_BITS;
const RATES: u64 = 1 << (CALLS_AT + HALF_OPEN_BITS);
const SLOW: u64 = RATES << 1;
const OBSERVE: u64 = SLOW << 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits(u64);

impl Limits {
    /// The limits of a validated configuration, whose counts fit.
    pub(crate) fn of(config: &CircuitBreakerConfig) -> Self {
        let fit = |count: u32, bits: u32| u64::from(count).min((1 << bits) - 1);
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let rates = config.rates();
        Self(
            fit(config.failure_threshold, FAILURE_BITS)
                | fit(config.success_threshold, HALF_OPEN_BITS) << SUCCESS_AT
                | fit(config.half_open_max_calls, HALF_OPEN_BITS) << CALLS_AT
                | flag(rates.is_some(), RATES)
                | flag(rates.is_some_and(|rates| rates.slow_calls.is_some()), SLOW)
                | flag(config.observe_only, OBSERVE),
        )
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    fn field(self, at: u32, bits: u32) -> u32 {
        (self.0 >> at & ((1 << bits) - 1)) as u32
    }

    pub(crate) fn failure_threshold(self) -> u32 {
        self.field(0, FAILURE_BITS)
    }

    pub(crate) fn success_threshold(self) -> u32 {
        self.field(SUCCESS_AT, HALF_OPEN_BITS)
    }

    /// The probes that may be on their way at once (R4); where a new configuration asks for fewer successes than there are,
    /// one more decides.
    pub(crate) fn slots(self, successes: u32) -> u32 {
        let needed = self.success_threshold().saturating_sub(successes).max(1);
        self.field(CALLS_AT, HALF_OPEN_BITS).min(needed)
    }

    /// Whether calls go into a window.
    pub(crate) fn rates(self) -> bool {
        self.0 & RATES != 0
    }

    /// Whether calls are timed.
    pub(crate) fn slow_calls(self) -> bool {
        self.0 & SLOW != 0
    }

    pub(crate) fn observe_only(self) -> bool {
        self.0 & OBSERVE != 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onex_spi::breaker::{RatePolicy, TripPolicy, Window};

    use super::*;

    #[test]
    fn the_greatest_limits_fit_beside_each_other() {
        let rates = RatePolicy::new(Window::Calls(10)).with_slow_calls(1.0, Duration::from_secs(1));
        let config = CircuitBreakerConfig::new()
            .with_failure_threshold(1_000_000)
            .with_success_threshold(100_000)
            .with_half_open_max_calls(99_999);
        config.validate().expect("in range");
        let limits = Limits::of(&config);
        assert_eq!((limits.failure_threshold(), limits.success_threshold()), (1_000_000, 100_000));
        assert_eq!((limits.slots(0), limits.slots(99_000), limits.slots(200_000)), (99_999, 1000, 1));
        assert!(!limits.rates() && !limits.slow_calls() && !limits.observe_only());
        let all = Limits::of(&config.with_trip(TripPolicy::Rates(rates)).with_observe_only(true));
        assert!(all.rates() && all.slow_calls() && all.observe_only());
        assert_eq!(all.failure_threshold(), 1_000_000);
        assert_eq!(Limits::from_bits(all.bits()), all);
    }
}
