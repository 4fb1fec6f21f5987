//! What a producer is answered, and what comes back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use onex_spi::kafka::{
    Commit, ConsumerConfig, CreateTopicRequest, Header, PollRequest, ProducerConfig, ProducerRecord,
};
use onex_spi::{Effect, ErrorKind};

use crate::support::{at, broker, driver, name, next, read, soon, subscribed, topic};
#[tokio::test]
async fn records_come_back_byte_for_byte() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    let producer = driver.producer(ProducerConfig::new()).await.unwrap();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let mut rich = ProducerRecord::new(&*topic).with_key(all_bytes.clone()).with_value(vec![b'v'; 100_000]);
    rich.headers = vec![
        Header::new("a", "1"),
        Header::new("a", "2"),
        Header::null("n"),
        Header::new("e", ""),
        Header::new("b", vec![0xff, 0xfe, 0]),
        Header::new("", "x"),
    ];
    let records = vec![
        ProducerRecord::new(&*topic),
        ProducerRecord::new(&*topic).with_key("").with_value(""),
        ProducerRecord::new(&*topic).with_key("k"),
        rich,
    ];
    let answers = producer.produce(records.clone()).await;
    let offsets: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().offset).collect();
    assert_eq!(offsets, [Some(0), Some(1), Some(2), Some(3)]);

    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    let messages = read(&consumer, 4).await;
    for (sent, got) in records.iter().zip(&messages) {
        assert_eq!((&sent.key, &sent.value, &sent.headers), (&got.key, &got.value, &got.headers));
    }
    let stats = producer.stats();
    assert_eq!((stats.accepted, stats.acknowledged, stats.failed, stats.in_flight), (4, 4, 0, 0));
    assert_eq!(consumer.stats().received, 4);
    consumer.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(consumer.poll(soon()).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn an_unknown_topic_is_told_at_once_and_hides_no_good_neighbour() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let (topic, missing) = (topic(&driver, 2).await, name("missing"));
    let producer = driver.producer(ProducerConfig::new()).await.unwrap();
    let begin = Instant::now();
    let answers = producer
        .produce(vec![
            ProducerRecord::new(&*topic).with_partition(1),
            ProducerRecord::new(&*missing),
            ProducerRecord::new(&*topic).with_value(vec![0; 1_000_001]),
            ProducerRecord::new(&*topic).with_partition(2),
            ProducerRecord::new(&*topic).with_partition(-1),
            ProducerRecord::new(&*topic).with_partition(1),
        ])
        .await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let kinds: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map(|r| r.offset).map_err(|e| e.kind())).collect();
    assert_eq!(
        kinds,
        [
            Ok(Some(0)),
            Err(ErrorKind::NotFound),
            Err(ErrorKind::TooLarge),
            Err(ErrorKind::InvalidInput),
            Err(ErrorKind::InvalidInput),
            Ok(Some(1)),
        ]
    );
    assert!(
        answers.iter().filter_map(|answer| answer.as_ref().err()).all(|e| e.effect() == Effect::NotApplied)
    );
    let error = driver.topic_metadata(&missing).await.unwrap_err();
    assert_eq!(error.kafka().unwrap().name, "UNKNOWN_TOPIC_OR_PARTITION");
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &missing).await;
    let error = consumer.poll(PollRequest::new(1, Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert_eq!(consumer.watermarks(&at(&missing, 0)).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(consumer.watermarks(&at(&topic, 2)).await.unwrap_err().kind(), ErrorKind::NotFound);
    let commit = Commit::new(next(&[(at(&missing, 0), 1)]));
    assert_eq!(consumer.commit(&commit).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        driver.topic_metadata(&missing).await.unwrap_err().kind(),
        ErrorKind::NotFound,
        "nobody made it"
    );
}

#[tokio::test]
async fn a_topic_with_small_batches_takes_many_records_in_one_call() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = name("topic");
    let request = CreateTopicRequest::new(&topic, 1).with_config("max.message.bytes", "5000");
    driver.create_topic(request).await.unwrap();
    let producer = driver.producer(ProducerConfig::new()).await.unwrap();
    let record = |bytes: usize| ProducerRecord::new(&*topic).with_value(vec![b'x'; bytes]);
    let answers = producer.produce((0..100).map(|_| record(100)).collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 100, "{answers:?}");
    // A batch's header takes 61 bytes, the record's own lengths 9.
    let answers = producer.produce(vec![record(4_930), record(4_931), record(10)]).await;
    let kinds: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map(|_| ()).map_err(|e| e.kind())).collect();
    assert_eq!(kinds, [Ok(()), Err(ErrorKind::TooLarge), Ok(())], "{answers:?}");
}

#[tokio::test]
async fn null_keys_stick_for_a_batch_and_move_on() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 7).await;
    let producer = driver.producer(ProducerConfig::new()).await.unwrap();
    let partitions = async |count: usize| {
        let records = (0..count).map(|_| ProducerRecord::new(&*topic).with_value("v")).collect();
        let answers = producer.produce(records).await;
        answers.into_iter().map(|answer| answer.unwrap().partition).collect::<BTreeSet<_>>()
    };
    assert_eq!(partitions(1_000).await.len(), 1);
    let mut used = BTreeSet::new();
    for _ in 0..7 {
        used.extend(partitions(1).await);
    }
    assert_eq!(used.len(), 7);
    let keyed =
        vec![ProducerRecord::new(&*topic).with_key(""), ProducerRecord::new(&*topic).with_key("foobar")];
    let answers = producer.produce(keyed).await;
    let expected =
        [onex_spi::kafka::partition_for_key(b"", 7), onex_spi::kafka::partition_for_key(b"foobar", 7)];
    assert_eq!(answers.into_iter().map(|answer| answer.unwrap().partition).collect::<Vec<_>>(), expected);
}
