//! What a bridge makes of its ends: their errors, their end, their silence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::poll_immediate;
use onex_spi::bridge::{BridgeSource, BridgeTarget};
use onex_spi::{Error, ErrorKind, Health, Result};

use super::MakeBridge;
use super::wrapper::{Bug, Taken, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<MakeBridge>] = &[
    Broken::new(
        "takes_an_error_of_its_source_for_its_end",
        "B",
        &["bridge.source_error_passes", "bridge.source_fails_for_good"],
        wrap::<TakesErrorsForTheEnd>,
    ),
    Broken::new(
        "hopes_for_a_source_that_failed_for_good",
        "B",
        &["bridge.source_fails_for_good"],
        wrap::<HopesOn>,
    ),
    Broken::new("asks_again_after_the_end", "B", &["bridge.source_ends"], wrap::<AsksAgain>),
    Broken::new(
        "takes_silence_for_health",
        "B",
        &["bridge.health_answers_in_time"],
        wrap::<TakesSilenceForHealth>,
    ),
];

#[derive(Default)]
struct TakesErrorsForTheEnd;

#[async_trait]
impl Bug for TakesErrorsForTheEnd {
    async fn receive(
        &self,
        good: &Arc<dyn BridgeSource>,
        _: &Mutex<VecDeque<Taken>>,
        max: usize,
        into: &mut Vec<Taken>,
    ) -> Result<usize> {
        Ok(good.receive(max, into).await.unwrap_or(0))
    }
}

#[derive(Default)]
struct HopesOn;

#[async_trait]
impl Bug for HopesOn {
    async fn receive(
        &self,
        good: &Arc<dyn BridgeSource>,
        _: &Mutex<VecDeque<Taken>>,
        max: usize,
        into: &mut Vec<Taken>,
    ) -> Result<usize> {
        good.receive(max, into)
            .await
            .map_err(|error| Error::new(ErrorKind::Unavailable, "bridge.receive", error.message().to_owned()))
    }
}

#[derive(Default)]
struct AsksAgain;

#[async_trait]
impl Bug for AsksAgain {
    async fn receive(
        &self,
        good: &Arc<dyn BridgeSource>,
        _: &Mutex<VecDeque<Taken>>,
        max: usize,
        into: &mut Vec<Taken>,
    ) -> Result<usize> {
        match good.receive(max, into).await? {
            0 => good.receive(max, into).await,
            taken => Ok(taken),
        }
    }
}

#[derive(Default)]
struct TakesSilenceForHealth;

#[async_trait]
impl Bug for TakesSilenceForHealth {
    async fn target_health(&self, good: &dyn BridgeTarget) -> Health {
        poll_immediate(good.health()).await.unwrap_or(Health::Healthy)
    }
}
