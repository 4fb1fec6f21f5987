//! What a circuit keeps behind its lock: the leases of its probes and its history. Calls that are no probes never come here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use onex_spi::breaker::{CircuitStatus, Transition, TransitionCause};

use crate::time::Now;

/// The changes of state that are kept.
const KEPT: usize = 32;

/// A probe's hold on its slot.
#[derive(Clone, Copy, Debug)]
struct Lease {
    era: u64,
    /// The nanosecond from which the slot may be taken back.
    until: u64,
}

/// What [`Cold::reclaim`] took back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    /// All leases that ran out.
    pub(crate) all: u64,
    /// Those of the era asked for, whose slots are free again.
    pub(crate) of_era: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Cold {
    leases: BTreeMap<u64, Lease>,
    last_probe: u64,
    changes: u64,
    recent: VecDeque<Transition>,
}

impl Cold {
    /// Writes a lease and returns the probe's number, from 1, never used again.
    pub(crate) fn lease(&mut self, era: u64, until: u64) -> u64 {
        self.last_probe += 1;
        self.leases.insert(self.last_probe, Lease { era, until });
        self.last_probe
    }

    /// Ends a lease; `false` where it ran out and was taken back.
    pub(crate) fn end_lease(&mut self, probe: u64) -> bool {
        self.leases.remove(&probe).is_some()
    }

    /// Takes back every lease that ran out (R7).
    pub(crate) fn reclaim(&mut self, now: Now, era: u64) -> Reclaimed {
        let mut reclaimed = Reclaimed { all: 0, of_era: 0 };
        self.leases.retain(|_, lease| {
            if !now.has_reached(lease.until) {
                return true;
            }
            reclaimed.all += 1;
            reclaimed.of_era += u32::from(lease.era == era);
            false
        });
        reclaimed
    }

    /// The nanosecond at which the next lease runs out.
    pub(crate) fn next_expiry(&self) -> u64 {
        self.leases.values().map(|lease| lease.until).min().unwrap_or(u64::MAX)
    }

    /// Writes a change of state into the history.
    pub(crate) fn record(
        &mut self,
        from: CircuitStatus,
        to: CircuitStatus,
        cause: TransitionCause,
        at: Instant,
    ) -> Transition {
        self.changes += 1;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        let change = Transition::new(self.changes, from, to, cause, at);
        self.recent.push_back(change);
        change
    }

    /// The changes ever, and the last of them, oldest first.
    pub(crate) fn history(&self) -> (u64, Vec<Transition>) {
        (self.changes, self.recent.iter().copied().collect())
    }
}

/// Tells of a change; called outside the lock, because a subscriber may call the circuit.
pub(crate) fn tell(circuit: &Arc<str>, change: Option<Transition>) {
    if let Some(Transition { sequence, from, to, cause, .. }) = change {
        tracing::info!(
            circuit = &**circuit,
            sequence,
            from = ?from.state,
            to = ?to.state,
            forced = to.forced,
            ?cause,
            "circuit changed its state"
        );
    }
}
