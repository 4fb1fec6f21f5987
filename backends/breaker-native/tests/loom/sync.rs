//! What the circuit synchronises by, under the model checker: every load, store and lock is a place where threads may change.

pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
pub(crate) use loom::sync::{Mutex, MutexGuard};
