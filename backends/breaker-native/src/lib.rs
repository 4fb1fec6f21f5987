//! A [`CircuitBreaker`](onex_spi::breaker::CircuitBreaker) that decides by one word and takes no lock for calls or rejections.
//!
//! ```text
//!  name ─► registry (bounded) ─► circuit ─► one word: era │ kind │ payload ── decides every call
//!                                              ├ totals     one cache line a thread, added up when read
//!                                              └ cold side  leases of probes, history: behind a lock
//! ```
//!
//! - A call through a closed circuit: one load of the word at admission, one at settlement, two adds to the thread's own
//!   totals. Nothing else is written while nothing fails; a failure is one compare-exchange.
//! - A rejection: one load, the clock, one add.
//! - A probe and a change of state take the circuit's lock for a few instructions, never across a call, a listener or a wait.
//!
//! # Declared
//! Every [`BreakerFeature`](onex_spi::breaker::BreakerFeature): the injected clock and reconfiguration that keeps state. An
//! opening ends on a whole millisecond, rounded up: the grain is that of the clock and one millisecond.
//!
//! # After `close`
//! `circuit` and `configure_circuit_breaker` answer `Closed`; circuits that are held, or found by `find`, keep deciding, and
//! can be read, reset and forced, so that calls on their way end as they began.
//!
//! # Known gaps
//! - Circuits are never evicted: one more than `max_circuits` is `ResourceExhausted`.
//! - Opening is counted by failures in a row only; there is no rate over a window.
//! - An era has 21 bits: a result that arrives after exactly 2,097,152 changes of state, or a multiple of that, is taken for
//!   a current one. A probe's is not: it is known by its lease.
//! - Times are counted from the breaker's making and last 34 years.
#![forbid(unsafe_code)]

mod breaker;
mod circuit;
mod cold;
mod config;
mod error;
mod open;
mod time;
mod totals;
mod word;

pub use self::breaker::NativeBreaker;
pub use self::config::Config;
pub use self::open::{NativeProvider, open, provider};
