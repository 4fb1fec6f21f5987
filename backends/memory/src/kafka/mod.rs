//! A Kafka broker in miniature.
//!
//! ```text
//!  MemoryKafka ─── Broker: one lock, one clock, one "something changed"
//!    │ driver()      ├ topics   name ─► Topic ─► Log per partition (offset = low + index)
//!    │               └ groups   id ─► Group: members, targets, owners, committed offsets
//!    ├─► MemoryDriver ─┬─ MemoryProducer   waits its turn, then appends under the lock
//!    │                 └─ MemoryConsumer   positions, and the change that the last poll told
//!    └─► records, committed, set_available, delete_records: what a test may see and do
//! ```
//!
//! Several drivers on one [`MemoryKafka`] are several processes on one cluster.
//!
//! # Declared
//! Every [`KafkaFeature`](onex_spi::kafka::KafkaFeature); records up to 1 MiB of key, value and headers.
//!
//! # What it does like a broker
//! - Refusals carry Kafka's names and numbers.
//! - A group hands over in increments: a partition goes to its new owner only after the old one polled past
//!   `Revoking`, left or was expelled.
//! - A member that does not poll for `max_poll_interval` is expelled, one that vanished while the broker
//!   was away after `session_timeout`; both on the injected clock.
//! - `retention.ms` and `retention.bytes` remove the oldest records, `message.timestamp.type` is obeyed, a null key
//!   is refused where `cleanup.policy` says `compact`, and `max.message.bytes` counts the record as one batch on the wire.
//!
//! # Known gaps
//! No transactions and no static membership. Compaction is accepted and never due. The other settings of a topic are
//! checked by Kafka's rules and forgotten: nothing depends on them in one process. Without retention settings a log keeps everything.
//! One broker, so replication above 1 is refused. There is no address: `bootstrap_servers` must be empty, anything
//! else is another cluster and `InvalidInput`.

mod assign;
mod broker;
mod config;
mod consumer;
mod driver;
mod error;
mod group;
mod log;
mod memory_kafka;
mod producer;
mod settings;
mod topic;

pub use self::config::{KafkaConfig, TopicConfig};
pub use self::memory_kafka::MemoryKafka;
