//! The breaker suite, its broken breakers, a reference breaker and a mock.
//!
//! ```text
//!  factory(BreakerSetup { clock, defaults F=3 S=2 H=2 T=10 s, .. }) ─► Arc<dyn CircuitBreaker>
//!     ├ trials()       every case bound to it: C01-C20 of the conformance table, and what that table left out
//!     ├ histories      random histories, played on it and on sixty lines that say what a circuit is, or on the reference
//!     ├ reference      a second breaker, one lock, readable: the model for what sixty lines cannot say
//!     └ broken()       good breakers with one changed behaviour, each caught by the named cases alone
//! ```
//!
//! A third party runs it in three lines, in a test target with `harness = false`:
//!
//! ```no_run
//! use std::sync::Arc;
//! use onex_testkit::breaker::{self, reference::ReferenceBreaker};
//!
//! fn main() -> std::process::ExitCode {
//!     breaker::conformance(|setup| async move { Ok(Arc::new(ReferenceBreaker::new(setup)) as Arc<_>) })
//! }
//! ```

pub mod broken;
mod cases_control;
mod cases_era;
mod cases_flow;
mod cases_half_open;
mod cases_keep;
mod cases_listen;
mod cases_open;
mod cases_outcome;
mod cases_rates;
mod cases_registry;
mod cases_time;
pub mod histories;
pub mod mock;
pub mod reference;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitTemplate};
use onex_spi::{Clock, Result};

pub use self::world::World;
use crate::clock::ManualClock;
use crate::suite::{self, Case, Trial};

/// What a factory is given to make one breaker.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BreakerSetup {
    /// The clock on which the breaker must decide, if it declares the feature.
    pub clock: Arc<dyn Clock>,
    /// The same clock, for breakers under test that are wrapped.
    pub manual: ManualClock,
    /// The seed for random decisions.
    pub seed: u64,
    /// The configuration of a circuit that is given none: 3 failures open, 2 probes close, 2 at a time, 10 s open.
    pub defaults: CircuitBreakerConfig,
    /// Configurations by pattern, for a breaker that declares templates.
    pub templates: Vec<CircuitTemplate>,
    /// The most circuits.
    pub max_circuits: usize,
}

impl BreakerSetup {
    /// Makes the suite's usual setup on a clock of its own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let manual = ManualClock::new();
        let defaults = CircuitBreakerConfig::new()
            .with_failure_threshold(3)
            .with_success_threshold(2)
            .with_half_open_max_calls(2)
            .with_open_time(Duration::from_secs(10));
        Self {
            clock: Arc::new(manual.clone()),
            manual,
            seed,
            defaults,
            templates: Vec::new(),
            max_circuits: 64,
        }
    }
}

/// Every case of the suite, in the order in which it is reported.
#[must_use]
pub fn cases() -> Vec<&'static Case<World>> {
    [
        cases_flow::CASES,
        cases_time::CASES,
        cases_half_open::CASES,
        cases_era::CASES,
        cases_outcome::CASES,
        cases_control::CASES,
        cases_registry::CASES,
        cases_listen::CASES,
        cases_rates::CASES,
        cases_open::CASES,
        cases_keep::CASES,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Binds every case to a breaker that `factory` makes anew for each.
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(BreakerSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>> + Send + 'static,
{
    trials_of(&World::new(factory))
}

fn trials_of(world: &World) -> Vec<Trial> {
    let bind = |case| {
        let world = world.clone();
        Trial::new(case, move || world.clone())
    };
    cases().into_iter().map(bind).collect()
}

/// Runs the suite as the `main` of a test target with `harness = false`.
pub fn conformance<F, Fut>(factory: F) -> ExitCode
where
    F: Fn(BreakerSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>> + Send + 'static,
{
    suite::main(trials(factory))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_acceptance_row_of_circuit_breaking_has_a_case() {
        let served: BTreeSet<_> = cases().iter().flat_map(|case| case.rows.iter().copied()).collect();
        let missing: Vec<_> =
            (1..=27).map(|row| format!("ONEX-CB-{row:02}")).filter(|row| !served.contains(&**row)).collect();
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn every_case_has_its_own_id_and_a_law() {
        let ids: BTreeSet<_> = cases().iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases().len());
        assert!(cases().iter().all(|case| case.id.starts_with("breaker.") && !case.laws.is_empty()));
    }
}
