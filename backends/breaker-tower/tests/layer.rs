//! What a stack sees of a circuit: rows ONEX-CB-08, ONEX-CB-09, ONEX-CB-14 and ONEX-CB-26 through tower.

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onex_breaker_tower::CircuitLayer;
use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitMetrics, CircuitState, ExecuteError, Outcome,
};
use onex_testkit::clock::ManualClock;
use tower::{Layer, Service, ServiceExt, service_fn};

const NAME: &str = "tower";
const SECOND: Duration = Duration::from_secs(1);

struct World {
    clock: ManualClock,
    breaker: Arc<dyn CircuitBreaker>,
    circuit: Arc<dyn Circuit>,
}

impl World {
    /// Two failures open it for ten seconds, one success closes it, calls may take one second.
    fn new() -> Self {
        let clock = ManualClock::new();
        let defaults = CircuitBreakerConfig::new()
            .with_failure_threshold(2)
            .with_success_threshold(1)
            .with_open_time(10 * SECOND)
            .with_call_timeout(Some(SECOND));
        let config = onex_breaker_native::Config::new().with_defaults(defaults);
        let breaker = onex_breaker_native::open(config, Arc::new(clock.clone())).expect("in range");
        let circuit = breaker.circuit(NAME).expect("there is room");
        Self { clock, breaker, circuit }
    }

    fn layer(&self) -> CircuitLayer {
        CircuitLayer::new(Arc::clone(&self.circuit))
    }

    fn metrics(&self) -> CircuitMetrics {
        self.circuit.metrics()
    }

    fn state(&self) -> CircuitState {
        self.circuit.status().state
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn errors_open_the_circuit_and_what_it_rejects_never_reaches_the_service() {
    let world = World::new();
    let calls = AtomicUsize::new(0);
    let mut service = world.layer().layer(service_fn(|fails: bool| {
        calls.fetch_add(1, Ordering::Relaxed);
        ready(if fails { Err("down") } else { Ok("up") })
    }));
    for _ in 0..2 {
        let failed = service.ready().await.expect("ready").call(true).await;
        assert_eq!(failed, Err(ExecuteError::Operation("down")));
    }
    let Err(ExecuteError::Rejected { circuit, rejection }) =
        service.ready().await.expect("ready").call(false).await
    else {
        panic!("an open circuit let a call through");
    };
    assert_eq!((&*circuit, rejection.retry_after), (NAME, Some(10 * SECOND)));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    world.clock.advance(10 * SECOND);
    assert_eq!(service.ready().await.expect("ready").call(false).await, Ok("up"));
    assert_eq!(world.state(), CircuitState::Closed);
}

#[tokio::test]
async fn a_closure_says_what_an_answer_means() {
    let world = World::new();
    let layer = world.layer().classify(|answer: &Result<u16, Infallible>| match answer {
        Ok(404) => Outcome::Ignored,
        Ok(500..) => Outcome::Failure,
        _ => Outcome::Success,
    });
    let service = layer.layer(service_fn(|status: u16| ready(Ok::<_, Infallible>(status))));
    for status in [200, 404, 503, 503] {
        assert_eq!(service.clone().oneshot(status).await, Ok(status), "the answer is handed out as it came");
    }
    let metrics = world.metrics();
    let seen = (metrics.success_count, metrics.ignored_count, metrics.failure_count, metrics.status.state);
    assert_eq!(seen, (1, 1, 2, CircuitState::Open));
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_dropped_and_counted_once() {
    let world = World::new();
    let held = Arc::new(());
    let service = |layer: CircuitLayer| {
        let held = Arc::clone(&held);
        layer.layer(service_fn(move |()| {
            let held = Arc::clone(&held);
            async move {
                let _held = held;
                pending::<Result<(), Infallible>>().await
            }
        }))
    };
    for (layer, limit) in [(world.layer(), SECOND), (world.layer().timeout(3 * SECOND), 3 * SECOND)] {
        let mut call = Box::pin(service(layer).oneshot(()));
        assert!(poll_once(&mut call).is_pending());
        world.clock.advance(limit - Duration::from_nanos(1));
        assert!(poll_once(&mut call).is_pending(), "{limit:?} have not passed");
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(poll_once(&mut call), Poll::Ready(Err(ExecuteError::TimedOut)));
        assert_eq!(Arc::strong_count(&held), 1, "the inner call still lives");
    }
    let metrics = world.metrics();
    assert_eq!((metrics.timeout_count, metrics.failure_count, metrics.cancelled_count), (2, 0, 0));
    assert_eq!(world.state(), CircuitState::Open);
}

#[test]
fn a_dropped_call_is_cancelled_before_and_after_its_first_poll() {
    let world = World::new();
    let mut service = world.layer().layer(service_fn(|()| pending::<Result<(), Infallible>>()));
    drop(service.call(()));
    let mut call = service.call(());
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    let metrics = world.metrics();
    assert_eq!((metrics.admitted_count, metrics.cancelled_count, metrics.failure_count), (2, 2, 0));
    assert_eq!(world.clock.waiting(), 0, "a timer is left behind");
}

#[test]
fn a_panic_is_a_failure_whether_it_comes_in_the_call_or_in_its_future() {
    let world = World::new();
    let mut early = world.layer().layer(service_fn(|()| -> Ready<Result<(), Infallible>> {
        std::panic::resume_unwind(Box::new("in the call"))
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(early.call(())))).is_err());
    let mut late = world.layer().layer(service_fn(|()| async {
        std::panic::resume_unwind(Box::new("in the future"));
        #[allow(unreachable_code, reason = "tells the type")]
        Ok::<(), Infallible>(())
    }));
    // The future outlives its panic, as in a task: its drop must not be taken for a cancellation.
    let mut call = Box::pin(late.call(()));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut call))).is_err());
    assert_eq!((world.metrics().failure_count, world.state()), (2, CircuitState::Open));
    drop(call);
    assert_eq!((world.metrics().failure_count, world.metrics().cancelled_count), (2, 0));
}

/// Is ready for one call only after it was asked twice, and says when it was called without.
#[derive(Default)]
struct Shy {
    asked: u32,
}

impl Service<()> for Shy {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.asked += 1;
        match self.asked {
            1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err("worn out")),
        }
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.asked))
    }
}

#[tokio::test]
async fn readiness_is_the_inner_services_and_counts_nowhere() {
    let world = World::new();
    let mut service = world.layer().layer(Shy::default());
    assert!(pin!(service.ready()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(service.ready().await.expect("ready").call(()).await, Ok(2));
    assert_eq!(service.ready().await.map(drop), Err(ExecuteError::Operation("worn out")));
    assert_eq!((world.metrics().admitted_count, world.metrics().failure_count), (1, 0));
    world.breaker.force_circuit_open(NAME).expect("known");
    assert!(
        matches!(service.call(()).await, Err(ExecuteError::Rejected { rejection, .. }) if rejection.forced)
    );
}
