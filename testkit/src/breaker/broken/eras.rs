//! Broken in telling eras, slots and racing admissions apart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use onex_spi::Result;
use onex_spi::breaker::{
    CircuitBreaker, CircuitMetrics, CircuitState, CircuitStatus, Outcome, Rejection, Ticket,
};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "no_era",
        law: "R2",
        caught_by: &[
            "breaker.stale_success_is_ignored",
            "breaker.stale_failure_is_ignored",
            "breaker.stale_probe_is_ignored",
            "breaker.reset_begins_an_era",
            "breaker.window_is_of_its_era",
        ],
        wrap: change::<Replays<NoEra>>,
    },
    Broken {
        name: "era_only_from_closed_to_open",
        law: "R2",
        caught_by: &["breaker.stale_probe_is_ignored", "breaker.reset_begins_an_era"],
        wrap: change::<Replays<OnlyOpening>>,
    },
    Broken {
        name: "permit_freed_by_a_stale_drop",
        law: "R2",
        caught_by: &["breaker.stale_drop_frees_no_slot"],
        wrap: change::<StaleDropFrees>,
    },
    Broken {
        name: "check_then_subtract_half_open",
        law: "R4",
        caught_by: &["breaker.racing_threads_share_the_limit"],
        wrap: change::<CheckThenSubtract>,
    },
];

/// What a broken breaker takes for an era.
trait Era: std::fmt::Debug + Default + Send + Sync + 'static {
    fn of(metrics: &CircuitMetrics) -> u64;
}

#[derive(Debug, Default)]
struct NoEra;

impl Era for NoEra {
    fn of(_metrics: &CircuitMetrics) -> u64 {
        0
    }
}

#[derive(Debug, Default)]
struct OnlyOpening;

impl Era for OnlyOpening {
    fn of(metrics: &CircuitMetrics) -> u64 {
        let (closed, open) =
            (CircuitStatus::new(CircuitState::Closed), CircuitStatus::new(CircuitState::Open));
        let openings = metrics.recent_transitions.iter().filter(|c| (c.from, c.to) == (closed, open));
        openings.count() as u64
    }
}

/// Tickets with the eras in which they were given out.
#[derive(Debug, Default)]
struct Held {
    tickets: Mutex<BTreeMap<u64, (Ticket, [u64; 2])>>,
    last: AtomicU64,
    resets: AtomicU64,
}

impl Held {
    /// The good era and the broken one; each reset is an era, also one that changes no state.
    fn eras<E: Era>(&self, metrics: &CircuitMetrics) -> [u64; 2] {
        [metrics.state_transitions + self.resets.load(Ordering::Relaxed), E::of(metrics)]
    }

    fn keep<E: Era>(&self, circuit: &Inner, ticket: Ticket) -> Ticket {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let eras = self.eras::<E>(&circuit.good.metrics());
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (ticket, eras));
        Ticket::new(number, 0)
    }

    /// The good ticket, and whether it is stale though the broken breaker does not see it.
    fn give_back<E: Era>(&self, circuit: &Inner, ticket: &Ticket) -> Option<(Ticket, bool)> {
        let [good, broken] = self.eras::<E>(&circuit.good.metrics());
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let (ticket, eras) = tickets.remove(&ticket.era())?;
        Some((ticket, eras[0] != good && eras[1] == broken))
    }
}

/// Results of another era count in this one, where the broken era is the same.
#[derive(Debug, Default)]
struct Replays<E> {
    held: Held,
    era: std::marker::PhantomData<E>,
}

impl<E: Era> Twist for Replays<E> {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let ticket = circuit.good.admit(call_timeout)?;
        Ok(self.held.keep::<E>(circuit, ticket))
    }

    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let Some((ticket, stale)) = self.held.give_back::<E>(circuit, &ticket) else { return };
        let abandoned = circuit.good.metrics().abandoned_count > 0;
        circuit.good.settle(ticket, outcome);
        // Only what decides; whose slot was taken back is another law's.
        let decides = matches!(outcome, Outcome::Success | Outcome::Failure | Outcome::TimedOut);
        if !stale || !decides || abandoned || circuit.is(CircuitState::Open) || circuit.good.status().forced {
            return;
        }
        if !circuit.once_more(outcome) && outcome == Outcome::Success {
            circuit.reset();
        }
    }

    fn reset(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        self.held.resets.fetch_add(1, Ordering::Relaxed);
        good.reset_circuit_breaker(name)
    }
}

/// A permit of another era that is dropped gives back a slot that it never had.
#[derive(Debug, Default)]
struct StaleDropFrees(Held);

impl Twist for StaleDropFrees {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let extra = |free: u64| free.checked_sub(1);
        match circuit.good.admit(call_timeout) {
            Ok(ticket) => Ok(self.0.keep::<NoEra>(circuit, ticket)),
            Err(rejection) if rejection.state == CircuitState::HalfOpen => {
                let freed = circuit.memo.fetch_update(Ordering::Relaxed, Ordering::Relaxed, extra);
                freed.map(|_| Inner::forged()).map_err(|_| rejection)
            }
            Err(rejection) => Err(rejection),
        }
    }

    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let Some((ticket, stale)) = self.0.give_back::<NoEra>(circuit, &ticket) else { return };
        if stale && outcome == Outcome::Cancelled && circuit.is(CircuitState::HalfOpen) {
            circuit.memo.fetch_add(1, Ordering::Relaxed);
        }
        circuit.good.settle(ticket, outcome);
    }

    fn reset(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        self.0.resets.fetch_add(1, Ordering::Relaxed);
        good.reset_circuit_breaker(name)
    }
}

/// Looks whether a slot is free, and takes it a moment later.
///
/// The moment is stretched until another thread has looked too, so that the race is lost each time; only threads outside a runtime
/// race here, so that nothing else depends on who comes first.
#[derive(Debug, Default)]
struct CheckThenSubtract {
    looked: AtomicUsize,
}

impl Twist for CheckThenSubtract {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return circuit.good.admit(call_timeout);
        }
        let free = circuit.is(CircuitState::HalfOpen);
        let turn = self.looked.fetch_add(1, Ordering::AcqRel) / 2 + 1;
        let begin = Instant::now();
        while self.looked.load(Ordering::Acquire) < 2 * turn && begin.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
        match circuit.good.admit(call_timeout) {
            Err(rejection) if free && rejection.state == CircuitState::HalfOpen => Ok(Inner::forged()),
            decision => decision,
        }
    }
}
