//! The `KafkaClient` policy: ids, handles, subscriptions, listeners, commits and group information over any driver.
//!
//! ```text
//!  Arc<dyn KafkaClient> ─► ids: open │ closed for ever │ never issued
//!                            ├ producer ─► ProducerDriver
//!                            └ consumer ─► turn ─► subscribe if the set changed ─► poll ─┬ records: the answer
//!                                                    ▲                                   └ change: the listener,
//!                                                    └───────────────────────────────────── then poll again
//! ```
//!
//! Nothing here knows an engine: one policy in development on memory and in production on a real cluster.
//!
//! # What the policy decides
//! - An id is a number that this client never issues again, and no other client of this process either.
//! - `consume_messages` subscribes only where the set of topics differs from the one before; each new subscription
//!   costs the whole group a rebalance. Calls on one consumer queue up.
//! - A change of the assignment is told to the listener between two polls; the wait for records then begins anew, so a call
//!   takes at most `max_wait` after the last change. An error of the listener is traced and returned, and the change happens.
//! - Whoever takes a handle shares the object with the ids: a subscription or poll made there is not seen here.
//! - `bootstrap_servers` of a config is the driver's to check: only it knows its own cluster.
//! - Closing the client closes everything that it opened, and not the driver, which others may share.
//!
//! # Known gaps
//! No streams, schemas, tuning or diagnostics: `KafkaExtended` is not part of the SPI yet.
#![forbid(unsafe_code)]

mod client;
mod consumer;
mod ids;

use std::sync::Arc;

use onex_spi::kafka::{KafkaClient, KafkaDriver};

/// Puts the policy over `driver`.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_memory::kafka::MemoryKafka;
/// use onex_spi::kafka::{CreateTopicRequest, KafkaClientExt, ProducerConfig, ProducerRecord};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// let broker = MemoryKafka::new(Arc::new(onex_spi::TokioClock::new()));
/// let kafka = onex_kafka_client::open(broker.driver());
/// kafka.create_topic(CreateTopicRequest::new("orders", 3)).await?;
/// let producer = kafka.producer(ProducerConfig::new()).await?;
/// let receipt = producer.send(ProducerRecord::new("orders").with_key("7").with_value("{}")).await?;
/// assert_eq!(receipt.offset, Some(0));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn open(driver: Arc<dyn KafkaDriver>) -> Arc<dyn KafkaClient> {
    Arc::new(client::DriverClient::new(driver))
}
