//! An `HttpTransport` for `http://` on the pooled client of `hyper-util`.
//!
//! ```text
//!  exchange ─► frame (the SPI's) ─► Client: an idle connection, else Dial ─► Stream
//!           ◄─ HttpBody::arriving (the SPI's) ◄─ head
//! ```
//!
//! Known gaps: no TLS, no HTTP/2, no `CONNECT`, no bound on connections, which nobody counts. The time of an idle
//! connection runs on tokio's clock. A request that certainly was not sent is told as one that may have been.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Extensions, Request, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use onex_spi::http::{
    HttpBody, HttpCapabilities, HttpFeature, HttpReason, HttpRequest, HttpResponse, HttpService,
    HttpTransport, PoolStats, RequestParts, Resolver, StatsSource, body_failed, connect_timed_out,
    head_failed,
};
use onex_spi::{
    BoxFuture, Clock, Effect, Error, ErrorKind, Features, Gate, Health, Lifecycle, Result, find_source,
};
use tokio::net::{TcpStream, lookup_host};
use tower_service::Service;

const CALL: &str = "http.exchange";
/// The longest that resolving and dialling may take where the request does not say.
const CONNECT: Duration = Duration::from_secs(10);
/// The most headers in a response; hyper's own default.
const HEADERS: usize = 100;

/// The transport; dropping it drops the idle connections.
#[derive(Debug)]
pub struct DialTransport {
    /// `None` = closed: the idle connections go with it.
    client: Mutex<Option<Client<Dial, HttpBody>>>,
    clock: Arc<dyn Clock>,
    gate: Gate,
    capabilities: HttpCapabilities,
}

impl DialTransport {
    /// Makes a transport that asks `resolver` for addresses, or the system where there is none.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, resolver: Option<Arc<dyn Resolver>>) -> Self {
        let features = Features::none()
            .with(HttpFeature::Wire)
            .with(HttpFeature::Trailers)
            .with(HttpFeature::ExactTarget);
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(Dial(resolver));
        Self {
            client: Mutex::new(Some(client)),
            gate: Gate::new("the transport", clock.clone()),
            clock,
            capabilities: HttpCapabilities::new(features).with_response_headers(HEADERS),
        }
    }

    /// Ends where the connect timeout has passed without a connection.
    async fn late(&self, limit: Duration, mut connection: CaptureConnection) -> Error {
        let late = self.clock.sleep_until(self.clock.after(limit));
        let connected = tokio::select! {
            biased;
            _ = connection.wait_for_connection_metadata() => true,
            () = late => false,
        };
        if connected { pending().await } else { connect_timed_out(limit) }
    }
}

#[async_trait]
impl HttpService for DialTransport {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let mut pass = self.gate.enter(CALL)?;
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = client.ok_or_else(|| pass.cut_error(CALL).not_applied())?;
        let mut parts = request.into_parts();
        parts.require_plain()?;
        parts.frame()?;
        let RequestParts { method, url, headers, body, timeouts, .. } = parts;
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
            (method, url.uri().clone(), headers);
        let connection = capture_connection(&mut request);
        let response = tokio::select! {
            biased;
            response = client.request(request) => response.map_err(failed)?,
            () = pass.cut() => return Err(pass.cut_error(CALL)),
            late = self.late(timeouts.connect.unwrap_or(CONNECT), connection.clone()) => return Err(late),
        };
        let (mut head, incoming) = response.into_parts();
        if let Some(Used(used)) = head.extensions.remove() {
            used.store(true, Ordering::Relaxed);
        }
        if head.headers.contains_key(CONTENT_LENGTH)
            && head.headers.contains_key(TRANSFER_ENCODING)
            && let Some(connection) = &*connection.connection_metadata()
        {
            // Two answers to where the body ends: no second exchange with such a peer (RFC 9112 §6.1).
            connection.poison();
        }
        let body = HttpBody::arriving(incoming, pass, body_failed).await;
        Ok(HttpResponse::from_head(head, body, Some(url)))
    }
}

#[async_trait]
impl Lifecycle for DialTransport {
    async fn health(&self) -> Health {
        self.gate.health()
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.gate.begin_close(within);
        drop(self.client.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.gate.close("http.close", within).await
    }
}

impl HttpTransport for DialTransport {
    fn capabilities(&self) -> &HttpCapabilities {
        &self.capabilities
    }

    fn pool_stats(&self) -> PoolStats {
        PoolStats::new(StatsSource::Unsupported)
    }
}

/// What the client met before the head of the answer.
fn failed(error: legacy::Error) -> Error {
    if let Some(own) = Error::find_in(&error) {
        // The dial's, else the caller's own body's: then the server may have acted on what came before.
        return if error.is_connect() { own } else { own.with_effect(Effect::Unknown) };
    }
    let mut extras = Extensions::new();
    error.connect_info().inspect(|connection| connection.get_extras(&mut extras));
    let reused = extras.get().is_some_and(|Used(used)| used.load(Ordering::Relaxed));
    let reason = match find_source::<hyper::Error>(&error) {
        Some(hyper) if hyper.is_parse_too_large() => HttpReason::HeadTooLarge,
        Some(hyper) if hyper.is_parse() => HttpReason::Protocol,
        Some(hyper) if hyper.is_body_write_aborted() => HttpReason::IncompleteBody,
        _ => HttpReason::ConnectionLost,
    };
    head_failed(reason, reused).with_source(error)
}

/// Makes connections, with the resolver that was given.
#[derive(Clone, Debug)]
struct Dial(Option<Arc<dyn Resolver>>);

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self(resolver) = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let port = uri.port_u16().unwrap_or(80);
            let refused = |kind, reason: HttpReason, message| {
                move |error: io::Error| {
                    let error = Error::new(kind, CALL, format!("{host}:{port} {message}")).with_source(error);
                    error.not_applied().with_detail(reason)
                }
            };
            let unknown = refused(ErrorKind::NotFound, HttpReason::Resolve, "has no address; check the name");
            let lost = refused(ErrorKind::Unavailable, HttpReason::Connect, "cannot be connected to");
            let addresses: Vec<SocketAddr> = match resolver {
                Some(own) => own.resolve(host).await?.into_iter().map(|ip| (ip, port).into()).collect(),
                None => lookup_host((host, port)).await.map_err(unknown)?.collect(),
            };
            let stream = TcpStream::connect(&*addresses).await.and_then(|stream| {
                // Without it a small write waits for the acknowledgement of the one before.
                stream.set_nodelay(true).map(|()| stream)
            });
            Ok(Stream { io: TokioIo::new(stream.map_err(lost)?), used: Used::default() })
        })
    }
}

/// Whether a connection has carried an exchange.
#[derive(Clone, Default)]
struct Used(Arc<AtomicBool>);

/// A connection.
struct Stream {
    io: TokioIo<TcpStream>,
    used: Used,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.used.clone())
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
