//! How much a bridge takes.

use onex_spi::ErrorKind;
use onex_spi::bridge::{BridgeMessage, DeadReason, Disposition, Overflow};

use super::world::{Source, World, broken, delivered, id, json, numbered, refused, until};
use super::{EndsFeature, Fate, Seen, case};
use crate::suite::{Case, CaseResult};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("bridge.oversize_boundary", ["B9"], ["ONEX-BR-05", "ONEX-BR-11"], oversize_boundary),
    case!("bridge.bounded_memory", ["B8"], ["ONEX-BR-05", "ONEX-BR-15"], bounded_memory),
    case!("bridge.full_is_refused_where_configured", ["B8"], ["ONEX-BR-05"], full_is_refused),
    case!("bridge.cancel_leaks_nothing", ["B11", "B8"], ["ONEX-BR-10", "ONEX-BR-15"], cancel_leaks_nothing),
];

/// A JSON object of exactly `bytes`.
fn sized(number: usize, bytes: usize) -> BridgeMessage {
    let text = "x".repeat(bytes - "{\"p\":\"\"}".len());
    BridgeMessage::new(id(number), format!("{{\"p\":\"{text}\"}}"))
}

async fn oversize_boundary(world: World) -> CaseResult {
    let most = if world.has(EndsFeature::Mebibyte) { 1 << 20 } else { 1 << 16 };
    let line = world.line("size").await?;
    let bridge = world.create(&line, line.all_to_a().with_message_bytes(most)).await?;
    for (number, size) in [most - 1, most].into_iter().enumerate() {
        let answer = world.send("B9", bridge, sized(number, size)).await?;
        delivered("B9", &answer, &line.a, &format!("{size} of {most} bytes"))?;
    }
    let answer = world.send("B9", bridge, sized(2, most + 1)).await?;
    refused("B9", answer, ErrorKind::TooLarge, "a byte too many")?;
    ensure_eq!("B9", world.tap.attempts(&line.a, id(2)), 0, "attempts of what is too large");
    ensure_eq!("B9", world.ledger(bridge)?.received, 2, "received");

    world.offer(&line, vec![sized(3, most + 1), sized(4, most)]).await?;
    until("B9", "what fits arrives", || Ok(world.ledger(bridge)?.delivered == 3)).await?;
    // A source that can tell its sender refuses by itself; from any other it is a dead letter.
    let ledger = world.quiet("B9", bridge, 3).await?;
    let buried: Vec<_> = world.dead(&line).await?.iter().map(|letter| letter.reason).collect();
    let due = vec![DeadReason::TooLarge; ledger.received as usize - 3];
    ensure_eq!("B9", buried, due, "the dead letters of {} received", ledger.received);
    delivered("B9", &world.send("B9", bridge, json(5, "")).await?, &line.a, "afterwards")
}

async fn bounded_memory(world: World) -> CaseResult {
    let line = world.line("bounded").await?;
    let (called, offered) = if world.has(EndsFeature::Plenty) { (256, 100_000) } else { (64, 128) };
    let room = called as u64;
    let bridge = world.create(&line, line.all_to_a().with_in_flight(called, Overflow::Wait)).await?;
    world.tap.script(|_| Fate::Hold);
    let taken = || world.tap.count(|seen| matches!(seen, Seen::Taken(..)));
    let payload = bytes::Bytes::from(format!("{{\"p\":\"{}\"}}", "x".repeat(1016)));
    let messages = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| BridgeMessage::new(id(number), payload.clone())).collect::<Vec<_>>()
    };
    world.offer(&line, messages(0..offered)).await?;
    until("B8", "the room is used", || Ok(world.ledger(bridge)?.in_flight >= room)).await?;
    let sends = world.begin(bridge, messages(offered..offered + called));
    let mut looks = 0;
    until("B8", "", || {
        let ledger = world.ledger(bridge)?;
        ensure!("B8", ledger.in_flight <= room, "{ledger:?} with room for {room}");
        ensure!("B8", taken() as u64 <= room, "{} payloads taken with room for {room}", taken());
        looks += 1;
        Ok(looks == 100)
    })
    .await?;
    ensure_eq!("B8", sends.finished(), 0, "sends that ended while the bridge was full");
    world.tap.release();
    let all = (offered + called) as u64;
    let mut seen = 0;
    while seen < all {
        until("B8", "more is settled", || {
            let ledger = world.ledger(bridge)?;
            ensure!("B8", ledger.in_flight <= room, "{ledger:?} with room for {room}");
            let more = ledger.settled() > seen;
            seen = ledger.settled();
            Ok(more)
        })
        .await?;
    }
    for answer in sends.answers("B8").await? {
        delivered("B8", &answer, &line.a, "a send that waited")?;
    }
    ensure_eq!("B8", world.ledger(bridge)?.delivered, all, "delivered");
    Ok(())
}

async fn full_is_refused(world: World) -> CaseResult {
    const ROOM: usize = 8;
    let line = world.line("full").await?;
    let bridge = world.create(&line, line.all_to_a().with_in_flight(ROOM, Overflow::Refuse)).await?;
    world.tap.script(|_| Fate::Hold);
    let sends = world.begin(bridge, numbered(0..ROOM));
    until("B8", "the room is used", || Ok(world.ledger(bridge)?.in_flight == ROOM as u64)).await?;
    let answer = world.send("B8", bridge, json(ROOM, "")).await?;
    refused("B8", answer, ErrorKind::ResourceExhausted, "a send to a full bridge")?;
    ensure_eq!("B8", world.ledger(bridge)?.received, ROOM as u64, "received");
    world.tap.release();
    for answer in sends.answers("B8").await? {
        delivered("B8", &answer, &line.a, "a send that had room")?;
    }
    delivered("B8", &world.send("B8", bridge, json(ROOM + 1, "")).await?, &line.a, "with room again")
}

async fn cancel_leaks_nothing(world: World) -> CaseResult {
    const ROOM: usize = 8;
    let line = world.line("cancel").await?;
    let bridge = world.create(&line, line.all_to_a().with_in_flight(ROOM, Overflow::Wait)).await?;
    world.tap.script(|_| Fate::Hold);
    let full = || Ok(world.ledger(bridge)?.in_flight == ROOM as u64);
    let sends = world.begin(bridge, numbered(0..1_000));
    until("B11", "the room is used", full).await?;
    sends.cancel().await;
    ensure_eq!("B11", world.ledger(bridge)?.received, ROOM as u64, "received of what was dropped");
    world.tap.release();
    let ledger = world.quiet("B11", bridge, ROOM as u64).await?;
    ensure_eq!("B11", (ledger.received, ledger.delivered), (ROOM as u64, ROOM as u64), "received, delivered");
    ensure_eq!("B11", world.arrived(&line.a).await?.len(), ROOM, "arrivals");

    world.tap.hold();
    let sends = world.begin(bridge, numbered(1_000..1_000 + ROOM));
    until("B11", "as many sends as there is room for run at once", full).await?;
    world.tap.release();
    for answer in sends.answers("B11").await? {
        let found =
            matches!(&answer, Ok(receipt) if matches!(receipt.disposition, Disposition::Delivered(_)));
        if !found {
            return Err(broken("B11", format!("a send after the dropped ones: {answer:?}")));
        }
    }
    Ok(())
}
