//! The words of the bridge for what can go wrong in it.

use onex_spi::bridge::{BridgeFault, BridgeId, BridgeReason, DeadReason};
use onex_spi::{Detail, Error, ErrorKind};

pub(crate) const CREATE: &str = "bridge.create";
pub(crate) const SEND: &str = "bridge.send";
pub(crate) const ROUTING: &str = "bridge.configure_routing";
pub(crate) const DESTROY: &str = "bridge.destroy";
const DELIVER: &str = "bridge.deliver";

/// A bridge that ended, or is ending.
pub(crate) fn closed(id: BridgeId) -> Error {
    Error::closed(SEND, id)
}

pub(crate) fn full(name: &str, in_flight: usize) -> Error {
    let message =
        format!("the bridge `{name}` holds {in_flight} messages, all that in_flight allows; slow down");
    Error::new(ErrorKind::ResourceExhausted, SEND, message).not_applied()
}

pub(crate) fn too_large(bytes: usize, most: usize) -> Error {
    let message =
        format!("a payload of {bytes} bytes is above message_bytes = {most}; split it or raise the limit");
    Error::new(ErrorKind::TooLarge, SEND, message)
        .not_applied()
        .with_detail(BridgeFault::new(BridgeReason::InvalidMessage))
}

/// A message that no rule takes, where there is neither a default route nor a dead-letter target.
pub(crate) fn no_route(name: &str) -> Error {
    let message = format!("no rule of the bridge `{name}` takes the message; add a rule or a default route");
    Error::new(ErrorKind::NotFound, DELIVER, message)
        .not_applied()
        .with_detail(BridgeFault::new(BridgeReason::MissingTarget))
}

/// A rule that could not be decided for a message.
pub(crate) fn rule(rule: usize, why: impl std::fmt::Display) -> Error {
    Error::invalid(DELIVER, format!("rule {rule} cannot be decided for the message: {why}"))
        .with_detail(BridgeFault::new(BridgeReason::InvalidRule).with_rule(rule))
}

pub(crate) fn not_json(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, DELIVER, format!("the payload is not JSON: {why}"))
        .not_applied()
        .with_detail(BridgeFault::new(BridgeReason::InvalidMessage))
}

/// A message that was in flight when its bridge ended.
pub(crate) fn drained(id: BridgeId) -> Error {
    let message = format!("{id} ended while the message was in flight; look whether it arrived");
    Error::new(ErrorKind::Closed, DELIVER, message).with_detail(BridgeFault::new(BridgeReason::Drained))
}

pub(crate) fn panicked(id: BridgeId) -> Error {
    Error::new(
        ErrorKind::Unclassified,
        DELIVER,
        format!("an end of {id} panicked, and the bridge ended with it"),
    )
}

/// A target that does not answer for each message once.
pub(crate) fn answers(given: usize, due: usize) -> Error {
    let message = format!("the target gave {given} answers for {due} messages");
    Error::new(ErrorKind::Unclassified, DELIVER, message)
}

/// A dead letter that could not be written: the failure of its message (B7).
pub(crate) fn dead_letter(dead: Option<(DeadReason, Option<&Error>)>, error: &Error) -> Error {
    let (reason, cause) = dead.unzip();
    let reason = reason.map_or("", DeadReason::as_str);
    let message = format!("the dead letter ({reason}) cannot be written: {error}");
    let failed = Error::new(error.kind(), "bridge.dead_letter", message)
        .with_effect(error.effect())
        .with_detail(error.detail().clone());
    match cause.flatten() {
        Some(cause) => failed.with_source(cause.clone()),
        None => failed,
    }
}

/// What a delivery that failed for the last time makes of its message.
pub(crate) fn dead_reason(error: &Error) -> DeadReason {
    let lossy =
        matches!(error.detail(), Detail::Bridge(fault) if fault.reason == BridgeReason::InvalidMessage);
    match error.kind() {
        ErrorKind::NotFound => DeadReason::MissingTarget,
        ErrorKind::TooLarge => DeadReason::TooLarge,
        _ if error.is_retryable(true) => DeadReason::RetriesExhausted,
        ErrorKind::InvalidInput | ErrorKind::Unsupported if lossy => DeadReason::ConversionLoss,
        _ => DeadReason::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_reason() {
        let of = |kind| Error::new(kind, "t.deliver", "x");
        let lossy = |kind| of(kind).with_detail(BridgeFault::new(BridgeReason::InvalidMessage));
        let table = [
            (of(ErrorKind::NotFound), DeadReason::MissingTarget),
            (of(ErrorKind::TooLarge), DeadReason::TooLarge),
            (of(ErrorKind::Unavailable), DeadReason::RetriesExhausted),
            (of(ErrorKind::TimedOut), DeadReason::RetriesExhausted),
            (of(ErrorKind::ResourceExhausted), DeadReason::RetriesExhausted),
            (of(ErrorKind::Rejected), DeadReason::RetriesExhausted),
            (of(ErrorKind::Unauthenticated), DeadReason::Rejected),
            (of(ErrorKind::PermissionDenied), DeadReason::Rejected),
            (of(ErrorKind::InvalidInput), DeadReason::Rejected),
            (of(ErrorKind::Unclassified), DeadReason::Rejected),
            (of(ErrorKind::Closed), DeadReason::Rejected),
            (lossy(ErrorKind::InvalidInput), DeadReason::ConversionLoss),
            (lossy(ErrorKind::Unsupported), DeadReason::ConversionLoss),
            (lossy(ErrorKind::Corrupt), DeadReason::Rejected),
        ];
        for (error, reason) in table {
            assert_eq!(dead_reason(&error), reason, "{error:?}");
        }
    }

    #[test]
    fn a_dead_letter_that_cannot_be_written_tells_both_errors() {
        let cause = Error::new(ErrorKind::Unauthenticated, "http.request", "401");
        let away = Error::new(ErrorKind::Unavailable, "kafka.produce", "broker away").not_applied();
        let failed = dead_letter(Some((DeadReason::Rejected, Some(&cause))), &away);
        assert_eq!((failed.kind(), failed.effect()), (away.kind(), away.effect()));
        let text = format!("{failed:#}");
        assert!(text.contains("broker away") && text.contains("401") && text.contains("rejected"), "{text}");
    }
}
