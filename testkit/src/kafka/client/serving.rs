//! Producing, topics, groups and counters by id.

use std::num::NonZeroU64;
use std::time::Duration;

use onex_spi::kafka::{
    Acks, Commit, ConsumerId, CreateTopicRequest, GroupState, KafkaClientId, KafkaFeature, NextOffsets,
    PollRequest, ProducerConfig, ProducerId, ProducerRecord, TopicOutcome,
};
use onex_spi::{ErrorKind, Health};

use super::case;
use super::world::{Source, TURN, World, names};
use crate::kafka::driver::{broken, refused, values};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "kafka_client.produce_and_consume_by_id",
        ["K3", "K14"],
        ["ONEX-KAFKA-01", "ONEX-KAFKA-09", "ONEX-KAFKA-11", "ONEX-KAFKA-13"],
        produce_and_consume_by_id
    ),
    case!("kafka_client.batch_results_in_order", ["K4", "K5"], ["ONEX-KAFKA-09"], batch_results_in_order),
    case!(
        "kafka_client.unknown_ids_are_not_found",
        ["K24"],
        ["ONEX-KAFKA-07", "ONEX-KAFKA-08"],
        unknown_ids_are_not_found
    ),
    case!(
        "kafka_client.ids_are_their_clients_own",
        ["K24"],
        ["ONEX-KAFKA-07", "ONEX-KAFKA-08"],
        ids_are_their_clients_own
    ),
    case!(
        "kafka_client.bad_configs_are_refused",
        ["K3", "K8"],
        ["ONEX-KAFKA-07", "ONEX-KAFKA-08", "ONEX-KAFKA-22", "ONEX-KAFKA-23"],
        bad_configs_are_refused
    ),
    case!(
        "kafka_client.topics",
        ["K18", "K20"],
        ["ONEX-KAFKA-02", "ONEX-KAFKA-17", "ONEX-KAFKA-18", "ONEX-KAFKA-19"],
        topics
    ),
    case!("kafka_client.group_info", ["K6", "K20", "K21"], ["ONEX-KAFKA-16"], group_info),
    case!("kafka_client.metrics_add_up", ["K26"], ["ONEX-KAFKA-06", "ONEX-KAFKA-20"], metrics_add_up),
];

async fn produce_and_consume_by_id(world: World) -> CaseResult {
    let topic = world.topic("topic", 2).await?;
    let producer = world.producer().await?;
    let record =
        topic.record("v").with_key("k").with_partition(1).with_header("a", "1").with_header("a", "2");
    let receipt = world.client.produce_message(producer, record.clone()).await?;
    let told = (&receipt.topic, receipt.partition, receipt.offset);
    ensure_eq!("K3", told, (&topic.name, 1, Some(0)), "the receipt");
    let consumer = world.consumer("group").await?;
    let read = world.read(consumer, &names([&topic]), 1).await?.remove(0);
    ensure_eq!("K3", (&read.topic, read.partition, read.offset), (&topic.name, 1, 0), "where it was read");
    ensure_eq!(
        "K14",
        (read.key, read.value, read.headers),
        (record.key, record.value, record.headers),
        "the record"
    );

    let tombstone = ProducerRecord::new(topic.name.clone()).with_key("k").with_partition(0);
    world.client.produce_message(producer, tombstone).await?;
    let read = world.read(consumer, &[], 1).await?.remove(0);
    ensure_eq!("K14", (read.partition, read.value), (0, None), "a null value");
    let healthy = world.client.health().await;
    ensure!("K24", matches!(healthy, Health::Healthy), "a client in use is {healthy:?}");
    Ok(())
}

async fn batch_results_in_order(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let producer = world.producer().await?;
    let mut records = topic.numbered(0, 0..6);
    records[1] = topic.record("to a partition that is not there").with_partition(9);
    records[4].topic = world.name("missing").into();
    let answers = world.client.produce_batch(producer, records).await?;
    ensure_eq!("K4", answers.len(), 6, "answers for 6 records");
    let mut offsets = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        match index {
            1 => drop(refused("K4", answer, ErrorKind::InvalidInput, "", "record 1, to partition 9 of 1")?),
            4 => drop(refused("K4", answer, ErrorKind::NotFound, "", "record 4, to a missing topic")?),
            _ => match answer {
                Ok(receipt) => offsets.push(receipt.offset),
                Err(error) => ensure!("K4", false, "record {index} is good, yet {error:#}"),
            },
        }
    }
    ensure_eq!("K4", offsets, [Some(0), Some(1), Some(2), Some(3)], "offsets of the good records");
    let read = world.read(world.consumer("group").await?, &names([&topic]), 4).await?;
    ensure_eq!("K4", values(&read), ["0", "2", "3", "5"], "the log and the good records");
    ensure_eq!(
        "K4",
        world.client.produce_batch(producer, Vec::new()).await?.len(),
        0,
        "answers for no records"
    );
    Ok(())
}

async fn unknown_ids_are_not_found(world: World) -> CaseResult {
    let (client, law) = (&world.client, "K24");
    let (producer, consumer) = (ProducerId::new(NonZeroU64::MAX), ConsumerId::new(NonZeroU64::MAX));
    let kind = ErrorKind::NotFound;
    let record = ProducerRecord::new(world.name("topic"));
    refused(law, client.produce_message(producer, record).await, kind, "", "produce_message")?;
    refused(law, client.produce_batch(producer, Vec::new()).await, kind, "", "produce_batch")?;
    let consume = client.consume_messages(consumer, &[], PollRequest::new(1, TURN)).await;
    refused(law, consume, kind, "", "consume_messages")?;
    let commit = Commit::new(NextOffsets::new());
    refused(law, client.commit_offsets(consumer, &commit).await, kind, "", "commit_offsets")?;
    refused(law, client.producer_handle(producer), kind, "", "producer_handle")?;
    refused(law, client.consumer_handle(consumer), kind, "", "consumer_handle")?;
    for id in [KafkaClientId::from(producer), consumer.into()] {
        refused(law, client.kafka_metrics(id).await, kind, "", "kafka_metrics")?;
        refused(law, client.close_client(id, Duration::ZERO).await, kind, "", "close_client")?;
        // There is nobody to tell, and nothing to end.
        client.abandon_client(id);
    }
    Ok(())
}

async fn ids_are_their_clients_own(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    let (client, other, law) = (&world.client, world.connect_again().await?, "K24");
    // Each has as many as the other, so that two clients who count from one would take each other's for their own.
    let (own, own_reader) = (world.producer().await?, world.consumer("own").await?);
    let producer = other.create_producer(ProducerConfig::new()).await?;
    let consumer = other.create_consumer(world.member("theirs"), None).await?;
    let apart = own != producer && own_reader != consumer;
    ensure!("K24", apart, "two clients have {own} and {producer}, {own_reader} and {consumer}");
    let kind = ErrorKind::NotFound;
    refused(law, client.produce_message(producer, topic.record("0")).await, kind, "", "produce_message")?;
    let batch = client.produce_batch(producer, vec![topic.record("0")]).await;
    refused(law, batch, kind, "", "produce_batch")?;
    let consume = client.consume_messages(consumer, &names([&topic]), PollRequest::new(1, TURN)).await;
    refused(law, consume, kind, "", "consume_messages")?;
    let commit = Commit::new(NextOffsets::from([(topic.at(0), 0)]));
    refused(law, client.commit_offsets(consumer, &commit).await, kind, "", "commit_offsets")?;
    refused(law, client.producer_handle(producer), kind, "", "producer_handle")?;
    refused(law, client.consumer_handle(consumer), kind, "", "consumer_handle")?;
    for id in [KafkaClientId::from(producer), consumer.into()] {
        refused(law, client.kafka_metrics(id).await, kind, "", "kafka_metrics")?;
        refused(law, client.close_client(id, Duration::ZERO).await, kind, "", "close_client")?;
        client.abandon_client(id);
    }
    // None of that reached the one whose ids they are.
    let receipt = other.produce_message(producer, topic.record("theirs")).await?;
    ensure_eq!("K24", receipt.offset, Some(0), "the first record of the topic");
    other.consumer_handle(consumer)?;
    Ok(())
}

async fn bad_configs_are_refused(world: World) -> CaseResult {
    let elsewhere = || vec!["another-cluster.invalid:9092".to_owned()];
    let mut foreign = ProducerConfig::new();
    foreign.bootstrap_servers = elsewhere();
    for (config, what) in [
        (ProducerConfig::new().with_acks(Acks::None), "idempotent with acks = none"),
        (foreign, "another cluster"),
    ] {
        refused("K3", world.client.create_producer(config).await, ErrorKind::InvalidInput, "", what)?;
    }
    let (mut nameless, mut foreign) = (world.member("group"), world.member("group"));
    nameless.group_id.clear();
    foreign.bootstrap_servers = elsewhere();
    for (config, what) in [(nameless, "an empty group"), (foreign, "another cluster")] {
        refused("K8", world.client.create_consumer(config, None).await, ErrorKind::InvalidInput, "", what)?;
    }
    Ok(())
}

async fn topics(world: World) -> CaseResult {
    let client = &world.client;
    let topic = world.topic("topic", 3).await?;
    let again = client.create_topic(CreateTopicRequest::new(&*topic.name, 5)).await?;
    ensure_eq!("K20", again, TopicOutcome::Existed, "creating again");
    let zero = client.create_topic(CreateTopicRequest::new(world.name("zero"), 0)).await;
    refused("K20", zero, ErrorKind::InvalidInput, "", "0 partitions")?;
    world.store(world.producer().await?, topic.numbered(1, 0..4)).await?;
    let metadata = world.connect_again().await?.topic_metadata(&topic.name).await?;
    let bounds: Vec<_> =
        metadata.partitions.iter().map(|info| (info.partition, info.low, info.high)).collect();
    ensure_eq!("K20", bounds, [(0, 0, 0), (1, 0, 4), (2, 0, 0)], "the partitions as described");

    let missing = world.name("missing");
    for _ in 0..3 {
        let described = client.topic_metadata(&missing).await;
        refused(
            "K18",
            described,
            ErrorKind::NotFound,
            "UNKNOWN_TOPIC_OR_PARTITION",
            "describing a missing topic",
        )?;
    }
    if client.capabilities().features.has(KafkaFeature::TopicAdmin) {
        ensure_eq!("K20", client.delete_topic(&topic.name).await?, TopicOutcome::Deleted, "deleting");
        ensure_eq!("K20", client.delete_topic(&topic.name).await?, TopicOutcome::Absent, "deleting again");
    }
    Ok(())
}

async fn group_info(world: World) -> CaseResult {
    let client = &world.client;
    if !client.capabilities().features.has(KafkaFeature::Groups) {
        let answer = client.consumer_group_info(&world.name("group")).await;
        return refused("K20", answer, ErrorKind::Unsupported, "", "a group without Groups").map(drop);
    }
    let nobody = client.consumer_group_info(&world.name("nobody")).await?;
    ensure_eq!(
        "K20",
        (nobody.state, nobody.members.len()),
        (GroupState::Dead, 0),
        "a group that nobody knows"
    );
    let topic = world.topic("topic", 1).await?;
    world.store(world.producer().await?, topic.numbered(0, 0..10)).await?;
    let consumer = world.consumer("group").await?;
    let read = world.read(consumer, &names([&topic]), 4).await?;
    client.commit_offsets(consumer, &Commit::after(&read)).await?;
    // Who commits is a member, so the coordinator knows of it.
    let live = client.consumer_group_info(&world.name("group")).await?;
    ensure_eq!("K6", live.committed.get(&topic.at(0)), Some(&4), "the committed offset of {live:?}");
    let seen = (live.members.len(), live.lag.get(&topic.at(0)));
    ensure_eq!("K20", seen, (1, Some(&6)), "members and lag of {live:?}");
    Ok(())
}

async fn metrics_add_up(world: World) -> CaseResult {
    let client = &world.client;
    let topic = world.topic("topic", 2).await?;
    let producer = world.producer().await?;
    let mut records = topic.numbered(0, 0..10);
    records.extend(topic.numbered(1, 0..5));
    records[3] = topic.record("to a partition that is not there").with_partition(9);
    client.produce_batch(producer, records).await?;
    let sent = client.kafka_metrics(producer.into()).await?.stats;
    let sum = sent.acknowledged + sent.failed + sent.in_flight;
    ensure_eq!("K26", sent.accepted, sum, "accepted, and acknowledged + failed + in flight of {sent:?}");
    ensure_eq!("K26", (sent.acknowledged, sent.in_flight), (14, 0), "acknowledged and in flight at rest");

    let consumer = world.consumer("group").await?;
    let read = world.read(consumer, &names([&topic]), 14).await?;
    let seen = client.kafka_metrics(consumer.into()).await?;
    ensure_eq!("K26", seen.stats.received, 14, "records received");
    ensure_eq!("K26", seen.assignment, topic.all(), "what the consumer owns");
    let lags: Vec<_> = topic.all().iter().map(|at| seen.lag.get(at).copied()).collect();
    ensure_eq!("K26", lags, [Some(0), Some(0)], "the lag at the end of both partitions");
    world.store(producer, topic.numbered(1, 5..8)).await?;
    let behind = client.kafka_metrics(consumer.into()).await?;
    let lags: Vec<_> = topic.all().iter().map(|at| behind.lag.get(at).copied()).collect();
    ensure_eq!("K26", lags, [Some(0), Some(3)], "the lag after three more in partition 1");
    client.commit_offsets(consumer, &Commit::after(&read)).await?;
    let later = client.kafka_metrics(producer.into()).await?.stats;
    let Some(grown) = later.acknowledged.checked_sub(sent.acknowledged) else {
        return Err(broken("K26", format!("acknowledged fell from {sent:?} to {later:?}")));
    };
    ensure_eq!("K26", (grown, later.failed), (3, sent.failed), "acknowledged more, and failed");
    Ok(())
}
