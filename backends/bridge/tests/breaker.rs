//! A target behind a circuit: the client that it speaks through is bound to a breaker. Row ONEX-CB-06.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use onex_bridge::http::HttpProtocol;
use onex_http_client::HttpClientBuilder;
use onex_memory::http::MemoryHttp;
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitState};
use onex_spi::bridge::{BridgeContext, BridgeMessage, BridgeProtocol, BridgeTarget, MessageId};
use onex_spi::http::{BreakerBinding, HttpRequest, HttpResponse, HttpService, RetryPolicy};
use onex_spi::{Clock, Effect, ErrorKind, Result};
use onex_testkit::breaker::{BreakerSetup, reference::ReferenceBreaker};

const OPEN_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Server {
    status: AtomicU16,
    seen: AtomicUsize,
}

#[async_trait]
impl HttpService for Server {
    async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        let status = StatusCode::from_u16(self.status.load(Ordering::SeqCst)).expect("a status");
        Ok(HttpResponse::new(status, ""))
    }
}

async fn deliver(target: &dyn BridgeTarget) -> Result<()> {
    let message = BridgeMessage::new(MessageId::from_u128(7), "{}");
    target.deliver(&"/in".into(), &[message]).await.remove(0).map(|_| ())
}

#[tokio::test]
async fn an_open_circuit_spares_the_target_and_asks_for_another_attempt_when_it_may_admit() {
    let mut setup = BreakerSetup::new(1);
    setup.defaults = CircuitBreakerConfig::new()
        .with_failure_threshold(2)
        .with_success_threshold(1)
        .with_open_time(OPEN_TIME);
    let clock = setup.manual.clone();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let breaker: Arc<dyn CircuitBreaker> = Arc::new(ReferenceBreaker::new(setup));
    let (network, server) = (MemoryHttp::new(Arc::clone(&shared)), Arc::new(Server::default()));
    network.otherwise(Arc::clone(&server) as _);
    let client = HttpClientBuilder::new(network.transport(), Arc::clone(&shared))
        .config(onex_http_client::Config::new().with_retry(RetryPolicy::never()))
        .breaker(BreakerBinding::named(Arc::clone(&breaker), "orders"))
        .build()
        .expect("a client");
    let context = BridgeContext::new(shared, 7, "hooks", 1024);
    let table = "url = 'http://orders.test/'\nprobe = false".parse().expect("a table");
    let target = HttpProtocol::new().with_client(client).target(table, &context).await.expect("a target");

    server.status.store(503, Ordering::SeqCst);
    for _ in 0..2 {
        let failed = deliver(&*target).await.expect_err("503");
        assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
    }
    assert_eq!(breaker.circuit_state("orders").expect("known").state, CircuitState::Open);

    server.status.store(200, Ordering::SeqCst);
    let rejected = deliver(&*target).await.expect_err("open");
    assert_eq!((rejected.kind(), rejected.effect()), (ErrorKind::Rejected, Effect::NotApplied));
    // What the bridge goes by: another attempt, and when.
    assert!(rejected.is_retryable(true), "{rejected}");
    assert_eq!(rejected.retry_after(), Some(OPEN_TIME));
    assert_eq!(server.seen.load(Ordering::SeqCst), 2, "the target is left alone");

    clock.advance(OPEN_TIME);
    deliver(&*target).await.expect("the probe");
    assert_eq!(breaker.circuit_state("orders").expect("known").state, CircuitState::Closed);
    assert_eq!(server.seen.load(Ordering::SeqCst), 3);
}
