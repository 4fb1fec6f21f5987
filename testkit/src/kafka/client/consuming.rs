//! Reading and committing by id.

use std::time::Duration;

use futures_util::future::{Either, select};
use onex_spi::ErrorKind;
use onex_spi::kafka::{Commit, NextOffsets, PollRequest};

use super::case;
use super::journal::{Act, Entry, Journal};
use super::world::{Source, TURN, World, names};
use crate::kafka::driver::{PATIENCE, refused, values};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka_client.subscription_is_kept", ["K8"], ["ONEX-KAFKA-12"], subscription_is_kept),
    case!("kafka_client.subscription_changes", ["K8"], ["ONEX-KAFKA-12"], subscription_changes),
    case!("kafka_client.consume_limits_and_timeout", ["K21"], ["ONEX-KAFKA-12"], consume_limits_and_timeout),
    case!(
        "kafka_client.cancelled_consume_loses_nothing",
        ["K23"],
        ["ONEX-KAFKA-12"],
        cancelled_consume_loses_nothing
    ),
    case!(
        "kafka_client.commits_are_next",
        ["K6", "K7"],
        ["ONEX-KAFKA-04", "ONEX-KAFKA-14"],
        commits_are_next
    ),
    case!(
        "kafka_client.commit_refusals",
        ["K6", "K7", "K21"],
        ["ONEX-KAFKA-14", "ONEX-KAFKA-15"],
        commit_refusals
    ),
];

async fn subscription_is_kept(world: World) -> CaseResult {
    let (one, two) = (world.topic("one", 1).await?, world.topic("two", 1).await?);
    let producer = world.producer().await?;
    let journal = Journal::default();
    let listener = journal.listener("a", Act::Nothing);
    let consumer = world.client.create_consumer(world.member("group"), Some(listener)).await?;
    // The same set in any order, and no set at all, keep the subscription.
    for (round, topics) in [names([&one, &two]), names([&two, &one]), Vec::new()].iter().enumerate() {
        world.store(producer, vec![one.record(round.to_string()), two.record(round.to_string())]).await?;
        let read = world.read(consumer, topics, 2).await?;
        ensure_eq!("K8", values(&read), [round.to_string(), round.to_string()], "round {round}");
    }
    let mut owned = Vec::new();
    for entry in journal.entries() {
        match entry {
            Entry::Assigned(_, partitions) => owned.extend(partitions),
            other => ensure!("K8", false, "{other:?} though the subscription is the same"),
        }
    }
    owned.sort();
    ensure_eq!("K8", owned, [one.at(0), two.at(0)], "what was assigned in all");
    Ok(())
}

async fn subscription_changes(world: World) -> CaseResult {
    let (old, new) = (world.topic("old", 1).await?, world.topic("new", 1).await?);
    let producer = world.producer().await?;
    world.store(producer, vec![old.record("old")]).await?;
    let journal = Journal::default();
    let listener = journal.listener("a", Act::Nothing);
    let consumer = world.client.create_consumer(world.member("group"), Some(listener)).await?;
    let read = world.read(consumer, &names([&old]), 1).await?;
    ensure_eq!("K8", values(&read), ["old"], "what the first subscription brings");

    world.store(producer, vec![new.record("new"), old.record("too late")]).await?;
    let reading = async {
        loop {
            let request = PollRequest::new(10, TURN);
            let read = world.client.consume_messages(consumer, &names([&new]), request).await?;
            // What was fetched of the old subscription may still come until it is revoked.
            if let Some(first) = read.into_iter().find(|message| message.topic == new.name) {
                return Ok::<_, crate::suite::Stop>(first);
            }
        }
    };
    let first = world.within("K8", PATIENCE, "a record of the second subscription", reading).await??;
    ensure_eq!("K8", values(&[first]), ["new"], "what the second subscription brings");
    let entries = journal.entries();
    let left = entries.contains(&Entry::Revoked("a", old.all()));
    let came = entries.contains(&Entry::Assigned("a", new.all()));
    ensure!("K8", left && came, "the listener heard {entries:?}");
    let owned = world.client.kafka_metrics(consumer.into()).await?.assignment;
    ensure_eq!("K8", owned, new.all(), "what the consumer owns");
    Ok(())
}

async fn consume_limits_and_timeout(world: World) -> CaseResult {
    let (full, empty) = (world.topic("full", 1).await?, world.topic("empty", 1).await?);
    world.store(world.producer().await?, full.numbered(0, 0..300)).await?;
    let consumer = world.consumer("group").await?;
    let reading = async {
        let mut read = 0;
        while read < 300 {
            let request = PollRequest::new(7, TURN);
            let batch = world.client.consume_messages(consumer, &names([&full]), request).await?.len();
            ensure!("K21", batch <= 7, "{batch} records, asked for 7");
            read += batch;
        }
        Ok(())
    };
    world.within("K3", PATIENCE, "300 records", reading).await??;

    let waiting = world.consumer("group-of-nothing").await?;
    // The first call joins, which takes its own time.
    let (request, subscription) = (PollRequest::new(7, Duration::from_millis(50)), names([&empty]));
    for round in 0..4 {
        let begin = world.clock().now();
        let consume = world.client.consume_messages(waiting, &subscription, request);
        let read = world.within("K21", PATIENCE, "a call that finds nothing", consume).await??;
        let took = world.clock().now() - begin;
        ensure_eq!("K21", read.len(), 0, "records of an empty topic");
        let right = (Duration::from_millis(45)..Duration::from_secs(3)).contains(&took);
        ensure!(
            "K21",
            right || round == 0,
            "a call that finds nothing took {took:?} where it may wait 50 ms"
        );
    }
    Ok(())
}

async fn cancelled_consume_loses_nothing(world: World) -> CaseResult {
    const RECORDS: usize = 500;
    let topic = world.topic("topic", 1).await?;
    let producer = world.producer().await?;
    world.store(producer, topic.numbered(0, 0..RECORDS)).await?;
    let consumer = world.consumer("group").await?;
    let subscription = names([&topic]);
    let mut random = fastrand::Rng::with_seed(world.setup.seed);
    let (mut read, mut dropped) = (Vec::new(), 0);
    while dropped < 200 && read.len() < RECORDS {
        let request = PollRequest::new(1, Duration::from_secs(1));
        let consume = world.client.consume_messages(consumer, &subscription, request);
        let moment = world.clock().now() + Duration::from_micros(random.u64(0..2000));
        match select(consume, world.clock().sleep_until(moment)).await {
            Either::Left((messages, _)) => read.extend(messages?),
            Either::Right(_) => dropped += 1,
        }
    }
    // One more, so that a lost last record is not waited for.
    world.store(producer, topic.numbered(0, RECORDS..RECORDS + 1)).await?;
    while read.last().is_none_or(|last| last.offset < RECORDS as i64) {
        read.extend(world.read(consumer, &subscription, 1).await?);
    }
    let due: Vec<_> = (0..=RECORDS).map(|number| number.to_string()).collect();
    let read = values(&read);
    ensure!(
        "K23",
        read == due,
        "{} of {RECORDS} records after {dropped} dropped calls: {read:?}",
        read.len()
    );
    Ok(())
}

async fn commits_are_next(world: World) -> CaseResult {
    let topic = world.topic("topic", 2).await?;
    let producer = world.producer().await?;
    world.store(producer, topic.numbered(0, 0..10)).await?;
    world.store(producer, topic.numbered(1, 10..20)).await?;
    let first = world.consumer("group").await?;
    let read = world.read(first, &names([&topic]), 20).await?;
    let of_zero: Vec<_> = read.into_iter().filter(|message| message.partition == 0).take(4).collect();
    world.client.commit_offsets(first, &Commit::after(&of_zero)).await?;
    world.client.close_client(first.into(), PATIENCE).await?;
    let second = world.consumer("group").await?;
    let mut rest = values(&world.read(second, &names([&topic]), 16).await?);
    rest.sort_by_key(|value| value.parse::<u32>().unwrap_or(u32::MAX));
    let due: Vec<_> = (4..20).map(|number: u32| number.to_string()).collect();
    ensure_eq!("K6", rest, due, "what the group reads after a commit behind record 3 of partition 0");
    Ok(())
}

async fn commit_refusals(world: World) -> CaseResult {
    let (topic, foreign) = (world.topic("topic", 1).await?, world.topic("foreign", 1).await?);
    world.store(world.producer().await?, topic.numbered(0, 0..10)).await?;
    let consumer = world.consumer("group").await?;
    let read = world.read(consumer, &names([&topic]), 5).await?;
    let client = &world.client;
    client.commit_offsets(consumer, &Commit::after(&read)).await?;
    let (handle, own) = (client.consumer_handle(consumer)?, [topic.at(0)]);
    let stored = handle.committed(&own).await?.get(&own[0]).copied();
    ensure_eq!("K6", stored, Some(5), "committed after five records");
    let commit = |at, next| Commit::new(NextOffsets::from([(at, next)]));
    for (commit, kind, what) in [
        (commit(topic.at(0), 3), ErrorKind::InvalidInput, "lower than committed"),
        (commit(topic.at(9), 3), ErrorKind::NotFound, "partition 9 of 1"),
        (commit(foreign.at(0), 0), ErrorKind::Conflict, "a partition that is not owned"),
    ] {
        refused("K7", client.commit_offsets(consumer, &commit).await, kind, "", what)?;
    }
    let stored = handle.committed(&own).await?.get(&own[0]).copied();
    ensure_eq!("K7", stored, Some(5), "committed after refusals");
    client.commit_offsets(consumer, &commit(topic.at(0), 3).with_rewind()).await?;
    let stored = handle.committed(&own).await?.get(&own[0]).copied();
    ensure_eq!("K7", stored, Some(3), "committed after a rewind");
    Ok(())
}
