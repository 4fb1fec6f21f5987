//! A producer: calls wait their turn, then store under the broker's lock.
//!
//! ```text
//!  produce(records) ─► turn (first come, first served: K2) ─► broker there? ─► per record: check, partition, append ─► answers
//!                        └ delivery timeout: TimedOut            └ waits        └ one refused record harms no neighbour (K4)
//!                        └ close and its time over: Closed
//! ```
//!
//! A record is stored in one step or not at all, so every failed record is certainly not stored, a dropped
//! call included. What waits is held by the waiting calls themselves: nothing queues behind their backs, and the bounds
//! of the queue are never reached.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, KafkaMessage, ProduceReceipt, ProducerConfig, ProducerDriver, ProducerRecord, Timestamp,
    TimestampKind, Undelivered, check_topic_name, unknown_topic,
};
use onex_spi::{Error, Result};

use super::broker::{Broker, Cluster};
use super::error::Refusal;
use super::settings::admit;

const PRODUCE: &str = "kafka.produce";

/// A producer on the memory broker.
#[derive(Debug)]
pub(super) struct MemoryProducer {
    broker: Arc<Broker>,
    config: ProducerConfig,
    /// The most bytes of key, value and headers in one record.
    limit: usize,
    /// Whose records come next; fair, so that order is the order of the calls.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stats: ClientStats,
    /// Until when a close lets calls finish; set once.
    closing: Option<Instant>,
    /// What the close could not deliver, once it is over.
    closed: Option<Undelivered>,
    /// Records that the close's time cut off.
    cut_off: u64,
}

impl MemoryProducer {
    pub(super) fn new(broker: Arc<Broker>, config: ProducerConfig, limit: usize) -> Self {
        Self { broker, config, limit, turn: tokio::sync::Mutex::new(()), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses new calls from now on and lets running ones finish until `deadline`.
    pub(super) fn begin_close(&self, deadline: Instant) {
        self.state().closing.get_or_insert(deadline);
        self.broker.changed.notify_waiters();
    }

    /// Waits until every call has ended or the time is over; tells what was not delivered.
    pub(super) async fn finish_close(&self) -> Undelivered {
        let mut timer = self.broker.clock.timer();
        loop {
            let mut changed = pin!(self.broker.changed.notified());
            changed.as_mut().enable();
            let until = {
                let mut state = self.state();
                let now = self.broker.now();
                let until = *state.closing.get_or_insert(now);
                if let Some(counts) = state.closed {
                    return counts;
                }
                if state.stats.in_flight == 0 || until <= now {
                    let counts = Undelivered::new(state.cut_off + state.stats.in_flight, 0);
                    state.closed = Some(counts);
                    drop(state);
                    self.broker.changed.notify_waiters();
                    return counts;
                }
                until
            };
            self.broker.wait(changed, &mut *timer, until).await;
        }
    }

    /// Waits until this call may no longer wait, and says why.
    async fn over(&self, deadline: Instant) -> Error {
        let mut timer = self.broker.clock.timer();
        loop {
            let mut changed = pin!(self.broker.changed.notified());
            changed.as_mut().enable();
            let until = {
                let state = self.state();
                let now = self.broker.now();
                if let Some(error) = state.ended(now) {
                    return error;
                }
                if deadline <= now {
                    let message = format!("not stored within {:?}", self.config.delivery_timeout);
                    return Refusal::RequestTimedOut.error(PRODUCE, message);
                }
                state.closing.map_or(deadline, |closing| closing.min(deadline))
            };
            self.broker.wait(changed, &mut *timer, until).await;
        }
    }

    /// Stores the records once it is their turn and the broker is there.
    async fn store(&self, records: &[ProducerRecord], call: &mut Call<'_>) -> Vec<Result<ProduceReceipt>> {
        let _turn = self.turn.lock().await;
        loop {
            let mut changed = pin!(self.broker.changed.notified());
            changed.as_mut().enable();
            if let Some(answers) = self.try_store(records, call) {
                return answers;
            }
            changed.await;
        }
    }

    /// Stores the records, unless the broker is away.
    fn try_store(
        &self,
        records: &[ProducerRecord],
        call: &mut Call<'_>,
    ) -> Option<Vec<Result<ProduceReceipt>>> {
        let mut state = self.state();
        if let Some(error) = state.ended(self.broker.now()) {
            return Some(vec![Err(error); records.len()]);
        }
        let mut cluster = self.broker.lock();
        if !cluster.available {
            return None;
        }
        let now = self.broker.wall();
        // Null keys of one call stay together, per topic.
        let mut sticky = BTreeMap::new();
        let mut answers = Vec::with_capacity(records.len());
        for record in records {
            let answer = self.append(&mut cluster, record, now, &mut sticky);
            state.stats.settle(&answer, record.bytes());
            call.open -= 1;
            answers.push(answer);
        }
        Some(answers)
    }

    fn append<'a>(
        &self,
        cluster: &mut Cluster,
        record: &'a ProducerRecord,
        now: Timestamp,
        sticky: &mut BTreeMap<&'a str, i32>,
    ) -> Result<ProduceReceipt> {
        record.check_size(self.limit)?;
        let Some(topic) = cluster.topics.get_mut(&record.topic) else {
            check_topic_name(PRODUCE, &record.topic)?;
            return Err(unknown_topic(PRODUCE, &record.topic));
        };
        let count = topic.partitions();
        let sticky = || *sticky.entry(&record.topic).or_insert_with(|| topic.next_sticky()) as usize;
        let partition = record.choose_partition(count, sticky)?;
        admit(PRODUCE, &topic.settings, record, now.as_millis())?;
        let append_time = topic.settings.append_time;
        let log = topic.log(partition, now).ok_or_else(|| unknown_topic(PRODUCE, &record.topic))?;
        let mut message = KafkaMessage::stored(record.clone(), partition, log.watermarks().high, now);
        if append_time {
            (message.timestamp, message.timestamp_kind) = (now, TimestampKind::LogAppend);
        }
        let receipt = ProduceReceipt::of(&message, self.config.acks);
        log.append(message);
        Ok(receipt)
    }
}

impl State {
    /// The answer to a call once the producer takes no more.
    fn ended(&self, now: Instant) -> Option<Error> {
        let over = self.closed.is_some() || self.closing.is_some_and(|until| until <= now);
        over.then(|| Error::closed(PRODUCE, "the producer"))
    }
}

/// The records of one call in the counters, also where the call is dropped.
struct Call<'a> {
    producer: &'a MemoryProducer,
    /// Records without an answer.
    open: u64,
}

impl<'a> Call<'a> {
    fn accept(producer: &'a MemoryProducer, records: usize) -> Result<Self> {
        let mut state = producer.state();
        if state.closing.is_some() {
            return Err(Error::closed(PRODUCE, "the producer"));
        }
        state.stats.accept(records);
        Ok(Self { producer, open: records as u64 })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.open == 0 {
            return;
        }
        let mut state = self.producer.state();
        state.stats.in_flight -= self.open;
        state.stats.failed += self.open;
        if state.closing.is_some() && state.closed.is_none() {
            state.cut_off += self.open;
        }
        drop(state);
        self.producer.broker.changed.notify_waiters();
    }
}

#[async_trait]
impl ProducerDriver for MemoryProducer {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        let mut call = match Call::accept(self, records.len()) {
            Ok(call) => call,
            Err(closed) => return vec![Err(closed); records.len()],
        };
        let deadline = self.broker.clock.after(self.config.delivery_timeout);
        let answers = tokio::select! {
            biased;
            answers = self.store(&records, &mut call) => answers,
            error = self.over(deadline) => vec![Err(error); records.len()],
        };
        self.broker.changed.notify_waiters();
        answers
    }

    async fn close(&self, within: Duration) -> Result<Undelivered> {
        self.begin_close(self.broker.clock.after(within));
        Ok(self.finish_close().await)
    }

    fn stats(&self) -> ClientStats {
        self.state().stats
    }
}
