//! Targets behind circuits: by the client that an HTTP target speaks through, or by the key `circuit` of any target. Row ONEX-CB-06.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use onex_bridge::guarded;
use onex_bridge::http::HttpProtocol;
use onex_http_client::HttpClientBuilder;
use onex_memory::http::MemoryHttp;
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitState};
use onex_spi::bridge::{
    BridgeContext, BridgeMessage, BridgeProtocol, BridgeSource, BridgeTarget, MessageId, Protocol,
};
use onex_spi::http::{BreakerBinding, HttpRequest, HttpResponse, HttpService, RetryPolicy};
use onex_spi::provider::{KeyError, Table};
use onex_spi::{Clock, Effect, Error, ErrorKind, Health, Lifecycle, Result};
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

fn two_failures_open() -> BreakerSetup {
    let mut setup = BreakerSetup::new(1);
    setup.defaults = CircuitBreakerConfig::new()
        .with_failure_threshold(2)
        .with_success_threshold(1)
        .with_open_time(OPEN_TIME);
    setup
}

async fn deliver(target: &dyn BridgeTarget) -> Result<()> {
    let message = BridgeMessage::new(MessageId::from_u128(7), "{}");
    target.deliver(&"/in".into(), &[message]).await.remove(0).map(|_| ())
}

#[tokio::test]
async fn an_open_circuit_spares_the_target_and_asks_for_another_attempt_when_it_may_admit() {
    let setup = two_failures_open();
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

/// What a target says to each message of a batch.
type Answer = fn() -> Result<()>;

/// Answers each batch with the next of these for every message of it.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<VecDeque<Answer>>,
}

#[async_trait]
impl Lifecycle for Scripted {
    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl BridgeTarget for Scripted {
    fn check_route(&self, _to: &str) -> Result<()> {
        Ok(())
    }

    fn address(&self, to: &str) -> String {
        to.to_owned()
    }

    async fn deliver(&self, _: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        let answer =
            self.answers.lock().expect("whole").pop_front().expect("nobody asks an open circuit's target");
        messages.iter().map(|_| answer().map(|()| None)).collect()
    }
}

/// Makes the scripted target, once.
#[derive(Debug)]
struct Script(Arc<Scripted>);

#[async_trait]
impl BridgeProtocol for Script {
    fn name(&self) -> Protocol {
        Protocol::new("script")
    }

    fn check_source(&self, _: &Table) -> Vec<KeyError> {
        Vec::new()
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        config.keys().map(|key| KeyError::new(key, "unknown field")).collect()
    }

    async fn source(&self, _: Table, _: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        Err(Error::new(ErrorKind::Unsupported, "script.source", "no sources"))
    }

    async fn target(&self, config: Table, _: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        assert!(config.is_empty(), "its own keys only");
        Ok(self.0.clone())
    }
}

fn down() -> Result<()> {
    Err(Error::new(ErrorKind::Unavailable, "script.deliver", "down"))
}

fn busy() -> Result<()> {
    Err(Error::new(ErrorKind::Unavailable, "script.deliver", "busy").with_retry_after(OPEN_TIME * 3))
}

fn late() -> Result<()> {
    Err(Error::new(ErrorKind::TimedOut, "script.deliver", "late"))
}

fn refused() -> Result<()> {
    Err(Error::new(ErrorKind::TooLarge, "script.deliver", "too large"))
}

#[tokio::test]
async fn any_target_asks_the_circuit_that_its_key_names() {
    let setup = two_failures_open();
    let clock = setup.manual.clone();
    let breaker: Arc<dyn CircuitBreaker> = Arc::new(ReferenceBreaker::new(setup));
    let script: [Answer; 7] = [|| Ok(()), refused, down, late, || Ok(()), busy, || Ok(())];
    let script = Arc::new(Scripted { answers: Mutex::new(script.into()) });
    let protocol = guarded(Arc::new(Script(Arc::clone(&script))), Some(Arc::clone(&breaker)));
    let context = BridgeContext::new(Arc::new(clock.clone()), 7, "hooks", 1024);
    let table = |text: &str| text.parse::<Table>().expect("a table");

    let wrong = protocol.check_target(&table("circuit = ''\nother = 1"));
    let keys: Vec<_> = wrong.iter().map(|error| error.path.join(".")).collect();
    assert_eq!(keys, ["circuit", "other"]);
    let none = guarded(Arc::new(Script(Arc::clone(&script))), None);
    assert!(none.check_target(&table("circuit = 'orders'")).is_empty());
    let refused =
        none.target(table("circuit = 'orders'"), &context).await.map(|_| ()).expect_err("no breaker");
    assert!(refused.message().contains("`orders` asks a breaker, and there is none"), "{refused}");

    let target = protocol.target(table("circuit = 'orders'"), &context).await.expect("a target");
    let seen = || breaker.circuit_metrics("orders").expect("known");
    let state = || breaker.circuit_state("orders").expect("known").state;
    deliver(&*target).await.expect("accepted");
    deliver(&*target).await.expect_err("the message's own fault");
    assert_eq!((seen().success_count, seen().ignored_count, seen().failure_count), (1, 1, 0));
    deliver(&*target).await.expect_err("down");
    assert_eq!(target.health().await, Health::Healthy);
    deliver(&*target).await.expect_err("late");
    assert_eq!((seen().failure_count, seen().timeout_count, state()), (1, 1, CircuitState::Open));
    assert_eq!(target.health().await, Health::Degraded("its circuit `orders` is Open".to_owned()));

    let rejected = deliver(&*target).await.expect_err("open");
    assert_eq!((rejected.kind(), rejected.effect()), (ErrorKind::Rejected, Effect::NotApplied));
    assert!(rejected.is_retryable(true) && rejected.retry_after() == Some(OPEN_TIME), "{rejected}");
    clock.advance(OPEN_TIME);
    deliver(&*target).await.expect("the probe");
    assert_eq!(state(), CircuitState::Closed);

    deliver(&*target).await.expect_err("busy");
    assert_eq!(seen().retry_after, Some(OPEN_TIME * 3), "for as long as the other side asks");
    clock.advance(OPEN_TIME * 3);
    drop(target.deliver(&"/in".into(), &[BridgeMessage::new(MessageId::from_u128(7), "{}")]));
    assert_eq!(
        (seen().admitted_count, state()),
        (6, CircuitState::HalfOpen),
        "a delivery that was never begun"
    );
    deliver(&*target).await.expect("the probe");
    assert!(script.answers.lock().expect("whole").is_empty(), "each answer was asked for");
}
