//! A wrapper that changes nothing, and the places where a bug may change one thing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::http::{
    BreakerBinding, HttpCapabilities, HttpClient, HttpClientMetrics, HttpInterceptor, HttpNext, HttpPhase,
    HttpRequest, HttpResponse, RetryPolicy,
};
use onex_spi::{Error, Health, Lifecycle, Result};

use crate::http::client::{HttpClientFactory, HttpClientSetup};

/// One changed behaviour; what a bug does not override is the good client's.
#[async_trait]
pub(super) trait Bug: fmt::Debug + Default + Send + Sync + 'static {
    /// Changes what the good client is made of.
    fn setup(&mut self, _setup: &mut HttpClientSetup) {}

    /// Changes a request on its way in.
    fn outgoing(&self, request: HttpRequest) -> HttpRequest {
        request
    }

    /// Changes what a call came to.
    fn result(&self, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result
    }

    async fn request(&self, good: &Arc<dyn HttpClient>, request: HttpRequest) -> Result<HttpResponse> {
        let result = good.request(self.outgoing(request)).await;
        self.result(result)
    }

    fn metrics(&self, good: HttpClientMetrics) -> HttpClientMetrics {
        good
    }

    fn configure_retries(&self, good: &Arc<dyn HttpClient>, policy: RetryPolicy) -> Result<()> {
        good.configure_retry_policy(policy)
    }

    fn configure_breaker(&self, good: &Arc<dyn HttpClient>, binding: Option<BreakerBinding>) -> Result<()> {
        good.configure_circuit_breaker(binding)
    }

    async fn health(&self, good: &Arc<dyn HttpClient>) -> Health {
        good.health().await
    }

    async fn close(&self, good: &Arc<dyn HttpClient>, within: Duration) -> Result<()> {
        good.close(within).await
    }
}

/// A good client with a bug.
#[derive(Debug)]
struct Buggy<B> {
    good: Arc<dyn HttpClient>,
    bug: B,
}

pub(super) fn add<B: Bug>(good: Arc<HttpClientFactory>) -> Arc<HttpClientFactory> {
    Arc::new(move |mut setup| {
        let mut bug = B::default();
        bug.setup(&mut setup);
        let open = good(setup);
        Box::pin(async move { Ok(Arc::new(Buggy { good: open.await?, bug }) as Arc<dyn HttpClient>) })
    })
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> HttpClient for Buggy<B> {
    fn capabilities(&self) -> &HttpCapabilities {
        self.good.capabilities()
    }

    async fn request(&self, request: HttpRequest) -> Result<HttpResponse> {
        self.bug.request(&self.good, request).await
    }

    fn client_metrics(&self) -> HttpClientMetrics {
        self.bug.metrics(self.good.client_metrics())
    }

    fn configure_retry_policy(&self, policy: RetryPolicy) -> Result<()> {
        self.bug.configure_retries(&self.good, policy)
    }

    fn configure_circuit_breaker(&self, binding: Option<BreakerBinding>) -> Result<()> {
        self.bug.configure_breaker(&self.good, binding)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Buggy<B> {
    async fn health(&self) -> Health {
        self.bug.health(&self.good).await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.bug.close(&self.good, within).await
    }
}

/// Changes what each attempt came to, before the policy sees it.
pub(super) fn each_attempt<F>(setup: &mut HttpClientSetup, change: F)
where
    F: Fn(Result<HttpResponse>) -> Result<HttpResponse> + Send + Sync + 'static,
{
    setup.around_attempt.insert(0, Arc::new(EachAttempt(change)));
}

struct EachAttempt<F>(F);

impl<F> fmt::Debug for EachAttempt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EachAttempt")
    }
}

#[async_trait]
impl<F> HttpInterceptor for EachAttempt<F>
where
    F: Fn(Result<HttpResponse>) -> Result<HttpResponse> + Send + Sync + 'static,
{
    async fn intercept(&self, request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        (self.0)(next.run(request).await)
    }
}

/// The same error with another phase, where its phase is `phase`.
pub(super) fn rename_phase(error: Error, phase: HttpPhase, to: Option<HttpPhase>) -> Error {
    match error.http().cloned() {
        Some(mut fault) if fault.phase == Some(phase) => {
            fault.phase = to;
            error.with_detail(fault)
        }
        _ => error,
    }
}
