//! A wrapper that changes nothing, and the places where a bug may change one thing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaAdmin, KafkaCapabilities,
    KafkaDriver, NextOffsets, PollRequest, Polled, ProduceReceipt, ProducerConfig, ProducerDriver,
    ProducerRecord, Timestamp, TopicMetadata, TopicOutcome, TopicPartition, Undelivered, Watermarks,
};
use onex_spi::{Health, Lifecycle, Result};

/// A good producer or consumer, the driver it came from, and what a bug remembers about it.
#[derive(Debug)]
pub(super) struct Good<D: ?Sized, S> {
    pub(super) it: Arc<D>,
    pub(super) driver: Arc<dyn KafkaDriver>,
    pub(super) state: Arc<S>,
}

/// One changed behaviour; what a bug does not override is the good engine's.
#[async_trait]
pub(super) trait Bug: fmt::Debug + Send + Sync + 'static {
    /// What it remembers, per producer and per consumer.
    type State: fmt::Debug + Default + Send + Sync + 'static;

    fn capabilities(good: KafkaCapabilities) -> KafkaCapabilities {
        good
    }

    fn producer_config(config: ProducerConfig) -> ProducerConfig {
        config
    }

    fn consumer_config(config: ConsumerConfig) -> ConsumerConfig {
        config
    }

    async fn create_topic(good: &dyn KafkaDriver, request: CreateTopicRequest) -> Result<TopicOutcome> {
        good.create_topic(request).await
    }

    async fn topic_metadata(good: &dyn KafkaDriver, name: &str) -> Result<TopicMetadata> {
        good.topic_metadata(name).await
    }

    async fn delete_topic(good: &dyn KafkaDriver, name: &str) -> Result<TopicOutcome> {
        good.delete_topic(name).await
    }

    async fn close_driver(good: &dyn KafkaDriver, within: Duration) -> Result<()> {
        Lifecycle::close(good, within).await
    }

    async fn subscribe(good: &Good<dyn ConsumerDriver, Self::State>, topics: &[String]) -> Result<()> {
        good.it.subscribe(topics).await
    }

    async fn produce(
        good: &Good<dyn ProducerDriver, Self::State>,
        records: Vec<ProducerRecord>,
    ) -> Vec<Result<ProduceReceipt>> {
        good.it.produce(records).await
    }

    async fn close_producer(
        good: &Good<dyn ProducerDriver, Self::State>,
        within: Duration,
    ) -> Result<Undelivered> {
        good.it.close(within).await
    }

    fn producer_stats(good: &Good<dyn ProducerDriver, Self::State>) -> ClientStats {
        good.it.stats()
    }

    async fn poll(good: &Good<dyn ConsumerDriver, Self::State>, request: PollRequest) -> Result<Polled> {
        good.it.poll(request).await
    }

    async fn commit(good: &Good<dyn ConsumerDriver, Self::State>, commit: &Commit) -> Result<()> {
        good.it.commit(commit).await
    }

    async fn seek(good: &Good<dyn ConsumerDriver, Self::State>, to: &NextOffsets) -> Result<()> {
        good.it.seek(to).await
    }

    async fn pause(
        good: &Good<dyn ConsumerDriver, Self::State>,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        good.it.pause(partitions).await
    }

    async fn close_consumer(good: &Good<dyn ConsumerDriver, Self::State>, within: Duration) -> Result<()> {
        good.it.close(within).await
    }
}

/// Adds the bug `B` to a driver.
pub(super) fn wrap<B: Bug>(good: Arc<dyn KafkaDriver>) -> Arc<dyn KafkaDriver> {
    let capabilities = B::capabilities(*good.capabilities());
    Arc::new(Driver::<B> { good, capabilities, bug: std::marker::PhantomData })
}

#[derive(Debug)]
struct Driver<B> {
    good: Arc<dyn KafkaDriver>,
    capabilities: KafkaCapabilities,
    bug: std::marker::PhantomData<B>,
}

impl<B: Bug> Driver<B> {
    fn good<D: ?Sized>(&self, it: Arc<D>) -> Good<D, B::State> {
        Good { it, driver: Arc::clone(&self.good), state: Arc::default() }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Driver<B> {
    async fn health(&self) -> Health {
        self.good.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        B::close_driver(&*self.good, within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> KafkaDriver for Driver<B> {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.capabilities
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        let good = self.good.producer(B::producer_config(config)).await?;
        Ok(Arc::new(Producer::<B>(self.good(good))))
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        let good = self.good.consumer(B::consumer_config(config)).await?;
        Ok(Arc::new(Consumer::<B>(self.good(good))))
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        B::create_topic(&*self.good, request).await
    }

    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        B::delete_topic(&*self.good, name).await
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        B::topic_metadata(&*self.good, name).await
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        self.good.admin()
    }
}

#[derive(Debug)]
struct Producer<B: Bug>(Good<dyn ProducerDriver, B::State>);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> ProducerDriver for Producer<B> {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        B::produce(&self.0, records).await
    }

    async fn close(&self, within: Duration) -> Result<Undelivered> {
        B::close_producer(&self.0, within).await
    }

    fn stats(&self) -> ClientStats {
        B::producer_stats(&self.0)
    }
}

#[derive(Debug)]
struct Consumer<B: Bug>(Good<dyn ConsumerDriver, B::State>);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> ConsumerDriver for Consumer<B> {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        B::subscribe(&self.0, topics).await
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        B::poll(&self.0, request).await
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        B::commit(&self.0, commit).await
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        self.0.it.committed(partitions).await
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        B::seek(&self.0, to).await
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        B::pause(&self.0, partitions).await
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.0.it.resume(partitions).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        self.0.it.watermarks(partition).await
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        self.0.it.offsets_for_times(times).await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        B::close_consumer(&self.0, within).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.0.it.assignment()
    }

    fn stats(&self) -> ClientStats {
        self.0.it.stats()
    }
}
