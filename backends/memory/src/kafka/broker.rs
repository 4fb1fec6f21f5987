//! The broker: one state under one lock, and one notice that it changed.

use std::collections::{BTreeMap, btree_map::Entry};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use onex_spi::kafka::{
    ConsumerGroupInfo, CreateTopicRequest, GroupState, NextOffsets, Timestamp, TopicMetadata, TopicOutcome,
};
use onex_spi::{Clock, Result, Timer};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::assign::MemberId;
use super::error::away;
use super::group::Group;
use super::topic::Topics;

/// What every driver of one broker shares.
pub(super) struct Broker {
    pub(super) clock: Arc<dyn Clock>,
    /// Told after every change that somebody may wait for.
    pub(super) changed: Notify,
    cluster: Mutex<Cluster>,
    /// How many members of groups there ever were.
    members: AtomicU64,
}

impl Broker {
    /// An empty broker that is there.
    pub(super) fn new(default_partitions: i32, clock: Arc<dyn Clock>) -> Self {
        let (topics, groups) = (Topics::default(), BTreeMap::new());
        let cluster = Cluster { available: true, default_partitions, topics, groups };
        Self { clock, changed: Notify::new(), cluster: Mutex::new(cluster), members: AtomicU64::new(0) }
    }

    /// Held for a moment and never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the broker is away.
    pub(super) fn answering(&self, operation: &'static str) -> Result<MutexGuard<'_, Cluster>> {
        let cluster = self.lock();
        if cluster.available { Ok(cluster) } else { Err(away(operation)) }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A number that no member had before: a stale one is never taken for another.
    pub(super) fn next_member(&self) -> MemberId {
        self.members.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The calendar time, as records carry it.
    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_system_time(self.clock.wall())
    }

    /// Waits for `changed` or for `at`, whichever comes first.
    pub(super) async fn wait(&self, mut changed: Pin<&mut Notified<'_>>, timer: &mut dyn Timer, at: Instant) {
        std::future::poll_fn(|cx| {
            if changed.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { timer.poll_at(at, cx) }
        })
        .await;
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.lock();
        f.debug_struct("MemoryKafka")
            .field("available", &cluster.available)
            .field("topics", &cluster.topics.names().collect::<Vec<_>>())
            .field("groups", &cluster.groups.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Everything that the lock guards.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) available: bool,
    default_partitions: i32,
    pub(super) topics: Topics,
    groups: BTreeMap<String, Group>,
}

impl Cluster {
    /// Does something to a group, which is there only as long as there is something to it.
    pub(super) fn with_group<R>(
        &mut self,
        group_id: &str,
        body: impl FnOnce(&mut Group, &mut Topics) -> R,
    ) -> R {
        match self.groups.entry(group_id.to_owned()) {
            Entry::Vacant(vacant) => {
                let mut group = Group::default();
                let result = body(&mut group, &mut self.topics);
                if !group.is_dead() {
                    vacant.insert(group);
                }
                result
            }
            Entry::Occupied(mut occupied) => {
                let result = body(occupied.get_mut(), &mut self.topics);
                if occupied.get().is_dead() {
                    occupied.remove();
                }
                result
            }
        }
    }

    /// Creates a topic that was validated.
    pub(super) fn create_topic(&mut self, request: &CreateTopicRequest) -> Result<TopicOutcome> {
        let outcome = self.topics.create("kafka.create_topic", request, self.default_partitions)?;
        if outcome == TopicOutcome::Created {
            for group in self.groups.values_mut() {
                group.topic_created(&request.name, &self.topics);
            }
        }
        Ok(outcome)
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> TopicOutcome {
        let outcome = self.topics.delete(name);
        if outcome == TopicOutcome::Deleted {
            for group in self.groups.values_mut() {
                group.topic_deleted(name, &self.topics);
            }
            self.groups.retain(|_, group| !group.is_dead());
        }
        outcome
    }

    pub(super) fn topic_metadata(&mut self, name: &str, now: Timestamp) -> Result<TopicMetadata> {
        self.topics.metadata("kafka.topic_metadata", name, now)
    }

    /// What a group has committed; empty where there is no such group.
    pub(super) fn committed(&self, group_id: &str) -> NextOffsets {
        self.groups.get(group_id).map(|group| group.committed().clone()).unwrap_or_default()
    }

    pub(super) fn group_info(&mut self, group_id: &str, now: Instant, wall: Timestamp) -> ConsumerGroupInfo {
        if !self.groups.contains_key(group_id) {
            return ConsumerGroupInfo::new(group_id, GroupState::Dead);
        }
        self.with_group(group_id, |group, topics| {
            group.expire(now, topics);
            let mut info = group.info(group_id);
            for (at, next) in info.committed.iter() {
                if let Ok(log) = topics.log("kafka.group_info", at, wall) {
                    info.lag.insert(at.clone(), (log.watermarks().high - next).max(0));
                }
            }
            info
        })
    }
}
