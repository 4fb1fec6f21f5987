//! The errors that every engine on the wire tells alike.
//!
//! ```text
//!  before a connection   connect_timed_out
//!  before the head       head_failed: HeadTooLarge │ Protocol │ IncompleteBody (the request's) │ else ConnectionLost
//!  inside the body       body_failed: FIN ─► IncompleteBody │ RST ─► ConnectionReset │ bad chunk ─► Protocol
//! ```

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::{HttpFault, HttpPhase, HttpReason};
use crate::error::find_source;
use crate::{Error, ErrorKind};

/// The error of an exchange that got no connection within its connect timeout; nothing was applied.
#[must_use]
pub fn connect_timed_out(within: Duration) -> Error {
    Error::new(ErrorKind::TimedOut, "http.exchange", format!("no connection within {within:?}"))
        .not_applied()
        .with_detail(HttpFault::timeout(HttpPhase::Connect))
}

/// The error of an exchange that failed for `reason` before the head of its response came; `reused` says whether its
/// connection had carried another one.
///
/// The effect is unknown: an engine that still holds the unsent request adds `not_applied`.
#[must_use]
pub fn head_failed(reason: HttpReason, reused: bool) -> Error {
    let (kind, reason, message) = match reason {
        HttpReason::HeadTooLarge => {
            let message = "the head of the response passes the engine's limit of headers or bytes; raise it";
            (ErrorKind::TooLarge, reason, message)
        }
        HttpReason::Protocol => (ErrorKind::Corrupt, reason, "the peer did not answer with an HTTP/1.1 head"),
        HttpReason::IncompleteBody => {
            let message = "the request body ended before its announced length; give the exact length or none";
            (ErrorKind::InvalidInput, reason, message)
        }
        _ if reused => {
            let message = "the reused connection ended before a response";
            (ErrorKind::Unavailable, HttpReason::ConnectionLost, message)
        }
        _ => (ErrorKind::Unavailable, HttpReason::ConnectionLost, "the connection ended before a response"),
    };
    Error::new(kind, "http.exchange", message).with_detail(HttpFault::new(reason).with_reused(reused))
}

/// The error of a response body that failed after `received` bytes, by the socket's or the parser's word in `engine`'s
/// chain of sources (HTTP-7, HTTP-8).
#[must_use]
pub fn body_failed(engine: impl StdError + Send + Sync + 'static, received: u64) -> Error {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, InvalidInput};
    let (kind, reason, what) = match find_source::<io::Error>(&engine).map(io::Error::kind) {
        Some(InvalidData | InvalidInput) => {
            (ErrorKind::Corrupt, HttpReason::Protocol, "the peer broke the framing of the body")
        }
        Some(ConnectionReset | ConnectionAborted | BrokenPipe) => {
            (ErrorKind::Unavailable, HttpReason::ConnectionReset, "the connection was reset inside the body")
        }
        _ => (ErrorKind::Unavailable, HttpReason::IncompleteBody, "the body ended before its announced end"),
    };
    Error::new(kind, "http.body", format!("{what}, after {received} bytes"))
        .with_detail(HttpFault::new(reason).with_bytes_received(received))
        .with_source(engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Effect;

    #[test]
    fn every_cause_inside_a_body_has_kind_and_reason() {
        use ErrorKind::{Corrupt, Unavailable};
        for (io, kind, reason) in [
            (io::ErrorKind::UnexpectedEof, Unavailable, HttpReason::IncompleteBody),
            (io::ErrorKind::ConnectionReset, Unavailable, HttpReason::ConnectionReset),
            (io::ErrorKind::ConnectionAborted, Unavailable, HttpReason::ConnectionReset),
            (io::ErrorKind::BrokenPipe, Unavailable, HttpReason::ConnectionReset),
            (io::ErrorKind::InvalidInput, Corrupt, HttpReason::Protocol),
            (io::ErrorKind::InvalidData, Corrupt, HttpReason::Protocol),
        ] {
            let error = body_failed(io::Error::from(io), 7);
            let fault = error.http().expect("a fault");
            assert_eq!((error.kind(), fault.reason, fault.bytes_received), (kind, reason, Some(7)), "{io:?}");
        }
    }

    #[test]
    fn every_cause_before_the_head_has_kind_and_reason() {
        use ErrorKind::{Corrupt, InvalidInput, TooLarge, Unavailable};
        for (told, kind, reason) in [
            (HttpReason::HeadTooLarge, TooLarge, HttpReason::HeadTooLarge),
            (HttpReason::Protocol, Corrupt, HttpReason::Protocol),
            (HttpReason::IncompleteBody, InvalidInput, HttpReason::IncompleteBody),
            (HttpReason::ConnectionLost, Unavailable, HttpReason::ConnectionLost),
            (HttpReason::ConnectionReset, Unavailable, HttpReason::ConnectionLost),
        ] {
            let error = head_failed(told, true);
            let fault = error.http().expect("a fault");
            let due = (kind, reason, true, Effect::Unknown);
            assert_eq!((error.kind(), fault.reason, fault.reused, error.effect()), due, "{told:?}");
        }
        let late = connect_timed_out(Duration::from_secs(3));
        assert_eq!((late.kind(), late.effect()), (ErrorKind::TimedOut, Effect::NotApplied));
    }
}
