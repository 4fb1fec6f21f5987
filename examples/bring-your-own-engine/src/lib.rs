//! Two engines as a stranger would write them, on `onex-spi` alone.
//!
//! ```text
//!  log.rs, consumer.rs      KafkaDriver over one log in memory    tests/kafka.rs, three lines
//!  dial.rs                  HttpTransport on hyper-util's client  tests/http.rs, three lines
//!  provider.rs              both under one name                   tests/environment.rs
//! ```
//!
//! Formatted and with comments the driver has 518 lines and the transport 238.
//!
//! - [`log::LogDriver`] has no groups, deletes no topics and takes no topic settings. It does not declare them, and the
//!   suite ignores those cases with that reason.
//! - [`dial::DialTransport`] counts no connections. It does not declare exact numbers.
//!
//! `tests/broken.rs` turns the question round: the transport with one bug added must fail the suite, bug by bug.
#![forbid(unsafe_code)]

mod consumer;
pub mod dial;
pub mod log;
pub mod provider;

use std::time::{Duration, Instant};

use onex_spi::Clock;

/// When `within` will have passed; a time that no clock can tell is a century.
fn after(clock: &dyn Clock, within: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = clock.now();
    now.checked_add(within).unwrap_or_else(|| now + CENTURY)
}
