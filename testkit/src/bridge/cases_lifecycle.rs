//! Creating and naming bridges.

use std::num::NonZeroU64;
use std::time::Duration;

use onex_spi::ErrorKind;
use onex_spi::bridge::{BridgeId, BridgeReason, Protocol, RoutingRule};
use onex_spi::provider::Value;

use super::case;
use super::world::{DRAIN, Source, World, broken, delivered, json, numbered, refused, within};
use super::{EndsFeature, Seen};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "bridge.lifecycle_errors",
        ["B10"],
        ["ONEX-BR-01", "ONEX-BR-08", "ONEX-BR-09", "ONEX-BR-14", "ONEX-BR-19"],
        lifecycle_errors
    ),
    case!("bridge.refused_create_leaves_nothing", ["B10"], ["ONEX-BR-08"], refused_create_leaves_nothing),
    case!("bridge.loop_is_refused", ["B13"], ["ONEX-BR-08"], loop_is_refused),
    case!("bridge.close_ends_every_bridge", ["B10"], ["ONEX-BR-09"], close_ends_every_bridge),
];

async fn lifecycle_errors(world: World) -> CaseResult {
    let (a, b) = (world.line("a").await?, world.line("b").await?);
    let id = world.create(&a, a.all_to_a()).await?;
    let gone = world.create(&b, b.all_to_a()).await?;
    let listed: Vec<_> = world.bridge.all_bridges().into_iter().map(|info| (info.id, info.name)).collect();
    ensure_eq!("B10", listed, [(id, "a".into()), (gone, "b".into())], "the list by name");
    within("B10", "a destroy", world.bridge.destroy_bridge(gone, DRAIN)).await??;

    refused("B10", world.create(&a, b.all_to_a()).await, ErrorKind::AlreadyExists, "the name `a` again")?;
    let known = world.ends.target_protocol().name();
    let strange = world.bridge.create_bridge("c", known.clone(), Protocol::new("morse"), a.all_to_a()).await;
    let error = refused("B10", strange, ErrorKind::InvalidInput, "an unknown protocol")?;
    ensure!("B10", error.message().contains(known.as_str()), "`{}` does not list {known}", error.message());
    let reason = error.bridge().map(|fault| fault.reason);
    ensure_eq!("B10", reason, Some(BridgeReason::UnknownProtocol), "the reason");

    let never = BridgeId::new(NonZeroU64::MAX);
    for (id, kind) in [(never, ErrorKind::NotFound), (gone, ErrorKind::Closed)] {
        let send = world.send("B10", id, json(0, "")).await?;
        refused("B10", send, kind, "a send")?;
        refused("B10", world.bridge.bridge_status(id), kind, "the status")?;
        refused("B10", world.bridge.bridge_metrics(id), kind, "the metrics")?;
        refused("B10", world.bridge.configure_bridge_routing(id, Vec::new()), kind, "new rules")?;
        let health = within("B10", "health", world.bridge.monitor_bridge_health(id)).await?;
        refused("B10", health, kind, "the health")?;
    }
    let destroy = world.bridge.destroy_bridge(never, DRAIN).await;
    refused("B10", destroy, ErrorKind::NotFound, "destroying what never was")?;
    within("B10", "destroying again", world.bridge.destroy_bridge(gone, DRAIN)).await??;

    let left: Vec<_> = world.bridge.all_bridges().into_iter().map(|info| info.id).collect();
    ensure_eq!("B10", left, [id], "the bridges that live");
    ensure_eq!("B10", world.ledger(id)?.received, 0, "what `a` received");
    let attempts = world.tap.count(|seen| matches!(seen, Seen::Attempt(..)));
    ensure_eq!("B10", attempts, 0, "attempts of anything");
    let again = world.line("b2").await?;
    let again = world.bridge.create_bridge("b", known.clone(), known.clone(), again.all_to_a());
    if world.ends.source_protocol().name() == known {
        let again = again.await?;
        ensure!("B10", again != gone && again != id, "{again} was used before");
    }
    Ok(())
}

async fn refused_create_leaves_nothing(world: World) -> CaseResult {
    let line = world.line("clean").await?;
    let mut wrong = line.all_to_a();
    wrong.target.insert("no-such-key".to_owned(), Value::from("x"));
    let error = refused("B10", world.create(&line, wrong).await, ErrorKind::InvalidInput, "an unknown key")?;
    ensure!("B10", error.message().contains("no-such-key"), "`{}` does not name the key", error.message());
    let reason = error.bridge().map(|fault| fault.reason);
    ensure_eq!("B10", reason, Some(BridgeReason::InvalidEndpoint), "the reason");
    let rules = vec![RoutingRule::new("payload.n >", &line.a)];
    let error = world.create(&line, line.config.clone().with_rules(rules)).await;
    refused("B10", error, ErrorKind::InvalidInput, "a rule that does not compile")?;
    let mut wrong = line.all_to_a();
    wrong.in_flight = 0;
    refused("B10", world.create(&line, wrong).await, ErrorKind::InvalidInput, "no room")?;

    ensure!("B10", world.bridge.all_bridges().is_empty(), "a bridge is listed that was refused");
    let opened = world.tap.count(|seen| matches!(seen, Seen::Opened));
    let ended = world.tap.count(|seen| matches!(seen, Seen::Ended));
    ensure_eq!("B10", opened, ended, "ends opened and ended");
    let id = world.create(&line, line.all_to_a()).await?;
    delivered("B10", &world.send("B10", id, json(0, "")).await?, &line.a, "a send after the refusals")
}

async fn loop_is_refused(world: World) -> CaseResult {
    world.needs(EndsFeature::Loops)?;
    let line = world.line("loop").await?;
    let into = world.ends.route_into("loop-in");
    let dead = line.config.dead_letter.clone().map(|mut dead| {
        dead.to.clone_from(&into);
        dead
    });
    let mut dead_letters = line.all_to_a();
    dead_letters.dead_letter = dead;
    let loops = [
        ("a rule", line.config.clone().with_rules(vec![RoutingRule::new("true", &into)])),
        ("the default route", line.config.clone().with_default_route(&into)),
        ("the dead letters", dead_letters),
    ];
    for (what, config) in loops {
        let answer = world.create(&line, config).await;
        let error = match answer {
            Ok(_) => return Err(broken("B13", format!("{what} may lead into the own source"))),
            Err(error) => error,
        };
        let reason = error.bridge().map(|fault| fault.reason);
        ensure_eq!(
            "B13",
            reason,
            Some(BridgeReason::Loop),
            "the reason where {what} leads into the own source"
        );
        refused::<()>("B13", Err(error), ErrorKind::InvalidInput, what)?;
    }
    let id = world.create(&line, line.all_to_a()).await?;
    let rules = world.bridge.configure_bridge_routing(id, vec![RoutingRule::new("true", &into)]);
    refused("B13", rules, ErrorKind::InvalidInput, "new rules that lead into the own source")?;
    delivered("B13", &world.send("B13", id, json(0, "")).await?, &line.a, "after the refusal")
}

async fn close_ends_every_bridge(world: World) -> CaseResult {
    let (a, b) = (world.line("a").await?, world.line("b").await?);
    let ids = [world.create(&a, a.all_to_a()).await?, world.create(&b, b.all_to_a()).await?];
    for id in ids {
        let answers = world.send_all("B10", id, numbered(0..10)).await?;
        ensure!("B10", answers.iter().all(Result::is_ok), "sends before the close: {answers:?}");
    }
    within("B10", "the close", world.bridge.close(DRAIN)).await??;
    for id in ids {
        refused("B10", world.send("B10", id, json(0, "")).await?, ErrorKind::Closed, "a send afterwards")?;
    }
    ensure!("B10", world.bridge.all_bridges().is_empty(), "bridges live on");
    let late = world.line("late").await?;
    let late = world.create(&late, late.all_to_a()).await;
    refused("B10", late, ErrorKind::Closed, "creating after the close")?;
    within("B10", "closing again", world.bridge.close(Duration::ZERO)).await??;
    let opened = world.tap.count(|seen| matches!(seen, Seen::Opened));
    let ended = || world.tap.count(|seen| matches!(seen, Seen::Ended));
    super::world::until("B10", "every end has ended", || Ok(ended() == opened)).await
}
