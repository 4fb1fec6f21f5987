//! Records: bytes in, bytes out (K14).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Acks, KafkaFault, Recovery};
use crate::{Error, ErrorKind, Result};

/// One header; names may repeat and be empty, a null value differs from an empty one.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name.
    pub name: Arc<str>,
    /// The value; `None` = null.
    pub value: Option<Bytes>,
}

impl Header {
    /// Makes a header.
    pub fn new(name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }

    /// Makes a header with a null value.
    pub fn null(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), value: None }
    }
}

/// Milliseconds since the Unix epoch, as Kafka keeps them (K15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Takes milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Takes a calendar time, cut to the millisecond.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        let clamp = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(
            time.duration_since(SystemTime::UNIX_EPOCH)
                .map_or_else(|before| -clamp(before.duration()), clamp),
        )
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }
}

/// Who set a timestamp.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampKind {
    /// The producer, or its library for it.
    Create,
    /// The broker, as the topic's policy wants.
    LogAppend,
}

/// One record to send.
///
/// # Examples
/// ```
/// use onex_spi::kafka::ProducerRecord;
///
/// let record = ProducerRecord::new("orders").with_key("7").with_value("{}").with_header("trace", "abc");
/// assert_eq!(record.partition, None);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; `None` = by key (K1).
    pub partition: Option<i32>,
    /// The key; `None` = null.
    pub key: Option<Bytes>,
    /// The value; `None` = null, a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The create time; `None` = now.
    pub timestamp: Option<Timestamp>,
}

impl ProducerRecord {
    /// Makes a record with null key and value.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sets the create time.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The bytes of key and value, which [`ClientStats::bytes`](super::ClientStats::bytes) counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (length(&self.key) + length(&self.value)) as u64
    }

    /// The bytes of key, value and headers, which [`KafkaLimits::record_bytes`](super::KafkaLimits::record_bytes) bounds.
    #[must_use]
    pub fn size(&self) -> usize {
        let header = |header: &Header| header.name.len() + length(&header.value);
        length(&self.key) + length(&self.value) + self.headers.iter().map(header).sum::<usize>()
    }

    /// Refuses a record of more than `limit` bytes (K16).
    ///
    /// # Errors
    /// `TooLarge` `MESSAGE_TOO_LARGE`, naming size and limit.
    pub fn check_size(&self, limit: usize) -> Result<()> {
        let size = self.size();
        if size <= limit {
            return Ok(());
        }
        let message = format!(
            "a record for {} has {size} bytes of key, value and headers, the limit is {limit}; split it",
            self.topic
        );
        let fault = KafkaFault::new("MESSAGE_TOO_LARGE").with_code(10).with_recovery(Recovery::Abort);
        Err(Error::new(ErrorKind::TooLarge, "kafka.produce", message).not_applied().with_detail(fault))
    }
}

fn length(part: &Option<Bytes>) -> usize {
    part.as_ref().map_or(0, Bytes::len)
}

/// Where a record was stored.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceReceipt {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The record's own offset; `None` with [`Acks::None`](super::Acks::None).
    pub offset: Option<i64>,
    /// The timestamp in the log, where the engine tells it.
    pub timestamp: Option<Timestamp>,
}

impl ProduceReceipt {
    /// Makes a receipt.
    #[must_use]
    pub fn new(topic: Arc<str>, partition: i32, offset: Option<i64>, timestamp: Option<Timestamp>) -> Self {
        Self { topic, partition, offset, timestamp }
    }

    /// What a producer with `acks` tells of `message`, which was stored: without acknowledgement nobody knows offset and time.
    #[must_use]
    pub fn of(message: &KafkaMessage, acks: Acks) -> Self {
        let known = acks != Acks::None;
        let (offset, timestamp) = (known.then_some(message.offset), known.then_some(message.timestamp));
        Self::new(message.topic.clone(), message.partition, offset, timestamp)
    }
}

/// One record that was read.
///
/// The bytes of the messages of one poll may share a buffer: a message that is kept pins it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaMessage {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The record's own offset.
    pub offset: i64,
    /// The key; `None` = null.
    pub key: Option<Bytes>,
    /// The value; `None` = null.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// Who set the timestamp.
    pub timestamp_kind: TimestampKind,
}

impl KafkaMessage {
    /// Makes a message with null key and value.
    #[must_use]
    pub fn new(topic: Arc<str>, partition: i32, offset: i64, timestamp: Timestamp) -> Self {
        Self {
            topic,
            partition,
            offset,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp,
            timestamp_kind: TimestampKind::Create,
        }
    }

    /// Makes of `record` the message that lies in a log at `offset`; a record without a time is from `now`.
    #[must_use]
    pub fn stored(record: ProducerRecord, partition: i32, offset: i64, now: Timestamp) -> Self {
        let ProducerRecord { topic, key, value, headers, timestamp, .. } = record;
        Self { key, value, headers, ..Self::new(topic, partition, offset, timestamp.unwrap_or(now)) }
    }

    /// The bytes of key and value, which [`ClientStats::bytes`](super::ClientStats::bytes) counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (length(&self.key) + length(&self.value)) as u64
    }

    /// The offset to commit once this message is processed.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.offset + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_key_value_and_headers() {
        let record = ProducerRecord::new("t").with_key("key").with_value("0123456789").with_header("a", "1");
        assert_eq!((record.bytes(), record.size()), (13, 15));
        assert!(record.check_size(15).is_ok());
        let error = record.check_size(14).expect_err("one more than the limit");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(error.kafka().map(|fault| &*fault.name), Some("MESSAGE_TOO_LARGE"));
    }

    #[test]
    fn a_stored_record_keeps_its_time_and_is_told_as_acks_allow() {
        let (now, own) = (Timestamp::from_millis(2), Timestamp::from_millis(1));
        let record = ProducerRecord::new("t").with_value("v");
        let message = KafkaMessage::stored(record.clone(), 3, 7, now);
        assert_eq!((message.partition, message.offset, message.timestamp, message.bytes()), (3, 7, now, 1));
        assert_eq!(KafkaMessage::stored(record.with_timestamp(own), 3, 7, now).timestamp, own);
        let told =
            |acks| (ProduceReceipt::of(&message, acks).offset, ProduceReceipt::of(&message, acks).timestamp);
        assert_eq!((told(Acks::All), told(Acks::None)), ((Some(7), Some(now)), (None, None)));
    }
}
