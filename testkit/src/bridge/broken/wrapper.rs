//! A bridge that changes nothing, between its caller and its protocols, and the places where a bug may change one thing.
//!
//! ```text
//!  case ─► Changed bridge ─► good bridge ─► Changed source, Changed target ─► tap ─► protocol
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeConfig, BridgeContext, BridgeHealth, BridgeId, BridgeInfo, BridgeMessage, BridgeMetrics,
    BridgeProtocol, BridgeReceipt, BridgeSource, BridgeStatus, BridgeTarget, CommunicationBridge,
    DeliveryTag, Protocol, RoutingRule, Settled,
};
use onex_spi::provider::{KeyError, Table};
use onex_spi::{Health, Lifecycle, Result};

use super::MakeBridge;

/// What a target answers.
pub(super) type Answers = Vec<Result<Option<BridgeMessage>>>;
/// What a source handed out.
pub(super) type Taken = (DeliveryTag, BridgeMessage);

/// One changed behaviour; what a bug does not override is the good bridge's.
#[async_trait]
pub(super) trait Bug: Default + Send + Sync + 'static {
    fn show(&self, good: &dyn CommunicationBridge, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{good:?}")
    }

    async fn create(
        &self,
        good: &dyn CommunicationBridge,
        name: &str,
        ends: (Protocol, Protocol),
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        good.create_bridge(name, ends.0, ends.1, config).await
    }

    async fn destroy(&self, good: &dyn CommunicationBridge, id: BridgeId, within: Duration) -> Result<()> {
        good.destroy_bridge(id, within).await
    }

    async fn send(
        &self,
        good: &dyn CommunicationBridge,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        good.send_message_through_bridge(id, message).await
    }

    fn metrics(&self, good: &dyn CommunicationBridge, id: BridgeId) -> Result<BridgeMetrics> {
        good.bridge_metrics(id)
    }

    fn configure(&self, good: &dyn CommunicationBridge, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()> {
        good.configure_bridge_routing(id, rules)
    }

    /// `kept` belongs to this source alone.
    async fn receive(
        &self,
        good: &Arc<dyn BridgeSource>,
        _kept: &Mutex<VecDeque<Taken>>,
        max: usize,
        into: &mut Vec<Taken>,
    ) -> Result<usize> {
        good.receive(max, into).await
    }

    fn settle(&self, good: &dyn BridgeSource, settled: Vec<Settled>) {
        good.settle(settled);
    }

    fn addresses(&self, good: &dyn BridgeSource) -> Vec<String> {
        good.addresses()
    }

    async fn deliver(&self, good: &dyn BridgeTarget, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        good.deliver(to, messages).await
    }

    async fn target_health(&self, good: &dyn BridgeTarget) -> Health {
        good.health().await
    }
}

/// Adds the bug `B` to whatever bridge `good` makes.
pub(super) fn wrap<B: Bug>(good: Arc<MakeBridge>) -> Arc<MakeBridge> {
    Arc::new(move |mut setup| {
        let bug = Arc::new(B::default());
        let protocols = setup.protocols.into_iter();
        let changed =
            |good| Arc::new(ChangedProtocol { good, bug: Arc::clone(&bug) }) as Arc<dyn BridgeProtocol>;
        setup.protocols = protocols.map(changed).collect();
        let made = good(setup);
        Box::pin(async move { Ok(Arc::new(Changed { good: made.await?, bug }) as Arc<_>) })
    })
}

struct Changed<B> {
    good: Arc<dyn CommunicationBridge>,
    bug: Arc<B>,
}

impl<B: Bug> fmt::Debug for Changed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bug.show(&*self.good, f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for Changed<B> {
    async fn health(&self) -> Health {
        self.good.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.good.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> CommunicationBridge for Changed<B> {
    async fn create_bridge(
        &self,
        name: &str,
        source: Protocol,
        target: Protocol,
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        self.bug.create(&*self.good, name, (source, target), config).await
    }

    async fn destroy_bridge(&self, id: BridgeId, within: Duration) -> Result<()> {
        self.bug.destroy(&*self.good, id, within).await
    }

    async fn send_message_through_bridge(
        &self,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        self.bug.send(&*self.good, id, message).await
    }

    fn bridge_status(&self, id: BridgeId) -> Result<BridgeStatus> {
        self.good.bridge_status(id)
    }

    fn bridge_metrics(&self, id: BridgeId) -> Result<BridgeMetrics> {
        self.bug.metrics(&*self.good, id)
    }

    fn configure_bridge_routing(&self, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()> {
        self.bug.configure(&*self.good, id, rules)
    }

    fn all_bridges(&self) -> Vec<BridgeInfo> {
        self.good.all_bridges()
    }

    async fn monitor_bridge_health(&self, id: BridgeId) -> Result<BridgeHealth> {
        self.good.monitor_bridge_health(id).await
    }
}

struct ChangedProtocol<B> {
    good: Arc<dyn BridgeProtocol>,
    bug: Arc<B>,
}

impl<B> fmt::Debug for ChangedProtocol<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.good, f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> BridgeProtocol for ChangedProtocol<B> {
    fn name(&self) -> Protocol {
        self.good.name()
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        self.good.check_source(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        self.good.check_target(config)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        let good = self.good.source(config, context).await?;
        Ok(Arc::new(ChangedSource { good, bug: Arc::clone(&self.bug), kept: Mutex::default() }))
    }

    async fn target(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        let good = self.good.target(config, context).await?;
        Ok(Arc::new(ChangedTarget { good, bug: Arc::clone(&self.bug) }))
    }
}

struct ChangedSource<B> {
    good: Arc<dyn BridgeSource>,
    bug: Arc<B>,
    kept: Mutex<VecDeque<Taken>>,
}

impl<B> fmt::Debug for ChangedSource<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.good, f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for ChangedSource<B> {
    async fn health(&self) -> Health {
        self.good.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.good.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> BridgeSource for ChangedSource<B> {
    async fn receive(&self, max: usize, into: &mut Vec<Taken>) -> Result<usize> {
        self.bug.receive(&self.good, &self.kept, max, into).await
    }

    fn settle(&self, settled: Vec<Settled>) {
        self.bug.settle(&*self.good, settled);
    }

    fn addresses(&self) -> Vec<String> {
        self.bug.addresses(&*self.good)
    }
}

struct ChangedTarget<B> {
    good: Arc<dyn BridgeTarget>,
    bug: Arc<B>,
}

impl<B> fmt::Debug for ChangedTarget<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.good, f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> Lifecycle for ChangedTarget<B> {
    async fn health(&self) -> Health {
        self.bug.target_health(&*self.good).await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.good.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Bug> BridgeTarget for ChangedTarget<B> {
    fn check_route(&self, to: &str) -> Result<()> {
        self.good.check_route(to)
    }

    fn address(&self, to: &str) -> String {
        self.good.address(to)
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Answers {
        self.bug.deliver(&*self.good, to, messages).await
    }
}
