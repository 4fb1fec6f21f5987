//! What an engine says about itself: capabilities, refused configurations, counters (K26).

use onex_spi::kafka::{Acks, ClientStats, ConsumerConfig, CreateTopicRequest, KafkaFeature, ProducerConfig};
use onex_spi::{ErrorKind, Feature};

use super::case;
use super::judge::{broken, refused};
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka.capabilities_are_honest", ["K20"], ["ONEX-KAFKA-01"], capabilities_are_honest),
    case!(
        "kafka.producer_config_refusals",
        ["K3"],
        ["ONEX-KAFKA-07", "ONEX-KAFKA-22"],
        producer_config_refusals
    ),
    case!(
        "kafka.consumer_config_refusals",
        ["K8"],
        ["ONEX-KAFKA-08", "ONEX-KAFKA-23"],
        consumer_config_refusals
    ),
    case!("kafka.counters_add_up", ["K26"], ["ONEX-KAFKA-06", "ONEX-KAFKA-20"], counters_add_up),
];

async fn capabilities_are_honest(world: World) -> CaseResult {
    let other = world.connect_again().await?;
    let capabilities = *world.driver.capabilities();
    ensure_eq!("K20", *other.capabilities(), capabilities, "the capabilities of two connections");
    ensure!(
        "K16",
        capabilities.limits.record_bytes >= 1024,
        "a limit below 1 KiB a record: {capabilities:?}"
    );
    for feature in KafkaFeature::ALL {
        let declared = capabilities.features.has(*feature);
        match feature {
            KafkaFeature::Groups => {
                ensure_eq!("K20", world.driver.admin().is_some(), declared, "an admin, and Groups declared");
            }
            KafkaFeature::TopicConfig => {
                let name = world.name("configured");
                let request = CreateTopicRequest::new(&name, 1).with_config("max.message.bytes", "5000");
                let answer = world.driver.create_topic(request).await;
                if declared {
                    ensure!("K20", answer.is_ok(), "TopicConfig is declared, yet {answer:?}");
                } else {
                    refused("K20", answer, ErrorKind::Unsupported, "", "a setting without TopicConfig")?;
                    // It left nothing behind, or this one would not be new.
                    world.create(CreateTopicRequest::new(&name, 1)).await?;
                }
            }
            KafkaFeature::TopicAdmin => {
                let topic = world.topic(1).await?;
                let answer = world.driver.delete_topic(&topic.name).await;
                if declared {
                    ensure!("K20", answer.is_ok(), "TopicAdmin is declared, yet {answer:?}");
                } else {
                    refused("K20", answer, ErrorKind::Unsupported, "", "deleting without TopicAdmin")?;
                    ensure_eq!("K20", world.ends(&topic).await?, [0], "the topic that was not deleted");
                }
            }
            other => return Err(broken("K20", format!("the suite does not know the feature {other:?}"))),
        }
    }
    Ok(())
}

async fn producer_config_refusals(world: World) -> CaseResult {
    let elsewhere = || vec!["another-cluster.invalid:9092".to_owned()];
    let mut foreign = ProducerConfig::new();
    foreign.bootstrap_servers = elsewhere();
    let bad = [
        (ProducerConfig::new().with_acks(Acks::None), "idempotent with acks = none"),
        (ProducerConfig::new().with_acks(Acks::Leader), "idempotent with acks = leader"),
        (ProducerConfig::new().with_queue(0, 1), "a queue of no records"),
        (ProducerConfig::new().with_delivery_timeout(std::time::Duration::ZERO), "no delivery time"),
        (foreign, "another cluster"),
    ];
    for (config, what) in bad {
        refused("K3", world.driver.producer(config).await, ErrorKind::InvalidInput, "", what)?;
    }
    // A refused configuration harms nothing.
    let topic = world.topic(1).await?;
    store(&world.producer().await?, topic.numbered(0, 0..1)).await?;
    Ok(())
}

async fn consumer_config_refusals(world: World) -> CaseResult {
    let mut foreign = ConsumerConfig::new(world.name("group"));
    foreign.bootstrap_servers = vec!["another-cluster.invalid:9092".to_owned()];
    let bad = [
        (ConsumerConfig::new(""), "an empty group"),
        (ConsumerConfig::new(world.name("group")).with_prefetch(0, 1), "no record fetched ahead"),
        (
            ConsumerConfig::new(world.name("group")).with_session_timeout(std::time::Duration::ZERO),
            "no session",
        ),
        (foreign, "another cluster"),
    ];
    for (config, what) in bad {
        refused("K8", world.driver.consumer(config).await, ErrorKind::InvalidInput, "", what)?;
    }
    Ok(())
}

async fn counters_add_up(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    ensure_eq!("K26", producer.stats(), ClientStats::default(), "the counters of a new producer");
    let mut records = topic.numbered(0, 0..20);
    records[7] = topic.record("v").with_partition(99);
    let answers = producer.produce(records).await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    ensure_eq!("K4", stored, 19, "records stored");
    let sent = producer.stats();
    let sum = sent.acknowledged + sent.failed + sent.in_flight;
    ensure_eq!("K26", sent.accepted, sum, "accepted, and acknowledged + failed + in flight of {sent:?}");
    let told = (sent.acknowledged, sent.in_flight);
    ensure_eq!("K26", told, (19, 0), "acknowledged and in flight at rest, of {sent:?}");
    let bytes: u64 =
        (0..20).filter(|number| *number != 7).map(|number: u64| number.to_string().len() as u64).sum();
    ensure!("K26", sent.bytes >= bytes, "{} bytes sent, at least {bytes} are stored", sent.bytes);

    let mut reader = world.reader("group", &[&topic]).await?;
    ensure_eq!("K26", reader.consumer.stats().received, 0, "received before the first poll");
    reader.drain(&topic).await?;
    let received = reader.consumer.stats();
    ensure_eq!("K26", (received.received, received.bytes), (19, bytes), "records and bytes received");
    let producing = store(&producer, topic.numbered(0, 20..40)).await?.len() as u64;
    let later = producer.stats();
    ensure_eq!("K26", later.acknowledged, sent.acknowledged + producing, "acknowledged after another batch");
    Ok(())
}
