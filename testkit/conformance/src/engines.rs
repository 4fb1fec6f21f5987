//! What is judged: each engine by its port's suite, each policy over several engines.

use std::future::ready;
use std::sync::Arc;

use onex_breaker_failsafe::SuccessRate;
use onex_http_client::HttpClientBuilder;
use onex_memory::http::MemoryHttp;
use onex_memory::kafka::MemoryKafka;
use onex_services::Kafka;
use onex_spi::TokioClock;
use onex_spi::breaker::CircuitBreaker;
use onex_spi::http::{HttpClient, HttpTransport};
use onex_spi::kafka::KafkaDriver;
use onex_spi::provider::OpenContext;
use onex_testkit::breaker::{self, BreakerSetup, reference::ReferenceBreaker};
use onex_testkit::http::client::HttpClientSetup;
use onex_testkit::http::server::{HttpServerSetup, ServerUnderTest};
use onex_testkit::http::transport::HttpTransportSetup;
use onex_testkit::kafka::KafkaSetup;
use onex_testkit::suite::Trial;
use onex_testkit::{http, kafka};
use tokio::runtime::Runtime;

use crate::bridges;

/// An engine, or a policy over one, and the cases that judge it.
pub(crate) struct Subject {
    /// The folder, and what it was composed with after a `/`.
    pub(crate) name: String,
    pub(crate) trials: Vec<Trial>,
}

impl Subject {
    fn new(name: &str, trials: Vec<Trial>) -> Self {
        Self { name: name.to_owned(), trials }
    }

    pub(crate) fn folder(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

/// Every subject whose folder is `chosen`, in the order of the report.
///
/// A real Kafka is started where a chosen subject needs one; it ends with the value that is returned beside.
pub(crate) fn subjects(chosen: impl Fn(&str) -> bool) -> (Vec<Subject>, Option<Broker>) {
    let memory = MemoryKafka::new(Arc::new(TokioClock::new()));
    let (drivers, clients, topics) = (memory.clone(), memory.clone(), memory.clone());
    let mut subjects = vec![
        Subject::new("breaker-native", breaker::trials(native)),
        Subject::new("breaker-failsafe", breaker::trials(|setup| failsafe(setup, None))),
        Subject::new(
            "breaker-failsafe/or_else",
            breaker::trials(|setup| failsafe(setup, Some(SuccessRate::new(0.5)))),
        ),
        Subject::new("testkit/reference breaker", breaker::trials(reference)),
        Subject::new("memory/http", http::transport::trials(memory_transport)),
        Subject::new("http-transport-hyper", http::transport::trials(hyper_transport)),
        Subject::new("http-transport-reqwest", http::transport::trials(reqwest_transport)),
        Subject::new("http-client/memory", http::client::trials(|setup| client(setup, memory_transport))),
        Subject::new("http-client/hyper", http::client::trials(|setup| client(setup, hyper_transport))),
        Subject::new("http-client/reqwest", http::client::trials(|setup| client(setup, reqwest_transport))),
        Subject::new("memory/http server", http::server::trials(memory_server)),
        Subject::new("http-server-hyper", http::server::trials(hyper_server)),
        Subject::new("memory/kafka", kafka::driver::trials(move |_| ready(Ok(drivers.driver())))),
        Subject::new(
            "kafka-client/memory",
            kafka::client::trials(move |_| ready(Ok(onex_kafka_client::open(clients.driver())))),
        ),
        Subject::new("bridge/memory", bridges::over_memory()),
        Subject::new("bridge/hyper", bridges::over_http()),
        Subject::new("bridge/kafka in memory", bridges::over_kafka(move || ready(Ok(topics.driver())))),
        Subject::new(
            "bridge/hyper to kafka in memory",
            bridges::http_to_kafka(move || ready(Ok(memory.driver()))),
        ),
    ];
    let mut broker = None;
    if chosen("kafka-rdkafka") || chosen("kafka-client") || chosen("bridge") {
        let started = Broker::start();
        let servers = started.as_ref().map(Broker::servers).map_err(Clone::clone);
        let known = servers.clone().unwrap_or_default();
        let (drivers, clients, topics) = (known.clone(), known.clone(), known);
        let mut judged = [
            Subject::new(
                "kafka-rdkafka",
                kafka::driver::trials(move |setup| rdkafka(setup, drivers.clone())),
            ),
            Subject::new(
                "kafka-client/rdkafka",
                kafka::client::trials(move |setup| {
                    let driver = rdkafka(setup, clients.clone());
                    async { Ok(onex_kafka_client::open(driver.await?)) }
                }),
            ),
            Subject::new(
                "bridge/rdkafka",
                bridges::over_kafka(move || {
                    let setup = KafkaSetup::new(Arc::new(TokioClock::new()), 0, "bridge");
                    rdkafka(setup, topics.clone())
                }),
            ),
        ];
        if let Err(reason) = &servers {
            judged
                .iter_mut()
                .flat_map(|subject| &mut subject.trials)
                .for_each(|trial| *trial = trial.missing(reason));
        }
        subjects.extend(judged);
        broker = started.ok();
    }
    subjects.retain(|subject| chosen(subject.folder()));
    (subjects, broker)
}

/// The folders that can be chosen.
pub(crate) const FOLDERS: &[&str] = &[
    "breaker-native",
    "breaker-failsafe",
    "testkit",
    "memory",
    "http-transport-hyper",
    "http-transport-reqwest",
    "http-server-hyper",
    "http-client",
    "kafka-client",
    "kafka-rdkafka",
    "bridge",
];

/// A real Kafka and the runtime that started it.
pub(crate) struct Broker {
    kafka: Kafka,
    _runtime: Runtime,
}

impl Broker {
    fn start() -> Result<Self, String> {
        Kafka::available().map_err(|unavailable| unavailable.to_string())?;
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let kafka = runtime.block_on(Kafka::builder().start()).map_err(|error| error.to_string())?;
        Ok(Self { kafka, _runtime: runtime })
    }

    fn servers(&self) -> Vec<String> {
        self.kafka.bootstrap_servers().to_vec()
    }
}

async fn native(setup: BreakerSetup) -> onex_spi::Result<Arc<dyn CircuitBreaker>> {
    let config = onex_breaker_native::Config::new()
        .with_max_circuits(setup.max_circuits)
        .with_defaults(setup.defaults)
        .with_templates(setup.templates);
    Ok(Arc::new(onex_breaker_native::NativeBreaker::with_seed(config, setup.clock, setup.seed)?))
}

/// failsafe's second policy, beside the first; the cases' failures in a row open before a rate can.
async fn failsafe(
    setup: BreakerSetup,
    rate: Option<SuccessRate>,
) -> onex_spi::Result<Arc<dyn CircuitBreaker>> {
    let config = onex_breaker_failsafe::Config::new()
        .with_max_circuits(setup.max_circuits)
        .with_defaults(setup.defaults)
        .with_templates(setup.templates)
        .with_success_rate(rate);
    onex_breaker_failsafe::open(config, setup.clock, setup.seed)
}

async fn reference(setup: BreakerSetup) -> onex_spi::Result<Arc<dyn CircuitBreaker>> {
    Ok(Arc::new(ReferenceBreaker::new(setup)))
}

async fn memory_transport(setup: HttpTransportSetup) -> onex_spi::Result<Arc<dyn HttpTransport>> {
    let network = MemoryHttp::new(setup.clock);
    network.otherwise(setup.service);
    Ok(network.transport())
}

async fn hyper_transport(setup: HttpTransportSetup) -> onex_spi::Result<Arc<dyn HttpTransport>> {
    let mut config = onex_http_transport_hyper::Config::default();
    config.max_idle_per_origin = setup.max_idle_per_origin.unwrap_or(config.max_idle_per_origin);
    config.idle_timeout = setup.idle_timeout.unwrap_or(config.idle_timeout);
    if let Some(most) = setup.max_connections_per_origin.and_then(std::num::NonZeroUsize::new) {
        config.max_connections_per_origin = most;
    }
    onex_http_transport_hyper::open(config, &OpenContext::new(setup.clock, setup.seed)).await
}

async fn reqwest_transport(setup: HttpTransportSetup) -> onex_spi::Result<Arc<dyn HttpTransport>> {
    let context = OpenContext::new(setup.clock, setup.seed);
    onex_http_transport_reqwest::open(onex_http_transport_reqwest::Config::default(), &context).await
}

async fn memory_server(setup: HttpServerSetup) -> onex_spi::Result<ServerUnderTest> {
    let network = MemoryHttp::new(setup.clock);
    Ok(ServerUnderTest::in_process(network.server(), network.transport()))
}

async fn hyper_server(setup: HttpServerSetup) -> onex_spi::Result<ServerUnderTest> {
    let context = OpenContext::new(setup.clock, setup.seed);
    let server = onex_http_server_hyper::open(onex_http_server_hyper::Config::default(), &context).await?;
    Ok(ServerUnderTest::on_the_wire(server))
}

/// The policy over a transport, as a case wants it.
async fn client<F, Fut>(setup: HttpClientSetup, transport: F) -> onex_spi::Result<Arc<dyn HttpClient>>
where
    F: Fn(HttpTransportSetup) -> Fut + Send,
    Fut: Future<Output = onex_spi::Result<Arc<dyn HttpTransport>>> + Send,
{
    let below = HttpTransportSetup::new(setup.clock.clone(), setup.seed, setup.service.clone());
    let config = onex_http_client::Config::new().with_retry(setup.retry).with_timeouts(setup.timeouts.into());
    let mut builder =
        HttpClientBuilder::new(transport(below).await?, setup.clock).config(config).seed(setup.seed);
    if let Some(binding) = setup.breaker {
        builder = builder.breaker(binding);
    }
    builder = setup.around_call.into_iter().fold(builder, HttpClientBuilder::around_call);
    setup.around_attempt.into_iter().fold(builder, HttpClientBuilder::around_attempt).build()
}

async fn rdkafka(setup: KafkaSetup, servers: Vec<String>) -> onex_spi::Result<Arc<dyn KafkaDriver>> {
    let config = onex_kafka_rdkafka::Config::new(servers);
    onex_kafka_rdkafka::open(config, &OpenContext::new(setup.clock, setup.seed)).await
}
