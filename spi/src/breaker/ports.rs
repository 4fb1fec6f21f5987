//! The two ports: a circuit decides about calls, a breaker keeps circuits by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{
    CircuitBreakerConfig, CircuitListener, CircuitMetrics, CircuitSnapshot, CircuitStatus, Rejection,
};
use crate::features::features;
use crate::{Clock, Features, Lifecycle, Result};

/// What an admitted call came to.
#[allow(clippy::exhaustive_enums, reason = "R1 names them all; abandonment is the breaker's own finding")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It worked.
    Success,
    /// It failed or panicked.
    Failure,
    /// It ran out of time; counts as a failure.
    TimedOut,
    /// It failed, and its result speaks for all calls, such as 429 or 503 with `Retry-After`: opens at once (R20).
    Trip {
        /// For how long, at most [`trip_wait_cap`](CircuitBreakerConfig::trip_wait_cap); `None` = as long as any opening.
        wait: Option<Duration>,
    },
    /// Its result says nothing about the other side (R11).
    Ignored,
    /// It was dropped (R3).
    Cancelled,
}

/// The right to one call, to be settled exactly once; made and read only by the circuit that issued it.
///
/// [`Permit`](super::Permit) settles it by itself; only implementers handle tickets.
#[must_use = "a ticket that is not settled holds its slot until its lease ends"]
#[derive(Debug)]
pub struct Ticket {
    era: u64,
    slot: u64,
}

impl Ticket {
    /// Makes a ticket from two words that mean something to the issuing circuit.
    pub fn new(era: u64, slot: u64) -> Self {
        Self { era, slot }
    }

    /// The first word, usually the era of the admission.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era
    }

    /// The second word, usually the probe's slot.
    #[must_use]
    pub fn slot(&self) -> u64 {
        self.slot
    }
}

/// One circuit: two decisions, and what can be read.
pub trait Circuit: fmt::Debug + Send + Sync + 'static {
    /// The name.
    fn name(&self) -> &str;

    /// Lets a call through or turns it away.
    ///
    /// `call_timeout` is what the call may take, for its lease (R7); `None` = what the circuit's own
    /// [`call_timeout`](Self::call_timeout) says.
    ///
    /// # Errors
    /// A [`Rejection`], counted; nothing else happened.
    fn admit(&self, call_timeout: Option<Duration>) -> Result<Ticket, Rejection>;

    /// Takes the outcome of an admitted call; one of an earlier era only goes into the totals (R2).
    fn settle(&self, ticket: Ticket, outcome: Outcome);

    /// The state now; changes nothing (R6).
    fn status(&self) -> CircuitStatus;

    /// A snapshot; changes nothing (R6).
    fn metrics(&self) -> CircuitMetrics;

    /// The clock on which this circuit decides; [`CircuitExt`](super::CircuitExt) takes its timeouts from it.
    fn clock(&self) -> &dyn Clock;

    /// The time limit of a call that brings none of its own.
    fn call_timeout(&self) -> Option<Duration>;

    /// The configuration in force.
    fn config(&self) -> CircuitBreakerConfig;
}

const _: fn(&dyn Circuit) = |_| ();

/// A rule that a breaker may leave out, if it says so.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerFeature {
    /// Every decision takes its time from the injected clock (R5).
    InjectedClock,
    /// A new configuration keeps state, era and counters (R12).
    Reconfiguration,
    /// Listeners are told of changes (R14).
    Listeners,
    /// Idle circuits make room for new ones (R15).
    Eviction,
    /// Rates over a window of calls (R18).
    CountWindow,
    /// Rates over a window of time (R18).
    TimeWindow,
    /// A rate of slow calls (R18).
    SlowCalls,
    /// Openings that grow, with chance (R19).
    OpenBackoff,
    /// A result opens at once for a time of its own (R20); where this is not declared it is one failure.
    TripAtOnce,
    /// State is kept and given back (R21).
    Snapshots,
    /// Names that fit a pattern share a configuration (R22).
    Templates,
    /// A circuit that only counts what it would do (R23).
    ObserveOnly,
}

features!(BreakerFeature {
    InjectedClock,
    Reconfiguration,
    Listeners,
    Eviction,
    CountWindow,
    TimeWindow,
    SlowCalls,
    OpenBackoff,
    TripAtOnce,
    Snapshots,
    Templates,
    ObserveOnly,
});

/// The bounds of a breaker.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// How much later than `opened_at + open_time` a probe may be admitted (R5); at most 5 ms.
    pub grain: Duration,
    /// The most circuits; one more is `ResourceExhausted`.
    pub circuits: usize,
    /// The most bytes in a name; one more is `InvalidInput`.
    pub name_bytes: usize,
}

/// What a breaker offers; constant for its life.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerCapabilities {
    /// The declared features.
    pub features: Features<BreakerFeature>,
    /// The bounds.
    pub limits: BreakerLimits,
}

impl BreakerCapabilities {
    /// Makes capabilities; names may have up to 64 KiB.
    #[must_use]
    pub fn new(features: Features<BreakerFeature>, grain: Duration, circuits: usize) -> Self {
        Self { features, limits: BreakerLimits { grain, circuits, name_bytes: 64 << 10 } }
    }
}

/// Keeps circuits by name. Its calls are plain functions: a breaker only decides.
pub trait CircuitBreaker: Lifecycle {
    /// What this instance offers; constant for its life.
    fn capabilities(&self) -> &BreakerCapabilities;

    /// The circuit of that name, made with the default configuration where it is new; hold it and call many times.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is too long; `ResourceExhausted` where the bound is reached; `Closed`.
    fn circuit(&self, name: &str) -> Result<Arc<dyn Circuit>>;

    /// The circuit of that name, if it is known; never makes one (R6).
    fn find(&self, name: &str) -> Option<Arc<dyn Circuit>>;

    /// The state of a circuit.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    #[doc(alias = "get_circuit_state")]
    fn circuit_state(&self, name: &str) -> Result<CircuitStatus>;

    /// A snapshot of a circuit.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    #[doc(alias = "get_circuit_metrics")]
    fn circuit_metrics(&self, name: &str) -> Result<CircuitMetrics>;

    /// The states of all circuits.
    #[doc(alias = "get_all_circuit_states")]
    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus>;

    /// Gives a circuit its configuration, making the circuit where it is new (R12).
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range; `Unsupported` for one that needs a feature which is not declared; the
    /// configuration in force stays; else those of [`circuit`](Self::circuit).
    fn configure_circuit_breaker(&self, name: &str, config: CircuitBreakerConfig) -> Result<()>;

    /// Closes a circuit from any state (R9).
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    fn reset_circuit_breaker(&self, name: &str) -> Result<()>;

    /// Opens a circuit until it is reset or forced closed (R8).
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    fn force_circuit_open(&self, name: &str) -> Result<()>;

    /// Closes a circuit until it is reset or forced open (R8).
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    fn force_circuit_closed(&self, name: &str) -> Result<()>;

    /// Tells `listener` of every change from now on, for as long as the breaker lives (R14).
    ///
    /// # Errors
    /// `Unsupported`, with no effect, where [`BreakerFeature::Listeners`] is not declared.
    fn listen(&self, listener: Arc<dyn CircuitListener>) -> Result<()>;

    /// The state of a circuit, to be kept; changes nothing (R21).
    ///
    /// # Errors
    /// `NotFound` for an unknown name; `Unsupported` where [`BreakerFeature::Snapshots`] is not declared.
    fn circuit_snapshot(&self, name: &str) -> Result<CircuitSnapshot>;

    /// Gives a circuit a state that was kept, making the circuit where it is new; begins an era, totals stay (R21).
    ///
    /// # Errors
    /// `InvalidInput` for what no circuit can be; `Unsupported`, with no effect, where [`BreakerFeature::Snapshots`] is not
    /// declared; else those of [`circuit`](Self::circuit).
    fn restore_circuit(&self, name: &str, snapshot: &CircuitSnapshot) -> Result<()>;
}

const _: fn(&dyn CircuitBreaker) = |_| ();
