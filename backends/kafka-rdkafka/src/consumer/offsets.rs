//! What thread B asks the group's coordinator: commits that keep K7, committed offsets.

use std::time::{Duration, Instant};

use onex_spi::Result;
use onex_spi::kafka::{Commit, NextOffsets, TopicPartition, not_owned};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::worker::{Native, Shared, list_of, offsets_of};
use crate::cluster::ANSWER;
use crate::error;

/// Commits on thread B; refuses to go back unless asked to.
pub(super) fn commit_now(native: &Native, shared: &Shared, commit: &Commit) -> Result<()> {
    const CALL: &str = "kafka.commit";
    if !commit.rewind {
        let unknown: Vec<_> = {
            let slot = shared.slot();
            commit.next.keys().filter(|at| !slot.committed.contains_key(at)).cloned().collect()
        };
        if !unknown.is_empty() {
            let found = committed_now(native, &unknown, CALL)?;
            let mut slot = shared.slot();
            for at in unknown {
                if slot.owned.contains(&at) {
                    let offset = found.get(&at).copied().unwrap_or(-1);
                    slot.committed.insert(at, offset);
                }
            }
        }
        let slot = shared.slot();
        commit.check(|at| slot.committed.get(at).copied())?;
    }
    {
        // The assignment may have changed since the call came in.
        let slot = shared.slot();
        if let Some(foreign) = commit.next.keys().find(|at| !slot.owned.contains(at)) {
            return Err(not_owned(CALL, foreign));
        }
    }
    let refused = |error| error::of_native(&error, CALL, "the offsets");
    let list = offsets_of(commit.next.iter().map(|(at, offset)| (at, *offset))).map_err(refused)?;
    let answer = while_coordinator_moves(|| native.commit(&list, CommitMode::Sync));
    let mut slot = shared.slot();
    for (at, offset) in commit.next.iter() {
        if answer.is_ok() && slot.owned.contains(at) {
            slot.committed.insert(at.clone(), *offset);
        } else {
            slot.committed.remove(at);
        }
    }
    drop(slot);
    answer.map_err(|error| native.context().notes.explain(refused(error), CALL))
}

pub(super) fn committed_now(
    native: &Native,
    partitions: &[TopicPartition],
    operation: &'static str,
) -> Result<NextOffsets> {
    let answer = while_coordinator_moves(|| native.committed_offsets(list_of(partitions), ANSWER));
    let list = answer.map_err(|error| {
        // Asking changes nothing.
        let error = error::of_native(&error, operation, "the committed offsets").not_applied();
        native.context().notes.explain(error, operation)
    })?;
    offsets_in(&list, operation)
}

/// Asks again where the broker refused because the group's coordinator is moving or loading, as Kafka's own clients do:
/// librdkafka hands that refusal out, and on a young cluster the first question meets it.
fn while_coordinator_moves<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    // Kafka's `retry.backoff.ms`; thread B is made for waiting.
    const BACKOFF: Duration = Duration::from_millis(100);
    let begin = Instant::now();
    loop {
        let answer = ask();
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        let moving =
            matches!(code, Some(NotCoordinator | CoordinatorNotAvailable | CoordinatorLoadInProgress));
        if !moving || begin.elapsed() >= ANSWER {
            return answer;
        }
        std::thread::sleep(BACKOFF);
    }
}

/// The offsets of a list; partitions without one are absent.
pub(super) fn offsets_in(list: &TopicPartitionList, operation: &'static str) -> Result<NextOffsets> {
    let mut offsets = NextOffsets::new();
    for element in list.elements() {
        let at = TopicPartition::new(element.topic(), element.partition());
        element
            .error()
            .map_err(|error| error::at(error::of_native(&error, operation, &at).not_applied(), at.clone()))?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(at, offset);
        }
    }
    Ok(offsets)
}
