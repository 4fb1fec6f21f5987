//! Broken in openings, probes and their leases.

use std::sync::atomic::Ordering;
use std::time::Duration;

use onex_spi::Result;
use onex_spi::breaker::{CircuitMetrics, CircuitState, Outcome, Rejection, Ticket};

use super::Broken;
use super::wrapper::{Inner, Twist, change};

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "success_threshold_ignored",
        law: "R0",
        // Every case in which a probe succeeds and is not the last.
        caught_by: &[
            "breaker.stale_drop_frees_no_slot",
            "breaker.listener_sees_changes_in_order",
            "breaker.listener_panic_stays_its_own",
            "breaker.window_is_of_its_era",
            "breaker.openings_grow_to_the_cap",
            "breaker.result_opens_at_once",
            "breaker.success_threshold",
            "breaker.probe_failure_reopens_fully",
            "breaker.every_change_is_recorded",
            "breaker.hung_probe_loses_its_slot",
            "breaker.lease_is_the_longer_time",
            "breaker.no_probes_wedge_the_circuit",
            "breaker.extreme_limits_work",
            "breaker.no_herd_in_half_open",
            "breaker.only_needed_probes_run",
            "breaker.cancelled_probe_gives_its_slot_back",
            "breaker.stale_success_is_ignored",
            "breaker.late_success_leaves_it_open",
            "breaker.stale_failure_is_ignored",
            "breaker.stale_probe_is_ignored",
            "breaker.rejections_and_ignored_errors_do_not_count",
            "breaker.panic_is_a_failure",
            "breaker.totals_add_up",
            "breaker.reset_from_every_state",
            "breaker.reconfiguration_keeps_state",
            "breaker.lower_limits_apply_to_the_next_call",
            "breaker.service_behind_a_circuit",
        ],
        wrap: change::<SuccessThresholdIgnored>,
    },
    Broken {
        name: "successes_survive_reopening",
        law: "R0",
        caught_by: &["breaker.probe_failure_reopens_fully"],
        wrap: change::<SuccessesSurviveReopening>,
    },
    Broken {
        name: "late_success_closes_the_circuit",
        law: "R2",
        caught_by: &["breaker.late_success_leaves_it_open", "breaker.stale_probe_is_ignored"],
        wrap: change::<LateSuccessCloses>,
    },
    Broken {
        name: "late_failures_prolong_the_opening",
        law: "R2",
        caught_by: &["breaker.late_failures_move_no_deadline"],
        wrap: change::<LateFailuresProlong>,
    },
    Broken {
        name: "stale_success_closes",
        law: "R2",
        caught_by: &["breaker.stale_success_is_ignored", "breaker.stale_probe_is_ignored"],
        wrap: change::<StaleSuccessCloses>,
    },
    Broken {
        name: "stale_failure_reopens",
        law: "R2",
        caught_by: &["breaker.stale_failure_is_ignored", "breaker.stale_probe_is_ignored"],
        wrap: change::<StaleFailureReopens>,
    },
    Broken {
        name: "half_open_unlimited",
        law: "R4",
        caught_by: &[
            "breaker.racing_threads_share_the_limit",
            "breaker.stale_drop_frees_no_slot",
            "breaker.no_herd_in_half_open",
            "breaker.only_needed_probes_run",
            "breaker.hung_probe_loses_its_slot",
            "breaker.own_timeout_is_a_permits_lease",
            "breaker.lease_is_the_longer_time",
            "breaker.stale_success_is_ignored",
            "breaker.stale_probe_is_ignored",
            "breaker.lower_limits_apply_to_the_next_call",
        ],
        wrap: change::<HalfOpenUnlimited>,
    },
    Broken {
        name: "deadline_rounded_down",
        law: "R5",
        caught_by: &["breaker.open_time_boundary"],
        wrap: change::<DeadlineRoundedDown>,
    },
    Broken {
        name: "hung_probes_wedge_the_circuit",
        law: "R7",
        caught_by: &[
            "breaker.hung_probe_loses_its_slot",
            "breaker.own_timeout_is_a_permits_lease",
            "breaker.lease_is_the_longer_time",
            "breaker.no_probes_wedge_the_circuit",
        ],
        wrap: change::<HungProbesWedge>,
    },
    Broken {
        name: "abandoned_probe_counts_late",
        law: "R7",
        caught_by: &["breaker.hung_probe_loses_its_slot", "breaker.lease_is_the_longer_time"],
        wrap: change::<AbandonedCountsLate>,
    },
    Broken {
        name: "lease_forgets_the_own_timeout",
        law: "R7",
        caught_by: &["breaker.own_timeout_is_a_permits_lease"],
        wrap: change::<LeaseForgetsOwnTimeout>,
    },
];

/// The first probe that succeeds closes.
#[derive(Debug, Default)]
struct SuccessThresholdIgnored;

impl Twist for SuccessThresholdIgnored {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let before = circuit.good.metrics().probe_successes;
        circuit.good.settle(ticket, outcome);
        if circuit.good.metrics().probe_successes > before {
            circuit.reset();
        }
    }
}

/// The successes of one half-open count in the next.
#[derive(Debug, Default)]
struct SuccessesSurviveReopening;

impl Twist for SuccessesSurviveReopening {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let before = circuit.good.metrics();
        circuit.good.settle(ticket, outcome);
        let after = circuit.good.metrics();
        if before.status.state == CircuitState::HalfOpen && after.status.state == CircuitState::Open {
            circuit.memo.store(u64::from(before.probe_successes), Ordering::Relaxed);
        } else if after.probe_successes > before.probe_successes {
            for _ in 0..circuit.memo.swap(0, Ordering::Relaxed) {
                let _ = circuit.once_more(Outcome::Success);
            }
        }
    }
}

/// A success that comes while the circuit is open closes it.
#[derive(Debug, Default)]
struct LateSuccessCloses;

impl Twist for LateSuccessCloses {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let open = circuit.is(CircuitState::Open);
        circuit.good.settle(ticket, outcome);
        if open && outcome == Outcome::Success {
            circuit.reset();
        }
    }
}

/// A failure that comes while the circuit is open begins the opening anew.
#[derive(Debug, Default)]
struct LateFailuresProlong;

impl Twist for LateFailuresProlong {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let open = circuit.is(CircuitState::Open);
        circuit.good.settle(ticket, outcome);
        if open && outcome == Outcome::Failure {
            circuit.reset();
            while circuit.is(CircuitState::Closed) {
                circuit.once_more(Outcome::Failure);
            }
        }
    }
}

/// A success of a call that was no probe closes a half-open circuit.
#[derive(Debug, Default)]
struct StaleSuccessCloses;

impl Twist for StaleSuccessCloses {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let before = circuit.good.metrics();
        circuit.good.settle(ticket, outcome);
        let after = circuit.good.metrics();
        let stale =
            after.success_count > before.success_count && after.probe_successes == before.probe_successes;
        if stale && before.status.state == CircuitState::HalfOpen && circuit.is(CircuitState::HalfOpen) {
            circuit.reset();
        }
    }
}

/// A failure of a call that was no probe reopens.
#[derive(Debug, Default)]
struct StaleFailureReopens;

impl Twist for StaleFailureReopens {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let half_open = circuit.is(CircuitState::HalfOpen);
        circuit.good.settle(ticket, outcome);
        if half_open && outcome == Outcome::Failure && circuit.is(CircuitState::HalfOpen) {
            circuit.once_more(Outcome::Failure);
        }
    }
}

#[derive(Debug, Default)]
struct HalfOpenUnlimited;

impl Twist for HalfOpenUnlimited {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        match circuit.good.admit(call_timeout) {
            Err(rejection) if rejection.state == CircuitState::HalfOpen => Ok(Inner::forged()),
            decision => decision,
        }
    }
}

/// The last millisecond of an opening is missing.
#[derive(Debug, Default)]
struct DeadlineRoundedDown;

impl Twist for DeadlineRoundedDown {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        match circuit.good.admit(call_timeout) {
            Err(rejection) if rejection.retry_after.is_some_and(|left| left <= Duration::from_millis(1)) => {
                Ok(Inner::forged())
            }
            decision => decision,
        }
    }
}

/// Once a probe hung, nothing runs any more.
#[derive(Debug, Default)]
struct HungProbesWedge;

impl Twist for HungProbesWedge {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        let ticket = circuit.good.admit(call_timeout)?;
        if circuit.good.metrics().abandoned_count == 0 {
            return Ok(ticket);
        }
        circuit.good.settle(ticket, Outcome::Cancelled);
        Err(Rejection::new(CircuitState::HalfOpen, false, None))
    }
}

/// A call without a timeout of its own is admitted as one that takes no time.
#[derive(Debug, Default)]
struct LeaseForgetsOwnTimeout;

impl Twist for LeaseForgetsOwnTimeout {
    fn admit(&self, circuit: &Inner, call_timeout: Option<Duration>) -> Result<Ticket, Rejection> {
        circuit.good.admit(Some(call_timeout.unwrap_or_default()))
    }
}

#[derive(Debug, Default)]
struct AbandonedCountsLate;

impl Twist for AbandonedCountsLate {
    fn settle(&self, circuit: &Inner, ticket: Ticket, outcome: Outcome) {
        let settled = |metrics: &CircuitMetrics| {
            metrics.success_count
                + metrics.failure_count
                + metrics.timeout_count
                + metrics.ignored_count
                + metrics.cancelled_count
        };
        let before = settled(&circuit.good.metrics());
        circuit.good.settle(ticket, outcome);
        if settled(&circuit.good.metrics()) == before {
            circuit.memo.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn metrics(&self, circuit: &Inner) -> CircuitMetrics {
        let mut metrics = circuit.good.metrics();
        metrics.cancelled_count += circuit.memo.load(Ordering::Relaxed);
        metrics
    }
}
