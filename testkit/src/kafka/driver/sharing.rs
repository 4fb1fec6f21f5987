//! Groups of two and more (K8).

use std::collections::BTreeSet;
use std::time::Duration;

use onex_spi::kafka::{ConsumerGroupInfo, GroupState, KafkaAdmin, KafkaFeature};

use super::PATIENCE;
use super::case;
use super::group::{Change, Group};
use super::judge::broken;
use super::reader::values;
use super::topic::store;
use super::world::{Source, World};
use crate::suite::{Case, CaseResult, Stop};
use crate::{ensure, ensure_eq};

pub(super) const CASES: &[Case<Source>] = &[
    case!("kafka.two_members_share", ["K8"], ["ONEX-KAFKA-03"], two_members_share),
    case!("kafka.handover_point", ["K8", "K6", "K7"], ["ONEX-KAFKA-03"], handover_point),
    case!("kafka.commit_in_revoked", ["K8"], ["ONEX-KAFKA-03"], commit_in_revoked),
    case!("kafka.group_info", ["K8", "K20"], ["ONEX-KAFKA-16"], group_info),
    case!("kafka.groups_are_independent", ["K8"], ["ONEX-KAFKA-23"], groups_are_independent),
];

async fn two_members_share(world: World) -> CaseResult {
    world.needs(KafkaFeature::Groups)?;
    let topic = world.topic(4).await?;
    let mut group = Group::default();
    group.add("a", world.reader("group", &[&topic]).await?, false);
    let owns = |group: &Group, name: &str| group.member(name).reader.owned().len();
    group.until(world.clock(), "a alone owns all four", |group| owns(group, "a") == 4).await?;

    group.add("b", world.reader("group", &[&topic]).await?, false);
    let shared = |group: &Group| (owns(group, "a"), owns(group, "b")) == (2, 2);
    group.until(world.clock(), "a and b own two each", shared).await?;
    for name in ["a", "b"] {
        let reader = &group.member(name).reader;
        let told: Vec<_> = reader.owned().iter().cloned().collect();
        ensure_eq!("K8", reader.consumer.assignment(), told, "what {name} owns, asked and told");
    }

    let b = group.leave("b").await?;
    ensure_eq!("K8", b.reader.consumer.assignment(), [], "what b owns after it left");
    ensure!("K8", matches!(b.changes.first(), Some(Change::Assigned(_))), "b was told {:?} first", b.changes);
    group.until(world.clock(), "a owns all four again", |group| owns(group, "a") == 4).await?;

    // What was told adds up to what is owned, in the order in which it was told.
    let mut owned = BTreeSet::new();
    for change in &group.member("a").changes {
        match change {
            Change::Assigned(partitions) => {
                let new = partitions.iter().all(|partition| owned.insert(partition.clone()));
                ensure!("K8", new, "{partitions:?} assigned twice");
            }
            Change::Revoking(partitions) => {
                let had = partitions.iter().all(|partition| owned.remove(partition));
                ensure!("K8", had, "{partitions:?} revoked without being owned");
            }
        }
    }
    ensure_eq!("K8", owned.into_iter().collect::<Vec<_>>(), topic.all(), "what a was told that it owns");
    Ok(())
}

async fn handover_point(world: World) -> CaseResult {
    world.needs(KafkaFeature::Groups)?;
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    for partition in 0..2 {
        store(&producer, topic.numbered(partition, 0..10)).await?;
    }
    let mut first = world.reader("group", &[&topic]).await?;
    ensure_eq!("K3", first.drain(&topic).await?.len(), 20, "records in the log");
    first.commit(&topic.at(0), 4).await?;
    ensure_eq!("K7", first.committed(&topic.at(1)).await?, None, "the other partition's committed offset");
    first.close().await?;

    let mut group = Group::default();
    group.add("a", world.reader("group", &[&topic]).await?, false);
    let other = group.member("a").reader.committed(&topic.at(1)).await?;
    ensure_eq!("K7", other, None, "the other partition's committed offset after a close");
    let has_read = |group: &Group, name: &str, partitions: usize| {
        let reader = &group.member(name).reader;
        let at_end = |at| reader.next().get(at) == Some(&10);
        reader.owned().len() == partitions && reader.owned().iter().all(at_end)
    };
    group.until(world.clock(), "a has read both", |group| has_read(group, "a", 2)).await?;
    begins(&group, "a")?;
    group.add("b", world.reader("group", &[&topic]).await?, false);
    group.until(world.clock(), "b has read its own", |group| has_read(group, "b", 1)).await?;
    group.leave("a").await?;
    group.until(world.clock(), "b has read both", |group| has_read(group, "b", 2)).await?;
    begins(&group, "b")
}

/// Checks that a member began each partition at its committed offset: 4 of partition 0, none of partition 1.
fn begins(group: &Group, name: &str) -> CaseResult {
    for (partition, from) in [(0, 4), (1, 0)] {
        let first = group.member(name).read.iter().find(|message| message.partition == partition);
        let first = first.map(|message| message.offset);
        ensure_eq!("K8", first, Some(from), "where {name} began to read partition {partition}");
    }
    Ok(())
}

async fn commit_in_revoked(world: World) -> CaseResult {
    world.needs(KafkaFeature::Groups)?;
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    for partition in 0..2 {
        store(&producer, topic.numbered(partition, 0..10)).await?;
    }
    let mut group = Group::default();
    group.add("a", world.reader("group", &[&topic]).await?, true);
    let read = |group: &Group, name: &str| group.member(name).read.len();
    group.until(world.clock(), "a reads all", |group| read(group, "a") >= 20).await?;

    group.add("b", world.reader("group", &[&topic]).await?, true);
    let owns = |group: &Group, name: &str| group.member(name).reader.owned().len();
    let shared = |group: &Group| (owns(group, "a"), owns(group, "b")) == (1, 1);
    group.until(world.clock(), "a and b own one each", shared).await?;
    for partition in 0..2 {
        store(&producer, topic.numbered(partition, 10..20)).await?;
    }
    group.until(world.clock(), "both read on", |group| read(group, "a") + read(group, "b") >= 40).await?;
    // Another leave, so that what comes twice would come now.
    let b = group.leave("b").await?;
    let mut all = b.read;
    all.extend(group.member("a").read.iter().cloned());
    let mut seen = BTreeSet::new();
    for message in &all {
        let new = seen.insert((message.partition, message.offset));
        ensure!("K8", new, "record {} of {} came twice", message.offset, message.partition);
    }
    ensure_eq!("K8", seen.len(), 40, "records that came");
    Ok(())
}

async fn group_info(world: World) -> CaseResult {
    world.needs(KafkaFeature::Groups)?;
    let Some(admin) = world.driver.admin() else {
        return Err(broken("K20", "Groups is declared, yet there is no admin to ask about them"));
    };
    let nobody = admin.group_info(&world.name("nobody")).await?;
    ensure_eq!(
        "K20",
        (nobody.state, nobody.members.len()),
        (GroupState::Dead, 0),
        "a group that nobody knows"
    );

    let topic = world.topic(2).await?;
    store(&world.producer().await?, topic.numbered(0, 0..10)).await?;
    let mut reader = world.reader("group", &[&topic]).await?;
    reader.read(10).await?;
    reader.join(&topic.all()).await?;
    reader.commit(&topic.at(0), 4).await?;
    let name = world.name("group");
    // A member's own view is ahead of the coordinator's by one exchange, so the state is waited for.
    let live = eventually(&world, admin, &name, GroupState::Stable).await?;
    ensure_eq!("K20", live.group_id, name, "the name of the group");
    ensure_eq!("K20", live.members.len(), 1, "its members");
    let mut assignment = live.members[0].assignment.clone();
    assignment.sort();
    ensure_eq!("K20", assignment, topic.all(), "what its member owns");
    ensure_eq!("K20", live.committed.get(&topic.at(0)), Some(&4), "its committed offset");
    ensure_eq!("K20", live.lag.get(&topic.at(0)), Some(&6), "its lag");

    reader.close().await?;
    let left = eventually(&world, admin, &name, GroupState::Empty).await?;
    ensure_eq!("K20", left.members.len(), 0, "the members of a group that all have left");
    let next = world.reader("group", &[&topic]).await?;
    next.has_committed(&topic.at(0), 4).await
}

/// Asks until the group is in `state`; what changed is visible within a bounded time (K20).
async fn eventually(
    world: &World,
    admin: &dyn KafkaAdmin,
    name: &str,
    state: GroupState,
) -> Result<ConsumerGroupInfo, Stop> {
    let deadline = world.clock().now() + PATIENCE;
    loop {
        let info = admin.group_info(name).await?;
        if info.state == state {
            return Ok(info);
        }
        if world.clock().now() >= deadline {
            return Err(broken("K20", format!("the group is {info:?}, {state:?} is due")));
        }
        world.clock().sleep_until(world.clock().now() + Duration::from_millis(20)).await;
    }
}

async fn groups_are_independent(world: World) -> CaseResult {
    let topic = world.topic(1).await?;
    store(&world.producer().await?, topic.numbered(0, 0..5)).await?;
    let mut one = world.reader("one", &[&topic]).await?;
    let mut two = world.reader("two", &[&topic]).await?;
    let due = ["0", "1", "2", "3", "4"];
    ensure_eq!("K8", values(&one.drain(&topic).await?), due, "what the first group reads");
    one.commit(&topic.at(0), 5).await?;
    ensure_eq!("K8", two.committed(&topic.at(0)).await?, None, "the second group's committed offset");
    ensure_eq!("K8", values(&two.drain(&topic).await?), due, "what the second group reads");
    Ok(())
}
