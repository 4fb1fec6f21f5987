//! Suites, mocks and faults for the HTTP ports.

pub mod client;
mod handler;
pub mod server;
mod stage;
pub mod transport;

pub use self::handler::{handler, streamed};
