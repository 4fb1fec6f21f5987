//! Which partition a record lands in (K1).

use std::collections::BTreeSet;
use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::kafka::{ProducerRecord, partition_for_key};

use super::case;
use super::judge::refused;
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka.partitioner_vectors", ["K1"], ["ONEX-KAFKA-02"], partitioner_vectors),
    case!("kafka.null_keys_spread", ["K1"], ["ONEX-KAFKA-02"], null_keys_spread),
    case!("kafka.explicit_partition", ["K1", "K5"], ["ONEX-KAFKA-02", "ONEX-KAFKA-09"], explicit_partition),
];

const PARTITIONS: i32 = 7;

async fn partitioner_vectors(world: World) -> CaseResult {
    let topic = world.topic(PARTITIONS).await?;
    let mut random = fastrand::Rng::with_seed(world.setup.seed);
    let mut keys = vec![Vec::new(), b"21".to_vec(), b"foobar".to_vec(), b"abc".to_vec()];
    // One byte, lengths 4n and 4n + 3, bytes that are no text.
    keys.extend((0..=u8::MAX).map(|byte| vec![byte]));
    keys.extend((keys.len()..1000).map(|index| {
        let mut key = vec![0; index % 24];
        random.fill(&mut key);
        key
    }));
    let records =
        keys.iter().map(|key| ProducerRecord::new(topic.name.clone()).with_key(key.clone())).collect();
    let producer = world.producer().await?;
    let receipts = store(&producer, records).await?;
    // The hashes that Kafka's own client publishes, so that the formula is not judged by itself.
    for (receipt, hash) in receipts.iter().zip([275_646_681_i32, -973_932_308, -790_332_482, 479_470_107]) {
        ensure_eq!(
            "K1",
            receipt.partition,
            (hash & i32::MAX) % PARTITIONS,
            "partition of a published vector"
        );
    }
    for (receipt, key) in receipts.iter().zip(&keys) {
        ensure_eq!(
            "K1",
            receipt.partition,
            partition_for_key(key, PARTITIONS),
            "partition of the key {key:?}"
        );
    }
    Ok(())
}

async fn null_keys_spread(world: World) -> CaseResult {
    let topic = world.topic(PARTITIONS).await?;
    let producer = world.producer().await?;
    let record = || topic.record("v");
    let batch = store(&producer, (0..1000).map(|_| record()).collect()).await?;
    let used: BTreeSet<_> = batch.iter().map(|receipt| receipt.partition).collect();
    ensure!("K1", used.len() <= 2, "one batch without keys went to the partitions {used:?}");

    let mut used = BTreeSet::new();
    for _ in 0..7000 {
        used.extend(store(&producer, vec![record()]).await?.iter().map(|receipt| receipt.partition));
        if used.len() == 7 {
            return Ok(());
        }
    }
    ensure!("K1", false, "7000 records without keys, one by one, used the partitions {used:?} only");
    Ok(())
}

async fn explicit_partition(world: World) -> CaseResult {
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    let key =
        (0..).map(|number: u32| number.to_string()).find(|key| partition_for_key(key.as_bytes(), 2) == 0);
    let record = topic.record("v").with_key(key.unwrap_or_default());
    let receipt = store(&producer, vec![record.clone().with_partition(1)]).await?;
    ensure_eq!("K1", receipt[0].partition, 1, "an explicit partition beats the key's");
    for unknown in [2, -1, i32::MAX] {
        let sent = producer.produce(vec![record.clone().with_partition(unknown)]);
        let answers = world.within("K1", Duration::from_secs(6), "an unknown partition", sent).await?;
        ensure_eq!("K4", answers.len(), 1, "answers for a record");
        for answer in answers {
            refused("K1", answer, ErrorKind::InvalidInput, "", &format!("partition {unknown} of 2"))?;
        }
    }
    ensure_eq!("K1", world.ends(&topic).await?, [0, 1], "the ends of the log");
    Ok(())
}
