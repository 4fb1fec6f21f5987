//! Ids and their end (K24).

use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::kafka::{
    Commit, ConsumerId, CreateTopicRequest, KafkaClientExt, KafkaClientId, NextOffsets, PollRequest,
    ProducerConfig, ProducerId,
};
use onex_spi::{ErrorKind, Health, Lifecycle};

use super::case;
use super::world::{Source, TURN, World, names};
use crate::kafka::driver::{PATIENCE, Topic, broken, refused, values};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka_client.closed_ids_stay_closed", ["K24"], ["ONEX-KAFKA-21"], closed_ids_stay_closed),
    case!(
        "kafka_client.ids_are_never_reused",
        ["K24"],
        ["ONEX-KAFKA-07", "ONEX-KAFKA-08"],
        ids_are_never_reused
    ),
    case!("kafka_client.close_flushes", ["K24"], ["ONEX-KAFKA-21"], close_flushes),
    case!(
        "kafka_client.handles_are_the_ids_own",
        ["K24", "K26", "K21"],
        ["ONEX-KAFKA-01"],
        handles_are_the_ids_own
    ),
    case!(
        "kafka_client.abandon_returns_at_once",
        ["K22", "K24", "K21"],
        ["ONEX-KAFKA-21"],
        abandon_returns_at_once
    ),
    case!("kafka_client.scopes_end_their_ids", ["K24"], ["ONEX-KAFKA-21"], scopes_end_their_ids),
    case!("kafka_client.close_ends_everything", ["K24"], ["ONEX-KAFKA-21"], close_ends_everything),
];

/// Checks that every call on both ids answers `Closed`.
async fn both_closed(world: &World, topic: &Topic, producer: ProducerId, consumer: ConsumerId) -> CaseResult {
    let (client, law, kind) = (&world.client, "K24", ErrorKind::Closed);
    let record = topic.record("late");
    refused(law, client.produce_message(producer, record.clone()).await, kind, "", "produce_message")?;
    refused(law, client.produce_batch(producer, vec![record]).await, kind, "", "produce_batch")?;
    let consume = client.consume_messages(consumer, &names([topic]), PollRequest::new(1, TURN)).await;
    refused(law, consume, kind, "", "consume_messages")?;
    let commit = Commit::new(NextOffsets::from([(topic.at(0), 1)]));
    refused(law, client.commit_offsets(consumer, &commit).await, kind, "", "commit_offsets")?;
    refused(law, client.producer_handle(producer), kind, "", "producer_handle")?;
    refused(law, client.consumer_handle(consumer), kind, "", "consumer_handle")?;
    for id in [KafkaClientId::from(producer), consumer.into()] {
        refused(law, client.kafka_metrics(id).await, kind, "", "kafka_metrics")?;
        let again = client.close_client(id, PATIENCE).await;
        ensure!("K24", again.is_ok(), "closing {id:?} again: {again:?}");
        client.abandon_client(id);
    }
    Ok(())
}

async fn closed_ids_stay_closed(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let (producer, consumer) = (world.producer().await?, world.consumer("group").await?);
    world.store(producer, topic.numbered(0, 0..3)).await?;
    world.read(consumer, &names([&topic]), 3).await?;
    for id in [KafkaClientId::from(producer), consumer.into()] {
        let undelivered = world.client.close_client(id, PATIENCE).await?;
        ensure_eq!("K24", undelivered.total(), 0, "undelivered where everything was answered");
    }
    both_closed(&world, &topic, producer, consumer).await?;
    let next = world.consumer("group").await?;
    let again = values(&world.read(next, &names([&topic]), 3).await?);
    ensure_eq!("K7", again, ["0", "1", "2"], "what the group reads after a close without a commit");
    Ok(())
}

async fn ids_are_never_reused(world: World) -> CaseResult {
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (producer, consumer) = (world.producer().await?, world.consumer("group").await?);
        ensure!("K24", !producers.contains(&producer), "{producer} again");
        ensure!("K24", !consumers.contains(&consumer), "{consumer} again");
        producers.push(producer);
        consumers.push(consumer);
        world.client.close_client(producer.into(), PATIENCE).await?;
        world.client.close_client(consumer.into(), PATIENCE).await?;
    }
    for (producer, consumer) in producers.into_iter().zip(consumers) {
        refused("K24", world.client.producer_handle(producer), ErrorKind::Closed, "", "an old producer")?;
        refused("K24", world.client.consumer_handle(consumer), ErrorKind::Closed, "", "an old consumer")?;
    }
    Ok(())
}

async fn close_flushes(world: World) -> CaseResult {
    const RECORDS: u64 = 1000;
    let topic = world.topic("topic", 1).await?;
    let config = ProducerConfig::new().with_linger(Duration::from_secs(5));
    let producer = world.client.create_producer(config).await?;
    let sending = tokio::spawn({
        let (client, records) = (Arc::clone(&world.client), topic.numbered(0, 0..RECORDS as usize));
        async move { client.produce_batch(producer, records).await }
    });
    let abort = sending.abort_handle();
    let closing = async {
        while world.client.kafka_metrics(producer.into()).await?.stats.accepted < RECORDS
            && !sending.is_finished()
        {
            tokio::task::yield_now().await;
        }
        let undelivered = world.client.close_client(producer.into(), Duration::from_secs(20)).await?;
        Ok::<_, onex_spi::Error>((undelivered, sending.await))
    };
    let ended = world.within("K24", PATIENCE, "a close with records in flight", closing).await;
    abort.abort();
    let (undelivered, answers) = ended??;
    ensure_eq!("K24", undelivered.total(), 0, "records that a close in good time did not deliver");
    let answers = answers.map_err(|ended| broken("", format!("produce_batch ended: {ended}")))??;
    for answer in answers {
        ensure!("K24", answer.is_ok(), "a record of a flushed close: {answer:?}");
    }
    let high = world.client.topic_metadata(&topic.name).await?.partitions[0].high;
    ensure_eq!("K24", high, RECORDS as i64, "the end of the log");
    Ok(())
}

async fn handles_are_the_ids_own(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let (producer, consumer) = (world.producer().await?, world.consumer("group").await?);
    let (sends, reads) = (world.client.producer_handle(producer)?, world.client.consumer_handle(consumer)?);
    for answer in sends.produce(topic.numbered(0, 0..5)).await {
        answer?;
    }
    let counted = world.client.kafka_metrics(producer.into()).await?.stats;
    ensure_eq!("K26", (counted, counted.acknowledged), (sends.stats(), 5), "records sent by the handle");
    let first = values(&world.read(consumer, &names([&topic]), 3).await?);
    ensure_eq!("K24", first, ["0", "1", "2"], "what the id reads");
    ensure_eq!("K24", reads.assignment(), topic.all(), "what the handle owns");
    let commit = Commit::new(NextOffsets::from([(topic.at(0), 2)]));
    reads.commit(&commit).await?;
    let counted = world.client.kafka_metrics(consumer.into()).await?.stats;
    ensure_eq!("K26", counted, reads.stats(), "the counters of id and handle");

    world.client.close_client(producer.into(), PATIENCE).await?;
    world.client.close_client(consumer.into(), PATIENCE).await?;
    for answer in sends.produce(topic.numbered(0, 5..6)).await {
        refused("K24", answer, ErrorKind::Closed, "", "produce by a handle whose id was closed")?;
    }
    let poll = reads.poll(PollRequest::new(1, TURN)).await;
    refused("K24", poll, ErrorKind::Closed, "", "poll by a handle whose id was closed")?;
    Ok(())
}

async fn abandon_returns_at_once(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let mut took = Vec::new();
    for _ in 0..5 {
        let (producer, consumer) = (world.producer().await?, world.consumer("group").await?);
        world.store(producer, topic.numbered(0, 0..1)).await?;
        world.read(consumer, &names([&topic]), 1).await?;
        let begin = Instant::now();
        world.client.abandon_client(producer.into());
        world.client.abandon_client(consumer.into());
        took.push(begin.elapsed());
        both_closed(&world, &topic, producer, consumer).await?;
    }
    // The shortest: a call that blocks always does, one that is preempted does not always.
    let shortest = took.iter().min().copied().unwrap_or_default();
    ensure!("K22", shortest < Duration::from_millis(10), "abandoning took {took:?}");
    // Each one left the group, or the next could not have read.
    let next = world.consumer("group").await?;
    world.read(next, &names([&topic]), 5).await?;
    Ok(())
}

async fn scopes_end_their_ids(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let client = &world.client;
    let (producer, consumer) = {
        let producer = client.producer(ProducerConfig::new()).await?;
        let consumer = client.consumer(world.member("group"), None).await?;
        producer.send(topic.record("0")).await?;
        let read = async {
            loop {
                let read = consumer.consume(&names([&topic]), PollRequest::new(10, TURN)).await?;
                if !read.is_empty() {
                    return consumer.commit_after(&read).await;
                }
            }
        };
        world.within("K3", PATIENCE, "a record", read).await??;
        (producer.id(), consumer.id())
    };
    both_closed(&world, &topic, producer, consumer).await?;

    let scoped = client.producer(ProducerConfig::new()).await?;
    let answers = scoped.send_batch(topic.numbered(0, 1..3)).await?;
    ensure!("K4", answers.len() == 2 && answers.iter().all(Result::is_ok), "a batch by a scope: {answers:?}");
    ensure_eq!("K24", scoped.close(PATIENCE).await?.total(), 0, "undelivered at the end of a scope");
    let consumer = world.consumer("group").await?;
    let read = values(&world.read(consumer, &names([&topic]), 2).await?);
    ensure_eq!("K6", read, ["1", "2"], "what the group reads after the scope's commit");
    Ok(())
}

async fn close_ends_everything(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let (producer, consumer) = (world.producer().await?, world.consumer("group").await?);
    world.store(producer, topic.numbered(0, 0..2)).await?;
    world.read(consumer, &names([&topic]), 2).await?;
    let client = &world.client;
    Lifecycle::close(&**client, PATIENCE).await?;
    Lifecycle::close(&**client, PATIENCE).await?;
    both_closed(&world, &topic, producer, consumer).await?;
    let kind = ErrorKind::Closed;
    refused("K24", client.create_producer(ProducerConfig::new()).await, kind, "", "create_producer")?;
    refused("K24", client.create_consumer(world.member("group"), None).await, kind, "", "create_consumer")?;
    let create = client.create_topic(CreateTopicRequest::new(world.name("late"), 1)).await;
    refused("K24", create, kind, "", "create_topic")?;
    refused("K24", client.delete_topic(&topic.name).await, kind, "", "delete_topic")?;
    refused("K24", client.topic_metadata(&topic.name).await, kind, "", "topic_metadata")?;
    let health = client.health().await;
    ensure!("K24", matches!(health, Health::Unhealthy(_)), "a closed client is {health:?}");
    // Another client to the cluster is untouched.
    let other = world.connect_again().await?;
    ensure_eq!("K24", other.topic_metadata(&topic.name).await?.partitions[0].high, 2, "the end of the log");
    Ok(())
}
