//! The engine over a network inside the process: real bytes, no socket, a clock that the test moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use onex_connect::Connector;
use onex_http_transport_hyper::{Config, open_with};
use onex_spi::http::{HttpPhase, HttpReason, HttpRequest, HttpResponse, HttpTransport, HttpUrl};
use onex_spi::{Effect, Error, ErrorKind};
use onex_testkit::clock::ManualClock;
use onex_testkit::http::handler;
use onex_testkit::net::{MemoryNet, Script};

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 80).into()
}

fn get(url: &str) -> HttpRequest {
    HttpRequest::new(Method::GET, HttpUrl::try_from(url).expect("a URL"))
}

fn engine(net: &Arc<MemoryNet>, clock: &ManualClock) -> Arc<dyn HttpTransport> {
    let connector = Connector::new(net.clone(), net.clone(), Arc::new(clock.clone()));
    open_with(Config::default(), connector).expect("the defaults are good")
}

async fn text(transport: &Arc<dyn HttpTransport>, url: &str) -> Result<bytes::Bytes, Error> {
    transport.exchange(get(url)).await?.into_body().bytes(64).await
}

#[tokio::test]
async fn names_and_addresses_without_sockets_are_reached_by_real_bytes() {
    let net = Arc::new(MemoryNet::new());
    let hello = handler(|request| async move {
        Ok(HttpResponse::new(StatusCode::OK, format!("{} from {}", request.url.path(), request.url.host())))
    });
    let log = net.serve(address(1), hello);
    net.name("orders.internal", address(1).ip());
    let transport = engine(&net, &ManualClock::new());
    for _ in 0..3 {
        assert_eq!(
            text(&transport, "http://orders.internal/a").await.expect("reached"),
            "/a from orders.internal"
        );
    }
    assert_eq!((net.dials(), log.connections(), log.requests().len()), (1, 1, 3));
    assert_eq!(log.requests()[0].headers("host"), ["orders.internal"]);
    let error = text(&transport, "http://nowhere.internal/").await.expect_err("no such name");
    assert_eq!(error.http().map(|fault| fault.reason), Some(HttpReason::Resolve));
}

#[tokio::test]
async fn an_end_and_a_reset_inside_a_body_are_told_apart() {
    let net = Arc::new(MemoryNet::new());
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789";
    net.serve(address(1), Script::new().send(head).fin());
    net.serve(address(2), Script::new().send(head).reset());
    let transport = engine(&net, &ManualClock::new());
    for (url, reason) in
        [("http://10.0.0.1/", HttpReason::IncompleteBody), ("http://10.0.0.2/", HttpReason::ConnectionReset)]
    {
        let fault = text(&transport, url).await.expect_err("cut").http().cloned().expect("a fault");
        assert_eq!((fault.reason, fault.bytes_received), (reason, Some(10)), "{url}");
    }
}

#[tokio::test]
async fn a_connect_timeout_of_an_hour_passes_at_once() {
    let (net, clock) = (Arc::new(MemoryNet::new()), ManualClock::new());
    net.silent(address(1));
    let transport = engine(&net, &clock);
    let mut request = get("http://10.0.0.1/");
    request.timeouts.connect = Some(Duration::from_secs(3600));
    let call = tokio::spawn(async move { transport.exchange(request).await });
    clock.until_waiting(1).await;
    clock.advance(Duration::from_secs(3600));
    let error = call.await.expect("no panic").expect_err("nobody answers");
    let told = (error.kind(), error.effect(), error.http().and_then(|fault| fault.phase));
    assert_eq!(told, (ErrorKind::TimedOut, Effect::NotApplied, Some(HttpPhase::Connect)));
}
