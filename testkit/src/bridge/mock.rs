//! A mock of the callers' port, for tests of code that holds an `Arc<dyn CommunicationBridge>`.
#![allow(missing_docs, reason = "mockall writes the methods `expect_*`, one for each method of the port")]

use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeConfig, BridgeHealth, BridgeId, BridgeInfo, BridgeMessage, BridgeMetrics, BridgeReceipt,
    BridgeStatus, Protocol, RoutingRule,
};
use onex_spi::{Health, Result};

mockall::mock! {
    /// A mock of [`CommunicationBridge`](onex_spi::bridge::CommunicationBridge): a call without an expectation panics.
    ///
    /// # Examples
    /// ```
    /// use onex_spi::bridge::CommunicationBridge;
    /// use onex_testkit::bridge::mock::MockCommunicationBridge;
    ///
    /// let mut bridge = MockCommunicationBridge::new();
    /// bridge.expect_all_bridges().once().returning(Vec::new);
    /// assert!(bridge.all_bridges().is_empty());
    /// ```
    #[derive(Debug)]
    pub CommunicationBridge {}

    #[async_trait]
    impl onex_spi::Lifecycle for CommunicationBridge {
        async fn health(&self) -> Health;
        async fn close(&self, within: Duration) -> Result<()>;
    }

    #[async_trait]
    impl onex_spi::bridge::CommunicationBridge for CommunicationBridge {
        async fn create_bridge(
            &self,
            name: &str,
            source: Protocol,
            target: Protocol,
            config: BridgeConfig,
        ) -> Result<BridgeId>;
        async fn destroy_bridge(&self, id: BridgeId, within: Duration) -> Result<()>;
        async fn send_message_through_bridge(
            &self,
            id: BridgeId,
            message: BridgeMessage,
        ) -> Result<BridgeReceipt>;
        fn bridge_status(&self, id: BridgeId) -> Result<BridgeStatus>;
        fn bridge_metrics(&self, id: BridgeId) -> Result<BridgeMetrics>;
        fn configure_bridge_routing(&self, id: BridgeId, rules: Vec<RoutingRule>) -> Result<()>;
        fn all_bridges(&self) -> Vec<BridgeInfo>;
        async fn monitor_bridge_health(&self, id: BridgeId) -> Result<BridgeHealth>;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::Arc;

    use onex_spi::bridge::{CommunicationBridge, DeadReason, Disposition, MessageId};

    use super::*;

    #[tokio::test]
    async fn a_mock_stands_where_the_port_stands() {
        let id = BridgeId::new(NonZeroU64::MIN);
        let mut mock = MockCommunicationBridge::new();
        mock.expect_send_message_through_bridge().withf(move |sent, _| *sent == id).returning(
            |_, message| {
                Ok(BridgeReceipt::new(message.id, Disposition::DeadLettered(DeadReason::NoRoute), None))
            },
        );
        let bridge: Arc<dyn CommunicationBridge> = Arc::new(mock);
        let message = BridgeMessage::new(MessageId::from_u128(7), "{}");
        let receipt = bridge.send_message_through_bridge(id, message).await.expect("as told");
        assert!(receipt.message_id == MessageId::from_u128(7) && !receipt.is_delivered());
    }
}
