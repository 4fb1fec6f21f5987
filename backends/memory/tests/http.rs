//! What only the memory network has: authorities, listeners, the log, faults, and what a handler sees.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use onex_memory::http::{MemoryFault, MemoryHttp};
use onex_spi::http::{
    HttpBody, HttpPeer, HttpPhase, HttpReason, HttpRequest, HttpResponse, HttpService, HttpTransport, HttpUrl,
};
use onex_spi::{Clock, Effect, Error, ErrorKind, Lifecycle, Result};
use onex_testkit::clock::ManualClock;

type Answer = fn(HttpRequest) -> Result<HttpResponse>;

struct Handler(Answer);

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handler")
    }
}

#[async_trait]
impl HttpService for Handler {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        (self.0)(request)
    }
}

/// Chunks, then nothing for ever.
struct Stalling(Vec<&'static str>);

impl Body for Stalling {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.0.remove(0).as_bytes())))))
    }
}

fn handler(answer: Answer) -> Arc<dyn HttpService> {
    Arc::new(Handler(answer))
}

fn ok(body: impl Into<HttpBody>) -> Result<HttpResponse> {
    Ok(HttpResponse::new(StatusCode::OK, body))
}

fn network() -> (MemoryHttp, ManualClock) {
    let clock = ManualClock::new();
    (MemoryHttp::new(Arc::new(clock.clone())), clock)
}

fn request(method: Method, url: &str) -> HttpRequest {
    HttpRequest::new(method, HttpUrl::try_from(url).expect("a URL"))
}

async fn get(transport: &Arc<dyn HttpTransport>, url: &str) -> Result<String> {
    let body = transport.exchange(request(Method::GET, url)).await?.into_body().bytes(1 << 20).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn reason(error: &Error) -> Option<HttpReason> {
    error.http().map(|fault| fault.reason)
}

#[tokio::test]
async fn authorities_are_told_apart_and_unknown_ones_named() {
    let (network, _) = network();
    network.route("Orders.internal", handler(|_| ok("orders"))).expect("an authority");
    network.route("orders.internal:81", handler(|_| ok("other port"))).expect("an authority");
    let transport = network.transport();
    for url in ["http://orders.INTERNAL/", "http://orders.internal:80/", "https://orders.internal/"] {
        assert_eq!(get(&transport, url).await.expect(url), "orders");
    }
    assert_eq!(get(&transport, "http://orders.internal:81").await.expect("by port"), "other port");
    let lost = get(&transport, "http://orders.internal:82").await.expect_err("nobody there");
    assert_eq!((lost.kind(), lost.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    assert_eq!(reason(&lost), Some(HttpReason::Connect));
    assert!(lost.to_string().contains("knows orders.internal, orders.internal:81"), "{lost}");
    network.otherwise(handler(|_| ok("anybody")));
    assert_eq!(get(&transport, "http://orders.internal:82").await.expect("the catch-all"), "anybody");
    let bad = network.route("http://h", handler(|_| ok(""))).expect_err("a URL is no authority");
    assert_eq!(bad.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_handler_sees_what_a_server_behind_a_wire_sees() {
    let (network, _) = network();
    network.otherwise(handler(|request| {
        let shown =
            |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
        let peer = request.extensions.get::<HttpPeer>().is_some_and(|peer| peer.remote.ip().is_loopback());
        let secret = request.extensions.get::<&str>().is_some() || request.timeouts.total.is_some();
        let (host, length, coding) = (shown("host"), shown("content-length"), shown("transfer-encoding"));
        ok(format!("{host} {length} {coding} {peer} {secret} {}", request.url))
    }));
    let transport = network.transport();
    let see = async |mut request: HttpRequest| {
        request.extensions.insert("never sent");
        request.timeouts.total = Some(Duration::from_secs(1));
        let body = transport.exchange(request).await.expect("an answer").into_body();
        String::from_utf8(body.bytes(1 << 10).await.expect("bytes").to_vec()).expect("text")
    };
    // HTTP-31
    assert_eq!(see(request(Method::GET, "http://h/a")).await, "h - - true false http://h/a");
    assert_eq!(see(request(Method::POST, "http://h:81/")).await, "h:81 0 - true false http://h:81/");
    let mut whole = request(Method::DELETE, "http://h/");
    whole.body = "abc".into();
    assert_eq!(see(whole).await, "h 3 - true false http://h/");
    let mut streamed = request(Method::PUT, "http://h/");
    streamed.body = HttpBody::new(Stalling(vec![]));
    streamed.headers.insert("host", "virtual:90".parse().expect("a value"));
    assert_eq!(see(streamed).await, "virtual:90 - chunked true false http://virtual:90/");
}

#[tokio::test]
async fn headers_that_break_the_framing_are_refused_before_dialling() {
    let (network, _) = network();
    network.otherwise(handler(|_| ok("")));
    let transport = network.transport();
    for (name, value) in [
        ("content-length", "4"),
        ("content-length", "3, 4"),
        ("content-length", "+3"),
        ("transfer-encoding", "gzip, chunked"),
    ] {
        let mut request = request(Method::POST, "http://h/");
        request.body = "abc".into();
        request.headers.insert(name, value.parse().expect("a value"));
        let error = transport.exchange(request).await.expect_err(value);
        assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidInput, Effect::NotApplied), "{value}");
        assert_eq!(reason(&error), Some(HttpReason::InvalidHeader), "{value}");
    }
    assert_eq!(network.request_count(), 0);
}

#[tokio::test]
async fn a_body_is_held_to_its_announced_length() {
    // HTTP-7
    let (network, _) = network();
    network.otherwise(handler(|request| {
        let mut response = HttpResponse::new(StatusCode::OK, "0123456789");
        let length = request.url.path().trim_start_matches('/').parse().expect("a value");
        response.headers.insert("content-length", length);
        Ok(response)
    }));
    let transport = network.transport();
    let short = get(&transport, "http://h/100").await.expect_err("90 bytes are missing");
    assert_eq!(reason(&short), Some(HttpReason::IncompleteBody));
    assert_eq!(short.http().and_then(|fault| fault.bytes_received), Some(10));
    assert_eq!(get(&transport, "http://h/4").await.expect("what was announced"), "0123");
    let conflict = get(&transport, "http://h/3,5").await.expect_err("two lengths");
    assert_eq!(reason(&conflict), Some(HttpReason::Protocol));
    assert_eq!(transport.pool_stats().in_use, Some(0));
}

#[tokio::test]
async fn a_sender_whose_body_fails_gets_its_own_error() {
    #[derive(Debug)]
    struct Reads;
    #[async_trait]
    impl HttpService for Reads {
        async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
            let read = request.into_parts().body.bytes(64).await;
            ok(format!("{read:?}"))
        }
    }
    struct Failing;
    impl Body for Failing {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            let damaged = Error::new(ErrorKind::Corrupt, "test.read", "the file is damaged");
            Poll::Ready(Some(Err(damaged.not_applied())))
        }
    }
    let (network, _) = network();
    network.otherwise(Arc::new(Reads));
    let mut request = request(Method::POST, "http://h/");
    request.body = HttpBody::new(Failing);
    let error = network.transport().exchange(request).await.expect_err("the body failed");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Corrupt, "test.read"));
    assert_eq!(error.effect(), Effect::Unknown, "the handler ran");
}

#[tokio::test]
async fn faults_are_met_once_or_always() {
    let (network, clock) = network();
    network.otherwise(handler(|_| ok("0123456789")));
    let transport = network.transport();
    network.fail_next(MemoryFault::Refuse);
    network.fail_next(MemoryFault::LoseAnswer);
    network.fail_next(MemoryFault::CutBody(4));
    network.fail_next(MemoryFault::ResetBody(0));
    let expected = [
        (HttpReason::Connect, Effect::NotApplied, None),
        (HttpReason::ConnectionLost, Effect::Unknown, None),
        (HttpReason::IncompleteBody, Effect::Unknown, Some(4)),
        (HttpReason::ConnectionReset, Effect::Unknown, Some(0)),
    ];
    for (why, effect, bytes) in expected {
        let error = get(&transport, "http://h/").await.expect_err("a fault");
        let fault = error.http().expect("a fault");
        assert_eq!((fault.reason, error.effect(), fault.bytes_received), (why, effect, bytes));
    }
    assert_eq!(get(&transport, "http://h/").await.expect("no fault is left"), "0123456789");
    assert_eq!(network.request_count(), 4, "the refused one never arrived");

    network.set_fault("h", Some(MemoryFault::SlowConnect(Duration::from_secs(5)))).expect("an authority");
    let mut slow = request(Method::GET, "http://h/");
    slow.timeouts.connect = Some(Duration::from_secs(1));
    let (slow, ()) = tokio::join!(transport.exchange(slow), async {
        clock.until_waiting(1).await;
        clock.advance(Duration::from_secs(1));
    });
    let slow = slow.expect_err("too slow");
    assert_eq!((slow.kind(), slow.effect()), (ErrorKind::TimedOut, Effect::NotApplied));
    assert_eq!(slow.http().and_then(|fault| fault.phase), Some(HttpPhase::Connect));
    network.set_fault("h", None).expect("an authority");
    get(&transport, "http://h/").await.expect("no fault is left");
}

#[tokio::test]
async fn a_server_listens_answers_500_and_stops() {
    let (network, clock) = network();
    let server = network.server();
    let any = "127.0.0.1:0".parse().expect("an address");
    let failing = handler(|_| Err(Error::new(ErrorKind::Corrupt, "t", "inner secret")));
    let serving = server.serve(any, failing.clone()).await.expect("serving");
    let second = server.serve(any, handler(|_| ok("second"))).await.expect("serving");
    let taken = server.serve(serving.local_addr(), failing).await.expect_err("taken");
    assert_eq!(taken.kind(), ErrorKind::Unavailable);
    let transport = network.transport();
    let url = format!("http://localhost:{}/", serving.local_addr().port());
    let answer = transport.exchange(request(Method::GET, &url)).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.into_body().bytes(0).await.expect("empty").is_empty());

    serving.close(Duration::ZERO).await.expect("nothing runs");
    assert_eq!(reason(&get(&transport, &url).await.expect_err("closed")), Some(HttpReason::Connect));
    let url = format!("http://{}/", second.local_addr());
    drop(second);
    assert_eq!(reason(&get(&transport, &url).await.expect_err("dropped")), Some(HttpReason::Connect));
    server.close(Duration::ZERO).await.expect("nothing runs");
    let closed = server.serve(any, handler(|_| ok(""))).await.expect_err("closed");
    assert_eq!((closed.kind(), clock.waiting()), (ErrorKind::Closed, 0));
}

#[tokio::test]
async fn both_ends_drain_and_cut_what_is_left() {
    // HTTP-41
    let (network, clock) = network();
    let server = network.server();
    let stalling = handler(|_| ok(HttpBody::new(Stalling(vec!["ab"]))));
    let serving = server.serve("127.0.0.1:80".parse().expect("an address"), stalling).await.expect("serving");
    let transport = network.transport();
    let open = async || {
        transport.exchange(request(Method::GET, "http://127.0.0.1/")).await.expect("a head").into_body()
    };
    let cut = async |closing: &dyn Lifecycle| {
        let (closed, ()) = tokio::join!(closing.close(Duration::from_secs(1)), async {
            clock.until_waiting(1).await;
            clock.advance(Duration::from_secs(1));
        });
        assert_eq!(closed.expect_err("an exchange ran").kind(), ErrorKind::TimedOut);
    };

    let body = open().await;
    assert_eq!((serving.in_flight(), transport.pool_stats().in_use), (1, Some(1)));
    drop(body);
    assert_eq!((serving.in_flight(), transport.pool_stats().in_use), (0, Some(0)), "HTTP-24");

    let body = open().await;
    cut(&*serving).await;
    let error = body.bytes(64).await.expect_err("cut by the server");
    assert_eq!(error.http().and_then(|fault| fault.bytes_received), Some(2));
    assert_eq!(reason(&error), Some(HttpReason::ConnectionReset));

    network.otherwise(handler(|_| ok(HttpBody::new(Stalling(vec![])))));
    let body = open().await;
    cut(&*transport).await;
    assert_eq!(body.bytes(64).await.expect_err("cut by the close").kind(), ErrorKind::Closed);
    transport.close(Duration::ZERO).await.expect("closing again is Ok");
    let refused = transport.exchange(request(Method::GET, "http://h/")).await.expect_err("closed");
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Closed, Effect::NotApplied));
}

#[tokio::test]
async fn a_server_close_that_is_dropped_ends_every_address_in_its_time() {
    let (network, clock) = network();
    let server = network.server();
    let transport = network.transport();
    let (mut kept, mut bodies) = (Vec::new(), Vec::new());
    for port in [80, 81] {
        let stalling = handler(|_| ok(HttpBody::new(Stalling(vec!["ab"]))));
        kept.push(server.serve(([127, 0, 0, 1], port).into(), stalling).await.expect("serving"));
        let get = request(Method::GET, &format!("http://127.0.0.1:{port}/"));
        bodies.push(transport.exchange(get).await.expect("a head").into_body());
    }
    tokio::select! {
        biased;
        _ = server.close(Duration::from_secs(1)) => panic!("exchanges run"),
        () = std::future::ready(()) => {}
    }
    clock.advance(Duration::from_secs(1));
    for body in bodies {
        let error = body.bytes(64).await.expect_err("cut by the server");
        assert_eq!(reason(&error), Some(HttpReason::ConnectionReset));
    }
    server.close(Duration::ZERO).await.expect("closing again is Ok");
}

#[tokio::test]
async fn the_log_keeps_the_newest_and_counts_all() {
    let clock = ManualClock::new();
    let mut config = onex_memory::http::HttpConfig::default();
    config.log = 2;
    let network = MemoryHttp::with_config(config, Arc::new(clock.clone()));
    network.otherwise(handler(|_| ok("")));
    let transport = network.transport();
    for path in ["a", "b", "c"] {
        clock.advance(Duration::from_secs(1));
        get(&transport, &format!("http://h/{path}")).await.expect("an answer");
    }
    assert_eq!((network.request_count(), network.requests().len()), (3, 2));
    let oldest = network.take_request().expect("two are left");
    assert_eq!((oldest.url.path(), oldest.body.as_deref()), ("/b", Some(&b""[..])));
    assert_eq!(clock.now() - oldest.at, Duration::from_secs(1));
}
