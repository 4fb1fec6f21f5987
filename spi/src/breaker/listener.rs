//! Who is told of changes of state: in their order, by one thread at a time, outside every lock.
//!
//! ```text
//!  change (under the circuit's lock) ─► push ─► queue ─► tell: whoever comes first tells all, also what comes meanwhile
//!                                                               ├ the breaker's own log
//!                                                               └ each listener
//! ```
//!
//! A listener that makes a change finds somebody telling, itself, and goes on: its change is told after it returned.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Transition;

/// Is told of every change of state of every circuit of a breaker (R14).
///
/// It is called outside every lock of the breaker, one call at a time, and for each circuit in the order of the changes; it may
/// call the breaker, also to change a state again. It runs on the thread whose call made the change, or made one just before, so it
/// should hand work on instead of doing it. A panic is traced and ends nothing else.
pub trait CircuitListener: Send + Sync + 'static {
    /// Takes one change; a `sequence` that leaves out numbers says how many were lost, because listeners were too slow.
    fn changed(&self, circuit: &str, transition: &Transition);
}

const _: fn(&dyn CircuitListener) = |_| ();

/// What a breaker writes into its own log.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// A circuit changed its state.
    Changed {
        /// The circuit.
        circuit: &'a str,
        /// The change.
        transition: &'a Transition,
    },
    /// So many changes were not told, because listeners are too slow.
    Lost(u64),
    /// A listener panicked when it was told of a change of this circuit.
    ListenerPanicked {
        /// The circuit.
        circuit: &'a str,
    },
}

impl fmt::Display for News<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { circuit, transition: Transition { from, to, cause, .. } } => {
                write!(f, "circuit `{circuit}` changed from {:?} to {:?} ({cause:?})", from.state, to.state)
            }
            Self::Lost(lost) => write!(f, "{lost} changes of circuits were not told: listeners are too slow"),
            Self::ListenerPanicked { circuit } => {
                write!(f, "a listener panicked when it was told of a change of circuit `{circuit}`")
            }
        }
    }
}

/// Tells the listeners of one breaker what changed, as R14 asks; a breaker that uses it declares
/// [`BreakerFeature::Listeners`](super::BreakerFeature::Listeners).
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
/// use onex_spi::breaker::{Listeners, Transition};
///
/// struct MyCircuit {
///     name: Arc<str>,
///     history: Mutex<Vec<Transition>>,
///     listeners: Arc<Listeners>,
/// }
///
/// impl MyCircuit {
///     fn change(&self, change: Transition) {
///         let mut history = self.history.lock().expect("nobody panics with it");
///         history.push(change);
///         self.listeners.push(&self.name, change);
///         drop(history);
///         self.listeners.tell();
///     }
/// }
/// ```
pub struct Listeners {
    log: fn(News<'_>),
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<str>, Transition)>,
    listeners: Arc<[Arc<dyn CircuitListener>]>,
    telling: bool,
    lost: u64,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

impl Default for Listeners {
    /// Without a log.
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl Listeners {
    /// The changes that may wait to be told; what comes beyond them is lost, and the next `sequence` shows it.
    pub const WAITING: usize = 1024;

    /// Makes an empty list; `log` is told first of everything.
    #[must_use]
    pub fn new(log: fn(News<'_>)) -> Self {
        Self { log, queue: Mutex::default() }
    }

    /// Adds a listener, which is told of what comes.
    pub fn add(&self, listener: Arc<dyn CircuitListener>) {
        let mut queue = self.queue();
        queue.listeners = queue.listeners.iter().cloned().chain([listener]).collect();
    }

    /// Queues a change; to be called under the circuit's lock, so that the queue has the order of the changes.
    pub fn push(&self, circuit: &Arc<str>, change: Transition) {
        let mut queue = self.queue();
        if queue.waiting.len() >= Self::WAITING {
            queue.lost += 1;
        } else {
            queue.waiting.push_back((Arc::clone(circuit), change));
        }
    }

    /// Tells what waits, unless somebody is telling; to be called outside every lock.
    pub fn tell(&self) {
        let mut mine = false;
        loop {
            let (circuit, transition, listeners, lost) = {
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
            if lost > 0 {
                self.log(News::Lost(lost));
            }
            self.log(News::Changed { circuit: &circuit, transition: &transition });
            for listener in &*listeners {
                if catch_unwind(AssertUnwindSafe(|| listener.changed(&circuit, &transition))).is_err() {
                    self.log(News::ListenerPanicked { circuit: &circuit });
                }
            }
        }
    }

    /// Whatever panics in there is not the caller's, and must not leave the queue without its teller.
    fn log(&self, news: News<'_>) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.log)(news)));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::super::{CircuitState, CircuitStatus, TransitionCause};
    use super::*;

    thread_local! {
        static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn log(news: News<'_>) {
        LOG.with_borrow_mut(|log| log.push(news.to_string()));
    }

    fn change(sequence: u64) -> Transition {
        let (from, to) = (CircuitStatus::new(CircuitState::Closed), CircuitStatus::new(CircuitState::Open));
        Transition::new(sequence, from, to, TransitionCause::Failure, Instant::now())
    }

    /// Pushes and tells from inside, and panics at the first change.
    struct Busy {
        listeners: Arc<Listeners>,
        seen: Mutex<Vec<(String, u64)>>,
    }

    impl Busy {
        fn listening() -> (Arc<Listeners>, Arc<Self>) {
            let listeners = Arc::new(Listeners::new(log));
            let busy = Arc::new(Self { listeners: Arc::clone(&listeners), seen: Mutex::default() });
            listeners.add(Arc::clone(&busy) as _);
            (listeners, busy)
        }

        fn seen(&self) -> Vec<(String, u64)> {
            self.seen.lock().expect("nobody panics with it").clone()
        }
    }

    impl CircuitListener for Busy {
        fn changed(&self, circuit: &str, transition: &Transition) {
            let seen = (circuit.to_owned(), transition.sequence);
            self.seen.lock().expect("nobody panics with it").push(seen);
            if transition.sequence == 1 && circuit == "a" {
                self.listeners.push(&Arc::from(circuit), change(3));
                self.listeners.tell();
                std::panic::resume_unwind(Box::new("a listener"));
            }
        }
    }

    #[test]
    fn what_comes_while_telling_is_told_after_it_and_a_panic_ends_nothing() {
        let (listeners, busy) = Busy::listening();
        let name: Arc<str> = Arc::from("a");
        listeners.push(&name, change(1));
        listeners.push(&name, change(2));
        listeners.tell();
        assert_eq!(busy.seen(), [1, 2, 3].map(|sequence| ("a".to_owned(), sequence)));
        let changed = "circuit `a` changed from Closed to Open (Failure)";
        let panicked = "a listener panicked when it was told of a change of circuit `a`";
        assert_eq!(LOG.take(), [changed, panicked, changed, changed]);
    }

    #[test]
    fn the_queue_is_bounded_and_the_log_says_what_was_lost() {
        let (listeners, busy) = Busy::listening();
        let name: Arc<str> = Arc::from("b");
        (1..=Listeners::WAITING as u64 + 10).for_each(|sequence| listeners.push(&name, change(sequence)));
        listeners.tell();
        listeners.push(&name, change(5000));
        listeners.tell();
        let (seen, log) = (busy.seen(), LOG.take());
        assert_eq!((seen.len(), seen.last()), (Listeners::WAITING + 1, Some(&("b".to_owned(), 5000))));
        assert_eq!(log[0], "10 changes of circuits were not told: listeners are too slow");
        assert_eq!(log.len(), seen.len() + 1);
    }

    #[test]
    fn a_log_that_panics_keeps_nobody_from_being_told() {
        let listeners = Arc::new(Listeners::new(|_| std::panic::resume_unwind(Box::new("a log"))));
        let busy = Arc::new(Busy { listeners: Arc::clone(&listeners), seen: Mutex::default() });
        listeners.add(Arc::clone(&busy) as _);
        listeners.push(&Arc::from("b"), change(1));
        listeners.tell();
        assert_eq!(busy.seen().len(), 1);
    }

    /// Four threads change two circuits, each under its lock, and tell: nothing is lost, doubled or out of order.
    #[test]
    fn threads_that_meet_tell_everything_once_and_in_order() {
        const CHANGES: u64 = 250;
        // All may wait at once, while the one who tells is not let run.
        const { assert!(4 * CHANGES as usize <= Listeners::WAITING) };
        let (listeners, busy) = Busy::listening();
        let circuits = ["x", "y"].map(|name| (Arc::<str>::from(name), Mutex::new(0)));
        std::thread::scope(|scope| {
            for (name, last) in circuits.iter().chain(&circuits) {
                let listeners = &listeners;
                scope.spawn(move || {
                    for _ in 0..CHANGES {
                        let mut last = last.lock().expect("nobody panics with it");
                        *last += 1;
                        listeners.push(name, change(*last));
                        drop(last);
                        listeners.tell();
                    }
                });
            }
        });
        // The last who told ended because nothing waited; who came meanwhile left it to him.
        let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        busy.seen()
            .into_iter()
            .for_each(|(circuit, sequence)| told.entry(circuit).or_default().push(sequence));
        let all: Vec<u64> = (1..=2 * CHANGES).collect();
        assert_eq!(told.into_values().collect::<Vec<_>>(), [all.clone(), all]);
    }
}
