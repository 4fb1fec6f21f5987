//! Kafka drivers and clients with one deliberate bug each, over any good one.

mod client_wrapper;
mod clients;
mod groups;
mod offsets;
mod reading;
mod sending;
mod topics;
mod wrapper;

use std::sync::Arc;

use onex_spi::Result;
use onex_spi::kafka::{KafkaClient, KafkaDriver};

use super::{KafkaSetup, client, driver};
use crate::broken::{self, Broken, Reach, Report};

/// Every bug of a driver that the suite is known to notice.
#[must_use]
pub fn broken() -> Vec<Broken<dyn KafkaDriver>> {
    [sending::BUGS, reading::BUGS, offsets::BUGS, groups::BUGS, topics::BUGS].concat()
}

/// Adds each bug to the engine that `factory` makes and runs the driver suite on it.
///
/// The engine itself must pass; a case that it ignores cannot notice a bug and is reported as ignored.
///
/// # Examples
/// ```no_run
/// use std::sync::Arc;
///
/// use onex_memory::kafka::MemoryKafka;
/// use onex_spi::TokioClock;
/// use onex_testkit::broken::Reach;
/// use onex_testkit::kafka::broken::check_broken;
///
/// let broker = MemoryKafka::new(Arc::new(TokioClock::new()));
/// let factory = move |_| {
///     let driver = broker.driver();
///     async move { Ok(driver) }
/// };
/// let report = check_broken(factory, Reach::Named);
/// assert!(report.wrong.is_empty(), "{report}");
/// ```
pub fn check_broken<F, Fut>(factory: F, reach: Reach) -> Report
where
    F: Fn(KafkaSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaDriver>>> + Send + 'static,
{
    let good: Arc<driver::Open> = Arc::new(move |setup| Box::pin(factory(setup)));
    broken::check(&broken(), reach, |bug| {
        let Some(bug) = bug.copied() else {
            return driver::bind(&good);
        };
        let good = Arc::clone(&good);
        let open: Arc<driver::Open> = Arc::new(move |setup| {
            let open = good(setup);
            Box::pin(async move { open.await.map(bug.wrap) })
        });
        driver::bind(&open)
    })
}

/// Every bug of a client that the client suite is known to notice.
#[must_use]
pub fn broken_clients() -> Vec<Broken<dyn KafkaClient>> {
    clients::BUGS.to_vec()
}

/// Adds each bug to the client that `factory` makes and runs the client suite on it; like [`check_broken`].
pub fn check_broken_clients<F, Fut>(factory: F, reach: Reach) -> Report
where
    F: Fn(KafkaSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn KafkaClient>>> + Send + 'static,
{
    let good: Arc<client::Open> = Arc::new(move |setup| Box::pin(factory(setup)));
    broken::check(&broken_clients(), reach, |bug| {
        let Some(bug) = bug.copied() else {
            return client::bind(&good);
        };
        let good = Arc::clone(&good);
        let open: Arc<client::Open> = Arc::new(move |setup| {
            let open = good(setup);
            Box::pin(async move { open.await.map(bug.wrap) })
        });
        client::bind(&open)
    })
}
