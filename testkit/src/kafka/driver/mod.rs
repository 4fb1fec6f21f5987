//! The conformance suite of [`KafkaDriver`].
//!
//! ```text
//!  cases (data, one file a topic) ─► World: driver + fresh names ─► Reader: polls, knows what it owns and has read
//!                                                                 └► Group: several readers, who owned what when
//! ```
//!
//! Each assertion names the law it judges, as the port's documentation numbers them. Where a law has no time of its
//! own, a case waits up to `PATIENCE` and not a moment longer than needed.

mod group;
mod honesty;
mod judge;
mod lifecycle;
mod offsets;
mod partitioning;
mod reader;
mod reading;
mod records;
mod sending;
mod sharing;
mod topic;
mod topics;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use onex_spi::Result;
use onex_spi::kafka::KafkaDriver;

pub(super) use self::judge::{broken, refused, within};
pub(super) use self::reader::values;
pub(super) use self::topic::Topic;
pub(super) use self::world::Open;
use self::world::Source;
use super::KafkaSetup;
use crate::suite::{self, Case, Trial};

/// How long a case waits for what must come, where the law names no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Binds every case to the engine that `factory` makes.
///
/// A factory may be called several times by one case, with the same prefix: each call is a connection of its own to the
/// same cluster.
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(KafkaSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaDriver>>> + Send + 'static,
{
    let open: Arc<Open> = Arc::new(move |setup| Box::pin(factory(setup)));
    bind(&open)
}

/// Runs the suite as the `main` of a test target with `harness = false`.
pub fn conformance<F, Fut>(factory: F) -> ExitCode
where
    F: Fn(KafkaSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaDriver>>> + Send + 'static,
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
fn files() -> [&'static [Case<Source>]; 9] {
    [
        records::CASES,
        partitioning::CASES,
        sending::CASES,
        topics::CASES,
        offsets::CASES,
        reading::CASES,
        sharing::CASES,
        lifecycle::CASES,
        honesty::CASES,
    ]
}

/// One row of a case table: id, laws, acceptance rows, `async fn(World) -> CaseResult`.
macro_rules! case {
    ($id:literal, $laws:expr, $rows:expr, $body:path) => {
        $crate::suite::Case::new($id, &$laws, &$rows, |source: $crate::kafka::driver::world::Source| {
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
    fn ids_are_unique_and_every_case_cites_a_law() {
        let cases: Vec<_> = files().into_iter().flatten().collect();
        let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in cases {
            assert!(case.id.starts_with("kafka.") && !case.laws.is_empty(), "{}", case.id);
        }
    }

    #[test]
    fn every_case_is_caught_or_the_reason_is_told() {
        let ids = files().into_iter().flatten().map(|case| case.id);
        let caught = super::super::broken::broken().into_iter().flat_map(|bug| bug.caught_by).copied();
        crate::broken::assert_told("kafka.", ids, caught);
    }

    #[test]
    fn every_acceptance_row_of_this_port_has_a_case() {
        let rows: BTreeSet<_> = files().into_iter().flatten().flat_map(|case| case.rows).collect();
        // 5 is the schema registry's, 4's strategies beyond manual, 7, 8 and 20 by id are the client suite's too.
        let missing: Vec<_> = (1..=23)
            .filter(|row| *row != 5)
            .map(|row| format!("ONEX-KAFKA-{row:02}"))
            .filter(|row| !rows.contains(&row.as_str()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
