//! The name `memory` in a file.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use onex_spi::kafka::KafkaDriver;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, Result};

use crate::http::{HttpConfig, MemoryHttp};
use crate::kafka::{KafkaConfig, MemoryKafka};

/// Offers the memory engines under the name `memory`.
///
/// The ports that one provider opens share one world: a transport reaches the server of the same provider. The section that
/// is opened first, or the handle that was given, makes it: `log`, `default_partitions` and the clock are read there alone.
#[derive(Clone, Debug, Default)]
pub struct MemoryProvider {
    http: Arc<OnceLock<MemoryHttp>>,
    kafka: Arc<OnceLock<MemoryKafka>>,
}

/// The memory engines, for an environment.
#[must_use]
pub fn provider() -> MemoryProvider {
    MemoryProvider::default()
}

impl MemoryProvider {
    /// Opens HTTP into `network`, so that a test keeps the handle.
    #[must_use]
    pub fn with_http(network: MemoryHttp) -> Self {
        Self { http: Arc::new(OnceLock::from(network)), ..Self::default() }
    }

    /// Opens Kafka on `broker`, so that a test keeps the handle.
    #[must_use]
    pub fn with_kafka(mut self, broker: MemoryKafka) -> Self {
        self.kafka = Arc::new(OnceLock::from(broker));
        self
    }

    fn http(&self, table: Table, context: &OpenContext) -> Result<&MemoryHttp> {
        let config: HttpConfig = parse_config("memory.open", table)?;
        Ok(self.http.get_or_init(|| MemoryHttp::with_config(config, context.clock.clone())))
    }

    async fn kafka(&self, table: Table, context: &OpenContext) -> Result<Arc<dyn KafkaDriver>> {
        let config: KafkaConfig = parse_config("memory.open", table)?;
        let driver =
            self.kafka.get_or_init(|| MemoryKafka::with_config(&config, context.clock.clone())).driver();
        for topic in config.topics {
            driver.create_topic(topic.into()).await?;
        }
        Ok(driver)
    }
}

#[async_trait]
impl Provider for MemoryProvider {
    fn name(&self) -> &str {
        "memory"
    }

    fn ports(&self) -> &[Port] {
        &[Port::HttpTransport, Port::HttpServer, Port::KafkaDriver]
    }

    fn production(&self) -> bool {
        false
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        match port {
            Port::HttpTransport | Port::HttpServer => KeyError::of_config::<HttpConfig>(table),
            Port::KafkaDriver => KeyError::of_config::<KafkaConfig>(table),
            _ => vec![KeyError::new("", not_here(port))],
        }
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        match port {
            Port::HttpTransport => Ok(Engine::HttpTransport(self.http(table, context)?.transport())),
            Port::HttpServer => Ok(Engine::HttpServer(self.http(table, context)?.server())),
            Port::KafkaDriver => Ok(Engine::KafkaDriver(self.kafka(table, context).await?)),
            _ => Err(Error::unsupported("memory.open", not_here(port))),
        }
    }
}

fn not_here(port: Port) -> String {
    format!(
        "the engine `memory` does not offer {port:?}; name another engine in section `{}`",
        port.section()
    )
}

#[cfg(test)]
mod tests {
    use http::Method;
    use onex_spi::http::{HttpRequest, HttpUrl};
    use onex_spi::{ErrorKind, TokioClock};

    use super::*;

    #[tokio::test]
    async fn ports_of_one_provider_share_a_network() {
        let provider = provider();
        let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
        let open = |port| provider.open(port, Table::new(), &context);
        let (Ok(Engine::HttpTransport(transport)), Ok(Engine::HttpServer(server))) =
            (open(Port::HttpTransport).await, open(Port::HttpServer).await)
        else {
            panic!("both ports open");
        };
        let router = Arc::new(crate::http::Router::new());
        let serving = server.serve(([127, 0, 0, 1], 0).into(), router).await.expect("serving");
        let url = HttpUrl::try_from(format!("http://{}/", serving.local_addr())).expect("a URL");
        let answer = transport.exchange(HttpRequest::new(Method::GET, url)).await.expect("an answer");
        assert_eq!(answer.status, 500, "a router without routes fails, a server tells 500");
    }

    #[tokio::test]
    async fn an_unknown_key_is_named_with_the_known_ones() {
        let table: Table = toml_table("logg", 7);
        let errors = provider().check(Port::HttpTransport, &table);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].path, ["logg"]);
        assert!(errors[0].message.contains("`log`"), "{}", errors[0].message);
        let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
        let refused = provider().open(Port::HttpServer, table, &context).await.expect_err("unknown key");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn drivers_of_one_provider_share_a_broker() -> Result<()> {
        let provider = provider();
        let context = OpenContext::new(Arc::new(TokioClock::new()), 1);
        let listed = "topics = [{ name = \"orders\", partitions = 3 }]".parse().expect("good TOML");
        provider.open(Port::KafkaDriver, listed, &context).await?;
        let Engine::KafkaDriver(other) = provider.open(Port::KafkaDriver, Table::new(), &context).await?
        else {
            panic!("another engine");
        };
        assert_eq!(other.topic_metadata("orders").await?.partitions.len(), 3);
        let bad = "topics = [{ name = \"a b\" }]".parse().expect("good TOML");
        let refused = provider.open(Port::KafkaDriver, bad, &context).await.expect_err("a bad name");
        assert_eq!(refused.kafka().map(|fault| &*fault.name), Some("INVALID_TOPIC_EXCEPTION"));
        let errors = provider.check(Port::KafkaDriver, &toml_table("partitions", 3));
        assert_eq!(errors[0].path, ["partitions"]);
        Ok(())
    }

    fn toml_table(key: &str, value: i64) -> Table {
        Table::from_iter([(key.to_owned(), onex_spi::provider::Value::Integer(value))])
    }
}
