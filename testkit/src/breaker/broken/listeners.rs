//! Broken in telling of changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use onex_spi::Result;
use onex_spi::breaker::{CircuitBreaker, CircuitListener, CircuitMetrics, Transition};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "listener_under_a_lock",
        law: "R14",
        caught_by: &["breaker.listener_runs_outside_locks", "breaker.listener_may_change_a_state"],
        wrap: change::<UnderALock>,
    },
    Broken {
        name: "changes_told_out_of_order",
        law: "R14",
        caught_by: &["breaker.listener_sees_changes_in_order"],
        wrap: change::<OutOfOrder>,
    },
    Broken {
        name: "listeners_end_with_the_first_panic",
        law: "R14",
        caught_by: &["breaker.listener_panic_stays_its_own"],
        wrap: change::<EndWithAPanic>,
    },
];

/// A lock that is held while a listener runs and that reading metrics takes.
#[derive(Debug, Default)]
struct UnderALock(Arc<Mutex<()>>);

struct Locked {
    lock: Arc<Mutex<()>>,
    good: Arc<dyn CircuitListener>,
}

impl CircuitListener for Locked {
    fn changed(&self, circuit: &str, transition: &Transition) {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.good.changed(circuit, transition);
    }
}

impl Twist for UnderALock {
    fn listen(&self, good: &Arc<dyn CircuitBreaker>, listener: Arc<dyn CircuitListener>) -> Result<()> {
        good.listen(Arc::new(Locked { lock: Arc::clone(&self.0), good: listener }))
    }

    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let _held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        circuit.good.metrics()
    }
}

/// The fourth change of a circuit is told after the fifth.
#[derive(Debug, Default)]
struct OutOfOrder;

struct Swaps {
    kept: Mutex<BTreeMap<String, Transition>>,
    good: Arc<dyn CircuitListener>,
}

impl CircuitListener for Swaps {
    fn changed(&self, circuit: &str, transition: &Transition) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.remove(circuit);
        if transition.sequence == 4 {
            kept.insert(circuit.to_owned(), *transition);
            return;
        }
        drop(kept);
        self.good.changed(circuit, transition);
        if let Some(before) = before {
            self.good.changed(circuit, &before);
        }
    }
}

impl Twist for OutOfOrder {
    fn listen(&self, good: &Arc<dyn CircuitBreaker>, listener: Arc<dyn CircuitListener>) -> Result<()> {
        good.listen(Arc::new(Swaps { kept: Mutex::default(), good: listener }))
    }
}

/// Once a listener panicked, nobody is told any more.
#[derive(Debug, Default)]
struct EndWithAPanic(Arc<AtomicBool>);

struct Mortal {
    dead: Arc<AtomicBool>,
    good: Arc<dyn CircuitListener>,
}

impl fmt::Debug for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mortal").finish_non_exhaustive()
    }
}

impl CircuitListener for Mortal {
    fn changed(&self, circuit: &str, transition: &Transition) {
        // Dead unless the listener comes to its end.
        if !self.dead.swap(true, Ordering::AcqRel) {
            self.good.changed(circuit, transition);
            self.dead.store(false, Ordering::Release);
        }
    }
}

impl Twist for EndWithAPanic {
    fn listen(&self, good: &Arc<dyn CircuitBreaker>, listener: Arc<dyn CircuitListener>) -> Result<()> {
        good.listen(Arc::new(Mortal { dead: Arc::clone(&self.0), good: listener }))
    }
}
