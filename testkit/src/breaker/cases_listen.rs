//! Listeners: in order, outside locks, free to call the breaker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use onex_spi::breaker::{
    BreakerFeature, CircuitBreaker, CircuitListener, CircuitState, CircuitStatus, Outcome, Transition,
    TransitionCause,
};

use super::world::{Bench, F, NAME, World};
use crate::ensure_eq;
use crate::suite::{Case, CaseResult, needs};

pub(super) const CASES: &[Case<World>] = &[
    Case::new("breaker.listener_sees_changes_in_order", &["R14"], &["ONEX-CB-24"], |world| {
        Box::pin(listener_sees_changes_in_order(world))
    }),
    Case::new("breaker.listener_runs_outside_locks", &["R14"], &["ONEX-CB-04"], |world| {
        Box::pin(listener_runs_outside_locks(world))
    }),
    Case::new("breaker.listener_may_change_a_state", &["R14"], &["ONEX-CB-04"], |world| {
        Box::pin(listener_may_change_a_state(world))
    }),
    Case::new("breaker.listener_panic_stays_its_own", &["R14"], &["ONEX-CB-04"], |world| {
        Box::pin(listener_panic_stays_its_own(world))
    }),
];

/// Keeps what it is told.
#[derive(Default)]
struct Log(Mutex<Vec<(String, Transition)>>);

impl Log {
    fn of(&self, circuit: &str) -> Vec<Transition> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|(name, _)| name == circuit).map(|(_, change)| *change).collect()
    }
}

impl CircuitListener for Log {
    fn changed(&self, circuit: &str, transition: &Transition) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push((circuit.to_owned(), *transition));
    }
}

fn listening(bench: &Bench, listener: Arc<dyn CircuitListener>) -> CaseResult {
    needs(bench.breaker.capabilities().features, BreakerFeature::Listeners)?;
    Ok(bench.breaker.listen(listener)?)
}

async fn listener_sees_changes_in_order(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let log = Arc::new(Log::default());
    listening(&bench, Arc::clone(&log) as _)?;
    bench.trip_and_wait()?;
    bench.recover()?;
    let other = bench.on("other")?;
    other.settle(F, Outcome::TimedOut);
    for _ in 0..3 {
        bench.breaker.force_circuit_open(NAME)?;
        other.breaker.force_circuit_open("other")?;
        bench.breaker.reset_circuit_breaker(NAME)?;
        other.breaker.reset_circuit_breaker("other")?;
    }
    for (circuit, changes) in [(&bench, 9), (&other, 7)] {
        let (told, metrics) = (log.of(circuit.circuit.name()), circuit.metrics());
        ensure_eq!("R14", told.len(), changes, "changes of {} that were told", circuit.circuit.name());
        ensure_eq!("R14", told, metrics.recent_transitions, "what was told and what happened, in order");
        let numbers: Vec<_> = told.iter().map(|change| change.sequence).collect();
        ensure_eq!("R14", numbers, (1..=changes as u64).collect::<Vec<_>>(), "numbers");
    }
    Ok(())
}

/// While it is told, lets another thread use the same circuit.
struct Elsewhere {
    breaker: Arc<dyn CircuitBreaker>,
    free: Arc<OnceLock<bool>>,
}

impl CircuitListener for Elsewhere {
    fn changed(&self, circuit: &str, _transition: &Transition) {
        if self.free.get().is_some() {
            return;
        }
        let (done, ended) = mpsc::channel();
        let (breaker, name) = (Arc::clone(&self.breaker), circuit.to_owned());
        let thread = std::thread::spawn(move || {
            let metrics = breaker.circuit_metrics(&name).is_ok();
            let configured = breaker.circuit(&name).is_ok();
            // Nobody listens any more where this took too long.
            let _ = done.send(metrics && configured);
        });
        // Long enough for any machine; a breaker that tells outside its locks never waits for it.
        let free = ended.recv_timeout(Duration::from_secs(2)).unwrap_or(false);
        let _ = self.free.set(free);
        // What waited for a lock ends once this listener returned: it is not waited for here.
        drop(thread);
    }
}

async fn listener_runs_outside_locks(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let free = Arc::new(OnceLock::new());
    listening(&bench, Arc::new(Elsewhere { breaker: Arc::clone(&bench.breaker), free: Arc::clone(&free) }))?;
    bench.trip()?;
    ensure_eq!("R14", free.get(), Some(&true), "another thread uses the circuit while the listener runs");
    Ok(())
}

/// Undoes the first opening it is told of.
struct Undo {
    breaker: Arc<dyn CircuitBreaker>,
    log: Log,
    undone: AtomicBool,
}

impl CircuitListener for Undo {
    fn changed(&self, circuit: &str, transition: &Transition) {
        let opened = transition.to == CircuitStatus::new(CircuitState::Open);
        if opened && !self.undone.swap(true, Ordering::AcqRel) {
            // What came of it is read by the case.
            let _ = self.breaker.reset_circuit_breaker(circuit);
        }
        self.log.changed(circuit, transition);
    }
}

async fn listener_may_change_a_state(world: World) -> CaseResult {
    let bench = world.bench().await?;
    needs(bench.breaker.capabilities().features, BreakerFeature::Listeners)?;
    let free = Arc::new(OnceLock::new());
    // Asked first from another thread: a breaker that holds a lock now would wait for itself below.
    listening(&bench, Arc::new(Elsewhere { breaker: Arc::clone(&bench.breaker), free: Arc::clone(&free) }))?;
    bench.on("elsewhere")?.settle(F, Outcome::TimedOut);
    ensure_eq!("R14", free.get(), Some(&true), "another thread uses the circuit while the listener runs");
    let (breaker, undone) = (Arc::clone(&bench.breaker), AtomicBool::new(false));
    let undo = Arc::new(Undo { breaker, log: Log::default(), undone });
    listening(&bench, Arc::clone(&undo) as _)?;
    bench.fail(F);
    ensure_eq!("R14", bench.status(), CircuitStatus::new(CircuitState::Closed), "after the listener's reset");
    let causes: Vec<_> = undo.log.of(NAME).iter().map(|change| change.cause).collect();
    // The listener notes the opening after its reset, which is told once it returned.
    let due = [TransitionCause::Failure, TransitionCause::Reset];
    ensure_eq!("R14", causes, due, "the opening, then the change that the listener made");
    bench.trip()
}

struct Panics;

impl CircuitListener for Panics {
    fn changed(&self, _circuit: &str, _transition: &Transition) {
        // Without the panic hook, which would write a trace for a panic that is due.
        std::panic::resume_unwind(Box::new("a listener's own panic"));
    }
}

async fn listener_panic_stays_its_own(world: World) -> CaseResult {
    let bench = world.bench().await?;
    let log = Arc::new(Log::default());
    listening(&bench, Arc::new(Panics))?;
    listening(&bench, Arc::clone(&log) as _)?;
    bench.trip_and_wait()?;
    bench.recover()?;
    ensure_eq!("R14", log.of(NAME).len(), 3, "changes that the listener beside it was told");
    Ok(())
}
