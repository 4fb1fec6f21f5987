//! Ends whose other side speaks HTTP.
//!
//! ```text
//!  offer ─► HttpClient ─ POST ─► source { listen = 127.0.0.1:0 }        target { url } ─ POST ─► HttpServer ─► arrived(path)
//! ```
//!
//! The protocol is the caller's; what stands here is the other side of each end, over the ports. It reads and writes the headers
//! in which the protocol `http` carries what HTTP has no place for: `onex-message-id`, `onex-key`, `onex-metadata`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Method, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use onex_spi::bridge::{BridgeMessage, BridgeProtocol, MessageId};
use onex_spi::http::{
    HttpBody, HttpClient, HttpRequest, HttpResponse, HttpServer, HttpService, HttpServing, HttpUrl,
};
use onex_spi::kafka::Header;
use onex_spi::provider::{Table, Value};
use onex_spi::{Clock, Error, ErrorKind, Features, Result, TokioClock};
use tokio::task::JoinSet;

use super::ends::{Ends, EndsFeature};

const MESSAGE_ID: &str = "onex-message-id";
const METADATA: &str = "onex-metadata";
const KEY: &str = "onex-key";

/// What a message may have at most; more than any case sends.
const MOST: usize = 4 << 20;

/// Ends between a client and a server of HTTP; the protocols run in real time.
pub struct HttpEnds {
    protocol: Arc<dyn BridgeProtocol>,
    client: Arc<dyn HttpClient>,
    serving: Arc<dyn HttpServing>,
    paths: Arc<Paths>,
    offers: Mutex<JoinSet<()>>,
}

/// What arrived, by path; a path that is not here is answered with 404.
#[derive(Default)]
struct Paths(Mutex<BTreeMap<String, Vec<BridgeMessage>>>);

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl fmt::Debug for HttpEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEnds").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Paths {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<BridgeMessage>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpEnds {
    /// Makes ends of `protocol`; `server` stands for the servers to which its targets post, `client` for the callers of its sources.
    ///
    /// # Errors
    /// Where `server` cannot listen at a port of the loopback.
    pub async fn open(
        protocol: Arc<dyn BridgeProtocol>,
        server: Arc<dyn HttpServer>,
        client: Arc<dyn HttpClient>,
    ) -> Result<Self> {
        let paths = Arc::new(Paths::default());
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let serving = server.serve(any, Arc::clone(&paths) as Arc<dyn HttpService>).await?;
        Ok(Self { protocol, client, serving, paths, offers: Mutex::default() })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl HttpService for Paths {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let path = request.url.path().to_owned();
        if request.method == Method::HEAD {
            return Ok(HttpResponse::new(StatusCode::OK, HttpBody::EMPTY));
        }
        if !self.lock().contains_key(&path) {
            return Ok(HttpResponse::new(StatusCode::NOT_FOUND, HttpBody::EMPTY));
        }
        let parts = request.into_parts();
        let mut message = read_head(&parts.headers)?;
        message.payload = parts.body.bytes(MOST).await?;
        self.lock().entry(path).or_default().push(message);
        Ok(HttpResponse::new(StatusCode::NO_CONTENT, HttpBody::EMPTY))
    }
}

fn corrupt(header: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "http_ends.arrived", format!("the header `{header}` cannot be read"))
}

/// What the head of a request says of its message.
fn read_head(headers: &::http::HeaderMap) -> Result<BridgeMessage> {
    let id =
        headers.get(MESSAGE_ID).and_then(|value| value.to_str().ok()).ok_or_else(|| corrupt(MESSAGE_ID))?;
    let mut message = BridgeMessage::new(id.parse::<MessageId>()?, Bytes::new());
    if let Some(value) = headers.get(METADATA) {
        message.metadata = serde_json::from_slice(value.as_bytes()).map_err(|_| corrupt(METADATA))?;
    }
    if let Some(value) = headers.get(KEY) {
        message.key = Some(read_key(value.as_bytes()).ok_or_else(|| corrupt(KEY))?.into());
    }
    let own = headers.iter().filter(|(name, _)| ![MESSAGE_ID, METADATA, KEY].contains(&name.as_str()));
    message.headers =
        own.map(|(name, value)| Header::new(name.as_str(), value.as_bytes().to_vec())).collect();
    Ok(message)
}

/// A key as it travels: `%XX` where a byte is no printable ASCII.
fn write_key(key: &[u8]) -> String {
    key.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn read_key(text: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            key.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = behind;
        } else {
            key.push(*first);
        }
    }
    Some(key)
}

fn request_of(url: HttpUrl, message: &BridgeMessage) -> Result<HttpRequest> {
    let unsaid =
        |error: &dyn fmt::Display| Error::invalid("http_ends.offer", format!("HTTP cannot say it: {error}"));
    let mut request = HttpRequest::new(Method::POST, url);
    for header in &message.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| unsaid(&error))?;
        let value = HeaderValue::from_bytes(header.value.as_deref().unwrap_or_default());
        request.headers.append(name, value.map_err(|error| unsaid(&error))?);
    }
    let metadata = serde_json::to_string(&message.metadata).map_err(|error| unsaid(&error))?;
    let mut own = vec![(MESSAGE_ID, message.id.to_string()), (METADATA, metadata)];
    own.extend(message.key.as_ref().map(|key| (KEY, write_key(key))));
    for (name, text) in own {
        let value = HeaderValue::from_str(&text).map_err(|error| unsaid(&error))?;
        request.headers.insert(HeaderName::from_static(name), value);
    }
    request.body = message.payload.clone().into();
    // A caller waits as long as the case does.
    request.timeouts.total = Some(Duration::from_secs(60));
    Ok(request)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Ends for HttpEnds {
    fn source_protocol(&self) -> Arc<dyn BridgeProtocol> {
        Arc::clone(&self.protocol)
    }

    fn target_protocol(&self) -> Arc<dyn BridgeProtocol> {
        Arc::clone(&self.protocol)
    }

    /// HTTP has no null header, a port that is found cannot be known before, and every waiting caller holds a connection.
    fn features(&self) -> Features<EndsFeature> {
        use EndsFeature::{Keys, Mebibyte, Metadata, MissingRoutes};
        Features::none().with(Keys).with(Metadata).with(MissingRoutes).with(Mebibyte)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(TokioClock::new())
    }

    async fn source(&self, name: &str) -> Result<Table> {
        let text = |text: String| Value::from(text);
        Ok(Table::from_iter([
            ("listen".to_owned(), text("127.0.0.1:0".to_owned())),
            ("path".to_owned(), text(format!("/{name}"))),
            ("queue".to_owned(), Value::from(4096)),
        ]))
    }

    async fn target(&self, _: Option<&str>) -> Result<Table> {
        let url = format!("http://{}", self.serving.local_addr());
        Ok(Table::from_iter([
            ("url".to_owned(), Value::from(url)),
            ("concurrency".to_owned(), Value::from(16)),
        ]))
    }

    async fn route(&self, name: &str) -> Result<String> {
        let path = format!("/{name}");
        self.paths.lock().entry(path.clone()).or_default();
        Ok(path)
    }

    fn missing_route(&self, name: &str) -> String {
        format!("/{name}")
    }

    fn route_into(&self, name: &str) -> String {
        format!("/{name}")
    }

    async fn offer(&self, _: &str, addresses: &[String], messages: Vec<BridgeMessage>) -> Result<()> {
        let address = addresses.first().and_then(|address| address.strip_prefix("http:"));
        let address =
            address.ok_or_else(|| Error::invalid("http_ends.offer", "the source has no address"))?;
        let url = HttpUrl::try_from(format!("http://{address}"))?;
        let requests = messages.iter().map(|message| request_of(url.clone(), message));
        let requests: Vec<_> = requests.collect::<Result<_>>()?;
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        for request in requests {
            let client = Arc::clone(&self.client);
            offers.spawn(async move {
                // What the caller is answered is the protocol's business; what became of the message is the case's.
                if let Ok(response) = client.request(request).await {
                    let _ = response.into_body().bytes(MOST).await;
                }
            });
        }
        Ok(())
    }

    async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>> {
        let missing =
            || Error::new(ErrorKind::NotFound, "http_ends.arrived", format!("nobody made `{route}`"));
        self.paths.lock().get(route).cloned().ok_or_else(missing)
    }

    async fn close(&self) {
        let mut offers = std::mem::take(&mut *self.offers.lock().unwrap_or_else(PoisonError::into_inner));
        offers.shutdown().await;
        // Whatever is still on its way is cut: the case has ended.
        let _ = self.serving.close(Duration::ZERO).await;
    }
}
