//! Keeping circuits: room for new ones, state over a restart, shared configurations, what is not declared.

use onex_spi::breaker::{
    BreakerFeature, CircuitSnapshot, CircuitState, CircuitStatus, CircuitTemplate, OpenBackoff, RatePolicy,
    TripPolicy, Window,
};
use onex_spi::{Effect, ErrorKind};

use super::world::{Bench, F, NAME, S, T, World, config};
use crate::suite::{Case, CaseResult, Stop, needs};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.idle_circuits_make_room", &["R15"], &["ONEX-CB-18"], |world| {
        Box::pin(idle_circuits_make_room(world))
    }),
    Case::new("breaker.only_idle_circuits_go", &["R15"], &["ONEX-CB-18"], |world| {
        Box::pin(only_idle_circuits_go(world))
    }),
    Case::new("breaker.kept_state_comes_back", &["R21"], &["ONEX-CB-16", "ONEX-CB-20"], |world| {
        Box::pin(kept_state_comes_back(world))
    }),
    Case::new("breaker.restoring_begins_an_era", &["R21"], &["ONEX-CB-10"], |world| {
        Box::pin(restoring_begins_an_era(world))
    }),
    Case::new("breaker.templates_go_by_name", &["R22"], &["ONEX-CB-17", "ONEX-CB-23"], |world| {
        Box::pin(templates_go_by_name(world))
    }),
    Case::new("breaker.undeclared_is_refused", &["R12"], &["ONEX-CB-17"], |world| {
        Box::pin(undeclared_is_refused(world))
    }),
];

async fn small(world: &World) -> Result<Bench, Stop> {
    let bench = world
        .bench_with(|mut setup| {
            setup.max_circuits = 4;
            setup
        })
        .await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Eviction)?;
    Ok(bench)
}

async fn idle_circuits_make_room(world: World) -> CaseResult {
    let bench = small(&world).await?;
    let most = bench.breaker.capabilities().limits.circuits;
    for number in 0..10 * most {
        // Nobody holds it beyond this turn.
        let made = bench.breaker.circuit(&number.to_string()).map(|_| ());
        ensure!("R15", made.is_ok(), "circuit {number} found no room beside idle ones: {made:?}");
        bench.on(&number.to_string())?.succeed(1);
        let known = bench.breaker.all_circuit_states().len();
        ensure!("R15", known <= most, "{known} circuits where {most} may be");
    }
    let gone = (0..10 * most).filter(|number| bench.breaker.find(&number.to_string()).is_none()).count();
    ensure_eq!("R15", gone, 9 * most + 1, "circuits that went; the one that is held stays");
    // Metrics went with it, and a circuit that is made again is new.
    let evicted = (0..10 * most).map(|number| number.to_string());
    let Some(name) = evicted.into_iter().find(|name| bench.breaker.find(name).is_none()) else {
        return Ok(());
    };
    let kind = bench.breaker.circuit_metrics(&name).map_err(|error| error.kind()).err();
    ensure_eq!("R15", kind, Some(ErrorKind::NotFound), "the metrics of a circuit that went");
    ensure_eq!("R15", bench.on(&name)?.metrics().admitted_count, 0, "calls of the circuit that is new");
    ensure_eq!("R15", bench.succeed(1), 1, "calls through the circuit that is held");
    Ok(())
}

async fn only_idle_circuits_go(world: World) -> CaseResult {
    let bench = small(&world).await?;
    // Nobody holds these three.
    bench.on("open")?.fail(F);
    bench.on("failing")?.fail(1);
    bench.on("forced")?.breaker.force_circuit_open("forced")?;
    let refused = || match bench.breaker.circuit("new") {
        Ok(_) => {
            ensure!("R15", false, "a circuit that is not idle made room");
            Ok(())
        }
        Err(error) => {
            let seen = (error.kind(), error.effect());
            ensure_eq!("R15", seen, (ErrorKind::ResourceExhausted, Effect::NotApplied), "a fifth circuit");
            Ok(())
        }
    };
    refused()?;
    let states = bench.breaker.all_circuit_states();
    let state = |name: &str| states.get(name).copied();
    ensure_eq!("R15", state("open"), Some(CircuitStatus::new(CircuitState::Open)), "the open one");
    ensure_eq!("R15", state("forced"), Some(CircuitStatus::forced(CircuitState::Open)), "the forced one");
    ensure_eq!("R15", states.len(), 4, "circuits");
    // Idle, but given a configuration by its name, which would be lost.
    bench.breaker.reset_circuit_breaker("failing")?;
    bench.breaker.configure_circuit_breaker("failing", config().with_failure_threshold(F + 1))?;
    refused()?;
    bench.breaker.reset_circuit_breaker("open")?;
    let new = bench.breaker.circuit("new").map(|_| ());
    ensure!("R15", new.is_ok(), "no room though one circuit is idle: {new:?}");
    ensure!("R15", bench.breaker.find("open").is_none(), "the idle one stayed, and another went");
    Ok(())
}

/// Brings the suite's circuit into a state.
type Prepare = fn(&Bench) -> CaseResult;

async fn kept_state_comes_back(world: World) -> CaseResult {
    let prepare: [(&str, Prepare); 5] = [
        ("closed", |bench| {
            bench.fail(F - 1);
            Ok(())
        }),
        ("open", |bench| {
            bench.trip()?;
            bench.pass(T / 4)
        }),
        ("half-open", |bench| {
            bench.trip_and_wait()?;
            ensure_eq!("R0", bench.succeed(S - 1), S - 1, "probes");
            Ok(())
        }),
        ("forced open", |bench| Ok(bench.breaker.force_circuit_open(NAME)?)),
        ("forced closed", |bench| Ok(bench.breaker.force_circuit_closed(NAME)?)),
    ];
    for (what, prepare) in prepare {
        let kept = world.bench().await?;
        needs(kept.breaker.capabilities().features, BreakerFeature::Snapshots)?;
        prepare(&kept)?;
        let before = kept.metrics();
        let snapshot = kept.breaker.circuit_snapshot(NAME)?;
        ensure_eq!("R21", snapshot.status, kept.status(), "{what}: the status that is kept");
        ensure_eq!("R21", kept.metrics(), before, "{what}: keeping changes nothing");
        // Another process: another breaker, another clock, no such circuit yet.
        let bench = world.bench().await?;
        bench.breaker.restore_circuit("restored", &snapshot)?;
        let bench = bench.on("restored")?;
        ensure_eq!("R21", bench.status(), snapshot.status, "{what}: the status that came back");
        let metrics = bench.metrics();
        let counting = (metrics.consecutive_failures, metrics.probe_successes, metrics.openings);
        let due = (before.consecutive_failures, before.probe_successes, before.openings);
        ensure_eq!("R21", counting, due, "{what}: failures, successes and openings that count");
        ensure_eq!("R21", metrics.admitted_count, 0, "{what}: totals are not kept");
        // And it goes on as the one that was kept would.
        match what {
            "closed" => {
                bench.fail(1);
                ensure_eq!(
                    "R21",
                    bench.state(),
                    CircuitState::Open,
                    "{what}: after the failure at the threshold"
                );
            }
            "open" => {
                let left = metrics.retry_after;
                let due = T - T / 4..=T - T / 4 + 2 * bench.grain();
                ensure!("R21", left.is_some_and(|left| due.contains(&left)), "{what}: {left:?} are left");
            }
            "half-open" => {
                ensure_eq!("R21", bench.succeed(1), 1, "{what}: the probe that is missing");
                ensure_eq!("R21", bench.state(), CircuitState::Closed, "{what}: after it");
            }
            _ => {
                let runs = u32::from(snapshot.status.state == CircuitState::Closed);
                ensure_eq!("R21", bench.succeed(1), runs, "{what}: calls that run");
            }
        }
    }
    Ok(())
}

async fn restoring_begins_an_era(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Snapshots)?;
    let snapshot = CircuitSnapshot::new(CircuitStatus::new(CircuitState::Closed));
    let late = bench.held()?;
    bench.succeed(3);
    bench.breaker.restore_circuit(NAME, &snapshot.with_consecutive_failures(F - 1))?;
    ensure_eq!("R21", bench.metrics().consecutive_failures, F - 1, "failures that count");
    ensure_eq!("R21", bench.metrics().success_count, 3, "totals stay");
    late.failure();
    ensure_eq!("R2", bench.state(), CircuitState::Closed, "after a failure from before");
    let bad = [
        ("open_for", CircuitSnapshot::new(CircuitStatus::new(CircuitState::Open))),
        ("consecutive_failures", snapshot.with_consecutive_failures(u32::MAX)),
        ("half_open", CircuitSnapshot::new(CircuitStatus::forced(CircuitState::HalfOpen))),
    ];
    for (field, snapshot) in bad {
        let Err(error) = bench.breaker.restore_circuit("never", &snapshot) else {
            ensure!("R21", false, "{field}: {snapshot:?} was restored");
            continue;
        };
        ensure_eq!("R21", error.kind(), ErrorKind::InvalidInput, "{field}");
        ensure!("R21", error.message().contains(field), "{field}: {error}");
    }
    ensure!("R21", bench.breaker.find("never").is_none(), "a refused state made a circuit");
    Ok(())
}

async fn templates_go_by_name(world: World) -> CaseResult {
    let bench = world
        .bench_with(|mut setup| {
            setup.templates = vec![
                CircuitTemplate::new("template.*.slow", config().with_failure_threshold(F + 2)),
                CircuitTemplate::new("template.*", config().with_failure_threshold(F - 1)),
            ];
            setup
        })
        .await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Templates)?;
    let names = [(NAME, F), ("template.a.slow", F + 2), ("template.a", F - 1), ("other.template.a", F)];
    for (name, threshold) in names {
        let bench = bench.on(name)?;
        bench.fail(threshold - 1);
        ensure_eq!("R22", bench.state(), CircuitState::Closed, "{name} after {} failures", threshold - 1);
        bench.fail(1);
        ensure_eq!("R22", bench.state(), CircuitState::Open, "{name} after {threshold} failures");
    }
    // What is configured by name stands above a template.
    needs(bench.breaker.capabilities().features, BreakerFeature::Reconfiguration)?;
    bench.breaker.configure_circuit_breaker("template.b", config())?;
    let bench = bench.on("template.b")?;
    bench.fail(F - 1);
    ensure_eq!("R22", bench.state(), CircuitState::Closed, "a circuit with a configuration of its own");
    Ok(())
}

async fn undeclared_is_refused(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let declared = bench.breaker.capabilities().features;
    let rates = |policy: RatePolicy| config().with_trip(TripPolicy::Rates(policy.with_failure_rate(0.5)));
    let slow = RatePolicy::new(Window::Calls(10)).with_slow_calls(0.5, T);
    let configs = [
        rates(RatePolicy::new(Window::Calls(10))),
        rates(RatePolicy::new(Window::Time(T))),
        rates(slow),
        config().with_open_backoff(Some(OpenBackoff::new(2.0, T))),
        config().with_observe_only(true),
    ];
    for config in configs {
        let missing: Vec<_> = config.features().iter().filter(|feature| !declared.has(*feature)).collect();
        let answer = bench.breaker.configure_circuit_breaker("new", config).map_err(|error| error.kind());
        if missing.is_empty() {
            ensure_eq!("R12", answer, Ok(()), "{config:?}, for which everything is declared");
            ensure_eq!("R12", bench.on("new")?.circuit.config(), config, "the configuration in force");
        } else {
            ensure_eq!("R12", answer, Err(ErrorKind::Unsupported), "a configuration that needs {missing:?}");
        }
    }
    let unsupported = Err(ErrorKind::Unsupported);
    if !declared.has(BreakerFeature::Snapshots) {
        let answer = bench.breaker.circuit_snapshot(NAME).map(|_| ()).map_err(|error| error.kind());
        ensure_eq!("R12", answer, unsupported, "keeping the state");
        let snapshot = CircuitSnapshot::new(CircuitStatus::forced(CircuitState::Open));
        let answer = bench.breaker.restore_circuit("kept", &snapshot).map_err(|error| error.kind());
        ensure_eq!("R12", answer, unsupported, "giving back a state");
        ensure!("R12", bench.breaker.find("kept").is_none(), "a refused state made a circuit");
    }
    ensure_eq!("R12", bench.succeed(1), 1, "calls");
    Ok(())
}
