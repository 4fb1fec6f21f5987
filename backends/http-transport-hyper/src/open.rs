//! Opening the transport, by hand or from an environment.

use std::sync::Arc;

use async_trait::async_trait;
use onex_connect::Connector;
use onex_spi::http::HttpTransport;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, Result};

use crate::Config;
use crate::http_transport::HyperTransport;

/// Opens a transport that dials TCP with the clock and the resolver of `context`.
///
/// # Errors
/// `InvalidInput` naming the key, the value and its range.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// use std::sync::Arc;
/// use onex_http_transport_hyper::{Config, open};
/// use onex_spi::TokioClock;
/// use onex_spi::provider::OpenContext;
///
/// let context = OpenContext::new(Arc::new(TokioClock::new()), 7);
/// let transport = open(Config::default(), &context).await?;
/// assert_eq!(transport.pool_stats().open, Some(0));
/// # Ok(())
/// # }
/// ```
pub async fn open(config: Config, context: &OpenContext) -> Result<Arc<dyn HttpTransport>> {
    open_with(config, Connector::from_context(context))
}

/// Opens a transport over `connector`, whose dialer a simulation replaces.
///
/// # Errors
/// `InvalidInput` naming the key, the value and its range.
pub fn open_with(config: Config, connector: Connector) -> Result<Arc<dyn HttpTransport>> {
    if let Some(fault) = config.faults().first() {
        return Err(Error::invalid("http.open", format!("{} {}", fault.path.join("."), fault.message)));
    }
    Ok(Arc::new(HyperTransport::new(&config, connector)))
}

/// The provider `hyper` of [`Port::HttpTransport`].
#[must_use]
pub fn provider() -> HyperProvider {
    HyperProvider {}
}

/// The provider of the engine `hyper`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct HyperProvider {}

#[async_trait]
impl Provider for HyperProvider {
    fn name(&self) -> &str {
        "hyper"
    }

    fn ports(&self) -> &[Port] {
        &[Port::HttpTransport]
    }

    fn production(&self) -> bool {
        true
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        if port != Port::HttpTransport {
            return vec![KeyError::new("", format!("hyper is no engine for {port:?}"))];
        }
        match table.clone().try_into::<Config>() {
            Ok(config) => config.faults(),
            Err(_) => KeyError::of_config::<Config>(table),
        }
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if port != Port::HttpTransport {
            return Err(Error::unsupported("http.open", format!("hyper is no engine for {port:?}")));
        }
        let config = parse_config("http.open", table)?;
        open(config, context).await.map(Engine::HttpTransport)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;

    fn check(text: &str) -> Vec<KeyError> {
        provider().check(Port::HttpTransport, &text.parse().expect("TOML"))
    }

    #[test]
    fn every_key_is_read_and_an_unknown_one_is_named() {
        let all = r#"
            max_connections_per_origin = 2
            max_waiting_per_origin = 3
            max_idle_per_origin = 4
            idle_timeout = "5s"
            connect_timeout = "6ms"
            max_response_headers = 7
            max_head_bytes = 2048
        "#;
        assert_eq!(check(all), []);
        let read: Config = parse_config("http.open", all.parse().expect("TOML")).expect("a config");
        let built = Config::default()
            .with_max_connections_per_origin(NonZeroUsize::new(2).expect("not zero"))
            .with_max_waiting_per_origin(3)
            .with_max_idle_per_origin(4)
            .with_idle_timeout(Duration::from_secs(5))
            .with_connect_timeout(Duration::from_millis(6))
            .with_max_response_headers(7)
            .with_max_head_bytes(2048);
        assert_eq!(read, built);
        assert_eq!(check("max_idle = 1")[0].path, ["max_idle"]);
    }

    #[test]
    fn values_out_of_range_are_named_by_key() {
        let text = "connect_timeout = \"0s\"\nmax_response_headers = 0\nmax_head_bytes = 1";
        let paths: Vec<_> = check(text).into_iter().flat_map(|fault| fault.path).collect();
        assert_eq!(paths, ["connect_timeout", "max_response_headers", "max_head_bytes"]);
        assert!(!check("max_connections_per_origin = 0").is_empty());
    }
}
