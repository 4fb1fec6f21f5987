//! The books of one consumer, by which an engine keeps the law of `poll`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    ClientStats, KafkaMessage, NextOffsets, Polled, TopicPartition, check_topic_name, not_owned,
    unknown_topic,
};
use crate::Result;

/// What one consumer is subscribed to, owns and has read, and which change its next poll finishes.
///
/// ```text
///  begin_poll ─► revoke │ lose │ assign ─► tell it, and no more in this poll
///             └► read ─► records, from partitions that take turns
/// ```
///
/// It decides and never waits: an engine holds it under a lock and asks it in the moment in which a poll returns.
///
/// # Examples
/// ```
/// use onex_spi::kafka::{Member, Polled, TopicPartition};
///
/// let (mut member, at) = (Member::default(), TopicPartition::new("orders", 0));
/// assert!(matches!(member.assign(vec![at.clone()]), Some(Polled::Assigned(_))));
/// assert!(matches!(member.revoke(vec![at.clone()]), Some(Polled::Revoking(_))));
/// assert!(member.owns(&at), "until the next poll");
/// assert_eq!(member.begin_poll(), [at.clone()]);
/// assert!(!member.owns(&at));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Member {
    subscription: BTreeSet<Arc<str>>,
    /// Missing topics that a poll has told.
    told_missing: BTreeSet<Arc<str>>,
    owned: BTreeMap<TopicPartition, Reading>,
    /// What the last poll told as revoking.
    revoking: Vec<TopicPartition>,
    /// The place of the partition that is read first, so that none starves.
    first: usize,
    stats: ClientStats,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// The next offset; none until the first read, which asks the committed one.
    position: Option<i64>,
    paused: bool,
}

impl Member {
    /// Sets the topics.
    ///
    /// # Errors
    /// `InvalidInput` for a name that no topic can have; the old set holds.
    pub fn subscribe(&mut self, topics: &[String]) -> Result<()> {
        topics.iter().try_for_each(|name| check_topic_name("kafka.subscribe", name))?;
        self.subscription = topics.iter().map(|name| name.as_str().into()).collect();
        self.told_missing.clear();
        Ok(())
    }

    /// The topics.
    #[must_use]
    pub fn subscription(&self) -> &BTreeSet<Arc<str>> {
        &self.subscription
    }

    /// Finishes the change that the last poll told; what it gave up is free now.
    pub fn begin_poll(&mut self) -> Vec<TopicPartition> {
        let released = std::mem::take(&mut self.revoking);
        for at in &released {
            self.owned.remove(at);
        }
        released
    }

    /// Takes `partitions` over, to be read from the next poll on; `None` = there are none.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>) -> Option<Polled> {
        self.owned.extend(partitions.iter().map(|at| (at.clone(), Reading::default())));
        (!partitions.is_empty()).then_some(Polled::Assigned(partitions))
    }

    /// Announces that `partitions` go at the next poll; `None` = there are none.
    pub fn revoke(&mut self, partitions: Vec<TopicPartition>) -> Option<Polled> {
        self.revoking.clone_from(&partitions);
        (!partitions.is_empty()).then_some(Polled::Revoking(partitions))
    }

    /// Drops `partitions`, which are another's already; `None` = there are none.
    pub fn lose(&mut self, partitions: Vec<TopicPartition>) -> Option<Polled> {
        for at in &partitions {
            self.owned.remove(at);
        }
        self.revoking.retain(|at| !partitions.contains(at));
        (!partitions.is_empty()).then_some(Polled::Lost(partitions))
    }

    /// Owns nothing any more.
    pub fn close(&mut self) {
        self.owned.clear();
        self.revoking.clear();
    }

    /// Whether `at` is owned.
    #[must_use]
    pub fn owns(&self, at: &TopicPartition) -> bool {
        self.owned.contains_key(at)
    }

    /// What is owned, in order.
    pub fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.owned.keys()
    }

    /// Refuses partitions that are not owned.
    ///
    /// # Errors
    /// `Conflict` naming the first one.
    pub fn require_owned<'a>(
        &self,
        operation: &'static str,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<()> {
        match partitions.into_iter().find(|at| !self.owns(at)) {
            Some(foreign) => Err(not_owned(operation, foreign)),
            None => Ok(()),
        }
    }

    /// Moves the positions of owned partitions.
    ///
    /// # Errors
    /// `InvalidInput` for a negative offset, `Conflict` for a partition that is not owned; then no position has moved.
    pub fn seek(&mut self, to: &NextOffsets) -> Result<()> {
        to.validate("kafka.seek")?;
        self.require_owned("kafka.seek", to.keys())?;
        let moved = |(at, next): (&TopicPartition, &i64)| {
            let paused = self.owned.get(at).is_some_and(|reading| reading.paused);
            (at.clone(), Reading { position: Some(*next), paused })
        };
        let moved: Vec<_> = to.iter().map(moved).collect();
        self.owned.extend(moved);
        Ok(())
    }

    /// Reads nothing more of owned partitions.
    ///
    /// # Errors
    /// `Conflict` for a partition that is not owned; then none is paused.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused("kafka.pause", partitions, true)
    }

    /// Reads on from where paused partitions stopped.
    ///
    /// # Errors
    /// `Conflict` for a partition that is not owned; then none goes on.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused("kafka.resume", partitions, false)
    }

    fn set_paused(&mut self, operation: &'static str, at: &[TopicPartition], paused: bool) -> Result<()> {
        self.require_owned(operation, at)?;
        for (_, reading) in self.owned.iter_mut().filter(|(owned, _)| at.contains(owned)) {
            reading.paused = paused;
        }
        Ok(())
    }

    /// Reads on in what is owned and not paused, at most `most` records.
    ///
    /// `fetch` gets a partition, its position (none before the first read) and the most records; it answers where it begins
    /// to read ([`OffsetReset::start`](super::OffsetReset::start)) and what lies there.
    ///
    /// # Errors
    /// What `fetch` met, where no record came before; else the poll that begins with that partition tells it. No position
    /// moves without its records.
    pub fn read(
        &mut self,
        most: usize,
        mut fetch: impl FnMut(&TopicPartition, Option<i64>, usize) -> Result<(i64, Vec<KafkaMessage>)>,
    ) -> Result<Vec<KafkaMessage>> {
        let mut open: Vec<_> = self.owned.iter_mut().filter(|(_, reading)| !reading.paused).collect();
        let first = self.first % open.len().max(1);
        open.rotate_left(first);
        let mut records = Vec::new();
        let mut failed = None;
        for (at, reading) in open {
            match fetch(at, reading.position, most.saturating_sub(records.len())) {
                Ok((start, fetched)) => {
                    reading.position = Some(fetched.last().map_or(start, KafkaMessage::next_offset));
                    records.extend(fetched);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !records.is_empty() || failed.is_some() {
            self.first = first + 1;
        }
        if let Some(error) = failed.filter(|_| records.is_empty()) {
            return Err(error);
        }
        self.stats.received += records.len() as u64;
        self.stats.bytes += records.iter().map(KafkaMessage::bytes).sum::<u64>();
        Ok(records)
    }

    /// Tells of a subscribed topic that does not exist: once at once, and at the end (`over`) of each fruitless poll.
    ///
    /// # Errors
    /// `NotFound` `UNKNOWN_TOPIC_OR_PARTITION`.
    pub fn tell_missing(&mut self, exists: impl Fn(&str) -> bool, over: bool) -> Result<()> {
        self.told_missing.retain(|name| !exists(name));
        let mut missing = self.subscription.iter().filter(|name| !exists(name));
        match missing.find(|name| over || !self.told_missing.contains(*name)) {
            Some(name) => {
                self.told_missing.insert(name.clone());
                Err(unknown_topic("kafka.poll", name))
            }
            None => Ok(()),
        }
    }

    /// Records and bytes that were read.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Timestamp, unknown_partition};
    use crate::{Error, ErrorKind};

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn member(partitions: std::ops::Range<i32>) -> Member {
        let mut member = Member::default();
        member.assign(partitions.map(at).collect());
        member
    }

    /// Reads from logs of `length` records that begin at 0.
    fn read(member: &mut Member, most: usize, length: i64) -> Vec<(i32, i64)> {
        let records = member.read(most, |at, position, most| {
            let start = position.unwrap_or(0);
            let offsets = (start..length).take(most);
            let now = Timestamp::from_millis(0);
            let message = |offset| KafkaMessage::new(at.topic.clone(), at.partition, offset, now);
            Ok((start, offsets.map(message).collect()))
        });
        records.expect("good logs").iter().map(|record| (record.partition, record.offset)).collect()
    }

    #[test]
    fn a_revoked_partition_is_owned_until_the_next_poll_and_a_lost_one_is_not() {
        let mut member = member(0..3);
        assert_eq!(member.revoke(vec![at(0), at(1)]), Some(Polled::Revoking(vec![at(0), at(1)])));
        assert_eq!(member.owned().count(), 3);
        assert_eq!(member.lose(vec![at(1)]), Some(Polled::Lost(vec![at(1)])));
        assert_eq!(member.begin_poll(), [at(0)], "what was lost is not given back");
        assert_eq!(member.owned().collect::<Vec<_>>(), [&at(2)]);
        assert_eq!(member.begin_poll(), []);
        assert_eq!((member.assign(vec![]), member.revoke(vec![]), member.lose(vec![])), (None, None, None));
    }

    #[test]
    fn no_partition_starves() {
        let mut member = member(0..3);
        let order: Vec<_> = (0..4).map(|_| read(&mut member, 2, 4)).collect();
        assert_eq!(order, [[(0, 0), (0, 1)], [(1, 0), (1, 1)], [(2, 0), (2, 1)], [(0, 2), (0, 3)]]);
        assert_eq!(member.stats().received, 8);
    }

    #[test]
    fn a_pause_skips_nothing_and_a_seek_keeps_it() {
        let mut member = member(0..2);
        member.pause(&[at(0)]).expect("owned");
        assert_eq!(read(&mut member, 9, 1), [(1, 0)]);
        member.seek(&NextOffsets::from([(at(0), 1)])).expect("owned");
        assert_eq!(read(&mut member, 9, 2), [(1, 1)]);
        member.resume(&[at(0)]).expect("owned");
        assert_eq!(read(&mut member, 9, 2), [(0, 1)]);
    }

    #[test]
    fn a_foreign_partition_or_a_negative_offset_changes_nothing() {
        let mut member = member(0..1);
        let kind = |answer: Result<()>| answer.map_err(|error| error.kind());
        assert_eq!(kind(member.pause(&[at(0), at(1)])), Err(ErrorKind::Conflict));
        let both = NextOffsets::from([(at(0), 3), (at(1), 3)]);
        assert_eq!(kind(member.seek(&both)), Err(ErrorKind::Conflict));
        assert_eq!(kind(member.seek(&NextOffsets::from([(at(0), -1)]))), Err(ErrorKind::InvalidInput));
        assert_eq!(read(&mut member, 9, 1), [(0, 0)]);
    }

    #[test]
    fn an_error_loses_no_records_and_is_told_in_its_turn() {
        let mut member = member(0..2);
        let mut poll = || {
            let records = member.read(9, |at, position, _| {
                if at.partition == 1 {
                    return Err(unknown_partition("kafka.poll", at));
                }
                let start = position.unwrap_or(0);
                let now = Timestamp::from_millis(0);
                Ok((start, vec![KafkaMessage::new(at.topic.clone(), 0, start, now)]))
            });
            let offset = |records: Vec<KafkaMessage>| records.first().map(|record| record.offset);
            records.map(offset).map_err(|error: Error| error.kind())
        };
        let told: Vec<_> = (0..4).map(|_| poll()).collect();
        assert_eq!(told, [Ok(Some(0)), Err(ErrorKind::NotFound), Ok(Some(1)), Err(ErrorKind::NotFound)]);
    }

    #[test]
    fn a_missing_topic_is_told_once_at_once_and_at_the_end_of_each_poll() {
        let mut member = Member::default();
        assert!(member.subscribe(&["a b".to_owned()]).is_err());
        member.subscribe(&["t".to_owned()]).expect("a good name");
        assert!(member.tell_missing(|_| false, false).is_err());
        assert!(member.tell_missing(|_| false, false).is_ok());
        assert!(member.tell_missing(|_| false, true).is_err());
        assert!(member.tell_missing(|_| true, true).is_ok());
        assert!(member.tell_missing(|_| false, false).is_err(), "it was there meanwhile");
    }
}
