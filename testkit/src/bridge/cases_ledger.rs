//! Counts that add up.

use std::sync::Arc;
use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::bridge::{
    BridgeId, BridgeMessage, BridgeMetrics, CommunicationBridge, DeadReason, RoutingRule,
};
use tokio::sync::watch;

use super::world::{Source, World, down, id, json, never, numbered};
use super::{Fate, case};
use crate::suite::{Case, CaseResult, Stop};
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

async fn metrics_add_up(world: World) -> CaseResult {
    const ALL: usize = 600;
    const SHARE: u64 = ALL as u64 / 6;
    let line = world.line("mixed").await?;
    let rules = vec![
        RoutingRule::new("payload.kind == 'a'", &line.a),
        RoutingRule::new("payload.kind == 'b'", &line.b),
    ];
    let bridge = world.create(&line, line.config.clone().with_rules(rules)).await?;
    let (b, dead) = (line.b.clone(), line.dead.clone());
    // `a` answers at the second attempt, `b` never; of the dead letters those without a route are refused.
    world.tap.script(move |attempt| match attempt.route {
        route if route == b => Fate::Refuse(down()),
        route if route == dead => match attempt.message.header("onex-dead-reason") {
            Some(reason) if *reason == *DeadReason::NoRoute.as_str() => {
                Fate::Refuse(never(ErrorKind::PermissionDenied))
            }
            _ => Fate::Pass,
        },
        _ if attempt.attempt == 1 => Fate::Refuse(down()),
        _ => Fate::Pass,
    });
    let stop = watch::Sender::new(false);
    let watcher = tokio::spawn(watch_it(Arc::clone(&world.bridge), bridge, stop.subscribe()));
    let (called, offered) = (0..ALL / 2, ALL / 2..ALL);
    world.offer(&line, offered.map(mixed).collect()).await?;
    let sends = world.begin(bridge, called.map(mixed).collect());
    let done = || {
        let ledger = world.ledger(bridge)?;
        Ok(watcher.is_finished() || ledger.received == ALL as u64 && ledger.in_flight == 0)
    };
    let passed = world.let_pass("B1", "everything is settled", Duration::from_secs(60), done).await;
    stop.send_replace(true);
    let seen = watcher.await;
    seen.map_err(|error| super::world::broken("", format!("the watcher: {error}")))??;
    passed?;
    let answers = sends.answers("B1").await?;

    let metrics = world.bridge.bridge_metrics(bridge)?;
    adds_up(&metrics, &BridgeMetrics::default())?;
    let ledger = metrics.ledger;
    let totals = [ledger.received, ledger.delivered, ledger.dead_lettered, ledger.failed, ledger.filtered];
    ensure_eq!(
        "B1",
        totals,
        [ALL as u64, 2 * SHARE, 3 * SHARE, SHARE, 0],
        "received, delivered, dead, failed, filtered"
    );
    let routes: Vec<_> = metrics.routes.iter().filter(|(_, count)| **count > 0).collect();
    ensure_eq!("B1", routes, [(&Arc::from(line.a.as_str()), &(2 * SHARE))], "the routes");
    let reasons = [DeadReason::DecodeError, DeadReason::RetriesExhausted, DeadReason::RuleError];
    for reason in reasons {
        ensure_eq!(
            "B1",
            metrics.dead_reasons.get(reason.as_str()),
            Some(&SHARE),
            "dead letters for {reason}"
        );
    }
    ensure_eq!("B1", metrics.rule_errors, SHARE, "rule errors");
    ensure_eq!("B1", metrics.retries, 2 * SHARE + 3 * SHARE, "retries");
    let bytes: usize = (0..ALL).map(|number| mixed(number).payload.len()).sum();
    ensure_eq!("B1", metrics.bytes, bytes as u64, "bytes");
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    ensure_eq!("B1", failed as u64, SHARE / 2, "sends that failed");
    let processed = world.bridge.bridge_status(bridge)?.messages_processed;
    ensure_eq!("B1", processed, ALL as u64, "messages processed, as the status says");
    Ok::<_, Stop>(())
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
    let ids = (0..10).chain(30..40).map(id).collect::<Vec<_>>();
    if world.has(super::EndsFeature::OfferedIds) {
        let arrived = world.arrived(&one.a).await?;
        ensure!(
            "B1",
            arrived.iter().all(|message| ids.contains(&message.id)),
            "messages of the other bridge"
        );
    }
    Ok(())
}
