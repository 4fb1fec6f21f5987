//! How an environment finds both engines: `engine = "stranger"` in a section of its file.

use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table};
use onex_spi::{Error, Result};

use crate::dial::DialTransport;
use crate::log::{Log, LogDriver};

/// The engines of this crate, for an environment.
#[must_use]
pub fn provider() -> StrangerProvider {
    StrangerProvider::default()
}

/// Offers the engines under the name `stranger`; what one provider opens for Kafka shares one log.
#[derive(Clone, Debug, Default)]
pub struct StrangerProvider {
    log: Log,
}

#[async_trait]
impl Provider for StrangerProvider {
    fn name(&self) -> &str {
        "stranger"
    }

    fn ports(&self) -> &[Port] {
        &[Port::HttpTransport, Port::KafkaDriver]
    }

    fn production(&self) -> bool {
        // A log in memory ends with its process.
        false
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        if !self.ports().contains(&port) {
            return vec![KeyError::new("", not_here(port))];
        }
        let unknown = |key: &String| KeyError::new(key, "unknown: `stranger` has no keys; leave it out");
        table.keys().map(unknown).collect()
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if let Some(key) = table.keys().next() {
            return Err(Error::invalid(
                "stranger.open",
                format!("{key}: `stranger` has no keys; leave it out"),
            ));
        }
        let clock = context.clock.clone();
        match port {
            Port::HttpTransport => {
                Ok(Engine::HttpTransport(Arc::new(DialTransport::new(clock, context.resolver.clone()))))
            }
            Port::KafkaDriver => Ok(Engine::KafkaDriver(Arc::new(LogDriver::new(self.log.clone(), clock)))),
            _ => Err(Error::unsupported("stranger.open", not_here(port))),
        }
    }
}

fn not_here(port: Port) -> String {
    format!("the engine `stranger` does not offer {port:?}; name another one in section `{}`", port.section())
}
