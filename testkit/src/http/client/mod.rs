//! The suite for [`HttpClient`], the callers' port: one policy over any engine.
//!
//! ```text
//!  factory(HttpClientSetup { retry, timeouts, breaker, interceptors, .. }) ─► Arc<dyn HttpClient>
//!     engine on the wire ─► scripted servers      engine in the process ─► HttpClientSetup::service
//! ```
//!
//! A client's test target, with `harness = false`:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     onex_testkit::http::client::conformance(|setup| async move { my_client(setup).await })
//! }
//! ```
//!
//! The law `HTTP` without a number is the documentation of the port itself.

mod breaker;
mod calls;
mod ending;
mod metrics;
mod retry;
mod timeouts;

use std::process::ExitCode;
use std::sync::Arc;

use onex_spi::http::{
    BreakerBinding, HttpClient, HttpFeature, HttpInterceptor, HttpService, HttpTimeouts, HttpUrl, RetryPolicy,
};
use onex_spi::{BoxFuture, Clock, Result, TokioClock};

use super::stage::Stage;
use super::transport::case;
use crate::net::{Answer, Log};
use crate::suite::{self, Case, CaseResult, Stop, Trial, needs};

/// What a case asks of the client that the factory makes; every field is to be honoured.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct HttpClientSetup {
    /// The clock for every timer of the client and of the engine below.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision.
    pub seed: u64,
    /// Where an engine in the process sends every request, whatever its authority; an engine on the wire ignores it.
    pub service: Arc<dyn HttpService>,
    /// The retry policy.
    pub retry: RetryPolicy,
    /// The limits of calls that bring none of their own; `None` = no limit.
    pub timeouts: HttpTimeouts,
    /// The breaker.
    pub breaker: Option<BreakerBinding>,
    /// Interceptors around each call, the outermost first.
    pub around_call: Vec<Arc<dyn HttpInterceptor>>,
    /// Interceptors around each attempt, the outermost first.
    pub around_attempt: Vec<Arc<dyn HttpInterceptor>>,
}

/// Makes the client that a case asks for; what a broken client wraps, because a client's policy is made of its setup.
pub type HttpClientFactory =
    dyn Fn(HttpClientSetup) -> BoxFuture<'static, Result<Arc<dyn HttpClient>>> + Send + Sync;

/// What a case begins with: the way to make the client.
#[derive(Clone)]
pub(crate) struct World {
    factory: Arc<HttpClientFactory>,
}

impl World {
    /// A client that retries nothing, limits nothing and asks no breaker.
    async fn open(self) -> Result<Lab, Stop> {
        self.open_with(|_| ()).await
    }

    async fn open_with(self, change: impl FnOnce(&mut HttpClientSetup) + Send) -> Result<Lab, Stop> {
        let stage = Stage::default();
        let mut setup = HttpClientSetup {
            clock: Arc::new(TokioClock::new()),
            seed: 7,
            service: stage.board.clone(),
            retry: RetryPolicy::never(),
            timeouts: HttpTimeouts::default(),
            breaker: None,
            around_call: Vec::new(),
            around_attempt: Vec::new(),
        };
        change(&mut setup);
        let client = (self.factory)(setup).await?;
        Ok(Lab { client, stage })
    }
}

/// A client and its servers.
struct Lab {
    client: Arc<dyn HttpClient>,
    stage: Stage,
}

impl Lab {
    fn needs(&self, feature: HttpFeature) -> CaseResult {
        needs(self.client.capabilities().features, feature)
    }

    /// Serves where the client reaches it.
    async fn serve(&self, service: Arc<dyn HttpService>) -> Result<HttpUrl, Stop> {
        self.stage.serve(self.needs(HttpFeature::Wire).is_ok(), service).await
    }

    /// Serves raw bytes; a case that does so needs the wire.
    async fn script(&self, answer: impl Into<Answer> + Send) -> Result<(HttpUrl, Log), Stop> {
        self.needs(HttpFeature::Wire)?;
        self.stage.listen(answer).await
    }
}

pub(super) fn cases() -> Vec<Case<World>> {
    let all = [
        calls::cases(),
        timeouts::cases(),
        retry::cases(),
        breaker::cases(),
        metrics::cases(),
        ending::cases(),
    ];
    all.into_iter().flatten().collect()
}

/// The suite's cases on the client that `factory` makes, one client a case.
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(HttpClientSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn HttpClient>>> + Send + 'static,
{
    let factory: Arc<HttpClientFactory> = Arc::new(move |setup| Box::pin(factory(setup)));
    bind(&factory)
}

pub(super) fn bind(factory: &Arc<HttpClientFactory>) -> Vec<Trial> {
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
    F: Fn(HttpClientSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Arc<dyn HttpClient>>> + Send + 'static,
{
    suite::main(trials(factory))
}
