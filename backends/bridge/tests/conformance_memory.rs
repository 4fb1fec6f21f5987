//! The engine against the suite of the bridge, between the ends of its own memory protocol.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use onex_bridge::memory::MemoryHub;
use onex_spi::bridge::{BridgeMessage, BridgeProtocol};
use onex_spi::provider::Table;
use onex_spi::{Clock, Features, Result};
use onex_testkit::bridge::{Ends, EndsFeature, EndsSetup};

/// Room for the case that offers a hundred thousand messages at once.
const CAPACITY: usize = 200_000;

fn main() -> ExitCode {
    let bridge = |setup: onex_testkit::bridge::BridgeSetup| async move {
        onex_bridge::open(setup.protocols, setup.clock, setup.seed)
    };
    onex_testkit::bridge::conformance_over(bridge, |setup: EndsSetup| async move {
        let ends = HubEnds { hub: MemoryHub::new(), arrived: Mutex::default(), clock: setup.clock };
        Ok(Arc::new(ends) as Arc<dyn Ends>)
    })
}

#[derive(Debug)]
struct HubEnds {
    hub: MemoryHub,
    arrived: Mutex<BTreeMap<String, Vec<BridgeMessage>>>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Ends for HubEnds {
    fn source_protocol(&self) -> Arc<dyn BridgeProtocol> {
        self.hub.protocol()
    }

    fn target_protocol(&self) -> Arc<dyn BridgeProtocol> {
        self.hub.protocol()
    }

    fn features(&self) -> Features<EndsFeature> {
        // A target of this protocol has no keys, so none that could hold a secret.
        Features::all().without(EndsFeature::Secrets)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    async fn source(&self, name: &str) -> Result<Table> {
        self.hub.queue(name, CAPACITY);
        Ok(Table::from_iter([("queue".to_owned(), name.into())]))
    }

    async fn target(&self, _: Option<&str>) -> Result<Table> {
        Ok(Table::new())
    }

    async fn route(&self, name: &str) -> Result<String> {
        self.hub.queue(name, CAPACITY);
        Ok(name.to_owned())
    }

    fn missing_route(&self, name: &str) -> String {
        name.to_owned()
    }

    fn route_into(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn offer(&self, name: &str, _: &[String], messages: Vec<BridgeMessage>) -> Result<()> {
        self.hub.queue(name, CAPACITY).offer_all(&messages).await
    }

    async fn arrived(&self, route: &str) -> Result<Vec<BridgeMessage>> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = arrived.entry(route.to_owned()).or_default();
        arrived.extend(self.hub.queue(route, CAPACITY).try_take(CAPACITY));
        Ok(arrived.clone())
    }

    async fn close(&self) {}
}
