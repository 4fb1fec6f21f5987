//! A shop that asks a price service through a circuit: [`prices`] is the service and what its answers mean, [`program`] what happens to
//! the circuit.
//!
#![doc = include_str!("../../../docs/guide/circuit-breaker.md")]
#![forbid(unsafe_code)]

pub mod prices;
pub mod program;
