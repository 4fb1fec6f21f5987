//! Opens an environment, runs the service in it, feeds it a file and prints the accounting.
//!
//! `cargo run -p example-quickstart` runs on memory; `--features real -- --profile real` on hyper and a real Apache Kafka.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use example_quickstart::ledger;
use example_quickstart::service::OrderService;
use example_quickstart::upstream::Directory;
use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::Result;
use onex_spi::kafka::CreateTopicRequest;

const TOPIC: &str = "orders";
const WITHIN: Duration = Duration::from_secs(30);

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

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let orders = std::fs::read_to_string(&arguments.orders).map_err(|error| {
        format!("cannot read {}: {error}; give another with --orders", arguments.orders.display())
    })?;
    let engines = Environment::builder().with(onex_memory::provider()).with(onex_breaker_native::provider());
    let (engines, kafka) = real::engines(engines, &arguments.profile).await?;
    let ended = serve_and_feed(engines, &arguments.environment, &arguments.profile, &orders).await;
    real::stop(kafka).await?;
    Ok(ended?)
}

/// The only place that knows which parts there are; none of them knows an engine.
async fn serve_and_feed(engines: EnvironmentBuilder, file: &Path, profile: &str, orders: &str) -> Result<()> {
    let begin = Instant::now();
    let env = engines.load(file, profile).await?;
    let (http, server, kafka, breaker) =
        (env.http_client()?, env.http_server()?, env.kafka_client()?, env.circuit_breaker()?);
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));

    kafka.create_topic(CreateTopicRequest::new(TOPIC, 3)).await?;
    let upstream = server.serve(any_port, Arc::new(Directory::new())).await?;
    let upstream_url = format!("http://{}", upstream.local_addr());
    let service =
        OrderService::open(http.clone(), kafka.clone(), breaker.clone(), TOPIC, upstream_url).await?;
    let serving = server.serve(any_port, service).await?;

    let fed = ledger::feed(&http, &format!("http://{}/orders", serving.local_addr()), orders).await?;
    println!("orders: {fed}");
    let consumed = ledger::consume(&kafka, TOPIC, fed.accepted, WITHIN).await?;
    println!("orders: {consumed} consumed and committed");
    for (name, status) in breaker.all_circuit_states() {
        println!("circuit {name}: {:?}", status.state);
    }

    serving.close(WITHIN).await?;
    upstream.close(WITHIN).await?;
    env.close(WITHIN).await?;
    println!("profile {profile}: done in {:.1?}", begin.elapsed());
    Ok(())
}

/// The engines of the profile `real`, and a broker for them unless the environment names one.
#[cfg(feature = "real")]
mod real {
    use super::{EnvironmentBuilder, Result};
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
    use super::{EnvironmentBuilder, Result};
    use std::convert::Infallible;

    #[allow(clippy::unused_async, reason = "the twin above waits")]
    pub(super) async fn engines(
        engines: EnvironmentBuilder,
        _: &str,
    ) -> Result<(EnvironmentBuilder, ()), Infallible> {
        Ok((engines, ()))
    }

    #[allow(clippy::unused_async, reason = "the twin above waits")]
    pub(super) async fn stop((): ()) -> Result<(), Infallible> {
        Ok(())
    }
}
