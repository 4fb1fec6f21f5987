//! librdkafka's settings: what every client shares, then the file's tuning, then what the laws rest on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onex_spi::kafka::{Acks, ConsumerConfig, OffsetReset, ProducerConfig};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{ClientConfig, Statistics};

use crate::Config;
use crate::error;

/// What a record may need beside key, value and headers: lengths, and six bytes for each of 10,000 headers.
const RECORD_SLACK: usize = 64 << 10;
/// The most bytes of a batch; below the 1,048,588 that a topic takes unless told otherwise.
pub(crate) const BATCH_BYTES: usize = 1_000_000;

/// Settings that a file may tune.
const DEFAULTS: &[(&str, &str)] = &[
    // A broker that comes back is found again within a second.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    // An idle connection that a broker closes is no event.
    ("log.connection.close", "false"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    // A frozen broker is given up after 10 s instead of a minute.
    ("socket.timeout.ms", "10000"),
    // Topics and partitions that others add are seen within 5 s instead of 5 min.
    ("topic.metadata.refresh.interval.ms", "5000"),
];

/// Settings of consumers that a file may tune; a producer would warn that it ignores them.
const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    // A full local queue is looked at again after 10 ms instead of 1 s.
    ("fetch.queue.backoff.ms", "10"),
    // A partition that starts or moves waits for the fetch that runs already: at most 100 ms instead of 500 ms.
    ("fetch.wait.max.ms", "100"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];

pub(crate) fn client(config: &Config) -> ClientConfig {
    let mut native = ClientConfig::new();
    for (key, value) in DEFAULTS {
        native.set(*key, *value);
    }
    for (key, value) in &config.tuning {
        native.set(key, value);
    }
    native.set("bootstrap.servers", config.bootstrap_servers.join(","));
    native.set("client.id", &config.client_id);
    // A topic that the metadata does not know is unknown now, not after 30 s.
    native.set("topic.metadata.propagation.max.ms", "1000");
    native.set_log_level(RDKafkaLogLevel::Notice);
    native
}

pub(crate) fn producer(config: &Config, producer: &ProducerConfig) -> ClientConfig {
    let mut native = client(config);
    let millis = |time: Duration| time.as_millis().clamp(1, i32::MAX as u128).to_string();
    let acks = match producer.acks {
        Acks::All => "all",
        Acks::Leader => "1",
        _ => "0",
    };
    native.set("acks", acks);
    native.set("enable.idempotence", producer.idempotent.to_string());
    if !producer.idempotent {
        // Without sequence numbers a second request in flight could overtake one that is repeated (K2).
        native.set("max.in.flight.requests.per.connection", "1");
    }
    native.set("linger.ms", format!("{}", producer.linger.as_secs_f64() * 1e3));
    native.set("message.timeout.ms", millis(producer.delivery_timeout));
    native.set("message.max.bytes", (config.record_bytes + RECORD_SLACK).max(BATCH_BYTES).to_string());
    native.set("batch.size", BATCH_BYTES.to_string());
    native.set("partitioner", "murmur2_random");
    // The bounds are this engine's admission; librdkafka's own would answer "queue full" and lose the order.
    native.set("queue.buffering.max.messages", "0");
    native.set("queue.buffering.max.kbytes", i32::MAX.to_string());
    native.set("delivery.report.only.error", "false");
    native
}

pub(crate) fn consumer(config: &Config, consumer: &ConsumerConfig) -> ClientConfig {
    let mut native = client(config);
    let millis = |time: Duration| time.as_millis().clamp(1, i32::MAX as u128).to_string();
    for (key, value) in CONSUMER_DEFAULTS.iter().filter(|(key, _)| !config.tuning.contains_key(*key)) {
        native.set(*key, *value);
    }
    native.set("allow.auto.create.topics", "false");
    native.set("group.id", &consumer.group_id);
    native.set("enable.auto.commit", "false");
    native.set("enable.auto.offset.store", "false");
    native.set("enable.partition.eof", "false");
    let reset = match consumer.offset_reset {
        OffsetReset::Earliest => "earliest",
        OffsetReset::Latest => "latest",
        _ => "error",
    };
    native.set("auto.offset.reset", reset);
    native.set("session.timeout.ms", millis(consumer.session_timeout));
    native.set("max.poll.interval.ms", millis(consumer.max_poll_interval));
    if !config.tuning.contains_key("heartbeat.interval.ms") {
        native
            .set("heartbeat.interval.ms", millis((consumer.session_timeout / 3).min(Duration::from_secs(3))));
    }
    native.set("queued.min.messages", consumer.prefetch_records.clamp(1, 10_000_000).to_string());
    native
        .set("queued.max.messages.kbytes", (consumer.prefetch_bytes / 1024).clamp(1, 2_097_151).to_string());
    if !config.tuning.contains_key("fetch.message.max.bytes") {
        // One answer of one partition must not pass the bound by itself; a larger record is fetched all the same.
        let fetch = consumer.prefetch_bytes.clamp(1024, 1 << 20);
        native.set("fetch.message.max.bytes", fetch.to_string());
    }
    native.set("isolation.level", "read_committed");
    native
}

/// What librdkafka told about a client besides its answers: the reasons that codes do not carry.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// The last refusal of credentials or certificates.
    refused: Option<(Code, String)>,
    /// The text of the last error.
    last: String,
}

impl Notes {
    /// Turns a time-out into the refusal of credentials that caused it, where librdkafka met one (K25).
    pub(crate) fn explain(&self, error: onex_spi::Error, operation: &'static str) -> onex_spi::Error {
        use onex_spi::ErrorKind::{TimedOut, Unavailable};
        if !matches!(error.kind(), TimedOut | Unavailable) {
            return error;
        }
        match self.refused() {
            Some((code, reason)) => error::of_code(code, operation, reason).with_effect(error.effect()),
            None => error,
        }
    }

    pub(crate) fn refused(&self) -> Option<(Code, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    pub(crate) fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// Takes note of an error event.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone_into(&mut said.last);
        if let Some(code @ (Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed)) =
            error::code_of(error)
        {
            said.refused = Some((code, reason.to_owned()));
        }
    }
}

/// Hands librdkafka's log to tracing.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(target: "librdkafka", facility, "{text}"),
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
    }
}

/// The context of clients that neither produce nor consume.
#[derive(Debug, Default)]
pub(crate) struct AdminContext {
    pub(crate) notes: Notes,
}

impl ClientContext for AdminContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.notes.error(&error, reason);
    }
}
