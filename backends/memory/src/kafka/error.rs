//! Kafka's refusals: name, number, kind and what the object needs.

use std::borrow::Cow;

use onex_spi::kafka::{KafkaFault, Recovery, TopicPartition};
use onex_spi::{Error, ErrorKind};

/// A refusal of the broker; none of them has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    OffsetOutOfRange,
    RequestTimedOut,
    BrokerNotAvailable,
    MessageTooLarge,
    InvalidTopic,
    UnknownMemberId,
    InvalidSessionTimeout,
    InvalidTimestamp,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidConfig,
    PolicyViolation,
    InvalidRecord,
}

impl Refusal {
    fn row(self) -> (&'static str, i16, ErrorKind, Recovery) {
        use ErrorKind::{Conflict, InvalidInput, TimedOut, TooLarge, Unavailable};
        use Recovery::{Abort, None, Retry};
        match self {
            Self::OffsetOutOfRange => ("OFFSET_OUT_OF_RANGE", 1, Conflict, None),
            Self::RequestTimedOut => ("REQUEST_TIMED_OUT", 7, TimedOut, Retry),
            Self::BrokerNotAvailable => ("BROKER_NOT_AVAILABLE", 8, Unavailable, Retry),
            Self::MessageTooLarge => ("MESSAGE_TOO_LARGE", 10, TooLarge, Abort),
            Self::InvalidTopic => ("INVALID_TOPIC_EXCEPTION", 17, InvalidInput, None),
            Self::UnknownMemberId => ("UNKNOWN_MEMBER_ID", 25, Conflict, Abort),
            Self::InvalidSessionTimeout => ("INVALID_SESSION_TIMEOUT", 26, InvalidInput, None),
            Self::InvalidTimestamp => ("INVALID_TIMESTAMP", 32, InvalidInput, None),
            Self::InvalidPartitions => ("INVALID_PARTITIONS", 37, InvalidInput, None),
            Self::InvalidReplicationFactor => ("INVALID_REPLICATION_FACTOR", 38, InvalidInput, None),
            Self::InvalidConfig => ("INVALID_CONFIG", 40, InvalidInput, None),
            Self::PolicyViolation => ("POLICY_VIOLATION", 44, InvalidInput, None),
            Self::InvalidRecord => ("INVALID_RECORD", 87, InvalidInput, None),
        }
    }

    /// The error that `operation` answers.
    pub(super) fn error(self, operation: &'static str, message: impl Into<Cow<'static, str>>) -> Error {
        let (_, _, kind, _) = self.row();
        Error::new(kind, operation, message).not_applied().with_detail(self.fault())
    }

    /// The same, with the partition concerned.
    pub(super) fn error_at(
        self,
        operation: &'static str,
        at: TopicPartition,
        message: impl Into<Cow<'static, str>>,
    ) -> Error {
        self.error(operation, message).with_detail(self.fault().with_at(at))
    }

    fn fault(self) -> KafkaFault {
        let (name, code, _, recovery) = self.row();
        KafkaFault::new(name).with_code(code).with_recovery(recovery)
    }
}

/// A member that was expelled, or never joined.
pub(super) fn unknown_member(operation: &'static str, group: &str) -> Error {
    let message = format!("this consumer is no member of group {group:?} (any more); poll to join");
    Refusal::UnknownMemberId.error(operation, message)
}

/// The broker is away.
pub(super) fn away(operation: &'static str) -> Error {
    Refusal::BrokerNotAvailable.error(operation, "the memory broker is away; try again")
}

#[cfg(test)]
mod tests {
    use onex_spi::Effect;

    use super::*;

    #[test]
    fn every_refusal_has_kafkas_name_and_number_and_no_effect() {
        use Refusal::*;
        let rows = [
            (OffsetOutOfRange, "OFFSET_OUT_OF_RANGE", 1, ErrorKind::Conflict),
            (RequestTimedOut, "REQUEST_TIMED_OUT", 7, ErrorKind::TimedOut),
            (BrokerNotAvailable, "BROKER_NOT_AVAILABLE", 8, ErrorKind::Unavailable),
            (MessageTooLarge, "MESSAGE_TOO_LARGE", 10, ErrorKind::TooLarge),
            (InvalidTopic, "INVALID_TOPIC_EXCEPTION", 17, ErrorKind::InvalidInput),
            (UnknownMemberId, "UNKNOWN_MEMBER_ID", 25, ErrorKind::Conflict),
            (InvalidSessionTimeout, "INVALID_SESSION_TIMEOUT", 26, ErrorKind::InvalidInput),
            (InvalidTimestamp, "INVALID_TIMESTAMP", 32, ErrorKind::InvalidInput),
            (InvalidPartitions, "INVALID_PARTITIONS", 37, ErrorKind::InvalidInput),
            (InvalidReplicationFactor, "INVALID_REPLICATION_FACTOR", 38, ErrorKind::InvalidInput),
            (InvalidConfig, "INVALID_CONFIG", 40, ErrorKind::InvalidInput),
            (PolicyViolation, "POLICY_VIOLATION", 44, ErrorKind::InvalidInput),
            (InvalidRecord, "INVALID_RECORD", 87, ErrorKind::InvalidInput),
        ];
        for (refusal, name, code, kind) in rows {
            let error = refusal.error("kafka.test", "refused");
            let fault = error.kafka().expect("a Kafka detail");
            assert_eq!((&*fault.name, fault.code), (name, Some(code)));
            assert_eq!((error.kind(), error.effect()), (kind, Effect::NotApplied), "{name}");
        }
    }

    #[test]
    fn only_what_passes_by_itself_may_be_retried() {
        let retry = |error: Error| error.kafka().map(|fault| fault.recovery) == Some(Recovery::Retry);
        assert!(
            retry(away("kafka.commit")) && retry(Refusal::RequestTimedOut.error("kafka.produce", "late"))
        );
        assert!(!retry(unknown_member("kafka.commit", "g")));
    }
}
