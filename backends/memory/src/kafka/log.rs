//! The log of one partition.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use onex_spi::kafka::{Header, KafkaMessage, Timestamp, TimestampKind, Watermarks};

/// A record as it lies in a log; its offset is the log's low watermark plus its place.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<Header>,
    pub(super) timestamp: Timestamp,
    pub(super) kind: TimestampKind,
}

impl Stored {
    /// The bytes of key and value.
    fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }

    fn message(&self, topic: &Arc<str>, partition: i32, offset: i64) -> KafkaMessage {
        let mut message = KafkaMessage::new(topic.clone(), partition, offset, self.timestamp);
        message.key.clone_from(&self.key);
        message.value.clone_from(&self.value);
        message.headers.clone_from(&self.headers);
        message.timestamp_kind = self.kind;
        message
    }
}

/// Records in order; the oldest may be removed, the offsets go on counting.
#[derive(Debug, Default)]
pub(super) struct Log {
    low: i64,
    bytes: usize,
    records: VecDeque<Stored>,
}

impl Log {
    /// Adds a record and tells its offset.
    pub(super) fn append(&mut self, record: Stored) -> i64 {
        let offset = self.watermarks().high;
        self.bytes += record.bytes();
        self.records.push_back(record);
        offset
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        // A log in memory never holds 2^63 records.
        Watermarks::new(self.low, self.low + self.records.len() as i64)
    }

    /// At most `max` records from `from` on, which lies between the watermarks.
    pub(super) fn read(
        &self,
        topic: &Arc<str>,
        partition: i32,
        from: i64,
        max: usize,
    ) -> impl Iterator<Item = KafkaMessage> {
        let skip = usize::try_from(from - self.low).unwrap_or(0).min(self.records.len());
        (from..)
            .zip(self.records.range(skip..))
            .take(max)
            .map(move |(offset, record)| record.message(topic, partition, offset))
    }

    /// The offset of the first record at or after `time`.
    pub(super) fn first_at(&self, time: Timestamp) -> Option<i64> {
        (self.low..).zip(&self.records).find(|(_, record)| record.timestamp >= time).map(|(offset, _)| offset)
    }

    /// Removes what lies before `offset`, which is at most the high watermark; the low one never falls.
    pub(super) fn delete_before(&mut self, offset: i64) {
        while self.low < offset && self.pop() {}
    }

    /// Removes from the old end what is older than `oldest` or beyond `max_bytes`.
    pub(super) fn trim(&mut self, oldest: Option<Timestamp>, max_bytes: Option<usize>) {
        while self.records.front().is_some_and(|front| {
            oldest.is_some_and(|oldest| front.timestamp < oldest)
                || max_bytes.is_some_and(|max| self.bytes > max)
        }) {
            self.pop();
        }
    }

    fn pop(&mut self) -> bool {
        let Some(record) = self.records.pop_front() else { return false };
        self.bytes -= record.bytes();
        self.low += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(times: &[i64]) -> Log {
        let mut log = Log::default();
        for time in times {
            log.append(Stored {
                key: None,
                value: Some(Bytes::from_static(b"ten bytes!")),
                headers: Vec::new(),
                timestamp: Timestamp::from_millis(*time),
                kind: TimestampKind::Create,
            });
        }
        log
    }

    fn offsets(log: &Log, from: i64, max: usize) -> Vec<i64> {
        log.read(&"t".into(), 0, from, max).map(|message| message.offset).collect()
    }

    #[test]
    fn offsets_go_on_counting_where_old_records_were_removed() {
        let mut log = log(&[1, 2, 3, 4]);
        log.delete_before(2);
        log.delete_before(1);
        assert_eq!(log.watermarks(), Watermarks::new(2, 4));
        assert_eq!(
            (offsets(&log, 2, 9), offsets(&log, 3, 9), offsets(&log, 4, 9)),
            (vec![2, 3], vec![3], vec![])
        );
        assert_eq!(offsets(&log, 2, 1), [2]);
    }

    #[test]
    fn the_first_record_of_a_time_need_not_be_in_order_of_time() {
        let log = log(&[10, 30, 20, 40]);
        let first = |time| log.first_at(Timestamp::from_millis(time));
        assert_eq!((first(0), first(11), first(31), first(41)), (Some(0), Some(1), Some(3), None));
    }

    #[test]
    fn retention_removes_the_old_end_alone() {
        let mut log = log(&[10, 30, 20, 40]);
        log.trim(Some(Timestamp::from_millis(25)), None);
        assert_eq!(log.watermarks(), Watermarks::new(1, 4));
        log.trim(None, Some(25));
        assert_eq!(log.watermarks(), Watermarks::new(2, 4));
        log.trim(None, Some(0));
        assert_eq!(log.watermarks(), Watermarks::new(4, 4));
    }
}
