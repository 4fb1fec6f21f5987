//! The broker: one state under one lock, and one notice that it changed.

use std::collections::{BTreeMap, btree_map::Entry};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use onex_spi::kafka::{
    ConsumerGroupInfo, CreateTopicRequest, GroupState, KafkaDriver, KafkaMessage, NextOffsets, Timestamp,
    TopicMetadata, TopicOutcome, TopicPartition,
};
use onex_spi::{Clock, Result, Timer};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::assign::MemberId;
use super::config::KafkaConfig;
use super::driver::MemoryDriver;
use super::error::{Refusal, away};
use super::group::Group;
use super::topic::Topics;

/// A Kafka broker in this process; clones are handles on the same broker.
///
/// Dropping every handle and driver ends the broker and its records.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_memory::kafka::MemoryKafka;
/// use onex_spi::kafka::{CreateTopicRequest, KafkaDriver, ProducerConfig, ProducerDriver, ProducerRecord};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// let broker = MemoryKafka::new(Arc::new(onex_spi::TokioClock::new()));
/// let driver = broker.driver();
/// driver.create_topic(CreateTopicRequest::new("orders", 3)).await?;
/// let producer = driver.producer(ProducerConfig::new()).await?;
/// let answers = producer.produce(vec![ProducerRecord::new("orders").with_value("{}")]).await;
/// assert_eq!(answers[0].as_ref().ok().and_then(|receipt| receipt.offset), Some(0));
/// assert_eq!(broker.records("orders").len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryKafka {
    broker: Arc<Broker>,
}

impl MemoryKafka {
    /// Starts an empty broker on `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_config(&KafkaConfig::default(), clock)
    }

    /// Starts an empty broker with the defaults of a section; its topics are the opener's to create.
    pub(crate) fn with_config(config: &KafkaConfig, clock: Arc<dyn Clock>) -> Self {
        let cluster = Cluster {
            available: true,
            default_partitions: config.default_partitions,
            topics: Topics::default(),
            groups: BTreeMap::new(),
        };
        let broker = Broker {
            clock,
            changed: Notify::new(),
            cluster: Mutex::new(cluster),
            members: AtomicU64::new(0),
        };
        Self { broker: Arc::new(broker) }
    }

    /// Connects: each driver is like a process of its own on the same cluster.
    #[must_use]
    pub fn driver(&self) -> Arc<dyn KafkaDriver> {
        Arc::new(MemoryDriver::new(self.broker.clone()))
    }

    /// What lies in a topic, by partition and offset; empty where the topic does not exist.
    #[must_use]
    pub fn records(&self, topic: &str) -> Vec<KafkaMessage> {
        let now = self.broker.wall();
        let mut cluster = self.broker.lock();
        let Some(topic) = cluster.topics.get_mut(topic) else { return Vec::new() };
        let mut records = Vec::new();
        for partition in 0..topic.partitions() {
            if let Some(log) = topic.log(partition, now) {
                records.extend(log.read(log.watermarks().low, usize::MAX));
            }
        }
        records
    }

    /// What a group has committed; empty where the group does not exist.
    #[must_use]
    pub fn committed(&self, group_id: &str) -> NextOffsets {
        self.broker.lock().groups.get(group_id).map(|group| group.committed().clone()).unwrap_or_default()
    }

    /// Takes the broker away, or brings it back with everything it had.
    ///
    /// While it is away `produce` waits for it up to the delivery timeout (`TimedOut`, not applied), `poll` up to
    /// `max_wait`, `close` up to its own time; every other call is `Unavailable` at once. A consumer that ends
    /// meanwhile keeps its partitions until its session times out.
    pub fn set_available(&self, available: bool) {
        self.broker.lock().available = available;
        self.broker.changed.notify_waiters();
    }

    /// Removes the records of a partition before `offset`, as Kafka's `DeleteRecords`; tells the low watermark.
    ///
    /// # Errors
    /// `NotFound` for the partition, `Conflict` `OFFSET_OUT_OF_RANGE` beyond the end.
    pub fn delete_records(&self, at: &TopicPartition, offset: i64) -> Result<i64> {
        const OPERATION: &str = "kafka.delete_records";
        let now = self.broker.wall();
        let mut cluster = self.broker.lock();
        let log = cluster.topics.log(OPERATION, at, now)?;
        let high = log.watermarks().high;
        if offset > high {
            let message = format!("{at} ends at {high}, before {offset}");
            return Err(Refusal::OffsetOutOfRange.error_at(OPERATION, at.clone(), message));
        }
        log.delete_before(offset);
        Ok(log.watermarks().low)
    }
}

impl fmt::Debug for MemoryKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.broker.fmt(f)
    }
}

/// What every driver of one broker shares.
pub(super) struct Broker {
    pub(super) clock: Arc<dyn Clock>,
    /// Told after every change that somebody may wait for.
    pub(super) changed: Notify,
    cluster: Mutex<Cluster>,
    /// How many members of groups there ever were.
    members: AtomicU64,
}

impl Broker {
    /// Held for a moment and never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the broker is away.
    pub(super) fn answering(&self, operation: &'static str) -> Result<MutexGuard<'_, Cluster>> {
        let cluster = self.lock();
        if cluster.available { Ok(cluster) } else { Err(away(operation)) }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A number that no member had before: a stale one is never taken for another.
    pub(super) fn next_member(&self) -> MemberId {
        self.members.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The calendar time, as records carry it.
    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_system_time(self.clock.wall())
    }

    /// Waits for `changed` or for `at`, whichever comes first.
    pub(super) async fn wait(&self, mut changed: Pin<&mut Notified<'_>>, timer: &mut dyn Timer, at: Instant) {
        std::future::poll_fn(|cx| {
            if changed.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { timer.poll_at(at, cx) }
        })
        .await;
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.lock();
        f.debug_struct("MemoryKafka")
            .field("available", &cluster.available)
            .field("topics", &cluster.topics.names().collect::<Vec<_>>())
            .field("groups", &cluster.groups.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Everything that the lock guards.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) available: bool,
    default_partitions: i32,
    pub(super) topics: Topics,
    groups: BTreeMap<String, Group>,
}

impl Cluster {
    /// Does something to a group, which is there only as long as there is something to it.
    pub(super) fn with_group<R>(
        &mut self,
        group_id: &str,
        body: impl FnOnce(&mut Group, &mut Topics) -> R,
    ) -> R {
        match self.groups.entry(group_id.to_owned()) {
            Entry::Vacant(vacant) => {
                let mut group = Group::default();
                let result = body(&mut group, &mut self.topics);
                if !group.is_dead() {
                    vacant.insert(group);
                }
                result
            }
            Entry::Occupied(mut occupied) => {
                let result = body(occupied.get_mut(), &mut self.topics);
                if occupied.get().is_dead() {
                    occupied.remove();
                }
                result
            }
        }
    }

    /// Creates a topic that was validated.
    pub(super) fn create_topic(&mut self, request: &CreateTopicRequest) -> Result<TopicOutcome> {
        let outcome = self.topics.create("kafka.create_topic", request, self.default_partitions)?;
        if outcome == TopicOutcome::Created {
            for group in self.groups.values_mut() {
                group.topic_created(&request.name, &self.topics);
            }
        }
        Ok(outcome)
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> TopicOutcome {
        let outcome = self.topics.delete(name);
        if outcome == TopicOutcome::Deleted {
            for group in self.groups.values_mut() {
                group.topic_deleted(name, &self.topics);
            }
            self.groups.retain(|_, group| !group.is_dead());
        }
        outcome
    }

    pub(super) fn topic_metadata(&mut self, name: &str, now: Timestamp) -> Result<TopicMetadata> {
        self.topics.metadata("kafka.topic_metadata", name, now)
    }

    pub(super) fn group_info(&mut self, group_id: &str, now: Instant, wall: Timestamp) -> ConsumerGroupInfo {
        if !self.groups.contains_key(group_id) {
            return ConsumerGroupInfo::new(group_id, GroupState::Dead);
        }
        self.with_group(group_id, |group, topics| {
            group.expire(now, topics);
            let mut info = group.info(group_id);
            for (at, next) in info.committed.iter() {
                if let Ok(log) = topics.log("kafka.group_info", at, wall) {
                    info.lag.insert(at.clone(), (log.watermarks().high - next).max(0));
                }
            }
            info
        })
    }
}
