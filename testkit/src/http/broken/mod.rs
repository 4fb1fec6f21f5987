//! HTTP transports, clients and servers with one deliberate bug each, over any good one.

mod bodies;
mod clients;
mod connections;
mod ending;
mod messages;
mod servers;
mod wrapper;

use std::sync::Arc;

use onex_spi::Result;
use onex_spi::http::{HttpClient, HttpServer, HttpTransport};

use super::client::{self, HttpClientFactory, HttpClientSetup};
use super::server::{self, HttpServerSetup, ServerUnderTest};
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
/// use onex_memory::http::MemoryHttp;
/// use onex_testkit::broken::Reach;
/// use onex_testkit::http::broken::check_broken;
///
/// let report = check_broken(
///     |setup| async move {
///         let network = MemoryHttp::new(setup.clock);
///         network.otherwise(setup.service);
///         Ok(network.transport())
///     },
///     Reach::Named,
/// );
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

/// Every bug of a client that the client suite is known to notice.
///
/// A bug wraps the way to make a client, because a policy decides inside: one bug changes what the client is made of, another
/// what its port shows.
#[must_use]
pub fn broken_clients() -> Vec<Broken<HttpClientFactory>> {
    clients::bugs()
}

/// Adds each bug to the client that `factory` makes and runs the client suite on it; like [`check_broken`].
pub fn check_broken_clients<F, Fut>(factory: F, reach: Reach) -> Report
where
    F: Fn(HttpClientSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn HttpClient>>> + Send + 'static,
{
    let good: Arc<HttpClientFactory> = Arc::new(move |setup| Box::pin(factory(setup)));
    broken::check(&broken_clients(), reach, |bug| match bug {
        Some(bug) => client::bind(&(bug.wrap)(good.clone())),
        None => client::bind(&good),
    })
}

/// Every bug of a server that the server suite is known to notice.
#[must_use]
pub fn broken_servers() -> Vec<Broken<dyn HttpServer>> {
    servers::bugs()
}

/// Adds each bug to the server that `factory` opens and runs the server suite on it; like [`check_broken`].
pub fn check_broken_servers<F, Fut>(factory: F, reach: Reach) -> Report
where
    F: Fn(HttpServerSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ServerUnderTest>> + Send + 'static,
{
    let good: Arc<server::Factory> = Arc::new(move |setup| Box::pin(factory(setup)));
    broken::check(&broken_servers(), reach, |bug| {
        let Some(bug) = bug.copied() else {
            return server::bind(&good);
        };
        let good = good.clone();
        let open: Arc<server::Factory> = Arc::new(move |setup| {
            let open = good(setup);
            Box::pin(async move { Ok(open.await?.with_server(bug.wrap)) })
        });
        server::bind(&open)
    })
}
