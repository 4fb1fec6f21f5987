//! Circuit breaking: two decisions, and what callers need around them.
//!
//! ```text
//!             F failures in a row                 open time passed, next call admitted
//!   closed ───────────────────────► open ────────────────────────────────────────► half-open
//!     ▲                              ▲                                              │    │
//!     │                              └──────────── one probe failed ────────────────┘    │
//!     └───────────────────────── S probes succeeded ─────────────────────────────────────┘
//! ```
//!
//! # For callers
//! Take a [`Circuit`] once and call through it: `circuit.call(timeout, || request()).await` ([`CircuitExt`]). By name:
//! [`CircuitBreakerExt::execute_with_circuit_breaker`]. A [`Rejection`] means that the operation was not touched.
//!
//! # For implementers
//! A breaker decides: [`Circuit::admit`] and [`Circuit::settle`]. The RAII permit, the timeout, the classification and the
//! panic rule live once in [`CircuitExt`]; the circuits by name, their bound and every refusal in [`Registry`]; the telling of changes
//! in [`Listeners`]. Run `onex_testkit::breaker::conformance`.
//!
//! # Laws
//! - **R0** The circuit moves as drawn: `failure_threshold` failures in a row open it, `success_threshold` probes close it, one
//!   failed probe opens it again.
//! - **R1** Exactly one outcome per admitted call. **R2** It counts only in the era in which the call was admitted.
//! - **R3** Permits are returned by drop; cancellation is neither success nor failure.
//! - **R4** Half-open admits at most `half_open_max_calls` at a time and at most what is still needed to close.
//! - **R5** Monotonic injected clock; never admitted before `opened_at + open_time`, always from the clock's grain later.
//! - **R6** Reading changes nothing and creates nothing; state reads are derived; the transition is counted at the first probe.
//! - **R7** No pattern of hung, dropped, ignored or panicking probes rejects for ever: a probe's slot is reclaimed after
//!   `max(call timeout, open time)`, and its later result counts nowhere.
//! - **R8** Forced states are sticky; left only by reset or the other force. Totals go on, decisions count nothing.
//! - **R9** Reset from any state: closed, not forced, decision counters zero, new era; totals stay.
//! - **R10** A rejection is no failure, does not touch the operation, carries state and `retry_after`; its error names the circuit.
//! - **R11** Ignored outcomes free the permit and count nowhere else.
//! - **R12** Configuration is validated and atomic; state, era and counters survive; a shorter limit applies to the next
//!   admission; open time from the next opening. A threshold that is passed already applies to the next outcome.
//! - **R13** Circuits are independent.
//! - **R14** Listeners are told outside every lock, one call at a time, each circuit's changes in order; they may call the breaker.
//! - **R15** The number of circuits is bounded; full is `ResourceExhausted`, never an unprotected call. Only idle ones make room:
//!   closed, not forced, no failure counted, never configured by name, and no handle alive. Their metrics go with them.
//! - **R16** A panic is a failure and is raised again. **R17** No accepted configuration overflows.
//! - **R18** Rates look at the calls of the present closed era in the window that succeeded, failed or ran out of time. They are
//!   judged at each failed and each slow call, that call included, once `minimum_calls` are there; a success opens nothing unless it
//!   is slow. A probe that is slow counts as a failed one. Every policy counts failures in a row; a window whose kind or length is
//!   configured anew begins empty, and so does that of each era.
//! - **R19** The n-th opening since the circuit was closed lasts as [`OpenBackoff`] says; closing, resetting and forcing begin anew.
//! - **R20** [`Outcome::Trip`] is a failure in the totals. It opens a closed or half-open circuit at once, for its own time up to
//!   `trip_wait_cap`, if it is of the present era; the next opening is as long as if this one had been ordinary.
//! - **R21** A restored circuit decides as the one that was kept, and what was admitted before counts in no decision.
//! - **R22** A new circuit takes the configuration of the first template that its name fits, else the defaults.
//! - **R23** An observed circuit changes its state as any other and lets through what it would reject; such calls are told in
//!   `would_reject_count` and counted in no decision. A forced opening still rejects: it is an order, not a decision.

mod config;
mod error;
mod ext;
mod listener;
mod metrics;
mod open_time;
mod ports;
mod registry;
mod snapshot;
mod template;
mod trip;

pub use self::config::CircuitBreakerConfig;
pub use self::error::{ExecuteError, Rejection};
pub use self::ext::{CircuitBreakerExt, CircuitExt, Permit};
pub use self::listener::{CircuitListener, Listeners, News};
pub use self::metrics::{
    CircuitMetrics, CircuitState, CircuitStatus, Transition, TransitionCause, WindowCounts,
};
pub use self::open_time::OpenBackoff;
pub use self::ports::{
    BreakerCapabilities, BreakerFeature, BreakerLimits, Circuit, CircuitBreaker, Outcome, Ticket,
};
pub use self::registry::Registry;
pub use self::snapshot::CircuitSnapshot;
pub use self::template::CircuitTemplate;
pub use self::trip::{RatePolicy, SlowCalls, TripPolicy, Window};
