//! Broken in reading, configuring, forcing, resetting or keeping circuits.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::breaker::{
    Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitMetrics, CircuitState, CircuitStatus, Outcome,
    Rejection, Ticket,
};
use onex_spi::{ErrorKind, Result};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "state_read_creates_a_circuit",
        law: "R6",
        caught_by: &["breaker.reads_are_pure"],
        wrap: change::<ReadCreates>,
    },
    Broken {
        name: "state_read_takes_a_probe",
        law: "R6",
        caught_by: &["breaker.reads_are_pure"],
        wrap: change::<ReadTakesAProbe>,
    },
    Broken {
        name: "half_of_the_history_is_lost",
        law: "R6",
        caught_by: &["breaker.every_change_is_recorded"],
        wrap: change::<ShortHistory>,
    },
    Broken {
        name: "forced_open_expires",
        law: "R8",
        caught_by: &["breaker.force_open_is_sticky"],
        wrap: change::<ForcedOpenExpires>,
    },
    Broken {
        name: "forced_closed_counts",
        law: "R8",
        caught_by: &["breaker.force_closed_is_sticky", "breaker.one_force_leaves_the_other"],
        wrap: change::<ForcedClosedCounts>,
    },
    Broken {
        name: "reset_ignores_the_closed_state",
        law: "R9",
        caught_by: &["breaker.reset_from_every_state", "breaker.reset_begins_an_era"],
        wrap: change::<ResetIgnoresClosed>,
    },
    Broken {
        name: "configuration_resets",
        law: "R12",
        caught_by: &[
            "breaker.reconfiguration_keeps_state",
            "breaker.lower_limits_apply_to_the_next_call",
            "breaker.extreme_limits_work",
        ],
        wrap: change::<ConfigurationResets>,
    },
    Broken {
        name: "bad_configuration_accepted",
        law: "R12",
        caught_by: &["breaker.bad_configuration_is_refused"],
        wrap: change::<BadConfigurationAccepted>,
    },
    Broken {
        name: "full_lends_a_foreign_circuit",
        law: "R15",
        caught_by: &["breaker.full_is_refused_unprotected_never"],
        wrap: change::<FullLends>,
    },
    Broken {
        name: "close_does_nothing",
        law: "Lifecycle",
        caught_by: &["breaker.closed_makes_no_circuit"],
        wrap: change::<CloseDoesNothing>,
    },
];

#[derive(Debug, Default)]
struct ReadCreates;

impl Twist for ReadCreates {
    fn circuit_state(&self, good: &dyn CircuitBreaker, name: &str) -> Result<CircuitStatus> {
        Ok(good.circuit(name)?.status())
    }
}

/// Reading past the open time begins the half-open state.
#[derive(Debug, Default)]
struct ReadTakesAProbe;

impl Twist for ReadTakesAProbe {
    fn circuit_state(&self, good: &dyn CircuitBreaker, name: &str) -> Result<CircuitStatus> {
        let status = good.circuit_state(name)?;
        if let Some(circuit) = good.find(name).filter(|_| status.state == CircuitState::HalfOpen)
            && let Ok(ticket) = circuit.admit(None)
        {
            circuit.settle(ticket, Outcome::Cancelled);
        }
        Ok(status)
    }
}

#[derive(Debug, Default)]
struct ShortHistory;

impl Twist for ShortHistory {
    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        let lost = metrics.recent_transitions.len().saturating_sub(16);
        metrics.recent_transitions.drain(..lost);
        metrics
    }
}

/// A circuit that was forced open lets calls through an hour later.
#[derive(Debug, Default)]
struct ForcedOpenExpires;

impl Twist for ForcedOpenExpires {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let decision = circuit.good.admit(call_timeout);
        let forced_at = circuit.good.metrics().recent_transitions.last().map(|change| change.at);
        match decision {
            Err(rejection) if rejection.forced => {
                let passed = forced_at.map(|at| circuit.good.clock().now().saturating_duration_since(at));
                if passed < Some(Duration::from_secs(3600)) {
                    return Err(rejection);
                }
                circuit.reset();
                circuit.good.admit(call_timeout)
            }
            decision => decision,
        }
    }
}

/// Forcing closed is a reset.
#[derive(Debug, Default)]
struct ForcedClosedCounts;

impl Twist for ForcedClosedCounts {
    fn force_closed(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        good.reset_circuit_breaker(name)
    }
}

#[derive(Debug, Default)]
struct ResetIgnoresClosed;

impl Twist for ResetIgnoresClosed {
    fn reset(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        if good.circuit_state(name)? == CircuitStatus::new(CircuitState::Closed) {
            return Ok(());
        }
        good.reset_circuit_breaker(name)
    }
}

#[derive(Debug, Default)]
struct ConfigurationResets;

impl Twist for ConfigurationResets {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        good.configure_circuit_breaker(name, config)?;
        good.reset_circuit_breaker(name)
    }
}

#[derive(Debug, Default)]
struct BadConfigurationAccepted;

impl Twist for BadConfigurationAccepted {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        match good.configure_circuit_breaker(name, config) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// Beyond the bound, names share a circuit that is there.
#[derive(Debug, Default)]
struct FullLends;

impl Twist for FullLends {
    fn circuit(&self, good: &dyn CircuitBreaker, name: &str) -> Result<Arc<dyn Circuit>> {
        match good.circuit(name) {
            Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
                let lent = good.all_circuit_states().into_keys().find_map(|name| good.find(&name));
                lent.ok_or(error)
            }
            result => result,
        }
    }
}

#[derive(Debug, Default)]
struct CloseDoesNothing;

impl Twist for CloseDoesNothing {
    fn closes(&self) -> bool {
        false
    }
}
