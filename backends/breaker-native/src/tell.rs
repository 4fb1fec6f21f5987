//! Who is told of changes: in their order, by one thread at a time, outside every lock.
//!
//! ```text
//!  change (under the circuit's lock) ─► queue ─► drain: whoever comes first tells all, also what comes meanwhile
//!                                                        ├ tracing event
//!                                                        └ each listener
//! ```
//!
//! A listener that makes a change finds somebody telling, itself, and goes on: its change is told after it returned.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use onex_spi::breaker::{CircuitListener, Transition};

use crate::sync::{Mutex, MutexGuard};

/// The changes that wait to be told; what comes beyond them is lost, and the next numbers show it.
pub(crate) const MOST: usize = 1024;

#[derive(Default)]
pub(crate) struct Teller {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<str>, Transition)>,
    listeners: Arc<[Arc<dyn CircuitListener>]>,
    telling: bool,
    lost: u64,
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

impl Teller {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a listener, which is told of what comes.
    pub(crate) fn listen(&self, listener: Arc<dyn CircuitListener>) {
        let mut queue = self.queue();
        queue.listeners = queue.listeners.iter().cloned().chain([listener]).collect();
    }

    /// The changes that were lost since the last that was told.
    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.queue().lost
    }

    /// Queues a change; called under the circuit's lock, so that the queue has the order of the changes.
    pub(crate) fn push(&self, circuit: &Arc<str>, change: Transition) {
        let mut queue = self.queue();
        if queue.waiting.len() >= MOST {
            queue.lost += 1;
        } else {
            queue.waiting.push_back((Arc::clone(circuit), change));
        }
    }

    /// Tells what waits, unless somebody is telling; called outside every lock.
    pub(crate) fn drain(&self) {
        let mut mine = false;
        loop {
            let (circuit, change, listeners, lost) = {
                let mut queue = self.queue();
                if queue.telling && !mine {
                    return;
                }
                let Some((circuit, change)) = queue.waiting.pop_front() else {
                    queue.telling = false;
                    return;
                };
                queue.telling = true;
                (circuit, change, Arc::clone(&queue.listeners), std::mem::take(&mut queue.lost))
            };
            mine = true;
            // Whatever panics in there is not the caller's, and must not leave the queue without its teller.
            let _ = catch_unwind(AssertUnwindSafe(|| trace(&circuit, &change, lost)));
            for listener in &*listeners {
                if catch_unwind(AssertUnwindSafe(|| listener.changed(&circuit, &change))).is_err() {
                    let told = || tracing::error!(circuit = &*circuit, "a listener of circuits panicked");
                    let _ = catch_unwind(AssertUnwindSafe(told));
                }
            }
        }
    }
}

fn trace(circuit: &str, change: &Transition, lost: u64) {
    let Transition { sequence, from, to, cause, .. } = change;
    if lost > 0 {
        tracing::warn!(lost, most = MOST, "listeners are too slow: changes of circuits are not told");
    }
    tracing::info!(
        circuit,
        sequence,
        from = ?from.state,
        to = ?to.state,
        forced = to.forced,
        ?cause,
        "circuit changed its state"
    );
}
