//! What operators do to a circuit.

use std::sync::Arc;

use onex_spi::breaker::{CircuitBreakerConfig, CircuitSnapshot, CircuitState, TransitionCause};

use crate::circuit::{NativeCircuit, timeout_bits};
use crate::limits::Limits;
use crate::sync::Ordering;
use crate::word::State;

impl NativeCircuit {
    /// Swaps the configuration; what the circuit has counted stays (R12).
    pub(crate) fn configure(&self, config: CircuitBreakerConfig) {
        let mut cold = self.lock();
        self.call_timeout.store(timeout_bits(&config), Ordering::Release);
        self.limits.store(Limits::of(&config).bits(), Ordering::Release);
        let window = |config: &CircuitBreakerConfig| config.rates().map(|rates| rates.window);
        if window(&config) != window(&cold.config) {
            // What was seen through another window says nothing in this one.
            cold.empty_window();
        }
        cold.config = Arc::new(config);
    }

    /// Closes the circuit from any state (R9).
    pub(crate) fn reset(&self) {
        let mut cold = self.lock();
        cold.set_openings(0);
        let now = self.now();
        self.change(&mut cold, now, State::Closed { failures: 0 }, TransitionCause::Reset);
        self.unlock(cold);
    }

    /// Forces the circuit into a state; forcing the same again changes nothing (R8).
    pub(crate) fn force(&self, state: State) {
        let mut cold = self.lock();
        if self.word().state() == state {
            return;
        }
        cold.set_openings(0);
        let now = self.now();
        self.change(&mut cold, now, state, TransitionCause::Force);
        self.unlock(cold);
    }

    /// What the circuit decides by (R21).
    pub(crate) fn snapshot(&self) -> CircuitSnapshot {
        let cold = self.lock();
        let word = self.word();
        let (status, left) = self.derived(word);
        let snapshot = CircuitSnapshot::new(status).with_open_for(left).with_openings(cold.openings());
        match word.state() {
            State::Closed { failures } => snapshot.with_consecutive_failures(failures),
            State::HalfOpen { successes, .. } => snapshot.with_probe_successes(successes),
            State::Open { .. } | State::ForcedOpen | State::ForcedClosed => snapshot,
        }
    }

    /// Takes over a validated snapshot (R21).
    pub(crate) fn restore(&self, snapshot: &CircuitSnapshot) {
        let mut cold = self.lock();
        let now = self.now();
        let state = match (snapshot.status.state, snapshot.status.forced) {
            (CircuitState::Open, true) => State::ForcedOpen,
            (CircuitState::Closed, true) => State::ForcedClosed,
            (CircuitState::Closed, false) => State::Closed { failures: snapshot.consecutive_failures },
            (CircuitState::HalfOpen, _) => {
                State::HalfOpen { in_flight: 0, successes: snapshot.probe_successes }
            }
            (CircuitState::Open, false) => {
                State::Open { until_ms: now.plus_rounded_up(snapshot.open_for.unwrap_or_default()) }
            }
        };
        cold.set_openings(snapshot.openings);
        self.change(&mut cold, now, state, TransitionCause::Restore);
        self.unlock(cold);
    }
}
