//! Retry and breaker as one snapshot, and what a circuit is told of an attempt.

use std::sync::Arc;

use onex_spi::breaker::{Circuit, Outcome};
use onex_spi::http::{BreakerBinding, BreakerKey, HttpReason, HttpResponse, RetryPolicy};
use onex_spi::{Error, ErrorKind, Result};

/// What a call takes once, at its start, and keeps.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: Option<Bound>,
}

/// A binding in force; clones are the same binding.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Arc<Binding>);

#[derive(Debug)]
struct Binding {
    binding: BreakerBinding,
    /// The one circuit of a binding by name.
    named: Option<Arc<dyn Circuit>>,
}

impl Bound {
    /// Puts a binding in force; a circuit by name is made and configured now.
    pub(crate) fn new(binding: BreakerBinding) -> Result<Self> {
        if let Some(config) = &binding.config {
            config.validate()?;
        }
        let named = match &binding.key {
            BreakerKey::Named(name) => Some(make(&binding, name)?),
            BreakerKey::PerHost => None,
            other => {
                let message = format!("the breaker key {other:?} is not known to this client");
                return Err(Error::unsupported("http.configure_circuit_breaker", message));
            }
        };
        Ok(Self(Arc::new(Binding { binding, named })))
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The one circuit of a binding by name.
    pub(crate) fn named(&self) -> Option<&Arc<dyn Circuit>> {
        self.0.named.as_ref()
    }

    /// Asks the breaker for the circuit `name`, configured as the binding says.
    pub(crate) fn make(&self, name: &str) -> Result<Arc<dyn Circuit>> {
        make(&self.0.binding, name)
    }
}

fn make(binding: &BreakerBinding, name: &str) -> Result<Arc<dyn Circuit>> {
    if let Some(config) = binding.config {
        binding.breaker.configure_circuit_breaker(name, config)?;
    }
    binding.breaker.circuit(name)
}

/// What an attempt says about the other side: 5xx, 429 and failures of the transport are failures; what was refused on
/// this side says nothing.
pub(crate) fn outcome_of(result: &Result<HttpResponse>) -> Outcome {
    use ErrorKind::{
        Closed, InvalidInput, PermissionDenied, Rejected, ResourceExhausted, TimedOut, Unauthenticated,
        Unsupported,
    };
    match result {
        Ok(response) if response.status.is_server_error() || response.status.as_u16() == 429 => {
            Outcome::Failure
        }
        Ok(_) => Outcome::Success,
        Err(error) => match error.kind() {
            TimedOut => Outcome::TimedOut,
            InvalidInput | Closed | Unsupported | PermissionDenied | Unauthenticated | Rejected
            | ResourceExhausted => Outcome::Ignored,
            _ if error.http().is_some_and(|fault| fault.reason == HttpReason::UnmatchedRoute) => {
                Outcome::Ignored
            }
            _ => Outcome::Failure,
        },
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn outcomes_speak_of_the_other_side_only() {
        let status = |code| Ok(HttpResponse::new(StatusCode::from_u16(code).expect("a status"), ""));
        for (code, outcome) in [
            (200, Outcome::Success),
            (404, Outcome::Success),
            (429, Outcome::Failure),
            (500, Outcome::Failure),
            (599, Outcome::Failure),
        ] {
            assert_eq!(outcome_of(&status(code)), outcome, "{code}");
        }
        let error = |kind| Err(Error::new(kind, "t", "t"));
        for (kind, outcome) in [
            (ErrorKind::Unavailable, Outcome::Failure),
            (ErrorKind::Corrupt, Outcome::Failure),
            (ErrorKind::NotFound, Outcome::Failure),
            (ErrorKind::Unclassified, Outcome::Failure),
            (ErrorKind::TimedOut, Outcome::TimedOut),
            (ErrorKind::InvalidInput, Outcome::Ignored),
            (ErrorKind::PermissionDenied, Outcome::Ignored),
            (ErrorKind::ResourceExhausted, Outcome::Ignored),
            (ErrorKind::Rejected, Outcome::Ignored),
            (ErrorKind::Closed, Outcome::Ignored),
        ] {
            assert_eq!(outcome_of(&error(kind)), outcome, "{kind:?}");
        }
    }
}
