//! Every engine port inside one process: the embedded default and the readable reference.
//!
//! | port | here | declares |
//! | --- | --- | --- |
//! | `HttpTransport`, `HttpServer` | [`http::MemoryHttp`]: services by authority, a log, faults | `Trailers` |
//!
//! # Known gaps
//! - HTTP has no bytes: no `Wire`, no connections to count (`pool_stats` tells `in_use` alone), no TLS (an `https` URL
//!   reaches the same service). What only bytes can show (a head that is too long, broken chunks) cannot happen here.
//! - A `close` whose future is dropped refuses newcomers all the same; what runs then ends by itself, or at the next `close`.
#![forbid(unsafe_code)]

pub mod http;
mod provider;

pub use provider::{MemoryProvider, provider};
