//! What only the inside can show: callers that leave, a close, places, limits. On memory and over real sockets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use onex_http_client::HttpClientBuilder;
use onex_memory::http::MemoryHttp;
use onex_spi::bridge::{
    BridgeContext, BridgeMessage, BridgeProtocol, BridgeSource, BridgeTarget, DeliveryTag, Disposition,
    MessageId, Settled,
};
use onex_spi::http::{
    HttpBody, HttpClient, HttpRequest, HttpResponse, HttpServer, HttpService, HttpTransport, HttpUrl,
};
use onex_spi::provider::{OpenContext, Table};
use onex_spi::{Clock, Error, ErrorKind, Health, Result, TokioClock};

use super::HttpProtocol;

const LIMIT: usize = 1024;
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    clock: Arc<dyn Clock>,
    server: Arc<dyn HttpServer>,
    transport: Arc<dyn HttpTransport>,
    client: Arc<dyn HttpClient>,
    http: HttpProtocol,
}

impl World {
    fn of(server: Arc<dyn HttpServer>, transport: Arc<dyn HttpTransport>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
        let client =
            HttpClientBuilder::new(transport.clone(), clock.clone()).build().expect("the default is good");
        let http = HttpProtocol::new().with_server(server.clone()).with_client(client.clone());
        Self { clock, server, transport, client, http }
    }

    fn memory() -> Self {
        let network = MemoryHttp::new(Arc::new(TokioClock::new()));
        Self::of(network.server(), network.transport())
    }

    async fn sockets() -> Result<Self> {
        let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
        let server =
            onex_http_server_hyper::open(onex_http_server_hyper::Config::default(), &context).await?;
        let transport =
            onex_http_transport_hyper::open(onex_http_transport_hyper::Config::default(), &context).await?;
        Ok(Self::of(server, transport))
    }

    fn context(&self) -> BridgeContext {
        BridgeContext::new(self.clock.clone(), 7, "hooks", LIMIT)
    }

    async fn source(&self, more: &str) -> Result<Arc<dyn BridgeSource>> {
        let table = format!("listen = '127.0.0.1:0'\npath = '/hooks'\n{more}");
        self.http.source(parse(&table), &self.context()).await
    }

    fn post(&self, body: impl Into<HttpBody>, headers: &[(&'static str, &str)]) -> Calling {
        let url = HttpUrl::try_from(self.http.listening()[0].url.as_str()).expect("a URL");
        let mut request = HttpRequest::new(Method::POST, url);
        for (name, value) in headers {
            request.headers.append(*name, value.parse().expect("a value"));
        }
        request.body = body.into();
        let transport = self.transport.clone();
        tokio::spawn(async move { transport.exchange(request).await })
    }
}

type Calling = tokio::task::JoinHandle<Result<HttpResponse>>;

fn parse(text: &str) -> Table {
    text.parse().expect("a table")
}

async fn answer(calling: Calling) -> Result<(u16, String)> {
    let response = calling.await.expect("no panic")?;
    let status = response.status.as_u16();
    let body = response.into_body().bytes(1 << 20).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn one(source: &Arc<dyn BridgeSource>) -> Result<(DeliveryTag, BridgeMessage)> {
    let mut into = Vec::new();
    assert_eq!(source.receive(1, &mut into).await?, 1);
    Ok(into.remove(0))
}

fn delivered(tag: DeliveryTag, id: MessageId) -> Vec<Settled> {
    vec![Settled::new(tag, id, Disposition::Delivered("a".into()))]
}

#[tokio::test]
async fn a_caller_waits_for_the_end_of_its_message() -> Result<()> {
    for world in [World::memory(), World::sockets().await?] {
        let source = world.source("").await?;
        let id = "0123456789abcdef0123456789abcdef";
        let headers =
            [("onex-message-id", id), ("onex-key", "a%20b"), ("x-own", "1"), ("authorization", "hunter2")];
        let calling = world.post("{}", &headers);
        let (tag, message) = one(&source).await?;
        assert_eq!((message.id.to_string(), &message.payload[..]), (id.to_owned(), &b"{}"[..]));
        assert_eq!(message.key.as_deref(), Some(&b"a b"[..]));
        assert_eq!(message.headers.iter().filter(|header| &*header.name == "x-own").count(), 1);
        assert!(message.header("authorization").is_none(), "ONEX-BR-07");
        assert_eq!(
            (&message.metadata["method"], &message.metadata["path"]),
            (&"POST".into(), &"/hooks".into())
        );
        assert!(message.metadata.contains_key("peer"));
        assert!(!calling.is_finished());
        source.settle(delivered(tag, message.id));
        let (status, body) = answer(calling).await?;
        assert_eq!((status, body), (200, format!("{{\"message_id\":\"{id}\",\"route\":\"a\"}}")));
        source.close(MINUTE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nothing_back_and_nobody_else_with_it() -> Result<()> {
    let world = World::memory();
    let source = world.source("").await?;
    let leaving = world.post("1", &[]);
    let (first, message) = one(&source).await?;
    let staying = world.post("2", &[]);
    let (second, other) = one(&source).await?;
    leaving.abort();
    assert!(leaving.await.is_err());
    let mut settled = delivered(first, message.id);
    settled.extend(delivered(second, other.id));
    source.settle(settled);
    assert_eq!(answer(staying).await?.0, 200);
    source.close(MINUTE).await
}

#[tokio::test]
async fn what_is_no_message_is_refused_readably_and_reaches_nobody() -> Result<()> {
    for world in [World::memory(), World::sockets().await?] {
        let source = world.source("").await?;
        for (headers, says) in [
            (&[("onex-message-id", "7")][..], "32 hexadecimal"),
            (
                &[
                    ("onex-message-id", "00000000000000000000000000000007"),
                    ("onex-message-id", "00000000000000000000000000000007"),
                ],
                "more than once",
            ),
            (&[("onex-key", "%zz")], "percent-encoded"),
            (&[("onex-metadata", "[]")], "JSON object"),
        ] {
            let (status, body) = answer(world.post("{}", headers)).await?;
            assert!(status == 400 && body.contains(says), "{status} {body}");
        }
        let url = HttpUrl::try_from(world.http.listening()[0].url.as_str())?;
        let elsewhere = world.transport.exchange(HttpRequest::new(Method::POST, url.join("/other")?)).await?;
        assert_eq!(elsewhere.status, 404);
        let get = world.transport.exchange(HttpRequest::new(Method::GET, url)).await?;
        assert_eq!(
            (get.status, &get.headers["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST, PUT".parse().expect("a value"))
        );
        let mut into = Vec::new();
        source.close(MINUTE).await?;
        assert_eq!(source.receive(9, &mut into).await?, 0);
    }
    Ok(())
}

/// A body of one byte after the other, whose length nobody knows.
struct Dripping(usize);

impl http_body::Body for Dripping {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>>>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or_default();
        std::task::Poll::Ready(left.map(|_| Ok(http_body::Frame::data(bytes::Bytes::from_static(b"x")))))
    }
}

// bridge.md 14
#[tokio::test]
async fn one_byte_too_many_is_413_with_and_without_a_length_and_the_next_caller_is_served() -> Result<()> {
    for world in [World::memory(), World::sockets().await?] {
        let source = world.source("").await?;
        for size in [LIMIT + 1, 64 * LIMIT, 1 << 20] {
            let (status, body) = answer(world.post(vec![b'x'; size], &[])).await?;
            assert!(status == 413 && body.contains("1024 bytes"), "{size}: {status} {body}");
        }
        for size in [LIMIT + 1, 64 * LIMIT] {
            let (status, _) = answer(world.post(HttpBody::new(Dripping(size)), &[])).await?;
            assert_eq!(status, 413, "{size} without a length");
        }
        for body in [HttpBody::from(vec![b'x'; LIMIT]), HttpBody::new(Dripping(LIMIT))] {
            let calling = world.post(body, &[]);
            let (tag, message) = one(&source).await?;
            assert_eq!(message.payload.len(), LIMIT);
            source.settle(delivered(tag, message.id));
            assert_eq!(answer(calling).await?.0, 200);
        }
        source.close(MINUTE).await?;
    }
    Ok(())
}

// bridge.md 15
#[tokio::test]
async fn a_caller_beyond_the_places_is_told_to_come_again() -> Result<()> {
    let world = World::memory();
    let source = world.source("queue = 2\nretry_after = '1500ms'").await?;
    let mut waiting = vec![world.post("1", &[]), world.post("2", &[])];
    tokio::task::yield_now().await;
    let full = world.post("3", &[]).await.expect("no panic")?;
    assert_eq!((full.status.as_u16(), &full.headers["retry-after"]), (503, &"2".parse().expect("a value")));
    let (tag, message) = one(&source).await?;
    waiting.push(world.post("4", &[]));
    source.settle(delivered(tag, message.id));
    for _ in 0..2 {
        let (tag, message) = one(&source).await?;
        source.settle(delivered(tag, message.id));
    }
    for calling in waiting {
        assert_eq!(answer(calling).await?.0, 200);
    }
    source.close(MINUTE).await
}

// bridge.md 16
#[tokio::test]
async fn a_close_hands_out_what_was_promised_and_waits_for_its_end() -> Result<()> {
    let world = World::memory();
    let source = world.source("").await?;
    let (first, second) = (world.post("1", &[]), world.post("2", &[]));
    let (tag, message) = one(&source).await?;
    let closing = tokio::spawn({
        let source = source.clone();
        async move { source.close(MINUTE).await }
    });
    tokio::task::yield_now().await;
    let refused = answer(world.post("3", &[])).await?;
    assert!(refused.0 == 503 && refused.1.contains("closed"), "{refused:?}");
    let (other_tag, other) = one(&source).await?;
    source.settle(delivered(tag, message.id));
    assert!(!closing.is_finished());
    source.settle(delivered(other_tag, other.id));
    assert_eq!(source.receive(9, &mut Vec::new()).await?, 0, "ended");
    closing.await.expect("no panic")?;
    assert_eq!((answer(first).await?.0, answer(second).await?.0), (200, 200));
    source.close(MINUTE).await
}

#[tokio::test]
async fn an_answer_on_its_way_outlives_the_close() -> Result<()> {
    let world = World::sockets().await?;
    let source = world.source("").await?;
    let calling = world.post("1", &[]);
    let (tag, message) = one(&source).await?;
    source.settle(delivered(tag, message.id));
    source.close(MINUTE).await?;
    assert_eq!(answer(calling).await?.0, 200);
    assert!(world.http.listening().len() == 1 && source.health().await != Health::Healthy);
    drop(source);
    assert!(world.http.listening().is_empty());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_close_that_runs_out_of_time_tells_the_callers_that_the_end_is_unknown() -> Result<()> {
    let world = World::memory();
    let source = world.source("").await?;
    let (taken, queued) = (world.post("1", &[]), world.post("2", &[]));
    let (tag, message) = one(&source).await?;
    let late = source.close(MINUTE).await.expect_err("nothing was settled");
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    let (first, second) = (answer(taken).await?, answer(queued).await?);
    assert!(first.0 == 503 && first.1.contains("may have been delivered"), "{first:?}");
    assert!(second.0 == 503 && second.1.contains("before it took"), "{second:?}");
    source.settle(delivered(tag, message.id));
    assert_eq!(source.receive(1, &mut Vec::new()).await?, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_drips_is_cut_after_its_time() -> Result<()> {
    struct Never;
    impl http_body::Body for Never {
        type Data = bytes::Bytes;
        type Error = Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>>>> {
            std::task::Poll::Pending
        }
    }
    let world = World::memory();
    let source = world.source("read_timeout = '3s'").await?;
    let begin = tokio::time::Instant::now();
    let (status, body) = answer(world.post(HttpBody::new(Never), &[])).await?;
    assert_eq!((status, begin.elapsed()), (408, Duration::from_secs(3)), "{body}");
    source.close(MINUTE).await
}

#[tokio::test]
async fn nobody_waits_for_the_end_where_the_file_says_accepted() -> Result<()> {
    let world = World::memory();
    let source = world.source("reply = 'accepted'").await?;
    assert_eq!(answer(world.post("1", &[])).await?.0, 202);
    let (tag, message) = one(&source).await?;
    source.settle(delivered(tag, message.id));
    source.close(MINUTE).await
}

/// Answers as its list says, and keeps what it saw.
#[derive(Debug, Default)]
struct Sink {
    answers: std::sync::Mutex<Vec<u16>>,
    seen: std::sync::Mutex<Vec<(http::HeaderMap, bytes::Bytes)>>,
}

#[async_trait]
impl HttpService for Sink {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let parts = request.into_parts();
        if parts.method == Method::HEAD {
            return Ok(HttpResponse::new(StatusCode::METHOD_NOT_ALLOWED, HttpBody::EMPTY));
        }
        let body = parts.body.bytes(1 << 20).await?;
        self.seen.lock().expect("no panic").push((parts.headers, body));
        let status = self.answers.lock().expect("no panic").pop().unwrap_or(200);
        let mut response = HttpResponse::new(StatusCode::from_u16(status).expect("a status"), "done");
        if status == 503 {
            response.headers.insert("retry-after", 7.into());
        }
        Ok(response)
    }
}

async fn target(world: &World, sink: &Arc<Sink>) -> Result<Arc<dyn BridgeTarget>> {
    let serving = world.server.serve(([127, 0, 0, 1], 0).into(), sink.clone()).await?;
    let table = parse(&format!("url = 'http://{}/in'", serving.local_addr()));
    let target = world.http.target(table, &world.context()).await?;
    // Serves until the world ends.
    std::mem::forget(serving);
    Ok(target)
}

#[tokio::test]
async fn a_message_arrives_as_it_came_and_its_reply_comes_back() -> Result<()> {
    for world in [World::memory(), World::sockets().await?] {
        let sink = Arc::new(Sink::default());
        let target = target(&world, &sink).await?;
        let message = BridgeMessage::new(MessageId::from_u128(7), "{\"a\":1}")
            .with_key("ä")
            .with_metadata("größe", 7)
            .with_header(onex_spi::kafka::Header::new("x-own", "1"));
        let empty = BridgeMessage::new(MessageId::from_u128(8), "");
        let results = target.deliver(&"/a".into(), &[message.clone(), empty]).await;
        let reply = results[0].as_ref().expect("delivered").as_ref().expect("a reply");
        assert_eq!(
            (&reply.payload[..], reply.id, &reply.metadata["status"]),
            (&b"done"[..], message.id, &200.into())
        );
        assert!(results[1].is_ok());
        let seen = sink.seen.lock().expect("no panic").clone();
        let (headers, body) = &seen[0];
        assert_eq!(&body[..], b"{\"a\":1}");
        assert_eq!(headers["x-own"], "1");
        assert_eq!(headers["onex-message-id"], "00000000000000000000000000000007");
        assert_eq!(headers["onex-key"], "%C3%A4");
        assert_eq!(headers["onex-metadata"], r#"{"gr\u00f6\u00dfe":7}"#);
        assert!(seen[1].1.is_empty() && seen[1].0["content-length"] == "0");
        target.close(MINUTE).await?;
        let closed = target.deliver(&"/a".into(), &[message]).await.remove(0).expect_err("closed");
        assert_eq!(closed.kind(), ErrorKind::Closed);
    }
    Ok(())
}

#[tokio::test]
async fn one_call_is_one_attempt_whatever_the_clients_policy_says() -> Result<()> {
    for world in [World::memory(), World::sockets().await?] {
        let sink = Arc::new(Sink::default());
        let target = target(&world, &sink).await?;
        let mut policy = onex_spi::http::RetryPolicy::default();
        policy.retry_unsafe_methods = true;
        world.client.configure_retry_policy(policy)?;
        let message = BridgeMessage::new(MessageId::from_u128(7), "x");
        for (status, kind, again) in [
            (503, ErrorKind::Unavailable, Some(Duration::from_secs(7))),
            (404, ErrorKind::NotFound, None),
            (401, ErrorKind::Unauthenticated, None),
            (413, ErrorKind::TooLarge, None),
        ] {
            sink.answers.lock().expect("no panic").push(status);
            let error = target
                .deliver(&"/a".into(), std::slice::from_ref(&message))
                .await
                .remove(0)
                .expect_err("refused");
            assert_eq!((error.kind(), error.retry_after()), (kind, again), "{error}");
        }
        assert_eq!(sink.seen.lock().expect("no panic").len(), 4);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_nobody_runs_is_told_when_the_target_is_opened() -> Result<()> {
    for world in [World::memory(), World::sockets().await?] {
        let context = world.context();
        let open = |more: &str| {
            world.http.target(
                parse(&format!(
                    "url = 'http://127.0.0.1:1'
{more}"
                )),
                &context,
            )
        };
        let error = open("").await.expect_err("nobody is there");
        assert!(
            error.kind() == ErrorKind::Unavailable && error.message().contains("probe = false"),
            "{error}"
        );
        open("probe = false").await?;
    }
    Ok(())
}
