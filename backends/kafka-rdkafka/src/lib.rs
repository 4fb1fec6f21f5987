//! [`KafkaDriver`](onex_spi::kafka::KafkaDriver) on librdkafka, through rdkafka.
//!
//! ```text
//!  produce ─► admission, in order ─► librdkafka ═══ brokers        thread P takes delivery reports, closes
//!  poll    ◄─ slot ◄─ thread C, only while the application polls   thread B waits for commits
//!  topics, groups, bounds ─► up to four threads that wait for answers
//! ```
//! No call and no drop waits on a runtime thread; native handles end on threads of their own.
//!
//! # Declared
//! Every feature of the port: groups (classic protocol, cooperative-sticky), topic administration, topic settings.
//! Records up to [`Config::record_bytes`]. Compression by `tuning` (`compression.codec`: gzip, snappy, lz4, zstd).
//!
//! # Laws that librdkafka alone does not keep, and how they are kept here
//! - An unknown topic is `NotFound` at once: the cluster is asked before the first record of a topic goes out.
//! - Batches stay below a topic's `max.message.bytes`: librdkafka's `batch.size` is one for all topics, so a topic with a
//!   smaller limit has at most one batch of bytes in flight. Such a topic moves at one batch per round trip.
//! - A null key sticks for one batch: the partition is chosen here; for keys librdkafka's murmur2 is Kafka's own.
//! - Order without idempotence: one request in flight.
//! - A commit of a partition that is not owned is refused here: the broker would take it.
//!
//! # Known gaps
//! - The timestamp 0 is refused: librdkafka takes it for "now". Header names with a NUL byte are refused; names from
//!   elsewhere that are not UTF-8 are read with replacement characters.
//! - A record whose timestamp the broker refuses (`INVALID_TIMESTAMP`) fails the good records that librdkafka packed into one batch
//!   with it (K4); each is told so and none is written. The driver cannot know the topic's limits beforehand.
//! - The delivery time is counted once while records wait for room and once in librdkafka: under back-pressure an answer
//!   may take up to twice `delivery_timeout`.
//! - `prefetch_records` is what librdkafka tries to keep *per partition*; `prefetch_bytes` bounds the consumer, give or
//!   take one answer of a broker per partition.
//! - The "lower than committed" rule trusts what this member last read or wrote: another client that writes offsets of
//!   a partition that it does not own is not seen.
//! - A subscribed topic that is missing is told once, and again only after the set of missing topics has changed.
//! - With several brokers a change of topics is awaited on one broker and on the leaders; another broker may show the old
//!   state for as long as its metadata lags, usually milliseconds.
//! - Where the reset policy is `error` a seek on a partition that librdkafka has stopped is refused with `Conflict` while
//!   the group is changing, and always under an eager assignor chosen by `tuning`.
//! - A group's committed offsets are told for what its members are assigned; for an empty group, for every topic.
//! - librdkafka counts its own time-outs (delivery, session, poll interval) on the machine's clock.
//! - No transactions, no static membership, no newer group protocol (KIP-848), no TLS in this build; SASL PLAIN only.
#![deny(unsafe_code)]

mod admin;
mod cluster;
mod config;
mod consumer;
mod driver;
mod error;
mod ffi;
mod group;
mod native;
mod open;
mod producer;
mod work;

pub use config::Config;
pub use driver::RdKafkaDriver;
pub use open::{RdKafkaProvider, open, provider};
