//! Outcomes: timeouts, ignored results, panics, and that everything adds up.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use onex_spi::breaker::{
    CircuitBreakerConfig, CircuitExt, CircuitMetrics, CircuitState, ExecuteError, Outcome,
};
use onex_spi::{Error, ErrorKind};

use super::world::{Bench, F, LIMIT, NAME, T, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.timeout_is_one_failure", &["R0", "R1"], &["ONEX-CB-08"], |world| {
        Box::pin(timeout_is_one_failure(world))
    }),
    Case::new("breaker.circuits_own_timeout_applies", &["R0", "R1"], &["ONEX-CB-08"], |world| {
        Box::pin(circuits_own_timeout_applies(world))
    }),
    Case::new(
        "breaker.rejections_and_ignored_errors_do_not_count",
        &["R10", "R11"],
        &["ONEX-CB-05", "ONEX-CB-12", "ONEX-CB-26"],
        |world| Box::pin(rejections_and_ignored_errors_do_not_count(world)),
    ),
    Case::new("breaker.panic_is_a_failure", &["R16"], &["ONEX-CB-14"], |world| {
        Box::pin(panic_is_a_failure(world))
    }),
    Case::new("breaker.totals_add_up", &["R1"], &["ONEX-CB-04", "ONEX-CB-24"], |world| {
        Box::pin(totals_add_up(world))
    }),
    Case::new("breaker.totals_add_up_across_threads", &["R1"], &["ONEX-CB-04"], |world| {
        Box::pin(totals_add_up_across_threads(world))
    }),
];

/// Tells when an operation was dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs an operation that never ends, moves the clock to its limit and checks the result.
async fn time_out(bench: &Bench, timeout: Option<std::time::Duration>) -> CaseResult {
    // Before anything waits for the clock: a breaker on another one ends the case here.
    bench.pass(std::time::Duration::ZERO)?;
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Dropped(Arc::clone(&dropped));
    let operation = move || async move {
        let _guard = guard;
        std::future::pending::<Result<(), Error>>().await
    };
    let circuit = Arc::clone(&bench.circuit);
    let call = tokio::spawn(async move { circuit.call(timeout, operation).await });
    bench.clock.until_waiting(1).await;
    ensure_eq!(
        "R1",
        bench.clock.next_deadline(),
        Some(onex_spi::Clock::now(&bench.clock) + LIMIT),
        "its limit"
    );
    bench.pass(LIMIT)?;
    let result =
        call.await.map_err(|error| crate::suite::Stop::Failed { law: "", message: error.to_string() })?;
    ensure!("R1", matches!(result, Err(ExecuteError::TimedOut)), "at its limit the call gave {result:?}");
    ensure!("R1", dropped.load(Ordering::Acquire), "the operation lives on");
    let kind = result.map_err(Error::from).err().map(|error| error.kind());
    ensure_eq!("R1", kind, Some(ErrorKind::TimedOut), "the error made of it");
    Ok(())
}

fn ensure_one_timeout(metrics: &CircuitMetrics) -> CaseResult {
    ensure_eq!("R1", metrics.admitted_count, 1, "admitted");
    ensure_eq!("R1", metrics.timeout_count, 1, "timeouts");
    ensure_eq!("R0", metrics.consecutive_failures, 1, "failures that count");
    let others = metrics.success_count + metrics.failure_count + metrics.ignored_count;
    ensure_eq!("R1", others + metrics.cancelled_count + metrics.abandoned_count, 0, "everything else");
    Ok(())
}

/// C13
async fn timeout_is_one_failure(world: World) -> CaseResult {
    let bench = world.bench().await?;
    time_out(&bench, Some(LIMIT)).await?;
    ensure_one_timeout(&bench.metrics())?;
    for timeout in 2..=F {
        ensure_eq!("R1", bench.state(), CircuitState::Closed, "before timeout {timeout} of {F}");
        time_out(&bench, Some(LIMIT)).await?;
    }
    ensure_eq!("R1", bench.state(), CircuitState::Open, "after {F} timeouts");
    Ok(())
}

async fn circuits_own_timeout_applies(world: World) -> CaseResult {
    let bench = world
        .bench_with(|mut setup| {
            setup.defaults = setup.defaults.with_call_timeout(Some(LIMIT));
            setup
        })
        .await?;
    time_out(&bench, None).await?;
    ensure_one_timeout(&bench.metrics())?;
    ensure_eq!("R1", bench.circuit.call_timeout(), Some(LIMIT), "the limit that is told");
    Ok(())
}

/// C17
async fn rejections_and_ignored_errors_do_not_count(world: World) -> CaseResult {
    let bench = world
        .bench_with(|mut setup| {
            setup.defaults = setup.defaults.with_half_open_max_calls(1);
            setup
        })
        .await?;
    let ignored = || {
        let not_found = || async { Err::<(), _>("404") };
        bench.circuit.call_classified(None, not_found, |_| Outcome::Ignored)
    };
    for _ in 0..2 * F {
        let result = ignored().await;
        ensure_eq!("R11", result, Err(ExecuteError::Operation("404")), "an ignored error reaches the caller");
    }
    let metrics = bench.metrics();
    let seen = (metrics.status.state, metrics.consecutive_failures, metrics.ignored_count);
    ensure_eq!("R11", seen, (CircuitState::Closed, 0, u64::from(2 * F)), "state, failures, ignored");

    bench.trip()?;
    let before = bench.metrics();
    ensure_eq!("R10", bench.fail(1000), 0, "calls let through while open");
    let after = bench.metrics();
    ensure_eq!("R10", after.rejected_count, before.rejected_count + 1000, "rejected");
    ensure_eq!("R10", after.failure_count, before.failure_count, "failures");
    ensure_eq!("R10", after.admitted_count, before.admitted_count, "admitted");

    bench.pass(T + bench.grain())?;
    for round in 0..5 {
        let result = ignored().await;
        ensure_eq!("R11", result, Err(ExecuteError::Operation("404")), "ignored probe {round}");
        let metrics = bench.metrics();
        let seen = (metrics.status.state, metrics.probe_successes, metrics.failure_count);
        let due = (CircuitState::HalfOpen, 0, before.failure_count);
        ensure_eq!("R11", seen, due, "state, successes, failures");
    }
    bench.recover()
}

/// Runs an operation that panics and returns what the caller catches.
async fn panicking(bench: &Bench) -> Option<&'static str> {
    // Without the panic hook, which would write a trace for a panic that is due.
    let operation = || async {
        tokio::task::yield_now().await;
        resume_unwind(Box::new("boom"));
        #[allow(unreachable_code, reason = "gives the operation its type")]
        Ok::<(), ()>(())
    };
    let caught = AssertUnwindSafe(bench.circuit.call(None, operation)).catch_unwind().await;
    caught.err()?.downcast_ref::<&str>().copied()
}

/// C20
async fn panic_is_a_failure(world: World) -> CaseResult {
    let bench = world.bench().await?;
    for panic in 1..=F {
        ensure_eq!("R16", bench.state(), CircuitState::Closed, "before panic {panic} of {F}");
        ensure_eq!("R16", panicking(&bench).await, Some("boom"), "what the caller catches");
    }
    ensure_eq!("R16", bench.state(), CircuitState::Open, "after {F} panics");
    ensure_eq!("R16", bench.metrics().failure_count, u64::from(F), "failures");
    bench.pass(T + bench.grain())?;
    ensure_eq!("R16", panicking(&bench).await, Some("boom"), "what the caller of the probe catches");
    ensure_eq!("R16", bench.state(), CircuitState::Open, "after the probe panicked");
    bench.pass(T + bench.grain())?;
    // No lock is poisoned.
    bench.recover()
}

fn ensure_sum(metrics: &CircuitMetrics) -> CaseResult {
    let outcomes = metrics.success_count
        + metrics.failure_count
        + metrics.timeout_count
        + metrics.ignored_count
        + metrics.cancelled_count
        + metrics.abandoned_count;
    ensure_eq!("R1", metrics.admitted_count, outcomes, "admitted and the sum of the outcomes at rest");
    Ok(())
}

async fn totals_add_up(world: World) -> CaseResult {
    let bench = world.bench().await?;
    ensure_eq!("R11", bench.settle(4, Outcome::Ignored), 4, "calls whose results are ignored");
    ensure_eq!("R11", bench.metrics().ignored_count, 4, "ignored");
    let ran = [bench.succeed(5), bench.fail(F - 1), bench.settle(1, Outcome::TimedOut)];
    ensure_eq!("R1", ran, [5, F - 1, 1], "calls that ran");
    let metrics = bench.metrics();
    let counts =
        (metrics.success_count, metrics.failure_count, metrics.timeout_count, metrics.rejected_count);
    ensure_eq!("R1", counts, (5, u64::from(F - 1), 1, 0), "succeeded, failed, timed out, rejected");
    ensure_sum(&metrics)?;
    ensure_eq!("R10", bench.succeed(6), 0, "calls that run while open");
    let after = bench.metrics();
    let rejections = (after.rejected_count, after.failure_count);
    ensure_eq!("R10", rejections, (6, metrics.failure_count), "rejected, failed");
    bench.pass(T + bench.grain())?;
    bench.recover()?;
    ensure_sum(&bench.metrics())
}

async fn totals_add_up_across_threads(world: World) -> CaseResult {
    const TASKS: u64 = 8;
    const CALLS: u64 = 500;
    let bench = world.bench().await?;
    // Never opens, so that the numbers are known.
    let calm = CircuitBreakerConfig::new().with_failure_threshold(1_000_000);
    bench.breaker.configure_circuit_breaker(NAME, calm)?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let circuit = Arc::clone(&bench.circuit);
            tokio::spawn(async move {
                for call in 0..CALLS {
                    let outcome = [Outcome::Success, Outcome::Failure, Outcome::Ignored][call as usize % 3];
                    let operation = || async {
                        if call % 64 == 0 {
                            tokio::task::yield_now().await;
                        }
                        Ok::<(), ()>(())
                    };
                    let ran = circuit.call_classified(None, operation, |_| outcome).await;
                    ensure_eq!("R1", ran, Ok(()), "a call through a closed circuit");
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| crate::suite::Stop::Failed { law: "", message: error.to_string() })??;
    }
    let metrics = bench.metrics();
    let share = |extra: u64| TASKS * (CALLS / 3 + extra);
    ensure_eq!("R11", metrics.ignored_count, share(0), "ignored");
    let counts = (metrics.success_count, metrics.failure_count);
    ensure_eq!("R1", counts, (share(1), share(1)), "succeeded, failed");
    ensure_eq!("R1", metrics.admitted_count, TASKS * CALLS, "admitted");
    ensure_sum(&metrics)
}
