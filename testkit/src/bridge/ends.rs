//! What a case needs of the protocols between which a bridge moves: the other side of each.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::bridge::{BridgeMessage, BridgeProtocol};
use onex_spi::provider::Table;
use onex_spi::{Clock, Feature, Features, Result};

/// What is given to make the ends of one case.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct EndsSetup {
    /// The bridge's clock, which stands still until the case moves it.
    pub clock: Arc<dyn Clock>,
    /// The seed for random decisions.
    pub seed: u64,
    /// What names outside this process begin with; fresh per case, `[a-z0-9-]`, below 60 letters.
    pub prefix: String,
}

impl EndsSetup {
    /// Makes a setup.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64, prefix: impl Into<String>) -> Self {
        Self { clock, seed, prefix: prefix.into() }
    }
}

/// What one kind of ends can show; a case that needs more is ignored.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndsFeature {
    /// A header without a value arrives as one.
    NullHeaders,
    /// Keys arrive.
    Keys,
    /// Metadata arrives.
    Metadata,
    /// There are routes that look right and do not exist.
    MissingRoutes,
    /// A route can lead into a source of the same ends.
    Loops,
    /// The configuration of a target can hold a secret.
    Secrets,
    /// Many thousands of messages can wait to be taken.
    Plenty,
    /// A payload of 1 MiB arrives.
    Mebibyte,
}

impl Feature for EndsFeature {
    const ALL: &'static [Self] = &[
        Self::NullHeaders,
        Self::Keys,
        Self::Metadata,
        Self::MissingRoutes,
        Self::Loops,
        Self::Secrets,
        Self::Plenty,
        Self::Mebibyte,
    ];

    fn index(self) -> u32 {
        self as u32
    }
}

/// The other side of a bridge's source and of its targets.
///
/// Faults, attempts and settlements are not its business: [`Tap`](super::Tap) stands between the bridge and every protocol.
#[async_trait]
pub trait Ends: fmt::Debug + Send + Sync + 'static {
    /// The protocol of sources.
    fn source_protocol(&self) -> Arc<dyn BridgeProtocol>;

    /// The protocol of targets and dead-letter targets; may be the same.
    fn target_protocol(&self) -> Arc<dyn BridgeProtocol>;

    /// What these ends can show.
    fn features(&self) -> Features<EndsFeature>;

    /// The clock on which the protocols run: the setup's where no socket and no thread of others is involved, else a real one.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Prepares a place to which messages can be offered, and gives the configuration of a source that takes them.
    ///
    /// # Errors
    /// What the other side meets.
    async fn source(&self, name: &str) -> Result<Table>;

    /// The configuration of a target, with `secret` in it where that is [`EndsFeature::Secrets`].
    ///
    /// # Errors
    /// What the other side meets.
    async fn target(&self, secret: Option<&str>) -> Result<Table>;

    /// Prepares a route.
    ///
    /// # Errors
    /// What the other side meets.
    async fn route(&self, name: &str) -> Result<String>;

    /// A route that looks right and does not exist ([`EndsFeature::MissingRoutes`]).
    fn missing_route(&self, name: &str) -> String;

    /// The route that leads into the source `name` ([`EndsFeature::Loops`]).
    fn route_into(&self, name: &str) -> String;

    /// Brings messages to the source `name`, whose opened end has these addresses; does not wait until they are settled.
    ///
    /// # Errors
    /// What the other side meets before the messages are under way.
    async fn offer(&self, name: &str, addresses: &[String], messages: Vec<BridgeMessage>) -> Result<()>;

    /// Everything that has arrived by a route so far, with the ids, in order of arrival.
    ///
    /// # Errors
    /// What the other side meets.
    async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>>;

    /// Ends the other side; what was offered and not taken is gone.
    async fn close(&self);
}

const _: fn(&dyn Ends) = |_| ();
