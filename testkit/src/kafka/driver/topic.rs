//! A topic of a case, and its records.

use std::sync::Arc;

use onex_spi::Result;
use onex_spi::kafka::{ProduceReceipt, ProducerDriver, ProducerRecord, TopicPartition};

use super::judge::broken;
use crate::suite::Stop;

/// A topic of this case.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: i32,
}

impl Topic {
    /// A partition of it.
    pub(crate) fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.name), partition)
    }

    /// All its partitions.
    pub(crate) fn all(&self) -> Vec<TopicPartition> {
        (0..self.partitions).map(|partition| self.at(partition)).collect()
    }

    /// A record for it.
    pub(crate) fn record(&self, value: impl Into<String>) -> ProducerRecord {
        ProducerRecord::new(Arc::clone(&self.name)).with_value(value.into())
    }

    /// Records with the values `0`, `1`, .. for one partition.
    pub(crate) fn numbered(&self, partition: i32, numbers: std::ops::Range<usize>) -> Vec<ProducerRecord> {
        numbers.map(|number| self.record(number.to_string()).with_partition(partition)).collect()
    }
}

/// Produces what must be stored.
pub(crate) async fn store(
    producer: &Arc<dyn ProducerDriver>,
    records: Vec<ProducerRecord>,
) -> Result<Vec<ProduceReceipt>, Stop> {
    let sent = records.len();
    let answers = producer.produce(records).await;
    if answers.len() != sent {
        return Err(broken("K4", format!("{} answers for {sent} records", answers.len())));
    }
    let stored: Result<Vec<_>> = answers.into_iter().collect();
    Ok(stored?)
}
