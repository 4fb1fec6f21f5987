//! Suites, mocks and faults for the HTTP ports.

mod handler;
mod stage;
pub mod transport;

pub use self::handler::{handler, streamed};
