//! How the engine is opened: from a [`Config`], or by an environment that read one.

use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::kafka::KafkaDriver;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, Result};

use crate::Config;
use crate::driver::RdKafkaDriver;

/// Opens the engine; a broker that is away is told by `health` and by the first call, not here.
///
/// # Errors
/// `InvalidInput` naming the key.
/// # Cancellation
/// Leaves nothing open.
///
/// # Examples
/// ```no_run
/// # async fn run(context: onex_spi::provider::OpenContext) -> onex_spi::Result<()> {
/// use onex_kafka_rdkafka::{Config, open};
///
/// let kafka = open(Config::new(["127.0.0.1:9092"]), &context).await?;
/// println!("{:?}", kafka.health().await);
/// # Ok(())
/// # }
/// ```
pub async fn open(config: Config, context: &OpenContext) -> Result<Arc<dyn KafkaDriver>> {
    config.validate()?;
    Ok(Arc::new(RdKafkaDriver::new(config, context)))
}

/// The engine for environments, under the name `rdkafka`.
#[must_use]
pub fn provider() -> RdKafkaProvider {
    RdKafkaProvider {}
}

/// The provider of the engine `rdkafka`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct RdKafkaProvider {}

#[async_trait]
impl Provider for RdKafkaProvider {
    fn name(&self) -> &str {
        "rdkafka"
    }

    fn ports(&self) -> &[Port] {
        &[Port::KafkaDriver]
    }

    fn production(&self) -> bool {
        true
    }

    fn check(&self, _: Port, table: &Table) -> Vec<KeyError> {
        let errors = KeyError::of_config::<Config>(table);
        if !errors.is_empty() {
            return errors;
        }
        parse_config::<Config>("kafka.open", table.clone())
            .map_or_else(|_| Vec::new(), |config| config.key_errors())
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if port != Port::KafkaDriver {
            let text =
                format!("rdkafka fills the port {}, not {}", Port::KafkaDriver.section(), port.section());
            return Err(Error::unsupported("kafka.open", text));
        }
        Ok(Engine::KafkaDriver(open(parse_config("kafka.open", table)?, context).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let table: Table = text.parse().expect("TOML");
        provider().check(Port::KafkaDriver, &table).into_iter().map(|error| error.path.join("/")).collect()
    }

    #[test]
    fn a_section_is_checked_without_a_broker() {
        let good = "bootstrap_servers = ['b:9092']\ntuning = { 'fetch.wait.max.ms' = 100, 'socket.keepalive.enable' = true }";
        assert_eq!(check(good), [""; 0]);
        assert_eq!(check("bootstrap_servers = ['b:9092']\nserver = 1"), ["server"]);
        assert_eq!(
            check("bootstrap_servers = ['b:9092']\ntuning = { 'group.id' = 'g' }"),
            ["tuning/group.id"]
        );
        assert_eq!(check("bootstrap_servers = ['b:9092']\nrecord_bytes = 0"), ["record_bytes"]);
    }
}
