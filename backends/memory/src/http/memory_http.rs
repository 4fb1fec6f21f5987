//! The handle of a network: what a program and a test do with it.

use std::fmt;
use std::sync::Arc;

use http::uri::Authority;
use onex_spi::http::{HttpServer, HttpService, HttpTransport};
use onex_spi::{Clock, Error, Result};
use serde::Deserialize;

use super::MemoryFault;
use super::network::{Network, RecordedRequest};
use super::server::MemoryServer;
use super::transport::MemoryTransport;

/// The sections `http` and `http_server` with `engine = "memory"`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// The requests that the log keeps, the oldest going first; 0 = no log. Default 1024.
    pub log: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { log: 1024 }
    }
}

/// A network in this process: services by authority, a log, faults; clones are handles of the same network.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use http::{Method, StatusCode};
/// use onex_memory::http::{MemoryHttp, Router};
/// use onex_spi::http::{HttpRequest, HttpResponse, HttpService, HttpUrl};
///
/// # async fn example(clock: Arc<dyn onex_spi::Clock>) -> onex_spi::Result<()> {
/// let network = MemoryHttp::new(clock);
/// let orders = Router::new()
///     .route(Method::GET, "/orders/{id}", |_| async { Ok(HttpResponse::new(StatusCode::OK, "an order")) })?;
/// network.route("orders.internal", Arc::new(orders))?;
///
/// let request = HttpRequest::new(Method::GET, HttpUrl::try_from("http://orders.internal/orders/7")?);
/// let response = network.transport().exchange(request).await?;
/// assert_eq!(response.into_body().bytes(64).await?, "an order");
/// assert_eq!(network.take_request().map(|seen| seen.url.path().to_owned()).as_deref(), Some("/orders/7"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryHttp(Arc<Network>);

impl MemoryHttp {
    /// Makes an empty network.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_config(HttpConfig::default(), clock)
    }

    /// Makes an empty network with a configuration.
    #[must_use]
    pub fn with_config(config: HttpConfig, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Network::new(config.log, clock)))
    }

    /// Reaches `service` under `authority` (`host` for the default ports, or `host:port`); an earlier one is replaced.
    ///
    /// An error of the service is the caller's error as it is, so that a test can tell any.
    ///
    /// # Errors
    /// `InvalidInput` where `authority` is no `host` or `host:port`.
    pub fn route(&self, authority: &str, service: Arc<dyn HttpService>) -> Result<()> {
        let key = authority_key(authority)?;
        self.0.state().routes.insert(key, service);
        Ok(())
    }

    /// Reaches `service` under every authority that has no route and no listener.
    pub fn otherwise(&self, service: Arc<dyn HttpService>) {
        self.0.state().otherwise = Some(service);
    }

    /// A new transport into this network; each closes by itself.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn HttpTransport> {
        Arc::new(MemoryTransport::new(self.0.clone()))
    }

    /// A new server that listens in this network.
    #[must_use]
    pub fn server(&self) -> Arc<dyn HttpServer> {
        Arc::new(MemoryServer::new(self.0.clone()))
    }

    /// Takes the oldest request out of the log.
    #[must_use]
    pub fn take_request(&self) -> Option<RecordedRequest> {
        self.0.state().log.pop_front()
    }

    /// The requests in the log, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.0.state().log.iter().cloned().collect()
    }

    /// The requests that arrived, ever, those that left the log included.
    #[must_use]
    pub fn request_count(&self) -> u64 {
        self.0.state().requests
    }

    /// Lets the next exchange that has no fault yet meet `fault`, whoever it goes to; called again, the one after it.
    pub fn fail_next(&self, fault: MemoryFault) {
        self.0.state().next_fault.push_back(fault);
    }

    /// Lets every exchange with `authority` meet `fault`, `None` = none any more.
    ///
    /// # Errors
    /// `InvalidInput` where `authority` is no `host` or `host:port`.
    pub fn set_fault(&self, authority: &str, fault: Option<MemoryFault>) -> Result<()> {
        let key = authority_key(authority)?;
        let mut state = self.0.state();
        match fault {
            Some(fault) => state.faults.insert(key, fault),
            None => state.faults.remove(&key),
        };
        Ok(())
    }

    /// The clock of the network.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.0.clock()
    }
}

impl fmt::Debug for MemoryHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn authority_key(text: &str) -> Result<String> {
    let authority = text.parse::<Authority>().ok().filter(|a| !a.host().is_empty() && !text.contains('@'));
    match authority {
        Some(authority) => Ok(authority.as_str().to_ascii_lowercase()),
        None => {
            let message = format!("{text:?} is no authority; write `host` or `host:port`, without a scheme");
            Err(Error::invalid("http.route", message))
        }
    }
}
