//! What can be read of a circuit.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The state of a circuit.
#[allow(clippy::exhaustive_enums, reason = "the three states are the model")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Calls run.
    Closed,
    /// Calls are rejected.
    Open,
    /// Some calls run as probes.
    HalfOpen,
}

/// The state of a circuit and whether it was forced into it (R8).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CircuitStatus {
    /// The state.
    pub state: CircuitState,
    /// Whether it was forced.
    #[serde(default)]
    pub forced: bool,
}

impl CircuitStatus {
    /// A state that the circuit came to by itself.
    #[must_use]
    pub fn new(state: CircuitState) -> Self {
        Self { state, forced: false }
    }

    /// A state that was forced.
    #[must_use]
    pub fn forced(state: CircuitState) -> Self {
        Self { state, forced: true }
    }
}

/// Why a circuit changed its state.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitionCause {
    /// Failures reached the threshold or their rate, or a probe failed.
    Failure,
    /// Slow calls reached their rate, or a probe was slow (R18).
    SlowCalls,
    /// A result that opens at once (R20).
    Trip,
    /// The open time passed and a probe was admitted.
    Probe,
    /// Enough probes succeeded.
    Recovery,
    /// `reset_circuit_breaker`.
    Reset,
    /// `force_circuit_open` or `force_circuit_closed`.
    Force,
    /// `restore_circuit`.
    Restore,
}

/// One change of state.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The number of this change in its circuit's life, from 1.
    pub sequence: u64,
    /// Before.
    pub from: CircuitStatus,
    /// After.
    pub to: CircuitStatus,
    /// Why.
    pub cause: TransitionCause,
    /// When, on the breaker's clock.
    pub at: Instant,
}

impl Transition {
    /// Makes a transition.
    #[must_use]
    pub fn new(
        sequence: u64,
        from: CircuitStatus,
        to: CircuitStatus,
        cause: TransitionCause,
        at: Instant,
    ) -> Self {
        Self { sequence, from, to, cause, at }
    }
}

/// What a window holds (R18).
#[allow(clippy::exhaustive_structs, reason = "the three numbers of which rates are made")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Calls that succeeded, failed or ran out of time.
    pub calls: u64,
    /// Those that failed or ran out of time.
    pub failures: u64,
    /// Those that were slow, whatever they came to.
    pub slow: u64,
}

/// A snapshot of a circuit; totals never fall.
///
/// At rest `admitted = success + failure + timeout + ignored + cancelled + abandoned` counts; timeouts are counted beside failures, not
/// among them.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitMetrics {
    /// The state, derived at the time of reading (R6).
    pub status: CircuitStatus,
    /// Calls that were let through.
    pub admitted_count: u64,
    /// Calls that succeeded.
    pub success_count: u64,
    /// Calls that failed, panics among them.
    pub failure_count: u64,
    /// Calls that ran out of time.
    pub timeout_count: u64,
    /// Calls whose result was ignored.
    pub ignored_count: u64,
    /// Calls that were dropped.
    pub cancelled_count: u64,
    /// Probes whose lease ran out (R7).
    pub abandoned_count: u64,
    /// Calls that were turned away.
    pub rejected_count: u64,
    /// Calls that were let through only because the circuit is observed (R23); they are among the admitted.
    pub would_reject_count: u64,
    /// Calls that succeeded, failed or ran out of time, and were slow; counted where slow calls are looked at.
    pub slow_count: u64,
    /// Failures in a row that count towards opening now.
    pub consecutive_failures: u32,
    /// Successful probes that count towards closing now.
    pub probe_successes: u32,
    /// What the window holds now; `None` where the policy has none.
    pub window: Option<WindowCounts>,
    /// Openings since the circuit was closed last (R19).
    pub openings: u32,
    /// Changes of state, ever.
    pub state_transitions: u64,
    /// The last 32 changes, oldest first.
    pub recent_transitions: Vec<Transition>,
    /// While open, when the next probe may be admitted.
    pub retry_after: Option<Duration>,
}

impl CircuitMetrics {
    /// A circuit that nothing happened to.
    #[must_use]
    pub fn new(status: CircuitStatus) -> Self {
        Self {
            status,
            admitted_count: 0,
            success_count: 0,
            failure_count: 0,
            timeout_count: 0,
            ignored_count: 0,
            cancelled_count: 0,
            abandoned_count: 0,
            rejected_count: 0,
            would_reject_count: 0,
            slow_count: 0,
            consecutive_failures: 0,
            probe_successes: 0,
            window: None,
            openings: 0,
            state_transitions: 0,
            recent_transitions: Vec::new(),
            retry_after: None,
        }
    }
}
