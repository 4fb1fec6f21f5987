//! `HttpTransport` on hyper's connection API (HTTP/1.1) with a pool of its own.
//!
//! ```text
//!  exchange ─► request.rs   refuse what would break the framing; Host, Content-Length
//!           ─► lease.rs     one exchange on a connection, idle or newly dialled
//!              ├ pool.rs    lets it in: an idle connection │ a place to dial │ a turn in the queue
//!              └ driver.rs  one task per connection drives hyper over wire.rs
//!           ─► body.rs      small answers are whole at the head; else a stream that holds the lease
//!                           end ─► back to the pool        dropped early, error ─► the connection is cut
//! ```
//!
//! Why not hyper-util's client: it hides its connections. Here the numbers are exact, the cap per origin
//! is hard, the connect timeout is the request's own, and there is one place that knows whether a request
//! was sent.
//!
//! Declared: `Wire`, `Trailers`, `ExactPoolStats`. Provider `hyper`, meant for production.
//!
//! Known gaps: no TLS (`https` is `Unsupported`), no HTTP/2, no `CONNECT` and no protocol upgrade (a 101
//! is returned and its connection closed), `Expect: 100-continue` is sent but not waited for, trailers of
//! a *request* are sent only where a `Trailer` header names them, and a request body that yields more
//! than its own exact size hint is cut at that size.
#![forbid(unsafe_code)]

mod body;
mod config;
mod connection;
mod driver;
mod error;
mod http_transport;
mod lease;
mod open;
mod pool;
mod request;
mod state;
mod wire;

pub use config::Config;
pub use open::{HyperProvider, open, open_with, provider};
