//! Broken in reading, configuring, forcing, resetting or keeping circuits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onex_spi::breaker::{
    BreakerFeature, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitMetrics, CircuitSnapshot,
    CircuitState, CircuitStatus, Outcome, Rejection, Ticket,
};
use onex_spi::{ErrorKind, Result};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "forgets_circuits_that_nobody_holds",
        law: "R12",
        caught_by: &["breaker.call_by_name_makes_the_circuit"],
        wrap: change::<ForgetsUnheld>,
    },
    Broken {
        name: "tells_the_defaults_for_a_configuration",
        law: "R12",
        caught_by: &["breaker.undeclared_is_refused"],
        wrap: change::<TellsDefaults>,
    },
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
        caught_by: &[
            "breaker.force_closed_is_sticky",
            "breaker.one_force_leaves_the_other",
            "breaker.result_of_another_era_opens_nothing",
        ],
        wrap: change::<ForcedClosedCounts>,
    },
    Broken {
        name: "reset_ignores_the_closed_state",
        law: "R9",
        caught_by: &[
            "breaker.reset_from_every_state",
            "breaker.reset_begins_an_era",
            "breaker.window_is_of_its_era",
        ],
        wrap: change::<ResetIgnoresClosed>,
    },
    Broken {
        name: "reset_keeps_the_forced_flag",
        law: "R9",
        caught_by: &[
            "breaker.force_open_is_sticky",
            "breaker.force_closed_is_sticky",
            "breaker.reset_from_every_state",
        ],
        wrap: change::<ResetKeepsTheFlag>,
    },
    Broken {
        name: "configuration_resets",
        law: "R12",
        caught_by: &[
            "breaker.reconfiguration_keeps_state",
            "breaker.lower_limits_apply_to_the_next_call",
            "breaker.extreme_limits_work",
            "breaker.rates_change_and_counts_stay",
        ],
        wrap: change::<ConfigurationResets>,
    },
    Broken {
        name: "bad_configuration_accepted",
        law: "R12",
        caught_by: &["breaker.bad_configuration_is_refused", "breaker.bad_rates_are_refused"],
        wrap: change::<BadConfigurationAccepted>,
    },
    Broken {
        name: "full_lends_a_foreign_circuit",
        law: "R15",
        caught_by: &["breaker.full_is_refused_unprotected_never", "breaker.only_idle_circuits_go"],
        wrap: change::<FullLends>,
    },
    Broken {
        name: "idle_circuits_stay",
        law: "R15",
        caught_by: &["breaker.idle_circuits_make_room", "breaker.only_idle_circuits_go"],
        wrap: change::<IdleStay>,
    },
    Broken {
        name: "open_circuits_make_room",
        law: "R15",
        caught_by: &["breaker.only_idle_circuits_go"],
        wrap: change::<OpenMakeRoom>,
    },
    Broken {
        name: "restoring_does_nothing",
        law: "R21",
        caught_by: &["breaker.kept_state_comes_back", "breaker.restoring_begins_an_era"],
        wrap: change::<RestoringDoesNothing>,
    },
    Broken {
        name: "templates_are_ignored",
        law: "R22",
        caught_by: &["breaker.templates_go_by_name"],
        wrap: change::<TemplatesIgnored>,
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
struct ForgetsUnheld;

impl Twist for ForgetsUnheld {
    fn forgets(&self) -> bool {
        true
    }
}

#[derive(Debug, Default)]
struct TellsDefaults;

impl Twist for TellsDefaults {
    fn told(&self, _config: CircuitBreakerConfig) -> CircuitBreakerConfig {
        CircuitBreakerConfig::new()
    }
}

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

/// Once forced, a circuit says so for ever, though it works again.
#[derive(Debug, Default)]
struct ResetKeepsTheFlag(Mutex<BTreeSet<String>>);

impl ResetKeepsTheFlag {
    fn flagged(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

impl Twist for ResetKeepsTheFlag {
    fn reset(&self, good: &dyn CircuitBreaker, name: &str) -> Result<()> {
        if good.circuit_state(name)?.forced {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        }
        good.reset_circuit_breaker(name)
    }

    fn status(&self, circuit: &Inner) -> CircuitStatus {
        let mut status = circuit.good.status();
        status.forced |= self.flagged(circuit.good.name());
        status
    }

    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        metrics.status.forced |= self.flagged(circuit.good.name());
        metrics
    }
}

/// Something holds every circuit that was ever asked for.
#[derive(Debug, Default)]
struct IdleStay(Mutex<Vec<Arc<dyn Circuit>>>);

impl Twist for IdleStay {
    fn circuit(&self, good: &dyn CircuitBreaker, name: &str) -> Result<Arc<dyn Circuit>> {
        let circuit = good.circuit(name)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&circuit));
        Ok(circuit)
    }
}

/// Where there is no room, open circuits go.
#[derive(Debug, Default)]
struct OpenMakeRoom;

impl Twist for OpenMakeRoom {
    fn circuit(&self, good: &dyn CircuitBreaker, name: &str) -> Result<Arc<dyn Circuit>> {
        let result = good.circuit(name);
        if !matches!(&result, Err(error) if error.kind() == ErrorKind::ResourceExhausted) {
            return result;
        }
        for (other, status) in good.all_circuit_states() {
            if status == CircuitStatus::new(CircuitState::Open) {
                good.reset_circuit_breaker(&other)?;
            }
        }
        good.circuit(name)
    }
}

#[derive(Debug, Default)]
struct RestoringDoesNothing;

impl Twist for RestoringDoesNothing {
    fn restore(&self, good: &dyn CircuitBreaker, name: &str, snapshot: &CircuitSnapshot) -> Result<()> {
        if !good.capabilities().features.has(BreakerFeature::Snapshots) {
            return good.restore_circuit(name, snapshot);
        }
        snapshot.validate()?;
        good.circuit(name).map(|_| ())
    }
}

/// What a template configures is configured with the defaults. It knows the names of templates by their beginning.
#[derive(Debug, Default)]
struct TemplatesIgnored;

impl Twist for TemplatesIgnored {
    fn circuit(&self, good: &dyn CircuitBreaker, name: &str) -> Result<Arc<dyn Circuit>> {
        if name.starts_with("template.") && good.find(name).is_none() {
            good.configure_circuit_breaker(name, crate::breaker::BreakerSetup::new(0).defaults)?;
        }
        good.circuit(name)
    }
}
