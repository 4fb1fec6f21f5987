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
const MOST: usize = 1024;

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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use onex_spi::breaker::{CircuitState, CircuitStatus, TransitionCause};

    use super::*;

    fn change(sequence: u64) -> Transition {
        let (from, to) = (CircuitStatus::new(CircuitState::Closed), CircuitStatus::new(CircuitState::Open));
        Transition::new(sequence, from, to, TransitionCause::Failure, Instant::now())
    }

    /// Pushes and drains from inside, and panics at the first change.
    struct Busy {
        teller: Arc<Teller>,
        seen: std::sync::Mutex<Vec<u64>>,
    }

    impl CircuitListener for Busy {
        fn changed(&self, circuit: &str, transition: &Transition) {
            self.seen.lock().expect("nobody panics with it").push(transition.sequence);
            if transition.sequence == 1 {
                self.teller.push(&Arc::from(circuit), change(3));
                self.teller.drain();
                std::panic::resume_unwind(Box::new("a listener"));
            }
        }
    }

    #[test]
    fn what_comes_while_telling_is_told_after_it_and_a_panic_ends_nothing() {
        let teller = Arc::new(Teller::default());
        let busy = Arc::new(Busy { teller: Arc::clone(&teller), seen: std::sync::Mutex::default() });
        teller.listen(Arc::clone(&busy) as _);
        let name: Arc<str> = Arc::from("a");
        teller.push(&name, change(1));
        teller.push(&name, change(2));
        teller.drain();
        assert_eq!(*busy.seen.lock().expect("whole"), [1, 2, 3]);
    }

    #[test]
    fn the_queue_is_bounded_and_the_numbers_show_what_was_lost() {
        let teller = Arc::new(Teller::default());
        let busy = Arc::new(Busy { teller: Arc::clone(&teller), seen: std::sync::Mutex::default() });
        teller.listen(Arc::clone(&busy) as _);
        let name: Arc<str> = Arc::from("a");
        (2..=MOST as u64 + 11).for_each(|sequence| teller.push(&name, change(sequence)));
        assert_eq!(teller.queue().lost, 10);
        teller.drain();
        teller.push(&name, change(5000));
        teller.drain();
        let seen = busy.seen.lock().expect("whole");
        assert_eq!((seen.len(), seen.last()), (MOST + 1, Some(&5000)));
    }
}
