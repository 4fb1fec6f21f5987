//! Listeners: what they hear, when, and what they may do (K8).

use std::collections::BTreeMap;

use futures_util::future::join;
use onex_spi::kafka::{ConsumerId, KafkaFeature, PollRequest, TopicPartition};

use super::case;
use super::journal::{Act, Entry, Journal};
use super::world::{Source, TURN, World, names};
use crate::kafka::driver::{PATIENCE, Topic, broken, values};
use crate::suite::{self, Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka_client.listener_may_seek", ["K6"], ["ONEX-KAFKA-03"], listener_may_seek),
    case!("kafka_client.listener_errors_are_told", ["K8"], ["ONEX-KAFKA-03"], listener_errors_are_told),
    case!("kafka_client.listener_hears_a_handover", ["K8"], ["ONEX-KAFKA-03"], listener_hears_a_handover),
];

async fn listener_may_seek(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    world.store(world.producer().await?, topic.numbered(0, 0..10)).await?;
    let listener = Journal::default().listener("a", Act::SeekTo(6));
    let consumer = world.client.create_consumer(world.member("group"), Some(listener)).await?;
    let read = world.read(consumer, &names([&topic]), 4).await?;
    ensure_eq!("K6", values(&read), ["6", "7", "8", "9"], "what comes after a seek to 6 on assignment");
    Ok(())
}

async fn listener_errors_are_told(world: World) -> CaseResult {
    let topic = world.topic("topic", 1).await?;
    world.store(world.producer().await?, topic.numbered(0, 0..3)).await?;
    let journal = Journal::default();
    let listener = journal.listener("a", Act::FailOnce);
    let consumer = world.client.create_consumer(world.member("group"), Some(listener)).await?;
    let failing = async {
        loop {
            let request = PollRequest::new(10, TURN);
            match world.client.consume_messages(consumer, &names([&topic]), request).await {
                Ok(read) if read.is_empty() => {}
                other => return other,
            }
        }
    };
    match world.within("K8", PATIENCE, "the listener's error", failing).await? {
        Ok(read) => return Err(broken("K8", format!("{} records before the listener's error", read.len()))),
        Err(error) => ensure_eq!("K8", error.operation(), "test.assigned", "whose error was told: {error:#}"),
    }
    let read = world.read(consumer, &[], 3).await?;
    ensure_eq!("K8", values(&read), ["0", "1", "2"], "what comes after the listener's error");
    ensure_eq!("K8", journal.entries(), [Entry::Assigned("a", topic.all())], "what the listener heard");
    Ok(())
}

async fn listener_hears_a_handover(world: World) -> CaseResult {
    suite::needs(world.client.capabilities().features, KafkaFeature::Groups)?;
    let topic = world.topic("topic", 2).await?;
    let producer = world.producer().await?;
    for partition in 0..2 {
        world.store(producer, topic.numbered(partition, 0..10)).await?;
    }
    let journal = Journal::default();
    let open = async |member| -> Result<ConsumerId, Stop> {
        let listener = journal.listener(member, Act::CommitRead);
        Ok(world.client.create_consumer(world.member("group"), Some(listener)).await?)
    };
    let a = open("a").await?;
    let alone = async {
        while reads(&journal) < 20 {
            turn(&world, &topic, &journal, "a", a).await?;
        }
        Ok::<_, Stop>(())
    };
    world.within("K8", PATIENCE, "a reads all", alone).await??;
    let b = open("b").await?;
    let shared = async {
        while owners(&journal)?.values().filter(|owner| **owner == "b").count() != 1
            || owners(&journal)?.len() != 2
        {
            both(&world, &topic, &journal, a, b).await?;
        }
        Ok::<_, Stop>(())
    };
    world.within("K8", PATIENCE, "a and b own one partition each", shared).await??;
    for partition in 0..2 {
        world.store(producer, topic.numbered(partition, 10..20)).await?;
    }
    let rest = async {
        while reads(&journal) < 40 {
            both(&world, &topic, &journal, a, b).await?;
        }
        Ok::<_, Stop>(())
    };
    world.within("K8", PATIENCE, "both read on", rest).await??;

    // `owners` has checked the order; each record came once, because each handover was committed.
    owners(&journal)?;
    let mut counts = BTreeMap::new();
    for entry in journal.entries() {
        if let Entry::Read(_, at, offset) = entry {
            *counts.entry((at, offset)).or_insert(0) += 1;
        }
    }
    ensure!(
        "K8",
        counts.len() == 40 && counts.values().all(|count| *count == 1),
        "records came as {counts:?}"
    );
    Ok(())
}

fn reads(journal: &Journal) -> usize {
    journal.entries().iter().filter(|entry| matches!(entry, Entry::Read(..))).count()
}

/// One call of a member.
async fn turn(
    world: &World,
    topic: &Topic,
    journal: &Journal,
    member: &'static str,
    id: ConsumerId,
) -> CaseResult {
    let request = PollRequest::new(100, TURN);
    let read = world.client.consume_messages(id, &names([topic]), request).await?;
    journal.read(member, &read);
    Ok(())
}

/// One call of each member, side by side.
async fn both(world: &World, topic: &Topic, journal: &Journal, a: ConsumerId, b: ConsumerId) -> CaseResult {
    let (a, b) = join(turn(world, topic, journal, "a", a), turn(world, topic, journal, "b", b)).await;
    a.and(b)
}

/// Who owns what by the journal; checks that each partition had one owner at a time and was read by it alone.
fn owners(journal: &Journal) -> Result<BTreeMap<TopicPartition, &'static str>, Stop> {
    let mut owners = BTreeMap::new();
    for entry in journal.entries() {
        match entry {
            Entry::Assigned(member, partitions) => {
                for at in partitions {
                    if let Some(other) = owners.insert(at.clone(), member) {
                        return Err(broken(
                            "K8",
                            format!("{member} was assigned {at} while {other} owned it"),
                        ));
                    }
                }
            }
            Entry::Revoked(member, partitions) => {
                for at in partitions {
                    if owners.remove(&at) != Some(member) {
                        return Err(broken(
                            "K8",
                            format!("{at} was revoked from {member}, which did not own it"),
                        ));
                    }
                }
            }
            Entry::Lost(member, partitions) => {
                return Err(broken("K8", format!("{member} lost {partitions:?} though it kept reading")));
            }
            Entry::Read(member, at, offset) => {
                if owners.get(&at) != Some(&member) {
                    return Err(broken(
                        "K8",
                        format!("{member} read {offset} of {at}, which it did not own"),
                    ));
                }
            }
        }
    }
    Ok(owners)
}
