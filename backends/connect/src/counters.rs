//! What a connector counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of a connector's counters; none ever falls.
///
/// At rest `dials = opened + dial_errors + cancelled`. A dial is one address: a name with two addresses can cost two.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectStats {
    /// Dials that began.
    pub dials: u64,
    /// Dials that became a connection.
    pub opened: u64,
    /// Dials that failed.
    pub dial_errors: u64,
    /// Dials that the connect timeout or a dropped future ended.
    pub cancelled: u64,
    /// Connections that ended.
    pub closed: u64,
}

impl ConnectStats {
    /// The connections that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    dials: AtomicU64,
    opened: AtomicU64,
    dial_errors: AtomicU64,
    cancelled: AtomicU64,
    closed: AtomicU64,
}

impl Counters {
    /// Reads the ends before the beginnings, so that no snapshot shows more ends than beginnings.
    pub(crate) fn snapshot(&self) -> ConnectStats {
        let closed = self.closed.load(Ordering::SeqCst);
        let [opened, dial_errors, cancelled] =
            [&self.opened, &self.dial_errors, &self.cancelled].map(|count| count.load(Ordering::SeqCst));
        ConnectStats { dials: self.dials.load(Ordering::SeqCst), opened, dial_errors, cancelled, closed }
    }

    pub(crate) fn begin_dial(self: &Arc<Self>) -> DialGuard {
        self.dials.fetch_add(1, Ordering::SeqCst);
        DialGuard { counters: Some(self.clone()) }
    }
}

/// One running dial; dropped without an outcome it was cancelled.
#[derive(Debug)]
pub(crate) struct DialGuard {
    counters: Option<Arc<Counters>>,
}

impl DialGuard {
    pub(crate) fn opened(mut self) -> OpenGuard {
        let counters = self.counters.take();
        if let Some(counters) = &counters {
            counters.opened.fetch_add(1, Ordering::SeqCst);
        }
        OpenGuard { counters }
    }

    pub(crate) fn failed(mut self) {
        if let Some(counters) = self.counters.take() {
            counters.dial_errors.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for DialGuard {
    fn drop(&mut self) {
        if let Some(counters) = self.counters.take() {
            counters.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct OpenGuard {
    counters: Option<Arc<Counters>>,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if let Some(counters) = self.counters.take() {
            counters.closed.fetch_add(1, Ordering::SeqCst);
        }
    }
}
