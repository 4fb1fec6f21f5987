//! The one map from this engine's errors to ours.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use onex_spi::http::{HttpFault, HttpReason};
use onex_spi::{Error, ErrorKind};

pub(crate) fn closed() -> Error {
    Error::closed("http_server.serve", "the server")
}

/// The address cannot be listened at.
pub(crate) fn listen(address: SocketAddr, error: io::Error) -> Error {
    let message = format!("{address} cannot be listened at; choose another address or free it");
    Error::new(ErrorKind::Unavailable, "http_server.serve", message).not_applied().with_source(error)
}

pub(crate) fn cut(within: std::time::Duration) -> Error {
    let message = format!("exchanges still ran after {within:?} and were cut");
    Error::new(ErrorKind::TimedOut, "http_server.close", message)
}

/// What hyper met after `received` bytes of a request's body.
pub(crate) fn body(engine: hyper::Error, received: u64) -> Error {
    let io = engine.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let (kind, reason, what) = match io {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            (ErrorKind::Corrupt, HttpReason::Protocol, "the client broke the framing of the body")
        }
        Some(
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe,
        ) => (ErrorKind::Unavailable, HttpReason::ConnectionReset, "the client reset the connection"),
        _ => (ErrorKind::Unavailable, HttpReason::IncompleteBody, "the client ended before the body did"),
    };
    Error::new(kind, "http.body", format!("{what}, after {received} bytes"))
        .with_detail(HttpFault::new(reason).with_bytes_received(received))
        .with_source(engine)
}
