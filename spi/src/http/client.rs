//! The caller's side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{HttpCapabilities, HttpRequest, HttpResponse, RetryPolicy};
use crate::breaker::{CircuitBreaker, CircuitBreakerConfig};
use crate::{Lifecycle, Result};

/// Which circuit a request asks.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerKey {
    /// One circuit per `host:port`.
    PerHost,
    /// One circuit for the whole client.
    Named(Arc<str>),
}

/// A breaker for a client's requests: each attempt asks for a permit.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BreakerBinding {
    /// The breaker.
    pub breaker: Arc<dyn CircuitBreaker>,
    /// Which of its circuits.
    pub key: BreakerKey,
    /// Applied to each circuit that the binding uses, where given; else the breaker's own.
    pub config: Option<CircuitBreakerConfig>,
}

impl BreakerBinding {
    /// One circuit per `host:port`.
    #[must_use]
    pub fn per_host(breaker: Arc<dyn CircuitBreaker>) -> Self {
        Self { breaker, key: BreakerKey::PerHost, config: None }
    }

    /// One circuit by name.
    #[must_use]
    pub fn named(breaker: Arc<dyn CircuitBreaker>, name: impl Into<Arc<str>>) -> Self {
        Self { breaker, key: BreakerKey::Named(name.into()), config: None }
    }

    /// Applies `config` to the circuits of this binding.
    #[must_use]
    pub fn with_config(mut self, config: CircuitBreakerConfig) -> Self {
        self.config = Some(config);
        self
    }
}

/// How long calls took, from their start to the head of the response.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySummary {
    /// Half of the calls were at most this long.
    pub p50: Option<Duration>,
    /// 95 of 100.
    pub p95: Option<Duration>,
    /// 99 of 100.
    pub p99: Option<Duration>,
}

/// The counts of one host.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMetrics {
    /// Calls.
    pub requests: u64,
    /// Calls that ended in an error.
    pub failures: u64,
}

/// A snapshot of a client's counters; none ever falls but `in_flight`.
///
/// At rest `requests = successes + failures + cancelled`, and `in_flight` is zero. `timeouts` are failures too.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpClientMetrics {
    /// Calls that began.
    pub requests: u64,
    /// Calls that ended in a response, whatever its status.
    pub successes: u64,
    /// Calls that ended in an error.
    pub failures: u64,
    /// The failures of kind `TimedOut`.
    pub timeouts: u64,
    /// Calls whose future was dropped.
    pub cancelled: u64,
    /// Attempts beyond the first of their call.
    pub retries: u64,
    /// Calls running now.
    pub in_flight: u64,
    /// The bytes of request bodies that were sent.
    pub bytes_sent: u64,
    /// The bytes of response bodies that were handed out.
    pub bytes_received: u64,
    /// How long calls took.
    pub latency: LatencySummary,
    /// By `host:port`, for the first 256 of them; later ones count under `other`.
    pub per_host: BTreeMap<String, HostMetrics>,
}

/// Sends requests with one policy over any engine.
#[async_trait]
pub trait HttpClient: Lifecycle {
    /// What the engine below offers.
    fn capabilities(&self) -> &HttpCapabilities;

    /// Sends `request` and resolves at the head of the response; its body arrives as it is read.
    ///
    /// # Errors
    /// `InvalidInput` before dialling for a bad URL or header; `TimedOut` with the phase; `Rejected` with
    /// [`HttpReason::CircuitOpen`](super::HttpReason::CircuitOpen); `Unavailable` where no exchange took place; `Closed`.
    /// Any status is an `Ok` response.
    /// # Cancellation
    /// Ends the call: no further attempt, the connection is freed or closed, the circuit's permit returned as cancelled.
    async fn request(&self, request: HttpRequest) -> Result<HttpResponse>;

    /// A snapshot of the counters.
    #[doc(alias = "get_client_metrics")]
    fn client_metrics(&self) -> HttpClientMetrics;

    /// Replaces the retry policy; calls that run keep the old one.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range; the old policy stays.
    fn configure_retry_policy(&self, policy: RetryPolicy) -> Result<()>;

    /// Replaces the breaker, `None` = none; calls that run keep the old one.
    ///
    /// # Errors
    /// `InvalidInput` for a config that the breaker refuses; the old binding stays.
    fn configure_circuit_breaker(&self, binding: Option<BreakerBinding>) -> Result<()>;
}

const _: fn(&dyn HttpClient) = |_| ();
