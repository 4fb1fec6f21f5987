//! Closing (K24), dropping (K22) and dropped calls (K23).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use onex_spi::kafka::{
    Commit, ConsumerConfig, CreateTopicRequest, NextOffsets, PollRequest, ProduceReceipt, ProducerConfig,
    ProducerDriver, Timestamp,
};
use onex_spi::{Effect, ErrorKind, Health, Lifecycle, Result};

use super::PATIENCE;
use super::case;
use super::judge::{broken, refused};
use super::reader::values;
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "kafka.cancelled_produce_stores_once",
        ["K23", "K2"],
        ["ONEX-KAFKA-10"],
        cancelled_produce_stores_once
    ),
    case!("kafka.cancelled_commit_is_one_of_those_asked", ["K23", "K6"], ["ONEX-KAFKA-15"], cancelled_commit),
    case!("kafka.close_flushes", ["K24"], ["ONEX-KAFKA-21"], close_flushes),
    case!("kafka.close_out_of_time_adds_up", ["K24"], ["ONEX-KAFKA-21"], close_out_of_time_adds_up),
    case!("kafka.drop_never_blocks", ["K22"], ["ONEX-KAFKA-21"], drop_never_blocks),
    case!("kafka.producer_close_then_closed", ["K24"], ["ONEX-KAFKA-21"], producer_close_then_closed),
    case!("kafka.consumer_close_then_closed", ["K24", "K7"], ["ONEX-KAFKA-21"], consumer_close_then_closed),
    case!("kafka.driver_close_then_closed", ["K24"], ["ONEX-KAFKA-21"], driver_close_then_closed),
];

/// Lets `work` run for a moment and drops it where it has not ended; returns its result otherwise.
async fn for_a_moment<T>(
    world: &World,
    random: &mut fastrand::Rng,
    work: impl Future<Output = T>,
) -> Option<T> {
    let moment = Duration::from_micros(random.u64(0..2000));
    let work = std::pin::pin!(work);
    match select(work, world.clock().sleep_until(world.clock().now() + moment)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

async fn cancelled_produce_stores_once(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    let mut random = fastrand::Rng::with_seed(world.setup.seed);
    let mut acknowledged = Vec::new();
    for number in 0..100 {
        let value = format!("{number:03}");
        let record = topic.record(value.clone()).with_partition(0);
        if number % 10 == 0 {
            // Polled once and dropped, whatever the engine's speed.
            let produce = producer.produce(vec![record]);
            drop(select(produce, std::future::ready(())).await);
        } else if let Some(answers) = for_a_moment(&world, &mut random, producer.produce(vec![record])).await
        {
            ensure!("K23", answers.iter().all(Result::is_ok), "a produce among dropped ones: {answers:?}");
            acknowledged.push(value);
        }
    }
    store(&producer, vec![topic.record("end").with_partition(0)]).await?;
    let read = values(&world.reader("group", &[&topic]).await?.drain(&topic).await?);
    let distinct: BTreeSet<_> = read.iter().collect();
    ensure_eq!("K23", distinct.len(), read.len(), "distinct records in the log of {read:?}");
    ensure!("K2", read.is_sorted(), "not in submission order: {read:?}");
    for value in &acknowledged {
        ensure!("K3", distinct.contains(value), "{value} was acknowledged and is not in the log");
    }
    ensure_eq!("K23", read.last().map(String::as_str), Some("end"), "the record after the dropped ones");
    Ok(())
}

async fn cancelled_commit(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    store(&world.producer().await?, topic.numbered(0, 0..101)).await?;
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.join(&topic.all()).await?;
    let mut random = fastrand::Rng::with_seed(world.setup.seed);
    let mut stored = None;
    for next in 1..=100 {
        let commit = Commit::new(NextOffsets::from([(topic.at(0), next)]));
        if let Some(answer) = for_a_moment(&world, &mut random, reader.consumer.commit(&commit)).await {
            ensure!("K23", answer.is_ok(), "a commit among dropped ones: {answer:?}");
            stored = Some(next);
        }
        if next % 20 == 0 {
            let committed = reader.committed(&topic.at(0)).await?;
            ensure!("K6", committed >= stored, "{committed:?} committed where {stored:?} was acknowledged");
            ensure!(
                "K23",
                committed <= Some(next),
                "{committed:?} committed where {next} was asked for last"
            );
        }
    }
    reader.commit(&topic.at(0), 101).await
}

/// Produces in a task of its own and waits until every record is taken in, or answered.
async fn sending(
    world: &World,
    producer: &Arc<dyn ProducerDriver>,
    records: Vec<onex_spi::kafka::ProducerRecord>,
) -> Result<tokio::task::JoinHandle<Vec<Result<ProduceReceipt>>>, Stop> {
    let count = records.len() as u64;
    let task = tokio::spawn({
        let producer = Arc::clone(producer);
        async move { producer.produce(records).await }
    });
    let deadline = world.clock().now() + PATIENCE;
    while producer.stats().accepted < count && !task.is_finished() {
        if world.clock().now() >= deadline {
            task.abort();
            return Err(broken("K26", format!("{:?} while {count} records are produced", producer.stats())));
        }
        tokio::task::yield_now().await;
    }
    Ok(task)
}

async fn answers_of(
    world: &World,
    task: tokio::task::JoinHandle<Vec<Result<ProduceReceipt>>>,
) -> Result<Vec<Result<ProduceReceipt>>, Stop> {
    let abort = task.abort_handle();
    match world.within("K24", PATIENCE, "the answers of a closed producer", task).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(ended)) => Err(broken("", format!("produce ended: {ended}"))),
        Err(late) => {
            abort.abort();
            Err(late)
        }
    }
}

async fn close_flushes(world: World) -> CaseResult {
    const RECORDS: usize = 5_000;
    let topic = world.topic(1).await?;
    // Records wait for company, so that there is something to flush.
    let config = ProducerConfig::new().with_linger(Duration::from_secs(5));
    let producer = world.driver.producer(config).await?;
    let task = sending(&world, &producer, topic.numbered(0, 0..RECORDS)).await?;
    let undelivered =
        world.within("K24", PATIENCE, "close", producer.close(Duration::from_secs(20))).await??;
    let answers = answers_of(&world, task).await?;
    ensure_eq!("K24", undelivered.total(), 0, "records that a close in good time did not deliver");
    for answer in &answers {
        ensure!("K24", answer.is_ok(), "a record of a flushed close: {answer:?}");
    }
    ensure_eq!("K24", world.ends(&topic).await?, [RECORDS as i64], "the end of the log");
    let again = producer.close(Duration::from_secs(1)).await?;
    ensure_eq!("K24", again, undelivered, "the counts of a second close");
    Ok(())
}

async fn close_out_of_time_adds_up(world: World) -> CaseResult {
    const RECORDS: usize = 5_000;
    let topic = world.topic(1).await?;
    let config = ProducerConfig::new().with_linger(Duration::from_secs(5)).with_queue(RECORDS, 64 << 20);
    let producer = world.driver.producer(config).await?;
    let task = sending(&world, &producer, topic.numbered(0, 0..RECORDS)).await?;
    let close = producer.close(Duration::from_millis(10));
    let undelivered = world.within("K24", Duration::from_secs(5), "a close of 10 ms", close).await??;
    let answers = answers_of(&world, task).await?;
    let (mut stored, mut never, mut unknown) = (0, 0, 0);
    for answer in answers {
        match answer {
            Ok(_) => stored += 1,
            Err(error) => {
                ensure_eq!(
                    "K24",
                    error.kind(),
                    ErrorKind::Closed,
                    "a record cut off by the close: {error:#}"
                );
                match error.effect() {
                    Effect::NotApplied => never += 1,
                    Effect::Unknown => unknown += 1,
                }
            }
        }
    }
    let told = (undelivered.never_sent, undelivered.unknown);
    ensure_eq!("K24", told, (never, unknown), "records never sent and unknown, told by close and by produce");
    ensure_eq!("K24", stored + never + unknown, RECORDS as u64, "answers for {RECORDS} records");
    let again = producer.close(Duration::from_secs(1)).await?;
    ensure_eq!("K24", again, undelivered, "the counts of a second close");
    let log = u64::try_from(world.ends(&topic).await?[0]).unwrap_or_default();
    let right = (stored..=stored + unknown).contains(&log);
    ensure!(
        "K24",
        right,
        "{log} records in the log, {stored} acknowledged, {unknown} unknown, {never} never sent"
    );
    Ok(())
}

/// The shortest of a few drops: one that blocks always does, one that is preempted does not always.
async fn drop_never_blocks(world: World) -> CaseResult {
    const LIMIT: Duration = Duration::from_millis(10);
    let topic = world.topic(1).await?;
    let (mut producers, mut consumers, mut drivers) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..5 {
        let driver = world.connect_again().await?;
        let producer = driver.producer(ProducerConfig::new().with_linger(Duration::from_secs(5))).await?;
        let task = sending(&world, &producer, topic.numbered(0, 0..1000)).await?;
        task.abort();
        drop(task.await);
        let mut reader = world.reader(&format!("group{round}"), &[&topic]).await?;
        reader.join(&topic.all()).await?;
        let took = |work: &mut dyn FnMut()| {
            let begin = Instant::now();
            work();
            begin.elapsed()
        };
        let (mut producer, mut reader, mut driver) = (Some(producer), Some(reader), Some(driver));
        producers.push(took(&mut || drop(producer.take())));
        consumers.push(took(&mut || drop(reader.take())));
        drivers.push(took(&mut || drop(driver.take())));
    }
    for (what, times) in [("producer", producers), ("consumer", consumers), ("driver", drivers)] {
        let shortest = times.iter().min().copied().unwrap_or_default();
        ensure!("K22", shortest < LIMIT, "dropping a {what} blocked for {times:?}");
    }
    Ok(())
}

async fn producer_close_then_closed(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    store(&producer, topic.numbered(0, 0..3)).await?;
    let before = producer.stats();
    let first = producer.close(PATIENCE).await?;
    ensure_eq!("K24", first.total(), 0, "undelivered where everything was answered");
    for answer in producer.produce(topic.numbered(0, 3..5)).await {
        refused("K24", answer, ErrorKind::Closed, "", "produce on a closed producer")?;
    }
    ensure_eq!("K24", producer.close(PATIENCE).await?, first, "closing again");
    ensure_eq!("K26", producer.stats().acknowledged, before.acknowledged, "acknowledged after the close");
    ensure_eq!("K24", world.ends(&topic).await?, [3], "the end of the log");
    store(&world.producer().await?, topic.numbered(0, 3..4)).await?;
    Ok(())
}

async fn consumer_close_then_closed(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let at = topic.at(0);
    store(&world.producer().await?, topic.numbered(0, 0..3)).await?;
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.read(3).await?;
    let consumer = &reader.consumer;
    consumer.close(PATIENCE).await?;
    consumer.close(PATIENCE).await?;
    let next = NextOffsets::from([(at.clone(), 1)]);
    let own = std::slice::from_ref(&at);
    let poll = consumer.poll(PollRequest::new(1, Duration::from_millis(10))).await;
    refused("K24", poll, ErrorKind::Closed, "", "poll")?;
    let subscribe = consumer.subscribe(&[topic.name.to_string()]).await;
    refused("K24", subscribe, ErrorKind::Closed, "", "subscribe")?;
    refused("K24", consumer.commit(&Commit::new(next.clone())).await, ErrorKind::Closed, "", "commit")?;
    refused("K24", consumer.committed(own).await, ErrorKind::Closed, "", "committed")?;
    refused("K24", consumer.seek(&next).await, ErrorKind::Closed, "", "seek")?;
    refused("K24", consumer.pause(own).await, ErrorKind::Closed, "", "pause")?;
    refused("K24", consumer.resume(own).await, ErrorKind::Closed, "", "resume")?;
    refused("K24", consumer.watermarks(&at).await, ErrorKind::Closed, "", "watermarks")?;
    let times = consumer.offsets_for_times(&[(at, Timestamp::from_millis(0))]).await;
    refused("K24", times, ErrorKind::Closed, "", "offsets_for_times")?;
    ensure_eq!("K24", consumer.assignment(), [], "what a closed consumer owns");
    let mut next = world.reader("group", &[&topic]).await?;
    ensure_eq!("K7", next.committed(&topic.at(0)).await?, None, "committed after a close");
    ensure_eq!("K24", next.drain(&topic).await?.len(), 3, "records for the next member");
    Ok(())
}

async fn driver_close_then_closed(world: World) -> CaseResult {
    let driver = world.connect_again().await?;
    let healthy = driver.health().await;
    ensure!("K24", matches!(healthy, Health::Healthy), "a driver in use is {healthy:?}");
    Lifecycle::close(&*driver, PATIENCE).await?;
    Lifecycle::close(&*driver, PATIENCE).await?;
    refused("K24", driver.producer(ProducerConfig::new()).await, ErrorKind::Closed, "", "producer")?;
    let consumer = driver.consumer(ConsumerConfig::new(world.name("group"))).await;
    refused("K24", consumer, ErrorKind::Closed, "", "consumer")?;
    let create = driver.create_topic(CreateTopicRequest::new(world.name("late"), 1)).await;
    refused("K24", create, ErrorKind::Closed, "", "create_topic")?;
    let topic = world.topic(1).await?;
    refused("K24", driver.delete_topic(&topic.name).await, ErrorKind::Closed, "", "delete_topic")?;
    refused("K24", driver.topic_metadata(&topic.name).await, ErrorKind::Closed, "", "topic_metadata")?;
    let health = driver.health().await;
    ensure!("K24", matches!(health, Health::Unhealthy(_)), "a closed driver is {health:?}");
    // The other connection to the cluster is untouched.
    ensure_eq!("K24", world.ends(&topic).await?, [0], "the end of the log");
    Ok(())
}
