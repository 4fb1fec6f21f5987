//! Thread C: owns the native consumer and polls it only while the application polls.
//!
//! ```text
//!  commands ─► Poll: finish the change that the last poll told, subscribe, look
//!              Wake: librdkafka's queue is not empty any more (a tick of 100 ms stands in for a lost one)
//!              Do:   seek, pause, resume
//!              Close: leave the group, end
//!
//!  librdkafka ─► rebalance callback: a note only; assign and unassign are called when the application polls again
//! ```
//! Until then librdkafka waits and fetches nothing, so an application that does not poll keeps what it was told it has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use onex_spi::kafka::TopicPartition;
use onex_spi::{Error, ErrorKind, Result};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, Statistics};
use tokio::sync::{Notify, watch};

use super::convert;
use super::slot::{Change, Slot};
use crate::error;
use crate::native::{self, Notes};
use crate::work::Workers;

/// How often thread C looks without being woken, while a poll waits.
const TICK: Duration = Duration::from_millis(100);
/// The most bytes of one look.
const LOOK_BYTES: usize = 1 << 20;
/// How often librdkafka's queue may seem empty within a look: an event that is not a record looks the same.
const BLANKS: usize = 3;
/// How long a seek waits for a partition whose fetching has not begun.
const SEEK: Duration = Duration::from_secs(5);
const SEEK_PAUSE: Duration = Duration::from_millis(10);

pub(super) type Native = BaseConsumer<Context>;

/// Something that thread C does to the native consumer.
type Job = Box<dyn FnOnce(&Native, &Shared) + Send>;

/// What thread C is asked for.
pub(super) enum Command {
    Poll,
    Wake,
    Do(Job),
    Close,
}

/// What everybody around one consumer shares.
#[derive(Debug, Default)]
pub(super) struct Shared {
    slot: Mutex<Slot>,
    /// Something may be taken.
    pub(super) changed: Notify,
    /// Set at the close: librdkafka is answered within its callback, nobody polls any more.
    closing: AtomicBool,
    woken: AtomicBool,
}

impl Shared {
    pub(super) fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) notes: Notes,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        native::log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.notes.error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, native: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partitions_of(list);
        let assign = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let change = match assign {
            true => Change::Assign(partitions),
            false => self.shared.slot().removal(partitions, native.assignment_lost()),
        };
        let (Change::Assign(named) | Change::Revoke(named) | Change::Lose(named)) = &change;
        // Cooperative groups announce changes of nothing; librdkafka wants them answered all the same.
        if named.is_empty() || self.shared.closing.load(Ordering::Acquire) {
            if let Err(error) = apply(native, &change, &|_| None) {
                tracing::warn!(%error, "librdkafka did not take the answer to a rebalance");
            }
            return;
        }
        self.shared.slot().note(change);
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let mut partitions: Vec<_> = list
        .elements()
        .iter()
        .map(|element| TopicPartition::new(element.topic(), element.partition()))
        .collect();
    partitions.sort();
    partitions
}

/// A list for librdkafka, made fresh: one of its own that outlives the consumer would hang the drop.
pub(super) fn list_of<'p>(partitions: impl IntoIterator<Item = &'p TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// A list with offsets.
pub(super) fn offsets_of<'p>(
    offsets: impl IntoIterator<Item = (&'p TopicPartition, i64)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

/// Calls what librdkafka waits for after a rebalance.
fn apply(
    native: &Native,
    change: &Change,
    start: &dyn Fn(&TopicPartition) -> Option<i64>,
) -> KafkaResult<()> {
    let cooperative = matches!(native.rebalance_protocol(), RebalanceProtocol::Cooperative);
    match change {
        Change::Assign(partitions) => {
            let mut list = list_of(partitions);
            for partition in partitions {
                if let Some(offset) = start(partition) {
                    list.set_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))?;
                }
            }
            if cooperative { native.incremental_assign(&list) } else { native.assign(&list) }
        }
        Change::Revoke(partitions) | Change::Lose(partitions) => {
            if cooperative {
                native.incremental_unassign(&list_of(partitions))
            } else {
                native.unassign()
            }
        }
    }
}

/// Wakes thread C from librdkafka's threads, once until it has looked.
pub(super) fn waker(shared: &Arc<Shared>, commands: Sender<Command>) -> impl Fn() + Send + Sync + 'static {
    let shared = Arc::downgrade(shared);
    move || {
        if let Some(shared) = shared.upgrade()
            && !shared.woken.swap(true, Ordering::AcqRel)
        {
            // A consumer that has ended needs no wake.
            let _ = commands.send(Command::Wake);
        }
    }
}

/// Thread C's loop; returns once the group is left and the native consumer is gone.
pub(super) fn serve(
    native: Arc<Native>,
    commands: &Receiver<Command>,
    broker: &Workers,
    ended: &watch::Sender<bool>,
) {
    let _told = Told(ended);
    let shared = Arc::clone(&native.context().shared);
    loop {
        let wanted = shared.slot().wanted;
        let command = if wanted {
            match commands.recv_timeout(TICK) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => Command::Wake,
                Err(RecvTimeoutError::Disconnected) => Command::Close,
            }
        } else {
            commands.recv().unwrap_or(Command::Close)
        };
        match command {
            Command::Poll => {
                let asked = shared.slot().asked;
                prepare(&native, &shared);
                look(&native, &shared);
                shared.slot().served = asked;
                shared.changed.notify_waiters();
            }
            Command::Wake => {
                shared.woken.store(false, Ordering::Release);
                if shared.slot().wanted && look(&native, &shared) {
                    shared.changed.notify_waiters();
                }
            }
            Command::Do(job) => job(&native, &shared),
            Command::Close => break,
        }
    }
    shared.closing.store(true, Ordering::Release);
    let changes = {
        let mut slot = shared.slot();
        slot.close();
        slot.take_changes()
    };
    shared.changed.notify_waiters();
    for change in &changes {
        if let Err(error) = apply(&native, change, &|_| None) {
            tracing::debug!(%error, "a change that the close found was not taken");
        }
    }
    // Calls that wait for the broker hold the native consumer; it must end here.
    broker.finish();
    drop(native);
}

/// Tells the end, also where the thread panicked.
struct Told<'e>(&'e watch::Sender<bool>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Does what the application's last poll told it, and what it asked for since.
fn prepare(native: &Native, shared: &Shared) {
    let (change, starts, subscription) = {
        let mut slot = shared.slot();
        let change = slot.take_handed();
        let starts = match &change {
            Some(Change::Assign(_)) => std::mem::take(&mut slot.starts),
            Some(Change::Revoke(partitions)) => {
                slot.forget(partitions);
                Default::default()
            }
            _ => Default::default(),
        };
        (change, starts, slot.take_subscription())
    };
    if let Some(change) = change {
        if let Err(error) = apply(native, &change, &|partition| starts.get(partition).copied()) {
            shared.slot().fail(error::of_native(&error, "kafka.poll", "a change of the assignment"));
        }
        if let Change::Assign(partitions) = &change {
            let paused: Vec<_> = {
                let slot = shared.slot();
                partitions.iter().filter(|partition| slot.paused.contains(partition)).cloned().collect()
            };
            if !paused.is_empty()
                && let Err(error) = native.pause(&list_of(&paused))
            {
                shared.slot().fail(error::of_native(&error, "kafka.poll", "pausing what was just assigned"));
            }
        }
    }
    if let Some(topics) = subscription {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        if names.is_empty() {
            native.unsubscribe();
        } else if let Err(error) = native.subscribe(&names) {
            shared.slot().fail(error::of_native(&error, "kafka.subscribe", "the subscription"));
        }
    }
}

/// Takes from librdkafka what one poll wants; says whether there is something to take now.
fn look(native: &Native, shared: &Shared) -> bool {
    let most = {
        let slot = shared.slot();
        // An application that works off what was fetched polls all the same: librdkafka must see that it lives.
        if slot.is_dry() { slot.most } else { 1 }
    };
    let mut taken = Vec::new();
    let (mut bytes, mut blanks) = (0, 0);
    while taken.len() < most && bytes < LOOK_BYTES && blanks < BLANKS {
        // The callback of a rebalance runs in here and takes the slot's lock.
        match native.poll(Duration::ZERO) {
            Some(Ok(message)) => {
                bytes += convert::size(&message);
                taken.push(message);
            }
            Some(Err(error)) => {
                if report(native, shared, &error) {
                    break;
                }
            }
            None => blanks += 1,
        }
        if shared.slot().has_notes() {
            break;
        }
    }
    let records = convert::messages(&taken);
    let mut slot = shared.slot();
    slot.push(records);
    slot.is_ready()
}

/// Puts an error event where the next poll finds it; says whether it is one for the application.
fn report(native: &Native, shared: &Shared, met: &KafkaError) -> bool {
    const CALL: &str = "kafka.poll";
    let reason = native.context().notes.last();
    let about = if reason.is_empty() { "the consumer".to_owned() } else { reason };
    match error::code_of(met) {
        // One connection among several, which librdkafka makes again; it says AllBrokersDown when none is left.
        Some(Code::BrokerTransportFailure | Code::Resolve) => false,
        Some(Code::AutoOffsetReset) => {
            // librdkafka puts Kafka's reason into the text only.
            let code =
                if about.contains("out of range") { Code::OffsetOutOfRange } else { Code::AutoOffsetReset };
            let error = error::of_code(code, CALL, about);
            let mut slot = shared.slot();
            slot.stick(error.clone());
            slot.fail(error);
            true
        }
        _ => {
            let error = error::of_native(met, CALL, about);
            shared.slot().fail(native.context().notes.explain(error, CALL));
            true
        }
    }
}

/// Moves the position of running partitions; waits for those whose fetching has not begun.
pub(super) fn seek(native: &Native, shared: &Shared, to: &[(TopicPartition, i64)]) -> Result<()> {
    const CALL: &str = "kafka.seek";
    let refused = |error: &KafkaError| error::of_native(error, CALL, "the new position");
    let mut left: Vec<(TopicPartition, i64)> = to.to_vec();
    let begin = Instant::now();
    loop {
        let list = offsets_of(left.iter().map(|(at, offset)| (at, *offset))).map_err(|e| refused(&e))?;
        let answered = native.seek_partitions(list, SEEK).map_err(|e| refused(&e))?;
        let mut waiting = Vec::new();
        let mut failed: Option<Error> = None;
        for element in answered.elements() {
            let at = TopicPartition::new(element.topic(), element.partition());
            let offset = left.iter().find(|(wanted, _)| *wanted == at).map(|(_, offset)| *offset);
            match (element.error(), offset) {
                (Ok(()), _) => shared.slot().purge(&at),
                (Err(error), Some(offset)) => match error::code_of(&error) {
                    // Assigned, but its first offset is still being looked up; no event tells when that ends.
                    Some(Code::State | Code::PreviousInProgress) => waiting.push((at, offset)),
                    _ => failed = Some(error::at(refused(&error), at)),
                },
                (Err(error), None) => failed = Some(refused(&error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if waiting.is_empty() {
            shared.slot().unstick();
            return Ok(());
        }
        // One that the reset policy stopped never begins again by itself.
        if begin.elapsed() > SEEK || shared.slot().is_stuck() {
            return reassign(native, shared, &waiting);
        }
        left = waiting;
        std::thread::sleep(SEEK_PAUSE);
    }
}

/// Starts partitions anew that librdkafka has stopped: it seeks no partition that stands still.
fn reassign(native: &Native, shared: &Shared, to: &[(TopicPartition, i64)]) -> Result<()> {
    let refused = |error: KafkaError| error::of_native(&error, "kafka.seek", "the new position");
    let cooperative = matches!(native.rebalance_protocol(), RebalanceProtocol::Cooperative);
    if !cooperative || shared.slot().has_notes() {
        // librdkafka would take the calls below for the answer to the rebalance.
        let text = "a partition stands still while the group is changing; poll, then seek again";
        return Err(Error::new(ErrorKind::Conflict, "kafka.seek", text).not_applied());
    }
    let partitions = || to.iter().map(|(at, _)| at);
    let list = offsets_of(to.iter().map(|(at, offset)| (at, *offset))).map_err(refused)?;
    native.incremental_unassign(&list_of(partitions())).map_err(refused)?;
    native.incremental_assign(&list).map_err(refused)?;
    let mut slot = shared.slot();
    partitions().for_each(|at| slot.purge(at));
    slot.unstick();
    Ok(())
}

/// The native consumer for calls that wait for the broker, while it is there.
pub(super) fn upgrade(native: &Weak<Native>, operation: &'static str) -> Result<Arc<Native>> {
    native.upgrade().ok_or_else(|| Error::closed(operation, "the consumer"))
}
