//! The source: a server whose callers wait for what becomes of their message.
//!
//! ```text
//!  caller ─► exchange: a place ─ ids ─ body up to the limit ─► queue ─► receive ─► the bridge
//!     ▲                    └ none: 503                          tag, caller's end of a channel       │
//!     └──────────────── status and body ◄─ channel ◄─────────────────── settle(tag, disposition) ◄───┘
//! ```
//!
//! A caller who leaves drops its end of the channel and nothing else: its message takes its way.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap};
use http_body::Body;
use onex_spi::bridge::{
    BridgeContext, BridgeMessage, BridgeSource, DeliveryTag, MessageId, Metadata, Settled,
};
use onex_spi::http::{HttpBody, HttpPeer, HttpRequest, HttpResponse, HttpServer, HttpService, HttpServing};
use onex_spi::{Clock, Error, Gate, Health, Lifecycle, Pass, Result};
use tokio::sync::{Notify, oneshot, watch};

use super::answer::{self, refused};
use super::{HttpSourceConfig, Reply};
use crate::ids::Ids;
use crate::wire::{KEY, MESSAGE_ID, METADATA, read_key, read_metadata};

/// How long answers may take that became known in the last moment of a close.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Messages that callers post.
#[derive(Debug)]
pub(super) struct HttpSource {
    shared: Arc<Shared>,
    serving: Arc<dyn HttpServing>,
    /// How the close ended; made by the first who closes.
    closed: Mutex<Option<watch::Receiver<Option<Result<()>>>>>,
}

/// What the server's handler and the bridge's end have in common.
#[derive(Debug)]
struct Shared {
    config: HttpSourceConfig,
    limit: usize,
    clock: Arc<dyn Clock>,
    ids: Ids,
    /// Inside is every message from its first byte to its settlement.
    gate: Gate,
    state: Mutex<State>,
    /// Something was queued, or can no longer be.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Callers whose message is being read.
    reading: usize,
    queue: VecDeque<(DeliveryTag, BridgeMessage)>,
    open: HashMap<DeliveryTag, Open>,
    last_tag: u64,
}

/// A message that is queued or handed out.
#[derive(Debug)]
struct Open {
    caller: Option<oneshot::Sender<Settled>>,
    _inside: Pass,
}

impl HttpSource {
    pub(super) async fn open(
        server: &Arc<dyn HttpServer>,
        config: HttpSourceConfig,
        context: &BridgeContext,
    ) -> Result<Self> {
        let listen = config.listen;
        let shared = Arc::new(Shared {
            limit: context.message_bytes,
            clock: context.clock.clone(),
            ids: Ids::new(context, &config.path),
            gate: Gate::new("the HTTP source", context.clock.clone()),
            state: Mutex::default(),
            arrived: Notify::new(),
            config,
        });
        let serving = server.serve(listen, Arc::new(Callers(shared.clone()))).await?;
        tracing::info!(bridge = &*context.bridge, address = %serving.local_addr(), path = shared.config.path, "an HTTP source listens");
        Ok(Self { shared, serving, closed: Mutex::default() })
    }

    fn local_addr(&self) -> SocketAddr {
        self.serving.local_addr()
    }

    /// The URL that they post to.
    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.local_addr(), self.shared.config.path)
    }

    /// Drains, then ends the server, once for all who close; goes on where its caller does not.
    fn begin_close(&self, within: Duration) -> watch::Receiver<Option<Result<()>>> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*closed {
            return running.clone();
        }
        let (ended, end) = watch::channel(None);
        *closed = Some(end.clone());
        drop(closed);
        let (shared, serving) = (self.shared.clone(), self.serving.clone());
        let deadline = shared.clock.now().checked_add(within);
        shared.gate.begin_close(within);
        shared.arrived.notify_waiters();
        tokio::spawn(async move {
            let drained = shared.gate.close("bridge.source", within).await;
            shared.arrived.notify_waiters();
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(shared.clock.now()));
            let served = serving.close(left.max(LAST_WORDS)).await;
            ended.send_replace(Some(drained.and(served)));
        });
        end
    }
}

#[async_trait]
impl BridgeSource for HttpSource {
    async fn receive(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Result<usize> {
        loop {
            let mut arrived = pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            {
                let mut state = self.shared.state();
                let count = state.queue.len().min(max);
                if count > 0 {
                    into.extend(state.queue.drain(..count));
                    return Ok(count);
                }
                if state.reading == 0 && self.shared.gate.is_closed() {
                    return Ok(0);
                }
            }
            arrived.await;
        }
    }

    fn settle(&self, settled: Vec<Settled>) {
        for settled in settled {
            let open = self.shared.state().open.remove(&settled.tag);
            match open.map(|open| open.caller) {
                // Whoever left does not hear it.
                Some(Some(caller)) => drop(caller.send(settled)),
                Some(None) => {}
                None => tracing::error!(tag = settled.tag.get(), "a tag was settled that is not open"),
            }
        }
    }

    fn addresses(&self) -> Vec<String> {
        let (at, path) = (self.local_addr(), &self.shared.config.path);
        let also: &[IpAddr] = match at.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                &[IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]
            }
            _ => &[],
        };
        let hosts = std::iter::once(at.ip()).chain(also.iter().copied());
        hosts.map(|ip| format!("http:{}{path}", SocketAddr::new(ip, at.port()))).collect()
    }
}

#[async_trait]
impl Lifecycle for HttpSource {
    async fn health(&self) -> Health {
        if self.shared.gate.is_closed() {
            return Health::Unhealthy("the HTTP source is closed".to_owned());
        }
        self.serving.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        let mut closed = self.begin_close(within);
        let ended = closed.wait_for(Option::is_some).await.map(|ended| ended.clone());
        // A close whose task is gone died with its runtime, and everything with it.
        ended.ok().flatten().unwrap_or(Ok(()))
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        // Where a close goes on behind, it keeps its time.
        if !self.shared.gate.is_closed() {
            self.shared.gate.cut();
        }
    }
}

/// Answers callers.
#[derive(Debug)]
struct Callers(Arc<Shared>);

#[async_trait]
impl HttpService for Callers {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        Ok(self.0.answer(request).await)
    }
}

impl Shared {
    /// Held for a moment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: &Arc<Self>, mut request: HttpRequest) -> HttpResponse {
        if request.url.path() != self.config.path {
            let refusal = refused(StatusCode::NOT_FOUND, "no bridge listens at this path", None);
            return self.without_reading(refusal, request);
        }
        if !self.config.methods.contains(&request.method) {
            return self.without_reading(answer::not_allowed(&self.config.methods), request);
        }
        let Ok(inside) = self.gate.enter("bridge.receive") else {
            let message = "the bridge is closed and takes nothing new";
            let refusal = refused(StatusCode::SERVICE_UNAVAILABLE, message, Some(self.config.retry_after));
            return self.without_reading(refusal, request);
        };
        if announced(&request).is_some_and(|length| length > self.limit as u64) {
            return self.without_reading(self.too_large(), request);
        }
        let Some(place) = Place::take(self) else {
            let message = "more callers wait than the bridge has places for";
            let refusal = refused(StatusCode::SERVICE_UNAVAILABLE, message, Some(self.config.retry_after));
            return self.without_reading(refusal, request);
        };
        let about = match self.about(&request) {
            Ok(about) => about,
            Err(error) => {
                return self
                    .without_reading(refused(StatusCode::BAD_REQUEST, error.message(), None), request);
            }
        };
        let mut cut = self.gate.stay();
        let payload = tokio::select! {
            biased;
            payload = self.read(&mut request) => payload,
            () = cut.cut() => return answer::cut(about.id, false, self.config.retry_after),
        };
        match payload {
            Ok(payload) => self.queued(about.message(payload), place, inside, cut).await,
            Err(refusal) => self.without_reading(refusal, request),
        }
    }

    /// Queues a message and answers once it is settled.
    async fn queued(
        &self,
        message: BridgeMessage,
        place: Place<'_>,
        inside: Pass,
        mut cut: Pass,
    ) -> HttpResponse {
        let (id, waits) = (message.id, self.config.reply == Reply::Settled);
        let (caller, settled) = oneshot::channel();
        let tag = place.queue(message, Open { caller: waits.then_some(caller), _inside: inside });
        if !waits {
            return answer::accepted(id);
        }
        let settled = tokio::select! {
            biased;
            settled = settled => settled.ok(),
            // From here on the caller is no longer among those for whom the close waits.
            () = cut.cut() => None,
        };
        match settled {
            Some(settled) => answer::settled(settled, self.config.retry_after),
            None => answer::cut(id, !self.take_back(tag), self.config.retry_after),
        }
    }

    /// Takes a message back that was not handed out; tells whether it was there.
    fn take_back(&self, tag: DeliveryTag) -> bool {
        let mut state = self.state();
        let Some(at) = state.queue.iter().position(|(queued, _)| *queued == tag) else { return false };
        let (queued, open) = (state.queue.remove(at), state.open.remove(&tag));
        drop(state);
        drop((queued, open));
        true
    }

    /// What the head of a request says about its message.
    fn about(&self, request: &HttpRequest) -> Result<About> {
        let one = |name: &str| {
            let mut values = request.headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(Error::invalid(
                    "bridge.message",
                    format!("the header `{name}` stands more than once; send it once"),
                )),
                (value, None) => Ok(value),
            }
        };
        let id = match one(MESSAGE_ID)? {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).parse::<MessageId>()?,
            None => self.ids.next(),
        };
        let key = one(KEY)?.map(|value| read_key(value.as_bytes())).transpose()?;
        let told = one(METADATA)?.map(|value| read_metadata(value.as_bytes())).transpose()?;
        let mut metadata = told.unwrap_or_default();
        // What the server knows wins over what a caller tells; the query may hold secrets and stays out.
        metadata.insert("method".to_owned(), request.method.as_str().into());
        metadata.insert("path".to_owned(), request.url.path().into());
        metadata.remove("peer");
        if let Some(peer) = request.extensions.get::<HttpPeer>() {
            metadata.insert("peer".to_owned(), peer.remote.to_string().into());
        }
        let headers = self.config.headers.taken(&request.headers);
        Ok(About { id, key: key.map(Bytes::from), headers, metadata })
    }

    /// Reads the body up to the limit.
    async fn read(&self, request: &mut HttpRequest) -> std::result::Result<Bytes, HttpResponse> {
        let deadline = self.clock.now().checked_add(self.config.read_timeout);
        let late = async {
            match deadline {
                Some(deadline) => self.clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            payload = collect(&mut request.body, self.limit) => match payload {
                Ok(Some(payload)) => Ok(payload),
                Ok(None) => Err(self.too_large()),
                Err(error) => {
                    tracing::debug!(%error, "a caller's body ended early");
                    Err(refused(StatusCode::BAD_REQUEST, "the body ended early", None))
                }
            },
            () = late => {
                let message = format!("the body did not arrive within {:?}", self.config.read_timeout);
                Err(refused(StatusCode::REQUEST_TIMEOUT, message, None))
            }
        }
    }

    fn too_large(&self) -> HttpResponse {
        let message =
            format!("the body is larger than the limit of {} bytes; split or shrink it", self.limit);
        refused(StatusCode::PAYLOAD_TOO_LARGE, message, None)
    }

    /// Answers before the body was read, and lets what is left of it arrive beside: a connection that is closed on bytes that
    /// nobody read is reset, and the answer is lost with it.
    fn without_reading(self: &Arc<Self>, answer: HttpResponse, request: HttpRequest) -> HttpResponse {
        // Whoever waits for `100 Continue` sends nothing once it has this answer.
        let sends = !request.headers.contains_key(EXPECT) && !request.body.is_end_stream();
        if sends && request.body.as_bytes().is_none() {
            let (shared, mut body) = (self.clone(), request.into_parts().body);
            tokio::spawn(async move {
                let most = shared.limit.saturating_add(MOST_UNREAD);
                let patience = shared.clock.now().checked_add(shared.config.read_timeout.min(PATIENCE));
                let Some(patience) = patience else { return };
                tokio::select! {
                    () = discard(&mut body, most) => {}
                    () = shared.clock.sleep_until(patience) => {}
                }
            });
        }
        answer
    }
}

/// What is thrown away of a refused body beyond the limit of a good one, and for how long, before the connection is given up.
const MOST_UNREAD: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// The length that a request announces.
fn announced(request: &HttpRequest) -> Option<u64> {
    let length = |headers: &HeaderMap| headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    length(&request.headers).or_else(|| request.body.size_hint().exact())
}

/// The whole body, or `None` as soon as it is more than `limit` bytes.
async fn collect(body: &mut HttpBody, limit: usize) -> Result<Option<Bytes>> {
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let length = first.len() + rest.len();
        if data.len() > limit.saturating_sub(length) {
            return Ok(None);
        }
        if length == 0 {
            first = data;
        } else {
            // Grown from the bytes that came, never from a length that was announced.
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(Some(if rest.is_empty() { first } else { rest.freeze() }))
}

async fn discard(body: &mut HttpBody, most: usize) {
    let mut seen = 0usize;
    while let Some(Ok(frame)) = body.frame().await {
        seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if seen > most {
            return;
        }
    }
}

/// What is known of a message before its bytes.
struct About {
    id: MessageId,
    key: Option<Bytes>,
    headers: Vec<onex_spi::kafka::Header>,
    metadata: Metadata,
}

impl About {
    fn message(self, payload: Bytes) -> BridgeMessage {
        let mut message = BridgeMessage::new(self.id, payload);
        (message.key, message.headers, message.metadata) = (self.key, self.headers, self.metadata);
        message
    }
}

/// The right to read a body; dropping it gives the place back.
struct Place<'a>(Option<&'a Shared>);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let mut state = shared.state();
        let free = state.reading + state.queue.len() < shared.config.queue;
        free.then(|| {
            state.reading += 1;
            Self(Some(shared))
        })
    }

    /// Puts the message that was read into the queue, which keeps the place until it is handed out.
    fn queue(mut self, message: BridgeMessage, open: Open) -> DeliveryTag {
        let tag = self.0.take().map(|shared| {
            let mut state = shared.state();
            state.reading -= 1;
            state.last_tag += 1;
            let tag = DeliveryTag::new(state.last_tag);
            state.queue.push_back((tag, message));
            state.open.insert(tag, open);
            drop(state);
            shared.arrived.notify_waiters();
            tag
        });
        tag.unwrap_or(DeliveryTag::new(0))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.state().reading -= 1;
            shared.arrived.notify_waiters();
        }
    }
}
