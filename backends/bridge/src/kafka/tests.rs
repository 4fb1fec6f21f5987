//! What only the inside can show: the order of commits, partitions that go, a close, faults. On the memory broker and its time.

use std::sync::Arc;
use std::time::Duration;

use onex_memory::kafka::MemoryKafka;
use onex_spi::bridge::{
    BridgeContext, BridgeFault, BridgeMessage, BridgeProtocol, BridgeReason, BridgeSource, DeadReason,
    DeliveryTag, Disposition, MessageId, Settled,
};
use onex_spi::kafka::{CreateTopicRequest, KafkaDriver, ProducerConfig, ProducerRecord, TopicPartition};
use onex_spi::provider::Table;
use onex_spi::{Clock, Error, ErrorKind, Health, Result, TokioClock};

use super::KafkaProtocol;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    clock: Arc<dyn Clock>,
    broker: MemoryKafka,
    driver: Arc<dyn KafkaDriver>,
    kafka: KafkaProtocol,
}

type Taken = Vec<(DeliveryTag, BridgeMessage)>;

impl World {
    /// A broker with the topic `t` of `partitions`.
    async fn new(partitions: i32) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
        let broker = MemoryKafka::new(clock.clone());
        let driver = broker.driver();
        driver.create_topic(CreateTopicRequest::new("t", partitions)).await?;
        let kafka = KafkaProtocol::new(driver.clone());
        Ok(Self { clock, broker, driver, kafka })
    }

    fn context(&self) -> BridgeContext {
        BridgeContext::new(self.clock.clone(), 7, "b", 1 << 20)
    }

    async fn source(&self, more: &str) -> Result<Arc<dyn BridgeSource>> {
        let table = format!("topics = ['t']\ngroup_id = 'g'\n{more}");
        self.kafka.source(table.parse().expect("a table"), &self.context()).await
    }

    async fn produce(&self, partition: i32, values: std::ops::Range<usize>) -> Result<()> {
        let producer = self.driver.producer(ProducerConfig::new()).await?;
        let record = |n: usize| ProducerRecord::new("t").with_partition(partition).with_value(n.to_string());
        let records = values.map(record).collect();
        producer.produce(records).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
    }

    fn committed(&self, partition: i32) -> Option<i64> {
        self.broker.committed("g").get(&TopicPartition::new("t", partition)).copied()
    }
}

async fn take(source: &Arc<dyn BridgeSource>, count: usize) -> Result<Taken> {
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(source.receive(count - taken.len(), &mut taken).await? > 0, "the source ended");
    }
    Ok(taken)
}

fn settled(taken: &[(DeliveryTag, BridgeMessage)]) -> Vec<Settled> {
    let delivered = || Disposition::Delivered("a".into());
    taken.iter().map(|(tag, message)| Settled::new(*tag, message.id, delivered())).collect()
}

fn values(taken: &[(DeliveryTag, BridgeMessage)]) -> Vec<String> {
    taken.iter().map(|(_, message)| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

// B5
#[tokio::test(start_paused = true)]
async fn commits_follow_what_is_settled_in_order_within_a_second() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(0, 0..5).await?;
    let source = world.source("").await?;
    let taken = take(&source, 5).await?;
    assert_eq!((&taken[3].1.metadata["topic"], &taken[3].1.metadata["offset"]), (&"t".into(), &3.into()));
    source.settle(settled(&taken[1..3]));
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.committed(0), None, "the first is open");
    let dead = Settled::new(taken[0].0, taken[0].1.id, Disposition::DeadLettered(DeadReason::NoRoute));
    source.settle(vec![dead]);
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.committed(0), Some(3));
    source.settle(settled(&taken[4..]));
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.committed(0), Some(3), "the fourth is open");
    source.settle(settled(&taken[3..4]));
    source.close(MINUTE).await?;
    assert_eq!(world.committed(0), Some(5));
    Ok(())
}

// bridge.md 16
#[tokio::test(start_paused = true)]
async fn a_close_waits_for_what_was_handed_out_and_repeats_nothing_of_it() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(0, 0..5).await?;
    let source = world.source("").await?;
    let taken = take(&source, 2).await?;
    let closing = tokio::spawn({
        let source = source.clone();
        async move { source.close(MINUTE).await }
    });
    tokio::time::sleep(SECOND).await;
    assert!(!closing.is_finished());
    assert_eq!(source.receive(9, &mut Vec::new()).await?, 0, "takes nothing new");
    source.settle(settled(&taken));
    closing.await.expect("no panic")?;
    let next = world.source("").await?;
    assert_eq!(values(&take(&next, 3).await?), ["2", "3", "4"]);

    let begin = tokio::time::Instant::now();
    let late = next.close(MINUTE).await.expect_err("three are open");
    assert_eq!((late.kind(), begin.elapsed()), (ErrorKind::TimedOut, MINUTE));
    assert_eq!(world.committed(0), Some(2));
    next.close(MINUTE).await.expect_err("closing again tells the same");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_source_leaves_and_commits_nothing_more() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(0, 0..3).await?;
    let source = world.source("").await?;
    let ids = |taken: &Taken| taken.iter().map(|(_, message)| message.id).collect::<Vec<_>>();
    let first = take(&source, 3).await?;
    drop(source);
    let again = world.source("").await?;
    assert_eq!(ids(&take(&again, 3).await?), ids(&first), "the same ids again (B3)");
    Ok(())
}

// The law of `poll`: drained in `Revoking`.
#[tokio::test(start_paused = true)]
async fn a_partition_that_goes_is_drained_before_it_goes() -> Result<()> {
    let world = World::new(2).await?;
    world.produce(0, 0..4).await?;
    world.produce(1, 10..14).await?;
    let one = world.source("revoke_timeout = '30s'").await?;
    let held = take(&one, 8).await?;
    let two = world.source("").await?;
    tokio::time::sleep(5 * SECOND).await;
    world.produce(0, 4..5).await?;
    world.produce(1, 14..15).await?;
    tokio::time::sleep(SECOND).await;
    let mut early = Vec::new();
    tokio::select! {
        biased;
        _ = two.receive(9, &mut early) => panic!("handed over before it was drained: {early:?}"),
        () = tokio::time::sleep(5 * SECOND) => {}
    }
    one.settle(settled(&held));
    let rest = take(&two, 1).await?;
    let of = |partition: i64| rest[0].1.metadata["partition"] == partition;
    assert_eq!(values(&rest), [if of(0) { "4" } else { "14" }], "nothing twice, nothing lost");
    let (first, second) = (world.committed(0), world.committed(1));
    assert!(if of(0) { first == Some(4) } else { second == Some(4) }, "{first:?} {second:?}");
    let own = take(&one, 1).await?;
    assert_eq!(values(&own), [if of(0) { "14" } else { "4" }]);
    one.settle(settled(&own));
    two.settle(settled(&rest));
    one.close(MINUTE).await?;
    two.close(MINUTE).await?;
    assert_eq!((world.committed(0), world.committed(1)), (Some(5), Some(5)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_in_time_is_read_again_by_the_next_owner() -> Result<()> {
    let world = World::new(2).await?;
    world.produce(0, 0..2).await?;
    world.produce(1, 10..12).await?;
    let one = world.source("revoke_timeout = '3s'").await?;
    let held = take(&one, 4).await?;
    let two = world.source("").await?;
    let again = take(&two, 2).await?;
    let ids: Vec<MessageId> = held.iter().map(|(_, message)| message.id).collect();
    assert!(again.iter().all(|(_, message)| ids.contains(&message.id)), "the same ids");
    // Too late: the partition is another member's, and nothing of it is committed by this one.
    one.settle(settled(&held));
    tokio::time::sleep(SECOND).await;
    let partition = again[0].1.metadata["partition"].as_i64().expect("a number");
    assert_eq!(world.committed(partition as i32), None);
    two.settle(settled(&again));
    one.close(MINUTE).await?;
    two.close(MINUTE).await?;
    assert_eq!((world.committed(0), world.committed(1)), (Some(2), Some(2)));
    Ok(())
}

// B8
#[tokio::test(start_paused = true)]
async fn a_bridge_that_takes_nothing_keeps_its_membership_and_the_buffer_its_bound() -> Result<()> {
    let world = World::new(1).await?;
    let source = world.source("buffer = 10").await?;
    world.produce(0, 0..1000).await?;
    tokio::time::sleep(30 * MINUTE).await;
    let mut taken = Vec::new();
    assert!(source.receive(1000, &mut taken).await? <= 10);
    assert!(taken[0].1.metadata["offset"] == 0 && source.health().await == Health::Healthy);
    source.settle(settled(&taken));
    let rest = 1000 - taken.len();
    let mut all = values(&taken);
    while all.len() < 1000 {
        let more = take(&source, 1).await?;
        all.extend(values(&more));
        source.settle(settled(&more));
    }
    assert_eq!(all, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>(), "{rest} more, in order");
    source.close(MINUTE).await?;
    assert_eq!(world.committed(0), Some(1000));
    Ok(())
}

fn failed(reason: BridgeReason) -> Disposition {
    let error = Error::new(ErrorKind::Unavailable, "bridge.deliver", "nobody took it");
    Disposition::Failed(error.with_detail(BridgeFault::new(reason)))
}

// bridge.md 9
#[tokio::test(start_paused = true)]
async fn a_record_that_nobody_accepts_stops_the_source_and_is_the_first_of_the_next_start() -> Result<()> {
    let world = World::new(1).await?;
    world.produce(0, 0..5).await?;
    let source = world.source("").await?;
    let taken = take(&source, 4).await?;
    source.settle(vec![Settled::new(taken[1].0, taken[1].1.id, failed(BridgeReason::InvalidMessage))]);
    let stopped = source.receive(9, &mut Vec::new()).await.expect_err("it stops");
    assert!(!stopped.is_retryable(true), "nothing passes here: {stopped}");
    assert!(stopped.message().contains("t[0]@1") && stopped.message().contains("on_failed"), "{stopped}");
    assert!(matches!(source.health().await, Health::Unhealthy(_)));
    source.settle(settled(&[taken[0].clone(), taken[2].clone(), taken[3].clone()]));
    source.close(MINUTE).await?;
    assert_eq!(world.committed(0), Some(1));

    let next = world.source("on_failed = 'skip'").await?;
    let taken = take(&next, 4).await?;
    assert_eq!(values(&taken), ["1", "2", "3", "4"]);
    next.settle(vec![Settled::new(taken[0].0, taken[0].1.id, failed(BridgeReason::InvalidMessage))]);
    next.settle(settled(&taken[1..3]));
    // A message that the bridge's end failed was judged by nobody.
    next.settle(vec![Settled::new(taken[3].0, taken[3].1.id, failed(BridgeReason::Drained))]);
    next.close(MINUTE).await?;
    assert_eq!(world.committed(0), Some(4));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_told_and_comes_back() -> Result<()> {
    let world = World::new(1).await?;
    let source = world.source("").await?;
    world.produce(0, 0..1).await?;
    let taken = take(&source, 1).await?;
    world.broker.set_available(false);
    source.settle(settled(&taken));
    let away = source.receive(1, &mut Vec::new()).await.expect_err("away");
    assert!(away.is_retryable(true), "{away}");
    assert!(matches!(source.health().await, Health::Degraded(_)));
    tokio::time::sleep(10 * SECOND).await;
    world.broker.set_available(true);
    world.produce(0, 1..2).await?;
    let mut more = Vec::new();
    // One more fault may have been met before it came back.
    let again = match source.receive(1, &mut more).await {
        Ok(count) => count,
        Err(away) if away.is_retryable(true) => source.receive(1, &mut more).await?,
        Err(other) => return Err(other),
    };
    assert_eq!((again, values(&more)), (1, vec!["1".to_owned()]));
    assert_eq!((source.health().await, world.committed(0)), (Health::Healthy, Some(1)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_told_when_an_end_is_opened() -> Result<()> {
    let world = World::new(1).await?;
    let table = |text: &str| text.parse::<Table>().expect("a table");
    let context = world.context();
    let missing = world.kafka.source(table("topics = ['no']\ngroup_id = 'g'"), &context).await;
    assert_eq!(missing.expect_err("no such topic").kind(), ErrorKind::NotFound);
    let wrong =
        world.kafka.source(table("topics = 't'\ngroup_id = 'g'"), &context).await.expect_err("no list");
    assert_eq!(wrong.bridge().map(|fault| fault.reason), Some(BridgeReason::InvalidEndpoint));
    world.broker.set_available(false);
    let away = world.kafka.target(Table::new(), &context).await.expect_err("away");
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_one_answer_a_message_and_a_bad_one_harms_no_neighbour() -> Result<()> {
    let world = World::new(1).await?;
    let target = world.kafka.target(Table::new(), &world.context()).await?;
    let message = |n: u128, bytes: usize| BridgeMessage::new(MessageId::from_u128(n), vec![b'x'; bytes]);
    let answers = target.deliver(&"t".into(), &[message(1, 1), message(2, 2 << 20), message(3, 1)]).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::TooLarge), None]);
    let stored = world.broker.records("t");
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[1].headers[0].value.as_deref(), Some(&b"00000000000000000000000000000003"[..]));
    let unknown = target.deliver(&"no".into(), &[message(4, 1)]).await.remove(0).expect_err("no such topic");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(target.deliver(&"t".into(), &[]).await.is_empty());
    assert!(target.check_route("t.1-a_B").is_ok() && target.check_route("a/b").is_err());
    target.close(MINUTE).await?;
    let closed = target.deliver(&"t".into(), &[message(5, 1)]).await.remove(0).expect_err("closed");
    assert_eq!(closed.kind(), ErrorKind::Closed);
    assert_eq!(world.broker.records("t").len(), 2);
    Ok(())
}
