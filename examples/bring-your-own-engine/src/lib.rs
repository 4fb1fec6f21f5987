//! Two engines as a stranger would write them, on `onex-spi` alone.
//!
//! ```text
//!  log.rs       KafkaDriver over one log in memory    tests/kafka.rs, three lines
//!  dial.rs      HttpTransport on hyper-util's client  tests/http.rs, three lines
//!  provider.rs  both under one name                   tests/environment.rs
//! ```
//!
//! Formatted and with comments the driver has 330 lines and the transport 238: what every engine decides alike is the SPI's.
//!
//! - [`log::LogDriver`] has no groups, deletes no topics and takes no topic settings. It does not declare them, and the
//!   suite ignores those cases with that reason.
//! - [`dial::DialTransport`] counts no connections. It does not declare exact numbers.
//!
//! `tests/broken.rs` turns the question round: the transport with one bug added must fail the suite, bug by bug.
#![forbid(unsafe_code)]

pub mod dial;
pub mod log;
pub mod provider;
