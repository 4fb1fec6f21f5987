//! The reading side of the log: one member, so a group is its committed offsets and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, NextOffsets, OffsetReset, PollRequest, Polled,
    Timestamp, TopicPartition, Watermarks,
};
use onex_spi::{Clock, Error, ErrorKind, Result};

use crate::log::{Door, Log, State, bytes, unknown};

#[derive(Debug)]
pub(crate) struct LogConsumer {
    log: Log,
    clock: Arc<dyn Clock>,
    config: ConsumerConfig,
    door: Door,
    /// Locked after the log's state, never before.
    member: Mutex<Member>,
    /// Polls queue up.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Member {
    topics: Vec<String>,
    /// The next offset to read of what is owned.
    positions: BTreeMap<TopicPartition, i64>,
    paused: BTreeSet<TopicPartition>,
    /// What the last poll said goes; it goes at the next one (the law of `poll`).
    leaving: Vec<TopicPartition>,
    stats: ClientStats,
}

impl LogConsumer {
    pub(crate) fn new(log: Log, clock: Arc<dyn Clock>, config: ConsumerConfig, door: Door) -> Self {
        Self { log, clock, config, door, member: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn member(&self) -> MutexGuard<'_, Member> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member, if it owns all of `partitions`.
    fn owner<'a>(
        &self,
        operation: &'static str,
        mut partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> Result<MutexGuard<'_, Member>> {
        self.door.enter(operation)?;
        let member = self.member();
        let Some(other) = partitions.find(|at| !member.positions.contains_key(at)) else { return Ok(member) };
        let message = format!("{other} is not owned by this consumer; poll until it is assigned");
        Err(Error::new(ErrorKind::Conflict, operation, message).not_applied())
    }

    fn committed_in(&self, state: &State, at: &TopicPartition) -> Option<i64> {
        state.committed.get(&(self.config.group_id.clone(), at.clone())).copied()
    }

    /// Stores all of `commit` or nothing of it (K7).
    fn store(&self, state: &mut State, commit: &Commit) -> Result<()> {
        let op = "kafka.commit";
        commit.next.keys().try_for_each(|at| state.records(op, at).map(drop))?;
        let _member = self.owner(op, commit.next.keys())?;
        for (at, next) in commit.next.iter() {
            let least = if commit.rewind { 0 } else { self.committed_in(state, at).unwrap_or(0) };
            if *next < least {
                let message =
                    format!("{at}: {next} is below {least}; going back needs a rewind, to 0 or more");
                return Err(Error::invalid(op, message));
            }
        }
        let group = &self.config.group_id;
        state.committed.extend(commit.next.iter().map(|(at, next)| ((group.clone(), at.clone()), *next)));
        Ok(())
    }

    /// One look at the log: a change, records, or nothing yet.
    fn look(&self, state: &State, most: usize) -> Result<Option<Polled>> {
        self.door.enter("kafka.poll")?;
        let member = &mut *self.member();
        for gone in member.leaving.drain(..) {
            member.positions.remove(&gone);
            member.paused.remove(&gone);
        }
        let wanted = |at: &&TopicPartition| member.topics.iter().any(|topic| **topic == *at.topic);
        let gone: Vec<_> = member.positions.keys().filter(|at| !wanted(at)).cloned().collect();
        if !gone.is_empty() {
            member.leaving.clone_from(&gone);
            return Ok(Some(Polled::Revoking(gone)));
        }
        let fresh = |at: &&TopicPartition| !member.positions.contains_key(at);
        let come: Vec<_> = state.partitions.keys().filter(wanted).filter(fresh).cloned().collect();
        if !come.is_empty() {
            let starts = come.iter().map(|at| Ok((at.clone(), self.start(state, at)?)));
            member.positions.extend(starts.collect::<Result<Vec<_>>>()?);
            return Ok(Some(Polled::Assigned(come)));
        }
        let mut records = Vec::new();
        for (at, next) in member.positions.iter_mut().filter(|(at, _)| !member.paused.contains(at)) {
            let before = records.len();
            let unread = state.records("kafka.poll", at)?.iter().skip(*next as usize);
            records.extend(unread.take(most - before).cloned());
            *next += (records.len() - before) as i64;
        }
        member.stats.received += records.len() as u64;
        member.stats.bytes +=
            records.iter().map(|record| (bytes(&record.key) + bytes(&record.value)) as u64).sum::<u64>();
        Ok((!records.is_empty()).then_some(Polled::Records(records)))
    }

    /// Where reading begins: at the committed offset, else as the configuration says (K10).
    fn start(&self, state: &State, at: &TopicPartition) -> Result<i64> {
        let end = state.records("kafka.poll", at)?.len() as i64;
        let committed = self.committed_in(state, at).filter(|next| *next <= end);
        match (committed, self.config.offset_reset) {
            (Some(next), _) => Ok(next),
            (None, OffsetReset::Earliest) => Ok(0),
            (None, OffsetReset::Latest) => Ok(end),
            (None, _) => {
                let message = format!("{at} has no committed offset in the log; commit one or set a reset");
                Err(Error::new(ErrorKind::NotFound, "kafka.poll", message).not_applied())
            }
        }
    }
}

#[async_trait]
impl ConsumerDriver for LogConsumer {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        self.door.enter("kafka.subscribe")?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let named = |topic: &str| {
            (1..=249).contains(&topic.len()) && topic.bytes().all(legal) && topic != "." && topic != ".."
        };
        if let Some(bad) = topics.iter().find(|topic| !named(topic)) {
            let message = format!("`{bad}` cannot be a topic; use 1-249 of [A-Za-z0-9._-], not `.` or `..`");
            return Err(Error::invalid("kafka.subscribe", message));
        }
        self.member().topics = topics.to_vec();
        Ok(())
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        let _turn = self.turn.lock().await;
        let mut log = self.log.0.subscribe();
        let mut late = self.clock.sleep_until(crate::after(&*self.clock, request.max_wait));
        loop {
            if let Some(polled) = self.look(&log.borrow_and_update(), request.max_records)? {
                return Ok(polled);
            }
            tokio::select! {
                _ = log.changed() => {}
                () = &mut late => break,
            }
        }
        let (state, member) = (log.borrow(), self.member());
        match member.topics.iter().find(|topic| state.topic(topic).next().is_none()) {
            Some(missing) => Err(unknown("kafka.poll", missing)),
            None => Ok(Polled::Records(Vec::new())),
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        self.door.enter("kafka.commit")?;
        let mut stored = Ok(());
        self.log.0.send_if_modified(|state| {
            stored = self.store(state, commit);
            false
        });
        stored
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        self.door.enter("kafka.committed")?;
        let state = self.log.0.borrow();
        let stored = |at: &TopicPartition| Some((at.clone(), self.committed_in(&state, at)?));
        Ok(partitions.iter().filter_map(stored).collect())
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        let mut member = self.owner("kafka.seek", to.keys())?;
        if let Some((at, next)) = to.iter().find(|(_, next)| **next < 0) {
            return Err(Error::invalid(
                "kafka.seek",
                format!("{at}: offset {next} is negative; use 0 or more"),
            ));
        }
        member.positions.extend(to.iter().map(|(at, next)| (at.clone(), *next)));
        Ok(())
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.owner("kafka.pause", partitions.iter())?.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.owner("kafka.resume", partitions.iter())?.paused.retain(|at| !partitions.contains(at));
        self.log.0.send_modify(|_| ());
        Ok(())
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        self.door.enter("kafka.watermarks")?;
        let end = self.log.0.borrow().records("kafka.watermarks", partition)?.len();
        Ok(Watermarks::new(0, end as i64))
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        self.door.enter("kafka.offsets_for_times")?;
        let state = self.log.0.borrow();
        let mut found = NextOffsets::new();
        for (at, time) in times {
            let mut records = state.records("kafka.offsets_for_times", at)?.iter();
            if let Some(first) = records.find(|record| record.timestamp >= *time) {
                found.insert(at.clone(), first.offset);
            }
        }
        Ok(found)
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.door.shut();
        self.member().positions.clear();
        self.log.0.send_modify(|_| ());
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.member().positions.keys().cloned().collect()
    }

    fn stats(&self) -> ClientStats {
        self.member().stats
    }
}
