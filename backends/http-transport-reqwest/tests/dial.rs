//! What happens below reqwest: names and literals through our resolver, dials counted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::Method;
use onex_http_transport_reqwest::{Config, open};
use onex_spi::http::{HttpReason, HttpRequest, HttpTransport, HttpUrl, Resolver, StatsSource};
use onex_spi::provider::OpenContext;
use onex_spi::{Effect, Error, ErrorKind, Result, TokioClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Sends every name to loopback, refuses every literal, writes down what it was asked.
#[derive(Debug, Default)]
struct Vetting(Mutex<Vec<String>>);

#[async_trait]
impl Resolver for Vetting {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        self.0.lock().unwrap().push(host.to_owned());
        if host.parse::<IpAddr>().is_ok() {
            return Err(Error::new(ErrorKind::PermissionDenied, "test.resolve", "no literals").not_applied());
        }
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

async fn transport(resolver: Option<Arc<dyn Resolver>>) -> Arc<dyn HttpTransport> {
    let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
    let context = match resolver {
        Some(resolver) => context.with_resolver(resolver),
        None => context,
    };
    open(Config::default(), &context).await.expect("a transport")
}

fn get(url: String) -> HttpRequest {
    HttpRequest::new(Method::GET, HttpUrl::try_from(url).expect("a URL"))
}

#[tokio::test]
async fn names_are_resolved_and_literals_vetted_by_the_one_resolver() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let vetting = Arc::new(Vetting::default());
    let transport = transport(Some(vetting.clone())).await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 1024];
        let read = stream.read(&mut head).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("an answer");
        String::from_utf8_lossy(&head[..read]).into_owned()
    };
    let (answer, head) = tokio::join!(transport.exchange(get(format!("http://orders.test:{port}/"))), serve);
    let answer = answer.expect("an answer");
    assert_eq!(answer.into_body().bytes(2).await.expect("the body"), "ok");
    assert!(head.contains(&format!("host: orders.test:{port}")), "{head}");

    for literal in ["127.0.0.1", "[::1]"] {
        let error = transport.exchange(get(format!("http://{literal}:{port}/"))).await.expect_err(literal);
        assert_eq!((error.kind(), error.effect()), (ErrorKind::PermissionDenied, Effect::NotApplied));
    }
    assert_eq!(*vetting.0.lock().unwrap(), ["orders.test", "127.0.0.1", "::1"]);
    let stats = transport.pool_stats();
    assert_eq!((stats.source, stats.in_use), (StatsSource::Derived, Some(0)));
    assert_eq!((stats.opened, stats.dial_errors), (Some(1), Some(0)), "what was refused was not dialled");
    assert_eq!((stats.open, stats.idle, stats.closed, stats.reused), (None, None, None, None));
}

#[tokio::test]
async fn a_host_without_address_is_told_by_the_resolver() {
    let transport = transport(None).await;
    // RFC 6761 §6.4: `invalid.` never resolves.
    let error = transport.exchange(get("http://host.invalid/path?secret".into())).await.expect_err("no host");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotFound, Effect::NotApplied));
    assert_eq!(error.http().map(|fault| fault.reason), Some(HttpReason::Resolve));
    assert!(!format!("{error:#} {error:?}").contains("secret"), "{error:?}");
    assert_eq!(transport.pool_stats().dial_errors, Some(1));
}
