//! Offsets that mean *next*, per (topic, partition).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::KafkaMessage;

/// One partition of one topic.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// The next offset to read, per partition (K6).
///
/// # Examples
/// ```
/// use onex_spi::kafka::{NextOffsets, TopicPartition};
///
/// let next = NextOffsets::from([(TopicPartition::new("orders", 0), 5)]);
/// assert_eq!(next[&TopicPartition::new("orders", 0)], 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextOffsets(BTreeMap<TopicPartition, i64>);

impl NextOffsets {
    /// Makes an empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The offsets after the highest of `messages` in each partition: what to commit once they are processed.
    #[must_use]
    pub fn after<'a>(messages: impl IntoIterator<Item = &'a KafkaMessage>) -> Self {
        let mut next = BTreeMap::new();
        for message in messages {
            let at = next.entry(TopicPartition::new(message.topic.clone(), message.partition)).or_insert(0);
            *at = message.next_offset().max(*at);
        }
        Self(next)
    }
}

impl Deref for NextOffsets {
    type Target = BTreeMap<TopicPartition, i64>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for NextOffsets {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<const N: usize> From<[(TopicPartition, i64); N]> for NextOffsets {
    fn from(entries: [(TopicPartition, i64); N]) -> Self {
        Self(entries.into())
    }
}

impl FromIterator<(TopicPartition, i64)> for NextOffsets {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, i64)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// What to commit.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to read, per partition.
    pub next: NextOffsets,
    /// Whether an offset may be lower than the committed one (K7).
    pub rewind: bool,
}

impl Commit {
    /// Commits `next`, refusing to go back.
    #[must_use]
    pub fn new(next: NextOffsets) -> Self {
        Self { next, rewind: false }
    }

    /// Commits what follows `messages`.
    #[must_use]
    pub fn after<'a>(messages: impl IntoIterator<Item = &'a KafkaMessage>) -> Self {
        Self::new(NextOffsets::after(messages))
    }

    /// Allows going back.
    #[must_use]
    pub fn with_rewind(mut self) -> Self {
        self.rewind = true;
        self
    }
}
