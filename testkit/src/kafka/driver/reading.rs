//! Reading: bounds (K21), positions (K6), and polls that are dropped (K23).

use std::time::Duration;

use futures_util::future::{Either, select};
use onex_spi::ErrorKind;
use onex_spi::kafka::{Commit, NextOffsets, PollRequest, Polled, Timestamp};

use super::PATIENCE;
use super::case;
use super::judge::{broken, refused};
use super::reader::values;
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka.consume_limits_and_timeout", ["K21", "K23"], ["ONEX-KAFKA-12"], consume_limits_and_timeout),
    case!(
        "kafka.cancelled_consume_loses_nothing",
        ["K23", "K21"],
        ["ONEX-KAFKA-12"],
        cancelled_consume_loses_nothing
    ),
    case!("kafka.polls_queue_up", ["K23"], ["ONEX-KAFKA-12"], polls_queue_up),
    case!("kafka.pause_silences", ["K21"], ["ONEX-KAFKA-12"], pause_silences),
    case!("kafka.seek", ["K6", "K21"], ["ONEX-KAFKA-14"], seek),
    case!("kafka.offsets_for_times", ["K6", "K15"], ["ONEX-KAFKA-14"], offsets_for_times),
    case!("kafka.subscription_changes", ["K8"], ["ONEX-KAFKA-12"], subscription_changes),
];

async fn consume_limits_and_timeout(world: World) -> CaseResult {
    let (full, empty) = (world.topic(1).await?, world.topic(1).await?);
    store(&world.producer().await?, full.numbered(0, 0..1000)).await?;
    let mut reader = world.reader("group", &[&full]).await?;
    reader.join(&full.all()).await?;
    let deadline = world.clock().now() + PATIENCE;
    let mut read = 0;
    while read < 1000 {
        ensure!("K3", world.clock().now() < deadline, "only {read} of 1000 records came");
        read += reader.turn(10).await?.len();
    }

    let mut waiting = world.reader("group-of-nothing", &[&empty]).await?;
    waiting.join(&empty.all()).await?;
    for _ in 0..3 {
        let begin = world.clock().now();
        let polled = waiting.turn_of(10, Duration::from_millis(50)).await?;
        let took = world.clock().now() - begin;
        ensure_eq!("K21", polled.len(), 0, "records of an empty topic");
        let right = (Duration::from_millis(45)..Duration::from_secs(3)).contains(&took);
        ensure!("K21", right, "a poll of nothing took {took:?} where it may wait 50 ms");
    }
    Ok(())
}

async fn cancelled_consume_loses_nothing(world: World) -> CaseResult {
    const RECORDS: usize = 1000;
    const DROPPED: usize = 500;
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    store(&producer, topic.numbered(0, 0..RECORDS)).await?;
    let mut reader = world.reader("group", &[&topic]).await?;
    // A change that was taken by a dropped poll shows as a record of a partition that was never assigned.
    let lost = |stop| match stop {
        Stop::Failed { law: "K8", message } => broken("K23", message),
        other => other,
    };
    let mut random = fastrand::Rng::with_seed(world.setup.seed);
    let deadline = world.clock().now() + PATIENCE;
    let (mut read, mut dropped) = (Vec::new(), 0);
    while dropped < DROPPED && read.len() < RECORDS {
        ensure!(
            "K23",
            world.clock().now() < deadline,
            "{dropped} polls dropped, {} records read",
            read.len()
        );
        reader.release();
        let poll = reader.consumer.poll(PollRequest::new(1, Duration::from_secs(1)));
        let patience = Duration::from_micros(random.u64(0..2000));
        let polled = match select(poll, world.clock().sleep_until(world.clock().now() + patience)).await {
            Either::Left((polled, _)) => polled?,
            Either::Right(_) => {
                dropped += 1;
                continue;
            }
        };
        reader.note(&polled, 1).map_err(lost)?;
        if let Polled::Records(messages) = polled {
            read.extend(messages);
        }
    }
    // One more, so that a lost last record is not waited for.
    store(&producer, topic.numbered(0, RECORDS..RECORDS + 1)).await?;
    read.extend(reader.drain(&topic).await.map_err(lost)?);
    let due: Vec<_> = (0..=RECORDS).map(|number| number.to_string()).collect();
    let read = values(&read);
    ensure!(
        "K23",
        read == due,
        "{} of {RECORDS} records after {dropped} dropped polls: {read:?}",
        read.len()
    );
    Ok(())
}

async fn polls_queue_up(world: World) -> CaseResult {
    const RECORDS: usize = 200;
    let topic = world.topic(1).await?;
    store(&world.producer().await?, topic.numbered(0, 0..RECORDS)).await?;
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.join(&topic.all()).await?;
    let deadline = world.clock().now() + PATIENCE;
    let mut read = Vec::new();
    while read.len() < RECORDS {
        ensure!(
            "K23",
            world.clock().now() < deadline,
            "{} of {RECORDS} records by polls side by side",
            read.len()
        );
        let poll = || reader.consumer.poll(PollRequest::new(7, Duration::from_millis(100)));
        for polled in futures_util::future::join_all([poll(), poll(), poll()]).await {
            match polled? {
                Polled::Records(messages) => read.extend(messages),
                other => return Err(broken("K8", format!("{other:?} though nothing has changed"))),
            }
        }
    }
    let mut read = values(&read);
    read.sort_by_key(|value| value.parse::<usize>().unwrap_or(usize::MAX));
    let due: Vec<_> = (0..RECORDS).map(|number| number.to_string()).collect();
    ensure!("K23", read == due, "polls side by side brought {read:?}");
    Ok(())
}

async fn pause_silences(world: World) -> CaseResult {
    let (topic, foreign) = (world.topic(2).await?, world.topic(1).await?);
    let producer = world.producer().await?;
    for partition in 0..2 {
        store(&producer, topic.numbered(partition, 0..50)).await?;
    }
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.join(&topic.all()).await?;
    // Fetched ahead, so that the pause meets records that wait inside.
    let mut read = reader.read(6).await?;
    let paused = [topic.at(1)];
    reader.consumer.pause(&paused).await?;
    store(&producer, topic.numbered(1, 50..60)).await?;
    store(&producer, topic.numbered(0, 50..60)).await?;
    let deadline = world.clock().now() + PATIENCE;
    while reader.next().get(&topic.at(0)) != Some(&60) {
        ensure!(
            "K21",
            world.clock().now() < deadline,
            "the partition that is not paused ends at {:?}",
            reader.next()
        );
        for message in reader.turn(7).await? {
            ensure_eq!("K21", message.partition, 0, "the partition of a record while partition 1 is paused");
            read.push(message);
        }
    }
    for message in reader.turn_of(10, Duration::from_millis(300)).await? {
        ensure!("K21", false, "record {} of {} came while it is paused", message.offset, message.partition);
    }
    ensure_eq!("K21", reader.consumer.assignment(), topic.all(), "what is owned while one is paused");
    reader.consumer.resume(&paused).await?;
    read.extend(reader.drain(&topic).await?);
    for partition in 0..2 {
        let of_one: Vec<_> = read.iter().filter(|message| message.partition == partition).cloned().collect();
        let due: Vec<_> = (0..60).map(|number| number.to_string()).collect();
        ensure!("K21", values(&of_one) == due, "partition {partition}: {:?}", values(&of_one));
    }
    for answer in [reader.consumer.pause(&foreign.all()).await, reader.consumer.resume(&foreign.all()).await]
    {
        refused("K21", answer, ErrorKind::Conflict, "", "pause or resume of a partition that is not owned")?;
    }
    Ok(())
}

async fn seek(world: World) -> CaseResult {
    let (topic, foreign) = (world.topic(1).await?, world.topic(1).await?);
    store(&world.producer().await?, topic.numbered(0, 0..10)).await?;
    let to = |offset| NextOffsets::from([(topic.at(0), offset)]);

    // Between `Assigned` and the next poll: where reading starts.
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.join(&topic.all()).await?;
    reader.seek(to(3)).await?;
    ensure_eq!("K6", values(&reader.read(4).await?), ["3", "4", "5", "6"], "after a seek to 3 on assignment");

    // While reading: what was fetched ahead is not brought any more.
    reader.seek(to(2)).await?;
    ensure_eq!("K6", values(&reader.read(2).await?), ["2", "3"], "after a seek back to 2");
    reader.seek(to(8)).await?;
    ensure_eq!("K6", values(&reader.drain(&topic).await?), ["8", "9"], "after a seek on to 8");
    reader.seek(to(9)).await?;
    ensure_eq!("K6", values(&reader.drain(&topic).await?), ["9"], "after a seek from the end");

    let negative = reader.consumer.seek(&to(-1)).await;
    refused("K6", negative, ErrorKind::InvalidInput, "", "a seek to -1")?;
    let unowned = reader.consumer.seek(&NextOffsets::from([(foreign.at(0), 0)])).await;
    refused("K6", unowned, ErrorKind::Conflict, "", "a seek in a partition that is not owned")?;
    ensure_eq!("K7", reader.committed(&topic.at(0)).await?, None, "committed after seeks only");
    Ok(())
}

async fn offsets_for_times(world: World) -> CaseResult {
    let topic = world.topic(2).await?;
    let an_hour_ago = Timestamp::from_system_time(world.clock().wall() - Duration::from_secs(3600));
    let begin = an_hour_ago.as_millis() / 1000 * 1000;
    let at = |number: i64| Timestamp::from_millis(begin + number * 1000);
    let timed = |number: i64| topic.record(number.to_string()).with_partition(0).with_timestamp(at(number));
    // Two batches: a broker finds the batch of a time first, then the record in it.
    let producer = world.producer().await?;
    store(&producer, (0..5).map(timed).collect()).await?;
    store(&producer, (5..10).map(timed).collect()).await?;
    let mut reader = world.reader("group", &[&topic]).await?;
    for (time, due) in [
        (Timestamp::from_millis(0), Some(0)),
        (at(0), Some(0)),
        (at(3), Some(3)),
        (Timestamp::from_millis(at(3).as_millis() + 1), Some(4)),
        (at(7), Some(7)),
        (at(10), None),
    ] {
        let asked = [(topic.at(0), time), (topic.at(1), time)];
        let found = reader.consumer.offsets_for_times(&asked).await?;
        ensure_eq!("K6", found.get(&topic.at(0)), due.as_ref(), "the first record at or after {time:?}");
        ensure_eq!("K6", found.get(&topic.at(1)), None, "a record of the empty partition");
    }
    reader.join(&topic.all()).await?;
    let found = reader.consumer.offsets_for_times(&[(topic.at(0), at(7))]).await?;
    reader.seek(found).await?;
    ensure_eq!("K6", values(&reader.read(3).await?), ["7", "8", "9"], "after a seek to a time");
    Ok(())
}

async fn subscription_changes(world: World) -> CaseResult {
    let (old, new) = (world.topic(1).await?, world.topic(1).await?);
    let producer = world.producer().await?;
    store(&producer, vec![old.record("old")]).await?;
    let mut reader = world.reader("group", &[&old]).await?;
    ensure_eq!("K8", values(&reader.read(1).await?), ["old"], "what the first subscription brings");
    store(&producer, vec![new.record("new")]).await?;
    reader.consumer.subscribe(&[new.name.to_string()]).await?;
    let deadline = world.clock().now() + PATIENCE / 2;
    let mut read = Vec::new();
    while reader.owned().iter().ne(&new.all()) || read.is_empty() {
        ensure!("K8", world.clock().now() < deadline, "after the change it owns {:?}", reader.owned());
        match reader.poll(10, Duration::from_millis(100)).await? {
            Polled::Records(messages) => {
                read.extend(messages.into_iter().filter(|message| message.topic == new.name));
            }
            // The member leaves the topic by itself: it can still say how far it came.
            Polled::Revoking(gone) => {
                ensure_eq!("K8", gone, old.all(), "what is being revoked");
                let commit = Commit::new(NextOffsets::from([(old.at(0), 1)]));
                if let Err(error) = reader.consumer.commit(&commit).await {
                    return Err(broken("K8", format!("a commit while the old topic is revoked: {error:#}")));
                }
                reader.has_committed(&old.at(0), 1).await?;
            }
            Polled::Lost(gone) => {
                return Err(broken(
                    "K8",
                    format!("{gone:?} told as lost, though the member itself left the topic"),
                ));
            }
            _ => {}
        }
    }
    ensure_eq!("K8", values(&read), ["new"], "what the second subscription brings");
    ensure_eq!("K8", reader.consumer.assignment(), new.all(), "what it owns");
    let bad = reader.consumer.subscribe(&["a b".to_owned()]).await;
    refused("K17", bad, ErrorKind::InvalidInput, "", "subscribing to a name that no topic can have")?;
    Ok(())
}
