//! Bugs of a member of a group.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::Result;
use onex_spi::kafka::{ConsumerDriver, KafkaDriver, PollRequest, Polled};

use super::wrapper::{Bug, Good, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<dyn KafkaDriver>] = &[
    Broken::new(
        "releases_too_soon",
        "K8",
        &[
            "kafka.two_members_share",
            "kafka.handover_point",
            "kafka.commit_in_revoked",
            "kafka.subscription_changes",
        ],
        wrap::<ReleasesTooSoon>,
    ),
    Broken::new(
        "never_says_that_it_releases",
        "K8",
        &[
            "kafka.two_members_share",
            "kafka.handover_point",
            "kafka.commit_in_revoked",
            "kafka.subscription_changes",
        ],
        wrap::<NeverSaysThatItReleases>,
    ),
];

/// Polls on behind, so that what is told to be going is gone.
#[derive(Debug)]
struct ReleasesTooSoon;

#[async_trait]
impl Bug for ReleasesTooSoon {
    type State = Mutex<Option<Result<Polled>>>;

    async fn poll(good: &Good<dyn ConsumerDriver, Self::State>, request: PollRequest) -> Result<Polled> {
        let kept = good.state.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(kept) = kept {
            return kept;
        }
        let polled = good.it.poll(request).await?;
        if matches!(polled, Polled::Revoking(_)) {
            let next = good.it.poll(PollRequest::new(1, Duration::ZERO)).await;
            *good.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        }
        Ok(polled)
    }
}

#[derive(Debug)]
struct NeverSaysThatItReleases;

#[async_trait]
impl Bug for NeverSaysThatItReleases {
    type State = ();

    async fn poll(good: &Good<dyn ConsumerDriver, ()>, request: PollRequest) -> Result<Polled> {
        loop {
            match good.it.poll(request).await? {
                Polled::Revoking(_) | Polled::Lost(_) => {}
                polled => return Ok(polled),
            }
        }
    }
}
