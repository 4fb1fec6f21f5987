//! The errors that the policy itself makes.

use std::time::Duration;

use onex_spi::breaker::{Circuit, ExecuteError, Rejection};
use onex_spi::http::{HttpFault, HttpPhase, HttpReason};
use onex_spi::{Effect, Error, ErrorKind};

pub(crate) const REQUEST: &str = "http.request";

/// A limit ran out; `limit` is what it was.
pub(crate) fn timed_out(phase: HttpPhase, limit: Option<Duration>, effect: Effect) -> Error {
    let what = match phase {
        HttpPhase::Connect => "no connection",
        HttpPhase::Head => "no response head after the request was sent",
        HttpPhase::IdleRead => "no further byte of the response body",
        HttpPhase::Attempt => "no response head in one attempt",
        HttpPhase::TotalHead => "no response in the whole call",
        HttpPhase::TotalBackoff => "no response in the whole call, cut while waiting for a retry,",
        HttpPhase::TotalBody => "the response body did not end in the whole call",
        _ => "no progress",
    };
    let message = match limit {
        Some(limit) => format!("{what} within {limit:?}"),
        None => format!("{what} in time"),
    };
    Error::new(ErrorKind::TimedOut, REQUEST, message)
        .with_effect(effect)
        .with_detail(HttpFault::timeout(phase))
}

/// The circuit turned the attempt away.
pub(crate) fn rejected(circuit: &dyn Circuit, rejection: Rejection) -> Error {
    let text = ExecuteError::<Error>::Rejected { circuit: circuit.name().into(), rejection }.to_string();
    let error =
        Error::new(ErrorKind::Rejected, REQUEST, text).not_applied().with_detail(HttpReason::CircuitOpen);
    match rejection.retry_after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

/// The close of the client cut a running call.
pub(crate) fn cut_by_close() -> Error {
    Error::new(ErrorKind::Closed, REQUEST, "the client was closed while the call ran")
}
