//! Records are bytes (K14), with a time (K15) and a receipt (K3).

use std::time::Duration;

use bytes::Bytes;
use onex_spi::kafka::{Acks, Header, ProducerConfig, ProducerRecord, Timestamp, TimestampKind};

use super::case;
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "kafka.produce_consume_exact_bytes",
        ["K14", "K3"],
        ["ONEX-KAFKA-01", "ONEX-KAFKA-09", "ONEX-KAFKA-11", "ONEX-KAFKA-13"],
        produce_consume_exact_bytes
    ),
    case!("kafka.headers_survive", ["K14"], ["ONEX-KAFKA-09", "ONEX-KAFKA-13"], headers_survive),
    case!("kafka.create_times_survive", ["K15"], ["ONEX-KAFKA-13"], create_times_survive),
    case!(
        "kafka.acks_none_tells_no_offset",
        ["K3"],
        ["ONEX-KAFKA-11", "ONEX-KAFKA-22"],
        acks_none_tells_no_offset
    ),
];

async fn produce_consume_exact_bytes(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let record = || ProducerRecord::new(topic.name.clone());
    let sent = vec![
        record(),
        record().with_key(Bytes::new()).with_value(Bytes::new()),
        record().with_key("k"),
        record().with_key("k").with_value("v"),
        record().with_key(all_bytes.clone()).with_value(all_bytes),
    ];
    let producer = world.producer().await?;
    let receipts = store(&producer, sent.clone()).await?;
    let read = world.reader("group", &[&topic]).await?.drain(&topic).await?;
    ensure_eq!("K3", read.len(), sent.len(), "records in the log");
    for (index, ((sent, receipt), read)) in sent.iter().zip(&receipts).zip(&read).enumerate() {
        ensure_eq!(
            "K14",
            (&read.key, &read.value),
            (&sent.key, &sent.value),
            "record {index}, read and sent"
        );
        ensure_eq!("K14", read.headers.len(), 0, "headers of record {index}");
        let told = (&receipt.topic, receipt.partition, receipt.offset);
        ensure_eq!("K3", told, (&topic.name, 0, i64::try_from(index).ok()), "receipt {index}");
        ensure_eq!("K3", Some(read.offset), receipt.offset, "offset of record {index}, read and told");
        let time = receipt.timestamp.unwrap_or(read.timestamp);
        ensure_eq!("K3", read.timestamp, time, "time of record {index}, read and told");
    }
    Ok(())
}

async fn headers_survive(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let mut sent = topic.record("v").with_header("a", "1").with_header("a", "2");
    sent.headers.push(Header::null("n"));
    let sent = sent
        .with_header("e", "")
        .with_header("b", vec![0xff, 0xfe, 0x00])
        .with_header("", "x")
        .with_header("ü", "y");
    let producer = world.producer().await?;
    store(&producer, vec![sent.clone()]).await?;
    let read = world.reader("group", &[&topic]).await?.drain(&topic).await?;
    ensure_eq!("K3", read.len(), 1, "records in the log");
    ensure_eq!("K14", read[0].headers, sent.headers, "headers, read and sent");
    Ok(())
}

async fn create_times_survive(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let now = world.clock().wall();
    // The brokers' retention is days: a day ago is kept.
    let times = [now - Duration::from_millis(86_400_123), now - Duration::from_millis(7), now]
        .map(Timestamp::from_system_time);
    let sent = times.iter().map(|time| topic.record("v").with_timestamp(*time)).collect();
    let producer = world.producer().await?;
    let receipts = store(&producer, sent).await?;
    let read = world.reader("group", &[&topic]).await?.drain(&topic).await?;
    ensure_eq!("K3", read.len(), times.len(), "records in the log");
    for ((time, read), receipt) in times.iter().zip(&read).zip(&receipts) {
        ensure_eq!(
            "K15",
            (read.timestamp, read.timestamp_kind),
            (*time, TimestampKind::Create),
            "read and sent"
        );
        ensure_eq!("K15", receipt.timestamp.unwrap_or(*time), *time, "told and sent");
    }

    let before = Timestamp::from_system_time(world.clock().wall());
    store(&producer, vec![topic.record("timed by the engine")]).await?;
    let after = Timestamp::from_system_time(world.clock().wall());
    let mut reader = world.reader("group-of-the-second", &[&topic]).await?;
    let timed = reader.drain(&topic).await?.pop();
    let time = timed.map(|message| message.timestamp);
    ensure!("K15", time >= Some(before) && time <= Some(after), "{time:?} is not in {before:?} to {after:?}");
    Ok(())
}

async fn acks_none_tells_no_offset(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let config = ProducerConfig::new().with_acks(Acks::None).with_idempotent(false);
    let producer = world.driver.producer(config).await?;
    let receipts = store(&producer, topic.numbered(0, 0..3)).await?;
    for receipt in receipts {
        ensure_eq!("K3", receipt.offset, None, "the offset with acks = none");
        ensure_eq!("K3", receipt.partition, 0, "the partition with acks = none");
    }
    let read = world.reader("group", &[&topic]).await?.read(3).await?;
    ensure_eq!("K3", read.len(), 3, "records in the log");

    let config = ProducerConfig::new().with_acks(Acks::Leader).with_idempotent(false);
    let receipts = store(&world.driver.producer(config).await?, topic.numbered(0, 3..4)).await?;
    ensure_eq!("K3", receipts[0].offset, Some(3), "the offset with acks = leader");
    Ok(())
}
