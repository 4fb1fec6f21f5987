//! The settings of a topic, by Kafka's names.

use std::collections::BTreeMap;

use onex_spi::kafka::ProducerRecord;
use onex_spi::{Error, Result};

use super::error::Refusal;

/// What a setting's value must look like.
enum Rule {
    /// `true` or `false`.
    Flag,
    /// A whole number of at least this.
    AtLeast(i64),
    /// A number between these two.
    Between(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A comma-separated list of these words.
    Words(&'static [&'static str]),
    /// Anything.
    Text,
}

use Rule::{AtLeast, Between, Flag, Text, Word, Words};

/// The topic settings of Apache Kafka 4, in order of their names.
const KNOWN: &[(&str, Rule)] = &[
    ("cleanup.policy", Words(&["compact", "delete"])),
    ("compression.gzip.level", Between(-1.0, 9.0)),
    ("compression.lz4.level", Between(1.0, 17.0)),
    ("compression.type", Word(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])),
    ("compression.zstd.level", Between(-131_072.0, 22.0)),
    ("delete.retention.ms", AtLeast(0)),
    ("file.delete.delay.ms", AtLeast(0)),
    ("flush.messages", AtLeast(1)),
    ("flush.ms", AtLeast(0)),
    ("follower.replication.throttled.replicas", Text),
    ("index.interval.bytes", AtLeast(0)),
    ("leader.replication.throttled.replicas", Text),
    ("local.retention.bytes", AtLeast(-2)),
    ("local.retention.ms", AtLeast(-2)),
    ("max.compaction.lag.ms", AtLeast(1)),
    ("max.message.bytes", AtLeast(0)),
    ("message.timestamp.after.max.ms", AtLeast(0)),
    ("message.timestamp.before.max.ms", AtLeast(0)),
    ("message.timestamp.type", Word(&["CreateTime", "LogAppendTime"])),
    ("min.cleanable.dirty.ratio", Between(0.0, 1.0)),
    ("min.compaction.lag.ms", AtLeast(0)),
    ("min.insync.replicas", AtLeast(1)),
    ("preallocate", Flag),
    ("remote.copy.disable", Flag),
    ("remote.log.delete.on.disable", Flag),
    ("remote.storage.enable", Flag),
    ("retention.bytes", AtLeast(-1)),
    ("retention.ms", AtLeast(-1)),
    ("segment.bytes", AtLeast(1 << 20)),
    ("segment.index.bytes", AtLeast(4)),
    ("segment.jitter.ms", AtLeast(0)),
    ("segment.ms", AtLeast(1)),
    ("unclean.leader.election.enable", Flag),
];

/// One hour: how far in the future a create time may lie.
const AFTER_MAX_MS: i64 = 60 * 60 * 1000;

/// The settings that have an effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The most bytes of a record as a batch of its own on the wire; `None` = the driver's limit alone.
    pub(super) max_message_bytes: Option<usize>,
    /// How old a record may become.
    pub(super) retention_ms: Option<i64>,
    /// How many bytes of keys and values a partition keeps.
    pub(super) retention_bytes: Option<u64>,
    /// How far in the past a create time may lie; `None` = any.
    pub(super) before_max_ms: Option<i64>,
    /// How far in the future a create time may lie.
    pub(super) after_max_ms: i64,
    /// Whether the broker sets the timestamps.
    pub(super) append_time: bool,
    /// Whether a key is needed.
    pub(super) compacted: bool,
}

impl Settings {
    /// Checks and reads a topic's settings.
    pub(super) fn parse(operation: &'static str, config: &BTreeMap<String, String>) -> Result<Self> {
        for (name, value) in config {
            check(operation, name, value)?;
        }
        let text = |name: &str| config.get(name).map(String::as_str);
        // Checked above; what is negative means "no bound".
        let number = |name: &str| text(name).and_then(|value| value.trim().parse::<i64>().ok());
        let bound = |name: &str| number(name).filter(|value| *value >= 0);
        let size = |name: &str| bound(name).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let policies = || text("cleanup.policy").unwrap_or("delete").split(',').map(str::trim);
        let deletes = policies().any(|policy| policy == "delete");
        Ok(Self {
            max_message_bytes: size("max.message.bytes"),
            retention_ms: bound("retention.ms").filter(|_| deletes),
            retention_bytes: bound("retention.bytes").filter(|_| deletes).map(i64::unsigned_abs),
            before_max_ms: bound("message.timestamp.before.max.ms"),
            after_max_ms: bound("message.timestamp.after.max.ms").unwrap_or(AFTER_MAX_MS),
            append_time: text("message.timestamp.type") == Some("LogAppendTime"),
            compacted: policies().any(|policy| policy == "compact"),
        })
    }
}

fn check(operation: &'static str, name: &str, value: &str) -> Result<()> {
    let bad = |rule: String| -> Result<()> {
        Err(Refusal::InvalidConfig.error(operation, format!("{name} = {value:?}: {rule}")))
    };
    let Ok(place) = KNOWN.binary_search_by_key(&name, |(known, _)| known) else {
        return bad("no such topic setting".to_owned());
    };
    let value = value.trim();
    match &KNOWN[place].1 {
        Text => Ok(()),
        Flag if matches!(value, "true" | "false") => Ok(()),
        Flag => bad("must be true or false".to_owned()),
        AtLeast(least) if value.parse::<i64>().is_ok_and(|number| number >= *least) => Ok(()),
        AtLeast(least) => bad(format!("must be a whole number of at least {least}")),
        Between(low, high) if value.parse::<f64>().is_ok_and(|number| (*low..=*high).contains(&number)) => {
            Ok(())
        }
        Between(low, high) => bad(format!("must be a number from {low} to {high}")),
        Word(words) if words.contains(&value) => Ok(()),
        Word(words) => bad(format!("must be one of {}", words.join(", "))),
        Words(words) if value.split(',').all(|word| words.contains(&word.trim())) => Ok(()),
        Words(words) => bad(format!("must be a list of {}", words.join(", "))),
    }
}

/// The bytes of a record that travels as a batch of its own (record format 2): what `max.message.bytes` counts.
pub(super) fn batch_bytes(record: &ProducerRecord) -> usize {
    /// The header of a batch.
    const BATCH: usize = 61;
    // Attributes, the deltas of time and offset, and the number of headers take a byte each up to 63 headers.
    let mut body = 3 + varint(record.headers.len()) + record.size();
    for field in [&record.key, &record.value].into_iter().chain(record.headers.iter().map(|h| &h.value)) {
        body += field.as_ref().map_or(1, |bytes| varint(bytes.len()));
    }
    body += record.headers.iter().map(|header| varint(header.name.len())).sum::<usize>();
    BATCH + varint(body) + body
}

/// The bytes of a length in zigzag varint.
fn varint(length: usize) -> usize {
    let zigzag = (length as u64) << 1;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

/// Refuses a record that the topic's settings do not allow.
pub(super) fn admit(
    operation: &'static str,
    settings: &Settings,
    record: &ProducerRecord,
    now_ms: i64,
) -> Result<(), Error> {
    if settings.compacted && record.key.is_none() {
        let message = format!("topic {:?} is compacted: a record needs a key", record.topic);
        return Err(Refusal::InvalidRecord.error(operation, message));
    }
    if let Some(limit) = settings.max_message_bytes {
        let size = batch_bytes(record);
        if size > limit {
            let message = format!(
                "the record takes {size} bytes on the wire, max.message.bytes of {:?} is {limit}",
                record.topic
            );
            return Err(Refusal::MessageTooLarge.error(operation, message));
        }
    }
    if let Some(timestamp) = record.timestamp.filter(|_| !settings.append_time) {
        let ahead = timestamp.as_millis().saturating_sub(now_ms);
        let behind = now_ms.saturating_sub(timestamp.as_millis());
        if ahead > settings.after_max_ms || settings.before_max_ms.is_some_and(|max| behind > max) {
            let message = format!(
                "the timestamp is {ahead} ms ahead of the broker, beyond what {:?} allows",
                record.topic
            );
            return Err(Refusal::InvalidTimestamp.error(operation, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<Settings> {
        Settings::parse("kafka.create_topic", &BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn the_known_settings_stand_in_order() {
        assert!(KNOWN.is_sorted_by_key(|(name, _)| *name), "binary search needs it");
    }

    #[test]
    fn unknown_and_malformed_settings_are_refused() {
        for (name, value) in [
            ("retention.weeks", "1"),
            ("retention.ms", "soon"),
            ("retention.ms", "-2"),
            ("max.message.bytes", "-1"),
            ("cleanup.policy", "compact,burn"),
            ("compression.type", "rar"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "1.5"),
        ] {
            let error = parse(name, value).expect_err(name);
            assert_eq!(error.kafka().map(|fault| &*fault.name), Some("INVALID_CONFIG"), "{name} = {value}");
            assert!(error.message().contains(name), "{error}");
        }
    }

    #[test]
    fn settings_with_an_effect_are_read() {
        assert_eq!(parse("retention.ms", "-1").expect("valid").retention_ms, None);
        assert_eq!(parse("retention.ms", "5").expect("valid").retention_ms, Some(5));
        assert!(parse("cleanup.policy", "compact, delete").expect("valid").compacted);
        assert!(parse("message.timestamp.type", "LogAppendTime").expect("valid").append_time);
    }

    #[test]
    fn a_batch_is_counted_as_it_travels() {
        // 61 of the batch; length, attributes, two deltas, key and value length, header count of one byte each.
        assert_eq!(batch_bytes(&ProducerRecord::new("t")), 61 + 7);
        assert_eq!(batch_bytes(&ProducerRecord::new("t").with_value(vec![0; 100])), 61 + 100 + 9);
        let headed = ProducerRecord::new("t").with_header("a", "bc");
        assert_eq!(batch_bytes(&headed), 61 + 7 + 2 + 3);
        assert_eq!([0, 63, 64, 8191, 8192].map(varint), [1, 1, 2, 2, 3]);
    }
}
