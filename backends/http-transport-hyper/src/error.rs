//! The one map from hyper's errors to the causes that every engine on the wire tells alike.
//!
//! ```text
//!  before the head   not sent ─► ConnectionLost, NotApplied     sent, no head ─► ConnectionLost, Unknown
//!                    head too large ─► HeadTooLarge             head not HTTP ─► Protocol
//!  inside the body   as `body_failed` tells it, unless the close cut it
//! ```

use onex_spi::http::{HttpFault, HttpReason, body_failed, head_failed};
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
    let reason = if engine.is_parse_too_large() {
        HttpReason::HeadTooLarge
    } else if engine.is_parse() {
        HttpReason::Protocol
    } else if engine.is_body_write_aborted() {
        HttpReason::IncompleteBody
    } else if engine.is_user() {
        // The task that drives the connection is gone: its runtime was shut down.
        return cut().with_source(engine);
    } else {
        HttpReason::ConnectionLost
    };
    head_failed(reason, reused).with_source(engine)
}

/// What hyper met after `received` bytes of the answer's body.
pub(crate) fn body(engine: hyper::Error, received: u64, was_cut: bool) -> Error {
    if was_cut {
        return cut()
            .with_detail(HttpFault::new(HttpReason::IncompleteBody).with_bytes_received(received))
            .with_source(engine);
    }
    body_failed(engine, received)
}
