//! What arrives is what was sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use onex_spi::bridge::{BridgeMessage, MessageFormat};
use onex_spi::kafka::Header;
use serde_json::json as value;

use super::world::{Source, World, delivered, down, id, json, numbered};
use super::{EndsFeature, Fate, Seen, case};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!(
        "bridge.identity_and_bytes",
        ["B3"],
        ["ONEX-BR-10", "ONEX-BR-12", "ONEX-BR-13", "ONEX-BR-22"],
        identity_and_bytes
    ),
    case!("bridge.raw_bytes_pass", ["B3"], ["ONEX-BR-02", "ONEX-BR-12"], raw_bytes_pass),
    case!("bridge.duplicates_keep_id", ["B3"], ["ONEX-BR-12", "ONEX-BR-21"], duplicates_keep_id),
    case!(
        "bridge.reply_reaches_the_caller",
        ["B", "B5"],
        ["ONEX-BR-10", "ONEX-BR-13"],
        reply_reaches_the_caller
    ),
];

/// A message with everything that these ends can carry.
fn full(world: &World, number: usize) -> BridgeMessage {
    let mut message = json(number, &format!("\"n\": {number}, \"text\": \"\\u00e4 {number}\""))
        .with_header(Header::new("x-first", format!("{number}")))
        .with_header(Header::new("x-twice", "one"))
        .with_header(Header::new("x-twice", "two"));
    if world.has(EndsFeature::NullHeaders) {
        message = message.with_header(Header::null("x-null")).with_header(Header::new("x-empty", ""));
    }
    if world.has(EndsFeature::Keys) {
        message.key = match number % 3 {
            0 => None,
            1 => Some(Bytes::new()),
            _ => Some(Bytes::from(vec![0, 0xff, number as u8])),
        };
    }
    if world.has(EndsFeature::Metadata) {
        message =
            message.with_metadata("path", "/hooks").with_metadata("deep", value!({ "n": [number, null] }));
    }
    message
}

/// Checks that what arrived is what was sent; protocols may add headers of their own.
pub(super) fn same(
    world: &World,
    law: &'static str,
    sent: &BridgeMessage,
    arrived: &BridgeMessage,
) -> CaseResult {
    let told = |what: &str| format!("{} has not the {what} that was sent", sent.id);
    let same = |law: &'static str, equal: bool, what: &str| {
        if equal { Ok(()) } else { Err(super::world::broken(law, told(what))) }
    };
    same(law, arrived.id == sent.id, "id")?;
    same(law, arrived.payload == sent.payload, "payload")?;
    let mut headers = arrived.headers.iter();
    same(law, sent.headers.iter().all(|due| headers.any(|header| header == due)), "headers")?;
    same(law, !world.has(EndsFeature::Keys) || arrived.key == sent.key, "key")?;
    same(law, !world.has(EndsFeature::Metadata) || arrived.metadata == sent.metadata, "metadata")
}

async fn identity_and_bytes(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    let sent: Vec<_> = (0..10_000).map(|number| full(&world, number)).collect();
    for (answer, sent) in world.send_all("B3", bridge, sent.clone()).await?.iter().zip(&sent) {
        delivered("B3", answer, &line.a, "a send")?;
        ensure!(
            "B3",
            answer.as_ref().is_ok_and(|receipt| receipt.message_id == sent.id),
            "another id in the receipt"
        );
    }
    let offered: Vec<_> = (10_000..10_100).map(|number| full(&world, number)).collect();
    world.offer(&line, offered.clone()).await?;
    world.quiet("B3", bridge, 10_100).await?;

    let arrived = world.arrived(&line.a).await?;
    ensure_eq!("B3", arrived.len(), 10_100, "arrivals");
    let ids: BTreeSet<_> = arrived.iter().map(|message| message.id).collect();
    ensure_eq!("B3", ids.len(), 10_100, "different ids");
    // A source may know more of a message than whoever offered it: what it handed out is what must arrive.
    let taken = world.tap.seen().into_iter().filter_map(|(_, seen)| match seen {
        Seen::Taken(_, message) => Some(message),
        _ => None,
    });
    let all: Vec<_> = sent.into_iter().chain(taken).collect();
    ensure_eq!("B3", all.len(), 10_100, "sent and taken");
    let payloads: BTreeSet<_> = arrived.iter().map(|message| &message.payload).collect();
    ensure!(
        "B3",
        offered.iter().all(|offered| payloads.contains(&offered.payload)),
        "bytes that were offered"
    );
    let by_id: BTreeMap<_, _> = arrived.iter().map(|message| (message.id, message)).collect();
    for sent in &all {
        let arrived = by_id.get(&sent.id);
        ensure!("B3", arrived.is_some(), "{} did not arrive under its id", sent.id);
        arrived.map_or(Ok(()), |arrived| same(&world, "B3", sent, arrived))?;
    }
    Ok(())
}

async fn raw_bytes_pass(world: World) -> CaseResult {
    let line = world.line("raw").await?;
    let bridge = world.create(&line, line.all_to_a().with_format(MessageFormat::Raw)).await?;
    let payloads: [&[u8]; 4] = [b"{\"a\":", b"\xff\x00\xfe", b"", b"[1, 2]"];
    for (number, payload) in payloads.iter().enumerate() {
        let message = BridgeMessage::new(id(number), payload.to_vec());
        delivered("B3", &world.send("B3", bridge, message).await?, &line.a, "raw bytes")?;
    }
    let arrived: Vec<_> =
        world.arrived(&line.a).await?.iter().map(|message| message.payload.clone()).collect();
    ensure_eq!("B3", arrived, payloads, "the payloads");
    Ok(())
}

async fn duplicates_keep_id(world: World) -> CaseResult {
    let line = world.line("twice").await?;
    let bridge =
        world.create(&line, line.all_to_a().with_in_flight(512, onex_spi::bridge::Overflow::Wait)).await?;
    let lost = down().with_effect(onex_spi::Effect::Unknown);
    world.tap.script(move |attempt| match (attempt.ordinal % 5, attempt.attempt) {
        (0, 1) => Fate::LoseAnswer(lost.clone()),
        _ => Fate::Pass,
    });
    let sends = world.begin(bridge, numbered(0..500));
    let all = || Ok(sends.finished() == 500);
    world.let_pass("B3", "500 sends are answered", std::time::Duration::from_secs(60), all).await?;
    for answer in sends.answers("B3").await? {
        delivered("B3", &answer, &line.a, "a send whose answer was lost once")?;
    }
    let arrived = world.arrived(&line.a).await?;
    let mut ids = BTreeMap::new();
    for message in &arrived {
        let first = *ids.entry(message.id).or_insert(message);
        ensure!("B3", first.payload == message.payload, "two copies of {} differ", message.id);
    }
    ensure_eq!("B3", ids.len(), 500, "different ids");
    ensure_eq!("B3", arrived.len(), 600, "arrivals, a hundred of them twice");
    Ok(())
}

async fn reply_reaches_the_caller(world: World) -> CaseResult {
    let (line, bridge) = world.simple().await?;
    world.tap.script(|attempt| Fate::Reply(BridgeMessage::new(attempt.message.id, "thanks")));
    let answer = world.send("B", bridge, json(0, "")).await?;
    delivered("B", &answer, &line.a, "a send")?;
    let reply = answer.ok().and_then(|receipt| receipt.reply).map(|reply| reply.payload.clone());
    ensure_eq!("B", reply, Some(Bytes::from("thanks")), "the reply to a caller");
    world.offer(&line, vec![json(1, "")]).await?;
    world.quiet("B5", bridge, 2).await?;
    let told = || {
        world.tap.seen().into_iter().find_map(|(_, seen)| match seen {
            Seen::Settled(settled) => Some(settled),
            _ => None,
        })
    };
    super::world::until("B5", "the source is told", || Ok(told().is_some())).await?;
    let reply = told().and_then(|settled| settled.reply).map(|reply| reply.payload.clone());
    ensure_eq!("B5", reply, Some(Bytes::from("thanks")), "the reply to the source");
    Ok(())
}
