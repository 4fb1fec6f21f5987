//! What a call through a circuit can come to besides the operation's own result, and what a registry refuses.

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

/// The most characters of a name that an error repeats.
const SHOWN: usize = 64;

fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}..` ({} bytes)", &name[..end], name.len()),
        None => format!("`{name}`"),
    }
}

/// A name that no circuit has.
pub(super) fn unknown(operation: &'static str, name: &str) -> Error {
    let text = format!("no circuit is called {}; a first call or a configuration makes it", shown(name));
    Error::new(ErrorKind::NotFound, operation, text).not_applied()
}

/// A new name where the bound is reached.
pub(super) fn full(operation: &'static str, name: &str, most: usize) -> Error {
    let text = format!(
        "{} would be one more than the {most} circuits allowed, and none is idle; raise the bound",
        shown(name)
    );
    Error::new(ErrorKind::ResourceExhausted, operation, text).not_applied()
}

/// A name that is too long.
pub(super) fn long(operation: &'static str, name: &str, most: usize) -> Error {
    Error::invalid(operation, format!("name = {} is not of 0..={most} bytes; shorten it", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Effect;

    #[test]
    fn every_refusal_has_its_kind_no_effect_and_a_bounded_text() {
        let name = "ä".repeat(40_000);
        let table = [
            (unknown("breaker.circuit_state", &name), ErrorKind::NotFound),
            (full("breaker.circuit", &name, 7), ErrorKind::ResourceExhausted),
            (long("breaker.circuit", &name, 65_536), ErrorKind::InvalidInput),
        ];
        for (error, kind) in table {
            assert_eq!((error.kind(), error.effect()), (kind, Effect::NotApplied), "{error}");
            assert!(error.to_string().len() < 400 && error.message().contains("ä.."), "{error}");
        }
        assert!(unknown("breaker.circuit_state", "payments").message().contains("`payments`"));
    }
}
