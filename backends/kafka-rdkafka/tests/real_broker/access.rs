//! A broker that asks who one is.

use std::time::{Duration, Instant};

use onex_kafka_rdkafka::{Config, open};
use onex_services::{Kafka, Listener, SecurityProtocol};
use onex_spi::kafka::{ConsumerConfig, PollRequest, ProducerConfig, ProducerRecord};
use onex_spi::{Effect, ErrorKind};

use crate::support::{broker, context, fill, name, subscribed, topic};
/// The broker asks for a password; librdkafka alone would answer with a time-out at the end of the delivery time.
#[tokio::test]
async fn a_wrong_password_is_told_as_such_and_soon() {
    if broker().is_none() {
        return;
    }
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"right\";";
    let listener = Listener::new("CLIENT", SecurityProtocol::SaslPlaintext)
        .with_property("sasl.enabled.mechanisms", "PLAIN")
        .with_property("plain.sasl.jaas.config", login);
    let kafka = Kafka::builder().listener(listener).start().await.expect("Kafka starts");
    let open_as = async |password: &str| {
        let config = Config::new(kafka.listener("CLIENT").unwrap().to_vec())
            .with_tuning("security.protocol", "sasl_plaintext")
            .with_tuning("sasl.mechanism", "PLAIN")
            .with_tuning("sasl.username", "alice")
            .with_tuning("sasl.password", password);
        open(config, &context()).await.unwrap()
    };
    let good = open_as("right").await;
    let topic = topic(&good, 1).await;
    fill(&good, &topic, 0, 1).await;

    let bad = open_as("secret-guess").await;
    let begin = Instant::now();
    let producer = bad.producer(ProducerConfig::new()).await.unwrap();
    let refused = producer.produce(vec![ProducerRecord::new(&*topic)]).await.remove(0).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::Unauthenticated, Effect::NotApplied),
        "{refused:?}"
    );
    let consumer = subscribed(&bad, ConsumerConfig::new(name("group")), &topic).await;
    let refused = consumer.poll(PollRequest::new(1, Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused:?}");
    assert!(!format!("{refused:?} {refused:#}").contains("secret-guess"));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(matches!(bad.health().await, onex_spi::Health::Unhealthy(_)));
    drop((good, bad, producer, consumer));
    kafka.stop().await.unwrap();
}
