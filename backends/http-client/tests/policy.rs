//! The policy over the memory engine on a clock that stands still: the inside of what the suites see from outside.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame};
use onex_http_client::{Config, HttpClientBuilder, TimeoutConfig};
use onex_memory::http::{MemoryFault, MemoryHttp};
use onex_spi::http::{
    HttpBody, HttpClient, HttpClientExt, HttpInterceptor, HttpNext, HttpPhase, HttpReason, HttpRequest,
    HttpResponse, HttpService, HttpUrl, RetryBudget, RetryPolicy,
};
use onex_spi::{Clock, Effect, Error, ErrorKind, Result};
use onex_testkit::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

/// Answers what it was told to, in order, the last one again and again; a zero status never answers.
#[derive(Debug)]
struct Script {
    answers: Mutex<VecDeque<(u16, HeaderMap)>>,
    seen: Mutex<Vec<(HeaderMap, Bytes)>>,
}

#[async_trait]
impl HttpService for Script {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
        let parts = request.into_parts();
        let body = parts.body.bytes(1 << 20).await?;
        self.seen.lock().unwrap().push((parts.headers, body));
        let (status, headers) = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        };
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let mut response = HttpResponse::new(StatusCode::from_u16(status).unwrap(), "0123456789");
        response.headers = headers;
        Ok(response)
    }
}

struct World {
    clock: ManualClock,
    network: MemoryHttp,
    script: Arc<Script>,
}

impl World {
    fn new(statuses: &[u16]) -> Self {
        let clock = ManualClock::new();
        let network = MemoryHttp::new(Arc::new(clock.clone()));
        let answers = statuses.iter().map(|status| (*status, HeaderMap::new())).collect();
        let script = Arc::new(Script { answers: Mutex::new(answers), seen: Mutex::default() });
        network.otherwise(script.clone());
        Self { clock, network, script }
    }

    fn builder(&self) -> HttpClientBuilder {
        HttpClientBuilder::new(self.network.transport(), Arc::new(self.clock.clone())).seed(7)
    }

    fn client(&self, config: Config) -> Arc<dyn HttpClient> {
        self.builder().config(config).build().expect("a client")
    }

    fn attempts(&self) -> usize {
        self.script.seen.lock().unwrap().len()
    }

    /// Moves time to whatever is waited for until `work` ends; answers how much passed.
    async fn through<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        let begin = self.clock.now();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return (output, self.clock.now() - begin),
                () = self.clock.until_waiting(1) => {
                    let next = self.clock.next_deadline().expect("something waits");
                    self.clock.advance(next - self.clock.now());
                }
            }
        }
    }
}

/// One second, then two, then four, without jitter.
fn steps() -> RetryPolicy {
    let mut policy = RetryPolicy::default().with_backoff(SECOND, 30 * SECOND).with_budget(None);
    policy.jitter = false;
    policy
}

fn request(method: Method) -> HttpRequest {
    HttpRequest::new(method, HttpUrl::try_from("http://host/").expect("a URL"))
}

fn phase(error: &Error) -> Option<HttpPhase> {
    error.http().and_then(|fault| fault.phase)
}

/// Chunks, then nothing for ever.
struct Chunks(VecDeque<&'static str>, bool);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match self.0.pop_front() {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            None if self.1 => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn stream(chunks: &[&'static str], stalls: bool) -> HttpBody {
    HttpBody::new(Chunks(chunks.iter().copied().collect(), stalls))
}

#[tokio::test]
async fn a_retry_waits_its_time_and_the_last_answer_is_handed_out() {
    let world = World::new(&[503, 500, 200]);
    let client = world.client(Config::new().with_retry(steps()));
    let (answer, took) = world.through(client.request(request(Method::GET))).await;
    assert_eq!((answer.expect("an answer").status.as_u16(), took), (200, 3 * SECOND));

    let world = World::new(&[503]);
    let client = world.client(Config::new().with_retry(steps().with_max_retries(2)));
    let (answer, took) = world.through(client.request(request(Method::GET))).await;
    assert_eq!((answer.expect("the last answer").status.as_u16(), took), (503, 3 * SECOND));
    let metrics = client.client_metrics();
    assert_eq!((metrics.requests, metrics.successes, metrics.retries), (1, 1, 2));
    assert_eq!(
        (world.attempts(), metrics.bytes_received),
        (3, 10),
        "bodies that were dropped are not handed out"
    );
}

#[tokio::test]
async fn retry_after_is_a_floor_in_seconds_and_as_a_date() {
    // The manual clock begins on this second of the calendar.
    for (value, wait) in [("7", 7), ("Thu, 01 Jan 2026 00:00:09 GMT", 9), ("0", 1)] {
        let world = World::new(&[503, 200]);
        let asked = [("retry-after".parse().expect("a name"), value.parse().expect("a value"))];
        world.script.answers.lock().unwrap()[0].1 = asked.into_iter().collect();
        let client = world.client(Config::new().with_retry(steps()));
        let (answer, took) = world.through(client.request(request(Method::GET))).await;
        assert_eq!((answer.expect("an answer").status.as_u16(), took), (200, wait * SECOND), "{value}");
    }
}

#[tokio::test]
async fn a_one_shot_body_is_sent_once_and_a_replayable_one_again() {
    // ONEX-HTTP-22, HTTP-42
    let world = World::new(&[503]);
    let client = world.client(Config::new().with_retry(steps().with_max_retries(1)));
    let mut once = request(Method::PUT);
    once.body = stream(&["ab", "c"], false);
    let answer = client.request(once).await.expect("the only answer");
    assert_eq!((answer.status.as_u16(), world.attempts()), (503, 1));

    let mut again = request(Method::PUT);
    again.body = HttpBody::replayable(|| stream(&["de", "f"], false), Some(3));
    let (answer, _) = world.through(client.request(again)).await;
    assert_eq!(answer.expect("the second answer").status.as_u16(), 503);
    let seen = world.script.seen.lock().unwrap();
    let bodies: Vec<_> = seen.iter().map(|(_, body)| &body[..]).collect();
    assert_eq!(bodies, [&b"abc"[..], b"def", b"def"]);
    assert_eq!(seen[2].0["content-length"], "3");
    assert_eq!(client.client_metrics().bytes_sent, 9);
}

#[tokio::test]
async fn the_budget_of_a_host_ends_retries_and_fills_again() {
    let world = World::new(&[503]);
    let policy = steps().with_budget(Some(RetryBudget::new(2, 0.1)));
    let client = world.client(Config::new().with_retry(policy));
    let attempts = async || {
        let before = world.attempts();
        let (answer, took) = world.through(client.request(request(Method::GET))).await;
        answer.expect("the last answer");
        (world.attempts() - before, took)
    };
    assert_eq!(attempts().await, (3, 3 * SECOND), "two tokens, two retries");
    assert_eq!(attempts().await.0, 1, "three tenths of a token came back");
    world.clock.advance(10 * SECOND);
    assert_eq!(attempts().await.0, 2);
}

#[tokio::test]
async fn each_limit_cuts_in_its_phase() {
    // HTTP-18, ONEX-HTTP-19
    let limits = TimeoutConfig::off();
    let five = Some(5 * SECOND);
    for (limits, expected) in [
        (limits.with_total(five), HttpPhase::TotalHead),
        (limits.with_attempt(five), HttpPhase::Attempt),
        (limits.with_head(five), HttpPhase::Head),
        (limits.with_head(Some(6 * SECOND)).with_attempt(five), HttpPhase::Attempt),
    ] {
        let world = World::new(&[0]);
        let client = world.client(Config::new().with_timeouts(limits).with_retry(RetryPolicy::never()));
        let (answer, took) = world.through(client.request(request(Method::GET))).await;
        let error = answer.expect_err("never answered");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
        assert_eq!((phase(&error), took), (Some(expected), 5 * SECOND));
        assert!(error.to_string().contains("within 5s"), "{error}");
        let metrics = client.client_metrics();
        assert_eq!((metrics.failures, metrics.timeouts, metrics.in_flight), (1, 1, 0));
        assert_eq!((world.network.transport().pool_stats().in_use, world.clock.waiting()), (Some(0), 0));
    }
}

#[tokio::test]
async fn the_total_limit_covers_attempts_and_waits() {
    let world = World::new(&[0]);
    let limits = TimeoutConfig::off().with_attempt(Some(2 * SECOND)).with_total(Some(6 * SECOND));
    let client = world.client(Config::new().with_timeouts(limits).with_retry(steps()));
    // 2 s, wait 1 s, 2 s; the next wait of 2 s would end after the sixth second: the attempt's own error is handed out.
    let (answer, took) = world.through(client.request(request(Method::GET))).await;
    assert_eq!((phase(&answer.expect_err("never answered")), took), (Some(HttpPhase::Attempt), 5 * SECOND));

    let mut own = request(Method::GET);
    own.timeouts.total = Some(4 * SECOND);
    let (answer, took) = world.through(client.request(own)).await;
    assert_eq!((phase(&answer.expect_err("never answered")), took), (Some(HttpPhase::TotalHead), 4 * SECOND));
    assert_eq!(world.attempts(), 4);
}

#[tokio::test]
async fn the_head_clock_starts_when_the_body_was_sent() {
    #[derive(Debug)]
    struct Slow(ManualClock);
    #[async_trait]
    impl HttpService for Slow {
        async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse> {
            let mut body = request.into_parts().body;
            self.0.sleep_until(self.0.now() + 5 * SECOND).await;
            while let Some(frame) = body.frame().await {
                frame?;
            }
            std::future::pending().await
        }
    }
    let world = World::new(&[0]);
    world.network.otherwise(Arc::new(Slow(world.clock.clone())));
    let limits = TimeoutConfig::off().with_head(Some(2 * SECOND));
    let client = world.client(Config::new().with_timeouts(limits).with_retry(RetryPolicy::never()));
    let mut streamed = request(Method::POST);
    streamed.body = stream(&["ab"], false);
    let (answer, took) = world.through(client.request(streamed)).await;
    assert_eq!((phase(&answer.expect_err("never answered")), took), (Some(HttpPhase::Head), 7 * SECOND));
}

#[tokio::test]
async fn a_body_is_cut_when_it_is_idle_or_the_call_is_over() {
    #[derive(Debug)]
    struct Stalls;
    #[async_trait]
    impl HttpService for Stalls {
        async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse> {
            Ok(HttpResponse::new(StatusCode::OK, stream(&["abc"], true)))
        }
    }
    for (idle, total, expected, after) in [(2, 9, HttpPhase::IdleRead, 2), (9, 4, HttpPhase::TotalBody, 4)] {
        let world = World::new(&[0]);
        world.network.otherwise(Arc::new(Stalls));
        let limits =
            TimeoutConfig::off().with_idle_read(Some(idle * SECOND)).with_total(Some(total * SECOND));
        let client = world.client(Config::new().with_timeouts(limits));
        let mut body = client.request(request(Method::GET)).await.expect("a head").into_body();
        assert_eq!(body.frame().await.expect("a frame").expect("data").into_data().expect("data"), "abc");
        // A caller who does not read stops no clock of the server's.
        let (frame, took) = world.through(body.frame()).await;
        let error = frame.expect("an end").expect_err("cut");
        assert_eq!((phase(&error), took), (Some(expected), after * SECOND));
        assert_eq!(error.http().and_then(|fault| fault.bytes_received), Some(3));
        assert!(body.frame().await.is_none());
        let metrics = client.client_metrics();
        assert_eq!((metrics.successes, metrics.bytes_received, metrics.in_flight), (1, 3, 0));
        assert_eq!(world.clock.waiting(), 0);
    }
}

#[tokio::test]
async fn a_peer_that_always_has_more_is_cut_all_the_same() {
    #[derive(Debug)]
    struct Pours;
    #[async_trait]
    impl HttpService for Pours {
        async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse> {
            Ok(HttpResponse::new(StatusCode::OK, stream(&["abc"; 64], false)))
        }
    }
    let world = World::new(&[0]);
    world.network.otherwise(Arc::new(Pours));
    let limits = TimeoutConfig::off().with_total(Some(4 * SECOND));
    let client = world.client(Config::new().with_timeouts(limits));
    let open = async || client.request(request(Method::GET)).await.expect("a head").into_body();
    let mut body = open().await;
    body.frame().await.expect("a frame").expect("in time");
    world.clock.advance(5 * SECOND);
    let late = body.frame().await.expect("an end").expect_err("the call is over");
    assert_eq!(phase(&late), Some(HttpPhase::TotalBody));

    let mut body = open().await;
    body.frame().await.expect("a frame").expect("in time");
    client.close(Duration::ZERO).await.expect_err("a body was cut");
    assert_eq!(body.frame().await.expect("an end").expect_err("closed").kind(), ErrorKind::Closed);
}

/// Writes down when it is passed; can wait on the way in.
#[derive(Debug)]
struct Passing(&'static str, Arc<Mutex<Vec<&'static str>>>, Option<(ManualClock, Duration)>);

#[async_trait]
impl HttpInterceptor for Passing {
    async fn intercept(&self, mut request: HttpRequest, next: HttpNext<'_>) -> Result<HttpResponse> {
        self.1.lock().unwrap().push(self.0);
        if let Some((clock, wait)) = &self.2 {
            clock.sleep_until(clock.now() + *wait).await;
        }
        request.headers.append("x-by", self.0.parse().expect("a value"));
        next.run(request).await
    }
}

#[tokio::test]
async fn interceptors_stand_around_the_call_and_around_each_attempt() {
    // ONEX-HTTP-03
    let world = World::new(&[503, 200]);
    let passed = Arc::new(Mutex::new(Vec::new()));
    let by = |name| Arc::new(Passing(name, passed.clone(), None));
    let client = world
        .builder()
        .config(Config::new().with_retry(steps()))
        .around_call(by("call-1"))
        .around_call(by("call-2"))
        .around_attempt(by("attempt-1"))
        .around_attempt(by("attempt-2"))
        .build()
        .expect("a client");
    let (answer, _) = world.through(client.request(request(Method::GET))).await;
    assert_eq!(answer.expect("an answer").status.as_u16(), 200);
    let each = ["call-1", "call-2", "attempt-1", "attempt-2", "attempt-1", "attempt-2"];
    assert_eq!(*passed.lock().unwrap(), each);
    let seen = world.script.seen.lock().unwrap();
    let names: Vec<_> = seen[1].0.get_all("x-by").iter().collect();
    assert_eq!(
        names,
        ["call-1", "call-2", "attempt-1", "attempt-2"],
        "an attempt starts from the saved request"
    );
    assert_eq!(client.client_metrics().requests, 1);
}

#[tokio::test]
async fn the_total_limit_covers_call_interceptors() {
    let world = World::new(&[0]);
    let slow = |wait| Arc::new(Passing("slow", Arc::default(), Some((world.clock.clone(), wait * SECOND))));
    for (wait, attempts) in [(9, 0), (3, 1)] {
        let client = world
            .builder()
            .config(Config::new().with_timeouts(TimeoutConfig::off().with_total(Some(5 * SECOND))))
            .around_call(slow(wait))
            .build()
            .expect("a client");
        let (answer, took) = world.through(client.request(request(Method::GET))).await;
        assert_eq!((phase(&answer.expect_err("cut")), took), (Some(HttpPhase::TotalHead), 5 * SECOND));
        assert_eq!(world.attempts(), attempts);
        assert_eq!(client.client_metrics().timeouts, 1);
    }
}

#[tokio::test]
async fn default_headers_fill_what_is_missing_in_every_attempt() {
    let world = World::new(&[503, 200]);
    let client = world.client(Config::new().with_retry(steps()));
    let with_own = client.get("http://host/").header("accept", "text/plain").send();
    let (answer, _) = world.through(with_own).await;
    answer.expect("an answer");
    client.get("http://host/").send().await.expect("an answer");
    let seen = world.script.seen.lock().unwrap();
    let version = concat!("onex/", env!("CARGO_PKG_VERSION"));
    for ((headers, _), accept) in seen.iter().zip(["text/plain", "text/plain", "*/*"]) {
        assert_eq!(
            (&headers["accept"], &headers["user-agent"]),
            (&accept.parse().unwrap(), &version.parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_leaves_nothing() {
    // HTTP-24
    let world = World::new(&[0]);
    let transport = world.network.transport();
    let client =
        HttpClientBuilder::new(transport.clone(), Arc::new(world.clock.clone())).build().expect("a client");
    let mut call = client.request(request(Method::GET));
    assert!(std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
    assert_eq!((client.client_metrics().in_flight, transport.pool_stats().in_use), (1, Some(1)));
    drop(call);
    let metrics = client.client_metrics();
    assert_eq!((metrics.in_flight, metrics.cancelled, metrics.requests), (0, 1, 1));
    assert_eq!((transport.pool_stats().in_use, world.clock.waiting()), (Some(0), 0));
    assert_eq!(metrics.per_host["host:80"].requests, 1);
}

#[tokio::test]
async fn close_lets_calls_end_and_cuts_the_rest() {
    // HTTP-41, ONEX-HTTP-24
    for (within, ends) in [(3, true), (1, false)] {
        let world = World::new(&[503, 200]);
        let client = world.client(Config::new().with_retry(steps().with_backoff(2 * SECOND, 2 * SECOND)));
        let call = client.request(request(Method::GET));
        let ((answer, closed), _) =
            world.through(async { tokio::join!(call, client.close(within * SECOND)) }).await;
        assert_eq!(answer.as_ref().is_ok(), ends, "{answer:?}");
        assert_eq!(closed.is_ok(), ends, "{closed:?}");
        if !ends {
            assert_eq!(answer.expect_err("cut").kind(), ErrorKind::Closed);
            assert_eq!(closed.expect_err("cut").kind(), ErrorKind::TimedOut);
        }
        client.close(Duration::ZERO).await.expect("closing again is Ok");
        let refused = client.request(request(Method::GET)).await.expect_err("closed");
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Closed, Effect::NotApplied));
        assert_eq!(client.client_metrics().requests, 1, "what was refused never began");
    }
}

#[tokio::test]
async fn a_close_whose_future_was_dropped_cuts_in_its_time() {
    let world = World::new(&[0]);
    let client = world.client(Config::new().with_timeouts(TimeoutConfig::off()));
    let mut call = std::pin::pin!(client.request(request(Method::GET)));
    tokio::select! {
        biased;
        _ = &mut call => panic!("nobody answers"),
        _ = client.close(3 * SECOND) => panic!("the call runs"),
        () = std::future::ready(()) => {}
    }
    let (answer, took) = world.through(call).await;
    assert_eq!((answer.expect_err("cut").kind(), took), (ErrorKind::Closed, 3 * SECOND));
}

#[tokio::test]
async fn a_bad_configuration_names_what_is_wrong_and_changes_nothing() {
    let world = World::new(&[503]);
    let zero = TimeoutConfig::off().with_total(Some(Duration::ZERO));
    let error = world.builder().config(Config::new().with_timeouts(zero)).build().expect_err("zero");
    assert!(error.to_string().contains("timeouts.total = 0s"), "{error}");
    let error =
        world.builder().config(Config::new().with_user_agent("a\nb")).build().expect_err("a line end");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let client = world.client(Config::new().with_retry(steps().with_max_retries(1)));
    client.configure_retry_policy(steps().with_max_retries(1000)).expect_err("too many");
    world.through(client.request(request(Method::GET))).await.0.expect("an answer");
    assert_eq!(world.attempts(), 2, "the old policy stayed");
    // ONEX-HTTP-15
    client.configure_retry_policy(RetryPolicy::never()).expect("a good policy");
    client.request(request(Method::GET)).await.expect("an answer");
    assert_eq!(world.attempts(), 3);
    let tunnel = client.request(request(Method::CONNECT)).await.expect_err("refused");
    assert_eq!(tunnel.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_was_certainly_not_sent_is_repeated_whatever_the_method() {
    let world = World::new(&[200]);
    let client = world.client(Config::new().with_retry(steps()));
    world.network.fail_next(MemoryFault::Refuse);
    world.through(client.request(request(Method::POST))).await.0.expect("the second dial");
    world.network.fail_next(MemoryFault::LoseAnswer);
    let lost = client.request(request(Method::POST)).await.expect_err("the answer was lost");
    assert_eq!(lost.effect(), Effect::Unknown);
    assert_eq!(lost.http().map(|fault| fault.reason), Some(HttpReason::ConnectionLost));
    assert_eq!(world.attempts(), 2);
    let metrics = client.client_metrics();
    assert_eq!((metrics.requests, metrics.retries, metrics.failures, metrics.timeouts), (2, 1, 1, 0));
    assert_eq!(metrics.per_host["host:80"].failures, 1);
    assert!(metrics.latency.p99.is_some_and(|p99| p99 >= SECOND));
}

#[tokio::test]
async fn the_effect_of_a_call_is_that_of_all_its_attempts() {
    let world = World::new(&[200]);
    let client = world.client(Config::new().with_retry(steps().with_max_retries(1)));
    for (method, first, effect) in [
        (Method::PUT, MemoryFault::LoseAnswer, Effect::Unknown),
        (Method::PUT, MemoryFault::Refuse, Effect::NotApplied),
        (Method::GET, MemoryFault::LoseAnswer, Effect::NotApplied),
    ] {
        world.network.fail_next(first);
        world.network.fail_next(MemoryFault::Refuse);
        let (answer, _) = world.through(client.request(request(method.clone()))).await;
        let error = answer.expect_err("refused in the end");
        assert_eq!(error.http().map(|fault| fault.reason), Some(HttpReason::Connect));
        assert_eq!(error.effect(), effect, "{method} after {first:?}");
    }
}
