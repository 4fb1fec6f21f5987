//! A [`tower_layer::Layer`] that asks a [`Circuit`](onex_spi::breaker::Circuit) of any breaker before each call.
//!
//! ```text
//!  poll_ready ─► the inner service's, untouched
//!  call ─► admit ─ rejected ─► ExecuteError::Rejected; the inner service is not called
//!            └ permit ─► inner.call, polled beside one timer of the circuit's clock
//!                           ├ result ─► classify ─► settle
//!                           ├ timer first ─► the call is dropped ─► timed out
//!                           ├ dropped ─► cancelled
//!                           └ panic ─► failure, raised again
//! ```
//!
//! The circuit is one for the whole service. Where a stack talks to many hosts, make one service per host, or bind a breaker to
//! `onex-http-client`, which keeps a circuit per host by itself.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use onex_breaker_tower::CircuitLayer;
//! use onex_spi::Error;
//! use onex_spi::breaker::{CircuitBreaker, ExecuteError, Outcome};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> onex_spi::Result<()> {
//! # let clock = Arc::new(onex_testkit::clock::ManualClock::new());
//! let breaker = onex_breaker_native::open(onex_breaker_native::Config::new(), clock)?;
//! let circuit = breaker.circuit("prices")?;
//! let prices = ServiceBuilder::new()
//!     .layer(CircuitLayer::new(circuit).classify(|answer: &Result<u16, Error>| match answer {
//!         Ok(429 | 500..) | Err(_) => Outcome::Failure,
//!         Ok(_) => Outcome::Success,
//!     }))
//!     .service(service_fn(|item: &'static str| async move { Ok(if item == "tea" { 200 } else { 503 }) }));
//!
//! assert!(matches!(prices.clone().oneshot("tea").await, Ok(200)));
//! for _ in 0..5 {
//!     assert!(matches!(prices.clone().oneshot("gold").await, Ok(503)), "an answer, and a failure");
//! }
//! assert!(matches!(prices.oneshot("tea").await, Err(ExecuteError::Rejected { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! # Known gaps
//! - An inner service that is not ready keeps its callers waiting though the circuit is open: `poll_ready` asks the circuit nothing, because
//!   a permit that is taken there would be held by callers that never call. Shed load outside where that matters.
//! - What `poll_ready` of the inner service fails with is no call, and counts nowhere.
#![forbid(unsafe_code)]

mod future;
mod layer;

pub use self::future::CircuitFuture;
pub use self::layer::{CircuitLayer, CircuitService, Classify, ErrorsFail};
