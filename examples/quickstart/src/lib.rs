//! An order service, coded once against ports; which engines move its bytes is a matter of `onex.toml`.
//!
//! ```text
//!  POST /orders ─► parse ─ malformed ─► 400, or 413 where it is too large
//!                    └─► GET upstream/customers/ID behind the circuit of the region ─ failed or rejected ─► 502
//!                          └─► produce to the topic ─ refused ─► 503
//!                                └─► 202 ....... consume, count, commit
//! ```
//!
//! Nothing here names an engine: the same bytes run on memory, on hyper and on a real Kafka.
#![forbid(unsafe_code)]

pub mod ledger;
pub mod order;
pub mod program;
pub mod service;
pub mod upstream;
