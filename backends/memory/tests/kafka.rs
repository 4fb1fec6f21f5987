//! What only the memory broker can show: time that a test moves, a broker that goes away, records that are removed.
//!
//! What every Kafka engine does is judged by `onex_testkit::kafka`, see `conformance.rs`.

use std::sync::Arc;
use std::time::Duration;

use onex_memory::kafka::MemoryKafka;
use onex_spi::kafka::{
    Commit, ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaDriver, NextOffsets, OffsetReset,
    PollRequest, Polled, ProducerConfig, ProducerRecord, Timestamp, TimestampKind, TopicOutcome,
    TopicPartition, Undelivered,
};
use onex_spi::{Clock, Effect, Error, ErrorKind, Health, Result};
use onex_testkit::clock::ManualClock;

/// Kafka's least session timeout.
const SESSION: Duration = Duration::from_secs(6);
const INTERVAL: Duration = Duration::from_secs(60);

struct World {
    clock: ManualClock,
    broker: MemoryKafka,
    driver: Arc<dyn KafkaDriver>,
}

impl World {
    /// A broker with the topic `t` of `partitions`.
    async fn new(partitions: i32) -> Result<Self> {
        let clock = ManualClock::new();
        let broker = MemoryKafka::new(Arc::new(clock.clone()));
        let driver = broker.driver();
        driver.create_topic(CreateTopicRequest::new("t", partitions)).await?;
        Ok(Self { clock, broker, driver })
    }

    /// A member of the group `g` that has read the topic's partitions in as far as it may.
    async fn member(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        let consumer = self.driver.consumer(config).await?;
        consumer.subscribe(&["t".to_owned()]).await?;
        Ok(consumer)
    }

    async fn produce(&self, values: &[&'static str]) -> Result<()> {
        let producer = self.driver.producer(ProducerConfig::new()).await?;
        let records =
            values.iter().map(|value| ProducerRecord::new("t").with_partition(0).with_value(*value));
        producer.produce(records.collect()).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
    }
}

fn config() -> ConsumerConfig {
    ConsumerConfig::new("g").with_session_timeout(SESSION).with_max_poll_interval(INTERVAL)
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// What is there now; nothing that is there takes time.
async fn poll(consumer: &Arc<dyn ConsumerDriver>) -> Result<Polled> {
    consumer.poll(PollRequest::new(100, Duration::ZERO)).await
}

async fn offsets(consumer: &Arc<dyn ConsumerDriver>) -> Result<Vec<i64>> {
    match poll(consumer).await? {
        Polled::Records(records) => Ok(records.iter().map(|record| record.offset).collect()),
        other => panic!("not records: {other:?}"),
    }
}

fn name(error: &Error) -> &str {
    error.kafka().map_or("", |fault| &fault.name)
}

// kafka.md C24
#[tokio::test]
async fn who_does_not_poll_is_expelled_and_cannot_commit() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(&["0", "1", "2", "3", "4", "5", "6", "7"]).await?;
    let (a, b) = (world.member(config()).await?, world.member(config()).await?);
    assert_eq!(poll(&a).await?, Polled::Assigned(vec![at(0)]));
    assert_eq!(offsets(&a).await?.len(), 8);
    // b waits, and the clock alone wakes it.
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.poll(PollRequest::new(100, 10 * INTERVAL)).await }
    });
    world.clock.until_waiting(1).await;
    assert_eq!(world.clock.next_deadline(), Some(world.clock.now() + INTERVAL));
    world.clock.advance(INTERVAL);
    assert_eq!(waiting.await.expect("polled")?, Polled::Assigned(vec![at(0)]));
    b.commit(&Commit::new(NextOffsets::from([(at(0), 7)]))).await?;

    let stale =
        a.commit(&Commit::new(NextOffsets::from([(at(0), 3)])).with_rewind()).await.expect_err("stale");
    assert_eq!(
        (stale.kind(), stale.effect(), name(&stale)),
        (ErrorKind::Conflict, Effect::NotApplied, "UNKNOWN_MEMBER_ID")
    );
    assert_eq!(world.broker.committed("g"), NextOffsets::from([(at(0), 7)]));
    assert!(a.assignment().is_empty());
    assert_eq!(poll(&a).await?, Polled::Lost(vec![at(0)]));
    assert_eq!(offsets(&a).await?, [0i64; 0], "back as a member without a partition");
    assert_eq!(offsets(&b).await?, [7]);
    Ok(())
}

#[tokio::test]
async fn a_poll_that_waits_is_not_late() -> Result<()> {
    let world = World::new(1).await?;
    let a = world.member(config()).await?;
    poll(&a).await?;
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.poll(PollRequest::new(1, 3 * INTERVAL)).await }
    });
    world.clock.until_waiting(1).await;
    world.clock.advance(2 * INTERVAL);
    assert_eq!(a.assignment(), [at(0)]);
    world.produce(&["0"]).await?;
    assert!(matches!(waiting.await.expect("polled")?, Polled::Records(records) if records.len() == 1));
    Ok(())
}

#[tokio::test]
async fn who_waits_hears_of_an_interval_that_began_later() -> Result<()> {
    let world = World::new(1).await?;
    let (a, b) = (world.member(config()).await?, world.member(config()).await?);
    poll(&a).await?;
    let wait = |member: &Arc<dyn ConsumerDriver>| {
        let member = member.clone();
        tokio::spawn(async move { member.poll(PollRequest::new(1, 10 * INTERVAL)).await })
    };
    let (stays, joins) = (wait(&a), wait(&b));
    world.clock.until_waiting(2).await;
    world.clock.advance(INTERVAL / 2);
    stays.abort();
    assert!(stays.await.is_err_and(|ended| ended.is_cancelled()));
    world.clock.advance(INTERVAL / 2);
    assert_eq!(a.assignment(), [at(0)], "half of its interval is left");
    world.clock.until_waiting(1).await;
    world.clock.advance(INTERVAL / 2);
    assert_eq!(joins.await.expect("polled")?, Polled::Assigned(vec![at(0)]));
    Ok(())
}

#[tokio::test]
async fn a_late_poll_learns_that_it_is_too_late() -> Result<()> {
    let world = World::new(1).await?;
    let a = world.member(config()).await?;
    poll(&a).await?;
    world.clock.advance(INTERVAL);
    assert_eq!(poll(&a).await?, Polled::Lost(vec![at(0)]));
    assert_eq!(poll(&a).await?, Polled::Assigned(vec![at(0)]));
    Ok(())
}

#[tokio::test]
async fn who_vanishes_keeps_its_partitions_until_its_session_ends() -> Result<()> {
    let world = World::new(1).await?;
    let (a, b) = (world.member(config()).await?, world.member(config()).await?);
    poll(&a).await?;
    world.broker.set_available(false);
    drop(a);
    world.broker.set_available(true);
    assert_eq!(offsets(&b).await?, [0i64; 0], "a still owns it");
    world.clock.advance(SESSION);
    assert_eq!(poll(&b).await?, Polled::Assigned(vec![at(0)]));
    Ok(())
}

#[tokio::test]
async fn a_session_outside_the_brokers_bounds_is_refused_at_the_join() -> Result<()> {
    let world = World::new(1).await?;
    let a = world.member(config().with_session_timeout(Duration::from_secs(5))).await?;
    let refused = poll(&a).await.expect_err("too short");
    assert_eq!((refused.kind(), name(&refused)), (ErrorKind::InvalidInput, "INVALID_SESSION_TIMEOUT"));
    Ok(())
}

#[tokio::test]
async fn a_produce_without_a_broker_waits_for_it_and_keeps_its_place() -> Result<()> {
    let world = World::new(1).await?;
    let producer = world.driver.producer(ProducerConfig::new()).await?;
    world.broker.set_available(false);
    assert!(matches!(world.driver.health().await, Health::Unhealthy(_)));
    let mut calls = Vec::new();
    for value in ["first", "second", "third"] {
        calls.push(tokio::spawn({
            let producer = producer.clone();
            async move { producer.produce(vec![ProducerRecord::new("t").with_value(value)]).await.remove(0) }
        }));
        // The order of the calls is the order in which they began to wait.
        world.clock.until_waiting(calls.len()).await;
    }
    calls[1].abort();
    assert!((&mut calls[1]).await.is_err_and(|ended| ended.is_cancelled()));
    world.broker.set_available(true);
    assert_eq!(calls.remove(0).await.expect("answered")?.offset, Some(0));
    assert_eq!(calls.remove(1).await.expect("answered")?.offset, Some(1));
    let values: Vec<_> = world.broker.records("t").into_iter().filter_map(|record| record.value).collect();
    assert_eq!(values, ["first", "third"]);
    let stats = producer.stats();
    assert_eq!((stats.accepted, stats.acknowledged, stats.failed, stats.in_flight), (3, 2, 1, 0));
    Ok(())
}

#[tokio::test]
async fn a_produce_without_a_broker_ends_at_its_delivery_timeout_and_stored_nothing() -> Result<()> {
    let world = World::new(1).await?;
    let timeout = Duration::from_secs(5);
    let producer = world.driver.producer(ProducerConfig::new().with_delivery_timeout(timeout)).await?;
    world.broker.set_available(false);
    let call = tokio::spawn({
        let producer = producer.clone();
        async move { producer.produce(vec![ProducerRecord::new("t"), ProducerRecord::new("t")]).await }
    });
    world.clock.until_waiting(1).await;
    world.clock.advance(timeout);
    for answer in call.await.expect("answered") {
        let error = answer.expect_err("no broker");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::NotApplied));
    }
    world.broker.set_available(true);
    assert!(world.broker.records("t").is_empty());
    assert_eq!(producer.stats().failed, 2);
    Ok(())
}

#[tokio::test]
async fn without_a_broker_every_other_call_is_unavailable_and_did_nothing() -> Result<()> {
    let world = World::new(1).await?;
    let a = world.member(config()).await?;
    poll(&a).await?;
    world.broker.set_available(false);
    let errors = [
        a.commit(&Commit::new(NextOffsets::from([(at(0), 1)]))).await.expect_err("away"),
        a.committed(&[at(0)]).await.expect_err("away"),
        a.watermarks(&at(0)).await.expect_err("away"),
        poll(&a).await.expect_err("away"),
        world.driver.create_topic(CreateTopicRequest::new("u", 1)).await.expect_err("away"),
        world.driver.delete_topic("t").await.expect_err("away"),
        world.driver.topic_metadata("t").await.expect_err("away"),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::NotApplied), "{error}");
    }
    world.broker.set_available(true);
    assert!(world.broker.committed("g").is_empty());
    assert_eq!(world.driver.delete_topic("u").await?, TopicOutcome::Absent);
    Ok(())
}

// kafka.md C45
#[tokio::test]
async fn a_close_without_a_broker_tells_what_was_never_sent() -> Result<()> {
    let world = World::new(1).await?;
    let producer = world.driver.producer(ProducerConfig::new()).await?;
    world.broker.set_available(false);
    let call = tokio::spawn({
        let producer = producer.clone();
        async move { producer.produce(vec![ProducerRecord::new("t"), ProducerRecord::new("t")]).await }
    });
    world.clock.until_waiting(1).await;
    let second = Duration::from_secs(1);
    // A close that is dropped goes on behind: its time runs.
    let close = producer.close(second);
    tokio::select! {
        biased;
        _ = close => panic!("two records wait"),
        () = tokio::task::yield_now() => {}
    }
    let refused = producer.produce(vec![ProducerRecord::new("t")]).await.remove(0).expect_err("closing");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    world.clock.advance(second);
    for answer in call.await.expect("answered") {
        let error = answer.expect_err("cut off");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied));
    }
    assert_eq!(producer.close(Duration::ZERO).await?, Undelivered::new(2, 0));
    assert_eq!(producer.close(INTERVAL).await?, Undelivered::new(2, 0));
    world.broker.set_available(true);
    assert!(world.broker.records("t").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_driver_that_closes_without_a_broker_times_out_once() -> Result<()> {
    let world = World::new(1).await?;
    let a = world.member(config()).await?;
    poll(&a).await?;
    world.broker.set_available(false);
    let late = world.driver.close(Duration::ZERO).await.expect_err("nobody heard");
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    world.driver.close(Duration::ZERO).await?;
    a.close(Duration::ZERO).await?;
    assert_eq!(poll(&a).await.expect_err("closed").kind(), ErrorKind::Closed);
    Ok(())
}

// kafka.md C20
#[tokio::test]
async fn an_offset_out_of_range_is_reset_as_configured_on_both_sides() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]).await?;
    assert_eq!(world.broker.delete_records(&at(0), 4)?, 4);
    assert_eq!(world.broker.delete_records(&at(0), 3)?, 4);
    let beyond = world.broker.delete_records(&at(0), 11).expect_err("beyond the end");
    assert_eq!(name(&beyond), "OFFSET_OUT_OF_RANGE");
    for (reset, expected) in
        [(OffsetReset::Earliest, Some(6)), (OffsetReset::Latest, Some(0)), (OffsetReset::Error, None)]
    {
        for start in [1, 5000] {
            let consumer = world.member(config().with_offset_reset(reset)).await?;
            assert_eq!(poll(&consumer).await?, Polled::Assigned(vec![at(0)]));
            consumer.seek(&NextOffsets::from([(at(0), start)])).await?;
            match (offsets(&consumer).await, expected) {
                (Ok(read), Some(count)) => assert_eq!(read.len(), count, "{reset:?} from {start}"),
                (Err(error), None) => {
                    assert_eq!((error.kind(), name(&error)), (ErrorKind::Conflict, "OFFSET_OUT_OF_RANGE"));
                    consumer.seek(&NextOffsets::from([(at(0), 9)])).await?;
                    assert_eq!(offsets(&consumer).await?, [9], "the consumer stays usable");
                }
                (other, _) => panic!("{reset:?} from {start}: {other:?}"),
            }
            consumer.close(Duration::ZERO).await?;
        }
    }
    Ok(())
}

// kafka.md C14
#[tokio::test]
async fn a_deleted_topic_is_lost_and_its_next_life_is_another() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(&["old", "old"]).await?;
    let a = world.member(config()).await?;
    poll(&a).await?;
    assert_eq!(offsets(&a).await?, [0, 1]);
    a.commit(&Commit::new(NextOffsets::from([(at(0), 2)]))).await?;
    world.driver.delete_topic("t").await?;
    world.driver.create_topic(CreateTopicRequest::new("t", 1)).await?;
    let stale = a.commit(&Commit::new(NextOffsets::from([(at(0), 2)]))).await.expect_err("another topic");
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    world.produce(&["new"]).await?;
    assert_eq!(poll(&a).await?, Polled::Lost(vec![at(0)]));
    assert_eq!(poll(&a).await?, Polled::Assigned(vec![at(0)]));
    assert_eq!(offsets(&a).await?, [0]);
    Ok(())
}

// kafka.md C39, C40, C41
#[tokio::test]
async fn settings_of_a_topic_are_obeyed() -> Result<()> {
    let world = World::new(1).await?;
    let hour = 3_600_000;
    let now = Timestamp::from_system_time(world.clock.wall()).as_millis();
    for (topic, key, value) in [
        ("kept-an-hour", "retention.ms", "3600000"),
        ("appended", "message.timestamp.type", "LogAppendTime"),
        ("keyed", "cleanup.policy", "compact"),
    ] {
        world.driver.create_topic(CreateTopicRequest::new(topic, 1).with_config(key, value)).await?;
    }
    let producer = world.driver.producer(ProducerConfig::new()).await?;
    let record = |topic: &str, ahead: i64| {
        ProducerRecord::new(topic).with_timestamp(Timestamp::from_millis(now + ahead))
    };
    let answers = producer
        .produce(vec![
            record("kept-an-hour", -hour),
            record("kept-an-hour", 0),
            record("appended", -hour),
            record("keyed", 0),
            record("keyed", 0).with_key("k"),
            record("t", hour + 1),
        ])
        .await;
    let refusals: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_or_else(name, |_| "")).collect();
    assert_eq!(refusals, ["", "", "", "INVALID_RECORD", "", "INVALID_TIMESTAMP"]);
    let appended = &world.broker.records("appended")[0];
    assert_eq!((appended.timestamp_kind, appended.timestamp.as_millis()), (TimestampKind::LogAppend, now));
    let kept = || world.broker.records("kept-an-hour").iter().map(|record| record.offset).collect::<Vec<_>>();
    assert_eq!(kept(), [0, 1]);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(kept(), [1]);
    Ok(())
}
