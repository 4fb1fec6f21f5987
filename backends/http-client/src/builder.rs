//! What a client is made of.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use onex_spi::http::{BreakerBinding, HttpClient, HttpInterceptor, HttpTransport};
use onex_spi::{Clock, Gate, Result};

use crate::Config;
use crate::call::Core;
use crate::circuit::{Bound, Policy};
use crate::client::Client;
use crate::metrics::Metrics;
use crate::origin::Origins;

/// Puts a client together.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_http_client::{Config, HttpClientBuilder};
/// use onex_spi::Clock;
/// use onex_spi::http::{HttpClient, HttpClientExt, HttpTransport};
///
/// # async fn example(transport: Arc<dyn HttpTransport>, clock: Arc<dyn Clock>) -> onex_spi::Result<()> {
/// let client: Arc<dyn HttpClient> =
///     HttpClientBuilder::new(transport, clock).config(Config::new().with_user_agent("shop/1")).build()?;
/// let response = client.get("http://example.com/").send().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is made before `build`"]
#[derive(Debug)]
pub struct HttpClientBuilder {
    transport: Arc<dyn HttpTransport>,
    clock: Arc<dyn Clock>,
    config: Config,
    seed: Option<u64>,
    breaker: Option<BreakerBinding>,
    headers: HeaderMap,
    around_call: Vec<Arc<dyn HttpInterceptor>>,
    around_attempt: Vec<Arc<dyn HttpInterceptor>>,
}

impl HttpClientBuilder {
    /// Begins a client over `transport`, with every time limit and wait on `clock`.
    pub fn new(transport: Arc<dyn HttpTransport>, clock: Arc<dyn Clock>) -> Self {
        Self {
            transport,
            clock,
            config: Config::default(),
            seed: None,
            breaker: None,
            headers: HeaderMap::new(),
            around_call: Vec::new(),
            around_attempt: Vec::new(),
        }
    }

    /// Sets the configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the seed of the waits' jitter; without it each client draws its own, so that a fleet does not retry in step.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Binds a circuit breaker; each attempt asks for a permit.
    pub fn breaker(mut self, binding: BreakerBinding) -> Self {
        self.breaker = Some(binding);
        self
    }

    /// Sends a header with every request that brings none of its name.
    pub fn default_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds an interceptor around whole calls, inside those that are there: it sees one request and one response however
    /// many attempts there are. The place for credentials, logging and caches.
    pub fn around_call(mut self, interceptor: Arc<dyn HttpInterceptor>) -> Self {
        self.around_call.push(interceptor);
        self
    }

    /// Adds an interceptor around each attempt, inside those that are there and inside the breaker.
    pub fn around_attempt(mut self, interceptor: Arc<dyn HttpInterceptor>) -> Self {
        self.around_attempt.push(interceptor);
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    /// `InvalidInput` naming what in the configuration is wrong; what the breaker says to its binding.
    pub fn build(self) -> Result<Arc<dyn HttpClient>> {
        self.config.validate()?;
        let bound = self.breaker.map(Bound::new).transpose()?;
        let core = Core {
            transport: self.transport,
            gate: Gate::new("the client", self.clock.clone()),
            clock: self.clock,
            around_call: self.around_call,
            around_attempt: self.around_attempt,
            timeouts: self.config.timeouts,
            headers: default_headers(self.headers, &self.config)?,
            circuit: self.config.circuit,
            policy: ArcSwap::from_pointee(Policy { retry: self.config.retry, breaker: bound }),
            origins: Origins::default(),
            metrics: Arc::new(Metrics::default()),
            random: fastrand::Rng::with_seed(self.seed.unwrap_or_else(|| fastrand::u64(..))).into(),
        };
        Ok(Arc::new(Client::new(core)))
    }
}

fn default_headers(mut headers: HeaderMap, config: &Config) -> Result<HeaderMap> {
    if !config.user_agent.is_empty() && !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, config.user_agent_value()?);
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    Ok(headers)
}
