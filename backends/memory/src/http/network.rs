//! The network: who is reachable under which authority, what went by, what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Method};
use onex_spi::http::{HttpReason, HttpRequest, HttpServer, HttpService, HttpTransport, HttpUrl};
use onex_spi::{Clock, Error, ErrorKind, Result};
use serde::Deserialize;

use super::MemoryFault;
use super::server::{Listener, MemoryServer};
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

/// A request as it arrived.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: HttpUrl,
    /// The headers, those of the framing among them.
    pub headers: HeaderMap,
    /// The body, where it was whole; `None` for a stream.
    pub body: Option<Bytes>,
    /// When it arrived, on the network's clock.
    pub at: Instant,
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

struct Network {
    clock: Arc<dyn Clock>,
    log: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    routes: BTreeMap<String, Arc<dyn HttpService>>,
    otherwise: Option<Arc<dyn HttpService>>,
    listeners: BTreeMap<SocketAddr, Arc<Listener>>,
    dials: u64,
    requests: u64,
    log: VecDeque<RecordedRequest>,
    next_fault: VecDeque<MemoryFault>,
    faults: BTreeMap<String, MemoryFault>,
}

/// The ports that a peer or a listener of port 0 may have (RFC 6335 §6).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

impl MemoryHttp {
    /// Makes an empty network.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_config(HttpConfig::default(), clock)
    }

    /// Makes an empty network with a configuration.
    #[must_use]
    pub fn with_config(config: HttpConfig, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Network { clock, log: config.log, state: Mutex::default() }))
    }

    /// Reaches `service` under `authority` (`host` for the default ports, or `host:port`); an earlier one is replaced.
    ///
    /// An error of the service is the caller's error as it is, so that a test can tell any.
    ///
    /// # Errors
    /// `InvalidInput` where `authority` is no `host` or `host:port`.
    pub fn route(&self, authority: &str, service: Arc<dyn HttpService>) -> Result<()> {
        let key = authority_key(authority)?;
        self.state().routes.insert(key, service);
        Ok(())
    }

    /// Reaches `service` under every authority that has no route and no listener.
    pub fn otherwise(&self, service: Arc<dyn HttpService>) {
        self.state().otherwise = Some(service);
    }

    /// A new transport into this network; each closes by itself.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn HttpTransport> {
        Arc::new(MemoryTransport::new(self.clone()))
    }

    /// A new server that listens in this network.
    #[must_use]
    pub fn server(&self) -> Arc<dyn HttpServer> {
        Arc::new(MemoryServer::new(self.clone()))
    }

    /// Takes the oldest request out of the log.
    #[must_use]
    pub fn take_request(&self) -> Option<RecordedRequest> {
        self.state().log.pop_front()
    }

    /// The requests in the log, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().log.iter().cloned().collect()
    }

    /// The requests that arrived, ever, those that left the log included.
    #[must_use]
    pub fn request_count(&self) -> u64 {
        self.state().requests
    }

    /// Lets the next exchange that has no fault yet meet `fault`, whoever it goes to; called again, the one after it.
    pub fn fail_next(&self, fault: MemoryFault) {
        self.state().next_fault.push_back(fault);
    }

    /// Lets every exchange with `authority` meet `fault`, `None` = none any more.
    ///
    /// # Errors
    /// `InvalidInput` where `authority` is no `host` or `host:port`.
    pub fn set_fault(&self, authority: &str, fault: Option<MemoryFault>) -> Result<()> {
        let key = authority_key(authority)?;
        let mut state = self.state();
        match fault {
            Some(fault) => state.faults.insert(key, fault),
            None => state.faults.remove(&key),
        };
        Ok(())
    }

    /// The clock of the network.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds who answers `url` and what goes wrong on the way there.
    pub(super) fn dial(&self, url: &HttpUrl) -> Result<Dialled> {
        let exact = format!("{}:{}", url.host().to_ascii_lowercase(), url.port());
        let default_port = if url.scheme() == "https" { 443 } else { 80 };
        let host = exact.rsplit_once(':').map_or("", |(host, _)| host);
        let mut state = self.state();
        let own = |map: &BTreeMap<String, MemoryFault>| {
            map.get(&exact).or_else(|| map.get(host).filter(|_| url.port() == default_port)).copied()
        };
        let fault = own(&state.faults).or_else(|| state.next_fault.pop_front());
        if fault == Some(MemoryFault::Refuse) {
            return Err(refused(format!("{exact} refused the connection, as the test asked")));
        }
        let route = state
            .routes
            .get(&exact)
            .or_else(|| state.routes.get(host).filter(|_| url.port() == default_port))
            .cloned();
        let listener = || listening(host, url.port()).find_map(|address| state.listeners.get(&address));
        let target = match (route, listener().cloned()) {
            (Some(service), _) => Target::Service(service),
            (None, Some(listener)) => Target::Listener(listener),
            (None, None) => match state.otherwise.clone() {
                Some(service) => Target::Service(service),
                None => return Err(refused(state.nobody_at(&exact))),
            },
        };
        let span = u64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        let port = EPHEMERAL.start() + u16::try_from(state.dials % span).unwrap_or_default();
        state.dials += 1;
        Ok(Dialled { target, fault, peer: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    /// Writes a request into the log; `request` is what the handler will see.
    pub(super) fn record(&self, request: &HttpRequest) {
        if self.0.log == 0 {
            self.state().requests += 1;
            return;
        }
        let seen = RecordedRequest {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.as_bytes().cloned(),
            at: self.0.clock.now(),
        };
        let mut state = self.state();
        state.requests += 1;
        if state.log.len() == self.0.log {
            state.log.pop_front();
        }
        state.log.push_back(seen);
    }

    /// Lets `listener` be found; port 0 is any free one.
    pub(super) fn listen(&self, address: SocketAddr, listener: &Arc<Listener>) -> Result<SocketAddr> {
        let mut state = self.state();
        let taken = |port| {
            state.listeners.contains_key(&SocketAddr::new(address.ip(), port))
                || state.routes.contains_key(&format!("{}:{port}", bracketed(address.ip())))
        };
        let port = match address.port() {
            0 => EPHEMERAL.into_iter().find(|port| !taken(*port)),
            port => Some(port).filter(|port| !taken(*port)),
        };
        let Some(port) = port else {
            let message = format!("{address} cannot be listened at: it is taken; choose another port, or 0");
            return Err(Error::new(ErrorKind::Unavailable, "http.serve", message).not_applied());
        };
        let found = SocketAddr::new(address.ip(), port);
        state.listeners.insert(found, listener.clone());
        Ok(found)
    }

    /// Lets the listener at `address` be found no more, if it is still `listener`.
    pub(super) fn unlisten(&self, address: SocketAddr, listener: &Arc<Listener>) {
        let mut state = self.state();
        if state.listeners.get(&address).is_some_and(|there| Arc::ptr_eq(there, listener)) {
            state.listeners.remove(&address);
        }
    }
}

impl fmt::Debug for MemoryHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryHttp")
            .field("routes", &state.routes.keys())
            .field("otherwise", &state.otherwise.is_some())
            .field("listeners", &state.listeners.keys())
            .field("requests", &state.requests)
            .finish_non_exhaustive()
    }
}

/// The other end of an exchange.
pub(super) struct Dialled {
    pub(super) target: Target,
    pub(super) fault: Option<MemoryFault>,
    /// Whom the handler sees.
    pub(super) peer: SocketAddr,
}

pub(super) enum Target {
    Service(Arc<dyn HttpService>),
    Listener(Arc<Listener>),
}

impl State {
    /// Says that nobody is at `authority`, and who is where.
    fn nobody_at(&self, authority: &str) -> String {
        const SHOWN: usize = 8;
        let listeners = self.listeners.keys().map(ToString::to_string);
        let mut known: Vec<_> = self.routes.keys().cloned().chain(listeners).collect();
        let more = known.len().saturating_sub(SHOWN);
        known.truncate(SHOWN);
        let known = match (known.is_empty(), more) {
            (true, _) => "nobody".to_owned(),
            (false, 0) => known.join(", "),
            (false, more) => format!("{} and {more} more", known.join(", ")),
        };
        format!("nobody listens at {authority}; the memory network knows {known}; add a route or serve there")
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "http.exchange", message)
        .not_applied()
        .with_detail(HttpReason::Connect)
}

/// The addresses under which a listener for `host:port` may stand: its own, or the unspecified one.
fn listening(host: &str, port: u16) -> impl Iterator<Item = SocketAddr> {
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let local = host == "localhost";
    let own = literal.into_iter().chain(local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let own = own.chain(local.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let any = literal.filter(IpAddr::is_loopback).map(|ip| match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    let any = any.or(local.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    own.chain(any).map(move |ip| SocketAddr::new(ip, port))
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
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
