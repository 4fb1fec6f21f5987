//! Sources that fail and end.

use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::bridge::BridgeState;

use super::case;
use super::world::{Source, World, delivered, down, json, never, numbered, until};
use crate::ensure_eq;
use crate::suite::{Case, CaseResult};

pub(super) const CASES: &[Case<Source>] = &[
    case!("bridge.source_error_passes", ["B"], ["ONEX-BR-05", "ONEX-BR-14"], source_error_passes),
    case!("bridge.source_fails_for_good", ["B"], ["ONEX-BR-05", "ONEX-BR-14"], source_fails_for_good),
    case!("bridge.source_ends", ["B"], ["ONEX-BR-14"], source_ends),
];

async fn source_error_passes(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.fail_source(&line.name, down());
    let told = || Ok(world.bridge.bridge_status(bridge)?.last_error.is_some());
    until("B", "the error of the source is told", told).await?;
    world.offer(&line, numbered(0..5)).await?;
    let all = || Ok(world.ledger(bridge)?.delivered == 5);
    world.let_pass("B", "the source is read again", Duration::from_secs(60), all).await?;
    let status = world.bridge.bridge_status(bridge)?;
    ensure_eq!("B", status.state, BridgeState::Running, "the state after an error that passed");
    ensure_eq!("B", world.arrived(&line.a).await?.len(), 5, "arrivals");
    Ok(())
}

async fn source_fails_for_good(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.fail_source(&line.name, never(ErrorKind::PermissionDenied));
    let failed = || Ok(world.bridge.bridge_status(bridge)?.state == BridgeState::Failed);
    until("B", "the bridge is Failed", failed).await?;
    let why = world.bridge.bridge_status(bridge)?.last_error.map(|error| error.kind());
    ensure_eq!("B", why, Some(ErrorKind::PermissionDenied), "why");
    delivered("B", &world.send("B", bridge, json(0, "")).await?, &line.a, "a send without a source")
}

async fn source_ends(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.end_source(&line.name);
    let ended = || Ok(world.bridge.bridge_status(bridge)?.state == BridgeState::Ended);
    until("B", "the bridge is Ended", ended).await?;
    delivered("B", &world.send("B", bridge, json(0, "")).await?, &line.a, "a send without a source")?;
    super::world::within("B", "the destroy", world.bridge.destroy_bridge(bridge, super::world::DRAIN))
        .await??;
    Ok(())
}
