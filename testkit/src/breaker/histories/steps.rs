//! What happens in a history, drawn from a seed.

use std::time::Duration;

use fastrand::Rng;
use onex_spi::Features;
use onex_spi::breaker::{
    BreakerFeature, CircuitBreakerConfig, CircuitSnapshot, CircuitState, CircuitStatus, OpenBackoff, Outcome,
    RatePolicy, TripPolicy, Window,
};

/// One thing that happens. A call on its way is chosen by its place in the list, modulo its length; one that is never chosen hangs.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Admit { timeout: Option<Duration> },
    Settle { call: usize, outcome: Outcome },
    Panic,
    Pass(Duration),
    GoBack(Duration),
    Reset,
    Force(CircuitState),
    Restore(CircuitSnapshot),
    RestoreOwn,
    Configure(CircuitBreakerConfig),
}

/// The history of that seed: up to 200 steps that need no feature besides these.
pub(super) fn history(seed: u64, features: Features<BreakerFeature>) -> Vec<Step> {
    let mut dice = Dice { random: Rng::with_seed(seed), features };
    (0..dice.random.usize(1..200)).map(|_| dice.step()).collect()
}

struct Dice {
    random: Rng,
    features: Features<BreakerFeature>,
}

impl Dice {
    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(range))
    }

    /// Something in one of so many cases.
    fn one_in<T>(&mut self, cases: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.u32(0..cases) == 0).then(|| make(self))
    }

    fn step(&mut self) -> Step {
        match self.random.u32(0..64) {
            0..24 => Step::Admit { timeout: self.one_in(2, |dice| dice.millis(1..40)) },
            24..44 => Step::Settle { call: self.random.usize(..), outcome: self.outcome() },
            44..46 => Step::Panic,
            46..56 => Step::Pass(self.millis(0..15)),
            56..57 => Step::GoBack(self.millis(0..60)),
            57..59 => match self.random.u32(0..5) {
                0 => Step::Force(CircuitState::Open),
                1 => Step::Force(CircuitState::Closed),
                _ => Step::Reset,
            },
            59..60 if self.features.has(BreakerFeature::Snapshots) => match self.random.bool() {
                true => Step::Restore(self.snapshot()),
                false => Step::RestoreOwn,
            },
            60.. if self.features.has(BreakerFeature::Reconfiguration) => Step::Configure(self.config()),
            _ => Step::Pass(Duration::ZERO),
        }
    }

    fn outcome(&mut self) -> Outcome {
        match self.random.u32(0..13) {
            0..4 => Outcome::Success,
            4..8 => Outcome::Failure,
            8 => Outcome::TimedOut,
            9 => Outcome::Ignored,
            10 if self.features.has(BreakerFeature::TripAtOnce) => {
                Outcome::Trip { wait: self.one_in(2, |dice| dice.millis(0..40)) }
            }
            _ => Outcome::Cancelled,
        }
    }

    fn config(&mut self) -> CircuitBreakerConfig {
        let open_time = self.millis(1..20);
        let config = CircuitBreakerConfig::new()
            .with_failure_threshold(self.random.u32(1..5))
            .with_success_threshold(self.random.u32(1..5))
            .with_half_open_max_calls(self.random.u32(1..4))
            .with_open_time(open_time)
            .with_call_timeout(self.one_in(2, |dice| dice.millis(1..40)))
            .with_trip_wait_cap(self.millis(1..30))
            .with_trip(self.rates().map_or(TripPolicy::ConsecutiveFailures, TripPolicy::Rates));
        let grows = |dice: &mut Self| OpenBackoff::new(dice.random.u32(1..4).into(), 5 * open_time);
        let has = |feature| self.features.has(feature);
        let (may_grow, may_observe) = (has(BreakerFeature::OpenBackoff), has(BreakerFeature::ObserveOnly));
        config
            .with_open_backoff(if may_grow { self.one_in(2, grows) } else { None })
            .with_observe_only(may_observe && self.random.u32(0..5) == 0)
    }

    fn rates(&mut self) -> Option<RatePolicy> {
        let (window, feature) = match self.random.u32(0..5) {
            0..2 => (Window::Calls(self.random.u32(1..8)), BreakerFeature::CountWindow),
            2 => (Window::Time(10 * self.millis(10..30)), BreakerFeature::TimeWindow),
            _ => return None,
        };
        let most = if let Window::Calls(calls) = window { calls } else { 8 };
        let rate = |dice: &mut Self| [0.0, 0.5, 0.7, 1.0][dice.random.usize(0..4)];
        let mut policy = RatePolicy::new(window).with_minimum_calls(self.random.u32(1..=most));
        policy.failure_rate = self.one_in(2, rate);
        let slow = self.one_in(2, |dice| (rate(dice), dice.millis(1..20)));
        if let Some((rate, time)) = slow.filter(|_| self.features.has(BreakerFeature::SlowCalls)) {
            policy = policy.with_slow_calls(rate, time);
        } else if policy.failure_rate.is_none() {
            policy = policy.with_failure_rate(rate(self));
        }
        self.features.has(feature).then_some(policy)
    }

    fn snapshot(&mut self) -> CircuitSnapshot {
        let new = |state| CircuitSnapshot::new(CircuitStatus::new(state));
        let snapshot = match self.random.u32(0..5) {
            0 => new(CircuitState::Closed).with_consecutive_failures(self.random.u32(0..6)),
            1 => new(CircuitState::HalfOpen).with_probe_successes(self.random.u32(0..6)),
            2 => new(CircuitState::Open).with_open_for(Some(self.millis(0..20))),
            3 => CircuitSnapshot::new(CircuitStatus::forced(CircuitState::Open)),
            _ => CircuitSnapshot::new(CircuitStatus::forced(CircuitState::Closed)),
        };
        snapshot.with_openings(self.random.u32(0..4))
    }
}
