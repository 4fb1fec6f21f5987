//! The handle of a broker: what a program and a test do with it.

use std::fmt;
use std::sync::Arc;

use onex_spi::kafka::{KafkaDriver, KafkaMessage, NextOffsets, TopicPartition};
use onex_spi::{Clock, Result};

use super::broker::Broker;
use super::config::KafkaConfig;
use super::driver::MemoryDriver;
use super::error::Refusal;

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
        Self { broker: Arc::new(Broker::new(config.default_partitions, clock)) }
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
        self.broker.lock().committed(group_id)
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
