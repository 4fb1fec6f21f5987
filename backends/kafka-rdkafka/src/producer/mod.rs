//! The producer: our own admission in front of librdkafka, one wake per chunk behind it.
//!
//! ```text
//!  produce(batch) ─► check each record ─► lanes: turn on every topic, in order ─► Known (partitions, limit)
//!       │                                        room: records, bytes, gate of a small topic   (waits, in order)
//!       ▼                                        ▼
//!  one answer each ◄─ oneshot per chunk ◄─ ledger ◄─ thread P: delivery reports ◄─ librdkafka ◄─ producev (copies)
//! ```

mod call;
mod lane;
mod ledger;
mod thread;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use onex_spi::kafka::{
    ClientStats, KafkaFault, ProduceReceipt, ProducerConfig, ProducerDriver, ProducerRecord, Recovery,
    TopicPartition, Undelivered, check_topic_name,
};
use onex_spi::{Error, ErrorKind, Result};
use rdkafka::message::{Header as NativeHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::call::{Call, Pending, Size};
use self::lane::{Known, Lane, Lanes, Turn, batch_bytes};
use self::ledger::Answers;
use self::thread::{Life, Phase, Shared};
use crate::cluster::{Cluster, GROUPS_TOPIC, Pace, ask_layout};
use crate::{error, native};

const CALL: &str = "kafka.produce";
/// How long one question for a topic may take before it is asked again.
const ASK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct RdKafkaProducer {
    life: Arc<Life>,
    cluster: Arc<Cluster>,
    config: ProducerConfig,
    lanes: Lanes,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Where null keys start.
    start: u32,
}

impl RdKafkaProducer {
    pub(crate) async fn open(cluster: Arc<Cluster>, config: ProducerConfig, seed: u64) -> Result<Arc<Self>> {
        let settings = native::producer(cluster.config(), &config);
        let life = thread::start(settings, Arc::clone(cluster.clock())).await?;
        if let Some(native) = life.native().filter(|_| config.idempotent) {
            cluster.workers.begin(CALL, move || warm_up(&native));
        }
        Ok(Arc::new(Self {
            life,
            cluster,
            lanes: Lanes::default(),
            records: Arc::new(Semaphore::new(config.queue_records.min(Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(config.queue_bytes.min(Semaphore::MAX_PERMITS))),
            config,
            start: seed as u32,
        }))
    }

    /// Takes no further call, and gives those that run until `within` has passed.
    pub(crate) fn begin_close(&self, within: Duration) {
        let deadline = self.cluster.deadline(within);
        self.life.phase.send_if_modified(|phase| {
            let first = matches!(phase, Phase::Open);
            if first {
                *phase = Phase::Closing(deadline);
            }
            first
        });
    }

    /// Refuses what needs no broker to be refused.
    fn check(&self, record: &ProducerRecord) -> Result<()> {
        check_topic_name(CALL, &record.topic)?;
        record.check_size(self.cluster.config().record_bytes)?;
        if let Some(partition) = record.partition.filter(|partition| *partition < 0) {
            return Err(no_partition(&record.topic, partition, "partitions count from 0"));
        }
        if record.timestamp.is_some_and(|time| time.as_millis() == 0) {
            let text = "librdkafka takes the timestamp 0 for \"now\"; send 1 or later";
            return Err(Error::invalid(CALL, text).with_detail(KafkaFault::new("")));
        }
        if record.headers.iter().any(|header| header.name.contains('\0')) {
            let text = "librdkafka cannot read back a header whose name holds a NUL byte; rename it";
            return Err(Error::invalid(CALL, text).with_detail(KafkaFault::new("")));
        }
        Ok(())
    }

    /// Waits for `what`, but neither beyond the delivery time nor beyond the close.
    async fn admitted<T>(&self, deadline: Instant, what: impl Future<Output = T>) -> Result<T> {
        let mut phase = self.life.phase.subscribe();
        let over = phase.wait_for(|phase| matches!(phase, Phase::Cut | Phase::Closed(_)));
        tokio::select! {
            biased;
            done = what => Ok(done),
            _ = over => Err(closed()),
            () = self.cluster.clock().sleep_until(deadline) => Err(self.late()),
        }
    }

    fn late(&self) -> Error {
        let text = format!(
            "not sent within the delivery time of {:?}; the brokers may come back",
            self.config.delivery_timeout
        );
        let fault = KafkaFault::new("").with_recovery(Recovery::Retry);
        Error::new(ErrorKind::TimedOut, CALL, text).not_applied().with_detail(fault)
    }

    /// Fills the lane with what the cluster says about the topic, asking until the delivery time is over.
    async fn learn(
        &self,
        topic: &Arc<str>,
        lane: &mut Lane,
        native: &Shared,
        deadline: Instant,
    ) -> Result<()> {
        let clock = self.cluster.clock();
        let mut pace = Pace::new(clock, deadline.saturating_duration_since(clock.now()));
        loop {
            let asked = async {
                let name = Arc::clone(topic);
                // Asked through the producer's own client, whose connection and producer id are warm then.
                let ask = move |native: &Shared| ask_layout(native.client(), &name, ASK, CALL);
                let layout = self.cluster.until_spread(CALL, ask, Arc::clone(native)).await?;
                let limit = self.cluster.batch_limit(topic, CALL).await?;
                Ok((layout, limit))
            };
            let error = match asked.await {
                Ok((layout, limit)) => {
                    let known = Known::new(&layout, limit, clock.now()).succeeding(lane.known.as_ref());
                    lane.known = Some(known);
                    return Ok(());
                }
                Err(error) => native.context().notes.explain(error, CALL).not_applied(),
            };
            let again = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut);
            if !again || !pace.wait().await {
                return Err(if again { self.late().with_source(error) } else { error });
            }
        }
    }

    /// Sends one topic's records of a call.
    async fn send_topic(
        &self,
        call: &mut Call,
        topic: &Arc<str>,
        indexes: &[usize],
        turn: &mut Turn,
        native: &Shared,
    ) {
        let stale = turn.handle.take_stale();
        let fresh = turn.lane.known.as_ref().is_some_and(|known| known.is_fresh(self.cluster.clock().now()));
        let mut just_asked = false;
        if stale || !fresh {
            let learnt =
                self.admitted(call.deadline, self.learn(topic, &mut turn.lane, native, call.deadline));
            match learnt.await.and_then(|learnt| learnt) {
                Ok(()) => just_asked = true,
                // An old description is better than none while the brokers are away.
                Err(error) if turn.lane.known.is_some() && error.kind() == ErrorKind::TimedOut => {}
                Err(error) => {
                    if error.kind() == ErrorKind::NotFound {
                        turn.lane.known = None;
                        self.lanes.forget(topic, turn);
                    }
                    call.refuse_all(indexes, &error);
                    return;
                }
            }
        }
        let mut sticky = None;
        let mut chunk = Pending::default();
        for &index in indexes {
            let mut judged = self.place(&call.records[index], &turn.lane, &mut sticky);
            if judged.is_err() && !just_asked {
                // What is known may be old: a topic can have grown.
                just_asked = true;
                let asked =
                    self.admitted(call.deadline, self.learn(topic, &mut turn.lane, native, call.deadline));
                if matches!(asked.await, Ok(Ok(()))) {
                    judged = self.place(&call.records[index], &turn.lane, &mut sticky);
                }
            }
            let partition = match judged {
                Ok(partition) => partition,
                Err(error) => {
                    call.answer(index, error);
                    continue;
                }
            };
            let size = Size::of(&call.records[index]);
            let room = turn.lane.known.as_ref().and_then(|known| Some(known.small.as_ref()?.room));
            if !chunk.takes(&size, room, &self.config) {
                let full = std::mem::take(&mut chunk);
                self.send_chunk(call, topic, full, turn, native).await;
                // Other tasks of this thread come first while bytes were copied.
                tokio::task::yield_now().await;
            }
            chunk.push(index, partition, &size);
        }
        self.send_chunk(call, topic, chunk, turn, native).await;
        if sticky.is_some() {
            turn.lane.sticky = turn.lane.sticky.wrapping_add(1);
        }
    }

    /// Chooses a record's partition; `None` = librdkafka's choice, by the key's hash.
    fn place(
        &self,
        record: &ProducerRecord,
        lane: &Lane,
        sticky: &mut Option<Option<i32>>,
    ) -> Result<Option<i32>> {
        let Some(known) = &lane.known else { return Ok(record.partition) };
        if let Some(partition) = record.partition.filter(|partition| *partition >= known.partitions) {
            return Err(no_partition(
                &record.topic,
                partition,
                &format!("the topic has {}", known.partitions),
            ));
        }
        if let Some(small) = known.small.as_ref().filter(|_| !self.cluster.config().compresses()) {
            let size = batch_bytes(record);
            if size > small.batch {
                let text = format!(
                    "a record takes {size} bytes in a batch, topic {} has max.message.bytes = {}; split it",
                    record.topic, small.batch
                );
                let fault = KafkaFault::new("MESSAGE_TOO_LARGE").with_code(10).with_recovery(Recovery::Abort);
                return Err(Error::new(ErrorKind::TooLarge, CALL, text).not_applied().with_detail(fault));
            }
        }
        if record.partition.is_some() || record.key.is_some() {
            return Ok(record.partition);
        }
        // librdkafka would stick by time; a batch is what K1 says. It knows better which partition has a leader.
        Ok(*sticky.get_or_insert_with(|| {
            let count = u32::try_from(known.partitions).unwrap_or(0).max(1);
            known.all_led.then(|| (lane.sticky % count) as i32)
        }))
    }

    /// Waits for room and hands a chunk to librdkafka, in one go.
    async fn send_chunk(
        &self,
        call: &mut Call,
        topic: &Arc<str>,
        chunk: Pending,
        turn: &Turn,
        native: &Shared,
    ) {
        if chunk.records.is_empty() {
            return;
        }
        let small = turn.lane.known.as_ref().and_then(|known| known.small.clone());
        let room = async {
            let records = take(&self.records, chunk.records.len(), self.config.queue_records).await?;
            let bytes = take(&self.bytes, chunk.bytes, self.config.queue_bytes).await?;
            let gate = match &small {
                Some(small) => Some(take(&small.gate, chunk.wire, small.room).await?),
                None => None,
            };
            Some([Some(records), Some(bytes), gate])
        };
        let indexes = || chunk.records.iter().map(|(index, _)| *index).collect::<Vec<_>>();
        let room: Vec<OwnedSemaphorePermit> = match self.admitted(call.deadline, room).await {
            Ok(Some(room)) => room.into_iter().flatten().collect(),
            Ok(None) => return call.refuse_all(&indexes(), &closed()),
            Err(error) => return call.refuse_all(&indexes(), &error),
        };
        let Some(slot) = self.life.ledger.open(topic, chunk.records.len(), chunk.counted, room) else {
            return call.refuse_all(&indexes(), &closed());
        };
        call.owed -= chunk.records.len() as u64;
        for (place, (index, partition)) in chunk.records.iter().enumerate() {
            let record = &call.records[*index];
            let mut sent = send(native, record, *partition, slot.opaque(place));
            if record.partition.is_none()
                && matches!(&sent, Err(error) if error.kind() == ErrorKind::NotFound)
            {
                // The topic has fewer partitions than when one was chosen; librdkafka knows how many.
                sent = send(native, record, None, slot.opaque(place));
            }
            if let Err(error) = sent {
                self.life.ledger.settle(slot.opaque(place), Err(error));
            }
        }
        call.sent.push((indexes(), slot.answers, Arc::clone(&turn.handle)));
    }

    /// Says why librdkafka gave a record back that nobody closed the producer for.
    fn judge(&self, error: Error, native: &Shared) -> Error {
        if error.kind() != ErrorKind::Closed || !matches!(*self.life.phase.borrow(), Phase::Open) {
            return error;
        }
        match native.client().fatal_error() {
            Some((code, text)) => {
                let fault = KafkaFault::new(error::row(code).name).with_recovery(Recovery::Reopen);
                let message = format!("the producer broke for good: {text}; open a new one");
                let effect = error.effect();
                Error::new(ErrorKind::Conflict, CALL, message)
                    .with_effect(effect)
                    .with_detail(fault)
                    .with_source(error)
            }
            None => error,
        }
    }
}

#[async_trait]
impl ProducerDriver for RdKafkaProducer {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        let open = matches!(*self.life.phase.borrow(), Phase::Open);
        let Some(native) = self.life.native().filter(|_| open) else {
            return records.iter().map(|_| Err(closed())).collect();
        };
        let deadline = self.cluster.deadline(self.config.delivery_timeout);
        let mut call = Call::new(Arc::clone(&self.life), records, deadline);
        let mut topics: Vec<(Arc<str>, Vec<usize>)> = Vec::new();
        let mut places = HashMap::new();
        for index in 0..call.records.len() {
            let record = &call.records[index];
            match self.check(record) {
                Err(error) => call.answer(index, error),
                Ok(()) => match topics.last_mut() {
                    Some((topic, indexes)) if *topic == record.topic => indexes.push(index),
                    _ => {
                        let topic = Arc::clone(&record.topic);
                        let place = *places.entry(Arc::clone(&topic)).or_insert(topics.len());
                        match topics.get_mut(place) {
                            Some((_, indexes)) => indexes.push(index),
                            None => topics.push((topic, vec![index])),
                        }
                    }
                },
            }
        }
        let names: Vec<Arc<str>> = topics.iter().map(|(topic, _)| Arc::clone(topic)).collect();
        match self.admitted(deadline, self.lanes.enter(&names, self.start)).await {
            Err(error) => topics.iter().for_each(|(_, indexes)| call.refuse_all(indexes, &error)),
            Ok(turns) => {
                for ((topic, indexes), mut turn) in topics.iter().zip(turns) {
                    self.send_topic(&mut call, topic, indexes, &mut turn, &native).await;
                }
            }
        }
        // librdkafka has its own copies.
        call.records = Vec::new();
        for (indexes, answers, handle) in std::mem::take(&mut call.sent) {
            // The ledger answers every slot, also at the close; without it the outcome is not known.
            let lost =
                || indexes.iter().map(|_| Err(closed().with_effect(onex_spi::Effect::Unknown))).collect();
            let answers: Answers = answers.await.unwrap_or_else(|_| lost());
            for (index, answer) in indexes.into_iter().zip(answers) {
                if answer.is_err() {
                    handle.distrust();
                }
                call.answers[index] = Some(answer.map_err(|error| self.judge(error, &native)));
            }
        }
        let answers = std::mem::take(&mut call.answers);
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(closed()))).collect()
    }

    async fn close(&self, within: Duration) -> Result<Undelivered> {
        self.begin_close(within);
        let mut phase = self.life.phase.subscribe();
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Closed(_))).await;
        match ended.as_deref() {
            Ok(Phase::Closed(undelivered)) => Ok(*undelivered),
            // The sender lives in `self`.
            _ => Err(Error::new(
                ErrorKind::Unclassified,
                "kafka.close",
                "the producer's thread is gone; report it",
            )),
        }
    }

    fn stats(&self) -> ClientStats {
        self.life.ledger.stats()
    }
}

impl Drop for RdKafkaProducer {
    fn drop(&mut self) {
        self.life.abandoned.store(true, Ordering::Release);
    }
}

/// Lets librdkafka fetch its producer id now; the first record would wait 500 ms for it.
///
/// It asks for one at every answer to a question for metadata, but the first answer comes on the connection to a
/// bootstrap server, which ends with it.
fn warm_up(native: &Shared) {
    for _ in 0..2 {
        if ask_layout(native.client(), GROUPS_TOPIC, ASK, CALL).is_err() {
            // No broker: the first record will wait for one anyhow.
            return;
        }
    }
}

/// Takes room for a chunk; one that is larger than the whole queue takes all of it.
async fn take(from: &Arc<Semaphore>, amount: usize, all: usize) -> Option<OwnedSemaphorePermit> {
    let amount = amount.clamp(1, all.min(Semaphore::MAX_PERMITS));
    let amount = u32::try_from(amount).unwrap_or(u32::MAX);
    // The semaphores are never closed.
    Arc::clone(from).acquire_many_owned(amount).await.ok()
}

/// Hands one record to librdkafka, which copies it and never waits.
fn send(native: &Shared, record: &ProducerRecord, partition: Option<i32>, opaque: usize) -> Result<()> {
    let mut native_record: BaseRecord<'_, [u8], [u8], usize> =
        BaseRecord::with_opaque_to(&record.topic, opaque);
    native_record.partition = partition;
    native_record.key = record.key.as_deref();
    native_record.payload = record.value.as_deref();
    native_record.timestamp = record.timestamp.map(|time| time.as_millis());
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        native_record.headers = Some(record.headers.iter().fold(headers, |headers, header| {
            headers.insert(NativeHeader { key: &header.name, value: header.value.as_deref() })
        }));
    }
    native.send(native_record).map_err(|(error, _)| {
        let at = TopicPartition::new(Arc::clone(&record.topic), partition.unwrap_or(-1));
        let error =
            error::of_native(&error, CALL, format_args!("a record for {}", record.topic)).not_applied();
        if partition.is_some() { error::at(error, at) } else { error }
    })
}

fn no_partition(topic: &Arc<str>, partition: i32, rule: &str) -> Error {
    let at = TopicPartition::new(Arc::clone(topic), partition);
    let fault = KafkaFault::new("UNKNOWN_TOPIC_OR_PARTITION").with_code(3).with_at(at);
    Error::invalid(CALL, format!("there is no partition {partition} of {topic}: {rule}")).with_detail(fault)
}

fn closed() -> Error {
    let fault = KafkaFault::new("").with_recovery(Recovery::Reopen);
    Error::closed(CALL, "the producer").with_detail(fault)
}
