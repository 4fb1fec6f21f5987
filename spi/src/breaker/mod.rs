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
//! panic rule live once in [`CircuitExt`]. Run `onex_testkit::breaker::conformance`.
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
//! - **R13** Circuits are independent. **R15** Their number is bounded; full is `ResourceExhausted`, never an unprotected call.
//! - **R16** A panic is a failure and is raised again. **R17** No accepted configuration overflows.

mod config;
mod error;
mod ext;
mod metrics;
mod ports;

pub use self::config::CircuitBreakerConfig;
pub use self::error::{ExecuteError, Rejection};
pub use self::ext::{CircuitBreakerExt, CircuitExt, Permit};
pub use self::metrics::{CircuitMetrics, CircuitState, CircuitStatus, Transition, TransitionCause};
pub use self::ports::{
    BreakerCapabilities, BreakerFeature, BreakerLimits, Circuit, CircuitBreaker, Outcome, Ticket,
};
