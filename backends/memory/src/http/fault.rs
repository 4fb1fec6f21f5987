//! What can go wrong on purpose.

use std::time::Duration;

/// A fault of the network that an exchange meets.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFault {
    /// The connection is refused: `Unavailable`, `Connect`, not applied.
    Refuse,
    /// Connecting takes this long; the request's connect timeout may end it.
    SlowConnect(Duration),
    /// The request arrives this much later.
    Delay(Duration),
    /// The handler runs to its end and its answer is lost: `Unavailable`, `ConnectionLost`, effect unknown.
    LoseAnswer,
    /// The response body ends after this many bytes: `Unavailable`, `IncompleteBody`.
    CutBody(u64),
    /// The connection is reset after this many bytes of the response body: `Unavailable`, `ConnectionReset`.
    ResetBody(u64),
}
