//! One call through our breaker beside each peer's, pair by pair: ratios, allocations, instructions.
//!
//! `cargo bench -p onex-breaker-native --bench pairs`; with `ONEX_BENCH_INSTRUCTIONS=1` also instructions, by callgrind.

mod sides;

use std::hint::black_box;
use std::sync::Arc;

use failsafe::CircuitBreaker as _;
use onex_bench::{Comparison, table};
use onex_spi::breaker::{Circuit, CircuitBreakerConfig, CircuitBreakerExt, CircuitExt, Window};
use onex_spi::{Error, TokioClock};
use recloser::AsyncRecloser;
use tower_service::Service;

use crate::sides::{
    MINUTE, NAME, breaker, breaker_on, circuit, circuit_of, failsafe, finished, opened, rates, recloser,
    tower,
};

fn compare(name: &str) -> Comparison {
    Comparison::new(name).rounds(41).operations(200_000)
}

/// So many times.
fn times(mut call: impl FnMut()) -> impl FnMut(u64) {
    move |count| (0..count).for_each(|_| call())
}

fn permit(circuit: &Arc<dyn Circuit>) -> impl FnMut() {
    || match circuit.try_acquire() {
        Ok(permit) => permit.success(),
        Err(rejection) => unreachable!("nothing failed: {rejection:?}"),
    }
}

async fn operation() -> Result<u64, Error> {
    Ok(black_box(1))
}

fn called(circuit: &Arc<dyn Circuit>) -> impl FnMut() {
    || drop(black_box(finished(circuit.call(None, operation))))
}

fn rejected(circuit: &Arc<dyn Circuit>) -> impl FnMut() {
    || assert!(circuit.try_acquire().is_err())
}

fn main() {
    let closed = circuit();
    let open = opened(circuit());
    let exact = opened(circuit_of(&breaker_on(CircuitBreakerConfig::new(), Arc::new(TokioClock::new()))));
    let (of_calls, of_a_minute) = (rates(Window::Calls(100)), rates(Window::Time(MINUTE)));
    let by_name = breaker(CircuitBreakerConfig::new());
    let _held = circuit_of(&by_name);
    let (failsafe_closed, failsafe_open) = (failsafe(), failsafe());
    (0..5).for_each(|_| drop(failsafe_open.call(|| Err::<(), ()>(()))));
    let (recloser_closed, recloser_open) = (recloser(), recloser());
    (0..50).for_each(|_| drop(recloser_open.call(|| Err::<(), ()>(()))));
    let recloser_async = AsyncRecloser::from(recloser());
    let (mut tower_closed, mut tower_open) = (tower(), tower());
    (0..5).for_each(|_| drop(finished(tower_open.call(false))));

    let bare = || drop(black_box(finished(operation())));
    let failsafe_call = || drop(black_box(failsafe_closed.call(|| Ok::<u64, ()>(black_box(1)))));
    let recloser_call = || drop(black_box(recloser_closed.call(|| Ok::<u64, ()>(black_box(1)))));
    let recloser_future = || drop(black_box(finished(recloser_async.call(operation()))));
    let failsafe_rejects = || assert!(failsafe_open.call(|| Ok::<u64, ()>(1)).is_err());
    let recloser_rejects = || assert!(recloser_open.call(|| Ok::<u64, ()>(1)).is_err());
    let name =
        || drop(black_box(finished(by_name.execute_with_circuit_breaker(NAME, Some(MINUTE), operation))));

    let rows = [
        compare("closed, permit and success (raw: failsafe's call)")
            .run(times(failsafe_call), times(permit(&closed))),
        compare("closed, permit and success (raw: recloser's call)")
            .run(times(recloser_call), times(permit(&closed))),
        compare("closed, async call (raw: the operation alone)").run(times(bare), times(called(&closed))),
        compare("closed, async call (raw: recloser's)").run(times(recloser_future), times(called(&closed))),
        compare("closed, async call (raw: tower-resilience's)")
            .run(times(|| drop(finished(tower_closed.call(true)))), times(called(&closed))),
        compare("async call, rate over 100 calls (raw: recloser's, a rate over 10)")
            .run(times(recloser_future), times(called(&of_calls))),
        compare("async call, rate over a minute (raw: recloser's, a rate over 10 calls)")
            .run(times(recloser_future), times(called(&of_a_minute))),
        compare("rejected while open (raw: failsafe's)").run(times(failsafe_rejects), times(rejected(&open))),
        compare("rejected while open (raw: recloser's)").run(times(recloser_rejects), times(rejected(&open))),
        compare("rejected while open (raw: tower-resilience's)")
            .run(times(|| assert!(finished(tower_open.call(true)).is_err())), times(rejected(&open))),
        compare("rejected while open, on the exact clock (raw: failsafe's)")
            .run(times(failsafe_rejects), times(rejected(&exact))),
        compare("by name, with a timeout (raw: our async call by handle)")
            .run(times(called(&closed)), times(name)),
    ];
    println!("{}", table(&rows));
}
