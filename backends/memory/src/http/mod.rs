//! HTTP without sockets: a network of services by authority, reached in process.
//!
//! ```text
//!  transport.exchange ─► framing (what a wire would refuse) ─► authority ─► fault ─► log
//!                                                               │ route     ─► HttpService, its error is told as it is
//!                                                               │ listener  ─► HttpService of a server, its error is a 500
//!                                                               └ otherwise ─► the catch-all, else `Unavailable`
//!  response ─► framing (Content-Length, no body for HEAD, 204, 304) ─► body: whole as it is, else counted and cut
//! ```
//!
//! A handler runs inside the caller's future: dropping the call drops the handler (HTTP-24), a panic of the handler is
//! the caller's panic, and there is no task and no queue anywhere. What a handler sees is what a server would see
//! behind a wire: `Host`, `Content-Length: 0` on an empty `POST` (HTTP-31), an [`HttpPeer`](onex_spi::http::HttpPeer),
//! no extension and no time limit of the caller's.

mod body;
mod fault;
mod framing;
mod listener;
mod memory_http;
mod network;
mod router;
mod server;
mod transport;

pub use self::fault::MemoryFault;
pub use self::memory_http::{HttpConfig, MemoryHttp};
pub use self::network::RecordedRequest;
pub use self::router::{PathParams, Router};
