//! The protocol `kafka`: records become messages, and messages become records.
//!
//! ```text
//!  topic ─► ConsumerDriver ─► KafkaSource ─► rules ─► KafkaTarget ─► ProducerDriver ─► topic
//!              ▲    └ its own task: polls, pauses, drains what is revoked      └ one batch, one produce, one answer a record
//!              └── commit ◄─ the highest offset below which all is settled ◄─ settle
//! ```
//!
//! It stands on [`KafkaDriver`] and not on the client above it: a source must see `Revoking` and `Lost` between two polls and go on
//! polling while nobody asks it for messages, which is what the driver's port offers and the client's hides behind a listener.
//!
//! # Source
//! [`KafkaSourceConfig`]. An offset is committed once every record before it is settled, within half a second. A partition that is about to
//! go hands out nothing more; what it handed out gets [`revoke_timeout`](KafkaSourceConfig::revoke_timeout) to be settled and is then committed. A
//! process that dies repeats what was in flight and what half a second settled, under the same ids: an id is the header `onex-message-id`, else
//! derived from topic, partition and offset. Metadata is that of the header `onex-metadata` with `topic`, `partition`, `offset` and `timestamp`
//! (milliseconds) over it; a record without value is an empty payload with the metadata `null_value`.
//!
//! # Target
//! [`KafkaTargetConfig`]. A route is a topic, which must be there. Records are acknowledged by every in-sync replica; key and headers are the message's,
//! id and metadata go behind them as the headers `onex-message-id` and `onex-metadata`.

mod config;
mod convert;
mod progress;
mod shared;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeContext, BridgeFault, BridgeProtocol, BridgeReason, BridgeSource, BridgeTarget, Protocol,
};
use onex_spi::kafka::KafkaDriver;
use onex_spi::provider::{KeyError, Table, parse_config};
use onex_spi::{Error, Result};

pub use self::config::{KafkaSourceConfig, KafkaTargetConfig, OnFailed};
use self::source::KafkaSource;
use self::target::KafkaTarget;

/// Opens ends that speak Kafka, on the cluster of one driver.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use onex_bridge::kafka::KafkaProtocol;
/// use onex_spi::bridge::BridgeProtocol;
///
/// # fn example(driver: Arc<dyn onex_spi::kafka::KafkaDriver>) {
/// let kafka = KafkaProtocol::new(driver);
/// let errors = kafka.check_source(&"topics = ['orders']".parse().unwrap());
/// assert_eq!(errors[0].path, ["group_id"]);
/// # }
/// ```
#[derive(Default)]
pub struct KafkaProtocol {
    driver: Option<Arc<dyn KafkaDriver>>,
}

impl KafkaProtocol {
    /// Makes a protocol on the cluster of `driver`; the default one has none, so that it checks configurations and opens nothing.
    #[must_use]
    pub fn new(driver: Arc<dyn KafkaDriver>) -> Self {
        Self { driver: Some(driver) }
    }

    fn driver(&self, operation: &'static str) -> Result<Arc<dyn KafkaDriver>> {
        let absent = "the protocol kafka was given no driver; name an engine in the section kafka";
        self.driver.clone().ok_or_else(|| Error::unsupported(operation, absent))
    }
}

impl fmt::Debug for KafkaProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaProtocol").finish_non_exhaustive()
    }
}

#[async_trait]
impl BridgeProtocol for KafkaProtocol {
    fn name(&self) -> Protocol {
        Protocol::new("kafka")
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        KeyError::of_config::<KafkaSourceConfig>(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        KeyError::of_config::<KafkaTargetConfig>(config)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        let config = parse_config("bridge.source", config).map_err(invalid_end)?;
        Ok(Arc::new(KafkaSource::open(self.driver("bridge.source")?, config, context).await?))
    }

    async fn target(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        let config = parse_config("bridge.target", config).map_err(invalid_end)?;
        Ok(Arc::new(KafkaTarget::open(self.driver("bridge.target")?, config, context).await?))
    }
}

fn invalid_end(error: Error) -> Error {
    error.with_detail(BridgeFault::new(BridgeReason::InvalidEndpoint))
}
