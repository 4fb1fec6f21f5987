//! What only real threads show: the half-open limit under a race, and totals that add up.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use onex_breaker_native::{Config, open};
use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitExt, CircuitMetrics, CircuitState, CircuitStatus,
    Outcome, Permit,
};
use onex_testkit::clock::ManualClock;

const NAME: &str = "threads";
const OPEN_TIME: Duration = Duration::from_millis(1);

fn breaker(config: CircuitBreakerConfig, clock: &ManualClock) -> (Arc<dyn CircuitBreaker>, Arc<dyn Circuit>) {
    let config = Config::new().with_defaults(config.with_open_time(OPEN_TIME));
    let breaker = open(config, Arc::new(clock.clone())).expect("in range");
    let circuit = breaker.circuit(NAME).expect("there is room");
    (breaker, circuit)
}

/// Where two threads meet: spinning, because a thread that has to be woken comes too late for any race.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn wait(&self) {
        let meeting = self.0.fetch_add(1, Ordering::AcqRel) / 2 + 1;
        for spins in 0_u64.. {
            if self.0.load(Ordering::Acquire) >= 2 * meeting {
                return;
            }
            // Where there is one core only, the other needs it.
            if spins % 4096 == 4095 { thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

/// Two threads meet each round and race for probes. As many hold one as may, whichever comes first.
#[test]
fn two_threads_never_run_more_probes_than_the_limit() {
    const ROUNDS: usize = 5_000;
    const TRIES: usize = 8;
    let clock = ManualClock::new();
    let config = CircuitBreakerConfig::new()
        .with_failure_threshold(1)
        .with_half_open_max_calls(3)
        .with_success_threshold(4);
    let (breaker, circuit) = breaker(config, &clock);
    let (begin, tried, end) = (Meeting::default(), Meeting::default(), Meeting::default());
    let running = AtomicUsize::new(0);
    // Told at the end: a thread that panicked would leave the other waiting.
    let wrong = Mutex::new(Vec::new());
    let note = |text: String| wrong.lock().expect("nobody panics").push(text);
    let race = |leads: bool| {
        for round in 0..ROUNDS {
            if leads {
                if breaker.reset_circuit_breaker(NAME).is_err() {
                    note(format!("round {round}: the circuit is unknown"));
                }
                match circuit.try_acquire() {
                    Ok(permit) => permit.failure(),
                    Err(rejection) => note(format!("round {round}: closed, and {rejection:?}")),
                }
                clock.advance(OPEN_TIME);
                running.store(0, Ordering::Relaxed);
            }
            begin.wait();
            let held: Vec<_> = (0..TRIES).filter_map(|_| circuit.try_acquire().ok()).collect();
            running.fetch_add(held.len(), Ordering::Relaxed);
            tried.wait();
            // Neither gave one back yet, so both together hold what was let through.
            let probes = running.load(Ordering::Relaxed);
            if leads && probes != 3 {
                note(format!("round {round}: {probes} probes at a time"));
            }
            let outcome = if round % 2 == 0 { Outcome::Success } else { Outcome::Ignored };
            held.into_iter().for_each(|permit| permit.settle(outcome));
            end.wait();
            if leads && round % 2 == 0 {
                let successes = circuit.metrics().probe_successes;
                let last = [circuit.try_acquire().ok(), circuit.try_acquire().ok()];
                if successes != 3 || last[0].is_none() || last[1].is_some() {
                    note(format!("round {round}: {successes} successes, then {last:?}"));
                }
                last.into_iter().flatten().for_each(Permit::success);
                if circuit.status().state != CircuitState::Closed {
                    note(format!("round {round}: {:?} after four successes", circuit.status()));
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| race(false));
        race(true);
    });
    let wrong = wrong.into_inner().expect("nobody panics");
    assert!(wrong.is_empty(), "{} rounds went wrong, the first: {}", wrong.len(), wrong[0]);
}

/// One thread forces while the other settles the failure that opens: the force stands, whichever comes first.
#[test]
fn a_force_is_never_lost_to_a_failing_call() {
    const ROUNDS: usize = 20_000;
    let clock = ManualClock::new();
    let (breaker, circuit) = breaker(CircuitBreakerConfig::new().with_failure_threshold(1), &clock);
    let (begin, end) = (Meeting::default(), Meeting::default());
    let lost = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let ticket = circuit.admit(None);
                begin.wait();
                if let Ok(ticket) = ticket {
                    circuit.settle(ticket, Outcome::Failure);
                }
                end.wait();
                // The leader resets before the next call.
                begin.wait();
            }
        });
        for _ in 0..ROUNDS {
            begin.wait();
            let forced = breaker.force_circuit_open(NAME).is_ok();
            end.wait();
            let stands = circuit.status() == CircuitStatus::forced(CircuitState::Open);
            let reset = breaker.reset_circuit_breaker(NAME).is_ok();
            lost.fetch_add(usize::from(!(forced && stands && reset)), Ordering::Relaxed);
            begin.wait();
        }
    });
    assert_eq!(lost.into_inner(), 0, "forces lost in {ROUNDS} rounds");
    assert_eq!(circuit.metrics().failure_count, ROUNDS as u64);
}

/// Every total of a snapshot; none may ever fall.
fn totals(metrics: &CircuitMetrics) -> [u64; 9] {
    [
        metrics.admitted_count,
        metrics.rejected_count,
        metrics.success_count,
        metrics.failure_count,
        metrics.timeout_count,
        metrics.ignored_count,
        metrics.cancelled_count,
        metrics.abandoned_count,
        metrics.state_transitions,
    ]
}

/// Threads call with every outcome while another forces, resets, configures and moves time: no count falls meanwhile, and afterwards
/// everything adds up.
#[test]
fn totals_add_up_and_history_is_in_order_after_any_race() {
    const CALLS: u64 = 20_000;
    let clock = ManualClock::new();
    let config = CircuitBreakerConfig::new().with_failure_threshold(3).with_half_open_max_calls(2);
    let (breaker, circuit) = breaker(config, &clock);
    let stop = AtomicBool::new(false);
    let (admitted, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
    let call = |number: u64| match circuit.admit(None) {
        Ok(ticket) => {
            admitted.fetch_add(1, Ordering::Relaxed);
            let outcomes =
                [Outcome::Success, Outcome::Failure, Outcome::Cancelled, Outcome::TimedOut, Outcome::Ignored];
            circuit.settle(ticket, outcomes[(number % 5) as usize]);
        }
        Err(_) => {
            rejected.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..CALLS).for_each(call))).collect();
        let operator = scope.spawn(|| {
            let mut before = [0; 9];
            for turn in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                match turn % 7 {
                    0 => breaker.force_circuit_open(NAME),
                    1 => breaker.force_circuit_closed(NAME),
                    2 => breaker.configure_circuit_breaker(NAME, config.with_open_time(OPEN_TIME)),
                    3 => breaker.reset_circuit_breaker(NAME),
                    _ => {
                        clock.advance(OPEN_TIME);
                        Ok(())
                    }
                }
                .expect("known");
                // Calls go on, and none of them leads out of a forced state.
                let forced = [CircuitState::Open, CircuitState::Closed].get((turn % 7) as usize).copied();
                if let Some(state) = forced {
                    for _ in 0..20 {
                        assert_eq!(circuit.status(), CircuitStatus::forced(state));
                    }
                }
                let metrics = circuit.metrics();
                assert!(
                    metrics.admitted_count >= metrics.success_count + metrics.failure_count,
                    "{metrics:?}"
                );
                let now = totals(&metrics);
                assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "{before:?}, {now:?}");
                before = now;
            }
        });
        callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
        stop.store(true, Ordering::Relaxed);
        operator.join().expect("the operator");
    });
    let metrics = circuit.metrics();
    assert_eq!(metrics.admitted_count, admitted.into_inner());
    assert_eq!(metrics.rejected_count, rejected.into_inner());
    assert_eq!(metrics.admitted_count + metrics.rejected_count, 2 * CALLS);
    let outcomes = metrics.success_count
        + metrics.failure_count
        + metrics.timeout_count
        + metrics.ignored_count
        + metrics.cancelled_count
        + metrics.abandoned_count;
    assert_eq!(metrics.admitted_count, outcomes);
    for pair in metrics.recent_transitions.windows(2) {
        assert_eq!((pair[1].sequence, pair[1].from), (pair[0].sequence + 1, pair[0].to), "{pair:?}");
        assert!(pair[1].at >= pair[0].at, "{pair:?}");
    }
    // Nothing of the race is left behind.
    breaker.reset_circuit_breaker(NAME).expect("known");
    assert!(circuit.try_acquire().is_ok());
}

/// The greatest limits: every slot is used, and given back.
#[test]
fn a_hundred_thousand_probes_at_a_time() {
    const MOST: u32 = 100_000;
    let clock = ManualClock::new();
    let config = CircuitBreakerConfig::new()
        .with_failure_threshold(1)
        .with_half_open_max_calls(MOST)
        .with_success_threshold(MOST);
    let (_breaker, circuit) = breaker(config, &clock);
    circuit.try_acquire().expect("closed").failure();
    clock.advance(OPEN_TIME);
    let mut held: Vec<_> = std::iter::from_fn(|| circuit.try_acquire().ok()).collect();
    assert_eq!(held.len(), MOST as usize);
    held.drain(1..).for_each(Permit::success);
    assert_eq!(circuit.metrics().probe_successes, MOST - 1);
    // The last one hangs, and its slot comes back with its lease.
    assert!(circuit.try_acquire().is_err());
    clock.advance(OPEN_TIME);
    circuit.try_acquire().expect("its lease ran out").success();
    assert_eq!(circuit.status().state, CircuitState::Closed);
    drop(held);
    assert_eq!((circuit.metrics().abandoned_count, circuit.metrics().cancelled_count), (1, 0));
}
