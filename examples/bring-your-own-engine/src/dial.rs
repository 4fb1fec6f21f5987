//! An `HttpTransport` for `http://` on hyper's connections.
//!
//! ```text
//!  exchange ─► framed      refuse headers that contradict the body; Host, Content-Length
//!           ─► pool        an idle connection to the authority, else dial
//!           ─► Connection  send; the exchange itself drives hyper, there are no tasks
//!           ─► Answer      the body drives it on; read to its end ─► idle again, dropped or failed ─► gone
//! ```
//!
//! Known gaps, the price of having no tasks: nobody watches an idle connection, so one that its server closed is
//! noticed at the next use, or thrown out 60 s later by the next answer; and an answer that a close cuts lets go of
//! its connection when its body is next read or dropped. No TLS, no HTTP/2, no `CONNECT`, no bound on connections.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body::Body;
use onex_spi::http::{
    HttpBody, HttpCapabilities, HttpFault, HttpFeature, HttpPhase, HttpReason, HttpRequest, HttpResponse,
    HttpService, HttpTransport, HttpUrl, PoolStats, RequestParts, Resolver, StatsSource,
};
use onex_spi::{Clock, Error, ErrorKind, Features, Health, Lifecycle, Result};
use tokio::net::{TcpStream, lookup_host};

use crate::connection::{Answer, Connection, Cut, Pool, cut};

/// The longest that resolving and dialling may take where the request does not say.
const CONNECT: Duration = Duration::from_secs(10);
/// The most headers in a response; hyper's own default.
const HEADERS: usize = 100;

/// The transport; dropping it drops the idle connections.
#[derive(Debug)]
pub struct DialTransport {
    clock: Arc<dyn Clock>,
    resolver: Option<Arc<dyn Resolver>>,
    capabilities: HttpCapabilities,
    pool: Arc<Pool>,
}

impl DialTransport {
    /// Makes a transport that asks `resolver` for addresses, or the system where there is none.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, resolver: Option<Arc<dyn Resolver>>) -> Self {
        let features = Features::none()
            .with(HttpFeature::Wire)
            .with(HttpFeature::Trailers)
            .with(HttpFeature::ExactTarget);
        let capabilities = HttpCapabilities::new(features).with_response_headers(HEADERS);
        Self { pool: Arc::new(Pool::new(clock.clone())), clock, resolver, capabilities }
    }

    /// Dials within `limit`, unless the transport is closed meanwhile.
    async fn dial(&self, url: &HttpUrl, limit: Option<Duration>, ends: &mut Cut) -> Result<Connection> {
        let deadline = crate::after(&*self.clock, limit.unwrap_or(CONNECT));
        tokio::select! {
            biased;
            () = ends => Err(cut().not_applied()),
            dialled = self.connect(url) => dialled,
            () = self.clock.sleep_until(deadline) => {
                let message = format!("no connection to {} within the connect timeout", url.host());
                let late = Error::new(ErrorKind::TimedOut, "http.exchange", message).not_applied();
                Err(late.with_detail(HttpFault::timeout(HttpPhase::Connect)))
            }
        }
    }

    async fn connect(&self, url: &HttpUrl) -> Result<Connection> {
        let (host, port) = (url.host().trim_matches(['[', ']']), url.port());
        let addresses: Vec<SocketAddr> = match &self.resolver {
            Some(resolver) => resolver.resolve(host).await?.into_iter().map(|ip| (ip, port).into()).collect(),
            None => {
                let found = lookup_host((host, port)).await;
                let message = format!("the host {host} has no address; check its name");
                found
                    .map_err(|error| refused(ErrorKind::NotFound, HttpReason::Resolve, message, error))?
                    .collect()
            }
        };
        let stream = TcpStream::connect(&*addresses).await;
        // Without it a small write waits for the acknowledgement of the one before.
        let stream =
            stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(|error| {
                let message = format!("cannot connect to {host} port {port}");
                refused(ErrorKind::Unavailable, HttpReason::Connect, message, error)
            })?;
        Connection::new(stream, authority(url), &self.pool).await
    }
}

/// What connections are kept under.
fn authority(url: &HttpUrl) -> String {
    format!("{}:{}", url.host().to_ascii_lowercase(), url.port())
}

fn refused(kind: ErrorKind, reason: HttpReason, message: String, source: std::io::Error) -> Error {
    Error::new(kind, "http.exchange", message).not_applied().with_detail(reason).with_source(source)
}

#[async_trait]
impl HttpService for DialTransport {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let mut ends = self.pool.enter()?;
        let parts = request.into_parts();
        let (url, limit) = (parts.url.clone(), parts.timeouts.connect);
        let mut request = framed(parts)?;
        loop {
            let mut connection = match self.pool.take(&authority(&url)) {
                Some(idle) => idle,
                None => self.dial(&url, limit, &mut ends).await?,
            };
            match connection.send(request, &mut ends).await {
                Ok(response) => {
                    let (head, incoming) = response.into_parts();
                    let says = |name| head.headers.contains_key(name);
                    if says(CONTENT_LENGTH) && says(TRANSFER_ENCODING) {
                        // Two answers to where the body ends: no second exchange with such a peer (RFC 9112 §6.1).
                        connection.home = Weak::new();
                    }
                    let body = Answer::body(incoming, connection, ends);
                    return Ok(HttpResponse::from_head(head, body, Some(url)));
                }
                // The server had closed the idle connection and nothing was sent: no retry, and it ends, because
                // each turn uses up one idle connection.
                Err((_, Some(unsent))) if connection.reused => request = *unsent,
                Err((error, Some(_))) => return Err(error.not_applied()),
                Err((error, None)) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Lifecycle for DialTransport {
    async fn health(&self) -> Health {
        self.pool.enter().map_or_else(|closed| Health::Unhealthy(closed.to_string()), |_| Health::Healthy)
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.pool.close(within).await
    }
}

#[async_trait]
impl HttpTransport for DialTransport {
    fn capabilities(&self) -> &HttpCapabilities {
        &self.capabilities
    }

    fn pool_stats(&self) -> PoolStats {
        PoolStats::new(StatsSource::Unsupported)
    }
}

/// Makes hyper's request: the target in origin form, and headers that tell the truth about the body.
fn framed(parts: RequestParts) -> Result<Request<HttpBody>> {
    let RequestParts { method, url, mut headers, body, .. } = parts;
    if url.scheme() != "http" || method == Method::CONNECT {
        return Err(Error::unsupported(
            "http.exchange",
            "this engine speaks neither TLS nor CONNECT; use http://",
        ));
    }
    let length = body.size_hint().exact();
    check(&headers, length)?;
    match length {
        Some(0) if matches!(method, Method::POST | Method::PUT | Method::PATCH) => {
            // HTTP-31; all other lengths hyper adds itself.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(_) => {}
        None => {
            // Without it hyper takes the body of a GET for none.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    if !headers.contains_key(HOST) {
        let authority = url.uri().authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = HeaderValue::try_from(host).map_err(|error| {
            let message = "the host is no header value; percent-encode it";
            Error::invalid("http.exchange", message).with_detail(HttpReason::InvalidUrl).with_source(error)
        })?;
        headers.insert(HOST, host);
    }
    let target = url.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    Ok(request)
}

/// Refuses headers that would break the framing (HTTP-15); line ends the types refuse already.
fn check(headers: &HeaderMap, length: Option<u64>) -> Result<()> {
    let length = length.map(|length| length.to_string());
    let is_length = |said: &HeaderValue| length.as_deref().is_some_and(|length| said == length);
    let is_chunked = |said: &HeaderValue| said.as_bytes().eq_ignore_ascii_case(b"chunked");
    let twice = |name| headers.get_all(name).iter().nth(1).is_some();
    let beside_chunks = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    let bad = if beside_chunks || twice(CONTENT_LENGTH) || !headers.get(CONTENT_LENGTH).is_none_or(is_length)
    {
        CONTENT_LENGTH
    } else if twice(TRANSFER_ENCODING) || !headers.get(TRANSFER_ENCODING).is_none_or(is_chunked) {
        TRANSFER_ENCODING
    } else if twice(HOST) {
        HOST
    } else {
        return Ok(());
    };
    let message =
        format!("the header {bad} contradicts the body or itself; leave it out, the engine adds it");
    Err(Error::invalid("http.exchange", message).with_detail(HttpReason::InvalidHeader))
}
