//! Half-open: how many probes run at a time, and what becomes of a slot.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use onex_spi::breaker::{CircuitExt, CircuitState, ExecuteError, Outcome};
use tokio::sync::{mpsc, watch};

use super::world::{Bench, F, H, NAME, S, World, poll_once};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.no_herd_in_half_open", &["R4"], &["ONEX-CB-15"], |world| {
        Box::pin(no_herd_in_half_open(world))
    }),
    Case::new("breaker.racing_threads_share_the_limit", &["R4"], &["ONEX-CB-15"], |world| {
        Box::pin(racing_threads_share_the_limit(world))
    }),
    Case::new("breaker.only_needed_probes_run", &["R4"], &["ONEX-CB-15"], |world| {
        Box::pin(only_needed_probes_run(world))
    }),
    Case::new("breaker.cancelled_probe_gives_its_slot_back", &["R3"], &["ONEX-CB-09"], |world| {
        Box::pin(cancelled_probe_gives_its_slot_back(world))
    }),
    Case::new("breaker.cancelled_call_says_nothing", &["R3"], &["ONEX-CB-09"], |world| {
        Box::pin(cancelled_call_says_nothing(world))
    }),
];

const HERD: usize = 1000;
/// More than H, so that the herd cannot close the circuit with its first probes.
const SUCCESSES: u32 = 5;

/// What a task of the herd tells.
enum Told {
    Runs,
    Rejected,
}

/// Sends a herd of tasks against the circuit; each that runs waits for `gate`. How many ran.
async fn herd(bench: &Bench, gate: &watch::Receiver<bool>) -> usize {
    let (tell, mut told) = mpsc::channel(2 * HERD);
    for _ in 0..HERD {
        let (circuit, mut gate, tell) = (Arc::clone(&bench.circuit), gate.clone(), tell.clone());
        tokio::spawn(async move {
            let runs = tell.clone();
            let operation = move || async move {
                let _ = runs.send(Told::Runs).await;
                // A gate that is gone is open: the case ended early.
                let _ = gate.wait_for(|open| *open).await;
                Ok::<(), ()>(())
            };
            if let Err(ExecuteError::Rejected { .. }) = circuit.call(None, operation).await {
                let _ = tell.send(Told::Rejected).await;
            }
        });
    }
    let mut ran = 0;
    for _ in 0..HERD {
        match told.recv().await {
            Some(Told::Runs) => ran += 1,
            Some(Told::Rejected) | None => {}
        }
    }
    ran
}

/// C07
async fn no_herd_in_half_open(world: World) -> CaseResult {
    let bench = world
        .bench_with(|mut setup| {
            setup.defaults = setup.defaults.with_success_threshold(SUCCESSES);
            setup
        })
        .await?;
    bench.trip_and_wait()?;
    // (probes that must run, successes after them): 2 at a time, and at the end only the one still needed.
    for (due, successes) in [(2, 2), (2, 4), (1, 5)] {
        let (open, gate) = watch::channel(false);
        let before = bench.metrics().success_count;
        ensure_eq!("R4", herd(&bench, &gate).await, due, "of {HERD} at once, with {successes} to come");
        open.send_replace(true);
        while bench.metrics().success_count < before + due as u64 {
            tokio::task::yield_now().await;
        }
        let state = if successes == SUCCESSES { CircuitState::Closed } else { CircuitState::HalfOpen };
        ensure_eq!("R0", bench.state(), state, "after {successes} probes succeeded");
    }
    Ok(())
}

/// Two threads of the machine, outside any runtime, ask at the same moment, again and again.
async fn racing_threads_share_the_limit(world: World) -> CaseResult {
    const ROUNDS: usize = 50;
    let bench = world
        .bench_with(|mut setup| {
            setup.defaults = setup.defaults.with_half_open_max_calls(1);
            setup
        })
        .await?;
    for round in 1..=ROUNDS {
        bench.trip_and_wait()?;
        let meet = Barrier::new(2);
        let ask = || {
            meet.wait();
            bench.circuit.admit(None)
        };
        let asked = std::thread::scope(|scope| {
            let other = scope.spawn(ask);
            [Some(scope.spawn(ask).join()), Some(other.join())]
        });
        let probes: Vec<_> = asked.into_iter().flatten().flatten().flatten().collect();
        ensure_eq!("R4", probes.len(), 1, "of two threads that asked in round {round}, those that run");
        for probe in probes {
            bench.circuit.settle(probe, Outcome::Cancelled);
        }
        bench.breaker.reset_circuit_breaker(NAME)?;
    }
    Ok(())
}

async fn only_needed_probes_run(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    let probes = [bench.held()?, bench.held()?];
    ensure_eq!("R4", probes.len() as u32, H, "the limit of this case");
    let Err(rejection) = bench.hold() else {
        ensure!("R4", false, "more than {H} probes run at a time");
        return Ok(());
    };
    ensure_eq!("R10", rejection.state, CircuitState::HalfOpen, "the state that rejects");
    let [first, second] = probes;
    first.success();
    bench.still_half_open()?;
    ensure!("R4", bench.hold().is_err(), "a probe runs though the one on its way is all that is needed");
    second.settle(Outcome::Ignored);
    let metrics = bench.metrics();
    let seen = (metrics.status.state, metrics.ignored_count);
    ensure_eq!("R11", seen, (CircuitState::HalfOpen, 1), "state and ignored after an ignored probe");
    let needed = bench.held()?;
    ensure!("R4", bench.hold().is_err(), "two probes run where one is needed");
    needed.success();
    ensure_eq!("R4", bench.state(), CircuitState::Closed, "after {S} probes succeeded");
    Ok(())
}

/// C10
async fn cancelled_probe_gives_its_slot_back(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.trip_and_wait()?;
    let before = bench.metrics();
    let begun = AtomicUsize::new(0);
    for round in 1..=100 {
        let operation = || {
            begun.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<(), ()>>()
        };
        let mut probe = Box::pin(bench.circuit.call(None, operation));
        ensure!("R3", poll_once(&mut probe).is_pending(), "probe {round} was turned away");
        ensure_eq!("R3", begun.load(Ordering::Relaxed), round, "probes that began");
        drop(probe);
        ensure_eq!("R3", bench.state(), CircuitState::HalfOpen, "after probe {round} was dropped");
    }
    let after = bench.metrics();
    ensure_eq!("R3", after.cancelled_count, 100, "cancelled");
    ensure_eq!("R3", after.failure_count, before.failure_count, "failures");
    ensure_eq!("R3", after.success_count, before.success_count, "successes");
    bench.recover()
}

async fn cancelled_call_says_nothing(world: World) -> CaseResult {
    let bench = world.bench().await?;
    bench.fail(F - 1);
    for call in 1..=F {
        let permit = bench.hold();
        ensure!("R3", permit.is_ok(), "cancelled call {call}: {permit:?}");
    }
    let metrics = bench.metrics();
    let seen = (metrics.status.state, metrics.consecutive_failures, metrics.cancelled_count);
    ensure_eq!("R3", seen, (CircuitState::Closed, F - 1, u64::from(F)), "state, failures, cancelled");
    // Nor did it end the run: one more failure is the last.
    bench.fail(1);
    ensure_eq!("R3", bench.state(), CircuitState::Open, "after the failure at the threshold");
    Ok(())
}
