//! Bugs of a client.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    Commit, ConsumerDriver, ConsumerId, CreateTopicRequest, KafkaClient, KafkaClientId, KafkaMessage,
    KafkaMetrics, PollRequest, ProduceReceipt, ProducerDriver, ProducerId, ProducerRecord, RebalanceListener,
    TopicMetadata, TopicPartition, Undelivered,
};
use onex_spi::{Clock, Error, ErrorKind, Result, TokioClock};

use super::client_wrapper::{Bug, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn KafkaClient>] = &[
    Broken::new(
        "fails_the_batch_for_one_record",
        "K4",
        &["kafka_client.batch_results_in_order"],
        wrap::<FailsTheBatchForOneRecord>,
    ),
    Broken::new(
        "commits_the_last_offset",
        "K6",
        &[
            "kafka_client.commits_are_next",
            "kafka_client.commit_refusals",
            "kafka_client.group_info",
            "kafka_client.scopes_end_their_ids",
        ],
        wrap::<CommitsTheLastOffset>,
    ),
    Broken::new(
        "says_ok_to_refused_commits",
        "K7",
        &["kafka_client.commit_refusals"],
        wrap::<SaysOkToRefusedCommits>,
    ),
    Broken::new(
        "keeps_the_first_subscription",
        "K8",
        &["kafka_client.subscription_changes"],
        wrap::<KeepsTheFirstSubscription>,
    ),
    Broken::new(
        "swallows_listener_errors",
        "K8",
        &["kafka_client.listener_errors_are_told"],
        wrap::<SwallowsListenerErrors>,
    ),
    Broken::new(
        "tells_no_revocation",
        "K8",
        &["kafka_client.subscription_changes", "kafka_client.listener_hears_a_handover"],
        wrap::<TellsNoRevocation>,
    ),
    Broken::new("creates_what_is_asked_for", "K18", &["kafka_client.topics"], wrap::<CreatesWhatIsAskedFor>),
    Broken::new(
        "brings_more_than_asked",
        "K21",
        &[
            "kafka_client.consume_limits_and_timeout",
            "kafka_client.commit_refusals",
            "kafka_client.group_info",
            "kafka_client.handles_are_the_ids_own",
            "kafka_client.abandon_returns_at_once",
        ],
        wrap::<BringsMoreThanAsked>,
    ),
    Broken::new("abandon_blocks", "K22", &["kafka_client.abandon_returns_at_once"], wrap::<AbandonBlocks>),
    Broken::new(
        "loses_the_batch_of_a_dropped_call",
        "K23",
        &["kafka_client.cancelled_consume_loses_nothing"],
        wrap::<LosesTheBatchOfADroppedCall>,
    ),
    Broken::new(
        "forgets_closed_ids",
        "K24",
        &[
            "kafka_client.closed_ids_stay_closed",
            "kafka_client.ids_are_never_reused",
            "kafka_client.abandon_returns_at_once",
            "kafka_client.scopes_end_their_ids",
            "kafka_client.close_ends_everything",
        ],
        wrap::<ForgetsClosedIds>,
    ),
    Broken::new(
        "unknown_as_closed",
        "K24",
        &["kafka_client.unknown_ids_are_not_found", "kafka_client.ids_are_their_clients_own"],
        wrap::<UnknownAsClosed>,
    ),
    Broken::new(
        "counts_its_producers_from_one",
        "K24",
        &["kafka_client.ids_are_their_clients_own"],
        wrap::<CountsFromOne>,
    ),
    Broken::new(
        "closes_once_only",
        "K24",
        &[
            "kafka_client.closed_ids_stay_closed",
            "kafka_client.abandon_returns_at_once",
            "kafka_client.scopes_end_their_ids",
            "kafka_client.close_ends_everything",
        ],
        wrap::<ClosesOnceOnly>,
    ),
    Broken::new(
        "abandon_does_nothing",
        "K24",
        &["kafka_client.abandon_returns_at_once", "kafka_client.scopes_end_their_ids"],
        wrap::<AbandonDoesNothing>,
    ),
    Broken::new(
        "serves_after_close",
        "K24",
        &["kafka_client.close_ends_everything"],
        wrap::<ServesAfterClose>,
    ),
    Broken::new("lag_is_one_too_many", "K26", &["kafka_client.metrics_add_up"], wrap::<LagIsOneTooMany>),
];

#[derive(Debug, Default)]
struct FailsTheBatchForOneRecord;

#[async_trait]
impl Bug for FailsTheBatchForOneRecord {
    async fn produce_batch(
        &self,
        good: &dyn KafkaClient,
        producer: ProducerId,
        records: Vec<ProducerRecord>,
    ) -> Result<Vec<Result<ProduceReceipt>>> {
        let answers = good.produce_batch(producer, records).await?;
        let bad = answers.iter().find_map(|answer| answer.as_ref().err());
        // A close that cuts a batch off is no bad record.
        Ok(match bad.filter(|error| error.kind() != ErrorKind::Closed) {
            Some(error) => vec![Err(error.clone()); answers.len()],
            None => answers,
        })
    }
}

#[derive(Debug, Default)]
struct CommitsTheLastOffset;

#[async_trait]
impl Bug for CommitsTheLastOffset {
    async fn commit_offsets(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        commit: &Commit,
    ) -> Result<()> {
        let mut commit = commit.clone();
        commit.next.values_mut().for_each(|next| *next -= 1);
        good.commit_offsets(consumer, &commit).await
    }
}

#[derive(Debug, Default)]
struct SaysOkToRefusedCommits;

#[async_trait]
impl Bug for SaysOkToRefusedCommits {
    async fn commit_offsets(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        commit: &Commit,
    ) -> Result<()> {
        match good.commit_offsets(consumer, commit).await {
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            answer => answer,
        }
    }
}

#[derive(Debug, Default)]
struct KeepsTheFirstSubscription(Mutex<Vec<ConsumerId>>);

#[async_trait]
impl Bug for KeepsTheFirstSubscription {
    async fn consume_messages(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        topics: &[String],
        request: PollRequest,
    ) -> Result<Vec<KafkaMessage>> {
        let known = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let found = known.contains(&consumer);
            known.push(consumer);
            found
        };
        good.consume_messages(consumer, if known { &[] } else { topics }, request).await
    }
}

/// A listener between the client and the caller's.
#[derive(Debug)]
struct Between {
    callers: Arc<dyn RebalanceListener>,
    hides_errors: bool,
    hides_revocations: bool,
}

#[async_trait]
impl RebalanceListener for Between {
    async fn assigned(&self, consumer: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()> {
        let heard = self.callers.assigned(consumer, partitions).await;
        if self.hides_errors { Ok(()) } else { heard }
    }

    async fn revoked(&self, consumer: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()> {
        if self.hides_revocations { Ok(()) } else { self.callers.revoked(consumer, partitions).await }
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.callers.lost(partitions).await
    }
}

#[derive(Debug, Default)]
struct SwallowsListenerErrors;

impl Bug for SwallowsListenerErrors {
    fn listener(&self, listener: Option<Arc<dyn RebalanceListener>>) -> Option<Arc<dyn RebalanceListener>> {
        let callers = listener?;
        Some(Arc::new(Between { callers, hides_errors: true, hides_revocations: false }))
    }
}

#[derive(Debug, Default)]
struct TellsNoRevocation;

impl Bug for TellsNoRevocation {
    fn listener(&self, listener: Option<Arc<dyn RebalanceListener>>) -> Option<Arc<dyn RebalanceListener>> {
        let callers = listener?;
        Some(Arc::new(Between { callers, hides_errors: false, hides_revocations: true }))
    }
}

#[derive(Debug, Default)]
struct CreatesWhatIsAskedFor;

#[async_trait]
impl Bug for CreatesWhatIsAskedFor {
    async fn topic_metadata(&self, good: &dyn KafkaClient, name: &str) -> Result<TopicMetadata> {
        match good.topic_metadata(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                good.create_topic(CreateTopicRequest::new(name, 1)).await?;
                good.topic_metadata(name).await
            }
            answer => answer,
        }
    }
}

#[derive(Debug, Default)]
struct BringsMoreThanAsked;

#[async_trait]
impl Bug for BringsMoreThanAsked {
    async fn consume_messages(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        topics: &[String],
        mut request: PollRequest,
    ) -> Result<Vec<KafkaMessage>> {
        request.max_records += 1;
        good.consume_messages(consumer, topics, request).await
    }
}

#[derive(Debug, Default)]
struct AbandonBlocks;

impl Bug for AbandonBlocks {
    fn abandon_client(&self, good: &dyn KafkaClient, client: KafkaClientId) {
        std::thread::sleep(Duration::from_millis(30));
        good.abandon_client(client);
    }
}

#[derive(Debug, Default)]
struct LosesTheBatchOfADroppedCall;

#[async_trait]
impl Bug for LosesTheBatchOfADroppedCall {
    async fn consume_messages(
        &self,
        good: &dyn KafkaClient,
        consumer: ConsumerId,
        topics: &[String],
        request: PollRequest,
    ) -> Result<Vec<KafkaMessage>> {
        let read = good.consume_messages(consumer, topics, request).await?;
        // Even the fastest engine can be dropped here.
        let clock = TokioClock::new();
        clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
        Ok(read)
    }
}

#[derive(Debug, Default)]
struct ForgetsClosedIds;

impl Bug for ForgetsClosedIds {
    fn producer_handle(
        &self,
        good: &dyn KafkaClient,
        producer: ProducerId,
    ) -> Result<Arc<dyn ProducerDriver>> {
        good.producer_handle(producer).map_err(|error| match error.kind() {
            ErrorKind::Closed => {
                Error::new(ErrorKind::NotFound, "kafka.producer_handle", "no such producer").not_applied()
            }
            _ => error,
        })
    }
}

#[derive(Debug, Default)]
struct UnknownAsClosed;

impl Bug for UnknownAsClosed {
    fn producer_handle(
        &self,
        good: &dyn KafkaClient,
        producer: ProducerId,
    ) -> Result<Arc<dyn ProducerDriver>> {
        good.producer_handle(producer).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::closed("kafka.producer_handle", producer),
            _ => error,
        })
    }
}

#[derive(Debug, Default)]
struct CountsFromOne {
    issued: Mutex<Vec<ProducerId>>,
}

impl CountsFromOne {
    fn issued(&self) -> MutexGuard<'_, Vec<ProducerId>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bug for CountsFromOne {
    fn issue(&self, good: ProducerId) -> ProducerId {
        let mut issued = self.issued();
        issued.push(good);
        ProducerId::new(NonZeroU64::MIN.saturating_add(issued.len() as u64 - 1))
    }

    fn find(&self, producer: ProducerId) -> ProducerId {
        let index = usize::try_from(producer.get().get() - 1).unwrap_or(usize::MAX);
        self.issued().get(index).copied().unwrap_or(ProducerId::new(NonZeroU64::MAX))
    }
}

#[derive(Debug, Default)]
struct ClosesOnceOnly;

#[async_trait]
impl Bug for ClosesOnceOnly {
    async fn close_client(
        &self,
        good: &dyn KafkaClient,
        client: KafkaClientId,
        within: Duration,
    ) -> Result<Undelivered> {
        let open = match client {
            KafkaClientId::Producer(producer) => good.producer_handle(producer).map(drop),
            KafkaClientId::Consumer(consumer) => good.consumer_handle(consumer).map(drop),
        };
        open?;
        good.close_client(client, within).await
    }
}

#[derive(Debug, Default)]
struct AbandonDoesNothing;

impl Bug for AbandonDoesNothing {
    fn abandon_client(&self, _: &dyn KafkaClient, _: KafkaClientId) {}
}

#[derive(Debug, Default)]
struct ServesAfterClose;

#[async_trait]
impl Bug for ServesAfterClose {
    async fn close(&self, _: &dyn KafkaClient, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct LagIsOneTooMany;

#[async_trait]
impl Bug for LagIsOneTooMany {
    async fn kafka_metrics(&self, good: &dyn KafkaClient, client: KafkaClientId) -> Result<KafkaMetrics> {
        let mut metrics = good.kafka_metrics(client).await?;
        metrics.lag.values_mut().for_each(|lag| *lag += 1);
        Ok(metrics)
    }
}
