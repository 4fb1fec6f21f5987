//! ONEX-EX-12: an environment opens a stranger's engines by their name, under the policy that every engine gets.

use std::time::Duration;

use example_bring_your_own_engine::provider::provider;
use onex_environment::{Environment, EnvironmentBuilder};
use onex_spi::http::HttpClientExt;
use onex_spi::kafka::{
    ConsumerConfig, CreateTopicRequest, KafkaClientExt, PollRequest, ProducerConfig, ProducerRecord,
};
use onex_spi::provider::Port;
use onex_spi::{ErrorKind, Result};
use onex_testkit::net::{Script, ScriptedServer};

fn builder() -> EnvironmentBuilder {
    Environment::builder().with(provider()).with_variables::<String, String>([])
}

const FILE: &str = "[test]\nhttp.engine = 'stranger'\nkafka.engine = 'stranger'\n";

#[tokio::test]
async fn a_name_in_the_file_opens_both_engines() -> Result<()> {
    let environment = builder().parse(FILE, "onex.toml", "test").await?;
    assert_eq!(environment.engine_name(Port::HttpTransport), Some("stranger"));
    assert_eq!(environment.engine_name(Port::KafkaDriver), Some("stranger"));

    let script = Script::new().send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let server = ScriptedServer::start(script).await.expect("a loopback port");
    let response = environment.http_client()?.get(&server.url("/")?).send().await?;
    assert_eq!(response.into_body().bytes(64).await?, "hello");

    let kafka = environment.kafka_client()?;
    kafka.create_topic(CreateTopicRequest::new("orders", 1)).await?;
    let producer = kafka.producer(ProducerConfig::new()).await?;
    producer.send(ProducerRecord::new("orders").with_value("7")).await?;
    let consumer = kafka.consumer(ConsumerConfig::new("readers"), None).await?;
    let read = consumer.consume(&["orders".to_owned()], PollRequest::default()).await?;
    assert_eq!(read[0].value.as_deref(), Some(b"7".as_slice()));

    environment.close(Duration::from_secs(5)).await?;
    let refused = producer.send(ProducerRecord::new("orders")).await.expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_engine_does_not_have_is_refused_by_name() {
    let file = format!("{FILE}kafka.port = 1\n");
    let refused = builder().parse(&file, "onex.toml", "test").await.expect_err("an unknown key");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.message().contains("port"), "{refused}");
}
