//! Engines that do nothing but write down what happens to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::breaker::{
    BreakerCapabilities, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitListener, CircuitMetrics,
    CircuitSnapshot, CircuitStatus,
};
use onex_spi::http::{
    HttpCapabilities, HttpRequest, HttpResponse, HttpServer, HttpService, HttpServing, HttpTransport,
    PoolStats, StatsSource,
};
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaAdmin, KafkaCapabilities, KafkaDriver,
    KafkaFeature, ProducerConfig, ProducerDriver, TopicMetadata, TopicOutcome,
};
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Error, ErrorKind, Features, Health, Lifecycle, Result};
use serde::Deserialize;

/// What happened, in order; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The keys that the fake engines know.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(dead_code, reason = "the shape is what matters")]
pub(crate) struct Config {
    pub(crate) bootstrap_servers: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) port: u16,
    pub(crate) batch: Option<u32>,
    pub(crate) password: String,
    pub(crate) proxy: String,
    pub(crate) dangerous_trust_all: bool,
    pub(crate) mode: Mode,
    pub(crate) pool: Pool,
    pub(crate) tuning: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    #[default]
    Fast,
    Safe,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(dead_code, reason = "the shape is what matters")]
pub(crate) struct Pool {
    pub(crate) most: u16,
    pub(crate) least: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the shape is what matters")]
struct Strict {
    url: String,
}

/// How a fake engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    Badly,
    Never,
}

/// Offers fake engines.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    name: &'static str,
    ports: &'static [Port],
    journal: Journal,
    production: bool,
    strict: bool,
    groups: bool,
    refuses: Option<Error>,
    pub(crate) confused: bool,
    ending: Ending,
}

impl Fake {
    pub(crate) fn new(name: &'static str, journal: &Journal) -> Self {
        Self {
            name,
            ports: Port::ALL,
            journal: journal.clone(),
            production: true,
            strict: false,
            groups: false,
            refuses: None,
            confused: false,
            ending: Ending::Well,
        }
    }

    pub(crate) fn only(mut self, ports: &'static [Port]) -> Self {
        self.ports = ports;
        self
    }

    pub(crate) fn for_development(mut self) -> Self {
        self.production = false;
        self
    }

    pub(crate) fn with_required_url(mut self) -> Self {
        self.strict = true;
        self
    }

    pub(crate) fn with_groups(mut self) -> Self {
        self.groups = true;
        self
    }

    pub(crate) fn refusing(mut self, error: Error) -> Self {
        self.refuses = Some(error);
        self
    }

    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    fn config_errors(&self, table: &Table) -> Vec<KeyError> {
        if self.strict {
            return KeyError::of_config::<Strict>(table);
        }
        let errors = KeyError::of_config::<Config>(table);
        if !errors.is_empty() {
            return errors;
        }
        match parse_config::<Config>("fake.check", table.clone()) {
            Ok(Config { batch: Some(0), .. }) => {
                vec![
                    KeyError::new("batch", "must be at least 1"),
                    KeyError::new("batch", "and is read twice"),
                ]
            }
            Ok(Config { pool, .. }) if pool.least > pool.most => {
                vec![KeyError::new("pool.least", "must not be above pool.most")]
            }
            _ => Vec::new(),
        }
    }
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn ports(&self) -> &[Port] {
        self.ports
    }

    fn production(&self) -> bool {
        self.production
    }

    fn check(&self, _port: Port, table: &Table) -> Vec<KeyError> {
        self.config_errors(table)
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        let section = port.section();
        if let Some(error) = &self.refuses {
            return Err(error.clone());
        }
        self.journal.note(format!("open {} for {section} with {table:?}", self.name));
        let features = match self.groups {
            true => Features::none().with(KafkaFeature::Groups),
            false => Features::none(),
        };
        let engine = Arc::new(FakeEngine {
            section,
            journal: self.journal.clone(),
            ending: self.ending,
            seed: context.seed,
            http: HttpCapabilities::default(),
            kafka: KafkaCapabilities::new(features, 1 << 20),
            breaker: BreakerCapabilities::new(Features::none(), Duration::from_millis(1), 10),
        });
        Ok(match port {
            _ if self.confused => Engine::CircuitBreaker(engine),
            Port::HttpTransport => Engine::HttpTransport(engine),
            Port::HttpServer => Engine::HttpServer(engine),
            Port::KafkaDriver => Engine::KafkaDriver(engine),
            _ => Engine::CircuitBreaker(engine),
        })
    }
}

/// Every port at once; each call but those of its life is refused.
#[derive(Debug)]
struct FakeEngine {
    section: &'static str,
    journal: Journal,
    ending: Ending,
    seed: u64,
    http: HttpCapabilities,
    kafka: KafkaCapabilities,
    breaker: BreakerCapabilities,
}

fn refused<T>() -> Result<T> {
    Err(Error::unsupported("fake.call", "a fake engine does nothing"))
}

#[async_trait]
impl Lifecycle for FakeEngine {
    async fn health(&self) -> Health {
        Health::Degraded(format!("{} with seed {}", self.section, self.seed))
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.journal.note(format!("close {} within {within:?}", self.section));
        match self.ending {
            Ending::Well => Ok(()),
            Ending::Badly => Err(Error::new(ErrorKind::TimedOut, "fake.close", self.section)),
            Ending::Never => std::future::pending().await,
        }
    }
}

#[async_trait]
impl HttpService for FakeEngine {
    async fn exchange(&self, _request: HttpRequest) -> Result<HttpResponse> {
        refused()
    }
}

#[async_trait]
impl HttpTransport for FakeEngine {
    fn capabilities(&self) -> &HttpCapabilities {
        &self.http
    }

    fn pool_stats(&self) -> PoolStats {
        PoolStats::new(StatsSource::Unsupported)
    }
}

#[async_trait]
impl HttpServer for FakeEngine {
    async fn serve(
        &self,
        _address: SocketAddr,
        _service: Arc<dyn HttpService>,
    ) -> Result<Arc<dyn HttpServing>> {
        refused()
    }
}

#[async_trait]
impl KafkaDriver for FakeEngine {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.kafka
    }

    async fn producer(&self, _config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        refused()
    }

    async fn consumer(&self, _config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        refused()
    }

    async fn create_topic(&self, _request: CreateTopicRequest) -> Result<TopicOutcome> {
        refused()
    }

    async fn delete_topic(&self, _name: &str) -> Result<TopicOutcome> {
        refused()
    }

    async fn topic_metadata(&self, _name: &str) -> Result<TopicMetadata> {
        refused()
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        None
    }
}

impl CircuitBreaker for FakeEngine {
    fn capabilities(&self) -> &BreakerCapabilities {
        &self.breaker
    }

    fn circuit(&self, _name: &str) -> Result<Arc<dyn Circuit>> {
        refused()
    }

    fn find(&self, _name: &str) -> Option<Arc<dyn Circuit>> {
        None
    }

    fn circuit_state(&self, _name: &str) -> Result<CircuitStatus> {
        refused()
    }

    fn circuit_metrics(&self, _name: &str) -> Result<CircuitMetrics> {
        refused()
    }

    fn all_circuit_states(&self) -> BTreeMap<Arc<str>, CircuitStatus> {
        BTreeMap::new()
    }

    fn configure_circuit_breaker(&self, _name: &str, _config: CircuitBreakerConfig) -> Result<()> {
        refused()
    }

    fn reset_circuit_breaker(&self, _name: &str) -> Result<()> {
        refused()
    }

    fn force_circuit_open(&self, _name: &str) -> Result<()> {
        refused()
    }

    fn force_circuit_closed(&self, _name: &str) -> Result<()> {
        refused()
    }

    fn listen(&self, _listener: Arc<dyn CircuitListener>) -> Result<()> {
        refused()
    }

    fn circuit_snapshot(&self, _name: &str) -> Result<CircuitSnapshot> {
        refused()
    }

    fn restore_circuit(&self, _name: &str, _snapshot: &CircuitSnapshot) -> Result<()> {
        refused()
    }
}
