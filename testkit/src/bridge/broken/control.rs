//! What a caller sees: creating, destroying, rules, counts, health.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{
    BridgeConfig, BridgeId, BridgeMessage, BridgeMetrics, BridgeReason, BridgeReceipt, CommunicationBridge,
    Overflow, Protocol, RoutingRule, Unmatched,
};
use onex_spi::provider::Table;
use onex_spi::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MakeBridge;
use super::wrapper::{Bug, wrap};
use crate::broken::Broken;

pub(super) const BUGS: &[Broken<MakeBridge>] = &[
    Broken::new(
        "counts_routes_twice",
        "B1",
        &["bridge.metrics_add_up", "bridge.bridges_do_not_mix"],
        wrap::<CountsRoutesTwice>,
    ),
    Broken::new("forgets_bytes_when_quiet", "B1", &["bridge.metrics_add_up"], wrap::<ForgetsBytesWhenQuiet>),
    Broken::new("adds_up_all_bridges", "B1", &["bridge.bridges_do_not_mix"], wrap::<AddsUpAllBridges>),
    Broken::new("never_drops", "B2", &["bridge.unmatched_as_configured"], wrap::<NeverDrops>),
    Broken::new("last_rule_wins", "B4", &["bridge.routing_order_default"], wrap::<LastRuleWins>),
    Broken::new(
        "takes_rules_up_to_the_bad_one",
        "B4",
        &["bridge.ruleset_is_atomic"],
        wrap::<TakesRulesUpToTheBadOne>,
    ),
    Broken::new("tries_once_more", "B6", &["bridge.retries_exhausted"], wrap::<TriesOnceMore>),
    Broken::new(
        "hurries",
        "B6",
        &["bridge.retries_exhausted", "bridge.target_outage_heals"],
        wrap::<Hurries>,
    ),
    Broken::new("takes_a_byte_too_many", "B9", &["bridge.oversize_boundary"], wrap::<TakesAByteTooMany>),
    Broken::new(
        "waits_where_it_should_refuse",
        "B8",
        &["bridge.full_is_refused_where_configured"],
        wrap::<WaitsWhereItShouldRefuse>,
    ),
    Broken::new(
        "makes_room_where_there_is_none",
        "B10",
        &["bridge.refused_create_leaves_nothing"],
        wrap::<MakesRoom>,
    ),
    Broken::new(
        "destroys_without_drain",
        "B10",
        &["bridge.destroy_drains", "bridge.destroy_tells_what_it_cut", "bridge.dropped_destroy_goes_on"],
        wrap::<DestroysWithoutDrain>,
    ),
    Broken::new(
        "forgets_ended_ids",
        "B10",
        &[
            "bridge.lifecycle_errors",
            "bridge.close_ends_every_bridge",
            "bridge.destroy_drains",
            "bridge.dropped_destroy_goes_on",
        ],
        wrap::<ForgetsEndedIds>,
    ),
    Broken::new(
        "leaks_the_room_of_dropped_sends",
        "B11",
        &["bridge.cancel_leaks_nothing"],
        wrap::<LeaksRoom>,
    ),
    Broken::new(
        "shows_the_configuration",
        "B12",
        &["bridge.health_auth_redaction"],
        wrap::<ShowsTheConfiguration>,
    ),
    Broken::new(
        "tells_the_configuration",
        "B12",
        &["bridge.health_auth_redaction"],
        wrap::<TellsTheConfiguration>,
    ),
    Broken::new("loses_the_reply", "B", &["bridge.reply_reaches_the_caller"], wrap::<LosesTheReply>),
];

/// Names a bug that changes the configuration of every bridge.
macro_rules! changes_config {
    ($name:ident, $change:expr) => {
        #[derive(Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            async fn create(
                &self,
                good: &dyn CommunicationBridge,
                name: &str,
                ends: (Protocol, Protocol),
                mut config: BridgeConfig,
            ) -> Result<BridgeId> {
                let change: fn(&mut BridgeConfig) = $change;
                change(&mut config);
                good.create_bridge(name, ends.0, ends.1, config).await
            }
        }
    };
}

changes_config!(TriesOnceMore, |config| config.retry.max_attempts += 1);
changes_config!(Hurries, |config| config.retry.initial_backoff /= 2);
changes_config!(TakesAByteTooMany, |config| config.message_bytes += 1);
changes_config!(WaitsWhereItShouldRefuse, |config| config.overflow = Overflow::Wait);
changes_config!(MakesRoom, |config| config.in_flight = config.in_flight.max(1));
changes_config!(NeverDrops, |config| if config.unmatched == Unmatched::Drop {
    config.unmatched = Unmatched::DefaultRoute;
});

/// Names a bug that changes every snapshot of the counters.
macro_rules! changes_metrics {
    ($name:ident, $change:expr) => {
        #[derive(Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            fn metrics(&self, good: &dyn CommunicationBridge, id: BridgeId) -> Result<BridgeMetrics> {
                let change: fn(&dyn CommunicationBridge, &mut BridgeMetrics) = $change;
                let mut metrics = good.bridge_metrics(id)?;
                change(good, &mut metrics);
                Ok(metrics)
            }
        }
    };
}

changes_metrics!(CountsRoutesTwice, |_, metrics| metrics.routes.values_mut().for_each(|count| *count *= 2));
changes_metrics!(ForgetsBytesWhenQuiet, |_, metrics| if metrics.ledger.in_flight == 0 {
    metrics.bytes = 0;
});
changes_metrics!(AddsUpAllBridges, |good, metrics| {
    let all = good.all_bridges().into_iter().filter_map(|info| good.bridge_metrics(info.id).ok());
    *metrics = all.fold(BridgeMetrics::default(), |mut sum, one| {
        sum.ledger.received += one.ledger.received;
        sum.ledger.delivered += one.ledger.delivered;
        sum.ledger.dead_lettered += one.ledger.dead_lettered;
        sum.ledger.failed += one.ledger.failed;
        sum.ledger.filtered += one.ledger.filtered;
        sum.ledger.in_flight += one.ledger.in_flight;
        one.routes.into_iter().for_each(|(route, count)| *sum.routes.entry(route).or_default() += count);
        one.dead_reasons
            .into_iter()
            .for_each(|(reason, count)| *sum.dead_reasons.entry(reason).or_default() += count);
        sum.retries += one.retries;
        sum.rule_errors += one.rule_errors;
        sum.bytes += one.bytes;
        sum.busy += one.busy;
        sum
    });
});

#[derive(Default)]
struct LastRuleWins;

#[async_trait]
impl Bug for LastRuleWins {
    async fn create(
        &self,
        good: &dyn CommunicationBridge,
        name: &str,
        ends: (Protocol, Protocol),
        mut config: BridgeConfig,
    ) -> Result<BridgeId> {
        config.rules.reverse();
        good.create_bridge(name, ends.0, ends.1, config).await
    }

    fn configure(
        &self,
        good: &dyn CommunicationBridge,
        id: BridgeId,
        mut rules: Vec<RoutingRule>,
    ) -> Result<()> {
        rules.reverse();
        good.configure_bridge_routing(id, rules)
    }
}

#[derive(Default)]
struct TakesRulesUpToTheBadOne;

#[async_trait]
impl Bug for TakesRulesUpToTheBadOne {
    fn configure(
        &self,
        good: &dyn CommunicationBridge,
        id: BridgeId,
        mut rules: Vec<RoutingRule>,
    ) -> Result<()> {
        good.configure_bridge_routing(id, rules.clone()).inspect_err(|error| {
            let fault = error.bridge().filter(|fault| fault.reason == BridgeReason::InvalidRule);
            if let Some(bad) = fault.and_then(|fault| fault.rule) {
                rules.truncate(bad - 1);
                // The caller is told of the refusal either way.
                let _ = good.configure_bridge_routing(id, rules);
            }
        })
    }
}

#[derive(Default)]
struct DestroysWithoutDrain;

#[async_trait]
impl Bug for DestroysWithoutDrain {
    async fn destroy(&self, good: &dyn CommunicationBridge, id: BridgeId, _: Duration) -> Result<()> {
        match good.destroy_bridge(id, Duration::ZERO).await {
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
            destroyed => destroyed,
        }
    }
}

#[derive(Default)]
struct ForgetsEndedIds;

#[async_trait]
impl Bug for ForgetsEndedIds {
    async fn send(
        &self,
        good: &dyn CommunicationBridge,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        good.send_message_through_bridge(id, message).await.map_err(|error| match error.kind() {
            ErrorKind::Closed if error.bridge().map(|fault| fault.reason) != Some(BridgeReason::Drained) => {
                Error::new(ErrorKind::NotFound, "bridge.send", format!("there is no {id}")).not_applied()
            }
            _ => error,
        })
    }
}

/// Room for callers beside the good bridge's, that a dropped send never gives back.
#[derive(Default)]
struct LeaksRoom(Mutex<BTreeMap<BridgeId, (Arc<Semaphore>, Overflow)>>);

struct Leak(Option<OwnedSemaphorePermit>);

impl Drop for Leak {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.forget();
        }
    }
}

#[async_trait]
impl Bug for LeaksRoom {
    async fn create(
        &self,
        good: &dyn CommunicationBridge,
        name: &str,
        ends: (Protocol, Protocol),
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        let room = (Arc::new(Semaphore::new(config.in_flight)), config.overflow);
        let id = good.create_bridge(name, ends.0, ends.1, config).await?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, room);
        Ok(id)
    }

    async fn send(
        &self,
        good: &dyn CommunicationBridge,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        let room = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let permit = match room {
            Some((room, Overflow::Wait)) => room.acquire_owned().await.ok(),
            _ => None,
        };
        let mut leak = Leak(permit);
        let answer = good.send_message_through_bridge(id, message).await;
        drop(leak.0.take());
        answer
    }
}

/// Keeps the configurations of the targets and shows them.
#[derive(Default)]
struct ShowsTheConfiguration(Mutex<Vec<Table>>);

#[async_trait]
impl Bug for ShowsTheConfiguration {
    fn show(&self, good: &dyn CommunicationBridge, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{good:?} {:?}", self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn create(
        &self,
        good: &dyn CommunicationBridge,
        name: &str,
        ends: (Protocol, Protocol),
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(config.target.clone());
        good.create_bridge(name, ends.0, ends.1, config).await
    }
}

/// Tells the configuration that it refuses.
#[derive(Default)]
struct TellsTheConfiguration;

#[async_trait]
impl Bug for TellsTheConfiguration {
    async fn create(
        &self,
        good: &dyn CommunicationBridge,
        name: &str,
        ends: (Protocol, Protocol),
        config: BridgeConfig,
    ) -> Result<BridgeId> {
        let shown = format!("{:?}", config.target);
        good.create_bridge(name, ends.0, ends.1, config).await.map_err(|error| {
            let message = format!("{} in {shown}", error.message());
            let told = Error::new(error.kind(), error.operation(), message).with_effect(error.effect());
            told.with_detail(error.detail().clone())
        })
    }
}

#[derive(Default)]
struct LosesTheReply;

#[async_trait]
impl Bug for LosesTheReply {
    async fn send(
        &self,
        good: &dyn CommunicationBridge,
        id: BridgeId,
        message: BridgeMessage,
    ) -> Result<BridgeReceipt> {
        let mut receipt = good.send_message_through_bridge(id, message).await?;
        receipt.reply = None;
        Ok(receipt)
    }
}
