//! A [`CircuitBreaker`](onex_spi::breaker::CircuitBreaker) that opens when the policies of the `failsafe` crate say so.
//!
//! ```text
//!  name ─► registry (bounded, evicts idle ones) ─► circuit ─► lock ─► machine: era, phase, leases of probes, totals
//!                                                     │                 └ policy: failsafe's consecutive failures
//!                                                     │                           [or else its success rate over a window]
//!                                                     └ changes ─► queue ─► tracing, listeners: outside every lock
//! ```
//!
//! failsafe decides when a closed circuit opens. Everything else of the contract is this crate's, because failsafe's own state machine
//! admits everybody while half-open, closes after one success, takes late results for current ones and reads a clock of its own:
//! its [`StateMachine`](failsafe::StateMachine) is not used, its [`FailurePolicy`](failsafe::FailurePolicy) is.
//!
//! Take it where failsafe's average is what you want, or to see that code against the port does not care; else take
//! `onex-breaker-native`, which takes no lock for calls.
//!
//! # Declared
//! - `InjectedClock`, `Reconfiguration` and `Eviction`, unless [`Config::success_rate`] is set: that policy reads the clock of the machine,
//!   a new `failure_threshold` begins its average anew, and nobody can see whether it holds a failure.
//! - `Listeners`, `OpenBackoff`, `TripAtOnce`, `Templates`, `Snapshots`, `ObserveOnly`. A restored run of failures is told to failsafe again.
//!
//! # Known gaps
//! - failsafe has no rate over a count of calls, no slow calls, and its rate over a time is an average weighted by time that is blind for
//!   its first window: hence neither `CountWindow` nor `TimeWindow` nor `SlowCalls`. The average is offered as [`SuccessRate`].
//! - failsafe's growing backoffs know whole seconds and a random source of their own; openings grow by the port's `open_backoff`.
//! - Every call takes its circuit's lock for a few instructions.
//!
//! # After `close`
//! `circuit` and `configure_circuit_breaker` answer `Closed`; circuits that are held keep deciding.
#![forbid(unsafe_code)]

mod breaker;
mod circuit;
mod config;
mod machine;
mod open;
mod policy;

pub use self::breaker::FailsafeBreaker;
pub use self::config::{Config, SuccessRate};
pub use self::open::{FailsafeProvider, open, provider};
