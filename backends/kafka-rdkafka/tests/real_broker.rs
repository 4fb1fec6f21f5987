//! The driver against a real Apache Kafka: the slice that shows this engine's own machinery at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use onex_kafka_rdkafka::{Config, open};
use onex_services::{Kafka, Listener, SecurityProtocol};
use onex_spi::kafka::{
    Commit, ConsumerConfig, ConsumerDriver, CreateTopicRequest, GroupState, Header, KafkaDriver,
    KafkaMessage, NextOffsets, OffsetReset, PollRequest, Polled, ProducerConfig, ProducerRecord,
    TopicOutcome, TopicPartition,
};
use onex_spi::provider::OpenContext;
use onex_spi::{Effect, Error, ErrorKind, TokioClock};

/// The broker of this process; it ends with the process. `None` where this machine cannot run one.
fn broker() -> Option<&'static Kafka> {
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

fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn context() -> OpenContext {
    OpenContext::new(Arc::new(TokioClock::new()), 7)
}

async fn driver(kafka: &Kafka) -> Arc<dyn KafkaDriver> {
    open(Config::new(kafka.bootstrap_servers().to_vec()), &context()).await.expect("open")
}

async fn topic(driver: &Arc<dyn KafkaDriver>, partitions: i32) -> String {
    let name = name("topic");
    let made = driver.create_topic(CreateTopicRequest::new(&name, partitions)).await.expect("create");
    assert_eq!(made, TopicOutcome::Created);
    name
}

async fn subscribed(
    driver: &Arc<dyn KafkaDriver>,
    config: ConsumerConfig,
    topic: &str,
) -> Arc<dyn ConsumerDriver> {
    let consumer = driver.consumer(config).await.expect("consumer");
    consumer.subscribe(&[topic.to_owned()]).await.expect("subscribe");
    consumer
}

fn soon() -> PollRequest {
    PollRequest::new(500, Duration::from_millis(500))
}

/// Reads until `count` records came; changes of the assignment pass by, an error does not.
async fn read(consumer: &Arc<dyn ConsumerDriver>, count: usize) -> Vec<KafkaMessage> {
    read_past(consumer, count, |error| panic!("poll: {error:?}")).await
}

/// Reads until `count` records came; `pass` looks at what the polls in between met.
async fn read_past(
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

async fn fill(driver: &Arc<dyn KafkaDriver>, topic: &str, partition: i32, count: usize) {
    let producer = driver.producer(ProducerConfig::new()).await.expect("producer");
    let record = |number: usize| {
        ProducerRecord::new(topic).with_partition(partition).with_value(number.to_string().into_bytes())
    };
    for answer in producer.produce((0..count).map(record).collect()).await {
        answer.expect("stored");
    }
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn next(entries: &[(TopicPartition, i64)]) -> NextOffsets {
    entries.iter().cloned().collect()
}

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
async fn two_members_share_and_hand_over_at_the_committed_offset() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 2).await;
    fill(&driver, &topic, 0, 10).await;
    fill(&driver, &topic, 1, 10).await;
    let group = name("group");
    let a = subscribed(&driver, ConsumerConfig::new(&group), &topic).await;
    read(&a, 20).await;
    a.commit(&Commit::new(next(&[(at(&topic, 0), 4)]))).await.unwrap();

    let b = subscribed(&driver, ConsumerConfig::new(&group), &topic).await;
    let mut seen = BTreeMap::new();
    let mut released = None;
    let end = Instant::now() + Duration::from_secs(30);
    while b.assignment().is_empty() || seen.len() < 6 {
        assert!(Instant::now() < end, "no hand-over: a {:?} b {:?} {seen:?}", a.assignment(), b.assignment());
        let (from_a, from_b) = tokio::join!(a.poll(soon()), b.poll(soon()));
        if let Polled::Revoking(partitions) = from_a.unwrap() {
            assert_eq!(a.assignment().len(), 2, "still owned until the next poll");
            released = Some(partitions);
        }
        if let Polled::Records(messages) = from_b.unwrap() {
            for message in messages {
                seen.entry((message.partition, message.offset)).and_modify(|n| *n += 1).or_insert(1);
            }
        }
    }
    let released = released.expect("a was told");
    assert_eq!(b.assignment(), released);
    let first = if released[0].partition == 0 { 4 } else { 0 };
    assert_eq!(*seen.keys().next().unwrap(), (released[0].partition, first));
    assert!(seen.values().all(|times| *times == 1));

    // What is not owned is refused, what is unknown is not found, what goes back wants the word for it.
    let (own, foreign) = (a.assignment()[0].clone(), b.assignment()[0].clone());
    let commit = |at: &TopicPartition, offset| Commit::new(next(&[(at.clone(), offset)]));
    assert_eq!(a.commit(&commit(&foreign, 5)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(a.commit(&commit(&at(&topic, 99), 5)).await.unwrap_err().kind(), ErrorKind::NotFound);
    a.commit(&commit(&own, 7)).await.unwrap();
    let lower = a.commit(&commit(&own, 3)).await.unwrap_err();
    assert_eq!((lower.kind(), lower.effect()), (ErrorKind::InvalidInput, Effect::NotApplied));
    a.commit(&commit(&own, 3).with_rewind()).await.unwrap();
    assert_eq!(a.committed(std::slice::from_ref(&own)).await.unwrap(), next(&[(own.clone(), 3)]));

    let admin = driver.admin().unwrap();
    let info = admin.group_info(&group).await.unwrap();
    assert_eq!((info.state, info.members.len()), (GroupState::Stable, 2));
    assert_eq!(info.members.iter().map(|member| member.assignment.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(info.lag[&own], 7);
    b.close(Duration::from_secs(10)).await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while a.assignment().len() < 2 {
        assert!(Instant::now() < end, "a did not get back what b left");
        a.poll(soon()).await.unwrap();
    }
    a.close(Duration::from_secs(10)).await.unwrap();
    let info = admin.group_info(&group).await.unwrap();
    assert_eq!((info.state, info.members.len(), info.committed.get(&own)), (GroupState::Empty, 0, Some(&3)));
    assert_eq!(admin.group_info("nobody").await.unwrap().state, GroupState::Dead);
}

#[tokio::test]
async fn a_dropped_poll_loses_nothing() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 1_000).await;
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    let mut offsets = Vec::new();
    let mut dropped = 0_u32;
    let end = Instant::now() + Duration::from_secs(30);
    while offsets.len() < 1_000 {
        assert!(Instant::now() < end, "{} records, {dropped} polls dropped", offsets.len());
        let patience = Duration::from_micros(u64::from(dropped % 40) * 50);
        match tokio::time::timeout(patience, consumer.poll(PollRequest::new(7, Duration::from_secs(1)))).await
        {
            Err(_) => dropped += 1,
            Ok(Ok(Polled::Records(messages))) => {
                offsets.extend(messages.iter().map(|message| message.offset))
            }
            Ok(other) => drop(other.unwrap()),
        }
    }
    assert!(dropped > 20, "{dropped} polls were dropped");
    assert_eq!(offsets, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn seek_and_pause_move_and_silence_owned_partitions() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 2).await;
    fill(&driver, &topic, 0, 10).await;
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    let assigned = loop {
        if let Polled::Assigned(partitions) = consumer.poll(soon()).await.unwrap() {
            break partitions;
        }
    };
    assert_eq!(assigned, [at(&topic, 0), at(&topic, 1)]);
    // Between Assigned and the next poll a seek decides where reading starts.
    consumer.seek(&next(&[(at(&topic, 0), 6)])).await.unwrap();
    let offsets =
        |messages: &[KafkaMessage]| messages.iter().map(|message| message.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&read(&consumer, 4).await), [6, 7, 8, 9]);
    consumer.seek(&next(&[(at(&topic, 0), 8)])).await.unwrap();
    assert_eq!(offsets(&read(&consumer, 2).await), [8, 9]);
    assert_eq!(consumer.seek(&next(&[(at(&topic, 2), 0)])).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(
        consumer.seek(&next(&[(at(&topic, 0), -1)])).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );

    consumer.pause(&[at(&topic, 0)]).await.unwrap();
    fill(&driver, &topic, 0, 5).await;
    fill(&driver, &topic, 1, 5).await;
    let messages = read(&consumer, 5).await;
    assert!(messages.iter().all(|message| message.partition == 1));
    let silent = consumer.poll(PollRequest::new(10, Duration::from_millis(700))).await.unwrap();
    assert_eq!(silent, Polled::Records(Vec::new()));
    consumer.resume(&[at(&topic, 0)]).await.unwrap();
    assert_eq!(offsets(&read(&consumer, 5).await), [10, 11, 12, 13, 14]);
    let bounds = consumer.watermarks(&at(&topic, 0)).await.unwrap();
    assert_eq!((bounds.low, bounds.high), (0, 15));
}

#[tokio::test]
async fn a_reset_that_must_not_jump_is_told_until_a_seek() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 3).await;
    let config = ConsumerConfig::new(name("group")).with_offset_reset(OffsetReset::Error);
    let consumer = subscribed(&driver, config, &topic).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        match consumer.poll(soon()).await {
            Ok(Polled::Records(records)) => assert!(records.is_empty(), "{records:?}"),
            Ok(_) => {}
            Err(error) => told.push(error.kind()),
        }
    }
    assert_eq!(told, [ErrorKind::NotFound; 2]);
    consumer.seek(&next(&[(at(&topic, 0), 1)])).await.unwrap();
    assert_eq!(read(&consumer, 2).await.len(), 2);
    // Out of range is told apart.
    consumer.seek(&next(&[(at(&topic, 0), 500)])).await.unwrap();
    let error = loop {
        if let Err(error) = consumer.poll(soon()).await {
            break error;
        }
    };
    assert_eq!((error.kind(), &*error.kafka().unwrap().name), (ErrorKind::Conflict, "OFFSET_OUT_OF_RANGE"));
}

#[tokio::test]
async fn an_expelled_member_commits_nothing() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 5).await;
    let group = name("group");
    let config = ConsumerConfig::new(&group)
        .with_session_timeout(Duration::from_secs(2))
        .with_max_poll_interval(Duration::from_secs(2));
    let consumer = subscribed(&driver, config, &topic).await;
    read(&consumer, 5).await;
    consumer.commit(&Commit::new(next(&[(at(&topic, 0), 2)]))).await.unwrap();
    // A real wait: the poll interval is librdkafka's, on the machine's clock. Group info shows the expulsion.
    let end = Instant::now() + Duration::from_secs(20);
    while driver.admin().unwrap().group_info(&group).await.unwrap().state != GroupState::Empty {
        assert!(Instant::now() < end, "not expelled");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The group is empty now: the broker itself would take a commit from anybody.
    let error = consumer.commit(&Commit::new(next(&[(at(&topic, 0), 4)]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    let info = driver.admin().unwrap().group_info(&group).await.unwrap();
    assert_eq!(info.committed.get(&at(&topic, 0)), Some(&2));
    let mut lost = false;
    let end = Instant::now() + Duration::from_secs(20);
    while !lost {
        assert!(Instant::now() < end, "never told");
        lost = matches!(consumer.poll(soon()).await, Ok(Polled::Lost(_)));
    }
    read(&consumer, 3).await;
}

#[tokio::test]
async fn admin_outcomes_are_honest_and_visible() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 3).await;
    let again = driver.create_topic(CreateTopicRequest::new(&topic, 9)).await.unwrap();
    assert_eq!(again, TopicOutcome::Existed);
    let metadata = driver.topic_metadata(&topic).await.unwrap();
    assert_eq!(metadata.partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(metadata.partitions.iter().all(|p| p.leader == Some(1) && p.replicas == [1] && p.in_sync == [1]));
    let refused = |name: &str, partitions, replicas, config: Option<(&str, &str)>| {
        let mut request = CreateTopicRequest::new(name, partitions).with_replication_factor(replicas);
        if let Some((key, value)) = config {
            request = request.with_config(key, value);
        }
        let driver = Arc::clone(&driver);
        async move {
            let error = driver.create_topic(request).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.effect()),
                (ErrorKind::InvalidInput, Effect::NotApplied),
                "{error:?}"
            );
            error.kafka().unwrap().name.to_string()
        }
    };
    assert_eq!(refused("a b", 1, 1, None).await, "INVALID_TOPIC_EXCEPTION");
    assert_eq!(refused(&topic.replace('-', "."), 0, 1, None).await, "INVALID_PARTITIONS");
    assert_eq!(refused("x", 1, 0, None).await, "INVALID_REPLICATION_FACTOR");
    assert_eq!(refused("x", 1, 5, None).await, "INVALID_REPLICATION_FACTOR");
    assert_eq!(refused("x", 1, 1, Some(("no.such", "1"))).await, "INVALID_CONFIG");
    assert_eq!(refused("x", 1, 1, Some(("retention.ms", "soon"))).await, "INVALID_CONFIG");
    let dotted = name("a.b");
    driver.create_topic(CreateTopicRequest::new(&dotted, 1)).await.unwrap();
    assert_eq!(refused(&dotted.replace('.', "_"), 1, 1, None).await, "INVALID_TOPIC_EXCEPTION");
    assert_eq!(driver.delete_topic(&topic).await.unwrap(), TopicOutcome::Deleted);
    assert_eq!(driver.delete_topic(&topic).await.unwrap(), TopicOutcome::Absent);
    assert_eq!(driver.topic_metadata(&topic).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_topic_made_anew_starts_at_zero_with_the_old_producer() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    let producer = driver.producer(ProducerConfig::new()).await.unwrap();
    let send = |value: &'static str| {
        let records = vec![ProducerRecord::new(&*topic).with_value(value)];
        let producer = Arc::clone(&producer);
        async move { producer.produce(records).await.remove(0) }
    };
    assert_eq!(send("old").await.unwrap().offset, Some(0));
    assert_eq!(send("old").await.unwrap().offset, Some(1));
    driver.delete_topic(&topic).await.unwrap();
    driver.create_topic(CreateTopicRequest::new(&topic, 1)).await.unwrap();
    assert_eq!(send("new").await.unwrap().offset, Some(0));
    driver.delete_topic(&topic).await.unwrap();
    let begin = Instant::now();
    let gone = send("gone").await.unwrap_err();
    assert_eq!((gone.kind(), gone.effect()), (ErrorKind::NotFound, Effect::NotApplied), "{gone:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
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

/// `health` tells which broker it asked.
#[tokio::test]
async fn health_names_the_broker_that_is_away() {
    let driver = open(Config::new(["127.0.0.1:1"]), &context()).await.unwrap();
    let onex_spi::Health::Unhealthy(reason) = driver.health().await else { panic!("nobody listens there") };
    assert!(reason.starts_with("kafka.health: ") && reason.ends_with("; asked 127.0.0.1:1"), "{reason}");
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

#[tokio::test]
async fn close_delivers_what_is_queued() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 3).await;
    let producer =
        driver.producer(ProducerConfig::new().with_linger(Duration::from_millis(200))).await.unwrap();
    let call = tokio::spawn({
        let producer = Arc::clone(&producer);
        let records = (0..5_000).map(|_| ProducerRecord::new(&*topic).with_value(vec![b'x'; 100])).collect();
        async move { producer.produce(records).await }
    });
    while producer.stats().accepted == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(producer.close(Duration::from_secs(10)).await.unwrap().total(), 0);
    assert!(call.await.unwrap().iter().all(Result::is_ok));
    let late = producer.produce(vec![ProducerRecord::new(&*topic)]).await.remove(0).unwrap_err();
    assert_eq!((late.kind(), late.effect()), (ErrorKind::Closed, Effect::NotApplied));
    let metadata = driver.topic_metadata(&topic).await.unwrap();
    assert_eq!(metadata.partitions.iter().map(|partition| partition.high).sum::<i64>(), 5_000);
    driver.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(driver.topic_metadata(&topic).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// On one thread, so that whatever blocks shows as a late tick.
#[test]
fn nothing_blocks_the_runtime_and_drops_return_at_once() {
    let Some(kafka) = broker() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let driver = driver(kafka).await;
        let topic = topic(&driver, 1).await;
        let producer =
            driver.producer(ProducerConfig::new().with_linger(Duration::from_secs(1))).await.unwrap();
        let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
        loop {
            if let Polled::Assigned(_) = consumer.poll(soon()).await.unwrap() {
                break;
            }
        }
        let mut call = Box::pin(producer.produce(vec![ProducerRecord::new(&*topic); 1_000]));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut call).await.is_err());
        let begin = Instant::now();
        drop(call);
        drop((producer, consumer, driver));
        assert!(begin.elapsed() < Duration::from_millis(10), "the drops took {:?}", begin.elapsed());
    });
    let begin = Instant::now();
    drop(runtime);
    assert!(begin.elapsed() < Duration::from_millis(50), "the runtime took {:?}", begin.elapsed());
}
