//! How a case says that a law is broken.

use std::time::Duration;

use futures_util::future::{Either, select};
use onex_spi::{Clock, Effect, Error, ErrorKind, Result};

use crate::suite::Stop;

/// Waits for `work` at most `limit`; longer breaks `law`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    law: &'static str,
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, Stop> {
    let work = std::pin::pin!(work);
    match select(work, clock.sleep_until(clock.now() + limit)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(broken(law, format!("{what}: no answer within {limit:?}"))),
    }
}

/// A broken law.
pub(crate) fn broken(law: &'static str, message: impl Into<String>) -> Stop {
    Stop::Failed { law, message: message.into() }
}

/// Checks that a call was refused with `kind`, with Kafka's `name` for it where one is due, and changed nothing.
///
/// The kind breaks `law`, the effect K5.
pub(crate) fn refused<T: std::fmt::Debug>(
    law: &'static str,
    answer: Result<T>,
    kind: ErrorKind,
    name: &str,
    what: &str,
) -> Result<Error, Stop> {
    let error = match answer {
        Ok(value) => return Err(broken(law, format!("{what}: {value:?} instead of {kind:?} {name}"))),
        Err(error) => error,
    };
    if error.kind() != kind {
        return Err(broken(law, format!("{what}: {error:#} instead of {kind:?} {name}")));
    }
    if !name.is_empty() && error.kafka().is_none_or(|fault| fault.name != name) {
        return Err(broken(law, format!("{what}: {error:#} names {:?} instead of {name}", error.kafka())));
    }
    if error.effect() != Effect::NotApplied {
        return Err(broken(
            "K5",
            format!("{what}: {error:#} was refused, yet its effect is told as unknown"),
        ));
    }
    Ok(error)
}
