//! Opens an environment, runs the service in it, feeds it a file and prints the accounting.
//!
//! `cargo run -p example-quickstart` runs on memory; `--features real -- --profile real` on hyper and a real Apache Kafka.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use example_quickstart::program::{self, Ports, Report};
use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::Health;

/// How long closing may take.
const WITHIN: Duration = Duration::from_secs(10);

type Ended<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Feeds orders to a service and accounts for every one of them.
#[derive(Debug, Parser)]
struct Arguments {
    /// The profile of the environment: default or real
    #[arg(long, default_value = "default")]
    profile: String,
    /// The environment's file
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/onex.toml"))]
    environment: PathBuf,
    /// One order a line
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/orders.jsonl"))]
    orders: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Ended<()> {
    let orders = read(&arguments.orders, "--orders")?;
    let text = read(&arguments.environment, "--environment")?;
    let (begin, profile) = (Instant::now(), &arguments.profile);
    let engines = Environment::builder().with(onex_memory::provider()).with(onex_breaker_native::provider());
    let (engines, broker) = real::engines(engines, profile).await?;

    let file = arguments.environment.display().to_string();
    let ended = match engines.parse(&text, &file, profile).await {
        Ok(env) => {
            let ended = in_environment(&env, &orders).await;
            let closed = env.close(WITHIN).await;
            ended.and_then(|report| closed.map(|()| report).map_err(Into::into))
        }
        Err(error) => Err(format!("{error}{}", real::hint(profile)).into()),
    };
    real::stop(broker).await?;
    let report = ended?;
    writeln!(std::io::stdout(), "{report}\nprofile {profile}: done in {:.1?}", begin.elapsed())?;
    Ok(())
}

fn read(path: &Path, option: &str) -> Ended<String> {
    std::fs::read_to_string(path).map_err(|error| {
        format!("cannot read {}: {error}; give another with {option}", path.display()).into()
    })
}

/// The only place that knows which ports there are; it knows no engine.
async fn in_environment(env: &Environment, orders: &str) -> Ended<Report> {
    for (port, health) in env.health().await {
        if let Health::Unhealthy(reason) = health {
            let (section, profile) = (port.section(), env.profile());
            let message = format!(
                "the engine of {section} does not work: {reason}; look at [{profile}.{section}] of the \
                 environment's file and at the variables ONEX__{}__*",
                section.to_uppercase()
            );
            return Err(message.into());
        }
    }
    let ports = Ports {
        http: env.http_client()?,
        server: env.http_server()?,
        kafka: env.kafka_client()?,
        breaker: env.circuit_breaker()?,
    };
    Ok(program::run(&ports, orders).await?)
}

/// The engines of the profile `real`, and a broker for them unless the environment names one.
#[cfg(feature = "real")]
mod real {
    use super::EnvironmentBuilder;
    use onex_services::{Kafka, ServiceError};

    const SERVERS: &str = "ONEX__KAFKA__BOOTSTRAP_SERVERS";

    pub(super) async fn engines(
        engines: EnvironmentBuilder,
        profile: &str,
    ) -> Result<(EnvironmentBuilder, Option<Kafka>), ServiceError> {
        let engines = engines
            .with(onex_http_transport_hyper::provider())
            .with(onex_http_server_hyper::provider())
            .with(onex_kafka_rdkafka::provider());
        if profile != "real" || std::env::var_os(SERVERS).is_some() {
            return Ok((engines, None));
        }
        let kafka = Kafka::builder().start().await?;
        let servers = kafka.bootstrap_servers().join(",");
        Ok((engines.with_variables(std::env::vars().chain([(SERVERS.to_owned(), servers)])), Some(kafka)))
    }

    pub(super) fn hint(_: &str) -> &'static str {
        ""
    }

    pub(super) async fn stop(kafka: Option<Kafka>) -> Result<(), ServiceError> {
        match kafka {
            Some(kafka) => kafka.stop().await,
            None => Ok(()),
        }
    }
}

/// Without the feature nothing is added: the profile `real` is then refused, naming the engines that are there.
#[cfg(not(feature = "real"))]
mod real {
    use super::EnvironmentBuilder;
    use std::convert::Infallible;

    #[allow(clippy::unused_async, reason = "the twin above waits")]
    pub(super) async fn engines(
        engines: EnvironmentBuilder,
        _: &str,
    ) -> Result<(EnvironmentBuilder, ()), Infallible> {
        Ok((engines, ()))
    }

    pub(super) fn hint(profile: &str) -> &'static str {
        match profile {
            "real" => "; the engines of the profile real are linked by --features real",
            _ => "",
        }
    }

    #[allow(clippy::unused_async, reason = "the twin above waits")]
    pub(super) async fn stop((): ()) -> Result<(), Infallible> {
        Ok(())
    }
}
