//! The coordinator of one group.
//!
//! ```text
//!  join, leave, subscribe, expire, topic made or gone ─► rebalance: new targets
//!      member polls ─► owned − target   told as Revoking, released at its next poll
//!                   └► target − owned   told as Assigned once nobody else owns it
//! ```
//!
//! `owners` is the only truth about ownership, and a map: a partition has one owner or none (K8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onex_spi::Result;
use onex_spi::kafka::{Commit, ConsumerGroupInfo, GroupMember, GroupState, NextOffsets, TopicPartition};

use super::assign::{MemberId, balance};
use super::topic::Topics;

/// The name of the assignment strategy, as the admin call tells it.
const PROTOCOL: &str = "cooperative-sticky";

/// A group: its members, what they own, and the offsets that outlive them.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<TopicPartition, MemberId>,
    committed: NextOffsets,
    /// Whether it ever had a member: such a group stays, empty, as a broker keeps it.
    joined: bool,
}

#[derive(Debug)]
struct Member {
    subscription: BTreeSet<Arc<str>>,
    target: BTreeSet<TopicPartition>,
    max_poll_interval: Duration,
    session_timeout: Duration,
    /// When it is expelled; none while it polls.
    deadline: Option<Instant>,
    /// Whether it can still be heard.
    vanished: bool,
}

/// What a consumer tells when it joins.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) subscription: BTreeSet<Arc<str>>,
    pub(super) max_poll_interval: Duration,
    pub(super) session_timeout: Duration,
}

impl Group {
    /// Takes a member in; it polls.
    pub(super) fn join(&mut self, id: MemberId, joining: Joining, topics: &Topics) {
        let Joining { subscription, max_poll_interval, session_timeout } = joining;
        let member = Member {
            subscription,
            target: BTreeSet::new(),
            max_poll_interval,
            session_timeout,
            deadline: None,
            vanished: false,
        };
        self.members.insert(id, member);
        self.joined = true;
        self.rebalance(topics);
    }

    /// Changes what a member wants to read.
    pub(super) fn subscribe(&mut self, id: MemberId, subscription: &BTreeSet<Arc<str>>, topics: &Topics) {
        if let Some(member) = self.members.get_mut(&id) {
            member.subscription.clone_from(subscription);
            self.rebalance(topics);
        }
    }

    /// Lets a member go; what it owned is free at once. Tells whether it was there.
    pub(super) fn leave(&mut self, id: MemberId, topics: &Topics) -> bool {
        let was_there = self.remove(id);
        if was_there {
            self.rebalance(topics);
        }
        was_there
    }

    /// Expels who did not poll, or was not heard of, for too long. Tells whether somebody went.
    pub(super) fn expire(&mut self, now: Instant, topics: &Topics) -> bool {
        let late = |member: &Member| member.deadline.is_some_and(|deadline| deadline <= now);
        let gone: Vec<MemberId> =
            self.members.iter().filter(|(_, member)| late(member)).map(|(id, _)| *id).collect();
        for id in &gone {
            self.remove(*id);
        }
        if !gone.is_empty() {
            self.rebalance(topics);
        }
        !gone.is_empty()
    }

    /// The first time at which somebody may have to be expelled; who polls now is not late before a whole interval.
    pub(super) fn next_expiry(&self, now: Instant) -> Option<Instant> {
        let latest = |member: &Member| member.deadline.or_else(|| now.checked_add(member.max_poll_interval));
        self.members.values().filter_map(latest).min()
    }

    /// A member begins to poll: its interval does not run.
    pub(super) fn polling(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.deadline = None;
        }
    }

    /// A member's poll ended: its interval runs from now on.
    pub(super) fn polled(&mut self, id: MemberId, now: Instant) {
        if let Some(member) = self.members.get_mut(&id).filter(|member| !member.vanished) {
            member.deadline = now.checked_add(member.max_poll_interval);
        }
    }

    /// A member ended without being heard: its session runs out.
    pub(super) fn vanish(&mut self, id: MemberId, now: Instant) {
        if let Some(member) = self.members.get_mut(&id) {
            member.vanished = true;
            let session = now.checked_add(member.session_timeout);
            member.deadline =
                member.deadline.map_or(session, |deadline| session.map(|end| end.min(deadline)));
        }
    }

    pub(super) fn has(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    pub(super) fn owns(&self, id: MemberId, at: &TopicPartition) -> bool {
        self.owners.get(at) == Some(&id)
    }

    /// What a member owns, in order.
    pub(super) fn owned(&self, id: MemberId) -> impl Iterator<Item = &TopicPartition> {
        self.owners.iter().filter(move |(_, owner)| **owner == id).map(|(at, _)| at)
    }

    /// What a member must give back.
    pub(super) fn surplus(&self, id: MemberId) -> Vec<TopicPartition> {
        let Some(member) = self.members.get(&id) else { return Vec::new() };
        self.owned(id).filter(|at| !member.target.contains(at)).cloned().collect()
    }

    /// Gives a member what it should own and nobody else owns any more.
    pub(super) fn take(&mut self, id: MemberId) -> Vec<TopicPartition> {
        let Some(member) = self.members.get(&id) else { return Vec::new() };
        let free: Vec<_> = member.target.iter().filter(|at| !self.owners.contains_key(at)).cloned().collect();
        self.owners.extend(free.iter().map(|at| (at.clone(), id)));
        free
    }

    /// A member gives back what it was told to.
    pub(super) fn release(&mut self, id: MemberId, partitions: &[TopicPartition]) {
        for at in partitions {
            if self.owns(id, at) {
                self.owners.remove(at);
            }
        }
    }

    pub(super) fn committed(&self) -> &NextOffsets {
        &self.committed
    }

    /// Stores offsets of partitions that the caller owns.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<()> {
        commit.apply(&mut self.committed)
    }

    /// A topic came.
    pub(super) fn topic_created(&mut self, name: &str, topics: &Topics) {
        if self.members.values().any(|member| member.subscription.contains(name)) {
            self.rebalance(topics);
        }
    }

    /// A topic went, and with it everything that concerned it.
    pub(super) fn topic_deleted(&mut self, name: &str, topics: &Topics) {
        self.committed.retain(|at, _| &*at.topic != name);
        self.owners.retain(|at, _| &*at.topic != name);
        if self.members.values().any(|member| member.subscription.contains(name)) {
            self.rebalance(topics);
        }
    }

    /// Whether nobody ever heard of the group.
    pub(super) fn is_dead(&self) -> bool {
        !self.joined && self.committed.is_empty()
    }

    /// The group as the admin call tells it: the offsets of what its members own, of all where it has none; lag is the
    /// caller's to add.
    pub(super) fn info(&self, group_id: &str) -> ConsumerGroupInfo {
        let settled = |(id, member): (&MemberId, &Member)| self.owned(*id).eq(member.target.iter());
        let state = if self.members.is_empty() {
            GroupState::Empty
        } else if self.members.iter().all(settled) {
            GroupState::Stable
        } else {
            GroupState::Rebalancing
        };
        let mut info = ConsumerGroupInfo::new(group_id, state);
        if !self.members.is_empty() {
            PROTOCOL.clone_into(&mut info.protocol);
        }
        let member = |id: &MemberId| {
            GroupMember::new(format!("onex-{id}"), "onex", "localhost")
                .with_assignment(self.owned(*id).cloned().collect())
        };
        info.members = self.members.keys().map(member).collect();
        info.committed = match self.members.is_empty() {
            true => self.committed.clone(),
            false => self.committed.only(self.owners.keys()),
        };
        info
    }

    fn remove(&mut self, id: MemberId) -> bool {
        self.owners.retain(|_, owner| *owner != id);
        self.members.remove(&id).is_some()
    }

    fn rebalance(&mut self, topics: &Topics) {
        let subscribers: BTreeMap<MemberId, &BTreeSet<Arc<str>>> =
            self.members.iter().map(|(id, member)| (*id, &member.subscription)).collect();
        let wanted: BTreeSet<&Arc<str>> = subscribers.values().copied().flatten().collect();
        let partitions: Vec<TopicPartition> = wanted
            .into_iter()
            .filter_map(|name| topics.get(name))
            .flat_map(|topic| {
                (0..topic.partitions()).map(|partition| TopicPartition::new(topic.name.clone(), partition))
            })
            .collect();
        // Who was meant to have it keeps it; else who has it.
        let meant: BTreeMap<&TopicPartition, MemberId> =
            self.members.iter().flat_map(|(id, member)| member.target.iter().map(|at| (at, *id))).collect();
        let targets =
            balance(&subscribers, &partitions, |at| meant.get(at).or_else(|| self.owners.get(at)).copied());
        for (id, target) in targets {
            if let Some(member) = self.members.get_mut(&id) {
                member.target = target;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::kafka::CreateTopicRequest;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn topics() -> Topics {
        let mut topics = Topics::default();
        topics.create("kafka.create_topic", &CreateTopicRequest::new("t", 4), 1).expect("a good topic");
        topics
    }

    fn joining() -> Joining {
        Joining {
            subscription: BTreeSet::from(["t".into()]),
            max_poll_interval: 5 * MINUTE,
            session_timeout: MINUTE,
        }
    }

    #[test]
    fn a_partition_is_given_only_after_it_was_given_back() {
        let (topics, mut group) = (topics(), Group::default());
        group.join(1, joining(), &topics);
        assert_eq!(group.take(1).len(), 4);
        group.join(2, joining(), &topics);
        assert!(group.take(2).is_empty());
        let surplus = group.surplus(1);
        assert_eq!(surplus.len(), 2);
        group.release(1, &surplus[..1]);
        assert_eq!(group.take(2), surplus[..1]);
        group.release(1, &surplus[1..]);
        assert_eq!(group.take(2), surplus[1..]);
        assert!(group.surplus(1).is_empty() && group.info("g").state == GroupState::Stable);
    }

    #[test]
    fn a_member_cannot_give_back_what_another_owns() {
        let (topics, mut group) = (topics(), Group::default());
        group.join(1, joining(), &topics);
        let all = group.take(1);
        group.release(2, &all);
        assert_eq!(group.owned(1).count(), 4);
    }

    #[test]
    fn the_poll_interval_runs_between_polls_alone() {
        let (topics, mut group, start) = (topics(), Group::default(), Instant::now());
        group.join(1, joining(), &topics);
        group.take(1);
        assert!(!group.expire(start + 60 * MINUTE, &topics), "it polls");
        assert_eq!(group.next_expiry(start + MINUTE), Some(start + 6 * MINUTE), "if its poll ended just now");
        group.polled(1, start);
        assert!(!group.expire(start + 4 * MINUTE, &topics));
        assert_eq!(group.next_expiry(start + MINUTE), Some(start + 5 * MINUTE));
        assert!(group.expire(start + 5 * MINUTE, &topics));
        assert!(!group.has(1) && group.owners.is_empty());
    }

    #[test]
    fn who_vanished_goes_with_its_session() {
        let (topics, mut group, start) = (topics(), Group::default(), Instant::now());
        group.join(1, joining(), &topics);
        group.polled(1, start);
        group.vanish(1, start);
        group.polled(1, start + MINUTE / 2);
        assert!(group.expire(start + MINUTE, &topics));
    }

    #[test]
    fn a_deleted_topic_takes_its_offsets_along() {
        let (mut topics, mut group) = (topics(), Group::default());
        group.join(1, joining(), &topics);
        let at = group.take(1)[0].clone();
        group.commit(&Commit::new(NextOffsets::from([(at, 7)]))).expect("a first commit");
        topics.delete("t");
        group.topic_deleted("t", &topics);
        assert!(group.committed().is_empty() && group.owned(1).count() == 0);
        group.leave(1, &topics);
        assert_eq!(group.info("g").state, GroupState::Empty);
        assert!(!group.is_dead() && Group::default().is_dead());
    }
}
