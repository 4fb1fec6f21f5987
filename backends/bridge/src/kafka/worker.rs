//! The task that looks after a consumer: it polls also while nobody takes, so that the membership lives.
//!
//! ```text
//!  look ─┬ over and all settled ─► commit, leave the group
//!        ├ commit due ───────────► commit
//!        └ else: resume where there is room, pause where there was none for a second, then wait for the first of
//!              a change of the state · the next commit · a poll ─┬ Records  ─► buffer
//!                                                                ├ Assigned ─► paused where reading is
//!                                                                ├ Revoking ─► hold back, wait for what is open, commit, forget
//!                                                                ├ Lost     ─► forget
//!                                                                └ error    ─► again later, or the end
//! ```
//! The poll goes on while the worker commits; one that is dropped at the end has taken nothing (K23).

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::kafka::{Commit, ConsumerDriver, KafkaFault, PollRequest, Polled, Recovery, TopicPartition};
use onex_spi::{BoxFuture, Error, ErrorKind, Result};

use super::shared::{Look, Shared};

/// The longest poll; a member that is not interrupted polls at least this often.
const POLL: Duration = Duration::from_secs(1);
/// How long the buffer may be full before the partitions are paused; until then the group waits for the next poll.
const FULL: Duration = Duration::from_secs(1);
/// The most records of one poll.
const MOST: usize = 200;
/// How long the worker waits after polls that failed one after the other: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the last commit and leaving may take beyond the time of the close.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) struct Worker {
    shared: Arc<Shared>,
    consumer: Arc<dyn ConsumerDriver>,
    revoke_timeout: Duration,
    /// Whether the partitions are paused.
    paused: bool,
    /// Since when the buffer has no room.
    full_since: Option<Instant>,
    /// After a failed poll: until when to wait, and how long that is.
    pause: Option<(Instant, Duration)>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        consumer: Arc<dyn ConsumerDriver>,
        revoke_timeout: Duration,
    ) -> Self {
        Self { shared, consumer, revoke_timeout, paused: false, full_since: None, pause: None }
    }

    /// Runs until the source is closed, or has failed and all is settled.
    pub(super) async fn run(mut self) -> Result<()> {
        let shared = self.shared.clone();
        // Kept over changes of the state: a poll that is begun again and again would never get to say that nobody answers.
        let mut polling: Option<BoxFuture<'static, Result<Polled>>> = None;
        loop {
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            let (look, now) = (shared.look(), shared.clock.now());
            let is_late = look.deadline.is_some_and(|deadline| deadline <= now);
            if look.is_over && (look.open == 0 || is_late) {
                return self.leave(look.open, look.deadline).await;
            }
            if look.commit_due.is_some_and(|due| due <= now) {
                self.commit().await;
                continue;
            }
            let pauses_at = self.flow(&look, now).await;
            let polls = pauses_at.is_none();
            if polls && polling.is_none() {
                polling = Some(self.poll(look.room));
            }
            let wake = [look.commit_due, look.deadline, pauses_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = changed => {}
                () = until(&shared, wake) => {}
                polled = under_way(&mut polling), if polls => {
                    polling = None;
                    self.take(polled).await;
                }
            }
        }
    }

    /// The next poll, after the pause that a failed one asks for.
    fn poll(&self, room: usize) -> BoxFuture<'static, Result<Polled>> {
        let (shared, consumer, pause) = (self.shared.clone(), self.consumer.clone(), self.pause);
        Box::pin(async move {
            if let Some((until, _)) = pause {
                shared.clock.sleep_until(until).await;
            }
            consumer.poll(PollRequest::new(room.clamp(1, MOST), POLL)).await
        })
    }

    async fn take(&mut self, polled: Result<Polled>) {
        if polled.is_ok() {
            self.pause = None;
        }
        match polled {
            Ok(Polled::Records(records)) => self.shared.arrive(records),
            Ok(Polled::Assigned(partitions)) => {
                self.shared.forget(&partitions);
                if self.paused {
                    self.told("pausing", self.consumer.pause(&partitions).await);
                }
            }
            Ok(Polled::Revoking(partitions)) => self.give_back(&partitions).await,
            Ok(Polled::Lost(partitions)) => {
                tracing::warn!(
                    ?partitions,
                    "partitions were lost; what was in flight is read again by another member"
                );
                self.shared.forget(&partitions);
            }
            Ok(_) => {}
            Err(error) => self.stumble(error),
        }
    }

    /// Pauses or resumes all partitions; where the buffer has only just become full, nothing is polled and the answer is when to
    /// pause: what an engine has fetched ahead is thrown away by a pause, which a bridge that is only busy would pay for all the time.
    async fn flow(&mut self, look: &Look, now: Instant) -> Option<Instant> {
        let reads = look.room > 0;
        if reads {
            self.full_since = None;
        } else if !look.is_over && !self.paused {
            let since = *self.full_since.get_or_insert(now);
            let pauses_at = since.checked_add(FULL);
            if pauses_at.is_some_and(|at| now < at) {
                return pauses_at;
            }
        }
        if reads == self.paused {
            self.pause_or_resume(!reads).await;
        }
        None
    }

    async fn pause_or_resume(&mut self, paused: bool) {
        self.paused = paused;
        let partitions = self.consumer.assignment();
        if partitions.is_empty() {
            return;
        }
        if self.paused {
            self.told("pausing", self.consumer.pause(&partitions).await);
        } else {
            self.told("resuming", self.consumer.resume(&partitions).await);
        }
    }

    /// A partition that is gone meanwhile is told by the next poll; anything else only costs memory or time.
    fn told(&self, what: &str, result: Result<()>) {
        if let Err(error) = result {
            tracing::debug!(%error, what, "partitions are changing");
        }
    }

    /// Finishes what was handed out of partitions that are about to go (the law of `poll`: they go at the next one).
    async fn give_back(&self, partitions: &[TopicPartition]) {
        let shared = &self.shared;
        shared.hold_back(partitions);
        let patience = shared.clock.now().checked_add(self.revoke_timeout);
        loop {
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            let until = patience.into_iter().chain(shared.look().deadline).min();
            if shared.are_quiet(partitions) {
                break;
            }
            if until.is_some_and(|until| until <= shared.clock.now()) {
                tracing::warn!(
                    ?partitions,
                    "partitions go with records in flight, which another member reads again"
                );
                break;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self::until(shared, until) => {}
            }
        }
        self.commit().await;
        shared.forget(partitions);
    }

    /// Commits all that is settled in order; what fails is tried again.
    async fn commit(&self) -> Option<Error> {
        let commit = self.shared.to_commit();
        if commit.next.is_empty() {
            return None;
        }
        let Err(error) = self.consumer.commit(&commit).await else {
            self.shared.committed(&commit.next);
            return None;
        };
        if error.is_retryable(true) {
            tracing::warn!(%error, "offsets were not committed; again soon");
            self.shared.commit_again();
            return Some(error);
        }
        // One partition that is no longer ours refuses the whole: each by itself, and the bad ones are given up.
        let mut last = None;
        for (at, next) in commit.next.iter() {
            let one = Commit::new([(at.clone(), *next)].into());
            match self.consumer.commit(&one).await {
                Err(error) if error.is_retryable(true) => {
                    self.shared.commit_again();
                    last = Some(error);
                }
                Err(error) => {
                    tracing::warn!(partition = %at, next, %error, "an offset cannot be committed");
                    self.shared.committed(&one.next);
                    last = Some(error);
                }
                Ok(()) => self.shared.committed(&one.next),
            }
        }
        last
    }

    /// A failed poll: again after a while, or the end.
    fn stumble(&mut self, error: Error) {
        let fault = error.kafka();
        let reopen = fault.is_some_and(|fault| fault.recovery == Recovery::Reopen);
        let topic_is_away =
            fault.is_some_and(|fault: &KafkaFault| fault.name == "UNKNOWN_TOPIC_OR_PARTITION");
        if reopen || !(error.is_retryable(true) || topic_is_away) {
            let ended = if error.is_retryable(true) {
                let message = format!("the consumer cannot go on: {}; start again", error.message());
                Error::new(ErrorKind::Closed, "bridge.receive", message).with_source(error)
            } else {
                error
            };
            return self.shared.fail(ended);
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |(_, last)| (last * 2).min(LONGEST_PAUSE));
        self.pause = self.shared.clock.now().checked_add(pause).map(|until| (until, pause));
        // A topic that is away may come back, so the bridge is told of something that may pass.
        let told = match topic_is_away && !error.is_retryable(true) {
            true => Error::new(ErrorKind::Unavailable, "bridge.receive", error.message().to_owned())
                .with_source(error),
            false => error,
        };
        self.shared.stumble(told);
    }

    /// The last commit, and out of the group.
    async fn leave(&self, open: usize, deadline: Option<Instant>) -> Result<()> {
        let now = self.shared.clock.now();
        let left = deadline.map_or(LAST_WORDS, |deadline| deadline.saturating_duration_since(now));
        let left = left.max(LAST_WORDS);
        let committed = tokio::select! {
            biased;
            failed = self.commit() => failed.map_or(Ok(()), Err),
            () = until(&self.shared, now.checked_add(left)) => Err(Error::new(
                ErrorKind::TimedOut,
                "bridge.source",
                "the last offsets were not committed in time; their records are read again",
            )),
        };
        let gone = self.consumer.close(left).await;
        if open > 0 {
            let message = format!(
                "{open} messages were not settled in time; they are not committed and are read again"
            );
            return Err(Error::new(ErrorKind::TimedOut, "bridge.source", message));
        }
        committed.and(gone)
    }
}

/// Waits for the poll that is under way, for ever where there is none.
async fn under_way(polling: &mut Option<BoxFuture<'static, Result<Polled>>>) -> Result<Polled> {
    match polling {
        Some(polling) => polling.await,
        None => std::future::pending().await,
    }
}

/// Waits for a time, for ever where there is none.
async fn until(shared: &Shared, at: Option<Instant>) {
    match at {
        Some(at) => shared.clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
