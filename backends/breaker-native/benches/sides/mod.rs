//! What is measured: circuits of ours and of each peer, in the same state.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onex_breaker_native::{Config, open};
use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitExt, RatePolicy, TripPolicy, Window,
};
use onex_spi::{Clock, SystemClock};
use recloser::Recloser;
use tower_layer::Layer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_service::Service;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const NAME: &str = "payments";

/// Polls in its place, as an `await` does: no future is moved.
#[inline(always)]
pub(crate) fn finished<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

pub(crate) fn breaker(defaults: CircuitBreakerConfig) -> Arc<dyn CircuitBreaker> {
    breaker_on(defaults, Arc::new(SystemClock::new()))
}

pub(crate) fn breaker_on(defaults: CircuitBreakerConfig, clock: Arc<dyn Clock>) -> Arc<dyn CircuitBreaker> {
    let Ok(breaker) = open(Config::new().with_defaults(defaults), clock) else {
        unreachable!("the defaults are good")
    };
    breaker
}

pub(crate) fn circuit_of(breaker: &Arc<dyn CircuitBreaker>) -> Arc<dyn Circuit> {
    let Ok(circuit) = breaker.circuit(NAME) else { unreachable!("there is room") };
    circuit
}

pub(crate) fn circuit() -> Arc<dyn Circuit> {
    circuit_of(&breaker(CircuitBreakerConfig::new()))
}

pub(crate) fn rates(window: Window) -> Arc<dyn Circuit> {
    let policy = TripPolicy::Rates(RatePolicy::new(window).with_failure_rate(0.5));
    circuit_of(&breaker(CircuitBreakerConfig::new().with_trip(policy)))
}

/// A circuit that stays open for longer than the bench runs.
pub(crate) fn opened(circuit: Arc<dyn Circuit>) -> Arc<dyn Circuit> {
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure();
    }
    circuit
}

pub(crate) fn failsafe() -> impl failsafe::CircuitBreaker + Send + Sync {
    let backoff = failsafe::backoff::constant(MINUTE);
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    failsafe::Config::new().failure_policy(policy).build()
}

pub(crate) fn recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(10).half_open_len(10).open_wait(60 * MINUTE).build()
}

/// The innermost service: ready, with a value or an error as asked.
#[derive(Clone)]
pub(crate) struct Answer;

impl Service<bool> for Answer {
    type Response = u64;
    type Error = ();
    type Future = Ready<Result<u64, ()>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, good: bool) -> Self::Future {
        ready(if good { Ok(black_box(1)) } else { Err(()) })
    }
}

/// tower-resilience's breaker; the future of a call is boxed by it.
pub(crate) fn tower() -> impl Service<bool, Response = u64> {
    let layer = CircuitBreakerLayer::builder().consecutive_failures(5).wait_duration_in_open(60 * MINUTE);
    let Ok(layer) = layer.build() else { unreachable!("in range") };
    layer.layer(Answer)
}
