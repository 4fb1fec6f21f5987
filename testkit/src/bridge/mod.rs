//! The bridge suite, its ends, a reference bridge, broken bridges and a mock.
//!
//! ```text
//!  make_bridge(BridgeSetup { clock, seed, protocols }) ─► Arc<dyn CommunicationBridge>
//!  ends(EndsSetup { clock, seed, prefix }) ─► Arc<dyn Ends>: the other side of sources and targets
//!     case ─► Ends::offer ─► source ─► Tap ─► bridge ─► Tap ─► target ─► Ends::arrived ─► case
//!                                      └ the script of faults and the log of attempts and settlements ┘
//! ```
//!
//! The bridge's clock stands still until a case moves it, on every kind of ends: whatever needs no time must happen without.
//! The law `B` without a number is the documentation of the port itself.
//!
//! A third party runs the suite in three lines, in a test target with `harness = false`:
//!
//! ```no_run
//! use std::sync::Arc;
//! use onex_testkit::bridge::{self, reference::ReferenceBridge};
//!
//! fn main() -> std::process::ExitCode {
//!     bridge::conformance(|setup| async move { Ok(Arc::new(ReferenceBridge::new(setup)) as Arc<_>) })
//! }
//! ```

pub mod broken;
mod cases_bounds;
mod cases_delivery;
mod cases_ending;
mod cases_health;
mod cases_identity;
mod cases_ledger;
mod cases_lifecycle;
mod cases_rules;
mod cases_source;
mod ends;
mod faulty;
mod http;
mod kafka;
mod memory;
pub mod mock;
mod pair;
pub mod reference;
mod tap;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use onex_spi::bridge::{BridgeProtocol, CommunicationBridge};
use onex_spi::{Clock, Result};

pub use self::ends::{Ends, EndsFeature, EndsSetup};
pub use self::http::HttpEnds;
pub use self::kafka::KafkaEnds;
pub use self::memory::MemoryEnds;
pub use self::pair::PairedEnds;
pub use self::tap::{Attempt, Fate, Seen, Tap};
use self::world::{Open, OpenEnds, Source};
use crate::suite::{self, Case, Trial};

/// What a factory is given to make one bridge.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BridgeSetup {
    /// The clock for every timer.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision.
    pub seed: u64,
    /// The protocols that it knows.
    pub protocols: Vec<Arc<dyn BridgeProtocol>>,
}

impl BridgeSetup {
    /// Makes a setup.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64, protocols: Vec<Arc<dyn BridgeProtocol>>) -> Self {
        Self { clock, seed, protocols }
    }
}

/// Binds every case to the bridge that `factory` makes, between [`MemoryEnds`].
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(BridgeSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CommunicationBridge>>> + Send + 'static,
{
    trials_over(factory, |setup| async { Ok(Arc::new(MemoryEnds::new(setup)) as Arc<_>) })
}

/// Binds every case to the bridge that `factory` makes, between the ends that `ends` makes.
pub fn trials_over<F, Fut, E, EFut>(factory: F, ends: E) -> Vec<Trial>
where
    F: Fn(BridgeSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CommunicationBridge>>> + Send + 'static,
    E: Fn(EndsSetup) -> EFut + Send + Sync + 'static,
    EFut: Future<Output = Result<Arc<dyn Ends>>> + Send + 'static,
{
    let open: Arc<Open> = Arc::new(move |setup| Box::pin(factory(setup)));
    let ends: Arc<OpenEnds> = Arc::new(move |setup| Box::pin(ends(setup)));
    bind(&open, &ends)
}

/// Runs the suite between [`MemoryEnds`] as the `main` of a test target with `harness = false`.
pub fn conformance<F, Fut>(factory: F) -> ExitCode
where
    F: Fn(BridgeSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CommunicationBridge>>> + Send + 'static,
{
    suite::main(trials(factory))
}

/// Runs the suite between other ends as the `main` of a test target with `harness = false`.
pub fn conformance_over<F, Fut, E, EFut>(factory: F, ends: E) -> ExitCode
where
    F: Fn(BridgeSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CommunicationBridge>>> + Send + 'static,
    E: Fn(EndsSetup) -> EFut + Send + Sync + 'static,
    EFut: Future<Output = Result<Arc<dyn Ends>>> + Send + 'static,
{
    suite::main(trials_over(factory, ends))
}

fn bind(open: &Arc<Open>, ends: &Arc<OpenEnds>) -> Vec<Trial> {
    let bind = |case: &Case<Source>| {
        let (open, ends) = (Arc::clone(open), Arc::clone(ends));
        Trial::new(case, move || Source::new(Arc::clone(&open), Arc::clone(&ends)))
    };
    files().into_iter().flatten().map(bind).collect()
}

/// Every case, by file.
fn files() -> [&'static [Case<Source>]; 9] {
    [
        cases_lifecycle::CASES,
        cases_identity::CASES,
        cases_rules::CASES,
        cases_delivery::CASES,
        cases_bounds::CASES,
        cases_ending::CASES,
        cases_ledger::CASES,
        cases_health::CASES,
        cases_source::CASES,
    ]
}

/// One row of a case table: id, laws, acceptance rows, `async fn(World) -> CaseResult`.
macro_rules! case {
    ($id:literal, $laws:expr, $rows:expr, $body:path) => {
        $crate::suite::Case::new($id, &$laws, &$rows, |source: $crate::bridge::world::Source| {
            Box::pin(async move {
                let world = source.open().await?;
                let ends = std::sync::Arc::clone(&world.ends);
                let result = $body(world).await;
                ends.close().await;
                result
            })
        })
    };
}
use case;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::reference::ReferenceBridge;
    use super::*;
    use crate::suite::Outcome;

    #[test]
    fn ids_are_unique_and_every_case_cites_a_law_and_a_row() {
        let cases: Vec<_> = files().into_iter().flatten().collect();
        let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in cases {
            let cited = !case.laws.is_empty() && !case.rows.is_empty();
            assert!(case.id.starts_with("bridge.") && cited, "{}", case.id);
        }
    }

    #[test]
    fn every_case_is_caught_or_the_reason_is_told() {
        let ids = files().into_iter().flatten().map(|case| case.id);
        let caught = broken::broken().into_iter().flat_map(|bug| bug.caught_by).copied();
        crate::broken::assert_told("bridge.", ids, caught);
    }

    #[test]
    fn every_law_has_a_case() {
        let judged: BTreeSet<_> = files().into_iter().flatten().flat_map(|case| case.laws).copied().collect();
        let missing: Vec<_> =
            (1..=13).map(|law| format!("B{law}")).filter(|law| !judged.contains(law.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_reference_passes_every_case() {
        let trials = trials(|setup| async { Ok(Arc::new(ReferenceBridge::new(setup)) as Arc<_>) });
        let outcomes = trials.iter().map(|trial| (trial.id(), trial.run()));
        let wrong: Vec<_> = outcomes.filter(|(_, outcome)| *outcome != Outcome::Passed).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
