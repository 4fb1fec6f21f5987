//! The broker of this process, and the steps that most tests begin with.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use onex_kafka_rdkafka::{Config, open};
use onex_services::Kafka;
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaDriver, KafkaMessage, NextOffsets, PollRequest,
    Polled, ProducerConfig, ProducerRecord, TopicOutcome, TopicPartition,
};
use onex_spi::provider::OpenContext;
use onex_spi::{Error, TokioClock};
/// The broker of this process; it ends with the process. `None` where this machine cannot run one.
pub(crate) fn broker() -> Option<&'static Kafka> {
    static BROKER: OnceLock<Option<Kafka>> = OnceLock::new();
    BROKER
        .get_or_init(|| {
            if let Err(reason) = Kafka::available() {
                assert!(!onex_services::required(), "{reason}");
                eprintln!("ignored: {reason}");
                return None;
            }
            // On a runtime of its own: the broker is bound to none.
            let start = || {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                runtime.block_on(Kafka::builder().start()).expect("Kafka starts")
            };
            Some(std::thread::spawn(start).join().expect("the starter"))
        })
        .as_ref()
}

pub(crate) fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn context() -> OpenContext {
    OpenContext::new(Arc::new(TokioClock::new()), 7)
}

pub(crate) async fn driver(kafka: &Kafka) -> Arc<dyn KafkaDriver> {
    open(Config::new(kafka.bootstrap_servers().to_vec()), &context()).await.expect("open")
}

pub(crate) async fn topic(driver: &Arc<dyn KafkaDriver>, partitions: i32) -> String {
    let name = name("topic");
    let made = driver.create_topic(CreateTopicRequest::new(&name, partitions)).await.expect("create");
    assert_eq!(made, TopicOutcome::Created);
    name
}

pub(crate) async fn subscribed(
    driver: &Arc<dyn KafkaDriver>,
    config: ConsumerConfig,
    topic: &str,
) -> Arc<dyn ConsumerDriver> {
    let consumer = driver.consumer(config).await.expect("consumer");
    consumer.subscribe(&[topic.to_owned()]).await.expect("subscribe");
    consumer
}

pub(crate) fn soon() -> PollRequest {
    PollRequest::new(500, Duration::from_millis(500))
}

/// Reads until `count` records came; changes of the assignment pass by, an error does not.
pub(crate) async fn read(consumer: &Arc<dyn ConsumerDriver>, count: usize) -> Vec<KafkaMessage> {
    read_past(consumer, count, |error| panic!("poll: {error:?}")).await
}

/// Reads until `count` records came; `pass` looks at what the polls in between met.
pub(crate) async fn read_past(
    consumer: &Arc<dyn ConsumerDriver>,
    count: usize,
    pass: impl Fn(&Error),
) -> Vec<KafkaMessage> {
    let mut messages = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while messages.len() < count {
        assert!(Instant::now() < end, "{} of {count} records in 30 s", messages.len());
        match consumer.poll(soon()).await {
            Ok(Polled::Records(more)) => messages.extend(more),
            Ok(_) => {}
            Err(error) => pass(&error),
        }
    }
    messages
}

pub(crate) async fn fill(driver: &Arc<dyn KafkaDriver>, topic: &str, partition: i32, count: usize) {
    let producer = driver.producer(ProducerConfig::new()).await.expect("producer");
    let record = |number: usize| {
        ProducerRecord::new(topic).with_partition(partition).with_value(number.to_string().into_bytes())
    };
    for answer in producer.produce((0..count).map(record).collect()).await {
        answer.expect("stored");
    }
}

pub(crate) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub(crate) fn next(entries: &[(TopicPartition, i64)]) -> NextOffsets {
    entries.iter().cloned().collect()
}
