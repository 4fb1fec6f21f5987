//! The engine's side: what an engine author implements.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Commit, ConsumerConfig, ConsumerGroupInfo, CreateTopicRequest, KafkaMessage, NextOffsets, ProduceReceipt,
    ProducerConfig, ProducerRecord, Timestamp, TopicMetadata, TopicOutcome, TopicPartition,
};
use crate::features::features;
use crate::{Features, Lifecycle, Result};

/// An optional ability of a driver.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KafkaFeature {
    /// Several members share a group (K8), and [`KafkaDriver::admin`] tells about groups.
    Groups,
    /// [`KafkaDriver::create_topic`] refuses what Kafka refuses (K17), and `delete_topic` works.
    TopicAdmin,
    /// [`CreateTopicRequest::config`] is applied, `max.message.bytes` among them.
    TopicConfig,
}

features!(KafkaFeature { Groups, TopicAdmin, TopicConfig });

/// The bounds of a driver.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaLimits {
    /// The most bytes of key, value and headers in one record; one more is `TooLarge` before any I/O (K16).
    pub record_bytes: usize,
}

/// What a driver offers; constant for its life.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaCapabilities {
    /// The declared features.
    pub features: Features<KafkaFeature>,
    /// The bounds.
    pub limits: KafkaLimits,
}

impl KafkaCapabilities {
    /// Makes capabilities.
    #[must_use]
    pub fn new(features: Features<KafkaFeature>, record_bytes: usize) -> Self {
        Self { features, limits: KafkaLimits { record_bytes } }
    }
}

/// Opens producers and consumers on one cluster, and manages its topics; the port of Kafka engines.
#[async_trait]
pub trait KafkaDriver: Lifecycle {
    /// What this instance offers; constant for its life.
    fn capabilities(&self) -> &KafkaCapabilities;

    /// Opens a producer; a broker that is away is told by `health` and `produce`, not here.
    ///
    /// # Errors
    /// `InvalidInput` naming the field; `Closed`.
    /// # Cancellation
    /// Leaves nothing open.
    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>>;

    /// Opens a consumer; it joins its group at the first poll after `subscribe`.
    ///
    /// # Errors
    /// `InvalidInput` naming the field; `Closed`.
    /// # Cancellation
    /// Leaves nothing open.
    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>>;

    /// Creates a topic; resolves once a later call sees it (K20).
    ///
    /// # Errors
    /// `InvalidInput` with Kafka's name for it; `Unsupported` for settings without [`KafkaFeature::TopicConfig`].
    /// # Cancellation
    /// The topic may be there.
    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome>;

    /// Deletes a topic; resolves once a later call no longer sees it (K20).
    ///
    /// # Errors
    /// What the broker says; a topic that is not there is `Ok(Absent)`.
    /// # Cancellation
    /// The topic may be gone.
    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome>;

    /// Describes a topic; never creates it (K18).
    ///
    /// # Errors
    /// `NotFound` `UNKNOWN_TOPIC_OR_PARTITION`.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata>;

    /// Tells about groups, where [`KafkaFeature::Groups`] is declared.
    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        None
    }
}

const _: fn(&dyn KafkaDriver) = |_| ();

/// What can be asked about a cluster beside its topics.
#[async_trait]
pub trait KafkaAdmin: fmt::Debug + Send + Sync + 'static {
    /// Describes a group; an unknown one is `Ok` with state `Dead`.
    ///
    /// # Errors
    /// `Unavailable` where the cluster does not answer.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo>;
}

const _: fn(&dyn KafkaAdmin) = |_| ();

/// What a close could not deliver.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Records that certainly were not stored.
    pub never_sent: u64,
    /// Records that may have been stored.
    pub unknown: u64,
}

impl Undelivered {
    /// Makes counts.
    #[must_use]
    pub fn new(never_sent: u64, unknown: u64) -> Self {
        Self { never_sent, unknown }
    }

    /// Both counts together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.never_sent + self.unknown
    }
}

/// The counters of a producer or consumer; none falls but `in_flight`.
///
/// Of a producer: `accepted = acknowledged + failed + in_flight` (K26). Of a consumer only `received` and `bytes` count.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Records that `produce` took in.
    pub accepted: u64,
    /// Records that were stored.
    pub acknowledged: u64,
    /// Records that ended in an error.
    pub failed: u64,
    /// Records without an answer yet.
    pub in_flight: u64,
    /// Records that `poll` handed out.
    pub received: u64,
    /// Bytes of keys and values, sent or received.
    pub bytes: u64,
}

impl ClientStats {
    /// Counts `records` that `produce` took in.
    pub fn accept(&mut self, records: usize) {
        self.accepted += records as u64;
        self.in_flight += records as u64;
    }

    /// Counts the answer to one accepted record of `bytes`.
    pub fn settle(&mut self, answer: &Result<ProduceReceipt>, bytes: u64) {
        self.in_flight -= 1;
        match answer {
            Ok(_) => {
                self.acknowledged += 1;
                self.bytes += bytes;
            }
            Err(_) => self.failed += 1,
        }
    }
}

/// Sends records.
#[async_trait]
pub trait ProducerDriver: fmt::Debug + Send + Sync + 'static {
    /// Sends `records` and resolves with one result each, in order (K4), once every one has its answer.
    ///
    /// A full queue waits, in order (K21). A record whose topic does not exist is `NotFound` within 5 s (K18).
    ///
    /// # Errors
    /// Per record: `InvalidInput` (partition), `TooLarge`, `NotFound`, `TimedOut`, `Unavailable`, `Closed`, with the exact effect (K5).
    /// # Cancellation
    /// Each record may still be stored, once (K23); the producer stays usable.
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>>;

    /// Flushes within its time and closes; what could not be delivered is told, and its `produce` answers `Closed` (K24).
    ///
    /// Closing again is `Ok` with the same counts. Dropping the last handle without `close` abandons what is queued.
    ///
    /// # Errors
    /// None beyond what the engine itself breaks on.
    /// # Cancellation
    /// The close goes on behind.
    async fn close(&self, within: Duration) -> Result<Undelivered>;

    /// The counters.
    fn stats(&self) -> ClientStats;
}

const _: fn(&dyn ProducerDriver) = |_| ();

/// What one poll may bring.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollRequest {
    /// The most records.
    pub max_records: usize,
    /// The longest wait for the first one.
    pub max_wait: Duration,
}

impl PollRequest {
    /// Asks for at most `max_records` within `max_wait`.
    #[must_use]
    pub fn new(max_records: usize, max_wait: Duration) -> Self {
        Self { max_records, max_wait }
    }
}

impl Default for PollRequest {
    /// 500 records, 1 s.
    fn default() -> Self {
        Self::new(500, Duration::from_secs(1))
    }
}

/// What a poll brought; changes take effect at the next poll (the law of `poll`).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Polled {
    /// Records, in order per partition; empty = `max_wait` passed.
    Records(Vec<KafkaMessage>),
    /// These partitions come: a seek now decides where reading starts. Never empty.
    Assigned(Vec<TopicPartition>),
    /// These partitions go at the next poll: commit now. Never empty.
    Revoking(Vec<TopicPartition>),
    /// These partitions are gone: a commit answers `Conflict`. Never empty.
    Lost(Vec<TopicPartition>),
}

/// The oldest offset of a partition and the one after its newest record.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The oldest offset.
    pub low: i64,
    /// The offset after the newest record.
    pub high: i64,
}

impl Watermarks {
    /// Makes watermarks.
    #[must_use]
    pub fn new(low: i64, high: i64) -> Self {
        Self { low, high }
    }
}

/// Reads records as a member of a group.
#[async_trait]
pub trait ConsumerDriver: fmt::Debug + Send + Sync + 'static {
    /// Sets the topics; one that does not exist yet is read once it appears.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name; `Closed`.
    /// # Cancellation
    /// The old or the new set holds.
    async fn subscribe(&self, topics: &[String]) -> Result<()>;

    /// Brings records or a change, at the latest after `max_wait`; see the law of `poll`.
    ///
    /// # Errors
    /// `NotFound` for a subscribed topic that does not exist, `NotFound`/`Conflict` by [`OffsetReset::Error`](super::OffsetReset::Error),
    /// `Unavailable`, `Closed`. The consumer stays usable.
    /// # Cancellation
    /// Has taken nothing: what it would have brought, the next poll brings (K23).
    async fn poll(&self, request: PollRequest) -> Result<Polled>;

    /// Stores offsets for the group (K7).
    ///
    /// # Errors
    /// `InvalidInput` lower than committed without `rewind`; `NotFound` unknown topic or partition; `Conflict` not owned, or
    /// this member was expelled. Nothing of the commit is stored then.
    /// # Cancellation
    /// May still be stored.
    async fn commit(&self, commit: &Commit) -> Result<()>;

    /// The group's committed offsets; a partition without one is absent.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets>;

    /// Moves the reading position of owned partitions.
    ///
    /// # Errors
    /// `Conflict` for a partition that is not owned; `InvalidInput` for a negative offset.
    /// # Cancellation
    /// The old or the new position holds.
    async fn seek(&self, to: &NextOffsets) -> Result<()>;

    /// Stops bringing records of owned partitions; the membership goes on.
    ///
    /// # Errors
    /// `Conflict` for a partition that is not owned.
    /// # Cancellation
    /// May have happened.
    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()>;

    /// Brings records of paused partitions again; nothing was skipped.
    ///
    /// # Errors
    /// `Conflict` for a partition that is not owned.
    /// # Cancellation
    /// May have happened.
    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()>;

    /// The bounds of a partition's log; never creates a topic (K18).
    ///
    /// # Errors
    /// `NotFound` `UNKNOWN_TOPIC_OR_PARTITION`.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks>;

    /// For each partition the offset of its first record at or after the time; one without such a record is absent.
    ///
    /// # Errors
    /// `NotFound` `UNKNOWN_TOPIC_OR_PARTITION`.
    /// # Cancellation
    /// Leaves nothing behind.
    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets>;

    /// Leaves the group within its time; nothing is committed (K7, K24). Closing again is `Ok`.
    ///
    /// # Errors
    /// `TimedOut` where the broker did not answer; closed all the same.
    /// # Cancellation
    /// The close goes on behind.
    async fn close(&self, within: Duration) -> Result<()>;

    /// What is owned now, in order.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// The counters.
    fn stats(&self) -> ClientStats;
}

const _: fn(&dyn ConsumerDriver) = |_| ();
