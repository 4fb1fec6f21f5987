//! A client that changes nothing, and the places where a bug may change one thing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    Commit, ConsumerConfig, ConsumerDriver, ConsumerGroupInfo, ConsumerId, CreateTopicRequest,
    KafkaCapabilities, KafkaClient, KafkaClientId, KafkaMessage, KafkaMetrics, PollRequest, ProduceReceipt,
    ProducerConfig, ProducerDriver, ProducerId, ProducerRecord, RebalanceListener, TopicMetadata,
    TopicOutcome, Undelivered,
};
use onex_spi::{Health, Lifecycle, Result};

type Listener = Option<Arc<dyn RebalanceListener>>;

/// One changed behaviour; what a bug does not override is the good client's.
#[async_trait]
pub(super) trait Bug: fmt::Debug + Default + Send + Sync + 'static {
    async fn close(&self, good: &dyn KafkaClient, within: Duration) -> Result<()> {
        good.close(within).await
    }

    fn listener(&self, listener: Listener) -> Listener {
        listener
    }

    /// The id that callers get for the good client's.
    fn issue(&self, good: ProducerId) -> ProducerId {
        good
    }

    /// The good client's id for that of a caller.
    fn find(&self, producer: ProducerId) -> ProducerId {
        producer
    }

    async fn produce_batch(
        &self,
        good: &dyn KafkaClient,
        producer: ProducerId,
        records: Vec<ProducerRecord>,
    ) -> Result<Vec<Result<ProduceReceipt>>> {
        good.produce_batch(producer, records).await
    }

    async fn consume_messages(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        topics: &[String],
        request: PollRequest,
    ) -> Result<Vec<KafkaMessage>> {
        good.consume_messages(consumer, topics, request).await
    }

    async fn commit_offsets(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        commit: &Commit,
    ) -> Result<()> {
        good.commit_offsets(consumer, commit).await
    }

    async fn topic_metadata(&self, good: &dyn KafkaClient, name: &str) -> Result<TopicMetadata> {
        good.topic_metadata(name).await
    }

    async fn kafka_metrics(&self, good: &dyn KafkaClient, client: KafkaClientId) -> Result<KafkaMetrics> {
        good.kafka_metrics(client).await
    }

    fn producer_handle(
        &self,
        good: &dyn KafkaClient,
        producer: ProducerId,
    ) -> Result<Arc<dyn ProducerDriver>> {
        good.producer_handle(producer)
    }

    async fn close_client(
        &self,
        good: &dyn KafkaClient,
        client: KafkaClientId,
        within: Duration,
    ) -> Result<Undelivered> {
        good.close_client(client, within).await
    }

    fn abandon_client(&self, good: &dyn KafkaClient, client: KafkaClientId) {
        good.abandon_client(client);
    }
}

/// Adds the bug `B` to a client.
pub(super) fn wrap<B: Bug>(good: Arc<dyn KafkaClient>) -> Arc<dyn KafkaClient> {
    Arc::new(Client { good, bug: B::default() })
}

#[derive(Debug)]
struct Client<B> {
    good: Arc<dyn KafkaClient>,
    bug: B,
}

impl<B: Bug> Client<B> {
    fn find(&self, client: KafkaClientId) -> KafkaClientId {
        match client {
            KafkaClientId::Producer(producer) => self.bug.find(producer).into(),
            consumer => consumer,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Client<B> {
    async fn health(&self) -> Health {
        self.good.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.bug.close(&*self.good, within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> KafkaClient for Client<B> {
    fn capabilities(&self) -> &KafkaCapabilities {
        self.good.capabilities()
    }

    async fn create_producer(&self, config: ProducerConfig) -> Result<ProducerId> {
        Ok(self.bug.issue(self.good.create_producer(config).await?))
    }

    async fn create_consumer(&self, config: ConsumerConfig, listener: Listener) -> Result<ConsumerId> {
        self.good.create_consumer(config, self.bug.listener(listener)).await
    }

    async fn produce_message(&self, producer: ProducerId, record: ProducerRecord) -> Result<ProduceReceipt> {
        self.good.produce_message(self.bug.find(producer), record).await
    }

    async fn produce_batch(
        &self,
        producer: ProducerId,
        records: Vec<ProducerRecord>,
    ) -> Result<Vec<Result<ProduceReceipt>>> {
        self.bug.produce_batch(&*self.good, self.bug.find(producer), records).await
    }

    async fn consume_messages(
        &self,
        consumer: ConsumerId,
        topics: &[String],
        request: PollRequest,
    ) -> Result<Vec<KafkaMessage>> {
        self.bug.consume_messages(&*self.good, consumer, topics, request).await
    }

    async fn commit_offsets(&self, consumer: ConsumerId, commit: &Commit) -> Result<()> {
        self.bug.commit_offsets(&*self.good, consumer, commit).await
    }

    async fn consumer_group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo> {
        self.good.consumer_group_info(group_id).await
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        self.good.create_topic(request).await
    }

    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        self.good.delete_topic(name).await
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        self.bug.topic_metadata(&*self.good, name).await
    }

    async fn kafka_metrics(&self, client: KafkaClientId) -> Result<KafkaMetrics> {
        self.bug.kafka_metrics(&*self.good, self.find(client)).await
    }

    fn producer_handle(&self, producer: ProducerId) -> Result<Arc<dyn ProducerDriver>> {
        self.bug.producer_handle(&*self.good, self.bug.find(producer))
    }

    fn consumer_handle(&self, consumer: ConsumerId) -> Result<Arc<dyn ConsumerDriver>> {
        self.good.consumer_handle(consumer)
    }

    async fn close_client(&self, client: KafkaClientId, within: Duration) -> Result<Undelivered> {
        self.bug.close_client(&*self.good, self.find(client), within).await
    }

    fn abandon_client(&self, client: KafkaClientId) {
        self.bug.abandon_client(&*self.good, self.find(client));
    }
}
