//! Bugs of commits.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{Commit, ConsumerDriver, KafkaDriver, NextOffsets, PollRequest, Polled};
use onex_spi::{ErrorKind, Result};

use super::wrapper::{Bug, Good, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn KafkaDriver>] = &[
    Broken::new(
        "commits_the_last_offset",
        "K6",
        &[
            "kafka.offsets_are_next",
            "kafka.commit_is_per_partition",
            "kafka.commit_refusals",
            "kafka.handover_point",
            "kafka.commit_in_revoked",
            "kafka.subscription_changes",
            "kafka.group_info",
            "kafka.groups_are_independent",
            "kafka.cancelled_commit_is_one_of_those_asked",
        ],
        wrap::<CommitsTheLastOffset>,
    ),
    Broken::new(
        "commits_every_partition",
        "K7",
        &["kafka.commit_is_per_partition", "kafka.handover_point"],
        wrap::<CommitsEveryPartition>,
    ),
    Broken::new(
        "commits_on_close",
        "K7",
        &[
            "kafka.no_hidden_commit",
            "kafka.commit_is_per_partition",
            "kafka.handover_point",
            "kafka.consumer_close_then_closed",
        ],
        wrap::<CommitsOnClose>,
    ),
    Broken::new("says_ok_to_a_lower_commit", "K7", &["kafka.commit_refusals"], wrap::<SaysOkToALowerCommit>),
    Broken::new(
        "says_ok_to_a_foreign_commit",
        "K7",
        &["kafka.commit_refusals"],
        wrap::<SaysOkToAForeignCommit>,
    ),
];

type GoodConsumer<S> = Good<dyn ConsumerDriver, S>;

#[derive(Debug)]
struct CommitsTheLastOffset;

#[async_trait]
impl Bug for CommitsTheLastOffset {
    type State = ();

    async fn commit(good: &GoodConsumer<()>, commit: &Commit) -> Result<()> {
        let mut commit = commit.clone();
        commit.next.values_mut().for_each(|next| *next -= 1);
        good.it.commit(&commit).await
    }
}

#[derive(Debug)]
struct CommitsEveryPartition;

#[async_trait]
impl Bug for CommitsEveryPartition {
    type State = ();

    async fn commit(good: &GoodConsumer<()>, commit: &Commit) -> Result<()> {
        let mut commit = commit.clone();
        if commit.next.is_empty() {
            return good.it.commit(&commit).await;
        }
        for partition in good.it.assignment() {
            let end = good.it.watermarks(&partition).await?.high;
            commit.next.entry(partition).or_insert(end);
        }
        good.it.commit(&commit).await
    }
}

#[derive(Debug)]
struct CommitsOnClose;

#[async_trait]
impl Bug for CommitsOnClose {
    type State = Mutex<NextOffsets>;

    async fn poll(good: &GoodConsumer<Self::State>, request: PollRequest) -> Result<Polled> {
        let polled = good.it.poll(request).await?;
        if let Polled::Records(messages) = &polled {
            let mut read = good.state.lock().unwrap_or_else(PoisonError::into_inner);
            read.extend(NextOffsets::after(messages).iter().map(|(at, next)| (at.clone(), *next)));
        }
        Ok(polled)
    }

    async fn close_consumer(good: &GoodConsumer<Self::State>, within: Duration) -> Result<()> {
        let mut read = good.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let owned = good.it.assignment();
        let committed = good.it.committed(&owned).await.unwrap_or_default();
        read.retain(|at, _| owned.contains(at) && !committed.contains_key(at));
        // What this commit meets is nothing that a close may tell.
        drop(good.it.commit(&Commit::new(read)).await);
        good.it.close(within).await
    }
}

#[derive(Debug)]
struct SaysOkToALowerCommit;

#[async_trait]
impl Bug for SaysOkToALowerCommit {
    type State = ();

    async fn commit(good: &GoodConsumer<()>, commit: &Commit) -> Result<()> {
        swallow(ErrorKind::InvalidInput, good.it.commit(commit).await)
    }
}

#[derive(Debug)]
struct SaysOkToAForeignCommit;

#[async_trait]
impl Bug for SaysOkToAForeignCommit {
    type State = ();

    async fn commit(good: &GoodConsumer<()>, commit: &Commit) -> Result<()> {
        swallow(ErrorKind::Conflict, good.it.commit(commit).await)
    }
}

fn swallow(kind: ErrorKind, answer: Result<()>) -> Result<()> {
    match answer {
        Err(error) if error.kind() == kind => Ok(()),
        answer => answer,
    }
}
