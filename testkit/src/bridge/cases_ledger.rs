//! Counts that add up.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::bridge::{
    BridgeId, BridgeMessage, BridgeMetrics, BridgeReceipt, CommunicationBridge, DeadReason, Disposition,
    RoutingRule,
};
use onex_spi::{Clock, ErrorKind, Result};
use tokio::sync::watch;

use super::world::{Source, World, broken, down, id, json, never, numbered};
use super::{Fate, case};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("bridge.metrics_add_up", ["B1"], ["ONEX-BR-06", "ONEX-BR-14", "ONEX-BR-15"], metrics_add_up),
    case!("bridge.bridges_do_not_mix", ["B1"], ["ONEX-BR-15", "ONEX-BR-19"], bridges_do_not_mix),
];

/// Checks one snapshot by itself and against the one before.
fn adds_up(now: &BridgeMetrics, before: &BridgeMetrics) -> CaseResult {
    let ledger = now.ledger;
    ensure!("B1", ledger.balanced(), "the ledger does not add up: {ledger:?}");
    ensure_eq!(
        "B1",
        now.routes.values().sum::<u64>(),
        ledger.delivered,
        "the sum over the routes, delivered"
    );
    let dead: u64 = now.dead_reasons.values().sum();
    ensure_eq!("B1", dead, ledger.dead_lettered, "the sum over the reasons, dead-lettered");
    let counters = |metrics: &BridgeMetrics| {
        let ledger = metrics.ledger;
        let settled = [ledger.delivered, ledger.dead_lettered, ledger.failed, ledger.filtered];
        [
            ledger.received,
            settled[0],
            settled[1],
            settled[2],
            settled[3],
            metrics.retries,
            metrics.rule_errors,
            metrics.bytes,
        ]
    };
    let fell = counters(now).iter().zip(counters(before)).any(|(now, before)| *now < before);
    ensure!("B1", !fell && now.busy >= before.busy, "a counter fell: {before:?}, then {now:?}");
    Ok(())
}

/// Looks at every snapshot that it can get until told to stop.
async fn watch_it(
    port: Arc<dyn CommunicationBridge>,
    bridge: BridgeId,
    stop: watch::Receiver<bool>,
) -> CaseResult {
    let mut before = BridgeMetrics::default();
    while !*stop.borrow() {
        let now = port.bridge_metrics(bridge)?;
        adds_up(&now, &before)?;
        before = now;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What becomes of the `number`th message of the mixed run: its payload says it.
fn mixed(number: usize) -> BridgeMessage {
    match number % 6 {
        0 | 1 => json(number, "\"kind\": \"a\""),
        2 => json(number, "\"kind\": \"b\""),
        // A rule reads a field of it, and it has none: no rule can decide about it.
        3 => BridgeMessage::new(id(number), "[1]"),
        4 => BridgeMessage::new(id(number), "{\"kind\":"),
        _ => json(number, "\"kind\": \"unknown\""),
    }
}

/// What the callers were told, as a ledger and its sums.
fn tally(answers: &[Result<BridgeReceipt>]) -> BridgeMetrics {
    let mut told = BridgeMetrics::default();
    told.ledger.received = answers.len() as u64;
    for answer in answers {
        match answer.as_ref().map(|receipt| &receipt.disposition) {
            Ok(Disposition::Delivered(route)) => {
                told.ledger.delivered += 1;
                *told.routes.entry(Arc::clone(route)).or_default() += 1;
            }
            Ok(Disposition::DeadLettered(reason)) => {
                told.ledger.dead_lettered += 1;
                *told.dead_reasons.entry(reason.as_str()).or_default() += 1;
            }
            Ok(Disposition::Filtered) => told.ledger.filtered += 1,
            _ => told.ledger.failed += 1,
        }
    }
    told
}

async fn metrics_add_up(world: World) -> CaseResult {
    const ALL: usize = 600;
    let line = world.line("mixed").await?;
    let rules = vec![
        RoutingRule::new("payload.kind == 'a'", &line.a),
        RoutingRule::new("payload.kind == 'b'", &line.b),
    ];
    let bridge = world.create(&line, line.config.clone().with_rules(rules)).await?;
    let (b, dead) = (line.b.clone(), line.dead.clone());
    // `a` heals before the second attempt, `b` never; the dead letters of what is no JSON are refused.
    let heals = world.clock.now() + Duration::from_millis(10);
    world.tap.script(move |attempt| match attempt.route {
        route if route == b => Fate::Refuse(down()),
        route if route == dead => match attempt.message.header("onex-dead-reason") {
            Some(reason) if *reason == *DeadReason::DecodeError.as_str() => {
                Fate::Refuse(never(ErrorKind::PermissionDenied))
            }
            _ => Fate::Pass,
        },
        _ if attempt.at < heals => Fate::Refuse(down()),
        _ => Fate::Pass,
    });
    let stop = watch::Sender::new(false);
    let watcher = tokio::spawn(watch_it(Arc::clone(&world.bridge), bridge, stop.subscribe()));
    let sends = world.begin(bridge, (0..ALL).map(mixed).collect());
    let done = || Ok(watcher.is_finished() || sends.finished() == ALL);
    let passed = world.let_pass("B1", "everything is settled", Duration::from_secs(60), done).await;
    stop.send_replace(true);
    watcher.await.map_err(|error| broken("", format!("the watcher: {error}")))??;
    passed?;
    let told = tally(&sends.answers("B1").await?);
    ensure!(
        "B1",
        told.ledger.delivered > 0 && told.dead_reasons.len() > 1,
        "the run was not mixed: {told:?}"
    );

    let metrics = world.bridge.bridge_metrics(bridge)?;
    adds_up(&metrics, &BridgeMetrics::default())?;
    ensure_eq!("B1", metrics.ledger, told.ledger, "the ledger and what the callers were told");
    let mut counted = metrics.clone();
    counted.routes.retain(|_, count| *count > 0);
    counted.dead_reasons.retain(|_, count| *count > 0);
    ensure_eq!("B1", counted.routes, told.routes, "the routes and what the callers were told");
    ensure_eq!("B1", counted.dead_reasons, told.dead_reasons, "the reasons and what the callers were told");
    ensure_eq!("B1", metrics.rule_errors, ALL as u64 / 6, "rule errors");
    let bytes: usize = (0..ALL).map(|number| mixed(number).payload.len()).sum();
    ensure_eq!("B1", metrics.bytes, bytes as u64, "bytes");
    let processed = world.bridge.bridge_status(bridge)?.messages_processed;
    ensure_eq!("B1", processed, ALL as u64, "messages processed, as the status says");
    Ok(())
}

async fn bridges_do_not_mix(world: World) -> CaseResult {
    let (one, two) = (world.line("one").await?, world.line("two").await?);
    let first = world.create(&one, one.all_to_a()).await?;
    let second = world.create(&two, two.all_to_a()).await?;
    world.offer(&one, numbered(0..10)).await?;
    world.offer(&two, numbered(10..30)).await?;
    let sends = [
        world.send_all("B1", first, numbered(30..40)).await?,
        world.send_all("B1", second, numbered(40..45)).await?,
    ];
    ensure!("B1", sends.iter().flatten().all(Result::is_ok), "sends: {sends:?}");
    world.quiet("B1", first, 20).await?;
    world.quiet("B1", second, 25).await?;
    for (bridge, line, due) in [(first, &one, 20), (second, &two, 25)] {
        let metrics = world.bridge.bridge_metrics(bridge)?;
        adds_up(&metrics, &BridgeMetrics::default())?;
        ensure_eq!("B1", (metrics.ledger.received, metrics.ledger.delivered), (due, due), "of {}", line.name);
        ensure_eq!("B1", world.arrived(&line.a).await?.len() as u64, due, "arrivals of {}", line.name);
    }
    Ok(())
}
