//! Committed offsets: next (K6), only what was asked for (K7), the reset (K10).

use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::kafka::{Commit, NextOffsets, OffsetReset, Polled};

use super::PATIENCE;
use super::case;
use super::judge::{broken, refused};
use super::reader::values;
use super::topic::{Topic, store};
use super::world::{Source, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "kafka.offsets_are_next",
        ["K6", "K7", "K21"],
        ["ONEX-KAFKA-04", "ONEX-KAFKA-14"],
        offsets_are_next
    ),
    case!("kafka.commit_is_per_partition", ["K7"], ["ONEX-KAFKA-14"], commit_is_per_partition),
    case!("kafka.no_hidden_commit", ["K7"], ["ONEX-KAFKA-04"], no_hidden_commit),
    case!(
        "kafka.commit_refusals",
        ["K7"],
        ["ONEX-KAFKA-03", "ONEX-KAFKA-14", "ONEX-KAFKA-15"],
        commit_refusals
    ),
    case!("kafka.reset_without_commit", ["K10", "K21"], ["ONEX-KAFKA-23"], reset_without_commit),
];

const UNKNOWN: &str = "UNKNOWN_TOPIC_OR_PARTITION";

async fn offsets_are_next(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    store(&world.producer().await?, topic.numbered(0, 0..10)).await?;
    let mut first = world.reader("group", &[&topic]).await?;
    let read = first.read(4).await?;
    ensure_eq!("K6", values(&read), ["0", "1", "2", "3"], "the first four");
    let commit = Commit::after(&read);
    if let Err(error) = first.consumer.commit(&commit).await {
        return Err(broken("K7", format!("committing after four records: {error:#}")));
    }
    first.has_committed(&topic.at(0), 4).await?;
    first.close().await?;

    let mut second = world.reader("group", &[&topic]).await?;
    second.has_committed(&topic.at(0), 4).await?;
    let marks = second.consumer.watermarks(&topic.at(0)).await?;
    ensure_eq!("K6", (marks.low, marks.high), (0, 10), "the bounds of the log");
    let rest = values(&second.drain(&topic).await?);
    ensure_eq!("K6", rest, ["4", "5", "6", "7", "8", "9"], "what the next member of the group reads");
    Ok(())
}

async fn commit_is_per_partition(world: World) -> CaseResult {
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    for partition in 0..2 {
        store(&producer, topic.numbered(partition, 0..5)).await?;
    }
    let mut first = world.reader("group", &[&topic]).await?;
    ensure_eq!("K3", first.drain(&topic).await?.len(), 10, "records in the log");
    first.commit(&topic.at(1), 5).await?;
    ensure_eq!("K7", first.committed(&topic.at(0)).await?, None, "the other partition's committed offset");
    first.close().await?;

    let mut second = world.reader("group", &[&topic]).await?;
    let read = second.drain(&topic).await?;
    ensure_eq!("K7", values(&read), ["0", "1", "2", "3", "4"], "what was not committed");
    ensure!(
        "K7",
        read.iter().all(|message| message.partition == 0),
        "records of the committed partition came again"
    );
    Ok(())
}

async fn no_hidden_commit(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    store(&world.producer().await?, topic.numbered(0, 0..5)).await?;
    let mut closed = world.reader("group", &[&topic]).await?;
    ensure_eq!("K3", closed.drain(&topic).await?.len(), 5, "records in the log");
    ensure_eq!("K7", closed.committed(&topic.at(0)).await?, None, "committed after reading");
    closed.close().await?;

    let mut dropped = world.reader("group", &[&topic]).await?;
    ensure_eq!("K7", dropped.committed(&topic.at(0)).await?, None, "committed after a close");
    ensure_eq!("K7", dropped.drain(&topic).await?.len(), 5, "records after a close without a commit");
    drop(dropped);

    let mut third = world.reader("group", &[&topic]).await?;
    ensure_eq!("K7", third.committed(&topic.at(0)).await?, None, "committed after a drop");
    ensure_eq!("K7", third.drain(&topic).await?.len(), 5, "records after a drop without a commit");
    Ok(())
}

async fn commit_refusals(world: World) -> CaseResult {
    let (topic, foreign) = (world.topic(1).await?, world.topic(1).await?);
    let producer = world.producer().await?;
    for topic in [&topic, &foreign] {
        store(&producer, topic.numbered(0, 0..10)).await?;
    }
    let missing = Topic { name: world.name("missing").into(), partitions: 1 };
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.join(&topic.all()).await?;
    let own = topic.at(0);
    reader.commit(&own, 5).await?;

    let refusals = [
        (own.clone(), 3, ErrorKind::InvalidInput, "", "lower than committed"),
        (own.clone(), -1, ErrorKind::InvalidInput, "", "a negative offset"),
        (topic.at(99), 1, ErrorKind::NotFound, UNKNOWN, "partition 99 of 1"),
        (missing.at(0), 1, ErrorKind::NotFound, UNKNOWN, "a missing topic"),
        (foreign.at(0), 1, ErrorKind::Conflict, "", "a partition that is not owned"),
    ];
    for (at, next, kind, name, what) in refusals {
        let commit = Commit::new(NextOffsets::from([(at.clone(), next)]));
        refused("K7", reader.consumer.commit(&commit).await, kind, name, what)?;
        if at != own {
            // All or nothing: the good part of a refused commit is not stored either.
            let both = Commit::new(NextOffsets::from([(own.clone(), 7), (at, next)]));
            refused(
                "K7",
                reader.consumer.commit(&both).await,
                kind,
                name,
                &format!("an owned one and {what}"),
            )?;
        }
        reader.has_committed(&own, 5).await?;
    }
    ensure_eq!(
        "K7",
        reader.committed(&foreign.at(0)).await?,
        None,
        "the foreign partition's committed offset"
    );
    let back = Commit::new(NextOffsets::from([(own.clone(), 3)])).with_rewind();
    if let Err(error) = reader.consumer.commit(&back).await {
        return Err(broken("K7", format!("going back when asked to: {error:#}")));
    }
    reader.has_committed(&own, 3).await?;
    // Nothing to store is stored at once.
    ensure!("K7", reader.consumer.commit(&Commit::new(NextOffsets::new())).await.is_ok(), "an empty commit");
    reader.has_committed(&own, 3).await
}

async fn reset_without_commit(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    store(&producer, topic.numbered(0, 0..5)).await?;

    let error = world.member("error").with_offset_reset(OffsetReset::Error);
    let mut reader = world.reader_with(error, &[&topic]).await?;
    let told = async {
        loop {
            match reader.try_poll(10, Duration::from_millis(200)).await? {
                Err(error) => return Ok::<_, crate::suite::Stop>(error),
                Ok(Polled::Records(read)) if !read.is_empty() => {
                    return Err(broken("K10", format!("reset = error began at offset {}", read[0].offset)));
                }
                Ok(_) => {}
            }
        }
    };
    let error = world.within("K10", PATIENCE, "reset = error", told).await??;
    ensure_eq!("K10", error.kind(), ErrorKind::NotFound, "reset = error");
    reader.close().await?;

    let latest = world.member("latest").with_offset_reset(OffsetReset::Latest);
    let mut reader = world.reader_with(latest, &[&topic]).await?;
    reader.join(&topic.all()).await?;
    // A consumer fixes "latest" some time after it has joined, so new records are written until the first one comes.
    let deadline = world.clock().now() + PATIENCE;
    let first = loop {
        store(&producer, vec![topic.record("new")]).await?;
        if let Some(first) = reader.turn(10).await?.into_iter().next() {
            break first;
        }
        ensure!("K10", world.clock().now() < deadline, "reset = latest brings nothing new");
    };
    ensure!("K10", first.offset >= 5, "reset = latest began with the old record {}", first.offset);
    reader.close().await?;

    let mut reader = world.reader("earliest", &[&topic]).await?;
    let first = reader.read(1).await?;
    ensure_eq!("K10", first[0].offset, 0, "where reset = earliest begins");
    Ok(())
}
