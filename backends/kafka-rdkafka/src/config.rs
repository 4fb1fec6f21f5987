//! What a file may say about this engine.

use std::collections::BTreeMap;
use std::fmt;

use onex_spi::provider::KeyError;
use onex_spi::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Deserializer, Serialize};

/// The configuration of the engine.
///
/// # Examples
/// ```
/// use onex_kafka_rdkafka::Config;
///
/// let config = Config::new(["127.0.0.1:9092"]).with_tuning("compression.codec", "zstd");
/// assert!(config.validate().is_ok());
/// let refused = Config::new(["127.0.0.1:9092"]).with_tuning("enable.auto.commit", "true");
/// assert!(refused.validate().unwrap_err().to_string().contains("enable.auto.commit"));
/// ```
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The brokers to ask first, `host:port` each; at least one.
    pub bootstrap_servers: Vec<String>,
    /// The name under which brokers know this client. Default `onex`.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// The most bytes of key, value and headers in one record; told in `KafkaLimits`. Default 1,000,000.
    ///
    /// A broker counts the batch, and takes 1,048,588 bytes unless told otherwise: more than the default here needs
    /// `max.message.bytes` of the topics, or `message.max.bytes` of the brokers, raised as well.
    #[serde(default = "default_record_bytes")]
    pub record_bytes: usize,
    /// Settings for librdkafka by its own names (its `CONFIGURATION.md`), for producers, consumers and administration
    /// alike. Those on which a law of the port rests are refused here. Default none.
    #[serde(default, deserialize_with = "scalars")]
    pub tuning: BTreeMap<String, String>,
}

fn default_client_id() -> String {
    "onex".into()
}

fn default_record_bytes() -> usize {
    1_000_000
}

/// Shows the names of the tuned settings without their values, which may be secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("client_id", &self.client_id)
            .field("record_bytes", &self.record_bytes)
            .field("tuning", &self.tuning.keys())
            .finish()
    }
}

impl Config {
    /// The defaults, for a cluster that is found through `bootstrap_servers`.
    pub fn new<S: Into<String>>(bootstrap_servers: impl IntoIterator<Item = S>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into_iter().map(Into::into).collect(),
            client_id: default_client_id(),
            record_bytes: default_record_bytes(),
            tuning: BTreeMap::new(),
        }
    }

    /// Sets the name under which brokers know this client.
    #[must_use]
    pub fn with_client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Sets the most bytes of one record.
    #[must_use]
    pub fn with_record_bytes(mut self, bytes: usize) -> Self {
        self.record_bytes = bytes;
        self
    }

    /// Adds a setting for librdkafka.
    #[must_use]
    pub fn with_tuning(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tuning.insert(key.into(), value.into());
        self
    }

    /// Checks everything that needs no broker.
    ///
    /// # Errors
    /// `InvalidInput` naming the first wrong key, the rule and the way out.
    pub fn validate(&self) -> Result<()> {
        match self.key_errors().into_iter().next() {
            None => Ok(()),
            Some(error) => {
                Err(Error::invalid("kafka.open", format!("{}: {}", error.path.join("."), error.message)))
            }
        }
    }

    /// Every wrong key.
    pub(crate) fn key_errors(&self) -> Vec<KeyError> {
        let mut errors = Vec::new();
        if self.bootstrap_servers.is_empty() {
            errors
                .push(KeyError::new("bootstrap_servers", "is empty; name at least one broker as host:port"));
        }
        for server in &self.bootstrap_servers {
            if !is_address(server) {
                let text = format!("{server:?} is not host:port, such as 127.0.0.1:9092");
                errors.push(KeyError::new("bootstrap_servers", text));
            }
        }
        if !(1..=RECORD_BYTES_MOST).contains(&self.record_bytes) {
            let text = format!("{} is not between 1 and {RECORD_BYTES_MOST} bytes", self.record_bytes);
            errors.push(KeyError::new("record_bytes", text));
        }
        if self.client_id.is_empty() || self.client_id.contains('\0') {
            errors.push(KeyError::new(
                "client_id",
                "is empty or holds a NUL byte; leave it out or name the client",
            ));
        }
        for (key, value) in &self.tuning {
            if let Some(text) = refusal(key, value) {
                let mut error = KeyError::new("tuning", text);
                error.path.push(key.clone());
                errors.push(error);
            }
        }
        errors
    }

    /// Whether batches are compressed, so that a record's size says little about its batch's.
    pub(crate) fn compresses(&self) -> bool {
        let codec = self.tuning.get("compression.codec").or_else(|| self.tuning.get("compression.type"));
        codec.is_some_and(|codec| codec != "none")
    }
}

/// librdkafka's largest `message.max.bytes`, less what a record needs beside its bytes.
const RECORD_BYTES_MOST: usize = 999_000_000;

/// The settings on which a law rests, with what to use instead.
const OWNED: &[(&str, &str)] = &[
    ("acks", "ProducerConfig::acks"),
    ("allow.auto.create.topics", "create_topic; reading and describing never create one"),
    ("auto.commit.enable", "commit"),
    ("auto.offset.reset", "ConsumerConfig::offset_reset"),
    ("batch.size", "nothing; it follows record_bytes and the topic's own limit"),
    ("bootstrap.servers", "bootstrap_servers"),
    ("client.id", "client_id"),
    ("delivery.report.only.error", "nothing; every record is answered"),
    ("delivery.timeout.ms", "ProducerConfig::delivery_timeout"),
    ("enable.auto.commit", "commit; nothing is committed that was not asked for"),
    ("enable.auto.offset.store", "commit"),
    ("enable.idempotence", "ProducerConfig::idempotent"),
    ("enable.partition.eof", "watermarks"),
    ("group.id", "ConsumerConfig::group_id"),
    ("group.instance.id", "nothing; static membership is not offered"),
    ("group.protocol", "nothing; only the classic protocol was proved"),
    ("isolation.level", "nothing; readers are read_committed"),
    ("linger.ms", "ProducerConfig::linger"),
    ("log.queue", "nothing; the log goes to tracing"),
    ("max.poll.interval.ms", "ConsumerConfig::max_poll_interval"),
    ("message.max.bytes", "record_bytes"),
    ("message.timeout.ms", "ProducerConfig::delivery_timeout"),
    ("metadata.broker.list", "bootstrap_servers"),
    ("partitioner", "ProducerRecord::partition"),
    ("plugin.library.paths", "nothing; it would run foreign code"),
    ("queue.buffering.max.kbytes", "ProducerConfig::queue_bytes"),
    ("queue.buffering.max.messages", "ProducerConfig::queue_records"),
    ("queue.buffering.max.ms", "ProducerConfig::linger"),
    ("queued.max.messages.kbytes", "ConsumerConfig::prefetch_bytes"),
    ("queued.min.messages", "ConsumerConfig::prefetch_records"),
    ("request.required.acks", "ProducerConfig::acks"),
    ("session.timeout.ms", "ConsumerConfig::session_timeout"),
    ("sticky.partitioning.linger.ms", "nothing; null keys stick for one batch"),
    ("transactional.id", "nothing; transactions are not offered"),
];

fn refusal(key: &str, value: &str) -> Option<String> {
    if let Ok(found) = OWNED.binary_search_by_key(&key, |(owned, _)| owned) {
        return Some(format!("is this engine's own; use {}", OWNED[found].1));
    }
    match ClientConfig::new().set(key, value).create_native_config() {
        Ok(_) => None,
        // Without the value, which may be a secret.
        Err(KafkaError::ClientConfig(_, text, ..)) if !text.contains(value) => {
            Some(format!("librdkafka refuses it: {text}; see its CONFIGURATION.md"))
        }
        Err(_) => Some("librdkafka refuses its value; see its CONFIGURATION.md".into()),
    }
}

fn is_address(server: &str) -> bool {
    let port = server.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    matches!(port, Some((host, Ok(1..))) if !host.is_empty() && !host.contains([',', '/', ' ', '\0']))
}

/// Lets a file write `true` and `10` where librdkafka wants text.
fn scalars<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a string, a number or a boolean")]
    enum Scalar {
        Flag(bool),
        Whole(i64),
        Part(f64),
        Text(String),
    }
    let table = BTreeMap::<String, Scalar>::deserialize(from)?;
    let text = |value| match value {
        Scalar::Flag(flag) => flag.to_string(),
        Scalar::Whole(number) => number.to_string(),
        Scalar::Part(number) => number.to_string(),
        Scalar::Text(text) => text,
    };
    Ok(table.into_iter().map(|(key, value)| (key, text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(config: &Config) -> Vec<String> {
        config.key_errors().into_iter().map(|error| error.path.join("/")).collect()
    }

    #[test]
    fn owned_settings_are_sorted_and_refused() {
        assert!(OWNED.is_sorted_by_key(|(key, _)| key), "binary search needs order");
        for (key, _) in OWNED {
            let config = Config::new(["localhost:9092"]).with_tuning(*key, "1");
            assert_eq!(paths(&config), [format!("tuning/{key}")]);
        }
    }

    #[test]
    fn wrong_addresses_sizes_and_settings_are_all_named() {
        let config = Config::new(["broker", "a:0", "b:9092,c:9092"])
            .with_record_bytes(0)
            .with_tuning("no.such", "1")
            .with_tuning("fetch.wait.max.ms", "soon");
        let expected = [
            "bootstrap_servers",
            "bootstrap_servers",
            "bootstrap_servers",
            "record_bytes",
            "tuning/fetch.wait.max.ms",
            "tuning/no.such",
        ];
        assert_eq!(paths(&config), expected);
        assert_eq!(paths(&Config::new(Vec::<String>::new())), ["bootstrap_servers"]);
        assert_eq!(paths(&Config::new(["[::1]:9092", "broker.example:9093"])), [""; 0]);
    }

    #[test]
    fn a_secret_shows_neither_in_debug_nor_in_a_refusal() {
        let config = Config::new(["localhost:9092"]).with_tuning("sasl.password", "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        let wrong = Config::new(["localhost:9092"]).with_tuning("security.protocol", "hunter2");
        assert!(!wrong.validate().unwrap_err().to_string().contains("hunter2"));
    }
}
