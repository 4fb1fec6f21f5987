//! How far a consumer has read.

use std::collections::BTreeMap;

use onex_spi::kafka::{
    KafkaFault, KafkaMessage, NextOffsets, OffsetReset, Timestamp, TopicPartition, Watermarks,
};
use onex_spi::{Error, ErrorKind, Result};

use super::error::Refusal;
use super::topic::Topics;

const POLL: &str = "kafka.poll";

/// The partitions that a consumer reads.
#[derive(Debug, Default)]
pub(super) struct Readings {
    partitions: BTreeMap<TopicPartition, Reading>,
    /// The partition that is read first, so that none starves.
    first: usize,
}

/// How far one partition is read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The next offset; none until the first read, which asks the committed one.
    pub(super) position: Option<i64>,
    pub(super) paused: bool,
}

impl Readings {
    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    pub(super) fn get_mut(&mut self, at: &TopicPartition) -> Option<&mut Reading> {
        self.partitions.get_mut(at)
    }

    pub(super) fn add(&mut self, partitions: &[TopicPartition]) {
        self.partitions.extend(partitions.iter().map(|at| (at.clone(), Reading::default())));
    }

    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.partitions.remove(at);
        }
    }

    /// Reads on, at most `max` records; an error leaves every partition readable from where it was.
    pub(super) fn read(
        &mut self,
        reset: OffsetReset,
        committed: &NextOffsets,
        topics: &mut Topics,
        max: usize,
        now: Timestamp,
    ) -> Result<Vec<KafkaMessage>> {
        let mut open: Vec<_> = self.partitions.iter_mut().filter(|(_, reading)| !reading.paused).collect();
        for (at, reading) in &mut open {
            let bounds = topics.log(POLL, at, now)?.watermarks();
            let wanted = reading.position.or_else(|| committed.get(at).copied());
            reading.position = Some(start(at, wanted, bounds, reset)?);
        }
        let first = self.first % open.len().max(1);
        open.rotate_left(first);
        let mut records = Vec::new();
        for (at, reading) in open {
            let left = max - records.len();
            let Some(position) = reading.position.filter(|_| left > 0) else { continue };
            let before = records.len();
            records.extend(topics.log(POLL, at, now)?.read(&at.topic, at.partition, position, left));
            if let Some(last) = records[before..].last() {
                reading.position = Some(last.next_offset());
            }
        }
        if !records.is_empty() {
            self.first = first + 1;
        }
        Ok(records)
    }
}

/// Where reading begins: at `wanted` if the log has it, else as `reset` says.
fn start(at: &TopicPartition, wanted: Option<i64>, bounds: Watermarks, reset: OffsetReset) -> Result<i64> {
    match (wanted, reset) {
        (Some(offset), _) if (bounds.low..=bounds.high).contains(&offset) => Ok(offset),
        (_, OffsetReset::Earliest) => Ok(bounds.low),
        (_, OffsetReset::Latest) => Ok(bounds.high),
        (Some(offset), _) => {
            let message = format!("{at} has offsets {} to {}, not {offset}; seek", bounds.low, bounds.high);
            Err(Refusal::OffsetOutOfRange.error_at(POLL, at.clone(), message))
        }
        (None, _) => {
            let message =
                format!("{at} has no committed offset and offset_reset is error; seek or commit one");
            let fault = KafkaFault::new("NO_OFFSET_FOR_PARTITION").with_at(at.clone());
            Err(Error::new(ErrorKind::NotFound, POLL, message).not_applied().with_detail(fault))
        }
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::kafka::{CreateTopicRequest, TimestampKind};

    use super::*;
    use crate::kafka::log::Stored;

    #[test]
    fn no_partition_starves() -> Result<()> {
        let now = Timestamp::from_millis(0);
        let mut topics = Topics::default();
        topics.create("kafka.create_topic", &CreateTopicRequest::new("t", 3), 1)?;
        let all: Vec<_> = (0..3).map(|partition| TopicPartition::new("t", partition)).collect();
        for at in &all {
            for _ in 0..4 {
                let (headers, kind) = (Vec::new(), TimestampKind::Create);
                topics.log(POLL, at, now)?.append(Stored {
                    key: None,
                    value: None,
                    headers,
                    timestamp: now,
                    kind,
                });
            }
        }
        let mut readings = Readings::default();
        readings.add(&all);
        let mut order = Vec::new();
        for _ in 0..4 {
            let read = readings.read(OffsetReset::Earliest, &NextOffsets::new(), &mut topics, 2, now)?;
            order.push(read.iter().map(|record| (record.partition, record.offset)).collect::<Vec<_>>());
        }
        assert_eq!(order, [[(0, 0), (0, 1)], [(1, 0), (1, 1)], [(2, 0), (2, 1)], [(0, 2), (0, 3)]]);
        Ok(())
    }
}
