//! Traits for networking that a service codes against once and swaps underneath at will.
//!
//! ```text
//!   your service ── Arc<dyn HttpClient>, Arc<dyn KafkaClient>, Arc<dyn CircuitBreaker>, Arc<dyn CommunicationBridge>
//!        │                        callers' ports
//!        ▼
//!   policy crates ─ http-client, kafka-client, bridge written once, over engine ports
//!        │                        engine ports: HttpTransport, HttpServer, KafkaDriver, BridgeProtocol
//!        ▼
//!   engines ─────── memory, hyper, reqwest, rdkafka, native breaker, yours
//! ```
//!
//! This crate holds every trait and its data: ports, one [`Error`], pure decisions
//! ([`http::RetryPolicy::decide`]), [`Clock`], the breaker's permit, the [`Gate`] of what can be closed. It has no runtime, no I/O, no
//! global and no default feature; the feature `tokio` adds `TokioClock` and `SystemClock`, and nothing else.
//!
//! Each port module says what it models, what callers and engine authors must know, and its laws,
//! numbered; the conformance suites in `onex-testkit` cite the numbers.
//!
//! Import names or modules (`use onex_spi::http::HttpClient`), not `onex_spi::*`: a glob brings the
//! module [`http`], which shadows the crate of that name.
#![forbid(unsafe_code)]

pub mod breaker;
pub mod bridge;
mod clock;
mod error;
mod features;
mod gate;
pub mod http;
pub mod kafka;
mod lifecycle;
pub mod provider;

pub use clock::{Clock, Timer};
#[cfg(feature = "tokio")]
pub use clock::{SystemClock, TokioClock};
pub use error::{Detail, Effect, Error, ErrorKind, Result, find_source};
pub use features::{Feature, Features};
pub use gate::{Gate, Pass};
pub use lifecycle::{Health, Lifecycle};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
