//! Batches: order (K2), one answer a record (K4), sizes (K16).

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use onex_spi::ErrorKind;
use onex_spi::kafka::{CreateTopicRequest, KafkaFeature, ProducerConfig};

use super::case;
use super::judge::refused;
use super::reader::values;
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka.order_under_backpressure", ["K2", "K21"], ["ONEX-KAFKA-09"], order_under_backpressure),
    case!(
        "kafka.concurrent_produce",
        ["K2", "K3", "K21"],
        ["ONEX-GEN-11", "ONEX-KAFKA-01", "ONEX-KAFKA-09"],
        concurrent_produce
    ),
    case!("kafka.batch_results_in_order", ["K4", "K5"], ["ONEX-KAFKA-09"], batch_results_in_order),
    case!("kafka.small_records_big_batch", ["K4", "K16"], ["ONEX-KAFKA-09"], small_records_big_batch),
    case!("kafka.size_boundary", ["K16", "K5"], ["ONEX-KAFKA-09"], size_boundary),
];

/// A record that is larger is not tried, because a suite should fit into a laptop.
const LARGEST_TRIED: usize = 64 << 20;

fn limit_of(world: &World) -> Result<usize, Stop> {
    let limit = world.driver.capabilities().limits.record_bytes;
    if limit > LARGEST_TRIED {
        return Err(Stop::Ignored(format!("a limit of {limit} bytes a record is too large to try")));
    }
    Ok(limit)
}

async fn order_under_backpressure(world: World) -> CaseResult {
    const TASKS: i32 = 8;
    const EACH: usize = 5_000;
    let topic = world.topic(TASKS).await?;
    let producer = world.driver.producer(ProducerConfig::new().with_queue(1_000, 1 << 20)).await?;
    let batches = (0..TASKS).map(|partition| store(&producer, topic.numbered(partition, 0..EACH)));
    for receipts in join_all(batches).await {
        let offsets: Vec<_> = receipts?.iter().map(|receipt| receipt.offset).collect();
        ensure!("K2", offsets.is_sorted(), "the offsets of one batch to one partition fall");
    }
    let read = world.reader("group", &[&topic]).await?.drain(&topic).await?;
    ensure_eq!("K3", read.len(), EACH * TASKS as usize, "records in the log");
    for partition in 0..TASKS {
        let of_one: Vec<_> = read.iter().filter(|message| message.partition == partition).cloned().collect();
        let due: Vec<_> = (0..EACH).map(|number| number.to_string()).collect();
        ensure!("K2", values(&of_one) == due, "partition {partition} is not in submission order");
    }
    Ok(())
}

async fn concurrent_produce(world: World) -> CaseResult {
    const TASKS: usize = 16;
    const BATCHES: usize = 25;
    const EACH: usize = 4;
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (topic, producer) = (topic.clone(), Arc::clone(&producer));
        tasks.spawn(async move {
            for batch in 0..BATCHES {
                let numbers = batch * EACH..(batch + 1) * EACH;
                let record =
                    |number| topic.record(format!("{task}:{number:03}")).with_partition((task % 4) as i32);
                store(&producer, numbers.map(record).collect()).await?;
            }
            Ok::<_, Stop>(())
        });
    }
    for sent in tasks.join_all().await {
        sent?;
    }
    let read = values(&world.reader("group", &[&topic]).await?.drain(&topic).await?);
    let distinct: BTreeSet<_> = read.iter().collect();
    ensure_eq!(
        "K3",
        (read.len(), distinct.len()),
        (TASKS * BATCHES * EACH, read.len()),
        "records, distinct ones"
    );
    for task in 0..TASKS {
        let mine = read.iter().filter(|value| value.starts_with(&format!("{task}:")));
        ensure!("K2", mine.is_sorted(), "the records of task {task} are not in submission order");
    }
    Ok(())
}

async fn batch_results_in_order(world: World) -> CaseResult {
    let (limit, topic) = (limit_of(&world)?, world.topic(1).await?);
    let mut records = topic.numbered(0, 0..20);
    records[10] = topic.record("x".repeat(limit + 1)).with_partition(0);
    records[15].topic = world.name("missing").into();
    let producer = world.producer().await?;
    let answers = producer.produce(records).await;
    ensure_eq!("K4", answers.len(), 20, "answers for 20 records");
    let mut offsets = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        match index {
            10 => drop(refused("K4", answer, ErrorKind::TooLarge, "", "record 10, over the limit")?),
            15 => drop(refused("K4", answer, ErrorKind::NotFound, "", "record 15, to a missing topic")?),
            _ => match answer {
                Ok(receipt) => offsets.push(receipt.offset),
                Err(error) => ensure!("K4", false, "record {index} is good, yet {error:#}"),
            },
        }
    }
    ensure_eq!("K4", offsets, (0..18).map(Some).collect::<Vec<_>>(), "offsets of the good records");
    let read = world.reader("group", &[&topic]).await?.drain(&topic).await?;
    let good = (0..20).filter(|index| ![10, 15].contains(index)).map(|index| index.to_string());
    ensure_eq!("K4", values(&read), good.collect::<Vec<_>>(), "the log and the good records");
    Ok(())
}

async fn small_records_big_batch(world: World) -> CaseResult {
    world.needs(KafkaFeature::TopicConfig)?;
    let request = CreateTopicRequest::new(world.name("narrow"), 1).with_config("max.message.bytes", "5000");
    let topic = world.create(request).await?;
    let producer = world.producer().await?;
    let small = || topic.record("x".repeat(100)).with_partition(0);
    for (index, answer) in producer.produce((0..100).map(|_| small()).collect()).await.into_iter().enumerate()
    {
        if let Err(error) = answer {
            ensure!("K4", false, "record {index} fits the topic's limit by itself, yet {error:#}");
        }
    }
    let answers = producer.produce(vec![topic.record("x".repeat(6000)).with_partition(0), small()]).await;
    ensure_eq!("K4", answers.len(), 2, "answers for 2 records");
    for (index, answer) in answers.into_iter().enumerate() {
        match index {
            0 => drop(refused("K16", answer, ErrorKind::TooLarge, "", "a record over the topic's limit")?),
            _ => ensure!("K4", answer.is_ok(), "the record after one that is too large: {answer:?}"),
        }
    }
    ensure_eq!("K16", world.ends(&topic).await?, [101], "the end of the log");
    Ok(())
}

async fn size_boundary(world: World) -> CaseResult {
    let (limit, topic) = (limit_of(&world)?, world.topic(1).await?);
    let producer = world.producer().await?;
    for (size, fits) in [(limit - 1, true), (limit, true), (limit + 1, false), (10, true)] {
        for answer in producer.produce(vec![topic.record("x".repeat(size)).with_partition(0)]).await {
            if fits {
                ensure!("K16", answer.is_ok(), "{size} bytes with a limit of {limit}: {answer:?}");
            } else {
                refused(
                    "K16",
                    answer,
                    ErrorKind::TooLarge,
                    "",
                    &format!("{size} bytes with a limit of {limit}"),
                )?;
            }
        }
    }
    // Key and headers count too.
    let split = |more: usize| {
        let (key, value) = (limit / 2, limit - limit / 2 - 8 + more);
        let record = topic.record("x".repeat(value)).with_partition(0).with_key("k".repeat(key));
        record.with_header("name", "text")
    };
    for (more, fits) in [(0, true), (1, false)] {
        for answer in producer.produce(vec![split(more)]).await {
            let right = answer.is_ok() == fits;
            ensure!("K16", right, "key, value and header of the limit and {more} bytes: {answer:?}");
        }
    }
    let read = world.reader("group", &[&topic]).await?.drain(&topic).await?;
    let sizes: Vec<_> =
        read.iter().map(|message| message.value.as_ref().map_or(0, bytes::Bytes::len)).collect();
    ensure_eq!("K16", sizes[..sizes.len().min(3)], [limit - 1, limit, 10], "the sizes of what was stored");
    ensure_eq!("K16", read.len(), 4, "records in the log");
    Ok(())
}
