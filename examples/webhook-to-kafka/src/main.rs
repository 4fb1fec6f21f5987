//! Starts the bridge of `onex.toml`, posts webhooks, consumes what arrived and prints it.
//!
//! `cargo run -p example-webhook-to-kafka` runs on Kafka in memory; `--features real -- --profile real` on a real Apache Kafka.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use onex_bridge_cli::Bridges;
use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::http::HttpClientExt;
use onex_spi::kafka::{ConsumerConfig, CreateTopicRequest, KafkaClientExt, KafkaMessage, PollRequest};

/// How long any one thing may take.
const WITHIN: Duration = Duration::from_secs(30);

/// What is posted, as `curl -d` would.
const POSTED: [&str; 4] = [
    r#"{"event":"user_login","user":"ada"}"#,
    r#"{"event":"order","id":7}"#,
    r#"{"event":"user_login","user":"grace"}"#,
    r#"{"event":"cut"#,
];
const TOPICS: [&str; 3] = ["logins", "events", "events-dead"];

type Ended<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Moves webhooks into Kafka by a file.
#[derive(Debug, Parser)]
struct Arguments {
    /// The profile of the file: default or real
    #[arg(long, default_value = "default")]
    profile: String,
    /// The file
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/onex.toml"))]
    file: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("webhook-to-kafka: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Ended<()> {
    let engines = Environment::builder()
        .with(onex_memory::provider())
        .with(onex_http_server_hyper::provider())
        .with(onex_http_transport_hyper::provider());
    let (engines, broker) = real::engines(engines, &arguments.profile).await?;
    let ended = match Bridges::builder(engines).load(&arguments.file, &arguments.profile).await {
        Ok(bridges) => {
            let ended = post_and_consume(&bridges).await;
            ended.and(bridges.close(WITHIN).await.map_err(Into::into))
        }
        Err(error) => Err(error.into()),
    };
    real::stop(broker).await?;
    ended
}

async fn post_and_consume(bridges: &Bridges) -> Ended<()> {
    let (http, kafka) = (bridges.environment().http_client()?, bridges.environment().kafka_client()?);
    for topic in TOPICS {
        kafka.create_topic(CreateTopicRequest::new(topic, 1)).await?;
    }
    let listening = bridges.listening();
    let url = &listening.first().ok_or("the file names no http source")?.url;
    let mut out = std::io::stdout();
    for body in POSTED {
        let answer = http.post(url.as_str()).body(body).send().await?;
        writeln!(out, "posted {body} -> {}", answer.status)?;
    }
    for topic in TOPICS {
        let consumer = kafka.consumer(ConsumerConfig::new(format!("reader of {topic}")), None).await?;
        let due = POSTED.iter().filter(|body| route(body) == topic).count();
        let mut arrived: Vec<KafkaMessage> = Vec::new();
        while arrived.len() < due {
            arrived.extend(consumer.consume(&[topic.to_owned()], PollRequest::default()).await?);
        }
        for message in &arrived {
            let value = String::from_utf8_lossy(message.value.as_deref().unwrap_or_default());
            let reason = message.headers.iter().find(|header| &*header.name == "onex-dead-reason");
            let reason = reason.and_then(|header| header.value.as_deref()).map(String::from_utf8_lossy);
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            writeln!(out, "{topic}@{}: {value}{reason}", message.offset)?;
        }
        consumer.close(WITHIN).await?;
    }
    Ok(())
}

/// What the file says.
fn route(body: &str) -> &'static str {
    match (body.ends_with('}'), body.contains("user_login")) {
        (false, _) => TOPICS[2],
        (true, true) => TOPICS[0],
        (true, false) => TOPICS[1],
    }
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
        let engines = engines.with(onex_kafka_rdkafka::provider());
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
    use super::EnvironmentBuilder;
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
