//! Random histories: the native breaker and the reference breaker, which is a plain sequential model, never differ.
//!
//! A history is calls that succeed, fail, time out, trip, are ignored, dropped, panic or hang; forces, resets, restorations and
//! configurations of every policy; and a clock that goes on and, against its law, back.
//!
//! Times are whole milliseconds here, because the native breaker rounds the end of an opening up to one; what happens between
//! them is the suite's (`breaker.open_time_boundary`).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use onex_breaker_native::{Config, open};
use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitExt, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitState, CircuitStatus, OpenBackoff, Outcome, RatePolicy, Ticket, Transition,
    TripPolicy, Window,
};
use onex_spi::{BoxFuture, Clock, Timer};
use onex_testkit::breaker::BreakerSetup;
use onex_testkit::breaker::reference::ReferenceBreaker;
use proptest::prelude::*;

const NAME: &str = "model";

/// A clock that can go back, which no clock may.
#[derive(Debug)]
struct Bent {
    start: Instant,
    passed_ms: AtomicU64,
}

impl Clock for Bent {
    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed_ms.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<'static, ()> {
        unreachable!("a breaker waits for nothing")
    }

    fn timer(&self) -> Box<dyn Timer> {
        unreachable!("a breaker waits for nothing")
    }

    fn grain(&self) -> Duration {
        Duration::ZERO
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<Transition>>);

impl CircuitListener for Told {
    fn changed(&self, _circuit: &str, transition: &Transition) {
        self.0.lock().expect("nobody panics with it").push(*transition);
    }
}

/// What happens next. A call on its way is chosen by its place in the list, modulo its length; one that is never chosen hangs.
#[derive(Clone, Debug)]
enum Step {
    Admit { timeout_ms: Option<u64> },
    Settle { call: usize, outcome: Outcome },
    Panic,
    Pass { milliseconds: u64 },
    GoBack { milliseconds: u64 },
    Reset,
    ForceOpen,
    ForceClosed,
    Restore(CircuitSnapshot),
    RestoreOwn,
    Configure(CircuitBreakerConfig),
}

fn trip_policies() -> impl Strategy<Value = TripPolicy> {
    let window = prop_oneof![
        (1..8_u32).prop_map(Window::Calls),
        (10..30_u64).prop_map(|tens| Window::Time(Duration::from_millis(10 * tens))),
    ];
    let rate = || prop_oneof![Just(0.0), Just(0.5), Just(0.7), Just(1.0)];
    let slow = proptest::option::of((rate(), 1..20_u64));
    let rates = (window, proptest::option::of(rate()), slow, 1..8_u32).prop_filter_map(
        "needs a rate",
        |(window, failures, slow, minimum)| {
            let most = if let Window::Calls(calls) = window { calls } else { 8 };
            let mut rates = RatePolicy::new(window).with_minimum_calls(minimum.min(most));
            rates.failure_rate = failures;
            if let Some((rate, time)) = slow {
                rates = rates.with_slow_calls(rate, Duration::from_millis(time));
            }
            rates.validate().is_ok().then_some(TripPolicy::Rates(rates))
        },
    );
    prop_oneof![2 => Just(TripPolicy::ConsecutiveFailures), 3 => rates]
}

fn configs() -> impl Strategy<Value = CircuitBreakerConfig> {
    let counts = (1..5_u32, 1..5_u32, 1..4_u32, 1..20_u64);
    let more = (trip_policies(), proptest::option::of(1..4_u32), 1..30_u64, proptest::bool::weighted(0.2));
    (counts, more).prop_map(|((failures, successes, calls, open_ms), (trip, growth, cap_ms, observe))| {
        let open = Duration::from_millis(open_ms);
        let backoff = growth.map(|growth| OpenBackoff::new(growth.into(), open * 5));
        CircuitBreakerConfig::new()
            .with_failure_threshold(failures)
            .with_success_threshold(successes)
            .with_half_open_max_calls(calls)
            .with_open_time(open)
            .with_trip(trip)
            .with_open_backoff(backoff)
            .with_trip_wait_cap(Duration::from_millis(cap_ms))
            .with_observe_only(observe)
    })
}

fn snapshots() -> impl Strategy<Value = CircuitSnapshot> {
    let new = |state| CircuitSnapshot::new(CircuitStatus::new(state));
    let of = prop_oneof![
        (0..6_u32).prop_map(move |count| new(CircuitState::Closed).with_consecutive_failures(count)),
        (0..6_u32).prop_map(move |count| new(CircuitState::HalfOpen).with_probe_successes(count)),
        (0..20_u64).prop_map(move |left| {
            new(CircuitState::Open).with_open_for(Some(Duration::from_millis(left)))
        }),
        Just(CircuitSnapshot::new(CircuitStatus::forced(CircuitState::Open))),
        Just(CircuitSnapshot::new(CircuitStatus::forced(CircuitState::Closed))),
    ];
    (of, 0..4_u32).prop_map(|(snapshot, openings)| snapshot.with_openings(openings))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = proptest::option::of((0..40_u64).prop_map(Duration::from_millis));
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Ignored),
        2 => Just(Outcome::Cancelled),
        1 => wait.prop_map(|wait| Outcome::Trip { wait }),
    ];
    let step = prop_oneof![
        24 => proptest::option::of(1..40_u64).prop_map(|timeout_ms| Step::Admit { timeout_ms }),
        20 => (any::<usize>(), outcome).prop_map(|(call, outcome)| Step::Settle { call, outcome }),
        2 => Just(Step::Panic),
        10 => (0..15_u64).prop_map(|milliseconds| Step::Pass { milliseconds }),
        1 => (0..60_u64).prop_map(|milliseconds| Step::GoBack { milliseconds }),
        2 => prop_oneof![3 => Just(Step::Reset), 1 => Just(Step::ForceOpen), 1 => Just(Step::ForceClosed)],
        1 => prop_oneof![snapshots().prop_map(Step::Restore), Just(Step::RestoreOwn)],
        3 => configs().prop_map(Step::Configure),
    ];
    proptest::collection::vec(step, 1..200)
}

/// One of the two breakers.
struct Side {
    breaker: Arc<dyn CircuitBreaker>,
    circuit: Arc<dyn Circuit>,
    told: Arc<Told>,
}

impl Side {
    fn new(breaker: Arc<dyn CircuitBreaker>) -> Self {
        let circuit = breaker.circuit(NAME).expect("there is room");
        let told = Arc::new(Told::default());
        breaker.listen(Arc::clone(&told) as _).expect("listeners are declared");
        Self { breaker, circuit, told }
    }

    /// A call whose operation panics; whether it ran.
    fn panics(&self) -> bool {
        let call = || {
            let permit = self.circuit.try_acquire();
            if permit.is_ok() {
                // Without the panic hook, which would write a trace for a panic that is due.
                resume_unwind(Box::new("due"));
            }
        };
        catch_unwind(AssertUnwindSafe(call)).is_err()
    }
}

fn outcomes(metrics: &CircuitMetrics) -> u64 {
    metrics.success_count
        + metrics.failure_count
        + metrics.timeout_count
        + metrics.ignored_count
        + metrics.cancelled_count
        + metrics.abandoned_count
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut setup = BreakerSetup::new(0);
    setup.defaults = setup.defaults.with_open_time(Duration::from_millis(10));
    let clock = Arc::new(Bent { start: Instant::now(), passed_ms: AtomicU64::new(0) });
    setup.clock = Arc::clone(&clock) as _;
    let native =
        open(Config::new().with_defaults(setup.defaults), Arc::clone(&setup.clock)).expect("in range");
    let sides = [Side::new(native), Side::new(Arc::new(ReferenceBreaker::new(setup)))];
    let both = |act: &dyn Fn(&Side) -> onex_spi::Result<()>| {
        sides.iter().try_for_each(act).map_err(|error| TestCaseError::fail(error.to_string()))
    };
    let settle = |tickets: [Ticket; 2], outcome| {
        sides.iter().zip(tickets).for_each(|(side, ticket)| side.circuit.settle(ticket, outcome));
    };
    let metrics = || sides.each_ref().map(|side| side.circuit.metrics());
    let mut calls: Vec<[Ticket; 2]> = Vec::new();
    for step in steps {
        let what = format!("{step:?}");
        match step {
            Step::Admit { timeout_ms } => {
                let timeout = timeout_ms.map(Duration::from_millis);
                match sides.each_ref().map(|side| side.circuit.admit(timeout)) {
                    [Ok(native), Ok(reference)] => calls.push([native, reference]),
                    [Err(native), Err(reference)] => prop_assert_eq!(native, reference, "{}", what),
                    [native, reference] => {
                        prop_assert!(false, "{}: {:?} and {:?}", what, native, reference);
                    }
                }
            }
            Step::Settle { call, outcome } => {
                if !calls.is_empty() {
                    settle(calls.swap_remove(call % calls.len()), outcome);
                }
            }
            Step::Panic => {
                let [native, reference] = sides.each_ref().map(Side::panics);
                prop_assert_eq!(native, reference, "{}", what);
            }
            Step::Pass { milliseconds } => {
                clock.passed_ms.fetch_add(milliseconds, Ordering::Relaxed);
            }
            Step::GoBack { milliseconds } => {
                let passed = clock.passed_ms.load(Ordering::Relaxed);
                clock.passed_ms.store(passed.saturating_sub(milliseconds), Ordering::Relaxed);
            }
            Step::Restore(snapshot) => both(&|side| side.breaker.restore_circuit(NAME, &snapshot))?,
            Step::RestoreOwn => {
                let [native, reference] = sides.each_ref().map(|side| side.breaker.circuit_snapshot(NAME));
                let (native, reference) = (native.expect("known"), reference.expect("known"));
                prop_assert_eq!(native, reference, "{}", what);
                both(&|side| side.breaker.restore_circuit(NAME, &native))?;
            }
            Step::Reset => both(&|side| side.breaker.reset_circuit_breaker(NAME))?,
            Step::ForceOpen => both(&|side| side.breaker.force_circuit_open(NAME))?,
            Step::ForceClosed => both(&|side| side.breaker.force_circuit_closed(NAME))?,
            Step::Configure(config) => both(&|side| side.breaker.configure_circuit_breaker(NAME, config))?,
        }
        let [native, reference] = metrics();
        prop_assert_eq!(&native, &reference, "after {}", what);
        let [native_status, reference_status] = sides.each_ref().map(|side| side.circuit.status());
        prop_assert_eq!(native_status, reference_status, "after {}", what);
        prop_assert_eq!(native_status, native.status, "after {}", what);
        prop_assert!(native.admitted_count >= outcomes(&native), "after {}: {:?}", what, native);
    }
    calls.into_iter().for_each(|tickets| settle(tickets, Outcome::Cancelled));
    let [native, reference] = metrics();
    prop_assert_eq!(native.admitted_count, outcomes(&native), "at rest");
    prop_assert_eq!(&native, &reference, "at rest");
    let [told, reference_told] = sides.each_ref().map(|side| side.told.0.lock().expect("whole").clone());
    prop_assert_eq!(told.len() as u64, native.state_transitions, "every change is told");
    prop_assert!(told.ends_with(&native.recent_transitions), "in its order");
    prop_assert_eq!(told, reference_told, "to both listeners");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever numbers a file holds: refused by name, or in force; never a panic.
    #[test]
    fn any_configuration_is_refused_or_works(
        counts in (any::<u32>(), any::<u32>(), any::<u32>()),
        small in any::<bool>(),
        times in proptest::array::uniform4(any::<Duration>()),
        floats in proptest::array::uniform4(proptest::num::f64::ANY),
        window in prop_oneof![any::<u32>().prop_map(Window::Calls), any::<Duration>().prop_map(Window::Time)],
        minimum in any::<u32>(),
        calls in proptest::collection::vec(any::<Duration>(), 1..20),
    ) {
        let fit = |count: u32| if small { count % 3 + 1 } else { count };
        let window = if small { Window::Calls(3) } else { window };
        let mut rates = RatePolicy::new(window).with_minimum_calls(fit(minimum));
        rates.failure_rate = Some(if small { floats[0].abs().fract() } else { floats[0] });
        let rates = if small { rates } else { rates.with_slow_calls(floats[1], times[0]) };
        let backoff = OpenBackoff::new(floats[2], times[1]).with_jitter(floats[3]);
        let config = CircuitBreakerConfig::new()
            .with_failure_threshold(fit(counts.0))
            .with_success_threshold(fit(counts.1))
            .with_half_open_max_calls(fit(counts.2))
            .with_open_time(if small { times[2] / u32::MAX + Duration::from_millis(1) } else { times[2] })
            .with_trip_wait_cap(if small { Duration::from_secs(1) } else { times[3] })
            .with_open_backoff((!small).then_some(backoff))
            .with_trip(TripPolicy::Rates(rates));
        let clock = onex_testkit::clock::ManualClock::new();
        let breaker = open(Config::new(), Arc::new(clock.clone())).expect("in range");
        if let Err(error) = breaker.configure_circuit_breaker(NAME, config) {
            prop_assert_eq!(error.kind(), onex_spi::ErrorKind::InvalidInput);
            prop_assert!(breaker.find(NAME).is_none());
            return Ok(());
        }
        let circuit = breaker.circuit(NAME).expect("there is room");
        for (number, time) in calls.into_iter().enumerate() {
            if let Ok(ticket) = circuit.admit(Some(time)) {
                let trips = Outcome::Trip { wait: Some(time) };
                circuit.settle(ticket, [Outcome::Failure, Outcome::Success, trips][number % 3]);
            }
            clock.advance(time / u32::MAX);
            let _ = circuit.metrics();
        }
    }

    #[test]
    fn native_and_reference_never_differ(steps in steps()) {
        run(steps)?;
    }
}
