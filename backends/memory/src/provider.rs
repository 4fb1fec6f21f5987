//! The name `memory` in a file.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, Result};

use crate::http::{HttpConfig, MemoryHttp};

/// Offers the memory engines under the name `memory`.
///
/// The ports that one provider opens share one world: a transport reaches the server of the same provider.
#[derive(Clone, Debug, Default)]
pub struct MemoryProvider {
    http: Arc<OnceLock<MemoryHttp>>,
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
        Self { http: Arc::new(OnceLock::from(network)) }
    }

    fn http(&self, table: Table, context: &OpenContext) -> Result<&MemoryHttp> {
        let config: HttpConfig = parse_config("memory.open", table)?;
        Ok(self.http.get_or_init(|| MemoryHttp::with_config(config, context.clock.clone())))
    }
}

#[async_trait]
impl Provider for MemoryProvider {
    fn name(&self) -> &str {
        "memory"
    }

    fn ports(&self) -> &[Port] {
        &[Port::HttpTransport, Port::HttpServer]
    }

    fn production(&self) -> bool {
        false
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        match port {
            Port::HttpTransport | Port::HttpServer => KeyError::of_config::<HttpConfig>(table),
            _ => vec![KeyError::new("", not_here(port))],
        }
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        match port {
            Port::HttpTransport => Ok(Engine::HttpTransport(self.http(table, context)?.transport())),
            Port::HttpServer => Ok(Engine::HttpServer(self.http(table, context)?.server())),
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

    fn toml_table(key: &str, value: i64) -> Table {
        Table::from_iter([(key.to_owned(), onex_spi::provider::Value::Integer(value))])
    }
}
