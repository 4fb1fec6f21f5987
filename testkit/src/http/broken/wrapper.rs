//! A wrapper that changes nothing, and the places where a bug may change one thing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::Method;
use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use onex_spi::http::{
    HttpBody, HttpCapabilities, HttpRequest, HttpResponse, HttpService, HttpTransport, PoolStats,
};
use onex_spi::{Error, Health, Lifecycle, Result};

/// One changed behaviour; what a bug does not override is the good engine's.
#[async_trait]
pub(super) trait Bug: fmt::Debug + Default + Send + Sync + 'static {
    /// Changes a request on its way down.
    fn request(request: HttpRequest) -> HttpRequest {
        request
    }

    /// Changes what an exchange came to.
    fn result(_method: &Method, result: Result<HttpResponse>) -> Result<HttpResponse> {
        result
    }

    async fn exchange(&self, good: &Arc<dyn HttpTransport>, request: HttpRequest) -> Result<HttpResponse> {
        let request = Self::request(request);
        let method = request.method.clone();
        let result = good.exchange(request).await;
        Self::result(&method, result)
    }

    async fn health(good: &Arc<dyn HttpTransport>) -> Health {
        good.health().await
    }

    async fn close(&self, good: &Arc<dyn HttpTransport>, within: Duration) -> Result<()> {
        good.close(within).await
    }

    fn pool_stats(good: PoolStats) -> PoolStats {
        good
    }
}

/// A good transport with a bug.
#[derive(Debug)]
struct Buggy<B> {
    good: Arc<dyn HttpTransport>,
    bug: B,
}

pub(super) fn add<B: Bug>(good: Arc<dyn HttpTransport>) -> Arc<dyn HttpTransport> {
    Arc::new(Buggy::<B> { good, bug: B::default() })
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> HttpService for Buggy<B> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        self.bug.exchange(&self.good, request).await
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Bug> HttpTransport for Buggy<B> {
    fn capabilities(&self) -> &HttpCapabilities {
        self.good.capabilities()
    }

    fn pool_stats(&self) -> PoolStats {
        B::pool_stats(self.good.pool_stats())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Buggy<B> {
    async fn health(&self) -> Health {
        B::health(&self.good).await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.bug.close(&self.good, within).await
    }
}

type Item = Option<Result<Frame<Bytes>>>;

/// Passes every frame of a body that is still arriving through `change`.
pub(super) fn each_frame(response: HttpResponse, change: fn(Item) -> Item) -> HttpResponse {
    let mut response = response;
    if response.body.as_bytes().is_none() {
        let inner = std::mem::take(&mut response.body);
        response.body = HttpBody::new(Changed { inner, change });
    }
    response
}

struct Changed {
    inner: HttpBody,
    change: fn(Item) -> Item,
}

impl Body for Changed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let change = self.change;
        Pin::new(&mut self.inner).poll_frame(cx).map(change)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A changed body keeps no promise about its length.
        SizeHint::default()
    }
}
