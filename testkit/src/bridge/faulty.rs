//! Seeded faults over a bridge, as its caller meets them; faults of its ends are the [`Tap`](super::Tap)'s.
//!
//! Ending things is never disturbed.

use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeConfig, BridgeHealth, BridgeId, BridgeInfo, BridgeMessage, BridgeMetrics, BridgeReceipt,
    BridgeStatus, CommunicationBridge, Protocol, RoutingRule,
};
use onex_spi::{Health, Lifecycle, Result};

use crate::faulty::Faulty;

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Faulty<dyn CommunicationBridge> {
    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.inner.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CommunicationBridge for Faulty<dyn CommunicationBridge> {
    async fn create_bridge(
        &self,
        name: &str,
        source: Protocol,
        target: Protocol,
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        let create = self.inner.create_bridge(name, source, target, config);
        // An id whose answer is lost is a bridge that nobody can destroy: it is refused or made, nothing between.
        self.faults.call_or_refuse("bridge.create", create).await
    }

    async fn destroy_bridge(&self, id: BridgeId, within: Duration) -> Result<()> {
        self.inner.destroy_bridge(id, within).await
    }

    async fn send_message_through_bridge(
        &self,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        self.faults.call("bridge.send", self.inner.send_message_through_bridge(id, message)).await
    }

    fn bridge_status(&self, id: BridgeId) -> Result<BridgeStatus> {
        self.inner.bridge_status(id)
    }

    fn bridge_metrics(&self, id: BridgeId) -> Result<BridgeMetrics> {
        self.inner.bridge_metrics(id)
    }

    fn configure_bridge_routing(&self, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()> {
        self.inner.configure_bridge_routing(id, rules)
    }

    fn all_bridges(&self) -> Vec<BridgeInfo> {
        self.inner.all_bridges()
    }

    async fn monitor_bridge_health(&self, id: BridgeId) -> Result<BridgeHealth> {
        self.faults.call("bridge.health", self.inner.monitor_bridge_health(id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::Arc;

    use onex_spi::bridge::{Disposition, MessageId};
    use onex_spi::{Effect, TokioClock};

    use super::super::mock::MockCommunicationBridge;
    use super::*;
    use crate::faulty::FaultPlan;

    #[tokio::test]
    async fn a_lost_answer_of_a_send_that_happened_is_told_as_unknown() {
        let mut mock = MockCommunicationBridge::new();
        mock.expect_send_message_through_bridge()
            .once()
            .returning(|_, message| Ok(BridgeReceipt::new(message.id, Disposition::Filtered, None)));
        let good: Arc<dyn CommunicationBridge> = Arc::new(mock);
        let plan = FaultPlan::new(1).with_lose_answer(1.0);
        let faulty = Faulty::new(good, plan, Arc::new(TokioClock::new()));
        let message = BridgeMessage::new(MessageId::from_u128(7), "{}");
        let answer = faulty.send_message_through_bridge(BridgeId::new(NonZeroU64::MIN), message).await;
        assert_eq!(answer.expect_err("lost").effect(), Effect::Unknown);
    }
}
