//! Random histories: the native breaker differs neither from the sixty lines that say what a circuit is nor from the reference.
//! Random configurations: refused by name, or in force.

use std::sync::Arc;
use std::time::Duration;

use onex_breaker_native::{Config, open};
use onex_spi::Result;
use onex_spi::breaker::{
    CircuitBreaker, CircuitBreakerConfig, OpenBackoff, Outcome, RatePolicy, TripPolicy, Window,
};
use onex_testkit::breaker::{BreakerSetup, histories};
use proptest::prelude::*;

const NAME: &str = "model";

async fn made(setup: BreakerSetup) -> Result<Arc<dyn CircuitBreaker>> {
    open(Config::new().with_defaults(setup.defaults), setup.clock)
}

#[test]
fn no_history_differs_from_what_a_circuit_is() {
    assert_eq!(histories::against_sequential(5_000, made), None);
}

#[test]
fn no_history_differs_from_the_reference() {
    assert_eq!(histories::against_reference(5_000, made), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever numbers a file holds: refused by name, or in force; never a panic.
    #[test]
    fn any_configuration_is_refused_or_works(
        counts in (any::<u32>(), any::<u32>(), any::<u32>()),
        small in any::<bool>(),
        times in proptest::array::uniform4(any::<Duration>()),
        floats in proptest::array::uniform4(proptest::num::f64::ANY),
        window in prop_oneof![any::<u32>().prop_map(Window::Calls), any::<Duration>().prop_map(Window::Time)],
        minimum in any::<u32>(),
        calls in proptest::collection::vec(any::<Duration>(), 1..20),
    ) {
        let fit = |count: u32| if small { count % 3 + 1 } else { count };
        let window = if small { Window::Calls(3) } else { window };
        let mut rates = RatePolicy::new(window).with_minimum_calls(fit(minimum));
        rates.failure_rate = Some(if small { floats[0].abs().fract() } else { floats[0] });
        let rates = if small { rates } else { rates.with_slow_calls(floats[1], times[0]) };
        let backoff = OpenBackoff::new(floats[2], times[1]).with_jitter(floats[3]);
        let config = CircuitBreakerConfig::new()
            .with_failure_threshold(fit(counts.0))
            .with_success_threshold(fit(counts.1))
            .with_half_open_max_calls(fit(counts.2))
            .with_open_time(if small { times[2] / u32::MAX + Duration::from_millis(1) } else { times[2] })
            .with_trip_wait_cap(if small { Duration::from_secs(1) } else { times[3] })
            .with_open_backoff((!small).then_some(backoff))
            .with_trip(TripPolicy::Rates(rates));
        let clock = onex_testkit::clock::ManualClock::new();
        let breaker = open(Config::new(), Arc::new(clock.clone())).expect("in range");
        if let Err(error) = breaker.configure_circuit_breaker(NAME, config) {
            prop_assert_eq!(error.kind(), onex_spi::ErrorKind::InvalidInput);
            prop_assert!(breaker.find(NAME).is_none());
            return Ok(());
        }
        let circuit = breaker.circuit(NAME).expect("there is room");
        for (number, time) in calls.into_iter().enumerate() {
            if let Ok(ticket) = circuit.admit(Some(time)) {
                let trips = Outcome::Trip { wait: Some(time) };
                circuit.settle(ticket, [Outcome::Failure, Outcome::Success, trips][number % 3]);
            }
            clock.advance(time / u32::MAX);
            let _ = circuit.metrics();
        }
    }
}
