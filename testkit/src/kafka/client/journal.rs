//! A listener that writes down what it hears, between the records that the case writes down.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use onex_spi::kafka::{Commit, ConsumerDriver, KafkaMessage, NextOffsets, RebalanceListener, TopicPartition};
use onex_spi::{Error, ErrorKind, Result};

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Assigned(&'static str, Vec<TopicPartition>),
    Revoked(&'static str, Vec<TopicPartition>),
    Lost(&'static str, Vec<TopicPartition>),
    Read(&'static str, TopicPartition, i64),
}

/// One journal of any number of members.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    fn write(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Writes down records that a call brought.
    pub(super) fn read(&self, member: &'static str, messages: &[KafkaMessage]) {
        for message in messages {
            let at = TopicPartition::new(Arc::clone(&message.topic), message.partition);
            self.write(Entry::Read(member, at, message.offset));
        }
    }

    /// Everything so far.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A listener of one member.
    pub(super) fn listener(&self, member: &'static str, act: Act) -> Arc<dyn RebalanceListener> {
        Arc::new(Listener { member, journal: self.clone(), act, failed: Mutex::default() })
    }
}

/// What a listener does besides writing.
#[derive(Clone)]
pub(super) enum Act {
    Nothing,
    /// Seeks to an offset in what was assigned.
    SeekTo(i64),
    /// Commits what follows its member's last record of what is revoked.
    CommitRead,
    /// Fails at the first assignment.
    FailOnce,
}

struct Listener {
    member: &'static str,
    journal: Journal,
    act: Act,
    failed: Mutex<bool>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.member).finish()
    }
}

impl Listener {
    fn read_of(&self, partitions: &[TopicPartition]) -> NextOffsets {
        let entries = self.journal.entries().into_iter();
        let read = entries.filter_map(|entry| match entry {
            Entry::Read(member, at, offset) if member == self.member => Some((at, offset + 1)),
            _ => None,
        });
        read.filter(|(at, _)| partitions.contains(at)).collect()
    }
}

#[async_trait]
impl RebalanceListener for Listener {
    async fn assigned(&self, consumer: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()> {
        self.journal.write(Entry::Assigned(self.member, partitions.to_vec()));
        match self.act {
            Act::SeekTo(offset) => {
                let to = partitions.iter().map(|at| (at.clone(), offset)).collect();
                consumer.seek(&to).await
            }
            Act::FailOnce => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if std::mem::replace(&mut *failed, true) {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Unavailable, "test.assigned", "the listener's own store is away"))
            }
            Act::Nothing | Act::CommitRead => Ok(()),
        }
    }

    async fn revoked(&self, consumer: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()> {
        self.journal.write(Entry::Revoked(self.member, partitions.to_vec()));
        match self.act {
            Act::CommitRead => consumer.commit(&Commit::new(self.read_of(partitions))).await,
            _ => Ok(()),
        }
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.journal.write(Entry::Lost(self.member, partitions.to_vec()));
        Ok(())
    }
}
