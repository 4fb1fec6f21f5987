//! The reading side of the log: one member, so a group is its committed offsets and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, KafkaMessage, NextOffsets, OffsetReset, PollRequest,
    Polled, Timestamp, TopicPartition, Watermarks,
};
use onex_spi::{Clock, Error, ErrorKind, Result};

use crate::log::{Log, State, unknown};

#[derive(Debug)]
pub(crate) struct LogConsumer {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    config: ConsumerConfig,
    member: Mutex<Member>,
    /// Polls queue up.
    turn: tokio::sync::Mutex<()>,
    driver_closed: Arc<AtomicBool>,
    closed: AtomicBool,
    received: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Member {
    topics: Vec<String>,
    /// The next offset to read of what is owned.
    positions: BTreeMap<TopicPartition, i64>,
    paused: BTreeSet<TopicPartition>,
    /// What the last poll said goes; it goes at the next one (the law of `poll`).
    leaving: Vec<TopicPartition>,
}

impl LogConsumer {
    pub(crate) fn new(
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
        config: ConsumerConfig,
        driver_closed: Arc<AtomicBool>,
    ) -> Self {
        let (member, turn) = (Mutex::default(), tokio::sync::Mutex::new(()));
        let (closed, received, bytes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        Self { log, clock, config, member, turn, driver_closed, closed, received, bytes }
    }

    fn member(&self) -> MutexGuard<'_, Member> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, operation: &'static str) -> Result<()> {
        let closed = self.closed.load(Ordering::Acquire) || self.driver_closed.load(Ordering::Acquire);
        if closed { Err(Error::closed(operation, "the consumer")) } else { Ok(()) }
    }

    /// One look at the log: a change, records, or nothing yet.
    fn look(&self, most: usize) -> Result<Option<Polled>> {
        self.open("kafka.poll")?;
        let (state, mut member) = (self.log.state(), self.member());
        let member = &mut *member;
        for gone in member.leaving.drain(..) {
            member.positions.remove(&gone);
            member.paused.remove(&gone);
        }
        let existing = |topic: &String| {
            let count = state.topics.get(topic).map_or(0, Vec::len);
            let topic: Arc<str> = topic.as_str().into();
            (0..count as i32).map(move |partition| TopicPartition::new(topic.clone(), partition))
        };
        let wanted: BTreeSet<TopicPartition> = member.topics.iter().flat_map(existing).collect();
        let gone: Vec<_> = member.positions.keys().filter(|at| !wanted.contains(at)).cloned().collect();
        if !gone.is_empty() {
            member.leaving.clone_from(&gone);
            return Ok(Some(Polled::Revoking(gone)));
        }
        let come: Vec<_> = wanted.into_iter().filter(|at| !member.positions.contains_key(at)).collect();
        if !come.is_empty() {
            let starts: Result<Vec<i64>> = come.iter().map(|at| self.start(&state, at)).collect();
            member.positions.extend(come.iter().cloned().zip(starts?));
            return Ok(Some(Polled::Assigned(come)));
        }
        let mut records = Vec::new();
        for (at, position) in member.positions.iter_mut().filter(|(at, _)| !member.paused.contains(at)) {
            let log = &state.topics[&*at.topic][at.partition as usize];
            let fresh = log.iter().skip(*position as usize).take(most - records.len());
            records.extend(fresh.cloned());
            *position = records
                .last()
                .filter(|last: &&KafkaMessage| last.topic == at.topic && last.partition == at.partition)
                .map_or(*position, KafkaMessage::next_offset);
        }
        if records.is_empty() {
            return Ok(None);
        }
        let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len) as u64;
        let bytes = records.iter().map(|record| length(&record.key) + length(&record.value)).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.received.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(Some(Polled::Records(records)))
    }

    /// Where reading begins: committed, else as the configuration says.
    fn start(&self, state: &State, at: &TopicPartition) -> Result<i64> {
        let end = state.topics[&*at.topic][at.partition as usize].len() as i64;
        let committed = state.committed.get(&(self.config.group_id.clone(), at.clone())).copied();
        match (committed.filter(|next| *next <= end), self.config.offset_reset) {
            (Some(next), _) => Ok(next),
            (None, OffsetReset::Earliest) => Ok(0),
            (None, OffsetReset::Latest) => Ok(end),
            (None, _) => {
                Err(Error::new(ErrorKind::NotFound, "kafka.poll", format!("{at} has no committed offset"))
                    .not_applied())
            }
        }
    }

    fn owned(&self, operation: &'static str, member: &Member, at: &TopicPartition) -> Result<()> {
        if member.positions.contains_key(at) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, operation, format!("{at} is not owned by this consumer"))
            .not_applied())
    }

    fn log_of<'a>(
        state: &'a State,
        operation: &'static str,
        at: &TopicPartition,
    ) -> Result<&'a Vec<KafkaMessage>> {
        let partitions = state.topics.get(&*at.topic);
        let found = partitions.and_then(|partitions| partitions.get(usize::try_from(at.partition).ok()?));
        found.ok_or_else(|| unknown(operation, at))
    }
}

#[async_trait]
impl ConsumerDriver for LogConsumer {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        self.open("kafka.subscribe")?;
        let named = |topic: &String| {
            (1..=249).contains(&topic.len())
                && topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if let Some(bad) = topics.iter().find(|topic| !named(topic) || matches!(topic.as_str(), "." | "..")) {
            return Err(Error::invalid(
                "kafka.subscribe",
                format!("`{bad}` cannot be a topic: 1-249 of [A-Za-z0-9._-]"),
            ));
        }
        self.member().topics = topics.to_vec();
        Ok(())
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        let _turn = self.turn.lock().await;
        let deadline = self.clock.now() + request.max_wait;
        let (mut changes, mut timer) = (self.log.changes(), self.clock.timer());
        loop {
            if let Some(polled) = self.look(request.max_records)? {
                return Ok(polled);
            }
            let mut changed = std::pin::pin!(changes.changed());
            let late = std::future::poll_fn(|cx| match changed.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending => timer.poll_at(deadline, cx).map(|()| true),
            });
            if late.await {
                let state = self.log.state();
                let missing =
                    self.member().topics.iter().find(|topic| !state.topics.contains_key(*topic)).cloned();
                return missing
                    .map_or(Ok(Polled::Records(Vec::new())), |topic| Err(unknown("kafka.poll", topic)));
            }
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        let op = "kafka.commit";
        self.open(op)?;
        let mut state = self.log.state();
        let member = self.member();
        for (at, next) in commit.next.iter() {
            Self::log_of(&state, op, at)?;
            self.owned(op, &member, at)?;
            let committed =
                state.committed.get(&(self.config.group_id.clone(), at.clone())).copied().unwrap_or(0);
            if *next < 0 || (*next < committed && !commit.rewind) {
                let message = format!(
                    "{at}: {next} is lower than the committed {committed}; ask for a rewind if that is meant"
                );
                return Err(Error::invalid(op, message));
            }
        }
        let group = &self.config.group_id;
        state.committed.extend(commit.next.iter().map(|(at, next)| ((group.clone(), at.clone()), *next)));
        Ok(())
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        self.open("kafka.committed")?;
        let state = self.log.state();
        let of = |at: &TopicPartition| {
            Some((at.clone(), *state.committed.get(&(self.config.group_id.clone(), at.clone()))?))
        };
        Ok(partitions.iter().filter_map(of).collect())
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        let op = "kafka.seek";
        self.open(op)?;
        let mut member = self.member();
        for (at, next) in to.iter() {
            self.owned(op, &member, at)?;
            if *next < 0 {
                return Err(Error::invalid(op, format!("{at}: offset {next} is negative")));
            }
        }
        member.positions.extend(to.iter().map(|(at, next)| (at.clone(), *next)));
        Ok(())
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.open("kafka.pause")?;
        let mut member = self.member();
        partitions.iter().try_for_each(|at| self.owned("kafka.pause", &member, at))?;
        member.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.open("kafka.resume")?;
        let mut member = self.member();
        partitions.iter().try_for_each(|at| self.owned("kafka.resume", &member, at))?;
        member.paused.retain(|at| !partitions.contains(at));
        Ok(())
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        self.open("kafka.watermarks")?;
        let state = self.log.state();
        Ok(Watermarks::new(0, Self::log_of(&state, "kafka.watermarks", partition)?.len() as i64))
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        self.open("kafka.offsets_for_times")?;
        let state = self.log.state();
        let mut found = NextOffsets::new();
        for (at, time) in times {
            let log = Self::log_of(&state, "kafka.offsets_for_times", at)?;
            if let Some(first) = log.iter().find(|message| message.timestamp >= *time) {
                found.insert(at.clone(), first.offset);
            }
        }
        Ok(found)
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.member().positions.clear();
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.member().positions.keys().cloned().collect()
    }

    fn stats(&self) -> ClientStats {
        let mut stats = ClientStats::default();
        (stats.received, stats.bytes) =
            (self.received.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        stats
    }
}
