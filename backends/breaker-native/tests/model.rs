//! Random histories: the native breaker and the reference breaker never differ.
//!
//! Times are whole milliseconds here, because the native breaker rounds the end of an opening up to one; what happens between
//! them is the suite's (`breaker.open_time_boundary`).

use std::sync::Arc;
use std::time::Duration;

use onex_breaker_native::{Config, open};
use onex_spi::breaker::{Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitMetrics, Outcome, Ticket};
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
    Configure { failures: u32, successes: u32, calls: u32, open_ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Ignored),
        2 => Just(Outcome::Cancelled),
    ];
    let step = prop_oneof![
        12 => proptest::option::of(1..40_u64).prop_map(|timeout_ms| Step::Admit { timeout_ms }),
        10 => (any::<usize>(), outcome).prop_map(|(call, outcome)| Step::Settle { call, outcome }),
        5 => (0..15_u64).prop_map(|milliseconds| Step::Pass { milliseconds }),
        1 => prop_oneof![3 => Just(Step::Reset), 1 => Just(Step::ForceOpen), 1 => Just(Step::ForceClosed)],
        1 => (1..5_u32, 1..5_u32, 1..4_u32, 1..20_u64).prop_map(|(failures, successes, calls, open_ms)| {
            Step::Configure { failures, successes, calls, open_ms }
        }),
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
            Step::Pass { milliseconds } => clock.advance(Duration::from_millis(milliseconds)),
            Step::Reset => both(&|side| side.breaker.reset_circuit_breaker(NAME))?,
            Step::ForceOpen => both(&|side| side.breaker.force_circuit_open(NAME))?,
            Step::ForceClosed => both(&|side| side.breaker.force_circuit_closed(NAME))?,
            Step::Configure { failures, successes, calls, open_ms } => {
                let config = CircuitBreakerConfig::new()
                    .with_failure_threshold(failures)
                    .with_success_threshold(successes)
                    .with_half_open_max_calls(calls)
                    .with_open_time(Duration::from_millis(open_ms));
                both(&|side| side.breaker.configure_circuit_breaker(NAME, config))?;
            }
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
    prop_assert_eq!(native, reference, "at rest");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn native_and_reference_never_differ(steps in steps()) {
        run(steps)?;
    }
}
