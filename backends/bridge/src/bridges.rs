//! The engine as its callers see it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use onex_spi::bridge::{
    BridgeConfig, BridgeHealth, BridgeId, BridgeInfo, BridgeMessage, BridgeMetrics, BridgeProtocol,
    BridgeReceipt, BridgeStatus, CommunicationBridge, Protocol, RoutingRule,
};
use onex_spi::{Clock, Error, Health, Lifecycle, Result};

use crate::bridge::Bridge;
use crate::conditions::RuleSet;
use crate::error;
use crate::opening::{self, Plan, Protocols};
use crate::registry::Registry;
use crate::running::Running;

/// Bridges over some protocols.
pub(crate) struct Bridges {
    protocols: Protocols,
    clock: Arc<dyn Clock>,
    seed: u64,
    registry: Arc<Registry>,
}

impl Bridges {
    pub(crate) fn new(
        protocols: Vec<Arc<dyn BridgeProtocol>>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self> {
        Ok(Self { protocols: Protocols::new(protocols)?, clock, seed, registry: Arc::new(Registry::new()) })
    }
}

impl fmt::Debug for Bridges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bridges = self.registry.infos();
        f.debug_struct("Bridges")
            .field("protocols", &self.protocols)
            .field("bridges", &bridges)
            .finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Bridges {
    /// The worst of the bridges; each end gets two seconds to answer.
    async fn health(&self) -> Health {
        if self.registry.is_closed() {
            return Health::Unhealthy("the communication bridge is closed".to_owned());
        }
        let running = self.registry.all();
        let healths = join_all(running.iter().map(|running| async {
            let name = &running.bridge().name;
            match running.health().await.state {
                Health::Degraded(why) => Health::Degraded(format!("bridge `{name}`: {why}")),
                Health::Unhealthy(why) => Health::Unhealthy(format!("bridge `{name}`: {why}")),
                _ => Health::Healthy,
            }
        }));
        healths.await.into_iter().fold(Health::Healthy, crate::running::worse)
    }

    async fn close(&self, within: Duration) -> Result<()> {
        let running = self.registry.close();
        let drains = running.iter().map(|running| {
            let ended = self.registry.at_end(running.bridge().id);
            running.drain(within, ended)
        });
        let drains = join_all(drains);
        drains.await.into_iter().collect()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CommunicationBridge for Bridges {
    async fn create_bridge(
        &self,
        name: &str,
        source: Protocol,
        target: Protocol,
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        let claim = self.registry.claim(error::CREATE, name)?;
        let plan = Plan::new(&self.protocols, claim.name(), source, target, config)?;
        let opened = plan.open(self.clock.clone(), self.seed).await?;
        let ends = opened.ends();
        let seed = self.seed;
        let issued = claim.issue(error::CREATE, |id| {
            Running::start(Bridge::new(id, opened.into_parts()), seed ^ id.get().get())
        });
        if issued.is_err() {
            ends.close().await;
        }
        issued
    }

    async fn destroy_bridge(&self, id: BridgeId, within: Duration) -> Result<()> {
        match self.registry.find(error::DESTROY, id)? {
            Some(running) => running.drain(within, self.registry.at_end(id)).await,
            None => Ok(()),
        }
    }

    async fn send_message_through_bridge(
        &self,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        let running = self.registry.get(error::SEND, id)?;
        let bridge = running.bridge();
        let (bytes, most) = (message.payload.len(), bridge.limits.message_bytes);
        if bytes > most {
            return Err(error::too_large(bytes, most));
        }
        let inbox = bridge.inbox.clone();
        // Waiting must not keep a bridge alive whose engine is gone.
        drop(running);
        inbox.send(message, || error::closed(id)).await
    }

    fn bridge_status(&self, id: BridgeId) -> Result<BridgeStatus> {
        Ok(self.registry.get("bridge.status", id)?.bridge().books().status())
    }

    fn bridge_metrics(&self, id: BridgeId) -> Result<BridgeMetrics> {
        Ok(self.registry.get("bridge.metrics", id)?.bridge().books().metrics.clone())
    }

    fn configure_bridge_routing(&self, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()> {
        let running = self.registry.get(error::ROUTING, id)?;
        let bridge = running.bridge();
        let policy = bridge.rules.load().policy().clone();
        let set = RuleSet::compile(&rules, &policy)?;
        opening::check_routes(error::ROUTING, &set, &*bridge.target, &bridge.source.addresses())?;
        bridge.rules.store(Arc::new(set));
        tracing::info!(bridge = &*bridge.name, rules = rules.len(), "new rules");
        Ok(())
    }

    fn all_bridges(&self) -> Vec<BridgeInfo> {
        self.registry.infos()
    }

    async fn monitor_bridge_health(&self, id: BridgeId) -> Result<BridgeHealth> {
        let running = self.registry.get("bridge.health", id)?;
        Ok(running.health().await)
    }
}

/// Puts the engine over `protocols`; each name may be there once.
///
/// # Errors
/// `InvalidInput` where two protocols have one name.
///
/// # Examples
/// See [`MemoryHub`](crate::memory::MemoryHub).
pub fn open(
    protocols: Vec<Arc<dyn BridgeProtocol>>,
    clock: Arc<dyn Clock>,
    seed: u64,
) -> Result<Arc<dyn CommunicationBridge>, Error> {
    Ok(Arc::new(Bridges::new(protocols, clock, seed)?))
}
