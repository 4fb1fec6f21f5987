//! The protocol `http`: callers post messages, and messages are posted to servers.
//!
//! ```text
//!  curl ─► HttpServer ─► HttpSource ─► rules ─► HttpTarget ─► HttpClient ─► server
//!    ▲         status and body ◄─ settle ◄──────────┴─ one answer a message
//! ```
//!
//! It stands on ports: whichever [`HttpServer`] and [`HttpClient`] it is given, it speaks through.
//!
//! # Source
//! [`HttpSourceConfig`]. A caller waits until its message is settled and is answered with what became of it: 200 delivered (with the
//! target's reply, or a receipt), 202 dead-lettered, 204 filtered, else a status that says what to do. A caller who leaves takes nothing
//! back. The headers `onex-message-id`, `onex-key` and `onex-metadata` are the message's id, key and metadata; the server adds the
//! metadata `method`, `path` and `peer`, never the query.
//!
//! # Target
//! [`HttpTargetConfig`]. A route is a path below the URL. 2xx is delivered and the body is the reply; 404 and 410 say that the route does not exist;
//! 408, 429 and 5xx are worth another attempt, at `Retry-After` where it is told; anything else is a refusal for good, 3xx among them. One
//! call of `deliver` makes one attempt, whatever the client's retry policy: payloads travel as one-shot bodies (HTTP-42).

mod answer;
mod config;
mod headers;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeContext, BridgeFault, BridgeProtocol, BridgeReason, BridgeSource, BridgeTarget, Protocol,
};
use onex_spi::http::{HttpClient, HttpServer};
use onex_spi::provider::{KeyError, Table, parse_config};
use onex_spi::{Error, Result};

pub use self::config::{HttpSourceConfig, HttpTargetConfig, Reply};
pub use self::headers::HeaderList;
use self::source::HttpSource;
use self::target::HttpTarget;

/// Opens ends that speak HTTP, over the ports that it is given.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_bridge::http::HttpProtocol;
/// use onex_spi::bridge::BridgeProtocol;
///
/// # fn example(server: Arc<dyn onex_spi::http::HttpServer>, client: Arc<dyn onex_spi::http::HttpClient>) {
/// let http = HttpProtocol::new().with_server(server).with_client(client);
/// let errors = http.check_source(&"listen = '127.0.0.1:0'\npaht = '/'".parse().unwrap());
/// assert_eq!(errors[0].path, ["paht"]);
/// # }
/// ```
#[derive(Default)]
pub struct HttpProtocol {
    server: Option<Arc<dyn HttpServer>>,
    client: Option<Arc<dyn HttpClient>>,
    sources: Mutex<Vec<(Arc<str>, Weak<HttpSource>)>>,
}

/// Where the callers of a source find it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The bridge.
    pub bridge: Arc<str>,
    /// The URL, with the port that was found.
    pub url: String,
}

impl HttpProtocol {
    /// Makes a protocol that opens nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens sources on `server`.
    #[must_use]
    pub fn with_server(mut self, server: Arc<dyn HttpServer>) -> Self {
        self.server = Some(server);
        self
    }

    /// Opens targets on `client`.
    #[must_use]
    pub fn with_client(mut self, client: Arc<dyn HttpClient>) -> Self {
        self.client = Some(client);
        self
    }

    /// Where the sources listen that are open.
    pub fn listening(&self) -> Vec<Listening> {
        let sources = self.sources();
        let open = sources.iter().filter_map(|(bridge, source)| Some((bridge.clone(), source.upgrade()?)));
        open.map(|(bridge, source)| Listening { bridge, url: source.url() }).collect()
    }

    fn sources(&self) -> MutexGuard<'_, Vec<(Arc<str>, Weak<HttpSource>)>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HttpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProtocol")
            .field("sources", &self.server.is_some())
            .field("targets", &self.client.is_some())
            .finish()
    }
}

#[async_trait]
impl BridgeProtocol for HttpProtocol {
    fn name(&self) -> Protocol {
        Protocol::new("http")
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        KeyError::of_config::<HttpSourceConfig>(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        KeyError::of_config::<HttpTargetConfig>(config)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        const OPERATION: &str = "bridge.source";
        let config = parse_config(OPERATION, config).map_err(invalid_end)?;
        let server = self.server.as_ref().ok_or_else(|| absent(OPERATION, "server", "http_server"))?;
        let source = Arc::new(HttpSource::open(server, config, context).await?);
        let mut sources = self.sources();
        sources.retain(|(_, source)| source.strong_count() > 0);
        sources.push((context.bridge.clone(), Arc::downgrade(&source)));
        Ok(source)
    }

    async fn target(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        const OPERATION: &str = "bridge.target";
        let config = parse_config(OPERATION, config).map_err(invalid_end)?;
        let client = self.client.clone().ok_or_else(|| absent(OPERATION, "client", "http"))?;
        Ok(Arc::new(HttpTarget::open(client, config, context).await?))
    }
}

fn invalid_end(error: Error) -> Error {
    error.with_detail(BridgeFault::new(BridgeReason::InvalidEndpoint))
}

fn absent(operation: &'static str, what: &str, section: &str) -> Error {
    let message = format!("the protocol http was given no {what}; name an engine in the section {section}");
    Error::unsupported(operation, message)
}
