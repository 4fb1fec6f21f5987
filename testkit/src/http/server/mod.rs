//! The suite for [`HttpServer`].
//!
//! ```text
//!  server on the wire      the suite's raw client ─► TCP bytes ─► server ─► handler          raw-byte cases run
//!  server in the process   the transport that the factory gives ─► server ─► handler         raw-byte cases are ignored
//! ```
//!
//! A server's test target, with `harness = false`:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     onex_testkit::http::server::conformance(|setup| async move { Ok(ServerUnderTest::on_the_wire(my_server(setup).await?)) })
//! }
//! ```
//!
//! The law `HTTP` without a number is the documentation of the port itself.

mod ending;
mod exchange;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use onex_spi::http::{HttpRequest, HttpServer, HttpService, HttpServing, HttpTransport, HttpUrl};
use onex_spi::{BoxFuture, Clock, Effect, Error, ErrorKind, Result, TokioClock};

use super::stage::{accepted, broken, failed, within};
use super::transport::case;
use crate::net::RawConnection;
use crate::suite::{self, Case, Stop, Trial};

/// What a case asks of the server that the factory opens.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct HttpServerSetup {
    /// The clock for every timer of the server.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision of the server.
    pub seed: u64,
}

/// A server, and the way to reach it.
#[derive(Clone, Debug)]
pub struct ServerUnderTest {
    server: Arc<dyn HttpServer>,
    reaches: Option<Arc<dyn HttpTransport>>,
}

impl ServerUnderTest {
    /// A server that listens at TCP ports.
    #[must_use]
    pub fn on_the_wire(server: Arc<dyn HttpServer>) -> Self {
        Self { server, reaches: None }
    }

    /// A server that only `transport` reaches.
    #[must_use]
    pub fn in_process(server: Arc<dyn HttpServer>, transport: Arc<dyn HttpTransport>) -> Self {
        Self { server, reaches: Some(transport) }
    }

    /// The same way to another server.
    pub(super) fn with_server(mut self, wrap: fn(Arc<dyn HttpServer>) -> Arc<dyn HttpServer>) -> Self {
        self.server = wrap(self.server);
        self
    }
}

pub(super) type Factory =
    dyn Fn(HttpServerSetup) -> BoxFuture<'static, Result<ServerUnderTest>> + Send + Sync;

/// What a case begins with: the way to open the server.
#[derive(Clone)]
pub(crate) struct World {
    factory: Arc<Factory>,
}

impl World {
    async fn open(self) -> Result<Lab, Stop> {
        let setup = HttpServerSetup { clock: Arc::new(TokioClock::new()), seed: 7 };
        let ServerUnderTest { server, reaches } = (self.factory)(setup).await?;
        Ok(Lab { server, reaches })
    }

    /// As [`open`](World::open), for cases of raw bytes.
    async fn open_on_the_wire(self) -> Result<Lab, Stop> {
        let lab = self.open().await?;
        match lab.reaches {
            Some(_) => Err(Stop::Ignored("the server is not on the wire".into())),
            None => Ok(lab),
        }
    }
}

/// A port of the loopback that the server finds.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An open server.
struct Lab {
    server: Arc<dyn HttpServer>,
    reaches: Option<Arc<dyn HttpTransport>>,
}

impl Lab {
    async fn serve(&self, service: Arc<dyn HttpService>) -> Result<Arc<dyn HttpServing>, Stop> {
        let serving = within("HTTP", "serve", self.server.serve(ANY_PORT, service)).await?;
        accepted("HTTP", "serve", serving)
    }

    /// Connects raw; only for servers on the wire.
    async fn connect(&self, serving: &Arc<dyn HttpServing>) -> Result<RawConnection, Stop> {
        RawConnection::open(serving.local_addr()).await.map_err(|error| broken("the server refuses", error))
    }

    /// Asks for one exchange; the future borrows nothing, so that it can run beside others.
    fn ask(&self, address: SocketAddr, asked: Asked) -> BoxFuture<'static, Result<Answered, Lost>> {
        match &self.reaches {
            Some(transport) => Box::pin(through(transport.clone(), address, asked)),
            None => Box::pin(by_wire(address, asked)),
        }
    }
}

/// What a case asks.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

impl Asked {
    fn new(method: Method, target: &'static str) -> Self {
        Self { method, target, headers: Vec::new(), body: Bytes::new() }
    }

    fn get(target: &'static str) -> Self {
        Self::new(Method::GET, target)
    }

    fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// What came back.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Why nothing whole came back.
#[derive(Debug, PartialEq, Eq)]
enum Lost {
    /// Nobody listens.
    Refused,
    /// The exchange was cut.
    Cut(String),
}

async fn through(
    transport: Arc<dyn HttpTransport>,
    address: SocketAddr,
    asked: Asked,
) -> Result<Answered, Lost> {
    let lost = |error: Error| match (error.kind(), error.effect()) {
        (ErrorKind::Unavailable, Effect::NotApplied) => Lost::Refused,
        _ => Lost::Cut(format!("{error:#}")),
    };
    let url = HttpUrl::try_from(format!("http://{address}{}", asked.target)).map_err(lost)?;
    let mut request = HttpRequest::new(asked.method, url);
    for (name, value) in asked.headers {
        let value = ::http::HeaderValue::from_static(value);
        request.headers.append(::http::HeaderName::from_static(name), value);
    }
    request.body = asked.body.into();
    let parts = transport.exchange(request).await.map_err(lost)?.into_parts();
    let body = parts.body.bytes(64 << 20).await.map_err(lost)?;
    Ok(Answered { status: parts.status, headers: parts.headers, body })
}

async fn by_wire(address: SocketAddr, asked: Asked) -> Result<Answered, Lost> {
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Lost::Refused,
        _ => Lost::Cut(error.to_string()),
    };
    let mut raw = RawConnection::open(address).await.map_err(lost)?;
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", asked.method, asked.target);
    for (name, value) in asked.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !asked.body.is_empty() {
        head += &format!("content-length: {}\r\n", asked.body.len());
    }
    raw.send(head + "\r\n").await.map_err(lost)?;
    raw.send(asked.body).await.map_err(lost)?;
    let response = raw.response(asked.method.as_str()).await.map_err(lost)?;
    Ok(Answered { status: response.status, headers: response.headers, body: response.body })
}

/// The answer that was due.
fn came(law: &'static str, what: &str, answered: Result<Answered, Lost>) -> Result<Answered, Stop> {
    answered.map_err(|lost| failed(law, format!("{what}: {lost:?}")))
}

/// Waits until nobody listens at `address` any more.
async fn until_refused(law: &'static str, lab: &Lab, address: SocketAddr) -> Result<(), Stop> {
    within(law, "the end of listening", async {
        // There is no event for "the port is closed".
        while lab.ask(address, Asked::get("/late")).await.err() != Some(Lost::Refused) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await
}

pub(super) fn cases() -> Vec<Case<World>> {
    [exchange::cases(), wire::cases(), ending::cases()].into_iter().flatten().collect()
}

/// The suite's cases on the server that `factory` opens, one server a case.
pub fn trials<F, Fut>(factory: F) -> Vec<Trial>
where
    F: Fn(HttpServerSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ServerUnderTest>> + Send + 'static,
{
    let factory: Arc<Factory> = Arc::new(move |setup| Box::pin(factory(setup)));
    bind(&factory)
}

pub(super) fn bind(factory: &Arc<Factory>) -> Vec<Trial> {
    let trial = |case: &Case<World>| {
        let world = World { factory: factory.clone() };
        Trial::new(case, move || world.clone())
    };
    cases().iter().map(trial).collect()
}

/// Runs the suite as the `main` of a test target with `harness = false`.
#[must_use]
pub fn conformance<F, Fut>(factory: F) -> ExitCode
where
    F: Fn(HttpServerSetup) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ServerUnderTest>> + Send + 'static,
{
    suite::main(trials(factory))
}
