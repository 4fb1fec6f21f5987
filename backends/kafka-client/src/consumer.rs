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
    use std::collections::VecDeque;
    use std::time::Duration;

    use async_trait::async_trait;
    use onex_spi::kafka::{ClientStats, Commit, Timestamp, Watermarks};

    use super::*;

    /// Answers from a script and keeps a log of what it and the listener were told.
    #[derive(Debug, Default)]
    struct Scripted {
        polls: Mutex<VecDeque<Polled>>,
        told: Arc<Mutex<Vec<String>>>,
        subscribe_hangs: bool,
    }

    impl Scripted {
        fn tell(&self, text: String) {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }

    #[async_trait]
    impl ConsumerDriver for Scripted {
        async fn subscribe(&self, topics: &[String]) -> Result<()> {
            self.tell(format!("subscribe {}", topics.join(" ")));
            if self.subscribe_hangs {
                std::future::pending::<()>().await;
            }
            Ok(())
        }

        async fn poll(&self, _: PollRequest) -> Result<Polled> {
            let next = self.polls.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let polled = next.unwrap_or(Polled::Records(Vec::new()));
            self.tell("poll".to_owned());
            Ok(polled)
        }

        async fn commit(&self, _: &Commit) -> Result<()> {
            Ok(())
        }

        /// Partition 1 alone has one.
        async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
            Ok(partitions.iter().filter(|at| at.partition == 1).map(|at| (at.clone(), 40)).collect())
        }

        async fn seek(&self, _: &NextOffsets) -> Result<()> {
            Ok(())
        }

        async fn pause(&self, _: &[TopicPartition]) -> Result<()> {
            Ok(())
        }

        async fn resume(&self, _: &[TopicPartition]) -> Result<()> {
            Ok(())
        }

        /// Partition 9 was deleted.
        async fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks> {
            if at.partition == 9 {
                return Err(Error::new(ErrorKind::NotFound, "kafka.watermarks", "deleted").not_applied());
            }
            Ok(Watermarks::new(10, 100))
        }

        async fn offsets_for_times(&self, _: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
            Ok(NextOffsets::new())
        }

        async fn close(&self, _: Duration) -> Result<()> {
            Ok(())
        }

        fn assignment(&self) -> Vec<TopicPartition> {
            Vec::new()
        }

        fn stats(&self) -> ClientStats {
            ClientStats::default()
        }
    }

    /// Writes into the driver's log; fails at `revoked`.
    #[derive(Debug)]
    struct Listening(Arc<Mutex<Vec<String>>>);

    impl Listening {
        fn hear(&self, what: &str, partitions: &[TopicPartition]) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{what} {partitions:?}"));
        }
    }

    #[async_trait]
    impl RebalanceListener for Listening {
        async fn assigned(&self, _: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()> {
            self.hear("assigned", partitions);
            Ok(())
        }

        async fn revoked(&self, _: &dyn ConsumerDriver, partitions: &[TopicPartition]) -> Result<()> {
            self.hear("revoked", partitions);
            Err(Error::new(ErrorKind::Unavailable, "test.flush", "the database is away"))
        }

        async fn lost(&self, partitions: &[TopicPartition]) -> Result<()> {
            self.hear("lost", partitions);
            Ok(())
        }
    }

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn message(partition: i32, offset: i64) -> KafkaMessage {
        KafkaMessage::new("t".into(), partition, offset, Timestamp::from_millis(0))
    }

    fn topics(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A consumer over a script, with a listener, and the log of both.
    fn consumer(driver: Scripted, reset: OffsetReset) -> (Consumer, Arc<Mutex<Vec<String>>>) {
        let log = driver.told.clone();
        (Consumer::new(Arc::new(driver), Some(Arc::new(Listening(log.clone()))), reset), log)
    }

    fn told(log: &Mutex<Vec<String>>) -> Vec<String> {
        std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // ONEX-KAFKA-12
    #[tokio::test]
    async fn only_another_set_of_topics_subscribes_anew() -> Result<()> {
        let (consumer, log) = consumer(Scripted::default(), OffsetReset::Earliest);
        let request = PollRequest::default();
        for names in [&["a", "b"][..], &["b", "a", "b"], &[], &["a"], &["a"], &["a", "c"]] {
            consumer.consume(&topics(names), request).await?;
        }
        let subscribed: Vec<_> = told(&log).into_iter().filter(|call| call != "poll").collect();
        assert_eq!(subscribed, ["subscribe a b", "subscribe a", "subscribe a c"]);
        Ok(())
    }

    #[tokio::test]
    async fn a_call_dropped_while_it_subscribes_leaves_the_set_unknown() -> Result<()> {
        let hanging = Scripted { subscribe_hangs: true, ..Scripted::default() };
        let (consumer, log) = consumer(hanging, OffsetReset::Earliest);
        for _ in 0..2 {
            let names = topics(&["a"]);
            tokio::select! {
                biased;
                _ = consumer.consume(&names, PollRequest::default()) => panic!("it hangs"),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(told(&log), ["subscribe a", "subscribe a"]);
        Ok(())
    }

    // ONEX-KAFKA-03
    #[tokio::test]
    async fn the_listener_hears_each_change_between_two_polls() -> Result<()> {
        let polls = [
            Polled::Assigned(vec![at(0)]),
            Polled::Records(vec![message(0, 7)]),
            Polled::Revoking(vec![at(0)]),
            Polled::Lost(vec![at(0)]),
        ];
        let driver = Scripted { polls: Mutex::new(polls.into()), ..Scripted::default() };
        let (consumer, log) = consumer(driver, OffsetReset::Earliest);
        let request = PollRequest::default();
        assert_eq!(consumer.consume(&[], request).await?, [message(0, 7)]);
        assert_eq!(told(&log), ["poll", "assigned [t[0]]", "poll"]);
        let failed = consumer.consume(&[], request).await.expect_err("the listener failed");
        assert_eq!(failed.operation(), "test.flush");
        assert!(consumer.consume(&[], request).await?.is_empty());
        assert_eq!(
            told(&log),
            ["poll", "revoked [t[0]]", "poll", "lost [t[0]]", "poll"],
            "the change goes on"
        );
        Ok(())
    }

    // ONEX-KAFKA-20
    #[tokio::test]
    async fn lag_counts_from_the_position_then_the_committed_offset_then_the_start() -> Result<()> {
        let read = Polled::Records(vec![message(0, 58), message(0, 59), message(3, 2)]);
        let script = || Scripted { polls: Mutex::new([read.clone()].into()), ..Scripted::default() };
        let assignment = [at(0), at(1), at(2), at(3), at(9)];
        let lag = async |reset| {
            let (consumer, _) = consumer(script(), reset);
            consumer.consume(&[], PollRequest::default()).await?;
            consumer.lag(&assignment).await
        };
        // Partition 3 was read up to 3, and retention has removed what lies before 10.
        let known = BTreeMap::from([(at(0), 40), (at(1), 60), (at(3), 90)]);
        assert_eq!(lag(OffsetReset::Latest).await?, known);
        let mut with_start = known;
        with_start.insert(at(2), 90);
        assert_eq!(lag(OffsetReset::Earliest).await?, with_start);
        Ok(())
    }

    #[tokio::test]
    async fn a_partition_that_comes_again_is_not_where_it_was() -> Result<()> {
        let polls = [Polled::Records(vec![message(1, 90)]), Polled::Assigned(vec![at(1)])];
        let driver = Scripted { polls: Mutex::new(polls.into()), ..Scripted::default() };
        let (consumer, _) = consumer(driver, OffsetReset::Earliest);
        consumer.consume(&[], PollRequest::default()).await?;
        assert_eq!(consumer.lag(&[at(1)]).await?, BTreeMap::from([(at(1), 9)]));
        consumer.consume(&[], PollRequest::default()).await?;
        assert_eq!(consumer.lag(&[at(1)]).await?, BTreeMap::from([(at(1), 60)]));
        Ok(())
    }
}
