//! The consumer: a member of a group whose polls take from a slot that thread C fills.
//!
//! ```text
//!  poll ─ask─► thread C ─► librdkafka's queue ─► slot ─► the poll, in the moment in which it returns
//!  seek, pause, resume ─► thread C                        (a dropped poll has taken nothing)
//!  commit, committed, offsets_for_times ─► thread B, which may wait for the broker while C goes on
//!  drop, close ─► thread C leaves the group and ends the native consumer
//! ```

mod convert;
mod offsets;
mod slot;
mod worker;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, Commit, ConsumerConfig, ConsumerDriver, NextOffsets, PollRequest, Polled, Timestamp,
    TopicPartition, Watermarks, check_topic_name, not_owned, unknown_partition,
};
use onex_spi::{Error, ErrorKind, Result};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{oneshot, watch};

use self::offsets::{commit_now, committed_now, offsets_in};
use self::worker::{Command, Context, Native, Shared, list_of};
use crate::cluster::{ANSWER, Cluster};
use crate::error;
use crate::native::{self, Notes};
use crate::work::Workers;

#[derive(Debug)]
pub(crate) struct RdKafkaConsumer {
    shared: Arc<Shared>,
    native: Weak<Native>,
    commands: Sender<Command>,
    /// Thread B.
    broker: Arc<Workers>,
    ended: watch::Receiver<bool>,
    /// Polls queue up.
    turn: tokio::sync::Mutex<()>,
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl RdKafkaConsumer {
    pub(crate) async fn open(cluster: Arc<Cluster>, config: &ConsumerConfig) -> Result<Arc<Self>> {
        let settings = native::consumer(cluster.config(), config);
        let (commands, received) = mpsc::channel();
        let (made, is_made) = oneshot::channel();
        let (told, ended) = watch::channel(false);
        let broker = Arc::new(Workers::new("onex-kafka-commit", 1));
        let shared = Arc::new(Shared::default());
        let (own_shared, own_broker, own_commands) =
            (Arc::clone(&shared), Arc::clone(&broker), commands.clone());
        let run = move || {
            let context = Context { shared: Arc::clone(&own_shared), notes: Notes::default() };
            let native = match Native::from_config_and_context(&settings, context) {
                Ok(mut native) => {
                    native.set_nonempty_callback(worker::waker(&own_shared, own_commands));
                    Arc::new(native)
                }
                Err(error) => {
                    let _ = made.send(Err(error::of_native(&error, "kafka.consumer", "the consumer")));
                    return;
                }
            };
            // A caller that is gone leaves nothing open: the native consumer ends with this thread.
            if made.send(Ok(Arc::downgrade(&native))).is_ok() {
                worker::serve(native, &received, &own_broker, &told);
            }
        };
        thread::Builder::new().name("onex-kafka-consume".into()).spawn(run).map_err(|error| {
            let text = "the system gives no further thread; end others first";
            Error::new(ErrorKind::ResourceExhausted, "kafka.consumer", text).not_applied().with_source(error)
        })?;
        let native = is_made.await.map_err(|_| ended_early("kafka.consumer"))??;
        Ok(Arc::new(Self {
            shared,
            native,
            commands,
            broker,
            ended,
            turn: tokio::sync::Mutex::default(),
            cluster,
        }))
    }

    /// Takes no further call and leaves the group, behind.
    pub(crate) fn begin_close(&self) {
        self.shared.slot().close();
        self.shared.changed.notify_waiters();
        // A closed channel is a consumer that has ended.
        let _ = self.commands.send(Command::Close);
    }

    fn open_or(&self, operation: &'static str) -> Result<()> {
        if self.shared.slot().closed { Err(Error::closed(operation, "the consumer")) } else { Ok(()) }
    }

    /// Has thread C do something to the native consumer.
    async fn on_worker<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&Native, &Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = move |native: &Native, shared: &Shared| {
            // A caller that is gone wants no answer.
            let _ = answer.send(job(native, shared));
        };
        let closed = || Error::closed(operation, "the consumer");
        self.commands.send(Command::Do(Box::new(job))).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Has thread B ask the broker something.
    async fn on_broker<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&Native) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let native = Weak::clone(&self.native);
        self.broker.run(operation, move || job(&*worker::upgrade(&native, operation)?)).await?
    }

    /// Refuses partitions that this member does not own.
    fn owned(&self, operation: &'static str, partitions: &[TopicPartition]) -> Result<()> {
        let slot = self.shared.slot();
        if slot.closed {
            return Err(Error::closed(operation, "the consumer"));
        }
        match partitions.iter().find(|partition| !slot.owned.contains(partition)) {
            None => Ok(()),
            Some(foreign) => Err(not_owned(operation, foreign)),
        }
    }

    /// Says of partitions that are not owned whether they exist at all (K7).
    async fn judge_foreign(&self, operation: &'static str, foreign: &[TopicPartition]) -> Result<()> {
        for partition in foreign {
            check_topic_name(operation, &partition.topic)?;
            let layout = self.cluster.layout(&partition.topic, operation).await?;
            if partition.partition < 0 || partition.partition >= layout.count() {
                return Err(unknown_partition(operation, partition));
            }
        }
        match foreign.first() {
            None => Ok(()),
            Some(foreign) => Err(not_owned(operation, foreign)),
        }
    }
}

/// A poll that waits; dropped, nobody does any more.
struct Wanted<'s>(&'s Shared);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.slot().wanted = false;
    }
}

#[async_trait]
impl ConsumerDriver for RdKafkaConsumer {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        const CALL: &str = "kafka.subscribe";
        topics.iter().try_for_each(|topic| check_topic_name(CALL, topic))?;
        self.open_or(CALL)?;
        // The next poll joins.
        self.shared.slot().subscription = Some(topics.to_vec());
        Ok(())
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        const CALL: &str = "kafka.poll";
        let clock = self.cluster.clock();
        let deadline = self.cluster.deadline(request.max_wait);
        let _turn = self.turn.lock().await;
        let most = request.max_records.max(1);
        let asked = {
            let mut slot = self.shared.slot();
            if slot.closed {
                return Err(Error::closed(CALL, "the consumer"));
            }
            slot.wanted = true;
            slot.most = most;
            slot.asked += 1;
            slot.asked
        };
        let _wanted = Wanted(&self.shared);
        self.commands.send(Command::Poll).map_err(|_| Error::closed(CALL, "the consumer"))?;
        let mut over = clock.sleep_until(deadline);
        let mut is_over = false;
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // Registered before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            {
                let mut slot = self.shared.slot();
                // Not before thread C has looked: it finishes the last change first.
                if slot.served >= asked {
                    if let Some(taken) = slot.take(most) {
                        return taken;
                    }
                    if slot.closed {
                        return Err(Error::closed(CALL, "the consumer"));
                    }
                    if is_over {
                        return slot.empty();
                    }
                } else if slot.closed {
                    return Err(Error::closed(CALL, "the consumer"));
                }
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = &mut over, if !is_over => is_over = true,
            }
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        const CALL: &str = "kafka.commit";
        commit.next.validate(CALL)?;
        let foreign: Vec<_> = {
            let slot = self.shared.slot();
            if slot.closed {
                return Err(Error::closed(CALL, "the consumer"));
            }
            commit.next.keys().filter(|at| !slot.owned.contains(at)).cloned().collect()
        };
        self.judge_foreign(CALL, &foreign).await?;
        if commit.next.is_empty() {
            return Ok(());
        }
        let (shared, commit) = (Arc::clone(&self.shared), commit.clone());
        self.on_broker(CALL, move |native| commit_now(native, &shared, &commit)).await
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        const CALL: &str = "kafka.committed";
        partitions.iter().try_for_each(|at| check_topic_name(CALL, &at.topic))?;
        self.open_or(CALL)?;
        if partitions.is_empty() {
            return Ok(NextOffsets::new());
        }
        let partitions = partitions.to_vec();
        self.on_broker(CALL, move |native| committed_now(native, &partitions, CALL)).await
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        const CALL: &str = "kafka.seek";
        to.validate(CALL)?;
        let partitions: Vec<_> = to.keys().cloned().collect();
        self.owned(CALL, &partitions)?;
        let to: Vec<_> = to.iter().map(|(at, offset)| (at.clone(), *offset)).collect();
        self.on_worker(CALL, move |native, shared| {
            let running: Vec<_> = {
                let mut slot = shared.slot();
                let (starting, running) =
                    to.into_iter().partition::<Vec<_>, _>(|(at, _)| slot.is_starting(at));
                slot.starts.extend(starting);
                running
            };
            if running.is_empty() { Ok(()) } else { worker::seek(native, shared, &running) }
        })
        .await
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        const CALL: &str = "kafka.pause";
        self.owned(CALL, partitions)?;
        let partitions = partitions.to_vec();
        self.on_worker(CALL, move |native, shared| {
            let running: Vec<_> = {
                let mut slot = shared.slot();
                slot.paused.extend(partitions.iter().cloned());
                // What was only announced is paused once it is assigned.
                partitions.into_iter().filter(|at| !slot.is_starting(at)).collect()
            };
            if running.is_empty() {
                return Ok(());
            }
            native.pause(&list_of(&running)).map_err(|error| error::of_native(&error, CALL, "the partitions"))
        })
        .await
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        const CALL: &str = "kafka.resume";
        self.owned(CALL, partitions)?;
        let partitions = partitions.to_vec();
        self.on_worker(CALL, move |native, shared| {
            let running: Vec<_> = {
                let mut slot = shared.slot();
                partitions.iter().for_each(|at| slot.unpark(at));
                partitions.into_iter().filter(|at| !slot.is_starting(at)).collect()
            };
            shared.changed.notify_waiters();
            if running.is_empty() {
                return Ok(());
            }
            native
                .resume(&list_of(&running))
                .map_err(|error| error::of_native(&error, CALL, "the partitions"))
        })
        .await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        self.open_or("kafka.watermarks")?;
        self.cluster.watermarks(partition, "kafka.watermarks").await
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        const CALL: &str = "kafka.offsets_for_times";
        self.open_or(CALL)?;
        let mut topics: BTreeMap<&str, i32> = BTreeMap::new();
        for (at, _) in times {
            let most = topics.entry(&at.topic).or_default();
            *most = (*most).max(at.partition);
            if at.partition < 0 {
                return Err(unknown_partition(CALL, at));
            }
        }
        for (topic, most) in topics {
            check_topic_name(CALL, topic)?;
            if most >= self.cluster.layout(topic, CALL).await?.count() {
                let at = TopicPartition::new(topic, most);
                return Err(unknown_partition(CALL, &at));
            }
        }
        let times = times.to_vec();
        self.on_broker(CALL, move |native| {
            let refused = |error| error::of_native(&error, CALL, "the offsets").not_applied();
            let mut list = TopicPartitionList::new();
            for (at, time) in &times {
                // A negative time means something else to librdkafka; no record is older than the epoch's first.
                let offset = Offset::Offset(time.as_millis().max(0));
                list.add_partition_offset(&at.topic, at.partition, offset).map_err(refused)?;
            }
            if times.is_empty() {
                return Ok(NextOffsets::new());
            }
            offsets_in(&native.offsets_for_times(list, ANSWER).map_err(refused)?, CALL)
        })
        .await
    }

    async fn close(&self, within: Duration) -> Result<()> {
        self.begin_close();
        let clock = self.cluster.clock();
        let mut ended = self.ended.clone();
        let deadline = self.cluster.deadline(within);
        tokio::select! {
            biased;
            // An error is a thread that is gone, which is the end as well.
            _ = ended.wait_for(|ended| *ended) => Ok(()),
            () = clock.sleep_until(deadline) => {
                let text = format!("the group was not left within {within:?}; it is left behind, and the member expires");
                Err(Error::new(ErrorKind::TimedOut, "kafka.close", text))
            }
        }
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.slot().owned.iter().cloned().collect()
    }

    fn stats(&self) -> ClientStats {
        self.shared.slot().stats
    }
}

impl Drop for RdKafkaConsumer {
    fn drop(&mut self) {
        // Thread C does the rest; an error is a thread that has ended.
        let _ = self.commands.send(Command::Close);
    }
}

fn ended_early(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unclassified, operation, "the consumer's thread ended early; report it")
}
