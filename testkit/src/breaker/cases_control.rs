//! What operators do: force, reset, configure.

use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::breaker::{BreakerFeature, CircuitState, CircuitStatus, Outcome};

use super::world::{Bench, F, H, NAME, S, T, World, config};
use crate::suite::{Case, CaseResult, needs};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.force_open_is_sticky", &["R8", "R9"], &["ONEX-CB-22"], |world| {
        Box::pin(force_open_is_sticky(world))
    }),
    Case::new("breaker.force_closed_is_sticky", &["R8", "R9"], &["ONEX-CB-22"], |world| {
        Box::pin(force_closed_is_sticky(world))
    }),
    Case::new("breaker.one_force_leaves_the_other", &["R8"], &["ONEX-CB-22"], |world| {
        Box::pin(one_force_leaves_the_other(world))
    }),
    Case::new("breaker.reset_from_every_state", &["R9"], &["ONEX-CB-19"], |world| {
        Box::pin(reset_from_every_state(world))
    }),
    Case::new("breaker.reset_begins_an_era", &["R2", "R9"], &["ONEX-CB-19"], |world| {
        Box::pin(reset_begins_an_era(world))
    }),
    Case::new("breaker.reconfiguration_keeps_state", &["R12"], &["ONEX-CB-17"], |world| {
        Box::pin(reconfiguration_keeps_state(world))
    }),
    Case::new("breaker.bad_configuration_is_refused", &["R12"], &["ONEX-CB-17"], |world| {
        Box::pin(bad_configuration_is_refused(world))
    }),
    Case::new("breaker.lower_limits_apply_to_the_next_call", &["R12"], &["ONEX-CB-17"], |world| {
        Box::pin(lower_limits_apply_to_the_next_call(world))
    }),
];

/// C14
async fn force_open_is_sticky(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let [one, two] = [bench.held()?, bench.held()?];
    bench.breaker.force_circuit_open(NAME)?;
    let forced = CircuitStatus::forced(CircuitState::Open);
    ensure_eq!("R8", bench.status(), forced, "after forcing");
    bench.pass(1000 * T)?;
    one.success();
    two.failure();
    let metrics = bench.metrics();
    ensure_eq!("R8", (metrics.success_count, metrics.failure_count), (1, 1), "totals go on");
    for _ in 0..10 {
        let Err(rejection) = bench.hold() else {
            ensure!("R8", false, "a circuit that was forced open let a call through after 1000 open times");
            continue;
        };
        let seen = (rejection.state, rejection.forced, rejection.retry_after);
        ensure_eq!("R8", seen, (CircuitState::Open, true, None), "the rejection");
    }
    ensure_eq!("R8", bench.breaker.circuit_state(NAME)?, forced, "after time and results");
    bench.breaker.reset_circuit_breaker(NAME)?;
    ensure_eq!("R9", bench.status(), CircuitStatus::new(CircuitState::Closed), "after reset");
    ensure_eq!("R9", bench.succeed(1), 1, "calls after reset");
    Ok(())
}

/// C15
async fn force_closed_is_sticky(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip()?;
    bench.breaker.force_circuit_closed(NAME)?;
    let forced = CircuitStatus::forced(CircuitState::Closed);
    let before = bench.metrics().failure_count;
    ensure_eq!("R8", bench.fail(100), 100, "calls that run though they fail");
    bench.pass(1000 * T)?;
    ensure_eq!("R8", bench.status(), forced, "after 100 failures and time");
    let metrics = bench.metrics();
    ensure_eq!("R8", metrics.consecutive_failures, 0, "failures that count");
    ensure_eq!("R8", metrics.failure_count, before + 100, "totals go on");
    bench.breaker.reset_circuit_breaker(NAME)?;
    bench.fail(F - 1);
    ensure_eq!("R9", bench.status(), CircuitStatus::new(CircuitState::Closed), "{} failures later", F - 1);
    bench.fail(1);
    ensure_eq!("R9", bench.state(), CircuitState::Open, "after {F} failures since the reset");
    Ok(())
}

async fn one_force_leaves_the_other(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let breaker = &bench.breaker;
    breaker.force_circuit_open(NAME)?;
    let changes = bench.metrics().state_transitions;
    breaker.force_circuit_open(NAME)?;
    ensure_eq!("R8", bench.metrics().state_transitions, changes, "forcing the same again is no change");
    breaker.force_circuit_closed(NAME)?;
    ensure_eq!("R8", bench.status(), CircuitStatus::forced(CircuitState::Closed), "forced closed");
    ensure_eq!("R8", bench.succeed(1), 1, "calls while forced closed");
    breaker.force_circuit_open(NAME)?;
    ensure_eq!("R8", bench.status(), CircuitStatus::forced(CircuitState::Open), "forced open again");
    ensure_eq!("R8", bench.succeed(1), 0, "calls while forced open");
    Ok(())
}

/// Brings a circuit into a state.
type Prepare = fn(&Bench) -> CaseResult;

/// C16
async fn reset_from_every_state(world: World) -> CaseResult {
    let prepare: [(&str, Prepare); 6] = [
        ("closed", |bench| {
            bench.fail(F - 1);
            Ok(())
        }),
        ("open", Bench::trip),
        ("open past its time", Bench::trip_and_wait),
        ("half-open", |bench| {
            bench.trip_and_wait()?;
            ensure_eq!("R0", bench.succeed(S - 1), S - 1, "probes");
            bench.still_half_open()
        }),
        ("forced open", |bench| {
            bench.fail(F - 1);
            Ok(bench.breaker.force_circuit_open("forced open")?)
        }),
        ("forced closed", |bench| {
            bench.trip()?;
            Ok(bench.breaker.force_circuit_closed("forced closed")?)
        }),
    ];
    let bench = world.bench().await?;
    for (name, prepare) in prepare {
        let bench = bench.on(name)?;
        prepare(&bench)?;
        let before = bench.metrics();
        bench.breaker.reset_circuit_breaker(name)?;
        let after = bench.metrics();
        ensure_eq!("R9", after.status, CircuitStatus::new(CircuitState::Closed), "{name}, then reset");
        let counting = (after.consecutive_failures, after.probe_successes);
        ensure_eq!("R9", counting, (0, 0), "{name}: failures and successes that count");
        let totals = |metrics: &onex_spi::breaker::CircuitMetrics| {
            (metrics.admitted_count, metrics.success_count, metrics.failure_count, metrics.rejected_count)
        };
        ensure_eq!("R9", totals(&after), totals(&before), "{name}: totals");
        ensure_eq!("R9", bench.fail(F - 1), F - 1, "{name}: calls after reset");
        ensure_eq!("R9", bench.state(), CircuitState::Closed, "{name}: {} failures after reset", F - 1);
        bench.fail(1);
        ensure_eq!("R9", bench.state(), CircuitState::Open, "{name}: {F} failures after reset");
    }
    Ok(())
}

async fn reset_begins_an_era(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let [late, later] = [bench.held()?, bench.held()?];
    bench.fail(F - 1);
    bench.breaker.reset_circuit_breaker(NAME)?;
    ensure_eq!("R9", bench.metrics().consecutive_failures, 0, "failures that count after the reset");
    bench.fail(F - 1);
    late.failure();
    let seen = (bench.state(), bench.metrics().consecutive_failures);
    ensure_eq!("R2", seen, (CircuitState::Closed, F - 1), "after a failure from before the reset");
    later.success();
    ensure_eq!("R2", bench.metrics().consecutive_failures, F - 1, "after a success from before the reset");

    let bench = bench.on("half-open")?;
    bench.trip_and_wait()?;
    let probes = (0..H).map(|_| bench.held()).collect::<Result<Vec<_>, _>>()?;
    bench.breaker.reset_circuit_breaker("half-open")?;
    for probe in probes {
        probe.failure();
    }
    let seen = (bench.state(), bench.metrics().consecutive_failures);
    ensure_eq!("R2", seen, (CircuitState::Closed, 0), "after the failures of probes from before the reset");
    Ok(())
}

/// C19
async fn reconfiguration_keeps_state(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Reconfiguration)?;
    let configure = |config| bench.breaker.configure_circuit_breaker(NAME, config);
    let held = bench.held()?;
    bench.fail(F - 1);
    configure(config().with_failure_threshold(F + 2))?;
    ensure_eq!("R12", bench.metrics().consecutive_failures, F - 1, "failures that count");
    bench.fail(1);
    held.failure();
    ensure_eq!("R12", bench.state(), CircuitState::Closed, "after {} failures of {}", F + 1, F + 2);
    bench.fail(1);
    ensure_eq!("R12", bench.state(), CircuitState::Open, "after {} failures of the same run", F + 2);

    configure(config().with_open_time(T / 2))?;
    bench.pass(T - Duration::from_secs(1))?;
    ensure_eq!("R12", bench.state(), CircuitState::Open, "this opening keeps its deadline");
    bench.pass(Duration::from_secs(1) + bench.grain())?;
    ensure_eq!("R12", bench.fail(1), 1, "the probe that fails");
    bench.pass(T / 2 + bench.grain())?;
    ensure_eq!("R12", bench.state(), CircuitState::HalfOpen, "the next opening takes the new time");
    ensure_eq!("R12", bench.succeed(1), 1, "probes");
    bench.still_half_open()?;
    configure(config())?;
    let seen = (bench.state(), bench.metrics().probe_successes);
    ensure_eq!("R12", seen, (CircuitState::HalfOpen, 1), "half-open keeps its successes");
    Ok(())
}

async fn bad_configuration_is_refused(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Reconfiguration)?;
    bench.fail(F - 1);
    let bad = [
        ("failure_threshold", config().with_failure_threshold(0)),
        ("success_threshold", config().with_success_threshold(0)),
        ("half_open_max_calls", config().with_half_open_max_calls(0)),
        ("open_time", config().with_open_time(Duration::ZERO)),
        ("call_timeout", config().with_call_timeout(Some(Duration::ZERO))),
        ("failure_threshold", config().with_failure_threshold(u32::MAX)),
        ("open_time", config().with_open_time(Duration::MAX)),
    ];
    for (field, config) in bad {
        for name in [NAME, "never configured"] {
            let Err(error) = bench.breaker.configure_circuit_breaker(name, config) else {
                ensure!("R12", false, "{field}: {config:?} was accepted");
                continue;
            };
            ensure_eq!("R12", error.kind(), ErrorKind::InvalidInput, "{field}");
            ensure!("R12", error.message().contains(field), "{field}: {error}");
        }
    }
    ensure!(
        "R12",
        bench.breaker.find("never configured").is_none(),
        "a refused configuration made a circuit"
    );
    ensure_eq!("R12", bench.metrics().consecutive_failures, F - 1, "failures that count");
    bench.fail(1);
    ensure_eq!("R12", bench.state(), CircuitState::Open, "the old configuration is in force");
    Ok(())
}

async fn lower_limits_apply_to_the_next_call(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Reconfiguration)?;
    let configure = |config| bench.breaker.configure_circuit_breaker(NAME, config);
    configure(config().with_success_threshold(4))?;
    bench.trip_and_wait()?;
    let [probe, other] = [bench.held()?, bench.held()?];
    ensure!("R4", bench.hold().is_err(), "three probes run where two may");
    configure(config().with_success_threshold(4).with_half_open_max_calls(1))?;
    ensure_eq!("R12", bench.state(), CircuitState::HalfOpen, "a configuration changes no state");
    other.success();
    bench.still_half_open()?;
    ensure!("R12", bench.hold().is_err(), "a probe runs above the new limit");
    probe.success();
    ensure_eq!("R12", bench.succeed(1), 1, "the next probe, alone");
    // Three succeeded; two are asked for now: the next call decides, and nothing is wedged.
    configure(config())?;
    ensure_eq!("R12", bench.state(), CircuitState::HalfOpen, "a configuration alone closes nothing");
    ensure_eq!("R12", bench.succeed(1), 1, "the probe that decides");
    ensure_eq!("R12", bench.state(), CircuitState::Closed, "after it");
    configure(config().with_failure_threshold(F + 2))?;
    bench.fail(F + 1);
    configure(config())?;
    ensure_eq!("R12", bench.state(), CircuitState::Closed, "a configuration alone opens nothing");
    bench.settle(1, Outcome::TimedOut);
    ensure_eq!("R12", bench.state(), CircuitState::Open, "after the next failure");
    Ok(())
}
