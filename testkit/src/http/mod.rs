//! Suites, mocks and faults for the HTTP ports.

pub mod client;
mod handler;
mod stage;
pub mod transport;

pub use self::handler::{handler, streamed};
