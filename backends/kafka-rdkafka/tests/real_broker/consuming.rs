//! One consumer: where it reads, and what a dropped poll costs.

use std::time::{Duration, Instant};

use onex_spi::ErrorKind;
use onex_spi::kafka::{ConsumerConfig, KafkaMessage, OffsetReset, PollRequest, Polled};

use crate::support::{at, broker, driver, fill, name, next, read, soon, subscribed, topic};
#[tokio::test]
async fn a_dropped_poll_loses_nothing() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 1_000).await;
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    let mut offsets = Vec::new();
    let mut dropped = 0_u32;
    let end = Instant::now() + Duration::from_secs(30);
    while offsets.len() < 1_000 {
        assert!(Instant::now() < end, "{} records, {dropped} polls dropped", offsets.len());
        let patience = Duration::from_micros(u64::from(dropped % 40) * 50);
        match tokio::time::timeout(patience, consumer.poll(PollRequest::new(7, Duration::from_secs(1)))).await
        {
            Err(_) => dropped += 1,
            Ok(Ok(Polled::Records(messages))) => {
                offsets.extend(messages.iter().map(|message| message.offset))
            }
            Ok(other) => drop(other.unwrap()),
        }
    }
    assert!(dropped > 20, "{dropped} polls were dropped");
    assert_eq!(offsets, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn seek_and_pause_move_and_silence_owned_partitions() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 2).await;
    fill(&driver, &topic, 0, 10).await;
    let consumer = subscribed(&driver, ConsumerConfig::new(name("group")), &topic).await;
    let assigned = loop {
        if let Polled::Assigned(partitions) = consumer.poll(soon()).await.unwrap() {
            break partitions;
        }
    };
    assert_eq!(assigned, [at(&topic, 0), at(&topic, 1)]);
    // Between Assigned and the next poll a seek decides where reading starts.
    consumer.seek(&next(&[(at(&topic, 0), 6)])).await.unwrap();
    let offsets =
        |messages: &[KafkaMessage]| messages.iter().map(|message| message.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&read(&consumer, 4).await), [6, 7, 8, 9]);
    consumer.seek(&next(&[(at(&topic, 0), 8)])).await.unwrap();
    assert_eq!(offsets(&read(&consumer, 2).await), [8, 9]);
    assert_eq!(consumer.seek(&next(&[(at(&topic, 2), 0)])).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(
        consumer.seek(&next(&[(at(&topic, 0), -1)])).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );

    consumer.pause(&[at(&topic, 0)]).await.unwrap();
    fill(&driver, &topic, 0, 5).await;
    fill(&driver, &topic, 1, 5).await;
    let messages = read(&consumer, 5).await;
    assert!(messages.iter().all(|message| message.partition == 1));
    let silent = consumer.poll(PollRequest::new(10, Duration::from_millis(700))).await.unwrap();
    assert_eq!(silent, Polled::Records(Vec::new()));
    consumer.resume(&[at(&topic, 0)]).await.unwrap();
    assert_eq!(offsets(&read(&consumer, 5).await), [10, 11, 12, 13, 14]);
    let bounds = consumer.watermarks(&at(&topic, 0)).await.unwrap();
    assert_eq!((bounds.low, bounds.high), (0, 15));
}

#[tokio::test]
async fn a_reset_that_must_not_jump_is_told_until_a_seek() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    fill(&driver, &topic, 0, 3).await;
    let config = ConsumerConfig::new(name("group")).with_offset_reset(OffsetReset::Error);
    let consumer = subscribed(&driver, config, &topic).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        match consumer.poll(soon()).await {
            Ok(Polled::Records(records)) => assert!(records.is_empty(), "{records:?}"),
            Ok(_) => {}
            Err(error) => told.push(error.kind()),
        }
    }
    assert_eq!(told, [ErrorKind::NotFound; 2]);
    consumer.seek(&next(&[(at(&topic, 0), 1)])).await.unwrap();
    assert_eq!(read(&consumer, 2).await.len(), 2);
    // Out of range is told apart.
    consumer.seek(&next(&[(at(&topic, 0), 500)])).await.unwrap();
    let error = loop {
        if let Err(error) = consumer.poll(soon()).await {
            break error;
        }
    };
    assert_eq!((error.kind(), &*error.kafka().unwrap().name), (ErrorKind::Conflict, "OFFSET_OUT_OF_RANGE"));
}
