//! Several readers of one group, and who owned what when.
//!
//! ```text
//!  a: ──Assigned 0..3──────Revoking 2,3──┤next poll called: released├──────
//!  b: ───────────────────────────────────────────────────────Assigned 2,3──      never two owners at a time (K8)
//! ```

use std::collections::BTreeMap;

use futures_util::future::join_all;
use onex_spi::Clock;
use onex_spi::kafka::{Commit, KafkaMessage, NextOffsets, PollRequest, Polled, TopicPartition};

use super::PATIENCE;
use super::judge::broken;
use super::reader::Reader;
use crate::suite::{CaseResult, Stop};

/// The longest wait of one poll, so that all members keep polling.
const TAKEN: usize = 500;
const TURN: std::time::Duration = std::time::Duration::from_millis(100);

/// A change that a member was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Assigned(Vec<TopicPartition>),
    Revoking(Vec<TopicPartition>),
}

/// One member, what it has read and what it was told.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) reader: Reader,
    pub(crate) read: Vec<KafkaMessage>,
    pub(crate) changes: Vec<Change>,
    /// Whether it commits its position when it is told that partitions go.
    commits: bool,
}

/// The members by name.
#[derive(Debug, Default)]
pub(crate) struct Group {
    members: BTreeMap<&'static str, Member>,
    owners: BTreeMap<TopicPartition, &'static str>,
}

impl Group {
    /// Lets a reader take part.
    pub(crate) fn add(&mut self, name: &'static str, reader: Reader, commits: bool) {
        self.members.insert(name, Member { reader, read: Vec::new(), changes: Vec::new(), commits });
    }

    /// A member by its name.
    pub(crate) fn member(&self, name: &str) -> &Member {
        &self.members[name]
    }

    /// Makes a member leave; it owns nothing from the moment the close is called.
    pub(crate) async fn leave(&mut self, name: &'static str) -> Result<Member, Stop> {
        let Some(member) = self.members.remove(name) else {
            return Err(broken("", format!("the case has no member {name}")));
        };
        self.owners.retain(|_, owner| *owner != name);
        member.reader.consumer.close(PATIENCE).await?;
        Ok(member)
    }

    /// Lets all members poll, all at once, until `done`.
    pub(crate) async fn until(
        &mut self,
        clock: &dyn Clock,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> CaseResult {
        let deadline = clock.now() + PATIENCE;
        while !done(self) {
            if clock.now() >= deadline {
                return Err(broken(
                    "K8",
                    format!("not within {PATIENCE:?}: {what}; owners {:?}", self.owners),
                ));
            }
            self.round().await?;
        }
        Ok(())
    }

    /// One poll of each member.
    async fn round(&mut self) -> CaseResult {
        for member in self.members.values_mut() {
            let before = member.reader.owned().clone();
            member.reader.release();
            for gone in before.difference(member.reader.owned()) {
                self.owners.remove(gone);
            }
        }
        let polls = self.members.iter().map(async |(name, member)| {
            (*name, member.reader.consumer.poll(PollRequest::new(TAKEN, TURN)).await)
        });
        for (name, polled) in join_all(polls).await {
            self.note(name, polled?).await?;
        }
        Ok(())
    }

    async fn note(&mut self, name: &'static str, polled: Polled) -> CaseResult {
        let Some(member) = self.members.get_mut(name) else {
            return Ok(());
        };
        member.reader.note(&polled, TAKEN)?;
        match polled {
            Polled::Records(messages) => member.read.extend(messages),
            Polled::Assigned(partitions) => {
                for partition in &partitions {
                    if let Some(other) = self.owners.insert(partition.clone(), name) {
                        return Err(broken(
                            "K8",
                            format!("{partition} was assigned to {name} while {other} owned it"),
                        ));
                    }
                }
                member.changes.push(Change::Assigned(partitions));
            }
            Polled::Revoking(partitions) => {
                let owned = member.reader.consumer.assignment();
                if !partitions.iter().all(|partition| owned.contains(partition)) {
                    let text = format!("{name} owns {owned:?} while {partitions:?} are being revoked");
                    return Err(broken("K8", text));
                }
                if member.commits {
                    let next = member.reader.next().iter();
                    let next: NextOffsets = next
                        .filter(|(at, _)| partitions.contains(at))
                        .map(|(at, to)| (at.clone(), *to))
                        .collect();
                    member.commit(&next).await?;
                }
                member.changes.push(Change::Revoking(partitions));
            }
            Polled::Lost(partitions) => {
                return Err(broken("K8", format!("{name} lost {partitions:?} though it kept polling")));
            }
            other => return Err(broken("K8", format!("{name}: a poll brought {other:?}"))),
        }
        Ok(())
    }
}

impl Member {
    async fn commit(&self, next: &NextOffsets) -> CaseResult {
        if next.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.reader.consumer.commit(&Commit::new(next.clone())).await {
            return Err(broken("K8", format!("a commit while partitions are being revoked: {error:#}")));
        }
        for (at, next) in next.iter() {
            self.reader.has_committed(at, *next).await?;
        }
        Ok(())
    }
}
