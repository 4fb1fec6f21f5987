//! How long openings last: growing, by chance, as a result asks; and circuits that are only observed.

use std::time::Duration;

use onex_spi::breaker::{
    BreakerFeature, CircuitExt, CircuitSnapshot, CircuitState, CircuitStatus, ExecuteError, OpenBackoff,
    Outcome, TransitionCause,
};

use super::world::{Bench, F, NAME, S, T, World, config};
use crate::suite::{Case, CaseResult, needs};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.openings_grow_to_the_cap", &["R19"], &["ONEX-CB-03"], |world| {
        Box::pin(openings_grow_to_the_cap(world))
    }),
    Case::new("breaker.chance_stays_in_its_share", &["R19"], &["ONEX-CB-03"], |world| {
        Box::pin(chance_stays_in_its_share(world))
    }),
    Case::new("breaker.result_opens_at_once", &["R20"], &["ONEX-CB-05", "ONEX-CB-26"], |world| {
        Box::pin(result_opens_at_once(world))
    }),
    Case::new(
        "breaker.result_of_another_era_opens_nothing",
        &["R2", "R8", "R20"],
        &["ONEX-CB-10"],
        |world| Box::pin(result_of_another_era_opens_nothing(world)),
    ),
    Case::new("breaker.extreme_openings_work", &["R17"], &["ONEX-CB-17"], |world| {
        Box::pin(extreme_openings_work(world))
    }),
    Case::new("breaker.observed_circuit_rejects_nothing", &["R1", "R23"], &["ONEX-CB-04"], |world| {
        Box::pin(observed_circuit_rejects_nothing(world))
    }),
];

const SECOND: Duration = Duration::from_secs(1);

/// Checks that the circuit is open for `time`, give or take the grain, and lets it pass.
fn lasts(bench: &Bench, law: Law, time: Duration, what: &str) -> CaseResult {
    let left = bench.metrics().retry_after;
    let right = left.is_some_and(|left| (time..=time + bench.grain()).contains(&left));
    law(right, format!("{what} lasts {left:?} and not {time:?}"))?;
    bench.pass(time - Duration::from_nanos(1))?;
    law(bench.state() == CircuitState::Open, format!("{what} ends before {time:?}"))?;
    bench.pass(Duration::from_nanos(1) + bench.grain())?;
    law(bench.state() == CircuitState::HalfOpen, format!("{what} is not over after {time:?}"))
}

type Law = fn(bool, String) -> CaseResult;

fn r19(holds: bool, message: String) -> CaseResult {
    ensure!("R19", holds, "{message}");
    Ok(())
}

fn r20(holds: bool, message: String) -> CaseResult {
    ensure!("R20", holds, "{message}");
    Ok(())
}

async fn openings_grow_to_the_cap(world: World) -> CaseResult {
    let backoff = OpenBackoff::new(2.0, 5 * T);
    let bench = world.bench().await?.configured(config().with_open_backoff(Some(backoff)))?;
    for round in 0..2 {
        ensure_eq!("R19", bench.fail(F), F, "failing calls of round {round}");
        for (times, opening) in [(1, "the first"), (2, "the second"), (4, "the third"), (5, "the fourth")] {
            lasts(&bench, r19, times * T, &format!("{opening} opening of round {round}"))?;
            ensure_eq!("R19", bench.fail(1), 1, "the probe that fails");
        }
        lasts(&bench, r19, 5 * T, "the opening at the cap")?;
        // Closing begins anew.
        bench.recover()?;
    }
    bench.fail(F);
    bench.pass(T + bench.grain())?;
    bench.fail(1);
    bench.breaker.reset_circuit_breaker(NAME)?;
    bench.fail(F);
    lasts(&bench, r19, T, "the first opening after reset")
}

async fn chance_stays_in_its_share(world: World) -> CaseResult {
    const OPENINGS: u32 = 40;
    let backoff = OpenBackoff::new(1.0, T).with_jitter(0.5);
    let bench = world.bench().await?.configured(config().with_open_backoff(Some(backoff)))?;
    bench.fail(F);
    let mut drawn = Vec::new();
    for opening in 1..=OPENINGS {
        let left = bench.metrics().retry_after.unwrap_or_default();
        let range = T / 2..=T + bench.grain();
        ensure!("R19", range.contains(&left), "opening {opening} lasts {left:?} and not {range:?}");
        drawn.push(left);
        bench.pass(T + bench.grain())?;
        ensure_eq!("R19", bench.fail(1), 1, "the probe that fails");
    }
    drawn.sort();
    drawn.dedup();
    // Of 40 draws from 5,000 milliseconds hardly two are the same.
    ensure!("R19", drawn.len() > 30, "only {} lengths in {OPENINGS} openings", drawn.len());
    let spread = drawn.last().zip(drawn.first()).map(|(most, least)| *most - *least);
    ensure!("R19", spread > Some(T / 5), "the lengths are all within {spread:?}");
    Ok(())
}

async fn result_opens_at_once(world: World) -> CaseResult {
    let bench = world.bench().await?.configured(config().with_trip_wait_cap(9 * T))?;
    needs(bench.breaker.capabilities().features, BreakerFeature::TripAtOnce)?;
    // As an HTTP client classes a 429 or a 503 that names its wait.
    let too_many = || async { Ok::<_, ()>(429) };
    let classed = bench.circuit.call_classified(None, too_many, |_| Outcome::Trip { wait: Some(3 * T) });
    ensure_eq!("R20", classed.await, Ok(429), "the result reaches the caller");
    let metrics = bench.metrics();
    let counts = (metrics.failure_count, metrics.success_count, metrics.admitted_count);
    ensure_eq!("R20", counts, (1, 0, 1), "failed, succeeded, admitted");
    let cause = metrics.recent_transitions.last().map(|change| change.cause);
    ensure_eq!("R20", cause, Some(TransitionCause::Trip), "why");
    let rejected = bench.call(Ok(1)).await;
    ensure!("R20", matches!(rejected, Err(ExecuteError::Rejected { .. })), "the next call: {rejected:?}");
    lasts(&bench, r20, 3 * T, "an opening with its own wait")?;
    // (what a probe asks for, what it gets)
    for (wait, time) in
        [(None, T), (Some(SECOND), SECOND), (Some(Duration::MAX), 9 * T), (Some(2 * T), 2 * T)]
    {
        ensure_eq!("R20", bench.settle(1, Outcome::Trip { wait }), 1, "the probe that trips");
        ensure_eq!("R20", bench.state(), CircuitState::Open, "after a probe asked for {wait:?}");
        lasts(&bench, r20, time, &format!("an opening for which {wait:?} was asked"))?;
    }
    bench.recover()
}

async fn result_of_another_era_opens_nothing(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::TripAtOnce)?;
    let [first, late, later] = [bench.held()?, bench.held()?, bench.held()?];
    first.trip(Some(T));
    ensure_eq!("R20", bench.state(), CircuitState::Open, "after the first result");
    // Calls of a burst that all get their 429: the first has said it.
    late.trip(Some(4 * T));
    let left = bench.metrics().retry_after;
    ensure!("R2", left <= Some(T + bench.grain()), "a late result prolongs the opening to {left:?}");
    bench.pass(T + bench.grain())?;
    let probe = bench.held()?;
    later.trip(None);
    ensure_eq!("R2", bench.state(), CircuitState::HalfOpen, "after a result of an earlier era");
    ensure_eq!("R2", bench.metrics().failure_count, 3, "failures ever");
    drop(probe);
    bench.breaker.force_circuit_closed(NAME)?;
    bench.settle(1, Outcome::Trip { wait: None });
    ensure_eq!("R8", bench.status(), CircuitStatus::forced(CircuitState::Closed), "forced states are sticky");
    Ok(())
}

async fn extreme_openings_work(world: World) -> CaseResult {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let most = OpenBackoff::new(100.0, YEAR).with_jitter(1.0);
    let bench = world.bench().await?;
    let bench = bench.configured(config().with_open_backoff(Some(most)).with_trip_wait_cap(YEAR))?;
    let within = |when: &str| {
        let left = bench.metrics().retry_after;
        let right = left.is_some_and(|left| !left.is_zero() && left <= YEAR + bench.grain());
        ensure!("R17", right, "{when} lasts {left:?}, where at most a year may");
        bench.pass(YEAR + bench.grain())
    };
    bench.fail(F);
    for opening in 1..=12 {
        within(&format!("opening {opening}"))?;
        ensure_eq!("R17", bench.fail(1), 1, "the probe that fails");
    }
    within("the opening that grew the most")?;
    bench.settle(1, Outcome::Trip { wait: Some(Duration::MAX) });
    within("an opening for which all of time was asked")?;
    if bench.breaker.capabilities().features.has(BreakerFeature::Snapshots) {
        let open = CircuitSnapshot::new(CircuitStatus::new(CircuitState::Open));
        let longest = open.with_open_for(Some(YEAR)).with_openings(u32::MAX);
        bench.breaker.restore_circuit(NAME, &longest)?;
        bench.pass(YEAR + bench.grain())?;
        ensure_eq!("R17", bench.fail(1), 1, "the probe that fails");
        within("the opening after more than can be counted")?;
    }
    Ok(())
}

async fn observed_circuit_rejects_nothing(world: World) -> CaseResult {
    let bench = world.bench().await?.configured(config().with_observe_only(true))?;
    ensure_eq!("R23", bench.fail(F), F, "failing calls");
    ensure_eq!("R23", bench.state(), CircuitState::Open, "an observed circuit opens as any other");
    ensure_eq!("R23", bench.settle(5, Outcome::TimedOut), 5, "calls that run though the circuit is open");
    let metrics = bench.metrics();
    let counts = (metrics.would_reject_count, metrics.rejected_count, metrics.timeout_count);
    ensure_eq!("R23", counts, (5, 0, 5), "would reject, rejected, ran out of time");
    ensure_eq!("R23", bench.state(), CircuitState::Open, "what would not have run decides nothing");
    bench.pass(T + bench.grain())?;
    let probes = [bench.held()?, bench.held()?];
    let beyond = bench.hold();
    ensure!("R23", beyond.is_ok(), "a call beside the probes was rejected: {beyond:?}");
    beyond.into_iter().for_each(|call| call.settle(Outcome::TimedOut));
    ensure_eq!("R23", bench.state(), CircuitState::HalfOpen, "a call that is no probe decides nothing");
    for probe in probes {
        probe.success();
    }
    ensure_eq!("R23", bench.state(), CircuitState::Closed, "after {S} probes succeeded");
    let metrics = bench.metrics();
    let outcomes = metrics.success_count + metrics.failure_count + metrics.timeout_count;
    ensure_eq!("R1", metrics.admitted_count, outcomes, "admitted and the sum of the outcomes");
    ensure_eq!("R23", metrics.would_reject_count, 6, "calls that would have been rejected");
    // An order is no decision.
    bench.breaker.force_circuit_open(NAME)?;
    ensure_eq!("R23", bench.succeed(1), 0, "calls that run though the circuit was forced open");
    Ok(())
}
