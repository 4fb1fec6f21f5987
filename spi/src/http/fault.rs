//! The HTTP part of an error.

use crate::Detail;

/// Why an exchange failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpReason {
    /// The URL is not absolute `http`/`https`, or holds raw spaces or controls.
    InvalidUrl,
    /// A header name or value would break the framing.
    InvalidHeader,
    /// The host has no address.
    Resolve,
    /// No connection could be made.
    Connect,
    /// The connection was reset by the peer.
    ConnectionReset,
    /// The connection ended before a head came; see [`HttpFault::reused`].
    ConnectionLost,
    /// The body ended before its announced length or its last chunk.
    IncompleteBody,
    /// The peer broke the framing rules.
    Protocol,
    /// The head of the response passed a limit.
    HeadTooLarge,
    /// The body passed the caller's limit.
    BodyTooLarge,
    /// A phase took too long; see [`HttpFault::phase`].
    Timeout,
    /// A second attempt was needed and the body can be sent only once.
    BodyNotReplayable,
    /// The circuit of the host or name is open.
    CircuitOpen,
    /// A body was expected and there is none.
    EmptyBody,
    /// The body is not what its type promises, such as JSON that does not parse.
    Decode,
    /// An in-process engine has no route for the request.
    UnmatchedRoute,
    /// A pool limit was reached and waiting for a place was refused.
    PoolExhausted,
}

/// The phase of an exchange that a timeout cut.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpPhase {
    /// Making the connection.
    Connect,
    /// From the end of the request body to the head of the response.
    Head,
    /// Between two frames of the response body.
    IdleRead,
    /// One attempt.
    Attempt,
    /// The whole call, before the head arrived.
    TotalHead,
    /// The whole call, while waiting before a retry.
    TotalBackoff,
    /// The whole call, inside the response body.
    TotalBody,
}

/// The HTTP part of an [`Error`](crate::Error).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFault {
    /// Why.
    pub reason: HttpReason,
    /// Which phase a timeout cut.
    pub phase: Option<HttpPhase>,
    /// The bytes of the body received before the failure, where it failed inside the body.
    pub bytes_received: Option<u64>,
    /// Whether the connection had carried an earlier exchange.
    pub reused: bool,
}

impl HttpFault {
    /// Makes a fault with a reason and nothing else.
    #[must_use]
    pub fn new(reason: HttpReason) -> Self {
        Self { reason, phase: None, bytes_received: None, reused: false }
    }

    /// Makes a timeout in `phase`.
    #[must_use]
    pub fn timeout(phase: HttpPhase) -> Self {
        Self { phase: Some(phase), ..Self::new(HttpReason::Timeout) }
    }

    /// Adds the bytes of the body that arrived.
    #[must_use]
    pub fn with_bytes_received(mut self, bytes: u64) -> Self {
        self.bytes_received = Some(bytes);
        self
    }

    /// Says whether the connection had carried an earlier exchange.
    #[must_use]
    pub fn with_reused(mut self, reused: bool) -> Self {
        self.reused = reused;
        self
    }
}

impl From<HttpFault> for Detail {
    fn from(fault: HttpFault) -> Self {
        Self::Http(fault)
    }
}

impl From<HttpReason> for Detail {
    fn from(reason: HttpReason) -> Self {
        Self::Http(HttpFault::new(reason))
    }
}
