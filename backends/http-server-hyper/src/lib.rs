//! A minimal `HttpServer` on hyper (HTTP/1.1): bridges, webhooks, test servers.
//!
//! ```text
//!  serve ─► listener ─► accept task ─► one task per connection (hyper) ─► your HttpService
//!                        │ permit first: the kernel's backlog is the queue      │ Err, panic ─► 500, empty
//!  close(within): stop accepting ─► answers end, connections close ─► at `within` the rest is cut
//!  drop: everything is cut
//! ```
//!
//! Requests carry [`HttpPeer`](onex_spi::http::HttpPeer) in their extensions and an absolute URL made of
//! the `Host` header, without parsing a WHATWG URL. What is not HTTP is answered by hyper (400, 414, 431),
//! a request without exactly one good `Host` by this crate (400), `CONNECT` with 501.
//!
//! A response's trailers are sent where the request said `TE: trailers` and the response names them in
//! `Trailer`. There is no limit on bodies: that is policy, `HttpBody::bytes(limit)`.
//!
//! Known gaps: no TLS, no HTTP/2, no protocol upgrade; the `Date` header shows the machine's time, not the
//! injected clock's.
#![forbid(unsafe_code)]

mod accept;
mod config;
mod error;
mod exchange;
mod http_server;
mod open;
mod serving;
mod timer;
mod wire;

pub use config::Config;
pub use open::{HyperServerProvider, open, provider};
