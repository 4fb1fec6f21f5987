//! Records to messages and back, with nothing lost (K14, B3).

use std::sync::Arc;

use onex_spi::Result;
use onex_spi::bridge::{BridgeMessage, MessageId, Metadata};
use onex_spi::kafka::{Header, KafkaMessage, ProducerRecord};

use crate::ids::hash;
use crate::wire::{MESSAGE_ID, METADATA, read_metadata, write_metadata};

/// Says of an empty payload that its record has no value.
const NULL_VALUE: &str = "null_value";

/// A record as a message.
pub(super) fn message_of(record: KafkaMessage) -> BridgeMessage {
    let mut headers = record.headers;
    // The last one speaks: a bridge writes its own behind those of the message.
    let id =
        take(&mut headers, MESSAGE_ID, |value| std::str::from_utf8(value).ok()?.parse::<MessageId>().ok());
    let told = take(&mut headers, METADATA, |value| read_metadata(value).ok());
    let id = id.unwrap_or_else(|| {
        let place = [record.partition.to_le_bytes().as_slice(), &record.offset.to_le_bytes()].concat();
        MessageId::from_u128(hash(&[b"kafka", record.topic.as_bytes(), &place]))
    });
    let mut metadata: Metadata = told.unwrap_or_default();
    metadata.insert("topic".to_owned(), (&*record.topic).into());
    metadata.insert("partition".to_owned(), record.partition.into());
    metadata.insert("offset".to_owned(), record.offset.into());
    metadata.insert("timestamp".to_owned(), record.timestamp.as_millis().into());
    if record.value.is_none() {
        metadata.insert(NULL_VALUE.to_owned(), true.into());
    } else {
        metadata.remove(NULL_VALUE);
    }
    let mut message = BridgeMessage::new(id, record.value.unwrap_or_default());
    (message.key, message.headers, message.metadata) = (record.key, headers, metadata);
    message
}

/// A message as a record for `topic`.
pub(super) fn record_of(topic: &Arc<str>, message: &BridgeMessage) -> Result<ProducerRecord> {
    let mut record = ProducerRecord::new(topic.clone());
    let is_null = message.payload.is_empty() && message.metadata.get(NULL_VALUE) == Some(&true.into());
    record.value = (!is_null).then(|| message.payload.clone());
    record.key = message.key.clone();
    record.headers = Vec::with_capacity(message.headers.len() + 2);
    record.headers.extend_from_slice(&message.headers);
    record.headers.push(Header::new(MESSAGE_ID, message.id.to_string()));
    if !message.metadata.is_empty() {
        record.headers.push(Header::new(METADATA, write_metadata(&message.metadata)?));
    }
    Ok(record)
}

/// Takes the last header called `name` out where it reads; one that does not is a header like any other.
fn take<T>(headers: &mut Vec<Header>, name: &str, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let at = headers.iter().rposition(|header| &*header.name == name)?;
    let read = read(headers[at].value.as_ref()?)?;
    headers.remove(at);
    Some(read)
}

#[cfg(test)]
mod tests {
    use onex_spi::kafka::Timestamp;

    use super::*;

    fn read(record: ProducerRecord, offset: i64) -> BridgeMessage {
        let mut stored = KafkaMessage::new(record.topic, 0, offset, Timestamp::from_millis(5));
        (stored.key, stored.value, stored.headers) = (record.key, record.value, record.headers);
        message_of(stored)
    }

    #[test]
    fn a_message_survives_a_topic() {
        let topic: Arc<str> = "a".into();
        let message = BridgeMessage::new(MessageId::from_u128(7), "x")
            .with_key("")
            .with_header(Header::null("n"))
            .with_header(Header::new(MESSAGE_ID, "no id"))
            .with_metadata("größe", 7);
        let arrived = read(record_of(&topic, &message).expect("a record"), 3);
        assert_eq!(
            (arrived.id, &arrived.key, &arrived.headers),
            (message.id, &message.key, &message.headers)
        );
        assert_eq!(arrived.metadata["größe"], 7);
        assert_eq!((&arrived.metadata["topic"], &arrived.metadata["offset"]), (&"a".into(), &3.into()));
    }

    #[test]
    fn a_record_without_an_id_has_the_same_one_at_every_reading() {
        let id = |offset| read(ProducerRecord::new("a").with_value("x"), offset).id;
        assert_eq!(id(3), id(3));
        assert_ne!(id(3), id(4));
    }

    #[test]
    fn a_tombstone_stays_a_tombstone_and_an_empty_value_an_empty_value() {
        let topic: Arc<str> = "a".into();
        for record in [ProducerRecord::new("a"), ProducerRecord::new("a").with_value("")] {
            let value = record.value.clone();
            let message = read(record, 1);
            assert_eq!(record_of(&topic, &message).expect("a record").value, value);
        }
    }
}
