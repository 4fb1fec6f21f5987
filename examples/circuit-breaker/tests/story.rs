//! Both breakers tell the same story, and the guide shows it as it is. Rows ONEX-EX-06, ONEX-EX-10.

use std::sync::Arc;

use example_circuit_breaker::program;
use onex_spi::breaker::CircuitBreaker;
use onex_testkit::clock::ManualClock;

async fn told(breaker: Arc<dyn CircuitBreaker>, clock: &ManualClock) -> String {
    program::run(&*breaker, clock).await.expect("every step is accepted")
}

#[tokio::test]
async fn both_engines_tell_what_the_guide_shows() {
    let clock = ManualClock::new();
    let breaker =
        onex_breaker_native::open(Default::default(), Arc::new(clock.clone())).expect("the defaults");
    let native = told(breaker, &clock).await;
    let clock = ManualClock::new();
    let breaker =
        onex_breaker_failsafe::open(Default::default(), Arc::new(clock.clone()), 0).expect("the defaults");
    let failsafe = told(breaker, &clock).await;
    assert_eq!(native, failsafe);

    let guide = include_str!("../../../docs/guide/circuit-breaker.md");
    assert!(guide.contains(&format!("```text\n{native}```")), "the guide should show:\n{native}");
}

#[tokio::test]
async fn every_call_is_accounted_for() {
    let clock = ManualClock::new();
    let breaker =
        onex_breaker_native::open(Default::default(), Arc::new(clock.clone())).expect("the defaults");
    told(Arc::clone(&breaker), &clock).await;
    let metrics = breaker.circuit_metrics("prices").expect("known");
    let ended = metrics.success_count + metrics.failure_count + metrics.timeout_count + metrics.ignored_count;
    assert_eq!(metrics.admitted_count, ended);
    assert_eq!((metrics.timeout_count, metrics.ignored_count), (1, 1));
}
