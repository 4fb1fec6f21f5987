//! A consumer as the law of `poll` wants it to be used.
//!
//! ```text
//!  Assigned ─► owned, read from the next poll on       Revoking ─► owned until the next poll is called
//!  Records  ─► positions move                          Lost     ─► no longer owned when it is told
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::kafka::{
    Commit, ConsumerDriver, KafkaMessage, NextOffsets, PollRequest, Polled, TopicPartition,
};
use onex_spi::{Clock, Result};

use super::PATIENCE;
use super::judge::broken;
use super::topic::Topic;
use crate::suite::{CaseResult, Stop};

/// The longest wait of one poll: short, so that many readers can take turns.
const TURN: Duration = Duration::from_millis(100);
/// The records of a turn that reads all there is: fewer than a broker answers at once where a case stores many.
const AT_ONCE: usize = 300;

/// One consumer, what it owns and where it reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) consumer: Arc<dyn ConsumerDriver>,
    clock: Arc<dyn Clock>,
    owned: BTreeSet<TopicPartition>,
    leaving: BTreeSet<TopicPartition>,
    next: NextOffsets,
    /// Records that came while it waited for something else; the next read hands them out first.
    early: Vec<KafkaMessage>,
}

impl Reader {
    pub(crate) fn new(consumer: Arc<dyn ConsumerDriver>, clock: Arc<dyn Clock>) -> Self {
        Self {
            consumer,
            clock,
            owned: BTreeSet::new(),
            leaving: BTreeSet::new(),
            next: NextOffsets::new(),
            early: Vec::new(),
        }
    }

    /// What the polls so far say that it owns.
    pub(crate) fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned
    }

    /// The next offset to read of each partition that it owns and has read.
    pub(crate) fn next(&self) -> &NextOffsets {
        &self.next
    }

    /// Gives up what the last poll revoked; the first half of [`poll`](Self::poll).
    pub(crate) fn release(&mut self) {
        for partition in std::mem::take(&mut self.leaving) {
            self.owned.remove(&partition);
            self.next.remove(&partition);
        }
    }

    /// Keeps the books about what a poll for at most `max_records` brought; the second half of [`poll`](Self::poll).
    pub(crate) fn note(&mut self, polled: &Polled, max_records: usize) -> CaseResult {
        match polled {
            Polled::Records(messages) => {
                if messages.len() > max_records {
                    return Err(broken(
                        "K21",
                        format!("{} records, asked for {max_records}", messages.len()),
                    ));
                }
                for message in messages {
                    let at = TopicPartition::new(Arc::clone(&message.topic), message.partition);
                    if !self.owned.contains(&at) {
                        return Err(broken("K8", format!("a record of {at}, which was not assigned")));
                    }
                    if self.next.get(&at).is_some_and(|next| message.offset < *next) {
                        return Err(broken("K6", format!("{at} went back to offset {}", message.offset)));
                    }
                    self.next.insert(at, message.next_offset());
                }
            }
            Polled::Assigned(partitions) => {
                not_empty(partitions, "Assigned")?;
                self.owned.extend(partitions.iter().cloned());
            }
            Polled::Revoking(partitions) => {
                not_empty(partitions, "Revoking")?;
                self.leaving.extend(partitions.iter().cloned());
            }
            Polled::Lost(partitions) => {
                not_empty(partitions, "Lost")?;
                self.leaving.extend(partitions.iter().cloned());
                self.release();
            }
            other => {
                return Err(broken(
                    "K8",
                    format!("a poll brought {other:?}, which this suite does not know"),
                ));
            }
        }
        Ok(())
    }

    /// Polls once; an error is the engine's own.
    pub(crate) async fn try_poll(
        &mut self,
        max_records: usize,
        max_wait: Duration,
    ) -> Result<Result<Polled>, Stop> {
        self.release();
        let polled = self.consumer.poll(PollRequest::new(max_records, max_wait)).await;
        if let Ok(polled) = &polled {
            self.note(polled, max_records)?;
        }
        Ok(polled)
    }

    /// Polls once, where no error is due.
    pub(crate) async fn poll(&mut self, max_records: usize, max_wait: Duration) -> Result<Polled, Stop> {
        Ok(self.try_poll(max_records, max_wait).await??)
    }

    /// Polls once, shortly; changes bring no records.
    pub(crate) async fn turn(&mut self, max_records: usize) -> Result<Vec<KafkaMessage>, Stop> {
        self.turn_of(max_records, TURN).await
    }

    /// Polls once; changes bring no records.
    pub(crate) async fn turn_of(
        &mut self,
        max_records: usize,
        max_wait: Duration,
    ) -> Result<Vec<KafkaMessage>, Stop> {
        match self.poll(max_records, max_wait).await? {
            Polled::Records(messages) => Ok(messages),
            _ => Ok(Vec::new()),
        }
    }

    fn patience(&self) -> Instant {
        self.clock.now() + PATIENCE
    }

    /// Whether waiting until `deadline` was in vain.
    fn late(&self, deadline: Instant, what: impl FnOnce() -> String) -> CaseResult {
        if self.clock.now() < deadline {
            return Ok(());
        }
        Err(broken("K3", format!("not within {PATIENCE:?}: {}", what())))
    }

    /// Polls until it owns `partitions`, and not further; reading from them begins with the next poll.
    pub(crate) async fn join(&mut self, partitions: &[TopicPartition]) -> CaseResult {
        let deadline = self.patience();
        while !partitions.iter().all(|partition| self.owned.contains(partition)) {
            self.late(deadline, || format!("{partitions:?} assigned"))?;
            let early = self.turn(1).await?;
            self.early.extend(early);
        }
        Ok(())
    }

    /// Reads exactly `count` records.
    pub(crate) async fn read(&mut self, count: usize) -> Result<Vec<KafkaMessage>, Stop> {
        let deadline = self.patience();
        let mut read: Vec<_> = self.early.drain(..count.min(self.early.len())).collect();
        while read.len() < count {
            self.late(deadline, || format!("{count} records, only {} came", read.len()))?;
            read.extend(self.turn(count - read.len()).await?);
        }
        Ok(read)
    }

    /// Reads everything that the topic holds now, from where the group stands.
    ///
    /// The end is the log's own, so that a record that is missing is not waited for.
    pub(crate) async fn drain(&mut self, topic: &Topic) -> Result<Vec<KafkaMessage>, Stop> {
        let (deadline, partitions) = (self.patience(), topic.all());
        let mut next = self.consumer.committed(&partitions).await?;
        next.extend(self.next.iter().map(|(at, offset)| (at.clone(), *offset)));
        let mut ends = NextOffsets::new();
        for partition in partitions {
            let marks = self.consumer.watermarks(&partition).await?;
            if next.get(&partition).copied().unwrap_or(marks.low) < marks.high {
                ends.insert(partition, marks.high);
            }
        }
        let mut read = std::mem::take(&mut self.early);
        while ends.iter().any(|(at, end)| self.next.get(at).is_none_or(|next| next < end)) {
            self.late(deadline, || format!("all up to {ends:?}, only up to {:?}", self.next))?;
            read.extend(self.turn(AT_ONCE).await?);
        }
        Ok(read)
    }

    /// Moves its own books along with a seek.
    pub(crate) async fn seek(&mut self, to: NextOffsets) -> Result<(), Stop> {
        self.consumer.seek(&to).await?;
        self.next.extend(to.iter().map(|(at, offset)| (at.clone(), *offset)));
        Ok(())
    }

    /// Commits `next` for one partition, and checks that the group has just that.
    pub(crate) async fn commit(&self, at: &TopicPartition, next: i64) -> CaseResult {
        let offsets = NextOffsets::from([(at.clone(), next)]);
        if let Err(error) = self.consumer.commit(&Commit::new(offsets)).await {
            return Err(broken("K7", format!("committing {next} for {at}: {error:#}")));
        }
        self.has_committed(at, next).await
    }

    /// Checks the group's committed offset of one partition.
    pub(crate) async fn has_committed(&self, at: &TopicPartition, next: i64) -> CaseResult {
        match self.committed(at).await? {
            Some(stored) if stored == next => Ok(()),
            Some(stored) => Err(broken("K6", format!("{at} has {stored} committed, {next} was asked for"))),
            None => Err(broken("K7", format!("{at} has nothing committed, {next} was asked for"))),
        }
    }

    /// The group's committed offset of one partition.
    pub(crate) async fn committed(&self, at: &TopicPartition) -> Result<Option<i64>, Stop> {
        let committed = self.consumer.committed(std::slice::from_ref(at)).await?;
        Ok(committed.get(at).copied())
    }

    /// Leaves the group.
    pub(crate) async fn close(self) -> CaseResult {
        Ok(self.consumer.close(PATIENCE).await?)
    }
}

fn not_empty(partitions: &[TopicPartition], what: &str) -> CaseResult {
    if partitions.is_empty() {
        return Err(broken("K8", format!("{what} of no partition")));
    }
    Ok(())
}

/// The values as text.
pub(crate) fn values(messages: &[KafkaMessage]) -> Vec<String> {
    let text = |message: &KafkaMessage| {
        let value = message.value.as_deref().unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    messages.iter().map(text).collect()
}
