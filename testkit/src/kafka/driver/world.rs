//! What a case works with: a driver, fresh names, and ways to make what nearly every case needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use onex_spi::kafka::{
    ConsumerConfig, CreateTopicRequest, KafkaDriver, KafkaFeature, ProducerConfig, ProducerDriver,
    TopicOutcome,
};
use onex_spi::{BoxFuture, Clock, Result};

use super::judge::{broken, within};
use super::reader::Reader;
use super::topic::Topic;
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
