//! From a plan to open engines: all of them, or none.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::provider::{Engine, OpenContext};
use onex_spi::{Error, ErrorKind, Result};

use crate::Environment;
use crate::environment::Opened;
use crate::fault::LOAD;
use crate::plan::{Plan, PlannedSection};
use crate::require::Requirement;

/// How long the engines that were opened get to close when a later one cannot be opened.
const RETREAT: Duration = Duration::from_secs(5);

/// Opens what `plan` says.
pub(crate) async fn open(
    plan: Plan,
    context: &OpenContext,
    requirements: &[Requirement],
) -> Result<Environment> {
    let Plan { file, profile, sections, redaction } = plan;
    let mut environment = Environment::new(&file, &profile, Arc::clone(&context.clock));
    let mut missing = Vec::new();
    for section in sections {
        let place = section.origin.show(&file);
        let (port, engine_name) = (section.port, section.provider.name().to_owned());
        let engine = match open_engine(section, context).await {
            Ok(engine) => engine,
            Err(error) => {
                let text = redaction.clean(&format!("{error:#}"));
                let message =
                    format!("{place}: the engine `{engine_name}` of {} did not open: {text}", port.section());
                let mut told = Error::new(error.kind(), LOAD, message)
                    .with_effect(error.effect())
                    .with_detail(error.detail().clone());
                if let Some(after) = error.retry_after() {
                    told = told.with_retry_after(after);
                }
                return Err(retreat(&environment, told).await);
            }
        };
        for requirement in requirements.iter().filter(|requirement| requirement.port() == port) {
            if let Some(feature) = requirement.missing_from(&engine) {
                missing.push(format!(
                    "{place}: the program requires {feature} of {}, which the engine `{engine_name}` does not declare",
                    port.section()
                ));
            }
        }
        environment.engines.push(Opened { port, name: engine_name, engine });
    }
    if missing.is_empty() {
        tracing::info!(file, profile, seed = context.seed, engines = ?environment, "opened the environment");
        return Ok(environment);
    }
    let message = format!("{}; name another engine", missing.join("\n  "));
    Err(retreat(&environment, Error::unsupported(LOAD, message)).await)
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
