//! Topics and groups as seen from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NextOffsets, TopicPartition};

/// A topic to create.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicRequest {
    /// The name (K17).
    pub name: String,
    /// The number of partitions; `-1` = the broker's default.
    pub partitions: i32,
    /// The number of replicas; `-1` = the broker's default.
    pub replication_factor: i16,
    /// Settings by Kafka's names, such as `max.message.bytes`; needs [`KafkaFeature::TopicConfig`](super::KafkaFeature::TopicConfig).
    pub config: BTreeMap<String, String>,
}

impl CreateTopicRequest {
    /// A topic with one replica and no settings.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication_factor: 1, config: BTreeMap::new() }
    }

    /// Sets the number of replicas.
    #[must_use]
    pub fn with_replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// What creating or deleting a topic came to.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicOutcome {
    /// It was made.
    Created,
    /// It was there already and is unchanged.
    Existed,
    /// It was removed.
    Deleted,
    /// It was not there.
    Absent,
}

/// One partition of a topic.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: i32,
    /// The broker that leads it, where there is one.
    pub leader: Option<i32>,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// The brokers that hold all of it.
    pub in_sync: Vec<i32>,
    /// The oldest offset.
    pub low: i64,
    /// The offset after the newest record.
    pub high: i64,
}

impl PartitionInfo {
    /// A partition with one replica on `leader`.
    #[must_use]
    pub fn new(partition: i32, leader: i32, low: i64, high: i64) -> Self {
        Self { partition, leader: Some(leader), replicas: vec![leader], in_sync: vec![leader], low, high }
    }
}

/// A topic.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The name.
    pub name: Arc<str>,
    /// The partitions, in order.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicMetadata {
    /// Makes metadata.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, partitions: Vec<PartitionInfo>) -> Self {
        Self { name: name.into(), partitions }
    }
}

/// What a group is doing.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Nothing is known of it.
    Dead,
    /// No members; committed offsets may remain.
    Empty,
    /// Members are joining or waiting for their assignment.
    Rebalancing,
    /// Every member has its assignment.
    Stable,
}

/// One member of a group.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The member's id.
    pub id: String,
    /// The client id that it told.
    pub client_id: String,
    /// Where it runs.
    pub host: String,
    /// What it owns.
    pub assignment: Vec<TopicPartition>,
}

impl GroupMember {
    /// Makes a member.
    pub fn new(id: impl Into<String>, client_id: impl Into<String>, host: impl Into<String>) -> Self {
        Self { id: id.into(), client_id: client_id.into(), host: host.into(), assignment: Vec::new() }
    }

    /// Adds what it owns.
    #[must_use]
    pub fn with_assignment(mut self, assignment: Vec<TopicPartition>) -> Self {
        self.assignment = assignment;
        self
    }
}

/// A consumer group; one that nobody knows is [`GroupState::Dead`] without members.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupInfo {
    /// The group.
    pub group_id: String,
    /// What it is doing.
    pub state: GroupState,
    /// The assignment strategy, such as `range`; empty where unknown.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// The committed offsets of the assigned partitions.
    pub committed: NextOffsets,
    /// The records between committed offset and end, per assigned partition.
    pub lag: BTreeMap<TopicPartition, i64>,
}

impl ConsumerGroupInfo {
    /// A group without members.
    pub fn new(group_id: impl Into<String>, state: GroupState) -> Self {
        Self {
            group_id: group_id.into(),
            state,
            protocol: String::new(),
            members: Vec::new(),
            committed: NextOffsets::new(),
            lag: BTreeMap::new(),
        }
    }
}
