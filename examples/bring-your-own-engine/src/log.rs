//! A `KafkaDriver` over one log in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    Acks, ClientStats, ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaAdmin, KafkaCapabilities,
    KafkaDriver, KafkaFault, KafkaFeature, KafkaMessage, PartitionInfo, ProduceReceipt, ProducerConfig,
    ProducerDriver, ProducerRecord, Timestamp, TopicMetadata, TopicOutcome, TopicPartition, Undelivered,
    partition_for_key,
};
use onex_spi::{Clock, Error, ErrorKind, Features, Health, Lifecycle, Result};
use tokio::sync::watch;

use crate::consumer::LogConsumer;

/// The most bytes in one record.
const RECORD_BYTES: usize = 1 << 20;

/// The log that drivers share: topics, partitions, committed offsets.
#[derive(Debug)]
pub(crate) struct Log {
    state: Mutex<State>,
    /// Moves with every change, so that waiting polls look again.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Per topic, per partition, the records; a record's offset is its index.
    pub(crate) topics: BTreeMap<String, Vec<Vec<KafkaMessage>>>,
    /// Per group and partition, the next offset.
    pub(crate) committed: BTreeMap<(String, TopicPartition), i64>,
}

impl Log {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }
}

pub(crate) fn unknown(operation: &'static str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, operation, format!("{what} does not exist; create the topic first"))
        .not_applied()
        .with_detail(KafkaFault::new("UNKNOWN_TOPIC_OR_PARTITION").with_code(3))
}

/// The driver; clones of its log share the records.
#[derive(Debug)]
pub struct LogDriver {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    capabilities: KafkaCapabilities,
    closed: Arc<AtomicBool>,
}

impl LogDriver {
    /// Makes a driver on an empty log.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let log = Arc::new(Log { state: Mutex::default(), changes: watch::Sender::new(0) });
        let features: Features<KafkaFeature> = Features::none();
        let closed = Arc::new(AtomicBool::new(false));
        Self { log, clock, capabilities: KafkaCapabilities::new(features, RECORD_BYTES), closed }
    }

    /// Makes a second driver on the same log.
    #[must_use]
    pub fn another(&self) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        Self { log: self.log.clone(), clock: self.clock.clone(), capabilities: self.capabilities, closed }
    }

    fn open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed(operation, "the driver")) } else { Ok(()) }
    }
}

#[async_trait]
impl Lifecycle for LogDriver {
    async fn health(&self) -> Health {
        self.open("kafka.health")
            .map_or_else(|error| Health::Unhealthy(error.to_string()), |()| Health::Healthy)
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.log.changed();
        Ok(())
    }
}

#[async_trait]
impl KafkaDriver for LogDriver {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.capabilities
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        self.open("kafka.producer")?;
        config.validate()?;
        own_cluster("kafka.producer", &config.bootstrap_servers)?;
        Ok(Arc::new(LogProducer {
            log: self.log.clone(),
            clock: self.clock.clone(),
            acks: config.acks,
            sticky: AtomicUsize::new(0),
            driver_closed: self.closed.clone(),
            closed: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }))
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        self.open("kafka.consumer")?;
        config.validate()?;
        own_cluster("kafka.consumer", &config.bootstrap_servers)?;
        Ok(Arc::new(LogConsumer::new(self.log.clone(), self.clock.clone(), config, self.closed.clone())))
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        self.open("kafka.create_topic")?;
        if !request.config.is_empty() {
            self.capabilities.features.require("kafka.create_topic", KafkaFeature::TopicConfig)?;
        }
        let Some(partitions) = usize::try_from(request.partitions).ok().filter(|count| *count > 0) else {
            let message = format!("partitions = {} must be at least 1", request.partitions);
            let fault = KafkaFault::new("INVALID_PARTITIONS").with_code(37);
            return Err(Error::invalid("kafka.create_topic", message).with_detail(fault));
        };
        let mut state = self.log.state();
        if state.topics.contains_key(&request.name) {
            return Ok(TopicOutcome::Existed);
        }
        state.topics.insert(request.name, vec![Vec::new(); partitions]);
        drop(state);
        self.log.changed();
        Ok(TopicOutcome::Created)
    }

    async fn delete_topic(&self, _name: &str) -> Result<TopicOutcome> {
        self.open("kafka.delete_topic")?;
        Err(Error::unsupported(
            "kafka.delete_topic",
            "a log is for ever; choose an engine that declares TopicAdmin",
        ))
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        self.open("kafka.topic_metadata")?;
        let state = self.log.state();
        let partitions = state.topics.get(name).ok_or_else(|| unknown("kafka.topic_metadata", name))?;
        let info = |(number, records): (usize, &Vec<KafkaMessage>)| {
            PartitionInfo::new(number as i32, 0, 0, records.len() as i64)
        };
        Ok(TopicMetadata::new(name, partitions.iter().enumerate().map(info).collect()))
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        None
    }
}

fn own_cluster(operation: &'static str, servers: &[String]) -> Result<()> {
    if servers.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(operation, "bootstrap_servers must be empty: this driver knows one log, its own"))
}

#[derive(Debug)]
struct LogProducer {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    acks: Acks,
    /// The batches sent: each one's null keys go to the next partition.
    sticky: AtomicUsize,
    driver_closed: Arc<AtomicBool>,
    closed: AtomicBool,
    accepted: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

impl LogProducer {
    fn append(&self, state: &mut State, record: ProducerRecord, sticky: usize) -> Result<ProduceReceipt> {
        let op = "kafka.produce";
        let partitions = state.topics.get_mut(&*record.topic).ok_or_else(|| unknown(op, &record.topic))?;
        let count = partitions.len() as i32;
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => (sticky % partitions.len()) as i32,
        };
        let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
        let headers: usize =
            record.headers.iter().map(|header| header.name.len() + length(&header.value)).sum();
        let size = length(&record.key) + length(&record.value) + headers;
        if size > RECORD_BYTES {
            let message = format!("the record has {size} bytes, the limit is {RECORD_BYTES}; split it");
            return Err(Error::new(ErrorKind::TooLarge, op, message).not_applied());
        }
        let Some(records) = usize::try_from(partition).ok().and_then(|index| partitions.get_mut(index))
        else {
            let message = format!("partition {partition} of {} is not in 0..{count}", record.topic);
            return Err(Error::invalid(op, message));
        };
        let timestamp = record.timestamp.unwrap_or_else(|| Timestamp::from_system_time(self.clock.wall()));
        let offset = records.len() as i64;
        let mut message = KafkaMessage::new(record.topic.clone(), partition, offset, timestamp);
        (message.key, message.value, message.headers) = (record.key, record.value, record.headers);
        records.push(message);
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        let offset = (self.acks != Acks::None).then_some(offset);
        Ok(ProduceReceipt::new(record.topic, partition, offset, Some(timestamp)))
    }
}

#[async_trait]
impl ProducerDriver for LogProducer {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        if self.closed.load(Ordering::Acquire) || self.driver_closed.load(Ordering::Acquire) {
            return records.iter().map(|_| Err(Error::closed("kafka.produce", "the producer"))).collect();
        }
        let sticky = self.sticky.fetch_add(1, Ordering::Relaxed);
        let mut state = self.log.state();
        let answers: Vec<_> =
            records.into_iter().map(|record| self.append(&mut state, record, sticky)).collect();
        drop(state);
        self.log.changed();
        let failed = answers.iter().filter(|answer| answer.is_err()).count() as u64;
        self.failed.fetch_add(failed, Ordering::Relaxed);
        self.accepted.fetch_add(answers.len() as u64, Ordering::Relaxed);
        answers
    }

    async fn close(&self, _within: Duration) -> Result<Undelivered> {
        self.closed.store(true, Ordering::Release);
        Ok(Undelivered::default())
    }

    fn stats(&self) -> ClientStats {
        let failed = self.failed.load(Ordering::Relaxed);
        let mut stats = ClientStats::default();
        stats.accepted = self.accepted.load(Ordering::Relaxed);
        (stats.failed, stats.acknowledged) = (failed, stats.accepted - failed);
        stats.bytes = self.bytes.load(Ordering::Relaxed);
        stats
    }
}
