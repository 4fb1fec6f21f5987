//! The [`HttpClient`](onex_spi::http::HttpClient) policy, written once over any [`HttpTransport`](onex_spi::http::HttpTransport).
//!
//! ```text
//! request ─► total deadline, close ─► call interceptors ─► run: one flat future
//!   policy = retry + breaker, one snapshot
//!   loop ─────────────────────────────────────────────────────────────────────────────┐
//!     saved = what a second attempt needs, only while one is possible                 │
//!     default headers                                                                 │
//!     circuit.admit ─ rejected ─► no attempt: wait until it may admit, ask again ─────┤
//!                               └ too long, or forced ─► `Rejected`                   │
//!     race(attempt interceptors ─► transport.exchange, min(total, attempt, head))     │  one movable timer
//!     circuit.settle; RetryPolicy::decide ─ retry ─► budget token, wait ──────────────┘
//!                                         └ stop ─► the last response or error
//!   body complete at the head: as it is; else counted, idle and total limits, same timer
//! ```
//!
//! Made by [`HttpClientBuilder`]; [`Config`] is the policy's table in a file.
//!
//! # Known gaps
//! - Redirects are not followed: a 3xx is the response. Nothing is decoded: `Content-Encoding` stays as it came, and no
//!   `Accept-Encoding` is sent.
//! - There is no egress guard, no cookie jar and no tracing span yet; a retry is one `tracing` event.
//! - The response of an interceptor that answers by itself is handed out as it is: its body has no time limit.
#![forbid(unsafe_code)]

mod body;
mod builder;
mod call;
mod circuit;
mod client;
mod config;
mod error;
mod metrics;
mod origin;
mod race;
mod upload;

pub use builder::HttpClientBuilder;
pub use config::{CircuitConfig, Config, StatusClass, StatusMatch, TimeoutConfig};
