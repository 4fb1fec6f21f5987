//! Broken in rates, openings and the results that open.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onex_spi::Result;
use onex_spi::breaker::{
    CircuitBreaker, CircuitBreakerConfig, CircuitMetrics, CircuitState, Outcome, Ticket, TripPolicy, Window,
    WindowCounts,
};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "cumulative_window",
        law: "R18",
        caught_by: &["breaker.failure_rate_over_calls", "breaker.failure_rate_over_time"],
        wrap: change::<Cumulative>,
    },
    Broken {
        name: "minimum_calls_ignored",
        law: "R18",
        caught_by: &[
            "breaker.failure_rate_over_time",
            "breaker.minimum_calls_come_first",
            "breaker.window_is_of_its_era",
        ],
        wrap: change::<MinimumIgnored>,
    },
    Broken {
        name: "long_openings_tell_no_end",
        law: "R17",
        caught_by: &["breaker.extreme_limits_work", "breaker.extreme_openings_work"],
        wrap: change::<LongOpeningsTellNoEnd>,
    },
    Broken {
        name: "slow_calls_ignored",
        law: "R18",
        caught_by: &["breaker.slow_calls_open"],
        wrap: change::<SlowIgnored>,
    },
    Broken {
        name: "openings_never_grow",
        law: "R19",
        caught_by: &["breaker.openings_grow_to_the_cap", "breaker.chance_stays_in_its_share"],
        wrap: change::<NeverGrow>,
    },
    Broken {
        name: "openings_grow_beyond_the_cap",
        law: "R19",
        caught_by: &["breaker.openings_grow_to_the_cap"],
        wrap: change::<BeyondTheCap>,
    },
    Broken {
        name: "tripping_result_is_one_failure",
        law: "R20",
        caught_by: &["breaker.result_opens_at_once", "breaker.result_of_another_era_opens_nothing"],
        wrap: change::<TripIsFailure>,
    },
    Broken {
        name: "own_wait_ignored",
        law: "R20",
        caught_by: &["breaker.result_opens_at_once"],
        wrap: change::<OwnWaitIgnored>,
    },
    Broken {
        name: "own_wait_without_cap",
        law: "R20",
        caught_by: &["breaker.result_opens_at_once"],
        wrap: change::<OwnWaitUncapped>,
    },
    Broken {
        name: "observed_circuit_rejects",
        law: "R23",
        caught_by: &["breaker.observed_circuit_rejects_nothing"],
        wrap: change::<ObservedRejects>,
    },
];

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the good window would hold with one more failure; in a full one it takes a success's place.
fn with_one_more(circuit: &Inner) -> WindowCounts {
    let held = circuit.good.metrics().window.unwrap_or_default();
    let most = match circuit.good.config().rates().map(|rates| rates.window) {
        Some(Window::Calls(calls)) => u64::from(calls),
        _ => u64::MAX,
    };
    WindowCounts { calls: (held.calls + 1).min(most), failures: held.failures + 1, ..held }
}

fn failed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Failure | Outcome::TimedOut)
}

/// The window forgets nothing until the circuit changes its state.
#[derive(Debug, Default)]
struct Cumulative(Mutex<BTreeMap<String, (u64, WindowCounts)>>);

impl Twist for Cumulative {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let rates = circuit.good.config().rates().copied().filter(|rates| rates.failure_rate.is_some());
        let counts = failed(outcome) || outcome == Outcome::Success;
        let Some(rates) = rates.filter(|_| counts && circuit.is(CircuitState::Closed)) else {
            return circuit.good.settle(ticket, outcome);
        };
        let changes = circuit.good.metrics().state_transitions;
        let ever = {
            let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (since, ever) = windows.entry(circuit.good.name().to_owned()).or_default();
            if *since != changes {
                (*since, *ever) = (changes, WindowCounts::default());
            }
            ever.calls += 1;
            ever.failures += u64::from(failed(outcome));
            *ever
        };
        let due = rates.judge(with_one_more(circuit)).is_some();
        let seen = rates.judge(ever).is_some();
        circuit.good.settle(
            ticket,
            match (failed(outcome), due, seen) {
                (true, true, false) => Outcome::Ignored,
                (true, false, true) => Outcome::Trip { wait: None },
                _ => outcome,
            },
        );
    }
}

#[derive(Debug, Default)]
struct MinimumIgnored;

impl Twist for MinimumIgnored {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let counts = with_one_more(circuit);
        let opens = circuit.good.config().rates().is_some_and(|rates| {
            rates.judge(counts).is_none() && rates.with_minimum_calls(1).judge(counts).is_some()
        });
        let closed = circuit.is(CircuitState::Closed);
        let outcome = if closed && opens && failed(outcome) { Outcome::Trip { wait: None } } else { outcome };
        circuit.good.settle(ticket, outcome);
    }
}

/// Configures something else than was asked for.
fn configured(
    good: &dyn CircuitBreaker,
    name: &str,
    mut config: CircuitBreakerConfig,
    change: impl FnOnce(&mut CircuitBreakerConfig),
) -> Result<()> {
    // What is wrong or not declared stays refused.
    config.check("breaker.configure", good.capabilities().features)?;
    change(&mut config);
    good.configure_circuit_breaker(name, config)
}

#[derive(Debug, Default)]
struct SlowIgnored;

impl Twist for SlowIgnored {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        configured(good, name, config, |config| {
            if let TripPolicy::Rates(rates) = &mut config.trip {
                rates.slow_calls = None;
                // A rate must be set; this one opens only where everything fails.
                rates.failure_rate = rates.failure_rate.or(Some(1.0));
            }
        })
    }
}

/// The rest of an opening in 32 bits of milliseconds: what does not fit is nothing.
#[derive(Debug, Default)]
struct LongOpeningsTellNoEnd;

impl Twist for LongOpeningsTellNoEnd {
    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        metrics.retry_after = metrics.retry_after.filter(|left| left.as_millis() <= u128::from(u32::MAX));
        metrics
    }
}

#[derive(Debug, Default)]
struct NeverGrow;

impl Twist for NeverGrow {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        configured(good, name, config, |config| config.open_backoff = None)
    }
}

#[derive(Debug, Default)]
struct BeyondTheCap;

impl Twist for BeyondTheCap {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        configured(good, name, config, |config| {
            if let Some(backoff) = &mut config.open_backoff {
                backoff.cap = YEAR;
            }
        })
    }
}

#[derive(Debug, Default)]
struct TripIsFailure;

impl Twist for TripIsFailure {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let trips = matches!(outcome, Outcome::Trip { .. });
        circuit.good.settle(ticket, if trips { Outcome::Failure } else { outcome });
    }
}

#[derive(Debug, Default)]
struct OwnWaitIgnored;

impl Twist for OwnWaitIgnored {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let trips = matches!(outcome, Outcome::Trip { .. });
        circuit.good.settle(ticket, if trips { Outcome::Trip { wait: None } } else { outcome });
    }
}

#[derive(Debug, Default)]
struct OwnWaitUncapped;

impl Twist for OwnWaitUncapped {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        configured(good, name, config, |config| config.trip_wait_cap = YEAR)
    }
}

#[derive(Debug, Default)]
struct ObservedRejects;

impl Twist for ObservedRejects {
    fn configure(&self, good: &dyn CircuitBreaker, name: &str, config: CircuitBreakerConfig) -> Result<()> {
        configured(good, name, config, |config| config.observe_only = false)
    }
}
