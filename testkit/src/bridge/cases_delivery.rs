//! Attempts, dead letters and settlements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use onex_spi::bridge::{
    BridgeConfig, BridgeMessage, BridgeState, DeadReason, Disposition, MessageId, Overflow, RoutingRule,
};
use onex_spi::kafka::Header;
use onex_spi::{Clock, Effect, ErrorKind, Health};

use super::cases_identity::same;
use super::world::{
    ATTEMPTS, BACKOFF, Source, World, broken, buried, delivered, down, failed, id, json, never, numbered,
    until, within,
};
use super::{EndsFeature, Fate, Seen, case};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("bridge.missing_topic", ["B6", "B7"], ["ONEX-BR-05"], missing_topic),
    case!(
        "bridge.target_outage_heals",
        ["B6"],
        ["ONEX-BR-05", "ONEX-BR-14", "ONEX-BR-21"],
        target_outage_heals
    ),
    case!("bridge.retries_exhausted", ["B6", "B7"], ["ONEX-BR-05"], retries_exhausted),
    case!(
        "bridge.honest_failure_without_dlq",
        ["B2", "B5", "B6"],
        ["ONEX-BR-05", "ONEX-BR-13"],
        honest_failure_without_dlq
    ),
    case!(
        "bridge.nothing_is_dropped_without_dlq",
        ["B2"],
        ["ONEX-BR-05", "ONEX-BR-18"],
        nothing_is_dropped_without_dlq
    ),
    case!(
        "bridge.dead_letter_target_down",
        ["B7", "B5"],
        ["ONEX-BR-05", "ONEX-BR-13"],
        dead_letter_target_down
    ),
    case!("bridge.poison_message", ["B2"], ["ONEX-BR-05"], poison_message),
    case!("bridge.settled_once_after_delivery", ["B5"], ["ONEX-BR-21"], settled_once_after_delivery),
];

fn without_dead_letters(mut config: BridgeConfig) -> BridgeConfig {
    config.dead_letter = None;
    config
}

/// When each message was attempted by a route.
fn times(world: &World, route: &str) -> BTreeMap<MessageId, Vec<Instant>> {
    let mut times: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, seen) in world.tap.seen() {
        if let Seen::Attempt(to, message, at) = seen
            && *to == *route
        {
            times.entry(message.id).or_default().push(at);
        }
    }
    times
}

async fn missing_topic(world: World) -> CaseResult {
    let line = world.line("missing").await?;
    let to = if world.has(EndsFeature::MissingRoutes) {
        world.ends.missing_route("missing-topic")
    } else {
        world.tap.script({
            let dead = line.dead.clone();
            move |attempt| match attempt.route {
                route if route == dead => Fate::Pass,
                _ => Fate::Refuse(never(ErrorKind::NotFound)),
            }
        });
        line.a.clone()
    };
    let rules = vec![RoutingRule::new("true", &to)];
    let bridge = world.create(&line, line.config.clone().with_rules(rules)).await?;
    let answer = world.send("B6", bridge, json(0, "")).await?;
    ensure_eq!("B6", world.tap.attempts(&to, id(0)), 1, "attempts to reach a route that does not exist");
    buried("B7", &answer, DeadReason::MissingTarget, "a route that does not exist")?;
    let letter = world.dead_one("B7", &line).await?;
    ensure_eq!("B7", (letter.reason, letter.attempts), (DeadReason::MissingTarget, 1), "the dead letter");
    ensure_eq!("B7", letter.route.as_deref(), Some(to.as_str()), "its route");
    Ok(())
}

async fn target_outage_heals(world: World) -> CaseResult {
    const SENDS: usize = 1_000;
    let line = world.line("outage").await?;
    let mut config = line.all_to_a().with_in_flight(SENDS, Overflow::Wait);
    config.retry.max_attempts = 8;
    let retry = config.retry.clone();
    let bridge = world.create(&line, config).await?;
    let healed = world.clock.now() + Duration::from_secs(2);
    world.tap.script(move |attempt| if attempt.at < healed { Fate::Refuse(down()) } else { Fate::Pass });

    let sends = world.begin(bridge, numbered(0..SENDS));
    until("B6", "every message was attempted", || Ok(times(&world, &line.a).len() == SENDS)).await?;
    let degraded = || Ok(world.bridge.bridge_status(bridge)?.state == BridgeState::Degraded);
    until("B6", "the status is Degraded", degraded).await?;
    let health = within("B6", "health", world.bridge.monitor_bridge_health(bridge)).await??;
    ensure!("B6", matches!(health.state, Health::Degraded(_)), "{health:?} during the outage");
    ensure_eq!("B6", health.backlog, SENDS as u64, "the backlog");

    let all = || Ok(sends.finished() == SENDS);
    world.let_pass("B6", "the sends are answered", Duration::from_secs(60), all).await?;
    for answer in sends.answers("B6").await? {
        delivered("B6", &answer, &line.a, "a send during the outage")?;
    }
    let mut attempts = 0;
    for (id, times) in times(&world, &line.a) {
        attempts += times.len();
        for (pair, number) in times.windows(2).zip(1..) {
            let (waited, due) = (pair[1] - pair[0], retry.wait(number, 0));
            ensure!(
                "B6",
                due.is_some_and(|due| waited >= due),
                "{id} waited {waited:?} after attempt {number}"
            );
        }
    }
    ensure!("B6", world.dead(&line).await?.is_empty(), "dead letters although the target healed");
    let metrics = world.bridge.bridge_metrics(bridge)?;
    ensure_eq!("B6", metrics.retries, (attempts - SENDS) as u64, "the retries that are counted");
    let health = within("B6", "health", world.bridge.monitor_bridge_health(bridge)).await??;
    ensure_eq!("B6", health.state, Health::Healthy, "the health afterwards");
    Ok(())
}

async fn retries_exhausted(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    let a = line.a.clone();
    world.tap.script(move |attempt| if attempt.route == a { Fate::Refuse(down()) } else { Fate::Pass });
    let sent = json(0, "\"n\": 0")
        .with_header(Header::new("x-own", "kept"))
        .with_header(Header::new("x-own", "twice"));
    let sends = world.begin(bridge, vec![sent.clone()]);
    let attempts = || times(&world, &line.a).values().flatten().count() as u32;
    for number in 1..ATTEMPTS {
        until("B6", "the first attempt", || Ok(attempts() >= number)).await?;
        let wait = BACKOFF * 2_u32.pow(number - 1);
        let more = || Ok(attempts() > number || sends.finished() == 1);
        world.let_pass("B6", &format!("attempt {} after {wait:?}", number + 1), wait, more).await?;
    }
    let answered = || Ok(sends.finished() == 1);
    world.let_pass("B6", "the send is answered", Duration::from_secs(60), answered).await?;
    let answer = sends.answers("B6").await?.remove(0);
    let mut times: Vec<_> = times(&world, &line.a).into_values().flatten().collect();
    times.sort_unstable();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let due: Vec<_> = (1..ATTEMPTS).map(|number| BACKOFF * 2_u32.pow(number - 1)).collect();
    ensure_eq!("B6", waits, due, "the waits between the attempts");
    buried("B7", &answer, DeadReason::RetriesExhausted, "a target that is down for good")?;
    ensure_eq!("B6", world.bridge.bridge_metrics(bridge)?.retries, u64::from(ATTEMPTS) - 1, "retries");

    let letter = world.dead_one("B7", &line).await?;
    same(&world, "B7", &sent, &letter.message)?;
    ensure_eq!(
        "B7",
        (letter.reason, letter.attempts),
        (DeadReason::RetriesExhausted, ATTEMPTS),
        "reason, attempts"
    );
    let kind = letter.last_error.as_ref().map(|(kind, _)| kind.as_str());
    ensure_eq!("B7", kind, Some("Unavailable"), "the last error");
    ensure_eq!("B7", (&*letter.bridge, letter.rule), (line.name.as_str(), Some(1)), "bridge and rule");
    ensure_eq!("B7", letter.route.as_deref(), Some(line.a.as_str()), "the route");
    let ends = (world.ends.source_protocol().name(), world.ends.target_protocol().name());
    ensure_eq!("B7", (letter.source, letter.target), ends, "the protocols");
    Ok(())
}

async fn honest_failure_without_dlq(world: World) -> CaseResult {
    let line = world.line("honest").await?;
    let bridge = world.create(&line, without_dead_letters(line.all_to_a())).await?;
    world.tap.script(|_| Fate::Refuse(never(ErrorKind::PermissionDenied)));
    let answer = world.send("B2", bridge, json(0, "")).await?;
    ensure_eq!("B6", world.tap.attempts(&line.a, id(0)), 1, "attempts of what is refused for good");
    let error = failed("B2", answer, "a refused message that nobody buries")?;
    let told = (error.kind(), error.effect());
    ensure_eq!("B2", told, (ErrorKind::PermissionDenied, Effect::NotApplied), "why it failed");
    world.offer(&line, vec![json(1, "")]).await?;
    let ledger = world.quiet("B2", bridge, 2).await?;
    ensure_eq!("B2", (ledger.failed, ledger.delivered), (2, 0), "failed and delivered");
    let settled = world.settled();
    ensure!(
        "B5",
        matches!(&settled[..], [one] if matches!(one.disposition, Disposition::Failed(_))),
        "the source was told {settled:?}"
    );
    let status = world.bridge.bridge_status(bridge)?;
    ensure_eq!(
        "B2",
        status.last_error.map(|error| error.kind()),
        Some(ErrorKind::PermissionDenied),
        "the status"
    );
    Ok(())
}

async fn nothing_is_dropped_without_dlq(world: World) -> CaseResult {
    let unmatched = world.line("unmatched").await?;
    let bridge = world.create(&unmatched, without_dead_letters(unmatched.config.clone())).await?;
    failed("B2", world.send("B2", bridge, json(2, "")).await?, "what no rule takes and nobody buries")?;
    failed("B2", world.send("B2", bridge, BridgeMessage::new(id(3), "{")).await?, "what is no JSON")?;
    ensure_eq!("B2", world.ledger(bridge)?.failed, 2, "failed");
    Ok(())
}

async fn dead_letter_target_down(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.script(|_| Fate::Refuse(never(ErrorKind::PermissionDenied)));
    let answer = world.send("B7", bridge, json(0, "")).await?;
    failed("B7", answer, "a message that neither the target nor the dead-letter target takes")?;
    world.offer(&line, vec![json(1, "")]).await?;
    let ledger = world.quiet("B7", bridge, 2).await?;
    ensure_eq!("B7", (ledger.failed, ledger.dead_lettered), (2, 0), "failed and dead-lettered");
    let settled = world.settled();
    ensure!(
        "B5",
        matches!(&settled[..], [one] if matches!(one.disposition, Disposition::Failed(_))),
        "the source was told {settled:?}"
    );
    ensure!("B7", world.arrived(&line.dead).await?.is_empty(), "a dead letter that was refused");
    Ok(())
}

async fn poison_message(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    let poison = BridgeMessage::new(id(0), "{\"a\":").with_header(Header::new("x-own", "kept"));
    let mut offered = vec![poison.clone()];
    offered.extend(numbered(1..11));
    world.offer(&line, offered).await?;
    let ledger = world.quiet("B2", bridge, 11).await?;
    ensure_eq!("B2", (ledger.delivered, ledger.dead_lettered), (10, 1), "delivered and dead-lettered");
    let letter = world.dead_one("B2", &line).await?;
    ensure_eq!("B2", (letter.reason, letter.attempts), (DeadReason::DecodeError, 0), "the dead letter");
    ensure_eq!("B2", letter.message.payload, poison.payload, "its bytes");
    ensure_eq!("B2", world.arrived(&line.a).await?.len(), 10, "arrivals");
    ensure_eq!("B2", world.bridge.bridge_metrics(bridge)?.retries, 0, "retries");
    buried(
        "B2",
        &world.send("B2", bridge, json(11, "\"a\":")).await?,
        DeadReason::DecodeError,
        "cut JSON of a caller",
    )
}

async fn settled_once_after_delivery(world: World) -> CaseResult {
    const GOOD: usize = 20;
    let (line, bridge) = world.simple().await?;
    world.tap.script(|_| Fate::Hold);
    let mut offered = numbered(0..GOOD);
    offered.push(BridgeMessage::new(id(GOOD), "{"));
    world.offer(&line, offered).await?;
    until("B5", "everything is taken", || Ok(world.ledger(bridge)?.in_flight == GOOD as u64 + 1)).await?;
    ensure!("B5", world.settled().is_empty(), "settled before anything was delivered: {:?}", world.settled());
    world.tap.release();
    world.quiet("B5", bridge, GOOD as u64 + 1).await?;
    until("B5", "everything is settled", || Ok(world.settled().len() > GOOD)).await?;

    let mut taken = BTreeMap::new();
    let (mut accepted, mut settled) = (Vec::new(), BTreeMap::new());
    for (_, seen) in world.tap.seen() {
        match seen {
            Seen::Taken(tag, message) => _ = taken.insert(tag, message.id),
            Seen::Answer(_, id, true) => accepted.push(id),
            Seen::Settled(one) => {
                let before = accepted.contains(&one.id);
                ensure!("B5", before, "{} was settled before any target had accepted it", one.id);
                ensure_eq!("B5", taken.get(&one.tag), Some(&one.id), "the message of the tag");
                let again = settled.insert(one.tag, one.disposition);
                ensure!("B5", again.is_none(), "{} was settled twice", one.id);
            }
            _ => {}
        }
    }
    ensure_eq!("B5", settled.len(), taken.len(), "settled and taken tags");
    let delivered =
        settled.values().filter(|disposition| matches!(disposition, Disposition::Delivered(_))).count();
    if delivered != GOOD {
        return Err(broken("B5", format!("{delivered} of {GOOD} were told as delivered: {settled:?}")));
    }
    Ok(())
}
