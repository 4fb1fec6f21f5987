//! The partitioner that every engine shares (K1).

use super::{KafkaFault, ProducerRecord, TopicPartition};
use crate::{Error, Result};

/// The hash of Kafka's Java client: murmur2 with seed `0x9747b28c`.
///
/// # Examples
/// ```
/// assert_eq!(onex_spi::kafka::murmur2(b"21") as i32, -973_932_308);
/// ```
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    // Kafka's lengths are below 2^31; the low half is what Java mixes in.
    let mut hash = 0x9747_b28c ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// The partition of `key` among `partitions`: `(murmur2(key) & 0x7fffffff) % partitions`; the empty key is a key.
///
/// # Panics
/// Where `partitions` is not positive.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

impl ProducerRecord {
    /// The partition among `count`, at least one: the explicit one, else the key's, else `sticky`'s (K1).
    ///
    /// `sticky` is asked for a null key alone; it answers the same for one batch and another for the next.
    ///
    /// # Errors
    /// `InvalidInput` for an explicit partition that the topic does not have: the record is wrong, not the topic.
    pub fn choose_partition(&self, count: i32, sticky: impl FnOnce() -> usize) -> Result<i32> {
        match (self.partition, &self.key) {
            (Some(partition), _) if (0..count).contains(&partition) => Ok(partition),
            (Some(partition), _) => {
                let message =
                    format!("topic {:?} has partitions 0 to {}, not {partition}", self.topic, count - 1);
                let at = TopicPartition::new(self.topic.clone(), partition);
                let fault = KafkaFault::new("UNKNOWN_TOPIC_OR_PARTITION").with_code(3).with_at(at);
                Err(Error::invalid("kafka.produce", message).with_detail(fault))
            }
            (None, Some(key)) => Ok(partition_for_key(key, count)),
            (None, None) => Ok((sticky() % count.max(1) as usize) as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn explicit_beats_key_beats_sticky_and_none_is_rerouted() {
        let record = ProducerRecord::new("t");
        let unasked = || unreachable!("the record decides");
        assert_eq!(
            record.clone().with_key("21").with_partition(2).choose_partition(3, unasked).ok(),
            Some(2)
        );
        let by_key = record.clone().with_key("21").choose_partition(7, unasked);
        assert_eq!(by_key.ok(), Some(partition_for_key(b"21", 7)));
        assert_eq!(record.choose_partition(3, || 7).ok(), Some(1));
        for unknown in [-1, 3, i32::MAX] {
            let error =
                record.clone().with_partition(unknown).choose_partition(3, unasked).expect_err("unknown");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{unknown}");
        }
    }

    #[test]
    fn the_published_vectors_hold() {
        for (key, hash) in
            [("21", -973_932_308), ("foobar", -790_332_482), ("abc", 479_470_107), ("", 275_646_681)]
        {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
