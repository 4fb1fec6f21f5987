//! Opening the transport, by hand or from an environment.

use std::sync::Arc;

use async_trait::async_trait;
use onex_connect::SystemResolver;
use onex_spi::http::{HttpTransport, Resolver};
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, Result};

use crate::Config;
use crate::http_transport::ReqwestTransport;

/// Opens a transport with the clock and the resolver of `context`; without a resolver, the system's is asked.
///
/// # Errors
/// `InvalidInput` naming the key, the value and its range; `Unclassified` where reqwest refuses to be built.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> onex_spi::Result<()> {
/// use std::sync::Arc;
/// use onex_http_transport_reqwest::{Config, open};
/// use onex_spi::TokioClock;
/// use onex_spi::provider::OpenContext;
///
/// let context = OpenContext::new(Arc::new(TokioClock::new()), 7);
/// let transport = open(Config::default(), &context).await?;
/// assert_eq!(transport.pool_stats().in_use, Some(0));
/// assert_eq!(transport.pool_stats().idle, None, "reqwest does not tell");
/// # Ok(())
/// # }
/// ```
pub async fn open(config: Config, context: &OpenContext) -> Result<Arc<dyn HttpTransport>> {
    if let Some(fault) = config.faults().first() {
        return Err(Error::invalid("http.open", format!("{} {}", fault.path.join("."), fault.message)));
    }
    let resolver: Arc<dyn Resolver> = match &context.resolver {
        Some(resolver) => resolver.clone(),
        None => Arc::new(SystemResolver::new()),
    };
    Ok(Arc::new(ReqwestTransport::new(&config, resolver, context.clock.clone())?))
}

/// The provider `reqwest` of [`Port::HttpTransport`].
#[must_use]
pub fn provider() -> ReqwestProvider {
    ReqwestProvider
}

/// Offers the transport under the name `reqwest`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct ReqwestProvider;

#[async_trait]
impl Provider for ReqwestProvider {
    fn name(&self) -> &str {
        "reqwest"
    }

    fn ports(&self) -> &[Port] {
        &[Port::HttpTransport]
    }

    fn production(&self) -> bool {
        true
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        if port != Port::HttpTransport {
            return vec![KeyError::new("", not_here(port))];
        }
        match table.clone().try_into::<Config>() {
            Ok(config) => config.faults(),
            Err(_) => KeyError::of_config::<Config>(table),
        }
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if port != Port::HttpTransport {
            return Err(Error::unsupported("http.open", not_here(port)));
        }
        open(parse_config("http.open", table)?, context).await.map(Engine::HttpTransport)
    }
}

fn not_here(port: Port) -> String {
    format!("reqwest is no engine for {port:?}; name another in section `{}`", port.section())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(text: &str) -> Vec<KeyError> {
        provider().check(Port::HttpTransport, &text.parse().expect("TOML"))
    }

    #[test]
    fn every_key_is_read_and_an_unknown_one_is_named() {
        let all = "max_idle_per_origin = 4\nidle_timeout = \"5s\"\nconnect_timeout = \"6ms\"\nmax_response_headers = 7";
        assert_eq!(check(all), []);
        let read: Config = parse_config("http.open", all.parse().expect("TOML")).expect("a config");
        let built = Config::default()
            .with_max_idle_per_origin(4)
            .with_idle_timeout(Duration::from_secs(5))
            .with_connect_timeout(Duration::from_millis(6))
            .with_max_response_headers(7);
        assert_eq!(read, built);
        assert_eq!(check("max_idle = 1")[0].path, ["max_idle"]);
        let wrong = provider().check(Port::KafkaDriver, &Table::new());
        assert!(wrong[0].message.contains("section `kafka`"), "{}", wrong[0].message);
    }

    #[test]
    fn values_out_of_range_are_named_by_key() {
        let text = "connect_timeout = \"0s\"\nmax_response_headers = 0";
        let paths: Vec<_> = check(text).into_iter().flat_map(|fault| fault.path).collect();
        assert_eq!(paths, ["connect_timeout", "max_response_headers"]);
    }
}
