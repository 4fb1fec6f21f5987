//! The connector against real sockets, scripted resolvers and a manual dialer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_connect::{Connector, Dialer, Io, SystemResolver, TcpDialer};
use onex_spi::http::{HttpPhase, HttpReason, HttpUrl, Resolver};
use onex_spi::{Effect, Error, ErrorKind, Result, TokioClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every host with the same addresses and remembers what it was asked.
#[derive(Debug, Default)]
struct Script {
    answer: Vec<IpAddr>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Resolver for Script {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(host.to_owned());
        Ok(self.answer.clone())
    }
}

#[derive(Debug)]
struct Never;

#[async_trait]
impl Dialer for Never {
    async fn dial(&self, _: SocketAddr) -> Result<Box<dyn Io>> {
        std::future::pending().await
    }
}

fn tcp(resolver: Arc<dyn Resolver>) -> Connector {
    Connector::new(resolver, Arc::new(TcpDialer::new()), Arc::new(TokioClock::new()))
}

fn reason(error: &Error) -> Option<HttpReason> {
    error.http().map(|fault| fault.reason)
}

#[tokio::test]
async fn a_connection_is_open_until_it_is_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let connector = tcp(Arc::new(SystemResolver::new()));
    let mut ours = connector.connect("127.0.0.1", port, None).await.expect("connected");
    let (mut theirs, _) = listener.accept().await.expect("accepted");
    assert_eq!(ours.remote_addr().port(), port);
    ours.write_all(b"ping").await.expect("written");
    let mut buffer = [0; 4];
    theirs.read_exact(&mut buffer).await.expect("read");
    assert_eq!(&buffer, b"ping");
    assert_eq!((connector.stats().open(), connector.stats().closed), (1, 0));
    drop(ours);
    assert_eq!((connector.stats().open(), connector.stats().closed), (0, 1));
    assert_eq!(theirs.read(&mut buffer).await.expect("the end"), 0, "the peer sees the close");
}

#[tokio::test]
async fn a_refused_dial_is_counted_and_not_applied() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let connector = tcp(Arc::new(SystemResolver::new()));
    let error = connector.connect("127.0.0.1", port, None).await.expect_err("nothing listens");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied));
    assert_eq!(reason(&error), Some(HttpReason::Connect));
    let stats = connector.stats();
    assert_eq!((stats.dials, stats.dial_errors, stats.opened, stats.cancelled), (1, 1, 0, 0));
}

#[tokio::test]
async fn the_addresses_are_tried_in_order() {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let answer = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).to_vec();
    let connector = tcp(Arc::new(Script { answer, ..Script::default() }));
    let connection = connector.connect("two.test", port, None).await.expect("the second answers");
    assert_eq!(connection.remote_addr().ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let stats = connector.stats();
    assert_eq!((stats.dials, stats.dial_errors, stats.opened), (2, 1, 1));
}

#[tokio::test]
async fn a_literal_is_asked_without_brackets_and_resolves_to_itself() {
    let script = Arc::new(Script::default());
    let error = tcp(script.clone()).connect("[::1]", 1, None).await.expect_err("no address");
    assert_eq!((error.kind(), reason(&error)), (ErrorKind::NotFound, Some(HttpReason::Resolve)));
    assert_eq!(error.effect(), Effect::NotApplied);
    assert_eq!(*script.asked.lock().unwrap_or_else(PoisonError::into_inner), ["::1"]);
    let system = SystemResolver::new();
    assert_eq!(system.resolve("::1").await.expect("itself"), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    assert_eq!(system.resolve("10.1.2.3").await.expect("itself"), [IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))]);
}

#[tokio::test]
async fn a_name_that_cannot_exist_is_not_found() {
    // RFC 6761: nothing is ever below `.invalid`; the empty label keeps the question on this machine.
    let error = SystemResolver::new().resolve("a..invalid").await.expect_err("no such name");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotFound, Effect::NotApplied));
    assert_eq!(reason(&error), Some(HttpReason::Resolve));
}

#[tokio::test(start_paused = true)]
async fn the_connect_timeout_runs_on_the_clock() {
    let connector =
        Connector::new(Arc::new(SystemResolver::new()), Arc::new(Never), Arc::new(TokioClock::new()));
    let begin = tokio::time::Instant::now();
    let within = Duration::from_millis(250);
    let error = connector.connect("127.0.0.1", 1, Some(within)).await.expect_err("never connects");
    assert_eq!(begin.elapsed(), within);
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::NotApplied));
    assert_eq!(error.http().and_then(|fault| fault.phase), Some(HttpPhase::Connect));
    let stats = connector.stats();
    assert_eq!((stats.dials, stats.cancelled, stats.dial_errors, stats.open()), (1, 1, 0, 0));
}

#[tokio::test]
async fn https_is_refused_before_the_resolver_is_asked() {
    let script = Arc::new(Script::default());
    let connector = tcp(script.clone());
    let url = HttpUrl::try_from("https://example.com/").expect("a URL");
    let error = connector.connect_to(&url, None).await.expect_err("no TLS");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unsupported, Effect::NotApplied));
    assert_eq!(
        (script.asked.lock().unwrap_or_else(PoisonError::into_inner).len(), connector.stats().dials),
        (0, 0)
    );
}
