//! The circle of states: what opens, what closes, what a call sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use onex_spi::breaker::{CircuitExt, CircuitState, CircuitStatus, ExecuteError, TransitionCause};
use onex_spi::{Effect, Error, ErrorKind};

use super::world::{F, NAME, S, T, World, poll_once};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.closed_is_transparent", &["R1"], &["ONEX-CB-01", "ONEX-CB-07"], |world| {
        Box::pin(closed_is_transparent(world))
    }),
    Case::new("breaker.opens_exactly_at_threshold", &["R0", "R10"], &["ONEX-CB-02"], |world| {
        Box::pin(opens_exactly_at_threshold(world))
    }),
    Case::new("breaker.success_breaks_the_run", &["R0"], &["ONEX-CB-02"], |world| {
        Box::pin(success_breaks_the_run(world))
    }),
    Case::new("breaker.rejection_never_touches_the_operation", &["R10"], &["ONEX-CB-25"], |world| {
        Box::pin(rejection_never_touches_the_operation(world))
    }),
    Case::new("breaker.success_threshold", &["R0"], &["ONEX-CB-03", "ONEX-CB-23"], |world| {
        Box::pin(success_threshold(world))
    }),
    Case::new("breaker.probe_failure_reopens_fully", &["R0"], &["ONEX-CB-03"], |world| {
        Box::pin(probe_failure_reopens_fully(world))
    }),
    Case::new("breaker.every_change_is_recorded", &["R6"], &["ONEX-CB-24"], |world| {
        Box::pin(every_change_is_recorded(world))
    }),
];

/// C01
async fn closed_is_transparent(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let ended = AtomicBool::new(false);
    let works = || async {
        tokio::task::yield_now().await;
        ended.store(true, Ordering::Relaxed);
        Ok::<_, &str>(7)
    };
    ensure_eq!("R1", bench.circuit.call(None, works).await, Ok(7), "the operation's value");
    ensure!("R1", ended.load(Ordering::Relaxed), "the operation was not polled to its end");
    let failed = bench.call(Err("down")).await;
    ensure_eq!("R1", failed, Err(ExecuteError::Operation("down")), "the operation's own error");
    let metrics = bench.metrics();
    let counts = (metrics.admitted_count, metrics.success_count, metrics.failure_count);
    ensure_eq!("R1", counts, (2, 1, 1), "admitted, succeeded, failed");
    let others = metrics.timeout_count + metrics.ignored_count + metrics.cancelled_count;
    ensure_eq!("R1", others + metrics.abandoned_count + metrics.rejected_count, 0, "everything else");
    ensure_eq!("R1", metrics.status, CircuitStatus::new(CircuitState::Closed), "status");
    Ok(())
}

/// C02
async fn opens_exactly_at_threshold(world: World) -> CaseResult {
    let bench = world.bench().await?;
    for failure in 1..F {
        let result = bench.call(Err("down")).await;
        ensure_eq!("R0", result, Err(ExecuteError::Operation("down")), "call {failure} of {F}");
        ensure_eq!("R0", bench.state(), CircuitState::Closed, "after {failure} of {F} failures");
        ensure_eq!("R0", bench.metrics().consecutive_failures, failure, "failures that count");
    }
    let mut last = Box::pin(bench.call(Err("down")));
    let result = poll_once(&mut last);
    // No other poll, no other task came between the end of the call and this look.
    ensure_eq!("R0", bench.state(), CircuitState::Open, "when the call that fails the {F}th time ends");
    ensure_eq!("R0", result, Poll::Ready(Err(ExecuteError::Operation("down"))), "that call runs");
    let next = bench.call(Ok(1)).await;
    ensure!("R0", matches!(next, Err(ExecuteError::Rejected { .. })), "the next call: {next:?}");
    Ok(())
}

/// C03
async fn success_breaks_the_run(world: World) -> CaseResult {
    let bench = world.bench().await?;
    for round in 0..50 {
        ensure_eq!("R0", bench.fail(F - 1), F - 1, "failing calls that ran in round {round}");
        ensure_eq!("R0", bench.succeed(1), 1, "the succeeding call of round {round}");
        ensure_eq!("R0", bench.state(), CircuitState::Closed, "after round {round}");
    }
    Ok(())
}

/// C04
async fn rejection_never_touches_the_operation(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let touched = Arc::new(AtomicBool::new(false));
    let operation = || {
        let touched = Arc::clone(&touched);
        move || {
            touched.store(true, Ordering::Relaxed);
            async { Ok::<(), Error>(()) }
        }
    };
    let made_while_closed = bench.circuit.call(None, operation());
    bench.trip()?;
    bench.pass(Duration::from_secs(3))?;
    let calls = [made_while_closed.await, bench.circuit.call(None, operation()).await];
    for call in calls {
        let Err(ExecuteError::Rejected { circuit, rejection }) = call else {
            ensure!("R10", false, "an open circuit let a call through: {call:?}");
            continue;
        };
        ensure_eq!("R10", &*circuit, NAME, "the circuit that is named");
        ensure_eq!("R10", (rejection.state, rejection.forced), (CircuitState::Open, false), "why");
        let after = rejection.retry_after;
        let right = after.is_some_and(|after| !after.is_zero() && after <= T);
        ensure!("R10", right, "retry_after = {after:?} is not above zero and at most {T:?}");
        let error = Error::from(ExecuteError::Rejected { circuit, rejection });
        let facts = (error.kind(), error.effect(), error.retry_after());
        ensure_eq!("R10", facts, (ErrorKind::Rejected, Effect::NotApplied, after), "the error made of it");
        ensure!("R10", error.message().contains(NAME), "the error does not name the circuit: {error}");
    }
    ensure!("R10", !touched.load(Ordering::Relaxed), "a rejected operation was called");
    Ok(())
}

/// C08
async fn success_threshold(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    for success in 1..S {
        ensure_eq!("R0", bench.succeed(1), 1, "probe {success} runs");
        ensure_eq!("R0", bench.state(), CircuitState::HalfOpen, "after {success} of {S} probes succeeded");
        ensure_eq!("R0", bench.metrics().probe_successes, success, "successes that count");
    }
    ensure_eq!("R0", bench.succeed(1), 1, "the last probe runs");
    ensure_eq!("R0", bench.state(), CircuitState::Closed, "after {S} probes succeeded");
    ensure_eq!("R0", bench.metrics().consecutive_failures, 0, "failures that count in the new run");
    bench.fail(F - 1);
    ensure_eq!("R0", bench.state(), CircuitState::Closed, "after {} failures of the new run", F - 1);
    Ok(())
}

/// C09
async fn probe_failure_reopens_fully(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    ensure_eq!("R0", bench.succeed(S - 1), S - 1, "probes that succeed");
    bench.still_half_open()?;
    bench.pass(Duration::from_secs(3))?;
    ensure_eq!("R0", bench.fail(1), 1, "the probe that fails runs");
    ensure_eq!("R0", bench.state(), CircuitState::Open, "after one probe failed");
    bench.pass(T - Duration::from_secs(1))?;
    ensure_eq!("R0", bench.succeed(1), 0, "calls let through a second before the new end");
    bench.pass(Duration::from_secs(1) + bench.grain())?;
    ensure_eq!("R0", bench.succeed(S - 1), S - 1, "probes of the next half-open");
    ensure_eq!("R0", bench.state(), CircuitState::HalfOpen, "earlier successes are forgotten");
    ensure_eq!("R0", bench.succeed(1), 1, "the last probe");
    ensure_eq!("R0", bench.state(), CircuitState::Closed, "after {S} probes in a row");
    Ok(())
}

async fn every_change_is_recorded(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    bench.recover()?;
    bench.breaker.force_circuit_open(NAME)?;
    bench.breaker.reset_circuit_breaker(NAME)?;
    let metrics = bench.metrics();
    let seen: Vec<_> = metrics
        .recent_transitions
        .iter()
        .map(|change| (change.to.state, change.to.forced, change.cause))
        .collect();
    let due = [
        (CircuitState::Open, false, TransitionCause::Failure),
        (CircuitState::HalfOpen, false, TransitionCause::Probe),
        (CircuitState::Closed, false, TransitionCause::Recovery),
        (CircuitState::Open, true, TransitionCause::Force),
        (CircuitState::Closed, false, TransitionCause::Reset),
    ];
    ensure_eq!("R6", seen, due, "the changes, oldest first");
    for _ in 0..20 {
        bench.breaker.force_circuit_open(NAME)?;
        bench.breaker.reset_circuit_breaker(NAME)?;
    }
    let metrics = bench.metrics();
    ensure_eq!("R6", metrics.state_transitions, 45, "changes ever");
    ensure_eq!("R6", metrics.recent_transitions.len(), 32, "changes that are kept");
    for pair in metrics.recent_transitions.windows(2) {
        let [before, after] = pair else { continue };
        ensure_eq!("R6", after.sequence, before.sequence + 1, "numbers");
        ensure_eq!("R6", after.from, before.to, "each change begins where the last ended");
        ensure!("R6", after.at >= before.at, "time goes back: {pair:?}");
    }
    Ok(())
}
