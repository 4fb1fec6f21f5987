//! Retry and breaker as one snapshot, and what a circuit is told of an attempt.

use std::sync::Arc;

use onex_spi::breaker::{Circuit, Outcome};
use onex_spi::http::{BreakerBinding, BreakerKey, HttpReason, HttpResponse, RetryPolicy, retry_after};
use onex_spi::{Clock, Error, ErrorKind, Result};

use crate::CircuitConfig;

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

/// What an attempt says about the other side: the statuses that `config` names and failures of the transport are failures; what was
/// refused on this side says nothing. A 429 or 503 that names a time speaks for all calls (R20).
pub(crate) fn outcome_of(
    result: &Result<HttpResponse>,
    config: &CircuitConfig,
    clock: &dyn Clock,
) -> Outcome {
    use ErrorKind::{
        Closed, InvalidInput, PermissionDenied, Rejected, ResourceExhausted, TimedOut, Unauthenticated,
        Unsupported,
    };
    match result {
        Ok(response) if config.is_failure(response.status) => {
            let speaks_for_all = config.trip_on_retry_after && matches!(response.status.as_u16(), 429 | 503);
            let wait = speaks_for_all.then(|| retry_after(&response.headers, clock.wall())).flatten();
            // No time at all is an invitation.
            match wait.filter(|wait| !wait.is_zero()) {
                Some(wait) => Outcome::Trip { wait: Some(wait) },
                None => Outcome::Failure,
            }
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
    use std::time::Duration;

    use http::StatusCode;
    use http::header::RETRY_AFTER;
    use onex_testkit::clock::ManualClock;

    use super::*;
    use crate::StatusMatch;

    #[test]
    fn outcomes_speak_of_the_other_side_only() {
        let (config, clock) = (CircuitConfig::default(), ManualClock::new());
        let mut off = config.clone().with_trip_on_retry_after(false);
        off.failures.push(StatusMatch::Code(404));
        let second = Duration::from_secs(1);
        let trip = Outcome::Trip { wait: Some(7 * second) };
        let answer = |code, after: &str| {
            let mut response = HttpResponse::new(StatusCode::from_u16(code).expect("a status"), "");
            if !after.is_empty() {
                response.headers.insert(RETRY_AFTER, after.parse().expect("a value"));
            }
            Ok(response)
        };
        for (code, after, outcome, with_off) in [
            (200, "", Outcome::Success, Outcome::Success),
            (302, "7", Outcome::Success, Outcome::Success),
            (404, "", Outcome::Success, Outcome::Failure),
            (404, "7", Outcome::Success, Outcome::Failure),
            (429, "", Outcome::Failure, Outcome::Failure),
            (429, "7", trip, Outcome::Failure),
            (429, "0", Outcome::Failure, Outcome::Failure),
            (429, "soon", Outcome::Failure, Outcome::Failure),
            (429, "Thu, 01 Jan 1970 00:00:00 GMT", Outcome::Failure, Outcome::Failure),
            (500, "7", Outcome::Failure, Outcome::Failure),
            (503, "7", trip, Outcome::Failure),
            (599, "", Outcome::Failure, Outcome::Failure),
        ] {
            let result = answer(code, after);
            assert_eq!(outcome_of(&result, &config, &clock), outcome, "{code} {after}");
            assert_eq!(outcome_of(&result, &off, &clock), with_off, "{code} {after}, without trips");
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
            assert_eq!(outcome_of(&error(kind), &config, &clock), outcome, "{kind:?}");
        }
    }
}
