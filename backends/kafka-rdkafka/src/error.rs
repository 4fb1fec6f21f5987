//! The one map from librdkafka's codes to (kind, effect, Kafka's name, recovery).
//!
//! ```text
//!  code ─► row() ─► kind, name, number, recovery       the table
//!               └─► effect where a broker answered      a delivery report has its own: librdkafka's message status
//! ```
//!
//! Positive codes are the protocol's and carry its names; librdkafka's own codes are negative and carry a name only
//! where they mean what a broker's code means.

use std::error::Error as StdError;
use std::fmt;

use onex_spi::kafka::{KafkaFault, Recovery, TopicPartition};
use onex_spi::{Effect, Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) kind: ErrorKind,
    /// The effect on a call that the code answers: of a delivery, the message status knows better.
    pub(crate) effect: Effect,
    /// The protocol's name; empty for codes that only librdkafka knows.
    pub(crate) name: &'static str,
    pub(crate) recovery: Recovery,
}

/// Kafka's number for the codes of librdkafka that stand for one of the protocol's.
fn number(code: Code) -> Option<i16> {
    let number = match code {
        Code::UnknownTopic | Code::UnknownPartition => Code::UnknownTopicOrPartition as i32,
        other => other as i32,
    };
    i16::try_from(number).ok().filter(|number| *number > 0)
}

pub(crate) fn row(code: Code) -> Row {
    use Effect::{NotApplied, Unknown};
    use ErrorKind as K;
    use Recovery::{Abort, Reopen, Retry};
    let (kind, effect, name, recovery) = match code {
        // librdkafka's own.
        Code::MessageTimedOut => (K::TimedOut, Unknown, "", Retry),
        Code::OperationTimedOut | Code::TimedOutQueue => (K::TimedOut, Unknown, "", Retry),
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::BrokerDestroy => {
            (K::Unavailable, Unknown, "", Retry)
        }
        Code::WaitingForCoordinator | Code::WaitCache => (K::Unavailable, NotApplied, "", Retry),
        Code::Retry | Code::InProgress | Code::PreviousInProgress => (K::Unavailable, Unknown, "", Retry),
        Code::UnknownTopic | Code::UnknownPartition => {
            (K::NotFound, NotApplied, "UNKNOWN_TOPIC_OR_PARTITION", Abort)
        }
        Code::QueueFull => (K::ResourceExhausted, NotApplied, "", Retry),
        Code::InvalidArgument | Code::UnknownGroup | Code::InvalidType | Code::NotConfigured => {
            (K::InvalidInput, NotApplied, "", Recovery::None)
        }
        Code::Authentication | Code::SSL => (K::Unauthenticated, NotApplied, "", Reopen),
        Code::PurgeQueue => (K::Closed, NotApplied, "", Reopen),
        Code::PurgeInflight => (K::Closed, Unknown, "", Reopen),
        Code::Fatal | Code::Inconsistent | Code::GaplessGuarantee => (K::Conflict, Unknown, "", Reopen),
        Code::State => (K::Conflict, NotApplied, "", Retry),
        Code::Conflict | Code::ExistingSubscription => (K::Conflict, NotApplied, "", Recovery::None),
        Code::PollExceeded | Code::AssignmentLost | Code::Outdated => (K::Conflict, NotApplied, "", Abort),
        Code::Fenced => (K::Conflict, Unknown, "", Reopen),
        // The Java client's word for it; the protocol has none.
        Code::AutoOffsetReset | Code::NoOffset => {
            (K::NotFound, NotApplied, "NO_OFFSET_FOR_PARTITION", Recovery::None)
        }
        Code::LogTruncation => (K::Conflict, NotApplied, "", Recovery::None),
        Code::UnsupportedFeature | Code::NotImplemented => (K::Unsupported, NotApplied, "", Recovery::None),
        Code::BadMessage | Code::BadCompression | Code::Underflow => (K::Corrupt, Unknown, "", Abort),
        Code::ISRInsufficient => (K::Unavailable, Unknown, "", Retry),
        // The protocol's.
        Code::OffsetOutOfRange => (K::Conflict, NotApplied, "OFFSET_OUT_OF_RANGE", Recovery::None),
        Code::InvalidMessage => (K::Corrupt, NotApplied, "CORRUPT_MESSAGE", Retry),
        Code::UnknownTopicOrPartition => (K::NotFound, NotApplied, "UNKNOWN_TOPIC_OR_PARTITION", Abort),
        Code::InvalidMessageSize => (K::InvalidInput, NotApplied, "INVALID_FETCH_SIZE", Abort),
        Code::LeaderNotAvailable => (K::Unavailable, NotApplied, "LEADER_NOT_AVAILABLE", Retry),
        Code::NotLeaderForPartition => (K::Unavailable, NotApplied, "NOT_LEADER_OR_FOLLOWER", Retry),
        Code::RequestTimedOut => (K::TimedOut, Unknown, "REQUEST_TIMED_OUT", Retry),
        Code::BrokerNotAvailable => (K::Unavailable, NotApplied, "BROKER_NOT_AVAILABLE", Retry),
        Code::ReplicaNotAvailable => (K::Unavailable, NotApplied, "REPLICA_NOT_AVAILABLE", Retry),
        Code::MessageSizeTooLarge => (K::TooLarge, NotApplied, "MESSAGE_TOO_LARGE", Abort),
        Code::OffsetMetadataTooLarge => (K::TooLarge, NotApplied, "OFFSET_METADATA_TOO_LARGE", Abort),
        Code::NetworkException => (K::Unavailable, Unknown, "NETWORK_EXCEPTION", Retry),
        Code::CoordinatorLoadInProgress => {
            (K::Unavailable, NotApplied, "COORDINATOR_LOAD_IN_PROGRESS", Retry)
        }
        Code::CoordinatorNotAvailable => (K::Unavailable, NotApplied, "COORDINATOR_NOT_AVAILABLE", Retry),
        Code::NotCoordinator => (K::Unavailable, NotApplied, "NOT_COORDINATOR", Retry),
        Code::InvalidTopic => (K::InvalidInput, NotApplied, "INVALID_TOPIC_EXCEPTION", Abort),
        Code::MessageBatchTooLarge => (K::TooLarge, NotApplied, "RECORD_LIST_TOO_LARGE", Abort),
        Code::NotEnoughReplicas => (K::Unavailable, NotApplied, "NOT_ENOUGH_REPLICAS", Retry),
        Code::NotEnoughReplicasAfterAppend => {
            (K::Unavailable, Unknown, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry)
        }
        Code::InvalidRequiredAcks => (K::InvalidInput, NotApplied, "INVALID_REQUIRED_ACKS", Abort),
        Code::IllegalGeneration => (K::Conflict, NotApplied, "ILLEGAL_GENERATION", Abort),
        Code::InconsistentGroupProtocol => {
            (K::InvalidInput, NotApplied, "INCONSISTENT_GROUP_PROTOCOL", Reopen)
        }
        Code::InvalidGroupId => (K::InvalidInput, NotApplied, "INVALID_GROUP_ID", Reopen),
        Code::UnknownMemberId => (K::Conflict, NotApplied, "UNKNOWN_MEMBER_ID", Abort),
        Code::InvalidSessionTimeout => (K::InvalidInput, NotApplied, "INVALID_SESSION_TIMEOUT", Reopen),
        // A commit is refused while the group agrees anew; after the next polls it may be repeated.
        Code::RebalanceInProgress => (K::Conflict, NotApplied, "REBALANCE_IN_PROGRESS", Abort),
        Code::InvalidCommitOffsetSize => (K::TooLarge, NotApplied, "INVALID_COMMIT_OFFSET_SIZE", Abort),
        Code::TopicAuthorizationFailed => {
            (K::PermissionDenied, NotApplied, "TOPIC_AUTHORIZATION_FAILED", Abort)
        }
        Code::GroupAuthorizationFailed => {
            (K::PermissionDenied, NotApplied, "GROUP_AUTHORIZATION_FAILED", Abort)
        }
        Code::ClusterAuthorizationFailed => {
            (K::PermissionDenied, NotApplied, "CLUSTER_AUTHORIZATION_FAILED", Abort)
        }
        Code::InvalidTimestamp => (K::InvalidInput, NotApplied, "INVALID_TIMESTAMP", Abort),
        Code::UnsupportedSASLMechanism => {
            (K::Unauthenticated, NotApplied, "UNSUPPORTED_SASL_MECHANISM", Reopen)
        }
        Code::IllegalSASLState => (K::Unauthenticated, NotApplied, "ILLEGAL_SASL_STATE", Reopen),
        Code::UnsupportedVersion => (K::Unsupported, NotApplied, "UNSUPPORTED_VERSION", Recovery::None),
        Code::TopicAlreadyExists => (K::AlreadyExists, NotApplied, "TOPIC_ALREADY_EXISTS", Recovery::None),
        Code::InvalidPartitions => (K::InvalidInput, NotApplied, "INVALID_PARTITIONS", Recovery::None),
        Code::InvalidReplicationFactor => {
            (K::InvalidInput, NotApplied, "INVALID_REPLICATION_FACTOR", Recovery::None)
        }
        Code::InvalidReplicaAssignment => {
            (K::InvalidInput, NotApplied, "INVALID_REPLICA_ASSIGNMENT", Recovery::None)
        }
        Code::InvalidConfig => (K::InvalidInput, NotApplied, "INVALID_CONFIG", Recovery::None),
        Code::NotController => (K::Unavailable, NotApplied, "NOT_CONTROLLER", Retry),
        Code::InvalidRequest => (K::InvalidInput, NotApplied, "INVALID_REQUEST", Recovery::None),
        Code::UnsupportedForMessageFormat => {
            (K::Unsupported, NotApplied, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Abort)
        }
        Code::PolicyViolation => (K::InvalidInput, NotApplied, "POLICY_VIOLATION", Recovery::None),
        Code::OutOfOrderSequenceNumber => (K::Conflict, Unknown, "OUT_OF_ORDER_SEQUENCE_NUMBER", Reopen),
        Code::DuplicateSequenceNumber => (K::Conflict, Unknown, "DUPLICATE_SEQUENCE_NUMBER", Reopen),
        Code::InvalidProducerEpoch => (K::Conflict, NotApplied, "INVALID_PRODUCER_EPOCH", Reopen),
        Code::SecurityDisabled => (K::Unsupported, NotApplied, "SECURITY_DISABLED", Recovery::None),
        Code::OperationNotAttempted => (K::Unavailable, NotApplied, "OPERATION_NOT_ATTEMPTED", Retry),
        Code::KafkaStorageError => (K::Unavailable, Unknown, "KAFKA_STORAGE_ERROR", Retry),
        Code::SaslAuthenticationFailed => {
            (K::Unauthenticated, NotApplied, "SASL_AUTHENTICATION_FAILED", Reopen)
        }
        Code::UnknownProducerId => (K::Conflict, Unknown, "UNKNOWN_PRODUCER_ID", Reopen),
        Code::TopicDeletionDisabled => {
            (K::Unsupported, NotApplied, "TOPIC_DELETION_DISABLED", Recovery::None)
        }
        Code::FencedLeaderEpoch => (K::Unavailable, NotApplied, "FENCED_LEADER_EPOCH", Retry),
        Code::UnknownLeaderEpoch => (K::Unavailable, NotApplied, "UNKNOWN_LEADER_EPOCH", Retry),
        Code::UnsupportedCompressionType => {
            (K::Unsupported, NotApplied, "UNSUPPORTED_COMPRESSION_TYPE", Abort)
        }
        Code::OffsetNotAvailable => (K::Unavailable, NotApplied, "OFFSET_NOT_AVAILABLE", Retry),
        Code::MemberIdRequired => (K::Conflict, NotApplied, "MEMBER_ID_REQUIRED", Retry),
        Code::GroupMaxSizeReached => (K::ResourceExhausted, NotApplied, "GROUP_MAX_SIZE_REACHED", Reopen),
        Code::FencedInstanceId => (K::Conflict, NotApplied, "FENCED_INSTANCE_ID", Reopen),
        Code::InvalidRecord => (K::InvalidInput, NotApplied, "INVALID_RECORD", Abort),
        Code::UnstableOffsetCommit => (K::Unavailable, NotApplied, "UNSTABLE_OFFSET_COMMIT", Retry),
        Code::ThrottlingQuotaExceeded => {
            (K::ResourceExhausted, NotApplied, "THROTTLING_QUOTA_EXCEEDED", Retry)
        }
        Code::UnknownTopicId => (K::NotFound, NotApplied, "UNKNOWN_TOPIC_ID", Retry),
        _ => (K::Unclassified, Unknown, "", Abort),
    };
    Row { kind, effect, name, recovery }
}

/// librdkafka's text for a code: the code itself, which [`KafkaError`] carries only in some variants.
#[derive(Debug)]
struct Native(Code);

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "librdkafka: {} ({})", self.0, self.0 as i32)
    }
}

impl StdError for Native {}

/// Makes the error for a code that answered `operation`; `about` names the topic, group or call.
pub(crate) fn of_code(code: Code, operation: &'static str, about: impl fmt::Display) -> Error {
    let message = format!("{about}: {}; {}", text(code), way_out(row(code).kind));
    of_code_with(code, operation, message)
}

fn of_code_with(code: Code, operation: &'static str, message: String) -> Error {
    let row = row(code);
    let mut fault = KafkaFault::new(row.name).with_recovery(row.recovery);
    fault.code = number(code);
    Error::new(row.kind, operation, message)
        .with_effect(row.effect)
        .with_detail(fault)
        .with_source(Native(code))
}

/// Adds the partition that an error is about.
pub(crate) fn at(error: Error, partition: TopicPartition) -> Error {
    match error.kafka().cloned() {
        Some(fault) => error.with_detail(fault.with_at(partition)),
        None => error,
    }
}

/// Makes the error for what a call of rdkafka answered.
pub(crate) fn of_native(error: &KafkaError, operation: &'static str, about: impl fmt::Display) -> Error {
    if let Some(code) = code_of(error) {
        return of_code(code, operation, about);
    }
    let refused = |kind: ErrorKind, text: String| {
        Error::new(kind, operation, format!("{about}: {text}")).not_applied().with_detail(KafkaFault::new(""))
    };
    match error {
        // Without the value, which may be a secret, and so without rdkafka's error as the source.
        KafkaError::ClientConfig(_, text, key, _) => refused(
            ErrorKind::InvalidInput,
            format!("librdkafka refuses the setting {key}: {text}; see its CONFIGURATION.md"),
        ),
        KafkaError::ClientCreation(text) => refused(ErrorKind::InvalidInput, text.clone()),
        KafkaError::AdminOpCreation(text) => refused(ErrorKind::InvalidInput, text.clone()),
        KafkaError::Nul(_) => refused(ErrorKind::InvalidInput, "a name holds a NUL byte".into()),
        KafkaError::Canceled => {
            Error::closed(operation, "the client").with_effect(Effect::Unknown).with_source(error.clone())
        }
        other => Error::new(ErrorKind::Unclassified, operation, format!("{about}: {other}"))
            .with_detail(KafkaFault::new("").with_recovery(Recovery::Abort))
            .with_source(other.clone()),
    }
}

/// Makes the error for a question to the cluster; where nobody answered it names the brokers `asked`, which librdkafka's text does not.
pub(crate) fn of_question(
    error: &KafkaError,
    operation: &'static str,
    about: impl fmt::Display,
    asked: &[String],
) -> Error {
    match code_of(error) {
        Some(
            code @ (Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve),
        ) => {
            let (asked, text) = (asked.join(", "), text(code));
            let way_out = "check that they run and that bootstrap_servers names them, or try again later";
            of_code_with(code, operation, format!("{about}: no answer from {asked}: {text}; {way_out}"))
        }
        _ => of_native(error, operation, about),
    }
}

/// The code inside an error of rdkafka, also where `rdkafka_error_code` does not tell it.
pub(crate) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        // librdkafka's answer as a name or a text; these two are the ones that calls of ours can meet.
        KafkaError::Seek(name) | KafkaError::Subscription(name) | KafkaError::PauseResume(name) => match name
            .as_str()
        {
            "_STATE" | "Local: Erroneous state" => Some(Code::State),
            "_TIMED_OUT" | "Local: Timed out" => Some(Code::OperationTimedOut),
            "_PREV_IN_PROGRESS" | "Local: Previous operation in progress" => Some(Code::PreviousInProgress),
            "_CONFLICT" | "Local: Conflicting use" => Some(Code::Conflict),
            "_INVALID_ARG" | "Local: Invalid argument or configuration" => Some(Code::InvalidArgument),
            "_FATAL" | "Local: Fatal error" => Some(Code::Fatal),
            _ => None,
        },
        other => other.rdkafka_error_code(),
    }
}

/// The code's sentence without rdkafka's decoration.
fn text(code: Code) -> String {
    let shown = code.to_string();
    let name = format!("{code:?}");
    shown
        .strip_prefix(&format!("{name} ("))
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(&shown)
        .to_owned()
}

fn way_out(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "change the call",
        ErrorKind::NotFound => "create it, or name another",
        ErrorKind::TooLarge => "split or shrink it",
        ErrorKind::PermissionDenied => "ask the cluster's administrator for the right",
        ErrorKind::Unauthenticated => "check the credentials in the engine's tuning",
        ErrorKind::Closed => "open a new one",
        ErrorKind::Conflict => "read the state again, or open a new client",
        ErrorKind::Unavailable | ErrorKind::TimedOut => "the brokers may come back",
        ErrorKind::ResourceExhausted => "slow down",
        ErrorKind::AlreadyExists => "use it",
        ErrorKind::Unsupported => "the broker is too old or has it switched off",
        _ => "report it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code, kind, effect, name: what the runs against the real broker met, and what Kafka's protocol names.
    #[test]
    fn every_code_that_a_run_met_has_its_row() {
        use Effect::{NotApplied, Unknown};
        use ErrorKind as K;
        let table = [
            (Code::MessageTimedOut, K::TimedOut, Unknown, ""),
            (Code::OperationTimedOut, K::TimedOut, Unknown, ""),
            (Code::BrokerTransportFailure, K::Unavailable, Unknown, ""),
            (Code::AllBrokersDown, K::Unavailable, Unknown, ""),
            (Code::UnknownTopic, K::NotFound, NotApplied, "UNKNOWN_TOPIC_OR_PARTITION"),
            (Code::UnknownPartition, K::NotFound, NotApplied, "UNKNOWN_TOPIC_OR_PARTITION"),
            (Code::QueueFull, K::ResourceExhausted, NotApplied, ""),
            (Code::Authentication, K::Unauthenticated, NotApplied, ""),
            (Code::PurgeQueue, K::Closed, NotApplied, ""),
            (Code::PurgeInflight, K::Closed, Unknown, ""),
            (Code::Fatal, K::Conflict, Unknown, ""),
            (Code::Fenced, K::Conflict, Unknown, ""),
            (Code::State, K::Conflict, NotApplied, ""),
            (Code::PollExceeded, K::Conflict, NotApplied, ""),
            (Code::AutoOffsetReset, K::NotFound, NotApplied, "NO_OFFSET_FOR_PARTITION"),
            (Code::OffsetOutOfRange, K::Conflict, NotApplied, "OFFSET_OUT_OF_RANGE"),
            (Code::UnknownTopicOrPartition, K::NotFound, NotApplied, "UNKNOWN_TOPIC_OR_PARTITION"),
            (Code::NotLeaderForPartition, K::Unavailable, NotApplied, "NOT_LEADER_OR_FOLLOWER"),
            (Code::RequestTimedOut, K::TimedOut, Unknown, "REQUEST_TIMED_OUT"),
            (Code::MessageSizeTooLarge, K::TooLarge, NotApplied, "MESSAGE_TOO_LARGE"),
            (Code::InvalidTopic, K::InvalidInput, NotApplied, "INVALID_TOPIC_EXCEPTION"),
            (Code::NotEnoughReplicas, K::Unavailable, NotApplied, "NOT_ENOUGH_REPLICAS"),
            (Code::NotEnoughReplicasAfterAppend, K::Unavailable, Unknown, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
            (Code::IllegalGeneration, K::Conflict, NotApplied, "ILLEGAL_GENERATION"),
            (Code::UnknownMemberId, K::Conflict, NotApplied, "UNKNOWN_MEMBER_ID"),
            (Code::RebalanceInProgress, K::Conflict, NotApplied, "REBALANCE_IN_PROGRESS"),
            (Code::InvalidSessionTimeout, K::InvalidInput, NotApplied, "INVALID_SESSION_TIMEOUT"),
            (Code::TopicAuthorizationFailed, K::PermissionDenied, NotApplied, "TOPIC_AUTHORIZATION_FAILED"),
            (Code::GroupAuthorizationFailed, K::PermissionDenied, NotApplied, "GROUP_AUTHORIZATION_FAILED"),
            (Code::InvalidTimestamp, K::InvalidInput, NotApplied, "INVALID_TIMESTAMP"),
            (Code::TopicAlreadyExists, K::AlreadyExists, NotApplied, "TOPIC_ALREADY_EXISTS"),
            (Code::InvalidPartitions, K::InvalidInput, NotApplied, "INVALID_PARTITIONS"),
            (Code::InvalidReplicationFactor, K::InvalidInput, NotApplied, "INVALID_REPLICATION_FACTOR"),
            (Code::InvalidConfig, K::InvalidInput, NotApplied, "INVALID_CONFIG"),
            (Code::PolicyViolation, K::InvalidInput, NotApplied, "POLICY_VIOLATION"),
            (Code::OutOfOrderSequenceNumber, K::Conflict, Unknown, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
            (Code::InvalidProducerEpoch, K::Conflict, NotApplied, "INVALID_PRODUCER_EPOCH"),
            (Code::SaslAuthenticationFailed, K::Unauthenticated, NotApplied, "SASL_AUTHENTICATION_FAILED"),
            (Code::FencedInstanceId, K::Conflict, NotApplied, "FENCED_INSTANCE_ID"),
            (Code::InvalidRecord, K::InvalidInput, NotApplied, "INVALID_RECORD"),
            (Code::UnstableOffsetCommit, K::Unavailable, NotApplied, "UNSTABLE_OFFSET_COMMIT"),
            (Code::Application, K::Unclassified, Unknown, ""),
        ];
        for (code, kind, effect, name) in table {
            let row = row(code);
            assert_eq!((row.kind, row.effect, row.name), (kind, effect, name), "{code:?}");
        }
    }

    #[test]
    fn a_refusal_carries_kafkas_name_and_number_and_reads_as_a_sentence() {
        let error = of_code(Code::UnknownTopicOrPartition, "kafka.topic_metadata", "topic orders");
        let fault = error.kafka().expect("a Kafka fault");
        assert_eq!((fault.name.as_ref(), fault.code), ("UNKNOWN_TOPIC_OR_PARTITION", Some(3)));
        assert_eq!(error.effect(), Effect::NotApplied);
        assert_eq!(
            error.to_string(),
            "kafka.topic_metadata: topic orders: Broker: Unknown topic or partition; create it, or name another (NotFound)"
        );
    }

    #[test]
    fn a_code_inside_an_admin_operation_is_found() {
        let error = of_native(&KafkaError::AdminOp(Code::OperationTimedOut), "kafka.create_topic", "topic t");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    }

    #[test]
    fn a_question_that_nobody_answered_names_topic_brokers_and_the_way_out() {
        let asked = ["a:9092".to_owned(), "b:9092".to_owned()];
        let told = |code| {
            let error = of_question(&KafkaError::AdminOp(code), "kafka.create_topic", "topic orders", &asked);
            assert_eq!((error.kind(), error.effect()), (row(code).kind, row(code).effect));
            error.message().to_owned()
        };
        let way_out = "check that they run and that bootstrap_servers names them, or try again later";
        for (code, text) in [
            (Code::OperationTimedOut, "Local: Timed out"),
            (Code::BrokerTransportFailure, "Local: Broker transport failure"),
            (Code::AllBrokersDown, "Local: All broker connections are down"),
        ] {
            assert_eq!(told(code), format!("topic orders: no answer from a:9092, b:9092: {text}; {way_out}"));
        }
        // A broker's own answer is told as that.
        for code in [Code::RequestTimedOut, Code::NotController, Code::TopicAuthorizationFailed] {
            assert!(!told(code).contains("a:9092"), "{code:?}");
        }
        assert!(!told(Code::Authentication).contains("a:9092"));
    }

    #[test]
    fn a_refused_setting_is_told_without_its_value() {
        let secret = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "no such".into(),
            "sasl.password".into(),
            "hunter2".into(),
        );
        let error = of_native(&secret, "kafka.open", "the configuration");
        assert!(error.to_string().contains("sasl.password"), "{error}");
        assert!(!format!("{error:?} {error:#}").contains("hunter2"), "{error:?}");
    }
}
