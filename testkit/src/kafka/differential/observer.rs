//! Runs steps on one driver and tells what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::kafka::{
    Commit, ConsumerConfig, ConsumerDriver, CreateTopicRequest, GroupState, Header, KafkaDriver,
    KafkaMessage, NextOffsets, OffsetReset, PollRequest, Polled, ProducerDriver, ProducerRecord, Timestamp,
    TopicPartition, Watermarks,
};
use onex_spi::{Error, ErrorKind, Result};

use super::history::{Place, Sent, Step};

/// How long what is due may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a read listens where nothing is due.
const SILENCE: Duration = Duration::from_millis(300);
const TURN: Duration = Duration::from_millis(50);

const MISSING: &str = "UNKNOWN_TOPIC_OR_PARTITION";
const NO_OFFSET: &str = "NO_OFFSET_FOR_PARTITION";
const OUT_OF_RANGE: &str = "OFFSET_OUT_OF_RANGE";

pub(super) struct Observer<'a> {
    driver: &'a dyn KafkaDriver,
    producer: Arc<dyn ProducerDriver>,
    prefix: &'a str,
    begin: i64,
    groups: BTreeMap<usize, Seat>,
}

/// The consumer of a group, and what is known of it.
struct Seat {
    consumer: Arc<dyn ConsumerDriver>,
    reset: OffsetReset,
    subscription: Vec<String>,
    owned: BTreeSet<TopicPartition>,
    leaving: Vec<TopicPartition>,
    paused: BTreeSet<TopicPartition>,
    next: NextOffsets,
    /// Errors that were told, until what they are about has changed.
    told: BTreeSet<String>,
}

impl<'a> Observer<'a> {
    pub(super) fn new(
        driver: &'a dyn KafkaDriver,
        producer: Arc<dyn ProducerDriver>,
        prefix: &'a str,
        begin: i64,
    ) -> Self {
        Self { driver, producer, prefix, begin, groups: BTreeMap::new() }
    }

    pub(super) async fn end(self) {
        for seat in self.groups.into_values() {
            // A history says nothing about its end.
            drop(seat.consumer.close(PATIENCE).await);
        }
        drop(self.producer.close(PATIENCE).await);
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn at(&self, (topic, partition): &Place) -> TopicPartition {
        TopicPartition::new(self.name(topic), *partition)
    }

    fn answer<T: Debug>(&self, answer: Result<T>) -> String {
        match answer {
            Ok(value) => format!("{value:?}").replace(self.prefix, ""),
            Err(error) => told(&error),
        }
    }

    pub(super) async fn step(&mut self, step: &Step) -> String {
        match step {
            Step::Create { name, partitions, replicas, config } => {
                let mut request = CreateTopicRequest::new(self.name(name), *partitions);
                request = request.with_replication_factor(*replicas);
                if let Some((key, value)) = config {
                    request = request.with_config(*key, *value);
                }
                self.answer(self.driver.create_topic(request).await)
            }
            Step::Delete(name) => self.answer(self.driver.delete_topic(&self.name(name)).await),
            Step::Describe(name) => self.describe(name).await,
            Step::Produce(records) => self.produce(records).await,
            Step::Open(group, reset) => self.open(*group, *reset).await,
            Step::Group(group) => self.group(*group).await,
            Step::Close(group) => match self.groups.remove(group) {
                Some(seat) => self.answer(seat.consumer.close(PATIENCE).await),
                None => "nobody".to_owned(),
            },
            Step::Subscribe(group, _)
            | Step::Read(group)
            | Step::Commit { group, .. }
            | Step::CommitAt(group, ..)
            | Step::Committed(group, _)
            | Step::Seek(group, ..)
            | Step::Pause(group, _)
            | Step::Resume(group, _)
            | Step::Watermarks(group, _)
            | Step::OffsetForTime(group, ..) => {
                let Some(mut seat) = self.groups.remove(group) else { return "nobody".to_owned() };
                let seen = self.seated(&mut seat, step).await;
                self.groups.insert(*group, seat);
                seen
            }
        }
    }

    async fn describe(&self, name: &str) -> String {
        let found = self.driver.topic_metadata(&self.name(name)).await;
        self.answer(found.map(|topic| {
            let partition = |info: &onex_spi::kafka::PartitionInfo| (info.partition, info.low, info.high);
            topic.partitions.iter().map(partition).collect::<Vec<_>>()
        }))
    }

    async fn produce(&self, records: &[Sent]) -> String {
        let record = |sent: &Sent| {
            let mut record = ProducerRecord::new(self.name(&sent.topic));
            record.partition = sent.partition;
            record.key = sent.key.clone().map(Into::into);
            record.value = sent.value.clone().map(Into::into);
            let header = |(name, value): &(&'static str, Option<&'static str>)| match value {
                Some(value) => Header::new(*name, *value),
                None => Header::null(*name),
            };
            record.headers = sent.headers.iter().map(header).collect();
            record.timestamp = sent.time.map(|time| Timestamp::from_millis(self.begin + time));
            record
        };
        let answers = self.producer.produce(records.iter().map(record).collect()).await;
        let seen = answers.into_iter().zip(records).map(|(answer, sent)| {
            let stored = answer.map(|receipt| {
                let told = receipt.timestamp.map(|time| time.as_millis() - self.begin);
                (receipt.partition, receipt.offset, sent.time.map_or(Some(0), |_| told))
            });
            self.answer(stored)
        });
        seen.collect::<Vec<_>>().join("; ")
    }

    async fn open(&mut self, group: usize, reset: OffsetReset) -> String {
        if let Some(before) = self.groups.remove(&group) {
            // Told by `Close` alone.
            drop(before.consumer.close(PATIENCE).await);
        }
        let config = ConsumerConfig::new(self.name(&format!("group{group}")))
            .with_offset_reset(reset)
            .with_session_timeout(Duration::from_secs(10));
        match self.driver.consumer(config).await {
            Ok(consumer) => {
                let seat = Seat {
                    consumer,
                    reset,
                    subscription: Vec::new(),
                    owned: BTreeSet::new(),
                    leaving: Vec::new(),
                    paused: BTreeSet::new(),
                    next: NextOffsets::new(),
                    told: BTreeSet::new(),
                };
                self.groups.insert(group, seat);
                "open".to_owned()
            }
            Err(error) => told(&error),
        }
    }

    /// What the cluster says of a group once it has heard of the last change.
    async fn group(&self, group: usize) -> String {
        let Some(admin) = self.driver.admin() else { return "no admin".to_owned() };
        let owned = self.groups.get(&group).map(|seat| &seat.owned).filter(|owned| !owned.is_empty());
        let name = self.name(&format!("group{group}"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let info = match admin.group_info(&name).await {
                Ok(info) => info,
                // A coordinator that begins to work says so.
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline => {
                    tokio::time::sleep(TURN).await;
                    continue;
                }
                Err(error) => return told(&error),
            };
            let assigned: BTreeSet<_> = info.members.iter().flat_map(|member| &member.assignment).collect();
            let settled = match owned {
                Some(owned) => info.state == GroupState::Stable && assigned.into_iter().eq(owned),
                None => !matches!(info.state, GroupState::Rebalancing) && assigned.is_empty(),
            };
            if settled || Instant::now() > deadline {
                return self.answer(Ok((info.state, info.members.len(), info.committed, info.lag)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn seated(&self, seat: &mut Seat, step: &Step) -> String {
        match step {
            Step::Subscribe(_, topics) => {
                let names: Vec<_> = topics.iter().map(|topic| self.name(topic)).collect();
                let answer = seat.consumer.subscribe(&names).await;
                if answer.is_ok() {
                    seat.subscription = names;
                    seat.told.retain(|told| !told.contains(MISSING));
                }
                self.answer(answer)
            }
            Step::Read(_) => self.read(seat).await,
            Step::Commit { by, rewind, .. } => {
                let next = seat.next.iter().map(|(at, next)| (at.clone(), (next + by).max(0))).collect();
                let mut commit = Commit::new(next);
                commit.rewind = *rewind;
                self.answer(seat.consumer.commit(&commit).await)
            }
            Step::CommitAt(_, place, offset) => {
                let commit = Commit::new(NextOffsets::from([(self.at(place), *offset)]));
                self.answer(seat.consumer.commit(&commit).await)
            }
            Step::Committed(_, places) => {
                let places: Vec<_> = places.iter().map(|place| self.at(place)).collect();
                self.answer(seat.consumer.committed(&places).await)
            }
            Step::Seek(_, place, to) => {
                let to = NextOffsets::from([(self.at(place), *to)]);
                let answer = seat.consumer.seek(&to).await;
                if answer.is_ok() {
                    seat.next.extend(to.iter().map(|(at, offset)| (at.clone(), *offset)));
                    seat.told.retain(|told| !told.contains(OUT_OF_RANGE));
                }
                self.answer(answer)
            }
            Step::Pause(_, place) => {
                let at = self.at(place);
                let answer = seat.consumer.pause(std::slice::from_ref(&at)).await;
                if answer.is_ok() {
                    seat.paused.insert(at);
                }
                self.answer(answer)
            }
            Step::Resume(_, place) => {
                let at = self.at(place);
                let answer = seat.consumer.resume(std::slice::from_ref(&at)).await;
                seat.paused.remove(&at);
                self.answer(answer)
            }
            Step::Watermarks(_, place) => self.answer(seat.consumer.watermarks(&self.at(place)).await),
            Step::OffsetForTime(_, place, time) => {
                let asked = [(self.at(place), Timestamp::from_millis(self.begin + time))];
                self.answer(seat.consumer.offsets_for_times(&asked).await)
            }
            _ => String::new(),
        }
    }

    /// Reads to the end of everything that is owned and not paused, then listens for what should not come.
    async fn read(&self, seat: &mut Seat) -> String {
        let (mut records, mut errors) = (Vec::new(), BTreeSet::new());
        let deadline = Instant::now() + PATIENCE;
        let mut silent_since = None;
        loop {
            let due = match self.due(seat, &errors).await {
                Ok(due) => due,
                Err(error) => return told(&error),
            };
            let now = Instant::now();
            if due.is_empty() {
                let since = *silent_since.get_or_insert(now);
                if now > since + SILENCE {
                    break;
                }
            } else {
                silent_since = None;
            }
            if now > deadline {
                errors.insert(format!("nothing came of {due:?}").replace(self.prefix, ""));
                break;
            }
            for gone in std::mem::take(&mut seat.leaving) {
                seat.forget(&gone);
            }
            match seat.consumer.poll(PollRequest::new(500, TURN)).await {
                Ok(Polled::Records(messages)) => {
                    seat.next
                        .extend(NextOffsets::after(&messages).iter().map(|(at, next)| (at.clone(), *next)));
                    records.extend(messages);
                }
                Ok(Polled::Assigned(partitions)) => seat.owned.extend(partitions),
                Ok(Polled::Revoking(partitions)) => seat.leaving = partitions,
                Ok(Polled::Lost(partitions)) => partitions.iter().for_each(|at| seat.forget(at)),
                Ok(other) => drop(errors.insert(format!("{other:?}"))),
                Err(error) => {
                    let told = told(&error);
                    errors.insert(told);
                    if seat.subscription.is_empty() {
                        break;
                    }
                }
            }
        }
        // What was fetched of a former subscription may still come until it is revoked.
        records.retain(|message| seat.subscription.iter().any(|name| **name == *message.topic));
        // A partition that had nowhere to begin is told once: what the engine tells of it later is its own affair.
        let known = seat.stopped();
        let new: Vec<_> =
            errors.difference(&seat.told).filter(|told| !known || !is_stop(told)).cloned().collect();
        seat.told.extend(errors);
        format!("{} told {new:?}", self.records(records)).replace(self.prefix, "")
    }

    /// What a read still waits for.
    async fn due(&self, seat: &mut Seat, errors: &BTreeSet<String>) -> Result<Vec<String>> {
        let mut due = Vec::new();
        let mut there = BTreeSet::new();
        for name in &seat.subscription {
            match self.driver.topic_metadata(name).await {
                Ok(topic) => {
                    let bounds = topic.partitions.iter().map(|info| {
                        let at = TopicPartition::new(topic.name.clone(), info.partition);
                        (at, Watermarks::new(info.low, info.high))
                    });
                    there.extend(bounds.map(|(at, bounds)| (at, (bounds.low, bounds.high))));
                }
                Err(_) if seat.heard(errors, MISSING) => {}
                Err(_) => due.push(format!("{name} told as missing")),
            }
        }
        let assigned: BTreeSet<_> = there.iter().map(|(at, _)| at.clone()).collect();
        if assigned != seat.owned || !seat.leaving.is_empty() {
            due.push(format!("{assigned:?} owned, only {:?}", seat.owned));
            return Ok(due);
        }
        let committed = seat.consumer.committed(&assigned.iter().cloned().collect::<Vec<_>>()).await?;
        for (at, (low, high)) in there {
            if seat.paused.contains(&at) {
                continue;
            }
            let wanted = seat.next.get(&at).or_else(|| committed.get(&at)).copied();
            let inside = wanted.filter(|offset| (low..=high).contains(offset));
            let start = match (inside, seat.reset) {
                (Some(offset), _) => offset,
                (None, OffsetReset::Earliest) => low,
                (None, OffsetReset::Latest) => high,
                (None, _) => {
                    let name = if wanted.is_none() { NO_OFFSET } else { OUT_OF_RANGE };
                    if !seat.heard(errors, name) && !seat.stopped() {
                        due.push(format!("{name} of {at}"));
                    }
                    continue;
                }
            };
            if start < high {
                due.push(format!("{at} from {start} to {high}"));
            } else if inside.is_none() && seat.reset == OffsetReset::Latest && due.is_empty() {
                // When an engine looks for the end is its own affair: from here on the end is this one.
                let to = NextOffsets::from([(at.clone(), high)]);
                seat.consumer.seek(&to).await?;
                seat.next.insert(at, high);
            }
        }
        Ok(due)
    }

    fn records(&self, messages: Vec<KafkaMessage>) -> String {
        let mut partitions: BTreeMap<TopicPartition, Vec<String>> = BTreeMap::new();
        for message in messages {
            let at = TopicPartition::new(message.topic.clone(), message.partition);
            let time = message.timestamp.as_millis() - self.begin;
            // A time of its own is far from now.
            let time = if (-60_000..=600_000).contains(&time) { None } else { Some(time) };
            let (key, value, headers) = (&message.key, &message.value, &message.headers);
            let shown = format!(
                "{} {key:?} {value:?} {headers:?} {time:?} {:?}",
                message.offset, message.timestamp_kind
            );
            partitions.entry(at).or_default().push(shown);
        }
        format!("{partitions:?}")
    }
}

fn is_stop(told: &str) -> bool {
    told.contains(NO_OFFSET) || told.contains(OUT_OF_RANGE)
}

impl Seat {
    /// Whether a read before told that a partition had nowhere to begin.
    fn stopped(&self) -> bool {
        self.told.iter().any(|told| is_stop(told))
    }

    fn heard(&self, errors: &BTreeSet<String>, name: &str) -> bool {
        errors.iter().chain(&self.told).any(|told| told.contains(name))
    }

    fn forget(&mut self, at: &TopicPartition) {
        self.owned.remove(at);
        self.paused.remove(at);
        self.next.remove(at);
    }
}

/// Kind, effect and Kafka's name for an error.
fn told(error: &Error) -> String {
    let name = error.kafka().map_or("", |fault| &fault.name);
    format!("{:?} {:?} {name}", error.kind(), error.effect())
}
