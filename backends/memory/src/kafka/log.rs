//! The log of one partition.

use std::collections::VecDeque;

use onex_spi::kafka::{KafkaMessage, Timestamp, Watermarks};

/// Records in order; the oldest may be removed, the offsets go on counting.
#[derive(Debug, Default)]
pub(super) struct Log {
    low: i64,
    bytes: u64,
    records: VecDeque<KafkaMessage>,
}

impl Log {
    /// Adds a record, whose offset is the high watermark.
    pub(super) fn append(&mut self, record: KafkaMessage) {
        self.bytes += record.bytes();
        self.records.push_back(record);
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        // A log in memory never holds 2^63 records.
        Watermarks::new(self.low, self.low + self.records.len() as i64)
    }

    /// At most `max` records from `from` on, which lies between the watermarks.
    pub(super) fn read(&self, from: i64, max: usize) -> impl Iterator<Item = KafkaMessage> {
        let skip = usize::try_from(from - self.low).unwrap_or(0).min(self.records.len());
        self.records.range(skip..).take(max).cloned()
    }

    /// The offset of the first record at or after `time`.
    pub(super) fn first_at(&self, time: Timestamp) -> Option<i64> {
        self.records.iter().find(|record| record.timestamp >= time).map(|record| record.offset)
    }

    /// Removes what lies before `offset`, which is at most the high watermark; the low one never falls.
    pub(super) fn delete_before(&mut self, offset: i64) {
        while self.low < offset && self.pop() {}
    }

    /// Removes from the old end what is older than `oldest` or beyond `max_bytes`.
    pub(super) fn trim(&mut self, oldest: Option<Timestamp>, max_bytes: Option<u64>) {
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
    use onex_spi::kafka::ProducerRecord;

    use super::*;

    fn log(times: &[i64]) -> Log {
        let mut log = Log::default();
        for time in times {
            let record = ProducerRecord::new("t").with_value("ten bytes!");
            let offset = log.watermarks().high;
            log.append(KafkaMessage::stored(record, 0, offset, Timestamp::from_millis(*time)));
        }
        log
    }

    fn offsets(log: &Log, from: i64, max: usize) -> Vec<i64> {
        log.read(from, max).map(|message| message.offset).collect()
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
