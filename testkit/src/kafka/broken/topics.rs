//! Bugs of a driver and its topics.

use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    CreateTopicRequest, KafkaCapabilities, KafkaDriver, KafkaFeature, TopicMetadata, TopicOutcome,
};
use onex_spi::{ErrorKind, Result};

use super::wrapper::{Bug, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn KafkaDriver>] = &[
    Broken::new(
        "creates_what_is_asked_for",
        "K18",
        &[
            "kafka.unknown_topic",
            "kafka.topic_metadata_is_true",
            "kafka.create_delete_outcomes",
            "kafka.create_topic_refusals",
        ],
        wrap::<CreatesWhatIsAskedFor>,
    ),
    Broken::new(
        "ignores_a_topics_limit",
        "K16",
        &["kafka.small_records_big_batch"],
        wrap::<IgnoresATopicsLimit>,
    ),
    Broken::new("existed_as_created", "K20", &["kafka.create_delete_outcomes"], wrap::<ExistedAsCreated>),
    Broken::new(
        "says_deleted_and_keeps",
        "K20",
        &["kafka.recreated_topic_starts_at_zero", "kafka.create_delete_outcomes"],
        wrap::<SaysDeletedAndKeeps>,
    ),
    Broken::new(
        "serves_after_the_drivers_close",
        "K24",
        &["kafka.driver_close_then_closed"],
        wrap::<ServesAfterClose>,
    ),
    Broken::new(
        "does_what_it_does_not_declare",
        "K20",
        &["kafka.capabilities_are_honest"],
        wrap::<DoesWhatItDoesNotDeclare>,
    ),
];

#[derive(Debug)]
struct CreatesWhatIsAskedFor;

#[async_trait]
impl Bug for CreatesWhatIsAskedFor {
    type State = ();

    async fn topic_metadata(good: &dyn KafkaDriver, name: &str) -> Result<TopicMetadata> {
        match good.topic_metadata(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                good.create_topic(CreateTopicRequest::new(name, 1)).await?;
                good.topic_metadata(name).await
            }
            answer => answer,
        }
    }
}

#[derive(Debug)]
struct IgnoresATopicsLimit;

#[async_trait]
impl Bug for IgnoresATopicsLimit {
    type State = ();

    async fn create_topic(good: &dyn KafkaDriver, mut request: CreateTopicRequest) -> Result<TopicOutcome> {
        if good.capabilities().features.has(KafkaFeature::TopicConfig) {
            request.config.retain(|key, value| key != "max.message.bytes" || value.parse::<u64>().is_err());
        }
        good.create_topic(request).await
    }
}

#[derive(Debug)]
struct SaysDeletedAndKeeps;

#[async_trait]
impl Bug for SaysDeletedAndKeeps {
    type State = ();

    async fn delete_topic(good: &dyn KafkaDriver, name: &str) -> Result<TopicOutcome> {
        match good.topic_metadata(name).await {
            Ok(_) => Ok(TopicOutcome::Deleted),
            Err(_) => good.delete_topic(name).await,
        }
    }
}

#[derive(Debug)]
struct ServesAfterClose;

#[async_trait]
impl Bug for ServesAfterClose {
    type State = ();

    async fn close_driver(_: &dyn KafkaDriver, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct ExistedAsCreated;

#[async_trait]
impl Bug for ExistedAsCreated {
    type State = ();

    async fn create_topic(good: &dyn KafkaDriver, request: CreateTopicRequest) -> Result<TopicOutcome> {
        good.create_topic(request).await.map(|_| TopicOutcome::Created)
    }
}

/// Settings are applied where the good engine can, and dropped where it cannot, both undeclared.
#[derive(Debug)]
struct DoesWhatItDoesNotDeclare;

#[async_trait]
impl Bug for DoesWhatItDoesNotDeclare {
    type State = ();

    fn capabilities(good: KafkaCapabilities) -> KafkaCapabilities {
        let features = good.features.without(KafkaFeature::TopicConfig);
        KafkaCapabilities::new(features, good.limits.record_bytes)
    }

    async fn create_topic(good: &dyn KafkaDriver, mut request: CreateTopicRequest) -> Result<TopicOutcome> {
        if !good.capabilities().features.has(KafkaFeature::TopicConfig) {
            request.config.clear();
        }
        good.create_topic(request).await
    }
}
