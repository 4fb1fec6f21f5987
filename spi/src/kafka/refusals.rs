//! What every Kafka engine refuses alike, before or in the place of its broker; nothing of it has an effect.

use super::{CreateTopicRequest, KafkaCapabilities, KafkaFault, KafkaFeature, Recovery, TopicPartition};
use crate::{Error, ErrorKind, Result};

/// The longest name, because a topic becomes a folder of the broker.
const LONGEST: usize = 249;

/// Refuses what no broker takes as a topic's name (K17).
///
/// # Errors
/// `InvalidInput` `INVALID_TOPIC_EXCEPTION`, showing the beginning of the name.
pub fn check_topic_name(operation: &'static str, name: &str) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=LONGEST).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(legal) {
        return Ok(());
    }
    // A name may be of any length; the message is not.
    let shown: String = name.chars().take(40).collect();
    let message = format!("topic name {shown:?}: 1 to {LONGEST} of A-Z a-z 0-9 . _ -, and not . or ..");
    Err(Error::invalid(operation, message)
        .with_detail(KafkaFault::new("INVALID_TOPIC_EXCEPTION").with_code(17)))
}

/// The error for a topic that nobody created: `NotFound` (K18).
#[must_use]
pub fn unknown_topic(operation: &'static str, topic: &str) -> Error {
    let message = format!("topic {topic:?} does not exist; create it first, or name another");
    Error::new(ErrorKind::NotFound, operation, message).not_applied().with_detail(unknown())
}

/// The error for a partition that its topic does not have, or whose topic is not there: `NotFound` (K18).
#[must_use]
pub fn unknown_partition(operation: &'static str, at: &TopicPartition) -> Error {
    let message = format!("{at} does not exist; create the topic first, or name another");
    Error::new(ErrorKind::NotFound, operation, message)
        .not_applied()
        .with_detail(unknown().with_at(at.clone()))
}

fn unknown() -> KafkaFault {
    KafkaFault::new("UNKNOWN_TOPIC_OR_PARTITION").with_code(3).with_recovery(Recovery::Abort)
}

/// The error for a partition that belongs to another member, or to none: `Conflict` (K7); Kafka has no name for it.
#[must_use]
pub fn not_owned(operation: &'static str, at: &TopicPartition) -> Error {
    let message = format!("{at} is not assigned to this consumer; use the partitions of assignment()");
    let fault = KafkaFault::new("").with_recovery(Recovery::Abort).with_at(at.clone());
    Error::new(ErrorKind::Conflict, operation, message).not_applied().with_detail(fault)
}

/// Accepts the addresses of `own`, the driver's cluster, in any order and number; a driver without addresses takes none.
///
/// # Errors
/// `InvalidInput` naming both.
pub fn check_cluster(operation: &'static str, asked: &[String], own: &[String]) -> Result<()> {
    if asked.iter().all(|server| own.contains(server)) {
        return Ok(());
    }
    let message = format!(
        "bootstrap_servers = {asked:?} is not this driver's cluster {own:?}; leave it empty, or open another driver"
    );
    Err(Error::invalid(operation, message))
}

impl CreateTopicRequest {
    /// Checks what every engine refuses: the name, counts that no cluster has, settings that are not declared.
    ///
    /// # Errors
    /// `InvalidInput` with Kafka's name for it; `Unsupported` for settings without [`KafkaFeature::TopicConfig`].
    pub fn validate(&self, capabilities: &KafkaCapabilities) -> Result<()> {
        const OPERATION: &str = "kafka.create_topic";
        let refused = |name, code, message: String| {
            Err(Error::invalid(OPERATION, message).with_detail(KafkaFault::new(name).with_code(code)))
        };
        check_topic_name(OPERATION, &self.name)?;
        if self.partitions != -1 && self.partitions < 1 {
            let message = format!("{} partitions: at least 1, or -1 for the default", self.partitions);
            return refused("INVALID_PARTITIONS", 37, message);
        }
        if self.replication_factor != -1 && self.replication_factor < 1 {
            let message = format!("{} replicas: at least 1, or -1 for the default", self.replication_factor);
            return refused("INVALID_REPLICATION_FACTOR", 38, message);
        }
        if !self.config.is_empty() {
            capabilities.features.require(OPERATION, KafkaFeature::TopicConfig)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Features};

    fn named(error: &Error) -> (ErrorKind, Option<&str>, Effect) {
        (error.kind(), error.kafka().map(|fault| &*fault.name), error.effect())
    }

    #[test]
    fn names_are_kafkas() {
        for good in ["a", "a.b_c-D9", "...", &"x".repeat(249)] {
            assert!(check_topic_name("kafka.test", good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", "^a", "a\0", &"x".repeat(250)] {
            let error = check_topic_name("kafka.test", bad).expect_err(bad);
            let due = (ErrorKind::InvalidInput, Some("INVALID_TOPIC_EXCEPTION"), Effect::NotApplied);
            assert_eq!(named(&error), due, "{bad:?}");
        }
    }

    #[test]
    fn a_topic_that_no_cluster_makes_is_refused_by_kafkas_name() {
        let bare = KafkaCapabilities::new(Features::none(), 1);
        for (request, name) in [
            (CreateTopicRequest::new("a b", 1), "INVALID_TOPIC_EXCEPTION"),
            (CreateTopicRequest::new("t", 0), "INVALID_PARTITIONS"),
            (CreateTopicRequest::new("t", -2), "INVALID_PARTITIONS"),
            (CreateTopicRequest::new("t", 1).with_replication_factor(0), "INVALID_REPLICATION_FACTOR"),
        ] {
            let error = request.validate(&bare).expect_err(name);
            assert_eq!(named(&error), (ErrorKind::InvalidInput, Some(name), Effect::NotApplied));
        }
        let defaults = CreateTopicRequest::new("t", -1).with_replication_factor(-1);
        assert!(defaults.validate(&bare).is_ok());
        let settings = CreateTopicRequest::new("t", 1).with_config("retention.ms", "1");
        let refused = settings.validate(&bare).expect_err("settings are not declared");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        let declared = KafkaCapabilities::new(Features::none().with(KafkaFeature::TopicConfig), 1);
        assert!(settings.validate(&declared).is_ok());
    }

    #[test]
    fn what_is_missing_or_foreign_has_kind_name_and_no_effect() {
        let at = TopicPartition::new("t", 7);
        let missing = (ErrorKind::NotFound, Some("UNKNOWN_TOPIC_OR_PARTITION"), Effect::NotApplied);
        assert_eq!(named(&unknown_topic("kafka.test", "t")), missing);
        assert_eq!(named(&unknown_partition("kafka.test", &at)), missing);
        assert_eq!(named(&not_owned("kafka.test", &at)), (ErrorKind::Conflict, Some(""), Effect::NotApplied));
    }

    #[test]
    fn only_the_drivers_own_cluster_is_taken() {
        let list = |servers: &[&str]| servers.iter().map(|server| (*server).to_owned()).collect::<Vec<_>>();
        let own = list(&["a:1", "b:1"]);
        for good in [list(&[]), list(&["b:1"]), list(&["b:1", "a:1"])] {
            assert!(check_cluster("kafka.test", &good, &own).is_ok(), "{good:?}");
        }
        assert!(check_cluster("kafka.test", &list(&["c:1"]), &own).is_err());
        assert!(check_cluster("kafka.test", &own, &[]).is_err());
    }
}
