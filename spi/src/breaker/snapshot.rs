//! A circuit's state, to be kept and given back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CircuitState, CircuitStatus};
use crate::{Error, Result};

/// What a circuit decides by, to be written down and given back after a restart (R21).
///
/// Times are spans, because another process has another clock: who knows how long it was away takes that from `open_for`. What a
/// window holds and the totals are not in it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitSnapshot {
    /// The state as it is read.
    pub status: CircuitStatus,
    /// Failures in a row that count towards opening.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// Successful probes that count towards closing.
    #[serde(default)]
    pub probe_successes: u32,
    /// Openings since the circuit was closed last; a further one is the longer for them (R19).
    #[serde(default)]
    pub openings: u32,
    /// What is left of an opening that was not forced.
    #[serde(default, with = "humantime_serde")]
    pub open_for: Option<Duration>,
}

impl CircuitSnapshot {
    /// A circuit of that status, with nothing counted; an open one that was not forced needs `open_for`.
    #[must_use]
    pub fn new(status: CircuitStatus) -> Self {
        Self { status, consecutive_failures: 0, probe_successes: 0, openings: 0, open_for: None }
    }

    /// Sets what is left of the opening.
    #[must_use]
    pub fn with_open_for(mut self, left: Option<Duration>) -> Self {
        self.open_for = left;
        self
    }

    /// Sets the failures in a row.
    #[must_use]
    pub fn with_consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = failures;
        self
    }

    /// Sets the successful probes.
    #[must_use]
    pub fn with_probe_successes(mut self, successes: u32) -> Self {
        self.probe_successes = successes;
        self
    }

    /// Sets the openings since the circuit was closed last.
    #[must_use]
    pub fn with_openings(mut self, openings: u32) -> Self {
        self.openings = openings;
        self
    }

    /// Checks that it can be the state of a circuit.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600 + 1);
        let bad = |text: String| Err(Error::invalid("breaker.restore", text));
        let Self { status, open_for, .. } = *self;
        if status == CircuitStatus::forced(CircuitState::HalfOpen) {
            return bad("status = half_open cannot be forced; only open and closed can".to_owned());
        }
        let opening = status == CircuitStatus::new(CircuitState::Open);
        if opening != open_for.is_some() || open_for.is_some_and(|left| left > LONGEST) {
            let rule = "at most 365d where the status is open and not forced, and absent elsewhere";
            return bad(format!("open_for = {open_for:?} is not {rule}"));
        }
        let counts = [
            ("consecutive_failures", self.consecutive_failures, 1_000_000, CircuitState::Closed),
            ("probe_successes", self.probe_successes, 100_000, CircuitState::HalfOpen),
        ];
        for (field, value, most, state) in counts {
            let most = if status == CircuitStatus::new(state) { most } else { 0 };
            if value > most {
                return bad(format!("{field} = {value} is not in 0..={most} for {status:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_circuit_can_be_is_refused_by_field() {
        use CircuitState::{Closed, HalfOpen, Open};
        let new = |state| CircuitSnapshot::new(CircuitStatus::new(state));
        let second = Some(Duration::from_secs(1));
        let good = [
            new(Closed).with_consecutive_failures(1_000_000),
            new(Open).with_open_for(second).with_openings(u32::MAX),
            new(HalfOpen).with_probe_successes(3),
            CircuitSnapshot::new(CircuitStatus::forced(Open)),
        ];
        for snapshot in good {
            snapshot.validate().expect("a circuit can be so");
            let text = serde_json::to_string(&snapshot).expect("a text");
            assert_eq!(serde_json::from_str::<CircuitSnapshot>(&text).expect("reads back"), snapshot);
        }
        let bad = [
            ("open_for", new(Open)),
            ("open_for", new(Open).with_open_for(Some(Duration::MAX))),
            ("open_for", new(Closed).with_open_for(second)),
            ("open_for", CircuitSnapshot::new(CircuitStatus::forced(Open)).with_open_for(second)),
            ("consecutive_failures", new(Closed).with_consecutive_failures(u32::MAX)),
            ("consecutive_failures", new(HalfOpen).with_consecutive_failures(1)),
            ("probe_successes", new(Closed).with_probe_successes(1)),
            ("half_open", CircuitSnapshot::new(CircuitStatus::forced(HalfOpen))),
        ];
        for (field, snapshot) in bad {
            let text = snapshot.validate().expect_err(field).to_string();
            assert!(text.contains(field), "{text}");
        }
    }
}
