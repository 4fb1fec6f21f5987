//! Topics: their names, their life, their logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use onex_spi::Result;
use onex_spi::kafka::{
    CreateTopicRequest, PartitionInfo, Timestamp, TopicMetadata, TopicOutcome, TopicPartition,
    check_topic_name, unknown_partition, unknown_topic,
};

use super::error::Refusal;
use super::log::Log;
use super::settings::Settings;

/// The one broker's number.
const BROKER: i32 = 1;
/// Kafka's own bound on the partitions of one request; it keeps a typing error from taking all memory.
const MAX_PARTITIONS: i32 = 10_000;

/// A topic; one that was deleted and created again is another.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) settings: Settings,
    logs: Vec<Log>,
    /// Where the next batch of null keys goes.
    sticky: i32,
}

impl Topic {
    pub(super) fn partitions(&self) -> i32 {
        // `create` refuses more than `MAX_PARTITIONS`.
        self.logs.len() as i32
    }

    /// The partition for the null keys of one batch; the next batch gets another.
    pub(super) fn next_sticky(&mut self) -> i32 {
        let partition = self.sticky;
        self.sticky = (partition + 1) % self.partitions();
        partition
    }

    /// A partition's log, without what the retention has removed by `now`.
    pub(super) fn log(&mut self, partition: i32, now: Timestamp) -> Option<&mut Log> {
        let log = usize::try_from(partition).ok().and_then(|place| self.logs.get_mut(place))?;
        let oldest = self
            .settings
            .retention_ms
            .map(|kept| Timestamp::from_millis(now.as_millis().saturating_sub(kept)));
        log.trim(oldest, self.settings.retention_bytes);
        Some(log)
    }

    fn metadata(&mut self, now: Timestamp) -> TopicMetadata {
        let partitions = (0..self.partitions())
            .filter_map(|partition| {
                let bounds = self.log(partition, now)?.watermarks();
                Some(PartitionInfo::new(partition, BROKER, bounds.low, bounds.high))
            })
            .collect();
        TopicMetadata::new(self.name.clone(), partitions)
    }
}

/// Every topic of the broker.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<Arc<str>, Topic>,
}

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// Whether the topic exists and has the partition.
    pub(super) fn has(&self, at: &TopicPartition) -> bool {
        self.get(&at.topic).is_some_and(|topic| (0..topic.partitions()).contains(&at.partition))
    }

    /// Creates a topic that was validated.
    pub(super) fn create(
        &mut self,
        operation: &'static str,
        request: &CreateTopicRequest,
        default_partitions: i32,
    ) -> Result<TopicOutcome> {
        if self.by_name.contains_key(&*request.name) {
            return Ok(TopicOutcome::Existed);
        }
        let alike = |name: &&Arc<str>| name.replace('.', "_") == request.name.replace('.', "_");
        if let Some(other) = self.by_name.keys().find(alike) {
            let message =
                format!("topic {:?} collides with {other:?}: they differ only by '.' and '_'", request.name);
            return Err(Refusal::InvalidTopic.error(operation, message));
        }
        let partitions = if request.partitions == -1 { default_partitions } else { request.partitions };
        if partitions < 1 {
            let message = format!("default_partitions = {partitions}: a topic has at least 1");
            return Err(Refusal::InvalidPartitions.error(operation, message));
        }
        if partitions > MAX_PARTITIONS {
            let message = format!("{partitions} partitions: at most {MAX_PARTITIONS}");
            return Err(Refusal::PolicyViolation.error(operation, message));
        }
        if !matches!(request.replication_factor, -1 | 1) {
            let message = format!("{} replicas: there is 1 broker", request.replication_factor);
            return Err(Refusal::InvalidReplicationFactor.error(operation, message));
        }
        let settings = Settings::parse(operation, &request.config)?;
        let name: Arc<str> = request.name.as_str().into();
        let logs = (0..partitions).map(|_| Log::default()).collect();
        self.by_name.insert(name.clone(), Topic { name, settings, logs, sticky: 0 });
        Ok(TopicOutcome::Created)
    }

    /// Removes a topic and its records.
    pub(super) fn delete(&mut self, name: &str) -> TopicOutcome {
        self.by_name.remove(name).map_or(TopicOutcome::Absent, |_| TopicOutcome::Deleted)
    }

    pub(super) fn metadata(
        &mut self,
        operation: &'static str,
        name: &str,
        now: Timestamp,
    ) -> Result<TopicMetadata> {
        check_topic_name(operation, name)?;
        Ok(self.get_mut(name).ok_or_else(|| unknown_topic(operation, name))?.metadata(now))
    }

    pub(super) fn log(
        &mut self,
        operation: &'static str,
        at: &TopicPartition,
        now: Timestamp,
    ) -> Result<&mut Log> {
        self.get_mut(&at.topic)
            .and_then(|topic| topic.log(at.partition, now))
            .ok_or_else(|| unknown_partition(operation, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(topics: &mut Topics, request: CreateTopicRequest) -> Result<TopicOutcome> {
        topics.create("kafka.create_topic", &request, 1)
    }

    #[test]
    fn names_that_differ_by_dot_and_underscore_collide() {
        let mut topics = Topics::default();
        assert_eq!(
            create(&mut topics, CreateTopicRequest::new("a_b", 1)).expect("new"),
            TopicOutcome::Created
        );
        let error = create(&mut topics, CreateTopicRequest::new("a.b", 1)).expect_err("collides");
        assert_eq!(error.kafka().map(|fault| &*fault.name), Some("INVALID_TOPIC_EXCEPTION"));
        assert_eq!(
            create(&mut topics, CreateTopicRequest::new("a_b", 7)).expect("there"),
            TopicOutcome::Existed
        );
        assert_eq!(topics.get("a_b").map(Topic::partitions), Some(1));
    }

    #[test]
    fn a_refused_topic_is_not_there() {
        let mut topics = Topics::default();
        let none =
            topics.create("kafka.create_topic", &CreateTopicRequest::new("t", -1), 0).expect_err("none");
        assert_eq!(none.kafka().map(|fault| &*fault.name), Some("INVALID_PARTITIONS"));
        for (request, name) in [
            (CreateTopicRequest::new("t", i32::MAX), "POLICY_VIOLATION"),
            (CreateTopicRequest::new("t", 1).with_replication_factor(2), "INVALID_REPLICATION_FACTOR"),
            (CreateTopicRequest::new("t", 1).with_config("x", "y"), "INVALID_CONFIG"),
        ] {
            let error = create(&mut topics, request).expect_err(name);
            assert_eq!(error.kafka().map(|fault| &*fault.name), Some(name));
        }
        assert_eq!(topics.names().count(), 0);
    }
}
