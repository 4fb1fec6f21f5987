//! A `KafkaDriver` over one log in memory.
//!
//! ```text
//!  LogProducer ── append ─► Log: partition ─► records, group ─► offsets ── look ─► LogConsumer
//!                            └ a change wakes the polls that wait
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use onex_spi::kafka::{
    Acks, ClientStats, ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaAdmin, KafkaCapabilities,
    KafkaDriver, KafkaFault, KafkaFeature, KafkaMessage, PartitionInfo, ProduceReceipt, ProducerConfig,
    ProducerDriver, ProducerRecord, Timestamp, TopicMetadata, TopicOutcome, TopicPartition, Undelivered,
    partition_for_key,
};
use onex_spi::{Clock, Error, ErrorKind, Features, Health, Lifecycle, Result};
use tokio::sync::watch;

use crate::consumer::LogConsumer;

/// The most bytes of key, value and headers in one record.
const RECORD_BYTES: usize = 1 << 20;

/// The log; clones are handles on the same one. A change wakes the polls that wait.
#[derive(Clone, Debug, Default)]
pub struct Log(pub(crate) watch::Sender<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Per partition, its records; an offset is an index.
    pub(crate) partitions: BTreeMap<TopicPartition, Vec<KafkaMessage>>,
    /// Per group and partition, the next offset.
    pub(crate) committed: BTreeMap<(String, TopicPartition), i64>,
}

impl State {
    pub(crate) fn topic(&self, name: &str) -> impl Iterator<Item = (&TopicPartition, &Vec<KafkaMessage>)> {
        self.partitions.iter().filter(move |(at, _)| *at.topic == *name)
    }

    pub(crate) fn records(&self, operation: &'static str, at: &TopicPartition) -> Result<&Vec<KafkaMessage>> {
        self.partitions.get(at).ok_or_else(|| unknown(operation, at))
    }
}

pub(crate) fn unknown(operation: &'static str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, operation, format!("{what} does not exist; create the topic first"))
        .not_applied()
        .with_detail(KafkaFault::new("UNKNOWN_TOPIC_OR_PARTITION").with_code(3))
}

pub(crate) fn bytes(part: &Option<Bytes>) -> usize {
    part.as_ref().map_or(0, Bytes::len)
}

/// Open until it is shut, or the driver's that it belongs to.
#[derive(Debug)]
pub(crate) struct Door {
    what: &'static str,
    shut: Arc<AtomicBool>,
    driver: Arc<AtomicBool>,
}

impl Door {
    pub(crate) fn enter(&self, operation: &'static str) -> Result<()> {
        let shut = self.shut.load(Ordering::Acquire) || self.driver.load(Ordering::Acquire);
        if shut { Err(Error::closed(operation, self.what)) } else { Ok(()) }
    }

    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    fn inner(&self, what: &'static str) -> Self {
        Self { what, shut: Arc::default(), driver: self.shut.clone() }
    }
}

/// The driver.
#[derive(Debug)]
pub struct LogDriver {
    log: Log,
    clock: Arc<dyn Clock>,
    capabilities: KafkaCapabilities,
    door: Door,
}

impl LogDriver {
    /// Makes a driver on `log`; drivers on the same log see the same records.
    #[must_use]
    pub fn new(log: Log, clock: Arc<dyn Clock>) -> Self {
        let capabilities = KafkaCapabilities::new(Features::none(), RECORD_BYTES);
        let shut = Arc::default();
        let door = Door { what: "the driver", shut: Arc::clone(&shut), driver: shut };
        Self { log, clock, capabilities, door }
    }
}

#[async_trait]
impl Lifecycle for LogDriver {
    async fn health(&self) -> Health {
        let open = self.door.enter("kafka.health");
        open.map_or_else(|closed| Health::Unhealthy(closed.to_string()), |()| Health::Healthy)
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.door.shut();
        self.log.0.send_modify(|_| ());
        Ok(())
    }
}

#[async_trait]
impl KafkaDriver for LogDriver {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.capabilities
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        self.door.enter("kafka.producer")?;
        config.validate()?;
        no_servers("kafka.producer", &config.bootstrap_servers)?;
        Ok(Arc::new(LogProducer {
            log: self.log.clone(),
            clock: self.clock.clone(),
            acks: config.acks,
            batches: AtomicUsize::new(0),
            stats: Mutex::default(),
            door: self.door.inner("the producer"),
        }))
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        self.door.enter("kafka.consumer")?;
        config.validate()?;
        no_servers("kafka.consumer", &config.bootstrap_servers)?;
        let door = self.door.inner("the consumer");
        Ok(Arc::new(LogConsumer::new(self.log.clone(), self.clock.clone(), config, door)))
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        let op = "kafka.create_topic";
        self.door.enter(op)?;
        if !request.config.is_empty() {
            self.capabilities.features.require(op, KafkaFeature::TopicConfig)?;
        }
        if request.partitions < 1 {
            let message = format!("partitions = {} must be at least 1", request.partitions);
            let fault = KafkaFault::new("INVALID_PARTITIONS").with_code(37);
            return Err(Error::invalid(op, message).with_detail(fault));
        }
        let topic: Arc<str> = request.name.into();
        let created = self.log.0.send_if_modified(|state| {
            let new = state.topic(&topic).next().is_none();
            let partitions = (0..request.partitions).filter(|_| new);
            let partitions =
                partitions.map(|number| (TopicPartition::new(topic.clone(), number), Vec::new()));
            state.partitions.extend(partitions);
            new
        });
        Ok(if created { TopicOutcome::Created } else { TopicOutcome::Existed })
    }

    async fn delete_topic(&self, _name: &str) -> Result<TopicOutcome> {
        self.door.enter("kafka.delete_topic")?;
        let message = "a log is for ever; choose an engine that declares TopicAdmin";
        Err(Error::unsupported("kafka.delete_topic", message))
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        self.door.enter("kafka.topic_metadata")?;
        let state = self.log.0.borrow();
        let info = |(at, records): (&TopicPartition, &Vec<KafkaMessage>)| {
            PartitionInfo::new(at.partition, 0, 0, records.len() as i64)
        };
        let partitions: Vec<_> = state.topic(name).map(info).collect();
        if partitions.is_empty() {
            return Err(unknown("kafka.topic_metadata", name));
        }
        Ok(TopicMetadata::new(name, partitions))
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        None
    }
}

fn no_servers(operation: &'static str, servers: &[String]) -> Result<()> {
    if servers.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(operation, "bootstrap_servers must be empty: this driver knows one log, its own"))
}

#[derive(Debug)]
struct LogProducer {
    log: Log,
    clock: Arc<dyn Clock>,
    acks: Acks,
    /// The batches sent: the null keys of each go to the next partition (K1).
    batches: AtomicUsize,
    stats: Mutex<ClientStats>,
    door: Door,
}

impl LogProducer {
    fn append(&self, state: &mut State, record: ProducerRecord, batch: usize) -> Result<ProduceReceipt> {
        let op = "kafka.produce";
        let count = state.topic(&record.topic).count();
        if count == 0 {
            return Err(unknown(op, &record.topic));
        }
        let headers = record.headers.iter().map(|header| header.name.len() + bytes(&header.value));
        let length = bytes(&record.key) + bytes(&record.value);
        let size = length + headers.sum::<usize>();
        if size > RECORD_BYTES {
            let message = format!("the record has {size} bytes, the limit is {RECORD_BYTES}; split it");
            return Err(Error::new(ErrorKind::TooLarge, op, message).not_applied());
        }
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, count as i32),
            (None, None) => (batch % count) as i32,
        };
        let at = TopicPartition::new(record.topic.clone(), partition);
        let Some(records) = state.partitions.get_mut(&at) else {
            return Err(Error::invalid(op, format!("{at} does not exist; give a partition in 0..{count}")));
        };
        let timestamp = record.timestamp.unwrap_or_else(|| Timestamp::from_system_time(self.clock.wall()));
        let offset = records.len() as i64;
        let mut message = KafkaMessage::new(record.topic.clone(), partition, offset, timestamp);
        (message.key, message.value, message.headers) = (record.key, record.value, record.headers);
        records.push(message);
        self.count().bytes += length as u64;
        let told = (self.acks != Acks::None).then_some(offset);
        Ok(ProduceReceipt::new(record.topic, partition, told, Some(timestamp)))
    }

    fn count(&self) -> MutexGuard<'_, ClientStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProducerDriver for LogProducer {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        if let Err(closed) = self.door.enter("kafka.produce") {
            return vec![Err(closed); records.len()];
        }
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        let mut answers = Vec::new();
        self.log.0.send_modify(|state| {
            answers.extend(records.into_iter().map(|record| self.append(state, record, batch)));
        });
        let stored = answers.iter().filter(|answer| answer.is_ok()).count();
        let mut stats = self.count();
        stats.accepted += answers.len() as u64;
        stats.acknowledged += stored as u64;
        stats.failed += (answers.len() - stored) as u64;
        answers
    }

    async fn close(&self, _within: Duration) -> Result<Undelivered> {
        self.door.shut();
        Ok(Undelivered::default())
    }

    fn stats(&self) -> ClientStats {
        *self.count()
    }
}
