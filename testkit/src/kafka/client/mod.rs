//! The conformance suite of [`KafkaClient`]: what the policy adds to a driver.
//!
//! ```text
//!  cases (data, one file a topic) ─► World: client + fresh names ─► calls by id, a Journal that listens
//! ```
//!
//! What a driver must do by itself is judged by [`driver`](super::driver); here it is seen through ids.

mod consuming;
mod ending;
mod journal;
mod listening;
mod serving;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use onex_spi::Result;
use onex_spi::kafka::KafkaClient;

pub(super) use self::world::Open;
use self::world::Source;
use super::KafkaSetup;
use crate::suite::{self, Case, Trial};

/// Binds every case to the client that `factory` makes.
///
/// A factory may be called several times by one case, with the same prefix: each call is a client of its own to the same
/// cluster.
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(KafkaSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaClient>>> + Send + 'static,
{
    let open: Arc<Open> = Arc::new(move |setup| Box::pin(factory(setup)));
    bind(&open)
}

/// Runs the suite as the `main` of a test target with `harness = false`.
pub fn conformance<F, Fut>(factory: F) -> ExitCode
where
    F: Fn(KafkaSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaClient>>> + Send + 'static,
{
    suite::main(trials(factory))
}

pub(super) fn bind(open: &Arc<Open>) -> Vec<Trial> {
    let bind = |case: &Case<Source>| {
        let open = Arc::clone(open);
        Trial::new(case, move || Source::new(Arc::clone(&open)))
    };
    files().into_iter().flatten().map(bind).collect()
}

/// Every case, by file.
fn files() -> [&'static [Case<Source>]; 4] {
    [serving::CASES, consuming::CASES, listening::CASES, ending::CASES]
}

/// One row of a case table: id, laws, acceptance rows, `async fn(World) -> CaseResult`.
macro_rules! case {
    ($id:literal, $laws:expr, $rows:expr, $body:path) => {
        $crate::suite::Case::new($id, &$laws, &$rows, |source: $crate::kafka::client::world::Source| {
            Box::pin(async move { $body(source.open().await?).await })
        })
    };
}
use case;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_is_caught_or_the_reason_is_told() {
        let ids = files().into_iter().flatten().map(|case| case.id);
        let caught =
            super::super::broken::broken_clients().into_iter().flat_map(|bug| bug.caught_by).copied();
        crate::broken::assert_told("kafka_client.", ids, caught);
    }

    #[test]
    fn ids_are_unique_and_every_case_cites_a_law_and_a_row() {
        let cases: Vec<_> = files().into_iter().flatten().collect();
        let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in cases {
            let cited = !case.laws.is_empty() && !case.rows.is_empty();
            assert!(case.id.starts_with("kafka_client.") && cited, "{}", case.id);
        }
    }
}
