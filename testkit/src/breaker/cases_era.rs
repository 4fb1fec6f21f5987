//! Eras: a result counts only in the era in which its call was admitted.

use std::time::Duration;

use onex_spi::breaker::{CircuitState, Outcome};

use super::world::{F, S, T, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.stale_success_is_ignored", &["R2"], &["ONEX-CB-10"], |world| {
        Box::pin(stale_success_is_ignored(world))
    }),
    Case::new("breaker.late_success_leaves_it_open", &["R2"], &["ONEX-CB-10"], |world| {
        Box::pin(late_success_leaves_it_open(world))
    }),
    Case::new("breaker.stale_failure_is_ignored", &["R2"], &["ONEX-CB-10"], |world| {
        Box::pin(stale_failure_is_ignored(world))
    }),
    Case::new("breaker.late_failures_move_no_deadline", &["R2"], &["ONEX-CB-10"], |world| {
        Box::pin(late_failures_move_no_deadline(world))
    }),
    Case::new("breaker.stale_drop_frees_no_slot", &["R2", "R3"], &["ONEX-CB-09", "ONEX-CB-10"], |world| {
        Box::pin(stale_drop_frees_no_slot(world))
    }),
    Case::new("breaker.stale_probe_is_ignored", &["R2"], &["ONEX-CB-10"], |world| {
        Box::pin(stale_probe_is_ignored(world))
    }),
];

/// C11
async fn stale_success_is_ignored(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let admitted_closed = bench.held()?;
    bench.trip_and_wait()?;
    let [probe, other] = [bench.held()?, bench.held()?];
    ensure!("R4", bench.hold().is_err(), "three probes run where two may");
    let before = bench.metrics();
    admitted_closed.success();
    let after = bench.metrics();
    ensure_eq!("R2", after.status.state, CircuitState::HalfOpen, "after a stale success");
    ensure_eq!("R2", after.probe_successes, 0, "successes that count");
    ensure_eq!("R2", after.success_count, before.success_count + 1, "successes ever");
    ensure!("R2", bench.hold().is_err(), "a stale success gave back a slot that it never had");
    probe.success();
    bench.still_half_open()?;
    other.success();
    ensure_eq!("R2", bench.state(), CircuitState::Closed, "after {S} probes succeeded");
    Ok(())
}

async fn late_success_leaves_it_open(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let admitted_closed = bench.held()?;
    bench.trip()?;
    admitted_closed.success();
    ensure_eq!(
        "R2",
        bench.state(),
        CircuitState::Open,
        "after a success that was admitted before the opening"
    );
    bench.pass(T + bench.grain())?;
    bench.recover()
}

/// C12, first half
async fn stale_failure_is_ignored(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let admitted_closed = [bench.held()?, bench.held()?];
    bench.trip_and_wait()?;
    let probe = bench.held()?;
    let before = bench.metrics();
    let [failed, timed_out] = admitted_closed;
    failed.failure();
    ensure_eq!("R2", bench.state(), CircuitState::HalfOpen, "after a stale failure");
    timed_out.settle(Outcome::TimedOut);
    let after = bench.metrics();
    ensure_eq!("R2", after.status.state, CircuitState::HalfOpen, "after a stale timeout");
    ensure_eq!("R2", after.failure_count, before.failure_count + 1, "failures ever");
    ensure_eq!("R2", after.timeout_count, before.timeout_count + 1, "timeouts ever");
    probe.success();
    bench.still_half_open()?;
    ensure_eq!("R2", bench.metrics().probe_successes, 1, "the probe's success, which decides");
    Ok(())
}

/// C12, second half
async fn late_failures_move_no_deadline(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let late: Vec<_> = (0..F).map(|_| bench.held()).collect::<Result<_, _>>()?;
    bench.trip()?;
    bench.pass(T * 3 / 4)?;
    for call in late {
        call.failure();
        ensure_eq!("R2", bench.state(), CircuitState::Open, "after a late failure");
    }
    bench.pass(T / 4 - Duration::from_secs(1))?;
    ensure_eq!("R2", bench.state(), CircuitState::Open, "a second before the original end");
    bench.pass(Duration::from_secs(1) + bench.grain())?;
    ensure_eq!("R2", bench.state(), CircuitState::HalfOpen, "at the original end");
    ensure_eq!("R2", bench.succeed(1), 1, "calls let through at the original end");
    Ok(())
}

async fn stale_drop_frees_no_slot(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let admitted_closed = [bench.held()?, bench.held()?];
    bench.trip_and_wait()?;
    let probes = [bench.held()?, bench.held()?];
    ensure!("R4", bench.hold().is_err(), "three probes run where two may");
    let [dropped, ignored] = admitted_closed;
    drop(dropped);
    ensure_eq!("R3", bench.metrics().cancelled_count, 1, "dropped, ever");
    ensure!("R2", bench.hold().is_err(), "a stale drop gave back a slot that it never had");
    ignored.settle(Outcome::Ignored);
    ensure_eq!("R11", bench.metrics().ignored_count, 1, "ignored, ever");
    ensure!("R2", bench.hold().is_err(), "a stale result gave back a slot that it never had");
    let [dropped, succeeds] = probes;
    drop(dropped);
    let next = bench.held()?;
    ensure!("R2", bench.hold().is_err(), "one drop gave back two slots");
    succeeds.success();
    bench.still_half_open()?;
    next.success();
    ensure_eq!("R2", bench.state(), CircuitState::Closed, "after {S} probes succeeded");
    Ok(())
}

async fn stale_probe_is_ignored(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let limit = Some(9 * T);
    // (what slow probes of one half-open come to in the next, and in the opening between)
    for outcome in [Outcome::Success, Outcome::Failure] {
        bench.trip_and_wait()?;
        // Their timeout keeps their leases running.
        let (Ok(slow), Ok(fails)) = (bench.circuit.admit(limit), bench.circuit.admit(limit)) else {
            ensure!("R0", false, "a half-open circuit without probes turned one away");
            continue;
        };
        bench.circuit.settle(fails, Outcome::Failure);
        ensure_eq!("R0", bench.state(), CircuitState::Open, "after a probe failed");
        bench.pass(T + bench.grain())?;
        let probe = bench.held()?;
        bench.circuit.settle(slow, outcome);
        let metrics = bench.metrics();
        let seen = (metrics.status.state, metrics.probe_successes);
        ensure_eq!("R2", seen, (CircuitState::HalfOpen, 0), "a probe of the half-open before: {outcome:?}");
        let other = bench.held()?;
        ensure!("R4", bench.hold().is_err(), "it gave back a slot that it never had");
        probe.success();
        bench.still_half_open()?;
        other.success();
        ensure_eq!("R2", bench.state(), CircuitState::Closed, "after {S} probes succeeded");
    }
    bench.trip_and_wait()?;
    let [fails, slow] = [bench.held()?, bench.held()?];
    fails.failure();
    slow.success();
    ensure_eq!("R2", bench.state(), CircuitState::Open, "after a probe of the half-open before succeeded");
    Ok(())
}
