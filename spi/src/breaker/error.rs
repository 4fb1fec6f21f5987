//! What a call through a circuit can come to besides the operation's own result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::CircuitState;
use crate::{Error, ErrorKind};

/// A call that was not let through; the operation was not touched (R10).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The state that rejected.
    pub state: CircuitState,
    /// Whether the state was forced.
    pub forced: bool,
    /// When a call may be let through; `None` where nobody can know.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    /// Makes a rejection.
    #[must_use]
    pub fn new(state: CircuitState, forced: bool, retry_after: Option<Duration>) -> Self {
        Self { state, forced, retry_after }
    }
}

/// What a call through a circuit failed with.
#[allow(clippy::exhaustive_enums, reason = "callers match on exactly these three")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecuteError<E> {
    /// Not let through; the operation was not touched.
    Rejected {
        /// The circuit.
        circuit: Arc<str>,
        /// Why, and when to come back.
        rejection: Rejection,
    },
    /// The operation was dropped at its time limit.
    TimedOut,
    /// The operation's own error.
    Operation(E),
}

impl<E: fmt::Display> fmt::Display for ExecuteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { circuit, rejection } => {
                write!(f, "circuit `{circuit}` is {:?} and rejects calls", rejection.state)?;
                match rejection.retry_after {
                    Some(after) => write!(f, "; try again in {after:?}"),
                    None if rejection.forced => f.write_str("; it was forced: reset it"),
                    None => Ok(()),
                }
            }
            Self::TimedOut => f.write_str("the operation ran out of time"),
            Self::Operation(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ExecuteError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Operation(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ExecuteError<Self>> for Error {
    fn from(error: ExecuteError<Self>) -> Self {
        match error {
            ExecuteError::Operation(error) => error,
            ExecuteError::TimedOut => {
                Self::new(ErrorKind::TimedOut, "breaker.call", "the operation ran out of time")
            }
            ExecuteError::Rejected { rejection, .. } => {
                let refused =
                    Self::new(ErrorKind::Rejected, "breaker.admit", error.to_string()).not_applied();
                match rejection.retry_after {
                    Some(after) => refused.with_retry_after(after),
                    None => refused,
                }
            }
        }
    }
}
