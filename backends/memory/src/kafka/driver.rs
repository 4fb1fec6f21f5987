//! One connection to the broker.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, ConsumerGroupInfo, CreateTopicRequest, KafkaAdmin, KafkaCapabilities,
    KafkaDriver, ProducerConfig, ProducerDriver, TopicMetadata, TopicOutcome, check_cluster,
};
use onex_spi::{Error, ErrorKind, Features, Health, Lifecycle, Result};

use super::broker::Broker;
use super::consumer::MemoryConsumer;
use super::producer::MemoryProducer;

/// The most bytes of key, value and headers in one record.
const RECORD_BYTES: usize = 1 << 20;

/// A driver on the memory broker; closing it ends its producers and consumers, not the broker.
pub(super) struct MemoryDriver {
    broker: Arc<Broker>,
    capabilities: KafkaCapabilities,
    closed: AtomicBool,
    clients: Mutex<Clients>,
}

/// What was opened here; whoever opened it may have let it go.
#[derive(Default)]
struct Clients {
    producers: Vec<Weak<MemoryProducer>>,
    consumers: Vec<Weak<MemoryConsumer>>,
}

impl MemoryDriver {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self {
            broker,
            capabilities: KafkaCapabilities::new(Features::all(), RECORD_BYTES),
            closed: AtomicBool::new(false),
            clients: Mutex::default(),
        }
    }

    fn open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed(operation, "the memory Kafka driver"));
        }
        Ok(())
    }

    fn with_clients<R>(&self, body: impl FnOnce(&mut Clients) -> R) -> R {
        body(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for MemoryDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDriver").field("broker", &self.broker).field("closed", &self.closed).finish()
    }
}

#[async_trait]
impl Lifecycle for MemoryDriver {
    async fn health(&self) -> Health {
        if self.closed.load(Ordering::Acquire) {
            return Health::Unhealthy("the driver is closed".to_owned());
        }
        match self.broker.answering("kafka.health") {
            Ok(_) => Health::Healthy,
            Err(error) => Health::Unhealthy(error.message().to_owned()),
        }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        let (producers, consumers) = self.with_clients(|clients| {
            // Under the lock, so that nothing is opened between the mark and the list.
            self.closed.store(true, Ordering::Release);
            (clients.producers.clone(), clients.consumers.clone())
        });
        // The first pass tells everybody, so that all of them share one time.
        let deadline = self.broker.clock.after(within);
        let producers: Vec<_> = producers.iter().filter_map(Weak::upgrade).collect();
        let consumers: Vec<_> = consumers.iter().filter_map(Weak::upgrade).collect();
        producers.iter().for_each(|producer| producer.begin_close(deadline));
        consumers.iter().for_each(|consumer| consumer.begin_close(deadline));
        let (mut undelivered, mut unheard) = (0, 0);
        for producer in producers {
            undelivered += producer.finish_close().await.total();
        }
        for consumer in consumers {
            unheard += usize::from(consumer.finish_close().await.is_err());
        }
        // What was told once is not told again.
        self.with_clients(std::mem::take);
        if undelivered == 0 && unheard == 0 {
            return Ok(());
        }
        let message = format!(
            "{undelivered} records were not delivered and {unheard} consumers could not leave in {within:?}"
        );
        Err(Error::new(ErrorKind::TimedOut, "kafka.close", message))
    }
}

#[async_trait]
impl KafkaDriver for MemoryDriver {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.capabilities
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        const OPERATION: &str = "kafka.producer";
        check_cluster(OPERATION, &config.bootstrap_servers, &[])?;
        config.validate()?;
        self.with_clients(|clients| {
            self.open(OPERATION)?;
            let producer = Arc::new(MemoryProducer::new(self.broker.clone(), config, RECORD_BYTES));
            clients.producers.retain(|known| known.strong_count() > 0);
            clients.producers.push(Arc::downgrade(&producer));
            Ok(producer as _)
        })
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        const OPERATION: &str = "kafka.consumer";
        check_cluster(OPERATION, &config.bootstrap_servers, &[])?;
        config.validate()?;
        self.with_clients(|clients| {
            self.open(OPERATION)?;
            let consumer = Arc::new(MemoryConsumer::new(self.broker.clone(), config));
            clients.consumers.retain(|known| known.strong_count() > 0);
            clients.consumers.push(Arc::downgrade(&consumer));
            Ok(consumer as _)
        })
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        self.open("kafka.create_topic")?;
        request.validate(&self.capabilities)?;
        let outcome = self.broker.answering("kafka.create_topic")?.create_topic(&request)?;
        self.broker.changed.notify_waiters();
        Ok(outcome)
    }

    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        self.open("kafka.delete_topic")?;
        let outcome = self.broker.answering("kafka.delete_topic")?.delete_topic(name);
        self.broker.changed.notify_waiters();
        Ok(outcome)
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        self.open("kafka.topic_metadata")?;
        self.broker.answering("kafka.topic_metadata")?.topic_metadata(name, self.broker.wall())
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        Some(self)
    }
}

#[async_trait]
impl KafkaAdmin for MemoryDriver {
    async fn group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo> {
        self.open("kafka.group_info")?;
        let info = self.broker.answering("kafka.group_info")?.group_info(
            group_id,
            self.broker.now(),
            self.broker.wall(),
        );
        // Looking may have expelled somebody.
        self.broker.changed.notify_waiters();
        Ok(info)
    }
}
