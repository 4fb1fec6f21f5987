//! What the bridge's end and the worker have in common: the buffer, what is open, and how the source stands.
//!
//! ```text
//!  arrive ─► buffer ─ hand_out ─► open, by tag ─ settle ─► Progress of each partition ─► to_commit
//!                                                   └ failed: skipped, or the end of the source
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onex_spi::bridge::{BridgeMessage, BridgeReason, DeliveryTag, Disposition, Settled};
use onex_spi::kafka::{Commit, KafkaMessage, NextOffsets, TopicPartition};
use onex_spi::{Clock, Error, ErrorKind, Health, Result};
use tokio::sync::Notify;

use super::OnFailed;
use super::convert::message_of;
use super::progress::{End, Progress};

/// How long what is settled may wait for its commit: twice that is a second, the most that a death may repeat.
pub(super) const COMMIT_AFTER: Duration = Duration::from_millis(500);
/// The most bytes of payloads that wait to be taken, about.
const BUFFER_BYTES: usize = 16 << 20;

/// What the bridge's end and the worker have in common.
#[derive(Debug)]
pub(super) struct Shared {
    on_failed: OnFailed,
    buffer: usize,
    pub(super) clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// For who receives: there is a message, a fault or an end.
    pub(super) arrived: Notify,
    /// For the worker: there is something to commit, room, or a close.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    buffer: VecDeque<(Arc<TopicPartition>, KafkaMessage)>,
    bytes: usize,
    partitions: HashMap<Arc<TopicPartition>, Progress>,
    /// Tags not yet settled; `None` for a record whose partition is gone.
    open: HashMap<DeliveryTag, Option<(Arc<TopicPartition>, i64)>>,
    last_tag: u64,
    /// Until when what is settled must be committed.
    commit_due: Option<Instant>,
    /// Whether the buffer was full; it is until half of it is taken, which is told.
    full: bool,
    /// Whether every settlement is to be told.
    watched: bool,
    /// What a poll met and may pass, until somebody was told.
    fault: Option<Error>,
    /// The same, for the health, until a poll succeeds.
    degraded: Option<String>,
    /// Why the source ended by itself.
    failed: Option<Error>,
    /// Until when the close waits.
    closing: Option<Option<Instant>>,
}

/// What the worker sees at one moment.
pub(super) struct Look {
    /// How many records more the buffer takes.
    pub(super) room: usize,
    /// Whether nothing more is to be read.
    pub(super) is_over: bool,
    /// The tags not yet settled.
    pub(super) open: usize,
    /// When to commit.
    pub(super) commit_due: Option<Instant>,
    /// When a close gives up.
    pub(super) deadline: Option<Instant>,
}

impl Shared {
    pub(super) fn new(on_failed: OnFailed, buffer: usize, clock: Arc<dyn Clock>) -> Self {
        let (arrived, changed) = (Notify::new(), Notify::new());
        Self { on_failed, buffer, clock, state: Mutex::default(), arrived, changed }
    }

    /// Held for a moment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the source does not work, where the source itself knows.
    pub(super) fn health(&self) -> Option<Health> {
        let state = self.state();
        if let Some(error) = &state.failed {
            return Some(Health::Unhealthy(error.message().to_owned()));
        }
        if state.closing.is_some() {
            return Some(Health::Unhealthy("the Kafka source is closed".to_owned()));
        }
        state.degraded.clone().map(Health::Degraded)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing.is_some()
    }

    /// Hands out messages, a fault or the end, if there is one of them.
    pub(super) fn hand_out(
        &self,
        max: usize,
        into: &mut Vec<(DeliveryTag, BridgeMessage)>,
    ) -> Option<Result<usize>> {
        let mut state = self.state();
        if state.closing.is_some() {
            return Some(Ok(0));
        }
        if let Some(error) = &state.failed {
            return Some(Err(error.clone()));
        }
        if state.buffer.is_empty() {
            return state.fault.take().map(Err);
        }
        let count = state.buffer.len().min(max);
        let taken: Vec<_> = state.buffer.drain(..count).collect();
        for (partition, record) in taken {
            state.last_tag += 1;
            state.bytes -= size(&record);
            let tag = DeliveryTag::new(state.last_tag);
            state.partitions.entry(partition.clone()).or_default().hand_out(record.offset);
            state.open.insert(tag, Some((partition, record.offset)));
            into.push((tag, message_of(record)));
        }
        if state.full && self.is_low(&state) {
            drop(state);
            self.changed.notify_waiters();
        }
        Some(Ok(count))
    }

    /// Takes down what became of what was handed out.
    pub(super) fn settle(&self, settled: Vec<Settled>) {
        let due = self.clock.now().checked_add(COMMIT_AFTER);
        let mut state = self.state();
        let was_due = state.commit_due.is_some();
        for settled in settled {
            let Some(place) = state.open.remove(&settled.tag) else {
                tracing::error!(tag = settled.tag.get(), "a tag was settled that is not open");
                continue;
            };
            // A record whose partition is gone belongs to another member by now.
            let Some((partition, offset)) = place else { continue };
            let end = match settled.disposition {
                Disposition::Failed(error) => self.failed(&mut state, &partition, offset, &error),
                _ => End::Settled,
            };
            let commits = state.partitions.get_mut(&partition).is_some_and(|at| at.end(offset, end));
            if commits && state.commit_due.is_none() {
                state.commit_due = due;
            }
        }
        let tell = state.watched || state.closing.is_some() || state.failed.is_some();
        let tell = tell || (!was_due && state.commit_due.is_some());
        drop(state);
        if tell {
            self.changed.notify_waiters();
        }
    }

    /// What a record becomes that nobody accepted.
    fn failed(&self, state: &mut State, partition: &TopicPartition, offset: i64, error: &Error) -> End {
        let drained = error.bridge().is_some_and(|fault| fault.reason == BridgeReason::Drained);
        if drained || state.closing.is_some() {
            // Nobody judged it: the next start reads it again.
            return End::Kept;
        }
        if self.on_failed == OnFailed::Skip {
            tracing::warn!(%partition, offset, %error, "a record was given up, as on_failed = \"skip\" says");
            return End::Settled;
        }
        let message = format!(
            "the record {partition}@{offset} was not accepted, and nothing is committed from it on: {}; mend that and start \
             again, name a dead_letter target, or write on_failed = \"skip\"",
            error.message()
        );
        // Not a kind that passes: another `receive` would change nothing.
        let ended = Error::new(ErrorKind::Closed, "bridge.receive", message).with_source(error.clone());
        self.end(state, ended);
        End::Kept
    }

    /// Ends the source; what is handed out is still settled and committed.
    fn end(&self, state: &mut State, error: Error) {
        state.failed.get_or_insert(error);
        state.buffer.clear();
        state.bytes = 0;
        self.arrived.notify_waiters();
    }

    /// Hands nothing more out, and gives what is open until the end of `within`.
    pub(super) fn begin_close(&self, within: Duration) {
        let deadline = self.clock.now().checked_add(within);
        let mut state = self.state();
        if state.closing.is_none() {
            state.closing = Some(deadline);
            // Read ahead, and promised to nobody.
            state.buffer.clear();
            state.bytes = 0;
        }
        drop(state);
        self.arrived.notify_waiters();
        self.changed.notify_waiters();
    }

    fn is_low(&self, state: &State) -> bool {
        state.buffer.len() <= self.buffer / 2 && state.bytes <= BUFFER_BYTES / 2
    }

    pub(super) fn look(&self) -> Look {
        let mut state = self.state();
        let is_over = state.closing.is_some() || state.failed.is_some();
        let is_full = state.bytes >= BUFFER_BYTES || (state.full && !self.is_low(&state));
        let room = if is_over || is_full { 0 } else { self.buffer.saturating_sub(state.buffer.len()) };
        state.full = room == 0;
        let (open, commit_due, deadline) = (state.open.len(), state.commit_due, state.closing.flatten());
        Look { room, is_over, open, commit_due, deadline }
    }

    /// Takes records in.
    pub(super) fn arrive(&self, records: Vec<KafkaMessage>) {
        let mut state = self.state();
        state.degraded = None;
        state.fault = None;
        if state.closing.is_some() || state.failed.is_some() || records.is_empty() {
            // What arrives after the end was not committed and is read again.
            return;
        }
        for record in records {
            let partition = TopicPartition::new(record.topic.clone(), record.partition);
            let known = state.partitions.get_key_value(&partition).map(|(known, _)| known.clone());
            let partition = known.unwrap_or_else(|| {
                let partition = Arc::new(partition);
                state.partitions.insert(partition.clone(), Progress::default());
                partition
            });
            state.bytes += size(&record);
            state.buffer.push_back((partition, record));
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Tells of a fault that may pass.
    pub(super) fn stumble(&self, error: Error) {
        let mut state = self.state();
        state.degraded = Some(error.message().to_owned());
        state.fault = Some(error);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Tells of a fault that will not pass.
    pub(super) fn fail(&self, error: Error) {
        self.end(&mut self.state(), error);
    }

    /// Hands nothing more out of `partitions`.
    pub(super) fn hold_back(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        state.buffer.retain(|(at, _)| !partitions.contains(at));
        state.bytes = state.buffer.iter().map(|(_, record)| size(record)).sum();
    }

    /// Whether nothing of `partitions` is open; from now on every settlement is told, until it is so.
    pub(super) fn are_quiet(&self, partitions: &[TopicPartition]) -> bool {
        let mut state = self.state();
        let quiet = partitions.iter().all(|at| state.partitions.get(at).is_none_or(Progress::is_quiet));
        state.watched = !quiet;
        quiet
    }

    /// Forgets partitions that are another member's.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        self.hold_back(partitions);
        let mut state = self.state();
        state.watched = false;
        state.partitions.retain(|at, _| !partitions.contains(at));
        for place in state.open.values_mut() {
            if place.as_ref().is_some_and(|(at, _)| partitions.contains(at)) {
                *place = None;
            }
        }
    }

    /// What there is to commit of all partitions.
    pub(super) fn to_commit(&self) -> Commit {
        let mut state = self.state();
        state.commit_due = None;
        let next = state
            .partitions
            .iter()
            .filter_map(|(at, progress)| Some(((**at).clone(), progress.to_commit()?)));
        Commit::new(next.collect::<NextOffsets>())
    }

    /// Notes what was committed.
    pub(super) fn committed(&self, next: &NextOffsets) {
        let mut state = self.state();
        for (at, next) in next.iter() {
            if let Some(progress) = state.partitions.get_mut(at) {
                progress.committed(*next);
            }
        }
    }

    /// Tries a commit that failed again, after the same time.
    pub(super) fn commit_again(&self) {
        let due = self.clock.now().checked_add(COMMIT_AFTER);
        self.state().commit_due = due;
    }
}

fn size(record: &KafkaMessage) -> usize {
    usize::try_from(record.bytes()).unwrap_or(usize::MAX)
}
