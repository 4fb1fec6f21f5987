//! Records of librdkafka to ours: one buffer for all of a look, cut into pieces.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use onex_spi::kafka::{Header, KafkaMessage, Timestamp, TimestampKind};
use rdkafka::message::{BorrowedMessage, Message};

use crate::ffi;

/// A record above this size gets a buffer of its own, so that keeping a small one does not pin it.
const ALONE: usize = 16 << 10;

/// Copies records; those of one call share a buffer.
pub(super) fn messages(native: &[BorrowedMessage<'_>]) -> Vec<KafkaMessage> {
    let shared: usize = native.iter().map(size).filter(|size| *size <= ALONE).sum();
    let mut buffer = BytesMut::with_capacity(shared);
    let mut topic: Option<Arc<str>> = None;
    let drafts: Vec<Draft> = native
        .iter()
        .map(|message| {
            let name = match &topic {
                Some(name) if **name == *message.topic() => Arc::clone(name),
                _ => Arc::clone(topic.insert(message.topic().into())),
            };
            Draft::new(message, name, &mut buffer)
        })
        .collect();
    let buffer = buffer.freeze();
    drafts.into_iter().map(|draft| draft.cut(&buffer)).collect()
}

/// The bytes of key and value.
pub(super) fn size(message: &BorrowedMessage<'_>) -> usize {
    message.key_len() + message.payload_len()
}

/// A message whose bytes are still being collected.
struct Draft {
    message: KafkaMessage,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

impl Draft {
    fn new(native: &BorrowedMessage<'_>, topic: Arc<str>, buffer: &mut BytesMut) -> Self {
        let (time, kind) = match native.timestamp() {
            rdkafka::Timestamp::NotAvailable => (-1, TimestampKind::Create),
            rdkafka::Timestamp::CreateTime(time) => (time, TimestampKind::Create),
            rdkafka::Timestamp::LogAppendTime(time) => (time, TimestampKind::LogAppend),
        };
        let timestamp = Timestamp::from_millis(time);
        let mut message = KafkaMessage::new(topic, native.partition(), native.offset(), timestamp);
        message.timestamp_kind = kind;
        message.headers = headers(native);
        if size(native) > ALONE {
            message.key = native.key().map(Bytes::copy_from_slice);
            message.value = native.payload().map(Bytes::copy_from_slice);
            return Self { message, key: None, value: None };
        }
        let mut keep = |bytes: Option<&[u8]>| {
            bytes.map(|bytes| {
                let begin = buffer.len();
                buffer.extend_from_slice(bytes);
                begin..buffer.len()
            })
        };
        let (key, value) = (keep(native.key()), keep(native.payload()));
        Self { message, key, value }
    }

    fn cut(self, buffer: &Bytes) -> KafkaMessage {
        let Self { mut message, key, value } = self;
        if let Some(key) = key {
            message.key = Some(buffer.slice(key));
        }
        if let Some(value) = value {
            message.value = Some(buffer.slice(value));
        }
        message
    }
}

fn headers(native: &BorrowedMessage<'_>) -> Vec<Header> {
    let cut = |(name, value): ffi::RawHeader<'_>| match value {
        Some(value) => Header::new(name.as_ref(), Bytes::copy_from_slice(value)),
        None => Header::null(name.as_ref()),
    };
    ffi::headers(native).into_iter().map(cut).collect()
}
