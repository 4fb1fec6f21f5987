//! How a bridge ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use onex_spi::bridge::{BridgeId, BridgeReason, BridgeState, Disposition, Overflow};
use onex_spi::{Effect, ErrorKind, Result};

use super::world::{DRAIN, Source, World, broken, delivered, failed, json, numbered, refused, until, within};
use super::{Fate, case};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("bridge.destroy_drains", ["B10"], ["ONEX-BR-09", "ONEX-BR-14"], destroy_drains),
    case!("bridge.destroy_tells_what_it_cut", ["B10", "B5"], ["ONEX-BR-09"], destroy_tells_what_it_cut),
    case!("bridge.dropped_destroy_goes_on", ["B10"], ["ONEX-BR-09"], dropped_destroy_goes_on),
];

type Destroy = tokio::task::JoinHandle<Result<()>>;

/// Begins to destroy, and waits until the bridge drains.
async fn destroying(world: &World, bridge: BridgeId, time: Duration) -> Result<Destroy, crate::suite::Stop> {
    let port = Arc::clone(&world.bridge);
    let destroy = tokio::spawn(async move { port.destroy_bridge(bridge, time).await });
    until("B10", "the bridge drains", || match world.bridge.bridge_status(bridge) {
        Ok(status) => Ok(status.state == BridgeState::Draining),
        Err(error) => Err(broken("B10", format!("a bridge with messages in flight is gone: {error:#}"))),
    })
    .await?;
    Ok(destroy)
}

async fn ended(destroy: Destroy) -> Result<Result<()>, crate::suite::Stop> {
    let ended = within("B10", "the destroy", destroy).await?;
    ended.map_err(|error| broken("", format!("the destroy: {error}")))
}

async fn destroy_drains(world: World) -> CaseResult {
    const EACH: usize = 50;
    let line = world.line("drains").await?;
    let bridge = world.create(&line, line.all_to_a().with_in_flight(4 * EACH, Overflow::Wait)).await?;
    world.tap.script(|_| Fate::After(Duration::from_secs(1)));
    world.offer(&line, numbered(0..EACH)).await?;
    let sends = world.begin(bridge, numbered(EACH..2 * EACH));
    until("B10", "all are taken", || Ok(world.ledger(bridge)?.in_flight == 2 * EACH as u64)).await?;

    let destroy = destroying(&world, bridge, DRAIN).await?;
    refused(
        "B10",
        world.send("B10", bridge, json(2 * EACH, "")).await?,
        ErrorKind::Closed,
        "a send while it drains",
    )?;
    ensure!("B10", !destroy.is_finished(), "the destroy did not wait for what is in flight");
    // Never as far as the end of the drain: what is slow is in time.
    let in_time = DRAIN - Duration::from_millis(1);
    world.let_pass("B10", "the destroy ends", in_time, || Ok(destroy.is_finished())).await?;
    ended(destroy).await??;
    for answer in sends.answers("B10").await? {
        delivered("B10", &answer, &line.a, "a send in flight at the destroy")?;
    }
    let settled = world.settled();
    let delivered_tags: BTreeSet<_> = settled
        .iter()
        .filter(|one| matches!(one.disposition, Disposition::Delivered(_)))
        .map(|one| one.tag)
        .collect();
    ensure_eq!(
        "B10",
        delivered_tags.len(),
        EACH,
        "the messages of the source that it was told to be delivered"
    );
    ensure_eq!("B10", world.arrived(&line.a).await?.len(), 2 * EACH, "arrivals");
    refused(
        "B10",
        world.send("B10", bridge, json(2 * EACH, "")).await?,
        ErrorKind::Closed,
        "a send afterwards",
    )?;
    within("B10", "destroying again", world.bridge.destroy_bridge(bridge, DRAIN)).await??;
    Ok(())
}

async fn destroy_tells_what_it_cut(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.script(|_| Fate::Hold);
    world.offer(&line, numbered(0..5)).await?;
    let sends = world.begin(bridge, numbered(5..15));
    until("B10", "all are taken", || Ok(world.ledger(bridge)?.in_flight == 15)).await?;
    let destroy = destroying(&world, bridge, DRAIN).await?;
    world.let_pass("B10", "the destroy ends in its time", DRAIN, || Ok(destroy.is_finished())).await?;
    let error = failed("B10", ended(destroy).await?, "a destroy that cut messages off")?;
    ensure_eq!("B10", error.kind(), ErrorKind::TimedOut, "the destroy's error");
    for answer in sends.answers("B10").await? {
        let error = failed("B10", answer, "a send that was cut off")?;
        let reason = error.bridge().map(|fault| fault.reason);
        let told = (reason, error.effect());
        ensure_eq!("B10", told, (Some(BridgeReason::Drained), Effect::Unknown), "what its caller is told");
    }
    until("B10", "the source is told of its five", || Ok(world.settled().len() >= 5)).await?;
    let told = world.settled().iter().all(|one| matches!(one.disposition, Disposition::Failed(_)));
    ensure!("B5", told, "the source was told {:?}", world.settled());
    refused("B10", world.bridge.bridge_status(bridge), ErrorKind::Closed, "the status afterwards")?;
    world.tap.release();
    Ok(())
}

async fn dropped_destroy_goes_on(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.script(|_| Fate::Hold);
    let sends = world.begin(bridge, numbered(0..5));
    until("B10", "all are taken", || Ok(world.ledger(bridge)?.in_flight == 5)).await?;
    let first = destroying(&world, bridge, DRAIN).await?;
    first.abort();
    // It is cancelled; there is nothing else to hear from it.
    drop(first.await);
    refused(
        "B10",
        world.send("B10", bridge, json(5, "")).await?,
        ErrorKind::Closed,
        "a send while it drains",
    )?;
    let second = destroying(&world, bridge, DRAIN).await?;
    ensure!("B10", !second.is_finished(), "the second destroy did not wait for the first");
    world.tap.release();
    ended(second).await??;
    for answer in sends.answers("B10").await? {
        delivered("B10", &answer, &line.a, "a send in flight at the dropped destroy")?;
    }
    refused("B10", world.bridge.bridge_status(bridge), ErrorKind::Closed, "the status afterwards")?;
    Ok(())
}
