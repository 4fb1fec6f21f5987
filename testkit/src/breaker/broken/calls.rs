//! Broken in admitting or settling a call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use onex_spi::Result;
use onex_spi::breaker::{CircuitMetrics, CircuitState, Outcome, Rejection, Ticket};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "success_keeps_the_run",
        law: "R0",
        caught_by: &["breaker.success_breaks_the_run"],
        wrap: change::<SuccessKeepsTheRun>,
    },
    Broken {
        name: "one_failure_is_no_run",
        law: "R0",
        caught_by: &[
            "breaker.opens_exactly_at_threshold",
            "breaker.timeout_is_one_failure",
            "breaker.circuits_own_timeout_applies",
        ],
        wrap: change::<OneFailureIsNoRun>,
    },
    Broken {
        name: "failure_counts_as_timeout_too",
        law: "R1",
        caught_by: &[
            "breaker.closed_is_transparent",
            "breaker.totals_add_up",
            "breaker.totals_add_up_across_threads",
            "breaker.observed_circuit_rejects_nothing",
        ],
        wrap: change::<FailureIsTimeoutToo>,
    },
    Broken {
        name: "timeout_counted_twice",
        law: "R1",
        caught_by: &[
            "breaker.timeout_is_one_failure",
            "breaker.circuits_own_timeout_applies",
            "breaker.totals_add_up",
        ],
        wrap: change::<TimeoutCountedTwice>,
    },
    Broken {
        name: "permit_leaked_on_drop",
        law: "R3",
        caught_by: &[
            "breaker.stale_drop_frees_no_slot",
            "breaker.cancelled_probe_gives_its_slot_back",
            "breaker.cancelled_call_says_nothing",
        ],
        wrap: change::<PermitLeakedOnDrop>,
    },
    Broken {
        name: "cancellation_counts_as_failure",
        law: "R3",
        caught_by: &[
            "breaker.stale_drop_frees_no_slot",
            "breaker.cancelled_probe_gives_its_slot_back",
            "breaker.cancelled_call_says_nothing",
        ],
        wrap: change::<CancellationIsFailure>,
    },
    Broken {
        name: "rejection_counts_as_failure",
        law: "R10",
        caught_by: &[
            "breaker.rejections_and_ignored_errors_do_not_count",
            "breaker.fallback_is_outside_the_accounting",
            "breaker.totals_add_up",
        ],
        wrap: change::<RejectionIsFailure>,
    },
    Broken {
        name: "rejection_without_retry_after",
        law: "R10",
        caught_by: &[
            "breaker.rejection_never_touches_the_operation",
            "breaker.open_time_boundary",
            "breaker.service_behind_a_circuit",
        ],
        wrap: change::<NoRetryAfter>,
    },
    Broken {
        name: "ignored_counts_as_failure",
        law: "R11",
        caught_by: &[
            "breaker.stale_drop_frees_no_slot",
            "breaker.failure_rate_over_calls",
            "breaker.rejections_and_ignored_errors_do_not_count",
            "breaker.service_behind_a_circuit",
            "breaker.only_needed_probes_run",
            "breaker.totals_add_up",
            "breaker.totals_add_up_across_threads",
        ],
        wrap: change::<IgnoredIsFailure>,
    },
    Broken {
        name: "ignored_keeps_its_slot",
        law: "R11",
        caught_by: &[
            "breaker.stale_drop_frees_no_slot",
            "breaker.rejections_and_ignored_errors_do_not_count",
            "breaker.only_needed_probes_run",
            "breaker.totals_add_up",
            "breaker.totals_add_up_across_threads",
        ],
        wrap: change::<IgnoredKeepsItsSlot>,
    },
    Broken {
        name: "failures_spread_to_other_circuits",
        law: "R13",
        caught_by: &["breaker.circuits_are_independent"],
        wrap: change::<FailuresSpread>,
    },
    Broken {
        name: "panic_uncounted",
        law: "R16",
        caught_by: &["breaker.panic_is_a_failure"],
        wrap: change::<PanicUncounted>,
    },
    Broken {
        name: "long_timeouts_overflow",
        law: "R17",
        caught_by: &["breaker.extreme_limits_work"],
        wrap: change::<LongTimeoutsOverflow>,
    },
];

/// Failures are counted ever, not in a row.
#[derive(Debug, Default)]
struct SuccessKeepsTheRun;

impl Twist for SuccessKeepsTheRun {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let in_a_row = circuit.good.config().rates().is_none();
        let run = in_a_row && circuit.good.metrics().consecutive_failures > 0;
        if run && outcome == Outcome::Success {
            circuit.memo.fetch_add(1, Ordering::Relaxed);
            circuit.good.settle(ticket, Outcome::Ignored);
        } else {
            circuit.good.settle(ticket, outcome);
        }
    }

    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        let hidden = circuit.memo.load(Ordering::Relaxed);
        metrics.success_count += hidden;
        metrics.ignored_count -= hidden;
        metrics
    }
}

#[derive(Debug, Default)]
struct TimeoutCountedTwice;

impl Twist for TimeoutCountedTwice {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let closed = circuit.is(CircuitState::Closed);
        circuit.good.settle(ticket, outcome);
        if closed && outcome == Outcome::TimedOut {
            circuit.once_more(Outcome::Failure);
        }
    }
}

#[derive(Debug, Default)]
struct PermitLeakedOnDrop;

impl Twist for PermitLeakedOnDrop {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        if outcome != Outcome::Cancelled {
            circuit.good.settle(ticket, outcome);
        }
    }
}

#[derive(Debug, Default)]
struct CancellationIsFailure;

impl Twist for CancellationIsFailure {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let counted = if outcome == Outcome::Cancelled { Outcome::Failure } else { outcome };
        circuit.good.settle(ticket, counted);
    }
}

/// Failures in a row are shown from the second on.
#[derive(Debug, Default)]
struct OneFailureIsNoRun;

impl Twist for OneFailureIsNoRun {
    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        if metrics.consecutive_failures == 1 {
            metrics.consecutive_failures = 0;
        }
        metrics
    }
}

#[derive(Debug, Default)]
struct FailureIsTimeoutToo;

impl Twist for FailureIsTimeoutToo {
    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        if circuit.is(CircuitState::Closed) {
            metrics.timeout_count += metrics.failure_count;
        }
        metrics
    }
}

#[derive(Debug, Default)]
struct RejectionIsFailure;

impl Twist for RejectionIsFailure {
    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        metrics.failure_count += metrics.rejected_count;
        metrics
    }
}

#[derive(Debug, Default)]
struct NoRetryAfter;

impl Twist for NoRetryAfter {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let decision = circuit.good.admit(call_timeout);
        decision.map_err(|rejection| Rejection::new(rejection.state, rejection.forced, None))
    }
}

#[derive(Debug, Default)]
struct IgnoredIsFailure;

impl Twist for IgnoredIsFailure {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let counted = if outcome == Outcome::Ignored { Outcome::Failure } else { outcome };
        circuit.good.settle(ticket, counted);
    }
}

#[derive(Debug, Default)]
struct IgnoredKeepsItsSlot;

impl Twist for IgnoredKeepsItsSlot {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        if outcome != Outcome::Ignored {
            circuit.good.settle(ticket, outcome);
        }
    }
}

#[derive(Debug, Default)]
struct FailuresSpread;

impl Twist for FailuresSpread {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        circuit.good.settle(ticket, outcome);
        if outcome != Outcome::Failure {
            return;
        }
        let names = circuit.breaker.all_circuit_states().into_keys();
        let others = names.filter(|name| **name != *circuit.good.name());
        for other in others.filter_map(|name| circuit.breaker.find(&name)) {
            if let Ok(ticket) = other.admit(None) {
                other.settle(ticket, Outcome::Failure);
            }
        }
    }
}

/// A permit that is dropped by a panic is taken for a cancelled one.
#[derive(Debug, Default)]
struct PanicUncounted;

impl Twist for PanicUncounted {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let counted = if std::thread::panicking() { Outcome::Cancelled } else { outcome };
        circuit.good.settle(ticket, counted);
    }
}

/// A timeout that is added to the time of day in 32 bits of milliseconds runs over, and the call is refused.
#[derive(Debug, Default)]
struct LongTimeoutsOverflow;

impl Twist for LongTimeoutsOverflow {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let overflows = call_timeout.is_some_and(|timeout| timeout.as_millis() > u128::from(u32::MAX));
        if overflows {
            Err(Rejection::new(CircuitState::Open, false, None))
        } else {
            circuit.good.admit(call_timeout)
        }
    }
}
