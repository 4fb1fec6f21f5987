//! Ends whose other side is a Kafka cluster.
//!
//! ```text
//!  offer ─► ProducerDriver ─► topic ─► source { topics, group_id }        target ─► topic ─► ConsumerDriver ─► arrived(topic)
//! ```
//!
//! The protocol is the caller's; what stands here is the other side of each end, over the port. It reads and writes the headers in
//! which the protocol `kafka` carries what a record has no place for: `onex-message-id`, `onex-metadata`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{BridgeMessage, BridgeProtocol, MessageId};
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, CreateTopicRequest, Header, KafkaDriver, KafkaMessage, OffsetReset,
    PollRequest, Polled, ProducerConfig, ProducerDriver, ProducerRecord,
};
use onex_spi::provider::{Table, Value};
use onex_spi::{Clock, Error, ErrorKind, Features, Result, TokioClock};
use tokio::sync::Mutex;

use super::ends::{Ends, EndsFeature, EndsSetup};

const MESSAGE_ID: &str = "onex-message-id";
const METADATA: &str = "onex-metadata";

/// The longest wait of one poll.
const TURN: Duration = Duration::from_millis(100);
/// The most records of one poll.
const BATCH: usize = 1000;
/// Until when a member that vanished holds its partition.
const SESSION: &str = "10s";

/// Ends in topics of a cluster; the protocols run in real time.
pub struct KafkaEnds {
    protocol: Arc<dyn BridgeProtocol>,
    driver: Arc<dyn KafkaDriver>,
    producer: Arc<dyn ProducerDriver>,
    prefix: String,
    readers: Mutex<BTreeMap<String, Reader>>,
}

impl fmt::Debug for KafkaEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaEnds").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What was read of one topic so far.
struct Reader {
    consumer: Arc<dyn ConsumerDriver>,
    next: i64,
    read: Vec<BridgeMessage>,
}

impl KafkaEnds {
    /// Makes ends of `protocol` in the cluster of `driver`.
    ///
    /// # Errors
    /// Where the driver opens no producer.
    pub async fn open(
        setup: EndsSetup,
        protocol: Arc<dyn BridgeProtocol>,
        driver: Arc<dyn KafkaDriver>,
    ) -> Result<Self> {
        let producer = driver.producer(ProducerConfig::new()).await?;
        Ok(Self { protocol, driver, producer, prefix: setup.prefix, readers: Mutex::default() })
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    async fn topic(&self, name: &str) -> Result<String> {
        let topic = self.name(name);
        self.driver.create_topic(CreateTopicRequest::new(&topic, 1)).await?;
        Ok(topic)
    }

    async fn reader(&self, topic: &str) -> Result<Reader> {
        let config = ConsumerConfig::new(format!("{topic}-arrived")).with_offset_reset(OffsetReset::Earliest);
        let consumer = self.driver.consumer(config).await?;
        consumer.subscribe(&[topic.to_owned()]).await?;
        Ok(Reader { consumer, next: 0, read: Vec::new() })
    }
}

impl Reader {
    /// Reads up to `end`.
    async fn read_to(&mut self, end: i64) -> Result<()> {
        while self.next < end {
            if let Polled::Records(records) = self.consumer.poll(PollRequest::new(BATCH, TURN)).await? {
                for record in records {
                    self.next = record.next_offset();
                    self.read.push(message_of(record)?);
                }
            }
        }
        Ok(())
    }
}

fn message_of(record: KafkaMessage) -> Result<BridgeMessage> {
    let corrupt = |header: &str| {
        let message = format!("the header `{header}` of offset {} cannot be read", record.offset);
        Error::new(ErrorKind::Corrupt, "kafka_ends.arrived", message)
    };
    let mut headers = record.headers.clone();
    let mut take = |name: &str| {
        let at = headers.iter().rposition(|header| &*header.name == name)?;
        headers.remove(at).value
    };
    let id = take(MESSAGE_ID).and_then(|value| std::str::from_utf8(&value).ok()?.parse::<MessageId>().ok());
    let id = id.ok_or_else(|| corrupt(MESSAGE_ID))?;
    let metadata = take(METADATA).map(|value| serde_json::from_slice(&value)).transpose();
    let metadata = metadata.map_err(|_| corrupt(METADATA))?.unwrap_or_default();
    let mut message = BridgeMessage::new(id, record.value.clone().unwrap_or_default());
    (message.key, message.headers, message.metadata) = (record.key.clone(), headers, metadata);
    Ok(message)
}

fn record_of(topic: &Arc<str>, message: &BridgeMessage) -> Result<ProducerRecord> {
    let mut record = ProducerRecord::new(Arc::clone(topic)).with_value(message.payload.clone());
    record.key.clone_from(&message.key);
    record.headers.clone_from(&message.headers);
    record.headers.push(Header::new(MESSAGE_ID, message.id.to_string()));
    let metadata = serde_json::to_string(&message.metadata)
        .map_err(|error| Error::invalid("kafka_ends.offer", format!("the metadata is no JSON: {error}")))?;
    record.headers.push(Header::new(METADATA, metadata));
    Ok(record)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Ends for KafkaEnds {
    fn source_protocol(&self) -> Arc<dyn BridgeProtocol> {
        Arc::clone(&self.protocol)
    }

    fn target_protocol(&self) -> Arc<dyn BridgeProtocol> {
        Arc::clone(&self.protocol)
    }

    /// The cluster is the driver's: the configuration of an end holds no secret.
    fn features(&self) -> Features<EndsFeature> {
        // Key, headers and payload share the mebibyte that a topic takes.
        Features::all().without(EndsFeature::Secrets).without(EndsFeature::Mebibyte)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(TokioClock::new())
    }

    async fn source(&self, name: &str) -> Result<Table> {
        let topic = self.topic(name).await?;
        let group = format!("{topic}-bridge");
        Ok(Table::from_iter([
            ("topics".to_owned(), Value::from(vec![topic])),
            ("group_id".to_owned(), Value::from(group)),
            ("on_failed".to_owned(), Value::from("skip")),
            ("session_timeout".to_owned(), Value::from(SESSION)),
        ]))
    }

    async fn target(&self, _: Option<&str>) -> Result<Table> {
        Ok(Table::new())
    }

    async fn route(&self, name: &str) -> Result<String> {
        self.topic(name).await
    }

    fn missing_route(&self, name: &str) -> String {
        self.name(name)
    }

    fn route_into(&self, name: &str) -> String {
        self.name(name)
    }

    async fn offer(&self, name: &str, _: &[String], messages: Vec<BridgeMessage>) -> Result<()> {
        let topic: Arc<str> = self.name(name).into();
        for batch in messages.chunks(BATCH) {
            let records = batch.iter().map(|message| record_of(&topic, message)).collect::<Result<_>>()?;
            self.producer.produce(records).await.into_iter().collect::<Result<Vec<_>>>()?;
        }
        Ok(())
    }

    async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>> {
        let metadata = self.driver.topic_metadata(route).await?;
        let end = metadata.partitions.iter().map(|partition| partition.high).sum();
        let mut readers = self.readers.lock().await;
        let mut reader = match readers.remove(route) {
            Some(reader) => reader,
            None => self.reader(route).await?,
        };
        let read = reader.read_to(end).await;
        let arrived = reader.read.clone();
        readers.insert(route.to_owned(), reader);
        read.map(|()| arrived)
    }

    async fn close(&self) {
        let readers = std::mem::take(&mut *self.readers.lock().await);
        // What the case wanted to know it knows; an end that does not close in order is told by the suite of drivers.
        for reader in readers.into_values() {
            let _ = reader.consumer.close(TURN).await;
        }
        let _ = self.producer.close(TURN).await;
    }
}
