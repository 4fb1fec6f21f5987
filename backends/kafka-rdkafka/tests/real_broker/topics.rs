//! Topics that are made and deleted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::kafka::{CreateTopicRequest, ProducerConfig, ProducerRecord, TopicOutcome};
use onex_spi::{Effect, ErrorKind};

use crate::support::{broker, driver, name, topic};
#[tokio::test]
async fn admin_outcomes_are_honest_and_visible() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 3).await;
    let again = driver.create_topic(CreateTopicRequest::new(&topic, 9)).await.unwrap();
    assert_eq!(again, TopicOutcome::Existed);
    let metadata = driver.topic_metadata(&topic).await.unwrap();
    assert_eq!(metadata.partitions.iter().map(|p| p.partition).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(metadata.partitions.iter().all(|p| p.leader == Some(1) && p.replicas == [1] && p.in_sync == [1]));
    let refused = |name: &str, partitions, replicas, config: Option<(&str, &str)>| {
        let mut request = CreateTopicRequest::new(name, partitions).with_replication_factor(replicas);
        if let Some((key, value)) = config {
            request = request.with_config(key, value);
        }
        let driver = Arc::clone(&driver);
        async move {
            let error = driver.create_topic(request).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.effect()),
                (ErrorKind::InvalidInput, Effect::NotApplied),
                "{error:?}"
            );
            error.kafka().unwrap().name.to_string()
        }
    };
    assert_eq!(refused("a b", 1, 1, None).await, "INVALID_TOPIC_EXCEPTION");
    assert_eq!(refused(&topic.replace('-', "."), 0, 1, None).await, "INVALID_PARTITIONS");
    assert_eq!(refused("x", 1, 0, None).await, "INVALID_REPLICATION_FACTOR");
    assert_eq!(refused("x", 1, 5, None).await, "INVALID_REPLICATION_FACTOR");
    assert_eq!(refused("x", 1, 1, Some(("no.such", "1"))).await, "INVALID_CONFIG");
    assert_eq!(refused("x", 1, 1, Some(("retention.ms", "soon"))).await, "INVALID_CONFIG");
    let dotted = name("a.b");
    driver.create_topic(CreateTopicRequest::new(&dotted, 1)).await.unwrap();
    assert_eq!(refused(&dotted.replace('.', "_"), 1, 1, None).await, "INVALID_TOPIC_EXCEPTION");
    assert_eq!(driver.delete_topic(&topic).await.unwrap(), TopicOutcome::Deleted);
    assert_eq!(driver.delete_topic(&topic).await.unwrap(), TopicOutcome::Absent);
    assert_eq!(driver.topic_metadata(&topic).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_topic_made_anew_starts_at_zero_with_the_old_producer() {
    let Some(kafka) = broker() else { return };
    let driver = driver(kafka).await;
    let topic = topic(&driver, 1).await;
    let producer = driver.producer(ProducerConfig::new()).await.unwrap();
    let send = |value: &'static str| {
        let records = vec![ProducerRecord::new(&*topic).with_value(value)];
        let producer = Arc::clone(&producer);
        async move { producer.produce(records).await.remove(0) }
    };
    assert_eq!(send("old").await.unwrap().offset, Some(0));
    assert_eq!(send("old").await.unwrap().offset, Some(1));
    driver.delete_topic(&topic).await.unwrap();
    driver.create_topic(CreateTopicRequest::new(&topic, 1)).await.unwrap();
    assert_eq!(send("new").await.unwrap().offset, Some(0));
    driver.delete_topic(&topic).await.unwrap();
    let begin = Instant::now();
    let gone = send("gone").await.unwrap_err();
    assert_eq!((gone.kind(), gone.effect()), (ErrorKind::NotFound, Effect::NotApplied), "{gone:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
