//! From a plan to open engines: all of them, or none.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::provider::{Engine, OpenContext};
use onex_spi::{Error, ErrorKind, Result};

use crate::Environment;
use crate::environment::{Client, Opened};
use crate::fault::LOAD;
use crate::http_policy::{HttpPolicy, Interceptors};
use crate::plan::{Plan, PlannedSection};
use crate::require::Requirement;

/// How long the engines that were opened get to close when a later one cannot be opened.
const RETREAT: Duration = Duration::from_secs(5);

/// Opens what `plan` says.
pub(crate) async fn open(
    plan: Plan,
    context: &OpenContext,
    requirements: &[Requirement],
    interceptors: &Interceptors,
) -> Result<Environment> {
    let Plan { file, profile, sections, redaction, tables } = plan;
    let mut environment = Environment::new(&file, &profile, Arc::clone(&context.clock), tables);
    let mut missing = Vec::new();
    for mut section in sections {
        let (port, place) = (section.port, section.origin.show(&file));
        let engine = format!("the engine `{}` of {}", section.provider.name(), port.section());
        let refused = |error: &Error| {
            let text = redaction.clean(&format!("{error:#}"));
            let told = Error::new(error.kind(), LOAD, format!("{place}: {engine} did not open: {text}"))
                .with_effect(error.effect())
                .with_detail(error.detail().clone());
            match error.retry_after() {
                Some(after) => told.with_retry_after(after),
                None => told,
            }
        };
        let (name, policy) = (section.provider.name().to_owned(), section.http.take());
        match open_engine(section, context).await {
            Ok(engine) => environment.engines.push(Opened { port, name, engine, client: None }),
            Err(error) => return Err(retreat(&environment, refused(&error)).await),
        }
        match client_above(&environment, policy, interceptors, context) {
            Ok(client) => environment.above(client),
            Err(error) => return Err(retreat(&environment, refused(&error)).await),
        }
        for requirement in requirements.iter().filter(|requirement| requirement.port() == port) {
            let feature =
                environment.engines.last().and_then(|opened| requirement.missing_from(&opened.engine));
            missing.extend(feature.map(|feature| {
                format!("{place}: {engine} does not declare {feature}, which the program requires")
            }));
        }
    }
    if missing.is_empty() {
        tracing::info!(file, profile, seed = context.seed, engines = ?environment, "opened the environment");
        return Ok(environment);
    }
    let message = format!("{}; name another engine", missing.join("\n  "));
    Err(retreat(&environment, Error::unsupported(LOAD, message)).await)
}

/// The client above the engine that was opened last, where its port has a policy.
fn client_above(
    environment: &Environment,
    http: Option<HttpPolicy>,
    interceptors: &Interceptors,
    context: &OpenContext,
) -> Result<Option<Client>> {
    match environment.engines.last().map(|opened| &opened.engine) {
        Some(Engine::HttpTransport(transport)) => {
            // The breaker is opened before the transport, where the profile has one.
            let breaker = environment.circuit_breaker().ok();
            let policy = http.unwrap_or_default();
            policy
                .open(Arc::clone(transport), breaker, interceptors, context)
                .map(|client| Some(Client::Http(client)))
        }
        Some(Engine::KafkaDriver(driver)) => {
            Ok(Some(Client::Kafka(onex_kafka_client::open(Arc::clone(driver)))))
        }
        _ => Ok(None),
    }
}

async fn open_engine(section: PlannedSection, context: &OpenContext) -> Result<Engine> {
    let PlannedSection { port, provider, table, .. } = section;
    let engine = provider.open(port, table, context).await?;
    if engine.port() == port {
        return Ok(engine);
    }
    let message =
        format!("the provider opened {:?} where {port:?} was asked; report it to its author", engine.port());
    Err(Error::new(ErrorKind::Unclassified, LOAD, message))
}

async fn retreat(environment: &Environment, error: Error) -> Error {
    if let Err(close) = environment.close(RETREAT).await {
        tracing::warn!(%close, "an engine did not close after another could not be opened");
    }
    error
}
