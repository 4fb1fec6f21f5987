//! The ledger and what else is told about a bridge, under one lock, so that every snapshot adds up (B1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::bridge::{BridgeMetrics, BridgeState, BridgeStatus, DeadReason};
use onex_spi::{Error, Health};

/// What is written down; the lane writes once when it takes a batch and once when it settles one.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) metrics: BridgeMetrics,
    pub(crate) source: SourceState,
    pub(crate) draining: bool,
    /// The messages that wait for another attempt.
    pub(crate) waiting: usize,
    last_error: Option<Error>,
    /// Why the last delivery failed for good; `None` after one that did not.
    failing: Option<String>,
    last_success: Option<Instant>,
}

/// How the source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SourceState {
    #[default]
    Open,
    /// It met something that may pass, and is asked again later.
    Troubled,
    Ended,
    Failed,
}

/// What became of some messages of one batch; added to the books at once.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) delivered: Option<(Arc<str>, u64)>,
    pub(crate) dead: Vec<(DeadReason, u64)>,
    pub(crate) failed: u64,
    pub(crate) filtered: u64,
    pub(crate) busy: Duration,
    /// The last error that was met, of an attempt or of the end.
    pub(crate) error: Option<Error>,
    /// Whether that error was one for good.
    pub(crate) for_good: bool,
}

impl Books {
    pub(crate) fn take(&mut self, messages: u64, bytes: u64) {
        self.metrics.ledger.received += messages;
        self.metrics.ledger.in_flight += messages;
        self.metrics.bytes += bytes;
    }

    pub(crate) fn settle(&mut self, entry: Entry, now: Instant) {
        let metrics = &mut self.metrics;
        let ledger = &mut metrics.ledger;
        let mut settled = entry.failed + entry.filtered;
        if let Some((route, count)) = entry.delivered {
            settled += count;
            ledger.delivered += count;
            match metrics.routes.get_mut(&*route) {
                Some(total) => *total += count,
                None => drop(metrics.routes.insert(route, count)),
            }
            self.last_success = Some(now);
            self.failing = None;
        }
        for (reason, count) in entry.dead {
            settled += count;
            ledger.dead_lettered += count;
            *metrics.dead_reasons.entry(reason.as_str()).or_default() += count;
        }
        ledger.failed += entry.failed;
        ledger.filtered += entry.filtered;
        ledger.in_flight -= settled;
        metrics.busy += entry.busy;
        if let Some(error) = entry.error {
            if entry.for_good {
                self.failing = Some(error.to_string());
            }
            self.last_error = Some(error);
        }
    }

    /// The source met `error`; it is asked again (`Troubled`) or not (`Failed`).
    pub(crate) fn source_error(&mut self, error: Error, state: SourceState) {
        self.source = state;
        self.last_error = Some(error);
    }

    pub(crate) fn state(&self) -> BridgeState {
        match self.source {
            _ if self.draining => BridgeState::Draining,
            SourceState::Failed => BridgeState::Failed,
            SourceState::Ended => BridgeState::Ended,
            SourceState::Troubled => BridgeState::Degraded,
            SourceState::Open if self.waiting > 0 => BridgeState::Degraded,
            SourceState::Open => BridgeState::Running,
        }
    }

    pub(crate) fn status(&self) -> BridgeStatus {
        BridgeStatus::new(self.state(), self.metrics.ledger.settled(), self.last_error.clone())
    }

    /// How the deliveries are, apart from the ends.
    pub(crate) fn health(&self) -> Health {
        let last = || self.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(why) = &self.failing {
            return Health::Unhealthy(format!("the last delivery failed for good: {why}"));
        }
        match self.source {
            SourceState::Failed => Health::Unhealthy(format!("the source failed for good: {}", last())),
            SourceState::Troubled => Health::Degraded(format!("the source is asked again after: {}", last())),
            _ if self.waiting > 0 => Health::Degraded(format!(
                "{} messages wait for another attempt after: {}",
                self.waiting,
                last()
            )),
            _ => Health::Healthy,
        }
    }

    pub(crate) fn since_success(&self, now: Instant) -> Option<Duration> {
        self.last_success.map(|then| now.saturating_duration_since(then))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[test]
    fn every_snapshot_under_two_threads_adds_up() {
        let books = Mutex::new(Books::default());
        let locked = || books.lock().unwrap_or_else(PoisonError::into_inner);
        let done = AtomicBool::new(false);
        let route: Arc<str> = "a".into();
        std::thread::scope(|scope| {
            let snapshots = scope.spawn(|| {
                let (mut seen, mut last) = (0_u64, 0);
                while !done.load(Ordering::Relaxed) || seen == 0 {
                    let metrics = locked().metrics.clone();
                    assert!(metrics.ledger.balanced(), "{metrics:?}");
                    assert_eq!(metrics.routes.values().sum::<u64>(), metrics.ledger.delivered);
                    assert_eq!(metrics.dead_reasons.values().sum::<u64>(), metrics.ledger.dead_lettered);
                    assert!(metrics.ledger.settled() >= last);
                    last = metrics.ledger.settled();
                    seen += 1;
                }
            });
            for _ in 0..20_000 {
                locked().take(6, 60);
                let entry = Entry {
                    delivered: Some((route.clone(), 2)),
                    dead: vec![(DeadReason::NoRoute, 1), (DeadReason::Rejected, 1)],
                    failed: 1,
                    filtered: 1,
                    ..Entry::default()
                };
                locked().settle(entry, Instant::now());
            }
            done.store(true, Ordering::Relaxed);
            snapshots.join().expect("no snapshot was wrong");
        });
        let ledger = locked().metrics.ledger;
        assert_eq!((ledger.received, ledger.in_flight, ledger.delivered), (120_000, 0, 40_000));
    }

    #[test]
    fn the_worst_that_is_true_now_is_told() {
        let error = || Error::new(onex_spi::ErrorKind::Unauthenticated, "t.deliver", "401");
        let mut books = Books { waiting: 2, ..Books::default() };
        assert_eq!(books.state(), BridgeState::Degraded);
        assert!(matches!(books.health(), Health::Degraded(_)));
        books.take(2, 0);
        let failed = Entry { failed: 1, error: Some(error()), for_good: true, ..Entry::default() };
        books.settle(failed, Instant::now());
        assert!(matches!(books.health(), Health::Unhealthy(why) if why.contains("401")));
        books.waiting = 0;
        books.settle(Entry { delivered: Some(("a".into(), 1)), ..Entry::default() }, Instant::now());
        assert_eq!((books.state(), books.health()), (BridgeState::Running, Health::Healthy));
        books.source_error(error(), SourceState::Failed);
        assert_eq!(books.state(), BridgeState::Failed);
        books.draining = true;
        assert_eq!(books.state(), BridgeState::Draining);
    }
}
