//! The source: what the bridge sees of the consumer that a task of its own looks after.
//!
//! ```text
//!  Worker ─ records ─► buffer ─ receive ─► the bridge ─ settle ─► Progress of each partition ─► Worker commits
//!    ▲                                                                                           │
//!    └──────────────── changed: something to commit, room again, a close ◄───────────────────────┘
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{BridgeContext, BridgeMessage, BridgeSource, DeliveryTag, Settled};
use onex_spi::kafka::KafkaDriver;
use onex_spi::{Health, Lifecycle, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::KafkaSourceConfig;
use super::shared::Shared;
use super::worker::Worker;

/// Messages that are read from topics.
#[derive(Debug)]
pub(super) struct KafkaSource {
    shared: Arc<Shared>,
    driver: Arc<dyn KafkaDriver>,
    topics: Vec<String>,
    worker: AbortHandle,
    ended: watch::Receiver<Option<Result<()>>>,
}

impl KafkaSource {
    pub(super) async fn open(
        driver: Arc<dyn KafkaDriver>,
        config: KafkaSourceConfig,
        context: &BridgeContext,
    ) -> Result<Self> {
        for topic in &config.topics {
            driver.topic_metadata(topic).await?;
        }
        let consumer = driver.consumer(config.consumer()).await?;
        consumer.subscribe(&config.topics).await?;
        let shared = Arc::new(Shared::new(config.on_failed, config.buffer, context.clock.clone()));
        let (told, ended) = watch::channel(None);
        let worker = Worker::new(shared.clone(), consumer, config.revoke_timeout);
        let worker = tokio::spawn(async move {
            let end = worker.run().await;
            told.send_replace(Some(end));
        });
        Ok(Self { shared, driver, topics: config.topics, worker: worker.abort_handle(), ended })
    }
}

#[async_trait]
impl BridgeSource for KafkaSource {
    async fn receive(&self, max: usize, into: &mut Vec<(DeliveryTag, BridgeMessage)>) -> Result<usize> {
        loop {
            let mut arrived = pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            if let Some(received) = self.shared.hand_out(max, into) {
                return received;
            }
            arrived.await;
        }
    }

    fn settle(&self, settled: Vec<Settled>) {
        self.shared.settle(settled);
    }

    fn addresses(&self) -> Vec<String> {
        self.topics.iter().map(|topic| format!("kafka:{topic}")).collect()
    }
}

#[async_trait]
impl Lifecycle for KafkaSource {
    async fn health(&self) -> Health {
        match self.shared.health() {
            Some(health) => health,
            None => self.driver.health().await,
        }
    }

    /// Takes nothing new, waits for what was handed out, commits and leaves the group.
    async fn close(&self, within: Duration) -> Result<()> {
        self.shared.begin_close(within);
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await.map(|end| end.clone());
        // A worker that is gone without a word went with its runtime.
        end.ok().flatten().unwrap_or(Ok(()))
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // Where a close goes on behind, it keeps its time; else the consumer leaves as the worker is dropped.
        if !self.shared.is_closing() {
            self.worker.abort();
        }
    }
}
