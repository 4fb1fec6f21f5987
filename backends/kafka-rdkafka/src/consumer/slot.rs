//! What thread C and the polls share: records that are ready, changes that were noted, what is owned.
//!
//! ```text
//!  note(change) ─► noted ─take─► handed (told by a poll) ─next poll─► done by thread C: assign or unassign
//!  records      ─► ready ─take─► the application            └ parked while their partition is paused
//! ```
//! A poll takes from here in the moment in which it returns: one that was dropped has taken nothing (K23).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use onex_spi::kafka::{ClientStats, KafkaMessage, Polled, TopicPartition};
use onex_spi::{Error, Result};

/// A change of the assignment, as librdkafka announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
    /// The group gave them to others already.
    Lose(Vec<TopicPartition>),
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Whether a poll waits; only then does thread C poll librdkafka.
    pub(super) wanted: bool,
    /// How many records that poll takes at most.
    pub(super) most: usize,
    /// The number of the last poll, and of the last one for which thread C looked.
    pub(super) asked: u64,
    pub(super) served: u64,
    ready: VecDeque<KafkaMessage>,
    parked: BTreeMap<TopicPartition, VecDeque<KafkaMessage>>,
    errors: VecDeque<Error>,
    noted: VecDeque<Change>,
    handed: Option<Change>,
    pub(super) owned: BTreeSet<TopicPartition>,
    /// Where partitions that were handed out but not assigned yet shall start.
    pub(super) starts: BTreeMap<TopicPartition, i64>,
    pub(super) paused: BTreeSet<TopicPartition>,
    /// The committed offsets that this member knows, because it alone may change them while it owns them.
    pub(super) committed: BTreeMap<TopicPartition, i64>,
    /// Topics that the next poll subscribes to.
    pub(super) subscription: Option<Vec<String>>,
    /// Topics that librdkafka was told to subscribe to.
    topics: BTreeSet<String>,
    /// Partitions that stand still since the reset policy is "error": told again until a seek or a change.
    stuck: Option<Error>,
    pub(super) closed: bool,
    pub(super) stats: ClientStats,
}

impl Slot {
    /// Takes what one poll returns, if there is something; records come before the changes after them.
    pub(super) fn take(&mut self, most: usize) -> Option<Result<Polled>> {
        if self.handed.is_some() {
            // This poll is the next one: thread C finishes the change first.
            return None;
        }
        let records = self.take_records(most);
        if !records.is_empty() {
            return Some(Ok(Polled::Records(records)));
        }
        if let Some(error) = self.errors.pop_front() {
            return Some(Err(error));
        }
        let change = self.noted.pop_front()?;
        self.handed = Some(change.clone());
        Some(Ok(match change {
            Change::Assign(partitions) => {
                self.owned.extend(partitions.iter().cloned());
                Polled::Assigned(partitions)
            }
            Change::Revoke(partitions) => Polled::Revoking(partitions),
            Change::Lose(partitions) => Polled::Lost(partitions),
        }))
    }

    fn take_records(&mut self, most: usize) -> Vec<KafkaMessage> {
        let mut records = Vec::new();
        while records.len() < most {
            let Some(message) = self.ready.pop_front() else { break };
            let at = partition_of(&message);
            if self.paused.contains(&at) {
                self.parked.entry(at).or_default().push_back(message);
                continue;
            }
            self.stats.received += 1;
            self.stats.bytes += message.bytes();
            records.push(message);
        }
        records
    }

    /// What a poll answers whose time is over: nothing, or that nothing can come.
    pub(super) fn empty(&self) -> Result<Polled> {
        self.stuck.clone().map_or_else(|| Ok(Polled::Records(Vec::new())), Err)
    }

    /// Whether thread C has to look for more.
    pub(super) fn is_dry(&self) -> bool {
        self.ready.is_empty() && self.errors.is_empty() && self.noted.is_empty() && self.handed.is_none()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.handed.is_none() && !(self.ready.is_empty() && self.errors.is_empty() && self.noted.is_empty())
    }

    pub(super) fn push(&mut self, records: Vec<KafkaMessage>) {
        self.ready.extend(records);
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.errors.push_back(error);
    }

    /// Tells `error` at every poll that would bring nothing, until somebody moves the position.
    pub(super) fn stick(&mut self, error: Error) {
        self.stuck = Some(error);
    }

    pub(super) fn unstick(&mut self) {
        self.stuck = None;
    }

    /// Whether librdkafka has stopped a partition that nobody may jump.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    pub(super) fn has_notes(&self) -> bool {
        !self.noted.is_empty() || self.handed.is_some()
    }

    pub(super) fn note(&mut self, change: Change) {
        if let Change::Lose(partitions) = &change {
            // They are another member's already.
            self.forget(partitions);
        }
        self.noted.push_back(change);
    }

    /// The change that the last poll told, which the next one finishes.
    pub(super) fn take_handed(&mut self) -> Option<Change> {
        self.handed.take()
    }

    /// Takes the topics that the next poll subscribes to, which are the member's from then on.
    pub(super) fn take_subscription(&mut self) -> Option<Vec<String>> {
        let topics = self.subscription.take()?;
        self.topics = topics.iter().cloned().collect();
        Some(topics)
    }

    /// Says what librdkafka means by taking `partitions` away.
    ///
    /// It calls partitions lost as well whose topic the member itself has left, though the member goes on and may
    /// still commit them.
    pub(super) fn removal(&self, partitions: Vec<TopicPartition>, called_lost: bool) -> Change {
        if called_lost && partitions.iter().any(|at| self.topics.contains(&*at.topic)) {
            Change::Lose(partitions)
        } else {
            Change::Revoke(partitions)
        }
    }

    /// Takes no further call and forgets everything that a member has.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.owned.clear();
        self.ready.clear();
        self.parked.clear();
    }

    /// Every change that librdkafka still waits for.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        self.handed.take().into_iter().chain(self.noted.drain(..)).collect()
    }

    /// Whether `partition` was told as assigned and is not fetching yet.
    pub(super) fn is_starting(&self, partition: &TopicPartition) -> bool {
        matches!(&self.handed, Some(Change::Assign(partitions)) if partitions.contains(partition))
    }

    /// Drops what was fetched of a partition whose position moves.
    pub(super) fn purge(&mut self, partition: &TopicPartition) {
        self.parked.remove(partition);
        self.ready
            .retain(|message| message.partition != partition.partition || message.topic != partition.topic);
    }

    /// Forgets partitions that are gone.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.purge(partition);
            self.owned.remove(partition);
            self.paused.remove(partition);
            self.starts.remove(partition);
            self.committed.remove(partition);
        }
        self.stuck = None;
    }

    /// Brings back the records of a partition that goes on, before all that came later.
    pub(super) fn unpark(&mut self, partition: &TopicPartition) {
        self.paused.remove(partition);
        if let Some(mut parked) = self.parked.remove(partition) {
            parked.append(&mut self.ready);
            self.ready = parked;
        }
    }
}

fn partition_of(message: &KafkaMessage) -> TopicPartition {
    TopicPartition::new(message.topic.clone(), message.partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onex_spi::kafka::Timestamp;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn message(partition: i32, offset: i64) -> KafkaMessage {
        KafkaMessage::new("t".into(), partition, offset, Timestamp::from_millis(1))
    }

    fn offsets(polled: Option<Result<Polled>>) -> Vec<(i32, i64)> {
        match polled {
            Some(Ok(Polled::Records(records))) => {
                records.iter().map(|record| (record.partition, record.offset)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_is_told_once_after_the_records_before_it_and_holds_until_the_next_poll() {
        let mut slot = Slot::default();
        slot.push(vec![message(0, 1), message(0, 2)]);
        slot.note(Change::Revoke(vec![at(0)]));
        assert_eq!(offsets(slot.take(1)), [(0, 1)]);
        assert_eq!(offsets(slot.take(9)), [(0, 2)]);
        assert!(matches!(slot.take(9), Some(Ok(Polled::Revoking(_)))));
        assert!(slot.take(9).is_none(), "the next poll waits for the change to be done");
        assert_eq!(slot.take_handed(), Some(Change::Revoke(vec![at(0)])));
        assert!(slot.take(9).is_none());
    }

    #[test]
    fn what_the_member_left_is_revoked_and_what_was_taken_is_lost() {
        let mut slot = Slot { subscription: Some(vec!["t".into()]), ..Slot::default() };
        assert_eq!(slot.take_subscription(), Some(vec!["t".to_owned()]));
        assert_eq!(slot.removal(vec![at(0)], true), Change::Lose(vec![at(0)]));
        assert_eq!(slot.removal(vec![at(0)], false), Change::Revoke(vec![at(0)]));
        slot.subscription = Some(vec!["other".into()]);
        slot.take_subscription();
        assert_eq!(slot.removal(vec![at(0)], true), Change::Revoke(vec![at(0)]));
    }

    #[test]
    fn paused_records_wait_and_come_before_later_ones() {
        let mut slot = Slot::default();
        slot.push(vec![message(0, 1), message(1, 7), message(0, 2)]);
        slot.paused.insert(at(0));
        assert_eq!(offsets(slot.take(9)), [(1, 7)]);
        slot.unpark(&at(0));
        slot.push(vec![message(0, 3)]);
        assert_eq!(offsets(slot.take(9)), [(0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_seek_and_a_loss_drop_what_was_fetched() {
        let mut slot = Slot::default();
        slot.owned.extend([at(0), at(1)]);
        slot.push(vec![message(0, 1), message(1, 7)]);
        slot.purge(&at(0));
        assert_eq!(offsets(slot.take(9)), [(1, 7)]);
        slot.push(vec![message(1, 8)]);
        slot.note(Change::Lose(vec![at(0), at(1)]));
        assert!(slot.owned.is_empty());
        assert!(matches!(slot.take(9), Some(Ok(Polled::Lost(_)))));
    }
}
