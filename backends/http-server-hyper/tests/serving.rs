//! The server's inside: limits, timeouts on the clock, the books of exchanges and connections, close.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use http::StatusCode;
use onex_http_server_hyper::{Config, open};
use onex_spi::http::{HttpBody, HttpResponse, HttpServer, HttpService, HttpServing};
use onex_spi::provider::OpenContext;
use onex_spi::{Error, ErrorKind, Result};
use onex_testkit::clock::ManualClock;
use onex_testkit::http::{handler, streamed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

async fn serve(
    config: Config,
    service: Arc<dyn HttpService>,
) -> (Arc<dyn HttpServer>, Arc<dyn HttpServing>, ManualClock) {
    let clock = ManualClock::new();
    let context = OpenContext::new(Arc::new(clock.clone()), 7);
    let server = open(config, &context).await.expect("a good config");
    let serving = server.serve(([127, 0, 0, 1], 0).into(), service).await.expect("a free port");
    (server, serving, clock)
}

fn hello() -> Arc<dyn HttpService> {
    handler(|_| async { Ok(HttpResponse::new(StatusCode::OK, "hello")) })
}

async fn connect(serving: &Arc<dyn HttpServing>) -> TcpStream {
    TcpStream::connect(serving.local_addr()).await.expect("accepted")
}

async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}

/// Sends `bytes` and reads the status of the answer.
async fn status(stream: &mut TcpStream, bytes: &[u8]) -> u16 {
    stream.write_all(bytes).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("more of the head"));
    }
    let head = String::from_utf8(head).expect("text");
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

async fn until_closed(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn a_dribbled_head_ends_on_the_clock() {
    // STARK-SRV-07, STARK-SRV-09
    let config = Config::default().with_head_timeout(Duration::from_secs(3));
    let (_server, serving, clock) = serve(config, hello()).await;
    let mut stream = connect(&serving).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("sent");
    clock.until_waiting(1).await;
    clock.advance(Duration::from_secs(3));
    until_closed(&mut stream).await;
    let mut idle = connect(&serving).await;
    assert_eq!(status(&mut idle, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, 200);
    clock.until_waiting(1).await;
    clock.advance(Duration::from_secs(3));
    until_closed(&mut idle).await;
}

#[tokio::test]
async fn bad_heads_are_answered_and_never_handled() {
    let handled = Arc::new(AtomicU64::new(0));
    let counted = handled.clone();
    let service = handler(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(HttpResponse::new(StatusCode::OK, "")) }
    });
    let (_server, serving, _) = serve(Config::default(), service).await;
    let many = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", "x-a: 1\r\n".repeat(100));
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx-a: {}\r\n\r\n", "a".repeat(70_000));
    let rows: [(&str, u16); 8] = [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: u@h\r\n\r\n", 400),
        ("CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n", 501),
        (&many, 431),
        (&long, 431),
    ];
    for (bytes, due) in rows {
        let mut stream = connect(&serving).await;
        let shown: String = bytes.chars().take(60).collect();
        assert_eq!(status(&mut stream, bytes.as_bytes()).await, due, "{shown}");
    }
    assert_eq!(handled.load(Ordering::SeqCst), 0);
    until(|| serving.in_flight() == 0).await;
}

#[tokio::test]
async fn a_response_that_cannot_be_sent_is_a_500() {
    let service = handler(|request| async move {
        let mut response = HttpResponse::new(StatusCode::OK, "abc");
        match request.url.path() {
            "/length" => {
                response.headers.insert("content-length", "5".parse().expect("a value"));
            }
            "/interim" => response.status = StatusCode::EARLY_HINTS,
            _ => return Err(Error::new(ErrorKind::Corrupt, "test.handler", "no")),
        }
        Ok(response)
    });
    let (_server, serving, _) = serve(Config::default(), service).await;
    for path in ["/length", "/interim", "/error"] {
        let mut stream = connect(&serving).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(status(&mut stream, request.as_bytes()).await, 500, "{path}");
    }
}

#[tokio::test]
async fn connections_above_the_limit_wait_their_turn() {
    // STARK-SRV-06
    let handled = Arc::new(AtomicU64::new(0));
    let counted = handled.clone();
    let service = handler(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(HttpResponse::new(StatusCode::NO_CONTENT, "")) }
    });
    let config = Config::default().with_max_connections(NonZeroUsize::new(1).expect("not zero"));
    let (_server, serving, _) = serve(config, service).await;
    let mut first = connect(&serving).await;
    assert_eq!(status(&mut first, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, 204);
    let mut second = connect(&serving).await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("the kernel takes it");
    for _ in 0..9 {
        assert_eq!(status(&mut first, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, 204);
    }
    assert_eq!(handled.load(Ordering::SeqCst), 10, "the second connection waits meanwhile");
    drop(first);
    assert_eq!(status(&mut second, b"").await, 204);
}

/// A body of one byte that ends once the gate is closed.
fn gated(gate: Arc<Semaphore>) -> HttpBody {
    let frame: Result<_> = Ok(http_body::Frame::data(bytes::Bytes::from_static(b"x")));
    let end = futures_util::stream::once(async move { gate.acquire().await.map(drop).is_err() });
    let end = end.filter_map(|_| std::future::ready(None));
    streamed(futures_util::stream::iter([frame]).chain(end))
}

#[tokio::test]
async fn an_exchange_runs_until_its_body_is_taken_and_close_waits_for_it() {
    // STARK-SRV-13
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let service = handler(move |_| {
        let body = gated(opened.clone());
        async move { Ok(HttpResponse::new(StatusCode::OK, body)) }
    });
    let (_server, serving, clock) = serve(Config::default(), service).await;
    let mut stream = connect(&serving).await;
    assert_eq!(status(&mut stream, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, 200);
    assert_eq!(serving.in_flight(), 1);
    let close = serving.close(Duration::from_secs(9));
    let finish = async {
        clock.until_waiting(1).await;
        gate.close();
        until_closed(&mut stream).await;
    };
    let (closed, ()) = tokio::join!(close, finish);
    closed.expect("drained");
    assert_eq!(serving.in_flight(), 0);
    TcpStream::connect(serving.local_addr()).await.expect_err("nothing listens any more");
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn close_cuts_what_runs_at_its_time_and_ends_the_idle_without_an_error() {
    let (server, serving, _) = serve(Config::default(), hello()).await;
    let mut idle = connect(&serving).await;
    assert_eq!(status(&mut idle, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, 200);
    serving.close(Duration::ZERO).await.expect("an idle connection is not cut, it ends");
    until_closed(&mut idle).await;

    let stuck = handler(|_| std::future::pending());
    let again = server.serve(([127, 0, 0, 1], 0).into(), stuck).await.expect("a free port");
    let mut running = connect(&again).await;
    running.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
    until(|| again.in_flight() == 1).await;
    let error = server.close(Duration::ZERO).await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    until_closed(&mut running).await;
    until(|| again.in_flight() == 0).await;
    server.close(Duration::ZERO).await.expect("closing again is fine");
    let error = server.serve(([127, 0, 0, 1], 0).into(), hello()).await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_outlive_a_close() {
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let service = handler(move |_| {
        // Ends once the sender is gone.
        let ended = blocked.lock().is_ok_and(|blocked| blocked.recv().is_err());
        async move { Ok(HttpResponse::new(StatusCode::OK, ended.to_string())) }
    });
    let (_server, serving, clock) = serve(Config::default(), service).await;
    let mut idle = connect(&serving).await;
    let mut running = connect(&serving).await;
    running.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
    until(|| serving.in_flight() == 1).await;
    let mut close = std::pin::pin!(serving.close(Duration::from_secs(9)));
    assert!(futures_util::future::poll_immediate(&mut close).await.is_none());
    clock.advance(Duration::from_secs(9));
    let error = close.await.expect_err("the handler still blocks");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(serving.in_flight(), 1, "what is cut runs until its thread comes back");
    until_closed(&mut idle).await;
    serving.close(Duration::from_secs(9)).await.expect("closing again is fine");
    drop(unblock);
    until_closed(&mut running).await;
    until(|| serving.in_flight() == 0 && Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn a_close_without_time_cuts_an_answer_that_has_not_left_and_says_so() {
    // More than the kernel takes from a server whose client does not read.
    let service = handler(|_| async { Ok(HttpResponse::new(StatusCode::OK, vec![0; 64 << 20])) });
    let (_server, serving, _) = serve(Config::default(), service).await;
    let mut stream = connect(&serving).await;
    assert_eq!(status(&mut stream, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, 200);
    until(|| serving.in_flight() == 0).await;
    let error = serving.close(Duration::ZERO).await.expect_err("the rest of the answer is cut");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn dropping_the_handle_cuts_and_leaves_no_task() {
    let (_server, serving, clock) = serve(Config::default(), handler(|_| std::future::pending())).await;
    let mut running = connect(&serving).await;
    running.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
    until(|| serving.in_flight() == 1).await;
    drop(serving);
    until_closed(&mut running).await;
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
    assert_eq!(clock.waiting(), 0);
}

#[tokio::test]
async fn an_address_in_use_is_unavailable() {
    // STARK-SRV-12
    let (server, serving, _) = serve(Config::default(), hello()).await;
    let error = server.serve(serving.local_addr(), hello()).await.expect_err("taken");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, onex_spi::Effect::NotApplied));
}
