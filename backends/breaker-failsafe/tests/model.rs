//! Random histories: the failsafe breaker and the reference breaker never differ.

use std::sync::Arc;
use std::time::Duration;

use onex_breaker_failsafe::{Config, open};
use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitMetrics, OpenBackoff, Outcome, Ticket,
};
use onex_testkit::breaker::BreakerSetup;
use onex_testkit::breaker::reference::ReferenceBreaker;
use proptest::prelude::*;

const NAME: &str = "model";

/// What happens next. A call on its way is chosen by its place in the list, modulo its length; one that is never chosen hangs.
#[derive(Clone, Debug)]
enum Step {
    Admit { timeout_ms: Option<u64> },
    Settle { call: usize, outcome: Outcome },
    Pass { milliseconds: u64 },
    Reset,
    ForceOpen,
    ForceClosed,
    Configure { failures: u32, successes: u32, calls: u32, open_ms: u64, grows: bool, observe: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Ignored),
        2 => Just(Outcome::Cancelled),
        1 => proptest::option::of(0..30_u64).prop_map(|wait| Outcome::Trip { wait: wait.map(Duration::from_millis) }),
    ];
    let step = prop_oneof![
        12 => proptest::option::of(1..40_u64).prop_map(|timeout_ms| Step::Admit { timeout_ms }),
        10 => (any::<usize>(), outcome).prop_map(|(call, outcome)| Step::Settle { call, outcome }),
        5 => (0..15_u64).prop_map(|milliseconds| Step::Pass { milliseconds }),
        1 => prop_oneof![3 => Just(Step::Reset), 1 => Just(Step::ForceOpen), 1 => Just(Step::ForceClosed)],
        1 => (1..5_u32, 1..5_u32, 1..4_u32, 1..20_u64, any::<(bool, bool)>()).prop_map(
            |(failures, successes, calls, open_ms, (grows, observe))| {
                Step::Configure { failures, successes, calls, open_ms, grows, observe }
            }
        ),
    ];
    proptest::collection::vec(step, 1..200)
}

/// One of the two breakers.
struct Side {
    breaker: Arc<dyn CircuitBreaker>,
    circuit: Arc<dyn Circuit>,
}

impl Side {
    fn new(breaker: Arc<dyn CircuitBreaker>) -> Self {
        let circuit = breaker.circuit(NAME).expect("there is room");
        Self { breaker, circuit }
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
    let clock = setup.manual.clone();
    let failsafe =
        open(Config::new().with_defaults(setup.defaults), Arc::clone(&setup.clock), 0).expect("in range");
    let sides = [Side::new(failsafe), Side::new(Arc::new(ReferenceBreaker::new(setup)))];
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
                    [Ok(failsafe), Ok(reference)] => calls.push([failsafe, reference]),
                    [Err(failsafe), Err(reference)] => prop_assert_eq!(failsafe, reference, "{}", what),
                    [failsafe, reference] => {
                        prop_assert!(false, "{}: {:?} and {:?}", what, failsafe, reference);
                    }
                }
            }
            Step::Settle { call, outcome } => {
                if !calls.is_empty() {
                    settle(calls.swap_remove(call % calls.len()), outcome);
                }
            }
            Step::Pass { milliseconds } => clock.advance(Duration::from_millis(milliseconds)),
            Step::Reset => both(&|side| side.breaker.reset_circuit_breaker(NAME))?,
            Step::ForceOpen => both(&|side| side.breaker.force_circuit_open(NAME))?,
            Step::ForceClosed => both(&|side| side.breaker.force_circuit_closed(NAME))?,
            Step::Configure { failures, successes, calls, open_ms, grows, observe } => {
                let config = CircuitBreakerConfig::new()
                    .with_failure_threshold(failures)
                    .with_success_threshold(successes)
                    .with_half_open_max_calls(calls)
                    .with_open_time(Duration::from_millis(open_ms))
                    .with_observe_only(observe)
                    .with_trip_wait_cap(Duration::from_millis(20))
                    .with_open_backoff(grows.then(|| OpenBackoff::new(1.5, Duration::from_millis(100))));
                both(&|side| side.breaker.configure_circuit_breaker(NAME, config))?;
            }
        }
        let [failsafe, reference] = metrics();
        prop_assert_eq!(&failsafe, &reference, "after {}", what);
        let [failsafe_status, reference_status] = sides.each_ref().map(|side| side.circuit.status());
        prop_assert_eq!(failsafe_status, reference_status, "after {}", what);
        prop_assert_eq!(failsafe_status, failsafe.status, "after {}", what);
        prop_assert!(failsafe.admitted_count >= outcomes(&failsafe), "after {}: {:?}", what, failsafe);
    }
    calls.into_iter().for_each(|tickets| settle(tickets, Outcome::Cancelled));
    let [failsafe, reference] = metrics();
    prop_assert_eq!(failsafe.admitted_count, outcomes(&failsafe), "at rest");
    prop_assert_eq!(failsafe, reference, "at rest");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn failsafe_and_reference_never_differ(steps in steps()) {
        run(steps)?;
    }
}
