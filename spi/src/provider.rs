//! How an engine, ours or a stranger's, offers itself to an environment.
//!
//! ```text
//!  onex.toml ─► environment ─► Provider::check (every section) ─► Provider::open (in order) ─► Engine
//! ```
//!
//! A provider never reads the environment's file: it is handed the section that named it, as a
//! [`Table`] without the key `engine` and without the policy's own tables, secrets already resolved.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
pub use toml::{Table, Value};

use crate::breaker::CircuitBreaker;
use crate::http::{HttpServer, HttpTransport, Resolver};
use crate::kafka::KafkaDriver;
use crate::{Clock, Error, Lifecycle, Result};

/// The engine ports that a section of the environment can name.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// [`HttpTransport`], section `http`.
    HttpTransport,
    /// [`HttpServer`], section `http_server`.
    HttpServer,
    /// [`KafkaDriver`], section `kafka`.
    KafkaDriver,
    /// [`CircuitBreaker`], section `breaker`.
    CircuitBreaker,
}

impl Port {
    /// Every port, in the order in which an environment opens them; the server last, so that it is drained
    /// first, while what its handlers use is still open.
    pub const ALL: &'static [Self] =
        &[Self::CircuitBreaker, Self::HttpTransport, Self::KafkaDriver, Self::HttpServer];

    /// The name of the port's section in a file.
    #[must_use]
    pub fn section(self) -> &'static str {
        match self {
            Self::HttpTransport => "http",
            Self::HttpServer => "http_server",
            Self::KafkaDriver => "kafka",
            Self::CircuitBreaker => "breaker",
        }
    }
}

/// An open engine.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Engine {
    /// Moves HTTP exchanges.
    HttpTransport(Arc<dyn HttpTransport>),
    /// Serves HTTP.
    HttpServer(Arc<dyn HttpServer>),
    /// Moves Kafka records.
    KafkaDriver(Arc<dyn KafkaDriver>),
    /// Decides about calls.
    CircuitBreaker(Arc<dyn CircuitBreaker>),
}

impl Engine {
    /// The port that this engine fills.
    #[must_use]
    pub fn port(&self) -> Port {
        match self {
            Self::HttpTransport(_) => Port::HttpTransport,
            Self::HttpServer(_) => Port::HttpServer,
            Self::KafkaDriver(_) => Port::KafkaDriver,
            Self::CircuitBreaker(_) => Port::CircuitBreaker,
        }
    }

    /// The engine as what it is whatever its port: something that can be asked for its health and closed.
    #[must_use]
    pub fn lifecycle(&self) -> Arc<dyn Lifecycle> {
        match self {
            Self::HttpTransport(transport) => Arc::clone(transport) as _,
            Self::HttpServer(server) => Arc::clone(server) as _,
            Self::KafkaDriver(driver) => Arc::clone(driver) as _,
            Self::CircuitBreaker(breaker) => Arc::clone(breaker) as _,
        }
    }
}

/// One key of a section that the engine does not accept.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// Where the key stands below the section, outermost first; empty = the section itself.
    pub path: Vec<String>,
    /// What is wrong and which keys or values would be right.
    pub message: String,
}

impl KeyError {
    /// Makes an error for the key at `path` (dotted below the section, `""` for the section itself).
    pub fn new(path: &str, message: impl Into<String>) -> Self {
        let path = path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self { path, message: message.into() }
    }

    /// Checks `table` against the engine's config type: an unknown key or a wrong type is a key error.
    #[must_use]
    pub fn of_config<C: DeserializeOwned>(table: &Table) -> Vec<Self> {
        read_config::<C>(table.clone()).err().into_iter().collect()
    }
}

fn read_config<C: DeserializeOwned>(table: Table) -> std::result::Result<C, KeyError> {
    table.try_into::<C>().map_err(|error| {
        let text = error.message().to_owned();
        // toml shows the table or the key of a bad value as "in `a.b`"; serde names an unknown or missing key itself.
        let shown = error.to_string();
        let place = shown.rsplit_once("\nin `").map(|(_, rest)| rest.trim_end()).unwrap_or_default();
        let place = place.strip_suffix('`').unwrap_or(place);
        let named = ["unknown field `", "missing field `"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix)?.split('`').next())
            .unwrap_or_default();
        KeyError::new(&format!("{place}.{named}"), text)
    })
}

/// Reads an engine's config from its section.
///
/// # Errors
/// `InvalidInput` naming the key, the rule and the known keys.
pub fn parse_config<C: DeserializeOwned>(operation: &'static str, table: Table) -> Result<C> {
    read_config(table).map_err(|error| {
        let path = error.path.join(".");
        let separator = if path.is_empty() { "" } else { ": " };
        Error::invalid(operation, format!("{path}{separator}{}", error.message))
    })
}

/// What an engine may use while it is opened, and keep.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// The clock for every timer of the engine.
    pub clock: Arc<dyn Clock>,
    /// The seed for every random decision of the engine.
    pub seed: u64,
    /// The resolver that a dialling engine must ask, where one is given; `None` = the engine's own.
    pub resolver: Option<Arc<dyn Resolver>>,
}

impl OpenContext {
    /// Makes a context with a clock and a seed.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self { clock, seed, resolver: None }
    }

    /// Hands dialling engines the one resolver that they may ask.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }
}

/// Offers one or more engines under one name.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The name that a section gives in `engine = ".."`.
    fn name(&self) -> &str;

    /// The ports that this provider can fill.
    fn ports(&self) -> &[Port];

    /// Whether the engine is meant for production; memory engines and mocks say `false`.
    fn production(&self) -> bool;

    /// Checks a section without opening anything; empty = good.
    fn check(&self, port: Port, table: &Table) -> Vec<KeyError>;

    /// Opens an engine from a section that [`check`](Provider::check) accepted.
    ///
    /// # Errors
    /// `Unsupported` for a port that is not in [`ports`](Provider::ports); else what the engine meets.
    /// # Cancellation
    /// Leaves nothing open.
    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine>;
}

const _: fn(&dyn Provider) = |_| ();

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape is looked at")]
    struct Config {
        port: u16,
        #[serde(default)]
        pool: Option<Pool>,
        #[serde(default)]
        properties: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape is looked at")]
    struct Pool {
        most: u16,
    }

    #[test]
    fn a_key_error_tells_the_whole_path() {
        let cases = [
            ("port = 'x'", "port"),
            ("prt = 1", "prt"),
            ("", "port"),
            ("port = 1\npool = { most = 1, least = 2 }", "pool.least"),
            ("port = 1\npool = {}", "pool.most"),
            ("port = 1\npool = { most = 'x' }", "pool.most"),
            ("port = 1\nproperties = { a = 1 }", "properties.a"),
        ];
        for (text, path) in cases {
            let errors = KeyError::of_config::<Config>(&text.parse().expect("a table"));
            let paths: Vec<String> = errors.iter().map(|error| error.path.join(".")).collect();
            assert_eq!(paths, [path], "{text}");
        }
        assert_eq!(KeyError::of_config::<Config>(&"port = 1".parse().expect("a table")), []);
        let refused = parse_config::<Config>("memory.open", Table::new()).expect_err("port is missing");
        assert_eq!(refused.message(), "port: missing field `port`");
    }
}
