//! The engine's side: one exchange, and what stands around it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::{HttpRequest, HttpResponse};
use crate::features::features;
use crate::{BoxFuture, Features, Lifecycle, Result};

/// Answers one request with one response: a transport, a router, a server's handler, a proxy.
#[async_trait]
pub trait HttpService: fmt::Debug + Send + Sync + 'static {
    /// Answers `request`; the response body may still be arriving.
    ///
    /// # Errors
    /// What the exchange met; any status is an `Ok` response. A server answers 500 for an `Err` of its handler.
    /// # Cancellation
    /// Ends the exchange: the connection is closed or, where the protocol allows, the stream reset.
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse>;
}

const _: fn(&dyn HttpService) = |_| ();

/// An optional ability of a transport.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpFeature {
    /// Requests travel as HTTP bytes to the address in the URL, so that a raw-byte server can answer them.
    Wire,
    /// Trailers of a response arrive as a frame after its data.
    Trailers,
    /// [`PoolStats`] are counted exactly, [`StatsSource::Exact`].
    ExactPoolStats,
    /// Every request target travels as it is written; without it, one that the URL standard would rewrite (`/%2e%2e/`) is
    /// refused with [`HttpReason::InvalidUrl`](super::HttpReason::InvalidUrl).
    ExactTarget,
}

features!(HttpFeature { Wire, Trailers, ExactPoolStats, ExactTarget });

/// The bounds of a transport.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpLimits {
    /// The most connections to one origin; `None` = unbounded.
    pub connections_per_origin: Option<usize>,
    /// The most headers in a response.
    pub response_headers: Option<usize>,
}

/// What a transport offers; constant for its life.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpCapabilities {
    /// The declared features.
    pub features: Features<HttpFeature>,
    /// The bounds.
    pub limits: HttpLimits,
}

impl HttpCapabilities {
    /// Makes capabilities with no limits told.
    #[must_use]
    pub fn new(features: Features<HttpFeature>) -> Self {
        Self { features, limits: HttpLimits::default() }
    }

    /// Adds the most connections to one origin.
    #[must_use]
    pub fn with_connections_per_origin(mut self, most: usize) -> Self {
        self.limits.connections_per_origin = Some(most);
        self
    }

    /// Adds the most headers in a response.
    #[must_use]
    pub fn with_response_headers(mut self, most: usize) -> Self {
        self.limits.response_headers = Some(most);
        self
    }
}

/// Where the numbers of [`PoolStats`] come from.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatsSource {
    /// Counted where it happens.
    Exact,
    /// Concluded from what the engine shows.
    Derived,
    /// The engine shows nothing.
    #[default]
    Unsupported,
}

/// The connections of a transport; a field is `None` where the engine cannot know it, never a guess.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Where the numbers come from.
    pub source: StatsSource,
    /// Open now.
    pub open: Option<u64>,
    /// Carrying an exchange now.
    pub in_use: Option<u64>,
    /// Waiting for the next exchange now.
    pub idle: Option<u64>,
    /// Dials that succeeded, ever.
    pub opened: Option<u64>,
    /// Connections that ended, ever.
    pub closed: Option<u64>,
    /// Dials that failed, ever.
    pub dial_errors: Option<u64>,
    /// Exchanges that found a connection waiting, ever.
    pub reused: Option<u64>,
}

impl PoolStats {
    /// Makes stats in which nothing is known yet.
    #[must_use]
    pub fn new(source: StatsSource) -> Self {
        Self { source, ..Self::default() }
    }
}

/// Moves one request to a server and its response back; the port of HTTP client engines.
///
/// A transport follows no redirect, retries nothing, decodes nothing and adds no header but those of the
/// framing (`Host`, `Content-Length`, `Transfer-Encoding`, `Connection`). Of the timeouts it enforces
/// `connect` alone, on its clock.
#[async_trait]
pub trait HttpTransport: HttpService + Lifecycle {
    /// What this instance offers; constant for its life.
    fn capabilities(&self) -> &HttpCapabilities;

    /// The connections now.
    fn pool_stats(&self) -> PoolStats;
}

const _: fn(&dyn HttpTransport) = |_| ();

/// Stands around exchanges: sees the request before, the response after, and may answer by itself.
#[async_trait]
pub trait HttpInterceptor: fmt::Debug + Send + Sync + 'static {
    /// Handles `request`; `next.run(request)` goes on inwards.
    ///
    /// # Errors
    /// What `next` met, or the interceptor's own refusal.
    /// # Cancellation
    /// Drops what `next` runs.
    async fn intercept(&self, request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse>;
}

const _: fn(&dyn HttpInterceptor) = |_| ();

/// The rest of a chain of interceptors and the service at its end.
#[derive(Clone, Copy, Debug)]
pub struct HttpNext<'a> {
    chain: &'a [Arc<dyn HttpInterceptor>],
    end: &'a dyn HttpService,
}

impl<'a> HttpNext<'a> {
    /// Makes a chain; the first interceptor is the outermost.
    #[must_use]
    pub fn new(chain: &'a [Arc<dyn HttpInterceptor>], end: &'a dyn HttpService) -> Self {
        Self { chain, end }
    }

    /// Goes on inwards; may be called more than once, with a request each.
    pub fn run(self, request: HttpRequest) -> BoxFuture<'a, Result<HttpResponse>> {
        match self.chain.split_first() {
            Some((first, rest)) => first.intercept(request, Self { chain: rest, end: self.end }),
            None => self.end.exchange(request),
        }
    }
}

/// Finds the addresses of a host.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`, best first, at least one.
    ///
    /// `host` is a name or an IP literal without brackets.
    ///
    /// # Errors
    /// `NotFound` with [`HttpReason::Resolve`](super::HttpReason::Resolve), not applied, where there is none.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>>;
}

const _: fn(&dyn Resolver) = |_| ();
