//! The driver: one configuration, one administrative client, and the producers and consumers that it opened.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, ConsumerGroupInfo, CreateTopicRequest, KafkaAdmin, KafkaCapabilities,
    KafkaDriver, KafkaFeature, ProducerConfig, ProducerDriver, TopicMetadata, TopicOutcome, check_cluster,
};
use onex_spi::provider::OpenContext;
use onex_spi::{Error, Features, Health, Lifecycle, Result};

use crate::Config;
use crate::cluster::Cluster;
use crate::consumer::RdKafkaConsumer;
use crate::producer::RdKafkaProducer;

/// How long `health` waits for a broker.
const HEALTH: Duration = Duration::from_secs(2);

/// Kafka through librdkafka.
#[derive(Debug)]
pub struct RdKafkaDriver {
    cluster: Arc<Cluster>,
    capabilities: KafkaCapabilities,
    seed: AtomicU64,
    closed: AtomicBool,
    opened: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    producers: Vec<Weak<RdKafkaProducer>>,
    consumers: Vec<Weak<RdKafkaConsumer>>,
}

impl RdKafkaDriver {
    pub(crate) fn new(config: Config, context: &OpenContext) -> Self {
        let features = Features::none()
            .with(KafkaFeature::Groups)
            .with(KafkaFeature::TopicAdmin)
            .with(KafkaFeature::TopicConfig);
        Self {
            capabilities: KafkaCapabilities::new(features, config.record_bytes),
            cluster: Arc::new(Cluster::new(config, Arc::clone(&context.clock))),
            seed: AtomicU64::new(context.seed),
            closed: AtomicBool::new(false),
            opened: Mutex::default(),
        }
    }

    fn open(&self, operation: &'static str) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::closed(operation, "the driver")),
            false => Ok(()),
        }
    }

    /// Keeps what was opened for the close; forgets what is gone.
    fn keep(&self, add: impl FnOnce(&mut Opened)) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.producers.retain(|producer| producer.strong_count() > 0);
        opened.consumers.retain(|consumer| consumer.strong_count() > 0);
        add(&mut opened);
    }
}

#[async_trait]
impl Lifecycle for RdKafkaDriver {
    async fn health(&self) -> Health {
        const CALL: &str = "kafka.health";
        if self.closed.load(Ordering::Acquire) {
            return Health::Unhealthy("the driver is closed".into());
        }
        match self.cluster.reach(HEALTH, CALL).await {
            Ok(_) => Health::Healthy,
            Err(error) => {
                let asked = self.cluster.config().bootstrap_servers.join(", ");
                Health::Unhealthy(format!("{error}; asked {asked}"))
            }
        }
    }

    async fn close(&self, within: Duration) -> Result<()> {
        const CALL: &str = "kafka.close";
        self.closed.store(true, Ordering::Release);
        let (producers, consumers) = {
            let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            let producers: Vec<_> = opened.producers.iter().filter_map(Weak::upgrade).collect();
            let consumers: Vec<_> = opened.consumers.iter().filter_map(Weak::upgrade).collect();
            (producers, consumers)
        };
        let deadline = self.cluster.deadline(within);
        let left = || deadline.saturating_duration_since(self.cluster.clock().now());
        // Every close begins before the first one is waited for.
        producers.iter().for_each(|producer| producer.begin_close(within));
        consumers.iter().for_each(|consumer| consumer.begin_close());
        let mut outcome = Ok(());
        for producer in &producers {
            let undelivered = producer.close(left()).await?;
            if undelivered.total() > 0 && outcome.is_ok() {
                let text = format!("{} records were not delivered within {within:?}", undelivered.total());
                outcome = Err(Error::new(onex_spi::ErrorKind::TimedOut, CALL, text));
            }
        }
        for consumer in &consumers {
            let closed = consumer.close(left()).await;
            outcome = outcome.and(closed);
        }
        self.cluster.release();
        outcome
    }
}

#[async_trait]
impl KafkaDriver for RdKafkaDriver {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.capabilities
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        const CALL: &str = "kafka.producer";
        self.open(CALL)?;
        config.validate()?;
        check_cluster(CALL, &config.bootstrap_servers, &self.cluster.config().bootstrap_servers)?;
        // Each producer starts its null keys elsewhere; the golden ratio spreads the seeds.
        let seed = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) >> 32;
        let producer = RdKafkaProducer::open(Arc::clone(&self.cluster), config, seed).await?;
        self.keep(|opened| opened.producers.push(Arc::downgrade(&producer)));
        // A close that ran meanwhile has not seen it.
        self.open(CALL)?;
        Ok(producer)
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        const CALL: &str = "kafka.consumer";
        self.open(CALL)?;
        config.validate()?;
        check_cluster(CALL, &config.bootstrap_servers, &self.cluster.config().bootstrap_servers)?;
        if config.group_id.contains('\0') {
            return Err(Error::invalid(CALL, "group_id holds a NUL byte; rename the group"));
        }
        let consumer = RdKafkaConsumer::open(Arc::clone(&self.cluster), &config).await?;
        self.keep(|opened| opened.consumers.push(Arc::downgrade(&consumer)));
        self.open(CALL)?;
        Ok(consumer)
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        self.open("kafka.create_topic")?;
        request.validate(&self.capabilities)?;
        self.cluster.create_topic(request).await
    }

    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        self.open("kafka.delete_topic")?;
        self.cluster.delete_topic(name).await
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        const CALL: &str = "kafka.topic_metadata";
        self.open(CALL)?;
        self.cluster.metadata(name, CALL).await
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        Some(self)
    }
}

#[async_trait]
impl KafkaAdmin for RdKafkaDriver {
    async fn group_info(&self, group_id: &str) -> Result<ConsumerGroupInfo> {
        self.open("kafka.group_info")?;
        self.cluster.group_info(group_id).await
    }
}
