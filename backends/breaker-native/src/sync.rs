//! What the circuit synchronises by, in one place: the model checker puts its own in the place of these.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
