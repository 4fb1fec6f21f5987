//! Which way a message takes.

use onex_spi::ErrorKind;
use onex_spi::bridge::{BridgeReason, DeadReason, Disposition, RoutingRule, Unmatched};

use super::case;
use super::world::{Source, World, broken, buried, delivered, id, json, refused, until};
use crate::suite::{Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "bridge.routing_order_default",
        ["B4", "B2"],
        ["ONEX-BR-03", "ONEX-BR-11", "ONEX-BR-17", "ONEX-BR-18"],
        routing_order_default
    ),
    case!("bridge.unmatched_as_configured", ["B2", "B1"], ["ONEX-BR-18"], unmatched_as_configured),
    case!("bridge.ruleset_is_atomic", ["B4"], ["ONEX-BR-16", "ONEX-BR-17"], ruleset_is_atomic),
    case!("bridge.rule_runtime_error", ["B4", "B2"], ["ONEX-BR-17", "ONEX-BR-18"], rule_runtime_error),
    case!("bridge.reconfigure_under_load", ["B4", "B2"], ["ONEX-BR-16"], reconfigure_under_load),
];

async fn routing_order_default(world: World) -> CaseResult {
    let otherwise = world.ends.route("otherwise").await?;
    let (with, without) = (world.line("with").await?, world.line("without").await?);
    let rules = |line: &super::world::Line| {
        vec![RoutingRule::new("payload.kind == 'x'", &line.a), RoutingRule::new("payload.n > 0", &line.b)]
    };
    let config = with.config.clone().with_rules(rules(&with)).with_default_route(&otherwise);
    let bridge = world.create(&with, config).await?;
    let (both, none) = ("\"kind\": \"x\", \"n\": 1", "\"kind\": \"y\", \"n\": 0");
    delivered("B4", &world.send("B4", bridge, json(0, both)).await?, &with.a, "what both rules take")?;
    delivered("B2", &world.send("B2", bridge, json(1, none)).await?, &otherwise, "what no rule takes")?;
    let second = json(2, "\"kind\": \"y\", \"n\": 1");
    delivered("B4", &world.send("B4", bridge, second).await?, &with.b, "what the second rule takes")?;
    ensure!("B2", world.dead(&with).await?.is_empty(), "a dead letter where each had its way");

    let bridge = world.create(&without, without.config.clone().with_rules(rules(&without))).await?;
    let answer = world.send("B2", bridge, json(3, none)).await?;
    buried("B2", &answer, DeadReason::NoRoute, "what no rule takes without a default route")?;
    let letter = world.dead_one("B2", &without).await?;
    ensure_eq!("B2", (letter.message.id, letter.reason), (id(3), DeadReason::NoRoute), "the dead letter");
    ensure_eq!("B7", (letter.attempts, letter.rule), (0, None), "its attempts and its rule");
    for (route, due) in [(&with.a, vec![id(0)]), (&with.b, vec![id(2)]), (&otherwise, vec![id(1)])] {
        let arrived: Vec<_> = world.arrived(route).await?.iter().map(|message| message.id).collect();
        ensure_eq!("B4", arrived, due, "what arrived by {route}");
    }
    Ok(())
}

async fn unmatched_as_configured(world: World) -> CaseResult {
    let (drop, bury) = (world.line("drop").await?, world.line("bury").await?);
    let config = |line: &super::world::Line, unmatched| {
        let rules = vec![RoutingRule::new("payload.n > 0", &line.a)];
        line.config.clone().with_rules(rules).with_default_route(&line.b).with_unmatched(unmatched)
    };
    let bridge = world.create(&drop, config(&drop, Unmatched::Drop)).await?;
    let answer = world.send("B2", bridge, json(0, "\"n\": 0")).await?;
    let filtered = matches!(&answer, Ok(receipt) if matches!(receipt.disposition, Disposition::Filtered));
    ensure!("B2", filtered, "{answer:?} instead of filtered");
    let ledger = world.ledger(bridge)?;
    ensure_eq!(
        "B1",
        (ledger.received, ledger.filtered, ledger.delivered),
        (1, 1, 0),
        "received, filtered, delivered"
    );
    ensure!("B2", world.dead(&drop).await?.is_empty(), "a dead letter of what was to be dropped");

    let bridge = world.create(&bury, config(&bury, Unmatched::DeadLetter)).await?;
    let answer = world.send("B2", bridge, json(1, "\"n\": 0")).await?;
    buried("B2", &answer, DeadReason::NoRoute, "what no rule takes, to be a dead letter")?;
    for route in [&drop.b, &bury.b] {
        ensure!("B2", world.arrived(route).await?.is_empty(), "something took the default route {route}");
    }
    Ok(())
}

async fn ruleset_is_atomic(world: World) -> CaseResult {
    let line = world.line("atomic").await?;
    let rules = ["x", "y", "z"].map(|kind| RoutingRule::new(format!("payload.kind == '{kind}'"), &line.a));
    let bridge = world.create(&line, line.config.clone().with_rules(rules.to_vec())).await?;
    let mut new = ["x", "y", "z"].map(|kind| RoutingRule::new(format!("payload.kind == '{kind}'"), &line.b));
    new[1] = RoutingRule::new("payload.kind == ", &line.b);
    let answer = world.bridge.configure_bridge_routing(bridge, new.to_vec());
    let error = refused("B4", answer, ErrorKind::InvalidInput, "a set whose second rule does not compile")?;
    let fault = error.bridge();
    ensure_eq!("B4", fault.map(|fault| fault.reason), Some(BridgeReason::InvalidRule), "the reason");
    ensure_eq!("B4", fault.and_then(|fault| fault.rule), Some(2), "the rule");
    ensure!("B4", fault.is_some_and(|fault| fault.column.is_some()), "no column: {error:?}");
    for (number, kind) in ["x", "y", "z"].into_iter().enumerate() {
        let message = json(number, &format!("\"kind\": \"{kind}\""));
        delivered("B4", &world.send("B4", bridge, message).await?, &line.a, "by the rules in force")?;
    }
    new[1] = RoutingRule::new("payload.kind == 'y'", &line.b);
    world.bridge.configure_bridge_routing(bridge, new.to_vec())?;
    let answer = world.send("B4", bridge, json(3, "\"kind\": \"y\"")).await?;
    delivered("B4", &answer, &line.b, "by the rules that were accepted")
}

async fn rule_runtime_error(world: World) -> CaseResult {
    let line = world.line("errors").await?;
    let rules = vec![RoutingRule::new("payload.n > 5", &line.a)];
    let bridge =
        world.create(&line, line.config.clone().with_rules(rules).with_default_route(&line.b)).await?;
    let array = onex_spi::bridge::BridgeMessage::new(id(2), "[9]");
    let missing = world.send("B4", bridge, json(0, "\"m\": 9")).await?;
    delivered("B4", &missing, &line.b, "a missing field is no match")?;
    for (what, message) in [("text", json(1, "\"n\": \"x\"")), ("an array", array)] {
        let answer = world.send("B4", bridge, message).await?;
        buried("B4", &answer, DeadReason::RuleError, what)?;
    }
    delivered("B4", &world.send("B4", bridge, json(3, "\"n\": 9")).await?, &line.a, "after the errors")?;
    let metrics = world.bridge.bridge_metrics(bridge)?;
    ensure_eq!("B4", metrics.rule_errors, 2, "rule errors");
    let mut dead: Vec<_> = world.dead(&line).await?;
    dead.sort_by_key(|letter| letter.message.id);
    let seen: Vec<_> = dead.iter().map(|letter| (letter.message.id, letter.reason, letter.rule)).collect();
    let due = [1, 2].map(|number| (id(number), DeadReason::RuleError, Some(1)));
    ensure_eq!("B4", seen, due, "the dead letters");
    ensure!("B7", dead.iter().all(|letter| letter.attempts == 0), "attempts where no rule decided");
    Ok(())
}

async fn reconfigure_under_load(world: World) -> CaseResult {
    const SENDS: usize = 10_000;
    const SWAPS: usize = 50;
    let line = world.line("swap").await?;
    let rule = |kind: &str, to: &str| RoutingRule::new(format!("payload.kind == '{kind}'"), to);
    // What sees one rule of each set finds no rule at all for one of the two kinds.
    let sets = [vec![rule("p", &line.a), rule("q", &line.b)], vec![rule("q", &line.a), rule("p", &line.b)]];
    let bridge = world.create(&line, line.config.clone().with_rules(sets[0].clone())).await?;
    let messages = (0..SENDS).map(|number| {
        let kind = if number % 2 == 0 { "p" } else { "q" };
        json(number, &format!("\"kind\": \"{kind}\""))
    });
    let swaps = async {
        for swap in 1..=SWAPS {
            let due = (swap * SENDS / (SWAPS + 1)) as u64;
            until("B4", "the sends go on", || Ok(world.ledger(bridge)?.received >= due)).await?;
            world.bridge.configure_bridge_routing(bridge, sets[swap % 2].clone())?;
        }
        Ok::<_, Stop>(())
    };
    let (answers, swapped) = tokio::join!(world.send_all("B4", bridge, messages.collect()), swaps);
    swapped?;
    for answer in answers? {
        let found = matches!(&answer, Ok(receipt) if receipt.is_delivered());
        ensure!("B4", found, "a message saw no whole set: {answer:?}");
    }
    let (a, b) = (world.arrived(&line.a).await?, world.arrived(&line.b).await?);
    let ids: std::collections::BTreeSet<_> = a.iter().chain(&b).map(|message| message.id).collect();
    ensure_eq!("B2", (a.len() + b.len(), ids.len()), (SENDS, SENDS), "arrivals and different ids");
    if a.is_empty() || b.is_empty() {
        return Err(broken("B4", "one of the two routes saw nothing: no swap took effect"));
    }
    Ok(())
}
