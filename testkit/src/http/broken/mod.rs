//! HTTP transports with one deliberate bug each, over any good transport.

mod bodies;
mod connections;
mod ending;
mod messages;
mod wrapper;

use std::sync::Arc;

use onex_spi::Result;
use onex_spi::http::HttpTransport;

use super::transport::{self, HttpTransportSetup};
use crate::broken::{self, Broken, Reach, Report};

/// Every bug of a transport that the suite is known to notice.
#[must_use]
pub fn broken() -> Vec<Broken<dyn HttpTransport>> {
    [messages::BUGS, bodies::BUGS, connections::BUGS, ending::BUGS].concat()
}

/// Adds each bug to the engine that `factory` makes and runs the transport suite on it.
///
/// The engine itself must pass; a case that it ignores cannot notice a bug and is reported as ignored.
///
/// # Examples
/// ```no_run
/// use onex_testkit::broken::Reach;
/// # use onex_spi::http::HttpTransport;
/// # use onex_testkit::http::transport::HttpTransportSetup;
/// # async fn my_transport(_: HttpTransportSetup) -> onex_spi::Result<std::sync::Arc<dyn HttpTransport>> { unimplemented!() }
///
/// let report = onex_testkit::http::broken::check_broken(my_transport, Reach::Named);
/// assert!(report.wrong.is_empty(), "{report}");
/// ```
pub fn check_broken<F, Fut>(factory: F, reach: Reach) -> Report
where
    F: Fn(HttpTransportSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn HttpTransport>>> + Send + 'static,
{
    let good: Arc<transport::Factory> = Arc::new(move |setup| Box::pin(factory(setup)));
    broken::check(&broken(), reach, |bug| {
        let Some(bug) = bug.copied() else {
            return transport::bind(&good);
        };
        let good = good.clone();
        let open: Arc<transport::Factory> = Arc::new(move |setup| {
            let open = good(setup);
            Box::pin(async move { open.await.map(bug.wrap) })
        });
        transport::bind(&open)
    })
}
