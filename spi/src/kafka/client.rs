//! The caller's side.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, ConsumerGroupInfo, CreateTopicRequest,
    KafkaCapabilities, KafkaMessage, PollRequest, ProduceReceipt, ProducerConfig, ProducerDriver,
    ProducerRecord, TopicMetadata, TopicOutcome, TopicPartition, Undelivered,
};
use crate::{Lifecycle, Result};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// Wraps a number that was never used before; for implementers.
            #[must_use]
            pub fn new(number: NonZeroU64) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> NonZeroU64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", stringify!($name), self.0)
            }
        }
    };
}

id! {
    /// A producer of one client; never reused.
    ProducerId
}
id! {
    /// A consumer of one client; never reused.
    ConsumerId
}

/// A producer or a consumer.
#[allow(clippy::exhaustive_enums, reason = "there is no third kind of client")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KafkaClientId {
    /// A producer.
    Producer(ProducerId),
    /// A consumer.
    Consumer(ConsumerId),
}

impl From<ProducerId> for KafkaClientId {
    fn from(id: ProducerId) -> Self {
        Self::Producer(id)
    }
}

impl From<ConsumerId> for KafkaClientId {
    fn from(id: ConsumerId) -> Self {
        Self::Consumer(id)
    }
}

/// The counters of one producer or consumer.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaMetrics {
    /// The engine's counters.
    pub stats: ClientStats,
    /// What a consumer owns now.
    pub assignment: Vec<TopicPartition>,
    /// For a consumer, the records between its position after the last batch and the end of the log; told by partition.
    pub lag: std::collections::BTreeMap<TopicPartition, i64>,
}

/// Hears about changes of an assignment, between two polls, on the poller's task.
///
/// An error does not stop the change; the caller of `consume_messages` gets it.
#[async_trait]
pub trait RebalanceListener: fmt::Debug + Send + Sync + 'static {
    /// These partitions came; `consumer` may seek before the first record.
    ///
    /// # Errors
    /// Anything; it is handed to the caller of `consume_messages`.
    /// # Cancellation
    /// With the consume call; the change itself is made at the next poll.
    async fn assigned(&self, consumer: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()>;

    /// These partitions are about to go; `consumer` may commit.
    ///
    /// # Errors
    /// Anything; it is handed to the caller of `consume_messages`.
    /// # Cancellation
    /// With the consume call; the change itself is made at the next poll.
    async fn revoked(&self, consumer: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()>;

    /// These partitions are gone; a commit would answer `Conflict`.
    ///
    /// # Errors
    /// Anything; it is handed to the caller of `consume_messages`.
    /// # Cancellation
    /// With the consume call.
    async fn lost(&self, partitions: &[TopicPartition]) -> Result<()>;
}

const _: fn(&dyn RebalanceListener) = |_| ();

/// Produces and consumes by id, over any driver.
///
/// An id that this client never issued is `NotFound`; one that was closed is `Closed`, for ever.
#[async_trait]
pub trait KafkaClient: Lifecycle {
    /// What the driver below offers.
    fn capabilities(&self) -> &KafkaCapabilities;

    /// Opens a producer.
    ///
    /// # Errors
    /// Those of [`KafkaDriver::producer`](super::KafkaDriver::producer).
    /// # Cancellation
    /// Leaves nothing open.
    async fn create_producer(&self, config: ProducerConfig) -> Result<ProducerId>;

    /// Opens a consumer, with a listener to its assignment where given.
    ///
    /// # Errors
    /// Those of [`KafkaDriver::consumer`](super::KafkaDriver::consumer).
    /// # Cancellation
    /// Leaves nothing open.
    async fn create_consumer(
        &self,
        config: ConsumerConfig,
        listener: Option<Arc<dyn RebalanceListener>>,
    ) -> Result<ConsumerId>;

    /// Sends one record and waits for its answer.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id; else those of one record of [`ProducerDriver::produce`].
    /// # Cancellation
    /// The record may still be stored, once.
    async fn produce_message(&self, producer: ProducerId, record: ProducerRecord) -> Result<ProduceReceipt>;

    /// Sends records and waits for their answers, one each, in order.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id; what befalls a record is in its own result.
    /// # Cancellation
    /// Each record may still be stored, once.
    async fn produce_batch(
        &self,
        producer: ProducerId,
        records: Vec<ProducerRecord>,
    ) -> Result<Vec<Result<ProduceReceipt>>>;

    /// Reads records; subscribes anew only where `topics` is not empty and differs from before.
    ///
    /// Changes of the assignment are told to the listener and cost no extra call. Empty = `max_wait` passed.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id; else those of [`ConsumerDriver::poll`] and the listener's own.
    /// # Cancellation
    /// Loses nothing.
    async fn consume_messages(
        &self,
        consumer: ConsumerId,
        topics: &[String],
        request: PollRequest,
    ) -> Result<Vec<KafkaMessage>>;

    /// Stores offsets for the consumer's group.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id; else those of [`ConsumerDriver::commit`].
    /// # Cancellation
    /// May still be stored.
    async fn commit_offsets(&self, consumer: ConsumerId, commit: &Commit) -> Result<()>;

    /// Describes a group; an unknown one is `Ok` with state `Dead`.
    ///
    /// # Errors
    /// `Unsupported` where the driver does not declare groups.
    /// # Cancellation
    /// Leaves nothing behind.
    #[doc(alias = "get_consumer_group_info")]
    async fn consumer_group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo>;

    /// Creates a topic.
    ///
    /// # Errors
    /// Those of [`KafkaDriver::create_topic`](super::KafkaDriver::create_topic).
    /// # Cancellation
    /// The topic may be there.
    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome>;

    /// Deletes a topic.
    ///
    /// # Errors
    /// Those of [`KafkaDriver::delete_topic`](super::KafkaDriver::delete_topic).
    /// # Cancellation
    /// The topic may be gone.
    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome>;

    /// Describes a topic; never creates it.
    ///
    /// # Errors
    /// `NotFound`.
    /// # Cancellation
    /// Leaves nothing behind.
    #[doc(alias = "get_topic_metadata")]
    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata>;

    /// The counters of one producer or consumer.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id; `Unavailable` where the lag cannot be asked.
    /// # Cancellation
    /// Leaves nothing behind.
    #[doc(alias = "get_kafka_metrics")]
    async fn kafka_metrics(&self, client: KafkaClientId) -> Result<KafkaMetrics>;

    /// The producer itself, for hot loops.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id.
    fn producer_handle(&self, producer: ProducerId) -> Result<Arc<dyn ProducerDriver>>;

    /// The consumer itself; whoever polls it sees the changes that the listener would have heard.
    ///
    /// # Errors
    /// `NotFound`, `Closed` for the id.
    fn consumer_handle(&self, consumer: ConsumerId) -> Result<Arc<dyn ConsumerDriver>>;

    /// Flushes a producer or lets a consumer leave, and ends the id; tells what was not delivered.
    ///
    /// Closing again is `Ok`.
    ///
    /// # Errors
    /// `NotFound` for an id that was never issued; `TimedOut`.
    /// # Cancellation
    /// The close goes on behind; the id is closed.
    async fn close_client(&self, client: KafkaClientId, within: Duration) -> Result<Undelivered>;

    /// Begins a close and returns at once; the effect of what was not flushed is unknown.
    fn abandon_client(&self, client: KafkaClientId);
}

const _: fn(&dyn KafkaClient) = |_| ();
