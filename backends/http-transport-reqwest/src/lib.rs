//! `HttpTransport` on reqwest (HTTP/1.1), with everything of reqwest's that is policy switched off.
//!
//! ```text
//!  exchange ─► gate ─► request.rs   refuse what would break the framing; Content-Length, our URL to reqwest's
//!           ─► reqwest, one request: no redirect, no retry, no decoding, no proxy, no timeout
//!                └ dial.rs          names through our Resolver, the connect timeout on our clock, dials counted
//!           ─► body.rs              small answers are whole at the head; else a stream that holds its place
//! ```
//!
//! Declared: `Wire`, `Trailers`. Provider `reqwest`, meant for production.
//!
//! # Known gaps
//! - No TLS yet (`https` is `Unsupported`), no HTTP/2, no `CONNECT`; `Expect: 100-continue` is sent and not waited for.
//! - reqwest shows nothing of its pool: [`PoolStats`](onex_spi::http::PoolStats) tells dials, dial errors and the exchanges
//!   that run, all `Derived`; open and idle connections are `None`, and there is no cap on open ones.
//! - `reused` of a fault is concluded: no dial of this exchange had ended well when it failed.
//! - The effect of a failed exchange is `Unknown` unless its dial failed: reqwest does not tell whether a request was
//!   written. Its connection pool sends one again by itself where it certainly was not.
//! - reqwest adds `Accept: */*` where the request has none, and keeps its idle timeout on tokio's clock.
//! - HTTP-16: reqwest takes a URL, not a target; a path that the URL standard rewrites (`/%2e%2e/`) is refused with `InvalidUrl`:
//!   `ExactTarget` is not declared.
//! - The close of a connection follows the drop of its exchange, at the next turn of its task.
#![forbid(unsafe_code)]

mod config;
mod dial;
mod error;
mod http_transport;
mod open;
mod request;

pub use config::Config;
pub use open::{ReqwestProvider, open, provider};
