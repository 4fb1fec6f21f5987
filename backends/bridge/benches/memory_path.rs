//! 1 KiB of JSON with 22 fields from a queue by one rule on one field to a queue, on one thread: beside parsing it with serde_json.
//!
//! ```text
//!  offer ─► queue `in` ─► bridge: receive, rule, deliver, settle ─► queue `out` ─► take      raw: parse, look at the field
//! ```
//!
//! `cargo bench -p onex-bridge --bench memory_path`

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use onex_bench::{Comparison, Row, table};
use onex_bridge::memory::{MemoryHub, MemoryQueue};
use onex_spi::bridge::{
    BridgeConfig, BridgeMessage, CommunicationBridge, MessageFormat, MessageId, Protocol, RoutingRule,
};
use onex_spi::provider::Table;
use onex_spi::{Result, TokioClock};
use serde::de::IgnoredAny;
use tokio::runtime::Runtime;

const MESSAGES: u64 = 200_000;
const BATCH: usize = 256;

fn main() -> Result<()> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => unreachable!("a runtime: {error}"),
    };
    let payload = payload();
    println!("a payload of {} bytes", payload.len());
    let equality = "payload.event == 'user_login'";
    let cel = "payload.event.startsWith('user_log')";
    let both = "payload.event.startsWith('user_log') && payload.amount > 5";
    let parse = |n: u64| {
        for _ in 0..n {
            let value: serde_json::Value = parsed(serde_json::from_slice(black_box(&payload)));
            black_box(value["event"] == "user_login");
        }
    };
    let skip = |n: u64| {
        for _ in 0..n {
            black_box(parsed(serde_json::from_slice::<IgnoredAny>(black_box(&payload))));
        }
    };
    let rows = [
        compare(&runtime, &payload, "equality (raw: parse to Value, look)", Some(equality), parse)?,
        compare(&runtime, &payload, "CEL (raw: parse to Value, look)", Some(cel), parse)?,
        compare(&runtime, &payload, "CEL, two fields (raw: parse to Value, look)", Some(both), parse)?,
        compare(&runtime, &payload, "equality (raw: skip all of it)", Some(equality), skip)?,
        compare(&runtime, &payload, "no rule, raw bytes (raw: skip all of it)", None, skip)?,
    ];
    println!("{}", table(&rows));
    for row in &rows {
        println!("{}: {:.0} messages/s", row.name, 1e9 / row.our_nanos);
    }
    Ok(())
}

fn compare(
    runtime: &Runtime,
    payload: &Bytes,
    name: &str,
    condition: Option<&str>,
    raw: impl FnMut(u64),
) -> Result<Row> {
    let world = World::new(runtime, payload, condition)?;
    Ok(Comparison::new(name).operations(MESSAGES).run(raw, |n| runtime.block_on(world.move_messages(n))))
}

struct World {
    into: MemoryQueue,
    out: MemoryQueue,
    batch: Vec<BridgeMessage>,
    bridges: Arc<dyn CommunicationBridge>,
}

impl World {
    fn new(runtime: &Runtime, payload: &Bytes, condition: Option<&str>) -> Result<Self> {
        let hub = MemoryHub::new();
        let (into, out) = (hub.queue("in", 4 * BATCH), hub.queue("out", 4 * BATCH));
        let bridges = onex_bridge::open(vec![hub.protocol()], Arc::new(TokioClock::new()), 1)?;
        let source = Table::from_iter([("queue".to_owned(), "in".into())]);
        let config = BridgeConfig::default().with_ends(source, Table::new());
        let config = match condition {
            Some(condition) => config.with_rules(vec![RoutingRule::new(condition, "out")]),
            None => config.with_format(MessageFormat::Raw).with_default_route("out"),
        };
        let memory = Protocol::new("memory");
        runtime.block_on(bridges.create_bridge("bench", memory.clone(), memory, config))?;
        // The messages are made beforehand: they are the measured path's only allocation that is not the bridge's.
        let batch = (0..BATCH as u128)
            .map(|id| BridgeMessage::new(MessageId::from_u128(id), payload.clone()))
            .collect();
        Ok(Self { into, out, batch, bridges })
    }

    async fn move_messages(&self, n: u64) {
        let (mut sent, mut arrived) = (0, 0);
        while arrived < n {
            if sent < n && self.into.is_empty() {
                let most = usize::try_from(n - sent).unwrap_or(BATCH).min(BATCH);
                if self.into.offer_all(&self.batch[..most]).await.is_err() {
                    unreachable!("nobody closes the queue");
                }
                sent += most as u64;
            }
            tokio::task::yield_now().await;
            arrived += self.out.try_take(2 * BATCH).len() as u64;
        }
        assert_eq!(self.bridges.all_bridges().len(), 1);
    }
}

/// 22 fields of the usual kinds; the one that the rules look at stands in the middle.
fn payload() -> Bytes {
    let mut fields: Vec<String> = (0..10)
        .map(|n| format!(r#""field_{n:02}":"a value of some length, number {n:02}, as they come""#))
        .collect();
    fields.push(r#""event":"user_login""#.to_owned());
    fields.push(r#""amount":1234.5"#.to_owned());
    fields.push(r#""user":{"id":815,"name":"somebody","roles":["admin","writer"]}"#.to_owned());
    fields.extend((0..5).map(|n| format!(r#""number_{n}":{}"#, 7919 * (n + 1))));
    fields.extend(
        (0..4).map(|n| format!(r#""note_{n}":"more text, so that it is a kibibyte in the end {n}""#)),
    );
    Bytes::from(format!("{{{}}}", fields.join(",")))
}

fn parsed<T>(value: serde_json::Result<T>) -> T {
    match value {
        Ok(value) => value,
        Err(error) => unreachable!("the payload is JSON: {error}"),
    }
}
