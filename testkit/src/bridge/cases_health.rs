//! What a bridge says of itself, and what it must never say.

use std::fmt::Write;
use std::time::Duration;

use onex_spi::bridge::{DeadLetterConfig, DeadReason};
use onex_spi::provider::Value;
use onex_spi::{ErrorKind, Health};

use super::world::{Source, World, buried, failed, id, json, never, within};
use super::{EndsFeature, Fate, case};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "bridge.health_auth_redaction",
        ["B12", "B6"],
        ["ONEX-BR-07", "ONEX-BR-14", "ONEX-BR-20"],
        health_auth_redaction
    ),
    case!("bridge.health_answers_in_time", ["B"], ["ONEX-BR-20"], health_answers_in_time),
];

const SECRET: &str = "hunter2-of-the-suite";

async fn health_auth_redaction(world: World) -> CaseResult {
    let line = world.line("secret").await?;
    let secret = world.has(EndsFeature::Secrets).then_some(SECRET);
    let target = world.ends.target(secret).await?;
    let mut config = line.all_to_a().with_dead_letter(
        DeadLetterConfig::new(world.ends.target_protocol().name(), &line.dead).with_target(target.clone()),
    );
    config.target = target;
    let bridge = world.create(&line, config.clone()).await?;
    let a = line.a.clone();
    world.tap.script(move |attempt| match attempt.route {
        route if route == a => Fate::Refuse(never(ErrorKind::Unauthenticated)),
        _ => Fate::Pass,
    });
    let answer = world.send("B6", bridge, json(0, "")).await?;
    ensure_eq!("B6", world.tap.attempts(&line.a, id(0)), 1, "attempts with refused credentials");
    buried("B6", &answer, DeadReason::Rejected, "refused credentials")?;
    let letters = world.dead(&line).await?;
    let kinds: Vec<_> =
        letters.iter().filter_map(|letter| letter.last_error.clone()).map(|(kind, _)| kind).collect();
    ensure_eq!("B6", kinds, ["Unauthenticated"], "the last error of the dead letter");

    world.tap.set_health(Health::Unhealthy("the credentials are refused".to_owned()));
    let health = within("B12", "health", world.bridge.monitor_bridge_health(bridge)).await??;
    let told = matches!(&health.target, Health::Unhealthy(why) if !why.is_empty());
    ensure!(
        "B12",
        told && matches!(health.state, Health::Unhealthy(_)),
        "{health:?} with refused credentials"
    );
    let status = world.bridge.bridge_status(bridge)?;
    let kind = status.last_error.as_ref().map(onex_spi::Error::kind);
    ensure_eq!("B12", kind, Some(ErrorKind::Unauthenticated), "the last error");

    // What follows is judged by a secret; without one it is not judged, whatever was judged before.
    world.needs(EndsFeature::Secrets)?;
    let again = failed("B12", world.create(&line, config.clone()).await, "the same name again")?;
    let other = world.line("other").await?;
    config.source = other.config.source.clone();
    config.target.insert("no-such-key".to_owned(), Value::from(1));
    let other = failed("B12", world.create(&other, config).await, "an unknown key beside the secret")?;
    let mut text = String::new();
    let metrics = world.bridge.bridge_metrics(bridge)?;
    // Writing into a text cannot fail.
    let _ = write!(
        text,
        "{:?} {:#?} {answer:?} {health:?} {status:?} {metrics:?}",
        world.bridge,
        world.bridge.all_bridges()
    );
    let _ = write!(text, "{again:?} {again:#} {other:?} {other:#} {:?}", world.bridge.health().await);
    for message in world.arrived(&line.dead).await? {
        let _ =
            write!(text, "{message:?} {:?} {:?} {:?}", message.headers, message.metadata, message.payload);
    }
    ensure!("B12", !text.contains(SECRET), "the secret of the configuration is told in: {text}");
    Ok(())
}

async fn health_answers_in_time(world: World) -> CaseResult {
    let (_, bridge) = world.simple().await?;
    world.tap.hang_health();
    let port = std::sync::Arc::clone(&world.bridge);
    let asked = tokio::spawn(async move { port.monitor_bridge_health(bridge).await });
    let few_seconds = Duration::from_secs(10);
    world
        .let_pass("B", "health answers for an end that does not", few_seconds, || Ok(asked.is_finished()))
        .await?;
    let health = within("B", "health", asked).await?;
    let health = health.map_err(|error| super::world::broken("", format!("the health: {error}")))??;
    ensure!("B", health.state != Health::Healthy, "{health:?} where the target does not answer");
    world.tap.release();
    Ok(())
}
