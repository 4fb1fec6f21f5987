//! A [`CircuitBreaker`](onex_spi::breaker::CircuitBreaker) that decides by one word and takes no lock for calls or rejections.
//!
//! ```text
//!  name ─► registry (bounded, evicts idle ones) ─► circuit ─► one word: era │ kind │ payload ── decides every call
//!                                                     ├ limits     the configuration in force, in one word
//!                                                     ├ totals     a line a thread, which nobody else writes; added up when read
//!                                                     └ cold side  leases of probes, window, history: behind a lock
//!                                                                    └ changes ─► queue ─► listeners, outside every lock
//! ```
//!
//! - A call through a closed circuit: one load of the word at admission, one at settlement, two plain stores to a line that only
//!   this thread writes. Nothing shared is written while nothing fails; a failure is one compare-exchange.
//! - A rejection: one load, the clock's cheap reading ([`Clock::recent`](onex_spi::Clock::recent)), one store to the thread's line.
//! - A probe, a change of state and, where rates decide, the end of each call take the circuit's lock for a few instructions,
//!   never across a call, a listener or a wait.
//!
//! # Declared
//! Every [`BreakerFeature`](onex_spi::breaker::BreakerFeature). An opening ends on a whole millisecond, rounded up: the grain is
//! that of the clock and one millisecond. A window of time moves in tenths of itself.
//!
//! # After `close`
//! `circuit`, `configure_circuit_breaker` and `restore_circuit` answer `Closed`; circuits that are held, or found by `find`, keep
//! deciding, and can be read, reset and forced, so that calls on their way end as they began.
//!
//! # Known gaps
//! - An era has 21 bits: a result that arrives after exactly 2,097,152 changes of state, or a multiple of that, is taken for
//!   a current one. A probe's is not: it is known by its lease.
//! - Times are counted from the breaker's making and last 34 years.
//! - With more than 16 threads on one circuit the others share one line of totals.
#![forbid(unsafe_code)]

mod admit;
mod breaker;
mod chance;
mod circuit;
mod cold;
mod config;
mod control;
mod limits;
mod open;
mod settle;
mod sync;
mod time;
mod totals;
mod window;
mod word;

pub use self::breaker::NativeBreaker;
pub use self::config::Config;
pub use self::open::{NativeProvider, open, provider};
