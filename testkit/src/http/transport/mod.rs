//! The suite for [`HttpTransport`], the port of HTTP client engines.
//!
//! ```text
//!  engine on the wire      World::serve ─► ScriptedServer (real bytes)           raw-byte cases run
//!  engine in the process   World::serve ─► switchboard = HttpTransportSetup::service     raw-byte cases are ignored
//! ```
//!
//! An engine's test target, with `harness = false`:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     onex_testkit::http::transport::conformance(|setup| async move { my_crate::open(Config::default(), ..).await })
//! }
//! ```
//!
//! The law `HTTP` without a number is the documentation of the port itself.

mod ending;
mod exchange;
mod framing;
mod pool;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use onex_spi::http::{HttpFeature, HttpService, HttpTransport, HttpUrl};
use onex_spi::{BoxFuture, Clock, Result, TokioClock};

use super::stage::Stage;
use crate::net::{Answer, Log};
use crate::suite::{self, Case, CaseResult, Stop, Trial, needs};

/// What a case asks of the transport that the factory opens.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct HttpTransportSetup {
    /// The clock for every timer of the engine.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision of the engine.
    pub seed: u64,
    /// Where an engine in the process sends every request, whatever its authority; an engine on the wire ignores it.
    pub service: Arc<dyn HttpService>,
    /// The most idle connections kept to one origin; `None` = the engine's default, which is at least one. To be
    /// honoured by engines that declare [`HttpFeature::ExactPoolStats`].
    pub max_idle_per_origin: Option<usize>,
    /// The most connections to one origin; `None` = the engine's default. To be honoured by engines that tell
    /// [`HttpLimits::connections_per_origin`](onex_spi::http::HttpLimits::connections_per_origin).
    pub max_connections_per_origin: Option<usize>,
    /// How long an idle connection is kept; `None` = the engine's default, at least ten seconds. To be honoured by engines
    /// that declare [`HttpFeature::ExactPoolStats`].
    pub idle_timeout: Option<Duration>,
}

impl HttpTransportSetup {
    /// Asks for an engine with its own limits.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64, service: Arc<dyn HttpService>) -> Self {
        Self {
            clock,
            seed,
            service,
            max_idle_per_origin: None,
            max_connections_per_origin: None,
            idle_timeout: None,
        }
    }
}

pub(super) type Factory =
    dyn Fn(HttpTransportSetup) -> BoxFuture<'static, Result<Arc<dyn HttpTransport>>> + Send + Sync;

/// What a case begins with: the way to open the engine.
#[derive(Clone)]
pub(crate) struct World {
    factory: Arc<Factory>,
}

impl World {
    async fn open(self) -> Result<Lab, Stop> {
        self.open_with(|_| ()).await
    }

    async fn open_with(self, change: impl FnOnce(&mut HttpTransportSetup) + Send) -> Result<Lab, Stop> {
        let stage = Stage::default();
        let mut setup = HttpTransportSetup::new(Arc::new(TokioClock::new()), 7, stage.board.clone());
        change(&mut setup);
        let transport = (self.factory)(setup).await?;
        Ok(Lab { transport, stage })
    }
}

/// An open engine and its servers.
struct Lab {
    transport: Arc<dyn HttpTransport>,
    stage: Stage,
}

impl Lab {
    fn needs(&self, feature: HttpFeature) -> CaseResult {
        needs(self.transport.capabilities().features, feature)
    }

    fn has(&self, feature: HttpFeature) -> bool {
        self.needs(feature).is_ok()
    }

    /// Serves where the engine reaches it.
    async fn serve(&self, service: Arc<dyn HttpService>) -> Result<HttpUrl, Stop> {
        self.stage.serve(self.has(HttpFeature::Wire), service).await
    }

    /// Serves raw bytes; a case that does so needs the wire.
    async fn script(&self, answer: impl Into<Answer> + Send) -> Result<(HttpUrl, Log), Stop> {
        self.needs(HttpFeature::Wire)?;
        self.stage.listen(answer).await
    }
}

/// Names a case: `case!("http.name", ["HTTP-6"], ["ONEX-HTTP-01"], function)`.
macro_rules! case {
    ($id:literal, [$($law:literal),*], [$($row:literal),*], $body:path) => {
        $crate::suite::Case::new($id, &[$($law),*], &[$($row),*], |world| Box::pin($body(world)))
    };
}
pub(super) use case;

pub(super) fn cases() -> Vec<Case<World>> {
    [exchange::cases(), framing::cases(), pool::cases(), ending::cases()].into_iter().flatten().collect()
}

/// The suite's cases on the engine that `factory` opens, one engine a case.
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(HttpTransportSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn HttpTransport>>> + Send + 'static,
{
    let factory: Arc<Factory> = Arc::new(move |setup| Box::pin(factory(setup)));
    bind(&factory)
}

pub(super) fn bind(factory: &Arc<Factory>) -> Vec<Trial> {
    let trial = |case: &Case<World>| {
        let world = World { factory: factory.clone() };
        Trial::new(case, move || world.clone())
    };
    cases().iter().map(trial).collect()
}

/// Runs the suite as the `main` of a test target with `harness = false`.
#[must_use]
pub fn conformance<F, Fut>(factory: F) -> ExitCode
where
    F: Fn(HttpTransportSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn HttpTransport>>> + Send + 'static,
{
    suite::main(trials(factory))
}
