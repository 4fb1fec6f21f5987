//! One call through a breaker: ours beside failsafe, recloser and tower-resilience-circuitbreaker, in one run.
//!
//! `cargo bench -p onex-breaker-native --bench breaker`; ratios, allocations and instructions are in `--bench pairs`.
//!
//! Futures are polled once with a waker that does nothing, so that no runtime is measured with them.

mod sides;

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use failsafe::CircuitBreaker as _;
use onex_breaker_native::{Config, open};
use onex_spi::breaker::{Circuit, CircuitBreakerConfig, CircuitBreakerExt, CircuitExt, Window};
use onex_spi::{Error, TokioClock};
use onex_testkit::clock::ManualClock;
use recloser::AsyncRecloser;
use tower_service::Service;

use crate::sides::{
    MINUTE, NAME, breaker, breaker_on, circuit, circuit_of, failsafe, finished, opened, rates, recloser,
    tower,
};

fn closed(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed, one call that succeeds");
    let circuit = circuit();
    group.bench_function("onex permit", |b| {
        b.iter(|| match circuit.try_acquire() {
            Ok(permit) => permit.success(),
            Err(rejection) => unreachable!("nothing failed: {rejection:?}"),
        });
    });
    let peer = failsafe();
    group.bench_function("failsafe call", |b| b.iter(|| peer.call(|| Ok::<u64, ()>(black_box(1)))));
    let peer = recloser();
    group.bench_function("recloser call", |b| b.iter(|| peer.call(|| Ok::<u64, ()>(black_box(1)))));

    group.bench_function("bare async operation", |b| {
        b.iter(|| finished(async { Ok::<u64, ()>(black_box(1)) }));
    });
    group.bench_function("onex async call", |b| {
        b.iter(|| finished(circuit.call(None, || async { Ok::<u64, ()>(black_box(1)) })));
    });
    let peer = AsyncRecloser::from(recloser());
    group.bench_function("recloser async call", |b| {
        b.iter(|| finished(peer.call(async { Ok::<u64, ()>(black_box(1)) })));
    });
    let mut peer = tower();
    group.bench_function("tower-resilience call", |b| b.iter(|| finished(peer.call(true))));
    let window = rates(Window::Calls(100));
    group.bench_function("onex async call, rate over 100 calls", |b| {
        b.iter(|| finished(window.call(None, || async { Ok::<u64, ()>(black_box(1)) })));
    });
    let window = rates(Window::Time(MINUTE));
    group.bench_function("onex async call, rate over a minute", |b| {
        b.iter(|| finished(window.call(None, || async { Ok::<u64, ()>(black_box(1)) })));
    });
    group.finish();
}

fn rejected(c: &mut Criterion) {
    let mut group = c.benchmark_group("open, one call that is rejected");
    group.bench_function("reading the clock alone", |b| b.iter(Instant::now));
    let circuit = opened(circuit());
    group.bench_function("onex permit", |b| b.iter(|| circuit.try_acquire().is_err()));
    let exact = opened(circuit_of(&breaker_on(CircuitBreakerConfig::new(), Arc::new(TokioClock::new()))));
    group.bench_function("onex permit, exact clock", |b| b.iter(|| exact.try_acquire().is_err()));
    let Ok(manual) = open(Config::new(), Arc::new(ManualClock::new())) else { unreachable!("good") };
    if manual.circuit(NAME).is_ok_and(|_| manual.force_circuit_open(NAME).is_ok()) {
        let forced = circuit_of(&manual);
        group.bench_function("onex permit, forced open: no clock", |b| {
            b.iter(|| forced.try_acquire().is_err())
        });
    }
    let peer = failsafe();
    (0..5).for_each(|_| drop(peer.call(|| Err::<(), ()>(()))));
    group.bench_function("failsafe call", |b| b.iter(|| peer.call(|| Ok::<u64, ()>(black_box(1)))));
    let peer = recloser();
    (0..50).for_each(|_| drop(peer.call(|| Err::<(), ()>(()))));
    group.bench_function("recloser call", |b| b.iter(|| peer.call(|| Ok::<u64, ()>(black_box(1)))));
    let mut peer = tower();
    (0..5).for_each(|_| drop(finished(peer.call(false))));
    group.bench_function("tower-resilience call", |b| b.iter(|| finished(peer.call(true)).is_err()));
    group.finish();
}

/// Makes that many calls from when all are ready.
fn alone(calls: u64, ready: &Barrier, call: impl Fn()) -> Duration {
    ready.wait();
    let begin = Instant::now();
    (0..calls).for_each(|_| call());
    begin.elapsed()
}

/// Each of two threads makes that many calls; the time from their meeting to the end of both.
fn both(calls: u64, one: impl Fn(), other: impl Fn() + Send) -> Duration {
    let meet = Barrier::new(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| alone(calls, &meet, other));
        let mine = alone(calls, &meet, one);
        other.join().map_or(mine, |other| other.max(mine))
    })
}

/// Beside it one thread, and two threads that share nothing: what two threads cost on this machine whatever they do.
fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed, two threads on one circuit");
    let (circuit, another) = (sides::circuit(), sides::circuit());
    let permit = |circuit: &dyn Circuit| match circuit.try_acquire() {
        Ok(permit) => permit.success(),
        Err(rejection) => unreachable!("nothing failed: {rejection:?}"),
    };
    let (first, second) = (|| permit(&*circuit), || permit(&*another));
    group.bench_function("onex permit", |b| b.iter_custom(|calls| both(calls, first, first)));
    group.bench_function("onex permit, one thread alone", |b| {
        b.iter_custom(|calls| alone(calls, &Barrier::new(1), first));
    });
    group.bench_function("onex permit, a circuit each", |b| {
        b.iter_custom(|calls| both(calls, first, second));
    });
    let call = || drop(finished(circuit.call(None, || async { Ok::<u64, ()>(black_box(1)) })));
    group.bench_function("onex async call", |b| b.iter_custom(|calls| both(calls, call, call)));
    let peer = failsafe();
    let call = || drop(peer.call(|| Ok::<u64, ()>(black_box(1))));
    group.bench_function("failsafe call", |b| b.iter_custom(|calls| both(calls, call, call)));
    let peer = recloser();
    let call = || drop(peer.call(|| Ok::<u64, ()>(black_box(1))));
    group.bench_function("recloser call", |b| b.iter_custom(|calls| both(calls, call, call)));
    group.finish();
}

fn by_name(c: &mut Criterion) {
    let mut group = c.benchmark_group("by name, with a timeout that does not fire");
    for circuits in [1, 1000] {
        let breaker = breaker(CircuitBreakerConfig::new());
        let names: Vec<String> = (1..circuits).map(|number| format!("circuit {number}")).collect();
        let held: Vec<_> = names.iter().map(|name| breaker.circuit(name)).collect();
        group.bench_function(BenchmarkId::new("onex execute_with_circuit_breaker", circuits), |b| {
            b.iter(|| {
                let operation = || async { Ok::<u64, Error>(black_box(1)) };
                finished(breaker.execute_with_circuit_breaker(NAME, Some(MINUTE), operation))
            });
        });
        drop(held);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = closed, rejected, two_threads, by_name
}
criterion_main!(benches);
