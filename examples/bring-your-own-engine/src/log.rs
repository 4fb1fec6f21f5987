//! A `KafkaDriver` over one log in memory: a group is its committed offsets, each consumer owns what it subscribes to.
//!
//! ```text
//!  LogProducer ── append ─► Log: partition ─► records, group ─► offsets ── look ─► LogConsumer
//!                            └ a change wakes the polls that wait
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onex_spi::kafka::{
    Acks, ClientStats, Commit, ConsumerConfig, ConsumerDriver, CreateTopicRequest, KafkaCapabilities,
    KafkaDriver, KafkaFeature, KafkaMessage, Member, NextOffsets, PartitionInfo, PollRequest, Polled,
    ProduceReceipt, ProducerConfig, ProducerDriver, ProducerRecord, Timestamp, TopicMetadata, TopicOutcome,
    TopicPartition, Undelivered, Watermarks, check_cluster, unknown_partition, unknown_topic,
};
use onex_spi::{Clock, Features, Gate, Health, Lifecycle, Result};
use tokio::sync::watch;

/// The most bytes of key, value and headers in one record.
const RECORD_BYTES: usize = 1 << 20;

/// The log; clones are handles on the same one. A change wakes the polls that wait.
#[derive(Clone, Debug, Default)]
pub struct Log(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    /// Per partition, its records; an offset is an index.
    partitions: BTreeMap<TopicPartition, Vec<KafkaMessage>>,
    /// Per group, what it has committed.
    committed: BTreeMap<String, NextOffsets>,
}

impl State {
    /// How many partitions a topic has.
    fn count(&self, operation: &'static str, topic: &str) -> Result<i32> {
        let count = self.partitions.keys().filter(|at| *at.topic == *topic).count();
        if count > 0 { Ok(count as i32) } else { Err(unknown_topic(operation, topic)) }
    }

    fn records(&self, operation: &'static str, at: &TopicPartition) -> Result<&Vec<KafkaMessage>> {
        self.partitions.get(at).ok_or_else(|| unknown_partition(operation, at))
    }
}

/// The driver; clones are the same one.
#[derive(Clone, Debug)]
pub struct LogDriver {
    log: Log,
    clock: Arc<dyn Clock>,
    gate: Gate,
    capabilities: KafkaCapabilities,
}

impl LogDriver {
    /// Makes a driver on `log`; drivers on the same log see the same records.
    #[must_use]
    pub fn new(log: Log, clock: Arc<dyn Clock>) -> Self {
        let gate = Gate::new("the driver", clock.clone());
        Self { log, clock, gate, capabilities: KafkaCapabilities::new(Features::none(), RECORD_BYTES) }
    }

    /// Closes `gate` and wakes whoever waits behind it.
    fn shut(&self, gate: &Gate) {
        gate.cut();
        self.log.0.send_modify(|_| ());
    }
}

#[async_trait]
impl Lifecycle for LogDriver {
    async fn health(&self) -> Health {
        self.gate.health()
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.shut(&self.gate);
        Ok(())
    }
}

#[async_trait]
impl KafkaDriver for LogDriver {
    fn capabilities(&self) -> &KafkaCapabilities {
        &self.capabilities
    }

    async fn producer(&self, config: ProducerConfig) -> Result<Arc<dyn ProducerDriver>> {
        self.gate.enter("kafka.producer")?;
        config.validate()?;
        check_cluster("kafka.producer", &config.bootstrap_servers, &[])?;
        let gate = Gate::new("the producer", self.clock.clone());
        let (batches, stats) = Default::default();
        Ok(Arc::new(LogProducer { driver: self.clone(), gate, acks: config.acks, batches, stats }))
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Arc<dyn ConsumerDriver>> {
        self.gate.enter("kafka.consumer")?;
        config.validate()?;
        check_cluster("kafka.consumer", &config.bootstrap_servers, &[])?;
        let gate = Gate::new("the consumer", self.clock.clone());
        let (member, turn) = Default::default();
        Ok(Arc::new(LogConsumer { driver: self.clone(), gate, config, member, turn }))
    }

    async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicOutcome> {
        self.gate.enter("kafka.create_topic")?;
        request.validate(&self.capabilities)?;
        let created = self.log.0.send_if_modified(|state| {
            let new = state.count("kafka.create_topic", &request.name).is_err();
            // No number asked for = one partition.
            let numbers = (0..request.partitions.max(1)).filter(|_| new);
            let at = |number| TopicPartition::new(request.name.as_str(), number);
            state.partitions.extend(numbers.map(|number| (at(number), Vec::new())));
            new
        });
        Ok(if created { TopicOutcome::Created } else { TopicOutcome::Existed })
    }

    async fn delete_topic(&self, _name: &str) -> Result<TopicOutcome> {
        self.gate.enter("kafka.delete_topic")?;
        // A log is for ever.
        let declared = self.capabilities.features.require("kafka.delete_topic", KafkaFeature::TopicAdmin);
        declared.map(|()| TopicOutcome::Absent)
    }

    async fn topic_metadata(&self, name: &str) -> Result<TopicMetadata> {
        self.gate.enter("kafka.topic_metadata")?;
        let state = self.log.0.borrow();
        state.count("kafka.topic_metadata", name)?;
        let partitions = state.partitions.iter().filter(|(at, _)| *at.topic == *name);
        let info = partitions.map(|(at, log)| PartitionInfo::new(at.partition, 0, 0, log.len() as i64));
        Ok(TopicMetadata::new(name, info.collect()))
    }
}

#[derive(Debug)]
struct LogProducer {
    driver: LogDriver,
    gate: Gate,
    acks: Acks,
    /// The batches sent: the null keys of each go to the next partition (K1).
    batches: AtomicUsize,
    stats: Mutex<ClientStats>,
}

impl LogProducer {
    fn append(&self, state: &mut State, record: ProducerRecord, batch: usize) -> Result<ProduceReceipt> {
        record.check_size(RECORD_BYTES)?;
        let count = state.count("kafka.produce", &record.topic)?;
        let partition = record.choose_partition(count, || batch)?;
        let records =
            state.partitions.entry(TopicPartition::new(record.topic.clone(), partition)).or_default();
        let now = Timestamp::from_system_time(self.driver.clock.wall());
        let message = KafkaMessage::stored(record, partition, records.len() as i64, now);
        let receipt = ProduceReceipt::of(&message, self.acks);
        records.push(message);
        Ok(receipt)
    }

    fn count(&self) -> MutexGuard<'_, ClientStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProducerDriver for LogProducer {
    async fn produce(&self, records: Vec<ProducerRecord>) -> Vec<Result<ProduceReceipt>> {
        let open = self.driver.gate.enter("kafka.produce").and(self.gate.enter("kafka.produce"));
        if let Err(closed) = open {
            return vec![Err(closed); records.len()];
        }
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        let mut answers = Vec::with_capacity(records.len());
        self.count().accept(records.len());
        self.driver.log.0.send_modify(|state| {
            for record in records {
                let bytes = record.bytes();
                let answer = self.append(state, record, batch);
                self.count().settle(&answer, bytes);
                answers.push(answer);
            }
        });
        answers
    }

    async fn close(&self, _within: Duration) -> Result<Undelivered> {
        self.gate.cut();
        Ok(Undelivered::default())
    }

    fn stats(&self) -> ClientStats {
        *self.count()
    }
}

#[derive(Debug)]
struct LogConsumer {
    driver: LogDriver,
    gate: Gate,
    config: ConsumerConfig,
    /// Locked after the log's state, never before.
    member: Mutex<Member>,
    /// Polls queue up.
    turn: tokio::sync::Mutex<()>,
}

impl LogConsumer {
    /// The consumer's books, while consumer and driver are open.
    fn member(&self, operation: &'static str) -> Result<MutexGuard<'_, Member>> {
        self.driver.gate.enter(operation).and(self.gate.enter(operation))?;
        Ok(self.member.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One look at the log: a change, records, or nothing yet.
    fn look(&self, state: &State, most: usize, over: bool) -> Result<Option<Polled>> {
        let mut member = self.member("kafka.poll")?;
        member.begin_poll();
        let wanted = |at: &&TopicPartition| member.subscription().contains(&at.topic);
        let gone = member.owned().filter(|at| !wanted(at)).cloned().collect();
        let come = state.partitions.keys().filter(wanted).filter(|at| !member.owns(at)).cloned().collect();
        if let Some(change) = member.revoke(gone).or_else(|| member.assign(come)) {
            return Ok(Some(change));
        }
        let committed = state.committed.get(&self.config.group_id);
        let records = member.read(most, |at, position, most| {
            let records = state.records("kafka.poll", at)?;
            let wanted = position.or_else(|| committed?.get(at).copied());
            let bounds = Watermarks::new(0, records.len() as i64);
            let start = self.config.offset_reset.start(at, wanted, bounds)?;
            Ok((start, records.iter().skip(start as usize).take(most).cloned().collect()))
        })?;
        if records.is_empty() {
            member.tell_missing(|topic| state.count("kafka.poll", topic).is_ok(), over)?;
        }
        Ok((over || !records.is_empty()).then_some(Polled::Records(records)))
    }

    fn store(&self, state: &mut State, commit: &Commit) -> Result<()> {
        let member = self.member("kafka.commit")?;
        commit.next.keys().try_for_each(|at| state.records("kafka.commit", at).map(drop))?;
        member.require_owned("kafka.commit", commit.next.keys())?;
        commit.apply(state.committed.entry(self.config.group_id.clone()).or_default())
    }
}

#[async_trait]
impl ConsumerDriver for LogConsumer {
    async fn subscribe(&self, topics: &[String]) -> Result<()> {
        self.member("kafka.subscribe")?.subscribe(topics)
    }

    async fn poll(&self, request: PollRequest) -> Result<Polled> {
        let _turn = self.turn.lock().await;
        let (mut log, clock) = (self.driver.log.0.subscribe(), &self.driver.clock);
        let mut late = clock.sleep_until(clock.after(request.max_wait));
        let mut over = false;
        loop {
            if let Some(polled) = self.look(&log.borrow_and_update(), request.max_records, over)? {
                return Ok(polled);
            }
            tokio::select! {
                _ = log.changed() => {}
                () = &mut late => over = true,
            }
        }
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        let mut stored = Ok(());
        self.driver.log.0.send_modify(|state| stored = self.store(state, commit));
        stored
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<NextOffsets> {
        drop(self.member("kafka.committed")?);
        let state = self.driver.log.0.borrow();
        let committed = state.committed.get(&self.config.group_id);
        Ok(committed.map(|committed| committed.only(partitions)).unwrap_or_default())
    }

    async fn seek(&self, to: &NextOffsets) -> Result<()> {
        self.member("kafka.seek")?.seek(to)
    }

    async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.member("kafka.pause")?.pause(partitions)
    }

    async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.member("kafka.resume")?.resume(partitions)?;
        self.driver.log.0.send_modify(|_| ());
        Ok(())
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        drop(self.member("kafka.watermarks")?);
        let end = self.driver.log.0.borrow().records("kafka.watermarks", partition)?.len();
        Ok(Watermarks::new(0, end as i64))
    }

    async fn offsets_for_times(&self, times: &[(TopicPartition, Timestamp)]) -> Result<NextOffsets> {
        drop(self.member("kafka.offsets_for_times")?);
        let state = self.driver.log.0.borrow();
        let first = |(at, time): &(TopicPartition, Timestamp)| {
            let mut records = state.records("kafka.offsets_for_times", at)?.iter();
            Ok(records.find(|record| record.timestamp >= *time).map(|record| (at.clone(), record.offset)))
        };
        times.iter().map(first).filter_map(Result::transpose).collect()
    }

    async fn close(&self, _within: Duration) -> Result<()> {
        self.driver.shut(&self.gate);
        Ok(())
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        // A closed consumer owns nothing.
        self.member("kafka.assignment")
            .map_or_else(|_| Vec::new(), |member| member.owned().cloned().collect())
    }

    fn stats(&self) -> ClientStats {
        self.member.lock().unwrap_or_else(PoisonError::into_inner).stats()
    }
}
