//! One `produce` on its way: the answers it has, the chunks it fills, what it owes the counters.

use std::sync::Arc;
use std::time::Instant;

use onex_spi::kafka::{ProduceReceipt, ProducerConfig, ProducerRecord};
use onex_spi::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::lane::{LaneHandle, wire_bytes};
use super::ledger::{Answers, CHUNK};
use super::thread::Life;

/// The most bytes of one chunk: copying them is the longest that a call keeps its thread.
const CHUNK_BYTES: usize = 256 << 10;

/// One `produce`: its records, its answers, and what it owes the counters where it is dropped.
pub(super) struct Call {
    pub(super) life: Arc<Life>,
    pub(super) records: Vec<ProducerRecord>,
    pub(super) answers: Vec<Option<Result<ProduceReceipt>>>,
    pub(super) deadline: Instant,
    pub(super) sent: Vec<(Vec<usize>, oneshot::Receiver<Answers>, Arc<LaneHandle>)>,
    /// Records without an answer that librdkafka does not have.
    pub(super) owed: u64,
}

impl Call {
    pub(super) fn new(life: Arc<Life>, records: Vec<ProducerRecord>, deadline: Instant) -> Self {
        let owed = records.len() as u64;
        life.ledger.accept(owed);
        let answers = records.iter().map(|_| None).collect();
        Self { life, records, answers, deadline, sent: Vec::new(), owed }
    }

    pub(super) fn answer(&mut self, index: usize, error: Error) {
        let took_back = error.kind() == ErrorKind::Closed;
        self.answers[index] = Some(Err(error));
        self.owed -= 1;
        self.life.ledger.refuse(1, took_back);
    }

    pub(super) fn refuse_all(&mut self, indexes: &[usize], error: &Error) {
        for &index in indexes.iter() {
            self.answer(index, error.clone());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.life.ledger.refuse(self.owed, false);
    }
}

/// What a record weighs.
pub(super) struct Size {
    /// Key and value, for the counters.
    pub(super) counted: u64,
    /// With the headers, for the queue.
    pub(super) bytes: usize,
    /// At most, in a batch, for the gate of a small topic.
    pub(super) wire: usize,
}

impl Size {
    pub(super) fn of(record: &ProducerRecord) -> Self {
        Self { counted: record.bytes(), bytes: record.size(), wire: wire_bytes(record) }
    }
}

/// Records on their way into one chunk.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) records: Vec<(usize, Option<i32>)>,
    pub(super) counted: u64,
    pub(super) bytes: usize,
    pub(super) wire: usize,
}

impl Pending {
    /// Whether one more record fits; the first one always does.
    pub(super) fn takes(&self, size: &Size, room: Option<usize>, config: &ProducerConfig) -> bool {
        // Halves, so that one chunk fills while another is on its way.
        let most_records = (config.queue_records / 2).clamp(1, CHUNK);
        let most_bytes = (config.queue_bytes / 2).clamp(1, CHUNK_BYTES);
        self.records.is_empty()
            || self.records.len() < most_records
                && self.bytes + size.bytes <= most_bytes
                && room.is_none_or(|room| self.wire + size.wire <= room)
    }

    pub(super) fn push(&mut self, index: usize, partition: Option<i32>, size: &Size) {
        self.records.push((index, partition));
        self.counted += size.counted;
        self.bytes += size.bytes;
        self.wire += size.wire;
    }
}
