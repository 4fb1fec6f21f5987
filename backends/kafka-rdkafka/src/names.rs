//! Kafka's rules for topic names, checked before librdkafka sees a name (K17).

use onex_spi::kafka::{KafkaFault, TopicPartition};
use onex_spi::{Error, ErrorKind, Result};

/// The longest name, because it becomes a folder of the broker.
const LONGEST: usize = 249;

/// Refuses what no broker would take as a topic's name; librdkafka would read some of it as a pattern.
pub(crate) fn check_topic(name: &str, operation: &'static str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=LONGEST).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    let text = format!(
        "topic {shown:?} has no legal name: 1 to {LONGEST} of A-Z a-z 0-9 . _ -, not \".\" or \"..\""
    );
    Err(Error::invalid(operation, text).with_detail(KafkaFault::new("INVALID_TOPIC_EXCEPTION").with_code(17)))
}

/// The error for a topic or partition that the cluster does not have.
pub(crate) fn unknown(
    operation: &'static str,
    what: impl std::fmt::Display,
    at: Option<TopicPartition>,
) -> Error {
    let mut fault = KafkaFault::new("UNKNOWN_TOPIC_OR_PARTITION").with_code(3);
    fault.at = at;
    let text = format!("{what} does not exist; create it, or name another");
    Error::new(ErrorKind::NotFound, operation, text).not_applied().with_detail(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_judges_them() {
        for good in ["a", "a.b_c-D9", "...", &"x".repeat(249)] {
            assert!(check_topic(good, "kafka.test").is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", "^a", "a\0", &"x".repeat(250)] {
            let error = check_topic(bad, "kafka.test").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            assert_eq!(error.kafka().map(|fault| &*fault.name), Some("INVALID_TOPIC_EXCEPTION"));
        }
    }
}
