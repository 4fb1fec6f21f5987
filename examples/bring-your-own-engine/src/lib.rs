//! Two engines as a stranger would write them, on `onex-spi` alone.
//!
//! - [`log::LogDriver`]: a `KafkaDriver` over one log in memory. No groups and no topic settings: it does not declare them,
//!   and the suite ignores those cases with that reason.
//! - [`dial::DialTransport`]: an `HttpTransport` that dials for every request. No pool: it does not declare exact numbers.
//!
//! `tests/kafka.rs` and `tests/http.rs` run the suites on them, in three lines each.
#![forbid(unsafe_code)]

pub mod consumer;
pub mod log;
