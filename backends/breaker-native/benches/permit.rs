//! One permit on a closed circuit: ours beside the failsafe crate's breaker, which has no permit, only two calls.
//!
//! `cargo bench -p onex-breaker-native --bench permit`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use onex_bench::{Comparison, Row, table};
use onex_breaker_native::{Config, open};
use onex_spi::TokioClock;
use onex_spi::breaker::CircuitExt;

const CALLS: u64 = 1_000_000;

fn main() -> Result<(), onex_spi::Error> {
    let breaker = open(Config::default(), Arc::new(TokioClock::new()))?;
    let circuit = breaker.circuit("bench")?;
    let policy = failsafe::failure_policy::consecutive_failures(
        5,
        failsafe::backoff::constant(Duration::from_secs(60)),
    );
    let peer = failsafe::Config::new().failure_policy(policy).build();

    let permit = Comparison::new("permit, closed, success (raw: failsafe `call`)").operations(CALLS).run(
        |n| (0..n).for_each(|_| drop(black_box(peer.call(|| Ok::<u64, ()>(black_box(1)))))),
        |n| {
            for _ in 0..n {
                match circuit.try_acquire() {
                    Ok(permit) => {
                        black_box(1);
                        permit.success();
                    }
                    Err(rejection) => unreachable!("nothing failed: {rejection:?}"),
                }
            }
        },
    );
    println!("{}", table(&[permit, call(&*circuit)]));
    Ok(())
}

/// The asynchronous call beside its operation alone.
fn call<C: CircuitExt + ?Sized>(circuit: &C) -> Row {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        unreachable!("a runtime without drivers")
    };
    Comparison::new("async call, closed (raw: the operation alone)").operations(CALLS).run(
        |n| {
            runtime.block_on(async {
                for _ in 0..n {
                    let _ = black_box(async { Ok::<u64, ()>(black_box(1)) }.await);
                }
            });
        },
        |n| {
            runtime.block_on(async {
                for _ in 0..n {
                    let _ = black_box(circuit.call(None, || async { Ok::<u64, ()>(black_box(1)) }).await);
                }
            });
        },
    )
}
