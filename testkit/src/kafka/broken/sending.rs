//! Bugs of a producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, join, join_all, select};
use onex_spi::kafka::{
    Acks, ClientStats, KafkaDriver, ProduceReceipt, ProducerConfig, ProducerDriver, ProducerRecord,
    Timestamp, Undelivered,
};
use onex_spi::{Clock, Effect, Error, ErrorKind, Result, TokioClock};
use tokio::sync::Notify;

use super::wrapper::{Bug, Good, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn KafkaDriver>] = &[
    Broken::new("hashes_keys_otherwise", "K1", &["kafka.partitioner_vectors"], wrap::<HashesKeysOtherwise>),
    Broken::new(
        "takes_the_key_before_the_partition",
        "K1",
        &["kafka.explicit_partition"],
        wrap::<TakesTheKeyFirst>,
    ),
    Broken::new("keeps_null_keys_together", "K1", &["kafka.null_keys_spread"], wrap::<KeepsNullKeysTogether>),
    Broken::new(
        "waits_for_acks_that_nobody_asked_for",
        "K3",
        &["kafka.acks_none_tells_no_offset"],
        wrap::<WaitsForAcks>,
    ),
    Broken::new(
        "sends_requests_side_by_side",
        "K2",
        &["kafka.order_under_backpressure"],
        wrap::<SendsRequestsSideBySide>,
    ),
    Broken::new(
        "loses_records_under_load",
        "K3",
        &["kafka.concurrent_produce", "kafka.order_under_backpressure"],
        wrap::<LosesRecordsUnderLoad>,
    ),
    Broken::new("repairs_configs", "K3", &["kafka.producer_config_refusals"], wrap::<RepairsConfigs>),
    Broken::new(
        "fails_the_batch_for_one_record",
        "K4",
        &["kafka.batch_results_in_order", "kafka.small_records_big_batch", "kafka.counters_add_up"],
        wrap::<FailsTheBatchForOneRecord>,
    ),
    Broken::new(
        "calls_a_refusal_unknown",
        "K5",
        &["kafka.unknown_topic", "kafka.batch_results_in_order"],
        wrap::<CallsARefusalUnknown>,
    ),
    Broken::new("cuts_times_to_seconds", "K15", &["kafka.create_times_survive"], wrap::<CutsTimesToSeconds>),
    Broken::new(
        "stumbles_after_a_large_record",
        "K16",
        &["kafka.size_boundary"],
        wrap::<StumblesAfterALargeRecord>,
    ),
    Broken::new("blocks_on_drop", "K22", &["kafka.drop_never_blocks"], wrap::<BlocksOnDrop>),
    Broken::new(
        "sends_again_when_dropped",
        "K23",
        &["kafka.cancelled_produce_stores_once"],
        wrap::<SendsAgain>,
    ),
    Broken::new("serves_after_close", "K24", &["kafka.producer_close_then_closed"], wrap::<ServesAfterClose>),
    Broken::new(
        "forgets_its_queue_at_close",
        "K24",
        &["kafka.close_flushes", "kafka.close_out_of_time_adds_up"],
        wrap::<ForgetsItsQueueAtClose>,
    ),
    Broken::new("counts_one_too_many", "K26", &["kafka.counters_add_up"], wrap::<CountsOneTooMany>),
];

type GoodProducer<S> = Good<dyn ProducerDriver, S>;
type Answers = Vec<Result<ProduceReceipt>>;

async fn pause_for(time: Duration) {
    let clock = TokioClock::new();
    clock.sleep_until(clock.now() + time).await;
}

#[derive(Debug)]
struct HashesKeysOtherwise;

#[async_trait]
impl Bug for HashesKeysOtherwise {
    type State = ();

    async fn produce(good: &GoodProducer<()>, mut records: Vec<ProducerRecord>) -> Answers {
        for record in &mut records {
            let Some(key) = record.key.as_ref().filter(|_| record.partition.is_none()) else { continue };
            // An unknown topic stays unknown: the good engine tells.
            let Ok(topic) = good.driver.topic_metadata(&record.topic).await else { continue };
            let sum: usize = key.iter().map(|byte| usize::from(*byte)).sum();
            record.partition = i32::try_from(sum % topic.partitions.len()).ok();
        }
        good.it.produce(records).await
    }
}

#[derive(Debug)]
struct TakesTheKeyFirst;

#[async_trait]
impl Bug for TakesTheKeyFirst {
    type State = ();

    async fn produce(good: &GoodProducer<()>, mut records: Vec<ProducerRecord>) -> Answers {
        for record in records.iter_mut().filter(|record| record.key.is_some()) {
            record.partition = None;
        }
        good.it.produce(records).await
    }
}

#[derive(Debug)]
struct KeepsNullKeysTogether;

#[async_trait]
impl Bug for KeepsNullKeysTogether {
    type State = ();

    async fn produce(good: &GoodProducer<()>, mut records: Vec<ProducerRecord>) -> Answers {
        for record in records.iter_mut().filter(|record| record.key.is_none()) {
            // An unknown topic stays unknown: the good engine tells.
            if record.partition.is_none() && good.driver.topic_metadata(&record.topic).await.is_ok() {
                record.partition = Some(0);
            }
        }
        good.it.produce(records).await
    }
}

#[derive(Debug)]
struct WaitsForAcks;

impl Bug for WaitsForAcks {
    type State = ();

    fn producer_config(config: ProducerConfig) -> ProducerConfig {
        match config.acks {
            Acks::None if !config.idempotent => config.with_acks(Acks::Leader),
            _ => config,
        }
    }
}

/// The most records that one request of a bug with requests of its own holds.
const REQUEST: usize = 1_000;

/// Cuts what is longer than a request into requests that it sends side by side.
#[derive(Debug)]
struct SendsRequestsSideBySide;

#[async_trait]
impl Bug for SendsRequestsSideBySide {
    type State = ();

    async fn produce(good: &GoodProducer<()>, records: Vec<ProducerRecord>) -> Answers {
        let requests = records.chunks(REQUEST).rev().map(|request| good.it.produce(request.to_vec()));
        join_all(requests).await.into_iter().rev().flatten().collect()
    }
}

#[derive(Debug)]
struct LosesRecordsUnderLoad;

#[async_trait]
impl Bug for LosesRecordsUnderLoad {
    type State = AtomicUsize;

    async fn produce(good: &GoodProducer<AtomicUsize>, mut records: Vec<ProducerRecord>) -> Answers {
        let running = good.state.fetch_add(1, Ordering::Relaxed);
        // Long enough for others to come along.
        pause_for(Duration::from_millis(2)).await;
        let lost = (running > 2 && records.len() > 1).then(|| records.pop()).flatten();
        let mut answers = good.it.produce(records).await;
        if lost.is_some() {
            answers.extend(answers.last().cloned());
        }
        good.state.fetch_sub(1, Ordering::Relaxed);
        answers
    }
}

#[derive(Debug)]
struct RepairsConfigs;

#[async_trait]
impl Bug for RepairsConfigs {
    type State = ();

    fn producer_config(config: ProducerConfig) -> ProducerConfig {
        let idempotent = config.idempotent && config.acks == Acks::All;
        config.with_idempotent(idempotent)
    }
}

#[derive(Debug)]
struct FailsTheBatchForOneRecord;

#[async_trait]
impl Bug for FailsTheBatchForOneRecord {
    type State = ();

    async fn produce(good: &GoodProducer<()>, records: Vec<ProducerRecord>) -> Answers {
        let answers = good.it.produce(records).await;
        // A close that cuts a batch off is no bad record.
        let bad = answers.iter().find_map(|answer| answer.as_ref().err());
        match bad.filter(|error| error.kind() != ErrorKind::Closed) {
            Some(error) => vec![Err(error.clone()); answers.len()],
            None => answers,
        }
    }
}

#[derive(Debug)]
struct CallsARefusalUnknown;

#[async_trait]
impl Bug for CallsARefusalUnknown {
    type State = ();

    async fn produce(good: &GoodProducer<()>, records: Vec<ProducerRecord>) -> Answers {
        let unknown = |error: Error| match error.kind() {
            ErrorKind::NotFound => error.with_effect(Effect::Unknown),
            _ => error,
        };
        good.it.produce(records).await.into_iter().map(|answer| answer.map_err(unknown)).collect()
    }
}

#[derive(Debug)]
struct CutsTimesToSeconds;

#[async_trait]
impl Bug for CutsTimesToSeconds {
    type State = ();

    async fn produce(good: &GoodProducer<()>, mut records: Vec<ProducerRecord>) -> Answers {
        for record in &mut records {
            let cut = |time: Timestamp| Timestamp::from_millis(time.as_millis() / 1000 * 1000);
            record.timestamp = record.timestamp.map(cut);
        }
        good.it.produce(records).await
    }
}

#[derive(Debug)]
struct StumblesAfterALargeRecord;

#[async_trait]
impl Bug for StumblesAfterALargeRecord {
    type State = AtomicBool;

    async fn produce(good: &GoodProducer<AtomicBool>, records: Vec<ProducerRecord>) -> Answers {
        if good.state.swap(false, Ordering::Relaxed) {
            let error =
                Error::new(ErrorKind::Unavailable, "kafka.produce", "the connection was lost").not_applied();
            return vec![Err(error); records.len()];
        }
        let answers = good.it.produce(records).await;
        let large = |answer: &Result<_>| matches!(answer, Err(error) if error.kind() == ErrorKind::TooLarge);
        good.state.store(answers.iter().any(large), Ordering::Relaxed);
        answers
    }
}

#[derive(Debug)]
struct BlocksOnDrop;

#[derive(Debug, Default)]
struct SlowEnd;

impl Drop for SlowEnd {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(30));
    }
}

impl Bug for BlocksOnDrop {
    type State = SlowEnd;
}

#[derive(Debug)]
struct SendsAgain;

/// Records whose `produce` has not ended.
struct Unanswered {
    it: Arc<dyn ProducerDriver>,
    records: Vec<ProducerRecord>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let records = std::mem::take(&mut self.records);
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !records.is_empty()
        {
            let it = Arc::clone(&self.it);
            drop(runtime.spawn(async move { it.produce(records).await }));
        }
    }
}

#[async_trait]
impl Bug for SendsAgain {
    type State = ();

    async fn produce(good: &GoodProducer<()>, records: Vec<ProducerRecord>) -> Answers {
        let mut unanswered = Unanswered { it: Arc::clone(&good.it), records: records.clone() };
        let answers = good.it.produce(records).await;
        // Even the fastest engine can be dropped here.
        pause_for(Duration::from_millis(1)).await;
        unanswered.records.clear();
        answers
    }
}

#[derive(Debug)]
struct ServesAfterClose;

#[async_trait]
impl Bug for ServesAfterClose {
    type State = ();

    async fn close_producer(_: &GoodProducer<()>, _: Duration) -> Result<Undelivered> {
        Ok(Undelivered::default())
    }
}

/// Has a queue of its own before the good engine's for what does not fit into the next request, and does not count it.
#[derive(Debug)]
struct ForgetsItsQueueAtClose;

#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicU64,
    closing: Notify,
}

#[async_trait]
impl Bug for ForgetsItsQueueAtClose {
    type State = Queue;

    async fn produce(good: &GoodProducer<Queue>, mut records: Vec<ProducerRecord>) -> Answers {
        if records.len() <= REQUEST {
            return good.it.produce(records).await;
        }
        let queued = records.split_off(REQUEST);
        good.state.waiting.fetch_add(queued.len() as u64, Ordering::Relaxed);
        let closing = std::pin::pin!(good.state.closing.notified());
        let (mut answers, closed) = join(good.it.produce(records), async {
            let moment = std::pin::pin!(pause_for(Duration::from_millis(500)));
            matches!(select(closing, moment).await, Either::Left(_))
        })
        .await;
        good.state.waiting.fetch_sub(queued.len() as u64, Ordering::Relaxed);
        if closed {
            answers.extend(queued.iter().map(|_| Err(Error::closed("kafka.produce", "the producer"))));
        } else {
            answers.extend(good.it.produce(queued).await);
        }
        answers
    }

    async fn close_producer(good: &GoodProducer<Queue>, within: Duration) -> Result<Undelivered> {
        good.state.closing.notify_waiters();
        good.it.close(within).await
    }

    fn producer_stats(good: &GoodProducer<Queue>) -> ClientStats {
        let (mut stats, waiting) = (good.it.stats(), good.state.waiting.load(Ordering::Relaxed));
        stats.accepted += waiting;
        stats.in_flight += waiting;
        stats
    }
}

#[derive(Debug)]
struct CountsOneTooMany;

#[async_trait]
impl Bug for CountsOneTooMany {
    type State = ();

    fn producer_stats(good: &GoodProducer<()>) -> ClientStats {
        let mut stats = good.it.stats();
        stats.acknowledged += u64::from(stats.acknowledged > 0);
        stats
    }
}
