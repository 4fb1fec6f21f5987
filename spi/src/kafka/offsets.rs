//! Offsets that mean *next*, per (topic, partition).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{KafkaFault, KafkaMessage, OffsetReset, Watermarks};
use crate::{Error, ErrorKind, Result};

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

    /// The offsets of `partitions` alone; one without an offset is absent.
    #[must_use]
    pub fn only<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Self {
        partitions.into_iter().filter_map(|at| Some((at.clone(), *self.get(at)?))).collect()
    }

    /// Refuses a negative offset.
    ///
    /// # Errors
    /// `InvalidInput` naming partition and offset.
    pub fn validate(&self, operation: &'static str) -> Result<()> {
        let Some((at, next)) = self.iter().find(|(_, next)| **next < 0) else { return Ok(()) };
        let message = format!("{at}: offset {next} is negative; use 0 or later");
        Err(Error::invalid(operation, message).with_detail(KafkaFault::new("").with_at(at.clone())))
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

    /// Refuses an offset that is negative or, without `rewind`, below the `committed` one (K7).
    ///
    /// # Errors
    /// `InvalidInput` naming partition and offsets.
    pub fn check(&self, committed: impl Fn(&TopicPartition) -> Option<i64>) -> Result<()> {
        self.next.validate("kafka.commit")?;
        for (at, next) in self.next.iter().filter(|_| !self.rewind) {
            if let Some(before) = committed(at).filter(|before| next < before) {
                let message =
                    format!("{at}: offset {next} is below the committed {before}; use Commit::with_rewind");
                let fault = KafkaFault::new("").with_at(at.clone());
                return Err(Error::invalid("kafka.commit", message).with_detail(fault));
            }
        }
        Ok(())
    }

    /// Stores in `committed` what was asked, all of it or nothing (K7); whether it is owned is the engine's to know.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn apply(&self, committed: &mut NextOffsets) -> Result<()> {
        self.check(|at| committed.get(at).copied())?;
        committed.extend(self.next.iter().map(|(at, next)| (at.clone(), *next)));
        Ok(())
    }
}

impl OffsetReset {
    /// Where reading of `at` begins: at `wanted` (the position, else the committed offset) if the log has it, else as this
    /// says (K10).
    ///
    /// # Errors
    /// With [`OffsetReset::Error`]: `NotFound` `NO_OFFSET_FOR_PARTITION` without `wanted`, `Conflict` `OFFSET_OUT_OF_RANGE`.
    pub fn start(self, at: &TopicPartition, wanted: Option<i64>, bounds: Watermarks) -> Result<i64> {
        const OPERATION: &str = "kafka.poll";
        match (wanted, self) {
            (Some(offset), _) if (bounds.low..=bounds.high).contains(&offset) => Ok(offset),
            (_, Self::Earliest) => Ok(bounds.low),
            (_, Self::Latest) => Ok(bounds.high),
            (Some(offset), Self::Error) => {
                let message =
                    format!("{at} has offsets {} to {}, not {offset}; seek", bounds.low, bounds.high);
                let fault = KafkaFault::new("OFFSET_OUT_OF_RANGE").with_code(1).with_at(at.clone());
                Err(Error::new(ErrorKind::Conflict, OPERATION, message).not_applied().with_detail(fault))
            }
            (None, Self::Error) => {
                let message =
                    format!("{at} has no committed offset and offset_reset is error; seek or commit one");
                let fault = KafkaFault::new("NO_OFFSET_FOR_PARTITION").with_at(at.clone());
                Err(Error::new(ErrorKind::NotFound, OPERATION, message).not_applied().with_detail(fault))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn a_commit_goes_back_only_when_asked_and_is_stored_whole_or_not_at_all() {
        let mut committed = NextOffsets::from([(at(0), 5)]);
        let before = committed.clone();
        for bad in [[(at(0), 4), (at(1), 1)], [(at(0), 6), (at(1), -1)]] {
            let error = Commit::new(bad.into()).apply(&mut committed).expect_err("refused");
            assert_eq!((error.kind(), &committed), (ErrorKind::InvalidInput, &before));
        }
        Commit::new([(at(0), 5), (at(1), 0)].into()).apply(&mut committed).expect("not backwards");
        Commit::new([(at(0), 3)].into()).with_rewind().apply(&mut committed).expect("asked for");
        assert_eq!(committed, NextOffsets::from([(at(0), 3), (at(1), 0)]));
        assert_eq!(committed.only(&[at(1), at(2)]), NextOffsets::from([(at(1), 0)]));
    }

    #[test]
    fn reading_begins_where_it_may_and_never_jumps_silently() {
        let bounds = Watermarks::new(2, 5);
        for reset in [OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::Error] {
            for inside in [2, 3, 5] {
                assert_eq!(reset.start(&at(0), Some(inside), bounds).ok(), Some(inside), "{reset:?}");
            }
        }
        for wanted in [None, Some(1), Some(6)] {
            assert_eq!(OffsetReset::Earliest.start(&at(0), wanted, bounds).ok(), Some(2));
            assert_eq!(OffsetReset::Latest.start(&at(0), wanted, bounds).ok(), Some(5));
            let error = OffsetReset::Error.start(&at(0), wanted, bounds).expect_err("nowhere to begin");
            let due = if wanted.is_none() { ErrorKind::NotFound } else { ErrorKind::Conflict };
            assert_eq!(error.kind(), due, "{wanted:?}");
        }
    }
}
