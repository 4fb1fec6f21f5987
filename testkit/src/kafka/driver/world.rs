//! What a case works with: a driver, fresh names, and ways to make what nearly every case needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use onex_spi::kafka::{
    ConsumerConfig, CreateTopicRequest, KafkaDriver, KafkaFeature, ProduceReceipt, ProducerConfig,
    ProducerDriver, ProducerRecord, TopicOutcome, TopicPartition,
};
use onex_spi::{BoxFuture, Clock, Effect, Error, ErrorKind, Result};

use super::reader::Reader;
use crate::kafka::KafkaSetup;
use crate::suite::{self, CaseResult, Stop};

/// Makes one connection to the cluster of a setup.
pub(crate) type Open = dyn Fn(KafkaSetup) -> BoxFuture<'static, Result<Arc<dyn KafkaDriver>>> + Send + Sync;

/// A world that is not opened yet: opening takes a runtime.
pub(crate) struct Source {
    open: Arc<Open>,
    setup: KafkaSetup,
}

impl Source {
    pub(crate) fn new(open: Arc<Open>) -> Self {
        Self { open, setup: KafkaSetup::fresh("kafka") }
    }

    pub(crate) async fn open(self) -> Result<World, Stop> {
        let driver = (self.open)(self.setup.clone()).await?;
        Ok(World { driver, open: self.open, setup: self.setup, topics: AtomicU32::new(0) })
    }
}

/// One case's driver and names.
pub(crate) struct World {
    pub(crate) driver: Arc<dyn KafkaDriver>,
    pub(crate) setup: KafkaSetup,
    open: Arc<Open>,
    topics: AtomicU32,
}

impl World {
    /// Another connection to the same cluster.
    pub(crate) async fn connect_again(&self) -> Result<Arc<dyn KafkaDriver>, Stop> {
        Ok((self.open)(self.setup.clone()).await?)
    }

    /// A name of this case.
    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.setup.prefix)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.setup.clock
    }

    /// Ends the case as ignored unless the engine declares `feature`.
    pub(crate) fn needs(&self, feature: KafkaFeature) -> CaseResult {
        suite::needs(self.driver.capabilities().features, feature)
    }

    /// Creates a topic under a fresh name.
    pub(crate) async fn topic(&self, partitions: i32) -> Result<Topic, Stop> {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let name = self.name(&format!("topic{number}"));
        self.create(CreateTopicRequest::new(name, partitions)).await
    }

    /// Creates a topic that must be new.
    pub(crate) async fn create(&self, request: CreateTopicRequest) -> Result<Topic, Stop> {
        let topic = Topic { name: request.name.as_str().into(), partitions: request.partitions };
        match self.driver.create_topic(request).await? {
            TopicOutcome::Created => Ok(topic),
            other => Err(broken("K20", format!("creating the new topic {} came to {other:?}", topic.name))),
        }
    }

    /// Opens a default producer.
    pub(crate) async fn producer(&self) -> Result<Arc<dyn ProducerDriver>, Stop> {
        Ok(self.driver.producer(ProducerConfig::new()).await?)
    }

    /// The configuration of a member of this case's group `group`.
    ///
    /// Its session ends soon, so that a member that vanished holds nothing up for long.
    pub(crate) fn member(&self, group: &str) -> ConsumerConfig {
        ConsumerConfig::new(self.name(group)).with_session_timeout(Duration::from_secs(10))
    }

    /// Opens a consumer of `group` on `topics`.
    pub(crate) async fn reader(&self, group: &str, topics: &[&Topic]) -> Result<Reader, Stop> {
        self.reader_with(self.member(group), topics).await
    }

    /// Opens a consumer with a configuration of its own.
    pub(crate) async fn reader_with(
        &self,
        config: ConsumerConfig,
        topics: &[&Topic],
    ) -> Result<Reader, Stop> {
        let consumer = self.driver.consumer(config).await?;
        let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
        consumer.subscribe(&names).await?;
        Ok(Reader::new(consumer, Arc::clone(&self.setup.clock)))
    }

    /// The end of each partition's log, as the driver describes it.
    pub(crate) async fn ends(&self, topic: &Topic) -> Result<Vec<i64>, Stop> {
        let metadata = self.driver.topic_metadata(&topic.name).await?;
        Ok(metadata.partitions.iter().map(|partition| partition.high).collect())
    }

    /// Waits for `work` at most `limit`.
    pub(crate) async fn within<T>(
        &self,
        law: &'static str,
        limit: Duration,
        what: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        within(self.clock(), law, limit, what, work).await
    }
}

/// A topic of this case.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: i32,
}

impl Topic {
    /// A partition of it.
    pub(crate) fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.name), partition)
    }

    /// All its partitions.
    pub(crate) fn all(&self) -> Vec<TopicPartition> {
        (0..self.partitions).map(|partition| self.at(partition)).collect()
    }

    /// A record for it.
    pub(crate) fn record(&self, value: impl Into<String>) -> ProducerRecord {
        ProducerRecord::new(Arc::clone(&self.name)).with_value(value.into())
    }

    /// Records with the values `0`, `1`, .. for one partition.
    pub(crate) fn numbered(&self, partition: i32, numbers: std::ops::Range<usize>) -> Vec<ProducerRecord> {
        numbers.map(|number| self.record(number.to_string()).with_partition(partition)).collect()
    }
}

/// Produces what must be stored.
pub(crate) async fn store(
    producer: &Arc<dyn ProducerDriver>,
    records: Vec<ProducerRecord>,
) -> Result<Vec<ProduceReceipt>, Stop> {
    let sent = records.len();
    let answers = producer.produce(records).await;
    if answers.len() != sent {
        return Err(broken("K4", format!("{} answers for {sent} records", answers.len())));
    }
    let stored: Result<Vec<_>> = answers.into_iter().collect();
    Ok(stored?)
}

/// Waits for `work` at most `limit`; longer breaks `law`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    law: &'static str,
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, Stop> {
    let work = std::pin::pin!(work);
    match select(work, clock.sleep_until(clock.now() + limit)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(broken(law, format!("{what}: no answer within {limit:?}"))),
    }
}

/// A broken law.
pub(crate) fn broken(law: &'static str, message: impl Into<String>) -> Stop {
    Stop::Failed { law, message: message.into() }
}

/// Checks that a call was refused with `kind`, with Kafka's `name` for it where one is due, and changed nothing.
///
/// The kind breaks `law`, the effect K5.
pub(crate) fn refused<T: std::fmt::Debug>(
    law: &'static str,
    answer: Result<T>,
    kind: ErrorKind,
    name: &str,
    what: &str,
) -> Result<Error, Stop> {
    let error = match answer {
        Ok(value) => return Err(broken(law, format!("{what}: {value:?} instead of {kind:?} {name}"))),
        Err(error) => error,
    };
    if error.kind() != kind {
        return Err(broken(law, format!("{what}: {error:#} instead of {kind:?} {name}")));
    }
    if !name.is_empty() && error.kafka().is_none_or(|fault| fault.name != name) {
        return Err(broken(law, format!("{what}: {error:#} names {:?} instead of {name}", error.kafka())));
    }
    if error.effect() != Effect::NotApplied {
        return Err(broken(
            "K5",
            format!("{what}: {error:#} was refused, yet its effect is told as unknown"),
        ));
    }
    Ok(error)
}
