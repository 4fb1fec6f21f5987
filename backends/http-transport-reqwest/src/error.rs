//! The one map from reqwest's errors to ours, by the chain of their sources.
//!
//! ```text
//!  an error of ours in the chain (resolver, connect timeout, the caller's body) ─► that one
//!  before the head   dial ─► Connect, NotApplied │ head too large ─► HeadTooLarge │ not HTTP ─► Protocol │ else ConnectionLost
//!  inside the body   FIN ─► IncompleteBody │ RST ─► ConnectionReset │ bad chunk ─► Protocol
//! ```

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use onex_spi::http::{HttpFault, HttpPhase, HttpReason};
use onex_spi::{Effect, Error, ErrorKind};

/// The close of the transport cut a running exchange.
pub(crate) fn cut_by_close() -> Error {
    let message = "the transport was closed while the exchange ran; open a new one";
    Error::new(ErrorKind::Closed, "http.exchange", message)
}

/// The connect timeout ran out.
pub(crate) fn connect_timed_out(limit: Duration) -> Error {
    Error::new(ErrorKind::TimedOut, "http.exchange", format!("no connection within {limit:?}"))
        .not_applied()
        .with_detail(HttpFault::timeout(HttpPhase::Connect))
}

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
    let (kind, reason, message) = head_row(find::<hyper::Error>(&engine), engine.is_builder());
    Error::new(kind, "http.exchange", message)
        .with_detail(HttpFault::new(reason).with_reused(reused))
        .with_effect(if engine.is_builder() { Effect::NotApplied } else { Effect::Unknown })
        .with_source(engine)
}

type Row = (ErrorKind, HttpReason, &'static str);

fn head_row(hyper: Option<&hyper::Error>, refused: bool) -> Row {
    match hyper {
        _ if refused => {
            (ErrorKind::InvalidInput, HttpReason::InvalidHeader, "reqwest does not take the request")
        }
        Some(hyper) if hyper.is_parse_too_large() => (
            ErrorKind::TooLarge,
            HttpReason::HeadTooLarge,
            "the head of the response passes the limit of headers or bytes; raise max_response_headers",
        ),
        Some(hyper) if hyper.is_parse() => {
            (ErrorKind::Corrupt, HttpReason::Protocol, "the peer did not answer with an HTTP/1.1 head")
        }
        Some(hyper) if hyper.is_body_write_aborted() => (
            ErrorKind::InvalidInput,
            HttpReason::IncompleteBody,
            "the request body ended before its announced length; give the exact length or none",
        ),
        _ => (ErrorKind::Unavailable, HttpReason::ConnectionLost, "the connection ended before a response"),
    }
}

fn connect(engine: reqwest::Error) -> Error {
    let (kind, fault, message) = connect_row(find::<io::Error>(&engine).map(io::Error::kind));
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
    let engine = engine.without_url();
    let (kind, reason, what) = body_row(find::<io::Error>(&engine).map(io::Error::kind));
    Error::new(kind, "http.body", format!("{what}, after {received} bytes"))
        .with_detail(HttpFault::new(reason).with_bytes_received(received))
        .with_source(engine)
}

fn body_row(io: Option<io::ErrorKind>) -> Row {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, InvalidInput};
    match io {
        Some(InvalidData | InvalidInput) => {
            (ErrorKind::Corrupt, HttpReason::Protocol, "the peer broke the framing of the body")
        }
        Some(ConnectionReset | ConnectionAborted | BrokenPipe) => {
            (ErrorKind::Unavailable, HttpReason::ConnectionReset, "the connection was reset inside the body")
        }
        _ => (ErrorKind::Unavailable, HttpReason::IncompleteBody, "the body ended before its announced end"),
    }
}

/// The first `T` in the chain, also behind `io::Error`, which hides what it wraps.
fn find<'a, T: StdError + 'static>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        error = match hidden {
            Some(hidden) => hidden,
            None => error.source()?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_kind_and_reason() {
        use ErrorKind::{Corrupt, PermissionDenied, TimedOut, Unavailable};
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
        let read = [
            (Some(io::ErrorKind::UnexpectedEof), Unavailable, HttpReason::IncompleteBody),
            (Some(io::ErrorKind::ConnectionReset), Unavailable, HttpReason::ConnectionReset),
            (Some(io::ErrorKind::ConnectionAborted), Unavailable, HttpReason::ConnectionReset),
            (Some(io::ErrorKind::BrokenPipe), Unavailable, HttpReason::ConnectionReset),
            (Some(io::ErrorKind::InvalidInput), Corrupt, HttpReason::Protocol),
            (Some(io::ErrorKind::InvalidData), Corrupt, HttpReason::Protocol),
            (None, Unavailable, HttpReason::IncompleteBody),
        ];
        for (io, kind, reason) in read {
            let (told, why, _) = body_row(io);
            assert_eq!((told, why), (kind, reason), "{io:?}");
        }
        assert_eq!(head_row(None, false).1, HttpReason::ConnectionLost);
        assert_eq!(head_row(None, true).1, HttpReason::InvalidHeader);
    }
}
