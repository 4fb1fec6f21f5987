//! What the ends of a bridge may say in a file.

use std::time::Duration;

use onex_spi::kafka::{ConsumerConfig, OffsetReset, check_topic_name};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected};

/// What a source does about a record that nobody accepted: no target, and no dead-letter target either.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailed {
    /// It ends with the error and commits nothing from that record on, so that the next start begins there. The default.
    #[default]
    Stop,
    /// It goes on and commits beyond: the record is given up.
    Skip,
}

/// A source: `source = { protocol = "kafka", topics = ["orders"], group_id = "bridge" }`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSourceConfig {
    /// The topics, at least one; each must be there.
    #[serde(deserialize_with = "topics")]
    pub topics: Vec<String>,
    /// The group whose members share the partitions.
    #[serde(deserialize_with = "group")]
    pub group_id: String,
    /// Where to begin without a committed offset: `earliest`, `latest` or `error`. Default `earliest`.
    #[serde(default)]
    pub offset_reset: OffsetReset,
    /// What to do about a record that nobody accepted: `stop` or `skip`. Default `stop`.
    #[serde(default)]
    pub on_failed: OnFailed,
    /// The records that wait to be taken, about; beyond, reading pauses. Default 500.
    #[serde(default = "buffer", deserialize_with = "at_least_one")]
    pub buffer: usize,
    /// How long the records of a partition that is about to go may take to be settled. Default 10 s.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub revoke_timeout: Duration,
    /// How long a silent member keeps its partitions. Default 45 s.
    #[serde(default = "session_timeout", with = "humantime_serde")]
    pub session_timeout: Duration,
}

impl KafkaSourceConfig {
    pub(super) fn consumer(&self) -> ConsumerConfig {
        let config = ConsumerConfig::new(self.group_id.as_str()).with_offset_reset(self.offset_reset);
        config.with_session_timeout(self.session_timeout)
    }
}

/// A target: `target = { protocol = "kafka" }`; its routes are topics.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaTargetConfig {
    /// How long a record may take to be acknowledged, the engine's own retries included. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
}

impl Default for KafkaTargetConfig {
    fn default() -> Self {
        Self { delivery_timeout: Duration::from_secs(30) }
    }
}

fn topics<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let topics = Vec::<String>::deserialize(from)?;
    if topics.is_empty() {
        return Err(D::Error::invalid_length(0, &"at least one topic"));
    }
    match topics.iter().try_for_each(|name| check_topic_name("bridge.source", name)) {
        Err(error) => Err(D::Error::custom(format_args!("invalid value: {}", error.message()))),
        Ok(()) => Ok(topics),
    }
}

fn group<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let group = String::deserialize(from)?;
    if group.is_empty() {
        return Err(D::Error::invalid_value(Unexpected::Str(""), &"the name of a group"));
    }
    Ok(group)
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        0 => Err(D::Error::invalid_value(Unexpected::Unsigned(0), &"a number from 1 on")),
        number => Ok(number),
    }
}

fn buffer() -> usize {
    500
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn session_timeout() -> Duration {
    ConsumerConfig::default().session_timeout
}

#[cfg(test)]
mod tests {
    use onex_spi::provider::{KeyError, Table};

    use super::*;

    #[test]
    fn every_wrong_key_is_named_with_what_would_be_right() {
        for (text, key, says) in [
            ("group_id = 'g'", "topics", "missing field"),
            ("topics = []\ngroup_id = 'g'", "topics", "at least one topic"),
            ("topics = ['a b']\ngroup_id = 'g'", "topics", "1 to 249"),
            ("topics = ['a']", "group_id", "missing field"),
            ("topics = ['a']\ngroup_id = ''", "group_id", "the name of a group"),
            ("topics = ['a']\ngroup_id = 'g'\non_failed = 'retry'", "on_failed", "`stop`"),
            ("topics = ['a']\ngroup_id = 'g'\noffset_reset = 'first'", "offset_reset", "`earliest`"),
            ("topics = ['a']\ngroup_id = 'g'\nbuffer = 0", "buffer", "from 1 on"),
            ("topics = ['a']\ngroup_id = 'g'\nbufer = 1", "bufer", "expected one of"),
        ] {
            let table: Table = text.parse().expect("a table");
            let errors = KeyError::of_config::<KafkaSourceConfig>(&table);
            assert_eq!(errors.len(), 1, "{text}");
            assert_eq!(errors[0].path, [key], "{text}: {}", errors[0].message);
            assert!(errors[0].message.contains(says), "{text}: {}", errors[0].message);
        }
        assert_eq!(KeyError::of_config::<KafkaTargetConfig>(&Table::new()), []);
    }
}
