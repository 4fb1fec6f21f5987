//! The circuit under the loom model checker: every order in which two or three threads can meet, up to the bound that is named.
//!
//! The very source files of the circuit are compiled here once more, on loom's atomics and locks in the place of the standard
//! library's (`sync.rs`): nothing is a copy. Totals are left out, because they decide nothing; the queue of listeners is the port's, on
//! plain locks, and has its own test with threads.
//!
//! ```text
//!  src/{word, limits, time, chance, window, cold, circuit, admit, settle, control}.rs
//!     └ crate::sync ─► loom        crate::totals ─► plain counters
//! ```
//!
//! Loom knows the C11 memory orders, so that a too weak order would show. What is explored: two threads without bound, three
//! threads with at most two (`PREEMPTIONS`) forced changes of thread, which is where such races hide (Musuvathi, Qadeer 2007).
#![allow(dead_code, reason = "the circuit's files are whole, and a model uses a part of each")]

#[path = "../../src/admit.rs"]
mod admit;
#[path = "../../src/chance.rs"]
mod chance;
#[path = "../../src/circuit.rs"]
mod circuit;
#[path = "../../src/cold.rs"]
mod cold;
#[path = "../../src/control.rs"]
mod control;
#[path = "../../src/limits.rs"]
mod limits;
#[path = "../../src/settle.rs"]
mod settle;
mod sync;
#[path = "../../src/time.rs"]
mod time;
mod totals;
#[path = "../../src/window.rs"]
mod window;
#[path = "../../src/word.rs"]
mod word;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::thread;
use onex_spi::breaker::{
    Circuit, CircuitBreakerConfig, CircuitMetrics, CircuitState, CircuitStatus, Listeners, Outcome,
    RatePolicy, Ticket, TripPolicy, Window,
};
use onex_testkit::clock::ManualClock;

use crate::chance::Chance;
use crate::circuit::{NativeCircuit, Shared};
use crate::time::Time;
use crate::word::State;

const T: Duration = Duration::from_millis(10);
/// With three threads; two threads have none.
const PREEMPTIONS: usize = 2;

/// Explores every order of what `model` does, and tells how many there were.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{name}: {} orders explored", orders.load(Ordering::Relaxed));
}

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new()
        .with_failure_threshold(2)
        .with_success_threshold(2)
        .with_half_open_max_calls(1)
        .with_open_time(T)
}

fn circuit(config: CircuitBreakerConfig) -> (Arc<NativeCircuit>, ManualClock) {
    config.validate().expect("in range");
    let clock = ManualClock::new();
    let time = Time::new(Arc::new(clock.clone()));
    let shared = Arc::new(Shared { time, listeners: Listeners::default(), chance: Chance::new(1) });
    (Arc::new(NativeCircuit::new(Arc::from("model"), Arc::new(config), shared, 0)), clock)
}

fn fail(circuit: &NativeCircuit) -> bool {
    settle(circuit, circuit.admit(None).ok(), Outcome::Failure)
}

fn settle(circuit: &NativeCircuit, ticket: Option<Ticket>, outcome: Outcome) -> bool {
    ticket.map(|ticket| circuit.settle(ticket, outcome)).is_some()
}

/// A circuit whose open time is over.
fn tripped(config: CircuitBreakerConfig) -> (Arc<NativeCircuit>, ManualClock) {
    let (circuit, clock) = circuit(config);
    while fail(&circuit) {}
    clock.advance(2 * T);
    (circuit, clock)
}

/// What holds whatever the order was: nothing is on its way, so everything adds up, and the history is a chain.
fn at_rest(circuit: &NativeCircuit) -> CircuitMetrics {
    let metrics = circuit.metrics();
    assert_eq!(metrics.admitted_count, metrics.success_count + metrics.abandoned_count, "{metrics:?}");
    for pair in metrics.recent_transitions.windows(2) {
        assert_eq!((pair[1].sequence, pair[1].from), (pair[0].sequence + 1, pair[0].to), "{pair:?}");
    }
    metrics
}

#[test]
fn two_failures_that_meet_open_once() {
    explore("two failures that meet", None, || {
        let (circuit, _clock) = circuit(config());
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || fail(&other));
        let mine = fail(&circuit);
        assert!(thread.join().expect("no panic") && mine, "a closed circuit lets both through");
        let metrics = at_rest(&circuit);
        assert_eq!((metrics.status.state, metrics.state_transitions), (CircuitState::Open, 1));
    });
}

#[test]
fn a_success_that_meets_the_last_failure_comes_before_or_after_it() {
    explore("a success and the last failure", None, || {
        let (circuit, _clock) = circuit(config());
        assert!(fail(&circuit));
        let ticket = circuit.admit(None).ok();
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || settle(&other, ticket, Outcome::Success));
        fail(&circuit);
        assert!(thread.join().expect("no panic"));
        let metrics = at_rest(&circuit);
        match metrics.status.state {
            CircuitState::Open => assert_eq!(metrics.state_transitions, 1),
            _ => assert!(metrics.consecutive_failures <= 1, "{metrics:?}"),
        }
    });
}

#[test]
fn of_two_threads_one_runs_the_only_probe() {
    explore("two threads and one slot", None, || {
        let (circuit, _clock) = tripped(config());
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || other.admit(None).ok());
        let mine = circuit.admit(None).ok();
        let theirs = thread.join().expect("no panic");
        assert!(mine.is_some() != theirs.is_some(), "{mine:?} and {theirs:?}");
        settle(&circuit, mine, Outcome::Success);
        settle(&circuit, theirs, Outcome::Success);
        let metrics = at_rest(&circuit);
        assert_eq!((metrics.probe_successes, metrics.state_transitions), (1, 2));
    });
}

#[test]
fn three_threads_run_two_probes_at_most() {
    explore("three threads and two slots", Some(PREEMPTIONS), || {
        let config = config().with_half_open_max_calls(2).with_success_threshold(3);
        let (circuit, _clock) = tripped(config);
        let threads = [0, 1].map(|_| {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.admit(None).ok())
        });
        let mine = circuit.admit(None).ok();
        let mut probes = Vec::from(threads.map(|thread| thread.join().expect("no panic")));
        probes.push(mine);
        assert_eq!(probes.iter().flatten().count(), 2, "{probes:?}");
        probes.into_iter().for_each(|probe| {
            settle(&circuit, probe, Outcome::Cancelled);
        });
        assert_eq!(at_rest(&circuit).status.state, CircuitState::HalfOpen);
        assert!(circuit.admit(None).is_ok_and(|_| circuit.admit(None).is_ok()), "both slots came back");
    });
}

#[test]
fn a_probe_that_fails_and_one_that_succeeds_leave_one_state() {
    explore("a probe fails, a probe succeeds", None, || {
        let (circuit, _clock) = tripped(config().with_half_open_max_calls(2));
        let (first, second) = (circuit.admit(None).ok(), circuit.admit(None).ok());
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || settle(&other, first, Outcome::Success));
        assert!(settle(&circuit, second, Outcome::Failure) && thread.join().expect("no panic"));
        let metrics = at_rest(&circuit);
        assert_eq!((metrics.status.state, metrics.probe_successes), (CircuitState::Open, 0));
    });
}

#[test]
fn a_probe_settled_while_its_lease_is_taken_back_counts_once() {
    explore("a late probe and the one that takes its slot", None, || {
        let (circuit, clock) = tripped(config());
        let late = circuit.admit(None).ok();
        clock.advance(2 * T);
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || settle(&other, late, Outcome::Success));
        let next = circuit.admit(None).ok();
        thread.join().expect("no panic");
        settle(&circuit, next, Outcome::Cancelled);
        let metrics = at_rest(&circuit);
        // Either it was in time, or its slot was given on and it counts nowhere.
        assert_eq!(u64::from(metrics.probe_successes) + metrics.abandoned_count, 1, "{metrics:?}");
    });
}

#[test]
fn a_force_is_never_lost_to_what_calls_do() {
    explore("a force and the last failure", None, || {
        let (circuit, _clock) = circuit(config().with_failure_threshold(1));
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || fail(&other));
        circuit.force(State::ForcedClosed);
        thread.join().expect("no panic");
        assert_eq!(at_rest(&circuit).status, CircuitStatus::forced(CircuitState::Closed));
    });
}

#[test]
fn a_reset_ends_what_was_counted_before_it() {
    explore("a reset and a failure", None, || {
        let (circuit, _clock) = circuit(config().with_failure_threshold(3));
        let before = [circuit.admit(None).ok(), circuit.admit(None).ok()];
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || before.map(|ticket| settle(&other, ticket, Outcome::Failure)));
        circuit.reset();
        thread.join().expect("no panic");
        assert_eq!(at_rest(&circuit).consecutive_failures, 0);
    });
}

#[test]
fn a_configuration_that_meets_a_failure_decides_before_or_after_it() {
    explore("a configuration and a failure", None, || {
        let (circuit, _clock) = circuit(config());
        assert!(fail(&circuit));
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || fail(&other));
        circuit.configure(config().with_failure_threshold(3));
        thread.join().expect("no panic");
        let metrics = at_rest(&circuit);
        let seen = (metrics.status.state, metrics.consecutive_failures);
        assert!([(CircuitState::Open, 0), (CircuitState::Closed, 2)].contains(&seen), "{metrics:?}");
    });
}

#[test]
fn a_rate_counts_every_call_and_opens_once() {
    explore("two calls and a rate", None, || {
        let rates = RatePolicy::new(Window::Calls(4)).with_failure_rate(0.5).with_minimum_calls(2);
        let (circuit, _clock) = circuit(config().with_trip(TripPolicy::Rates(rates)));
        let other = Arc::clone(&circuit);
        let thread = thread::spawn(move || {
            let ticket = other.admit(None).ok();
            settle(&other, ticket, Outcome::Success)
        });
        let failed = fail(&circuit);
        assert!(failed && thread.join().expect("no panic"));
        let metrics = at_rest(&circuit);
        // The success opens nothing, so it depends on who came last, and on nothing else.
        match metrics.status.state {
            CircuitState::Open => assert_eq!(metrics.state_transitions, 1),
            _ => assert_eq!(metrics.window.map(|window| (window.calls, window.failures)), Some((2, 1))),
        }
    });
}

#[test]
fn three_threads_trip_fail_and_probe_and_everything_adds_up() {
    explore("a trip, a failure and a probe", Some(PREEMPTIONS), || {
        let (circuit, clock) = circuit(config());
        let [trips, fails] = [Outcome::Trip { wait: Some(T) }, Outcome::Failure].map(|outcome| {
            let (circuit, ticket) = (Arc::clone(&circuit), circuit.admit(None).ok());
            thread::spawn(move || settle(&circuit, ticket, outcome))
        });
        clock.advance(2 * T);
        let probe = circuit.admit(None).ok();
        settle(&circuit, probe, Outcome::Success);
        assert!(trips.join().expect("no panic") && fails.join().expect("no panic"));
        let metrics = at_rest(&circuit);
        assert!(metrics.recent_transitions.len() <= 2, "{metrics:?}");
    });
}
