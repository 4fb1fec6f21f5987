//! Conveniences for callers: producers and consumers that end with their scope.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Commit, ConsumerConfig, ConsumerId, KafkaClient, KafkaMessage, PollRequest, ProduceReceipt,
    ProducerConfig, ProducerId, ProducerRecord, RebalanceListener, Undelivered,
};
use crate::Result;

/// Opens scoped producers and consumers; the blanket impl is the only one there can be.
///
/// # Examples
/// ```no_run
/// use std::sync::Arc;
/// use onex_spi::kafka::{ConsumerConfig, KafkaClient, KafkaClientExt, PollRequest, ProducerConfig, ProducerRecord};
///
/// # async fn example(kafka: Arc<dyn KafkaClient>) -> onex_spi::Result<()> {
/// let producer = kafka.producer(ProducerConfig::new()).await?;
/// producer.send(ProducerRecord::new("orders").with_key("7").with_value("{}")).await?;
///
/// let consumer = kafka.consumer(ConsumerConfig::new("billing"), None).await?;
/// let messages = consumer.consume(&["orders".into()], PollRequest::default()).await?;
/// consumer.commit_after(&messages).await?;
/// # Ok(())
/// # }
/// ```
pub trait KafkaClientExt: KafkaClient {
    /// Opens a producer that is abandoned when it is dropped; [`Producer::close`] flushes.
    fn producer(
        self: &Arc<Self>,
        config: ProducerConfig,
    ) -> impl Future<Output = Result<Producer<Self>>> + Send {
        async move {
            Ok(Producer { client: self.clone(), id: self.create_producer(config).await?, closed: false })
        }
    }

    /// Opens a consumer that is abandoned when it is dropped; [`Consumer::close`] leaves the group.
    fn consumer(
        self: &Arc<Self>,
        config: ConsumerConfig,
        listener: Option<Arc<dyn RebalanceListener>>,
    ) -> impl Future<Output = Result<Consumer<Self>>> + Send {
        async move {
            let id = self.create_consumer(config, listener).await?;
            Ok(Consumer { client: self.clone(), id, closed: false })
        }
    }
}

impl<C: KafkaClient + ?Sized> KafkaClientExt for C {}

/// A producer that ends with its scope.
#[derive(Debug)]
pub struct Producer<C: KafkaClient + ?Sized = dyn KafkaClient> {
    client: Arc<C>,
    id: ProducerId,
    closed: bool,
}

impl<C: KafkaClient + ?Sized> Producer<C> {
    /// The id, for the calls by id.
    #[must_use]
    pub fn id(&self) -> ProducerId {
        self.id
    }

    /// Sends one record.
    ///
    /// # Errors
    /// Those of [`KafkaClient::produce_message`].
    /// # Cancellation
    /// The record may still be stored, once.
    pub async fn send(&self, record: ProducerRecord) -> Result<ProduceReceipt> {
        self.client.produce_message(self.id, record).await
    }

    /// Sends records; one result each, in order.
    ///
    /// # Errors
    /// Those of [`KafkaClient::produce_batch`].
    /// # Cancellation
    /// Each record may still be stored, once.
    pub async fn send_batch(&self, records: Vec<ProducerRecord>) -> Result<Vec<Result<ProduceReceipt>>> {
        self.client.produce_batch(self.id, records).await
    }

    /// Flushes and closes; tells what was not delivered.
    ///
    /// # Errors
    /// Those of [`KafkaClient::close_client`].
    /// # Cancellation
    /// The close goes on behind.
    pub async fn close(mut self, within: Duration) -> Result<Undelivered> {
        self.closed = true;
        self.client.close_client(self.id.into(), within).await
    }
}

impl<C: KafkaClient + ?Sized> Drop for Producer<C> {
    fn drop(&mut self) {
        if !self.closed {
            self.client.abandon_client(self.id.into());
        }
    }
}

/// A consumer that ends with its scope.
#[derive(Debug)]
pub struct Consumer<C: KafkaClient + ?Sized = dyn KafkaClient> {
    client: Arc<C>,
    id: ConsumerId,
    closed: bool,
}

impl<C: KafkaClient + ?Sized> Consumer<C> {
    /// The id, for the calls by id.
    #[must_use]
    pub fn id(&self) -> ConsumerId {
        self.id
    }

    /// Reads records of `topics`; an empty slice keeps the subscription.
    ///
    /// # Errors
    /// Those of [`KafkaClient::consume_messages`].
    /// # Cancellation
    /// Loses nothing.
    pub async fn consume(&self, topics: &[String], request: PollRequest) -> Result<Vec<KafkaMessage>> {
        self.client.consume_messages(self.id, topics, request).await
    }

    /// Stores offsets.
    ///
    /// # Errors
    /// Those of [`KafkaClient::commit_offsets`].
    /// # Cancellation
    /// May still be stored.
    pub async fn commit(&self, commit: &Commit) -> Result<()> {
        self.client.commit_offsets(self.id, commit).await
    }

    /// Stores what follows `messages`: they are processed.
    ///
    /// # Errors
    /// Those of [`KafkaClient::commit_offsets`].
    /// # Cancellation
    /// May still be stored.
    pub async fn commit_after(&self, messages: &[KafkaMessage]) -> Result<()> {
        self.commit(&Commit::after(messages)).await
    }

    /// Leaves the group and closes.
    ///
    /// # Errors
    /// Those of [`KafkaClient::close_client`].
    /// # Cancellation
    /// The close goes on behind.
    pub async fn close(mut self, within: Duration) -> Result<()> {
        self.closed = true;
        self.client.close_client(self.id.into(), within).await.map(drop)
    }
}

impl<C: KafkaClient + ?Sized> Drop for Consumer<C> {
    fn drop(&mut self) {
        if !self.closed {
            self.client.abandon_client(self.id.into());
        }
    }
}
