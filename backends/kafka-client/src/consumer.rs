//! One consumer: what it is subscribed to, who listens, how far it has read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onex_spi::kafka::{
    ConsumerDriver, KafkaMessage, NextOffsets, OffsetReset, PollRequest, Polled, RebalanceListener,
    TopicPartition,
};
use onex_spi::{Error, ErrorKind, Result};

const CONSUME: &str = "kafka.consume_messages";

/// A consumer of the driver and what the policy keeps about it.
#[derive(Debug)]
pub(crate) struct Consumer {
    driver: Arc<dyn ConsumerDriver>,
    listener: Option<Arc<dyn RebalanceListener>>,
    reset: OffsetReset,
    /// The topics that the driver was told last, held while a call consumes; `None` = unknown.
    subscribed: tokio::sync::Mutex<Option<BTreeSet<String>>>,
    /// What follows the last batch, per partition.
    positions: Mutex<NextOffsets>,
}

impl Consumer {
    pub(crate) fn new(
        driver: Arc<dyn ConsumerDriver>,
        listener: Option<Arc<dyn RebalanceListener>>,
        reset: OffsetReset,
    ) -> Self {
        Self {
            driver,
            listener,
            reset,
            subscribed: tokio::sync::Mutex::default(),
            positions: Mutex::default(),
        }
    }

    pub(crate) fn driver(&self) -> &Arc<dyn ConsumerDriver> {
        &self.driver
    }

    fn positions(&self) -> MutexGuard<'_, NextOffsets> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls until there are records or none came in time, and tells the listener what changes meanwhile.
    pub(crate) async fn consume(&self, topics: &[String], request: PollRequest) -> Result<Vec<KafkaMessage>> {
        let mut subscribed = self.subscribed.lock().await;
        if !topics.is_empty() && !is_set_of(subscribed.as_ref(), topics) {
            // Unknown while it is being told: a call that is dropped here leaves the old or the new set.
            *subscribed = None;
            self.driver.subscribe(topics).await?;
            *subscribed = Some(topics.iter().cloned().collect());
        }
        loop {
            match self.driver.poll(request).await? {
                Polled::Records(records) => {
                    self.positions()
                        .extend(NextOffsets::after(&records).iter().map(|(at, next)| (at.clone(), *next)));
                    return Ok(records);
                }
                change => self.tell(change).await?,
            }
        }
    }

    async fn tell(&self, change: Polled) -> Result<()> {
        let heard = match (&change, &self.listener) {
            (Polled::Assigned(partitions), listener) => {
                self.positions().retain(|at, _| !partitions.contains(at));
                match listener {
                    Some(listener) => listener.assigned(&*self.driver, partitions).await,
                    None => Ok(()),
                }
            }
            (Polled::Revoking(partitions), Some(listener)) => {
                listener.revoked(&*self.driver, partitions).await
            }
            (Polled::Lost(partitions), Some(listener)) => listener.lost(partitions).await,
            (Polled::Revoking(_) | Polled::Lost(_), None) => Ok(()),
            (other, _) => {
                let message = format!("the engine told a change that this policy does not know: {other:?}");
                Err(Error::new(ErrorKind::Unclassified, CONSUME, message))
            }
        };
        heard.inspect_err(|error| tracing::warn!(%error, ?change, "the listener to a rebalance failed"))
    }

    /// The records between the position and the end of each owned partition; absent where the position is not known.
    pub(crate) async fn lag(&self, assignment: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        let mut positions = self.positions().clone();
        let unread: Vec<_> = assignment.iter().filter(|at| !positions.contains_key(at)).cloned().collect();
        if !unread.is_empty() {
            let committed = self.driver.committed(&unread).await?;
            positions.extend(committed.iter().map(|(at, next)| (at.clone(), *next)));
        }
        let mut lag = BTreeMap::new();
        for at in assignment {
            let bounds = match self.driver.watermarks(at).await {
                Ok(bounds) => bounds,
                // Deleted since: there is nothing to lag behind.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let start = (self.reset == OffsetReset::Earliest).then_some(bounds.low);
            if let Some(position) = positions.get(at).copied().or(start) {
                // What retention removed is no longer there to be read.
                lag.insert(at.clone(), (bounds.high - position.max(bounds.low)).max(0));
            }
        }
        Ok(lag)
    }
}

/// Whether `topics`, in whatever order and however often each, are exactly `set`.
fn is_set_of(set: Option<&BTreeSet<String>>, topics: &[String]) -> bool {
    set.is_some_and(|set| {
        topics.iter().all(|topic| set.contains(topic)) && set.iter().all(|topic| topics.contains(topic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeats_do_not_make_another_set() {
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let set = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        for (names, same) in [
            (&["a", "b"][..], true),
            (&["b", "a", "b"], true),
            (&["a"], false),
            (&["a", "c"], false),
            (&["a", "b", "c"], false),
        ] {
            assert_eq!(is_set_of(Some(&set), &topics(names)), same, "{names:?}");
        }
        assert!(!is_set_of(None, &topics(&["a"])));
    }
}
