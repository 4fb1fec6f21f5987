//! Ends of two kinds: sources of one, targets of the other.

use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::bridge::{BridgeMessage, BridgeProtocol};
use onex_spi::provider::Table;
use onex_spi::{Clock, Feature, Features, Result};

use super::ends::{Ends, EndsFeature};

/// The sources of one pair of ends and the targets of another, such as HTTP to Kafka.
#[derive(Clone, Debug)]
pub struct PairedEnds {
    sources: Arc<dyn Ends>,
    targets: Arc<dyn Ends>,
}

impl PairedEnds {
    /// Pairs them; both run on the clock of `sources`, so both are networked or neither is.
    #[must_use]
    pub fn new(sources: Arc<dyn Ends>, targets: Arc<dyn Ends>) -> Self {
        Self { sources, targets }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Ends for PairedEnds {
    fn source_protocol(&self) -> Arc<dyn BridgeProtocol> {
        self.sources.source_protocol()
    }

    fn target_protocol(&self) -> Arc<dyn BridgeProtocol> {
        self.targets.target_protocol()
    }

    /// What both can show; no route of one kind leads into a source of the other.
    fn features(&self) -> Features<EndsFeature> {
        let (sources, targets) = (self.sources.features(), self.targets.features());
        let both = EndsFeature::ALL.iter().filter(|feature| sources.has(**feature) && targets.has(**feature));
        both.fold(Features::none(), |set, feature| set.with(*feature)).without(EndsFeature::Loops)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.sources.clock()
    }

    async fn source(&self, name: &str) -> Result<Table> {
        self.sources.source(name).await
    }

    async fn target(&self, secret: Option<&str>) -> Result<Table> {
        self.targets.target(secret).await
    }

    async fn route(&self, name: &str) -> Result<String> {
        self.targets.route(name).await
    }

    fn missing_route(&self, name: &str) -> String {
        self.targets.missing_route(name)
    }

    fn route_into(&self, name: &str) -> String {
        self.targets.route_into(name)
    }

    async fn offer(&self, name: &str, addresses: &[String], messages: Vec<BridgeMessage>) -> Result<()> {
        self.sources.offer(name, addresses, messages).await
    }

    async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>> {
        self.targets.arrived(route).await
    }

    async fn close(&self) {
        self.sources.close().await;
        self.targets.close().await;
    }
}
