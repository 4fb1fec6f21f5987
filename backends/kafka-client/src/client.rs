//! The client: every call finds what its id stands for and hands over.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use onex_spi::kafka::{
    Commit, ConsumerConfig, ConsumerDriver, ConsumerGroupInfo, ConsumerId, CreateTopicRequest,
    KafkaCapabilities, KafkaClient, KafkaClientId, KafkaDriver, KafkaFeature, KafkaMessage, KafkaMetrics,
    PollRequest, ProduceReceipt, ProducerConfig, ProducerDriver, ProducerId, ProducerRecord,
    RebalanceListener, TopicMetadata, TopicOutcome, Undelivered,
};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};

use crate::consumer::Consumer;
use crate::ids::Ids;

const CLOSE: &str = "kafka.close";

/// How long an abandoned producer or consumer gets to end behind the caller's back.
const ABANDONED: Duration = Duration::from_secs(5);

/// The policy over one driver.
#[derive(Debug)]
pub(crate) struct DriverClient {
    driver: Arc<dyn KafkaDriver>,
    clients: Mutex<Clients>,
    /// What a close of the whole client has taken on and not finished.
    ending: tokio::sync::Mutex<Vec<Client>>,
}

#[derive(Debug, Default)]
struct Clients {
    producers: Ids<Arc<dyn ProducerDriver>>,
    consumers: Ids<Arc<Consumer>>,
    closed: bool,
}

/// A producer or consumer whose id has ended.
#[derive(Debug)]
enum Client {
    Producer(Arc<dyn ProducerDriver>),
    Consumer(Arc<Consumer>),
}

impl Client {
    async fn close(&self, within: Duration) -> Result<Undelivered> {
        match self {
            Self::Producer(producer) => producer.close(within).await,
            Self::Consumer(consumer) => {
                consumer.driver().close(within).await.map(|()| Undelivered::default())
            }
        }
    }
}

impl DriverClient {
    pub(crate) fn new(driver: Arc<dyn KafkaDriver>) -> Self {
        Self { driver, clients: Mutex::default(), ending: tokio::sync::Mutex::default() }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry, unless the client is closed.
    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, Clients>> {
        let clients = self.clients();
        if clients.closed {
            return Err(Error::closed(operation, "the Kafka client"));
        }
        Ok(clients)
    }

    fn producer(&self, operation: &'static str, id: ProducerId) -> Result<Arc<dyn ProducerDriver>> {
        self.clients().producers.get(operation, id.get(), id).cloned()
    }

    fn consumer(&self, operation: &'static str, id: ConsumerId) -> Result<Arc<Consumer>> {
        self.clients().consumers.get(operation, id.get(), id).cloned()
    }

    /// Ends an id; `None` where that was done before.
    fn end(&self, id: KafkaClientId) -> Result<Option<Client>> {
        let mut clients = self.clients();
        Ok(match id {
            KafkaClientId::Producer(id) => clients.producers.end(CLOSE, id.get(), id)?.map(Client::Producer),
            KafkaClientId::Consumer(id) => clients.consumers.end(CLOSE, id.get(), id)?.map(Client::Consumer),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for DriverClient {
    async fn health(&self) -> Health {
        if self.clients().closed {
            return Health::Unhealthy("the Kafka client is closed".to_owned());
        }
        self.driver.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        // Held to the end, so that a second call waits for the first; what a dropped one left is closed again.
        let mut ending = self.ending.lock().await;
        {
            let mut clients = self.clients();
            clients.closed = true;
            ending.extend(clients.producers.end_all().map(Client::Producer));
            ending.extend(clients.consumers.end_all().map(Client::Consumer));
        }
        let ends = join_all(ending.iter().map(|client| client.close(within))).await;
        ending.clear();
        let (mut undelivered, mut failed) = (0, None);
        for end in ends {
            match end {
                Ok(counts) => undelivered += counts.total(),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if undelivered > 0 {
            let message = format!("{undelivered} records were not delivered within {within:?}");
            let error = Error::new(ErrorKind::TimedOut, CLOSE, message);
            return Err(match failed {
                Some(failed) => error.with_source(failed),
                None => error,
            });
        }
        failed.map_or(Ok(()), Err)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl KafkaClient for DriverClient {
    fn capabilities(&self) -> &KafkaCapabilities {
        self.driver.capabilities()
    }

    async fn create_producer(&self, config: ProducerConfig) -> Result<ProducerId> {
        const OPERATION: &str = "kafka.create_producer";
        drop(self.open(OPERATION)?);
        let producer = self.driver.producer(config).await?;
        // Closed meanwhile: the new producer goes with the error.
        let number = self.open(OPERATION)?.producers.issue(producer);
        Ok(ProducerId::new(number))
    }

    async fn create_consumer(
        &self,
        config: ConsumerConfig,
        listener: Option<Arc<dyn RebalanceListener>>,
    ) -> Result<ConsumerId> {
        const OPERATION: &str = "kafka.create_consumer";
        drop(self.open(OPERATION)?);
        let reset = config.offset_reset;
        let driver = self.driver.consumer(config).await?;
        let consumer = Arc::new(Consumer::new(driver, listener, reset));
        let number: NonZeroU64 = self.open(OPERATION)?.consumers.issue(consumer);
        Ok(ConsumerId::new(number))
    }

    async fn produce_message(&self, producer: ProducerId, record: ProducerRecord) -> Result<ProduceReceipt> {
        const OPERATION: &str = "kafka.produce_message";
        let driver = self.producer(OPERATION, producer)?;
        let answers = driver.produce(vec![record]).await;
        one_each(OPERATION, 1, answers)?.remove(0)
    }

    async fn produce_batch(
        &self,
        producer: ProducerId,
        records: Vec<ProducerRecord>,
    ) -> Result<Vec<Result<ProduceReceipt>>> {
        const OPERATION: &str = "kafka.produce_batch";
        let driver = self.producer(OPERATION, producer)?;
        let sent = records.len();
        one_each(OPERATION, sent, driver.produce(records).await)
    }

    async fn consume_messages(
        &self,
        consumer: ConsumerId,
        topics: &[String],
        request: PollRequest,
    ) -> Result<Vec<KafkaMessage>> {
        self.consumer("kafka.consume_messages", consumer)?.consume(topics, request).await
    }

    async fn commit_offsets(&self, consumer: ConsumerId, commit: &Commit) -> Result<()> {
        self.consumer("kafka.commit_offsets", consumer)?.driver().commit(commit).await
    }

    async fn consumer_group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo> {
        const OPERATION: &str = "kafka.consumer_group_info";
        drop(self.open(OPERATION)?);
        self.capabilities().features.require(OPERATION, KafkaFeature::Groups)?;
        let Some(admin) = self.driver.admin() else {
            let message = "this engine declares Groups and tells nothing about them; choose another one";
            return Err(Error::unsupported(OPERATION, message));
        };
        admin.group_info(group_id).await
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        drop(self.open("kafka.create_topic")?);
        self.driver.create_topic(request).await
    }

    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        drop(self.open("kafka.delete_topic")?);
        self.driver.delete_topic(name).await
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        drop(self.open("kafka.topic_metadata")?);
        self.driver.topic_metadata(name).await
    }

    async fn kafka_metrics(&self, client: KafkaClientId) -> Result<KafkaMetrics> {
        const OPERATION: &str = "kafka.kafka_metrics";
        let mut metrics = KafkaMetrics::default();
        match client {
            KafkaClientId::Producer(id) => metrics.stats = self.producer(OPERATION, id)?.stats(),
            KafkaClientId::Consumer(id) => {
                let consumer = self.consumer(OPERATION, id)?;
                metrics.stats = consumer.driver().stats();
                metrics.assignment = consumer.driver().assignment();
                metrics.lag = consumer.lag(&metrics.assignment).await?;
            }
        }
        Ok(metrics)
    }

    fn producer_handle(&self, producer: ProducerId) -> Result<Arc<dyn ProducerDriver>> {
        self.producer("kafka.producer_handle", producer)
    }

    fn consumer_handle(&self, consumer: ConsumerId) -> Result<Arc<dyn ConsumerDriver>> {
        Ok(self.consumer("kafka.consumer_handle", consumer)?.driver().clone())
    }

    async fn close_client(&self, client: KafkaClientId, within: Duration) -> Result<Undelivered> {
        match self.end(client)? {
            Some(client) => client.close(within).await,
            None => Ok(Undelivered::default()),
        }
    }

    fn abandon_client(&self, client: KafkaClientId) {
        // An id that was never issued, or that has ended, leaves nothing to abandon.
        let Ok(Some(ended)) = self.end(client) else { return };
        // Without a runtime dropping has to do: the engine abandons what is queued.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match ended.close(ABANDONED).await {
                Ok(undelivered) if undelivered.total() == 0 => {}
                Ok(undelivered) => tracing::warn!(?client, ?undelivered, "abandoned with records in flight"),
                Err(error) => tracing::warn!(?client, %error, "abandoned, and the close failed"),
            }
        });
    }
}

/// Refuses the answers of an engine that does not give one per record (K4).
fn one_each<T>(operation: &'static str, sent: usize, answers: Vec<T>) -> Result<Vec<T>> {
    if answers.len() == sent {
        return Ok(answers);
    }
    let message = format!("the engine gave {} answers for {sent} records", answers.len());
    Err(Error::new(ErrorKind::Unclassified, operation, message))
}

#[cfg(test)]
mod tests {
    use onex_memory::kafka::MemoryKafka;
    use onex_spi::TokioClock;

    use super::*;

    fn broker() -> MemoryKafka {
        MemoryKafka::new(Arc::new(TokioClock::new()))
    }

    #[test]
    fn abandoning_outside_a_runtime_drops() -> Result<()> {
        let client = DriverClient::new(broker().driver());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let id = runtime.block_on(client.create_producer(ProducerConfig::new()))?;
        drop(runtime);
        let handle = client.producer_handle(id)?;
        client.abandon_client(id.into());
        assert_eq!(Arc::strong_count(&handle), 1, "the client let it go");
        assert_eq!(client.producer_handle(id).map_err(|error| error.kind()).err(), Some(ErrorKind::Closed));
        Ok(())
    }

    #[tokio::test]
    async fn a_closed_client_opens_nothing() -> Result<()> {
        let client = DriverClient::new(broker().driver());
        client.close(Duration::ZERO).await?;
        let refused = client.create_producer(ProducerConfig::new()).await.expect_err("closed");
        assert_eq!(refused.kind(), ErrorKind::Closed);
        assert!(client.clients().producers.end_all().next().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn an_id_of_another_client_is_not_found() -> Result<()> {
        let broker = broker();
        let (one, other) = (DriverClient::new(broker.driver()), DriverClient::new(broker.driver()));
        let (id, own) = (
            one.create_producer(ProducerConfig::new()).await?,
            other.create_producer(ProducerConfig::new()).await?,
        );
        assert_eq!(other.producer_handle(id).map_err(|error| error.kind()).err(), Some(ErrorKind::NotFound));
        other.producer_handle(own)?;
        Ok(())
    }

    #[test]
    fn an_engine_that_loses_an_answer_is_told_as_such() {
        let error = one_each("kafka.produce_batch", 2, vec![()]).expect_err("one is missing");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unclassified, onex_spi::Effect::Unknown));
    }
}
