//! One lane per topic: its calls go in one after the other (K2), and what the cluster said about the topic is kept.
//!
//! ```text
//!  lanes.enter([topics]) ─► every lane's queue at once ─► turn ─► Known: partitions, limit of a batch
//!                                                               └ gate: bytes in flight, for topics with small batches
//! ```

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use onex_spi::kafka::ProducerRecord;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::cluster::Layout;
use crate::native::BATCH_BYTES;

/// How long a topic's description holds unless a delivery fails.
const FRESH: Duration = Duration::from_secs(300);
/// A batch's own header on the wire.
const BATCH_HEADER: usize = 61;

/// What a producer knows about a topic.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) partitions: i32,
    /// Whether every partition had a leader.
    pub(super) all_led: bool,
    /// The largest batch that the topic takes, where it is known and smaller than what librdkafka packs.
    pub(super) small: Option<Small>,
    at: Instant,
}

/// A topic whose limit is below the size of librdkafka's batches.
///
/// librdkafka packs up to `batch.size`, for all topics alike, and does not split a batch that the broker refuses. So no
/// more bytes than one batch may hold are in flight: whatever is packed together fits.
#[derive(Clone, Debug)]
pub(super) struct Small {
    pub(super) batch: usize,
    pub(super) room: usize,
    pub(super) gate: Arc<Semaphore>,
}

impl Known {
    pub(super) fn new(layout: &Layout, limit: Option<usize>, now: Instant) -> Self {
        let small = limit.filter(|limit| *limit < BATCH_BYTES + BATCH_HEADER).map(|batch| {
            let room = batch.saturating_sub(BATCH_HEADER).max(1);
            Small { batch, room, gate: Arc::new(Semaphore::new(room)) }
        });
        Self { partitions: layout.count(), all_led: layout.all_led(), small, at: now }
    }

    /// Keeps the gate of the description before it, where the limit is the same: its bytes are still in flight.
    pub(super) fn succeeding(mut self, before: Option<&Self>) -> Self {
        let same = |small: &Small| self.small.as_ref().is_some_and(|new| new.batch == small.batch);
        if let Some(small) = before.and_then(|known| known.small.as_ref()).filter(|small| same(small)) {
            self.small = Some(small.clone());
        }
        self
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < FRESH
    }
}

/// A topic's state; held by the one call whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) known: Option<Known>,
    /// The partition of null keys, before the division; moves on with every batch.
    pub(super) sticky: u32,
}

#[derive(Debug, Default)]
pub(super) struct LaneHandle {
    pub(super) lane: Arc<tokio::sync::Mutex<Lane>>,
    /// Set where a delivery failed: what is known may be wrong.
    stale: AtomicBool,
}

impl LaneHandle {
    pub(super) fn distrust(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Whether what is known was found wrong since it was read; forgets that.
    pub(super) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }
}

#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<Arc<str>, Arc<LaneHandle>>>);

/// A call's turn on one topic.
pub(super) struct Turn {
    pub(super) handle: Arc<LaneHandle>,
    pub(super) lane: OwnedMutexGuard<Lane>,
}

impl Lanes {
    /// Waits for the turn on every topic; the calls of a topic take turns in the order in which they were first polled.
    pub(super) async fn enter(&self, topics: &[Arc<str>], start: u32) -> Vec<Turn> {
        let mut handles = Vec::with_capacity(topics.len());
        let mut waits: Vec<Pin<Box<dyn Future<Output = OwnedMutexGuard<Lane>> + Send>>> = Vec::new();
        let mut turns: Vec<Option<OwnedMutexGuard<Lane>>> = Vec::new();
        poll_fn(|context| {
            // One lock around all queues: two calls that entered the same lanes in another order would wait for
            // each other for ever.
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for topic in topics {
                let handle = lanes.entry(Arc::clone(topic)).or_insert_with(|| {
                    let lane = Lane { known: None, sticky: start };
                    Arc::new(LaneHandle {
                        lane: Arc::new(tokio::sync::Mutex::new(lane)),
                        ..Default::default()
                    })
                });
                let mut wait: Pin<Box<dyn Future<Output = _> + Send>> =
                    Box::pin(Arc::clone(&handle.lane).lock_owned());
                turns.push(match wait.as_mut().poll(context) {
                    Poll::Ready(turn) => Some(turn),
                    Poll::Pending => None,
                });
                handles.push(Arc::clone(handle));
                waits.push(wait);
            }
            Poll::Ready(())
        })
        .await;
        let mut entered = Vec::with_capacity(topics.len());
        for ((handle, wait), turn) in handles.into_iter().zip(waits).zip(turns) {
            let lane = match turn {
                Some(turn) => turn,
                None => wait.await,
            };
            entered.push(Turn { handle, lane });
        }
        entered
    }

    /// Forgets a topic that does not exist, so that wrong names do not pile up.
    pub(super) fn forget(&self, topic: &str, turn: &Turn) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two owners are the map and this turn; a third is a call that waits and will ask again.
        if Arc::strong_count(&turn.handle) <= 2 {
            lanes.remove(topic);
        }
    }
}

/// The bytes of a batch that holds this record alone, uncompressed; format v2 of the protocol.
pub(super) fn batch_bytes(record: &ProducerRecord) -> usize {
    let field = |bytes: &Option<bytes::Bytes>| match bytes {
        None => varint(-1),
        Some(bytes) => varint(bytes.len() as i64) + bytes.len(),
    };
    let headers: usize = record
        .headers
        .iter()
        .map(|header| varint(header.name.len() as i64) + header.name.len() + field(&header.value))
        .sum();
    // Attributes, delta of the time and delta of the offset take a byte each in the first record.
    let body = 3 + field(&record.key) + field(&record.value) + varint(record.headers.len() as i64) + headers;
    BATCH_HEADER + varint(body as i64) + body
}

/// The most bytes that this record adds to a batch.
pub(super) fn wire_bytes(record: &ProducerRecord) -> usize {
    // Later records of a batch may need ten bytes for the delta of the time and five for that of the offset.
    batch_bytes(record) - BATCH_HEADER + 13
}

/// The length of a zigzag varint.
fn varint(value: i64) -> usize {
    let zigzag = (value << 1 ^ value >> 63) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker with `max.message.bytes` = 1,048,588 stored the first and refused the second.
    #[test]
    fn the_size_of_a_batch_is_what_the_broker_counts() {
        let record = |bytes: usize| ProducerRecord::new("t").with_value(vec![b'x'; bytes]);
        assert_eq!(batch_bytes(&record(1_048_513)), 1_048_585);
        assert_eq!(batch_bytes(&record(1_048_517)), 1_048_589);
        let headers = record(10).with_key("key").with_header("a", "1").with_header("", "");
        // 3 + (1+3) + (1+10) + 1 + (1+1+1+1) + (1+1) = 25, with its length 26.
        assert_eq!(batch_bytes(&headers), 61 + 26);
    }

    #[tokio::test]
    async fn calls_on_crossing_topics_take_turns_and_never_wait_for_each_other() {
        let lanes = Arc::new(Lanes::default());
        let (x, y): (Arc<str>, Arc<str>) = ("x".into(), "y".into());
        let first = lanes.enter(&[Arc::clone(&x), Arc::clone(&y)], 0).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let lanes = Arc::clone(&lanes);
            let topics = if number % 2 == 0 { [x.clone(), y.clone()] } else { [y.clone(), x.clone()] };
            tasks.spawn(async move {
                let turns = lanes.enter(&topics, 0).await;
                tokio::task::yield_now().await;
                turns.len()
            });
        }
        drop(first);
        assert_eq!(tasks.join_all().await, vec![2; 20]);
    }
}
