//! Deliberately broken breakers: the proof that the suite bites.
//!
//! ```text
//!  good breaker ─► Changed { one Twist } ─► every case ─► exactly `caught_by` fail, each on an assertion of `law`
//! ```
//!
//! Each is one behaviour changed in a wrapper over any good breaker; none needs a switch inside one.

mod calls;
mod control;
mod eras;
mod listeners;
mod policies;
mod probes;
mod wrapper;

use std::collections::BTreeSet;
use std::sync::Arc;

use onex_spi::Result;
use onex_spi::breaker::CircuitBreaker;

use super::{BreakerSetup, World, trials_of};
use crate::suite::Outcome;

/// One broken breaker.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// What is broken.
    pub name: &'static str,
    /// The law that is broken.
    pub law: &'static str,
    /// The cases that fail, all on an assertion of that law; every other case passes.
    pub caught_by: &'static [&'static str],
    /// Breaks a good breaker.
    pub wrap: fn(Arc<dyn CircuitBreaker>) -> Arc<dyn CircuitBreaker>,
}

/// Every broken breaker.
#[must_use]
pub fn broken() -> Vec<Broken> {
    [calls::BROKEN, probes::BROKEN, eras::BROKEN, control::BROKEN, listeners::BROKEN, policies::BROKEN]
        .concat()
}

/// Runs the suite over a good breaker and over each broken one; what went otherwise than it must, in words.
///
/// An empty answer proves both: the good breaker passes every case that it does not ignore, and each broken one fails exactly its own
/// among these.
pub fn prove<F, Fut>(factory: F) -> Vec<String>
where
    F: Fn(BreakerSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn CircuitBreaker>>> + Send + 'static,
{
    let good = World::new(factory);
    let mut wrong = Vec::new();
    let mut ignored = BTreeSet::new();
    for trial in trials_of(&good) {
        match trial.run() {
            Outcome::Passed => {}
            Outcome::Ignored(_) => {
                ignored.insert(trial.id());
            }
            outcome => wrong.push(format!("the good breaker, {}: {outcome:?}", trial.id())),
        }
    }
    for broken in broken() {
        for trial in trials_of(&good.wrapped(broken.wrap)) {
            let named = broken.caught_by.contains(&trial.id());
            let outcome = trial.run();
            let right = match &outcome {
                Outcome::Passed => !named,
                // A case may see the fault before it finds that it does not apply.
                Outcome::Failed { law, .. } => *law == broken.law && named,
                Outcome::Ignored(_) => ignored.contains(&trial.id()),
            };
            if !right {
                wrong.push(format!("{} ({}), {}: {outcome:?}", broken.name, broken.law, trial.id()));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::reference::ReferenceBreaker;
    use super::*;

    #[test]
    fn each_broken_breaker_fails_exactly_its_cases_over_the_reference() {
        let wrong = prove(|setup| async move { Ok(Arc::new(ReferenceBreaker::new(setup)) as Arc<_>) });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn each_law_and_each_case_has_a_broken_breaker_and_each_name_is_used_once() {
        let judged: BTreeSet<_> =
            super::super::cases().iter().flat_map(|case| case.laws.iter().copied()).collect();
        let laws: BTreeSet<_> = broken().iter().map(|broken| broken.law).collect();
        assert_eq!(laws, judged);
        let names: BTreeSet<_> = broken().iter().map(|broken| broken.name).collect();
        assert_eq!(names.len(), broken().len());
        assert!(broken().iter().all(|broken| !broken.caught_by.is_empty()));
        let caught: BTreeSet<_> = broken().iter().flat_map(|broken| broken.caught_by).copied().collect();
        let cases: BTreeSet<_> = super::super::cases().iter().map(|case| case.id).collect();
        assert_eq!(caught, cases, "each case catches a broken breaker");
    }
}
