//! Seeded faults over a Kafka driver and everything that it opens.
//!
//! Each record of a batch has a fate of its own. A poll is refused or delayed, never robbed of its answer: records that
//! a poll took would be gone (K23). Closing is never disturbed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaAdmin, KafkaCapabilities,
    KafkaDriver, NextOffsets, PollRequest, Polled, ProduceReceipt, ProducerConfig, ProducerDriver,
    ProducerRecord, Timestamp, TopicMetadata, TopicOutcome, TopicPartition, Undelivered, Watermarks,
};
use onex_spi::{Error, ErrorKind, Health, Lifecycle, Result};

use crate::faulty::{Fate, Faulty};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Lifecycle for Faulty<dyn KafkaDriver> {
    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.inner.close(within).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl KafkaDriver for Faulty<dyn KafkaDriver> {
    fn capabilities(&self) -> &KafkaCapabilities {
        self.inner.capabilities()
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        let faults = self.faults.branch();
        let inner = self.faults.call("kafka.producer", self.inner.producer(config)).await?;
        Ok(Arc::new(Faulty::with_faults(inner, faults)))
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        let faults = self.faults.branch();
        let inner = self.faults.call("kafka.consumer", self.inner.consumer(config)).await?;
        Ok(Arc::new(Faulty::with_faults(inner, faults)))
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        self.faults.call("kafka.create_topic", self.inner.create_topic(request)).await
    }

    async fn delete_topic(&self, name: &str) -> Result<TopicOutcome> {
        self.faults.call("kafka.delete_topic", self.inner.delete_topic(name)).await
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        self.faults.call("kafka.topic_metadata", self.inner.topic_metadata(name)).await
    }

    fn admin(&self) -> Option<&dyn KafkaAdmin> {
        self.inner.admin()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ProducerDriver for Faulty<dyn ProducerDriver> {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        const OPERATION: &str = "kafka.produce";
        let fates: Vec<_> = records.iter().map(|_| self.faults.draw()).collect();
        self.faults.delay().await;
        let sent = records.into_iter().zip(&fates);
        let sent = sent.filter(|(_, fate)| **fate != Fate::Refuse).map(|(record, _)| record);
        let mut answers = self.inner.produce(sent.collect()).await.into_iter();
        let few =
            || Error::new(ErrorKind::Unclassified, OPERATION, "the engine gave fewer answers than records");
        let mut answer = || answers.next().unwrap_or_else(|| Err(few()));
        let told = fates.into_iter().map(|fate| match fate {
            Fate::Refuse => Err(self.faults.refused(OPERATION)),
            Fate::LoseAnswer => answer().and_then(|_| Err(self.faults.lost(OPERATION))),
            Fate::Pass => answer(),
        });
        told.collect()
    }

    async fn close(&self, within: Duration) -> Result<Undelivered> {
        self.inner.close(within).await
    }

    /// The engine's counters as the caller of this wrapper sees them, so that they add up (K26).
    fn stats(&self) -> ClientStats {
        // In this order: what is counted as lost was acknowledged before.
        let faults = self.faults.own_counts();
        let mut stats = self.inner.stats();
        stats.accepted += faults.refused;
        stats.failed += faults.refused + faults.lost;
        stats.acknowledged -= faults.lost;
        stats
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ConsumerDriver for Faulty<dyn ConsumerDriver> {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        self.faults.call("kafka.subscribe", self.inner.subscribe(topics)).await
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        self.faults.call_or_refuse("kafka.poll", self.inner.poll(request)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        self.faults.call("kafka.commit", self.inner.commit(commit)).await
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        self.faults.call("kafka.committed", self.inner.committed(partitions)).await
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        self.faults.call("kafka.seek", self.inner.seek(to)).await
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.faults.call("kafka.pause", self.inner.pause(partitions)).await
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.faults.call("kafka.resume", self.inner.resume(partitions)).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        self.faults.call("kafka.watermarks", self.inner.watermarks(partition)).await
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        self.faults.call("kafka.offsets_for_times", self.inner.offsets_for_times(times)).await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.inner.close(within).await
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment()
    }

    fn stats(&self) -> ClientStats {
        self.inner.stats()
    }
}
