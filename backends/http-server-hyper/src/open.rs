//! Opening the server, by hand or from an environment.

use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::http::HttpServer;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, Result};

use crate::Config;
use crate::http_server::HyperServer;

/// Opens a server whose timeouts run on the clock of `context`; it listens nowhere yet.
///
/// # Errors
/// `InvalidInput` naming the key, the value and its range.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use onex_http_server_hyper::{Config, open};
/// use onex_spi::TokioClock;
/// use onex_spi::provider::OpenContext;
///
/// let server = open(Config::default(), &OpenContext::new(Arc::new(TokioClock::new()), 7)).await?;
/// # let my_service = onex_testkit::http::handler(|_| async { Ok(onex_spi::http::HttpResponse::new(http::StatusCode::OK, "")) });
/// let serving = server.serve(([127, 0, 0, 1], 0).into(), my_service).await?;
/// println!("listening at {}", serving.local_addr());
/// serving.close(Duration::from_secs(10)).await
/// # }
/// ```
pub async fn open(config: Config, context: &OpenContext) -> Result<Arc<dyn HttpServer>> {
    if let Some(fault) = config.faults().first() {
        return Err(Error::invalid(
            "http_server.open",
            format!("{} {}", fault.path.join("."), fault.message),
        ));
    }
    Ok(Arc::new(HyperServer::new(config, context.clock.clone())))
}

/// The provider `hyper` of [`Port::HttpServer`].
#[must_use]
pub fn provider() -> HyperServerProvider {
    HyperServerProvider {}
}

/// The provider of the engine `hyper` for servers.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct HyperServerProvider {}

#[async_trait]
impl Provider for HyperServerProvider {
    fn name(&self) -> &str {
        "hyper"
    }

    fn ports(&self) -> &[Port] {
        &[Port::HttpServer]
    }

    fn production(&self) -> bool {
        true
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        if port != Port::HttpServer {
            return vec![KeyError::new("", format!("hyper is no engine for {port:?}"))];
        }
        match table.clone().try_into::<Config>() {
            Ok(config) => config.faults(),
            Err(_) => KeyError::of_config::<Config>(table),
        }
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if port != Port::HttpServer {
            return Err(Error::unsupported("http_server.open", format!("hyper is no engine for {port:?}")));
        }
        let config = parse_config("http_server.open", table)?;
        open(config, context).await.map(Engine::HttpServer)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;

    fn check(text: &str) -> Vec<KeyError> {
        provider().check(Port::HttpServer, &text.parse().expect("TOML"))
    }

    #[test]
    fn every_key_is_read_and_an_unknown_one_is_named() {
        let all = "max_connections = 2\nmax_headers = 3\nmax_head_bytes = 2048\nhead_timeout = \"5s\"";
        assert_eq!(check(all), []);
        let read: Config = parse_config("http_server.open", all.parse().expect("TOML")).expect("a config");
        let built = Config::default()
            .with_max_connections(NonZeroUsize::new(2).expect("not zero"))
            .with_max_headers(3)
            .with_max_head_bytes(2048)
            .with_head_timeout(Duration::from_secs(5));
        assert_eq!(read, built);
        assert_eq!(check("max_body = 1")[0].path, ["max_body"]);
    }

    #[test]
    fn values_out_of_range_are_named_by_key() {
        let text = "max_headers = 0\nmax_head_bytes = 1\nhead_timeout = \"0s\"";
        let paths: Vec<_> = check(text).into_iter().flat_map(|fault| fault.path).collect();
        assert_eq!(paths, ["max_headers", "max_head_bytes", "head_timeout"]);
        assert_eq!(check("head_timeout = \"1000000years\"")[0].path, ["head_timeout"]);
    }
}
