//! The table `client` of the section `http`: the policy's config, and the circuit that requests ask.
//!
//! ```text
//!  [test.http.client]            everything but `breaker` is onex-http-client's Config
//!  breaker = "per-host"          or { name = "payments" }, or { circuit = { failure_threshold = 3 } }, or "off"
//! ```

use std::sync::Arc;

use onex_http_client::{Config, HttpClientBuilder};
use onex_spi::breaker::{CircuitBreaker, CircuitBreakerConfig};
use onex_spi::http::{BreakerBinding, HttpClient, HttpInterceptor, HttpTransport};
use onex_spi::provider::{KeyError, OpenContext, Port, parse_config};
use onex_spi::{Error, Result};
use serde::Deserialize;
use toml::Value;

use crate::check::check;
use crate::fault::{Faults, Origin};
use crate::reference::References;
use crate::tree::{Entry, Keys, NodeValue};

const SUBJECT: &str = "http.client";
const BREAKER: &str = "http.client.breaker";

/// What the program puts around the requests of the client, outermost first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interceptors {
    pub(crate) around_call: Vec<Arc<dyn HttpInterceptor>>,
    pub(crate) around_attempt: Vec<Arc<dyn HttpInterceptor>>,
}

/// The client that will stand above the transport.
#[derive(Default)]
pub(crate) struct HttpPolicy {
    config: Config,
    breaker: Option<Binding>,
}

/// The table form of `breaker`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Binding {
    /// One circuit of that name; else one per host.
    name: Option<String>,
    /// The limits of the circuits that requests ask; else the breaker's own.
    circuit: Option<CircuitBreakerConfig>,
}

impl HttpPolicy {
    /// Reads the table whose keys are `keys`; it stands at `home`.
    pub(crate) fn read(
        home: &Origin,
        mut keys: Keys,
        profile: &str,
        has_breaker: bool,
        references: &mut References<'_>,
        faults: &mut Faults,
    ) -> Self {
        let breaker = keys.remove("breaker").and_then(|entry| {
            let origin = entry.key.clone();
            let binding = Binding::read(entry, references, faults)?;
            if !has_breaker {
                let section = Port::CircuitBreaker.section();
                let message =
                    format!("asks a breaker, and there is none; add [{profile}.{section}] with an engine");
                faults.add(origin, BREAKER, message);
            }
            Some(binding)
        });
        let table = check(SUBJECT, home, &mut keys, references, faults, &|table| {
            let errors = KeyError::of_config::<Config>(table);
            let retry = || ruled("retry.", table, |config: Config| config.retry.validate());
            let rest = || ruled("", table, |config: Config| config.validate());
            [errors]
                .into_iter()
                .chain([retry(), rest()])
                .find(|errors| !errors.is_empty())
                .unwrap_or_default()
        });
        // A table that was refused is a fault already, and a plan with faults is not opened.
        Self { config: parse_config(SUBJECT, table).unwrap_or_default(), breaker }
    }

    /// Makes the client.
    ///
    /// # Errors
    /// What the breaker says to its binding.
    pub(crate) fn open(
        self,
        transport: Arc<dyn HttpTransport>,
        breaker: Option<Arc<dyn CircuitBreaker>>,
        interceptors: &Interceptors,
        context: &OpenContext,
    ) -> Result<Arc<dyn HttpClient>> {
        let mut builder = HttpClientBuilder::new(transport, Arc::clone(&context.clock))
            .config(self.config)
            .seed(context.seed);
        if let (Some(binding), Some(breaker)) = (self.breaker, breaker) {
            let bound = match binding.name {
                Some(name) => BreakerBinding::named(breaker, name),
                None => BreakerBinding::per_host(breaker),
            };
            builder = builder.breaker(match binding.circuit {
                Some(circuit) => bound.with_config(circuit),
                None => bound,
            });
        }
        for interceptor in &interceptors.around_call {
            builder = builder.around_call(Arc::clone(interceptor));
        }
        for interceptor in &interceptors.around_attempt {
            builder = builder.around_attempt(Arc::clone(interceptor));
        }
        builder.build()
    }
}

impl Binding {
    fn read(entry: Entry, references: &mut References<'_>, faults: &mut Faults) -> Option<Self> {
        let origin = entry.node.origin;
        let mut keys = match entry.node.value {
            NodeValue::Table(keys) => keys,
            value => {
                return match value.plain().and_then(Value::as_str) {
                    Some("per-host") => Some(Self::default()),
                    Some("off") => None,
                    _ => {
                        faults.add(origin, BREAKER, "must be \"per-host\", \"off\" or { name = \"..\" }");
                        None
                    }
                };
            }
        };
        let table = check(BREAKER, &entry.key, &mut keys, references, faults, &|table| {
            let errors = KeyError::of_config::<Self>(table);
            let validate = |binding: Self| binding.circuit.map_or(Ok(()), |circuit| circuit.validate());
            if errors.is_empty() { ruled("circuit.", table, validate) } else { errors }
        });
        parse_config(BREAKER, table).ok()
    }
}

/// Asks a config for its own rules; the message of a refusal begins with the field below `above`.
fn ruled<C: serde::de::DeserializeOwned>(
    above: &str,
    table: &toml::Table,
    validate: impl FnOnce(C) -> Result<()>,
) -> Vec<KeyError> {
    let refused = |error: Error| {
        let field = error.message().split([' ', ':']).next().unwrap_or_default();
        KeyError::new(&format!("{above}{field}"), error.message())
    };
    parse_config(SUBJECT, table.clone()).and_then(validate).err().map(refused).into_iter().collect()
}
