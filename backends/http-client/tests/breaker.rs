//! The policy and a circuit breaker: what an attempt asks, what a circuit is told, what a rejection does to the retries. Row ONEX-CB-06.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use onex_http_client::{CircuitConfig, Config, HttpClientBuilder, StatusMatch, TimeoutConfig};
use onex_memory::http::MemoryHttp;
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitExt, CircuitState};
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
    /// `Retry-After` in seconds; zero = none.
    retry_after: AtomicU16,
    seen: AtomicUsize,
}

#[async_trait]
impl HttpService for Server {
    async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        match StatusCode::from_u16(self.status.load(Ordering::SeqCst)) {
            Ok(status) => {
                let mut response = HttpResponse::new(status, "");
                let seconds = self.retry_after.load(Ordering::SeqCst);
                if seconds > 0 && !status.is_success() {
                    response.headers.insert(RETRY_AFTER, seconds.into());
                }
                Ok(response)
            }
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
        Self::with(Config::new().with_retry(retry), bind)
    }

    fn with(config: Config, bind: fn(Arc<dyn CircuitBreaker>) -> BreakerBinding) -> Self {
        let clock = ManualClock::new();
        let network = MemoryHttp::new(Arc::new(clock.clone()));
        let server = Arc::new(Server::default());
        server.status.store(200, Ordering::SeqCst);
        network.otherwise(server.clone());
        let breaker =
            onex_breaker_failsafe::open(Default::default(), Arc::new(clock.clone()), 0).expect("a breaker");
        let circuit = CircuitBreakerConfig::new().with_failure_threshold(1).with_success_threshold(1);
        let binding = bind(breaker.clone()).with_config(circuit.with_open_time(10 * SECOND));
        let client = HttpClientBuilder::new(network.transport(), Arc::new(clock.clone()))
            .config(config.with_timeouts(TimeoutConfig::off()))
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

    /// Moves time to whatever is waited for, telling `server` at each wait, until `work` ends.
    async fn through<T>(&self, work: impl Future<Output = T>, turn: impl Fn(&Server)) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.clock.until_waiting(1) => {
                    turn(&self.server);
                    let next = self.clock.next_deadline().expect("something waits");
                    self.clock.advance(next - self.clock.now());
                }
            }
        }
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
    // ONEX-EX-08, ONEX-HTTP-05: the breaker sits inside retry; an open circuit ends or delays the retry loop by retry_after
    let world = World::new(steps(), BreakerBinding::per_host);
    let begin = world.clock.now();
    world.answers(503);
    let answer = world.through(world.get("a"), |server| server.status.store(200, Ordering::SeqCst)).await;
    // 503, one second, rejected for nine more, then the probe: two requests arrived.
    assert_eq!((answer.expect("the probe's answer"), world.seen()), (200, 2));
    assert_eq!(world.clock.now() - begin, 10 * SECOND);
    let metrics = world.client.client_metrics();
    // The rejection was no attempt and used up no retry.
    assert_eq!((metrics.requests, metrics.successes, metrics.retries), (1, 1, 1));
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
async fn waiting_for_the_circuit_uses_up_no_retry_and_has_an_end() {
    let world = World::new(steps().with_max_retries(1), BreakerBinding::per_host);
    let begin = world.clock.now();
    world.answers(503);
    let answer = world.through(world.get("a"), |server| server.status.store(200, Ordering::SeqCst)).await;
    assert_eq!((answer.expect("the one retry is the probe"), world.seen()), (200, 2));
    assert_eq!(world.clock.now() - begin, 10 * SECOND);

    // Half-open and full, nobody knows for how long: as many waits as there are retries.
    world.answers(0);
    world.breaker.reset_circuit_breaker("a:80").expect("known");
    world.breaker.circuit("a:80").expect("known").try_acquire().expect("closed").failure();
    world.clock.advance(10 * SECOND);
    let mut probe = std::pin::pin!(world.get("a"));
    assert!(std::future::poll_fn(|cx| Poll::Ready(probe.as_mut().poll(cx).is_pending())).await);
    let begin = world.clock.now();
    let rejected = world.through(world.get("a"), |_| ()).await.expect_err("the probe runs");
    assert_eq!((rejected.kind(), world.seen()), (ErrorKind::Rejected, 3));
    assert_eq!(world.clock.now() - begin, SECOND, "one wait of the policy's own length");
}

#[tokio::test]
async fn a_circuit_that_was_forced_open_ends_the_retries_at_once() {
    let world = World::new(steps(), BreakerBinding::per_host);
    assert_eq!(world.get("a").await.expect("an answer"), 200);
    world.breaker.force_circuit_open("a:80").expect("known");
    let rejected = world.get("a").await.expect_err("forced");
    assert_eq!((rejected.kind(), world.clock.waiting(), world.seen()), (ErrorKind::Rejected, 0, 1));
}

#[tokio::test]
async fn retry_after_opens_at_once_for_its_own_time_and_the_retry_is_the_probe() {
    let circuit = |breaker| BreakerBinding::named(breaker, "shop");
    let world = World::new(steps().with_max_retries(1), circuit);
    let many = CircuitBreakerConfig::new().with_failure_threshold(9).with_success_threshold(1);
    world.breaker.configure_circuit_breaker("shop", many).expect("in range");
    let begin = world.clock.now();
    world.answers(429).server.retry_after.store(7, Ordering::SeqCst);
    let mut call = std::pin::pin!(world.get("a"));
    tokio::select! {
        biased;
        answer = &mut call => panic!("it does not wait: {answer:?}"),
        () = world.clock.until_waiting(1) => {}
    }
    let other = world.breaker.circuit_metrics("shop").expect("known");
    let answer = world.through(call, |server| server.status.store(200, Ordering::SeqCst)).await;
    assert_eq!((other.status.state, other.retry_after), (CircuitState::Open, Some(7 * SECOND)));
    assert_eq!((answer.expect("the probe"), world.seen()), (200, 2));
    assert_eq!((world.clock.now() - begin, world.state("shop")), (7 * SECOND, CircuitState::Closed));
}

#[tokio::test]
async fn the_table_says_which_statuses_are_failures() {
    // ONEX-CB-05
    let failures = vec![StatusMatch::Code(404), StatusMatch::Code(503)];
    let table = CircuitConfig::default().with_failures(failures).with_trip_on_retry_after(false);
    let config = Config::new().with_retry(RetryPolicy::never()).with_circuit(table);
    let world = World::with(config, BreakerBinding::per_host);
    for (status, state) in
        [(500, CircuitState::Closed), (429, CircuitState::Closed), (404, CircuitState::Open)]
    {
        world.answers(status).get("a").await.expect("an answer");
        assert_eq!(world.state("a:80"), state, "after {status}");
    }
    world.server.retry_after.store(99, Ordering::SeqCst);
    world.answers(503).get("b").await.expect("an answer");
    let left = world.breaker.circuit_metrics("b:80").expect("known").retry_after;
    assert_eq!(left, Some(10 * SECOND), "the open time, not what the answer asks for");
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
