//! A consumer: positions of its own, and a step that a poll repeats until it brings something.
//!
//! ```text
//!  poll ─► turn ─► step ─┬ gone already (expelled, topic deleted)        Lost
//!                  ▲     ├ last poll said Revoking: give it back, go on
//!                  │     ├ not a member: join
//!                  │     ├ owned beyond the target                        Revoking
//!                  │     ├ in the target and free                         Assigned
//!                  │     ├ records from the positions on                  Records
//!                  │     ├ a subscribed topic is missing                  NotFound
//!                  │     └ the time is over                               Records, empty
//!                  └──── wait: something changed, or the clock
//! ```
//!
//! A step takes and answers in one go, so a poll that is dropped while it waits has taken nothing.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, Member, NextOffsets, PollRequest, Polled, Timestamp,
    TopicPartition, Watermarks, not_owned, unknown_partition,
};
use onex_spi::{Error, ErrorKind, Result};

use super::assign::MemberId;
use super::broker::Broker;
use super::error::{Refusal, away, unknown_member};
use super::group::{Group, Joining};
use super::topic::Topics;

const POLL: &str = "kafka.poll";
const COMMIT: &str = "kafka.commit";

/// Kafka's default bounds of a session: `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
const SESSION: std::ops::RangeInclusive<Duration> = Duration::from_secs(6)..=Duration::from_secs(30 * 60);

/// A consumer on the memory broker; dropping it leaves the group.
#[derive(Debug)]
pub(super) struct MemoryConsumer {
    broker: Arc<Broker>,
    config: ConsumerConfig,
    /// Whose poll comes next.
    turn: tokio::sync::Mutex<()>,
    /// Locked before the broker.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was told as assigned and is not yet told as lost or given back.
    books: Member,
    /// Whether the group has yet to hear of the subscription.
    resubscribed: bool,
    id: Option<MemberId>,
    /// Until when a close waits for the broker; set once.
    closing: Option<Instant>,
    /// Whether the close is over.
    left: bool,
}

/// What one try of a poll came to.
enum Step {
    Done(Result<Polled>),
    WaitUntil(Instant),
}

impl MemoryConsumer {
    pub(super) fn new(broker: Arc<Broker>, config: ConsumerConfig) -> Self {
        Self { broker, config, turn: tokio::sync::Mutex::new(()), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the consumer is closed.
    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        let mine = self.state();
        if mine.closing.is_some() {
            return Err(Error::closed(operation, "the consumer"));
        }
        Ok(mine)
    }

    fn step(&self, request: PollRequest, deadline: Instant) -> Step {
        let mut mine = match self.open(POLL) {
            Ok(mine) => mine,
            Err(closed) => return Step::Done(Err(closed)),
        };
        let now = self.broker.now();
        let mut cluster = self.broker.lock();
        if !cluster.available {
            return if deadline <= now { Step::Done(Err(away(POLL))) } else { Step::WaitUntil(deadline) };
        }
        let mut stirred = false;
        let step = cluster.with_group(&self.config.group_id, |group, topics| {
            stirred = group.expire(now, topics);
            match self.bring(&mut mine, group, topics, request.max_records, deadline <= now, &mut stirred) {
                Ok(None) => {
                    Step::WaitUntil(group.next_expiry(now).map_or(deadline, |expiry| expiry.min(deadline)))
                }
                Ok(Some(polled)) => Step::Done(Ok(polled)),
                Err(error) => Step::Done(Err(error)),
            }
        });
        drop(cluster);
        drop(mine);
        if stirred {
            self.broker.changed.notify_waiters();
        }
        step
    }

    /// What there is now: a change, records, a complaint, or nothing where the time is over; `None` = wait.
    fn bring(
        &self,
        mine: &mut State,
        group: &mut Group,
        topics: &mut Topics,
        max_records: usize,
        over: bool,
        stirred: &mut bool,
    ) -> Result<Option<Polled>> {
        if let Some(change) = self.change(mine, group, topics, stirred)? {
            return Ok(Some(change));
        }
        let wall = self.broker.wall();
        let read = mine.books.read(max_records, |at, position, most| {
            let log = topics.log(POLL, at, wall)?;
            let wanted = position.or_else(|| group.committed().get(at).copied());
            let start = self.config.offset_reset.start(at, wanted, log.watermarks())?;
            Ok((start, log.read(start, most).collect()))
        });
        if read.as_ref().is_ok_and(|records| !records.is_empty()) {
            return read.map(|records| Some(Polled::Records(records)));
        }
        // A partition that cannot be read hides no topic that is missing.
        mine.books.tell_missing(|name| topics.get(name).is_some(), over && read.is_ok())?;
        read.map(|records| over.then_some(Polled::Records(records)))
    }

    /// Takes part in the group; answers what changed.
    fn change(
        &self,
        mine: &mut State,
        group: &mut Group,
        topics: &Topics,
        stirred: &mut bool,
    ) -> Result<Option<Polled>> {
        let lost = mine.lost(group);
        if let Some(lost) = mine.books.lose(lost) {
            return Ok(Some(lost));
        }
        let released = mine.books.begin_poll();
        if let Some(id) = mine.id.filter(|_| !released.is_empty()) {
            group.release(id, &released);
            *stirred = true;
        }
        let id = match mine.id {
            Some(id) => {
                if std::mem::take(&mut mine.resubscribed) {
                    group.subscribe(id, mine.books.subscription(), topics);
                    *stirred = true;
                }
                id
            }
            None if mine.books.subscription().is_empty() => return Ok(None),
            None => {
                let joining = self.joining(mine.books.subscription())?;
                let newcomer = self.broker.next_member();
                group.join(newcomer, joining, topics);
                (mine.id, mine.resubscribed, *stirred) = (Some(newcomer), false, true);
                newcomer
            }
        };
        if let Some(revoking) = mine.books.revoke(group.surplus(id)) {
            return Ok(Some(revoking));
        }
        if mine.books.subscription().is_empty() {
            group.leave(id, topics);
            (mine.id, *stirred) = (None, true);
            return Ok(None);
        }
        Ok(mine.books.assign(group.take(id)))
    }

    fn joining(&self, subscription: &BTreeSet<Arc<str>>) -> Result<Joining> {
        let session_timeout = self.config.session_timeout;
        if !SESSION.contains(&session_timeout) {
            let message = format!(
                "session_timeout = {session_timeout:?}: the broker allows {:?} to {:?}",
                SESSION.start(),
                SESSION.end()
            );
            return Err(Refusal::InvalidSessionTimeout.error(POLL, message));
        }
        let max_poll_interval = self.config.max_poll_interval;
        Ok(Joining { subscription: subscription.clone(), max_poll_interval, session_timeout })
    }

    /// Does something to the books where the group, too, says that all `partitions` are owned.
    fn with_owned<'a>(
        &self,
        operation: &'static str,
        mut partitions: impl Iterator<Item = &'a TopicPartition>,
        body: impl FnOnce(&mut Member) -> Result<()>,
    ) -> Result<()> {
        let mut mine = self.open(operation)?;
        let (now, id) = (self.broker.now(), mine.id);
        self.broker.lock().with_group(&self.config.group_id, |group, topics| {
            group.expire(now, topics);
            match partitions.find(|at| !id.is_some_and(|id| group.owns(id, at))) {
                Some(foreign) => Err(not_owned(operation, foreign)),
                None => Ok(()),
            }
        })?;
        body(&mut mine.books)?;
        drop(mine);
        self.broker.changed.notify_waiters();
        Ok(())
    }

    /// Refuses new calls from now on and leaves the group if the broker is there.
    pub(super) fn begin_close(&self, deadline: Instant) {
        let mut mine = self.state();
        mine.closing.get_or_insert(deadline);
        self.leave(&mut mine);
        drop(mine);
        self.broker.changed.notify_waiters();
    }

    /// Waits for the broker until the time of the close is over.
    pub(super) async fn finish_close(&self) -> Result<()> {
        let mut timer = self.broker.clock.timer();
        loop {
            let mut changed = pin!(self.broker.changed.notified());
            changed.as_mut().enable();
            let until = {
                let mut mine = self.state();
                if self.leave(&mut mine) {
                    return Ok(());
                }
                let now = self.broker.now();
                let until = *mine.closing.get_or_insert(now);
                if until <= now {
                    self.vanish(&mut mine);
                    drop(mine);
                    self.broker.changed.notify_waiters();
                    let message = "the broker did not hear that the consumer left; its session will time out";
                    return Err(Error::new(ErrorKind::TimedOut, "kafka.close", message));
                }
                until
            };
            self.broker.wait(changed, &mut *timer, until).await;
        }
    }

    /// Leaves the group; tells whether that is done.
    fn leave(&self, mine: &mut State) -> bool {
        let mut cluster = self.broker.lock();
        if !mine.left && cluster.available {
            if let Some(id) = mine.id.take() {
                cluster.with_group(&self.config.group_id, |group, topics| group.leave(id, topics));
            }
            mine.left = true;
        }
        mine.left
    }

    /// Ends without the broker hearing of it.
    fn vanish(&self, mine: &mut State) {
        mine.left = true;
        if let Some(id) = mine.id.take() {
            let now = self.broker.now();
            self.broker.lock().with_group(&self.config.group_id, |group, _| group.vanish(id, now));
        }
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut mine = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !self.leave(&mut mine) {
            self.vanish(&mut mine);
        }
        self.broker.changed.notify_waiters();
    }
}

/// The time between two polls does not run while one is under way, also where that one is dropped.
struct Polling<'a>(&'a MemoryConsumer);

impl<'a> Polling<'a> {
    fn begin(consumer: &'a MemoryConsumer) -> Self {
        let mine = consumer.state();
        if let Some(id) = mine.id {
            let now = consumer.broker.now();
            let mut cluster = consumer.broker.lock();
            let here = cluster.available;
            cluster.with_group(&consumer.config.group_id, |group, topics| {
                // Too late is too late, even for the poll that comes now.
                if here {
                    group.expire(now, topics);
                }
                group.polling(id);
            });
        }
        Self(consumer)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let Self(consumer) = self;
        let mine = consumer.state();
        if let Some(id) = mine.id {
            let now = consumer.broker.now();
            consumer.broker.lock().with_group(&consumer.config.group_id, |group, _| group.polled(id, now));
        }
    }
}

impl State {
    /// What is not owned any more, though nobody gave it back.
    fn lost(&mut self, group: &Group) -> Vec<TopicPartition> {
        self.id = self.id.filter(|id| group.has(*id));
        let foreign = |at: &&TopicPartition| !self.id.is_some_and(|id| group.owns(id, at));
        self.books.owned().filter(foreign).cloned().collect()
    }
}

#[async_trait]
impl ConsumerDriver for MemoryConsumer {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        let mut mine = self.open("kafka.subscribe")?;
        mine.books.subscribe(topics)?;
        mine.resubscribed = true;
        drop(mine);
        self.broker.changed.notify_waiters();
        Ok(())
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        let deadline = self.broker.clock.after(request.max_wait);
        let mut timer = self.broker.clock.timer();
        let _turn = tokio::select! {
            biased;
            turn = self.turn.lock() => turn,
            () = std::future::poll_fn(|cx| timer.poll_at(deadline, cx)) => return Ok(Polled::Records(Vec::new())),
        };
        let _polling = Polling::begin(self);
        loop {
            let mut changed = pin!(self.broker.changed.notified());
            changed.as_mut().enable();
            match self.step(request, deadline) {
                Step::Done(result) => return result,
                Step::WaitUntil(until) => self.broker.wait(changed, &mut *timer, until).await,
            }
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        let mine = self.open(COMMIT)?;
        commit.next.validate(COMMIT)?;
        let (id, now, group_id) = (mine.id, self.broker.now(), &self.config.group_id);
        let mut cluster = self.broker.answering(COMMIT)?;
        cluster.with_group(group_id, |group, topics| {
            group.expire(now, topics);
            for at in commit.next.keys() {
                if !topics.has(at) {
                    return Err(unknown_partition(COMMIT, at));
                }
                let Some(id) = id else { return Err(not_owned(COMMIT, at)) };
                if !group.has(id) {
                    return Err(unknown_member(COMMIT, group_id));
                }
                if !group.owns(id, at) {
                    return Err(not_owned(COMMIT, at));
                }
            }
            group.commit(commit)
        })
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        drop(self.open("kafka.committed")?);
        let mut cluster = self.broker.answering("kafka.committed")?;
        Ok(cluster.with_group(&self.config.group_id, |group, _| group.committed().only(partitions)))
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        to.validate("kafka.seek")?;
        self.with_owned("kafka.seek", to.keys(), |books| books.seek(to))
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.with_owned("kafka.pause", partitions.iter(), |books| books.pause(partitions))
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.with_owned("kafka.resume", partitions.iter(), |books| books.resume(partitions))
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        const OPERATION: &str = "kafka.watermarks";
        drop(self.open(OPERATION)?);
        let now = self.broker.wall();
        Ok(self.broker.answering(OPERATION)?.topics.log(OPERATION, partition, now)?.watermarks())
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        const OPERATION: &str = "kafka.offsets_for_times";
        drop(self.open(OPERATION)?);
        let now = self.broker.wall();
        let mut cluster = self.broker.answering(OPERATION)?;
        let mut next = NextOffsets::new();
        for (at, time) in times {
            if let Some(offset) = cluster.topics.log(OPERATION, at, now)?.first_at(*time) {
                next.insert(at.clone(), offset);
            }
        }
        Ok(next)
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.begin_close(self.broker.clock.after(within));
        self.finish_close().await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        let mine = self.state();
        let Some(id) = mine.id else { return Vec::new() };
        let now = self.broker.now();
        self.broker.lock().with_group(&self.config.group_id, |group, topics| {
            group.expire(now, topics);
            group.owned(id).cloned().collect()
        })
    }

    fn stats(&self) -> ClientStats {
        self.state().books.stats()
    }
}
