//! The network: who is reachable under which authority, what went by, what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};
use onex_spi::http::{HttpReason, HttpRequest, HttpService, HttpUrl};
use onex_spi::{Clock, Error, ErrorKind, Result};

use super::MemoryFault;
use super::listener::Listener;

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

/// What all handles, transports and servers of one network share.
pub(super) struct Network {
    clock: Arc<dyn Clock>,
    log: usize,
    state: Mutex<State>,
}

/// Who is where, and what has gone by; held for a moment.
#[derive(Default)]
pub(super) struct State {
    pub(super) routes: BTreeMap<String, Arc<dyn HttpService>>,
    pub(super) otherwise: Option<Arc<dyn HttpService>>,
    listeners: BTreeMap<SocketAddr, Arc<Listener>>,
    dials: u64,
    pub(super) requests: u64,
    pub(super) log: VecDeque<RecordedRequest>,
    pub(super) next_fault: VecDeque<MemoryFault>,
    pub(super) faults: BTreeMap<String, MemoryFault>,
}

/// The ports that a peer or a listener of port 0 may have (RFC 6335 §6).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

impl Network {
    pub(super) fn new(log: usize, clock: Arc<dyn Clock>) -> Self {
        Self { clock, log, state: Mutex::default() }
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.log == 0 {
            self.state().requests += 1;
            return;
        }
        let seen = RecordedRequest {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.as_bytes().cloned(),
            at: self.clock.now(),
        };
        let mut state = self.state();
        state.requests += 1;
        if state.log.len() == self.log {
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

impl fmt::Debug for Network {
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
