//! Every engine port inside one process: the embedded default and the readable reference.
//!
//! | port | here | declares |
//! | --- | --- | --- |
//! | `HttpTransport`, `HttpServer` | [`http::MemoryHttp`]: services by authority, a log, faults | `Trailers` |
//! | `KafkaDriver` | [`kafka::MemoryKafka`]: a broker in miniature, any number of drivers on it | all |
//!
//! # Known gaps
//! - HTTP has no bytes: no `Wire`, no connections to count (`pool_stats` tells `in_use` alone), no TLS (an `https` URL
//!   reaches the same service). What only bytes can show (a head that is too long, broken chunks) cannot happen here.
//! - Kafka has no transactions, no static members and never compacts; see [`kafka`].
#![forbid(unsafe_code)]

pub mod http;
pub mod kafka;
mod provider;

pub use provider::{MemoryProvider, provider};
