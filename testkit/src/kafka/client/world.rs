//! What a case works with: a client, fresh names, and ways to make what nearly every case needs.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::kafka::{
    ConsumerConfig, ConsumerId, CreateTopicRequest, KafkaClient, KafkaMessage, PollRequest, ProducerConfig,
    ProducerId, ProducerRecord, TopicOutcome,
};
use onex_spi::{BoxFuture, Clock, Result};

use crate::ensure;
use crate::kafka::KafkaSetup;
use crate::kafka::driver::{PATIENCE, Topic, broken, within};
use crate::suite::Stop;

/// Makes one client to the cluster of a setup.
pub(crate) type Open = dyn Fn(KafkaSetup) -> BoxFuture<'static, Result<Arc<dyn KafkaClient>>> + Send + Sync;

/// The longest wait of one call, so that a case never waits long for nothing.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// A world that is not opened yet: opening takes a runtime.
pub(super) struct Source {
    open: Arc<Open>,
    setup: KafkaSetup,
}

impl Source {
    pub(super) fn new(open: Arc<Open>) -> Self {
        Self { open, setup: KafkaSetup::fresh("kafka-client") }
    }

    pub(super) async fn open(self) -> Result<World, Stop> {
        let client = (self.open)(self.setup.clone()).await?;
        Ok(World { client, open: self.open, setup: self.setup })
    }
}

/// One case's client and names.
pub(super) struct World {
    pub(super) client: Arc<dyn KafkaClient>,
    pub(super) setup: KafkaSetup,
    open: Arc<Open>,
}

impl World {
    /// Another client to the same cluster.
    pub(super) async fn connect_again(&self) -> Result<Arc<dyn KafkaClient>, Stop> {
        Ok((self.open)(self.setup.clone()).await?)
    }

    /// A name of this case.
    pub(super) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.setup.prefix)
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.setup.clock
    }

    /// Creates a topic that must be new.
    pub(super) async fn topic(&self, suffix: &str, partitions: i32) -> Result<Topic, Stop> {
        let name = self.name(suffix);
        match self.client.create_topic(CreateTopicRequest::new(&name, partitions)).await? {
            TopicOutcome::Created => Ok(Topic { name: name.into(), partitions }),
            other => Err(broken("K20", format!("creating the new topic {name} came to {other:?}"))),
        }
    }

    /// Opens a default producer.
    pub(super) async fn producer(&self) -> Result<ProducerId, Stop> {
        Ok(self.client.create_producer(ProducerConfig::new()).await?)
    }

    /// The configuration of a member of this case's group `group`, whose session ends soon.
    pub(super) fn member(&self, group: &str) -> ConsumerConfig {
        ConsumerConfig::new(self.name(group)).with_session_timeout(Duration::from_secs(10))
    }

    /// Opens a consumer without a listener.
    pub(super) async fn consumer(&self, group: &str) -> Result<ConsumerId, Stop> {
        Ok(self.client.create_consumer(self.member(group), None).await?)
    }

    /// Produces what must be stored.
    pub(super) async fn store(&self, producer: ProducerId, records: Vec<ProducerRecord>) -> Result<(), Stop> {
        let sent = records.len();
        let answers = self.client.produce_batch(producer, records).await?;
        if answers.len() != sent {
            return Err(broken("K4", format!("{} answers for {sent} records", answers.len())));
        }
        answers.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(())
    }

    /// Reads exactly `count` records, of which no call may bring more than are left (K21).
    pub(super) async fn read(
        &self,
        consumer: ConsumerId,
        topics: &[String],
        count: usize,
    ) -> Result<Vec<KafkaMessage>, Stop> {
        let reading = async {
            let mut read = Vec::new();
            while read.len() < count {
                let most = count - read.len();
                let batch =
                    self.client.consume_messages(consumer, topics, PollRequest::new(most, TURN)).await?;
                ensure!("K21", batch.len() <= most, "{} records, asked for {most}", batch.len());
                read.extend(batch);
            }
            Ok(read)
        };
        self.within("K3", PATIENCE, &format!("{count} records"), reading).await?
    }

    /// Waits for `work` at most `limit`.
    pub(super) async fn within<T>(
        &self,
        law: &'static str,
        limit: Duration,
        what: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        within(self.clock(), law, limit, what, work).await
    }
}

/// The subscription to topics.
pub(super) fn names<'a>(topics: impl IntoIterator<Item = &'a Topic>) -> Vec<String> {
    topics.into_iter().map(|topic| topic.name.to_string()).collect()
}
