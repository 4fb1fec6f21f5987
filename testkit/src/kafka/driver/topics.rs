//! Topics: names (K17), honest outcomes (K20), and that looking never creates (K18).

use std::time::Duration;

use futures_util::future::join;
use onex_spi::kafka::{
    Commit, CreateTopicRequest, KafkaFeature, NextOffsets, Polled, Timestamp, TopicOutcome,
};
use onex_spi::{ErrorKind, Result};

use super::case;
use super::judge::{broken, refused};
use super::reader::{Reader, values};
use super::topic::{Topic, store};
use super::world::{Source, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka.unknown_topic", ["K18", "K5"], ["ONEX-KAFKA-09", "ONEX-KAFKA-19"], unknown_topic),
    case!("kafka.topic_appears_later", ["K18"], ["ONEX-KAFKA-12"], topic_appears_later),
    case!("kafka.create_topic_refusals", ["K17", "K18", "K20"], ["ONEX-KAFKA-17"], create_topic_refusals),
    case!(
        "kafka.create_delete_outcomes",
        ["K20"],
        ["ONEX-GEN-04", "ONEX-KAFKA-02", "ONEX-KAFKA-17", "ONEX-KAFKA-18"],
        create_delete_outcomes
    ),
    case!(
        "kafka.recreated_topic_starts_at_zero",
        ["K20", "K2"],
        ["ONEX-KAFKA-18"],
        recreated_topic_starts_at_zero
    ),
    case!("kafka.topic_metadata_is_true", ["K18", "K20"], ["ONEX-KAFKA-19"], topic_metadata_is_true),
];

const UNKNOWN: &str = "UNKNOWN_TOPIC_OR_PARTITION";
/// The law says 5 s; the rest is the machine's.
const REFUSED_WITHIN: Duration = Duration::from_secs(6);

async fn unknown_topic(world: World) -> CaseResult {
    let missing = Topic { name: world.name("missing").into(), partitions: 1 };
    let producer = world.producer().await?;
    let mut reader = world.reader("group", &[&missing]).await?;
    let answers = world.within("K18", REFUSED_WITHIN, "produce", producer.produce(vec![missing.record("v")]));
    let polled = world.within("K18", REFUSED_WITHIN, "poll", poll_until_told(&mut reader));
    let (answers, polled) = join(answers, polled).await;
    for answer in answers? {
        refused("K18", answer, ErrorKind::NotFound, UNKNOWN, "produce")?;
    }
    refused("K18", polled??, ErrorKind::NotFound, UNKNOWN, "poll")?;

    let (at, consumer) = (missing.at(0), &reader.consumer);
    let commit = Commit::new(NextOffsets::from([(at.clone(), 1)]));
    let times = [(at.clone(), Timestamp::from_millis(0))];
    let asked = async {
        let law = "K18";
        refused(law, consumer.commit(&commit).await, ErrorKind::NotFound, UNKNOWN, "commit")?;
        refused(law, consumer.watermarks(&at).await, ErrorKind::NotFound, UNKNOWN, "watermarks")?;
        refused(
            law,
            consumer.offsets_for_times(&times).await,
            ErrorKind::NotFound,
            UNKNOWN,
            "offsets_for_times",
        )?;
        let described = world.driver.topic_metadata(&missing.name).await;
        refused(law, described, ErrorKind::NotFound, UNKNOWN, "topic_metadata")
    };
    world
        .within("K18", REFUSED_WITHIN * 2, "commit, watermarks, offsets_for_times, topic_metadata", asked)
        .await??;

    let other = world.connect_again().await?;
    let described = other.topic_metadata(&missing.name).await;
    refused("K18", described, ErrorKind::NotFound, UNKNOWN, "topic_metadata of what was only looked for")?;
    let described = other.topic_metadata(&world.topic(1).await?.name).await?;
    ensure_eq!("K20", described.partitions.len(), 1, "partitions of a topic that is there");
    Ok(())
}

/// Polls until the consumer is told something other than "nothing yet".
async fn poll_until_told(reader: &mut Reader) -> Result<Result<Polled>, crate::suite::Stop> {
    loop {
        match reader.try_poll(10, Duration::from_millis(200)).await? {
            Ok(Polled::Records(messages)) if messages.is_empty() => {}
            told => return Ok(told),
        }
    }
}

async fn topic_appears_later(world: World) -> CaseResult {
    let topic = Topic { name: world.name("later").into(), partitions: 1 };
    let mut reader = world.reader("group", &[&topic]).await?;
    // Asked for before it is there, so that the consumer knows of a topic that is missing.
    if let Err(error) = reader.try_poll(10, Duration::from_millis(500)).await? {
        refused("K18", Err::<(), _>(error), ErrorKind::NotFound, UNKNOWN, "poll")?;
    }
    world.create(CreateTopicRequest::new(&*topic.name, 1)).await?;
    store(&world.producer().await?, vec![topic.record("first")]).await?;
    let read = async {
        loop {
            match reader.try_poll(10, Duration::from_millis(200)).await? {
                Ok(Polled::Records(messages)) if !messages.is_empty() => return Ok(values(&messages)),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    };
    let read: Result<_, crate::suite::Stop> =
        world.within("K18", Duration::from_secs(10), "the first record of a new topic", read).await?;
    ensure_eq!("K18", read?, ["first"], "what the waiting consumer read");
    Ok(())
}

async fn create_topic_refusals(world: World) -> CaseResult {
    world.needs(KafkaFeature::TopicAdmin)?;
    let create = async |request| world.driver.create_topic(request).await;
    let long =
        |letters: usize| format!("{}-{}", world.setup.prefix, "x".repeat(letters))[..letters].to_owned();
    for name in ["", ".", "..", "a b", "a/b", "é", "a\0b", &long(250)] {
        let answer = create(CreateTopicRequest::new(name, 1)).await;
        refused(
            "K17",
            answer,
            ErrorKind::InvalidInput,
            "INVALID_TOPIC_EXCEPTION",
            &format!("the name {name:?}"),
        )?;
    }
    for name in [long(249), world.name("a.b_c-D9")] {
        let answer = create(CreateTopicRequest::new(&name, 1)).await;
        ensure!("K17", matches!(answer, Ok(TopicOutcome::Created)), "the name {name:?}: {answer:?}");
    }
    world.create(CreateTopicRequest::new(world.name("a_b"), 1)).await?;
    let collides = create(CreateTopicRequest::new(world.name("a.b"), 1)).await;
    refused("K17", collides, ErrorKind::InvalidInput, "INVALID_TOPIC_EXCEPTION", "a.b where there is a_b")?;

    let name = world.name("refused");
    for partitions in [0, -2] {
        let answer = create(CreateTopicRequest::new(&name, partitions)).await;
        let what = format!("{partitions} partitions");
        refused("K20", answer, ErrorKind::InvalidInput, "INVALID_PARTITIONS", &what)?;
    }
    for replicas in [0, 100] {
        let answer = create(CreateTopicRequest::new(&name, 1).with_replication_factor(replicas)).await;
        let what = format!("{replicas} replicas");
        refused("K20", answer, ErrorKind::InvalidInput, "INVALID_REPLICATION_FACTOR", &what)?;
    }
    if world.needs(KafkaFeature::TopicConfig).is_ok() {
        for (key, value) in [("no.such.setting", "1"), ("max.message.bytes", "many")] {
            let answer = create(CreateTopicRequest::new(&name, 1).with_config(key, value)).await;
            refused("K20", answer, ErrorKind::InvalidInput, "INVALID_CONFIG", &format!("{key} = {value}"))?;
        }
    }
    let described = world.driver.topic_metadata(&name).await;
    refused("K18", described, ErrorKind::NotFound, UNKNOWN, "the topic that was refused")?;
    let by_default = create(CreateTopicRequest::new(&name, -1).with_replication_factor(-1)).await;
    ensure!("K20", matches!(by_default, Ok(TopicOutcome::Created)), "the broker's defaults: {by_default:?}");
    Ok(())
}

async fn create_delete_outcomes(world: World) -> CaseResult {
    world.needs(KafkaFeature::TopicAdmin)?;
    let topic = world.topic(2).await?;
    let again = world.driver.create_topic(CreateTopicRequest::new(&*topic.name, 5)).await?;
    ensure_eq!("K20", again, TopicOutcome::Existed, "creating again");
    ensure_eq!("K20", world.ends(&topic).await?.len(), 2, "partitions after creating again with 5");
    let other = world.connect_again().await?;
    ensure_eq!("K20", other.delete_topic(&topic.name).await?, TopicOutcome::Deleted, "deleting");
    ensure_eq!("K20", world.driver.delete_topic(&topic.name).await?, TopicOutcome::Absent, "deleting again");
    match world.driver.topic_metadata(&topic.name).await {
        Ok(metadata) => Err(broken("K18", format!("describing the deleted topic brought {metadata:?}"))),
        answer => {
            refused("K20", answer, ErrorKind::NotFound, UNKNOWN, "describing the deleted topic").map(drop)
        }
    }
}

async fn recreated_topic_starts_at_zero(world: World) -> CaseResult {
    world.needs(KafkaFeature::TopicAdmin)?;
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    store(&producer, topic.numbered(0, 0..3)).await?;
    let mut reader = world.reader("old-group", &[&topic]).await?;
    ensure_eq!("K3", reader.drain(&topic).await?.len(), 3, "records of the old life");
    reader.close().await?;
    let deleted = world.driver.delete_topic(&topic.name).await?;
    ensure_eq!("K20", deleted, TopicOutcome::Deleted, "deleting");
    world.create(CreateTopicRequest::new(&*topic.name, 1)).await?;
    let receipts = store(&producer, vec![topic.record("new").with_partition(0)]).await?;
    ensure_eq!("K20", receipts[0].offset, Some(0), "the first offset of the new life");
    let read = world.reader("new-group", &[&topic]).await?.drain(&topic).await?;
    ensure_eq!("K20", values(&read), ["new"], "the records of the new life");
    Ok(())
}

async fn topic_metadata_is_true(world: World) -> CaseResult {
    let topic = world.topic(5).await?;
    store(&world.producer().await?, topic.numbered(2, 0..3)).await?;
    let metadata = world.driver.topic_metadata(&topic.name).await?;
    ensure_eq!("K20", metadata.name, topic.name, "the name");
    let partitions = metadata.partitions;
    let numbers: Vec<_> = partitions.iter().map(|partition| partition.partition).collect();
    ensure_eq!("K20", numbers, [0, 1, 2, 3, 4], "the partitions, in order");
    for info in &partitions {
        let high = if info.partition == 2 { 3 } else { 0 };
        ensure_eq!("K20", (info.low, info.high), (0, high), "low and high of partition {}", info.partition);
        let Some(leader) = info.leader else {
            return Err(broken("K20", format!("partition {} has no leader", info.partition)));
        };
        let held = info.replicas.contains(&leader) && info.in_sync.contains(&leader);
        ensure!("K20", held, "partition {}: the leader {leader} is among {info:?}", info.partition);
    }
    let missing = world.name("missing");
    for _ in 0..100 {
        match world.driver.topic_metadata(&missing).await {
            Ok(metadata) => return Err(broken("K18", format!("describing made {metadata:?}"))),
            answer => {
                drop(refused("K18", answer, ErrorKind::NotFound, UNKNOWN, "describing a missing topic")?)
            }
        }
    }
    Ok(())
}
