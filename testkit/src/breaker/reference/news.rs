//! Who is told of changes.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onex_spi::breaker::{CircuitListener, Transition};

/// Changes in their order, told by one thread at a time, outside the locks.
#[derive(Default)]
pub(super) struct News(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: VecDeque<(Arc<str>, Transition)>,
    listeners: Vec<Arc<dyn CircuitListener>>,
    telling: bool,
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

impl News {
    /// The changes that wait; one more is lost.
    const MOST: usize = 1024;

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, listener: Arc<dyn CircuitListener>) {
        self.inner().listeners.push(listener);
    }

    pub(super) fn push(&self, circuit: &Arc<str>, change: Transition) {
        let mut inner = self.inner();
        if inner.waiting.len() < Self::MOST {
            inner.waiting.push_back((Arc::clone(circuit), change));
        }
    }

    pub(super) fn tell(&self) {
        let mut mine = false;
        loop {
            let (name, change, listeners) = {
                let mut inner = self.inner();
                if inner.telling && !mine {
                    return;
                }
                inner.telling = !inner.waiting.is_empty();
                let Some((name, change)) = inner.waiting.pop_front() else { return };
                (name, change, inner.listeners.clone())
            };
            mine = true;
            for listener in listeners {
                // A listener's panic is its own affair.
                let _ = catch_unwind(AssertUnwindSafe(|| listener.changed(&name, &change)));
            }
        }
    }
}
