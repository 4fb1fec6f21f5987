//! What a circuit keeps behind its lock: configuration, leases of probes, window, history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use onex_spi::breaker::{
    CircuitBreakerConfig, CircuitStatus, Transition, TransitionCause, Window, WindowCounts,
};

use crate::time::Now;
use crate::window::{CallWindow, Sample};

/// The changes of state that are kept.
const KEPT: usize = 32;

/// A probe's hold on its slot.
#[derive(Clone, Copy, Debug)]
struct Lease {
    era: u64,
    /// When the probe was admitted, in nanoseconds.
    began: u64,
    /// The nanosecond from which the slot may be taken back.
    until: u64,
}

/// What [`Cold::reclaim`] took back of the era asked for, whose slots are free again.
pub(crate) type Freed = u32;

/// Behind the lock of a circuit.
#[derive(Debug)]
pub(crate) struct Cold {
    pub(crate) config: Arc<CircuitBreakerConfig>,
    /// Whether a change was queued since the lock was taken.
    pub(crate) news: bool,
    /// Made at the first need, so that a circuit to which nothing happens stays small.
    life: Option<Box<Life>>,
}

#[derive(Debug, Default)]
struct Life {
    leases: BTreeMap<u64, Lease>,
    last_probe: u64,
    window: Option<CallWindow>,
    abandoned: u64,
    slow: u64,
    openings: u32,
    changes: u64,
    recent: VecDeque<Transition>,
}

impl Cold {
    pub(crate) fn new(config: Arc<CircuitBreakerConfig>) -> Self {
        Self { config, news: false, life: None }
    }

    fn life(&mut self) -> &mut Life {
        self.life.get_or_insert_default()
    }

    /// Writes a lease and returns the probe's number, from 1, never used again.
    pub(crate) fn lease(&mut self, era: u64, began: u64, until: u64) -> u64 {
        let life = self.life();
        life.last_probe += 1;
        life.leases.insert(life.last_probe, Lease { era, began, until });
        life.last_probe
    }

    /// Ends a lease and tells when it began; `None` where it ran out and was taken back.
    pub(crate) fn end_lease(&mut self, probe: u64) -> Option<u64> {
        self.life().leases.remove(&probe).map(|lease| lease.began)
    }

    /// Takes back every lease that ran out (R7).
    pub(crate) fn reclaim(&mut self, now: Now, era: u64) -> Freed {
        let life = self.life();
        let mut freed = 0;
        life.leases.retain(|_, lease| {
            if !now.has_reached(lease.until) {
                return true;
            }
            life.abandoned += 1;
            freed += Freed::from(lease.era == era);
            false
        });
        freed
    }

    /// The nanosecond at which the next lease runs out.
    pub(crate) fn next_expiry(&self) -> u64 {
        let leases = self.life.iter().flat_map(|life| life.leases.values());
        leases.map(|lease| lease.until).min().unwrap_or(u64::MAX)
    }

    /// Puts one call into the window, which begins where there is none.
    pub(crate) fn sample(&mut self, shape: Window, sample: Sample, now: impl FnOnce() -> Now) {
        self.life().window.get_or_insert_with(|| CallWindow::new(shape)).record(sample, now);
    }

    /// Empties the window: an era begins, or another window.
    pub(crate) fn empty_window(&mut self) {
        if let Some(life) = &mut self.life {
            life.window = None;
        }
    }

    /// What the window holds; `None` where the policy has none.
    pub(crate) fn window(&self, now: Now) -> Option<WindowCounts> {
        self.config.rates()?;
        let window = self.life.as_ref().and_then(|life| life.window.as_ref());
        Some(window.map(|window| window.read(now)).unwrap_or_default())
    }

    pub(crate) fn count_slow(&mut self) {
        self.life().slow += 1;
    }

    pub(crate) fn slow(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.slow)
    }

    pub(crate) fn abandoned(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.abandoned)
    }

    /// Openings since the circuit was closed.
    pub(crate) fn openings(&self) -> u32 {
        self.life.as_ref().map_or(0, |life| life.openings)
    }

    pub(crate) fn set_openings(&mut self, openings: u32) {
        if self.openings() != openings {
            self.life().openings = openings;
        }
    }

    /// Writes a change of state into the history.
    pub(crate) fn record(
        &mut self,
        from: CircuitStatus,
        to: CircuitStatus,
        cause: TransitionCause,
        at: Instant,
    ) -> Transition {
        let life = self.life();
        life.changes += 1;
        if life.recent.len() == KEPT {
            life.recent.pop_front();
        }
        let change = Transition::new(life.changes, from, to, cause, at);
        life.recent.push_back(change);
        change
    }

    /// The changes ever, and the last of them, oldest first.
    pub(crate) fn history(&self) -> (u64, Vec<Transition>) {
        self.life
            .as_ref()
            .map_or((0, Vec::new()), |life| (life.changes, life.recent.iter().copied().collect()))
    }
}
