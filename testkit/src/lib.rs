//! Conformance suites for every port of onex, and what tests of network code need.
//!
//! ```text
//!  your engine ─► factory(setup) ─► suite: cases as data ─► one runtime per case ─► passed │ failed (law) │ ignored (reason)
//!                                         ▲
//!                                  broken engines: one changed behaviour each, caught by the named case alone
//! ```
//!
//! A third party runs a suite in three lines, in a test target with `harness = false`:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     onex_testkit::kafka::driver::conformance(|setup| async move { my_driver(setup).await })
//! }
//! ```
//!
//! A case that does not apply ends as *ignored (reason)*, never as passed.
#![forbid(unsafe_code)]

pub mod breaker;
pub mod bridge;
pub mod broken;
pub mod clock;
pub mod faulty;
pub mod http;
pub mod kafka;
pub mod net;
pub mod suite;
