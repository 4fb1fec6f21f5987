//! The Kafka client that the file describes.

use std::time::Duration;

use onex_environment::Environment;
use onex_spi::kafka::{CreateTopicRequest, KafkaClientExt, KafkaFeature, ProducerConfig, ProducerRecord};
use onex_spi::provider::Port;
use onex_spi::{ErrorKind, Health};

#[tokio::test]
async fn the_client_stands_above_the_engine_and_ends_with_the_environment() {
    let environment = Environment::builder()
        .with(onex_memory::provider())
        .with_variables::<String, String>([])
        .require(KafkaFeature::Groups)
        .parse("[test.kafka]\nengine = 'memory'", "onex.toml", "test")
        .await
        .expect("good");
    let kafka = environment.kafka_client().expect("a client");
    kafka.create_topic(CreateTopicRequest::new("orders", 1)).await.expect("a topic");
    let producer = kafka.producer(ProducerConfig::new()).await.expect("a producer");
    let receipt = producer.send(ProducerRecord::new("orders").with_value("7")).await.expect("stored");
    assert_eq!(receipt.offset, Some(0));
    assert_eq!(environment.health().await, [(Port::KafkaDriver, Health::Healthy)]);

    environment.close(Duration::from_secs(5)).await.expect("closes");
    let refused = producer.send(ProducerRecord::new("orders").with_value("8")).await.expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert!(matches!(environment.health().await[..], [(Port::KafkaDriver, Health::Unhealthy(_))]));
    environment.close(Duration::from_secs(5)).await.expect("closes again");
}
