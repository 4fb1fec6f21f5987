//! The target: a batch of messages is one call of `produce`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::bridge::{BridgeContext, BridgeMessage, BridgeTarget};
use onex_spi::kafka::{KafkaDriver, ProducerConfig, ProducerDriver, Recovery, check_topic_name};
use onex_spi::{Error, ErrorKind, Gate, Health, Lifecycle, Result};

use super::KafkaTargetConfig;
use super::convert::record_of;

const DELIVER: &str = "bridge.deliver";

/// Messages that become records.
#[derive(Debug)]
pub(super) struct KafkaTarget {
    driver: Arc<dyn KafkaDriver>,
    config: ProducerConfig,
    /// `None` once one said that it needs a successor.
    producer: Mutex<Option<Arc<dyn ProducerDriver>>>,
    gate: Gate,
}

impl KafkaTarget {
    pub(super) async fn open(
        driver: Arc<dyn KafkaDriver>,
        config: KafkaTargetConfig,
        context: &BridgeContext,
    ) -> Result<Self> {
        // The defaults are idempotent and acknowledged by every replica, which is what a bridge promises.
        let config = ProducerConfig::new().with_delivery_timeout(config.delivery_timeout);
        if let Health::Unhealthy(why) = driver.health().await {
            let message = format!("Kafka cannot be reached: {why}");
            return Err(Error::new(ErrorKind::Unavailable, "bridge.target", message).not_applied());
        }
        let producer = driver.producer(config.clone()).await?;
        let gate = Gate::new("the Kafka target", context.clock.clone());
        Ok(Self { driver, config, producer: Mutex::new(Some(producer)), gate })
    }

    fn producer(&self) -> MutexGuard<'_, Option<Arc<dyn ProducerDriver>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer, or a new one where the last one needed a successor.
    async fn open_producer(&self) -> Result<Arc<dyn ProducerDriver>> {
        let known = self.producer().clone();
        match known {
            Some(producer) => Ok(producer),
            None => {
                let opened = self.driver.producer(self.config.clone()).await?;
                Ok(self.producer().get_or_insert(opened).clone())
            }
        }
    }

    async fn produce(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        let producer = match self.open_producer().await {
            Ok(producer) => producer,
            Err(error) => return refuse_all(messages, &error),
        };
        let (mut results, mut records) =
            (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        for message in messages {
            match record_of(to, message) {
                Ok(record) => {
                    records.push(record);
                    results.push(Ok(None));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let mut answers = producer.produce(records).await.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            let answer = answers.next().unwrap_or_else(|| {
                let message = "the Kafka engine gave no answer for a record (K4); report it to its author";
                Err(Error::new(ErrorKind::Unclassified, DELIVER, message))
            });
            *result = answer.map(|_| None);
        }
        let needs_successor = |result: &Result<_>| {
            let fault = result.as_ref().err().and_then(Error::kafka);
            fault.is_some_and(|fault| fault.recovery == Recovery::Reopen)
        };
        if results.iter().any(needs_successor) {
            let mut known = self.producer();
            if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &producer)) {
                *known = None;
            }
        }
        results
    }
}

#[async_trait]
impl BridgeTarget for KafkaTarget {
    fn check_route(&self, to: &str) -> Result<()> {
        check_topic_name("bridge.route", to)
    }

    fn address(&self, to: &str) -> String {
        format!("kafka:{to}")
    }

    async fn deliver(&self, to: &Arc<str>, messages: &[BridgeMessage]) -> Vec<Result<Option<BridgeMessage>>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let mut inside = match self.gate.enter(DELIVER) {
            Ok(inside) => inside,
            Err(closed) => return refuse_all(messages, &closed),
        };
        tokio::select! {
            biased;
            results = self.produce(to, messages) => results,
            () = inside.cut() => {
                let cut = Error::new(ErrorKind::Closed, DELIVER, "the Kafka target was closed while it delivered");
                refuse_all(messages, &cut)
            }
        }
    }
}

fn refuse_all(messages: &[BridgeMessage], error: &Error) -> Vec<Result<Option<BridgeMessage>>> {
    messages.iter().map(|_| Err(error.clone())).collect()
}

#[async_trait]
impl Lifecycle for KafkaTarget {
    async fn health(&self) -> Health {
        if self.gate.is_closed() {
            return Health::Unhealthy("the Kafka target is closed".to_owned());
        }
        self.driver.health().await
    }

    /// Ends the producer; the driver, which others may share, stays open for whoever made it to close.
    async fn close(&self, within: Duration) -> Result<()> {
        let delivered = self.gate.close("bridge.target", within).await;
        let producer = self.producer().take();
        let closed = match producer {
            // Every record has its answer by now, or was given up with the gate.
            Some(producer) => producer.close(within).await.map(drop),
            None => Ok(()),
        };
        delivered.and(closed)
    }
}
