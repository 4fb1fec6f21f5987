//! Random histories: the failsafe breaker differs neither from the sixty lines that say what a circuit is nor from the reference.

use std::sync::Arc;

use onex_breaker_failsafe::{Config, open};
use onex_spi::Result;
use onex_spi::breaker::CircuitBreaker;
use onex_testkit::breaker::{BreakerSetup, histories};

async fn made(setup: BreakerSetup) -> Result<Arc<dyn CircuitBreaker>> {
    open(Config::new().with_defaults(setup.defaults), setup.clock, setup.seed)
}

#[test]
fn no_history_differs_from_what_a_circuit_is() {
    assert_eq!(histories::against_sequential(2_000, made), None);
}

/// Rates and slow calls, which failsafe lacks, are left out, because it does not declare them.
#[test]
fn no_history_differs_from_the_reference() {
    assert_eq!(histories::against_reference(2_000, made), None);
}
