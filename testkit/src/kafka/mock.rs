//! A mock of the callers' port, for tests of code that holds an `Arc<dyn KafkaClient>`.
#![allow(missing_docs, reason = "mockall writes the methods `expect_*`, one for each method of the port")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    Commit, ConsumerConfig, ConsumerDriver, ConsumerGroupInfo, ConsumerId, CreateTopicRequest,
    KafkaCapabilities, KafkaClientId, KafkaMessage, KafkaMetrics, PollRequest, ProduceReceipt,
    ProducerConfig, ProducerDriver, ProducerId, ProducerRecord, RebalanceListener, TopicMetadata,
    TopicOutcome, Undelivered,
};
use onex_spi::{Health, Result};

mockall::mock! {
    /// A mock of [`KafkaClient`](onex_spi::kafka::KafkaClient): a call without an expectation panics.
    ///
    /// # Examples
    /// ```
    /// use onex_spi::kafka::{KafkaClient, TopicOutcome};
    /// use onex_testkit::kafka::mock::MockKafkaClient;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> onex_spi::Result<()> {
    /// let mut kafka = MockKafkaClient::new();
    /// kafka.expect_delete_topic().withf(|name| name == "orders").once().returning(|_| Ok(TopicOutcome::Deleted));
    /// assert_eq!(kafka.delete_topic("orders").await?, TopicOutcome::Deleted);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    pub KafkaClient {}

    #[async_trait]
    impl onex_spi::Lifecycle for KafkaClient {
        async fn health(&self) -> Health;
        async fn close(&self, within: Duration) -> Result<()>;
    }

    #[async_trait]
    impl onex_spi::kafka::KafkaClient for KafkaClient {
        fn capabilities(&self) -> &KafkaCapabilities;
        async fn create_producer(&self, config: ProducerConfig) -> Result<ProducerId>;
        async fn create_consumer(
            &self,
            config: ConsumerConfig,
            listener: Option<Arc<dyn RebalanceListener>>,
        ) -> Result<ConsumerId>;
        async fn produce_message(&self, producer: ProducerId, record: ProducerRecord) -> Result<ProduceReceipt>;
        async fn produce_batch(
            &self,
            producer: ProducerId,
            records: Vec<ProducerRecord>,
        ) -> Result<Vec<Result<ProduceReceipt>>>;
        async fn consume_messages(
            &self,
            consumer: ConsumerId,
            topics: &[String],
            request: PollRequest,
        ) -> Result<Vec<KafkaMessage>>;
        async fn commit_offsets(&self, consumer: ConsumerId, commit: &Commit) -> Result<()>;
        async fn consumer_group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo>;
        async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome>;
        async fn delete_topic(&self, name: &str) -> Result<TopicOutcome>;
        async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata>;
        async fn kafka_metrics(&self, client: KafkaClientId) -> Result<KafkaMetrics>;
        fn producer_handle(&self, producer: ProducerId) -> Result<Arc<dyn ProducerDriver>>;
        fn consumer_handle(&self, consumer: ConsumerId) -> Result<Arc<dyn ConsumerDriver>>;
        async fn close_client(&self, client: KafkaClientId, within: Duration) -> Result<Undelivered>;
        fn abandon_client(&self, client: KafkaClientId);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use onex_spi::kafka::{KafkaClient, KafkaClientExt, ProducerConfig, ProducerId, ProducerRecord};
    use onex_spi::{Error, ErrorKind};

    use super::*;

    #[tokio::test]
    async fn a_mock_answers_through_the_port_and_its_conveniences() {
        let id = ProducerId::new(NonZeroU64::MIN);
        let mut mock = MockKafkaClient::new();
        mock.expect_create_producer().returning(move |_| Ok(id));
        mock.expect_produce_message()
            .withf(move |producer, record| *producer == id && &*record.topic == "orders")
            .returning(|_, _| Err(Error::new(ErrorKind::TimedOut, "kafka.produce", "no answer")));
        mock.expect_abandon_client().once().return_const(());
        let client: Arc<dyn KafkaClient> = Arc::new(mock);
        let producer = client.producer(ProducerConfig::new()).await.expect("the mock opens one");
        let error = producer.send(ProducerRecord::new("orders")).await.expect_err("the mock times out");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
