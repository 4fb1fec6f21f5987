//! The engine against the suite of the bridge with every target behind a circuit: one that stays closed changes nothing.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use onex_bridge::guarded;
use onex_spi::Result;
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig};
use onex_spi::bridge::{BridgeContext, BridgeProtocol, BridgeSource, BridgeTarget, Protocol};
use onex_spi::provider::{KeyError, Table};
use onex_testkit::breaker::{BreakerSetup, reference::ReferenceBreaker};

fn main() -> ExitCode {
    onex_testkit::bridge::conformance(|setup| async move {
        let mut circuits = BreakerSetup::new(setup.seed);
        circuits.clock = setup.clock.clone();
        circuits.defaults = CircuitBreakerConfig::new().with_failure_threshold(1_000_000);
        let breaker: Arc<dyn CircuitBreaker> = Arc::new(ReferenceBreaker::new(circuits));
        let behind = |protocol| Arc::new(Behind(guarded(protocol, Some(breaker.clone())))) as Arc<_>;
        onex_bridge::open(setup.protocols.into_iter().map(behind).collect(), setup.clock, setup.seed)
    })
}

/// Names a circuit where a target is opened.
#[derive(Debug)]
struct Behind(Arc<dyn BridgeProtocol>);

#[async_trait]
impl BridgeProtocol for Behind {
    fn name(&self) -> Protocol {
        self.0.name()
    }

    fn check_source(&self, config: &Table) -> Vec<KeyError> {
        self.0.check_source(config)
    }

    fn check_target(&self, config: &Table) -> Vec<KeyError> {
        self.0.check_target(config)
    }

    async fn source(&self, config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeSource>> {
        self.0.source(config, context).await
    }

    async fn target(&self, mut config: Table, context: &BridgeContext) -> Result<Arc<dyn BridgeTarget>> {
        config.insert("circuit".to_owned(), context.bridge.to_string().into());
        self.0.target(config, context).await
    }
}
