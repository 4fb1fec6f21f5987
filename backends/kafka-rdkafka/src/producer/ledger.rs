//! Who waits for which record: one slot for a chunk of records, one wake when its last answer has come.
//!
//! ```text
//!  enqueue  open(chunk) ─► slot ─► opaque of a record = slot << 10 | index ─► librdkafka
//!  answer   delivery report ─► settle(opaque, result) ─► the last one: permits go back, ONE oneshot wakes the waiter
//! ```
//! One lock holds the slots and the counters, so that a snapshot always adds up (K26).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onex_spi::kafka::{ClientStats, ProduceReceipt, Timestamp, Undelivered};
use onex_spi::{Effect, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The most records of one chunk.
pub(super) const CHUNK: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 10;

/// The answers of one chunk, in the order of its records.
pub(super) type Answers = Vec<Result<ProduceReceipt>>;

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    slots: Vec<Option<Chunk>>,
    free: Vec<usize>,
    stats: ClientStats,
    /// Records that were handed to librdkafka and have no answer yet.
    enqueued: u64,
    /// Whether the closing time is over: nothing more goes out.
    cut: bool,
    /// What the close took back.
    undelivered: Undelivered,
}

/// Where a record was stored; its topic is its chunk's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) partition: i32,
    pub(super) offset: Option<i64>,
    pub(super) timestamp: Option<Timestamp>,
}

#[derive(Debug)]
struct Chunk {
    topic: Arc<str>,
    answers: Vec<Option<Result<ProduceReceipt>>>,
    missing: usize,
    done: oneshot::Sender<Answers>,
    /// Room in the queues; goes back when the chunk is gone.
    _room: Vec<OwnedSemaphorePermit>,
}

/// A chunk's place in the ledger, and the end of its waiting.
pub(super) struct Slot {
    number: usize,
    pub(super) answers: oneshot::Receiver<Answers>,
}

impl Slot {
    /// What librdkafka carries along with record `index` of the chunk.
    pub(super) fn opaque(&self, index: usize) -> usize {
        self.number << INDEX_BITS | index
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts records that a call brought in.
    pub(super) fn accept(&self, records: u64) {
        let mut book = self.book();
        book.stats.accepted += records;
        book.stats.in_flight += records;
    }

    /// Counts records that ended before librdkafka had them; the close tells those that it `took_back`.
    pub(super) fn refuse(&self, records: u64, took_back: bool) {
        let mut book = self.book();
        book.stats.failed += records;
        book.stats.in_flight -= records;
        if took_back {
            book.undelivered.never_sent += records;
        }
    }

    /// Opens a slot for a chunk; `None` once the close has cut off what waits.
    pub(super) fn open(
        &self,
        topic: &Arc<str>,
        records: usize,
        bytes: u64,
        room: Vec<OwnedSemaphorePermit>,
    ) -> Option<Slot> {
        let (done, answers) = oneshot::channel();
        let mut book = self.book();
        if book.cut {
            return None;
        }
        let answers_due = vec![None; records];
        let chunk =
            Chunk { topic: Arc::clone(topic), answers: answers_due, missing: records, done, _room: room };
        let number = match book.free.pop() {
            Some(number) => {
                book.slots[number] = Some(chunk);
                number
            }
            None => {
                book.slots.push(Some(chunk));
                book.slots.len() - 1
            }
        };
        book.enqueued += records as u64;
        book.stats.bytes += bytes;
        Some(Slot { number, answers })
    }

    /// Takes the answer of one record; the last one of a chunk wakes its waiter.
    pub(super) fn settle(&self, opaque: usize, answer: Result<Stored>) {
        let (number, index) = (opaque >> INDEX_BITS, opaque & (CHUNK - 1));
        let ended = {
            let mut book = self.book();
            let Some(chunk) = book.slots.get_mut(number).and_then(Option::as_mut) else { return };
            let Some(place @ None) = chunk.answers.get_mut(index) else { return };
            let closed = match &answer {
                Ok(_) => None,
                Err(error) => Some((error.kind() == ErrorKind::Closed).then(|| error.effect())),
            };
            *place = Some(answer.map(|stored| {
                ProduceReceipt::new(
                    Arc::clone(&chunk.topic),
                    stored.partition,
                    stored.offset,
                    stored.timestamp,
                )
            }));
            chunk.missing -= 1;
            let ended = chunk.missing == 0;
            book.enqueued -= 1;
            book.stats.in_flight -= 1;
            match closed {
                None => book.stats.acknowledged += 1,
                Some(taken_back) => {
                    book.stats.failed += 1;
                    match taken_back {
                        Some(Effect::NotApplied) => book.undelivered.never_sent += 1,
                        Some(Effect::Unknown) => book.undelivered.unknown += 1,
                        None => {}
                    }
                }
            }
            if !ended {
                return;
            }
            book.free.push(number);
            book.slots[number].take()
        };
        // Outside the lock: waking runs foreign code.
        if let Some(chunk) = ended {
            // A waiter that is gone has dropped its call; its records are counted all the same.
            let _ = chunk.done.send(chunk.answers.into_iter().flatten().collect());
        }
    }

    pub(super) fn stats(&self) -> ClientStats {
        self.book().stats
    }

    /// Whether every record that came in has its answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.book().stats.in_flight == 0
    }

    /// Whether librdkafka owes no answer.
    pub(super) fn is_answered(&self) -> bool {
        self.book().enqueued == 0
    }

    /// Lets nothing more go out.
    pub(super) fn cut(&self) {
        self.book().cut = true;
    }

    /// What was not delivered, once the close is over: what was purged, what never went out, what has no answer.
    pub(super) fn undelivered(&self) -> Undelivered {
        let book = self.book();
        let waiting = book.stats.in_flight - book.enqueued;
        Undelivered::new(book.undelivered.never_sent + waiting, book.undelivered.unknown + book.enqueued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onex_spi::Error;

    fn receipt(offset: i64) -> Result<Stored> {
        Ok(Stored { partition: 0, offset: Some(offset), timestamp: None })
    }

    #[test]
    fn a_chunk_is_answered_in_order_once_and_its_slot_is_used_again() {
        let ledger = Ledger::default();
        ledger.accept(3);
        let mut slot = ledger.open(&"t".into(), 2, 10, Vec::new()).expect("open");
        ledger.settle(slot.opaque(1), receipt(1));
        ledger.settle(slot.opaque(1), receipt(9));
        assert!(slot.answers.try_recv().is_err(), "one answer is missing");
        ledger.settle(slot.opaque(0), receipt(0));
        let offsets: Vec<_> = slot
            .answers
            .try_recv()
            .expect("done")
            .into_iter()
            .map(|answer| answer.map(|r| r.offset))
            .collect();
        assert!(matches!(offsets[..], [Ok(Some(0)), Ok(Some(1))]), "{offsets:?}");
        let stats = ledger.stats();
        assert_eq!((stats.accepted, stats.acknowledged, stats.in_flight, stats.bytes), (3, 2, 1, 10));
        let again = ledger.open(&"t".into(), 1, 0, Vec::new()).expect("open");
        assert_eq!(again.opaque(0), 0, "the first slot is free again");
    }

    #[test]
    fn a_close_tells_apart_what_never_went_out_and_what_may_be_stored() {
        let ledger = Ledger::default();
        ledger.accept(5);
        let slot = ledger.open(&"t".into(), 3, 0, Vec::new()).expect("open");
        ledger.settle(slot.opaque(0), receipt(0));
        ledger.settle(slot.opaque(1), Err(Error::closed("kafka.produce", "the producer")));
        ledger.cut();
        assert!(ledger.open(&"t".into(), 1, 0, Vec::new()).is_none());
        // One purged before it was sent, two that wait for room, one without an answer.
        assert_eq!(ledger.undelivered(), Undelivered::new(3, 1));
        // A waiting call may hear of the cut before the close has counted.
        ledger.refuse(1, true);
        assert_eq!(ledger.undelivered(), Undelivered::new(3, 1));
    }
}
