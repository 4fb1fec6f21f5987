//! Brokers that are away: killed, frozen, never there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_kafka_rdkafka::{Config, open};
use onex_services::Kafka;
use onex_spi::kafka::{
    Commit, ConsumerConfig, CreateTopicRequest, KafkaMessage, PollRequest, Polled, ProducerConfig,
    ProducerRecord,
};
use onex_spi::{Effect, Error, ErrorKind};

use crate::support::{at, broker, context, driver, fill, name, next, read, read_past, subscribed, topic};
/// A broker of its own, because this case kills it.
#[tokio::test]
async fn a_killed_broker_leaves_exact_effects_and_counts() {
    if broker().is_none() {
        return;
    }
    let kafka = Kafka::builder().start().await.expect("Kafka starts");
    let driver = driver(&kafka).await;
    let topic = topic(&driver, 1).await;
    let config =
        ProducerConfig::new().with_delivery_timeout(Duration::from_secs(3)).with_queue(20_000, 64 << 20);
    let producer = driver.producer(config).await.unwrap();
    let records = |count: usize| -> Vec<_> {
        (0..count).map(|_| ProducerRecord::new(&*topic).with_value(vec![b'x'; 100])).collect()
    };
    assert!(producer.produce(records(10)).await.iter().all(Result::is_ok));
    kafka.kill(1).await.unwrap();
    let answers = producer.produce(records(5)).await;
    for answer in &answers {
        let error = answer.as_ref().unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::NotApplied), "{error:?}");
    }
    assert!(matches!(driver.health().await, onex_spi::Health::Unhealthy(_)));
    let error = driver.topic_metadata(&topic).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut), "{error:?}");

    let slow = driver.producer(ProducerConfig::new().with_queue(20_000, 64 << 20)).await.unwrap();
    let call = tokio::spawn({
        let slow = Arc::clone(&slow);
        let records = records(50_000);
        async move { slow.produce(records).await }
    });
    while slow.stats().accepted == 0 {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    let undelivered = slow.close(Duration::from_millis(300)).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!((undelivered.never_sent, undelivered.unknown), (50_000, 0));
    assert_eq!(slow.close(Duration::from_secs(1)).await.unwrap(), undelivered);
    let answers = call.await.unwrap();
    assert_eq!(answers.len(), 50_000);
    assert!(answers.iter().all(|a| a.as_ref().is_err_and(|e| e.kind() == ErrorKind::Closed)));

    // The same driver goes on once the broker is back, and what was acknowledged is there.
    kafka.restart(1).await.unwrap();
    let patient = driver.producer(ProducerConfig::new()).await.unwrap();
    assert!(patient.produce(records(1)).await[0].is_ok());
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    assert_eq!(read(&consumer, 11).await.len(), 11);
    drop((producer, patient, consumer, driver));
    kafka.stop().await.unwrap();
}

/// A broker of its own: acknowledged records survive a crash in the middle, once and in order (K2, K3, K5).
#[tokio::test]
async fn a_crash_in_the_middle_loses_and_doubles_nothing() {
    if broker().is_none() {
        return;
    }
    let kafka = Kafka::builder().start().await.expect("Kafka starts");
    let driver = driver(&kafka).await;
    let topic = topic(&driver, 1).await;
    let producer = driver.producer(ProducerConfig::new().with_queue(2_000, 64 << 20)).await.unwrap();
    let records =
        (0..100_000).map(|number: u32| ProducerRecord::new(&*topic).with_value(number.to_string())).collect();
    let call = tokio::spawn({
        let producer = Arc::clone(&producer);
        async move { producer.produce(records).await }
    });
    // The middle is a count, which nobody announces.
    while producer.stats().acknowledged < 20_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    kafka.kill(1).await.unwrap();
    assert!(!call.is_finished(), "the crash came too late");
    kafka.restart(1).await.unwrap();
    let answers = call.await.unwrap();
    let log = read(&subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await, 100_000).await;
    for (number, (answer, message)) in answers.iter().zip(&log).enumerate() {
        assert_eq!(answer.as_ref().unwrap().offset, Some(message.offset));
        assert_eq!(
            (message.offset, &**message.value.as_ref().unwrap()),
            (number as i64, number.to_string().as_bytes())
        );
    }
    let stats = producer.stats();
    assert_eq!((stats.acknowledged, stats.failed, stats.in_flight), (100_000, 0, 0));
    drop((producer, driver));
    kafka.stop().await.unwrap();
}

/// `health` tells which broker it asked.
#[tokio::test]
async fn health_names_the_broker_that_is_away() {
    let driver = open(Config::new(["127.0.0.1:1"]), &context()).await.unwrap();
    let onex_spi::Health::Unhealthy(reason) = driver.health().await else { panic!("nobody listens there") };
    assert!(reason.starts_with("kafka.health: ") && reason.ends_with("; asked 127.0.0.1:1"), "{reason}");
}

/// A topic that nobody could be asked for is named, and so is who was asked.
#[tokio::test]
async fn a_topic_that_nobody_makes_is_told_with_the_brokers_asked() {
    let driver = open(Config::new(["127.0.0.1:1"]), &context()).await.unwrap();
    for made in
        [driver.create_topic(CreateTopicRequest::new("orders", 1)).await, driver.delete_topic("orders").await]
    {
        let error = made.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut), "{error:?}");
        let message = error.message();
        assert!(message.starts_with("topic orders: no answer from 127.0.0.1:1: Local: "), "{message}");
        assert!(message.contains("bootstrap_servers"), "{message}");
    }
}

/// One thread with a 1 ms ticker, the broker away: no call keeps the thread, and each ends (K22).
#[tokio::test]
async fn calls_without_a_broker_keep_the_thread_free() {
    if broker().is_none() {
        return;
    }
    let kafka = Kafka::builder().start().await.expect("Kafka starts");
    let driver = driver(&kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 10).await;
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    read(&consumer, 10).await;
    let config = ProducerConfig::new().with_delivery_timeout(Duration::from_secs(2));
    let producer = driver.producer(config).await.unwrap();
    kafka.kill(1).await.unwrap();

    let gap = Arc::new(std::sync::Mutex::new(Duration::ZERO));
    let ticker = tokio::spawn({
        let gap = Arc::clone(&gap);
        async move {
            loop {
                let begin = Instant::now();
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut gap = gap.lock().unwrap();
                *gap = begin.elapsed().max(*gap);
            }
        }
    });
    let own = at(&topic, 0);
    let commit = Commit::new(next(&[(own.clone(), 5)]));
    let (waits, polled) = tokio::join!(
        // A commit waits for the coordinator; dropped after a while, it leaves the polls alone.
        tokio::time::timeout(Duration::from_secs(2), consumer.commit(&commit)),
        async {
            let begin = Instant::now();
            // What librdkafka says about lost brokers may come first.
            let polled = consumer.poll(PollRequest::new(1, Duration::from_millis(300))).await;
            (polled, begin.elapsed())
        }
    );
    assert!(!matches!(waits, Ok(Ok(()))), "committed without a broker");
    assert!(polled.1 < Duration::from_secs(1), "the poll took {:?}", polled.1);
    let answers = producer.produce(vec![ProducerRecord::new(&*topic).with_value("v"); 100]).await;
    assert!(
        answers.iter().all(|a| a.as_ref().is_err_and(|e| e.kind() == ErrorKind::TimedOut)),
        "{answers:?}"
    );
    assert!(driver.topic_metadata(&topic).await.is_err());
    assert!(driver.create_topic(CreateTopicRequest::new(name("late"), 1)).await.is_err());
    assert!(driver.admin().unwrap().group_info("group").await.is_err());
    assert!(consumer.watermarks(&own).await.is_err());
    consumer.seek(&next(&[(own.clone(), 1)])).await.unwrap();
    consumer.pause(std::slice::from_ref(&own)).await.unwrap();
    // Leaving cannot be told to anybody; the close keeps to its time.
    let begin = Instant::now();
    let closed = consumer.close(Duration::from_millis(500)).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{closed:?} after {:?}", begin.elapsed());
    assert_eq!(producer.close(Duration::from_millis(100)).await.unwrap().total(), 0);
    drop((consumer, producer, driver));
    ticker.abort();
    // The law says 10 ms; the rest is a busy machine. What blocks here blocks for a second and more.
    let gap = *gap.lock().unwrap();
    assert!(gap < Duration::from_millis(200), "the thread was kept for {gap:?}");
    kafka.stop().await.unwrap();
}

/// The broker takes what is sent and answers nothing: what has left may be stored (K5), and only what waits for the
/// broker waits.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_frozen_broker_leaves_an_unknown_effect_and_stops_no_poll() {
    if broker().is_none() {
        return;
    }
    let kafka = Kafka::builder().start().await.expect("Kafka starts");
    let driver = driver(&kafka).await;
    let topic = topic(&driver, 1).await;
    let config = ProducerConfig::new().with_delivery_timeout(Duration::from_secs(3));
    let producer = driver.producer(config).await.unwrap();
    let send = async |value: &'static str| {
        producer.produce(vec![ProducerRecord::new(&*topic).with_value(value)]).await.remove(0)
    };
    send("before").await.unwrap();
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    read(&consumer, 1).await;
    let own = at(&topic, 0);

    signal(&kafka, "STOP");
    let commit = Commit::new(next(&[(own.clone(), 1)]));
    let mut waits = Box::pin(consumer.commit(&commit));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut waits).await.is_err(),
        "committed by nobody"
    );
    let begin = Instant::now();
    let polled = consumer.poll(PollRequest::new(1, Duration::from_millis(200))).await.unwrap();
    assert_eq!(polled, Polled::Records(Vec::new()));
    assert!(begin.elapsed() < Duration::from_millis(700), "the poll took {:?}", begin.elapsed());
    let error = send("between").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown), "{error:?}");

    signal(&kafka, "CONT");
    waits.await.unwrap();
    assert_eq!(consumer.committed(std::slice::from_ref(&own)).await.unwrap(), next(&[(own, 1)]));
    send("after").await.unwrap();
    let values = |messages: Vec<KafkaMessage>| -> Vec<_> {
        messages
            .into_iter()
            .map(|message| String::from_utf8(message.value.unwrap().to_vec()).unwrap())
            .collect()
    };
    // A client that lost its only broker says so until it is connected again; it asks to poll on.
    let lost = |error: &Error| assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let mut log = values(read_past(&consumer, 1, lost).await);
    while log.last().is_none_or(|last| last != "after") {
        log.extend(values(read_past(&consumer, 1, lost).await));
    }
    assert!(log == ["after"] || log == ["between", "after"], "{log:?}");
    drop((consumer, producer, driver));
    kafka.stop().await.unwrap();
}

/// Sends a signal to the broker that this test has started, which its data directory names.
#[cfg(target_os = "linux")]
fn signal(kafka: &Kafka, signal: &str) {
    let directory = kafka.directory().to_str().unwrap();
    let mut sent = 0;
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        if words.iter().any(|word| word.contains(directory)) && words[0].ends_with("java") {
            let pid = entry.file_name().into_string().unwrap();
            let done =
                std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
            assert!(done.success());
            sent += 1;
        }
    }
    assert_eq!(sent, 1, "one broker");
}
