//! What the wire does to one exchange.

mod peer;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body::Body as _;
use onex_http_transport_hyper::Config;
use onex_spi::http::{HttpBody, HttpReason, HttpResponse, HttpTransport};
use onex_spi::{Effect, Error, ErrorKind, Result};
use peer::{OK, Peer, now, reason, transport, until};
use tokio::runtime::Handle;

/// One exchange against a peer that answers with `bytes` and then closes, by RST or FIN.
async fn answered(transport: &Arc<dyn HttpTransport>, bytes: &[u8], reset: bool) -> Result<HttpResponse> {
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        talk.head().await;
        talk.send(bytes).await;
        if reset {
            talk.reset();
        }
    };
    tokio::join!(transport.exchange(peer.get("/")), serve).0
}

async fn read(response: Result<HttpResponse>) -> Result<Vec<u8>> {
    let mut body = response?.into_body();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}

fn told(error: &Error) -> (ErrorKind, Option<HttpReason>, Option<u64>) {
    (error.kind(), reason(error), error.http().and_then(|fault| fault.bytes_received))
}

#[tokio::test]
async fn a_body_cut_short_tells_its_bytes() {
    // HTTP-7
    let (transport, _) = transport(Config::default());
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789";
    let error = read(answered(&transport, short, false).await).await.expect_err("cut by FIN");
    assert_eq!(told(&error), (ErrorKind::Unavailable, Some(HttpReason::IncompleteBody), Some(10)));
    let error = read(answered(&transport, short, true).await).await.expect_err("cut by RST");
    assert_eq!(told(&error), (ErrorKind::Unavailable, Some(HttpReason::ConnectionReset), Some(10)));
    until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
}

#[tokio::test]
async fn an_answer_without_body_is_empty_at_once_and_its_connection_goes_on() {
    // HTTP-6
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let heads: [(Method, &[u8]); 4] = [
        (Method::HEAD, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        (Method::HEAD, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\n\r\n"),
    ];
    let serve = async {
        let mut talk = peer.accept().await;
        for (_, head) in &heads {
            talk.head().await;
            talk.send(head).await;
        }
        talk
    };
    let call = async {
        for (method, _) in &heads {
            let response = transport.exchange(peer.request(method.clone(), "/")).await.expect("a head");
            assert_eq!(response.body.as_bytes().map(|bytes| bytes.len()), Some(0));
        }
    };
    let (_talk, ()) = tokio::join!(serve, call);
    assert_eq!((transport.pool_stats().opened, transport.pool_stats().reused), (Some(1), Some(3)));
}

#[tokio::test]
async fn trailers_follow_the_data_and_free_the_connection() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        talk.head().await;
        talk.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n")
            .await;
        talk.send(b"0\r\nx-sum: 7\r\n\r\n").await;
        talk
    };
    let (_talk, response) = tokio::join!(serve, transport.exchange(peer.get("/")));
    let mut response = response.expect("a head");
    assert!(!response.headers.contains_key("x-sum"));
    let data = response.body.frame().await.expect("data").expect("good").into_data().expect("data");
    let trailers =
        response.body.frame().await.expect("more").expect("good").into_trailers().expect("trailers");
    assert_eq!((&data[..], &trailers["x-sum"]), (&b"abc"[..], &"7".parse().expect("a value")));
    assert!(response.body.frame().await.is_none());
    until(|| now(&transport.pool_stats()) == (1, 0, 1)).await;
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_error() {
    // HTTP-21, where the close was seen in time and where the unsent request comes back.
    let (transport, pipes) = peer::piped();
    let exchange = |path: &'static str| {
        let mut request = peer::named("http://h.test", path);
        request.method = Method::POST;
        request.body = "x".into();
        transport.exchange(request)
    };
    for (round, seen) in [false, true].into_iter().enumerate() {
        let (first, ended) = tokio::join!(pipes.answer(OK), exchange("/first"));
        ended.expect("answered");
        until(|| now(&transport.pool_stats()) == (1, 0, 1)).await;
        drop(first);
        if seen {
            until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
        }
        let (second, ended) = tokio::join!(pipes.answer(OK), exchange("/second"));
        ended.expect("answered on a new connection");
        drop(second);
        until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
        assert_eq!(transport.pool_stats().opened, Some(2 * (round as u64 + 1)));
    }
}

#[tokio::test]
async fn a_connection_lost_after_sending_is_unknown_and_reused() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        talk.head().await;
        talk.send(OK).await;
        talk.head().await;
    };
    let call = async {
        transport.exchange(peer.get("/")).await.expect("answered");
        transport.exchange(peer.get("/")).await.expect_err("lost")
    };
    let ((), error) = tokio::join!(serve, call);
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::Unknown));
    let fault = error.http().expect("a fault");
    assert_eq!((fault.reason, fault.reused), (HttpReason::ConnectionLost, true));
    assert_eq!(transport.pool_stats().opened, Some(1), "nothing was sent twice");
}

/// A one-shot body of 8 MiB, in pieces.
fn upload() -> HttpBody {
    HttpBody::new(Pieces(128))
}

struct Pieces(usize);

impl http_body::Body for Pieces {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>>>> {
        if self.0 == 0 {
            return std::task::Poll::Ready(None);
        }
        self.0 -= 1;
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&[b'x'; 65536])))))
    }
}

#[tokio::test]
async fn an_early_answer_is_an_answer_and_the_upload_ends() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let mut request = peer.request(Method::POST, "/");
    request.body = upload();
    let serve = async {
        let mut talk = peer.accept().await;
        talk.head().await;
        talk.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
        talk
    };
    let (mut talk, response) = tokio::join!(serve, transport.exchange(request));
    assert_eq!(response.expect("an answer").status, 413);
    talk.until_closed().await;
    until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn an_answer_behind_a_failed_write_is_an_answer() {
    let request = || {
        let mut request = peer::named("http://h.test", "/");
        request.method = Method::POST;
        request.body = upload();
        request
    };
    let transport = peer::breaking(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(transport.exchange(request()).await.expect("the answer, not a broken pipe").status, 413);
    let error = peer::breaking(b"").exchange(request()).await.expect_err("no answer");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::Unknown));
    assert_eq!(reason(&error), Some(HttpReason::ConnectionLost));
    // An end that the broken stream made up does not complete a body that lasts until the end.
    let transport = peer::breaking(b"HTTP/1.1 413 Content Too Large\r\n\r\ntoo la");
    let error = read(transport.exchange(request()).await).await.expect_err("cut");
    assert_eq!(told(&error), (ErrorKind::Unavailable, Some(HttpReason::ConnectionReset), Some(6)));
}

#[tokio::test]
async fn a_peer_with_two_framings_gets_no_second_exchange() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        talk.head().await;
        talk.send(
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .await;
        talk.until_closed().await;
    };
    let call = async { read(transport.exchange(peer.get("/")).await).await };
    let ((), body) = tokio::join!(serve, call);
    assert_eq!(body.expect("chunks win"), b"hi");
}

#[tokio::test]
async fn a_large_body_streams_with_its_length() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        talk.head().await;
        talk.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n").await;
        talk.send(&vec![b'y'; 3_000_000]).await;
        talk
    };
    let call = async {
        let response = transport.exchange(peer.get("/")).await.expect("a head");
        assert_eq!(response.body.size_hint().exact(), Some(3_000_000));
        read(Ok(response)).await
    };
    let (_talk, body) = tokio::join!(serve, call);
    assert_eq!(body.expect("all of it").len(), 3_000_000);
    until(|| now(&transport.pool_stats()) == (1, 0, 1)).await;
}

#[tokio::test]
async fn a_failing_request_body_ends_the_exchange_with_its_own_error() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let mut request = peer.request(Method::POST, "/");
    struct Broken;
    impl http_body::Body for Broken {
        type Data = bytes::Bytes;
        type Error = Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>>>> {
            std::task::Poll::Ready(Some(Err(Error::new(ErrorKind::Corrupt, "test.body", "broken source"))))
        }
    }
    request.body = HttpBody::new(Broken);
    let serve = async { peer.accept().await.until_closed().await };
    let (ended, ()) = tokio::join!(transport.exchange(request), serve);
    let error = ended.expect_err("the body's error");
    assert_eq!(
        (error.kind(), error.operation(), error.effect()),
        (ErrorKind::Corrupt, "test.body", Effect::Unknown)
    );
}

#[tokio::test]
async fn every_engine_error_has_kind_effect_and_reason() {
    use ErrorKind::{Corrupt, TooLarge, Unavailable};
    let (transport, _) = transport(Config::default());
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: 1\r\n".repeat(101));
    let long = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(70_000));
    let endless = format!("HTTP/1.1 200 OK\r\nx-a: {}", "a".repeat(70_000));
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
    let rows: [(&str, bool, ErrorKind, HttpReason, Option<u64>); 13] = [
        ("", false, Unavailable, HttpReason::ConnectionLost, None),
        ("", true, Unavailable, HttpReason::ConnectionLost, None),
        ("HTTP/1.1 200 OK\r\nx", false, Unavailable, HttpReason::ConnectionLost, None),
        ("nonsense\r\n\r\n", false, Corrupt, HttpReason::Protocol, None),
        ("HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n", false, Corrupt, HttpReason::Protocol, None),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\n",
            false,
            Corrupt,
            HttpReason::Protocol,
            None,
        ),
        (&many, false, TooLarge, HttpReason::HeadTooLarge, None),
        (&long, false, TooLarge, HttpReason::HeadTooLarge, None),
        (&endless, false, TooLarge, HttpReason::HeadTooLarge, None),
        (&chunked("zz\r\nabc\r\n"), false, Corrupt, HttpReason::Protocol, Some(0)),
        (&chunked("3\r\nabc\r\nzz\r\n"), false, Corrupt, HttpReason::Protocol, Some(3)),
        (&chunked("3\r\nabc\r\n"), false, Unavailable, HttpReason::IncompleteBody, Some(3)),
        (&chunked("3\r\nab"), true, Unavailable, HttpReason::ConnectionReset, Some(2)),
    ];
    for (bytes, reset, kind, due, received) in rows {
        let shown: String = bytes.chars().take(60).collect();
        let error = read(answered(&transport, bytes.as_bytes(), reset).await).await.expect_err(&shown);
        assert_eq!(told(&error), (kind, Some(due), received), "{shown}: {error:#}");
        assert_eq!(error.effect(), Effect::Unknown, "{shown}");
    }
    until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
}

#[tokio::test]
async fn a_refused_dial_is_counted_and_not_applied() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let request = peer.get("/");
    drop(peer);
    let error = transport.exchange(request).await.expect_err("nothing listens");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    assert_eq!(reason(&error), Some(HttpReason::Connect));
    let stats = transport.pool_stats();
    assert_eq!((now(&stats), stats.opened, stats.dial_errors), ((0, 0, 0), Some(0), Some(1)));
    assert_eq!(transport.close(Duration::ZERO).await.map_err(|error| error.to_string()), Ok(()));
}
