//! Kafka: records in partitioned logs, consumer groups, committed offsets.
//!
//! ```text
//!  caller ─► KafkaClient (policy: ids, handles, subscriptions, listeners) ─► KafkaDriver ═══ broker
//!                                                                             ├ ProducerDriver   produce(batch) -> one result a record
//!                                                                             └ ConsumerDriver   poll() -> records or a change of the assignment
//! ```
//!
//! # For callers
//! Hold an `Arc<dyn KafkaClient>`: producers and consumers have ids that are never reused. Hot loops take a handle
//! ([`KafkaClient::producer_handle`]). Offsets are always the *next* one to read, per (topic, partition);
//! [`NextOffsets::after`] makes them of messages.
//!
//! # For engine authors
//! Implement [`KafkaDriver`], [`ProducerDriver`] and [`ConsumerDriver`], and [`KafkaAdmin`] if you declare
//! [`KafkaFeature::Groups`]; ids, re-subscription and listeners are policy. What every engine decides alike is here:
//! [`Member`] keeps a consumer's books, [`Commit::apply`] and [`OffsetReset::start`] judge offsets,
//! [`ProducerRecord::choose_partition`] and [`ProducerRecord::check_size`] records, [`CreateTopicRequest::validate`] topics.
//! Run `onex_testkit::kafka::driver::conformance`.
//!
//! **The law of `poll`.** A change that a poll returned takes effect at the *next* poll. [`Polled::Revoking`]: still owned;
//! commit or finish now. [`Polled::Assigned`]: not fetching yet; a seek costs nothing. [`Polled::Lost`]: already gone; a
//! commit answers `Conflict`. A poll that was dropped has taken nothing. Polls of one consumer queue up.
//!
//! # Laws
//! - **K1** *Partitioning.* Explicit partition, else [`partition_for_key`]; the empty key is a key; a null key sticks to one
//!   partition for a batch and moves on. An unknown explicit partition is `InvalidInput`, never rerouted.
//! - **K2** *Order.* Records of one producer to one partition are stored in submission order.
//! - **K3** *Acknowledgement.* `Ok` means stored as `acks` promised; with [`Acks::None`] the offset is `None`. A default
//!   producer is idempotent with [`Acks::All`]; idempotent with other acks is refused at creation.
//! - **K4** *One result per record*, in input order; a refused record never fails a good neighbour.
//! - **K5** *Effect.* Refused before or by the broker = `NotApplied`; no answer after the record may have left = `Unknown`.
//! - **K6** *Offsets are next*, and not contiguous: nobody computes `offset + 1 == next`.
//! - **K7** *Commit.* Only owned partitions; stored or an error; lower than committed is `InvalidInput` unless [`Commit::rewind`];
//!   not owned is `Conflict`; an unknown topic or partition is `NotFound`. Nothing is committed that was not asked for.
//! - **K8** *Groups.* At most one owner per partition and generation; a new owner starts at the committed offset.
//! - **K10** *Reset.* Without a committed offset, or with one out of range: as [`OffsetReset`] says, never a silent jump.
//! - **K14** *Records are bytes.* Null and empty differ in key, value and header; header order and repeats survive.
//! - **K15** *Timestamps* are kept to the millisecond.
//! - **K16** *Size.* Over [`KafkaLimits::record_bytes`] is `TooLarge`, `NotApplied`; the next record is not harmed.
//! - **K17** *Names.* 1-249 of `[A-Za-z0-9._-]`, not `.` or `..`; names that differ only by `.` and `_` collide.
//! - **K18** *Reading and describing never create a topic.*
//! - **K20** *Admin* results are honest and visible to a later read.
//! - **K21** *Bounded.* Queues have limits; a full one waits, in order.
//! - **K22** *Runtime.* No call and no drop blocks a runtime thread.
//! - **K23** *Cancellation.* A dropped produce may still be stored, once; a dropped poll loses nothing; a dropped commit may still be stored.
//! - **K24** *Close* flushes within its time, tells what was not delivered, leaves the group, is idempotent; afterwards `Closed`.
//! - **K26** *Metrics* add up: acknowledged + failed + in flight = accepted.

mod admin;
mod client;
mod config;
mod driver;
mod ext;
mod fault;
mod member;
mod offsets;
mod partition;
mod record;
mod refusals;

pub use self::admin::{
    ConsumerGroupInfo, CreateTopicRequest, GroupMember, GroupState, PartitionInfo, TopicMetadata,
    TopicOutcome,
};
pub use self::client::{ConsumerId, KafkaClient, KafkaClientId, KafkaMetrics, ProducerId, RebalanceListener};
pub use self::config::{Acks, ConsumerConfig, OffsetReset, ProducerConfig};
pub use self::driver::{
    ClientStats, ConsumerDriver, KafkaAdmin, KafkaCapabilities, KafkaDriver, KafkaFeature, KafkaLimits,
    PollRequest, Polled, ProducerDriver, Undelivered, Watermarks,
};
pub use self::ext::{Consumer, KafkaClientExt, Producer};
pub use self::fault::{KafkaFault, Recovery};
pub use self::member::Member;
pub use self::offsets::{Commit, NextOffsets, TopicPartition};
pub use self::partition::{murmur2, partition_for_key};
pub use self::record::{Header, KafkaMessage, ProduceReceipt, ProducerRecord, Timestamp, TimestampKind};
pub use self::refusals::{check_cluster, check_topic_name, not_owned, unknown_partition, unknown_topic};
