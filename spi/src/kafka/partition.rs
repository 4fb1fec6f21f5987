//! The partitioner that every engine shares (K1).

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        for (key, hash) in
            [("21", -973_932_308), ("foobar", -790_332_482), ("abc", 479_470_107), ("", 275_646_681)]
        {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
