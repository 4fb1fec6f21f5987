//! The one map from reqwest's errors to ours, by the chain of their sources.
//!
//! ```text
//!  an error of ours in the chain (resolver, connect timeout, the caller's body) ─► that one
//!  before the head   dial ─► Connect, NotApplied │ head too large ─► HeadTooLarge │ not HTTP ─► Protocol │ else ConnectionLost
//!  inside the body   as `body_failed` tells it
//! ```

use std::io;

use onex_spi::http::{HttpFault, HttpPhase, HttpReason, body_failed, head_failed};
use onex_spi::{Effect, Error, ErrorKind, find_source};

/// What reqwest met before the head of the answer.
pub(crate) fn head(engine: reqwest::Error, reused: bool) -> Error {
    // reqwest shows the URL, query included, in its text.
    let engine = engine.without_url();
    let dial = engine.is_connect();
    if let Some(ours) = Error::find_in(&engine) {
        return if dial { ours } else { ours.with_effect(Effect::Unknown) };
    }
    if dial {
        return connect(engine);
    }
    if engine.is_builder() {
        return Error::invalid("http.exchange", "reqwest does not take the request")
            .with_detail(HttpReason::InvalidHeader)
            .with_source(engine);
    }
    let reason = match find_source::<hyper::Error>(&engine) {
        Some(hyper) if hyper.is_parse_too_large() => HttpReason::HeadTooLarge,
        Some(hyper) if hyper.is_parse() => HttpReason::Protocol,
        Some(hyper) if hyper.is_body_write_aborted() => HttpReason::IncompleteBody,
        _ => HttpReason::ConnectionLost,
    };
    head_failed(reason, reused).with_source(engine)
}

fn connect(engine: reqwest::Error) -> Error {
    let (kind, fault, message) = connect_row(find_source::<io::Error>(&engine).map(io::Error::kind));
    Error::new(kind, "http.exchange", message).not_applied().with_detail(fault).with_source(engine)
}

fn connect_row(io: Option<io::ErrorKind>) -> (ErrorKind, HttpFault, &'static str) {
    let fault = HttpFault::new(HttpReason::Connect);
    match io {
        Some(io::ErrorKind::ConnectionRefused) => {
            (ErrorKind::Unavailable, fault, "the server refused the connection")
        }
        Some(io::ErrorKind::TimedOut) => (
            ErrorKind::TimedOut,
            HttpFault::timeout(HttpPhase::Connect),
            "the server did not answer before the system's own timeout",
        ),
        Some(io::ErrorKind::PermissionDenied) => {
            (ErrorKind::PermissionDenied, fault, "the server may not be dialled; ask for the right")
        }
        _ => (ErrorKind::Unavailable, fault, "the server could not be reached"),
    }
}

/// What reqwest met after `received` bytes of the answer's body.
pub(crate) fn body(engine: reqwest::Error, received: u64) -> Error {
    body_failed(engine.without_url(), received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_of_a_failed_dial_has_kind_and_reason() {
        use ErrorKind::{PermissionDenied, TimedOut, Unavailable};
        let dialled = [
            (Some(io::ErrorKind::ConnectionRefused), Unavailable, HttpReason::Connect),
            (Some(io::ErrorKind::TimedOut), TimedOut, HttpReason::Timeout),
            (Some(io::ErrorKind::PermissionDenied), PermissionDenied, HttpReason::Connect),
            (Some(io::ErrorKind::HostUnreachable), Unavailable, HttpReason::Connect),
            (None, Unavailable, HttpReason::Connect),
        ];
        for (io, kind, reason) in dialled {
            let (told, fault, _) = connect_row(io);
            assert_eq!((told, fault.reason), (kind, reason), "{io:?}");
        }
    }
}
