//! The one map from hyper's errors to ours.
//!
//! ```text
//!  before the head   not sent ─► ConnectionLost, NotApplied     sent, no head ─► ConnectionLost, Unknown
//!                    head too large ─► HeadTooLarge             head not HTTP ─► Protocol
//!  inside the body   FIN ─► IncompleteBody     RST ─► ConnectionReset     bad chunk ─► Protocol
//! ```

use std::error::Error as StdError;
use std::io;

use onex_spi::http::{HttpFault, HttpReason};
use onex_spi::{Effect, Error, ErrorKind};

/// A call on a transport that was closed.
pub(crate) fn closed() -> Error {
    Error::closed("http.exchange", "the transport")
}

fn cut() -> Error {
    let message = "the transport was closed while the exchange ran; open a new one";
    Error::new(ErrorKind::Closed, "http.exchange", message)
}

/// What hyper met before the head of the answer; `reused` and `cut` are the pool's knowledge.
///
/// The effect is `Unknown`: the caller says `not_applied` where it holds the unsent request.
pub(crate) fn head(engine: hyper::Error, reused: bool, was_cut: bool) -> Error {
    // The caller's own body failed, or an interceptor's around it: its error says most.
    if let Some(ours) = engine.is_user().then(|| Error::find_in(&engine)).flatten() {
        return ours.with_effect(Effect::Unknown);
    }
    if was_cut {
        return cut().with_source(engine);
    }
    let (kind, reason, message) = if engine.is_parse_too_large() {
        let message = "the head of the response passes the limit of headers or bytes; raise max_response_headers or max_head_bytes";
        (ErrorKind::TooLarge, HttpReason::HeadTooLarge, message)
    } else if engine.is_parse() {
        (ErrorKind::Corrupt, HttpReason::Protocol, "the peer did not answer with an HTTP/1.1 head")
    } else if engine.is_body_write_aborted() {
        let message = "the request body ended before its announced length; give the exact length or none";
        (ErrorKind::InvalidInput, HttpReason::IncompleteBody, message)
    } else if engine.is_user() {
        // The task that drives the connection is gone: its runtime was shut down.
        return cut().with_source(engine);
    } else {
        let message = if reused {
            "the reused connection ended before a response"
        } else {
            "the connection ended before a response"
        };
        (ErrorKind::Unavailable, HttpReason::ConnectionLost, message)
    };
    Error::new(kind, "http.exchange", message)
        .with_detail(HttpFault::new(reason).with_reused(reused))
        .with_source(engine)
}

/// What hyper met after `received` bytes of the answer's body.
pub(crate) fn body(engine: hyper::Error, received: u64, was_cut: bool) -> Error {
    if was_cut {
        return cut()
            .with_detail(HttpFault::new(HttpReason::IncompleteBody).with_bytes_received(received))
            .with_source(engine);
    }
    let io = engine.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let (kind, reason, what) = match io {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            (ErrorKind::Corrupt, HttpReason::Protocol, "the peer broke the framing of the body")
        }
        Some(
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe,
        ) => {
            (ErrorKind::Unavailable, HttpReason::ConnectionReset, "the connection was reset inside the body")
        }
        _ => (ErrorKind::Unavailable, HttpReason::IncompleteBody, "the body ended before its announced end"),
    };
    Error::new(kind, "http.body", format!("{what}, after {received} bytes"))
        .with_detail(HttpFault::new(reason).with_bytes_received(received))
        .with_source(engine)
}
