//! Time: when an opening ends, what a lease is, what a reader sees of both.

use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::breaker::{
    CircuitBreakerConfig, CircuitExt, CircuitState, CircuitStatus, ExecuteError, Outcome, Permit,
    TransitionCause,
};

use super::world::{H, NAME, S, T, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.open_time_boundary", &["R5"], &["ONEX-CB-03", "ONEX-CB-27"], |world| {
        Box::pin(open_time_boundary(world))
    }),
    Case::new("breaker.reads_are_pure", &["R6"], &["ONEX-CB-16", "ONEX-CB-20", "ONEX-CB-21"], |world| {
        Box::pin(reads_are_pure(world))
    }),
    Case::new("breaker.hung_probe_loses_its_slot", &["R7"], &["ONEX-CB-11"], |world| {
        Box::pin(hung_probe_loses_its_slot(world))
    }),
    Case::new("breaker.lease_is_the_longer_time", &["R7"], &["ONEX-CB-11"], |world| {
        Box::pin(lease_is_the_longer_time(world))
    }),
    Case::new("breaker.own_timeout_is_a_permits_lease", &["R7"], &["ONEX-CB-11"], |world| {
        Box::pin(own_timeout_is_a_permits_lease(world))
    }),
    Case::new("breaker.no_probes_wedge_the_circuit", &["R7"], &["ONEX-CB-11"], |world| {
        Box::pin(no_probes_wedge_the_circuit(world))
    }),
    Case::new("breaker.extreme_limits_work", &["R17"], &["ONEX-CB-17"], |world| {
        Box::pin(extreme_limits_work(world))
    }),
];

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// C05
async fn open_time_boundary(world: World) -> CaseResult {
    for offset in [0, 1, 333_333, 999_999] {
        let bench = world.bench().await?;
        let grain = bench.grain();
        ensure!("R5", grain <= Duration::from_millis(5), "a grain of {grain:?} is more than 5 ms");
        bench.pass(Duration::from_nanos(offset))?;
        bench.trip()?;
        bench.pass(T - NANO)?;
        let Err(rejection) = bench.hold() else {
            ensure!("R5", false, "opened {offset} ns after a whole ms: a call ran 1 ns before the end");
            continue;
        };
        let after = rejection.retry_after;
        let right = after.is_some_and(|after| !after.is_zero() && after <= grain + NANO);
        ensure!("R10", right, "1 ns before the end retry_after = {after:?}, with a grain of {grain:?}");
        ensure_eq!("R5", bench.state(), CircuitState::Open, "1 ns before the end");
        bench.pass(grain + NANO)?;
        ensure_eq!("R5", bench.state(), CircuitState::HalfOpen, "a grain after the end");
        ensure_eq!("R5", bench.succeed(1), 1, "calls that run a grain after the end");
    }
    Ok(())
}

/// C06
async fn reads_are_pure(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let breaker = &bench.breaker;
    bench.trip_and_wait()?;
    let before = bench.metrics();
    for _ in 0..100 {
        ensure_eq!("R6", bench.status(), CircuitStatus::new(CircuitState::HalfOpen), "status past the end");
        ensure_eq!("R6", breaker.circuit_state(NAME)?.state, CircuitState::HalfOpen, "state by name");
        ensure_eq!("R6", breaker.circuit_metrics(NAME)?, before, "metrics after reading");
        ensure!("R6", breaker.find(NAME).is_some(), "a known circuit is not found");
        let unknown = [
            ("circuit_state", breaker.circuit_state("unknown").err()),
            ("circuit_metrics", breaker.circuit_metrics("unknown").err()),
            ("reset_circuit_breaker", breaker.reset_circuit_breaker("unknown").err()),
            ("force_circuit_open", breaker.force_circuit_open("unknown").err()),
            ("force_circuit_closed", breaker.force_circuit_closed("unknown").err()),
        ];
        for (call, error) in unknown {
            let kind = error.map(|error| error.kind());
            ensure_eq!("R6", kind, Some(ErrorKind::NotFound), "{call} of an unknown name");
        }
        ensure!("R6", breaker.find("unknown").is_none(), "reading an unknown name made a circuit");
        let names: Vec<_> = breaker.all_circuit_states().into_keys().collect();
        ensure_eq!("R6", names, vec![std::sync::Arc::from(NAME)], "all circuits after reading");
    }
    ensure_eq!("R6", before.state_transitions, 1, "changes before the first probe");
    let _probe = bench.held()?;
    let metrics = bench.metrics();
    ensure_eq!("R6", metrics.state_transitions, 2, "changes after the first probe");
    let last =
        metrics.recent_transitions.last().map(|change| (change.from.state, change.to.state, change.cause));
    let due = (CircuitState::Open, CircuitState::HalfOpen, TransitionCause::Probe);
    ensure_eq!("R6", last, Some(due), "the change that the first probe made");
    Ok(())
}

async fn hung_probe_loses_its_slot(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    let first = bench.held()?;
    bench.pass(3 * SECOND)?;
    let second = bench.held()?;
    bench.pass(T - 3 * SECOND - NANO)?;
    ensure_eq!("R4", bench.succeed(1), 0, "calls let through while both leases run");
    bench.pass(NANO + bench.grain())?;
    let Ok(third) = bench.hold() else {
        ensure!("R7", false, "the first probe's lease of {T:?} ran out and its slot was not given back");
        return Ok(());
    };
    ensure_eq!("R4", bench.succeed(1), 0, "calls beside the second probe and the new one");
    let before = bench.metrics();
    ensure_eq!("R7", before.abandoned_count, 1, "probes whose lease ran out");
    first.success();
    let after = bench.metrics();
    ensure_eq!("R7", after, before, "what an abandoned probe's late result changed");
    second.success();
    bench.still_half_open()?;
    ensure_eq!("R7", bench.metrics().probe_successes, 1, "successes of probes that kept their slot");
    third.success();
    ensure_eq!("R7", bench.state(), CircuitState::Closed, "after {S} probes that kept their slot");
    Ok(())
}

async fn lease_is_the_longer_time(world: World) -> CaseResult {
    let one_probe = |mut setup: super::BreakerSetup| {
        setup.defaults = setup.defaults.with_half_open_max_calls(1);
        setup
    };
    // (the call's timeout, how long its slot is kept)
    for (timeout, lease) in [(None, T), (Some(SECOND), T), (Some(3 * T), 3 * T)] {
        let bench = world.bench_with(one_probe).await?;
        bench.trip_and_wait()?;
        let mut hung = Box::pin(bench.circuit.call(timeout, std::future::pending::<Result<(), ()>>));
        // Admitted now; never polled again, so that not even its own timeout can settle it.
        ensure!("R7", super::world::poll_once(&mut hung).is_pending(), "the hung probe ended");
        bench.pass(lease - NANO)?;
        ensure_eq!("R4", bench.succeed(1), 0, "calls let through before the lease of {lease:?} ends");
        bench.pass(NANO + bench.grain())?;
        ensure_eq!("R7", bench.succeed(1), 1, "calls let through after the lease of {lease:?} ended");
        bench.still_half_open()?;
        drop(hung);
        let metrics = bench.metrics();
        let counts = (metrics.abandoned_count, metrics.cancelled_count, metrics.probe_successes);
        ensure_eq!("R7", counts, (1, 0, 1), "abandoned, cancelled, successes that count");
    }
    Ok(())
}

async fn own_timeout_is_a_permits_lease(world: World) -> CaseResult {
    let bench = world
        .bench_with(|mut setup| {
            setup.defaults = setup.defaults.with_half_open_max_calls(1).with_call_timeout(Some(3 * T));
            setup
        })
        .await?;
    bench.trip_and_wait()?;
    let hung = bench.held()?;
    ensure_eq!("R4", bench.succeed(1), 0, "calls let through beside the only probe");
    bench.pass(3 * T - NANO)?;
    ensure_eq!("R7", bench.succeed(1), 0, "calls let through while a call may still take its time");
    bench.pass(NANO + bench.grain())?;
    ensure_eq!("R7", bench.succeed(1), 1, "calls let through after the circuit's own timeout");
    drop(hung);
    Ok(())
}

async fn no_probes_wedge_the_circuit(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    let mut hung = Vec::new();
    for round in 0..20 {
        // What becomes of this round's probes: settled so, or hung.
        let fate = [None, Some(Outcome::Ignored), Some(Outcome::Cancelled), None, Some(Outcome::Failure)];
        let mut ran = 0;
        while let Ok(permit) = bench.hold()
            && ran < H
        {
            ran += 1;
            match fate[round % fate.len()] {
                Some(outcome) => permit.settle(outcome),
                None => hung.push(permit),
            }
        }
        ensure!("R7", ran > 0, "round {round}: nothing runs, an open time after the last probes");
        bench.pass(T + bench.grain())?;
    }
    bench.recover()?;
    drop(hung);
    ensure_eq!("R7", bench.status(), CircuitStatus::new(CircuitState::Closed), "after late results");
    Ok(())
}

async fn extreme_limits_work(world: World) -> CaseResult {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let most = CircuitBreakerConfig::new()
        .with_failure_threshold(1_000_000)
        .with_success_threshold(100_000)
        .with_half_open_max_calls(100_000)
        .with_open_time(YEAR)
        .with_call_timeout(Some(YEAR));
    let bench = world.bench().await?;
    bench.breaker.configure_circuit_breaker(NAME, most)?;
    ensure_eq!("R17", bench.fail(1000), 1000, "failing calls far below the threshold");
    ensure_eq!("R17", bench.metrics().consecutive_failures, 1000, "failures that count");
    bench.breaker.configure_circuit_breaker(NAME, most.with_failure_threshold(1001))?;
    ensure_eq!("R12", bench.metrics().consecutive_failures, 1000, "failures that count now");
    ensure_eq!("R17", bench.fail(1), 1, "the failure at the threshold");
    let left = bench.metrics().retry_after;
    ensure!("R17", left.is_some_and(|left| left >= YEAR), "an opening of a year ends in {left:?}");
    bench.pass(YEAR - SECOND)?;
    ensure_eq!("R17", bench.state(), CircuitState::Open, "a second before a year passed");
    bench.pass(SECOND + bench.grain())?;
    let without_end = bench.circuit.call(Some(Duration::MAX), || async { Ok::<_, ()>(1) }).await;
    ensure_eq!("R17", without_end, Ok(1), "a probe with the longest timeout");
    bench.still_half_open()?;
    let held = (0..500).map(|_| bench.held()).collect::<Result<Vec<_>, _>>()?;
    held.into_iter().for_each(Permit::success);
    ensure_eq!("R17", bench.metrics().probe_successes, 501, "successes that count");
    bench.breaker.configure_circuit_breaker(NAME, most.with_success_threshold(502))?;
    ensure_eq!("R17", bench.succeed(1), 1, "the probe at the threshold");
    ensure_eq!("R17", bench.state(), CircuitState::Closed, "after 502 probes succeeded");
    let rejected = bench.circuit.call(None, || async { Err::<(), _>(()) }).await;
    ensure_eq!("R17", rejected, Err(ExecuteError::Operation(())), "the circuit works on");
    Ok(())
}
