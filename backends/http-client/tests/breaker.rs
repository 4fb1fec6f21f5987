//! The policy and a circuit breaker: what an attempt asks, what a circuit is told, what a rejection does to the retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use onex_http_client::{Config, HttpClientBuilder, TimeoutConfig};
use onex_memory::http::MemoryHttp;
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitState};
use onex_spi::http::{
    BreakerBinding, HttpClient, HttpReason, HttpRequest, HttpResponse, HttpService, HttpUrl, RetryPolicy,
};
use onex_spi::{Clock, Effect, ErrorKind, Result};
use onex_testkit::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

/// Answers the status that it is set to, none for zero; counts.
#[derive(Debug, Default)]
struct Server {
    status: AtomicU16,
    seen: AtomicUsize,
}

#[async_trait]
impl HttpService for Server {
    async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        match StatusCode::from_u16(self.status.load(Ordering::SeqCst)) {
            Ok(status) => Ok(HttpResponse::new(status, "")),
            Err(_) => std::future::pending().await,
        }
    }
}

struct World {
    clock: ManualClock,
    server: Arc<Server>,
    breaker: Arc<dyn CircuitBreaker>,
    client: Arc<dyn HttpClient>,
}

impl World {
    /// One failure opens a circuit for ten seconds, one success closes it.
    fn new(retry: RetryPolicy, bind: fn(Arc<dyn CircuitBreaker>) -> BreakerBinding) -> Self {
        let clock = ManualClock::new();
        let network = MemoryHttp::new(Arc::new(clock.clone()));
        let server = Arc::new(Server::default());
        server.status.store(200, Ordering::SeqCst);
        network.otherwise(server.clone());
        let config = onex_breaker_native::Config::default();
        let breaker = onex_breaker_native::open(config, Arc::new(clock.clone())).expect("a breaker");
        let circuit = CircuitBreakerConfig::new().with_failure_threshold(1).with_success_threshold(1);
        let binding = bind(breaker.clone()).with_config(circuit.with_open_time(10 * SECOND));
        let client = HttpClientBuilder::new(network.transport(), Arc::new(clock.clone()))
            .config(Config::new().with_retry(retry).with_timeouts(TimeoutConfig::off()))
            .breaker(binding)
            .build()
            .expect("a client");
        Self { clock, server, breaker, client }
    }

    fn answers(&self, status: u16) -> &Self {
        self.server.status.store(status, Ordering::SeqCst);
        self
    }

    async fn get(&self, host: &str) -> Result<u16> {
        let url = HttpUrl::try_from(format!("http://{host}/")).expect("a URL");
        self.client.request(HttpRequest::new(Method::GET, url)).await.map(|response| response.status.as_u16())
    }

    fn state(&self, name: &str) -> CircuitState {
        self.breaker.circuit_state(name).expect("a known circuit").state
    }

    fn seen(&self) -> usize {
        self.server.seen.load(Ordering::SeqCst)
    }
}

/// Waits of one, two, four seconds, without jitter.
fn steps() -> RetryPolicy {
    let mut policy = RetryPolicy::default().with_backoff(SECOND, 30 * SECOND).with_budget(None);
    policy.jitter = false;
    policy
}

#[tokio::test]
async fn an_open_circuit_rejects_untouched_and_names_itself() {
    // ONEX-HTTP-05
    let world = World::new(RetryPolicy::never(), BreakerBinding::per_host);
    assert_eq!(world.answers(503).get("a").await.expect("an answer"), 503);
    assert_eq!(world.state("a:80"), CircuitState::Open);
    let rejected = world.answers(200).get("A").await.expect_err("open");
    assert_eq!((rejected.kind(), rejected.effect()), (ErrorKind::Rejected, Effect::NotApplied));
    assert_eq!(rejected.http().map(|fault| fault.reason), Some(HttpReason::CircuitOpen));
    assert_eq!(rejected.retry_after(), Some(10 * SECOND));
    assert!(rejected.to_string().contains("`a:80`"), "{rejected}");
    assert_eq!((world.get("b").await.expect("another host"), world.seen()), (200, 2));
    world.clock.advance(10 * SECOND);
    assert_eq!(world.get("a").await.expect("the probe"), 200);
    assert_eq!(world.state("a:80"), CircuitState::Closed);
}

#[tokio::test]
async fn a_named_circuit_stands_for_the_whole_client() {
    let world = World::new(RetryPolicy::never(), |breaker| BreakerBinding::named(breaker, "orders"));
    assert_eq!(world.state("orders"), CircuitState::Closed, "made and configured when it is bound");
    world.answers(429).get("a").await.expect("an answer");
    assert_eq!(world.get("b").await.expect_err("open for every host").kind(), ErrorKind::Rejected);
}

#[tokio::test]
async fn an_open_circuit_delays_the_retry_until_it_admits_a_probe() {
    // ONEX-HTTP-05: the breaker sits inside retry; an open circuit ends or delays the retry loop by retry_after
    let world = World::new(steps(), BreakerBinding::per_host);
    let begin = world.clock.now();
    let server = world.server.clone();
    world.answers(503);
    let mut call = std::pin::pin!(world.get("a"));
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut call => break answer,
            () = world.clock.until_waiting(1) => {
                server.status.store(200, Ordering::SeqCst);
                let next = world.clock.next_deadline().expect("something waits");
                world.clock.advance(next - world.clock.now());
            }
        }
    };
    // 503, one second, rejected for nine more, then the probe: two requests arrived.
    assert_eq!((answer.expect("the probe's answer"), world.seen()), (200, 2));
    assert_eq!(world.clock.now() - begin, 10 * SECOND);
    let metrics = world.client.client_metrics();
    assert_eq!((metrics.requests, metrics.successes, metrics.retries), (1, 1, 2));
}

#[tokio::test]
async fn a_circuit_that_stays_open_longer_than_any_wait_ends_the_retries() {
    let world = World::new(RetryPolicy::never(), BreakerBinding::per_host);
    world.answers(500).get("a").await.expect("an answer");
    world.client.configure_retry_policy(steps().with_backoff(SECOND, 5 * SECOND)).expect("a policy");
    let rejected = world.get("a").await.expect_err("open for ten seconds, five are obeyed");
    assert_eq!((rejected.kind(), world.clock.waiting()), (ErrorKind::Rejected, 0));
}

#[tokio::test]
async fn a_dropped_call_returns_its_permit_as_cancelled() {
    // ONEX-CB-09
    let world = World::new(RetryPolicy::never(), BreakerBinding::per_host);
    world.answers(0);
    {
        let mut call = std::pin::pin!(world.get("a"));
        assert!(std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
    }
    let metrics = world.breaker.circuit_metrics("a:80").expect("known");
    assert_eq!((metrics.admitted_count, metrics.cancelled_count, metrics.failure_count), (1, 1, 0));
    assert_eq!(world.state("a:80"), CircuitState::Closed);
}

#[tokio::test]
async fn own_refusals_say_nothing_and_a_circuit_limit_is_the_attempts() {
    let world = World::new(RetryPolicy::never(), BreakerBinding::per_host);
    let url = HttpUrl::try_from("http://a/").expect("a URL");
    let mut bad = HttpRequest::new(Method::POST, url);
    bad.headers.insert("content-length", "7".parse().expect("a value"));
    assert_eq!(world.client.request(bad).await.expect_err("refused").kind(), ErrorKind::InvalidInput);
    let metrics = world.breaker.circuit_metrics("a:80").expect("known");
    assert_eq!((metrics.ignored_count, metrics.failure_count), (1, 0));

    let limited = CircuitBreakerConfig::new().with_failure_threshold(1).with_call_timeout(Some(3 * SECOND));
    let binding = BreakerBinding::named(world.breaker.clone(), "limited").with_config(limited);
    world.client.configure_circuit_breaker(Some(binding)).expect("a binding");
    world.answers(0);
    let (late, ()) = tokio::join!(world.get("a"), async {
        world.clock.until_waiting(1).await;
        world.clock.advance(3 * SECOND);
    });
    assert!(late.expect_err("late").to_string().contains("one attempt within 3s"));
    let metrics = world.breaker.circuit_metrics("limited").expect("known");
    assert_eq!((metrics.timeout_count, metrics.status.state), (1, CircuitState::Open));
}

#[tokio::test]
async fn a_binding_is_replaced_at_once_and_a_bad_one_refused() {
    // ONEX-HTTP-16
    let world = World::new(RetryPolicy::never(), BreakerBinding::per_host);
    world.answers(500).get("a").await.expect("an answer");
    let zero = CircuitBreakerConfig::new().with_failure_threshold(0);
    let bad = BreakerBinding::per_host(world.breaker.clone()).with_config(zero);
    let refused = world.client.configure_circuit_breaker(Some(bad)).expect_err("zero failures");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(world.get("a").await.expect_err("the old binding stays").kind(), ErrorKind::Rejected);
    world.client.configure_circuit_breaker(None).expect("none");
    assert_eq!(world.get("a").await.expect("no breaker"), 500);
}
