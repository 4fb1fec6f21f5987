//! What a case works with: a fresh breaker, one circuit of it, and the clock.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onex_spi::breaker::{
    BreakerFeature, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitExt, CircuitMetrics, CircuitState,
    CircuitStatus, ExecuteError, Outcome, Permit, Rejection,
};
use onex_spi::{BoxFuture, Result};

use super::BreakerSetup;
use crate::clock::ManualClock;
use crate::ensure_eq;
use crate::suite::{CaseResult, Stop, needs};

/// Failures in a row that open.
pub(super) const F: u32 = 3;
/// Successful probes that close.
pub(super) const S: u32 = 2;
/// Probes at a time.
pub(super) const H: u32 = 2;
/// The open time.
pub(super) const T: Duration = Duration::from_secs(10);
/// What the suite's setup configures.
pub(super) fn config() -> CircuitBreakerConfig {
    BreakerSetup::new(0).defaults
}

/// The circuit of most cases.
pub(super) const NAME: &str = "suite.circuit";

const SEED: u64 = 0x6f6e_6578;

type Factory =
    dyn Fn(BreakerSetup) -> BoxFuture<'static, Result<Arc<dyn CircuitBreaker>>> + Send + Sync + 'static;

/// What the breaker cases are run over: a way to make breakers.
#[derive(Clone)]
pub struct World {
    factory: Arc<Factory>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new<F, Fut>(factory: F) -> Self
    where
        F: Fn(BreakerSetup) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>> + Send + 'static,
    {
        Self { factory: Arc::new(move |setup| Box::pin(factory(setup))) }
    }

    /// The same world, whose breakers are broken.
    pub(super) fn wrapped(&self, wrap: fn(Arc<dyn CircuitBreaker>) -> Arc<dyn CircuitBreaker>) -> Self {
        let factory = Arc::clone(&self.factory);
        Self {
            factory: Arc::new(move |setup| {
                let good = factory(setup);
                Box::pin(async move { Ok(wrap(good.await?)) })
            }),
        }
    }

    /// A breaker with the suite's usual configuration.
    pub(super) async fn bench(&self) -> Result<Bench, Stop> {
        self.bench_with(|setup| setup).await
    }

    /// A breaker whose setup differs.
    pub(super) async fn bench_with(
        &self,
        change: impl FnOnce(BreakerSetup) -> BreakerSetup + Send,
    ) -> Result<Bench, Stop> {
        let setup = change(BreakerSetup::new(SEED));
        let clock = setup.manual.clone();
        let breaker = (self.factory)(setup).await?;
        let circuit = breaker.circuit(NAME)?;
        Ok(Bench { breaker, clock, circuit })
    }
}

/// A breaker under test and one of its circuits.
pub(super) struct Bench {
    pub(super) breaker: Arc<dyn CircuitBreaker>,
    pub(super) clock: ManualClock,
    pub(super) circuit: Arc<dyn Circuit>,
}

impl Bench {
    /// The same breaker, another circuit.
    pub(super) fn on(&self, name: &str) -> Result<Self, Stop> {
        let circuit = self.breaker.circuit(name)?;
        Ok(Self { breaker: Arc::clone(&self.breaker), clock: self.clock.clone(), circuit })
    }

    /// The same circuit with a configuration, where the breaker declares what that needs.
    pub(super) fn configured(self, config: CircuitBreakerConfig) -> Result<Self, Stop> {
        let declared = self.breaker.capabilities().features;
        needs(declared, BreakerFeature::Reconfiguration)?;
        config.features().iter().try_for_each(|feature| needs(declared, feature))?;
        self.breaker.configure_circuit_breaker(self.circuit.name(), config)?;
        Ok(self)
    }

    pub(super) fn grain(&self) -> Duration {
        self.breaker.capabilities().limits.grain
    }

    /// Moves the time, where the breaker decides on the suite's clock; else the case does not apply.
    pub(super) fn pass(&self, time: Duration) -> CaseResult {
        needs(self.breaker.capabilities().features, BreakerFeature::InjectedClock)?;
        self.clock.advance(time);
        Ok(())
    }

    pub(super) fn status(&self) -> CircuitStatus {
        self.circuit.status()
    }

    pub(super) fn state(&self) -> CircuitState {
        self.status().state
    }

    pub(super) fn metrics(&self) -> CircuitMetrics {
        self.circuit.metrics()
    }

    /// Admits one call that is held.
    pub(super) fn hold(&self) -> Result<Permit<&dyn Circuit>, Rejection> {
        self.circuit.try_acquire()
    }

    /// Admits one call that is held, where the case has no doubt about it.
    pub(super) fn held(&self) -> Result<Permit<&dyn Circuit>, Stop> {
        let refused = |rejection| Stop::Failed {
            law: "R0",
            message: format!("a call that had to be let through was rejected: {rejection:?}"),
        };
        self.hold().map_err(refused)
    }

    /// Admits calls one after the other and settles each with `outcome`; how many were let through.
    pub(super) fn settle(&self, calls: u32, outcome: Outcome) -> u32 {
        let run = |_: &u32| match self.hold() {
            Ok(permit) => {
                permit.settle(outcome);
                true
            }
            Err(_) => false,
        };
        (0..calls).filter(run).count() as u32
    }

    pub(super) fn fail(&self, calls: u32) -> u32 {
        self.settle(calls, Outcome::Failure)
    }

    pub(super) fn succeed(&self, calls: u32) -> u32 {
        self.settle(calls, Outcome::Success)
    }

    /// Opens a closed circuit without counted failures.
    pub(super) fn trip(&self) -> CaseResult {
        ensure_eq!("R0", self.fail(F), F, "failing calls that a closed circuit lets through");
        ensure_eq!("R0", self.status(), CircuitStatus::new(CircuitState::Open), "after {F} failures");
        Ok(())
    }

    /// Succeeds with as many probes as close a half-open circuit; each but the last leaves it half-open.
    pub(super) fn recover(&self) -> CaseResult {
        for probe in 1..=S {
            ensure_eq!("R0", self.succeed(1), 1, "probe {probe} of {S} runs");
            let due = if probe < S { CircuitState::HalfOpen } else { CircuitState::Closed };
            ensure_eq!("R0", self.state(), due, "after {probe} of {S} probes succeeded");
        }
        Ok(())
    }

    /// Checks that a probe's success short of the threshold left the circuit half-open.
    pub(super) fn still_half_open(&self) -> CaseResult {
        ensure_eq!("R0", self.state(), CircuitState::HalfOpen, "with successes still missing");
        Ok(())
    }

    /// Opens the circuit and lets its open time pass.
    pub(super) fn trip_and_wait(&self) -> CaseResult {
        self.trip()?;
        self.pass(T + self.grain())
    }

    /// Runs one operation with a result.
    pub(super) async fn call(
        &self,
        result: Result<u32, &'static str>,
    ) -> Result<u32, ExecuteError<&'static str>> {
        self.circuit.call(None, || async move { result }).await
    }
}

/// The time limit of calls in the suite.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// Polls a future once.
pub(super) fn poll_once<Fut: Future + Unpin>(future: &mut Fut) -> Poll<Fut::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
