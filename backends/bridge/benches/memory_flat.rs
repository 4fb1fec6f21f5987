//! Resident memory of a bridge over time: while messages flow, then while the target stalls and callers come and leave.
//!
//! `cargo bench -p onex-bridge --bench memory_flat [-- SECONDS]`; 60 seconds unless told otherwise, half for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use onex_bridge::memory::{MemoryHub, MemoryQueue};
use onex_spi::bridge::{
    BridgeConfig, BridgeId, BridgeMessage, CommunicationBridge, MessageId, Protocol, RoutingRule,
};
use onex_spi::provider::Table;
use onex_spi::{Result, TokioClock};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next_back().unwrap_or(60);
    let hub = MemoryHub::new();
    let (into, out) = (hub.queue("in", 1024), hub.queue("out", 64));
    let bridges = onex_bridge::open(vec![hub.protocol()], Arc::new(TokioClock::new()), 1)?;
    let source = Table::from_iter([("queue".to_owned(), "in".into())]);
    let config = BridgeConfig::default()
        .with_ends(source, Table::new())
        .with_rules(vec![RoutingRule::new("payload.event.startsWith('user')", "out")]);
    let memory = Protocol::new("memory");
    let id = bridges.create_bridge("flat", memory.clone(), memory, config).await?;
    let half = Duration::from_secs(seconds) / 2;
    report("start", &*bridges, id)?;
    watch(half, "flowing", &*bridges, id, &into, Some(&out)).await?;
    watch(half, "stalled", &*bridges, id, &into, None).await
}

/// Offers as fast as there is room, sends and leaves, takes what arrives where the target does not stall, and reports every
/// sixth of the time.
async fn watch(
    time: Duration,
    phase: &str,
    bridges: &dyn CommunicationBridge,
    id: BridgeId,
    into: &MemoryQueue,
    out: Option<&MemoryQueue>,
) -> Result<()> {
    let (begin, mut told, mut number) = (Instant::now(), 0, 0);
    while begin.elapsed() < time {
        for _ in 0..256 {
            number += 1;
            // A full queue is what this is about; whoever offers tries again.
            if into.try_offer(message(number)).is_err() {
                break;
            }
        }
        for _ in 0..16 {
            // Dropped half way: it takes its way where it was taken, and nothing stays of it where it was not.
            let _ = bridges.send_message_through_bridge(id, message(number)).now_or_never();
        }
        tokio::task::yield_now().await;
        if let Some(out) = out {
            drop(out.try_take(1024));
        }
        let due = begin.elapsed().as_millis() * 6 / time.as_millis().max(1);
        if due > told {
            told = due;
            report(phase, bridges, id)?;
        }
    }
    report(phase, bridges, id)
}

/// A message of 1 KiB of its own.
fn message(number: u64) -> BridgeMessage {
    let payload = format!("{{\"event\":\"user_login\",\"filler\":\"{}\"}}", "x".repeat(980));
    BridgeMessage::new(MessageId::from_u128(number.into()), Bytes::from(payload))
}

fn report(phase: &str, bridges: &dyn CommunicationBridge, id: BridgeId) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: not told here");
    let ledger = bridges.bridge_metrics(id)?.ledger;
    println!(
        "{phase:8} {resident}   received {} delivered {} in flight {}",
        ledger.received, ledger.delivered, ledger.in_flight
    );
    Ok(())
}
