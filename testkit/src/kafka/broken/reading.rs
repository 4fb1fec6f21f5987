//! Bugs of a consumer that reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use onex_spi::kafka::{
    ConsumerConfig, ConsumerDriver, KafkaDriver, KafkaMessage, NextOffsets, OffsetReset, PollRequest, Polled,
    TopicPartition,
};
use onex_spi::{Clock, ErrorKind, Result, TokioClock};

use super::wrapper::{Bug, Good, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn KafkaDriver>] = &[
    Broken::new("seek_is_ignored", "K6", &["kafka.seek", "kafka.offsets_for_times"], wrap::<SeekIsIgnored>),
    Broken::new("resets_silently", "K10", &["kafka.reset_without_commit"], wrap::<ResetsSilently>),
    Broken::new(
        "forgets_what_is_not_there_yet",
        "K18",
        &["kafka.topic_appears_later", "kafka.unknown_topic"],
        wrap::<ForgetsWhatIsNotThereYet>,
    ),
    Broken::new(
        "repairs_consumer_configs",
        "K8",
        &["kafka.consumer_config_refusals"],
        wrap::<RepairsConfigs>,
    ),
    Broken::new(
        "loses_what_polls_side_by_side_bring",
        "K23",
        &["kafka.polls_queue_up"],
        wrap::<LosesSideBySide>,
    ),
    Broken::new("empty_key_as_null", "K14", &["kafka.produce_consume_exact_bytes"], wrap::<EmptyKeyAsNull>),
    Broken::new(
        "null_value_as_empty",
        "K14",
        &["kafka.produce_consume_exact_bytes"],
        wrap::<NullValueAsEmpty>,
    ),
    Broken::new("drops_repeated_headers", "K14", &["kafka.headers_survive"], wrap::<DropsRepeatedHeaders>),
    Broken::new(
        "brings_more_than_asked",
        "K21",
        &[
            "kafka.consume_limits_and_timeout",
            "kafka.cancelled_consume_loses_nothing",
            "kafka.concurrent_produce",
            "kafka.offsets_are_next",
            "kafka.order_under_backpressure",
            "kafka.pause_silences",
            "kafka.reset_without_commit",
            "kafka.seek",
        ],
        wrap::<BringsMoreThanAsked>,
    ),
    Broken::new("waits_too_long", "K21", &["kafka.consume_limits_and_timeout"], wrap::<WaitsTooLong>),
    Broken::new("pause_is_ignored", "K21", &["kafka.pause_silences"], wrap::<PauseIsIgnored>),
    Broken::new(
        "loses_the_batch_of_a_dropped_poll",
        "K23",
        &["kafka.cancelled_consume_loses_nothing"],
        wrap::<LosesTheBatchOfADroppedPoll>,
    ),
];

type GoodConsumer<S> = Good<dyn ConsumerDriver, S>;

/// Polls, and changes each message.
async fn poll_changing(
    good: &GoodConsumer<()>,
    request: PollRequest,
    change: fn(&mut KafkaMessage),
) -> Result<Polled> {
    let mut polled = good.it.poll(request).await?;
    if let Polled::Records(messages) = &mut polled {
        messages.iter_mut().for_each(change);
    }
    Ok(polled)
}

#[derive(Debug)]
struct SeekIsIgnored;

#[async_trait]
impl Bug for SeekIsIgnored {
    type State = ();

    async fn seek(good: &GoodConsumer<()>, to: &NextOffsets) -> Result<()> {
        let owned = good.it.assignment();
        if to.iter().all(|(at, offset)| owned.contains(at) && *offset >= 0) {
            return Ok(());
        }
        good.it.seek(to).await
    }
}

#[derive(Debug)]
struct ResetsSilently;

#[async_trait]
impl Bug for ResetsSilently {
    type State = ();

    fn consumer_config(config: ConsumerConfig) -> ConsumerConfig {
        match config.offset_reset {
            OffsetReset::Error => config.with_offset_reset(OffsetReset::Earliest),
            _ => config,
        }
    }
}

#[derive(Debug)]
struct ForgetsWhatIsNotThereYet;

#[async_trait]
impl Bug for ForgetsWhatIsNotThereYet {
    type State = ();

    async fn subscribe(good: &GoodConsumer<()>, topics: &[String]) -> Result<()> {
        let mut there = Vec::new();
        for topic in topics {
            match good.driver.topic_metadata(topic).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                _ => there.push(topic.clone()),
            }
        }
        good.it.subscribe(&there).await
    }
}

#[derive(Debug)]
struct RepairsConfigs;

#[async_trait]
impl Bug for RepairsConfigs {
    type State = ();

    fn consumer_config(mut config: ConsumerConfig) -> ConsumerConfig {
        if config.validate().is_err() {
            config = ConsumerConfig::new("repaired");
        }
        config
    }
}

/// Has no queue for polls: while one runs, the records of another one are dropped.
#[derive(Debug)]
struct LosesSideBySide;

#[async_trait]
impl Bug for LosesSideBySide {
    type State = AtomicBool;

    async fn poll(good: &GoodConsumer<AtomicBool>, request: PollRequest) -> Result<Polled> {
        if good.state.swap(true, Ordering::AcqRel) {
            return match good.it.poll(request).await? {
                Polled::Records(_) => Ok(Polled::Records(Vec::new())),
                change => Ok(change),
            };
        }
        let _running = Running(&good.state);
        // Long enough for others to come along.
        let clock = TokioClock::new();
        clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
        good.it.poll(request).await
    }
}

struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct EmptyKeyAsNull;

#[async_trait]
impl Bug for EmptyKeyAsNull {
    type State = ();

    async fn poll(good: &GoodConsumer<()>, request: PollRequest) -> Result<Polled> {
        poll_changing(good, request, |message| {
            message.key = message.key.take().filter(|key| !key.is_empty());
        })
        .await
    }
}

#[derive(Debug)]
struct NullValueAsEmpty;

#[async_trait]
impl Bug for NullValueAsEmpty {
    type State = ();

    async fn poll(good: &GoodConsumer<()>, request: PollRequest) -> Result<Polled> {
        poll_changing(good, request, |message| {
            message.value.get_or_insert_with(Bytes::new);
        })
        .await
    }
}

#[derive(Debug)]
struct DropsRepeatedHeaders;

#[async_trait]
impl Bug for DropsRepeatedHeaders {
    type State = ();

    async fn poll(good: &GoodConsumer<()>, request: PollRequest) -> Result<Polled> {
        poll_changing(good, request, |message| {
            let mut seen = BTreeSet::new();
            message.headers.retain(|header| seen.insert(header.name.clone()));
        })
        .await
    }
}

#[derive(Debug)]
struct BringsMoreThanAsked;

#[async_trait]
impl Bug for BringsMoreThanAsked {
    type State = ();

    async fn poll(good: &GoodConsumer<()>, mut request: PollRequest) -> Result<Polled> {
        request.max_records += 1;
        good.it.poll(request).await
    }
}

#[derive(Debug)]
struct WaitsTooLong;

#[async_trait]
impl Bug for WaitsTooLong {
    type State = ();

    async fn poll(good: &GoodConsumer<()>, mut request: PollRequest) -> Result<Polled> {
        request.max_wait = request.max_wait.max(Duration::from_secs(4));
        good.it.poll(request).await
    }
}

#[derive(Debug)]
struct PauseIsIgnored;

#[async_trait]
impl Bug for PauseIsIgnored {
    type State = ();

    async fn pause(good: &GoodConsumer<()>, partitions: &[TopicPartition]) -> Result<()> {
        let owned = good.it.assignment();
        if partitions.iter().all(|partition| owned.contains(partition)) {
            return Ok(());
        }
        good.it.pause(partitions).await
    }
}

#[derive(Debug)]
struct LosesTheBatchOfADroppedPoll;

#[async_trait]
impl Bug for LosesTheBatchOfADroppedPoll {
    type State = ();

    async fn poll(good: &GoodConsumer<()>, request: PollRequest) -> Result<Polled> {
        let polled = good.it.poll(request).await?;
        // Even the fastest engine can be dropped here.
        let clock = TokioClock::new();
        clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
        Ok(polled)
    }
}
